"""Lines over steps and layers: training of every state, probes with their controls."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from restor_interp.reporting.counts import mean
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Part, Series
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.vocabulary import order_states

_CONTROL_LOOKS = ("control", "control 2", "control 3")


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


def probe_curves(results: RunResults | EntityResults) -> tuple[Part, ...]:
    """What probes read from each layer, with every control beside it and chance below."""
    run = results.run if isinstance(results, EntityResults) else results
    rows = records(run.table("probes"))
    if not rows:
        return (Empty("No probe was fitted.", run.command("probes")),)
    kinds = dict.fromkeys((r["probe"], r["position"], r["metric"], r["fitted_on"]) for r in rows)
    return tuple(
        _probe(
            [
                row
                for row in rows
                if (row["probe"], row["position"], row["metric"], row["fitted_on"]) == kind
            ],
            kind,
        )
        for kind in kinds
    )


def _probe(rows: Sequence[Mapping[str, Any]], kind: tuple[str, str, str, str]) -> Part:
    probe, position, metric, fitted_on = kind
    series, told = [], []
    counted = max((int(row["n"]) for row in rows if row["n"] is not None), default=0)
    for state in order_states(row["state"] for row in rows):
        values = by_layer((row for row in rows if row["state"] == state), "value")
        if not values:
            continue
        series.append(
            Series(name=state, x=tuple(values), y=tuple(values.values()), look=state, n=counted)
        )
        best = max(values, key=lambda layer: values[layer])
        told.append(f"{state} {plain(values[best])} at layer {best:g}")
    controls = dict.fromkeys(row["control"] for row in rows if row["control"])
    for number, control in enumerate(controls):
        look = _CONTROL_LOOKS[min(number, len(_CONTROL_LOOKS) - 1)]
        values = by_layer((row for row in rows if row["control"] == control), "control_value")
        if values:
            ys = tuple(values.values())
            series.append(Series(name=f"control: {control}", x=tuple(values), y=ys, look=look))
            told.append(f"control {control} at most {plain(max(ys))}")
    chances = by_layer((row for row in rows if row.get("chance") is not None), "chance")
    if chances:
        ys = tuple(chances.values())
        series.append(Series(name="chance", x=tuple(chances), y=ys, look="chance"))
        told.append(f"chance {plain(mean(ys))}")
    return Lines(
        title=f"Probe {probe}: {metric} at {position}",
        panels=(LinePanel("", tuple(series)),),
        x_title="layer",
        y_title=metric,
        caption=(
            f"Fitted on {fitted_on}, over all entities of the run (n = {counted}). Best: "
            f"{'; '.join(told) or 'nothing was measured'}."
        ),
    )


def by_layer(
    rows: Iterable[Mapping[str, Any]], column: str, along: str = "layer"
) -> dict[float, float]:
    """Layer (or what `along` says) -> mean of the finite values there, in order."""
    found: dict[float, list[float]] = {}
    for row in rows:
        if row[column] is not None and math.isfinite(row[column]):
            found.setdefault(float(row[along]), []).append(float(row[column]))
    return {layer: mean(found[layer]) for layer in sorted(found)}
