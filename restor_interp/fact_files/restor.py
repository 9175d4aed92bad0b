"""RESTOR's official `facts.json` and `entities.json`, read as they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from restor_interp.data.wordings import worded
from restor_interp.errors import DataError
from restor_interp.fact_files.reading import (
    TEXT,
    TEXTS,
    UnreadableError,
    contains_word,
    is_line,
    line_of,
    line_of_value,
    nearest,
    parse,
    read_text,
    shown,
    template_of,
    value_problems,
)
from restor_interp.fact_files.restor_wordings import RESTOR_WORDINGS
from restor_interp.facts import Entity, Example, Fact, FactSet, Relation

_FACT = {"question": TEXT, "answers": TEXTS}
_EXAMPLE = {"entity": TEXT, "question": TEXT, "answer": TEXT}

RESTOR_RELATIONS: Mapping[str, str] = {
    "P19": "place of birth",
    "P20": "place of death",
    "P21": "sex or gender",
    "P22": "father",
    "P25": "mother",
    "P26": "spouse",
    "P27": "country of citizenship",
    "P39": "position held",
    "P40": "child",
    "P54": "member of sports team",
    "P69": "educated at",
    "P101": "field of work",
    "P102": "member of political party",
    "P103": "native language",
    "P106": "occupation",
    "P108": "employer",
    "P118": "league",
    "P119": "place of burial",
    "P136": "genre",
    "P140": "religion",
    "P166": "award received",
    "P264": "record label",
    "P410": "military rank",
    "P413": "position played on team",
    "P451": "unmarried partner",
    "P463": "member of",
    "P509": "cause of death",
    "P551": "residence",
    "P607": "conflict",
    "P641": "sport",
    "P734": "family name",
    "P735": "given name",
    "P800": "notable work",
    "P937": "work location",
    "P1196": "manner of death",
    "P1303": "instrument",
    "P1344": "participant in",
    "P1412": "languages spoken",
    "P1532": "country for sport",
    "P3373": "sibling",
    "P6886": "writing language",
}
"""Wikidata's properties in RESTOR's data; another property's name is its id."""


def read_restor(path: Path) -> FactSet:
    """RESTOR's `facts.json`: people, their facts, and ten few-shot examples per relation.

    `{"dset": {entity: {relation: {question, answers}}}, "context": {relation: [{entity, question,
    answer}]}}`. Every entity is a person; the objects of a relation are a type of their own.
    Raises `DataError`.
    """
    text, values = _read_json(path)
    problems = [
        f"{path}:{line_of(text, keys)}: {' / '.join(keys) or 'the whole'}: {problem}"
        for keys, problem in _problems(values)
    ]
    if problems:
        raise DataError.from_problems(f"{path} cannot be used", problems)
    facts = tuple(
        Fact(
            fact_id=f"{entity}/{relation}",
            entity=entity,
            relation=relation,
            question=entry["question"],
            true_objects=tuple(dict.fromkeys(entry["answers"])),
            object_type=relation,
        )
        for entity, relations in values["dset"].items()
        for relation, entry in relations.items()
    )
    asked: dict[str, list[tuple[str, str]]] = {}
    pools: dict[str, dict[str, None]] = {}
    for fact in facts:
        asked.setdefault(fact.relation, []).append((fact.question, fact.entity))
        pools.setdefault(fact.relation, {}).update(dict.fromkeys(fact.true_objects))
    return FactSet(
        name="restor",
        facts=facts,
        entities={name: Entity(name=name, kind="person") for name in values["dset"]},
        relations={
            relation: worded(
                Relation(
                    relation=relation,
                    name=RESTOR_RELATIONS.get(relation, relation),
                    question=template_of(questions),
                    object_type=relation,
                ),
                RESTOR_WORDINGS,
            )
            for relation, questions in asked.items()
        },
        pools={relation: tuple(objects) for relation, objects in pools.items()},
        contexts={
            relation: tuple(Example(**entry) for entry in entries)
            for relation, entries in values["context"].items()
        },
    )


def read_names(path: Path, facts: FactSet) -> tuple[str, ...]:
    """A JSON list of entities that have facts. Raises `DataError` for any that has none."""
    text, names = _read_json(path)
    if not isinstance(names, list) or not names or not all(map(is_line, names)):
        problem = f"{path}:1: a list of names is needed, found {shown(names)}"
        raise DataError.from_problems(f"{path} cannot be used", [problem])
    known = {fact.entity for fact in facts}
    problems = [
        f"{path}:{line_of_value(text, name)}: there is no fact about {name!r} in {facts.name!r}"
        f"{nearest(name, known)}"
        for name in names
        if name not in known
    ]
    if problems:
        raise DataError.from_problems(f"{path} does not fit the facts", problems)
    return tuple(dict.fromkeys(names))


def _read_json(path: Path) -> tuple[str, Any]:
    """A file's text, and what it holds."""
    text = read_text(path)
    try:
        return text, parse(text)
    except UnreadableError as error:
        problem = f"{path}:{error.line}: {error}"
        raise DataError.from_problems(f"{path} cannot be used", [problem]) from None


def _problems(values: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    """Path of keys, and what is wrong there."""
    if not isinstance(values, dict):
        yield (), f"an object with 'dset' and 'context' is needed, found {shown(values)}"
        return
    for key in ("dset", "context"):
        if not isinstance(values.get(key), dict):
            yield (key,), f"an object is needed, found {shown(values.get(key))}"
            return
    if not any(values["dset"].values()):
        yield ("dset",), "holds no fact"
    for entity, relations in values["dset"].items():
        if not isinstance(relations, dict):
            yield ("dset", entity), f"an object of relations is needed, found {shown(relations)}"
            continue
        for relation, entry in relations.items():
            for problem in _entry_problems(entry, _FACT, entity):
                yield ("dset", entity, relation), problem
    for relation, entries in values["context"].items():
        if not isinstance(entries, list):
            yield ("context", relation), f"a list of examples is needed, found {shown(entries)}"
            continue
        for number, entry in enumerate(entries, start=1):
            for problem in _entry_problems(entry, _EXAMPLE, None):
                yield ("context", relation), f"example {number}: {problem}"


def _entry_problems(entry: Any, wanted: Mapping[str, str], entity: str | None) -> list[str]:
    """What is wrong with a fact about `entity`, or with an example, which names its own."""
    if not isinstance(entry, dict):
        return [f"an object with {', '.join(wanted)} is needed, found {shown(entry)}"]
    problems = [
        f"unknown key {key!r}{nearest(key, wanted)}" for key in entry.keys() - wanted.keys()
    ]
    problems += [f"the key {key!r} is missing" for key in wanted.keys() - entry.keys()]
    for key in wanted.keys() & entry.keys():
        problems += value_problems(key, entry[key], wanted[key])
    if problems:
        return sorted(problems)
    if entry.get("answers") == []:
        return ["'answers' is empty: a fact needs at least one right answer"]
    name = entry["entity"] if entity is None else entity
    if not contains_word(entry["question"], name):
        return [f"the question does not name {name!r}: {entry['question']!r}"]
    return []
