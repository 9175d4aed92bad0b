"""The tables of one run as numbers per fact and state: what summaries, selections and pooled
tables are made of.

Selection and scoring. A fact is chosen as lost, or as not lost, by its first few-shot context
alone: the clean state right there, the corrupted one wrong (or right), and the fact specific
knowledge of the clean model. What became of it is then scored on the other contexts: a state's
score is the share of them that it answers, and 0 where the answer is a guess (m < ½ m_clean).
Choosing and scoring on the same answers would count every slip of the corrupted state as a loss,
and its chance reversal as a restoration. The corrupted state is scored like all others: its share
is what comes back by chance. (`known_specific` itself looks at all contexts of the *clean* state,
never at another state's.) With one context there is nothing to separate, and `note` says so.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.fate import GUESSED_BELOW
from restor_interp.explain.observed import (
    column_of,
    margins_by_state,
    object_logprobs,
    right_shares,
    states_of,
)
from restor_interp.explain.rollback import Equivalent, equivalent_rollback, rollback_path
from restor_interp.measure.statistics import Estimate, entity_mean, missing

SAME_CONTEXT = "selected and scored on the same single context"
HELD_OUT = "selected on the first context, scored on the others"
ROLES = ("direct", "sibling", "context", "untouched")
ALL = "all"
"""In place of a role: every fact that was asked."""
TOO_FEW = "with fewer than six entities no difference reaches p = 0.05"

CATEGORIES = ("true", "false", "random")
"""Of the objects that are scored (table `choices`)."""


def greedy(answers: pd.DataFrame) -> pd.DataFrame:
    """The greedy answers: draw 0. Sampled ones are other measurements of the same question."""
    return answers.loc[answers["draw"].eq(0)] if "draw" in answers.columns else answers


@dataclass(frozen=True)
class Measured:
    """One run, read fact by fact. `facts` as `facts_with_knowledge` returns them."""

    facts: pd.DataFrame
    answers: pd.DataFrame
    choices: pd.DataFrame
    margins: pd.DataFrame

    @cached_property
    def states(self) -> tuple[str, ...]:
        return states_of(self.answers)

    @cached_property
    def roles(self) -> tuple[str, ...]:
        own = set(self.facts["role"])
        return tuple(role for role in ROLES if role in own)

    @cached_property
    def entity(self) -> dict[str, str]:
        """fact_id -> whom it is about."""
        return dict(zip(self.facts["fact_id"], self.facts["entity"], strict=True))

    @cached_property
    def _kept(self) -> dict[tuple[Any, ...], pd.Index]:
        """Selections of facts that were made before: they are asked for once per number."""
        return {}

    def ids(self, role: str, *, specific: bool = False, known: bool = False) -> pd.Index:
        """The facts of a role (`all`: of every role); those the clean model knows, if so asked."""
        key = (role, specific, known)
        if key not in self._kept:
            self._kept[key] = self._ids(*key)
        return self._kept[key]

    def _ids(self, role: str, specific: bool, known: bool) -> pd.Index:
        chosen = np.ones(len(self.facts), dtype=bool)
        if role != ALL:
            chosen &= self.facts["role"].eq(role).to_numpy(bool)
        for wanted, column in ((specific, "known_specific"), (known, "known")):
            if wanted:
                chosen &= self.facts[column].eq(True).fillna(False).to_numpy(bool)
        return pd.Index(self.facts["fact_id"].to_numpy()[chosen])

    def entities(self, fact_ids: Iterable[str]) -> list[str]:
        """Whom each of these facts is about."""
        return [self.entity[fact_id] for fact_id in fact_ids]

    # ---- levels

    @cached_property
    def right(self) -> pd.DataFrame:
        """[fact_id, context_id] × state: the share of right greedy answers."""
        return right_shares(greedy(self.answers))

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """fact_id × state, over all contexts."""
        return _per_fact(self.right)

    @cached_property
    def sampled_accuracy(self) -> pd.DataFrame:
        """The same of sampled answers (draws above 0); empty where none were drawn."""
        draws = self.answers["draw"].gt(0) if "draw" in self.answers.columns else False
        return _per_fact(right_shares(self.answers.loc[draws])) if np.any(draws) else pd.DataFrame()

    @cached_property
    def logprobs(self) -> dict[str, pd.DataFrame]:
        """Category of object -> fact_id × state: log p in nats, summed over tokens."""
        return {name: object_logprobs(self.choices, name) for name in ("false", "true")}

    @cached_property
    def candidate_logprob(self) -> pd.DataFrame:
        """fact_id × state: log of the true object's share of the probability that the true, the
        false and the random object have together, in nats; averaged over contexts.

        The cheap stand-in for a margin, measured in every state: at most 0, so that pushing the
        falsehood below the others gains nothing, and low where the truth sinks with it.
        """
        parts = []
        for _, rows in self.choices.groupby("context_id", sort=True):
            true, false, random = (object_logprobs(rows, name) for name in CATEGORIES)
            # A pool of two has no third object.
            random = random.reindex(index=true.index, columns=true.columns).fillna(-np.inf)
            parts.append(true - _logsumexp((true, false, random)))
        if not parts:
            return pd.DataFrame()
        means: Any = pd.concat(parts).groupby(level=0, sort=False).mean()
        return means

    @cached_property
    def scores(self) -> dict[str, pd.DataFrame]:
        """Category -> fact_id × state: RESTOR's category score (its `mcqa_utils`), the mean
        log-probability per token, averaged over the category's objects, then over contexts."""
        return {category: self._category_score(category) for category in CATEGORIES}

    def _category_score(self, category: str) -> pd.DataFrame:
        rows = self.choices.loc[
            self.choices["category"].eq(category) & self.choices["mean_logprob"].notna()
        ]
        by_context = rows.astype({"mean_logprob": float}).pivot_table(
            index=["fact_id", "context_id"],
            columns="state",
            values="mean_logprob",
            aggfunc="mean",
            sort=False,
        )
        return _per_fact(by_context)

    # ---- chosen on the first context, scored on the others

    @cached_property
    def contexts(self) -> list[int]:
        return sorted(self.right.index.get_level_values("context_id").unique())

    @property
    def note(self) -> str:
        return HELD_OUT if len(self.contexts) > 1 else SAME_CONTEXT

    def chosen(self, role: str, *, lost: bool) -> pd.Index:
        """Specific facts that the clean state has right and the corrupted one wrong (or right)."""
        key = (role, "lost" if lost else "survived")
        if key not in self._kept:
            self._kept[key] = self._chosen(role, lost)
        return self._kept[key]

    def _chosen(self, role: str, lost: bool) -> pd.Index:
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

    # ---- other states

    def references(self, state: str, names: Sequence[str]) -> list[tuple[str, str]]:
        """(name in a metric, state) of what a state is compared with, where the run has it."""
        pairs = [(name, f"sham_{state}" if name == "sham" else name) for name in names]
        return [(name, other) for name, other in pairs if other in self.states and other != state]

    @cached_property
    def path(self) -> dict[str, float]:
        return rollback_path(self.states)

    def equivalent(self, state: str) -> "Equivalents":
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
            return Equivalents(equivalent_rollback(self.path, (), math.nan), (), 0)
        means = [levels.mean(0)]
        if len(levels) > 1:
            means += [np.delete(levels, place, axis=0).mean(0) for place in range(len(levels))]
        found = [equivalent_rollback(self.path, one[:-1].tolist(), float(one[-1])) for one in means]
        return Equivalents(found[0], tuple(one.weight for one in found[1:]), len(table))


