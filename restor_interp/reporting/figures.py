"""Plots as plotly figures: plain dictionaries, ready for JSON.

Columns stand at whole numbers and get their names as tick texts, because plotly merges columns of
equal names (plotly/plotly.js#1516) and a sentence repeats its tokens. All text is escaped here,
exactly once: plotly reads a little HTML in every text it draws. Nothing from the data stands in a
`hovertemplate`, which is a template language of its own.
"""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restor_interp.reporting.characters import one_line, shorten, token_label, visible
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import (
    AmountPanel,
    Amounts,
    Bars,
    Heatmaps,
    LinePanel,
    Lines,
    Panel,
    Plot,
    Series,
)
from restor_interp.reporting.vocabulary import (
    CIVIDIS,
    CONTROL_LOOK,
    FALSE_LOOK,
    FATES,
    RED_BLUE,
    TRUE_LOOK,
    ink_on,
    look_of,
)

LABEL = 36
"""Code points of a row's or category's name in a plot."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One plotly figure and the room it needs."""

    name: str
    """The panel's name, shown above it."""
    figure: dict[str, Any]
    """`data` and `layout`, of JSON values."""
    names: dict[str, list[str]]
    """Names of x = 0, 1, … and y = 0, 1, … where these have names: uncut, not escaped."""
    labels: dict[str, list[str]]
    """The same, cut and escaped. The page's script copies them into each point's `customdata`,
    which the hover text shows; writing them out here would triple the size of a page."""
    height: int
    """Pixels."""
    width: int
    """Least width in pixels at which labels do not collide."""


def draw(plot: Plot) -> tuple[Drawing, ...]:
    """The figures of a plot, one per panel; panels share their scales."""
    match plot:
        case Heatmaps():
            return tuple(_map(plot, panel) for panel in plot.panels)
        case Lines():
            limits = _y_limits(plot)
            return tuple(_lines(plot, panel, limits) for panel in plot.panels)
        case Bars():
            return (_bars(plot),)
        case Amounts():
            limits = _amount_limits(plot)
            return tuple(_amounts(plot, panel, limits) for panel in plot.panels)


def escaped(text: str, limit: int = LABEL) -> str:
    """Any text as plotly shows it literally: one visible line, cut, `<`, `>` and `&` escaped."""
    return html.escape(shorten(one_line(text), limit), quote=False)


def note_on(plot: Heatmaps | Lines | Amounts) -> str:
    """The sentence that counts what a plot cannot show; empty where there is nothing to tell."""
    flaws, told = plot.flaws(), []
    if not isinstance(plot, Heatmaps):
        return f"Not drawn: {plural(flaws.not_finite, 'point')}." if flaws.not_finite else ""
    if flaws.not_finite:
        told.append(f"{flaws.not_finite} not measured (marked ×)")
    if flaws.below:
        told.append(f"{flaws.below} below the scale (marked ▽)")
    if flaws.above:
        told.append(f"{flaws.above} above the scale (marked △)")
    return f"Cells: {', '.join(told)}." if told else ""


# ---- heat maps


