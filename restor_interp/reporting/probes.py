"""Probes of a run: what each reads from every layer, with every control beside it and chance below.

They are fitted over all entities, so they stand on the run's page alone, folded by probe.
"""

import math
from collections.abc import Mapping, Sequence

from restor_interp.reporting.counts import mean
from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
    Empty,
    LinePanel,
    Lines,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.vocabulary import order_states, state_kind

LIMITS = (
    "What a probe reads is there to be read; that the model uses it is not shown. A probe says "
    "something only where it is above all of its controls."
)
KIND = ("metric", "position", "fitted_on")
_CONTROL_LOOKS = ("control", "control 2", "control 3", "control 4", "control 5")


def probe_parts(run: RunResults) -> tuple[Part, ...]:
    """A fold per probe: the table of its highest values, then a figure per metric, position and
    state that it was fitted on."""
    if not run.has("probes"):
        return (Empty("No probe was fitted.", run.command("probes")),)
    parts: list[Part] = [Paragraph(LIMITS, quiet=True)]
    for (probe,), rows in grouped(records(run.table("probes")), "probe").items():
        metrics = list(dict.fromkeys(row["metric"] for row in rows))
        kinds = grouped(sorted(rows, key=lambda row: metrics.index(row["metric"])), *KIND)
        plots = (_curves(own, str(probe), *kind) for kind, own in kinds.items())
        inside = (_highest(kinds, str(probe)), *(p for p in plots if p), *_reasons(rows))
        parts.append(Details(f"Probe {probe}", inside, told=_in_short(rows)))
    return tuple(parts)


def _values(rows: Sequence[RowOf], state: str) -> dict[float, float]:
    """Layer -> what the probe reads in a state; every control repeats it."""
    return by_layer((row for row in rows if row["state"] == state), "value")


def _controls(rows: Sequence[RowOf]) -> dict[str, dict[float, float]]:
    """Control -> layer -> value, mean over states; none that was not measured."""
    own = grouped((row for row in rows if row["control"]), "control")
    found = {str(name): by_layer(some, "control_value") for (name,), some in own.items()}
    return {name: values for name, values in found.items() if values}


def _states(rows: Sequence[RowOf]) -> tuple[str, ...]:
    return order_states(str(row["state"]) for row in rows if row["state"] is not None)


def _top(values: Mapping[float, float]) -> tuple[float, float]:
    """(value, layer) where it is highest."""
    layer = max(values, key=lambda at: values[at])
    return values[layer], layer


def _in_short(rows: Sequence[RowOf]) -> str:
    """The first metric: highest value per state and of all controls, over layers and positions."""
    metric, fitted_on = rows[0]["metric"], rows[0]["fitted_on"]
    kinds = grouped(
        (row for row in rows if (row["metric"], row["fitted_on"]) == (metric, fitted_on)),
        "position",
    )
    shown = [s for s in _states(rows) if state_kind(s) in ("clean", "corrupted", "method")]
    told = []
    for state in shown:
        tops = [_top(values)[0] for own in kinds.values() if (values := _values(own, state))]
        if tops:
            told.append(f"{state} {plain(max(tops))}")
    beside = [_top(values)[0] for own in kinds.values() for values in _controls(own).values()]
    if not told:
        return "nothing was measured"
    control = f"its controls at most {plain(max(beside))}" if beside else "no control"
    return f"{metric} at most {', '.join(told)}; {control}"


def _highest(kinds: Mapping[tuple[str, ...], Sequence[RowOf]], probe: str) -> Table:
    """A row per kind: each state's highest value with its layer, and the highest control's."""
    states = [
        state
        for state in _states([row for rows in kinds.values() for row in rows])
        if state_kind(state) in ("clean", "corrupted", "method")
    ]
    lines = []
    for (metric, position, fitted_on), rows in kinds.items():
        values = [_values(rows, state) for state in states]
        controls = _controls(rows)
        cells: list[Cell] = [Text(str(metric)), Text(str(position)), Text(str(fitted_on))]
        cells += [_top_cell(own) for own in values]
        name = max(controls, key=lambda of: _top(controls[of])[0], default="")
        cells.append(_top_cell(controls.get(name, {}), name))
        chance = by_layer((row for row in rows if row.get("chance") is not None), "chance")
        cells.append(Number(mean(chance.values())) if chance else Missing())
        cells.append(Number(_n(rows), digits=0))
        lines.append(Row(tuple(cells), group=str(metric)))
    return Table(
        (
            Column("Metric"),
            Column("Position"),
            Column("Fitted on"),
            *(Column(state, group="Highest over layers") for state in states),
            Column("control", help="the highest of all controls", group="Highest over layers"),
            Column("Chance"),
            Column("n"),
        ),
        tuple(lines),
        caption=f"Probe {probe}: the highest value over layers, and of all controls. The highest "
        "of many has luck in it, for states and controls alike.",
    )


def _top_cell(values: Mapping[float, float], name: str = "") -> Cell:
    if not values:
        return Missing()
    value, layer = _top(values)
    return Number(value, detail=f"layer {layer:g}" + (f", {name}" if name else ""))


def _n(rows: Sequence[RowOf]) -> int:
    return max((int(row["n"]) for row in rows if row["n"] is not None), default=0)


def _curves(
    rows: Sequence[RowOf], probe: str, metric: str, position: str, fitted_on: str
) -> Part | None:
    series, told, n = [], [], _n(rows)
    for state in _states(rows):
        values = _values(rows, state)
        if values:
            xs, ys = tuple(values), tuple(values.values())
            series.append(Series(name=state, x=xs, y=ys, look=state, n=n))
            value, layer = _top(values)
            told.append(f"{state} {plain(value)} at layer {layer:g}")
    if not series:
        return None
    for number, (control, values) in enumerate(_controls(rows).items()):
        look = _CONTROL_LOOKS[min(number, len(_CONTROL_LOOKS) - 1)]
        ys = tuple(values.values())
        series.append(Series(name=f"control: {control}", x=tuple(values), y=ys, look=look))
        told.append(f"control {control} at most {plain(max(ys))}")
    chances = by_layer((row for row in rows if row.get("chance") is not None), "chance")
    if chances:
        ys = tuple(chances.values())
        series.append(Series(name="chance", x=tuple(chances), y=ys, look="chance"))
        told.append(f"chance {plain(mean(ys))}")
    return Lines(
        title=f"Probe {probe}: {metric} at {position}, fitted on {fitted_on}",
        panels=(LinePanel("", tuple(series)),),
        x_title="layer",
        y_title=str(metric),
        caption=f"Over all entities of the run (n = {n}). Highest: {'; '.join(told)}.",
    )


def _reasons(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    left = [row for row in rows if row["value"] is None or not math.isfinite(row["value"])]
    bare = [row for row in rows if row not in left and row["control_value"] is None]
    # A control's reason begins with the word.
    bare = [{"reason": str(row.get("reason") or "").removeprefix("control: ")} for row in bare]
    told = [("Not measured", common_reasons(left)), ("No control", common_reasons(bare))]
    return tuple(Paragraph(f"{what}: {why}.", quiet=True) for what, why in told if why)
