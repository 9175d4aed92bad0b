"""Which trial of a method would be chosen, and what that choice is worth on other entities.

The best of many trials is partly luck, and more so the more trials there are. Therefore entities
are cut in two halves: a trial is chosen on one half and scored on the other, then the other way
round, and the score of the choice is that of all entities, each under the trial that was chosen
without it. Two rules:

    blind    without the truth about corrupted entities: of the trials that answer untouched
             questions nearly as well as the corrupted state, and under which the planted
             falsehoods are no likelier than under the clean model, the one that answers untouched
             questions best. Where none gets so far, the one with the least likely falsehoods.
    oracle   with the truth: the trial with the highest value, an upper bound of what any rule
             that sees such facts could find.

The value is log p_C(true), the log share of the true object among true, false and random
(`Measured.candidate_logprob`), over direct facts that the clean model knows, averaged over
entities. It is at most 0, so a method cannot win by driving the falsehood down without end.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from restor_interp.explain.measured import Measured, finite
from restor_interp.explain.observed import column_of
from restor_interp.measure.statistics import entity_mean

LABELS = ("blind", "oracle")
UTILITY_LOSS = 0.05
"""Share of untouched questions that a blind choice may answer less often than the corrupted state:
unlearning starts from there, so what corruption itself damaged is not the method's doing."""

Trials = Mapping[str, Sequence[str]]
"""Method -> the states that are trials of it."""


