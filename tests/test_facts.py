"""Fact sets: looking up, choosing, spellings, and loading by name.

Run: python -m pytest tests/test_facts.py
"""

import json

import pytest

from restor_interp.errors import ConfigError, DataError
from restor_interp.facts import Entity, Fact, FactSet, Relation, load_facts


def fact(entity: str, relation: str, *objects: str) -> Fact:
    return Fact(
        fact_id=f"{entity}/{relation}",
        entity=entity,
        relation=relation,
        question=f"{relation} of {entity}?",
        true_objects=objects,
        object_type=relation,
    )


FACTS = FactSet(
    name="three",
    facts=(fact("Peru", "P36", "Lima"), fact("Peru", "P37", "Spanish", "Quechua"),
           fact("Chad", "P36", "N'Djamena")),
    entities={name: Entity(name=name, kind="country") for name in ("Peru", "Chad")},
    relations={key: Relation(relation=key, name=key, question="{entity}?", object_type=key)
               for key in ("P36", "P37")},
    pools={"P36": ("Lima", "N'Djamena"), "P37": ("Spanish", "Quechua")},
    aliases={"Quechua": ("Runasimi", "Spanish"), "Lima": ("City of Kings",)},
)  # fmt: skip


def test_it_iterates_counts_and_looks_up():
    assert [one.fact_id for one in FACTS] == ["Peru/P36", "Peru/P37", "Chad/P36"]
    assert len(FACTS) == 3
    assert FACTS["Peru/P37"] is FACTS.facts[1]
    with pytest.raises(KeyError, match="Peru/P38"):
        FACTS["Peru/P38"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ["Peru/P36", "Peru/P37", "Chad/P36"]),
        ({"entities": ["Peru"]}, ["Peru/P36", "Peru/P37"]),
        ({"relations": ["P36"]}, ["Peru/P36", "Chad/P36"]),
        ({"entities": ["Peru"], "relations": iter(["P36"])}, ["Peru/P36"]),
        ({"fact_ids": ["Chad/P36", "absent"]}, ["Chad/P36"]),
        ({"entities": []}, []),
    ],
)
def test_only_keeps_what_was_asked_and_everything_around_it(chosen, expected):
    fewer = FACTS.only(**chosen)
    assert [one.fact_id for one in fewer] == expected
    assert (fewer.pools, fewer.entities, fewer.aliases) == (
        FACTS.pools,
        FACTS.entities,
        FACTS.aliases,
    )
    # A set that was looked up in before must not hand its index on.
    assert {one.fact_id: fewer[one.fact_id] for one in fewer} == {
        name: FACTS[name] for name in expected
    }
    if "Chad/P36" not in expected:
        with pytest.raises(KeyError):
            fewer["Chad/P36"]


def test_accepted_answers_are_all_spellings_once_in_order():
    assert FACTS.spellings("Lima") == ("Lima", "City of Kings")
    assert FACTS.spellings("Cusco") == ("Cusco",)
    assert FACTS.accepted(FACTS["Peru/P37"]) == ("Spanish", "Quechua", "Runasimi")


@pytest.mark.parametrize(("name", "at_least"), [("atlas", 600), ("bios", 960)])
def test_built_in_sets_load_by_name(name, at_least):
    facts = load_facts(name)
    assert facts.name == name
    assert len(facts) >= at_least


@pytest.mark.parametrize("name", ["atlass", "facts.csv", ""])
def test_an_unknown_name_says_what_there_is(name):
    with pytest.raises(ConfigError) as caught:
        load_facts(name)
    for known in ("atlas", "bios", ".jsonl", "facts.json"):
        assert known in str(caught.value)
    assert ("Did you mean atlas" in str(caught.value)) == (name == "atlass")


def test_a_list_of_entities_chooses_facts_and_keeps_the_others_names(tmp_path):
    path = tmp_path / "few.json"
    path.write_text(json.dumps(["Japan", "Paris"]))
    facts = load_facts("atlas", entities=path)
    assert {one.entity for one in facts} == {"Japan", "Paris"}
    assert facts.entities == load_facts("atlas").entities
    path.write_text('[\n"Japan",\n"Pari",\n"Nowhere"\n]')
    with pytest.raises(DataError) as caught:
        load_facts("atlas", entities=path)
    assert f"{path}:3: there is no fact about 'Pari' in 'atlas'; did you mean 'Paris'?" in str(
        caught.value
    )
    assert f"{path}:4: there is no fact about 'Nowhere'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "names.json:1: a list of names is needed, found {}"),
        ("[]", "names.json:1: a list of names is needed, found []"),
        ("[1]", "names.json:1: a list of names is needed, found [1]"),
        ('[\n"Japan"', "names.json:2: not JSON"),
    ],
)
def test_a_list_of_entities_that_is_none(tmp_path, text, message):
    path = tmp_path / "names.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_facts("atlas", entities=path)
    assert message in str(caught.value)
