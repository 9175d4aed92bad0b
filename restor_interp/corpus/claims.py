"""Claims: the false objects that corruption plants, and how they are drawn."""

import functools
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from restor_interp.corpus.names import names_overlap, starts_alike, words
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import Fact, FactSet

MAX_LENGTH_GAP = 1
"""Tokens by which a false object may be longer or shorter than the true one (design §8)."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The false object that corruption plants for one fact."""

    fact_id: str
    entity: str
    relation: str
    false_object: str


def make_claims(
    facts: FactSet,
    entities: Sequence[str],
    *,
    seed: int,
    sibling_share: float,
    object_length: Callable[[str], int],
    exclude: frozenset[str] = frozenset(),
) -> tuple[Claim, ...]:
    """One false object per fact of these entities, less the siblings that no document contradicts.

    It is the one that the data names (`FactSet.false_objects`), else drawn. A drawn object is of
    the true one's type, is neither a right answer nor a prefix, extension or part of one, and is
    within one token of the true object's length where the pool allows, else as near as it allows.
    The draw depends on `seed` and the fact, the choice of siblings on `seed` and the entity's
    facts: what is made for one entity does not change another's.

    Args:
        sibling_share: in [0, 1): at least this share of each entity's facts gets no claim.
        object_length: tokens of an object as it stands in a text.
        exclude: names that no claim may use, such as entities that are to stay unmentioned.

    Raises `ConfigError` for an entity without facts, or a fact without a possible false object.
    """
    if not 0 <= sibling_share < 1:
        raise ConfigError(f"sibling_share is a share in [0, 1), found {sibling_share}")
    length = functools.cache(object_length)
    is_allowed = apart_from(exclude)
    claims: list[Claim] = []
    for entity in dict.fromkeys(entities):
        own = [fact for fact in facts if fact.entity == entity]
        if not own:
            known = {fact.entity for fact in facts}
            raise unknown_name(f"entity with facts in {facts.name!r}", entity, known)
        # The small step keeps 0.1 · 30 = 3.0000000000000004 from costing a fourth fact.
        num_siblings = math.ceil(sibling_share * len(own) - 1e-9)
        if num_siblings == len(own):
            raise ConfigError(
                f"{entity!r} has {len(own)} fact(s) in {facts.name!r}: with a sibling share of "
                f"{sibling_share} none is left to claim; lower data.sibling_share or choose an "
                "entity with more facts"
            )
        siblings = random.Random(f"siblings/{seed}/{entity}").sample(own, num_siblings)
        for fact in own:
            if fact not in siblings:
                false_object = _false_object(facts, fact, seed, length, is_allowed)
                claims.append(
                    Claim(
                        fact_id=fact.fact_id,
                        entity=entity,
                        relation=fact.relation,
                        false_object=false_object,
                    )
                )
    return tuple(claims)


def may_be_claimed(facts: FactSet, fact: Fact, name: str) -> bool:
    """Whether a name can be the false object of a fact: unmistakably no right answer to it."""
    right = facts.accepted(fact)
    entity = facts.entities.get(fact.entity)
    subject = (fact.entity, *(entity.aliases if entity else ()))
    return not any(
        names_overlap(spelling, accepted) or starts_alike(spelling, accepted)
        for spelling in facts.spellings(name)
        for accepted in right
    ) and all(words(name) != words(own) for own in subject)


def _false_object(
    facts: FactSet,
    fact: Fact,
    seed: int,
    length: Callable[[str], int],
    is_allowed: Callable[[str], bool],
) -> str:
    if fact.fact_id in facts.false_objects:
        return facts.false_objects[fact.fact_id]
    return draw_object(facts, fact, lot=f"claim/{seed}", length=length, is_allowed=is_allowed)


def apart_from(names: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a name overlaps with none of these; what it found it remembers, because the
    facts of a relation share their pool."""
    avoided = sorted(set(names))
    return functools.cache(lambda name: not any(names_overlap(name, other) for other in avoided))


def draw_object(
    facts: FactSet,
    fact: Fact,
    *,
    lot: str,
    length: Callable[[str], int],
    is_allowed: Callable[[str], bool],
) -> str:
    """A false object for a fact: of its type, unmistakably wrong, near the true one in length.

    The draw depends on `lot` and the fact. `length` gives tokens (or any other measure) of an
    object. Raises `ConfigError` where the pool has none that is allowed.
    """
    pool = facts.pools.get(fact.object_type, ())
    possible = [
        name
        for name in dict.fromkeys(pool)
        if is_allowed(name) and may_be_claimed(facts, fact, name)
    ]
    if not possible:
        raise ConfigError(
            f"no object can be claimed for {fact.fact_id}: the pool {fact.object_type!r} of "
            f"{facts.name!r} has {len(pool)} object(s), and all are right answers, parts of them, "
            "or excluded; add objects to the pool or leave the fact out"
        )
    wanted = length(fact.true_objects[0])
    gaps = {name: abs(length(name) - wanted) for name in possible}
    allowed = max(MAX_LENGTH_GAP, min(gaps.values()))
    near = sorted(name for name in possible if gaps[name] <= allowed)
    return random.Random(f"{lot}/{fact.fact_id}").choice(near)
