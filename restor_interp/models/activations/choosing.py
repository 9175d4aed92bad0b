"""Which rows: those whose prompt has one of the values asked for, column by column."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from restor_interp.errors import unknown_name
from restor_interp.models.activations.layout import CapturedPrompt


class Which(TypedDict, total=False):
    """Which prompts: those that have one of the values of every column named."""

    fact_ids: Iterable[str] | None
    entities: Iterable[str] | None
    relations: Iterable[str] | None
    context_ids: Iterable[int] | None
    roles: Iterable[str] | None
    labels: Iterable[str] | None
    text_ids: Iterable[str] | None


_COLUMNS = {
    "fact_ids": ("fact_id", "captured fact"),
    "entities": ("entity", "captured entity"),
    "relations": ("relation", "captured relation"),
    "context_ids": ("context_id", "captured context"),
    "roles": ("role", "captured role"),
    "labels": ("label", "captured label"),
    "text_ids": ("text_id", "captured text"),
}


def chosen_rows(prompts: Sequence[CapturedPrompt], which: Mapping[str, Any]) -> list[int]:
    """Numbers of the prompts that match, in order.

    Raises `ConfigError` for an unknown column, and for a value that no prompt has.
    """
    chosen = list(range(len(prompts)))
    for asked, values in which.items():
        if asked not in _COLUMNS:
            raise unknown_name("selection of rows", asked, _COLUMNS)
        if values is None:
            continue
        column, kind = _COLUMNS[asked]
        names: set[Any] = {values} if isinstance(values, str | int) else set(values)
        known = {getattr(prompt, column) for prompt in prompts}
        for name in sorted(names - known, key=str):
            raise unknown_name(kind, str(name), map(str, known))
        chosen = [row for row in chosen if getattr(prompts[row], column) in names]
    return chosen
