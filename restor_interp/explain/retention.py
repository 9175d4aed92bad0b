"""What the table `retention` says of each fact: is it held at the subject, and on its way out?

R_site is read where the clean model's own states say, by what they add to T = log p_C(true):

    subject   the last layer with ≥ 80% of the greatest effect of the subject's tokens, on average
              over *untouched* facts: up to there the subject carries the fact
    mid       the first layer with ≥ 50% of the effect that the last token has in the end, of the
              very fact: there it has arrived; between this layer's attention, which brings it, and
              its MLP, which may already say something else (`attended`; where attention and MLP
              work side by side: after the layer)
    out       the last layer that was measured, at the last token: what the model says

so that no state that is judged decides where one looks. Facts arrive in different layers: at one
layer for all of them, those that come later have nothing to lose yet, and those that came earlier
have been overwritten already. What counts as intact or as lost comes from controls, the clean model
as a donor, at the same places (of `mid`: each fact's own):

    intact    above the 5th percentile of clean donors after other few-shot examples
    lost      below the 95th percentile of clean donors asked about a wrong entity

Few controls, or controls without any spread, make a band that is narrower than the measurement is
sure. So a band reaches at least as far from the middle (median) of its control as the noise: 1.645
times the deviation of a fact's controls of that kind about their own mean, which is what another
context (or another stranger) changes while the fact stays the same; and never less than 0.05.

A share that is both (the bands overlap) or neither is `between`: nothing is claimed of it. Nor is
a share of more than a half ever called lost: where wrong entities reach that, because a stranger's
answer happens to be the same, the control does not tell knowledge from its absence; nor one of less
than a half intact.

The answer is read twice, because there are two ways not to give it. r_out = m_S / m_clean comes
from the margins, in nats without a floor: it falls where the true object is said less surely,
though it still leads. It need not fall where nothing is known any more, because a substitute's
certain answer leaves the true object far less than even odds do. The share of the answer, `answer`,
R at `out`, where a donor's whole answer is put in, does: it counts from chance on. Controls of
both are the same donors at `out`, of r_out without the floor. All numbers: `explain.thresholds`.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.thresholds import DEFAULT, Thresholds

INTACT_PERCENTILE = round(DEFAULT.intact_tail)
LOST_PERCENTILE = round(100 - DEFAULT.lost_tail)
CONTROLS = {"intact": "other_context", "lost": "wrong_entity"}
"""What a band is of -> its kind of donor."""
ATTENDED = "attended"
"""The site of `mid`, where it was measured; else it is `last`, as for the answer."""
Key = tuple[str, str]
"""(fact_id, state)"""


@dataclass(frozen=True, kw_only=True)
class Band:
    """Where a site is read, and which shares its controls have there."""

    layer: int
    """Of `mid`: the middle one of the layers at which untouched facts are read."""
    intact_above: float
    """NaN without controls."""
    lost_below: float
    n_intact: int
    """Clean donors in another context."""
    n_lost: int
    """Wrong entities."""

    @classmethod
    def of(
        cls, layer: int, intact: "Controls", lost: "Controls", thresholds: Thresholds = DEFAULT
    ) -> "Band":
        """The band of these controls; without an edge where there are too few of them."""
        low, high = intact.edge(thresholds, upwards=False), lost.edge(thresholds, upwards=True)
        return cls(
            layer=layer,
            intact_above=low,
            lost_below=high,
            n_intact=len(intact.shares),
            n_lost=len(lost.shares),
        )

    def edges(self, thresholds: Thresholds = DEFAULT) -> tuple[float, float]:
        """(above it a share is intact, below it lost): the controls', and never beyond what the
        thresholds allow. NaN without controls."""
        return (
            float(np.maximum(self.intact_above, thresholds.never_intact_below)),
            float(np.minimum(self.lost_below, thresholds.never_lost_above)),
        )

    def verdict(self, share: float, thresholds: Thresholds = DEFAULT) -> str | None:
        """`intact`, `lost` or `between`; None of what was not measured or has no controls."""
        if math.isnan(share) or math.isnan(self.intact_above) or math.isnan(self.lost_below):
            return None
        intact = share > self.intact_above
        lost = share < self.lost_below and share <= thresholds.never_lost_above
        if intact == lost or (intact and share < thresholds.never_intact_below):
            return "between"
        return "intact" if intact else "lost"


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Shares of one kind of control donor at one place."""

    shares: np.ndarray
    facts: np.ndarray
    """The fact of each share."""

    @classmethod
    def none(cls) -> "Controls":
        """Where there are none."""
        return cls(shares=np.empty(0), facts=np.empty(0))

    @cached_property
    def noise(self) -> float:
        """Standard deviation of shares about the mean of their fact; NaN where no fact has two."""
        _, fact = np.unique(self.facts, return_inverse=True)
        counts = np.bincount(fact)
        freedom = len(self.shares) - len(counts)
        if freedom < 1:
            return math.nan
        means = np.bincount(fact, weights=self.shares) / counts
        return float(np.sqrt(((self.shares - means[fact]) ** 2).sum() / freedom))

    def edge(self, thresholds: Thresholds = DEFAULT, *, upwards: bool) -> float:
        """Where a band ends that has a tail of these controls beyond it, above or below."""
        if len(self.shares) < thresholds.least_controls:
            return math.nan
        noise = self.noise
        reach = 0.0 if math.isnan(noise) else thresholds.noise_widths * noise
        reach = max(reach, thresholds.least_tolerance)
        middle = float(np.median(self.shares))
        if upwards:
            tail = float(np.percentile(self.shares, 100 - thresholds.lost_tail))
            return max(tail, middle + reach)
        return min(float(np.percentile(self.shares, thresholds.intact_tail)), middle - reach)