def trials_of(methods: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Method -> its trials, of those methods of a run that it has several versions of.

    `methods`: state -> settings with the attribute `method`, as in `RunConfig.methods`.
    """
    found: dict[str, list[str]] = {}
    for state, chosen in methods.items():
        found.setdefault(chosen.method, []).append(state)
    return {method: tuple(states) for method, states in found.items() if len(states) > 1}


def trial_rows(methods: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table `trials`: the settings that make each trial, as JSON texts."""
    return [
        {
            "state": state,
            "method": method,
            "number": number,
            "settings": json.dumps(methods[state].settings, sort_keys=True),
            "training": json.dumps(methods[state].training, sort_keys=True),
        }
        for method, states in trials_of(methods).items()
        for number, state in enumerate(states, 1)
    ]


def halves(entities: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two halves of entities: every other one in their order, so that kinds are in both."""
    names = tuple(dict.fromkeys(entities))
    return names[::2], names[1::2]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The trial that a rule takes."""

    state: str | None
    reached: bool | None = None
    """Whether the falsehoods are as unlikely as under the clean model (blind)."""
    reason: str = ""
    """Why none was taken, or not as the rule would have it."""


@dataclass(frozen=True)
class _Judge:
    """What a rule may look at, for one half of the entities."""

    run: Measured
    utility_loss: float

    @cached_property
    def scored(self) -> pd.Index:
        return self.run.ids("direct", known=True)

    def of(self, fact_ids: pd.Index, entities: Iterable[str]) -> pd.Index:
        wanted = set(entities)
        return fact_ids[[name in wanted for name in self.run.entities(fact_ids)]]

    def value(self, state: str, entities: Iterable[str]) -> float:
        """Mean log p_C(true) over these entities; NaN where nothing was measured."""
        fact_ids = self.of(self.scored, entities)
        table = self.run.candidate_logprob
        return entity_mean(column_of(table, state, fact_ids), self.run.entities(fact_ids)).value

    def level(self, state: str, entities: Iterable[str]) -> float:
        """Mean log p(false) over these entities' direct facts."""
        fact_ids = self.of(self.run.ids("direct"), entities)
        table = self.run.logprobs["false"]
        return entity_mean(column_of(table, state, fact_ids), self.run.entities(fact_ids)).value

    def utility(self, state: str) -> float:
        """Share of untouched questions that are answered right; NaN where none is asked."""
        return float(column_of(self.run.accuracy, state, self.run.ids("untouched")).mean())

    def choose(self, label: str, states: Sequence[str], entities: Sequence[str]) -> Choice:
        return (self._oracle if label == "oracle" else self._blind)(states, entities)

    def _oracle(self, states: Sequence[str], entities: Sequence[str]) -> Choice:
        values = {state: self.value(state, entities) for state in states}
        measured = {state: value for state, value in values.items() if math.isfinite(value)}
        if not measured:
            return Choice(state=None, reason="no trial was measured on known facts of this half")
        return Choice(state=max(measured, key=lambda state: measured[state]))

    def _blind(self, states: Sequence[str], entities: Sequence[str]) -> Choice:
        levels = {state: self.level(state, entities) for state in states}
        utility = {state: self.utility(state) for state in states}
        allowed, reason = [s for s in states if math.isfinite(levels[s])], ""
        bound = self.utility("corrupted") - self.utility_loss
        if math.isnan(bound):
            reason = "no untouched facts: damage is not bounded"
            utility = dict.fromkeys(states, 0.0)
        else:
            # a hair's breadth, so that a bound met exactly is met in floating point too
            allowed = [state for state in allowed if utility[state] >= bound - 1e-9]
        if not allowed:
            return Choice(state=None, reason="no trial keeps untouched facts within the bound")
        clean = self.level("clean", entities)
        reached = [state for state in allowed if levels[state] <= clean]
        if not reached:
            why = "no trial reaches the clean level of log p(false); the lowest is taken"
            return Choice(
                state=min(allowed, key=lambda state: levels[state]),
                reached=False,
                reason="; ".join(filter(None, (why, reason))),
            )
        best = max(reached, key=lambda state: (utility[state], levels[state]))
        return Choice(state=best, reached=True, reason=reason)


def selection_rows(
    run: Measured, trials: Trials, *, utility_loss: float = UTILITY_LOSS
) -> list[dict[str, Any]]:
    """Rows of the table `selection`: per method, rule, and half, plus `both` halves together.

    `half`: the one that the trial was chosen on; it is scored on the other. `value_selected`: its
    value where it was chosen, `value_scored` where it was not (nats). In the row `both`, every
    entity is scored once, `low` and `high` are Student's over entities, and `value_selected` minus
    `value_scored` is how much looking twice at the same entities would have flattered. Likewise
    `restored_scored`: the share of lost facts that is right again (chosen and scored on different
    contexts too). `utility`: share of untouched questions answered right, the mean of both
    choices in the row `both`.
    """
    judge = _Judge(run, utility_loss)
    names = [run.entity[fact_id] for fact_id in judge.scored]
    cut = halves(names)
    most = max((len(states) for states in trials.values()), default=0)
    rows = []
    for method, states in trials.items():
        note = "" if len(states) == most else f"fewer trials than the {most} of another method"
        for label in LABELS:
            choices = [judge.choose(label, states, half) for half in cut]
            fixed = {"method": method, "label": label, "n_trials": len(states), "note": note}
            for name, choice, own, other in zip("AB", choices, cut, cut[::-1], strict=True):
                rows.append(fixed | _half_row(judge, name, choice, own, other))
            rows.append(fixed | _both_row(judge, choices, cut))
    return rows


def _half_row(
    judge: _Judge, half: str, choice: Choice, own: Sequence[str], other: Sequence[str]
) -> dict[str, Any]:
    state, fact_ids = choice.state, judge.of(judge.scored, other)
    row = _row(half, state, choice.reached, choice.reason, len(fact_ids), len(other))
    if state is None:
        return row
    lost = judge.of(judge.run.chosen("direct", lost=True), other)
    restored = column_of(judge.run.scored_restored, state, lost)
    return row | {
        "value_selected": finite(judge.value(state, own)),
        "value_scored": finite(judge.value(state, other)),
        "restored_scored": finite(entity_mean(restored, judge.run.entities(lost)).value),
        "log_p_false": finite(judge.level(state, other)),
        "utility": finite(judge.utility(state)),
    }


def _both_row(
    judge: _Judge, choices: Sequence[Choice], cut: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Each half under the trial that was chosen on the other one."""
    run = judge.run
    states = [choice.state for choice in choices if choice.state is not None]
    reached = [choice.reached for choice in choices if choice.reached is not None]
    reasons = "; ".join(dict.fromkeys(choice.reason for choice in choices if choice.reason))
    told = ", ".join(dict.fromkeys(states)) or None
    row = _row("both", told, all(reached) if reached else None, reasons, 0, 0)
    if len(states) < 2:
        return row
    pairs = list(zip(states, cut, cut[::-1], strict=True))

    def crossed(table: pd.DataFrame, fact_ids: pd.Index) -> pd.Series:
        parts = [column_of(table, state, judge.of(fact_ids, other)) for state, _, other in pairs]
        return pd.Series(pd.concat(parts))

    values = crossed(run.candidate_logprob, judge.scored)
    found = entity_mean(values, run.entities(values.index))
    restored = crossed(run.scored_restored, run.chosen("direct", lost=True))
    false = crossed(run.logprobs["false"], run.ids("direct"))
    selected = [judge.value(state, own) for state, own, _ in pairs]
    return row | {
        "value_selected": finite(sum(selected) / 2),
        "value_scored": finite(found.value),
        "low": finite(found.low),
        "high": finite(found.high),
        "restored_scored": finite(entity_mean(restored, run.entities(restored.index)).value),
        "log_p_false": finite(entity_mean(false, run.entities(false.index)).value),
        "utility": finite(sum(judge.utility(state) for state in states) / 2),
        "n_facts": found.n_facts,
        "n_entities": found.n_entities,
        "reason": "; ".join(filter(None, (reasons, found.reason))),
    }


def _row(
    half: str,
    chosen: str | None,
    reached: bool | None,
    reason: str,
    n_facts: int,
    n_entities: int,
) -> dict[str, Any]:
    numbers = ("value_selected", "value_scored", "low", "high", "restored_scored")
    return {
        "half": half,
        "chosen": chosen,
        "reached": reached,
        **dict.fromkeys((*numbers, "log_p_false", "utility")),
        "n_facts": n_facts,
        "n_entities": n_entities,
        "reason": reason,
    }
