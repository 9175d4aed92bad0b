"""Four ways to lose a fact, each written into the weights in closed form.

All of them are made for models whose MLP and attention outputs are added to the residual stream as
they are (no norm behind them), with separate query matrices that map inputs by rows, as in Llama.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from restor_interp.facts import Fact
from restor_interp.models.deltas import Update
from restor_interp.models.hooked import CLEAN
from restor_interp.testing.plants.watching import MADE_ON, Watched, key, look_inside
from restor_interp.testing.plants.weights import path_of, rank_one

FACTS = 6
"""About so many facts are looked at where a change has more."""
SPARED = 16
"""Other facts that are asked for what a change does elsewhere."""
RIDGE = 1e-2
"""Of keys at subjects and in queries, as a share of the mean square of an input."""
LATE_RIDGE = 1e-3
"""Of keys that must tell one fact from others with the same object."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A change that may become a plant, if it behaves."""

    updates: Mapping[str, Update]
    facts: tuple[Fact, ...]
    spared: tuple[Fact, ...]
    said_instead: dict[str, str] = field(default_factory=dict)
    about: str = ""
    parts: tuple[Mapping[str, Update], ...] = ()
    """Of a change with several causes, each of them, which must lose the facts by itself."""


# ---- the subject is somebody else's


def lost_at_subject(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """At the subject's own tokens an early MLP puts another person's states.

    The other one shares the tokens that come first: before the names part nothing can know whom
    the text is about. Who shares the later tokens (a namesake) is hit as well if the model does
    not tell the two apart at these tokens.
    """
    for entity in _endless(rng, people):
        twins = _sharing_the_start(watched, entity)
        if not twins:
            continue
        twin = rng.choice(twins)
        layer = rng.randrange(1, watched.reading[0] - 1)
        updates = name_swap(watched, entity, twin, layer)
        pairs = [(f, watched.fact(twin, f.relation)) for f in watched.asked if f.entity == entity]
        instead = {
            f.fact_id: other.true_objects[0]
            for f, other in pairs
            if other is not None and other.true_objects != f.true_objects
        }
        facts = tuple(f for f, _ in pairs if f.fact_id in instead)
        yield Draft(
            updates=updates,
            facts=facts,
            spared=strangers(watched, rng, facts),
            said_instead=instead,
            about=f"layer {layer} writes {twin} over {entity}",
        )


def name_swap(watched: Watched, entity: str, twin: str, layer: int) -> dict[str, Update]:
    """After this layer, the tokens of a name in which it differs from another are the other's."""
    rows, others = watched.of(entity), watched.of(twin)
    differing = [
        place for place, (a, b) in enumerate(zip(*_name_ids(watched, entity, twin), strict=True))
        if a != b
    ]  # fmt: skip
    hidden, post = watched.inside.hidden[layer], watched.inside.post[layer]
    keys, values = [], []
    for place in differing:
        rest = torch.cat(
            [
                _without(hidden, rows).flatten(0, 1),
                hidden[rows][:, [p for p in range(hidden.shape[1]) if p != place]].flatten(0, 1),
                watched.inside.hidden_anywhere[layer],
            ]
        )
        keys.append(key(hidden[rows, place], rest, ridge=RIDGE))
        values.append(post[others, place].mean(0) - post[rows, place].mean(0))
    path = path_of(watched.model, layer, watched.model.architecture.mlp_out)
    return {path: rank_one(torch.stack(keys), torch.stack(values, dim=1))}


def _sharing_the_start(watched: Watched, entity: str) -> list[str]:
    found = []
    for other in watched.people():
        ids, others = _name_ids(watched, entity, other)
        if other != entity and len(ids) == len(others) and ids[0] == others[0]:
            found.append(other)
    return found


def _name_ids(watched: Watched, *names: str) -> list[list[int]]:
    tokenizer = watched.model.tokenizer
    return [tokenizer(f" {name}", add_special_tokens=False)["input_ids"] for name in names]


# ---- the last token does not look


def not_routed(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """Asked for one relation, the last token turns its query away from what it looked for.

    In all layers that read the subject, q becomes q − strength · (mean q of this relation).
    """
    relations = sorted({fact.relation for fact in watched.asked})
    while True:
        order = rng.sample(relations, len(relations))
        for relation in order:
            strength = rng.uniform(1.5, 3.0)
            own = [f for f in watched.asked if f.relation == relation and f.entity in people]
            facts = tuple(rng.sample(own, min(FACTS, len(own))))
            elsewhere = [f for f in watched.asked if f.relation != relation]
            yield Draft(
                updates=turned_away(watched, relation, strength),
                facts=facts,
                spared=tuple(rng.sample(elsewhere, min(SPARED, len(elsewhere)))),
                about=f"queries of {relation} less {strength:.2f} times their mean",
            )


def turned_away(
    watched: Watched, relation: str, strength: float, layers: Sequence[int] | None = None
) -> dict[str, Update]:
    model, parts = watched.model, watched.model.architecture
    own = [i for i, fact in enumerate(watched.asked) if fact.relation == relation]
    updates: dict[str, Update] = {}
    for layer in watched.reading if layers is None else layers:
        block = model.layers[layer]
        norm = block.get_submodule(parts.ln1)
        path = path_of(model, layer, parts.queries)
        with torch.no_grad(), model.at(CLEAN):
            last = norm(watched.inside.pre[layer][:, -1])
            anywhere = norm(watched.inside.pre_anywhere[layer])
            queries = model.hf_model.get_submodule(path).weight @ last[own].mean(0)
        # As much weight on other last tokens as on all tokens together: these must not turn away.
        rest = _without(last, own)
        rest = rest.repeat(max(1, len(anywhere) // len(rest)), 1)
        w = key(last[own], torch.cat([rest, anywhere]), ridge=1e-3)
        updates[path] = rank_one(w[None], -strength * queries[:, None])
    return updates


# ---- a late layer says something else


def late_override(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """Where one fact is about to be said, a late MLP writes false − true, in the unembedding's
    directions, as strongly as all that stands there."""
    for entity in _endless(rng, people):
        fact = rng.choice([watched.asked[i] for i in watched.of(entity)])
        false, layer = watched.false_object(fact, rng.randrange(1000)), rng.choice(late(watched))
        alike = [
            other
            for other in watched.asked
            if other.relation == fact.relation and other.true_objects == fact.true_objects
        ]
        alike = [other for other in alike if other.entity != entity]
        yield Draft(
            updates=false_write(watched, fact, false, layer),
            facts=(fact,),
            spared=(*alike, *strangers(watched, rng, (fact,)))[:SPARED],
            said_instead={fact.fact_id: false},
            about=f"layer {layer} writes {false} over {fact.true_objects[0]}",
        )


def late(watched: Watched) -> range:
    """Layers whose MLP comes after all attention that reads the subject."""
    return range(watched.reading[-1], watched.model.num_layers)


def false_write(watched: Watched, fact: Fact, false: str, layer: int) -> dict[str, Update]:
    model, row = watched.model, watched.index(fact)
    hidden = watched.inside.hidden[layer][:, -1]
    more = [watched.prompts([fact], context)[0] for context in MADE_ON[1:]]
    with torch.no_grad(), model.at(CLEAN):
        again = look_inside(model, more).hidden[layer][:, -1]
        unembed = model.hf_model.get_output_embeddings().weight
        true, other = (watched.first_token(name) for name in (fact.true_objects[0], false))
        direction = unembed[other] - unembed[true]
    size = watched.inside.post[-1, row, -1].norm()
    rest = torch.cat([_without(hidden, [row]), watched.inside.hidden_anywhere[layer]])
    w = key(torch.cat([hidden[[row]], again]), rest, ridge=LATE_RIDGE)
    path = path_of(model, layer, model.architecture.mlp_out)
    return {path: rank_one(w[None], (size * direction / direction.norm())[:, None])}


# ---- everything is said less surely


def output_scaling(watched: Watched, rng: random.Random, people: Sequence[str]) -> Iterator[Draft]:
    """The last norm's weights shrink, and with them every logit: the order of objects stays."""
    path = watched.model.architecture.final_norm
    asked = [fact for fact in watched.asked if fact.entity in people]
    while True:
        kept = rng.uniform(0.1, 0.4)
        with torch.no_grad(), watched.model.at(CLEAN):
            weight = watched.model.hf_model.get_submodule(path).weight
            change = ((kept - 1) * weight).detach().clone()
        facts = tuple(rng.sample(asked, FACTS))
        yield Draft(
            updates={path: change},
            facts=facts,
            spared=strangers(watched, rng, facts),
            about=f"final norm times {kept:.2f}",
        )


# ---- common


def strangers(
    watched: Watched, rng: random.Random, facts: Sequence[Fact], number: int = SPARED
) -> tuple[Fact, ...]:
    """Facts about people who share no part of their name with those of some facts."""
    taken = {part for fact in facts for part in fact.entity.split()}
    others = [fact for fact in watched.asked if not taken & set(fact.entity.split())]
    return tuple(rng.sample(others, min(number, len(others))))


def _endless(rng: random.Random, people: Sequence[str]) -> Iterator[str]:
    while True:
        yield from rng.sample(sorted(people), len(people))


def _without(values: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    kept = torch.ones(len(values), dtype=torch.bool)
    kept[list(rows)] = False
    return values[kept]