@dataclass(frozen=True, kw_only=True)
class Bands:
    """What counts as intact and as lost at each site; None where no layer could be fixed."""

    subject: Band | None
    mid: Band | None
    out: Band | None
    """Of r_out, a ratio of margins."""
    answer: Band | None = None
    """Of the share of the answer."""


@dataclass(frozen=True, kw_only=True)
class Retained:
    """Per fact and state, what it retains; and the layers and bands that this is judged by."""

    subject: Band | None
    """None where no layer could be fixed; `reason` says why."""
    mid: Band | None
    out: Band | None = None
    """Of r_out: the last token at the last layer, where a donor's whole answer is put in."""
    answer: Band | None = None
    """The same of shares, which count from chance on."""
    n_untouched: int
    """Facts on which the layers were fixed."""
    reason: str | None = None
    mid_layers: Mapping[str, int] = field(default_factory=dict)
    """fact_id -> the layer at which its own `r_mid` is read."""
    mid_site: str = "last"
    """Where in that layer."""
    by_fact: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    """(fact_id, state) -> `r_subject` and its verdict `subject`, `r_mid` and its verdict `mid`,
    `answer` (the share at `out`), `rds`, `rds_unclipped`; None where they were not measured."""

    @property
    def late_from(self) -> dict[str, int]:
        """fact_id -> the first layer whose MLP works after `r_mid` was read."""
        after = 0 if self.mid_site == ATTENDED else 1
        return {name: layer + after for name, layer in self.mid_layers.items()}

    @property
    def bands(self) -> Bands:
        """The bands of the three sites."""
        return Bands(subject=self.subject, mid=self.mid, out=self.out, answer=self.answer)


