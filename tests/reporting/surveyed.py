"""Rows of the tables that surveys and later analyses fill, planted so that pages can be checked.

They are added to the made-up run of `synthetic.py`; `hostile` puts the same text into every place
that strangers fill.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.reporting.results import RunResults

STATES = ("corrupted", "npo", "sham_npo")
"""States that surveys looked at."""
LAYERS = 6
HEADS = 4
TOKENS = (" city", " Oslo", "the", " said")


def surveyed(run: RunResults, *, hostile: str = "", seed: int = 0) -> RunResults:
    """The run with every further table. Facts looked into: the first two."""
    rng = np.random.default_rng(seed)
    facts = run.facts[:2]
    tables = {
        "weights": weights(rng),
        "drift": drift(),
        "directions": directions(hostile),
        "steering": steering(facts),
        "interpolation": interpolation(facts),
        "forget_weights": forget_weights(),
        "forget_trajectory": trajectory(),
        "gradients": gradients(facts, rng),
        "timeline": timeline(facts),
        "leading_layers": leading(facts),
        "tuned_lens": tuned_lens(),
        "mlp_changes": [row for fact in facts for row in mlp_changes(fact)],
        "value_vectors": [row for fact in facts for row in value_vectors(fact, hostile)],
        "attention": [row for fact in facts for row in attention(fact)],
        "descriptions": [row for fact in facts for row in descriptions(fact)],
        "token_attributions": [row for fact in facts for row in token_rows(fact, hostile)],
        "features": [row for fact in facts for row in features(fact, hostile)],
        "sensitivity": sensitivity(),
    }
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    frames["fates"] = judged(run.table("fates"), [fact["fact_id"] for fact in facts], hostile)
    return RunResults(
        name=run.name,
        config=run.config,
        manifest=run.manifest,
        tables={**run.tables, **frames},
    )


def judged(fates: pd.DataFrame, ids: list[str], hostile: str) -> pd.DataFrame:
    """npo's two facts: the first late override, the second undetermined, its refuter failed."""
    fates = fates.assign(mechanism=None, refuter=None, mechanism_reason="not looked into")
    fates = fates.assign(suspected=None)
    for fact_id, mechanism, refuter, reason in (
        (ids[0], "late_override", "passed", None),
        (ids[1], "undetermined", "failed", "it would be restored, but its sham restores 0.91"),
    ):
        at = fates["fact_id"].eq(fact_id) & fates["state"].eq("npo")
        told = f"The subject still carries it (0.86 of clean){hostile}."
        values = (mechanism, refuter, reason, told, "false_active", 0.86, 0.79, 0.1)
        columns = ("mechanism", "refuter", "mechanism_reason", "evidence", "flags")
        fates.loc[at, "suspected"] = "restored" if refuter == "failed" else mechanism
        fates.loc[at, [*columns, "r_subject", "r_mid", "r_out"]] = values
    return fates


def sensitivity() -> list[dict[str, Any]]:
    fixed = {"state": "npo", "n_facts": 2}
    return [
        fixed | {"threshold": name, "change": change, "from": old, "to": "undetermined",
                 "n_changed": number}
        for name, change, old, number in (
            ("restores", -0.25, None, 0), ("restores", 0.25, "late_override", 1),
            ("lost_tail", -0.25, None, 0), ("lost_tail", 0.25, None, 0),
            ("all", -0.25, None, 0), ("all", 0.25, "late_override", 2),
        )
    ]  # fmt: skip


# ---- whole states


def weights(rng: np.random.Generator) -> list[dict[str, Any]]:
    """npo goes straight back in its MLPs (cosine 0.5, projection 0.4 there), and nowhere else."""
    rows = []
    for state in STATES:
        for layer in (*range(LAYERS), None):
            kinds = ("all",) if layer is None else ("attn.q", "attn.o", "mlp.down")
            for kind in kinds:
                own = state != "corrupted"
                cosine = 0.5 * (state == "npo") * (kind == "mlp.down")
                norm = 1.0 + 0.1 * (layer or 0)
                rows.append(
                    {
                        "state": state, "module": "all" if layer is None else f"{layer}.{kind}",
                        "component": kind.partition(".")[0], "layer": layer, "norm": norm,
                        "norm_relative": 0.01 * norm, "rank90": 5, "rank": 8,
                        "cosine": (0.2 if layer is None else cosine) if own else None,
                        "projection": 0.8 * cosine if own else None,
                        "subspace_energy": 0.3 if own else None,
                        "corruption_norm": norm / 0.8, "total_share": 0.9 if own else 1.0,
                        "cosine_floor": 0.01 if own else None,
                        "cosine_floor_kept": 0.04 if own else None,
                        "subspace_floor": 0.05 + rng.uniform(0, 0.01) if own else None,
                        "reason": None if own else "this is the state corrupted itself",
                    }
                )  # fmt: skip
    return rows


