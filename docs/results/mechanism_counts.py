"""What is counted of mechanisms, from the shards of a tier: by state, beyond shams, by reason.

Counts are of facts in runs (a fact that is looked at in three runs counts three times); intervals
and tests are over entities, of each fact's mean over its runs. A class is compared before its
refuter was asked (`suspected`): the refuter of `restored` is the sham, so that after it a method
would have to be better than a sham that nothing refutes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from shards import Shard, read_shards
from telling import Number

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.explain.measured import Measured
from restor_interp.explain.mechanism import FLAGS, MECHANISMS
from restor_interp.explain.observed import column_of, margins_by_state
from restor_interp.explain.pooling import Observation, observe, pool
from restor_interp.explain.prediction import prediction_rows
from restor_interp.explain.sensitivity import ALL
from restor_interp.measure.statistics import max_statistic, share
from restor_interp.reporting.reasons import counted_reasons
from restor_interp.reporting.vocabulary import order_states, state_kind

REFERENCES = ("retain_only", "msa", "truth_fine_tune", "dpo_truth")
"""States that are told the truth, start from the clean model, or forget nothing."""
UNDETERMINED = "undetermined"
Frame = Any
"""A table, or a column of one: what pandas' types cannot tell apart."""
LEVEL = 0.05
_WITHDRAWN = re.compile(r"it would be (\w+), but ")


def is_lost(fates: Frame) -> Frame:
    """Which rows are of facts with a planted falsehood that the clean model knew of this very
    entity, and that the corrupted one does not answer."""
    return (
        fates["role"].eq("direct")
        & fates["known_specific"].eq(True).fillna(False).astype(bool)
        & fates["fate"].isin(FATES_OF_LOST)
    )


def suspected(fates: Frame) -> Frame:
    """The mechanism before its refuter was asked."""
    reasons = fates["mechanism_reason"].fillna("").astype(str)
    named = reasons.str.extract(_WITHDRAWN, expand=False)
    return fates["mechanism"].where(~fates["refuter"].eq("failed"), named)


class Tier:
    """The shards of one tier, as one table of verdicts."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.shards: list[Shard] = list(read_shards(folder))

    @cached_property
    def fates(self) -> Frame:
        """Every fact in every state of every run: the columns of `fates`, with `run` (the name of
        the shard), `entity`, `relation`, `role`, `known_specific`, `suspected`, `lost`."""
        found = []
        for shard in self.shards:
            facts = shard.table("facts")[
                ["fact_id", "entity", "relation", "role", "known_specific"]
            ]
            own = shard.table("fates").merge(facts, on="fact_id", how="left")
            found.append(own.assign(run=shard.folder.name))
        fates = pd.concat(found, ignore_index=True)
        return fates.assign(suspected=suspected(fates), lost=is_lost(fates))

    @cached_property
    def judged(self) -> Frame:
        """Those whose retention was measured, of facts that were lost."""
        return self.fates.loc[self.fates["lost"] & self.fates["mechanism"].notna()]

    @cached_property
    def measured(self) -> dict[tuple[int, int], Measured]:
        """(seed, rotation) -> answers, choices and margins of a run."""
        return {shard.key: shard.measured() for shard in self.shards}

    @cached_property
    def states(self) -> tuple[str, ...]:
        """States with a verdict on some lost fact: corrupted, methods, then controls."""
        return order_states(self.judged["state"])

    @property
    def methods(self) -> tuple[str, ...]:
        """Unlearned states that are neither controls nor references."""
        kinds = [s for s in self.states if state_kind(s) == "method"]
        return tuple(s for s in kinds if s not in REFERENCES)

    @property
    def references(self) -> tuple[str, ...]:
        return tuple(s for s in self.states if s in REFERENCES)

    def sham_of(self, state: str) -> str | None:
        sham = f"sham_{state}"
        return sham if sham in self.states else None

    def of(self, state: str) -> Frame:
        return self.judged.loc[self.judged["state"].eq(state)]

    def table(self, name: str) -> Frame:
        """A table of all runs under each other; empty where none has it."""
        found = [
            s.table(name).assign(run=s.folder.name, seed=s.key[0], rotation=s.key[1])
            for s in self.shards
            if s.has(name)
        ]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


# ---- how many facts took which way


@dataclass(frozen=True, kw_only=True)
class Count:
    """How often a state has a mechanism."""

    state: str
    mechanism: str
    kept: int
    """Facts × runs of which it is said."""
    withdrawn: int
    """Facts × runs of which it would be said, had its refuter not spoken against it."""
    of: int
    """Facts × runs that were judged."""
    share: Number
    """Of `kept` among the judged; interval over entities."""


def counts(tier: Tier, state: str) -> list[Count]:
    """A row per mechanism; `withdrawn` facts are also among the `kept` of `undetermined`."""
    own = tier.of(state)
    failed = own["refuter"].eq("failed")
    return [
        Count(
            state=state,
            mechanism=name,
            kept=int(own["mechanism"].eq(name).sum()),
            withdrawn=int((own["suspected"].eq(name) & failed).sum()),
            of=len(own),
            share=share_of(own, own["mechanism"].eq(name)),
        )
        for name in MECHANISMS
    ]


def share_of(rows: Frame, is_so: Frame) -> Number:
    """The share of facts with a property: over a fact's runs first, interval over entities."""
    means = is_so.astype(float).groupby([rows["entity"], rows["fact_id"]], sort=False).mean()
    return Number.of(share(means.to_numpy(), list(means.index.get_level_values(0))))


