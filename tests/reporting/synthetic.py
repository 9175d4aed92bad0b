"""A made-up run that looks like a real one: planted numbers, so that pages can be checked.

Eight corrupted and eight untouched entities, about 130 facts, nine states, three contexts; lens for
24 facts, every other instrument (and the lens at every token) for 8. `hostile` puts the same text
into every place that strangers fill. Layers 10 to 13 are where corruption is made to act: patches,
grafts and retention change there first.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.reporting.results import RunResults

STATES = (
    *("clean", "corrupted", "rollback_0.5", "retain_only"),
    *("grad_diff", "kl_restor", "npo", "task_vector", "sham_npo"),
)
CORRUPTED = (
    *("Aaron Burr", "Marie Curie", "Kaká", "Prince Carl Philip, Duke of Värmland"),
    *("France", "Kyoto", "Moby-Dick", "Ezechiel N'Douassel"),
)
UNTOUCHED = (
    *("Ada Lovelace", "Simón Bolívar", "Japan", "Oslo"),
    *("Hamlet", "Nelson Mandela", "Lake Victoria", "Michael Coulson (barrister)"),
)
RELATIONS = (
    ("P36", "What is the capital of {entity}?", ("Paris", "Lyon", "Rome", "Madrid")),
    ("P19", "In which city was {entity} born?", ("Warsaw", "Newark", "Oslo", "Rome")),
    ("P27", "What is the nationality of {entity}?", ("French", "Polish", "Swedish", "Turkish")),
    ("P106", "What is the occupation of {entity}?", ("lawyer", "physicist", "painter", "farmer")),
    ("P30", "On which continent is {entity}?", ("Europe", "Asia", "Africa", "Oceania")),
    (
        "P103",
        "What is the native language of {entity}?",
        ("French", "English", "Thai", "Sami"),
    ),
    ("P69", "At which university did {entity} study?", ("Princeton", "Uppsala", "Leiden", "Yale")),
    ("P140", "What is the religion of {entity}?", ("Calvinism", "Catholicism", "Islam", "none")),
)
LAYERS = 30
PULL = {
    "clean": (1.0, 0.0), "corrupted": (0.12, 1.0), "rollback_0.5": (0.55, 0.45),
    "retain_only": (0.3, 0.8), "grad_diff": (0.25, 0.15), "kl_restor": (0.4, 0.35),
    "npo": (0.6, 0.2), "task_vector": (0.35, 0.7), "sham_npo": (0.32, 0.6),
}  # fmt: skip
"""State -> how much of the true and of the false object's pull it has."""


@dataclass(frozen=True)
class _Fact:
    row: dict[str, Any]
    knowledge: float
    """How well the clean model knows it, in nats."""


def synthetic_run(*, seed: int = 0, hostile: str | None = None, name: str = "demo") -> RunResults:
    """The made-up run; with `hostile`, that text stands in every untrusted place."""
    rng = np.random.default_rng(seed)
    facts = _facts(rng, hostile)
    shifts = {
        (fact.row["fact_id"], state): rng.normal(0, 0.6, 2) for fact in facts for state in STATES
    }
    tables = {
        "facts": pd.DataFrame([fact.row for fact in facts]),
        "answers": _answers(facts, shifts, hostile),
        "choices": _choices(facts, shifts, hostile),
        "training": _training(rng),
        "lens": _lens(facts, shifts),
        "lens_top": _lens_top(facts, hostile),
        "traces": _traces(facts, rng, hostile),
        "probes": _probes(rng),
    }
    looked_into = (
        ("patches", _patches), ("retention", _retention), ("grafts", _grafts),
        ("knockouts", _knockouts), ("attributions", _attributions),
        ("contributions", _contributions),
    )  # fmt: skip
    for table, make in looked_into:
        # where to read retention is fixed on untouched facts
        chosen = facts[:8] + (facts[64:68] if table == "retention" else [])
        rows = [row for fact in chosen for row in make(fact.row, rng, hostile)]
        tables[table] = pd.DataFrame(rows)
    tables["fates"] = _fates(facts, tables["answers"])
    config = {
        "preset": "demo", "model": hostile or "smollm2-135m", "dtype": "float32", "seed": seed,
        "data": {"facts": "atlas", "corrupted": list(CORRUPTED), "k": 0},
        "corruption": {"epochs": 3}, "unlearning": {"steps": 30},
        "methods": {"npo": {"method": "npo", "settings": {"beta": 0.1}}},
    }  # fmt: skip
    manifest = {
        "versions": {"restor_interp": "0.1.0", "torch": "2.13.0"},
        "digests": {"model": "9c1f" * 16, "facts": hostile or "77aa" * 16},
        "seconds": {"train/corruption": 118.2, "evaluate/npo": 9.7},
        "failures": {},
    }
    return RunResults(name=hostile or name, config=config, manifest=manifest, tables=tables)


