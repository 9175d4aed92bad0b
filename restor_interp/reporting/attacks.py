"""What one fact's answers become under attacks: relearning, other wordings, and the like."""

from collections import Counter
from collections.abc import Sequence

from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import Cell, Column, Mark, Missing, Part, Row, Table, Text
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.vocabulary import order_states


def attack_table(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """A row per attack and step, a column per state: the outcome that most answers have."""
    del fact
    moments = grouped(rows, "attack", "step")
    states = order_states(row["state"] for row in rows)
    lines, held = [], Counter[str]()
    for (attack, step), own in moments.items():
        cells: list[Cell] = [Text(str(attack)), Text("" if step is None else f"{step:g}")]
        for state in states:
            cell = _outcome([row for row in own if row["state"] == state])
            held[state] += isinstance(cell, Mark) and cell.name == "true"
            cells.append(cell)
        lines.append(Row(tuple(cells), group=str(attack)))
    told = "; ".join(f"{state} {held[state]}" for state in states)
    return (
        Table(
            (
                Column("Attack"),
                Column("Step", help="of training, or the level of the attack; 0: before it"),
                *(Column(state, group="Outcome of most answers") for state in states),
            ),
            tuple(lines),
            caption=f"Right in so many of n = {plural(len(moments), 'moment')}: {told}.",
        ),
    )


def _outcome(rows: Sequence[RowOf]) -> Cell:
    counts = Counter(row["outcome"] for row in rows if row["outcome"] is not None)
    if not counts:
        return Missing(common_reasons(rows))
    outcome, k = counts.most_common(1)[0]
    return Mark(str(outcome), detail=f"{k}/{counts.total()}")
