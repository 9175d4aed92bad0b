"""MLPs of one fact: what changed, their coefficients or their value vectors, and what each brings
back when it is the clean model's again."""

import math
from collections.abc import Mapping, Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain, signed
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series, floats
from restor_interp.reporting.rows import RowOf, grouped, number, placed, reasons
from restor_interp.reporting.vocabulary import PLACES, order_states

PARTS = {
    "coefficients": ("coefficients", "line 1"),
    "vectors": ("value vectors", "line 2"),
    "interaction": ("both together", "line 3"),
    "total": ("all of the change", "true"),
}
"""Part of a change -> its name and look; the bias and the norm are left to the table."""
SWAPS = {
    "clean_coefficients": ("clean coefficients", "line 1"),
    "clean_vectors": ("clean value vectors", "line 2"),
    "clean_both": ("both", "true"),
    "wrong_coefficients": ("clean coefficients of a wrong entity", "control"),
}


def mlp_change_parts(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """What MLPs write otherwise, split by cause, by layer; then the swaps beside their control."""
    del fact
    direct = [row for row in rows if row["mode"] == "direct"]
    swaps = [row for row in rows if row["mode"] == "swap"]
    left = reasons(row for row in rows if row["value"] is None)
    return (
        *_written(direct),
        *_how_far(direct),
        *_swapped(swaps),
        *((Paragraph(f"Not measured: {left}.", quiet=True),) if left else ()),
    )


# ---- split by cause


def _written(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """By layer, at the last token: what each part of the change adds to the log-odds."""
    own = grouped((row for row in rows if row.get("position", "last") == "last"), "state")
    panels, told = [], []
    for state in order_states(state for (state,) in own):
        lines = _lines(own[state,], "value", PARTS)
        if lines:
            panels.append(LinePanel(state, lines))
            sums = [f"{line.name} {signed(_sum(line.y))}" for line in lines]
            told.append(f"{state}: {', '.join(sums)}{_strongest(lines)}")
    if not panels:
        return ()
    return (
        Lines(
            title="What MLPs write otherwise than the clean model's, at the last token",
            panels=tuple(panels),
            x_title="layer",
            y_title="log-odds true : false, nats",
            caption=f"Direct effects. Summed over n = {_layers(rows)} layers, {'; '.join(told)}.",
        ),
    )


def _how_far(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """By layer and position: how far coefficients and vectors moved, relative to the clean ones."""
    panels, told = [], []
    shown = {name: PARTS[name] for name in ("coefficients", "vectors")}
    own = grouped(rows, "state", "position")
    for state in order_states(state for state, _ in own):
        for position, place in PLACES.items():
            lines = _lines(own.get((state, position), []), "relative_change", shown)
            if lines:
                panels.append(LinePanel(f"{state}, {place}", lines))
                most = [f"{line.name} {plain(_most(line.y))}" for line in lines]
                told.append(f"{panels[-1].name}: {', '.join(most)}")
    if not panels:
        return ()
    return (
        Lines(
            title="How far coefficients and value vectors moved",
            panels=tuple(panels),
            x_title="layer",
            y_title="‖change‖ / ‖clean‖",
            caption=f"At most over n = {_layers(rows)} layers, {'; '.join(told)}.",
        ),
    )


def _layers(rows: Sequence[RowOf]) -> int:
    return len({row["layer"] for row in rows})


def _lines(
    rows: Sequence[RowOf], column: str, shown: Mapping[str, tuple[str, str]]
) -> tuple[Series, ...]:
    lines = []
    for part, (name, look) in shown.items():
        values = by_layer((row for row in rows if row["part"] == part), column)
        if values:
            xs, ys = tuple(values), tuple(values.values())
            lines.append(Series(name=name, x=xs, y=ys, look=look))
    return tuple(lines)


def _sum(values: Sequence[float]) -> float:
    return sum(value for value in values if math.isfinite(value))


def _most(values: Sequence[float]) -> float:
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def _strongest(lines: Sequence[Series]) -> str:
    """Where the whole change is strongest."""
    whole = next((line for line in lines if line.name == PARTS["total"][0]), None)
    points = [] if whole is None else list(zip(whole.y, whole.x, strict=True))
    if not points:
        return ""
    value, layer = max(points, key=lambda point: abs(point[0]))
    return f" (strongest in layer {layer:g}: {signed(value)})"


# ---- swaps


def _swapped(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """By window of layers: what the log-odds gain by the clean model's coefficients or vectors."""
    rows = placed(rows)
    own = grouped(rows, "state")
    windows = sorted(
        {(int(row["layer"]), _width(row)) for row in rows},
        key=lambda window: (window == _widest(rows), *window),
    )
    if not windows:
        return ()
    panels, told = [], []
    for state in order_states(state for (state,) in own):
        found = {
            (row["part"], int(row["layer"]), _width(row)): number(row["value"])
            for row in own[state,]
        }
        lines = []
        for part, (name, look) in SWAPS.items():
            ys = floats(found.get((part, *window)) for window in windows)
            if any(map(math.isfinite, ys)):
                lines.append(Series(name=name, x=tuple(range(len(windows))), y=ys, look=look))
        if lines:
            panels.append(LinePanel(state, tuple(lines)))
            told.append(f"{state}{_gap(own[state,])}: {', '.join(map(_best, lines))}")
    if not panels:
        return ()
    return (
        Lines(
            title="Swapping the clean model's coefficients or value vectors into MLPs",
            panels=tuple(panels),
            x_title="layers swapped together",
            y_title="gain in log-odds, nats",
            x_labels=tuple(_label(*window, _widest(rows)) for window in windows),
            caption="At every token from the subject on. In all layers at once, and in the best "
            f"of n = {len(windows) - 1} windows: {'; '.join(told)}.",
        ),
    )


def _widest(rows: Sequence[RowOf]) -> tuple[int, int]:
    return max(((int(r["layer"]), _width(r)) for r in rows), key=lambda w: w[1])


def _width(row: RowOf) -> int:
    """Layers that are swapped together; one where the table does not say."""
    return int(row.get("window") or 1)


def _label(layer: int, window: int, widest: tuple[int, int]) -> str:
    if (layer, window) == widest:
        return "all"
    return f"{layer}" if window == 1 else f"{layer}–{layer + window - 1}"


def _gap(rows: Sequence[RowOf]) -> str:
    first = rows[0]
    gap = number(first.get("clean")) - number(first.get("base"))
    return f" ({signed(gap)} to clean)" if math.isfinite(gap) else ""


def _best(line: Series) -> str:
    windows = [value for value in line.y[:-1] if math.isfinite(value)]
    return f"{line.name} {signed(line.y[-1])}, {signed(max(windows, default=math.nan))}"
