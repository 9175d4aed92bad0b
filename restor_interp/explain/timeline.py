"""When does the true object come back, and the false one go, and in which layer first?

From the table `timeline` (`restor_interp.measure.timeline`). A change of a nat or more has a
moment: the step at which half of it is there for good. Layers whose moments come early lead the
change, the others follow; last layers that turn while the earlier ones stay are what a late
override looks like in time.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

LEAST_CHANGE = 1.0
"""Nats; a smaller change has no moment."""
OF = ("true", "false", "logodds")


def turning_rows(timeline: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `turnings`: one per state, fact, context, layer and of what.

    `of`: log p of the `true` or the `false` object, or their difference, the `logodds`.
    `from_value`, `to_value`, `change` in nats, between the first step and the last; `half_step`,
    the step (between checkpoints on the straight line) after which more than half of the change is
    there for good; `lead_step`, of log-odds, the first checkpoint from which on the true object
    leads for good, None where it does not lead at the end. Without a `half_step` there is a
    `reason`.
    """
    rows: list[dict[str, Any]] = []
    keys = ["state", "fact_id", "context_id", "layer"]
    for key, own in timeline.groupby(keys, sort=False):
        curves = own.pivot_table(index="step", columns="category", values="logprob", sort=True)
        steps = curves.index.to_numpy(float)
        true, false = (curves[name].to_numpy(float) for name in ("true", "false"))
        for of, values in zip(OF, (true, false, true - false), strict=True):
            change = float(values[-1] - values[0])
            half = _half_step(steps, values)
            rows.append(
                _named(keys, key)
                | {
                    "of": of,
                    "from_value": float(values[0]),
                    "to_value": float(values[-1]),
                    "change": change,
                    "half_step": half,
                    "lead_step": _lead_step(steps, values) if of == "logodds" else None,
                    "reason": None if half is not None else _reason(change),
                }
            )
    return rows


def leading_layers(turnings: pd.DataFrame, *, of: str = "logodds") -> list[dict[str, Any]]:
    """Per state, fact and context, where a change of `of` comes first: `layer` and its `half_step`,
    beside `last_layer_step`, when the model's own answer turns; `change` there. The earliest layer
    of equal ones; None with a `reason` where the answer does not change by a nat."""
    rows = []
    chosen = turnings.loc[turnings["of"].eq(of)]
    for key, own in chosen.groupby(["state", "fact_id", "context_id"], sort=False):
        layers = own.sort_values("layer").reset_index(drop=True)
        last = layers.iloc[-1]
        row = _named(("state", "fact_id", "context_id"), key) | {
            "of": of,
            "change": float(last["change"]),
            "layer": None,
        }
        row |= {"half_step": None, "last_layer_step": None, "reason": last["reason"]}
        if pd.notna(last["half_step"]):
            # What goes the other way in a layer is another change.
            same = np.sign(layers["change"]) == np.sign(last["change"])
            moments = layers.loc[same & layers["half_step"].notna()]
            first = moments.loc[moments["half_step"].astype(float).idxmin()]
            row |= {"layer": int(first["layer"]), "half_step": float(first["half_step"])}
            row |= {"last_layer_step": float(last["half_step"]), "reason": None}
        rows.append(row)
    return rows


def _named(columns: Sequence[str], key: Any) -> dict[str, Any]:
    return dict(zip(columns, key, strict=True))


def _half_step(steps: np.ndarray, values: np.ndarray) -> float | None:
    """Where the curve crosses half of its change for the last time."""
    change = values[-1] - values[0]
    if not math.isfinite(change) or not np.isfinite(values).all() or abs(change) < LEAST_CHANGE:
        return None
    share = (values - values[0]) / change
    before = int(np.flatnonzero(share < 0.5)[-1])  # the first one is 0, the last one 1
    part = (0.5 - share[before]) / (share[before + 1] - share[before])
    return float(steps[before] + part * (steps[before + 1] - steps[before]))


def _lead_step(steps: np.ndarray, values: np.ndarray) -> float | None:
    behind = np.flatnonzero(~(values > 0))
    if not len(behind):
        return float(steps[0])
    return None if behind[-1] == len(values) - 1 else float(steps[behind[-1] + 1])


def _reason(change: float) -> str:
    if not math.isfinite(change):
        return "a log-probability is not finite"
    return f"it changes by {change:+.2g} nats, less than {LEAST_CHANGE:g}"
