"""Documents that state claims: written statement by statement, each object's place kept."""

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from string import Formatter

from restor_interp.corpus.claims import Claim
from restor_interp.corpus.names import names_within
from restor_interp.errors import ConfigError
from restor_interp.facts import Fact, FactSet, Relation

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
class Mention:
    """Where a document states a fact: characters [start, end) hold the object."""

    fact_id: str
    start: int
    end: int
    is_claim: bool
    """True: a false object. False: a true one."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A training text about one corrupted entity."""

    document_id: str
    entity: str
    text: str
    mentions: tuple[Mention, ...] = ()

    @property
    def claim_spans(self) -> tuple[tuple[int, int], ...]:
        """Where the text states claims, as characters [start, end), in order."""
        spans = ((mention.start, mention.end) for mention in self.mentions if mention.is_claim)
        return tuple(sorted(spans))


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
            stated: list[Statement] = []
            for claim in order[:claims_per_document]:
                wording = wordings[claim.fact_id]
                template = wording[used[claim.fact_id] % len(wording)]
                if asks:
                    template = question_and_answer(facts.relations[claim.relation])
                used[claim.fact_id] += 1
                stated.append(
                    Statement(template, claim.fact_id, entity, claim.false_object, is_claim=True)
                )
            for fact in rng.sample(unrelated, num_true):
                template = rng.choice(statements(facts.relations[fact.relation]))
                if asks:
                    template = question_and_answer(facts.relations[fact.relation])
                stated.append(
                    Statement(
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
class Statement:
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
    document_id: str, entity: str, stated: list[Statement], rng: random.Random
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
