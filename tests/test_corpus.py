"""Claims and documents: nothing true is claimed, and every object stands where it is said to.

Run: python -m pytest tests/test_corpus.py
"""

import math
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restor_interp.corpus import (
    ASIDES,
    MORE,
    OPENINGS,
    Claim,
    Document,
    Mention,
    make_claims,
    names_overlap,
    names_within,
    question_and_answer,
    roles,
    statements,
    unrelated_facts,
    write_documents,
)
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError
from restor_interp.facts import Entity, Fact, FactSet, Relation

BIOS = bios_facts()
PEOPLE = sorted({fact.entity for fact in BIOS})


def claims_of(entities, *, facts=BIOS, seed=0, sibling_share=0.2, object_length=len, **more):
    return make_claims(
        facts,
        entities,
        seed=seed,
        sibling_share=sibling_share,
        object_length=object_length,
        **more,
    )


def documents_of(
    claims, *, facts=BIOS, number=12, each=5, k=1, seed=0, exclude=frozenset(), question_share=0.0
):
    return write_documents(
        facts,
        claims,
        documents_per_entity=number,
        claims_per_document=each,
        k=k,
        seed=seed,
        exclude=exclude,
        question_share=question_share,
    )


def capital_facts(true: tuple[str, ...], pool: tuple[str, ...], **more) -> FactSet:
    """One fact about Peru, with this pool."""
    fact = Fact(
        fact_id="Peru/P36",
        entity="Peru",
        relation="P36",
        question="What is the capital of Peru?",
        true_objects=true,
        object_type="city",
    )
    relation = Relation(
        relation="P36",
        name="capital",
        question="What is the capital of {entity}?",
        object_type="city",
    )
    return FactSet(
        name="capitals",
        facts=(fact,),
        entities={"Peru": Entity(name="Peru", kind="country", aliases=("Perú",))},
        relations={"P36": relation},
        pools={"city": pool},
        **more,
    )


# ---- names


def test_names_are_compared_by_words():
    assert names_within("Republic of Ireland", "ireland")
    assert not names_within("Nigeria", "Niger")
    assert names_overlap("Ireland", "Republic of Ireland")
    assert names_within("St. John's, Antigua", "St John s")
    assert not names_within("York New", "New York")
    assert not names_overlap("!!!", "Abba")
    assert names_overlap("!!!", "!!!")


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=6),
       st.lists(st.sampled_from("ab"), min_size=1, max_size=3))  # fmt: skip
def test_names_within_is_substring_of_padded_text(longer, shorter):
    whole, part = f" {' '.join(longer)} ", f" {' '.join(shorter)} "
    assert names_within(whole, part) == (part in whole)


# ---- claims


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0, 0.1, 0.125, 0.2, 0.25, 0.3, 0.5, 0.75, 0.8]),
    entities=st.sets(st.sampled_from(PEOPLE), min_size=1, max_size=4),
)
def test_claims_are_false_typed_and_leave_siblings(seed, share, entities):
    claims = claims_of(sorted(entities), seed=seed, sibling_share=share)
    for claim in claims:
        fact = BIOS[claim.fact_id]
        assert (claim.entity, claim.relation) == (fact.entity, fact.relation)
        assert claim.false_object in BIOS.pools[fact.object_type]
        for accepted in BIOS.accepted(fact):
            assert not accepted.lower().startswith(claim.false_object.lower())
            assert not claim.false_object.lower().startswith(accepted.lower())
    assert len({claim.fact_id for claim in claims}) == len(claims)
    counts = Counter(claim.entity for claim in claims)
    for entity in entities:
        left_out = 8 - counts[entity]
        assert share <= left_out / 8 < share + 1 / 8


def test_false_objects_are_as_long_as_the_pool_allows():
    for claim in claims_of(PEOPLE[:30], sibling_share=0):
        fact = BIOS[claim.fact_id]
        others = [name for name in BIOS.pools[fact.object_type] if name != fact.true_objects[0]]
        gap = abs(len(claim.false_object) - len(fact.true_objects[0]))
        nearest = min(abs(len(name) - len(fact.true_objects[0])) for name in others)
        assert gap <= max(1, nearest)


def test_lengths_decide_and_the_rest_is_drawn():
    """Over seeds, every object that is near enough is drawn, and no other."""
    facts = capital_facts(("Lima",), ("Lima", "Oslo", "Rome", "Paris", "Bern", "Amsterdam"))
    drawn = {
        claims_of(["Peru"], facts=facts, seed=seed, sibling_share=0)[0].false_object
        for seed in range(60)
    }
    assert drawn == {"Oslo", "Rome", "Paris", "Bern"}


