"""Judges of answers: how far they agree, and what each says of one fact."""

from collections import Counter
from collections.abc import Sequence

from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Mark,
    Missing,
    Number,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

LIMITS = (
    "Fates are made from the outcomes of the rule that compares with aliases. Judges that agree "
    "may be wrong together."
)


def agreement_table(run: RunResults) -> tuple[Part, ...]:
    """Cohen's kappa of every two judges, a row per state."""
    rows = records(run.table("agreement"))
    if not rows:
        return ()
    pairs = grouped(rows, "judge_a", "judge_b")
    own = {(row["state"], row["judge_a"], row["judge_b"]): row for row in rows}
    lines = []
    for state in order_states(row["state"] for row in rows):
        cells: list[Cell] = [Text(state)]
        for pair in pairs:
            row = own.get((state, *pair))
            cells += _agreement(row)
        lines.append(Row(tuple(cells), group=block(state)))
    told = []
    for (one, other), some in pairs.items():
        values = [number(row["kappa"]) for row in some if row["kappa"] is not None]
        ends = f"{plain(min(values))} to {plain(max(values))}" if values else "not measured"
        told.append(f"{one} and {other} {ends}")
    columns = [Column("State")]
    for one, other in pairs:
        group = f"{one} · {other}"
        columns += [
            Column("kappa", help="1: always the same; 0: as by chance", group=group),
            Column("failed", help="answers that one of the two could not judge", group=group),
        ]
    return (
        Table(
            tuple(columns),
            tuple(lines),
            caption=f"How far judges of answers agree, Cohen's kappa: {'; '.join(told)}. {LIMITS}",
        ),
    )


def _agreement(row: RowOf | None) -> tuple[Cell, Cell]:
    if row is None:
        return Missing(), Missing()
    failed = Missing() if row["failed"] is None else Number(row["failed"], digits=0)
    if row["kappa"] is None:
        return Missing(str(row.get("reason") or "")), failed
    n = None if row["n"] is None else int(row["n"])
    return Number(row["kappa"], low=row["low"], high=row["high"], n=n), failed


def judgement_table(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """What each judge made of the answers to one fact: a row per state, a column per judge."""
    del fact
    own = grouped(rows, "state", "judge")
    judges = list(dict.fromkeys(row["judge"] for row in rows))
    lines = []
    for state in order_states(row["state"] for row in rows):
        cells = (_judged(own.get((state, judge), [])) for judge in judges)
        lines.append(Row((Text(state), *cells), group=block(state)))
    n = sum(row["outcome"] is not None for row in rows)
    return (
        Table(
            (Column("State"), *(Column(str(judge), group="Judge") for judge in judges)),
            tuple(lines),
            caption=f"What judges say of the answers, the most frequent outcome (n = "
            f"{plural(n, 'judgement')}).",
        ),
    )


def _judged(rows: Sequence[RowOf]) -> Cell:
    counts = Counter(row["outcome"] for row in rows if row["outcome"] is not None)
    if not counts:
        return Missing(common_reasons(rows))
    outcome, k = counts.most_common(1)[0]
    return Mark(str(outcome), detail=f"{k}/{counts.total()}")
