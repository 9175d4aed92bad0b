"""Reading every state at one layer and position, and telling what was found in rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from restor_interp.errors import RestorError
from restor_interp.models.activations import Activations, CapturedPrompt, StateActivations

Found = Float[np.ndarray, "row width"] | str
"""Activations, or why there are none."""

RowPlaces = Sequence[int] | Int[np.ndarray, " row"]


def base_state(activations: StateActivations, wanted: str = "clean") -> str:
    """The wanted state, or the first where it was not captured."""
    return wanted if wanted in activations else activations.states[0]


def chosen_layers(available: Sequence[int], layers: int | Sequence[int]) -> list[int]:
    """Every so many layers and the last, or the list that was given."""
    if not isinstance(layers, int):
        return list(layers)
    return sorted({*available[::layers], available[-1]})


def read_states(
    activations: StateActivations,
    *,
    layer: int,
    position: str | int = "last",
    site: str = "resid",
    rows: RowPlaces | None = None,
) -> dict[str, Found]:
    """Every state's activations at one place, or the reason why a state has none to compare.

    `rows`: places among the base state's prompts (default: all).
    """
    prompts = activations[base_state(activations)].prompts
    return {
        state: read_matching(activations[state], prompts, rows, site, layer, position)
        for state in activations
    }


def read_matching(
    captured: Activations,
    prompts: Sequence[CapturedPrompt],
    rows: RowPlaces | None,
    site: str,
    layer: int,
    position: str | int,
) -> Found:
    """Activations of the rows, provided that the same questions were captured."""
    if _questions(captured.prompts) != _questions(prompts):
        return "other prompts were captured than in the base state"
    try:
        x = captured.select(site=site, layer=layer, position=position)
    except RestorError as problem:  # a site or a position that was not captured
        return str(problem)
    x = x if rows is None else x[np.asarray(rows, dtype=int)]
    spoiled = np.flatnonzero(~np.isfinite(x).all(axis=1))
    return f"{len(spoiled)} of {len(x)} activations are not finite" if len(spoiled) else x


def read_wrong_entity(
    activations: StateActivations,
    state: str,
    rows: RowPlaces | None,
    site: str,
    layer: int,
    position: str | int,
    *,
    name: str = "wrong_entity",
) -> Found:
    """The same questions about another entity, row for row those of `rows`."""
    prompts = activations[base_state(activations)].prompts
    kept = [prompts[row] for row in (range(len(prompts)) if rows is None else rows)]
    try:
        captured = activations.of(name)[state]
        place_of = {_question(prompt): place for place, prompt in enumerate(captured.prompts)}
        missing = sum(_question(prompt) not in place_of for prompt in kept)
        if missing:
            return f"{missing} of {len(kept)} questions were not captured about another entity"
        places = [place_of[_question(prompt)] for prompt in kept]
        return read_matching(captured, captured.prompts, places, site, layer, position)
    except RestorError as problem:  # not captured
        return str(problem)


def control_rows(
    fixed: Mapping[str, Any],
    value: float | str,
    controls: Mapping[str, float | str] | None = None,
) -> list[dict[str, Any]]:
    """A row of the table `probes` per control; a text in place of a number is the reason why
    there is none. A value without a number has one row, without controls."""
    if isinstance(value, str):
        nothing = {"value": None, "control": "", "control_value": None, "reason": value}
        return [{**fixed, **nothing}]
    rows = []
    for name, found in (controls or {"": ""}).items():
        measured = not isinstance(found, str) and np.isfinite(found)
        reason = None if measured or not name else f"control: {found}"
        rows.append(
            {
                **fixed,
                "value": float(value),
                "control": name,
                "control_value": float(found) if measured else None,
                "reason": reason,
            }
        )
    return rows


def _question(prompt: CapturedPrompt) -> tuple[str, int, str, str]:
    return (prompt.fact_id, prompt.context_id, prompt.label, prompt.text_id)


def _questions(prompts: Sequence[CapturedPrompt]) -> list[tuple[str, int, str, str]]:
    return [_question(prompt) for prompt in prompts]