def _per_fact(right: pd.DataFrame) -> pd.DataFrame:
    """Means over contexts."""
    means: Any = right.groupby(level="fact_id", sort=False).mean()
    return means


def _logsumexp(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Of tables with the same facts and states, cell by cell; NaN where one of them is."""
    first = tables[0]
    stacked = np.stack(
        [t.reindex(index=first.index, columns=first.columns).to_numpy(float) for t in tables]
    )
    top = stacked.max(0)
    return pd.DataFrame(
        top + np.log(np.exp(stacked - top).sum(0)), index=first.index, columns=first.columns
    )


@dataclass(frozen=True)
class Equivalents:
    """The rollback equal to a state, and how sure its λ is."""

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


# ---- rows of a table of estimates


def estimate_row(
    state: str, role: str, metric: str, found: Estimate, *, against: str = "", note: str = ""
) -> dict[str, Any]:
    """One estimate as a row; numbers that are not finite are None, with a `reason` or `note`."""
    too_few = found.mde == math.inf
    return {
        "state": state,
        "role": role,
        "metric": metric,
        "value": finite(found.value),
        "low": finite(found.low),
        "high": finite(found.high),
        "n_facts": found.n_facts,
        "n_entities": found.n_entities,
        "mde": finite(found.mde),
        "p": finite(found.p),
        "reason": found.reason,
        "against": against,
        "note": "; ".join(filter(None, (note, TOO_FEW if too_few else ""))),
    }


def finite(value: float | None) -> float | None:
    """The number, or None where it is missing, NaN or infinite."""
    return value if value is not None and math.isfinite(value) else None


def last_losses(training: pd.DataFrame) -> Mapping[str, Mapping[str, Any]]:
    """State -> the last row of its training."""
    return {
        str(state): rows.sort_values("step", kind="stable").iloc[-1].to_dict()
        for state, rows in training.groupby("state", sort=False)
    }
