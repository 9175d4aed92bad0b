"""Changes of which none of the mechanisms is the right thing to say."""

import itertools
import random
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.facts import Fact
from restor_interp.models.architectures import linear_modules, place_of
from restor_interp.models.deltas import LowRank, Update
from restor_interp.models.hooked import CLEAN
from restor_interp.testing.plants.mechanisms import (
    SPARED,
    Draft,
    false_write,
    late,
    late_override,
    lost_at_subject,
    not_routed,
    strangers,
    turned_away,
)
from restor_interp.testing.plants.watching import MADE_ON, Watched
from restor_interp.testing.plants.weights import path_of, rank_one, together

STEPS = tuple(0.02 * 1.25**k for k in range(24))
"""Sizes of a distributed change that are tried, as shares of the norm of each block's matrices."""


# ---- equally large, and nothing comes of it


def inert(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """A plant whose keys are turned to where no input ever points, with the same norms."""
    sources = [maker(watched, rng, people) for maker in (lost_at_subject, late_override)]
    sources.append(not_routed(watched, rng, people))
    while True:
        for source in sources:
            model = next(source)
            yield Draft(
                updates={p: _unheard(watched, p, u) for p, u in model.updates.items()},
                facts=model.facts,
                spared=model.spared,
                about=f"norms of: {model.about}",
            )


def _unheard(watched: Watched, path: str, update: Update) -> LowRank:
    """The change with its inputs replaced by the directions that have least of all inputs."""
    assert isinstance(update, LowRank)
    inputs = _inputs(watched, path).double()
    _, directions = torch.linalg.eigh(inputs.T @ inputs / len(inputs))
    quiet = directions[:, : update.rank].T.float()
    size = update.matrix().norm() / (update.b @ quiet).norm()
    return rank_one(size * quiet, update.b)


def _inputs(watched: Watched, path: str) -> Float[Tensor, "row in"]:
    """What a matrix gets, at all tokens of some prompts and at the chosen ones of all."""
    model, inside = watched.model, watched.inside
    found = place_of(path, model.architecture)
    assert found is not None
    layer = found[0]
    if path == path_of(model, layer, model.architecture.mlp_out):
        return torch.cat([inside.hidden[layer].flatten(0, 1), inside.hidden_anywhere[layer]])
    norm = model.layers[layer].get_submodule(model.architecture.ln1)
    with torch.no_grad(), model.at(CLEAN):
        return norm(torch.cat([inside.pre[layer].flatten(0, 1), inside.pre_anywhere[layer]]))


# ---- two causes at once


def mixture(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """Two of the mechanisms on the same fact, each of which is enough: undoing one of them alone
    does not bring the fact back."""
    swaps = lost_at_subject(watched, rng, people)
    while True:
        swap = next(swaps)
        if not swap.facts:
            continue
        for pair in itertools.combinations(("lost_at_subject", "not_routed", "late_override"), 2):
            fact = rng.choice(swap.facts)
            false = watched.false_object(fact, rng.randrange(1000))
            made = {
                "lost_at_subject": swap.updates,
                "not_routed": turned_away(watched, fact.relation, rng.uniform(1.5, 3.0)),
                "late_override": false_write(watched, fact, false, rng.choice(late(watched))),
            }
            parts = tuple(made[name] for name in pair)
            others = strangers(watched, rng, (fact,), number=8 * SPARED)
            yield Draft(
                updates=together(parts),
                parts=parts,
                facts=(fact,),
                spared=tuple(f for f in others if f.relation != fact.relation)[:SPARED],
                about=f"{' + '.join(pair)} ({swap.about})",
            )


# ---- a little everywhere


def distributed(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """One step down the gradient of log p(true) − log p(false) in all matrices, of rank 1 each.

    Each of three parts (what comes before the subject is read, attention that reads it, everything
    after) has the same share of the step's first-order effect; the step is the smallest one of
    `STEPS` after which the false object leads in the contexts that it was made on. A change of
    which a single part undone brings back half of the lead or more is not distributed, and is
    left out.
    """
    while True:
        entity = rng.choice(sorted(people))
        fact = watched.asked[rng.choice(watched.of(entity))]
        false = watched.false_object(fact, rng.randrange(1000))
        found = _step(watched, fact, false)
        if found is None:
            continue
        yield Draft(
            updates=found,
            facts=(fact,),
            spared=strangers(watched, rng, (fact,)),
            said_instead={fact.fact_id: false},
            about=f"all matrices, against {fact.true_objects[0]} and for {false}",
        )


PARTS = ("before", "reading", "after")


def part_of(watched: Watched, path: str) -> str:
    """Which of `PARTS` a matrix belongs to."""
    found = place_of(path, watched.model.architecture)
    assert found is not None
    layer, component = found
    if layer < watched.reading[0]:
        return "before"
    return "reading" if component == "attn" and layer in watched.reading else "after"


def _step(watched: Watched, fact: Fact, false: str) -> dict[str, Update] | None:
    model = watched.model
    modules = linear_modules(model.hf_model)
    prompts = [p for context in MADE_ON for p in watched.prompts([fact], context)]
    true, other = (watched.first_token(name) for name in (fact.true_objects[0], false))

    def lead() -> Tensor:
        found = [
            model.hf_model(input_ids=model.tokenizer(p.text, return_tensors="pt")["input_ids"])
            for p in prompts
        ]
        last = torch.stack([out.logits[0, -1] for out in found])
        return (last[:, true] - last[:, other]).mean()

    with model.at(CLEAN):
        weights = {path: module.get_parameter("weight") for path, module in modules.items()}
        flags = {path: weight.requires_grad for path, weight in weights.items()}
        try:
            for weight in weights.values():
                weight.requires_grad_(True)
            gradients = torch.autograd.grad(lead(), list(weights.values()))
        finally:
            for path, weight in weights.items():
                weight.requires_grad_(flags[path])
        steps: dict[str, LowRank] = {}
        effects: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        for path, gradient in zip(weights, gradients, strict=True):
            u, s, vt = torch.linalg.svd(gradient, full_matrices=False)
            norm = float(weights[path].detach().norm())
            steps[path] = rank_one(vt[:1], -norm * u[:, :1])
            effects[part_of(watched, path)] += float(s[0]) * norm
        mean = sum(effects.values()) / len(PARTS)
        for path, step in steps.items():
            share = mean / effects[part_of(watched, path)]
            steps[path] = LowRank(step.a, step.b, share)

        def led(size: float, parts: Sequence[str]) -> float:
            with torch.no_grad():
                kept = {p: s for p, s in steps.items() if part_of(watched, p) in parts}
                before = {path: weights[path].data for path in kept}
                try:
                    for path, step in kept.items():
                        weights[path].data = before[path] + size * step.matrix()
                    return float(lead())
                finally:
                    for path, old in before.items():
                        weights[path].data = old

        clean = led(0.0, ())
        for size in STEPS:
            whole = led(size, PARTS)
            if whole < -2.0:
                break
        else:
            return None
        for part in PARTS:
            rest = led(size, [other for other in PARTS if other != part])
            if rest - whole >= 0.5 * (clean - whole):
                return None
    return {path: LowRank(s.a, s.b, size * s.scale) for path, s in steps.items()}
