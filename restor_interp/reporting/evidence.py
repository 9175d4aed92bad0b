"""Verdicts on an entity's facts: mechanism, refuter and evidence, in a table and in words."""

from collections import Counter

from restor_interp.reporting.mechanisms import UNDETERMINED, words
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
    Missing,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import EntityResults, records
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.vocabulary import order_states


def mechanism_table(results: EntityResults) -> tuple[Part, ...]:
    """Every verdict on this entity's facts: mechanism, refuter and evidence, a row per state."""
    own = [row for row in records(results.table("fates")) if row["mechanism"] is not None]
    rows = grouped(own, "fact_id")
    lines = []
    for fact in results.facts:
        verdicts = {row["state"]: row for row in rows.get((fact["fact_id"],), [])}
        for state in order_states(verdicts):
            row = verdicts[state]
            cells = (Text(str(fact["question"])), Text(state), *_verdict_cells(row))
            lines.append(Row(cells, key=fact["fact_id"], group=fact["fact_id"]))
    if not lines:
        return ()
    counts = Counter((row["state"], words(row["mechanism"])) for row in own)
    told = [
        f"{state} {', '.join(f'{n} {name}' for (of, name), n in counts.items() if of == state)}"
        for state in order_states(state for state, _ in counts)
    ]
    return (
        Table(
            (
                Column("Question", wide=True),
                Column("State"),
                Column("Mechanism", help="why the fact is where it is in this state"),
                Column("Refuter", help="what would speak against the mechanism"),
                Column("Evidence", wide=True),
            ),
            tuple(lines),
            caption=f"Why: {'; '.join(told)}.",
        ),
    )


def _verdict_cells(row: RowOf) -> tuple[Cell, Cell, Cell]:
    flags = str(row.get("flags") or "").replace("_", " ")
    evidence = str(row.get("evidence") or "")
    refuter = row.get("refuter")
    return (
        Text(_named(row), detail=flags),
        Missing() if refuter is None else Text(str(refuter)),
        Text(evidence) if evidence else Missing(str(row.get("mechanism_reason") or "")),
    )


def _named(row: RowOf) -> str:
    """The mechanism; where it is not claimed, also what the shares speak for."""
    suspected = row.get("suspected") or UNDETERMINED
    told = words(row["mechanism"])
    is_open = row["mechanism"] == UNDETERMINED != suspected
    return f"{told}; suspected: {words(suspected)}" if is_open else told


def evidence_of(results: EntityResults, fact_id: str) -> tuple[Part, ...]:
    """What is told of a fact: a paragraph per state whose mechanism was asked for, the others
    folded."""
    own = {
        row["state"]: row
        for row in records(results.table("fates"), fact_id=fact_id)
        if row.get("evidence")
    }
    judged, others = [], []
    for state in order_states(own):
        row = own[state]
        named = f" ({_named(row)})" if row["mechanism"] else ""
        into = judged if row["mechanism"] else others
        into.append(Paragraph(f"{state}{named}: {row['evidence']}"))
    if not judged or not others:
        return (*judged, *others)
    return (*judged, Details("What is known of it in the other states", tuple(others)))
