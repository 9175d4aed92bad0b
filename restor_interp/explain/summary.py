"""The table `summary`: every state in numbers, each with its interval and what it rests on.

Shares restored and kept are chosen on one few-shot context and scored on the others
(`restor_interp.explain.measured`). The shares named after a fate (`restored`, `still_false`, …)
count fates, which are majorities over all contexts; they are exact descriptions of this run, not
free of that selection.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from restor_interp.explain.fate import FATES, FATES_OF_LOST, FATES_OF_SURVIVED
from restor_interp.explain.measured import (
    ALL,
    HELD_OUT,
    SAME_CONTEXT,
    TOO_FEW,
    Measured,
    estimate_row,
    last_losses,
)
from restor_interp.explain.observed import column_of
from restor_interp.measure.statistics import (
    Estimate,
    entity_mean,
    missing,
    recovered_fraction,
    share,
    share_difference,
)

__all__ = ["HELD_OUT", "SAME_CONTEXT", "TOO_FEW", "summary_rows"]


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
      - `accuracy` of greedy answers, `accuracy_sampled` where answers were sampled, and accuracy
        minus clean, corrupted, its sham (`accuracy_minus_…`);
      - `score_true`, `score_false`, `score_random`: RESTOR's category scores, the mean over facts
        of the mean log-probability per token;
      - `p_false`, `p_true` (geometric means over entities), `log_p_false`, `log_p_true`;
      - `n_known_specific`, `n_lost`, `n_survived`, `n_<fate>`: counts among known_specific facts;
      - `<fate>`: that count as a share of the lost, or of the surviving facts;
      - `p_restored`, `p_kept`: chosen on one context, scored on the others;
      - `restored_minus_corrupted`, `…_sham`, `…_retain_only`, `…_rollback`: p_restored minus that
        of the state in `against`, paired by fact, with `p` and `mde`;
      - `recovered_fraction`: of the accuracy that corruption cost;
      - `equivalent_rollback` (role direct): the λ of equal log p(false).
    With role `all`: accuracy and category scores over all facts, as RESTOR gives them, and
    `forget_nll`, `retain_nll` at the end of training. Missing numbers are None with a `reason`.
    """
    run = _Run(facts, answers, choices, margins, fates)
    rows = []
    for state in run.states:
        rows += _paper_rows(run, state, ALL)
        for role in run.roles:
            rows += _paper_rows(run, state, role)
            rows += _level_rows(run, state, role)
            rows += _change_rows(run, state, role)
            rows += _fate_rows(run, state, role)
            rows += _restored_rows(run, state, role)
    return [*rows, *_training_rows(training)]


@dataclass(frozen=True)
class _Run(Measured):
    """A run with its fates."""

    fates: pd.DataFrame

    def fates_in(self, state: str) -> pd.Series:
        """fact_id -> fate."""
        rows = self.fates.loc[self.fates["state"].eq(state)]
        return pd.Series(rows["fate"].to_numpy(), index=pd.Index(rows["fact_id"]), dtype=object)


# ---- rows


def _count(number: int, n_facts: int, n_entities: int) -> Estimate:
    nan = math.nan
    return Estimate(value=number, low=nan, high=nan, n_facts=n_facts, n_entities=n_entities)


def _share(run: _Run, values: pd.Series) -> Estimate:
    measured = values.dropna()
    return share(measured.to_numpy(dtype=float), run.entities(measured.index))


def _paper_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    """What the paper reports: accuracy and category scores, every fact counting the same."""
    fact_ids = run.ids(role)
    tables = {"accuracy": run.accuracy, "accuracy_sampled": run.sampled_accuracy}
    for metric, table in tables.items():
        if len(table):
            found = _share(run, column_of(table, state, fact_ids))
            yield estimate_row(state, role, metric, found)
    for category, table in run.scores.items():
        found = fact_mean(column_of(table, state, fact_ids), run.entities(fact_ids))
        yield estimate_row(state, role, f"score_{category}", found)


def fact_mean(values: pd.Series, entities: Sequence[str], *, level: float = 0.95) -> Estimate:
    """The mean over facts, each counting the same, with an interval that allows for clusters.

    NaN is left out. Student's interval around the ratio of sums over entities (Cochran 1977 §6.3):
    the variance is g/(g−1) · Σ_entity (Σ_fact (x − mean))² / n².
    """
    measured = values.notna().to_numpy()
    numbers = values.to_numpy(dtype=float)[measured]
    codes, names = pd.factorize(np.array(list(entities), dtype=object)[measured])
    n, g = len(numbers), len(names)
    if not n:
        return missing("there are no such facts")
    mean, low, high = float(numbers.mean()), math.nan, math.nan
    if g > 1:
        sums = np.bincount(codes, weights=numbers - mean, minlength=g)
        error = math.sqrt(g / (g - 1) * float((sums**2).sum())) / n
        half = float(stats.t.ppf(0.5 + level / 2, g - 1)) * error
        low, high = mean - half, mean + half
    return Estimate(value=mean, low=low, high=high, n_facts=n, n_entities=g)


