"""The restoration plane: how far the false object fell, and how far the truth came back.

A method that only forgets moves to the right; one that undoes the corruption moves along the curve
of rollbacks; one that restores moves up beyond its sham. Both are read on the facts with a planted
falsehood that corruption took, against the corrupted state, as means over entities.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from restor_interp.explain.measured import Measured
from restor_interp.explain.observed import column_of, margins_by_state
from restor_interp.measure.statistics import Estimate, entity_mean


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where a state is."""

    fall: Estimate
    """Nats that log p(false) is below the corrupted state's."""
    gain: Estimate
    """Nats that the margin is above the corrupted state's."""


def plane_points(run: Measured) -> dict[str, Point]:
    """State -> its point, of those with both numbers; `corrupted` is at 0, 0."""
    lost = run.chosen("direct", lost=True)
    margins, false = margins_by_state(run.margins), run.logprobs["false"]
    entities = run.entities(lost)
    points = {}
    for state in run.states:
        fall = column_of(false, "corrupted", lost) - column_of(false, state, lost)
        gain = column_of(margins, state, lost) - column_of(margins, "corrupted", lost)
        both = (fall + gain).notna().to_numpy()
        if both.any():
            named = [name for name, kept in zip(entities, both, strict=True) if kept]
            points[state] = Point(
                fall=entity_mean(fall[both], named), gain=entity_mean(gain[both], named)
            )
    return points


def trajectories(
    timeline: pd.DataFrame, fact_ids: Sequence[str]
) -> dict[str, list[tuple[int, float, float]]]:
    """State -> (step, fall of log p(false), gain of log p(true)) along its training, in nats since
    its first step; means over these facts at the last layer, of the first token at which the
    objects differ. A training that did not capture any of them is left out."""
    if timeline.empty:
        return {}
    rows = timeline.loc[
        timeline["fact_id"].isin(list(fact_ids)) & timeline["state"].ne("corrupted")
    ]
    rows = rows.loc[rows["layer"].eq(timeline["layer"].max())]
    found: dict[str, list[tuple[int, float, float]]] = {}
    means = rows.pivot_table(
        index=["state", "step"], columns="category", values="logprob", aggfunc="mean"
    )
    if not {"true", "false"} <= set(means.columns):
        return {}
    for state in dict.fromkeys(means.index.get_level_values("state")):
        own = means.xs(state, level="state").sort_index()
        true, false = own["true"].to_numpy(float), own["false"].to_numpy(float)
        moved = zip(own.index, false[0] - false, true - true[0], strict=True)
        found[str(state)] = [
            (int(step), float(fall), float(gain))  # pyright: ignore
            for step, fall, gain in moved
            if np.isfinite(fall + gain)
        ]
    return found