def _map(plot: Heatmaps, panel: Panel) -> Drawing:
    low, high = plot.limits()
    colours = RED_BLUE if plot.diverging else CIVIDIS
    label = token_label if plot.tokens else one_line
    columns = [html.escape(label(name), quote=False) for name in plot.columns]
    rows = [escaped(name) for name in plot.rows]
    values = [[_rounded(value, max(-low, high)) for value in row] for row in panel.values]
    steps = len(colours) - 1
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": values,
        "x": list(range(len(columns))),
        "y": list(range(len(rows))),
        "zmin": _rounded(low),
        "zmax": _rounded(high),
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
    longest = max(
        (len(name) for name in (shorten(one_line(r), LABEL) for r in plot.rows)), default=1
    )
    slanted = plot.tokens or (not plot.written and max(map(len, plot.columns), default=0) > 4)
    few_rows = len(rows) <= 20
    height = max(120, len(rows) * (22 if few_rows else 12)) + (84 if slanted else 70)
    layout = _layout(height)
    layout["xaxis"] |= {
        "tickvals": _some(len(columns), 40 if slanted else 12),
        "ticktext": _picked(columns, _some(len(columns), 40 if slanted else 12)),
        "tickangle": -60 if slanted else 0,
        "range": [-0.5, len(columns) - 0.5],
        "title": _title(plot.column_title),
        "showgrid": False,
    }
    shown = list(range(len(rows))) if few_rows else _some(len(rows), 12)
    layout["yaxis"] |= {
        "tickvals": shown,
        "ticktext": _picked(rows, shown),
        "range": [-0.5, len(rows) - 0.5],
        "title": _title(plot.row_title),
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
    if plot.written:
        width = 90 + 6 * longest + 64 * len(columns)
    return Drawing(
        name=panel.name,
        figure={"data": [heat, *marks], "layout": layout},
        names={"x": [visible(name) for name in plot.columns], "y": list(map(visible, plot.rows))},
        labels={"x": columns, "y": rows},
        height=height,
        width=min(width, 900),
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


# ---- lines


def _lines(plot: Lines, panel: LinePanel, limits: list[float] | None) -> Drawing:
    order = line_names(plot)
    scale = 0.0 if plot.log or not limits else max(map(abs, limits))
    traces: list[dict[str, Any]] = []
    for series in panel.series:
        traces += _line(plot, series, f"l{order.index(series.name)}", scale)
    height = 300 if len(plot.panels) == 1 else 220
    layout = _layout(height)
    layout["yaxis"] |= {"title": _title(plot.y_title)}
    if plot.log:
        layout["yaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    if limits:
        layout["yaxis"]["range"] = limits
    layout["xaxis"] |= {"title": _title(plot.x_title)}
    if plot.x_labels:
        labels = [escaped(name) for name in plot.x_labels]
        layout["xaxis"] |= {
            "tickvals": list(range(len(labels))),
            "ticktext": labels,
            "tickangle": -35,
            "range": [-0.4, len(labels) - 0.6],
        }
    return Drawing(
        name=panel.name,
        figure={"data": traces, "layout": layout},
        names={"x": [visible(name) for name in plot.x_labels]} if plot.x_labels else {},
        labels={"x": [escaped(name) for name in plot.x_labels]} if plot.x_labels else {},
        height=height,
        width=280 if len(plot.panels) == 1 else 250,
    )


def line_names(plot: Lines) -> list[str]:
    """The names of a plot's lines, each once; trace number n of the script's legend is `l<n>`."""
    return list(dict.fromkeys(line.name for panel in plot.panels for line in panel.series))


def _line(plot: Lines, series: Series, group: str, scale: float) -> list[dict[str, Any]]:
    look = look_of(series.look)
    xs = [_rounded(x) for x in series.x]
    hidden = [plot.log and y <= 0 for y in series.y]
    ys = [None if hide else _rounded(y, scale) for y, hide in zip(series.y, hidden, strict=True)]
    name = escaped(series.name, 48) + (f" (n={series.n})" if series.n is not None else "")
    line: dict[str, Any] = {
        "type": "scatter",
        "mode": _mode(series),
        "name": name,
        "legendgroup": group,
        "x": xs,
        "y": ys,
        "line": {"color": look.colour, "dash": look.dash, "width": 1 if series.thin else 2},
        "marker": {
            "symbol": look.symbol,
            "size": 7,
            "color": look.colour,
            "maxdisplayed": 12 if series.joined else 0,
        },
        "connectgaps": False,
        "hovertemplate": "%{fullData.name}<br>%{customdata}: <b>%{y:.3~g}</b><extra></extra>",
    }
    if not series.low:
        return [line]
    finite = [
        (x, low, high)
        for x, low, high in zip(series.x, series.low, series.high, strict=True)
        if math.isfinite(low + high) and not (plot.log and low <= 0)
    ]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": [_rounded(x) for x, _, _ in finite] + [_rounded(x) for x, _, _ in reversed(finite)],
        "y": [_rounded(high, scale) for _, _, high in finite]
        + [_rounded(low, scale) for _, low, _ in reversed(finite)],
        "fill": "toself",
        "fillcolor": _translucent(look.colour),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "name": name,
        "legendgroup": group,
        "meta": "band",
    }
    return [band, line]


def _mode(series: Series) -> str:
    if not series.joined:
        return "markers"
    return "lines" if series.look == "chance" or series.thin else "lines+markers"


def _y_limits(plot: Lines) -> list[float] | None:
    """One range for all panels, so that equal heights mean equal values."""
    values = [
        value
        for panel in plot.panels
        for series in panel.series
        for value in (*series.y, *series.low, *series.high)
        if math.isfinite(value) and not (plot.log and value <= 0)
    ]
    if not values:
        return None
    return _with_room([math.log10(value) for value in values] if plot.log else values)


def _with_room(values: Sequence[float]) -> list[float]:
    """The ends of an axis on which all of these can be seen."""
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.5
    return [_limit(low - room), _limit(high + room)]


# ---- bars


def _bars(plot: Bars) -> Drawing:
    categories = [escaped(name) for name in plot.categories]
    traces = []
    for name, counts in plot.segments:
        sign = FATES[name]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": f"{sign.glyph} {sign.word}",
                "x": list(counts),
                "y": list(range(len(categories))),
                "text": [f"{sign.glyph} {count}" if count else "" for count in counts],
                "textposition": "inside",
                "insidetextanchor": "middle",
                "textangle": 0,
                "insidetextfont": {"color": ink_on(sign.colour), "size": 12},
                "marker": {"color": sign.colour, "line": {"width": 1, "color": "#ffffff"}},
                "hovertemplate": "%{customdata}<br>%{fullData.name}: <b>%{x}</b><extra></extra>",
            }
        )
    height = 26 * len(categories) + 60
    layout = _layout(height)
    layout |= {"barmode": "stack", "bargap": 0.25, "uniformtext": {"mode": "hide", "minsize": 9}}
    layout["xaxis"] |= {"title": _title(plot.value_title), "rangemode": "tozero"}
    layout["yaxis"] |= {
        "tickvals": list(range(len(categories))),
        "ticktext": categories,
        "autorange": "reversed",
        "showgrid": False,
    }
    return Drawing(
        name="",
        figure={"data": traces, "layout": layout},
        names={"y": [visible(name) for name in plot.categories]},
        labels={"y": categories},
        height=height,
        width=320,
    )