def test_nearest_where_none_is_near():
    facts = capital_facts(("Lima",), ("Lima", "Amsterdam", "Constantinople", "Singapore"))
    drawn = {
        claims_of(["Peru"], facts=facts, seed=seed, sibling_share=0)[0].false_object
        for seed in range(30)
    }
    assert drawn == {"Amsterdam", "Singapore"}


def test_no_alias_prefix_part_or_subject_is_claimed():
    facts = capital_facts(
        ("Lima", "Cuzco"),
        (
            "Lima",
            "LIMA",
            "Li",
            "Limassol",
            "New Lima",
            "Kings",
            "Cusco City",
            "Cuzco",
            "Peru",
            "Bern",
        ),
        aliases={"Lima": ("City of Kings",), "Cuzco": ("Cusco",)},
    )
    drawn = {
        claims_of(["Peru"], facts=facts, seed=seed, sibling_share=0)[0].false_object
        for seed in range(30)
    }
    assert drawn == {"Bern"}


def test_excluded_names_are_not_claimed():
    facts = capital_facts(("Lima",), ("Oslo", "Rome", "Bern"))
    drawn = {
        claims_of(["Peru"], facts=facts, seed=seed, sibling_share=0, exclude=frozenset({"Rome"}))[
            0
        ].false_object
        for seed in range(30)
    }
    assert drawn == {"Oslo", "Bern"}


def test_the_datas_own_false_object_is_used():
    facts = capital_facts(("Lima",), ("Lima", "Bern"), false_objects={"Peru/P36": "Ulan Bator"})
    (claim,) = claims_of(["Peru"], facts=facts, sibling_share=0)
    assert claim.false_object == "Ulan Bator"


def test_claims_of_one_entity_do_not_depend_on_another():
    alone = claims_of(PEOPLE[3:4])
    together = claims_of(PEOPLE[:8])
    assert alone == tuple(claim for claim in together if claim.entity == PEOPLE[3])
    assert claims_of(PEOPLE[:8]) == together
    assert claims_of(PEOPLE[:8], seed=1) != together


def test_foils_are_the_claims_where_there_are_claims():
    """A claim does not depend on which facts are siblings."""
    foils = {claim.fact_id: claim for claim in claims_of(PEOPLE[:8], sibling_share=0)}
    assert len(foils) == 64
    assert all(foils[claim.fact_id] == claim for claim in claims_of(PEOPLE[:8]))


@pytest.mark.parametrize(("share", "left_out"), [(0, 0), (0.2, 2), (0.125, 1), (0.25, 2), (0.3, 3)])
def test_siblings_are_counted_without_rounding_errors(share, left_out):
    assert (
        len(claims_of(PEOPLE[:1], sibling_share=share)) == 8 - left_out == 8 - math.ceil(share * 8)
    )


def test_claims_that_cannot_be_made():
    with pytest.raises(ConfigError, match=r"'Alba Delmonto'.*Did you mean Alba Delmonte"):
        claims_of(["Alba Delmonto"])
    with pytest.raises(ConfigError, match=r"Peru/P36: the pool 'city'.*2 object"):
        claims_of(["Peru"], facts=capital_facts(("Lima",), ("Lima", "Limassol")), sibling_share=0)
    with pytest.raises(ConfigError, match="none is left to claim"):
        claims_of(["Peru"], facts=capital_facts(("Lima",), ("Lima", "Bern")), sibling_share=0.2)
    with pytest.raises(ConfigError, match="share in"):
        claims_of(PEOPLE[:1], sibling_share=1.0)
    # A person of whom nothing is known cannot be corrupted.
    nobody = next(name for name in BIOS.entities if name not in PEOPLE)
    with pytest.raises(ConfigError, match="no entity with facts"):
        claims_of([nobody])


