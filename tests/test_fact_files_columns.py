"""Tables that others made, mapped to facts: what is read, and what is said about bad rows.

Run: python -m pytest tests/test_fact_files_columns.py
"""

import csv
import json
import logging

import pandas as pd
import pytest

import restor_interp as ri
from restor_interp.errors import ConfigError, DataError
from restor_interp.fact_files import read_jsonl

ROWS = [
    {"who": "Peru", "what": "capital", "asked": "What is the capital of Peru?", "right": "Lima"},
    {"who": "Chad", "what": "capital", "asked": "Of Chad, the capital?", "right": "N'Djamena"},
    {"who": "Oman", "what": "motto", "asked": 'What, in "short", is Oman?', "right": "a, b"},
]  # fmt: skip
COLUMNS = {"entity": "who", "relation": "what", "question": "asked", "true": "right"}


def write(folder, suffix, rows):
    """The same rows in every format."""
    path = folder / f"mine{suffix}"
    if suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t"
            )
            writer.writeheader()
            writer.writerows(rows)
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows, indent=1))
    return path


@pytest.fixture
def wanted(tmp_path):
    """The same facts by the reader of the JSONL format."""
    names = {column: key for key, column in COLUMNS.items()}
    path = tmp_path / "wanted" / "mine.jsonl"
    path.parent.mkdir()
    lines = [json.dumps({names[column]: text for column, text in row.items()}) for row in ROWS]
    path.write_text("\n".join(lines))
    return read_jsonl(path)


def problems(path, columns=COLUMNS):
    with pytest.raises(DataError) as caught:
        ri.load_columns(path, columns)
    return [line.strip().removeprefix(f"{path}:") for line in str(caught.value).split("\n")]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_facts_of_the_same_jsonl(tmp_path, wanted, suffix):
    assert ri.load_columns(write(tmp_path, suffix, ROWS), COLUMNS) == wanted


def test_json_lines_may_be_called_json(tmp_path, wanted):
    write(tmp_path, ".jsonl", ROWS).rename(tmp_path / "mine.json")
    assert ri.load_columns(tmp_path / "mine.json", COLUMNS) == wanted


def test_everything_that_a_fact_may_have(tmp_path):
    row = ROWS[0] | {
        "others": '["Lima", "City of Kings", "Ciudad de los Reyes"]',
        "planted": " Oslo ",
        "number": 7,
    }
    columns = COLUMNS | {
        "aliases": "others",
        "false": "planted",
        "fact_id": "number",
        "kind": lambda row: "country",
        "type": lambda row: row["what"].upper(),
    }
    facts = ri.load_columns(write(tmp_path, ".json", [row]), columns)
    (fact,) = facts
    assert (fact.fact_id, fact.object_type) == ("7", "CAPITAL")
    assert facts.accepted(fact) == ("Lima", "City of Kings", "Ciudad de los Reyes")
    assert facts.false_objects == {"7": "Oslo"}
    assert facts.entities["Peru"].kind == "country"
    assert facts.pools == {"CAPITAL": ("Lima", "Oslo")}


def test_several_right_answers_and_nested_columns(tmp_path):
    rows = [
        {"a.b": "Peru", "edit": {"to": {"str": ["Lima", "Cusco"]}, "relation": "P36"}},
        {"a.b": "Chad", "edit": {"to": {"str": "[x] y"}, "relation": "P36"}},
    ]
    columns = {
        "entity": "a.b",
        "relation": "edit.relation",
        "true": "edit.to.str",
        "question": lambda row: "The capital of {} is".format(row["a.b"]),
        "aliases": lambda row: None,
    }
    for suffix in (".json", ".parquet"):
        if suffix == ".parquet":  # one type per column there
            rows[1]["edit"]["to"]["str"] = ["[x] y"]
        facts = ri.load_columns(write(tmp_path, suffix, rows), columns)
        assert [fact.true_objects for fact in facts] == [("Lima", "Cusco"), ("[x] y",)]
        assert facts.relations["P36"].question == "The capital of {entity} is"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_problems_name_their_line(tmp_path, suffix):
    rows = [
        ROWS[0],
        ROWS[1] | {"right": " "},
        ROWS[2] | {"asked": "What is it?"},
        ROWS[0] | {"right": "two\nlines"},
        ROWS[0] | {"right": "Lima, again"},
    ]
    path = write(tmp_path, suffix, rows)
    # Where each row begins, found in the file itself; rows of Parquet are numbered.
    lines = path.read_bytes().decode(errors="ignore").split("\n") if suffix != ".parquet" else []
    begins = [
        number
        for number, line in enumerate(lines, start=1)
        if (suffix != ".json" and line.startswith(('{"who"', "Peru", "Chad", "Oman")))
        or (suffix == ".json" and line.strip() == "{")
    ] or [1, 2, 3, 4, 5]
    assert len(begins) == 5
    heading, *told = problems(path)
    assert heading == f"{path} cannot be used: 4 problems"
    assert told == [
        f"{begins[1]}: 'true' (column 'right') is empty",
        f"{begins[2]}: the question does not name its entity 'Oman': 'What is it?'",
        f"{begins[3]}: 'true' (column 'right'): a text of one line is needed, found "
        '"two\\nlines"',
        f"{begins[4]}: fact 'Peru/capital' stands on line {begins[0]} already; give one another "
        "`fact_id`",
    ]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("rihgt", "1: 'true' (column 'rihgt'): there is no 'rihgt'; did you mean 'right'?"),
        ("right.str", "1: 'true' (column 'right.str'): there is no 'str'"),
        (lambda row: row["x"], "1: 'true' (a function of the row): KeyError: 'x'"),
        (lambda row: next(iter(())), "1: 'true' (a function of the row): StopIteration"),
        (lambda row: 1.5, "1: 'true' (a function of the row): a text of one line is needed"),
        (lambda row: True, "1: 'true' (a function of the row): a text of one line is needed"),
    ],
)
def test_what_a_column_cannot_give(tmp_path, column, message):
    path = write(tmp_path, ".jsonl", ROWS[:1])
    assert problems(path, COLUMNS | {"true": column})[1].startswith(message)


