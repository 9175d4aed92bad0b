"""Lines over steps and layers: the training of every state, and means by layer."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from restor_interp.reporting.counts import mean
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Part, Series
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.vocabulary import order_states

_LOSS = "nats per token"
_CURVES = (
    ("forget_nll", "Loss on the false documents during training", _LOSS, ""),
    ("retain_nll", "Loss on retained text during training", _LOSS, ""),
    (
        "weight_mean",
        "How hard the loss pushes at what it forgets",
        "weight (1: gradient ascent)",
        " The mean over a step's documents or tokens, and the middle 80% of them.",
    ),
)
"""Column of the table `training`, and how its plot is told."""


def training_curves(run: RunResults) -> tuple[Part, ...]:
    """Losses on the false documents and on the retained text, and the weights of what is
    forgotten, by step, a line per state that has them."""
    rows = records(run.table("training"))
    if not rows:
        return (Empty("Nothing was trained in this run, or nothing was recorded."),)
    plots: list[Part] = []
    for column, title, unit, note in _CURVES:
        series = [
            _curve(state, [row for row in rows if row["state"] == state], column)
            for state in order_states(row["state"] for row in rows)
        ]
        drawn = tuple(line for line in series if line.x)
        if drawn:
            told = "; ".join(f"{x.name} {plain(x.y[0])} → {plain(x.y[-1])}" for x in drawn)
            plots.append(
                Lines(
                    title=title,
                    panels=(LinePanel("", drawn),),
                    x_title="step",
                    y_title=unit,
                    caption=f"From the first to the last step: {told}.{note}",
                )
            )
    return tuple(plots) or (Empty("The losses of training were not recorded."),)


def _curve(state: str, rows: Sequence[Mapping[str, Any]], column: str) -> Series:
    """A state's line, without the steps at which nothing was measured."""
    bands = ("weight_low", "weight_high") if column == "weight_mean" else ()
    names = ("step", column, *bands)
    points = sorted(
        tuple(row[name] for name in names) for row in rows if row.get(column) is not None
    )
    x, y, *band = zip(*points, strict=True) if points else ((), ())
    low, high = band or ((), ())
    return Series(name=state, x=x, y=y, low=low, high=high, look=state)


def by_layer(
    rows: Iterable[Mapping[str, Any]], column: str, along: str = "layer"
) -> dict[float, float]:
    """Layer (or what `along` says) -> mean of the finite values there, in order."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row[column] is not None and math.isfinite(row[column]):
            found.setdefault(float(row[along]), []).append(float(row[column]))
    return {layer: mean(found[layer]) for layer in sorted(found)}
