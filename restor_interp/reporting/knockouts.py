"""Attention knockout as lines: what the answer loses without an edge, window by window."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plain, signed
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.rows import UNITS, RowOf, grouped, number, object_words, reasons
from restor_interp.reporting.vocabulary import order_states

_LINES = ("line 1", "line 2", "line 3", "line 4")
_CONTROLS = ("control", "control 2", "control 3")


def knockout_lines(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """A panel per state on one scale: a line per edge, its control dotted or dashed in grey."""
    parts: list[Part] = []
    for (window, metric, target), chosen in grouped(rows, "window", "metric", "object").items():
        measured = [row for row in chosen if row["layer"] is not None]
        absent = [row for row in chosen if row["layer"] is None]
        if measured:
            parts.append(_plot(measured, f"{window}", str(metric), object_words(target, fact)))
        parts += [
            Paragraph(f"{_name(*key)}: {reasons(some)}.", quiet=True)
            for key, some in grouped(absent, "edge", "control").items()
            if reasons(some)
        ]
    return tuple(parts)


def _plot(rows: Sequence[RowOf], window: str, metric: str, target: str) -> Part:
    edges = list(dict.fromkeys((row["edge"], bool(row.get("control"))) for row in rows))
    looks = _looks(edges)
    panels, told = [], []
    for state in order_states(row["state"] for row in rows):
        series = []
        for edge, control in edges:
            points = sorted(
                (int(row["layer"]), number(row["effect"]))
                for row in rows
                if (row["state"], row["edge"], bool(row.get("control"))) == (state, edge, control)
            )
            if points:
                xs, ys = zip(*points, strict=True)
                series.append(
                    Series(name=_name(edge, control), x=xs, y=ys, look=looks[edge, control])
                )
        panels.append(LinePanel(state, tuple(series)))
        told.append(f"{state}: {_deepest(series)}")
    centres = len({row["layer"] for row in rows})
    return Lines(
        title=f"Attention knockout: {target}",
        panels=tuple(panels),
        x_title="layer at the window's centre",
        y_title=f"change, {UNITS.get(metric, metric)}",
        caption=(
            f"Where taking out an edge costs most. {'; '.join(told)}. "
            f"n = {centres} windows of {window} layers, one prompt; grey: as many other tokens, "
            "chosen at random."
        ),
    )


def _looks(edges: Sequence[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    own = [key for key in edges if not key[1]]
    controls = [key for key in edges if key[1]]
    return {
        **{key: _LINES[place % len(_LINES)] for place, key in enumerate(own)},
        **{key: _CONTROLS[place % len(_CONTROLS)] for place, key in enumerate(controls)},
    }


def _name(edge: str, control: bool) -> str:
    return ("control: " if control else "") + str(edge).replace("->", " → ")


def _deepest(series: Sequence[Series]) -> str:
    """Per edge its lowest point, and its control's value there."""
    told = []
    controls = {line.name: dict(zip(line.x, line.y, strict=True)) for line in series}
    for line in series:
        values = [(y, x) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        if line.name.startswith("control: ") or not values:
            continue
        lowest, layer = min(values)
        there = controls.get(f"control: {line.name}", {}).get(layer)
        control = "no control" if there is None else f"control {signed(there)}"
        told.append(f"{line.name} {signed(lowest)} at layer {plain(layer, 0)} ({control})")
    return ", ".join(told) or "nothing was measured"
