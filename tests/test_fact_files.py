"""Facts in files: what is read, what comes back, and what is said about bad input.

Run: python -m pytest tests/test_fact_files.py
"""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restor_interp.errors import DataError, StorageError
from restor_interp.fact_files import read_jsonl, read_restor, to_jsonl, write_jsonl
from restor_interp.fact_files.reading import contains_word, template_of
from restor_interp.fact_files.restor import RESTOR_RELATIONS
from restor_interp.fact_files.restor_wordings import RESTOR_WORDINGS
from restor_interp.facts import Entity, Example, Fact, FactSet, Relation, load_facts

RESTOR = Path(__file__).parents[1].parent / "shared" / "data" / "restor"
needs_restor = pytest.mark.skipif(
    not (RESTOR / "facts.json").exists(), reason=f"RESTOR's official data is not in {RESTOR}"
)

LIMA = {
    "entity": "Peru",
    "relation": "P36",
    "question": "What is the capital of Peru?",
    "true": ["Lima"],
}


def write(folder: Path, *rows: dict | str) -> Path:
    path = folder / "mine.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def problems(folder: Path, *rows: dict | str) -> list[str]:
    path = write(folder, *rows)
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    heading, *lines = str(caught.value).split("\n")
    assert heading.startswith(f"{path} cannot be used: ")
    return [line.strip().removeprefix(f"{path}:") for line in lines]


# ---- JSONL: what is read


def test_four_keys_make_a_fact(tmp_path):
    chad = LIMA | {"entity": "Chad", "question": "What is the capital of Chad?", "true": "Ab{é}ch"}
    facts = read_jsonl(write(tmp_path, LIMA, "", chad))
    assert facts.name == "mine"
    assert facts["Peru/P36"] == Fact(
        fact_id="Peru/P36",
        entity="Peru",
        relation="P36",
        question="What is the capital of Peru?",
        true_objects=("Lima",),
        object_type="P36",
    )
    assert facts["Chad/P36"].true_objects == ("Ab{é}ch",)
    assert facts.entities["Peru"] == Entity(name="Peru", kind="thing")
    assert facts.relations == {
        "P36": Relation(
            relation="P36",
            name="P36",
            question="What is the capital of {entity}?",
            object_type="P36",
        )
    }
    assert facts.pools == {"P36": ("Lima", "Ab{é}ch")}
    assert (facts.aliases, facts.contexts, facts.false_objects) == ({}, {}, {})


def test_every_optional_key_and_record_is_kept(tmp_path):
    facts = read_jsonl(
        write(
            tmp_path,
            LIMA
            | {
                "fact_id": "one",
                "kind": "country",
                "type": "city",
                "aliases": {"Lima": ["City of Kings"]},
                "false": "Quito",
            },
            {"record": "set", "name": "andes"},
            {"record": "entity", "entity": "Ecuador", "kind": "country", "aliases": ["Equator"]},
            {"record": "pool", "type": "city", "objects": ["Cusco", "Lima"]},
            {"record": "alias", "object": "Cusco", "aliases": "Cuzco"},
            {
                "record": "relation",
                "relation": "P36",
                "name": "capital",
                "question": "Capital of {entity}?",
                "statements": ["The capital of {entity} is {object}."],
                "rephrasings": ["Which city is the capital of {entity}?", "{entity}'s capital?"],
                "reverse": "Which country has the capital {object}?",
            },
            {
                "record": "example",
                "relation": "P36",
                "entity": "Chad",
                "question": "What is the capital of Chad?",
                "answer": "N'Djamena",
            },
        )
    )
    assert facts == FactSet(
        name="andes",
        facts=(
            Fact(
                fact_id="one",
                entity="Peru",
                relation="P36",
                question="What is the capital of Peru?",
                true_objects=("Lima",),
                object_type="city",
            ),
        ),
        entities={
            "Ecuador": Entity(name="Ecuador", kind="country", aliases=("Equator",)),
            "Peru": Entity(name="Peru", kind="country"),
        },
        relations={
            "P36": Relation(
                relation="P36",
                name="capital",
                question="Capital of {entity}?",
                object_type="city",
                statements=("The capital of {entity} is {object}.",),
                rephrasings=("Which city is the capital of {entity}?", "{entity}'s capital?"),
                reverse="Which country has the capital {object}?",
            )
        },
        pools={"city": ("Cusco", "Lima", "Quito")},
        aliases={"Cusco": ("Cuzco",), "Lima": ("City of Kings",)},
        contexts={
            "P36": (
                Example(entity="Chad", question="What is the capital of Chad?", answer="N'Djamena"),
            )
        },
        false_objects={"one": "Quito"},
    )


