"""The subject's own vector, read by a host that is asked about a placeholder."""

import math
from collections.abc import Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plural, signed
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.rows import RowOf, grouped, number, reasons
from restor_interp.reporting.vocabulary import order_states

METRIC = "logodds"


def description_lines(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Log-odds by layer that the vector is taken from, beside other entities' vectors; a panel per
    state and host, a figure per place that it is put in."""
    del fact
    chosen = [row for row in rows if row["metric"] == METRIC]
    parts: list[Part] = []
    same = [row for row in chosen if row.get("same_layer")]
    parts += _figure(same, "its own layer")
    for (into,), some in grouped((r for r in chosen if not r.get("same_layer")), "into").items():
        parts += _figure(some, f"layer {into}")
    left = reasons(chosen)
    if left:
        parts.append(Paragraph(f"No control: {left}.", quiet=True))
    return tuple(parts)


def _figure(rows: Sequence[RowOf], into: str) -> tuple[Part, ...]:
    groups = grouped(rows, "state", "host")
    states = order_states(name for pair in groups for name in pair)
    order = sorted(groups, key=lambda pair: (pair[1] != "clean", *map(states.index, pair)))
    panels, told, controls = [], [], 0
    depth = len({row["layer"] for row in rows})
    for state, host in order:
        own = groups[state, host]
        controls = max(controls, *(int(number(row.get("n_controls") or 0)) for row in own))
        lines = _lines(own)
        if lines:
            panels.append(LinePanel(f"{state}, read by {host}", tuple(lines)))
            told.append(f"{panels[-1].name}: {_best(lines)}")
    if not panels:
        return ()
    return (
        Lines(
            title=f"What a host says of the subject's vector alone, put in at {into}",
            panels=tuple(panels),
            x_title="layer that the vector is taken from",
            y_title="log-odds true : false, nats",
            caption=f"Control: vectors of {plural(controls, 'other entity').replace('ys', 'ies')} "
            f"from the same state. Furthest above it, of n = {depth} layers: {'; '.join(told)}.",
        ),
    )


def _lines(rows: Sequence[RowOf]) -> list[Series]:
    names = {
        "value": ("the subject's vector", "line 1"),
        "control_value": ("other entities' vectors", "control"),
        "host_value": ("the placeholder itself", "chance"),
    }
    lines = []
    for column, (name, look) in names.items():
        values = by_layer((row for row in rows if row.get(column) is not None), column)
        if values:
            xs, ys = tuple(values), tuple(values.values())
            lines.append(Series(name=name, x=xs, y=ys, look=look))
    return lines


def _best(lines: Sequence[Series]) -> str:
    own = dict(zip(lines[0].x, lines[0].y, strict=True))
    control = next((line for line in lines if line.look == "control"), None)
    beside = {} if control is None else dict(zip(control.x, control.y, strict=True))
    layer = max(own, key=lambda at: own[at] - beside.get(at, 0.0))
    other = beside.get(layer, math.nan)
    told = f"control {signed(other)}" if math.isfinite(other) else "no control"
    return f"{signed(own[layer])} at layer {layer:g} ({told})"
