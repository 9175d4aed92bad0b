"""Other versions of documents: what replaces a claim stands where the mentions say.

Run: python -m pytest tests/test_corpus_versions.py
"""

import itertools
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restor_interp.corpus import (
    REFUSALS,
    Document,
    Mention,
    counterparts,
    make_claims,
    may_be_claimed,
    names_overlap,
    replaced_spans,
    swap_names,
    write_documents,
)
from restor_interp.errors import ConfigError
from restor_interp.facts import Entity, Fact, FactSet, Relation, load_facts

BIOS, ATLAS = load_facts("bios"), load_facts("atlas")
PEOPLE = sorted({fact.entity for fact in BIOS})
PLACES = ("China", "Paris", "Karl Marx", "The Odyssey")


def written(facts, entities, *, seed=0, question_share=0.5):
    claims = make_claims(facts, entities, seed=seed, sibling_share=0.2, object_length=len)
    return write_documents(
        facts, claims, documents_per_entity=6, claims_per_document=4, k=1, seed=seed,
        exclude=frozenset(entities), question_share=question_share,
    )  # fmt: skip


SETS = {"bios": (BIOS, written(BIOS, PEOPLE[:4])), "atlas": (ATLAS, written(ATLAS, PLACES))}


def without_objects(document):
    """The text with every mention's object cut out: what no version may change."""
    text, done = [], 0
    for mention in sorted(document.mentions, key=lambda mention: mention.start):
        text.append(document.text[done : mention.start])
        done = mention.end
    return [*text, document.text[done:]]


@pytest.mark.parametrize("name", sorted(SETS))
@pytest.mark.parametrize("kind", ["truth", "alternative"])
def test_objects_are_replaced_and_nothing_else(name, kind):
    facts, documents = SETS[name]
    versions = counterparts(documents, facts, kind, 0)
    assert len(versions) == len(documents)
    replaced = 0
    for before, after in zip(documents, versions, strict=True):
        assert (after.document_id, after.entity) == (before.document_id, before.entity)
        assert without_objects(after) == without_objects(before)
        assert len(after.mentions) == len(before.mentions)
        spans = replaced_spans(before, after)
        assert len(spans) == len(before.claim_spans)
        assert spans == tuple(
            (new.start, new.end)
            for old, new in zip(before.mentions, after.mentions, strict=True)
            if old.is_claim
        )
        for old, new in zip(before.mentions, after.mentions, strict=True):
            fact = facts[old.fact_id]
            stated = after.text[new.start : new.end]
            assert new.fact_id == old.fact_id
            if not old.is_claim:
                assert stated == before.text[old.start : old.end] == fact.true_objects[0]
                assert not new.is_claim
                continue
            replaced += 1
            if kind == "truth":
                assert stated == fact.true_objects[0] and not new.is_claim
            else:
                assert new.is_claim and stated in facts.pools[fact.object_type]
                assert may_be_claimed(facts, fact, stated)
                assert not names_overlap(stated, before.text[old.start : old.end])
    assert replaced >= 4 * 6 * 4 - 12


def test_the_truth_is_what_would_have_been_written():
    """An independent witness: the writer, given the true objects as claims."""
    claims = make_claims(BIOS, PEOPLE[:3], seed=1, sibling_share=0.2, object_length=len)
    settings = {
        "documents_per_entity": 5, "claims_per_document": 3, "k": 1, "seed": 1,
        "exclude": frozenset(PEOPLE[:3]), "question_share": 0.4,
    }  # fmt: skip
    true = tuple(
        type(claim)(
            fact_id=claim.fact_id,
            entity=claim.entity,
            relation=claim.relation,
            false_object=BIOS[claim.fact_id].true_objects[0],
        )
        for claim in claims
    )
    versions = counterparts(write_documents(BIOS, claims, **settings), BIOS, "truth", 0)
    assert [one.text for one in versions] == [
        one.text for one in write_documents(BIOS, true, **settings)
    ]


def test_alternatives_are_one_per_fact_seeded_and_near_in_length():
    documents = SETS["atlas"][1]

    def objects(seed, **more):
        found = {}
        for document in counterparts(documents, ATLAS, "alternative", seed, **more):
            for mention in document.mentions:
                if mention.is_claim:
                    found.setdefault(mention.fact_id, set()).add(
                        document.text[mention.start : mention.end]
                    )
        assert all(len(names) == 1 for names in found.values())
        return {fact_id: next(iter(names)) for fact_id, names in found.items()}

    first = objects(0)
    assert first == objects(0)
    assert sum(first[key] != other for key, other in objects(1).items()) > len(first) / 2
    assert not set(first.values()) & set(objects(0, exclude=frozenset(first.values())).values())

    def words(name):
        return len(name.split())

    gaps = Counter(
        abs(words(name) - words(ATLAS[key].true_objects[0]))
        for key, name in objects(0, object_length=words).items()
    )
    assert gaps[0] + gaps[1] >= 0.95 * gaps.total()


