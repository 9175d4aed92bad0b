"""The table `summary`: every state in numbers, each with its interval and what it rests on.

Selection and scoring. A fact is chosen as lost, or as not lost, by its first few-shot context
alone: the clean state right there, the corrupted one wrong (or right), and the fact specific
knowledge of the clean model. What became of it is then scored on the other contexts: a state's
score is the share of them that it answers, and 0 where the answer is a guess (m < ½ m_clean).
Choosing and scoring on the same answers would count every slip of the corrupted state as a loss,
and its chance reversal as a restoration. The corrupted state is scored like all others: its share
is what comes back by chance. (`known_specific` itself looks at all contexts of the *clean* state,
never at another state's.) With one context there is nothing to separate, and `note` says so.

The shares named after a fate (`restored`, `still_false`, …) count fates, which are majorities over
all contexts; they are exact descriptions of this run, not free of that selection.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.fate import FATES, FATES_OF_LOST, FATES_OF_SURVIVED, GUESSED_BELOW
from restor_interp.explain.observed import (
    column_of,
    margins_by_state,
    object_logprobs,
    right_shares,
    states_of,
)
from restor_interp.explain.rollback import Equivalent, equivalent_rollback, rollback_path
from restor_interp.measure.statistics import (
    Estimate,
    difference,
    entity_mean,
    missing,
    recovered_fraction,
    share,
)

SAME_CONTEXT = "selected and scored on the same single context"
HELD_OUT = "selected on the first context, scored on the others"
ROLES = ("direct", "sibling", "context", "untouched")


def summary_rows(
    facts: pd.DataFrame,
    answers: pd.DataFrame,
    choices: pd.DataFrame,
    margins: pd.DataFrame,
    fates: pd.DataFrame,
    training: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Rows of the table `summary`; `facts` as `facts_with_knowledge` returns them.

    Per state and role:
      - `accuracy`, and minus clean, corrupted, its sham (`accuracy_minus_…`);
      - `p_false`, `p_true` (geometric means over entities), `log_p_false`, `log_p_true`;
      - `n_known_specific`, `n_lost`, `n_survived`, `n_<fate>`: counts among known_specific facts;
      - `<fate>`: that count as a share of the lost, or of the surviving facts;
      - `p_restored`, `p_kept`: chosen on one context, scored on the others;
      - `restored_minus_corrupted`, `…_sham`, `…_retain_only`, `…_rollback`: p_restored minus that
        of the state in `against`, paired by fact, with `p` and `mde`;
      - `recovered_fraction`: of the accuracy that corruption cost;
      - `equivalent_rollback` (role direct): the λ of equal log p(false).
    With role `all`: `forget_nll`, `retain_nll` at the end of training. Missing numbers are None
    with a `reason`.
    """
    run = _Run(facts, answers, choices, margins, fates)
    rows = []
    for state in run.states:
        for role in run.roles:
            rows += _level_rows(run, state, role)
            rows += _change_rows(run, state, role)
            rows += _fate_rows(run, state, role)
            rows += _restored_rows(run, state, role)
    return [*rows, *_training_rows(training)]