def test_order_of_records_is_free(tmp_path):
    rows = [json.loads(line) for line in to_jsonl(load_facts("bios")).splitlines()]
    facts = read_jsonl(write(tmp_path, *reversed(rows)))
    # Same content; order within the set follows the file.
    assert set(facts) == set(load_facts("bios"))
    assert facts.relations == load_facts("bios").relations
    assert facts.entities == load_facts("bios").entities
    assert {key: set(pool) for key, pool in facts.pools.items()} == {
        key: set(pool) for key, pool in load_facts("bios").pools.items()
    }


@pytest.mark.parametrize("name", ["atlas", "bios"])
def test_built_in_sets_come_back_equal_and_with_the_same_bytes(tmp_path, name):
    facts = load_facts(name)
    path = tmp_path / "facts.jsonl"
    write_jsonl(facts, path)
    again = read_jsonl(path)
    assert again == facts
    assert to_jsonl(again) == path.read_text(encoding="utf-8") == to_jsonl(facts)
    assert list(tmp_path.iterdir()) == [path]


LINES = st.text(min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and len(text.splitlines()) == 1 and text.isprintable()
)


@given(entity=LINES, objects=st.lists(LINES, min_size=1, max_size=3, unique=True), before=LINES)
def test_any_text_survives(tmp_path_factory, entity, objects, before):
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    question = f"{before} ({entity})?"
    path.write_text(
        json.dumps({"entity": entity, "relation": "R", "question": question, "true": objects})
    )
    facts = read_jsonl(path)
    (only,) = facts
    assert (only.entity, only.question, only.true_objects) == (entity, question, tuple(objects))
    if not contains_word(before, entity):
        assert facts.relations["R"].question.format(entity=entity) == question
    write_jsonl(facts, path)
    assert read_jsonl(path) == facts


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "facts.jsonl"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="is full"):
        write_jsonl(load_facts("bios"), path)
    assert [file.name for file in tmp_path.iterdir()] == ["facts.jsonl"]
    assert path.read_text() == "old"


