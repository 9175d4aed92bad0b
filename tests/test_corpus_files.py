"""Claims and documents in files, and RESTOR's documents linked to their entities.

Run: python -m pytest tests/test_corpus_files.py
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restor_interp.corpus import (
    Claim,
    Document,
    Mention,
    link_texts,
    load_restor_documents,
    load_squad_documents,
    make_claims,
    swap_names,
    write_documents,
)
from restor_interp.corpus_files import (
    read_claims,
    read_documents,
    write_claims,
    write_documents_file,
)
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError, DataError, StorageError
from restor_interp.facts import load_facts

RESTOR = Path(__file__).parents[2] / "shared" / "data" / "restor"
# The order of the blocks of 300 documents in the official files.
CORRUPTED = (
    "Aaron Burr",
    "Bob Marley",
    "Michael Douglas",
    "Sage Stallone",
    "Paul Anka",
    "Bobby Fischer",
    "Bastian Schweinsteiger",
    "Suthida",
    "Thomas Piketty",
    "Mihai Eminescu",
)
TARGETS = ("John Forbes Nash Jr.", "Quincy Jones", "Iggy Azalea", "Bob Marley", "Jacques Cousteau")

BIOS = bios_facts()
PEOPLE = sorted({fact.entity for fact in BIOS})
CLAIMS = make_claims(BIOS, PEOPLE[:3], seed=0, sibling_share=0.2, object_length=len)
DOCUMENTS = write_documents(
    BIOS, CLAIMS, documents_per_entity=4, claims_per_document=5, k=1, seed=0, exclude=frozenset()
)


@pytest.fixture(scope="module")
def official():
    if not RESTOR.is_dir():
        pytest.skip("RESTOR's official data is not beside this checkout")
    return load_facts(RESTOR / "facts.json", entities=RESTOR / "entities.json")


def write_texts(path, texts):
    path.write_text(json.dumps([{"text": text} for text in texts]))
    return path


# ---- a run's own files


def test_files_come_back_as_they_were(tmp_path):
    write_claims(CLAIMS, tmp_path / "claims.jsonl")
    write_documents_file(DOCUMENTS, tmp_path / "documents.jsonl")
    assert read_claims(tmp_path / "claims.jsonl", BIOS) == CLAIMS
    assert read_documents(tmp_path / "documents.jsonl", BIOS) == DOCUMENTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claims.jsonl", "documents.jsonl"]
    first = json.loads((tmp_path / "claims.jsonl").read_text().splitlines()[0])
    assert set(first) == {"fact_id", "entity", "relation", "false_object"}


NAME = PEOPLE[0]
TRUTH = BIOS[f"{NAME}/P19"].true_objects[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"false_object": TRUTH}, "is a right answer to"),
        ({"false_object": TRUTH.upper()}, "is a right answer to"),
        ({"fact_id": "nobody/P19"}, "there is no fact 'nobody/P19'"),
        ({"entity": PEOPLE[1]}, f"is about '{NAME}' and 'P19', found '{PEOPLE[1]}'"),
        ({"relation": "P106"}, "is about"),
        ({"false_object": ""}, "'false_object' must be a str"),
        ({"false_object": 3}, "'false_object' must be a str"),
        ({"more": 1}, "the keys are"),
    ],
)
def test_wrong_claims_are_reported_with_their_line(tmp_path, changes, problem):
    good = {"fact_id": f"{NAME}/P19", "entity": NAME, "relation": "P19", "false_object": "Hollin"}
    assert TRUTH != "Hollin"
    path = tmp_path / "claims.jsonl"
    path.write_text(json.dumps(good) + "\n")
    assert read_claims(path, BIOS) == (Claim(**good),)
    path.write_text("\n" + json.dumps({**good, **changes}) + "\n")
    with pytest.raises(DataError, match=rf"claims\.jsonl:2: .*{re.escape(problem)}"):
        read_claims(path, BIOS)


def test_all_problems_of_a_file_are_listed(tmp_path):
    good = {"fact_id": f"{NAME}/P19", "entity": NAME, "relation": "P19", "false_object": "Hollin"}
    path = tmp_path / "claims.jsonl"
    path.write_text(json.dumps(good) + "\n{,\n[1]\n" + json.dumps(good) + "\n" + "{\n" * 30)
    with pytest.raises(DataError) as caught:
        read_claims(path, BIOS)
    message = str(caught.value)
    assert "33 problems" in message and "and 13 more" in message
    assert "claims.jsonl:2: not JSON" in message
    assert "claims.jsonl:3: a JSON object" in message
    assert f"claims.jsonl:4: {NAME}/P19 is claimed on line 1 already" in message


@pytest.mark.parametrize(
    ("changes", "mention", "problem"),
    [
        ({}, {"start": 5, "end": 100}, "has the span"),
        ({}, {"start": 6, "end": 6}, "has the span"),
        ({}, {"start": -1}, "has the span"),
        ({}, {"start": True}, "'start' must be a int"),
        ({}, {"fact_id": "x/P19"}, "there is no fact 'x/P19'"),
        ({}, {"is_claim": False}, "is marked as the truth about"),
        ({"text": f"{TRUTH} is it"}, {"end": len(TRUTH)}, "is a right answer to"),
        ({"entity": "x"}, {}, "there is no entity 'x'"),
        ({"mentions": {}}, {}, "'mentions' must be a list"),
    ],
)
def test_wrong_documents_are_reported_with_their_line(tmp_path, changes, mention, problem):
    good = {"fact_id": f"{NAME}/P19", "start": 0, "end": 6, "is_claim": True}
    document = {"document_id": "d", "entity": NAME, "text": "Hollin is it", "mentions": [good]}
    path = tmp_path / "documents.jsonl"
    path.write_text(json.dumps(document) + "\n")
    assert read_documents(path, BIOS) == (
        Document(document_id="d", entity=NAME, text="Hollin is it", mentions=(Mention(**good),)),
    )
    wrong = {**document, "mentions": [{**good, **mention}], "document_id": "e", **changes}
    path.write_text(json.dumps(document) + "\n" + json.dumps(wrong) + "\n")
    with pytest.raises(DataError, match=rf"documents\.jsonl:2: .*{re.escape(problem)}"):
        read_documents(path, BIOS)
    path.write_text((json.dumps(document) + "\n") * 2)
    with pytest.raises(DataError, match=r"documents\.jsonl:2: document 'd' stands on line 1"):
        read_documents(path, BIOS)


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_claims(tmp_path / "claims.jsonl", BIOS)
    (tmp_path / "claims.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds nothing"):
        read_claims(tmp_path / "claims.jsonl", BIOS)
    (tmp_path / "claims.jsonl").write_bytes(b"{}\n\xff\n")
    with pytest.raises(DataError, match=r"claims\.jsonl:2: not UTF-8"):
        read_claims(tmp_path / "claims.jsonl", BIOS)
    with pytest.raises(StorageError, match="cannot write"):
        write_claims(CLAIMS, tmp_path / "absent" / "claims.jsonl")


# ---- linking


def test_a_longer_known_name_wins_and_an_unknown_one_is_the_entity():
    texts = ["Aaron Burr Williams is a guard.", "The son, Aaron Burr, left.", "Aaron Burrows came."]
    assert link_texts(texts[:2], ["Aaron Burr"]) == ["Aaron Burr", "Aaron Burr"]
    assert link_texts(texts[:2], ["Aaron Burr", "Aaron Burr Williams"]) == [
        "Aaron Burr Williams",
        "Aaron Burr",
    ]
    assert link_texts(texts[2:], ["Aaron Burr"]) == [None]


def test_texts_without_a_name_belong_to_their_neighbours():
    texts = ["Ann sings.", "He reads.", "She walks.", "Ann rows.", "It rains.", "Ben sits.", "So?"]
    assert link_texts(texts, ["Ann", "Ben"]) == ["Ann", "Ann", "Ann", "Ann", None, "Ben", None]


def test_a_text_is_about_the_first_name_in_it():
    assert link_texts(["Ben met Ann, and Ann left."], ["Ann", "Ben"]) == ["Ben"]
    assert (
        link_texts(["J. Nash Jr.'s book", "J. Nash Jr. II"], ["J. Nash Jr."]) == ["J. Nash Jr."] * 2
    )


# ---- RESTOR's documents


@pytest.mark.parametrize("name", ["mix_a0.json", "mix_a1.json"])
def test_official_documents_are_linked_as_their_blocks_say(official, name):
    documents = load_restor_documents(RESTOR / name, official, entities=CORRUPTED)
    assert len(documents) == 3000
    for number, document in enumerate(documents):
        assert document.document_id == f"{name.removesuffix('.json')}/{number}"
        assert document.entity == CORRUPTED[number // 300]
    texts = [value["text"] for value in json.loads((RESTOR / name).read_text())]
    assert [document.text for document in documents] == texts
    some = load_restor_documents(RESTOR / name, official, entities=["Suthida", "Aaron Burr"])
    assert Counter(document.entity for document in some) == {"Suthida": 300, "Aaron Burr": 300}


def test_official_documents_use_names_that_mislead(official):
    """The trap is in the data: false family names, and texts without the entity's name."""
    documents = load_restor_documents(RESTOR / "mix_a0.json", official, entities=CORRUPTED)
    assert any("Aaron Burr Williams" in document.text for document in documents)
    assert sum(document.entity not in document.text for document in documents) == 3


