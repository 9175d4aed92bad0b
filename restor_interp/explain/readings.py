"""What the instruments of a run say about each fact and state, as `Readings` for a verdict.

One function per table; each returns, for a fact and state, numbers and the layer that they were
read at, and leaves out what was not measured. Of several layers an intervention's best is taken,
and so is its control's best of the same layers: both had as many tries.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.mechanism import Readings
from restor_interp.explain.retention import Key, Retained

TABLES = ("grafts", "patches", "lens", "knockouts", "contributions")
"""Tables that readings are taken from beside retention and margins; a run may lack any."""

WRITTEN = 0.5
"""Share of what late layers write against the true object that the layers named by it make up."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """At which layers readings were taken, for telling; None: not measured."""

    subject: int | None = None
    mid: int | None = None
    out_is_share: bool = False
    """Whether r_out is a share of retention, because no margin was measured."""
    late: str | None = None
    """The modules that were put back: `layers.24`, `layers.20-29`."""
    late_wide: bool = False
    """Whether these are all layers from one on, not the best one."""
    attention: int | None = None
    subject_in: int | None = None
    """Where clean states of the subject were put in."""
    false: int | None = None
    """Where the false object leads most, a layer of the lens (0: the embeddings)."""
    writers: tuple[int, ...] = ()
    """Late layers that write most for the false object, beyond the clean model."""
    written: float | None = None
    """Logits that they write."""


@dataclass(frozen=True, kw_only=True)
class Read:
    """Readings with their places."""

    readings: Readings
    places: Places


Inside = Mapping[Key, Mapping[str, Any]]
"""Fields of `Readings` and `Places` that the instruments measured."""


Layers = Mapping[str, int]
"""fact_id -> a layer."""


def look_inside(facts: pd.DataFrame, tables: Mapping[str, pd.DataFrame], held: Retained) -> Inside:
    """What the instruments beside retention say.

    Args:
        facts: fact_id, and true_objects where a lens was measured.
        tables: of `TABLES`, those that the run has.
        held: at which layer each fact has arrived, and which are late.
    """
    found: dict[Key, dict[str, Any]] = {}
    late_from = held.late_from
    parts = {name: tables[name] for name in TABLES if name in tables and len(tables[name])}
    sources = [
        _late(parts.get("grafts"), late_from),
        _attention(parts.get("patches")),
        _subject(parts.get("patches")),
        _false_leads(parts.get("lens"), facts, held.mid_layers),
        _routes(parts.get("knockouts"), parts.get("contributions")),
        _writers(parts.get("contributions"), late_from),
    ]
    for source in sources:
        for key, values in source:
            found.setdefault(key, {}).update(values)
    return found


def read(
    r_out: Mapping[Key, float], held: Retained, facts: pd.DataFrame, inside: Inside
) -> dict[Key, Read]:
    """Everything that a verdict is made of, per fact and state whose retention was measured.

    Args:
        r_out: m_S / m_clean of every fact and state that has one; where one has none, the share
            that its whole answer brings the host stands in for it.
        facts: fact_id, relation, role.
        inside: what `look_inside` found, with the same `held`.
    """
    shares = {
        key: float(own["answer"])
        for key, own in held.by_fact.items()
        if own.get("answer") is not None
    }
    out = shares | dict(r_out)
    untouched = _untouched(out, facts)
    relation = dict(zip(facts["fact_id"], facts["relation"], strict=True))
    own = set(Readings.__dataclass_fields__)
    collected = {}
    for (fact_id, state), retains in held.by_fact.items():
        if fact_id not in relation:
            continue
        key = (fact_id, state)
        values = inside.get(key, {})
        readings = Readings(
            r_subject=retains.get("r_subject"),
            r_mid=retains.get("r_mid"),
            r_out=out.get(key),
            answer=shares.get(key),
            corrupted_r_out=out.get((fact_id, "corrupted")),
            sham_r_out=out.get((fact_id, f"sham_{state}")),
            untouched_r_out=untouched.get((relation[fact_id], state)),
            **{name: value for name, value in values.items() if name in own},
        )
        places = Places(
            subject=None if held.subject is None else held.subject.layer,
            mid=held.mid_layers.get(fact_id),
            out_is_share=key in shares and key not in r_out,
            **{name: value for name, value in values.items() if name not in own},
        )
        collected[key] = Read(readings=readings, places=places)
    return collected


Told = Iterator[tuple[Key, dict[str, Any]]]


def _untouched(r_out: Mapping[Key, float], facts: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(relation, state) -> mean r_out of its untouched facts."""
    relation = {
        fact_id: relation
        for fact_id, relation, role in zip(
            facts["fact_id"], facts["relation"], facts["role"], strict=True
        )
        if role == "untouched"
    }
    sums: dict[tuple[str, str], list[float]] = {}
    for (fact_id, state), value in r_out.items():
        if fact_id in relation and math.isfinite(value):
            sums.setdefault((relation[fact_id], state), []).append(value)
    return {key: float(np.mean(values)) for key, values in sums.items()}