@dataclass(frozen=True)
class _Run:
    facts: pd.DataFrame
    answers: pd.DataFrame
    choices: pd.DataFrame
    margins: pd.DataFrame
    fates: pd.DataFrame

    @cached_property
    def states(self) -> tuple[str, ...]:
        return states_of(self.answers)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        own = set(self.facts["role"])
        return tuple(role for role in ROLES if role in own)

    @cached_property
    def entity(self) -> dict[str, str]:
        return dict(zip(self.facts["fact_id"], self.facts["entity"], strict=True))

    @cached_property
    def right(self) -> pd.DataFrame:
        """[fact_id, context_id] × state."""
        return right_shares(self.answers)

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """fact_id × state, over all contexts."""
        return _per_fact(self.right)

    @cached_property
    def logprobs(self) -> dict[str, pd.DataFrame]:
        return {name: object_logprobs(self.choices, name) for name in ("false", "true")}

    def ids(self, role: str, *, specific: bool = False) -> pd.Index:
        chosen = self.facts["role"].eq(role).to_numpy()
        if specific:
            chosen = chosen & self.facts["known_specific"].eq(True).fillna(False).to_numpy(bool)
        return pd.Index(self.facts["fact_id"].to_numpy()[chosen])

    def entities(self, fact_ids: pd.Index) -> list[str]:
        return [self.entity[fact_id] for fact_id in fact_ids]

    def fates_in(self, state: str) -> pd.Series:
        """fact_id -> fate."""
        rows = self.fates.loc[self.fates["state"].eq(state)]
        return pd.Series(rows["fate"].to_numpy(), index=pd.Index(rows["fact_id"]), dtype=object)

    # ---- chosen on the first context, scored on the others

    @cached_property
    def contexts(self) -> list[int]:
        return sorted(self.right.index.get_level_values("context_id").unique())

    @property
    def note(self) -> str:
        return HELD_OUT if len(self.contexts) > 1 else SAME_CONTEXT

    def chosen(self, role: str, *, lost: bool) -> pd.Index:
        """Specific facts that the clean state has right and the corrupted one wrong (or right)."""
        fact_ids = self.ids(role, specific=True)
        if not self.contexts:
            return fact_ids[:0]
        first = self.right.xs(self.contexts[0], level="context_id")
        clean, corrupted = (column_of(first, s, fact_ids) for s in ("clean", "corrupted"))
        return fact_ids[(clean > 0.5) & ((corrupted <= 0.5) if lost else (corrupted > 0.5))]

    @cached_property
    def scored_right(self) -> pd.DataFrame:
        """fact_id × state: the share right of the contexts that facts are scored on."""
        scored = self.contexts[1:] or self.contexts
        kept = self.right.index.get_level_values("context_id").isin(scored)
        return _per_fact(self.right.loc[kept])

    @cached_property
    def scored_restored(self) -> pd.DataFrame:
        """The same, 0 where the margin says that an answer is a guess."""
        right = self.scored_right
        nats = margins_by_state(self.margins).reindex(index=right.index, columns=right.columns)
        needed = GUESSED_BELOW * column_of(nats, "clean", right.index)
        # comparisons with a margin that is missing (NaN) are False: no guess was seen
        return right.mask(nats.lt(needed, axis=0), 0.0)

    # ---- rollback

    @cached_property
    def path(self) -> dict[str, float]:
        return rollback_path(self.states)

    def equivalent(self, state: str) -> "_Equivalents":
        """The rollback with a state's log p(false) on direct facts, averaged over entities."""
        fact_ids = self.ids("direct")
        table = self.logprobs["false"].reindex(
            index=fact_ids, columns=pd.Index([*self.path, state])
        )
        table = table.dropna()
        codes = pd.factorize(np.array(self.entities(table.index)))[0]
        values = table.to_numpy(dtype=float)
        levels = np.array([values[codes == code].mean(0) for code in np.unique(codes)])
        if not len(levels):
            return _Equivalents(equivalent_rollback(self.path, (), math.nan), (), 0)
        means = [levels.mean(0)]
        if len(levels) > 1:
            means += [np.delete(levels, place, axis=0).mean(0) for place in range(len(levels))]
        found = [equivalent_rollback(self.path, one[:-1].tolist(), float(one[-1])) for one in means]
        return _Equivalents(found[0], tuple(one.weight for one in found[1:]), len(table))


def _per_fact(right: pd.DataFrame) -> pd.DataFrame:
    """Means over contexts."""
    means: Any = right.groupby(level="fact_id", sort=False).mean()
    return means


@dataclass(frozen=True)
class _Equivalents:
    point: Equivalent
    without: tuple[float, ...]
    """λ with each entity left out; none where there is one entity."""
    n_facts: int

    def estimate(self) -> Estimate:
        """λ with the jackknife's interval over entities (Miller 1974), within [0, 1].

        NaN bounds where λ has no value without some entity.
        """
        weight, g = self.point.weight, max(1, len(self.without))
        if math.isnan(weight):
            return missing(self.point.reason, n_facts=self.n_facts, n_entities=g)
        low = high = math.nan
        if g > 1 and np.isfinite(self.without).all():
            pseudo = [g * weight - (g - 1) * one for one in self.without]
            spread = entity_mean(pseudo, range(g))
            half = 0.0 if math.isnan(spread.low) else (spread.high - spread.low) / 2
            low, high = max(0.0, weight - half), min(1.0, weight + half)
        return Estimate(value=weight, low=low, high=high, n_facts=self.n_facts, n_entities=g)


# ---- rows


def _row(
    state: str, role: str, metric: str, found: Estimate, *, against: str = "", note: str = ""
) -> dict[str, Any]:
    too_few = found.mde == math.inf
    return {
        "state": state,
        "role": role,
        "metric": metric,
        "value": _finite(found.value),
        "low": _finite(found.low),
        "high": _finite(found.high),
        "n_facts": found.n_facts,
        "n_entities": found.n_entities,
        "mde": _finite(found.mde),
        "p": _finite(found.p),
        "reason": found.reason,
        "against": against,
        "note": "; ".join(filter(None, (note, TOO_FEW if too_few else ""))),
    }


TOO_FEW = "with fewer than six entities no difference reaches p = 0.05"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _count(number: int, n_facts: int, n_entities: int) -> Estimate:
    nan = math.nan
    return Estimate(value=number, low=nan, high=nan, n_facts=n_facts, n_entities=n_entities)


def _share(run: _Run, values: pd.Series) -> Estimate:
    measured = values.dropna()
    return share(measured.to_numpy(dtype=float), run.entities(measured.index))


def _level_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role)
    yield _row(state, role, "accuracy", _share(run, column_of(run.accuracy, state, fact_ids)))
    for category, table in run.logprobs.items():
        level = entity_mean(column_of(table, state, fact_ids), run.entities(fact_ids))
        plain = Estimate(
            value=level.value, low=level.low, high=level.high, n_facts=level.n_facts,
            n_entities=level.n_entities, reason=level.reason,
        )  # fmt: skip
        yield _row(state, role, f"log_p_{category}", plain)
        yield _row(state, role, f"p_{category}", _mapped(plain, math.exp))


