"""The states of a run beside each other: what each says, what came back, and how sure that is.

Counts are of fates, made here from the tables. Intervals, tests and whatever is scored on other
contexts than facts were chosen on come from the table `summary`, where the run has one: nothing is
inferred in a report. Without it, intervals are Wilson's, over facts, and differences have none.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from restor_interp.explain.fate import FATES_OF_LOST, FATES_OF_SURVIVED
from restor_interp.reporting.counts import (
    FateCounts,
    fate_counts,
    mean,
    object_scores,
    right_answers,
    states_with_fates,
)
from restor_interp.reporting.formats import (
    mark_sign,
    p_text,
    plain,
    plural,
    share,
    share_text,
)
from restor_interp.reporting.parts import (
    Bars,
    Callout,
    Cell,
    Column,
    Empty,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Share,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.summary import (
    HELD_OUT,
    gap_to_sham,
    held_out_rows,
    number_or_none,
    summary_number,
    summary_row,
)
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import FATES, ROLES, state_kind


def fate_share(run: RunResults, state: str, fate: str, counts: FateCounts) -> Share:
    """How many facts met a fate, of the lost or of the surviving ones.

    The interval is that of `summary`, over entities, where it counts the same facts.
    """
    k, n = counts.of(fate), counts.lost if fate in FATES_OF_LOST else counts.survived
    row = summary_row(run, state, "direct", fate)
    low, high = (
        (None, None) if row is None else (number_or_none(row["low"]), number_or_none(row["high"]))
    )
    if row is None or low is None or high is None or row["n_facts"] != n:
        return share(k, n)
    return Share(k, n, low=low, high=high)


def p_false(run: RunResults, state: str, scores: Mapping[tuple[str, str], Any]) -> Number | None:
    """Geometric mean probability of the planted falsehoods; `scores` of `object_scores`."""
    known = summary_number(run, state, "direct", "p_false", small=True)
    if known is not None:
        return known
    direct = {fact["fact_id"] for fact in run.facts if fact["role"] == "direct"}
    values = [s.false for (fact_id, at), s in scores.items() if at == state and fact_id in direct]
    return Number(math.exp(mean(values)), small=True, n=len(values)) if values else None


def accuracy(run: RunResults, state: str, role: str) -> Number | None:
    """Share of right answers to the facts of a role."""
    known = summary_number(run, state, role, "accuracy", percent=True, digits=0)
    if known is not None:
        return known
    right, asked = right_answers(run, state, (role,))
    return Number(right / asked, percent=True, digits=0, n=asked) if asked else None


# ---- the verdict on the run


def run_verdict(run: RunResults) -> tuple[Part, ...]:
    """What corruption took and what came back beyond the sham, with counts."""
    sentence = verdict_on_run(run)
    if not sentence:
        return (Empty("No method has been judged yet.", run.command("fates")),)
    return (Callout(sentence, tone="verdict"), *controls_in_short(run))


def controls_in_short(run: RunResults) -> tuple[Part, ...]:
    """What the controls restored: what a method is worth beside them."""
    counts = {s: fate_counts(run, s) for s in states_with_fates(run)}
    beside = [s for s in counts if state_kind(s) in ("sham", "retain_only", "rollback", "repair")]
    told = [f"{s} {counts[s].of('restored')} of {counts[s].lost}" for s in beside]
    if not told or not counts[beside[0]].lost:
        return ()
    return (Paragraph(f"Controls beside the methods restored: {'; '.join(told)}."),)


def verdict_on_run(run: RunResults) -> str:
    """The same as text; empty where no method has been judged."""
    states = states_with_fates(run)
    methods = [state for state in states if state_kind(state) == "method"]
    if not methods:
        return ""
    counts = {state: fate_counts(run, state) for state in states}
    # The best of many is partly luck, and without a sham nobody can say how much: the sentence is
    # about the methods that have one.
    judged = [state for state in methods if f"sham_{state}" in counts] or methods
    best = max(judged, key=lambda state: counts[state].of("restored"))
    lost, restored = counts[best].lost, counts[best].of("restored")
    took = (
        f"Corruption took {plural(lost, 'fact')} with a planted falsehood that the clean model knew"
    )
    if lost == 0:
        return f"{took}: there was nothing to restore."
    if not any(counts[state].of("restored") for state in methods):
        by_chance = [
            f"{state} restored {counts[state].of('restored')}"
            for state in states
            if state_kind(state) == "sham" and counts[state].of("restored")
        ]
        without = "" if not by_chance else f", while without the false documents {by_chance[0]}"
        return f"{took}. No method restored any of them{without}."
    most = (
        f"{best} restored {restored}"
        if len(judged) == 1
        else f"Most came back with {best}: {restored} restored"
    )
    sentence = f"{took}. {most}"
    sentence += f" ({share_text(fate_share(run, best, 'restored', counts[best]))})"
    sham, gap = f"sham_{best}", gap_to_sham(run, best)
    if sham in counts:
        sentence += (
            "; its sham, which never saw the false documents, restored "
            f"{counts[sham].of('restored')}"
        )
    if gap is None:
        return f"{sentence}. Without a sham beside it, the method's own effect is not known."
    if gap.low is None:
        return f"{sentence}. {best} minus its sham: {gap.text()}."
    says = "restores more than its sham" if gap.is_shown else "is not shown to restore more"
    return f"{sentence}. {best} {says}: {_held_out_shares(run, best)}{gap.text()}."


def _held_out_shares(run: RunResults, state: str) -> str:
    """What the difference is made of: it is scored on other contexts than the counts, and over
    entities, so that it need not have the sign that the counts have."""
    rows = [summary_row(run, name, "direct", HELD_OUT) for name in (state, f"sham_{state}")]
    shares = [None if row is None else number_or_none(row["value"]) for row in rows]
    if None in shares:
        return ""
    mine, sham = (plain(100 * share, 0) for share in shares if share is not None)
    return f"in contexts that did not choose the facts {mine}% against {sham}%, over entities "


def not_beyond_sham(run: RunResults) -> tuple[Part, ...]:
    """Methods that are not shown to restore more than their sham, or have none."""
    parts = []
    for state in states_with_fates(run):
        if state_kind(state) != "method":
            continue
        gap = gap_to_sham(run, state)
        if gap is None:
            parts.append(f"{state} has no sham in this run, so its own effect is not known.")
        elif not gap.is_shown and (gap.low is not None or gap.value <= 0):
            parts.append(f"{state} is not shown to restore more than its sham: {gap.text()}.")
    return tuple(Paragraph(text) for text in parts)


# ---- the table


def state_table(run: RunResults) -> Table:
    """A row per state: what it says, and what became of the facts."""
    roles = [role for role in ROLES if any(fact["role"] == role for fact in run.facts)]
    with_fates, scores = states_with_fates(run), object_scores(run)
    counts = {state: fate_counts(run, state) for state in with_fates}
    notes = [row["note"] for row in held_out_rows(run) if row.get("note")]
    rows = []
    for state in run.states:
        cells: list[Cell] = [Text(state), p_false(run, state, scores) or Missing()]
        cells += [accuracy(run, state, role) or Missing() for role in roles]
        cells += _fate_cells(run, state, FATES_OF_LOST, counts.get(state))
        cells += _beyond_cells(run, state)
        cells += _fate_cells(run, state, FATES_OF_SURVIVED, counts.get(state))
        rows.append(Row(tuple(cells), group=block(state)))
    caption = (
        "A row per state. Fates count facts with a planted falsehood that the clean model knows "
        "and cannot guess; below each number its share and 95% interval (over entities, where the "
        "run has it; else Wilson's, over facts)."
    )
    if notes:
        caption += (
            f" Held out: facts {notes[0]}; minus sham and mde (the smallest difference that such "
            "a run would find in 4 of 5 cases) in points."
        )
    return Table(
        _columns(run, roles, next(iter(counts.values()), None)), tuple(rows), caption=caption
    )


def _columns(
    run: RunResults, roles: Sequence[str], counts: FateCounts | None
) -> tuple[Column, ...]:
    lost = f"Of {plural(counts.lost, 'lost fact')}" if counts else "Of lost facts"
    survived = f"Of {counts.survived} that survived" if counts else "Of those that survived"

    def fates(names: Sequence[str], group: str) -> list[Column]:
        signs = [mark_sign(name) for name in names]
        return [Column(sign.word, help=sign.meaning, group=group) for sign in signs]

    columns = [
        Column("State"),
        Column("p(false)", help="geometric mean probability of the planted falsehoods"),
        *(Column(role, help=ROLES[role], group="Answers right") for role in roles),
        *fates(FATES_OF_LOST, lost),
    ]
    held_out = bool(held_out_rows(run))
    minus_sham = Column(
        "minus sham",
        help="points by which the restored share exceeds that of the same method on documents "
        "about other entities; p of a sign-flip test over entities",
        group="Held out" if held_out else lost,
    )
    if held_out:
        says = "share of the lost facts that is right on contexts that did not choose them"
        columns.append(Column("restored", help=says, group="Held out"))
        columns.append(minus_sham)
        says = "points: the smallest true difference that such a run finds in 4 of 5 cases"
        columns.append(Column("mde", help=says, group="Held out"))
    else:
        columns.append(minus_sham)
    return (*columns, *fates(FATES_OF_SURVIVED, survived))


def _fate_cells(
    run: RunResults, state: str, fates: Sequence[str], counts: FateCounts | None
) -> list[Cell]:
    if counts is None:
        return [Missing()] * len(fates)
    return [fate_share(run, state, fate, counts) for fate in fates]


def _beyond_cells(run: RunResults, state: str) -> list[Cell]:
    """What exceeds the sham's; before it the held-out share, after it the mde, if there are any."""
    gap = gap_to_sham(run, state)
    number: Cell = Missing()
    if gap is not None:
        number = Number(
            100 * gap.value,
            digits=0,
            signed=True,
            low=None if gap.low is None else 100 * gap.low,
            high=None if gap.high is None else 100 * gap.high,
            detail="" if gap.p is None else p_text(gap.p),
        )
    if not held_out_rows(run):
        return [number]
    held_out = summary_number(run, state, "direct", HELD_OUT, percent=True, digits=0)
    mde = None if gap is None else gap.mde
    found = Missing() if mde is None else Number(100 * mde, digits=0)
    return [held_out or Missing(), number, found]


# ---- the bars


def fate_bars(run: RunResults) -> tuple[Part, ...]:
    """The fates of the facts with a planted falsehood, a bar per state."""
    states = states_with_fates(run)
    if not states:
        return (Empty("Fates have not been determined.", run.command("fates")),)
    counts = {state: fate_counts(run, state) for state in states}
    fates = [fate for fate in FATES if any(counts[state].of(fate) for state in states)]
    told = "; ".join(
        f"{state} {counts[state].of('restored')} restored, "
        f"{counts[state].of('still_false')} still false"
        for state in states
        if state_kind(state) in ("method", "sham")
    )
    return (
        Bars(
            title="What became of the facts with a planted falsehood",
            categories=states,
            segments=tuple((f, tuple(counts[s].of(f) for s in states)) for f in fates),
            value_title="facts",
            caption=f"{told or 'No method was run'}.",
        ),
    )