def drift() -> list[dict[str, Any]]:
    """Cosine falls with depth by 0.05 a layer for direct facts, by 0.01 for others."""
    rows = []
    for state in STATES:
        for layer in range(LAYERS):
            for position in ("subject_last", "last"):
                for role, fall in (("all", 0.03), ("direct", 0.05), ("untouched", 0.01)):
                    for metric in ("cosine", "cka_debiased", "procrustes"):
                        blank = metric == "cka_debiased" and layer == 0
                        rows.append(
                            {
                                "state": state, "base": "clean", "site": "resid", "layer": layer,
                                "position": position, "role": role, "metric": metric,
                                "value": None if blank else 1 - fall * layer, "floor": 0.2,
                                "other_context": None, "n": 48,
                                "reason": "all rows are equal" if blank else None,
                            }
                        )  # fmt: skip
    return rows


def directions(hostile: str) -> list[dict[str, Any]]:
    return [
        {
            "state": state, "base": "clean", "layer": layer, "rank": rank + 1,
            "token": token + hostile, "logit": 9.0 - rank, "norm": 2.0, "share": 0.4,
            "agreement": 0.9, "end": end, "n_texts": 24, "relative_norm": 0.02 * layer,
            "reason": None,
        }
        for state in STATES
        for layer in (2, 5)
        for end in ("promoted", "demoted")
        for rank, token in enumerate(TOKENS)
    ]  # fmt: skip


def steering(facts: Any) -> list[dict[str, Any]]:
    """Taking npo's direction out closes 0.6 of the gap (0.5 and 0.7), random ones 0.1."""
    rows = []
    for state in STATES[1:]:
        for number, fact in enumerate(facts):
            for mode in ("ablate", "add"):
                for control, beside in (("random", 0.1), (f"direction of sham_{state}", 0.2)):
                    for metric in ("logodds", "lead"):
                        share = 0.5 + 0.2 * number if mode == "ablate" else 0.0
                        rows.append(
                            {
                                "fact_id": fact["fact_id"], "state": state, "base": "clean",
                                "layer": 4, "mode": mode, "metric": metric, "value": 1.0,
                                "before": -2.0, "target": 3.0, "share": share,
                                "control": control, "control_value": -1.5, "n_controls": 3,
                                "control_share": beside + 0.1 * number,
                                "control_low": -2.0, "control_high": -1.0, "reason": None,
                            }
                        )  # fmt: skip
    rows[0] |= {"share": None, "reason": "state and base are 0.31 nats apart"}
    return rows


def interpolation(facts: Any) -> list[dict[str, Any]]:
    """Log-odds go straight from +4 to −4 (the second fact: a nat above); losses have a barrier."""
    rows = []
    for start, end in (("clean", "corrupted"), ("corrupted", "npo"), ("corrupted", "sham_npo")):
        fixed = {"from_state": start, "to_state": end, "distance": 7.25, "reason": None}
        for t in (0.0, 0.25, 0.5, 0.75, 1.0):
            for number, fact in enumerate(facts):
                rows.append(
                    fixed | {"fact_id": fact["fact_id"], "t": t, "metric": "logodds",
                             "value": 4 - 8 * t + number, "context_id": 0}
                )  # fmt: skip
            loss = 2.0 + 0.4 * math.sin(math.pi * t)
            rows.append(fixed | {"fact_id": "", "t": t, "metric": "retain_loss", "value": loss})
        for metric, value in (("truth_barrier", 0.0), ("retain_barrier", 0.4)):
            rows.append(fixed | {"fact_id": "", "t": 0.5, "metric": metric, "value": value})
    return rows


def forget_weights() -> list[dict[str, Any]]:
    """A tenth of the tokens has a quarter of the weight after ten steps, a tenth before."""
    rows = []
    for state in STATES[1:]:
        for step, shares in ((0, (0.1, 0.7, 0.2)), (10, (0.25, 0.6, 0.15))):
            for token_class, n_share, share in zip(
                ("false_object", "rest_of_claim", "other", "all"),
                (0.1, 0.7, 0.2, 1.0),
                (*shares, 1.0),
                strict=True,
            ):
                rows.append(
                    {
                        "state": state, "method": "npo", "step": step, "token_class": token_class,
                        "n": int(1000 * n_share), "n_share": n_share, "weight_mean": 0.9,
                        "weight_share": share, "pull_share": share, "along": 1.0,
                        "d_mean": 0.3 * bool(step), "reason": None,
                    }
                )  # fmt: skip
    return rows


