"""Tables that only this run has, of a user's analyses: shown without being known, by what their
columns are called."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from restor_interp.reporting.characters import one_line
from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
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
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.vocabulary import order_states
from restor_interp.store import TABLES

SHOWN_ELSEWHERE = ("trials", "selection", "equal_forgetting")
"""Tables of a sweep, which has a section of its own."""
LIMITS = "A table of this run's own. What it cannot show is told where it is made."
MOST_ROWS = 40
"""Rows that are written out; of longer tables the means by state are."""
MOST_PLOTS = 3
_KEYS = (
    *("fact_id", "state", "layer", "position", "head", "context_id", "draw", "seed", "reason"),
    *("template", "step"),
)
"""Columns that say what a row is about, and are no measurement."""


def names_of_own_tables(run: RunResults) -> tuple[str, ...]:
    """The tables that only this run has, those with rows."""
    known = (*TABLES, *SHOWN_ELSEWHERE)
    return tuple(name for name in run.tables if name not in known and run.has(name))


def own_tables(run: RunResults) -> tuple[Part, ...]:
    """A fold per table: means by layer and state, and the rows or their means by state."""
    folds = []
    for name in names_of_own_tables(run):
        rows = records(run.table(name))
        told = f"{plural(len(rows), 'row')}, columns {', '.join(map(str, rows[0]))}"
        folds.append(
            Details(
                f"Table {name}",
                (Paragraph(LIMITS, quiet=True), *own_table(name, rows)),
                told=one_line(told),
            )
        )
    return tuple(folds)


def own_table(name: str, rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """What can be drawn of rows that nobody here knows."""
    measured = _measured(rows)
    parts: list[Part] = []
    if any(row.get("layer") is not None for row in rows):
        parts += [plot for column in measured[:MOST_PLOTS] for plot in _lines(name, rows, column)]
    parts.append(_rows(name, rows) if len(rows) <= MOST_ROWS else _means(name, rows, measured))
    why = common_reasons(rows)
    if why:
        parts.append(Paragraph(f"Rows with a reason: {why}.", quiet=True))
    return tuple(parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _measured(rows: Sequence[RowOf]) -> list[str]:
    """Columns that hold numbers or yes and no, and nothing else."""
    found = []
    for column in rows[0]:
        values = [row.get(column) for row in rows if row.get(column) is not None]
        if column not in _KEYS and values and all(isinstance(v, int | float) for v in values):
            found.append(column)
    return found


def _lines(name: str, rows: Sequence[RowOf], column: str) -> tuple[Part, ...]:
    chosen = [row for row in rows if row.get("layer") is not None]
    own = grouped(chosen, "state")
    lines, told = [], []
    for state in order_states(str(state) for (state,) in own if state is not None) or (None,):
        values = by_layer(own.get((state,), chosen), column)
        if values:
            label = state or "all rows"
            xs, ys = tuple(values), tuple(values.values())
            lines.append(Series(name=label, x=xs, y=ys, look=state or "line 1"))
            most = max(values, key=lambda layer: values[layer])
            told.append(f"{label} {plain(values[most], 3)} at layer {most:g}")
    if not lines:
        return ()
    return (
        Lines(
            title=f"{name}: {column}",
            panels=(LinePanel("", tuple(lines)),),
            x_title="layer",
            y_title=str(column),
            caption=f"Means over n = {len(chosen)} rows, by layer. Highest: {'; '.join(told)}.",
        ),
    )


def _means(name: str, rows: Sequence[RowOf], measured: Sequence[str]) -> Table:
    own = grouped(rows, "state")
    states = order_states(str(state) for (state,) in own if state is not None)
    groups = {state: own[state,] for state in states} or {"all rows": list(rows)}
    lines = []
    for label, some in groups.items():
        cells: list[Cell] = [Text(label), Number(len(some), digits=0)]
        for column in measured:
            values = pd.Series([number(row.get(column)) for row in some]).dropna()
            cells.append(Number(float(values.mean()), digits=3) if len(values) else Missing())
        lines.append(Row(tuple(cells)))
    return Table(
        (Column("State"), Column("Rows"), *(Column(str(c), group="Mean") for c in measured)),
        tuple(lines),
        caption=f"Table {name}: means of its numbers by state, n = {len(rows)} rows.",
    )


def _rows(name: str, rows: Sequence[RowOf]) -> Table:
    columns = [c for c in rows[0] if any(row.get(c) is not None for row in rows) and c != "seed"]
    lines = [Row(tuple(_cell(row.get(column)) for column in columns)) for row in rows]
    return Table(
        tuple(Column(str(column)) for column in columns),
        tuple(lines),
        caption=f"Table {name}: all of its {plural(len(rows), 'row')}.",
    )


def _cell(value: Any) -> Cell:
    if value is None:
        return Missing()
    if _is_number(value):
        return Number(value, digits=0 if float(value).is_integer() else 3)
    return Text(str(value))
