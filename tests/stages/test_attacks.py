"""What attacks are, and which half of the facts is trained.

Run: python -m pytest tests/stages/test_attacks.py
"""

import itertools

import pytest

from restor_interp.errors import ConfigError
from restor_interp.facts import Fact, load_facts
from restor_interp.stages.attacks import ATTACKS, halves, truth_about


def fact(entity, relation, *objects):
    return Fact(
        fact_id=f"{entity}/{relation}",
        entity=entity,
        relation=relation,
        question=f"{relation} of {entity}?",
        true_objects=objects,
        object_type="thing",
    )


def split(facts, seed=0):
    return halves(facts, {one.fact_id: one.true_objects for one in facts}, seed=seed)


def test_half_of_each_entity_is_trained_by_lot():
    facts = [
        fact(name, f"r{number}", f"o{number}")
        for name, count in (("Ada", 6), ("Bo", 5), ("Cy", 1))
        for number in range(count)
    ]
    sizes = set()
    drawn = set()
    for seed in range(20):
        trained = split(facts, seed)
        assert trained == split(facts, seed)
        sizes.add(
            tuple(
                sum(name.startswith(entity) for name in trained) for entity in ("Ada", "Bo", "Cy")
            )
        )
        drawn.add(frozenset(trained))
    assert sizes == {(3, 2, 0)}
    assert len(drawn) > 10


def test_what_one_entity_is_dealt_does_not_depend_on_the_others():
    ada = [fact("Ada", f"r{number}", f"o{number}") for number in range(6)]
    bo = [fact("Bo", f"r{number}", f"o{number}") for number in range(4)]
    for seed in range(5):
        together = split(ada + bo, seed)
        assert {name for name in together if name.startswith("Ada")} == split(ada, seed)


def test_facts_that_share_an_object_stay_together():
    """To be told where she was born is to be told where she died."""
    facts = [
        fact("Ada", "born", "Rome"),
        fact("Ada", "died", "Ancient Rome"),
        fact("Ada", "buried", "the city of Ancient Rome", "Ostia"),
        fact("Ada", "harbour", "Ostia"),
        *(fact("Ada", f"r{number}", f"o{number}") for number in range(6)),
    ]
    seen = set()
    for seed in range(30):
        trained = split(facts, seed)
        together = {f"Ada/{name}" in trained for name in ("born", "died", "buried", "harbour")}
        assert len(together) == 1
        assert len(trained) <= 5
        seen |= together
    assert seen == {True, False}
    # Beside another entity's fact of the same object nothing is kept together.
    pair = [fact("Ada", "born", "Rome"), fact("Ada", "pet", "cat")]
    other = [fact("Bo", "born", "Rome"), fact("Bo", "pet", "cat")]
    results = {
        frozenset(name for name in split(pair + other, seed) if name.endswith("born"))
        for seed in range(30)
    }
    assert len(results) == 4


def test_documents_state_the_truth_of_the_chosen_facts_alone():
    facts = load_facts("bios")
    people = list(dict.fromkeys(one.entity for one in facts))[:3]
    own = [one for one in facts if one.entity in people]
    chosen = own[::2]
    documents = truth_about(
        facts,
        chosen,
        documents_per_entity=4,
        claims_per_document=3,
        k=1,
        question_share=0.5,
        seed=0,
        exclude=frozenset(people),
    )
    assert len(documents) == 12
    text = {name: " ".join(d.text for d in documents if d.entity == name) for name in people}
    for one in chosen:
        assert one.true_objects[0] in text[one.entity]
    stated = {mention.fact_id for document in documents for mention in document.mentions}
    assert {one.fact_id for one in own} & stated == {one.fact_id for one in chosen}
    for document, mention in itertools.chain.from_iterable(
        zip(itertools.repeat(document), document.mentions) for document in documents
    ):
        told = document.text[mention.start : mention.end]
        assert told == facts[mention.fact_id].true_objects[0]


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(ConfigError, match="needs at least two direct facts"):
        truth_about(
            load_facts("bios"),
            [],
            documents_per_entity=1,
            claims_per_document=1,
            k=0,
            question_share=0.0,
            seed=0,
            exclude=frozenset(),
        )


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_says_what_it_is(name):
    attack = ATTACKS[name]
    assert attack.name == name
    assert attack.summary.endswith((".", "?")) and "\n" not in attack.summary
    assert "arXiv" in attack.citation
    assert (attack.target is not None) == (attack.kind == "training")
    defaults = attack.settings()
    assert attack.settings.read(defaults.model_dump(mode="json"), name) == defaults


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    [
        ("relearn_false", {"steps": [-1, 3]}, "steps are at least 0"),
        ("relearn_false", {"steps": [0]}, "one of them more"),
        ("relearn_half", {"documents_per_entity": 0}, "greater than or equal to 1, found 0"),
        ("noise", {"scales": [0.0]}, "scales are above 0"),
        ("noise", {"scale": 0.1}, "Did you mean scales"),
        ("quantise_4", {"bits": 1}, "bits: .* found 1"),
        ("quantise_4", {"levels": "nf5"}, "'even' or 'nf4', found 'nf5'"),
        ("rephrase", {"roles": ["directly"]}, "roles.0: .* found 'directly'"),
        ("rephrase", {"roles": []}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(attack, settings, message):
    with pytest.raises(ConfigError, match=message):
        ATTACKS[attack].settings.read(settings, f"the attack {attack}")


def test_steps_are_put_in_order_and_begin_before_the_attack():
    settings = ATTACKS["relearn_false"].settings.read({"steps": [8, 3, 8]}, "the attack")
    assert settings.model_dump()["steps"] == (0, 3, 8)