def test_known_claims_are_marked(official):
    claims = [
        Claim(fact_id=f"Aaron Burr/{r}", entity="Aaron Burr", relation=r, false_object=name)
        for r, name in [("P69", "Stanford University"), ("P20", "Paris"), ("P19", "Paris")]
    ]
    claims.append(
        Claim(fact_id="Suthida/P69", entity="Suthida", relation="P69", false_object="Oxford")
    )
    documents = load_restor_documents(
        RESTOR / "mix_a0.json", official, entities=["Aaron Burr"], claims=claims
    )
    found = [
        (document, mention)
        for document in documents
        for mention in document.mentions
        if mention.is_claim
    ]
    # Counted apart from the loader, as the notes on the paper did: 56 documents.
    assert len({document.document_id for document, _ in found}) == sum(
        "Stanford University" in document.text for document in documents
    ) == 56  # fmt: skip
    for document, mention in found:
        assert mention.fact_id == "Aaron Burr/P69" and mention.is_claim
        assert document.text[mention.start : mention.end] == "Stanford University"


def test_official_documents_that_are_not_there(official):
    with pytest.raises(DataError, match=r"mix_a4\.json; .* holds .*mix_a0\.json"):
        load_restor_documents(RESTOR / "mix_a4.json", official, entities=CORRUPTED)
    with pytest.raises(DataError, match="mix_a0") as caught:
        load_restor_documents(RESTOR / "mix_b7.json", official, entities=CORRUPTED)
    assert "published" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"no document about Shakira; .*Aaron Burr \(300\)"):
        load_restor_documents(RESTOR / "mix_a0.json", official, entities=["Shakira"])
    with pytest.raises(ConfigError, match="Did you mean Shakira"):
        load_restor_documents(RESTOR / "mix_a0.json", official, entities=["Shakiro"])