def trajectory() -> list[dict[str, Any]]:
    return [
        {
            "state": state, "step": step, "forget_nll": 2.0, "reference_nll": 2.0,
            "retain_nll": 0.5, "d": 0.1 * step * (1 if state == "npo" else 0.2), "reason": None,
        }
        for state in STATES[1:]
        for step in range(1, 11)
    ]  # fmt: skip


def gradients(facts: Any, rng: np.random.Generator) -> list[dict[str, Any]]:
    """npo's step raises true objects by 0.5 a layer (own) or 0.1 (sham), in two components."""
    rows = []
    for state in ("corrupted", "npo"):
        for documents, size in (("own", 0.5), ("sham", 0.1)):
            for of, sign in (("true", 1), ("false", -1), ("retain", 0.0)):
                for layer in (*range(LAYERS), None):
                    parts = ("all",) if layer is None else ("attn", "mlp")
                    for component in parts:
                        inner = sign * size * (LAYERS if layer is None else 0.5)
                        ids = ("",) if of == "retain" else ("", *(f["fact_id"] for f in facts))
                        rows += [
                            {
                                "state": state, "method": "npo", "layer": layer, "of": of,
                                "component": component, "documents": documents,
                                "inner": inner if not fact_id else inner + rng.normal(),
                                "cosine": 0.02 * sign, "cosine_floor": 0.001, "norm": 1.0,
                                "of_norm": 1.0, "fact_id": fact_id,
                                "n_facts": 0 if of == "retain" else 1 if fact_id else 2,
                                "reason": None,
                            }
                            for fact_id in ids
                        ]  # fmt: skip
    return rows


def timeline(facts: Any) -> list[dict[str, Any]]:
    """The truth comes back in the last layer alone: from −3 to +3 log-odds in 20 steps."""
    return [
        {
            "state": "npo", "step": step, "layer": layer, "fact_id": fact["fact_id"],
            "context_id": 0, "category": category, "object": category,
            "logprob": -4.0 + (0.3 * step - 3 if category == "true" and layer == LAYERS else 0),
        }
        for step in (0, 5, 10, 20)
        for layer in range(LAYERS + 1)
        for fact in facts
        for category in ("true", "false")
    ]  # fmt: skip


def leading(facts: Any) -> list[dict[str, Any]]:
    fixed = {"state": "npo", "context_id": 0, "of": "logodds"}
    return [
        fixed | {"fact_id": facts[0]["fact_id"], "change": 6.0, "layer": 4, "half_step": 8.0,
                 "last_layer_step": 10.0, "reason": None},
        fixed | {"fact_id": facts[1]["fact_id"], "change": 0.2, "layer": None, "half_step": None,
                 "last_layer_step": None, "reason": "it changes by +0.2 nats, less than 1"},
    ]  # fmt: skip


def tuned_lens() -> list[dict[str, Any]]:
    """Better in every layer but the last, where it is the logit lens."""
    return [
        {
            "layer": layer, "strength": None if layer == LAYERS - 1 else 0.1,
            "logit_kl": 6.0 - layer, "tuned_kl": 6.0 - layer - (layer < LAYERS - 1),
            "n_tokens": 3072, "n_validation": 128,
        }
        for layer in range(LAYERS)
    ]  # fmt: skip


# ---- one fact


def mlp_changes(fact: Any) -> list[dict[str, Any]]:
    """npo's coefficients take 1 nat a layer, its vectors 0.25; swaps bring that back."""
    rows = []
    fixed = {"fact_id": fact["fact_id"], "object": "Oslo", "foil": "Rome", "context_id": 0}
    for state in STATES[:2]:
        for layer in range(LAYERS):
            for position in ("subject_last", "last"):
                for part, value in (
                    ("coefficients", -1.0), ("vectors", -0.25), ("interaction", 0.0),
                    ("bias", 0.0), ("norm", 0.0), ("total", -1.25),
                ):  # fmt: skip
                    moved = {"coefficients": 0.4, "vectors": 0.05}.get(part)
                    rows.append(
                        fixed | {"state": state, "mode": "direct", "layer": layer, "part": part,
                                 "position": position, "value": value, "norm": 1.0,
                                 "clean_norm": 5.0, "relative_change": moved, "reason": None}
                    )  # fmt: skip
        for part, value in (
            ("clean_coefficients", 1.0), ("clean_vectors", 0.25), ("clean_both", 1.25),
            ("wrong_coefficients", -0.5),
        ):  # fmt: skip
            for layer, window in ((0, 2), (2, 2), (4, 2), (0, LAYERS)):
                rows.append(
                    fixed | {"state": state, "mode": "swap", "layer": layer, "window": window,
                             "position": "from_subject", "part": part, "value": value * window,
                             "share": 0.1, "base": -2.0, "clean": 6.0, "reason": None}
                )  # fmt: skip
    return rows