# ---- beyond the sham


def beyond(tier: Tier, state: str, other: str, mechanism: str) -> Number:
    """How many more facts a state has in a class (before refuters) than another state: paired by
    fact and run, sign-flip p over entities."""
    one, two = (_in_class(tier, name, mechanism) for name in (state, other))
    gaps = (one - two).dropna()
    return Number.of(
        pool(
            Observation(0, 0, entity, fact_id, float(value))
            for (_, entity, fact_id), value in gaps.items()
        )
    )


def _in_class(tier: Tier, state: str, mechanism: str) -> Frame:
    own = tier.of(state).set_index(["run", "entity", "fact_id"])
    return own["suspected"].eq(mechanism).astype(float)


def corrected(
    tier: Tier, pairs: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], float]:
    """(state, other, mechanism) -> p of `beyond` corrected for all of these together: how often
    flipped signs of entities make any of them as large (Nichols and Holmes 2002)."""
    maps = pd.DataFrame(
        {
            pair: (_in_class(tier, pair[0], pair[2]) - _in_class(tier, pair[1], pair[2]))
            .groupby(level=["entity", "fact_id"])
            .mean()
            for pair in pairs
        }
    )
    if maps.empty:
        return {}
    found = max_statistic(maps.to_numpy(float), list(maps.index.get_level_values(0)))
    return dict(zip(pairs, map(float, found.p), strict=True))


# ---- how verdicts changed, and what they hang on


def crossed(rows: Frame, first: str, then: str) -> Frame:
    """How often each value of one column meets each of another."""
    return pd.crosstab(rows[first], rows[then])


def transitions(tier: Tier, state: str) -> Frame:
    """Rows: mechanism when corrupted; columns: in this state; facts × runs."""
    keys = ["run", "fact_id"]
    both = tier.of("corrupted")[[*keys, "mechanism"]].merge(
        tier.of(state)[[*keys, "mechanism"]], on=keys, suffixes=("_corrupted", "_then")
    )
    return crossed(both, "mechanism_corrupted", "mechanism_then")


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What moving a threshold changes."""

    threshold: str
    change: float
    changed: int
    of: int
    most: str
    """The commonest change of class."""


def moved(tier: Tier) -> list[Moved]:
    """Per threshold (`all`: all at once) and direction, verdicts of all states and facts that
    change class; those that change most first."""
    rows = tier.table("sensitivity")
    if rows.empty:
        return []
    found = []
    for (threshold, change), own in rows.groupby(["threshold", "change"], sort=False):
        ways = own.loc[own["n_changed"].gt(0)].groupby(["from", "to"])["n_changed"].sum()
        most = "" if ways.empty else " → ".join(ways.idxmax())
        sizes = own.drop_duplicates(["run", "state"])["n_facts"]
        found.append(
            Moved(
                threshold=str(threshold),
                change=float(change),
                changed=int(own["n_changed"].sum()),
                of=int(sizes.sum()),
                most=most,
            )
        )
    return sorted(found, key=lambda one: (one.threshold != ALL, -one.changed))


# ---- flags, abstentions


def flags(tier: Tier, state: str) -> dict[str, int]:
    """Flag -> facts × runs that have it."""
    named = tier.of(state)["flags"].fillna("").astype(str).str.split(", ")
    return {flag: int(sum(flag in own for own in named)) for flag in FLAGS}


def abstentions(tier: Tier, states: Sequence[str]) -> list[tuple[str, int]]:
    """(reason, facts × runs in these states) for `undetermined`; numbers in reasons left out."""
    rows = tier.judged.loc[
        tier.judged["state"].isin(states) & tier.judged["mechanism"].eq(UNDETERMINED)
    ]
    return counted_reasons(str(reason) for reason in rows["mechanism_reason"].fillna("no reason"))


# ---- the plane


@dataclass(frozen=True, kw_only=True)
class Place:
    """A state on the restoration plane."""

    fall: Number
    gain: Number


def places(tier: Tier) -> dict[str, Place]:
    """State -> how far log p(false) fell and the margin rose (nats) since corruption, on the lost
    facts that have both, over all runs (`restor_interp.explain.plane`)."""
    runs = tier.measured
    found = {}
    for state in order_states(s for run in runs.values() for s in run.states):

        def both(run: Measured, state: str = state) -> tuple[pd.Series, pd.Series]:
            lost = run.chosen("direct", lost=True)
            false, nats = run.logprobs["false"], margins_by_state(run.margins)
            fall = column_of(false, "corrupted", lost) - column_of(false, state, lost)
            gain = column_of(nats, state, lost) - column_of(nats, "corrupted", lost)
            here = (fall + gain).notna()
            return fall.where(here), gain.where(here)

        fall = pool(observe(runs, lambda run: both(run)[0]))
        if np.isfinite(fall.value):
            gain = pool(observe(runs, lambda run: both(run)[1]))
            found[state] = Place(fall=Number.of(fall), gain=Number.of(gain))
    return found


# ---- prediction


def predicted(tier: Tier) -> Frame:
    """The table `prediction` over the lost facts of all runs, of methods and their shams."""
    rows = tier.table("predictors")
    if rows.empty:
        return pd.DataFrame()
    wanted = {*tier.methods, *(f"sham_{state}" for state in tier.methods)}
    found: list[dict[str, Any]] = prediction_rows(rows.loc[rows["state"].isin(wanted)])
    return pd.DataFrame(found)
