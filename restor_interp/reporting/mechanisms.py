"""Mechanisms beyond their counts: why some are undetermined, what hangs on a threshold, and the
verdict on each fact with its evidence."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.reasons import counted_reasons
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.staircase import mechanisms
from restor_interp.reporting.vocabulary import order_states

UNDETERMINED = "undetermined"


def words(name: object) -> str:
    """`late_override` as words."""
    return str(name).replace("_", " ")


# ---- a run's


def mechanism_parts(run: RunResults) -> tuple[Part, ...]:
    """Mechanisms per state with transitions, why verdicts are missing, and their sensitivity."""
    return (*mechanisms(run), *why_undetermined(run), *sensitivity_table(run))


def why_undetermined(run: RunResults) -> tuple[Part, ...]:
    """A row per reason for which facts have no mechanism, with a count per state."""
    rows = [
        row
        for row in records(run.table("fates"))
        if row["mechanism"] in (None, UNDETERMINED) and row.get("mechanism_reason")
    ]
    if not rows:
        return ()
    states = order_states(row["state"] for row in rows)
    counts = {state: dict(_counted(rows, state)) for state in states}
    totals = Counter[str]()
    for own in counts.values():
        totals.update(own)
    lines = [
        Row((Text(reason), *(Number(counts[s].get(reason, 0), digits=0) for s in states)))
        for reason, _ in totals.most_common()
    ]
    undetermined = sum(row["mechanism"] == UNDETERMINED for row in rows)
    return (
        Table(
            (Column("Why", wide=True), *(Column(state, group="Facts") for state in states)),
            tuple(lines),
            caption=f"Why facts have no mechanism: {plural(len(rows) - undetermined, 'verdict')} "
            f"not attempted, {undetermined} undetermined.",
        ),
    )


def _counted(rows: Sequence[RowOf], state: str) -> list[tuple[str, int]]:
    return counted_reasons(str(r["mechanism_reason"]) for r in rows if r["state"] == state)


def sensitivity_table(run: RunResults) -> tuple[Part, ...]:
    """How many verdicts change when a threshold moves by a quarter, a row per threshold."""
    if not run.has("sensitivity"):
        return ()
    rows = records(run.table("sensitivity"))
    changes = sorted({row["change"] for row in rows})
    states = order_states(row["state"] for row in rows)
    sizes = {row["state"]: int(row["n_facts"]) for row in rows}
    changed: defaultdict[tuple[str, str, float], int] = defaultdict(int)
    for row in rows:
        changed[row["threshold"], row["state"], row["change"]] += int(row["n_changed"])
    names = list(dict.fromkeys(row["threshold"] for row in rows))
    lines = [
        Row(
            (
                Text(words(name)),
                *(
                    Number(changed[name, state, change], digits=0)
                    for state in states
                    for change in changes
                ),
            ),
            group="all" if name == "all" else "",
        )
        for name in names
    ]
    moved: Counter[tuple[str, float]] = Counter()
    for (name, _, change), number in changed.items():
        if name != "all":
            moved[name, change] += number
    (most, _), number = moved.most_common(1)[0]
    told = (
        f"at most {number} of {plural(sum(sizes.values()), 'verdict')} ({words(most)})"
        if number
        else f"none of {plural(sum(sizes.values()), 'verdict')}"
    )
    return (
        Table(
            (
                Column("Threshold"),
                *(
                    Column(f"{100 * change:+.0f}%".replace("-", "−"), group=f"{s} (n={sizes[s]})")
                    for s in states
                    for change in changes
                ),
            ),
            tuple(lines),
            caption=f"Verdicts that change when one threshold moves by a quarter: {told}.",
        ),
    )


# ---- an entity's


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
        Text(words(row["mechanism"]), detail=flags),
        Missing() if refuter is None else Text(str(refuter)),
        Text(evidence) if evidence else Missing(str(row.get("mechanism_reason") or "")),
    )


def evidence_of(results: EntityResults, fact_id: str) -> tuple[Part, ...]:
    """What is told of a fact in every state, a paragraph each."""
    own = {
        row["state"]: row
        for row in records(results.table("fates"), fact_id=fact_id)
        if row.get("evidence")
    }
    parts = []
    for state in order_states(own):
        row = own[state]
        named = f" ({words(row['mechanism'])})" if row["mechanism"] else ""
        parts.append(Paragraph(f"{state}{named}: {row['evidence']}"))
    return tuple(parts)
