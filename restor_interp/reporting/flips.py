"""The flip matrix: how answers went from the clean over the corrupted to every unlearned state."""

from typing import Any

from restor_interp.explain.flips import OUTCOMES, UNMEASURED
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
    Empty,
    Mark,
    Number,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults, records, where
from restor_interp.reporting.vocabulary import order_states


def flip_tables(run: RunResults) -> tuple[Part, ...]:
    """Counts of facts by their three outcomes: facts with a planted falsehood, and all others."""
    if not run.has("flips"):
        return (Empty("Flips were not counted in this run.", run.command()),)
    table = run.table("flips")
    direct = where(table, role="direct")
    others = table.loc[~table["role"].eq("direct")]
    parts: list[Part] = []
    if len(direct):
        parts.append(_matrix(records(direct), "facts with a planted falsehood"))
    for role in dict.fromkeys(others["role"]):
        name = f"Facts in the role {role}"
        parts.append(Details(name, (_matrix(records(where(others, role=role)), name),)))
    return tuple(parts)


def _matrix(rows: list[dict[str, Any]], what: str) -> Table:
    ends = [o for o in OUTCOMES if any(row["unlearned"] == o for row in rows)]
    paths = [
        (clean, corrupted)
        for clean in OUTCOMES
        for corrupted in OUTCOMES
        if any((row["clean"], row["corrupted"]) == (clean, corrupted) for row in rows)
    ]
    lines = []
    for state in order_states(row["state"] for row in rows):
        counts = {
            (row["clean"], row["corrupted"], row["unlearned"]): int(row["n_facts"])
            for row in rows
            if row["state"] == state
        }
        for path in paths:
            numbers = [counts.get((*path, end), 0) for end in ends]
            if any(numbers):
                cells: list[Cell] = [Text(state), _mark(path[0]), _mark(path[1])]
                cells += [Number(float(number), digits=0) for number in numbers]
                lines.append(Row(tuple(cells), group=state))
    columns = (
        Column("State"),
        Column("Clean"),
        Column("Corrupted"),
        *(Column(end, group="Now") for end in ends),
    )
    return Table(
        columns,
        tuple(lines),
        caption=f"Flips of {what}: how many facts were answered how by the clean, the corrupted "
        "and this state (the outcome of most contexts).",
    )


def _mark(outcome: str) -> Cell:
    return Text(outcome) if outcome == UNMEASURED else Mark(outcome)
