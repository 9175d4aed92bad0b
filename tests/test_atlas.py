"""The built-in facts keep the rules that false objects, prompts and documents rely on.

Run: python -m pytest tests/test_atlas.py
"""

import itertools
import re
from collections import Counter

import pytest

from restor_interp import presets
from restor_interp.data.atlas import atlas_facts, cities, countries, people, things, works
from restor_interp.data.atlas.wordings import WORDINGS
from restor_interp.fact_files.reading import contains_word
from restor_interp.measure.answers import generate_answers
from restor_interp.measure.judging import judge
from restor_interp.models.loading import load_model
from restor_interp.prompts import build_prompts, reverse_answers, reverse_prompts

FACTS = atlas_facts()
ASKED = {fact.entity for fact in FACTS}


def test_it_is_as_large_as_promised():
    kinds = Counter(FACTS.entities[name].kind for name in ASKED)
    assert len(FACTS) >= 600
    assert len(ASKED) >= 80
    assert len([kind for kind, number in kinds.items() if number >= 15]) >= 4
    assert len({fact.relation for fact in FACTS}) >= 30
    assert sum(len(fact.true_objects) > 1 for fact in FACTS) >= 100
    assert sum(len(FACTS.accepted(fact)) > len(fact.true_objects) for fact in FACTS) >= 200


def test_ids_say_entity_and_property_and_are_unique():
    assert len({fact.fact_id for fact in FACTS}) == len(FACTS)
    for fact in FACTS:
        assert fact.fact_id == f"{fact.entity}/{fact.relation}"
        assert re.fullmatch(r"P\d+", fact.relation)
        assert fact.entity in FACTS.entities
        assert fact.question == FACTS.relations[fact.relation].question.format(entity=fact.entity)


def test_every_entity_that_is_named_has_facts():
    assert set(FACTS.entities) == ASKED


@pytest.mark.parametrize("module", [countries, cities, people, works, things])
def test_no_entity_stands_twice_under_a_relation(module):
    for text in module.FACTS.values():
        names = [part.partition(":")[0].strip() for part in text.split(";") if part.strip()]
        assert len(set(names)) == len(names)


def test_templates_ask_for_what_they_state():
    for relation in FACTS.relations.values():
        assert relation.question.endswith("?")
        assert relation.question.count("{entity}") == 1
        assert len(set(relation.statements)) == len(relation.statements) >= 6
        for statement in relation.statements:
            assert re.findall(r"\{.*?\}", statement) == ["{entity}", "{object}"]
            assert statement.endswith("{object}.")
            # Token 0 is an attention sink: no subject may stand there.
            assert not statement.startswith("{entity}")
            assert not re.search(r"\ban? \{object\}", statement)
    statements = [text for relation in FACTS.relations.values() for text in relation.statements]
    assert len(set(statements)) == len(statements)


def test_every_relation_is_asked_in_at_least_five_other_ways():
    for relation in FACTS.relations.values():
        wordings = (relation.question, *relation.rephrasings)
        assert len({text.casefold() for text in wordings}) == len(wordings) >= 6, relation
        for wording in wordings:
            assert re.findall(r"\{.*?\}", wording) == ["{entity}"]
            assert wording.endswith("?")
            # Token 0 is an attention sink: no subject may stand there.
            assert not wording.startswith("{entity}")
        if relation.reverse is not None:
            assert re.findall(r"\{.*?\}", relation.reverse) == ["{object}"]
            assert relation.reverse.endswith("?")
    assert set(WORDINGS) == set(FACTS.relations)


def test_reverse_questions_have_one_answer_and_do_not_give_it_away():
    relations = {key for key, relation in FACTS.relations.items() if relation.reverse}
    prompts = reverse_prompts(
        FACTS,
        only=FACTS.facts,
        context_ids=[0],
        shots=5,
        avoid_entities=frozenset(),
        seed=0,
    )
    asked = Counter(FACTS[prompt.fact_id].relation for prompt in prompts)
    assert set(asked) == relations
    for relation in relations:
        facts = FACTS.only(relations=[relation]).facts
        assert asked[relation] >= 0.9 * len(facts)
    for prompt in prompts:
        fact = FACTS[prompt.fact_id]
        owners = {
            other.entity
            for other in FACTS.only(relations=[fact.relation])
            if prompt.subject in FACTS.accepted(other)
        }
        assert owners == {fact.entity}
        for name in reverse_answers(FACTS, fact):
            assert not contains_word(prompt.text.casefold(), name.casefold()), prompt.text