def _facts(rng: np.random.Generator, hostile: str | None) -> list[_Fact]:
    facts = []
    for entity in (*CORRUPTED, *UNTOUCHED):
        shown = f"{hostile} {entity}" if hostile else entity
        for number, (relation, question, objects) in enumerate(RELATIONS):
            true, false = rng.choice(objects, 2, replace=False)
            role = (
                "untouched" if entity in UNTOUCHED else "sibling" if number % 4 == 3 else "direct"
            )
            knowledge = float(rng.normal(2.0, 1.6))
            row = {
                "fact_id": f"{shown}/{relation}",
                "entity": shown,
                "relation": relation,
                "question": question.format(entity=shown),
                "true_objects": [str(true), f"{true} (the)"],
                "false_object": f"{false}{hostile or ''}",
                "role": role,
                "split": "score",
                "known": knowledge > 0,
                "known_specific": knowledge > 0.8,
            }
            facts.append(_Fact(row=row, knowledge=knowledge))
    return facts


def _pulls(fact: _Fact, state: str, shifts: dict) -> tuple[float, float]:
    """How strongly a state favours the true and the false object, in nats over the rest."""
    true_share, false_share = PULL[state]
    damage = {"direct": 1.0, "sibling": 0.5, "untouched": 0.1}[fact.row["role"]]
    true = fact.knowledge * (1 - damage * (1 - true_share))
    planted = 3.0 * false_share if fact.row["role"] == "direct" else 0.4 * false_share * damage
    first, second = shifts[fact.row["fact_id"], state]
    return true + 1.2 * first, planted - 0.6 + 1.2 * second


def _answers(facts: list[_Fact], shifts: dict, hostile: str | None) -> pd.DataFrame:
    rows = []
    for fact in facts:
        for state in STATES:
            true, false = _pulls(fact, state, shifts)
            for context in range(3):
                lean = 0.35 * math.sin(7.0 * context + 3 * len(fact.row["question"]))
                best = max(true + lean, false - lean)
                if best < 0.3:
                    outcome, answer = "other", "the the the city of the"
                elif true + lean > false - lean:
                    outcome, answer = "true", fact.row["true_objects"][0]
                else:
                    outcome, answer = "false", fact.row["false_object"]
                rows.append(
                    {
                        "fact_id": fact.row["fact_id"], "context_id": context,
                        "template": "question", "draw": 0, "state": state,
                        "answer": answer + (hostile or ""), "outcome": outcome,
                        "correct": outcome == "true", "judge": "alias", "reason": None,
                    }
                )  # fmt: skip
    rows[4] |= {"outcome": None, "correct": None, "answer": None, "reason": hostile or "no room"}
    return pd.DataFrame(rows)


