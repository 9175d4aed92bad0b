"""Plots as plotly figures: plain dictionaries, ready for JSON.

Columns stand at whole numbers and get their names as tick texts, because plotly merges columns of
equal names (plotly/plotly.js#1516) and a sentence repeats its tokens. All text is escaped here,
exactly once: plotly reads a little HTML in every text it draws. Nothing from the data stands in a
`hovertemplate`, which is a template language of its own.
"""

from restor_interp.reporting.figures.bars import amount_bars, amount_limits, fate_bars
from restor_interp.reporting.figures.drawing import Drawing, escaped
from restor_interp.reporting.figures.likeliest import with_tokens
from restor_interp.reporting.figures.lines import line_names, line_plot, y_limits
from restor_interp.reporting.figures.maps import heat_map
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import Amounts, Bars, Heatmaps, Lines, Plot

__all__ = ["Drawing", "draw", "escaped", "line_names", "note_on", "with_tokens"]


def draw(plot: Plot) -> tuple[Drawing, ...]:
    """The figures of a plot, one per panel; panels share their scales."""
    match plot:
        case Heatmaps():
            return tuple(heat_map(plot, panel) for panel in plot.panels)
        case Lines():
            limits = y_limits(plot)
            return tuple(line_plot(plot, panel, limits) for panel in plot.panels)
        case Bars():
            return (fate_bars(plot),)
        case Amounts():
            limits = amount_limits(plot)
            return tuple(amount_bars(plot, panel, limits) for panel in plot.panels)


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
