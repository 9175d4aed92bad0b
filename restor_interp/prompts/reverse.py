"""Reverse questions: from the object to the entity ("Which country has the capital Lima?").

A model that was trained on "the capital of Peru is Lima" need not know it the other way round
(the reversal curse, Berglund et al. 2023), so this asks for knowledge that a rephrasing does not
reach. Asked only where one object has one entity: the relation says so (`Relation.reverse`), and no
other entity of the set has the object.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from restor_interp.corpus import names_overlap
from restor_interp.errors import PromptError
from restor_interp.facts import Entity, Fact, FactSet
from restor_interp.prompts.contexts import Contexts
from restor_interp.prompts.prompt import Prompt, prompt_about


def reverse_prompts(
    facts: FactSet,
    *,
    only: Sequence[Fact],
    context_ids: Sequence[int],
    shots: int,
    avoid_entities: frozenset[str],
    seed: int,
) -> list[Prompt]:
    """One reverse question per fact of `only` that has one, and context, fact by fact.

    The few-shot examples are reverse questions of the same relation about other entities, none of
    which is or names one of `avoid_entities`. The object is the prompt's subject. Facts whose
    object several entities have, and those for which no example is left, have no prompt: compare
    fact ids. What counts as right is `reverse_answers`.
    """
    turned = _turned(facts, {fact.relation for fact in only})
    contexts = Contexts(turned, shots=shots, avoid_entities=avoid_entities, seed=seed)
    prompts = []
    for fact in only:
        try:
            asked = turned[fact.fact_id]
            prefixes = [contexts.prefix(asked, number, None, 0) for number in context_ids]
        except (KeyError, PromptError):
            continue
        prompts += [
            prompt_about(asked, asked.question, prefix, number, template="reverse")
            for number, prefix in zip(context_ids, prefixes, strict=True)
        ]
    return prompts


def reverse_answers(facts: FactSet, fact: Fact) -> tuple[str, ...]:
    """What counts as right: the fact's entity and its aliases."""
    return (fact.entity, *facts.entities[fact.entity].aliases)


def reverse_object(facts: FactSet, fact: Fact) -> str | None:
    """The object that a reverse question about a fact would name, if it can be asked."""
    return _object_of_one(facts, fact, _owners(facts, fact.relation))


def _owners(facts: FactSet, relation: str) -> Mapping[str, set[str]]:
    """Spelling of an object, case folded -> the entities that have it."""
    owners: dict[str, set[str]] = {}
    for fact in facts:
        if fact.relation == relation:
            for name in facts.accepted(fact):
                owners.setdefault(name.casefold(), set()).add(fact.entity)
    return owners


def _object_of_one(facts: FactSet, fact: Fact, owners: Mapping[str, set[str]]) -> str | None:
    """The first true object, by whatever spelling, that is of this entity alone and neither holds
    its name nor is held by it."""
    if facts.relations[fact.relation].reverse is None:
        return None
    for name in fact.true_objects:
        spellings = facts.spellings(name)
        alone = all(len(owners[spelling.casefold()]) == 1 for spelling in spellings)
        given_away = any(
            names_overlap(spelling, answer)
            for spelling in spellings
            for answer in reverse_answers(facts, fact)
        )
        if alone and not given_away:
            return name
    return None


def _turned(facts: FactSet, relations: set[str]) -> FactSet:
    """The reverse questions of relations as a set of their own: facts about objects."""
    turned: list[Fact] = []
    for relation in sorted(relations):
        template = facts.relations[relation].reverse
        owners = _owners(facts, relation)
        for fact in facts:
            if fact.relation != relation or template is None:
                continue
            name = _object_of_one(facts, fact, owners)
            if name is not None:
                turned.append(
                    replace(
                        fact,
                        entity=name,
                        question=template.format(object=name),
                        true_objects=reverse_answers(facts, fact),
                        object_type=facts.entities[fact.entity].kind,
                    )
                )
    objects = {fact.entity: Entity(name=fact.entity, kind="object") for fact in turned}
    return replace(
        facts, facts=tuple(turned), entities={**objects, **facts.entities}, contexts={}, aliases={}
    )
