"""Heat maps: columns at whole numbers, one scale for all panels, signs on what has no colour."""

import html
import math
from collections.abc import Sequence
from typing import Any

from restor_interp.reporting.characters import one_line, shorten, token_label, visible
from restor_interp.reporting.figures.drawing import (
    HOVERED,
    LABEL,
    Drawing,
    escaped,
    hover_text,
    layout_of,
    rounded,
    title_of,
)
from restor_interp.reporting.figures.likeliest import packed_map
from restor_interp.reporting.parts import Heatmaps, Panel
from restor_interp.reporting.vocabulary import CIVIDIS, RED_BLUE


def heat_map(plot: Heatmaps, panel: Panel) -> Drawing:
    low, high = plot.limits()
    colours = RED_BLUE if plot.diverging else CIVIDIS
    columns, whole = list(map(escaped, plot.columns)), plot.columns
    if plot.tokens:
        columns = [html.escape(token_label(name), quote=False) for name in plot.columns]
        whole = tuple(token_label(name, HOVERED) for name in plot.columns)
    rows = [escaped(name) for name in plot.rows]
    values = [[rounded(value, max(-low, high)) for value in row] for row in panel.values]
    steps = len(colours) - 1
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": values,
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "zmin": rounded(low),
        "zmax": rounded(high),
        "colorscale": [[index / steps, colour] for index, colour in enumerate(colours)],
        "showscale": False,
        "zsmooth": False,
        "hoverongaps": False,
        "xgap": 1 if plot.written else 0,
        "ygap": 1 if plot.written else 0,
        "meta": [escaped(plot.row_title), escaped(plot.column_title), escaped(plot.value_title)],
        "hovertemplate": (
            "%{meta[0]} %{customdata[1]}<br>%{meta[1]} %{customdata[0]}"
            "<br>%{meta[2]} <b>%{z}</b><extra></extra>"
        ),
    }
    if plot.written:
        heat["texttemplate"] = "%{z:.1f}"
        heat["textfont"] = {"size": 11}
    if panel.likeliest:
        heat["texttemplate"] = "%{text}"
        heat["textfont"] = {"size": 10}
        heat["hovertemplate"] = (
            "%{meta[0]} %{customdata[1]}<br>%{meta[1]} %{customdata[0]}"
            "<br>%{customdata[2]}<extra></extra>"
        )
    longest = max(
        (len(name) for name in (shorten(one_line(r), LABEL) for r in plot.rows)), default=1
    )
    slanted = plot.tokens or (not plot.written and max(map(len, plot.columns), default=0) > 4)
    few_rows = len(rows) <= 20
    tall = 22 if few_rows else 16 if panel.likeliest else 12
    height = max(120, len(rows) * tall) + (84 if slanted else 70)
    layout = layout_of(height)
    layout["xaxis"] |= {
        "tickvals": _some(len(columns), 40 if slanted else 12),
        "ticktext": _picked(columns, _some(len(columns), 40 if slanted else 12)),
        "range": [-0.5, len(columns) - 0.5],
        "title": title_of(plot.column_title),
        "showgrid": False,
    }
    shown = list(range(len(rows))) if few_rows else _some(len(rows), 12)
    # Upright where they fit, which depends on the width of the window.
    layout["xaxis"] |= {"autotickangles": [0, -60, -90]} if slanted else {"tickangle": 0}
    layout["yaxis"] |= {
        "tickvals": shown,
        "ticktext": _picked(rows, shown),
        "range": [-0.5, len(rows) - 0.5],
        "title": title_of(plot.row_title),
        "showgrid": False,
    }
    layout["shapes"] = [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": first - 0.5,
            "x1": last + 0.5,
            "y0": 0,
            "y1": 1,
            "fillcolor": "rgba(0,0,0,0)",
            "line": {"width": 1.5, "dash": "dot", "color": "#9aa3ad"},
        }
        for first, last in _runs(plot.subject)
    ]
    marks = _marks(panel, low, high)
    width = 90 + 6 * longest + max(len(columns) * (20 if slanted else 6), 160)
    most = 90 + 6 * longest + max(len(columns) * 72, 220)
    if plot.written:
        width = 90 + 6 * longest + 64 * len(columns)
        most = width + 46 * len(columns)
    if panel.likeliest:
        width = 90 + 6 * longest + 54 * len(columns)
        most = width + 30 * len(columns)
    return Drawing(
        name=panel.name,
        figure={"data": [heat, *marks], "layout": layout},
        names={"x": [visible(name) for name in plot.columns], "y": list(map(visible, plot.rows))},
        labels={"x": list(map(hover_text, whole)), "y": list(map(hover_text, plot.rows))},
        height=height,
        width=width if panel.likeliest else min(width, 900),
        most=most,
        likeliest=packed_map(panel.likeliest) if panel.likeliest else None,
    )


def _runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of every run of neighbouring numbers."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def _marks(panel: Panel, low: float, high: float) -> list[dict[str, Any]]:
    """Signs on the cells whose colour does not tell their value."""
    kinds = (
        ("x-thin", "not measured", lambda value: not math.isfinite(value)),
        ("triangle-down-open", "below the scale", lambda v: math.isfinite(v) and v < low),
        ("triangle-up-open", "above the scale", lambda v: math.isfinite(v) and v > high),
    )
    traces = []
    for symbol, words, holds in kinds:
        cells = [
            (column, row)
            for row, values in enumerate(panel.values)
            for column, value in enumerate(values)
            if holds(value)
        ]
        if cells:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": [column for column, _ in cells],
                    "y": [row for _, row in cells],
                    "marker": {
                        "symbol": symbol,
                        "size": 6,
                        "color": "#76808c",
                        "line": {"width": 1.5, "color": "#76808c"},
                    },
                    "hovertemplate": words + "<extra></extra>",
                    "showlegend": False,
                }
            )
    return traces


def _some(count: int, most: int) -> list[int]:
    """Evenly spaced places out of `count`, at most `most`, from the first on."""
    step = max(1, math.ceil(count / most))
    return list(range(0, count, step))


def _picked(labels: Sequence[str], places: Sequence[int]) -> list[str]:
    return [labels[place] for place in places]