def retained(
    retention: pd.DataFrame, roles: Mapping[str, str], thresholds: Thresholds = DEFAULT
) -> Retained:
    """Read a run's table `retention`.

    `roles`: fact_id -> role; layers are fixed on the `untouched` ones.
    """
    return Shares.of(retention, roles).read(thresholds)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The table `retention` by site and layer, before any threshold is applied to it."""

    subject_effects: pd.Series
    """Layer -> mean effect (nats) of the clean donor at the subject, over untouched facts."""
    last_effects: pd.DataFrame
    """fact_id × layer: effect (nats) of the clean donor at the last token."""
    untouched: frozenset[str]
    """Facts on which layers are fixed."""
    shares: Mapping[tuple[str, int], Mapping[Key, float]]
    """(site, layer) -> (fact_id, state) -> share."""
    depths: Mapping[str, Mapping[Key, float]]
    """`rds` and `rds_unclipped` -> (fact_id, state) -> score."""
    controls: Mapping[tuple[str, str], pd.DataFrame]
    """(site, kind of donor) -> fact_id, layer, share, and `unfloored`: the share of the plain T."""
    mid_site: str
    keys: Sequence[Key]
    """Every fact and state that was measured, whether it has a share or not."""
    last_layer: int | None

    @classmethod
    def of(cls, retention: pd.DataFrame, roles: Mapping[str, str]) -> "Shares":
        """`roles`: fact_id -> role."""
        if retention.empty:
            return cls(
                subject_effects=pd.Series(), last_effects=pd.DataFrame(), untouched=frozenset(),
                shares={}, depths={}, controls={}, mid_site="last", keys=(), last_layer=None,
            )  # fmt: skip
        names = {name for name, role in roles.items() if role == "untouched"}
        effects = _clean_effects(retention)
        at_subject = effects.loc["subject"] if "subject" in effects.index else pd.DataFrame()
        of_untouched = at_subject.loc[at_subject.index.isin(names)]
        is_state = retention["donor_kind"].eq("state")
        finite = retention.loc[retention["share"].notna()].astype({"share": float})
        states = retention.loc[is_state]
        means = finite.loc[is_state].groupby(["site", "layer", "fact_id", "state"])["share"].mean()
        shares: dict[tuple[str, int], dict[Key, float]] = {}
        for (site, layer, fact_id, state), value in means.to_dict().items():  # pyright: ignore
            shares.setdefault((site, int(layer)), {})[fact_id, state] = value
        gain = finite["clean_logp"].astype(float) - finite["host_logp"]
        finite["unfloored"] = (finite["logp"].astype(float) - finite["host_logp"]) / gain
        others = finite.loc[~is_state].groupby(["site", "donor_kind"])
        return cls(
            subject_effects=of_untouched.mean().dropna(),
            last_effects=effects.loc["last"] if "last" in effects.index else pd.DataFrame(),
            untouched=frozenset(names & set(retention["fact_id"])),
            shares=shares,
            depths=_depths(states.loc[states["site"].eq("subject")]),
            controls={
                (site, kind): own[["fact_id", "layer", "share", "unfloored"]]
                for (site, kind), own in others  # pyright: ignore
            },
            mid_site=ATTENDED if ATTENDED in set(retention["site"]) else "last",
            keys=tuple(dict.fromkeys(zip(states["fact_id"], states["state"], strict=True))),
            last_layer=int(retention["layer"].to_numpy().max()),
        )

    def read(self, thresholds: Thresholds = DEFAULT) -> Retained:
        """Layers, bands and what each fact retains, by these thresholds."""
        if self.last_layer is None:
            return Retained(
                subject=None, mid=None, n_untouched=0, reason="retention was not measured"
            )
        subject, mids = self.subject_layer(thresholds), self.mid_layers(thresholds)
        of_untouched = [layer for name, layer in mids.items() if name in self.untouched]
        mid = sorted(of_untouched)[len(of_untouched) // 2] if of_untouched else None
        last = self.last_layer
        bands = {
            "subject": self._band("subject", subject, thresholds),
            "mid": self._band(self.mid_site, mid, thresholds, mids),
            "out": self._band("last", last, thresholds, column="unfloored"),
            "answer": self._band("last", last, thresholds),
        }
        by_fact = {}
        for key in self.keys:
            own: dict[str, Any] = {name: self.depths[name].get(key) for name in self.depths}
            where = {"subject": ("subject", subject), "mid": (self.mid_site, mids.get(key[0]))}
            for name, (site, layer) in where.items():
                at_layer = {} if layer is None else self.shares.get((site, layer), {})
                band, share = bands[name], at_layer.get(key)
                own[f"r_{name}"] = share if band is not None else None
                own[name] = (
                    None if band is None or share is None else band.verdict(share, thresholds)
                )
            own["answer"] = self.shares.get(("last", last), {}).get(key)
            by_fact[key] = own
        return Retained(
            **bands,
            n_untouched=len(self.untouched),
            reason=self._reason(subject, mid, thresholds),
            mid_layers=mids,
            mid_site=self.mid_site,
            by_fact=by_fact,
        )

    def subject_layer(self, thresholds: Thresholds = DEFAULT) -> int | None:
        """The last layer with ≥ 80% of the greatest mean subject effect."""
        means = self.subject_effects
        if means.empty or means.max() < thresholds.least_effect:
            return None
        return int(means.index[means >= thresholds.subject_share * means.max()].max())

    def mid_layers(self, thresholds: Thresholds = DEFAULT) -> dict[str, int]:
        """fact_id -> the first layer with ≥ 50% of the effect that its last token has in the end;
        without facts to which the clean model adds too little there."""
        if self.last_effects.empty:
            return {}
        finals = self.last_effects[self.last_layer]
        arrived = self.last_effects.ge(thresholds.mid_share * finals, axis=0)
        first: pd.Series = arrived.idxmax(axis=1).loc[finals.ge(thresholds.least_effect)]
        return {str(name): int(layer) for name, layer in first.to_dict().items()}

    def _reason(self, subject: int | None, mid: int | None, thresholds: Thresholds) -> str | None:
        """Why a layer could not be fixed."""
        if not self.untouched:
            return "no untouched fact was measured, on which layers could be fixed"
        if subject is None or mid is None:
            least = thresholds.least_effect
            return f"on untouched facts the clean model adds less than {least:g} nat"
        return None

    def _band(
        self,
        site: str,
        layer: int | None,
        thresholds: Thresholds,
        own_layers: Mapping[str, int] | None = None,
        column: str = "share",
    ) -> Band | None:
        """The band at a layer, or at each fact's own."""
        if layer is None:
            return None
        intact, lost = (
            self._controls(site, kind, layer, own_layers, column) for kind in CONTROLS.values()
        )
        return Band.of(layer, intact, lost, thresholds)

    def _controls(
        self, site: str, kind: str, layer: int, own_layers: Mapping[str, int] | None, column: str
    ) -> Controls:
        rows = self.controls.get((site, kind))
        if rows is None:
            return Controls.none()
        where = layer if own_layers is None else rows["fact_id"].map(own_layers.get)
        rows = rows.loc[rows["layer"].eq(where)]
        return Controls(shares=rows[column].to_numpy(), facts=rows["fact_id"].to_numpy())


