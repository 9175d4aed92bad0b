"""Bars: counts of fates that are stacked, and signed amounts beside their controls."""

import math
from typing import Any

from restor_interp.reporting.characters import visible
from restor_interp.reporting.figures.drawing import (
    Drawing,
    escaped,
    hover_text,
    layout_of,
    rounded,
    title_of,
    with_room,
)
from restor_interp.reporting.parts import AmountPanel, Amounts, Bars
from restor_interp.reporting.vocabulary import CONTROL_LOOK, FALSE_LOOK, FATES, TRUE_LOOK, ink_on


def fate_bars(plot: Bars) -> Drawing:
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
    layout = layout_of(height)
    layout |= {"barmode": "stack", "bargap": 0.25, "uniformtext": {"mode": "hide", "minsize": 9}}
    layout["xaxis"] |= {"title": title_of(plot.value_title), "rangemode": "tozero"}
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
        labels={"y": list(map(hover_text, plot.categories))},
        height=height,
        width=320,
        most=1000,
    )


def amount_bars(plot: Amounts, panel: AmountPanel, limits: list[float]) -> Drawing:
    names = [escaped(bar.name) for bar in panel.amounts]
    places = list(range(len(names)))
    bars: dict[str, Any] = {
        "type": "bar",
        "orientation": "h",
        "name": escaped(plot.value_title, 80),
        "x": [rounded(bar.value) for bar in panel.amounts],
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
                "x": [rounded(value) for value in values],
                "y": [place for place, _ in measured],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [rounded(high - v) for (_, high), v in zip(ends, values, strict=True)],
                    "arrayminus": [
                        rounded(v - low) for (low, _), v in zip(ends, values, strict=True)
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
    layout = layout_of(height)
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
        labels={"y": [hover_text(bar.name) for bar in panel.amounts]},
        height=height,
        width=300,
        most=760,
    )


def _end(value: float | None, otherwise: float | None) -> float:
    found = otherwise if value is None else value
    return math.nan if found is None else found


def amount_limits(plot: Amounts) -> list[float]:
    """One range for all panels, with 0 in it."""
    values = [
        value
        for panel in plot.panels
        for bar in panel.amounts
        for value in (bar.value, bar.control, bar.low, bar.high)
        if value is not None and math.isfinite(value)
    ]
    return with_room([0.0, *values])