def test_a_false_object_that_is_right_is_refused(tmp_path):
    path = write(tmp_path, ".jsonl", [ROWS[0] | {"also": "LIMA"}])
    assert problems(path, COLUMNS | {"false": "also"})[1] == (
        "1: the false object 'LIMA' is one of the right answers"
    )


def test_rows_may_be_left_out_and_are_told(tmp_path, caplog):
    rows = [ROWS[0], ROWS[1] | {"right": ""}, ROWS[2], ROWS[0]]
    path = write(tmp_path, ".csv", rows)
    with caplog.at_level(logging.WARNING):
        facts = ri.load_columns(path, COLUMNS, leave_out=True)
    assert [fact.entity for fact in facts] == ["Peru", "Oman"]
    assert f"{path}: left out 2 of 4 rows: 2 problems" in caplog.text
    assert f"{path}:3: 'true' (column 'right') is empty" in caplog.text


def test_rows_on_one_line_are_numbered_and_told_apart(tmp_path, caplog):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([ROWS[0], ROWS[1] | {"right": ""}, ROWS[2], ROWS[0]]))
    assert [problem.partition(":")[0] for problem in problems(path)[1:]] == ["2", "4"]
    with caplog.at_level(logging.WARNING):
        facts = ri.load_columns(path, COLUMNS, leave_out=True)
    assert [fact.entity for fact in facts] == ["Peru", "Oman"]
    assert "left out 2 of 4 rows" in caplog.text


def test_where_nothing_is_left_nothing_is_left_out(tmp_path):
    path = write(tmp_path, ".csv", [ROWS[0] | {"right": ""}])
    with pytest.raises(DataError, match="cannot be used: 1 problem"):
        ri.load_columns(path, COLUMNS, leave_out=True)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "who,who\nx,y\n", "{path}:1: columns that stand twice: who"),
        ("a.csv", 'who,what\n"x,y\n', "{path}:2: unexpected end of data"),
        ("a.csv", "", "{path}:1: the file holds no fact"),
        ("a.csv", "who,what\n\nx,y,z\n", "{path}:3: 3 cells under a header of 2"),
        ("a.json", '[\n{"who": 1},\n{"who": }]', "{path}:3: not JSON: Expecting value"),
        ("a.json", '[\n{"a": 1,\n"a": 2}]', "{path}:3: the key 'a' stands twice in one object"),
        ("a.json", '[\n{"who": "x"},\n\n7]', "{path}:4: a row is a JSON object, found 7"),
        ("a.jsonl", '\n{"a": 1', "{path}:2: not JSON"),
        ("a.txt", "who", "{path} is no table that can be read"),
        ("a.parquet", "who", "{path} cannot be read as Parquet"),
    ],
)
def test_files_that_are_not_what_they_are_called(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        ri.load_columns(path, COLUMNS)
    assert message.format(path=path) in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "absent.parquet"])
def test_an_absent_file_is_named_with_its_folder(tmp_path, name):
    with pytest.raises(DataError, match=f"there is no file {tmp_path / name}"):
        ri.load_columns(tmp_path / name, COLUMNS)


def test_keys_are_checked_before_the_file(tmp_path):
    with pytest.raises(ConfigError, match="a fact has no 'object'; allowed: aliases, entity"):
        ri.load_columns(tmp_path / "absent.csv", {"object": "right"})
    with pytest.raises(
        ConfigError, match=r"no column is mapped to relation, question, true.*: entity"
    ):
        ri.load_columns(tmp_path / "absent.csv", {"entity": "who"})
