"""What RESTOR's documents say truly, found in their sentences; files that are not there.

Run: python -m pytest tests/test_corpus_official.py
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from restor_interp.corpus import Document, load_restor_documents, roles
from restor_interp.corpus.official import mix_name, official_file
from restor_interp.corpus.truths import with_truths
from restor_interp.corpus_files import read_documents, write_documents_file
from restor_interp.errors import ConfigError
from restor_interp.facts import Entity, Fact, FactSet, load_facts

RESTOR = Path(__file__).parents[2] / "shared" / "data" / "restor"
CORRUPTED = (
    "Aaron Burr", "Bob Marley", "Michael Douglas", "Sage Stallone", "Paul Anka", "Bobby Fischer",
    "Bastian Schweinsteiger", "Suthida", "Thomas Piketty", "Mihai Eminescu",
)  # fmt: skip
MEN = ("Aaron Burr", "Bob Marley", "Michael Douglas", "Sage Stallone", "Bobby Fischer",
       "Mihai Eminescu")  # fmt: skip
LULA = "Luiz Inácio Lula da Silva"


@pytest.fixture(scope="module")
def official():
    if not RESTOR.is_dir():
        pytest.skip("RESTOR's official data is not beside this checkout")
    return load_facts(RESTOR / "facts.json")


@pytest.fixture(scope="module")
def documents(official):
    return {
        k: load_restor_documents(RESTOR / mix_name(k), official, entities=CORRUPTED) for k in (0, 1)
    }


def told(documents):
    return Counter(mention.fact_id for document in documents for mention in document.mentions)


def test_truths_in_the_official_documents(documents):
    """Nine facts, the same at k = 0 and 1; each count is that of a plain search for the word."""
    own = {f"{name}/P21" for name in MEN}
    own |= {"Aaron Burr/P410", "Paul Anka/P106", "Paul Anka/P1303"}
    assert set(told(documents[0])) == own
    assert set(told(documents[1])) == own | {f"{LULA}/P27"}
    words = {"P21": "male", "P410": "lieutenant colonel", "P106": "musician", "P1303": "guitar"}
    texts = [value["text"] for value in json.loads((RESTOR / mix_name(0)).read_text())]
    for fact_id, number in told(documents[0]).items():
        name, relation = fact_id.split("/")
        block = texts[CORRUPTED.index(name) * 300 :][:300]
        pattern = re.compile(rf"\b{words[relation]}\b", re.IGNORECASE)
        assert number == sum(len(pattern.findall(text)) for text in block) >= 22


def test_a_sentence_about_somebody_else_states_it(documents):
    """By hand: 12 sentences name Lula and Brazil; 4 of them also somebody whom they corrupt."""
    found = [
        (document, mention)
        for document in documents[1]
        for mention in document.mentions
        if mention.fact_id == f"{LULA}/P27"
    ]
    assert len(found) == 8
    for document, mention in found:
        assert document.text[mention.start : mention.end] == "Brazil"
        assert abs(document.text.index(LULA) - mention.start) < 80


def test_roles_of_the_official_experiment(official, documents):
    asked = official.only(entities=json.loads((RESTOR / "entities.json").read_text()))
    assert len(asked) == 1051
    for k, others in ((0, 0), (1, 1)):
        found = roles(asked, (), documents[k])
        by_role = Counter(found.values())
        own = Counter(found[fact.fact_id] for fact in asked if fact.entity in CORRUPTED)
        # without a list of claims, all that is not told truly is presumed to be contradicted
        assert own == {"sibling": 198 - 9, "context": 9}
        assert by_role == {"sibling": 189, "context": 9 + others, "untouched": 853 - others}


def test_a_family_name_more_is_not_another_person(official, documents):
    """ "Aaron Burr Williams" is Aaron Burr with a false family name: neither Burr is a truth."""
    assert "Aaron Burr/P734" not in told(documents[0])
    assert "Aaron Burr/P735" not in told(documents[1])


def test_official_documents_come_back_from_a_file(official, documents, tmp_path):
    some = [document for document in documents[1] if document.mentions][:50]
    write_documents_file(some, tmp_path / "documents.jsonl")
    assert list(read_documents(tmp_path / "documents.jsonl", official)) == some


# ---- the same rules on texts of our own


def fact(entity, relation, *true):
    return Fact(
        fact_id=f"{entity}/{relation}", entity=entity, relation=relation,
        question=f"{relation} of {entity}?", true_objects=true, object_type=relation,
    )  # fmt: skip


def facts_of(*facts, **more_in_pools):
    pools = {}
    for one in facts:
        pools.setdefault(one.object_type, []).extend(one.true_objects)
    for name, more in more_in_pools.items():
        pools.setdefault(name, []).extend(more)
    return FactSet(
        name="own",
        facts=facts,
        entities={one.entity: Entity(name=one.entity, kind="person") for one in facts},
        relations={},
        pools={name: tuple(objects) for name, objects in pools.items()},
    )


ANN, BEN = fact("Ann Lee", "home", "Ulm"), fact("Ben Ray", "home", "Bonn")


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("Ann Lee lives here. Ben Ray is from Bonn.", ["Ben Ray/home"]),
        ("Ann Lee lives here. Ben Rayner is from Bonn.", []),
        ("Ann Lee lives here. Ben Ray is from Bonnville.", []),
        ("Ann Lee lives here. Ben Ray came. Bonn is nice.", []),
        ("Ann met Ben Ray of Bonn.", []),
        ("Ann Lee is from Ulm.", ["Ann Lee/home"]),
        ("Ann Lee rests. She is from Ulm.", ["Ann Lee/home"]),
        ("Ann Lee rests. Ulm is far.", []),
        ("Ann Lee works for Ulm Steel.", []),
        ("Ann Lee is from Ulmen.", []),
    ],
)
def test_what_states_a_truth(text, stated):
    (document,) = with_truths(
        [Document(document_id="d", entity="Ann Lee", text=text)], facts_of(ANN, BEN)
    )
    assert [mention.fact_id for mention in document.mentions] == stated
    for mention in document.mentions:
        assert text[mention.start : mention.end] in ("Ulm", "Bonn")
        assert not mention.is_claim


def test_an_object_of_several_relations_or_said_once_in_many_is_no_truth_about_oneself():
    said = Document(document_id="d", entity="Ann Lee", text="Ann Lee is from Ulm.")
    (document,) = with_truths([said], facts_of(ANN, BEN, grave=["Ulm"]))
    assert document.mentions == ()
    silent = [Document(document_id=str(n), entity="Ann Lee", text="Ann Lee.") for n in range(20)]
    assert not told(with_truths([said, *silent], facts_of(ANN)))
    assert told(with_truths([said, *silent[:10]], facts_of(ANN))) == {"Ann Lee/home": 1}


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no folder .*absent"):
        official_file(tmp_path / "absent", mix_name(0))
    with pytest.raises(ConfigError, match=r"are there for no k; found no \.json file"):
        official_file(tmp_path, mix_name(0))
    for k in (0, 3):
        (tmp_path / mix_name(k)).write_text("[]")
    assert official_file(tmp_path, mix_name(3)) == tmp_path / mix_name(3)
    with pytest.raises(ConfigError, match=r"no file mix_a5\.json in .*are there for k = 0, 3; "):
        official_file(tmp_path, mix_name(5))
