"""The sections of a run's first page: the states compared, the entities, and what is missing."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from restor_interp.reporting.counts import (
    fate_counts,
    mean,
    object_scores,
    right_answers,
    states_with_fates,
    unmeasured,
)
from restor_interp.reporting.formats import mark_sign, plural, share, share_text, signed
from restor_interp.reporting.parts import (
    Bars,
    Callout,
    Cell,
    Code,
    Column,
    Details,
    Empty,
    EntityLink,
    FateBar,
    KeyValues,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import FATES, FATES_OF_LOST, ROLES, state_kind

MOST_PROVENANCE = 80
"""Entries of a manifest that are shown; the file itself has all."""


def run_verdict(run: RunResults) -> tuple[Part, ...]:
    """What corruption took and what came back, in a sentence with counts."""
    states = states_with_fates(run)
    methods = [state for state in states if state_kind(state) == "method"]
    if not methods:
        return (Empty("No method has been judged yet.", run.command("fates")),)
    counts = {state: fate_counts(run, state) for state in states}
    best = max(methods, key=lambda state: counts[state].of("restored"))
    lost = counts[best].lost
    sentence = (
        f"Corruption took {plural(lost, 'fact')} with a planted falsehood that the clean model "
        f"knew. Most came back with {best}: {counts[best].of('restored')} restored "
        f"({share_text(share(counts[best].of('restored'), lost))})"
    )
    sham = f"sham_{best}"
    if sham in counts:
        sentence += (
            f"; its sham, which never saw the false documents, restored "
            f"{counts[sham].of('restored')}"
        )
    return (Callout(f"{sentence}.", tone="verdict"),)


# ---- the table of states


def state_table(run: RunResults) -> Table:
    """A row per state: what it says, and what became of the facts. The terminal shows it too."""
    roles = [role for role in ROLES if any(fact["role"] == role for fact in run.facts)]
    with_fates = states_with_fates(run)
    some = fate_counts(run, with_fates[0]) if with_fates else None
    lost = f"Of {plural(some.lost, 'lost fact')}" if some else "Of lost facts"
    survived = f"Of {some.survived} that survived" if some else "Of those that survived"
    says = "Answers right"
    columns = [
        Column("State"),
        Column("p(false)", help="geometric mean probability of the planted falsehoods"),
        *(Column(role, help=ROLES[role], group=says) for role in roles),
        *(
            Column(mark_sign(fate).word, help=mark_sign(fate).meaning, group=lost)
            for fate in FATES_OF_LOST
        ),
        Column(
            "minus sham",
            help="restored share minus that of the same method on documents about other entities",
            group=lost,
        ),
        *(
            Column(mark_sign(fate).word, help=mark_sign(fate).meaning, group=survived)
            for fate in ("kept", "collateral")
        ),
    ]
    scores = object_scores(run)
    rows = [
        Row(
            (
                Text(state),
                _p_false(run, state, scores),
                *(_accuracy(run, state, role) for role in roles),
                *_fate_cells(run, state, with_fates),
            ),
            group=block(state),
        )
        for state in run.states
    ]
    return Table(
        tuple(columns),
        tuple(rows),
        caption=(
            "A row per state. Fates count facts with a planted falsehood that the clean model "
            "knows and cannot guess; below each number its share and 95% interval (over entities, "
            "where the run has it; else Wilson's, over facts)."
        ),
    )


def summary_number(
    run: RunResults, state: str, role: str, metric: str, **look: Any
) -> Number | None:
    """A number of the table `summary` with its interval; None where the table has none."""
    rows = records(run.table("summary"), state=state, role=role, metric=metric)
    if not rows or rows[0]["value"] is None:
        return None
    row = rows[0]
    return Number(
        float(row["value"]),
        low=None if row["low"] is None else float(row["low"]),
        high=None if row["high"] is None else float(row["high"]),
        n=None if row["n_facts"] is None else int(row["n_facts"]),
        **look,
    )


def _p_false(run: RunResults, state: str, scores: Mapping[tuple[str, str], Any]) -> Cell:
    known = summary_number(run, state, "direct", "p_false", small=True)
    if known is not None:
        return known
    direct = {fact["fact_id"] for fact in run.facts if fact["role"] == "direct"}
    values = [s.false for (fact_id, at), s in scores.items() if at == state and fact_id in direct]
    if not values:
        return Missing()
    return Number(math.exp(mean(values)), small=True, n=len(values))


def _accuracy(run: RunResults, state: str, role: str) -> Cell:
    known = summary_number(run, state, role, "accuracy", percent=True, digits=0)
    if known is not None:
        return known
    right, asked = right_answers(run, state, (role,))
    return Number(right / asked, percent=True, digits=0, n=asked) if asked else Missing()


def _fate_cells(run: RunResults, state: str, with_fates: Sequence[str]) -> list[Cell]:
    if state not in with_fates:
        return [Missing()] * (len(FATES_OF_LOST) + 3)
    counts = fate_counts(run, state)
    cells: list[Cell] = [
        summary_number(run, state, "direct", fate, percent=True, digits=0)
        or share(counts.of(fate), counts.lost)
        for fate in FATES_OF_LOST
    ]
    cells.append(_minus_sham(run, state, with_fates))
    cells += [
        summary_number(run, state, "direct", fate, percent=True, digits=0)
        or share(counts.of(fate), counts.survived)
        for fate in ("kept", "collateral")
    ]
    return cells


def _minus_sham(run: RunResults, state: str, with_fates: Sequence[str]) -> Cell:
    known = summary_number(
        run, state, "direct", "restored_minus_sham", percent=True, digits=0, signed=True
    )
    if known is not None:
        return known
    gap = gap_to_sham(run, state, with_fates)
    return Missing() if gap is None else Number(gap, percent=True, digits=0, signed=True)


def gap_to_sham(run: RunResults, state: str, with_fates: Sequence[str]) -> float | None:
    """Restored share of a method minus that of its sham; None where one of them is missing."""
    if f"sham_{state}" not in with_fates:
        return None
    mine, sham = fate_counts(run, state), fate_counts(run, f"sham_{state}")
    if not mine.lost or not sham.lost:
        return None
    return mine.of("restored") / mine.lost - sham.of("restored") / sham.lost


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


# ---- the entities


def entity_table(run: RunResults) -> Table:
    """A row per entity, linked to its page, with a small bar of fates per method."""
    states = [state for state in states_with_fates(run) if state_kind(state) in ("method", "sham")]
    shown = [state for state in ("clean", "corrupted") if state in run.states]
    columns = [
        Column("Entity"),
        Column("Corrupted"),
        Column("Facts"),
        Column("Lost", help="known, not guessable, right when clean, wrong when corrupted"),
        *(Column(state, group="Answers right") for state in shown),
        *(Column(state, group="Fates; sorted by share restored") for state in states),
    ]
    rows = []
    for name in run.entities:
        results = run.entity(name)
        counts = {s: fate_counts(results, s, roles=tuple(ROLES)) for s in states}
        cells: list[Cell] = [
            EntityLink(name),
            Text("yes" if results.is_corrupted else "no"),
            Number(len(results.facts), digits=0),
            Number(counts[states[0]].lost, digits=0) if states else Missing(),
            *(_entity_accuracy(results, state) for state in shown),
            *(FateBar(counts[state].in_order()) for state in states),
        ]
        rows.append(Row(tuple(cells)))
    return Table(
        tuple(columns),
        tuple(rows),
        caption=(
            f"Entities: {len(run.corrupted_entities)} corrupted and "
            f"{len(run.entities) - len(run.corrupted_entities)} that no document is about."
        ),
        filterable=True,
    )


def _entity_accuracy(results: EntityResults, state: str) -> Cell:
    right, asked = right_answers(results, state, tuple(ROLES))
    return Number(right / asked, percent=True, digits=0, n=asked) if asked else Missing()


# ---- what was not found, and where it all comes from


def not_found(run: RunResults) -> tuple[Part, ...]:
    """What was looked for and not seen, what failed, and what nobody measured."""
    parts: list[Part] = []
    with_fates = states_with_fates(run)
    for state in with_fates:
        gap = gap_to_sham(run, state, with_fates)
        if gap is not None and gap <= 0:
            parts.append(
                Paragraph(
                    f"{state} does not restore more than its sham: its restored share minus the "
                    f"sham's is {signed(100 * gap, 0)} points."
                )
            )
    for state in (s for s in with_fates if state_kind(s) == "method"):
        if f"sham_{state}" not in with_fates:
            parts.append(
                Paragraph(f"{state} has no sham in this run, so its own effect is not known.")
            )
    for table in ("answers", "choices", "fates", "lens", "traces", "probes"):
        if not run.has(table):
            parts.append(Empty(f"The table {table} is empty or missing.", run.command(table)))
    parts += [Paragraph(f"{problem}.") for problem in run.problems]
    rows = [
        Row((Text(str(row["cell"])), Text(str(row["reason"]))))
        for row in records(run.table("failures"))
    ]
    if rows:
        parts.append(
            Table((Column("Failed"), Column("Why", wide=True)), tuple(rows), caption="Failed work")
        )
    rows = [
        Row((Text(table), Text(reason), Number(count, digits=0)))
        for table, reason, count in unmeasured(run)
    ]
    if rows:
        columns = (Column("Table"), Column("Reason", wide=True), Column("Rows"))
        parts.append(Table(columns, tuple(rows), caption="Rows with a reason instead of a value"))
    return tuple(parts) or (Paragraph("Everything that was asked for was measured."),)


def provenance(run: RunResults) -> tuple[Part, ...]:
    """Run, versions, digests and settings, with the command that repeats it."""
    items = [("run", run.name), *_flat(run.manifest)]
    rest = len(items) - MOST_PROVENANCE
    if rest > 0:
        items = [*items[:MOST_PROVENANCE], ("…", f"{rest} more in manifest.json")]
    settings = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
    return (
        Paragraph("To repeat this run, give its configuration file to the same command:"),
        Code("restor-interp run config.yaml --out <another folder>"),
        Details("Settings (config.yaml)", (Code(settings),)),
        Details("Versions, digests and timings (manifest.json)", (KeyValues(tuple(items)),)),
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            items += _flat(value, f"{name} · ")
        else:
            items.append((name, str(value)))
    return items
