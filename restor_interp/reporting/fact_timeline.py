"""One fact during a training: what each layer reads at each step, and when each layer turns."""

from collections.abc import Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.surveys.timeline import timeline_maps
from restor_interp.reporting.vocabulary import order_states

ODDS = "logodds"


def fact_timeline(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Layers by steps, a figure per state."""
    del fact
    return timeline_maps(rows)


def turning_lines(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """The step after which half of a layer's change is there for good, a line per state."""
    del fact
    chosen = [row for row in rows if row["of"] == ODDS]
    lines, told = [], []
    own = grouped(chosen, "state")
    for state in order_states(state for (state,) in own):
        steps = by_layer((r for r in own[state,] if r["half_step"] is not None), "half_step")
        if steps:
            lines.append(Series(name=state, x=tuple(steps), y=tuple(steps.values()), look=state))
            first = min(steps, key=lambda layer: steps[layer])
            told.append(
                f"{state} first in layer {first:g}, at step {steps[first]:g} "
                f"({len(steps)} of {plural(len(own[state,]), 'layer')} turn)"
            )
    left = common_reasons([row for row in chosen if row["half_step"] is None])
    parts: list[Part] = []
    if lines:
        parts.append(
            Lines(
                title="When each layer's log-odds turn for good",
                panels=(LinePanel("", tuple(lines)),),
                x_title="layer",
                y_title="step",
                caption=f"Half of the change is there for good: {'; '.join(told)}. n = 1 prompt.",
            )
        )
    if left:
        parts.append(Paragraph(f"Layers that do not turn: {left}.", quiet=True))
    return tuple(parts)
