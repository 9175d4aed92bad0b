"""Two runs, or two methods of a run, side by side: values, before they are a page or a table.

A difference gets an interval only where both sides asked the same facts: it is then paired by fact
and its inference is over entities. It says how far these entities may mislead, not how far another
seed would: each side is one run. Where facts were not asked on both sides, or a metric is not a
mean over facts, there is no interval, and the difference says why.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.explain.fate import FATES_OF_LOST, FATES_OF_SURVIVED
from restor_interp.measure.statistics import Estimate, difference, share_difference
from restor_interp.reporting.counts import object_scores, states_with_fates
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.vocabulary import order_states

HEADLINE = (
    *("accuracy", "p_false", "log_p_false", "log_p_true"),
    *FATES_OF_LOST,
    *FATES_OF_SURVIVED,
    *("p_restored", "restored_minus_sham", "recovered_fraction", "equivalent_rollback"),
)
"""Metrics of the table `summary` that a comparison shows first."""
NO_PAIRS = "no interval: no fact was measured on both sides"
NOT_PAIRED = "no interval: not paired by fact here, and one run each"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two states that are compared."""

    label: str
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One number of the table `summary` on both sides."""

    label: str
    """Of the pair of states."""
    role: str
    metric: str
    first: Mapping[str, Any]
    second: Mapping[str, Any]
    """Their rows of `summary`."""
    paired: Estimate | None
    """Second minus first over the facts that both have; None where they cannot be paired."""
    reason: str = ""
    """Why there is no interval."""

    @property
    def value(self) -> float:
        """Second minus first: paired where that can be, else of the two numbers."""
        if self.paired is not None:
            return self.paired.value
        values = [row["value"] for row in (self.second, self.first)]
        return math.nan if None in values else float(values[0]) - float(values[1])


@dataclass(frozen=True, kw_only=True)
class FateChange:
    """A fact that met another fate on the second side."""

    label: str
    fact: Mapping[str, Any]
    first: str
    second: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two sides and the states that are compared."""

    names: tuple[str, str]
    first: RunResults
    second: RunResults
    pairs: tuple[Pair, ...]

    @property
    def is_within(self) -> bool:
        """Whether both sides are of one run."""
        return self.first is self.second

    # ---- numbers

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Every number that the summaries of both sides have, pair by pair."""
        rows = [_summary(run) for run in (self.first, self.second)]
        found = []
        for pair in self.pairs:
            own = {key[1:]: row for key, row in rows[0].items() if key[0] == pair.first}
            other = {key[1:]: row for key, row in rows[1].items() if key[0] == pair.second}
            found += [
                self._difference(pair, *key, own[key], other[key]) for key in own if key in other
            ]
        return tuple(found)

    def _difference(
        self, pair: Pair, role: str, metric: str, own: Mapping[str, Any], other: Mapping[str, Any]
    ) -> Difference:
        values = [
            self._per_fact(side, state, role, metric)
            for side, state in ((0, pair.first), (1, pair.second))
        ]
        paired, reason = None, NOT_PAIRED
        if values[0] is not None and values[1] is not None:
            shared = sorted(values[0].keys() & values[1].keys())
            entities = [self._facts[0][fact_id]["entity"] for fact_id in shared]
            if shared:
                minus = difference if metric.startswith("log_p") else share_difference
                paired = minus(
                    [values[1][fact_id] for fact_id in shared],
                    [values[0][fact_id] for fact_id in shared],
                    entities,
                )
            reason = paired.reason if paired is not None else NO_PAIRS
        return Difference(
            label=pair.label, role=role, metric=metric, first=own, second=other, paired=paired,
            reason=reason,
        )  # fmt: skip

    # ---- per fact

    @cached_property
    def _facts(self) -> tuple[Mapping[str, Any], ...]:
        return tuple({f["fact_id"]: f for f in run.facts} for run in (self.first, self.second))

    def _per_fact(self, side: int, state: str, role: str, metric: str) -> dict[str, float] | None:
        """fact_id -> number of which a metric is the mean; None where it is no such mean."""
        run = (self.first, self.second)[side]
        facts = self._facts[side]
        mine = {key for key, fact in facts.items() if role in ("all", fact["role"])}
        if metric == "accuracy":
            return {
                key: value
                for key, value in self._accuracy[side].get(state, {}).items()
                if key in mine
            }
        if metric in ("log_p_true", "log_p_false"):
            category = metric.removeprefix("log_p_")
            return {
                key: getattr(score, category)
                for (key, at), score in self._scores[side].items()
                if at == state and key in mine
            }
        for among in (FATES_OF_LOST, FATES_OF_SURVIVED):
            if metric in among:
                fates = fates_by_fact(run, state)
                return {
                    key: float(fate == metric)
                    for key, fate in fates.items()
                    if key in mine and fate in among and _is_counted(facts[key])
                }
        return None

    @cached_property
    def _accuracy(self) -> tuple[dict[str, dict[str, float]], ...]:
        return tuple(_right_shares(run) for run in (self.first, self.second))

    @cached_property
    def _scores(self) -> tuple[dict, ...]:
        return tuple(object_scores(run) for run in (self.first, self.second))

    # ---- fates and settings

    @cached_property
    def fate_changes(self) -> tuple[FateChange, ...]:
        """Facts of which both sides know the fate, where it differs."""
        return tuple(
            FateChange(
                label=pair.label, fact=self._facts[0][key], first=fates[0][key], second=other
            )
            for pair, fates in self._fates
            for key, other in fates[1].items()
            if fates[0].get(key, other) != other
        )

    def shared_fates(self, label: str) -> int:
        """How many facts have a fate on both sides."""
        return next(len(f[0].keys() & f[1].keys()) for p, f in self._fates if p.label == label)

    @cached_property
    def _fates(self) -> tuple[tuple[Pair, tuple[dict[str, str], dict[str, str]]], ...]:
        return tuple(
            (pair, (fates_by_fact(self.first, pair.first), fates_by_fact(self.second, pair.second)))
            for pair in self.pairs
        )

    @cached_property
    def settings(self) -> tuple[tuple[str, str, str], ...]:
        """(setting, first, second) of what differs in configuration, versions, model and seed; of
        two methods of a run, in their settings."""
        if self.is_within:
            methods = self.first.config.get("methods", {})
            sides = [methods.get(name, {}) for name in self.names]
        else:
            sides = [
                {
                    **run.config,
                    "versions": run.manifest.get("versions", {}),
                    "model_digest": run.manifest.get("model_digest"),
                    "numerics": run.manifest.get("numerics", {}),
                }
                for run in (self.first, self.second)
            ]
        own, other = (_flat(side) for side in sides)
        keys = [*own, *(key for key in other if key not in own)]
        return tuple(
            (key, own.get(key, "—"), other.get(key, "—"))
            for key in keys
            if own.get(key) != other.get(key)
        )


def compare_runs(
    first: RunResults,
    second: RunResults,
    *,
    names: tuple[str, str] | None = None,
    states: Sequence[str] = (),
) -> Comparison:
    """Two runs, state by state of those that both have. `states`: only these.

    Raises `ConfigError` for a state that one of them lacks, and where they share none.
    """
    shared = [state for state in first.states if state in second.states]
    for state in states:
        if state not in shared:
            raise unknown_name("state of both runs", state, shared)
    if not shared:
        raise ConfigError(
            f"{first.name} and {second.name} have no state in common: "
            f"{', '.join(first.states)} and {', '.join(second.states)}"
        )
    chosen = order_states(states or shared)
    pairs = tuple(Pair(label=state, first=state, second=state) for state in chosen)
    return Comparison(
        names=names or (first.name, second.name), first=first, second=second, pairs=pairs
    )


def compare_methods(run: RunResults, first: str, second: str) -> Comparison:
    """Two states of one run, and their shams if both have one.

    Raises `ConfigError` for a state that the run lacks.
    """
    for state in (first, second):
        if state not in run.states:
            raise unknown_name(f"state of {run.name}", state, run.states)
    pairs = [Pair(label=f"{first}, {second}", first=first, second=second)]
    shams = f"sham_{first}", f"sham_{second}"
    if set(shams) <= set(run.states):
        pairs.append(Pair(label="their shams", first=shams[0], second=shams[1]))
    return Comparison(names=(first, second), first=run, second=run, pairs=tuple(pairs))


def fates_by_fact(run: RunResults, state: str) -> dict[str, str]:
    """fact_id -> its fate in a state."""
    if state not in states_with_fates(run):
        return {}
    rows = (row for row in run.rows("fates") if row["state"] == state)
    return {row["fact_id"]: row["fate"] for row in rows if row["fate"] is not None}


def _is_counted(fact: Mapping[str, Any]) -> bool:
    """Whether a fact counts as lost or surviving: one that is not guessable (`fate_counts`)."""
    return fact["known_specific"] is None or bool(fact["known_specific"])


def _right_shares(run: RunResults) -> dict[str, dict[str, float]]:
    """state -> fact_id -> share of contexts in which the greedy answer is right."""
    asked: dict[str, dict[str, list[bool]]] = {}
    for row in run.rows("answers"):
        if not row.get("draw") and row["outcome"] is not None:
            own = asked.setdefault(row["state"], {}).setdefault(row["fact_id"], [])
            own.append(row["outcome"] == "true")
    return {
        state: {fact_id: sum(right) / len(right) for fact_id, right in facts.items()}
        for state, facts in asked.items()
    }


def _summary(run: RunResults) -> dict[tuple[str, str, str], Mapping[str, Any]]:
    return {
        (row["state"], row["role"], row["metric"]): row
        for row in run.rows("summary")
        if row["value"] is not None
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