def _mapped(found: Estimate, function: Callable[[float], float]) -> Estimate:
    """The estimate of an increasing function of a number."""
    return Estimate(
        value=function(found.value),
        low=function(found.low),
        high=function(found.high),
        n_facts=found.n_facts,
        n_entities=found.n_entities,
        reason=found.reason,
    )


def _difference(
    run: _Run, table: pd.DataFrame, state: str, other: str | pd.Series, fact_ids: pd.Index
) -> Estimate:
    second = other if isinstance(other, pd.Series) else column_of(table, other, fact_ids)
    return difference(column_of(table, state, fact_ids), second, run.entities(fact_ids))


def _change_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role)
    for name, other in _references(run, state, ("clean", "corrupted", "sham")):
        found = _difference(run, run.accuracy, state, other, fact_ids)
        yield _row(state, role, f"accuracy_minus_{name}", found, against=other)


def _references(run: _Run, state: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """(name in the metric, state) of what a state is compared with, where the run has it."""
    pairs = [(name, f"sham_{state}" if name == "sham" else name) for name in names]
    return [(name, other) for name, other in pairs if other in run.states and other != state]


def _fate_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role, specific=True)
    number = len(set(run.entities(fact_ids)))
    yield _row(state, role, "n_known_specific", _count(len(fact_ids), len(fact_ids), number))
    own = run.fates_in(state)
    fates = pd.Series(own.reindex(fact_ids)).dropna()
    if state == "clean" or not len(own):
        return
    groups = {"lost": FATES_OF_LOST, "survived": FATES_OF_SURVIVED}
    for name, members in groups.items():
        among = fates.loc[fates.isin(members)]
        entities = len(set(run.entities(among.index)))
        yield _row(state, role, f"n_{name}", _count(len(among), len(fates), number))
        for fate in members:
            found = among.eq(fate).astype(float)
            count = _count(int(found.sum()), len(among), entities)
            yield _row(state, role, f"n_{fate}", count)
            yield _row(state, role, fate, _share(run, found))
    for fate in FATES:
        if fate not in FATES_OF_LOST + FATES_OF_SURVIVED:
            count = int(own.reindex(run.ids(role)).eq(fate).to_numpy().sum())
            yield _row(state, role, f"n_{fate}", _count(count, len(run.ids(role)), number))


def _restored_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    lost, kept = run.chosen(role, lost=True), run.chosen(role, lost=False)
    table = run.scored_restored
    restored = _share(run, column_of(table, state, lost))
    yield _row(state, role, "p_restored", restored, note=run.note)
    still = _share(run, column_of(run.scored_right, state, kept))
    yield _row(state, role, "p_kept", still, note=run.note)
    if state in ("clean", "corrupted"):
        return
    for name, other in _references(run, state, ("corrupted", "sham", "retain_only")):
        found = _difference(run, table, state, other, lost)
        yield _row(state, role, f"restored_minus_{name}", found, against=other, note=run.note)
    fact_ids = run.ids(role)
    fates = run.fates_in(state).reindex(run.ids(role, specific=True))
    recovered = recovered_fraction(
        column_of(run.accuracy, "clean", fact_ids),
        column_of(run.accuracy, "corrupted", fact_ids),
        column_of(run.accuracy, state, fact_ids),
        run.entities(fact_ids),
        n_lost=int(fates.isin(FATES_OF_LOST).to_numpy().sum()),
    )
    yield _row(state, role, "recovered_fraction", recovered)
    if role == "direct" and run.path and state not in run.path:
        yield from _rollback_rows(run, state, lost)


def _rollback_rows(run: _Run, state: str, lost: pd.Index) -> Iterator[dict[str, Any]]:
    found = run.equivalent(state)
    point, weight = found.point, found.estimate()
    if math.isnan(point.weight):
        for metric in ("equivalent_rollback", "restored_minus_rollback"):
            yield _row(state, "direct", metric, weight)
        return
    note = f"interpolated between {point.below} and {point.above}"
    yield _row(state, "direct", "equivalent_rollback", weight, note=note)
    there = point.between(run.scored_restored, lost)
    beyond = _difference(run, run.scored_restored, state, there, lost)
    yield _row(
        state,
        "direct",
        "restored_minus_rollback",
        beyond,
        against=f"rollback_{point.weight:.2f}",
        note=f"{note}; {run.note}",
    )


def _training_rows(training: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for state, rows in training.groupby("state", sort=False):
        last = rows.sort_values("step", kind="stable").iloc[-1]
        for metric in ("forget_nll", "retain_nll"):
            value = last[metric]
            number = math.nan if value is None or pd.isna(value) else float(value)
            found = Estimate(
                value=number, low=math.nan, high=math.nan, n_facts=0, n_entities=0,
                reason="" if math.isfinite(number) else "not measured in training",
            )  # fmt: skip
            yield _row(str(state), "all", metric, found, note=f"at step {last['step']}")