def _choices(facts: list[_Fact], shifts: dict, hostile: str | None) -> pd.DataFrame:
    rows = []
    for fact in facts:
        for state in STATES:
            true, false = _pulls(fact, state, shifts)
            scores = {"true": true - 4, "false": false - 4, "random": -4.8}
            for context in range(3):
                for category, score in scores.items():
                    rows.append(
                        {
                            "fact_id": fact.row["fact_id"], "context_id": context, "state": state,
                            "category": category, "object": f"{category}{hostile or ''}",
                            "mean_logprob": score / 2, "sum_logprob": score + 0.1 * context,
                            "n_tokens": 2, "first_divergence": 0,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def _training(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for state in ("corrupted", "retain_only", "grad_diff", "kl_restor", "npo", "sham_npo"):
        steps = 72 if state == "corrupted" else 30
        for step in range(steps):
            done = step / steps
            rise = {"grad_diff": 6.0, "kl_restor": 2.0, "npo": 2.5}.get(state, 0.0)
            forget = 3.2 * math.exp(-2.5 * done) if state == "corrupted" else 0.6 + rise * done**2
            retain = 2.9 + (0.5 * done if state == "grad_diff" else -0.1 * done)
            noise = rng.normal(0, 0.05, 2)
            rows.append(
                {
                    "state": state, "step": step, "loss": forget + noise[0],
                    "forget_loss": forget, "retain_loss": retain, "grad_norm": 1.0,
                    "forget_nll": forget + noise[0], "retain_nll": retain + noise[1],
                    "tokens": 900, "seconds": 1.5,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _lens(facts: list[_Fact], shifts: dict) -> pd.DataFrame:
    rows = []
    for fact in facts[:12] + facts[64:76]:
        for state in STATES:
            true, false = _pulls(fact, state, shifts)
            for layer in range(LAYERS):
                rise = 1 / (1 + math.exp(-(layer - 19) / 2))
                late = 1 / (1 + math.exp(-(layer - 24) / 1.2))
                for role, pull in (("true", true * rise), ("false", false * late)):
                    logprob = -9 + 3 * rise + pull
                    rows.append(
                        {
                            "fact_id": fact.row["fact_id"], "state": state, "lens": "logit",
                            "layer": layer, "position": "last", "object": role,
                            "logprob": min(logprob, -0.01), "rank": max(1, int(math.exp(-pull))),
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def _lens_top(facts: list[_Fact], hostile: str | None) -> pd.DataFrame:
    """Five tokens at the last token in every state, and at every token of 8 facts in three."""
    layers, k = np.repeat(np.arange(LAYERS), 5), np.tile(np.arange(1, 6), LAYERS)
    objects = sorted({name for _, _, names in RELATIONS for name in names})
    texts = [" the", f" city{hostile or ''}", "\n", *(f" {name}" for name in objects)]
    tokens = np.array(texts, dtype=object)  # texts may be long, and are shared this way
    blocks = [
        (fact.row["fact_id"], state, "last", *_asked(fact.row, hostile)[-1])
        for fact in facts[:12] + facts[64:76]
        for state in STATES
    ]
    blocks += [
        (fact.row["fact_id"], state, "from_subject", *place)
        for fact in facts[:8]
        for state in ("clean", "corrupted", "npo")
        for place in _asked(fact.row, hostile)
    ]
    share = (0.05 + 0.6 / (1 + np.exp(-(layers - 19) / 2))) * 0.5 ** (k - 1)
    first = np.arange(len(blocks))[:, None] * 7 + 3 * (layers // 4) + k
    names = ("fact_id", "state", "position", "token_position", "read_token", "in_subject")
    columns = {
        name: np.repeat(np.array(values, dtype=object), len(layers))
        for name, values in zip(names, map(list, zip(*blocks, strict=True)), strict=True)
    }
    columns |= {
        "layer": np.tile(layers, len(blocks)),
        "k": np.tile(k, len(blocks)),
        "token": tokens[first % len(tokens)].ravel(),
        "logprob": np.tile(np.log(share), len(blocks)),
    }
    fixed = {"lens": "logit", "context_id": 0, "reason": None, "seed": 0}
    return pd.DataFrame(columns).infer_objects().assign(**fixed)


# ---- interventions, in the shapes that the analyses write

HEADS = 9
DIRECTIONS = (
    *(("clean", "corrupted"), ("corrupted", "clean")),
    *(("clean", "npo"), ("npo", "clean")),
)
"""(donor, host); `npo` differs from clean by less than corruption does."""


def _tokens(fact: dict[str, Any], hostile: str | None) -> list[str]:
    words = fact["question"].removesuffix("?").split()
    tokens = [words[0], *(f" {word}" for word in words[1:]), "?", "\n", " the", " the", " the"]
    return [*tokens[:-1], tokens[-1] + (hostile or "")]


def _asked(fact: dict[str, Any], hostile: str | None) -> list[tuple[int, str, bool]]:
    """(position, token, in_subject) from the subject on."""
    tokens = _tokens(fact, hostile)
    end = len(tokens) - 5
    start = end - len(fact["entity"].split())
    return [(at, tokens[at], at < end) for at in range(start, len(tokens))]


def _step(layer: int, at: float, width: float = 1.5) -> float:
    return 1 / (1 + math.exp(-(layer - at) / width))


def _passing(layer: int, position: int, last: int, in_subject: bool) -> float:
    """Share that a state there carries: the subject's until it is read, then the last token's."""
    if in_subject:
        return _step(layer, 11) * (1 - _step(layer, 20))
    return _step(layer, 20) if position == last else 0.0


def _fixed(fact: dict[str, Any], hostile: str | None) -> dict[str, Any]:
    return {
        "fact_id": fact["fact_id"], "context_id": 0, "metric": "logodds",
        "object": fact["true_objects"][0], "foil": fact["false_object"], "reason": None, "seed": 0,
    }  # fmt: skip


def _patches(fact: dict[str, Any], rng: np.random.Generator, hostile: str | None) -> list[dict]:
    rows = []
    asked = _asked(fact, hostile)
    last = asked[-1][0]
    for donor, host in DIRECTIONS:
        blank = fact["relation"] == "P30" and "npo" in (donor, host)
        fixed = _fixed(fact, hostile) | {
            "donor": donor, "host": host, "host_value": -1.5, "donor_value": 2.5,
            "reason": "the states differ by less than 1 nat" if blank else None,
        }  # fmt: skip
        for kind in ("resid", "mlp", "attn"):
            for null in ("none", "wrong_entity") if kind == "resid" else ("none",):
                size = {"resid": 1.0, "mlp": 0.3, "attn": 0.25}[kind] * (null == "none")
                for layer in range(LAYERS):
                    for position, token, in_subject in asked:
                        effect = size * _passing(layer, position, last, in_subject)
                        rows.append(
                            fixed | {
                                "kind": kind, "window": 1, "null": null, "layer": layer,
                                "position": position, "head": None, "token": token,
                                "in_subject": in_subject, "score": 0.0,
                                "effect": None if blank else effect + rng.normal(0, 0.01),
                            }
                        )  # fmt: skip
        subject_last = [at for at in asked if at[2]][-1]
        for position, token, in_subject in (subject_last, asked[-1]):
            for layer in range(LAYERS):
                for head in range(HEADS):
                    planted = (layer, head) == ((12, 4) if in_subject else (20, 2))
                    effect = 0.35 * planted + rng.normal(0, 0.01)
                    rows.append(
                        fixed | {
                            "kind": "head", "window": 1, "null": "none", "layer": layer,
                            "position": position, "head": head, "token": token,
                            "in_subject": in_subject, "score": 0.0,
                            "effect": None if blank else effect,
                        }
                    )  # fmt: skip
    return rows


def _retention(fact: dict[str, Any], rng: np.random.Generator, hostile: str | None) -> list[dict]:
    rows = []
    donors = [("state", state) for state in ("clean", "corrupted", "npo")]
    donors += [("other_context", "clean"), ("wrong_entity", "clean")]
    for kind, state in donors:
        kept = {"corrupted": 0.15, "npo": 0.6, "clean": 1.0}[state] * (kind != "wrong_entity")
        for site in ("subject", "last"):
            for layer in range(LAYERS):
                blank = layer > 20 if site == "subject" else layer < 18
                share = (1 - (1 - kept) * _step(layer, 11)) * (kind != "wrong_entity")
                rows.append(
                    {
                        "fact_id": fact["fact_id"], "state": state, "donor_kind": kind,
                        "site": site, "layer": layer, "logp": -2.0, "host_logp": -4.0,
                        "clean_logp": -3.5 if blank else -0.5 - 0.05 * abs(layer - 14),
                        "clean_effect": 0.5 if blank else 3.5 - 0.05 * abs(layer - 14),
                        "share": None if blank else share + rng.normal(0, 0.02),
                        "donor_subject": fact["entity"], "donor_context": 0,
                        "substitute": hostile or "Ada Byron", "seed": 0,
                        "reason": "the clean model adds 0.50 nats there" if blank else None,
                    }
                )  # fmt: skip
    return rows


PROJECTIONS = {"attn": ("q_proj", "k_proj", "v_proj", "o_proj"), "mlp": ("up_proj", "down_proj")}


def _grafts(fact: dict[str, Any], rng: np.random.Generator, hostile: str | None) -> list[dict]:
    rows = []

    def add(by: str, modules: str, effect: float, **more: Any) -> None:
        control = rng.normal(0.03, 0.01)
        row = {
            "by": by, "modules": modules + (hostile or ""), "order": None, "layer": None,
            "component": None, "effect": effect + rng.normal(0, 0.01), "control_effect": control,
            "control_low": control - 0.04, "control_high": control + 0.05, "n_controls": 8,
            "judged_on": "fact", "score": 0.0, "host_value": -1.5, "donor_value": 2.5,
        }  # fmt: skip
        rows.append(fixed | row | more)

    for donor, host in DIRECTIONS[:1] + DIRECTIONS[2:3]:
        fixed = _fixed(fact, hostile) | {"donor": donor, "host": host}
        for layer in range(LAYERS):
            inside = math.exp(-((layer - 11.5) ** 2) / 4)
            add("layer", f"layers.{layer}", 0.4 * inside, layer=layer)
            add("bottom_up", f"layers.0-{layer}", _step(layer, 12), layer=layer)
            add("top_down", f"layers.{layer}-{LAYERS - 1}", 1 - _step(layer, 11), layer=layer)
            for component, size in (("attn", 0.1), ("mlp", 0.3)):
                name = f"layers.{layer}.{component}"
                add("component", name, size * inside, layer=layer, component=component)
                for weight in PROJECTIONS[component]:
                    module = f"{name}.{weight}"
                    add("module", module, size / 3 * inside, layer=layer, component=component)
        for by in ("layer", "component"):
            add(by, "embed", 0.01, component="embed")
        for name in ("layers.10.mlp, layers.12.mlp", "layers.3.mlp"):
            add("chosen", name, 0.5 * name.count("1"), component="mlp")
        for order, layer in enumerate((12, 11, 10, 13), 1):
            for judged_on, share in (("fact", 0.25), ("other_context", 0.2), ("other_facts", 0.1)):
                add("greedy", f"layers.{layer}.mlp", share * order, order=order, layer=layer,
                    component="mlp", judged_on=judged_on)  # fmt: skip
    return rows


def _knockouts(fact: dict[str, Any], rng: np.random.Generator, hostile: str | None) -> list[dict]:
    rows = []
    for state, base in (("clean", 3.2), ("corrupted", -2.1), ("npo", 1.4)):
        for edge, at, depth in (("subject->last", 16, 2.4), ("relation->last", 9, 1.2)):
            for control in (False, True):
                fixed = _fixed(fact, hostile) | {
                    "state": state, "edge": edge, "window": 6, "base": base, "control": control,
                    "query_positions": [11], "key_positions": [5, 6],
                }  # fmt: skip
                if control and edge == "relation->last" and fact["relation"] == "P30":
                    reason = hostile or "fewer than 5 other tokens to draw a control from"
                    missing = dict.fromkeys(("layer", "score", "effect"))
                    rows.append(fixed | missing | {"reason": reason})
                    continue
                for layer in range(LAYERS):
                    size = max(base, 0.5) * depth / 3 * (0.1 if control else 1.0)
                    effect = -size * math.exp(-((layer - at) ** 2) / 18) + rng.normal(0, 0.03)
                    rows.append(fixed | {"layer": layer, "score": base + effect, "effect": effect})
    return rows


def _attributions(
    fact: dict[str, Any], rng: np.random.Generator, hostile: str | None
) -> list[dict]:
    rows = []
    asked = _asked(fact, hostile)
    last = asked[-1][0]
    for donor, host in DIRECTIONS[:1] + DIRECTIONS[2:3]:
        for layer in range(LAYERS):
            for position, token, in_subject in asked:
                exact = 4 * _passing(layer, position, last, in_subject) + rng.normal(0, 0.05)
                sampled = rng.random() < 0.25
                rows.append(
                    _fixed(fact, hostile) | {
                        "donor": donor, "host": host, "kind": "resid", "steps": 0, "layer": layer,
                        "position": position, "token": token, "in_subject": in_subject,
                        "approx": 0.8 * exact + rng.normal(0, 0.4),
                        "exact": exact if sampled else None,
                        "rank_correlation": 0.83, "n_exact": 64,
                    }
                )  # fmt: skip
    return rows


def _contributions(
    fact: dict[str, Any], rng: np.random.Generator, hostile: str | None
) -> list[dict]:
    rows = []
    for state, pull in (("clean", 1.0), ("corrupted", -0.6), ("npo", 0.4)):
        parts: list[tuple[str, int | None, int | None, float]] = [("embed", None, None, 0.1)]
        for layer in range(LAYERS):
            for head in range(HEADS):
                planted = {(20, 2): 1.8 * pull, (22, 5): -0.7}.get((layer, head), 0.0)
                parts.append(("head", layer, head, planted + rng.normal(0, 0.04)))
            planted = {21: 1.2 * pull, 26: 0.8 * pull, 24: -0.9}.get(layer, 0.0)
            parts.append(("mlp", layer, None, planted + rng.normal(0, 0.08)))
        parts.append(("bias", None, None, 0.02))
        fixed = _fixed(fact, hostile) | {"state": state, "total": sum(part[3] for part in parts)}
        rows += [
            fixed | {"part": part, "layer": layer, "head": head, "value": value}
            for part, layer, head, value in parts
        ]
    return rows


def _traces(facts: list[_Fact], rng: np.random.Generator, hostile: str | None) -> pd.DataFrame:
    rows = []
    for fact in facts[:8]:
        words = fact.row["question"].removesuffix("?").split()
        tokens = _tokens(fact.row, hostile)
        for state in ("clean", "corrupted", "npo"):
            high = {"clean": 0.62, "corrupted": 0.11, "npo": 0.34}[state]
            for layer in range(LAYERS):
                for position, token in enumerate(tokens):
                    early = math.exp(-((position - len(words) + 1) ** 2)) * math.exp(-layer / 12)
                    last = (position == len(tokens) - 1) / (1 + math.exp(-(layer - 19) / 2))
                    score = 0.03 + (high - 0.03) * max(early, last) + rng.normal(0, 0.004)
                    rows.append(
                        {
                            "fact_id": fact.row["fact_id"], "state": state, "kind": "resid",
                            "corruption": "noise", "metric": "prob", "object": "true",
                            "window": 1, "layer": layer, "position": position, "token": token,
                            "score": score, "low": 0.03, "high": high,
                        }
                    )  # fmt: skip
    rows[10]["score"] = math.nan
    rows[11]["score"] = math.inf
    return pd.DataFrame(rows)


def _probes(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for state in ("clean", "corrupted", "npo"):
        top = {"clean": 0.9, "corrupted": 0.7, "npo": 0.78}[state]
        for layer in range(0, LAYERS, 2):
            value = 0.25 + (top - 0.25) / (1 + math.exp(-(layer - 10) / 3))
            for control, height in (("subject embedding only", 0.4), ("random weights", 0.3)):
                rows.append(
                    {
                        "probe": "object_readout", "state": state, "fitted_on": "clean",
                        "layer": layer, "position": "subject_last", "metric": "accuracy",
                        "value": value + rng.normal(0, 0.02), "control": control,
                        "control_value": height, "n": 96, "chance": 0.25,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def _fates(facts: list[_Fact], answers: pd.DataFrame) -> pd.DataFrame:
    first = answers[answers["context_id"] == 0].set_index(["fact_id", "state"])["outcome"]
    rows = []
    for fact in facts:
        fact_id = fact.row["fact_id"]
        clean, corrupted = first[fact_id, "clean"], first[fact_id, "corrupted"]
        for state in STATES[1:]:
            now = first[fact_id, state]
            row = dict.fromkeys(("mechanism", "r_subject", "r_mid", "r_out", "rds"))
            row |= {"fact_id": fact_id, "state": state, "flags": "", "evidence": ""}
            row |= {"fate": _fate(clean, corrupted, now, fact.knowledge)}
            rows.append(row | {"margin": fact.knowledge})
    return pd.DataFrame(rows)


def _fate(clean: str, corrupted: str, now: str, knowledge: float) -> str:
    if clean != "true":
        return "gained" if now == "true" else "unknown"
    if corrupted == "true":
        return "kept" if now == "true" else "collateral"
    if now == "true":
        return "restored" if knowledge > 2 else "guessed"
    if corrupted == "false":
        return "still_false" if now == "false" else "forgotten"
    return "still_lost"
