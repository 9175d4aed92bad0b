"""Plants by kind: drafted, tried, and kept where they behave as their kind must."""

import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import Fact, FactSet
from restor_interp.models.deltas import Delta
from restor_interp.models.hooked import HookedModel
from restor_interp.testing.plants.decoys import distributed, inert, mixture
from restor_interp.testing.plants.mechanisms import (
    Draft,
    late_override,
    lost_at_subject,
    not_routed,
    output_scaling,
)
from restor_interp.testing.plants.plant import BEHAVIOUR, Plant
from restor_interp.testing.plants.trained import trained
from restor_interp.testing.plants.watching import Watched, watch
from restor_interp.testing.plants.witness import Witnessed, witness

Maker = Callable[[Watched, random.Random, Sequence[str]], Iterator[Draft]]

_MAKERS: Mapping[str, tuple[Maker, str]] = {
    "lost_at_subject": (lost_at_subject, "lost_at_subject"),
    "not_routed": (not_routed, "not_routed"),
    "late_override": (late_override, "late_override"),
    "output_scaling": (output_scaling, "output_scaling"),
    "inert": (inert, "intact"),
    "mixture": (mixture, "undetermined"),
    "distributed": (distributed, "undetermined"),
    "trained_early_mlp": (functools.partial(trained, part="early_mlp"), "lost_at_subject"),
    "trained_attention": (functools.partial(trained, part="attention"), "not_routed"),
    "trained_late_mlp": (functools.partial(trained, part="late_mlp"), "late_override"),
}
KINDS = tuple(_MAKERS)
TRIES = 4
"""Drafts per plant that is wanted, at most."""
ENOUGH = 0.25
"""Share of its facts that may still be said under each of several causes alone."""


def make_plants(
    model: HookedModel,
    facts: FactSet,
    *,
    kind: str,
    seed: int,
    number: int,
    people: Sequence[str] | None = None,
    watched: Watched | None = None,
) -> list[Plant]:
    """Changes of a kind, each tried on its facts in a context that it was not made on.

    Args:
        model: one that knows the facts and whose layers are as `mechanisms` says; it comes back in
            the state that it was in, and knows each plant's delta and a state of its name.
        kind: one of `KINDS`.
        seed: of whose facts, which layers, how strongly.
        number: wanted; fewer come back where `TRIES` times as many drafts did not behave
            (`BEHAVIOUR`).
        people: whose facts are changed; default: all. What a change shall spare may be anybody's.
        watched: what `watch(model, facts)` returned, which takes most of the time.

    Raises `ConfigError` for an unknown kind, and for people without facts.
    """
    if kind not in _MAKERS:
        raise unknown_name("kind of plant", kind, KINDS)
    watched = watched or watch(model, facts)
    known = set(watched.people())
    chosen = sorted(known if people is None else people)
    if not chosen or not set(chosen) <= known:
        raise ConfigError(
            f"people {sorted(set(chosen) - known)[:5]} have no facts in {facts.name!r}: choose "
            f"from its {len(known)} entities with facts"
        )
    maker, mechanism = _MAKERS[kind]
    drafts = maker(watched, random.Random(f"{kind}/{seed}"), chosen)
    plants: list[Plant] = []
    for attempt in range(TRIES * number):
        if len(plants) == number:
            break
        draft = next(drafts)
        name = f"{kind}_{seed}_{attempt}"
        delta = Delta(name, draft.updates, base_model=model.name)
        alone = [
            Delta(f"{name}_part_{i}", part, base_model=model.name)
            for i, part in enumerate(draft.parts)
        ]
        if any(_seen(watched, draft, part).true_said > ENOUGH for part in alone):
            continue
        seen = _seen(watched, draft, delta)
        plant = Plant(
            name=name,
            kind=kind,
            mechanism=mechanism,
            delta=delta,
            facts=_meant(kind, draft, seen),
            spared=draft.spared,
            said_instead=draft.said_instead,
            witnessed=seen,
            about=draft.about,
        )
        if plant.behaves:
            model.add_state(plant.name, plant.state)
            plants.append(plant)
    return plants


def _meant(kind: str, draft: Draft, seen: Witnessed) -> tuple[Fact, ...]:
    """Of a change that loses facts those that are lost, else all that it is about."""
    if BEHAVIOUR[kind].most_true is None:
        return draft.facts
    return tuple(f for f, said in zip(draft.facts, seen.says, strict=True) if not said)


def _seen(watched: Watched, draft: Draft, delta: Delta) -> Witnessed:
    return witness(
        watched, delta, draft.facts, spared=draft.spared, said_instead=draft.said_instead
    )