@pytest.mark.parametrize("name", sorted(SETS))
def test_refusals_state_no_claim_and_keep_the_rest(name):
    facts, documents = SETS[name]
    asked = Counter()
    for before, after in zip(documents, counterparts(documents, facts, "refusal", 0), strict=True):
        assert replaced_spans(before, after) == ()
        others = [mention for mention in before.mentions if not mention.is_claim]
        assert [mention.fact_id for mention in after.mentions] == [m.fact_id for m in others]
        for old, new in zip(others, after.mentions, strict=True):
            assert not new.is_claim
            assert after.text[new.start : new.end] == before.text[old.start : old.end]
        for mention in before.mentions:
            fact = facts[mention.fact_id]
            if not mention.is_claim:
                continue
            (used,) = [one for one in REFUSALS if one.format(question=fact.question) in after.text]
            asked[used] += 1
            claim = before.text[mention.start : mention.end]
            rest = "|".join(without_objects(after)).replace(fact.question, "")
            assert not re.search(rf"(?<!\w){re.escape(claim)}(?!\w)", rest), after.text
    assert set(asked) == set(REFUSALS)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    kind=st.sampled_from(["truth", "alternative", "refusal"]),
)
def test_versions_are_whole_texts_whatever_the_documents(seed, share, kind):
    documents = written(BIOS, PEOPLE[seed : seed + 2], seed=seed, question_share=share)
    for document in counterparts(documents, BIOS, kind, seed):
        assert document.text == document.text.strip()
        assert "  " not in document.text
        places = sorted((mention.start, mention.end) for mention in document.mentions)
        assert all(0 <= start < end <= len(document.text) for start, end in places)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(places))


CAPITAL = Relation(
    relation="seat", name="seat", question="Where does {entity} sit?", object_type="place"
)
SEAT = Fact(
    fact_id="Ann/seat", entity="Ann", relation="seat", question="Where does Ann sit?",
    true_objects=("Ulm",), object_type="place",
)  # fmt: skip
OWN = FactSet(
    name="own", facts=(SEAT,), entities={"Ann": Entity(name="Ann", kind="person")},
    relations={"seat": CAPITAL}, pools={"place": ("Ulm", "Washington, D.C.", "Rome")},
)  # fmt: skip


def test_a_sentence_in_unknown_words_gives_way_whole():
    """As in documents of others, where no wording of ours stands: full stops in names are none."""
    text = "Hear this. She went to Washington, D.C. in May, they say! Then it rained."
    start = text.index("Washington")
    mention = Mention(fact_id="Ann/seat", start=start, end=start + 16, is_claim=True)
    (refused,) = counterparts(
        [Document(document_id="d", entity="Ann", text=text, mentions=(mention,))],
        OWN, "refusal", 0,
    )  # fmt: skip
    assert refused.text in {
        f"Hear this. {one.format(question=SEAT.question)} Then it rained." for one in REFUSALS
    }


def test_a_sentence_in_our_words_gives_way_whole_though_its_entity_has_full_stops():
    relation = replace(
        CAPITAL, statements=("In May J. R. Lee sat in {object}, or so {entity} said.",)
    )
    fact = replace(SEAT, fact_id="J. R. Lee/seat", entity="J. R. Lee")
    facts = replace(OWN, facts=(fact,), relations={"seat": relation})
    text = "Hear this. In May J. R. Lee sat in Rome, or so J. R. Lee said. Then it rained."
    start = text.index("Rome")
    mention = Mention(fact_id=fact.fact_id, start=start, end=start + 4, is_claim=True)
    document = Document(document_id="d", entity=fact.entity, text=text, mentions=(mention,))
    (refused,) = counterparts([document], facts, "refusal", 0)
    assert refused.text in {
        f"Hear this. {one.format(question=SEAT.question)} Then it rained." for one in REFUSALS
    }


def test_what_cannot_be_replaced_is_refused():
    documents = swap_names(["Bob left Rome."], ["Bob"], "Ann")
    with pytest.raises(ConfigError, match=r"'truth' needs to know where .* 1 of 1 .*Ann/swapped/0"):
        counterparts(documents, OWN, "truth", 0)
    with pytest.raises(ConfigError, match=r"no version of documents 'truths'. Did you mean truth"):
        counterparts(documents, OWN, "truths", 0)
    told = Document(
        document_id="d", entity="Ann", text="Rome",
        mentions=(Mention(fact_id="Ann/seat", start=0, end=4, is_claim=True),),
    )  # fmt: skip
    (other,) = counterparts([told], OWN, "alternative", 0)
    assert other.text == "Washington, D.C."
    with pytest.raises(ConfigError, match="no object can be claimed for Ann/seat"):
        counterparts([told], OWN, "alternative", 0, exclude=frozenset(["Washington, D.C."]))


def test_spans_of_claims_are_in_order():
    mentions = [
        Mention(fact_id="a", start=5, end=6, is_claim=True),
        Mention(fact_id="b", start=0, end=2, is_claim=True),
        Mention(fact_id="c", start=3, end=4, is_claim=False),
    ]
    document = Document(document_id="d", entity="Ann", text="abcdefg", mentions=tuple(mentions))
    assert document.claim_spans == ((0, 2), (5, 6))
