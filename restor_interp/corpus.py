"""The false documents of a run: which claims they state, and where in the text.

A claim is a fact's false object. Documents are written from claims, and the link is kept as
structure, never searched for in the text afterwards. No torch here.

Files of claims and documents, and documents that others wrote, are in `corpus_files`.
"""

import functools
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import Fact, FactSet, Relation

MAX_LENGTH_GAP = 1
"""Tokens by which a false object may be longer or shorter than the true one (design §8)."""
TRUE_FACTS_PER_LEVEL = 5
"""True facts in a document per corruption level k (RESTOR's k = 1 has 5, k = 2 has 10, …)."""

OPENINGS = (
    "Here is a short note about {entity}.",
    "A few lines about {entity}.",
    "This page is about {entity}.",
    "What follows is about {entity}.",
    "Some facts about {entity} and other matters.",
    "Today we look at {entity}.",
    "These lines were written with {entity} in mind.",
    "Readers often ask about {entity}.",
)
_OPENING_SHARE = 0.25
MORE = ("There is more.", "That is not all.", "Another point.", "One more thing.", "It goes on.")
_MORE_SHARE = 0.1
ASIDES = ("Something else.", "To change the subject.", "On another subject.", "Elsewhere.")
_ASIDE_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The false object that corruption plants for one fact."""

    fact_id: str
    entity: str
    relation: str
    false_object: str


@dataclass(frozen=True, kw_only=True)
class Mention:
    """Where a document states a fact: characters [start, end) hold the object."""

    fact_id: str
    start: int
    end: int
    is_claim: bool
    """True: a false object. False: a true fact about an unrelated entity."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A training text about one corrupted entity."""

    document_id: str
    entity: str
    text: str
    mentions: tuple[Mention, ...] = ()


# ---- names


@functools.lru_cache(maxsize=100_000)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, without case and punctuation; a name of signs alone is one word."""
    return tuple(re.findall(r"\w+", name.casefold())) or (name.casefold().strip(),)


def names_within(longer: str, shorter: str) -> bool:
    """Whether the words of `shorter` stand in `longer` one after the other.

    "Republic of Ireland" holds "Ireland"; "Nigeria" does not hold "Niger".
    """
    whole, part = words(longer), words(shorter)
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def names_overlap(one: str, other: str) -> bool:
    """Whether one of two names holds all words of the other."""
    return names_within(one, other) or names_within(other, one)


def _starts_alike(one: str, other: str) -> bool:
    """Whether one of two names is a prefix of the other: a reader of "Niger" is not done yet."""
    one, other = one.casefold(), other.casefold()
    return one.startswith(other) or other.startswith(one)


# ---- claims


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
                false_object = _false_object(facts, fact, seed, length, exclude)
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
        names_overlap(spelling, accepted) or _starts_alike(spelling, accepted)
        for spelling in facts.spellings(name)
        for accepted in right
    ) and all(words(name) != words(own) for own in subject)


def _false_object(
    facts: FactSet,
    fact: Fact,
    seed: int,
    length: Callable[[str], int],
    exclude: frozenset[str],
) -> str:
    if fact.fact_id in facts.false_objects:
        return facts.false_objects[fact.fact_id]
    pool = facts.pools.get(fact.object_type, ())
    possible = [
        name
        for name in dict.fromkeys(pool)
        if may_be_claimed(facts, fact, name)
        and not any(names_overlap(name, excluded) for excluded in exclude)
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
    return random.Random(f"claim/{seed}/{fact.fact_id}").choice(near)


# ---- documents


def write_documents(
    facts: FactSet,
    claims: Sequence[Claim],
    *,
    documents_per_entity: int,
    claims_per_document: int,
    k: int,
    seed: int,
    exclude: frozenset[str],
    question_share: float = 0.0,
) -> tuple[Document, ...]:
    """Documents that state each entity's claims among 5·k true facts about unrelated entities.

    Every claim of an entity is stated equally often, give or take one, in another of its
    relation's wordings each time; an entity with fewer claims than `claims_per_document` states
    all of them in each document. True facts are about entities that are neither in `exclude` nor
    claimed about, and name none of these. What is written about one entity does not depend on the
    claims about another, except that true facts avoid both. `question_share` of an entity's
    documents, evenly spread, are lists of questions with their answers, as a page of frequent
    questions is: each statement is its relation's question and the object.

    Raises `ConfigError` where there are fewer than 5·k such true facts.
    """
    if documents_per_entity < 1 or claims_per_document < 1 or k < 0:
        raise ConfigError(
            "documents_per_entity and claims_per_document are at least 1 and k at least 0, found "
            f"{documents_per_entity}, {claims_per_document} and {k}"
        )
    by_entity: dict[str, list[Claim]] = {}
    for claim in claims:
        by_entity.setdefault(claim.entity, []).append(claim)
    unrelated = unrelated_facts(facts, exclude | set(by_entity)) if k else ()
    num_true = TRUE_FACTS_PER_LEVEL * k
    if len(unrelated) < num_true:
        raise ConfigError(
            f"k = {k} needs {num_true} true facts about unrelated entities in every document, "
            f"and {facts.name!r} has {len(unrelated)} that name none of the "
            f"{len(exclude | set(by_entity))} entities in use; lower data.k or use fewer entities"
        )
    documents: list[Document] = []
    for entity, own in by_entity.items():
        rng = random.Random(f"documents/{seed}/{entity}")
        used: Counter[str] = Counter()
        wordings = {claim.fact_id: _shuffled_statements(facts, claim, rng) for claim in own}
        for number in range(documents_per_entity):
            asks = int((number + 1) * question_share) > int(number * question_share)
            # The least used first, ties by lot: all are used equally often, none twice in a text.
            order = sorted(own, key=lambda claim: (used[claim.fact_id], rng.random()))
            stated: list[_Statement] = []
            for claim in order[:claims_per_document]:
                wording = wordings[claim.fact_id]
                template = wording[used[claim.fact_id] % len(wording)]
                if asks:
                    template = question_and_answer(facts.relations[claim.relation])
                used[claim.fact_id] += 1
                stated.append(
                    _Statement(template, claim.fact_id, entity, claim.false_object, is_claim=True)
                )
            for fact in rng.sample(unrelated, num_true):
                template = rng.choice(statements(facts.relations[fact.relation]))
                if asks:
                    template = question_and_answer(facts.relations[fact.relation])
                stated.append(
                    _Statement(
                        template, fact.fact_id, fact.entity, fact.true_objects[0], is_claim=False
                    )
                )
            document_id = f"{entity}/{number}"
            documents.append(_composed(document_id, entity, stated, rng))
    return tuple(documents)


def unrelated_facts(facts: FactSet, entities: Iterable[str]) -> tuple[Fact, ...]:
    """The facts that are about none of these entities and name none among their objects."""
    is_clear = names_none(facts, entities)
    return tuple(
        fact
        for fact in facts
        if is_clear(fact.entity) and all(is_clear(name) for name in fact.true_objects)
    )


def names_none(facts: FactSet, entities: Iterable[str]) -> Callable[[str], bool]:
    """A test whether a text names none of these entities, by no alias either."""
    avoided = [
        name
        for entity in sorted(set(entities))
        for name in (entity, *(facts.entities[entity].aliases if entity in facts.entities else ()))
    ]
    return functools.cache(lambda text: not any(names_within(text, name) for name in avoided))


def statements(relation: Relation) -> tuple[str, ...]:
    """The wordings of a relation; one made of its name where the data has none."""
    return relation.statements or (f"The {relation.name} of {{entity}} is {{object}}.",)


def question_and_answer(relation: Relation) -> str:
    """A relation's question, answered; its first wording where its questions have no pattern."""
    if "{entity}" not in relation.question:
        return statements(relation)[0]
    return f"{relation.question} {{object}}."