def _clean_effects(retention: pd.DataFrame) -> pd.DataFrame:
    """[site, fact_id] × layer: what the clean model's own states add (nats). Every row of a fact
    has it, once is enough."""
    once = retention.drop_duplicates(["site", "fact_id", "layer"])
    effects = once.astype({"clean_effect": float, "layer": int})
    return effects.pivot(index=["site", "fact_id"], columns="layer", values="clean_effect")


def depth_scores(rows: pd.DataFrame) -> tuple[float, float]:
    """`rds` and `rds_unclipped` of one state's donor of one fact, from its rows at the subject;
    NaN where no layer has a share."""
    one = _depths(rows.assign(fact_id="", state=""))
    clipped, unclipped = (one[name].get(("", ""), math.nan) for name in ("rds", "rds_unclipped"))
    return clipped, unclipped


def _depths(rows: pd.DataFrame) -> dict[str, dict[Key, float]]:
    """Both scores of every fact and state that has a share."""
    rows = rows.loc[rows["share"].notna()]
    shares = rows["share"].astype(float)
    clean = rows["clean_effect"].astype(float)
    keys = [rows["fact_id"], rows["state"]]
    total: Any = clean.groupby(keys, sort=False).sum()
    kinds = {"rds": shares.clip(0, 1), "rds_unclipped": shares}
    sums: dict[str, Any] = {
        name: (clean * values).groupby(keys, sort=False).sum() for name, values in kinds.items()
    }
    return {name: (found / total).to_dict() for name, found in sums.items()}
