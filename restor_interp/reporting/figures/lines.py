"""Lines with their bands, over numbers or named places; panels share both axes."""

import math
from typing import Any

from restor_interp.reporting.characters import visible
from restor_interp.reporting.figures.drawing import (
    Drawing,
    escaped,
    hover_text,
    label_lines,
    layout_of,
    rounded,
    title_of,
    with_room,
)
from restor_interp.reporting.figures.likeliest import packed_line
from restor_interp.reporting.parts import LinePanel, Lines, Series
from restor_interp.reporting.vocabulary import look_of


def line_plot(plot: Lines, panel: LinePanel, limits: list[float] | None) -> Drawing:
    order = line_names(plot)
    scale = 0.0 if plot.log or not limits else max(map(abs, limits))
    traces: list[dict[str, Any]] = []
    for series in panel.series:
        traces += _line(plot, series, f"l{order.index(series.name)}", scale)
    if panel.likeliest:
        for trace in traces:
            if "hovertemplate" in trace:
                trace["hovertemplate"] = (
                    "%{meta[0]}<br>%{customdata[0]}: <b>%{y:.3~g}</b>"
                    "<br>%{customdata[1]}<extra></extra>"
                )
    height = 300 if len(plot.panels) == 1 else 220
    layout = layout_of(height)
    layout["yaxis"] |= {"title": title_of(plot.y_title)}
    if plot.log:
        layout["yaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    if limits:
        layout["yaxis"]["range"] = limits
    layout["xaxis"] |= {"title": title_of(plot.x_title)}
    if plot.x_labels:
        labels = [label_lines(name) for name in plot.x_labels]
        layout["xaxis"] |= {
            "tickvals": list(range(len(labels))),
            "ticktext": labels,
            "autotickangles": [0, -35, -90],
            "range": [-0.4, len(labels) - 0.6],
        }
    return Drawing(
        name=panel.name,
        figure={"data": traces, "layout": layout},
        names={"x": [visible(name) for name in plot.x_labels]} if plot.x_labels else {},
        labels={"x": [hover_text(name) for name in plot.x_labels]} if plot.x_labels else {},
        height=height,
        width=280 if len(plot.panels) == 1 else 250,
        most=900 if len(plot.panels) == 1 else 620,
        likeliest=packed_line(panel.likeliest, rounded) if panel.likeliest else None,
    )


def line_names(plot: Lines) -> list[str]:
    """The names of a plot's lines, each once; trace number n of the script's legend is `l<n>`."""
    return list(dict.fromkeys(line.name for panel in plot.panels for line in panel.series))


def _line(plot: Lines, series: Series, group: str, scale: float) -> list[dict[str, Any]]:
    look = look_of(series.look)
    xs = [rounded(x) for x in series.x]
    hidden = [plot.log and y <= 0 for y in series.y]
    ys = [None if hide else rounded(y, scale) for y, hide in zip(series.y, hidden, strict=True)]
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
        "meta": [hover_text(series.name)],
        "hovertemplate": "%{meta[0]}<br>%{customdata}: <b>%{y:.3~g}</b><extra></extra>",
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
        "x": [rounded(x) for x, _, _ in finite] + [rounded(x) for x, _, _ in reversed(finite)],
        "y": [rounded(high, scale) for _, _, high in finite]
        + [rounded(low, scale) for _, low, _ in reversed(finite)],
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


def y_limits(plot: Lines) -> list[float] | None:
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
    return with_room([math.log10(value) for value in values] if plot.log else values)


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"