def _level_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role)
    for category, table in run.logprobs.items():
        level = entity_mean(column_of(table, state, fact_ids), run.entities(fact_ids))
        plain = replace(level.within(-math.inf, 0), p=None, mde=None)
        yield estimate_row(state, role, f"log_p_{category}", plain)
        yield estimate_row(state, role, f"p_{category}", _mapped(plain, math.exp))


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
    return share_difference(column_of(table, state, fact_ids), second, run.entities(fact_ids))


def _change_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role)
    for name, other in run.references(state, ("clean", "corrupted", "sham")):
        found = _difference(run, run.accuracy, state, other, fact_ids)
        yield estimate_row(state, role, f"accuracy_minus_{name}", found, against=other)


def _fate_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = run.ids(role, specific=True)
    number = len(set(run.entities(fact_ids)))
    yield estimate_row(
        state, role, "n_known_specific", _count(len(fact_ids), len(fact_ids), number)
    )
    own = run.fates_in(state)
    fates = pd.Series(own.reindex(fact_ids)).dropna()
    if state == "clean" or not len(own):
        return
    groups = {"lost": FATES_OF_LOST, "survived": FATES_OF_SURVIVED}
    for name, members in groups.items():
        among = fates.loc[fates.isin(members)]
        entities = len(set(run.entities(among.index)))
        yield estimate_row(state, role, f"n_{name}", _count(len(among), len(fates), number))
        for fate in members:
            found = among.eq(fate).astype(float)
            count = _count(int(found.sum()), len(among), entities)
            yield estimate_row(state, role, f"n_{fate}", count)
            yield estimate_row(state, role, fate, _share(run, found))
    for fate in FATES:
        if fate not in FATES_OF_LOST + FATES_OF_SURVIVED:
            count = int(own.reindex(run.ids(role)).eq(fate).to_numpy().sum())
            yield estimate_row(state, role, f"n_{fate}", _count(count, len(run.ids(role)), number))


def _restored_rows(run: _Run, state: str, role: str) -> Iterator[dict[str, Any]]:
    lost, kept = run.chosen(role, lost=True), run.chosen(role, lost=False)
    table = run.scored_restored
    restored = _share(run, column_of(table, state, lost))
    yield estimate_row(state, role, "p_restored", restored, note=run.note)
    still = _share(run, column_of(run.scored_right, state, kept))
    yield estimate_row(state, role, "p_kept", still, note=run.note)
    if state in ("clean", "corrupted"):
        return
    for name, other in run.references(state, ("corrupted", "sham", "retain_only")):
        found = _difference(run, table, state, other, lost)
        yield estimate_row(
            state, role, f"restored_minus_{name}", found, against=other, note=run.note
        )
    fact_ids = run.ids(role)
    fates = run.fates_in(state).reindex(run.ids(role, specific=True))
    recovered = recovered_fraction(
        column_of(run.accuracy, "clean", fact_ids),
        column_of(run.accuracy, "corrupted", fact_ids),
        column_of(run.accuracy, state, fact_ids),
        run.entities(fact_ids),
        n_lost=int(fates.isin(FATES_OF_LOST).to_numpy().sum()),
    )
    yield estimate_row(state, role, "recovered_fraction", recovered)
    if role == "direct" and run.path and state not in run.path:
        yield from _rollback_rows(run, state, lost)


def _rollback_rows(run: _Run, state: str, lost: pd.Index) -> Iterator[dict[str, Any]]:
    found = run.equivalent(state)
    point, weight = found.point, found.estimate()
    if math.isnan(point.weight):
        for metric in ("equivalent_rollback", "restored_minus_rollback"):
            yield estimate_row(state, "direct", metric, weight)
        return
    note = f"interpolated between {point.below} and {point.above}"
    yield estimate_row(state, "direct", "equivalent_rollback", weight, note=note)
    there = point.between(run.scored_restored, lost)
    beyond = _difference(run, run.scored_restored, state, there, lost)
    yield estimate_row(
        state,
        "direct",
        "restored_minus_rollback",
        beyond,
        against=f"rollback_{point.weight:.2f}",
        note=f"{note}; {run.note}",
    )


def _training_rows(training: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for state, last in last_losses(training).items():
        for metric in ("forget_nll", "retain_nll"):
            value = last[metric]
            number = math.nan if value is None or pd.isna(value) else float(value)
            found = Estimate(
                value=number, low=math.nan, high=math.nan, n_facts=0, n_entities=0,
                reason="" if math.isfinite(number) else "not measured in training",
            )  # fmt: skip
            yield estimate_row(state, ALL, metric, found, note=f"at step {last['step']}")