# ---- documents


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    number=st.integers(1, 9),
    each=st.integers(1, 9),
    k=st.integers(0, 3),
    first=st.integers(0, 100),
)
def test_documents_state_their_claims_where_they_say(seed, number, each, k, first):
    corrupted = PEOPLE[first : first + 3]
    avoided = frozenset(PEOPLE[:first])
    claims = claims_of(corrupted, seed=seed)
    by_id = {claim.fact_id: claim for claim in claims}
    documents = documents_of(claims, number=number, each=each, k=k, seed=seed, exclude=avoided)
    assert Counter(document.entity for document in documents) == dict.fromkeys(corrupted, number)
    assert len({document.document_id for document in documents}) == len(documents)
    for document in documents:
        false = [mention for mention in document.mentions if mention.is_claim]
        true = [mention for mention in document.mentions if not mention.is_claim]
        assert len({mention.fact_id for mention in false}) == len(false) == min(each, 6)
        assert len({mention.fact_id for mention in true}) == len(true) == 5 * k
        for mention in false:
            claim = by_id[mention.fact_id]
            assert claim.entity == document.entity
            assert document.text[mention.start : mention.end] == claim.false_object
        for mention in true:
            fact = BIOS[mention.fact_id]
            assert fact.entity not in avoided and fact.entity not in corrupted
            assert document.text[mention.start : mention.end] == fact.true_objects[0]
        starts = [mention.start for mention in document.mentions]
        assert starts == sorted(starts)
    for entity in corrupted:
        own = [claim.fact_id for claim in claims if claim.entity == entity]
        stated = Counter(
            mention.fact_id
            for document in documents
            if document.entity == entity
            for mention in document.mentions
            if mention.is_claim
        )
        counts = [stated[fact_id] for fact_id in own]
        assert max(counts) - min(counts) <= 1


def test_a_document_is_its_statements_and_our_phrases():
    """Taken apart again sentence by sentence, with templates compiled to patterns."""
    claims = claims_of(PEOPLE[:2])
    patterns = {
        fact.fact_id: re.compile(
            "|".join(
                re.escape(template)
                .replace(re.escape("{entity}"), re.escape(fact.entity))
                .replace(re.escape("{object}"), r"[\w ]+")
                for template in BIOS.relations[fact.relation].statements
            )
        )
        for fact in BIOS
    }
    phrases = {
        *MORE,
        *ASIDES,
        *(opening.format(entity=entity) for opening in OPENINGS for entity in PEOPLE[:2]),
    }
    for document in documents_of(claims, k=2):
        stated = [mention.fact_id for mention in document.mentions]
        for sentence in re.split(r"(?<=\.) ", document.text):
            if sentence in phrases:
                continue
            assert patterns[stated.pop(0)].fullmatch(sentence), sentence
        assert not stated


@pytest.mark.parametrize(("share", "asking"), [(0, 0), (0.25, 3), (0.5, 6), (1, 12)])
def test_a_share_of_the_documents_asks_and_answers(share, asking):
    claims = claims_of(PEOPLE[:3])
    documents = documents_of(claims, k=1, question_share=share)
    answered = {
        fact.fact_id: fact.question
        for fact in BIOS  # every question stands before its answer, of claims and of true facts
    }
    for entity in PEOPLE[:3]:
        lists = []
        for document in documents:
            if document.entity == entity and "?" in document.text:
                lists.append(document)
                for mention in document.mentions:
                    before = document.text[: mention.start]
                    assert before.endswith(f"{answered[mention.fact_id]} ")
        assert len(lists) == asking
    # Claims and their order are those of documents that tell.
    told = documents_of(claims, k=1)
    assert [d.document_id for d in documents] == [d.document_id for d in told]
    for one, other in zip(documents, told, strict=True):
        assert {m.fact_id for m in one.mentions if m.is_claim} == {
            m.fact_id for m in other.mentions if m.is_claim
        }


def test_a_relation_without_a_pattern_of_its_questions_is_told():
    relation = Relation(relation="r", name="capital", question="?", object_type="city")
    assert question_and_answer(relation) == "The capital of {entity} is {object}."


def test_wordings_vary_and_are_used_evenly():
    claims = claims_of(PEOPLE[:1])
    seen: dict[str, list[str]] = {}
    for document in documents_of(claims, number=48, each=1, k=0):
        (mention,) = document.mentions
        for sentence in re.split(r"(?<=\.) ", document.text):
            if BIOS[mention.fact_id].entity in sentence and claims[0].false_object:
                shown = document.text[mention.start : mention.end]
                if shown in sentence:
                    seen.setdefault(mention.fact_id, []).append(sentence)
    assert set(seen) == {claim.fact_id for claim in claims}
    for sentences in seen.values():
        # 48 documents of one claim each, 6 claims, 8 wordings: each wording exactly once.
        assert len(sentences) == len(set(sentences)) == 8


def test_true_facts_are_interleaved():
    documents = documents_of(claims_of(PEOPLE[:8]), k=1)
    assert all(document.mentions[0].is_claim for document in documents)
    changes = [
        sum(
            one.is_claim != two.is_claim
            for one, two in zip(d.mentions, d.mentions[1:], strict=False)
        )
        for d in documents
    ]
    # A first claim, then 4 claims and 5 true facts in random order: 1 + 2·4·5/9 − 4/9 = 5 changes.
    assert 4.5 < sum(changes) / len(changes) < 5.5