def _amounts(plot: Amounts, panel: AmountPanel, limits: list[float]) -> Drawing:
    names = [escaped(bar.name) for bar in panel.amounts]
    places = list(range(len(names)))
    bars: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "name": escaped(plot.value_title, 80),
        "x": [_rounded(bar.value) for bar in panel.amounts],
        "y": places,
        "marker": {
            "color": [(FALSE_LOOK if bar.value < 0 else TRUE_LOOK).colour for bar in panel.amounts]
        },
        "hovertemplate": "%{customdata}<br>%{fullData.name}: <b>%{x}</b><extra></extra>",
    }
    traces = [bars]
    measured = [(place, bar) for place, bar in enumerate(panel.amounts) if bar.control is not None]
    if measured:
        ends = [(_end(bar.low, bar.control), _end(bar.high, bar.control)) for _, bar in measured]
        values = [_end(bar.control, math.nan) for _, bar in measured]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": escaped(plot.control_words, 80),
                "x": [_rounded(value) for value in values],
                "y": [place for place, _ in measured],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [
                        _rounded(high - v) for (_, high), v in zip(ends, values, strict=True)
                    ],
                    "arrayminus": [
                        _rounded(v - low) for (low, _), v in zip(ends, values, strict=True)
                    ],
                    "color": CONTROL_LOOK.colour,
                    "thickness": 2,
                    "width": 5,
                },
                "marker": {
                    "symbol": "diamond",
                    "size": 8,
                    "color": "#ffffff",
                    "line": {"width": 2, "color": CONTROL_LOOK.colour},
                },
                "hovertemplate": "%{customdata}<br>%{fullData.name}: <b>%{x}</b><extra></extra>",
            }
        )
    height = 22 * len(names) + 72
    layout = _layout(height)
    layout |= {"bargap": 0.25}
    # the page's legend tells the unit: beside long names an axis has no room for it
    layout["xaxis"] |= {"range": limits, "zeroline": True}
    layout["yaxis"] |= {
        "tickvals": places,
        "ticktext": names,
        "range": [len(names) - 0.5, -0.5],
        "showgrid": False,
    }
    return Drawing(
        name=panel.name,
        figure={"data": traces, "layout": layout},
        names={"y": [visible(bar.name) for bar in panel.amounts]},
        labels={"y": names},
        height=height,
        width=300,
    )


def _end(value: float | None, otherwise: float | None) -> float:
    found = otherwise if value is None else value
    return math.nan if found is None else found


def _amount_limits(plot: Amounts) -> list[float]:
    """One range for all panels, with 0 in it."""
    values = [
        value
        for panel in plot.panels
        for bar in panel.amounts
        for value in (bar.value, bar.control, bar.low, bar.high)
        if value is not None and math.isfinite(value)
    ]
    return _with_room([0.0, *values])


# ---- what all have in common


def _layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12},
        "hoverlabel": {"align": "left", "font": {"family": _FONT, "size": 12}},
        "showlegend": False,
        "xaxis": {"automargin": True, "ticks": "", "zeroline": False},
        "yaxis": {"automargin": True, "ticks": "", "zeroline": False},
    }


def _title(text: str) -> dict[str, Any]:
    return {"text": escaped(text, 80), "standoff": 6, "font": {"size": 12}}


def _rounded(value: float, scale: float = 0.0) -> float | None:
    """Four significant digits, an integer where it is one; None where it is not finite.

    With a `scale`, to the fourth digit of that: more of a small value cannot be seen on a scale
    that holds large ones, and digits of noise are most of the size of a page.
    """
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    if scale > 0:
        short = round(short, 3 - math.floor(math.log10(scale)))
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def _limit(value: float) -> float:
    return float(f"{value:.4g}")


def _some(count: int, most: int) -> list[int]:
    """Evenly spaced places out of `count`, at most `most`, from the first on."""
    step = max(1, math.ceil(count / most))
    return list(range(0, count, step))


def _picked(labels: Sequence[str], places: Sequence[int]) -> list[str]:
    return [labels[place] for place in places]


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