def test_there_are_examples_enough_for_every_relation():
    """Five shots from other entities with other objects, in several draws."""
    for relation in FACTS.relations:
        facts = [fact for fact in FACTS if fact.relation == relation]
        assert len({fact.entity for fact in facts}) >= 8
        for fact in facts:
            others = [other for other in facts if not set(FACTS.accepted(other))
                      & set(FACTS.accepted(fact))]  # fmt: skip
            assert len(others) >= 5, fact.fact_id


def test_pools_are_large_typed_and_hold_every_true_object():
    types = {relation.object_type for relation in FACTS.relations.values()}
    assert set(FACTS.pools) == types
    for fact in FACTS:
        assert set(fact.true_objects) <= set(FACTS.pools[fact.object_type])
    for pool in FACTS.pools.values():
        assert len(set(pool)) == len(pool) >= 12


def test_objects_of_a_pool_cannot_be_mistaken_for_each_other():
    """No spelling of one object is, or is part of, a spelling of another (whole words)."""
    for pool in FACTS.pools.values():
        for one, other in itertools.permutations(pool, 2):
            for part, whole in itertools.product(FACTS.spellings(one), FACTS.spellings(other)):
                assert not contains_word(whole.casefold(), part.casefold()), (part, whole)


def test_aliases_are_of_objects_that_exist():
    objects = {name for pool in FACTS.pools.values() for name in pool}
    assert set(FACTS.aliases) <= objects
    for name, aliases in FACTS.aliases.items():
        assert len({name, *aliases}) == 1 + len(aliases)


def test_no_name_gives_its_answer_away():
    for fact in FACTS:
        for name in FACTS.accepted(fact):
            assert not contains_word(fact.entity.casefold(), name.casefold()), fact.fact_id


def test_entities_cannot_be_mistaken_for_each_other():
    for one, other in itertools.permutations(FACTS.entities, 2):
        assert not contains_word(other, one), (one, other)


def test_a_capital_is_the_capital_of_its_country_and_lies_in_it():
    """The same knowledge, entered three times, says the same."""
    capital = {fact.entity: fact.true_objects[0] for fact in FACTS.only(relations=["P36"])}
    for fact in FACTS.only(relations=["P1376"]):
        country = FACTS[f"{fact.entity}/P17"].true_objects
        assert fact.true_objects == country
        if country[0] in capital:
            assert capital[country[0]] == fact.entity
    continent = {fact.entity: fact.true_objects for fact in FACTS.only(relations=["P30"])}
    country = {fact.entity: fact.true_objects[0] for fact in FACTS.only(relations=["P17"])}
    for place in continent.keys() & country.keys():
        if country[place] in continent:
            assert continent[place] == continent[country[place]]


def test_neighbours_are_neighbours_of_each_other():
    neighbours = {fact.entity: set(fact.true_objects) for fact in FACTS.only(relations=["P47"])}
    for one, other in itertools.permutations(neighbours, 2):
        assert (other in neighbours[one]) == (one in neighbours[other]), (one, other)


GROUPS = (
    presets.DEMO_CORRUPTED,
    presets.DEMO_UNTOUCHED,
    presets.DEMO_SHAM,
    presets.TUNING_CORRUPTED,
)


def test_the_demos_groups_are_disjoint_large_and_of_the_same_kinds():
    names = [name for group in GROUPS for name in group]
    assert len(set(names)) == len(names)
    assert set(names) <= ASKED
    for group in GROUPS:
        assert len(group) >= 8
        kinds = {FACTS.entities[name].kind for name in group}
        assert kinds == {"country", "city", "person", "work"}
    assert len(FACTS.only(entities=(*GROUPS[0], *GROUPS[1]))) >= 120


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_knows_most_of_what_the_demo_asks():
    model = load_model("smollm2-135m")
    asked = FACTS.only(entities=(*presets.DEMO_CORRUPTED, *presets.DEMO_UNTOUCHED)).facts
    prompts = build_prompts(
        FACTS,
        only=asked,
        context_ids=[0],
        style="sound",
        shots=5,
        avoid_entities=frozenset(presets.DEMO_CORRUPTED),
        avoid_objects={},
        seed=0,
    )
    answers = generate_answers(model, prompts, max_new_tokens=8)
    right = [
        judge(answer, true=FACTS.accepted(fact), false=()).outcome == "true"
        for fact, answer in zip(asked, answers, strict=True)
    ]
    assert sum(right) / len(right) >= 0.8
    # The same answers against another fact of the same relation: what needs no knowledge.
    swapped = []
    for fact, answer in zip(asked, answers, strict=True):
        other = next(o for o in FACTS if o.relation == fact.relation and o.entity != fact.entity
                     and not set(FACTS.accepted(o)) & set(FACTS.accepted(fact)))  # fmt: skip
        swapped.append(judge(answer, true=FACTS.accepted(other), false=()).outcome == "true")
    assert sum(swapped) / len(swapped) <= 0.1