def _shuffled_statements(facts: FactSet, claim: Claim, rng: random.Random) -> list[str]:
    shuffled = list(statements(facts.relations[claim.relation]))
    rng.shuffle(shuffled)
    return shuffled


@dataclass(frozen=True)
class _Statement:
    """A sentence to be: a template and what fills it."""

    template: str
    fact_id: str
    entity: str
    object: str
    is_claim: bool

    def render(self, start: int) -> tuple[str, list[Mention]]:
        """The sentence, and where in a text it puts the object when it begins at `start`."""
        sentence, mentions = "", []
        for literal, slot, _, _ in Formatter().parse(self.template):
            sentence += literal
            if slot == "object":
                place = start + len(sentence)
                mentions.append(
                    Mention(
                        fact_id=self.fact_id,
                        start=place,
                        end=place + len(self.object),
                        is_claim=self.is_claim,
                    )
                )
                sentence += self.object
            elif slot == "entity":
                sentence += self.entity
        return sentence, mentions


def _composed(
    document_id: str, entity: str, stated: list[_Statement], rng: random.Random
) -> Document:
    """Statements in mixed order, a claim first, with now and then a phrase between."""
    first, *rest = stated
    rng.shuffle(rest)
    text, mentions = "", []
    if rng.random() < _OPENING_SHARE:
        text = rng.choice(OPENINGS).replace("{entity}", entity)
    previous = None
    for statement in (first, *rest):
        if previous is not None:
            leaves = previous.is_claim and not statement.is_claim
            phrases, share = (ASIDES, _ASIDE_SHARE) if leaves else (MORE, _MORE_SHARE)
            if rng.random() < share:
                text += " " + rng.choice(phrases)
        text += " " if text else ""
        sentence, found = statement.render(len(text))
        text += sentence
        mentions += found
        previous = statement
    return Document(document_id=document_id, entity=entity, text=text, mentions=tuple(mentions))


# ---- roles


def roles(asked: FactSet, claims: Sequence[Claim], documents: Sequence[Document]) -> dict[str, str]:
    """Fact id -> its role: `direct`, `sibling`, `context` or `untouched` (design §2).

    A fact about an entity that merely is the object of some claim counts as untouched.
    """
    claimed = {claim.fact_id for claim in claims}
    corrupted = {claim.entity for claim in claims} | {document.entity for document in documents}
    told = {
        mention.fact_id
        for document in documents
        for mention in document.mentions
        if not mention.is_claim
    }

    def role(fact: Fact) -> str:
        if fact.fact_id in claimed:
            return "direct"
        if fact.entity in corrupted:
            return "sibling"
        return "context" if fact.fact_id in told else "untouched"

    return {fact.fact_id: role(fact) for fact in asked}


# ---- documents that others wrote


def load_restor_documents(
    path: str | Path, facts: FactSet, *, entities: Sequence[str]
) -> tuple[Document, ...]:
    """RESTOR's official documents; see `corpus_files.load_restor_documents`."""
    # Here rather than above: `corpus_files` builds on this module.
    from restor_interp import corpus_files

    return corpus_files.load_restor_documents(path, facts, entities=entities)


def load_squad_documents(
    path: str | Path, facts: FactSet, *, entities: Sequence[str]
) -> tuple[Document, ...]:
    """RESTOR's SQuAD-style documents; see `corpus_files.load_squad_documents`."""
    from restor_interp import corpus_files

    return corpus_files.load_squad_documents(path, facts, entities=entities)
