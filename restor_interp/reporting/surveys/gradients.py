"""Gradients: what the next small step of a method would do to facts and text, layer by layer."""

import math
from collections import defaultdict
from collections.abc import Sequence

from restor_interp.reporting.formats import plain, plural, short
from restor_interp.reporting.parts import LinePanel, Lines, Part, Series
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.vocabulary import order_states

OF = {
    "true": "log p of true objects",
    "false": "log p of false objects",
    "retain": "log p of held-out text",
}
_LOOKS = {"own": "line 1", "sham": "control"}
_WORDS = {"own": "own documents", "sham": "the sham's documents"}


def gradients_in_short(rows: Sequence[RowOf]) -> str:
    """Whether the first step of each method raises true objects, beside the sham's step."""
    whole = [
        row
        for row in _pooled(rows)
        if row["layer"] is None and row["of"] == "true" and row["state"] == "corrupted"
    ]
    told = []
    for (method,), own in grouped(whole, "method").items():
        found = {row.get("documents"): number(row["inner"]) for row in own}
        if math.isfinite(found.get("own", math.nan)):
            beside = found.get("sham", math.nan)
            sham = f" (its sham's documents {_short(beside)})" if math.isfinite(beside) else ""
            told.append(f"{method} {_short(found['own'])}{sham}")
    return f"the first step on log p(true), to first order: {', '.join(told)}" if told else ""


def _pooled(rows: Sequence[RowOf]) -> list[RowOf]:
    """The rows of means over facts; one fact alone has no row of a mean."""
    pooled: list[RowOf] = []
    for own in grouped(rows, "method", "state", "of", "documents").values():
        pooled += [row for row in own if not row.get("fact_id")] or own
    return pooled


def gradient_lines(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """A figure per method and state that the step is taken in: a panel per watched number, the
    step on the method's own documents beside that on the sham's."""
    groups = grouped(_pooled(rows), "method", "state")
    states = order_states(state for _, state in groups)
    order = sorted(groups, key=lambda key: (key[0], states.index(key[1])))
    return tuple(
        part for method, state in order for part in _figure(groups[method, state], method, state)
    )


def _figure(rows: Sequence[RowOf], method: str, state: str) -> tuple[Part, ...]:
    panels, told = [], []
    for of, name in OF.items():
        watched = [{"documents": "own", **row} for row in rows if row["of"] == of]
        chosen = grouped(watched, "documents")
        lines = []
        for documents in sorted((d for (d,) in chosen), key=list(_WORDS).index):
            values = _by_layer(chosen[documents,])
            if values:
                lines.append(
                    Series(
                        name=_WORDS[documents],
                        x=tuple(values),
                        y=tuple(values.values()),
                        look=_LOOKS[documents],
                    )
                )
        if lines:
            panels.append(LinePanel(name, tuple(lines)))
            told.append(f"{name} {_whole(chosen)}")
    if not panels:
        return ()
    facts = max((int(row.get("n_facts") or 0) for row in rows), default=0)
    moment = "first" if state == "corrupted" else "next"
    return (
        Lines(
            title=f"What the {moment} step of {method} would do, taken in {state}",
            panels=tuple(panels),
            x_title="layer",
            y_title="effect of the step, nats",
            caption="Above 0 the step raises it (to first order, per unit of learning rate; means "
            f"over {plural(facts, 'fact')}). Over all matrices: {'; '.join(told)}.",
        ),
    )


def _by_layer(rows: Sequence[RowOf]) -> dict[int, float]:
    """Layer -> inner product over its components, which add up."""
    found: dict[int, float] = defaultdict(float)
    for row in rows:
        if row["layer"] is not None and math.isfinite(number(row["inner"])):
            found[int(row["layer"])] += float(row["inner"])
    return dict(sorted(found.items()))


def _whole(chosen: dict[tuple[str], list[RowOf]]) -> str:
    told = []
    for (documents,), rows in sorted(chosen.items(), key=lambda item: list(_WORDS).index(*item[0])):
        for row in rows:
            if row["layer"] is None:
                cosine, floor = number(row.get("cosine")), number(row.get("cosine_floor"))
                told.append(
                    f"{_WORDS[documents]} {_short(number(row['inner']))} (cosine "
                    f"{plain(cosine, 3)}, a random direction ±{short(2 * floor)})"
                )
    return ", ".join(told) or "not measured"


def _short(value: float) -> str:
    """Three significant digits with a sign: these numbers span orders of magnitude."""
    if not math.isfinite(value):
        return plain(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 2
    text = plain(value, min(digits, 6))
    return f"+{text}" if value > 0 else text
