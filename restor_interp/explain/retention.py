"""What the table `retention` says of each fact: is it held at the subject, and on its way out?

R_site is read at one layer per site, fixed on *untouched* facts by what the clean model's own
states add to T = log p_C(true), averaged over facts (design §8):

    subject   the last layer with ≥ 80% of the greatest mean effect of the subject's tokens: up to
              there the subject carries the fact
    mid       the first layer with ≥ 50% of the mean effect that the last token has in the end:
              there the fact has arrived

so that neither a state nor the fact that is judged decides where one looks. What counts as intact
or as lost comes from controls, the clean model as a donor, at the same layer and site:

    intact    above the 5th percentile of clean donors after other few-shot examples
    lost      below the 95th percentile of clean donors asked about a wrong entity

A share that is both (the bands overlap) or neither is `between`: nothing is claimed of it. Nor is
a share of more than a half ever called lost: where wrong entities reach that, because a stranger's
answer happens to be the same, the control does not tell knowledge from its absence.

`rds` is a depth score in the way of UDS ("Measuring the depth of LLM unlearning via activation
patching", arXiv 2605.24614), which is Σ_l Δ1_l · clip(Δ2_l / Δ1_l, 0, 1) / Σ_l Δ1_l over layers
where Δ1_l, what patching the reference model's states costs the answer, exceeds 0.05 nats. Ours:

    rds = Σ_l g_l(clean) · clip(g_l(S) / g_l(clean), 0, 1) / Σ_l g_l(clean),
    g_l(S) = T(host ← S at the subject, layer l) − T(host)

over layers where g_l(clean) ≥ 1 nat, as for every share. It differs in its host, which is asked
about another entity (so 1 is a fact that is held as in the clean model and 0 one that is gone), in
T, which looks at the true object among its candidates, and in that bound. `rds_unclipped` leaves
the clip out: above 1 or below 0 is told as such.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

SUBJECT_SHARE = 0.8
"""Of the greatest mean subject effect, that the layer of r_subject still has."""
MID_SHARE = 0.5
"""Of the final effect at the last token, that the layer of r_mid has."""
INTACT_PERCENTILE = 5
LOST_PERCENTILE = 95
NEVER_LOST = 0.5
"""A share above this is not lost, whatever wrong entities bring."""
LEAST_NATS = 1.0
"""What the clean donor must add for a layer to be fixed by it."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a site is read, and which shares its controls have there."""

    layer: int
    intact_above: float
    """NaN without controls."""
    lost_below: float
    n_intact: int
    """Clean donors in another context."""
    n_lost: int
    """Wrong entities."""

    def verdict(self, share: float) -> str | None:
        """`intact`, `lost` or `between`; None of what was not measured or has no controls."""
        if math.isnan(share) or math.isnan(self.intact_above) or math.isnan(self.lost_below):
            return None
        intact = share > self.intact_above
        lost = share < self.lost_below and share <= NEVER_LOST
        if intact == lost:
            return "between"
        return "intact" if intact else "lost"


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Per fact and state, what it retains; and the layers and bands that this is judged by."""

    subject: Band | None
    """None where no layer could be fixed; `reason` says why."""
    mid: Band | None
    n_untouched: int
    """Facts on which the layers were fixed."""
    reason: str | None = None
    by_fact: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(fact_id, state) -> `r_subject` and its verdict `subject`, `r_mid` and its verdict `mid`,
    `rds`, `rds_unclipped`; None where they were not measured."""