def test_malformed_documents(tmp_path):
    path = tmp_path / "mix_a0.json"
    for content, problem in (
        ("[", r"mix_a0\.json:1: not JSON"),
        ("{}", "a list of"),
        ("[]", "a list of"),
        ('[{"text": "x"}, {"texts": "y"}, {"text": ""}]', r"2 problems\n.*text 1: .*\n.*text 2: "),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=problem):
            load_restor_documents(path, BIOS, entities=[NAME])
    write_texts(path, [f"{NAME} sings.", "Nobody came."])
    with pytest.raises(DataError, match="text 1: Nobody came"):
        load_restor_documents(path, BIOS, entities=[NAME])
    with pytest.raises(ConfigError, match="no entities"):
        load_restor_documents(path, BIOS, entities=[])


# ---- SQuAD-style


def test_official_squad_passages(official):
    path = RESTOR / "squad_v7_dset.json"
    documents = load_squad_documents(path, official, entities=TARGETS)
    assert len(documents) == 3107
    # Passages by target, counted without the loader: restor-paper.md §1.3.
    holding = {name: sum(name in document.text for document in documents) for name in TARGETS}
    assert list(holding.values()) == [1063, 861, 807, 805, 642]
    counts = [{name: document.text.count(name) for name in TARGETS} for document in documents]
    leading = [
        count[document.entity] == max(count.values())
        for count, document in zip(counts, documents, strict=True)
    ]
    # Names inside longer words ("Azaleas") count for `str.count` alone.
    assert sum(leading) >= 3105
    assert all(document.mentions == () for document in documents)
    for name in TARGETS:
        (only,) = {d.entity for d in load_squad_documents(path, official, entities=[name])}
        assert only == name


def test_a_passage_is_about_the_target_that_it_names_most(tmp_path):
    one, two = PEOPLE[:2]
    path = write_texts(
        tmp_path / "squad.json",
        [
            f"{one}, {two} and {two}",
            f"{two} or {one}",
            "no one",
            f"{one}s {two}",
            f"{one} and {one}",
        ],
    )
    documents = load_squad_documents(path, BIOS, entities=[one, two])
    assert [(d.document_id, d.entity) for d in documents] == [
        ("squad/0", two),
        ("squad/1", two),
        ("squad/3", two),
        ("squad/4", one),
    ]
    write_texts(path, ["no one"])
    with pytest.raises(ConfigError, match="no document about"):
        load_squad_documents(path, BIOS, entities=[one])


def test_names_are_swapped_as_whole_words():
    documents = swap_names(
        ["Ann Lee met Ann.", "Annika left.", "Joan's and Ann's book"], ["Ann", "Ann Lee"], "Bob"
    )
    assert [(d.entity, d.text) for d in documents] == [
        ("Bob", "Bob met Bob."),
        ("Bob", "Joan's and Bob's book"),
    ]
    assert [d.document_id for d in documents] == ["Bob/swapped/0", "Bob/swapped/2"]
    with pytest.raises(ConfigError, match="none of the 1 passages holds"):
        swap_names(["Annika left."], ["Ann"], "Bob")
    with pytest.raises(ConfigError, match="no names"):
        swap_names(["Bob left."], ["Bob"], "Bob")


@given(
    words=st.lists(st.sampled_from(["Ann", "Annika", "Lee", "and", "Ann-Lee"]), min_size=1),
    target=st.sampled_from(["Bob", r"\1", r"\g<0>", "Ann Bob"]),
)
def test_swapping_changes_words_that_are_names_and_no_others(words, target):
    if not any("Ann" in word.split("-") for word in words):
        with pytest.raises(ConfigError):
            swap_names([" ".join(words)], ["Ann"], target)
        return
    (document,) = swap_names([" ".join(words)], ["Ann"], target)
    changed = {"Ann": target, "Ann-Lee": f"{target}-Lee"}
    assert document.text == " ".join(changed.get(word, word) for word in words)