# ---- JSONL: what is said


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (['{"entity": "Peru",'], ["1: not JSON: Expecting property name enclosed in double"]),
        ([LIMA, "", "[1]"], ["3: a record is a JSON object, found [1]"]),
        ([LIMA | {"record": "fcat"}], ["1: unknown record \"fcat\"; did you mean 'fact'?"]),
        ([LIMA | {"typ": "city"}], ["1: unknown key 'typ'; did you mean 'type'?"]),
        ([LIMA | {"zzz": 1}], ["1: unknown key 'zzz'; allowed: aliases, entity, fact_id, false"]),
        (
            [{"entity": "Peru", "relatoin": "P36", "question": "Peru?", "true": ["x"]}],
            [
                "1: the key 'relation' is missing",
                "1: unknown key 'relatoin'; did you mean 'relation'?",
            ],
        ),
        ([LIMA | {"true": []}], ["1: 'true' is empty: a fact needs at least one right answer"]),
        ([LIMA | {"true": [""]}], ["1: 'true' must be a list of texts; none empty; found [\"\"]"]),
        ([LIMA | {"true": [7]}], ["1: 'true' must be a list of texts; none empty; found [7]"]),
        ([LIMA | {"true": ["a\nb"]}], ["1: 'true' must be a list of texts"]),
        ([LIMA | {"entity": " Peru"}], ["1: 'entity' must be a text of one line, without spaces"]),
        ([LIMA | {"kind": None}], ["1: 'kind' must be a text of one line"]),
        ([LIMA | {"aliases": ["x"]}], ["1: 'aliases' must be an object of lists of texts"]),
        ([LIMA | {"aliases": {"Lima": "x"}}], ["1: 'aliases' must be an object of lists of"]),
        ([LIMA, LIMA], ["2: fact 'Peru/P36' stands on line 1 already; give one another"]),
        (
            [LIMA | {"question": "What is the capital of Peruvia?"}],
            ["1: the question does not name its entity 'Peru': 'What is the capital of Peruvia?'"],
        ),
        ([LIMA | {"false": "lima"}], ["1: the false object 'lima' is one of the right answers"]),
        (
            [LIMA | {"aliases": {"Lima": ["City of Kings"]}, "false": "City of kings"}],
            ["1: the false object 'City of kings' is one of the right answers"],
        ),
        (
            [LIMA | {"type": "city"}, LIMA | {"fact_id": "b", "type": "town"}],
            ["2: objects of 'P36' are 'town' here, 'city' on line 1"],
        ),
        (
            [LIMA | {"kind": "country"}, {"record": "entity", "entity": "Peru", "kind": "city"}],
            ["1: 'Peru' is a 'country' here and a 'city' on line 2"],
        ),
        (
            [LIMA, {"record": "relation", "relation": "P36", "question": "Capital?"}],
            ["2: 'question' needs {entity}, once, and no other braces: 'Capital?'"],
        ),
        (
            [
                LIMA,
                {
                    "record": "relation",
                    "relation": "P36",
                    "question": "{entity}?",
                    "statements": ["{object} is the capital of {entity}."],
                },
            ],
            ["2: 'statements' needs {entity} before {object}, once, and no other braces"],
        ),
        (
            [LIMA, {"record": "relation", "relation": "P36", "question": "{entity}?",
                    "rephrasings": ["Capital of {entity}?", "Which is the capital?"]}],
            ["2: 'rephrasings' needs {entity}, once, and no other braces: 'Which is the capital?'"],
        ),
        (
            [LIMA, {"record": "relation", "relation": "P36", "question": "{entity}?",
                    "reverse": "Whose capital is {entity}?"}],
            ["2: 'reverse' needs {object}, once, and no other braces: 'Whose capital is {entity}"],
        ),
        (
            [LIMA, {"record": "relation", "relation": "P36", "question": "{entity}?",
                    "reverse": ["Whose capital is {object}?"]}],
            ["2: 'reverse' must be a text of one line"],
        ),
        (
            [LIMA, {"record": "example", "relation": "P63", "entity": "Chad",
                    "question": "Chad?", "answer": "x"}],
            ["2: no fact has this example's relation 'P63'; did you mean 'P36'?"],
        ),
        (
            ['{"entity": "Peru", "entity": "Chad"}'],
            ["1: the key 'entity' stands twice in one object"],
        ),
        ([""], ["1: the file holds no fact"]),
        (["[" * 100_000], ["1: not usable JSON: nested too deeply"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path, rows, expected):
    found = problems(tmp_path, *rows)
    assert len(found) == len(expected)
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_the_first_twenty_problems_are_listed_in_the_order_of_the_file(tmp_path):
    rows = [LIMA | {"fact_id": f"f{number}"} for number in range(60)]
    for number in range(0, 50, 2):
        rows[number] = rows[number] | {"true": []}
    rows[1] = rows[1] | {"question": "Who?"}
    found = problems(tmp_path, *rows)
    assert found[-1] == "… and 6 more"
    numbers = [int(line.split(":")[0]) for line in found[:-1]]
    assert numbers == [1, 2, *range(3, 39, 2)]


def test_text_that_is_not_utf8_is_located(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(LIMA).encode() + b"\n" + "Bogotá".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.jsonl:2: not UTF-8"):
        read_jsonl(path)


@pytest.mark.parametrize("name", ["absent.jsonl", "absent.json"])
def test_an_absent_file_is_named_with_its_folder(tmp_path, name):
    with pytest.raises(DataError) as caught:
        load_facts(tmp_path / name)
    assert str(caught.value) == f"there is no file {tmp_path / name}"


def test_a_folder_is_no_file(tmp_path):
    folder = tmp_path / "facts.jsonl"
    folder.mkdir()
    with pytest.raises(DataError, match="cannot read"):
        load_facts(folder)


# ---- RESTOR


def small() -> dict:
    return {
        "dset": {
            "José Martí": {"P27": {"question": "Whose José Martí?", "answers": ["Cuba"]}},
            "Bob Marley": {
                "P27": {"question": "Whose Bob Marley?", "answers": ["Jamaica", "Jamaica"]},
                "P9": {"question": "Who is Bob Marley's child?", "answers": ["Ziggy", "Cuba"]},
            },
        },
        "context": {
            "P27": [{"entity": "Cher", "question": "Whose Cher?", "answer": "United States"}]
        },
    }


def restor_problems(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_facts(path)
    return [line.strip().removeprefix(f"{path}:") for line in str(caught.value).split("\n")[1:]]


def test_restor_format(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps(small()))
    facts = read_restor(path)
    assert [fact.fact_id for fact in facts] == ["José Martí/P27", "Bob Marley/P27", "Bob Marley/P9"]
    assert facts["Bob Marley/P27"].true_objects == ("Jamaica",)
    assert facts.pools == {"P27": ("Cuba", "Jamaica"), "P9": ("Ziggy", "Cuba")}
    assert facts.relations["P27"] == Relation(
        relation="P27",
        name="country of citizenship",
        question="Whose {entity}?",
        object_type="P27",
        rephrasings=RESTOR_WORDINGS["P27"].rephrasings,
    )
    assert facts.relations["P9"].name == "P9"
    assert facts.relations["P9"].rephrasings == ()
    assert facts.relations["P9"].question == "Who is {entity}'s child?"
    assert {entity.kind for entity in facts.entities.values()} == {"person"}
    assert facts.contexts == {
        "P27": (Example(entity="Cher", question="Whose Cher?", answer="United States"),)
    }


def damaged(change) -> str:
    values = small()
    change(values)
    return json.dumps(values, indent=1, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "1: the whole: an object with 'dset' and 'context' is needed, found []"),
        ('{"dset": {}, "context": {}}', "1: dset: holds no fact"),
        ('{"dset": {"A": 3}, "context": {}}', "1: dset / A: an object of relations is needed"),
        ('{"dset": 3}', "1: dset: an object is needed, found 3"),
        ('{"dset": {\n"A": {},\n}', "3: not JSON: "),
        ('{"dset": {"A": {},\n"B": {"A": 1},\n"A": {}}}', "3: the key 'A' stands twice in one"),
        (damaged(lambda v: v["dset"]["Bob Marley"]["P9"].pop("answers")),
         "19: dset / Bob Marley / P9: the key 'answers' is missing"),
        (damaged(lambda v: v["dset"]["José Martí"]["P27"].update(answers=[])),
         "4: dset / José Martí / P27: 'answers' is empty"),
        (damaged(lambda v: v["dset"]["Bob Marley"]["P27"].update(question="Whose?")),
         "12: dset / Bob Marley / P27: the question does not name 'Bob Marley': 'Whose?'"),
        (damaged(lambda v: v["context"]["P27"][0].update(anwser="x")),
         "29: context / P27: example 1: unknown key 'anwser'; did you mean 'answer'?"),
        (damaged(lambda v: v["context"].update(P27=4)),
         "29: context / P27: a list of examples is needed, found 4"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_restors_format_is_located(tmp_path, text, expected):
    found = restor_problems(tmp_path / "facts.json", text)
    assert found[0].startswith(expected), found


@needs_restor
def test_official_facts_are_read_whole():
    """Checked against the file itself, read with nothing but json."""
    official = json.loads((RESTOR / "facts.json").read_text())
    facts = load_facts(RESTOR / "facts.json")
    assert len(facts) == 5269
    assert len(facts.entities) == 468
    assert {
        (fact.entity, fact.relation): (fact.question, list(fact.true_objects)) for fact in facts
    } == {
        (entity, relation): (entry["question"], list(dict.fromkeys(entry["answers"])))
        for entity, relations in official["dset"].items()
        for relation, entry in relations.items()
    }
    assert {
        relation: [vars(example) for example in examples]
        for relation, examples in facts.contexts.items()
    } == official["context"]
    for fact in facts:
        assert facts.relations[fact.relation].question.format(entity=fact.entity) == fact.question
        assert set(fact.true_objects) <= set(facts.pools[fact.object_type])
    assert all(relation.name != relation.relation for relation in facts.relations.values())


def test_restors_relations_are_asked_in_at_least_five_other_ways():
    assert set(RESTOR_WORDINGS) == set(RESTOR_RELATIONS)
    for relation, own in RESTOR_WORDINGS.items():
        assert len({text.casefold() for text in own.rephrasings}) >= 5, relation
        for wording in own.rephrasings:
            assert wording.endswith("?") and wording.count("{entity}") == 1
            assert not wording.startswith("{entity}")
        assert own.reverse is None or own.reverse.count("{object}") == 1


@needs_restor
def test_official_questions_are_none_of_our_wordings():
    for relation in load_facts(RESTOR / "facts.json").relations.values():
        assert len(relation.rephrasings) >= 5
        assert relation.question not in relation.rephrasings


@needs_restor
def test_official_entities_choose_the_published_facts(tmp_path):
    facts = load_facts(RESTOR / "facts.json", entities=RESTOR / "entities.json")
    assert (len(facts), len({fact.entity for fact in facts})) == (1051, 50)
    counts = Counter(fact.relation for fact in facts)
    assert len(counts) == 41
    assert (counts["P21"], counts["P166"], counts["P118"]) == (50, 41, 4)
    assert len(facts.entities) == 468
    path = tmp_path / "restor.jsonl"
    write_jsonl(facts, path)
    assert read_jsonl(path) == facts


# ---- small helpers


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("the capital of Niger?", "Niger", True),
        ("the capital of Nigeria?", "Niger", False),
        ("Dr. Dre's child?", "Dr. Dre", True),
        ("Drs. Dre", "Dr. Dre", False),
        ("Kakáo", "Kaká", False),
        ("(AC/DC)", "AC/DC", True),
    ],
)
def test_whole_words(text, name, expected):
    assert contains_word(text, name) is expected


def test_the_commonest_template_wins():
    asked = [("What of A?", "A"), ("Which {B} of B?", "B"), ("What of C?", "C")]
    assert template_of(asked) == "What of {entity}?"
    assert template_of([("Is {x} of B or B?", "B")]) == "Is {{x}} of {entity} or B?"