def value_vectors(fact: Any, hostile: str) -> list[dict[str, Any]]:
    """Concepts keep cosine 0.99, random vectors 0.97."""
    return [
        {
            "fact_id": fact["fact_id"], "state": state, "object": name, "kind": kind, "layer": 3,
            "index": index, "sign": (-1) ** index, "clean_rank": index + 1, "rank": index + 2,
            "cosine": 0.99 if kind == "concept" else 0.97, "distance": 0.1, "jaccard": 0.8,
            "clean_words": " city town" + hostile, "words": " city port" + hostile,
            "concept": kind == "concept" and index < 3, "top_k": 200, "seed": 1,
        }
        for state in STATES[:2]
        for name in (str(fact["true_objects"][0]), str(fact["false_object"]))
        for kind in ("concept", "random")
        for index in range(5)
    ]  # fmt: skip


def attention(fact: Any) -> list[dict[str, Any]]:
    """Head 2 of layer 3 looks at the subject by 0.8 in clean, by 0.3 in npo; its control, 0.1."""
    rows = []
    for state in ("clean", *STATES[:2]):
        for layer in range(LAYERS):
            for head in range(HEADS):
                planted = (layer, head) == (3, 2)
                rows.append(
                    {
                        "fact_id": fact["fact_id"], "state": state, "layer": layer, "head": head,
                        "value": (0.8 if state == "clean" else 0.3) if planted else 0.05,
                        "last_value": 0.1, "control": "example", "control_subject": "Ada",
                        "control_value": 0.1 if planted else 0.05, "reason": None,
                    }
                )  # fmt: skip
    return rows


def descriptions(fact: Any) -> list[dict[str, Any]]:
    """The clean vector says +3 at layer 4 where others say −1; npo's says nothing."""
    rows = []
    for state, host in (("clean", "clean"), ("npo", "clean"), ("npo", "npo")):
        for same in (True, False):
            for layer in range(LAYERS):
                for metric in ("logprob", "logodds"):
                    planted = state == "clean" and layer == 4 and same
                    rows.append(
                        {
                            "fact_id": fact["fact_id"], "state": state, "host": host,
                            "layer": layer, "into": layer if same else 1, "same_layer": same,
                            "metric": metric, "object": "Oslo", "value": 3.0 if planted else -1.0,
                            "rank": None, "control_value": -1.0, "n_controls": 2,
                            "host_value": -1.5, "placeholder": "x", "reason": None,
                        }
                    )  # fmt: skip
    return rows


def token_rows(fact: Any, hostile: str) -> list[dict[str, Any]]:
    """The subject's token adds 2 nats in clean and 0.5 in npo, any other 0.25."""
    words = ("Where", f" {fact['entity']}", " born", "?")
    rows = []
    for state in ("clean", *STATES[:2]):
        for kind in ("occlusion", "gradient"):
            for position, token in enumerate(words, start=10):
                inside = position == 11
                value = (2.0 if state == "clean" else 0.5) if inside else 0.25
                skipped = kind == "occlusion" and position == 13
                rows.append(
                    {
                        "fact_id": fact["fact_id"], "state": state, "kind": kind,
                        "position": position, "token": token + hostile, "in_subject": inside,
                        "value": None if skipped else value, "total": 3.0, "neutral": 0.25,
                        "completeness_error": None, "n_exact": 3, "object": "Oslo",
                        "rank_correlation": 0.83 if kind == "gradient" else None,
                        "reason": "not in the sample" if skipped else None,
                    }
                )  # fmt: skip
    return rows


def features(fact: Any, hostile: str) -> list[dict[str, Any]]:
    """Feature 7 of npo brings 3 of 6 nats back, other features 0.5."""
    fixed = {
        "fact_id": fact["fact_id"], "base": "clean", "site": f"resid.3{hostile}",
        "position": "last", "unexplained": 0.12, "logodds": -2.0, "base_logodds": 4.0,
    }  # fmt: skip
    rows = [
        fixed | {"state": "npo", "rank": rank, "feature": feature, "value": 0.5,
                 "base_value": 4.0, "effect": effect, "control_effect": 0.5,
                 "share": effect / 6, "reason": None}
        for rank, (feature, effect) in enumerate(((7, 3.0), (9, 0.25)), start=1)
    ]  # fmt: skip
    empty = dict.fromkeys(("rank", "feature", "value", "base_value", "effect", "control_effect"))
    rows.append(
        fixed | {"state": "corrupted", **empty, "share": None, "reason": "no feature differs here"}
    )
    return rows
