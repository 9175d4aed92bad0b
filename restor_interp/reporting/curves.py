"""Lines over steps and layers: the training of every state, and means by layer."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from restor_interp.reporting.counts import mean
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Part, Series
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.vocabulary import order_states


def training_curves(run: RunResults) -> tuple[Part, ...]:
    """Loss on the false documents and on the retained text, by step, a line per state."""
    rows = records(run.table("training"))
    if not rows:
        return (Empty("Nothing was trained in this run, or nothing was recorded."),)
    plots: list[Part] = []
    for column, text in (("forget_nll", "the false documents"), ("retain_nll", "retained text")):
        series, told = [], []
        for state in order_states(row["state"] for row in rows):
            points = sorted(
                (row["step"], row[column])
                for row in rows
                if row["state"] == state and row[column] is not None
            )
            if points:
                xs, ys = zip(*points, strict=True)
                series.append(Series(name=state, x=xs, y=ys, look=state))
                told.append(f"{state} {plain(ys[0])} → {plain(ys[-1])}")
        if series:
            plots.append(
                Lines(
                    title=f"Loss on {text} during training",
                    panels=(LinePanel("", tuple(series)),),
                    x_title="step",
                    y_title="nats per token",
                    caption=f"From the first to the last step: {'; '.join(told)}.",
                )
            )
    return tuple(plots) or (Empty("The losses of training were not recorded."),)


def by_layer(
    rows: Iterable[Mapping[str, Any]], column: str, along: str = "layer"
) -> dict[float, float]:
    """Layer (or what `along` says) -> mean of the finite values there, in order."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row[column] is not None and math.isfinite(row[column]):
            found.setdefault(float(row[along]), []).append(float(row[column]))
    return {layer: mean(found[layer]) for layer in sorted(found)}