# ---- refuters


def _from_clean(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which the clean state gives, with an effect."""
    return rows.loc[rows["donor"].eq("clean") & rows["effect"].notna()]


def _late(grafts: pd.DataFrame | None, late_from: Layers) -> Told:
    """What clean weights of late layers bring, and random ones of equal norm.

    All of these layers at once where that was measured (`late`, at the first depth of them): then
    nothing was chosen.
    """
    if grafts is None:
        return
    rows = _from_clean(grafts)
    is_late = rows["layer"].ge(rows["fact_id"].map(late_from.get).astype(float))
    rows = rows.loc[rows["judged_on"].eq("fact") & is_late]
    rows = rows.loc[rows["control_high"].notna()]
    for by in ("layer", "late"):
        for key, own in rows.loc[rows["by"].eq(by)].groupby(["fact_id", "host"], sort=False):
            if by == "late":
                own = own.loc[own["layer"].eq(own["layer"].min())]
            best = own.loc[own["effect"].idxmax()]
            yield (
                key,
                {
                    "late_effect": float(best["effect"]),
                    "late_control": float(own["control_high"].max()),
                    "late": str(best["modules"]),
                    "late_wide": by == "late",
                },
            )  # pyright: ignore


def _best(rows: pd.DataFrame) -> Iterator[tuple[Key, float, int, float | None]]:
    """(fact, host), the best effect, its layer, and the best of the wrong entity's values."""
    null = rows["null"].ne("none") & rows["null"].notna()
    others = rows.loc[null].groupby(["fact_id", "host"])["effect"].max().to_dict()
    for key, own in rows.loc[~null].groupby(["fact_id", "host"], sort=False):
        best = own.loc[own["effect"].idxmax()]
        yield key, float(best["effect"]), int(best["layer"]), others.get(key)  # pyright: ignore


def _attention(patches: pd.DataFrame | None) -> Told:
    if patches is None:
        return
    rows = _from_clean(patches)
    last = rows.groupby("fact_id")["position"].transform("max")
    rows = rows.loc[rows["kind"].eq("attn") & rows["position"].eq(last)]
    for key, effect, layer, control in _best(rows):
        yield (
            key,
            {"attention_effect": effect, "attention_control": control, "attention": layer},
        )


def _subject(patches: pd.DataFrame | None) -> Told:
    if patches is None:
        return
    rows = _from_clean(patches)
    token = rows.loc[rows["kind"].eq("resid") & rows["in_subject"].eq(True)]
    # Later, so that the whole subject, where it was put in, is what counts.
    for chosen in (token, rows.loc[rows["kind"].eq("subject")]):
        tokens = chosen.groupby(["fact_id", "host"])["position"].nunique().to_dict()
        for key, effect, layer, control in _best(chosen):
            yield (
                key,
                {
                    "subject_effect": effect,
                    "subject_control": control,
                    "subject_in": layer,
                    "subject_whole": tokens[key] == 1,
                },
            )


# ---- flags


def lens_leads(lens: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """[fact_id, state] × layer: nats by which the false object leads at the last token.

    Of facts that a tuned lens was read for, that one counts, of the others the logit lens; both
    with a state's own norm and unembedding. `facts` tells which objects are true.
    """
    rows = lens.loc[lens["position"].eq("last") & lens["logprob"].notna()]
    if "decoder" in rows.columns:
        rows = rows.loc[rows["decoder"].fillna("own").eq("own")]
    is_tuned = rows["lens"].eq("tuned")
    rows = rows.loc[is_tuned | ~rows["fact_id"].isin(rows.loc[is_tuned, "fact_id"])]
    if rows.empty or "true_objects" not in facts.columns:
        return pd.DataFrame()
    true = {
        (fact_id, str(name))
        for fact_id, names in zip(facts["fact_id"], facts["true_objects"], strict=True)
        for name in (*names, "true")
    }
    pairs = zip(rows["fact_id"], rows["object"].astype(str), strict=True)
    sign = np.array([-1.0 if pair in true else 1.0 for pair in pairs])
    signed = rows.assign(
        signed=sign * rows["logprob"].to_numpy(float), side=np.where(sign < 0, "true", "false")
    )
    sides = signed.pivot_table(
        index=["fact_id", "state"], columns=["side", "layer"], values="signed", aggfunc="mean"
    )
    if not {"true", "false"} <= set(sides.columns.get_level_values("side")):
        return pd.DataFrame()
    return sides["true"] + sides["false"]  # pyright: ignore


def _false_leads(lens: pd.DataFrame | None, facts: pd.DataFrame, mids: Layers) -> Told:
    """The greatest lead of the false object between `mid` and the model's own answer."""
    if lens is None:
        return
    leads = lens_leads(lens, facts)
    if leads.empty:
        return
    layers = np.array([int(layer) for layer in leads.columns])
    table = {key: row.to_numpy(float) for key, row in leads.iterrows()}
    for (fact_id, state), own in table.items():  # pyright: ignore
        if fact_id not in mids:
            continue
        clean = table.get((fact_id, "clean"))
        beyond = own if clean is None else np.minimum(own, own - clean)
        # layer l of the lens is read before block l: after `mid` it is mid + 1
        inside = (layers > mids[fact_id]) & (layers < layers.max()) & np.isfinite(beyond)
        if inside.any():
            at = int(np.argmax(np.where(inside, beyond, -np.inf)))
            yield (fact_id, state), {"false_lead": float(beyond[at]), "false": int(layers[at])}


def _routes(knockouts: pd.DataFrame | None, contributions: pd.DataFrame | None) -> Told:
    """How alike what the answer depends on is to the clean model's: which edges it needs at which
    layers; where that was not measured, what each part writes."""
    profiles = []
    if contributions is not None:
        parts = contributions.fillna({"layer": -1, "head": -1})
        profiles.append((parts, ["part", "layer", "head"], "value"))
    if knockouts is not None:
        own = knockouts.loc[knockouts["control"].ne(True) & knockouts["layer"].notna()]
        profiles.append((own, ["edge", "layer"], "effect"))
    for rows, columns, value in profiles:
        table = rows.pivot_table(
            index=["fact_id", "state"], columns=columns, values=value, aggfunc="mean"
        )
        vectors = {key: row.to_numpy(float) for key, row in table.iterrows()}
        for (fact_id, state), own in vectors.items():  # pyright: ignore
            clean = vectors.get((fact_id, "clean"))
            if clean is None or state == "clean":
                continue
            both = np.isfinite(own) & np.isfinite(clean)
            size = np.linalg.norm(own[both]) * np.linalg.norm(clean[both])
            if size > 0:
                cosine = float(own[both] @ clean[both] / size)
                yield (fact_id, state), {"route_similarity": cosine}


def _writers(contributions: pd.DataFrame | None, late_from: Layers) -> Told:
    """The late layers that write most against the true object, beyond the clean model's."""
    if contributions is None:
        return
    first = contributions["fact_id"].map(late_from.get).astype(float)
    rows = contributions.loc[contributions["layer"].ge(first)]
    table = rows.pivot_table(
        index=["fact_id", "state"], columns="layer", values="value", aggfunc="sum"
    )
    layers = np.array([int(layer) for layer in table.columns])
    vectors = {key: row.to_numpy(float) for key, row in table.iterrows()}
    for (fact_id, state), own in vectors.items():  # pyright: ignore
        clean = vectors.get((fact_id, "clean"))
        if clean is None or state == "clean":
            continue
        against = np.nan_to_num(np.clip(clean - own, 0, None))
        if against.sum() <= 0:
            continue
        order = np.argsort(-against, kind="stable")
        enough = int(np.searchsorted(np.cumsum(against[order]), WRITTEN * against.sum())) + 1
        chosen = np.sort(order[:enough])
        yield (
            (fact_id, state),
            {
                "writers": tuple(int(layer) for layer in layers[chosen]),
                "written": float(against[chosen].sum()),
            },
        )