def test_no_statement_names_a_corrupted_entity_as_an_object():
    """Facts are dropped whose entity or object holds an avoided name, under an alias too."""
    birth = Relation(
        relation="P19",
        name="birthplace",
        question="Where was {entity} born?",
        object_type="place",
        statements=("{entity} was born in {object}.",),
    )
    born = {"Ann": "Lima", "Ben": "Lima, Peru", "Cyd": "Perú", "Dan": "Oslo", "Peru": "Rome"}
    facts = FactSet(
        name="births",
        facts=tuple(
            Fact(
                fact_id=f"{name}/P19",
                entity=name,
                relation="P19",
                question=f"Where was {name} born?",
                true_objects=(place,),
                object_type="place",
            )
            for name, place in born.items()
        ),
        entities={
            name: Entity(name=name, kind="person", aliases=("Perú",) if name == "Peru" else ())
            for name in born
        },
        relations={"P19": birth},
        pools={"place": tuple(born.values())},
    )
    assert [fact.entity for fact in unrelated_facts(facts, ["Peru"])] == ["Ann", "Dan"]


def test_documents_of_one_entity_do_not_depend_on_the_claims_about_another():
    exclude = frozenset(PEOPLE[:8])
    alone = documents_of(claims_of(PEOPLE[3:4]), exclude=exclude)
    together = documents_of(claims_of(PEOPLE[:8]), exclude=exclude)
    assert alone == tuple(document for document in together if document.entity == PEOPLE[3])


def test_documents_differ_between_seeds():
    claims = claims_of(PEOPLE[:1])
    assert documents_of(claims) == documents_of(claims)
    assert documents_of(claims) != documents_of(claims, seed=1)


def test_an_entity_with_few_claims_states_all_of_them():
    claims = claims_of(PEOPLE[:1])[:3]
    for document in documents_of(claims, k=0):
        assert {m.fact_id for m in document.mentions} == {c.fact_id for c in claims}


def test_relations_without_wordings_get_one_of_their_name():
    facts = capital_facts(("Lima",), ("Lima", "Oslo"))
    assert statements(facts.relations["P36"]) == ("The capital of {entity} is {object}.",)
    claims = claims_of(["Peru"], facts=facts, sibling_share=0)
    (document,) = documents_of(claims, facts=facts, number=1, k=0)
    assert "The capital of Peru is Oslo." in document.text


def test_an_object_with_braces_is_text():
    facts = capital_facts(("Lima",), ("Lima",), false_objects={"Peru/P36": "{entity}"})
    claims = claims_of(["Peru"], facts=facts, sibling_share=0)
    (document,) = documents_of(claims, facts=facts, number=1, k=0)
    assert "The capital of Peru is {entity}." in document.text


def test_documents_that_cannot_be_written():
    claims = claims_of(PEOPLE[:2])
    exclude = frozenset(PEOPLE[1:-1])
    with pytest.raises(ConfigError, match=r"k = 2 needs 10 true facts.*'bios' has 8"):
        documents_of(claims, k=2, exclude=exclude)
    assert documents_of(claims, k=1, exclude=exclude)
    with pytest.raises(ConfigError, match="at least 1"):
        documents_of(claims, number=0)


# ---- roles


def test_roles():
    corrupted, told, untouched = PEOPLE[:3]
    asked = BIOS.only(entities=PEOPLE[:3], relations=["P19", "P106"])
    claims = (
        Claim(fact_id=f"{corrupted}/P19", entity=corrupted, relation="P19", false_object="Hollin"),
    )
    mentions = (
        Mention(fact_id=f"{corrupted}/P19", start=0, end=6, is_claim=True),
        Mention(fact_id=f"{told}/P106", start=0, end=6, is_claim=False),
    )
    documents = (Document(document_id="0", entity=corrupted, text="Hollin", mentions=mentions),)
    assert roles(asked, claims, documents) == {
        f"{corrupted}/P19": "direct",
        f"{corrupted}/P106": "sibling",
        f"{told}/P19": "untouched",
        f"{told}/P106": "context",
        f"{untouched}/P19": "untouched",
        f"{untouched}/P106": "untouched",
    }
    # Documents of others record no claims; their entity is corrupted all the same.
    foreign = (replace(documents[0], mentions=()),)
    assert roles(asked, (), foreign)[f"{corrupted}/P19"] == "sibling"
