"""What became of the facts: the verdict on an entity, fates by state, and every answer."""

from collections.abc import Mapping
from typing import Any

from restor_interp.explain.fate import FATES_OF_LOST, FATES_OF_SURVIVED
from restor_interp.reporting.counts import (
    Answered,
    FateCounts,
    answers_by_fact,
    fate_counts,
    is_guessable,
    states_with_fates,
)
from restor_interp.reporting.formats import mark_sign, plural, share, share_text
from restor_interp.reporting.meanings import state_meaning
from restor_interp.reporting.parts import (
    Callout,
    Cell,
    Column,
    Empty,
    FateBar,
    Legend,
    Mark,
    Missing,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import EntityResults, RunResults, records
from restor_interp.reporting.vocabulary import FATES, ROLES, state_kind


def roles_of(results: EntityResults) -> tuple[str, ...]:
    """The roles whose facts the verdict on an entity counts."""
    own = {fact["role"] for fact in results.facts}
    return tuple(role for role in ROLES if role in own)


def verdict(results: EntityResults) -> tuple[Part, ...]:
    """What became of this entity's facts: a sentence, and a row per state."""
    states = states_with_fates(results)
    if not results.facts:
        return (Empty(f"There are no facts about {results.entity} in this run."),)
    if not states:
        return (Empty("Fates have not been determined.", results.run.command("fates")),)
    by_state = {state: fate_counts(results, state, roles=roles_of(results)) for state in states}
    guessable = sum(is_guessable(fact) for fact in results.facts)
    parts: list[Part] = [
        Callout(verdict_sentence(results, by_state), tone="verdict"),
        fate_table(by_state),
    ]
    if guessable:
        parts.append(
            Paragraph(
                f"Left out of these counts: {plural(guessable, 'fact')} of this entity that the "
                "clean model answers, but would answer in the same way about other entities.",
                quiet=True,
            )
        )
    shown = {fate for counts in by_state.values() for fate, _ in counts.in_order()}
    parts.append(Legend(tuple(fate for fate in FATES if fate in shown)))
    return tuple(parts)


def verdict_sentence(results: EntityResults, by_state: Mapping[str, FateCounts]) -> str:
    """What corruption did and what each method brought back, in one or two sentences."""
    some = next(iter(by_state.values()))
    known = some.lost + some.survived
    if not results.is_corrupted:
        told = [
            f"{state} {by_state[state].of('kept')} of {by_state[state].survived}"
            for state in by_state
            if state_kind(state) == "method" and by_state[state].survived
        ]
        damage = (
            f"corruption took {some.lost} of them all the same"
            if some.lost
            else "corruption took none of them"
        )
        return (
            f"No document mentions {results.entity}. Of {plural(known, 'fact')} that the clean "
            f"model knew, {damage}. Kept of the rest: {'; '.join(told) or 'not measured'}."
        )
    if known == 0:
        guesses = any(is_guessable(fact) for fact in results.facts)
        return (
            f"The clean model knew none of the {plural(len(results.facts), 'fact')} about "
            f"{results.entity}{' beyond guessing' if guesses else ''}, so nothing could be lost or "
            "restored."
        )
    lost = f"Corruption took {some.lost} of {plural(known, 'fact')} that the clean model knew"
    if some.lost == 0:
        return f"{lost}: nothing to restore."
    methods = [state for state in by_state if state_kind(state) == "method"]
    shams = [state for state in by_state if state_kind(state) == "sham"]
    methods.sort(key=lambda state: -by_state[state].of("restored"))
    told = [_restored(state, by_state[state]) for state in methods]
    if told:
        best = by_state[methods[0]]
        told[0] += f" ({share_text(share(best.of('restored'), best.lost))})"
    controls = [_restored(state, by_state[state]) for state in shams]
    return (
        f"{lost}. Restored: {'; '.join(told) or 'no method was run'}."
        + (f" For comparison: {'; '.join(controls)}." if controls else "")
    )  # fmt: skip


def _restored(state: str, counts: FateCounts) -> str:
    guessed = f", {counts.of('guessed')} guessed" if counts.of("guessed") else ""
    return f"{state} {counts.of('restored')} of {counts.lost}{guessed}"


def fate_table(by_state: Mapping[str, FateCounts]) -> Table:
    """A row per state: what became of the lost facts, what of those that survived."""
    some = next(iter(by_state.values()))
    lost = f"Of {plural(some.lost, 'lost fact')}"
    survived = f"Of {some.survived} that survived"
    columns = [Column("State"), Column("Fates")]
    columns += [
        Column(mark_sign(fate).word, help=mark_sign(fate).meaning, group=lost)
        for fate in FATES_OF_LOST
    ]
    columns += [
        Column(mark_sign(fate).word, help=mark_sign(fate).meaning, group=survived)
        for fate in FATES_OF_SURVIVED
    ]
    rows = []
    for state, counts in by_state.items():
        cells: list[Cell] = [Text(state), FateBar(counts.in_order())]
        cells += [share(counts.of(fate), counts.lost) for fate in FATES_OF_LOST]
        cells += [share(counts.of(fate), counts.survived) for fate in FATES_OF_SURVIVED]
        rows.append(Row(tuple(cells), group=block(state)))
    return Table(
        tuple(columns),
        tuple(rows),
        caption="Facts by what became of them; below, the share and its 95% interval (Wilson).",
    )


def block(state: str) -> str:
    """Which block of a table a state stands in: before, methods or controls."""
    return {"clean": "before", "corrupted": "before", "method": "methods"}.get(
        state_kind(state), "controls"
    )


# ---- facts


def facts_table(results: EntityResults) -> tuple[Part, ...]:
    """Every fact with its objects and what the model answered in each state."""
    if not results.has("answers"):
        return (Empty("No answers were recorded.", results.run.command("answers")),)
    answers, states = answers_by_fact(results), results.run.states
    fates = {(r["fact_id"], r["state"]): r for r in records(results.table("fates"))}
    columns = [
        Column("Question", wide=True),
        Column("True object", help="the usual spelling; others are accepted as well"),
        Column(
            "False object",
            help="the planted falsehood; for other roles one of its kind"
            if results.run.knows_claims
            else "one that the fact could have; what was planted is not known to this run",
        ),
        *(Column(state, help=state_meaning(state), group="Answer") for state in states),
    ]
    rows = []
    for fact in results.facts:
        fact_id = fact["fact_id"]
        planted = "planted" if is_planted(results.run, fact) else "not planted"
        planted = planted if results.run.knows_claims else "not known whether planted"
        cells: list[Cell] = [
            Text(str(fact["question"]), detail=_about(fact)),
            Text(true_object(fact), detail=_others(fact)),
            Text(str(fact["false_object"]), detail=planted) if fact["false_object"] else Missing(),
        ]
        cells += [
            _answer_cell(answers.get((fact_id, state)), fates.get((fact_id, state)))
            for state in states
        ]
        rows.append(Row(tuple(cells), key=fact_id))
    asked = max((answered.n for answered in answers.values()), default=0)
    table = Table(
        tuple(columns),
        tuple(rows),
        caption=(
            f"{plural(len(rows), 'fact')}, each asked with {plural(asked, 'few-shot context')}. "
            "Shown is the answer of the outcome that most of them have, how many have it, and the "
            "fate of the fact."
        ),
        filterable=True,
    )
    return (table, Legend(("true", "false", "other")))


def is_planted(run: RunResults, fact: Mapping[str, Any]) -> bool:
    """Whether a fact's false object is known to have been planted."""
    return run.knows_claims and fact["role"] == "direct"


def true_object(fact: Mapping[str, Any]) -> str:
    """The usual spelling of what is right."""
    objects = fact["true_objects"]
    return str(objects) if isinstance(objects, str) else str(next(iter(objects), ""))


def _others(fact: Mapping[str, Any]) -> str:
    objects = fact["true_objects"]
    others = [] if isinstance(objects, str) else [str(name) for name in objects][1:]
    return f"or {', '.join(others)}" if others else ""


def _about(fact: Mapping[str, Any]) -> str:
    """Role and whether the clean model knows the fact."""
    if fact["known"] is None:
        known = "not checked whether known"
    elif not fact["known"]:
        known = "not known to the clean model"
    else:
        known = "known, but guessable" if is_guessable(fact) else "known"
    return f"{fact['role']} · {known}"


def _answer_cell(answered: Answered | None, found: Mapping[str, Any] | None) -> Cell:
    if answered is None:
        return Missing("not asked")
    if answered.outcome is None:
        return Missing(answered.reason)
    detail = f"{answered.outcome} {answered.agree}/{answered.n}"
    text = answered.answer.strip() or "(empty)"
    if found is None:
        return Mark(answered.outcome, text, detail=detail)
    if found["mechanism"] not in (None, "undetermined"):
        detail += f" · {str(found['mechanism']).replace('_', ' ')}"
    return Mark(answered.outcome, text, detail=detail, fate=found["fate"] or "")
