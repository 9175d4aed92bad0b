"""Attribution patching: the approximate map, and how well it agrees with the exact one."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Heatmaps, LinePanel, Lines, Panel, Paragraph, Part, Series
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.rows import (
    KINDS,
    Axes,
    RowOf,
    by_direction,
    finite,
    grouped,
    number,
    object_words,
    placed,
    reasons,
)


def attribution_maps(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Per kind of state the approximate map of every direction, then exact against approximate."""
    there = placed(rows, "position")
    parts: list[Part] = [] if there else [*not_measured(rows)]
    for (kind, metric, target), chosen in grouped(there, "kind", "metric", "object").items():
        what = f"{KINDS.get(kind, kind)}, {object_words(target, fact)}"
        if kind != "head":
            parts += _figures(chosen, Axes.of(chosen, fact["entity"]), what, str(metric))
            continue
        for (position,), here in grouped(chosen, "position").items():
            place = f"{what}, token {position}"
            parts += _figures(here, Axes.of(here, fact["entity"], "head"), place, str(metric))
    return tuple(parts)


def _figures(rows: Sequence[RowOf], axes: Axes, what: str, metric: str) -> list[Part]:
    maps, plots, told, agreed, absent = [], [], [], [], []
    for direction, chosen in by_direction(rows).items():
        cells = axes.cells(chosen, "approx")
        if not finite(cells):
            absent.append(f"{direction}: {reasons(chosen) or 'nothing was measured'}")
            continue
        maps.append(Panel(direction, cells))
        told.append(f"{direction} {axes.peak(cells)}")
        agreed.append(f"{direction} {agreement(chosen)}")
        points = [(number(row["approx"]), number(row["exact"])) for row in chosen]
        points = [point for point in points if math.isfinite(sum(point))]
        if points:
            plots.append(LinePanel(direction, (_points(points), _equal(points))))
    parts: list[Part] = []
    if maps:
        parts.append(
            Heatmaps(
                title=f"Attribution patching, approximate: {what}",
                panels=tuple(maps),
                value_title=f"approximate effect on {metric}",
                caption=(
                    f"Largest, donor → host: {'; '.join(told)}. Rank correlation with the exact "
                    f"effect: {'; '.join(agreed)}."
                ),
                diverging=True,
                low_words="away from the donor",
                high_words="towards the donor",
                **axes.fields(),
            )
        )
    if plots:
        parts.append(
            Lines(
                title=f"Exact against approximate: {what}",
                panels=tuple(plots),
                x_title="approximate effect",
                y_title="exact effect",
                caption=f"Rank correlation: {'; '.join(agreed)}. Points off the line of equal "
                "effects are cells whose approximate value misleads.",
            )
        )
    parts += [Paragraph(f"{what}, {text}.", quiet=True) for text in absent]
    return parts


def agreement(rows: Sequence[RowOf]) -> str:
    """`ρ = 0.83 (n = 60 cells)`, as the table says it."""
    row = next((row for row in rows if row.get("rank_correlation") is not None), None)
    if row is None:
        return f"not known ({reasons(rows) or 'no cell was computed exactly'})"
    return f"ρ = {plain(float(row['rank_correlation']))} (n = {row.get('n_exact') or 0:.0f} cells)"


def _points(points: Sequence[tuple[float, float]]) -> Series:
    xs, ys = zip(*points, strict=True)
    return Series(name="cells of the sample", x=xs, y=ys, look="line 4", joined=False)


def _equal(points: Sequence[tuple[float, float]]) -> Series:
    ends = (min(map(min, points)), max(map(max, points)))
    return Series(name="equal effects", x=ends, y=ends, look="chance")
