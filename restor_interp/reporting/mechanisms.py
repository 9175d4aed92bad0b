"""Mechanisms of a run: why facts are where they are, how many had their refuter asked, what hangs
on a threshold, and which facts have none."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from restor_interp.explain.mechanism import MECHANISMS
from restor_interp.reporting.formats import plural
from restor_interp.reporting.glossary import MECHANISMS as MEANINGS
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
    Empty,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.reasons import counted_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states, state_kind

UNDETERMINED = "undetermined"


def words(name: object) -> str:
    """`late_override` as words."""
    return str(name).replace("_", " ")


def mechanism_parts(run: RunResults) -> tuple[Part, ...]:
    """Counts per state; folded, the way from the corrupted state, reasons and thresholds."""
    sure = (*transition_table(run), *why_undetermined(run), *sensitivity_table(run))
    if not sure:
        return mechanisms(run)
    told = told_of_thresholds(run)
    fold = Details("Transitions, reasons and thresholds", sure, told=told)
    return (*mechanisms(run), fold)


def _judged(run: RunResults) -> dict[str, list[RowOf]]:
    """State -> verdicts that name a mechanism, `undetermined` too."""
    rows = [row for row in records(run.table("fates")) if row["mechanism"] is not None]
    own = grouped(rows, "state")
    return {state: own[state,] for state in order_states(state for (state,) in own)}


def in_short(run: RunResults) -> tuple[Part, ...]:
    """The mechanisms of methods in a sentence, for the top of a page."""
    direct = {fact["fact_id"] for fact in run.facts if fact["role"] == "direct"}
    told = []
    for state, rows in _judged(run).items():
        own = [row for row in rows if row["fact_id"] in direct]
        if own and state_kind(state) == "method":
            counts = Counter(map(_claimed, own))
            found = ", ".join(f"{n} {name}" for name, n in counts.most_common())
            told.append(f"{state} {found} (of {len(own)} looked into)")
    if not told:
        return ()
    return (Paragraph(f"Why, of facts with a planted falsehood: {'; '.join(told)}."),)


def _claimed(row: RowOf) -> str:
    """A mechanism, and that nobody asked what would speak against it."""
    untested = " whose refuter was not measured" if row.get("refuter") == "not measured" else ""
    return f"{words(row['mechanism'])}{untested}"


def mechanisms(run: RunResults) -> tuple[Part, ...]:
    """Counts of mechanisms per state, and how many had their refuter asked."""
    own = _judged(run)
    if not own:
        return (Empty("No mechanism was determined.", run.command("retention")),)
    lines, told = [], []
    for state, chosen in own.items():
        counts = Counter(row["mechanism"] for row in chosen)
        refuters = Counter(row.get("refuter") for row in chosen)
        cells: list[Cell] = [Text(state), Number(len(chosen), digits=0)]
        cells += [Number(counts[name], digits=0) for name in MECHANISMS]
        cells += [Number(refuters[name], digits=0) for name in ("passed", "failed", "not measured")]
        lines.append(Row(tuple(cells), group=block(state)))
        told.append(f"{state} {len(chosen) - counts[UNDETERMINED]} of {len(chosen)}")
    return (
        Table(
            (
                Column("State"),
                Column("Facts", help="whose retention was measured"),
                *(
                    Column(words(name), help=MEANINGS[name], group="Mechanism")
                    for name in MECHANISMS
                ),
                Column("passed", group="Its refuter"),
                Column("failed", help="these are undetermined", group="Its refuter"),
                Column("not measured", group="Its refuter"),
            ),
            tuple(lines),
            caption="Why each fact is where it is; a refuter is what would speak against it. "
            f"Determined: {'; '.join(told)}.",
        ),
    )


def transition_table(run: RunResults) -> tuple[Part, ...]:
    """A row per change of mechanism since the corrupted state, with a count per state."""
    rows = records(run.tables["transitions"]) if run.has("transitions") else []
    moved: dict[tuple[Any, ...], list[RowOf]] = grouped(rows, "from", "to")
    if not moved:
        return ()
    states = order_states(row["state"] for row in rows)
    lines = []
    for (old, new), own in moved.items():
        counts = Counter[str]()
        for row in own:
            counts[row["state"]] += int(row["n_facts"] or 0)
        cells: list[Cell] = [Text(words(old)), Text(words(new))]
        cells += [Number(counts[state], digits=0) for state in states]
        lines.append(Row(tuple(cells)))
    stayed = sum(int(row["n_facts"] or 0) for row in rows if row["from"] == row["to"])
    total = sum(int(row["n_facts"] or 0) for row in rows)
    return (
        Table(
            (
                Column("When corrupted"),
                Column("Then"),
                *(Column(state, group="Facts") for state in states),
            ),
            tuple(lines),
            caption="From the mechanism of the corrupted state to that of each other one: "
            f"{stayed} of {plural(total, 'verdict')} stay.",
        ),
    )


def why_undetermined(run: RunResults) -> tuple[Part, ...]:
    """A row per reason for which the facts that were looked into have no mechanism."""
    rows = [row for row in records(run.table("fates")) if row.get("mechanism_reason")]
    undetermined = [row for row in rows if row["mechanism"] == UNDETERMINED]
    rest = [row for row in rows if row["mechanism"] is None]
    parts: list[Part] = []
    if undetermined:
        states = order_states(row["state"] for row in undetermined)
        counts = {state: dict(_counted(undetermined, state)) for state in states}
        totals = Counter[str]()
        for own in counts.values():
            totals.update(own)
        lines = [
            Row((Text(reason), *(Number(counts[s].get(reason, 0), digits=0) for s in states)))
            for reason, _ in totals.most_common()
        ]
        parts.append(
            Table(
                (Column("Why", wide=True), *(Column(state, group="Facts") for state in states)),
                tuple(lines),
                caption=f"Why {plural(len(undetermined), 'verdict')} are undetermined."
                if len(undetermined) > 1
                else "Why 1 verdict is undetermined.",
            )
        )
    if rest:
        why = counted_reasons(str(row["mechanism_reason"]) for row in rest)
        told = "; ".join(f"{reason} ({number})" for reason, number in why)
        parts.append(
            Paragraph(f"Not attempted: {plural(len(rest), 'verdict')}: {told}.", quiet=True)
        )
    return tuple(parts)


def _counted(rows: Sequence[RowOf], state: str) -> list[tuple[str, int]]:
    return counted_reasons(str(r["mechanism_reason"]) for r in rows if r["state"] == state)


# ---- thresholds


def _changed(rows: Sequence[RowOf]) -> dict[tuple[str, str, float], int]:
    """(threshold, state, change) -> verdicts that it changes."""
    changed: defaultdict[tuple[str, str, float], int] = defaultdict(int)
    for row in rows:
        changed[row["threshold"], row["state"], row["change"]] += int(row["n_changed"] or 0)
    return dict(changed)


def told_of_thresholds(run: RunResults) -> str:
    """How many verdicts change when a threshold moves by a quarter; empty where nobody asked."""
    if not run.has("sensitivity"):
        return ""
    rows = records(run.table("sensitivity"))
    total = sum({row["state"]: int(row["n_facts"] or 0) for row in rows}.values())
    moved: Counter[tuple[str, float]] = Counter()
    for (name, _, change), number in _changed(rows).items():
        moved[name, change] += number
    alone = [(number, name) for (name, _), number in moved.items() if name != "all"]
    most, name = max(alone, default=(0, ""))
    told = f"at most {most} of {plural(total, 'verdict')} ({words(name)})"
    if not most:
        told = f"none of {plural(total, 'verdict')}"
    together = max((number for (name, _), number in moved.items() if name == "all"), default=None)
    more = "" if together is None else f", all at once {together or 'none'}"
    return f"Moving one threshold by a quarter changes {told}{more}."


def sensitivity_table(run: RunResults) -> tuple[Part, ...]:
    """How many verdicts change when a threshold moves by a quarter: a row per threshold that any
    verdict hangs on."""
    if not run.has("sensitivity"):
        return ()
    rows = records(run.table("sensitivity"))
    changed, told = _changed(rows), told_of_thresholds(run)
    changes = sorted({row["change"] for row in rows})
    states = order_states(row["state"] for row in rows)
    sizes = {row["state"]: int(row["n_facts"] or 0) for row in rows}
    names = list(dict.fromkeys(row["threshold"] for row in rows))
    alone = [name for name in names if name != "all"]
    matter = [n for n in names if any(c for (of, _, _), c in changed.items() if of == n)]
    if not matter:
        return (Paragraph(f"{told} Moved: {', '.join(map(words, alone))}.", quiet=True),)
    lines = [
        Row(
            (
                Text(words(name)),
                *(
                    Number(changed.get((name, state, change), 0), digits=0)
                    for state in states
                    for change in changes
                ),
            ),
            group="all" if name == "all" else "",
        )
        for name in matter
    ]
    left = len(alone) - sum(name != "all" for name in matter)
    rest = f" {plural(left, 'further threshold')} changed none." if left else ""
    return (
        Table(
            (
                Column("Threshold"),
                *(
                    Column(
                        f"{100 * change:+.0f}%".replace("-", "−"),
                        help="verdicts that change when the threshold is moved by so much",
                        group=f"{s} (n={sizes[s]})",
                    )
                    for s in states
                    for change in changes
                ),
            ),
            tuple(lines),
            caption=f"{told}{rest}",
        ),
    )