def retained(retention: pd.DataFrame, roles: Mapping[str, str]) -> Retained:
    """Read a run's table `retention`.

    `roles`: fact_id -> role; layers are fixed on the `untouched` ones.
    """
    if retention.empty:
        return Retained(subject=None, mid=None, n_untouched=0, reason="retention was not measured")
    untouched = retention["fact_id"].isin([name for name, r in roles.items() if r == "untouched"])
    facts = retention.loc[untouched, "fact_id"].nunique()
    effects = _clean_effects(retention.loc[untouched])
    subject_layer, mid_layer = subject_layer_of(effects), mid_layer_of(effects)
    if not facts:
        reason = "no untouched fact was measured, on which layers could be fixed"
    elif subject_layer is None or mid_layer is None:
        reason = f"on untouched facts the clean model adds less than {LEAST_NATS:g} nat"
    else:
        reason = None
    subject = None if subject_layer is None else _band(retention, "subject", subject_layer)
    mid = None if mid_layer is None else _band(retention, "last", mid_layer)
    states = retention.loc[retention["donor_kind"].eq("state")]
    by_fact = {}
    for key, own in states.groupby(["fact_id", "state"], sort=False):
        r_subject, r_mid = _share_at(own, "subject", subject), _share_at(own, "last", mid)
        clipped, unclipped = depth_scores(own.loc[own["site"].eq("subject")])
        by_fact[key] = {
            "r_subject": _or_none(r_subject),
            "subject": None if subject is None else subject.verdict(r_subject),
            "r_mid": _or_none(r_mid),
            "mid": None if mid is None else mid.verdict(r_mid),
            "rds": _or_none(clipped),
            "rds_unclipped": _or_none(unclipped),
        }
    return Retained(
        subject=subject,
        mid=mid,
        n_untouched=int(facts),
        reason=reason,
        by_fact=by_fact,
    )


def subject_layer_of(effects: pd.DataFrame) -> int | None:
    """The last layer with ≥ 80% of the greatest mean subject effect.

    `effects`: site, layer, effect (nats) of the clean donor, one row per fact.
    """
    means = _means(effects, "subject")
    if means.empty or means.max() < LEAST_NATS:
        return None
    return int(means.index[means >= SUBJECT_SHARE * means.max()].max())


def mid_layer_of(effects: pd.DataFrame) -> int | None:
    """The first layer with ≥ 50% of the mean effect that the last token has at the last layer."""
    means = _means(effects, "last")
    if means.empty or means.iloc[-1] < LEAST_NATS:
        return None
    return int(means.index[means >= MID_SHARE * means.iloc[-1]].min())


def depth_scores(rows: pd.DataFrame) -> tuple[float, float]:
    """`rds` and `rds_unclipped` of one state's donor of one fact, from its rows at the subject;
    NaN where no layer has a share."""
    rows = rows.loc[rows["share"].notna()]
    shares = rows["share"].to_numpy(dtype=float)
    clean = (rows["clean_logp"] - rows["host_logp"]).to_numpy(dtype=float)
    if not len(rows):
        return math.nan, math.nan
    clipped = float((clean * shares.clip(0, 1)).sum() / clean.sum())
    return clipped, float((clean * shares).sum() / clean.sum())


def _clean_effects(retention: pd.DataFrame) -> pd.DataFrame:
    """What the clean model's own states add in each fact: every row has it, once is enough."""
    once = retention.drop_duplicates(["fact_id", "site", "layer"])
    return once.assign(effect=(once["clean_logp"] - once["host_logp"]).astype(float))


def _means(effects: pd.DataFrame, site: str) -> pd.Series:
    """Layer -> mean effect over facts, layers in order."""
    return effects.loc[effects["site"].eq(site)].groupby("layer")["effect"].mean().sort_index()


def _band(retention: pd.DataFrame, site: str, layer: int) -> Band:
    here = retention.loc[retention["site"].eq(site) & retention["layer"].eq(layer)]

    def shares(kind: str) -> np.ndarray:
        return here.loc[here["donor_kind"].eq(kind), "share"].dropna().to_numpy(dtype=float)

    intact, lost = shares("other_context"), shares("wrong_entity")
    return Band(
        layer=layer,
        intact_above=float(np.percentile(intact, INTACT_PERCENTILE)) if len(intact) else math.nan,
        lost_below=float(np.percentile(lost, LOST_PERCENTILE)) if len(lost) else math.nan,
        n_intact=len(intact),
        n_lost=len(lost),
    )


def _share_at(own: pd.DataFrame, site: str, band: Band | None) -> float:
    if band is None:
        return math.nan
    found = own.loc[own["site"].eq(site) & own["layer"].eq(band.layer), "share"].dropna()
    return float(found.mean()) if len(found) else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
