"""What the pages say in numbers: outcomes, fates and probabilities, counted from the tables.

Everything here takes an `EntityResults` or a `RunResults` and returns values; no wording.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from restor_interp.explain.fate import FATES_OF_LOST, FATES_OF_SURVIVED, majority
from restor_interp.reporting.reasons import counted_reasons
from restor_interp.reporting.results import EntityResults, RunResults
from restor_interp.reporting.vocabulary import FATES

Results = EntityResults | RunResults


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A fact's answers in one state, over contexts, templates and draws."""

    outcome: str | None
    """The most frequent one; a tie goes to the earlier context's. None: nothing was measured."""
    answer: str
    """The first answer of that outcome, as the model gave it."""
    agree: int
    """How many of the answers have that outcome."""
    n: int
    """Answers that were measured."""
    reason: str = ""
    """Why there is none."""


def answers_by_fact(results: Results) -> dict[tuple[str, str], Answered]:
    """(fact_id, state) -> what the model answered; of sampled answers nothing is shown."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in results.rows("answers"):
        if row.get("draw"):
            continue
        groups[row["fact_id"], row["state"]].append(row)
    return {key: _answered(rows) for key, rows in groups.items()}


def _answered(rows: Sequence[Mapping[str, Any]]) -> Answered:
    measured = [row for row in rows if row["outcome"] is not None]
    if not measured:
        reasons = (str(row["reason"]) for row in rows if row.get("reason"))
        return Answered(
            outcome=None, answer="", agree=0, n=0, reason=next(reasons, "no answer was recorded")
        )
    measured.sort(key=lambda row: row["context_id"] or 0)
    outcome = majority([row["outcome"] for row in measured])
    agreeing = [row for row in measured if row["outcome"] == outcome]
    answer = str(agreeing[0]["answer"] or "")
    return Answered(outcome=outcome, answer=answer, agree=len(agreeing), n=len(measured))


@dataclass(frozen=True, kw_only=True)
class FateCounts:
    """What became of the facts in one state."""

    counts: Mapping[str, int]
    """Fate -> number of facts."""

    @property
    def lost(self) -> int:
        """Facts that corruption took away."""
        return sum(self.counts.get(fate, 0) for fate in FATES_OF_LOST)

    @property
    def survived(self) -> int:
        """Facts that corruption left."""
        return sum(self.counts.get(fate, 0) for fate in FATES_OF_SURVIVED)

    def of(self, fate: str) -> int:
        return self.counts.get(fate, 0)

    def in_order(self) -> tuple[tuple[str, int], ...]:
        """(fate, number) in the order in which fates are always shown; none that is zero."""
        return tuple((fate, self.counts[fate]) for fate in FATES if self.counts.get(fate))


def is_guessable(fact: Mapping[str, Any]) -> bool:
    """Whether the clean model knows a fact, but would say the same of other entities.

    Such a fact measures guessing (design §8): it is shown, but not counted as lost or restored.
    """
    return bool(fact["known"]) and _is_false(fact["known_specific"])


def fate_counts(results: Results, state: str, *, roles: Sequence[str] = ("direct",)) -> FateCounts:
    """The fates in a state of the facts of these roles.

    Lost or surviving are counted only facts that the clean model knows of this entity in
    particular, as in the table `summary`; guessable ones are not counted at all.
    """
    facts = {fact["fact_id"]: fact for fact in results.facts if fact["role"] in roles}
    counts: Counter[str] = Counter()
    for row in results.rows("fates"):
        fact, fate = facts.get(row["fact_id"]), row["fate"]
        if row["state"] != state or fact is None or fate is None or is_guessable(fact):
            continue
        if fate in FATES_OF_LOST + FATES_OF_SURVIVED and _is_false(fact["known_specific"]):
            continue
        counts[fate] += 1
    return FateCounts(counts=counts)


def _is_false(value: Any) -> bool:
    return value is not None and not value


def states_with_fates(results: Results) -> tuple[str, ...]:
    """The states in which fates were given, in the order of states."""
    run = results.run if isinstance(results, EntityResults) else results
    given = set(results.table("fates")["state"].dropna())
    return tuple(state for state in run.states if state in given and state != "clean")


@dataclass(frozen=True, kw_only=True)
class ObjectScores:
    """How likely a state makes a fact's true and false object (natural logs)."""

    true: float
    false: float

    @property
    def odds(self) -> float:
        """Log-odds of the true object against the false one."""
        return self.true - self.false


def object_scores(results: Results) -> dict[tuple[str, str], ObjectScores]:
    """(fact_id, state) -> log-probabilities of its objects.

    Summed over an object's tokens, over its aliases by log-sum-exp, then averaged over contexts;
    NaN where there is none.
    """
    aliases: dict[tuple[str, str, str, Any], list[float]] = defaultdict(list)
    for row in results.rows("choices"):
        if row["category"] in ("true", "false") and row["sum_logprob"] is not None:
            key = (row["fact_id"], row["state"], row["category"], row["context_id"])
            aliases[key].append(float(row["sum_logprob"]))
    contexts: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(
        lambda: {"true": [], "false": []}
    )
    for (fact_id, state, category, _), values in aliases.items():
        contexts[fact_id, state][category].append(float(np.logaddexp.reduce(values)))
    return {
        key: ObjectScores(true=mean(found["true"]), false=mean(found["false"]))
        for key, found in contexts.items()
    }


def mean(values: Iterable[float]) -> float:
    """The mean of the finite values; NaN where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def right_answers(results: Results, state: str, roles: Sequence[str]) -> tuple[int, int]:
    """(right, asked): answers in a state to facts of these roles, over all contexts."""
    ids = {fact["fact_id"] for fact in results.facts if fact["role"] in roles}
    outcomes = [
        row["outcome"]
        for row in results.rows("answers")
        if row["state"] == state and row["fact_id"] in ids and row["outcome"] is not None
    ]
    return outcomes.count("true"), len(outcomes)


def unmeasured(run: RunResults) -> list[tuple[str, str, int]]:
    """(table, reason, rows) of every row that has a reason: a value, an interval or a
    control is missing there. Reasons that differ only in numbers and names are one."""
    found = []
    for name, frame in run.tables.items():
        if "reason" in frame.columns and name != "failures":
            reasons = counted_reasons(str(reason) for reason in frame["reason"].dropna() if reason)
            found += [(name, reason, count) for reason, count in sorted(reasons)]
    return found
