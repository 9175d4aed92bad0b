"""The JSONL format for a user's own facts, read and written.

One record a line. A fact needs only four keys:

    {"entity": "Peru", "relation": "P36", "question": "What is the capital of Peru?",
     "true": ["Lima"]}

It may also have `fact_id` (default `entity/relation`), `kind` of the entity (default `thing`),
`type` of the objects (default: the relation; false, random and candidate objects are drawn from
objects of the same type), `aliases` ({"Lima": ["City of Kings"]}) and `false` (the object that
corruption plants; drawn where absent). Other records say so with `record`, and are optional:

    {"record": "set", "name": "my facts"}
    {"record": "entity", "entity": "Peru", "kind": "country", "aliases": ["Republic of Peru"]}
    {"record": "relation", "relation": "P36", "name": "capital", "type": "city",
     "question": "What is the capital of {entity}?",
     "statements": ["The capital of {entity} is {object}.", …],
     "rephrasings": ["Which city is the capital of {entity}?", …],
     "reverse": "Which country has the capital {object}?"}
    {"record": "pool", "type": "city", "objects": ["Lima", "Quito", …]}
    {"record": "alias", "object": "Lima", "aliases": ["City of Kings"]}
    {"record": "example", "relation": "P36", "entity": "Chad",
     "question": "What is the capital of Chad?", "answer": "N'Djamena"}

An entity record also introduces entities without facts, whose names may stand in for others; an
example record is a few-shot example to be used for its relation as it stands. Order is free.

Problems are collected, and reported together as `file:line: problem`.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restor_interp.disk import publish, storage_errors
from restor_interp.errors import DataError
from restor_interp.fact_files.reading import (
    ALIASES,
    TEXT,
    TEXTS,
    UnreadableError,
    contains_word,
    nearest,
    parse,
    read_text,
    shown,
    template_of,
    value_problems,
    without_escapes,
)
from restor_interp.facts import Entity, Example, Fact, FactSet, Relation

logger = logging.getLogger(__name__)

DEFAULT_KIND = "thing"

_KEYS: Mapping[str, Mapping[str, str]] = {
    "fact": {
        "entity": TEXT,
        "relation": TEXT,
        "question": TEXT,
        "true": TEXTS,
        "fact_id": TEXT,
        "kind": TEXT,
        "type": TEXT,
        "aliases": ALIASES,
        "false": TEXT,
    },
    "set": {"name": TEXT},
    "entity": {"entity": TEXT, "kind": TEXT, "aliases": TEXTS},
    "relation": {
        "relation": TEXT,
        "name": TEXT,
        "question": TEXT,
        "type": TEXT,
        "statements": TEXTS,
        "rephrasings": TEXTS,
        "reverse": TEXT,
    },
    "pool": {"type": TEXT, "objects": TEXTS},
    "alias": {"object": TEXT, "aliases": TEXTS},
    "example": {"relation": TEXT, "entity": TEXT, "question": TEXT, "answer": TEXT},
}
"""Record -> key -> what its value must be."""
_OPTIONAL = {
    "fact": {"fact_id", "kind", "type", "aliases", "false"},
    "entity": {"kind", "aliases"},
    "relation": {"name", "type", "statements", "rephrasings", "reverse"},
}


_Problem = tuple[int, str]
"""Line number, and what is wrong there."""
Record = dict[str, Any] | list[str]
"""A well-formed record by its keys, or what is wrong with it."""


@dataclass(frozen=True)
class _Line:
    """One well-formed record and where it stands."""

    number: int
    values: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def get(self, key: str, default: Any) -> Any:
        return self.values.get(key, default)

    @property
    def fact_id(self) -> str:
        return self.get("fact_id", f"{self['entity']}/{self['relation']}")

    def accepted(self) -> set[str]:
        """Right answers and the aliases given with them, case folded."""
        aliases = self.get("aliases", {})
        return {
            spelling.casefold()
            for name in self["true"]
            for spelling in (name, *aliases.get(name, ()))
        }


def read_jsonl(path: Path) -> FactSet:
    """The facts of a JSONL file; the format is described above. Raises `DataError`."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return facts_of_records(
        path, ((number, _parse_line(line)) for number, line in lines if line.strip())
    )


def facts_of_records(
    path: Path, found: Iterable[tuple[int, Record]], *, leave_out: bool = False
) -> FactSet:
    """A fact set out of well-formed records of a file, checked against each other.

    Args:
        path: the file that they stand in, for messages.
        found: line (or row) number and record, or what is wrong there.
        leave_out: leave wrong records out, with a warning that counts and lists them, instead of
            refusing the file.

    Raises `DataError` that lists the first problems as `file:line: problem`.
    """
    problems: list[_Problem] = []
    records: dict[str, list[_Line]] = {record: [] for record in _KEYS}
    for number, record in found:
        if isinstance(record, list):
            problems += [(number, problem) for problem in record]
        else:
            records[record.pop("record", "fact")].append(_Line(number, record))
    if not records["fact"] and not problems:
        problems.append((1, "the file holds no fact"))
    described = {line["relation"] for line in (*records["fact"], *records["relation"])}
    problems += _fact_problems(records["fact"])
    problems += _template_problems(records["relation"])
    problems += _kind_problems((*records["entity"], *records["fact"]))
    problems += _example_problems(records["example"], described)
    if not problems:
        return _fact_set(path.stem, records)
    wrong = {number for number, _ in problems}
    right = {
        record: [line for line in lines if line.number not in wrong]
        for record, lines in records.items()
    }
    usable = leave_out and bool(right["fact"])
    error = DataError.from_problems(
        f"{path}: left out {len(wrong)} of {len(wrong) + sum(map(len, right.values()))} rows"
        if usable
        else f"{path} cannot be used",
        [f"{path}:{number}: {problem}" for number, problem in sorted(problems)],
    )
    if not usable:
        raise error
    logger.warning("%s", error)
    return _fact_set(path.stem, right)


def to_jsonl(facts: FactSet) -> str:
    """A fact set as the text of a JSONL file, from which `read_jsonl` makes an equal set."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _records(facts))


def write_jsonl(facts: FactSet, path: Path) -> None:
    """Write a fact set; the file appears whole or not at all. Raises `StorageError`."""
    with storage_errors(path.parent):
        publish(path, to_jsonl(facts).encode())


def _records(facts: FactSet) -> Iterator[dict[str, Any]]:
    yield {"record": "set", "name": facts.name}
    for entity in facts.entities.values():
        yield {
            "record": "entity",
            "entity": entity.name,
            "kind": entity.kind,
            "aliases": list(entity.aliases),
        }
    for relation in facts.relations.values():
        yield {
            "record": "relation",
            "relation": relation.relation,
            "name": relation.name,
            "question": relation.question,
            "type": relation.object_type,
            "statements": list(relation.statements),
            "rephrasings": list(relation.rephrasings),
        } | ({} if relation.reverse is None else {"reverse": relation.reverse})
    for object_type, objects in facts.pools.items():
        yield {"record": "pool", "type": object_type, "objects": list(objects)}
    for name, aliases in facts.aliases.items():
        yield {"record": "alias", "object": name, "aliases": list(aliases)}
    for relation, examples in facts.contexts.items():
        for example in examples:
            yield {
                "record": "example",
                "relation": relation,
                "entity": example.entity,
                "question": example.question,
                "answer": example.answer,
            }
    for fact in facts:
        false = facts.false_objects.get(fact.fact_id)
        yield {
            "fact_id": fact.fact_id,
            "entity": fact.entity,
            "relation": fact.relation,
            "question": fact.question,
            "true": list(fact.true_objects),
            "type": fact.object_type,
        } | ({} if false is None else {"false": false})


def _parse_line(line: str) -> Record:
    """A record with its keys and types checked, or the problems with it."""
    try:
        values = parse(line)
    except UnreadableError as error:
        return [str(error)]
    if not isinstance(values, dict):
        return [f"a record is a JSON object, found {shown(values)}"]
    record = values.get("record", "fact")
    if not isinstance(record, str) or record not in _KEYS:
        return [f"unknown record {shown(record)}{nearest(record, _KEYS)}"]
    keys, problems = _KEYS[record], []
    for key in values.keys() - {"record"} - keys.keys():
        problems.append(f"unknown key {key!r}{nearest(key, keys)}")
    for key in keys.keys() - values.keys() - _OPTIONAL.get(record, set()):
        problems.append(f"the key {key!r} is missing")
    for key in keys.keys() & values.keys():
        if keys[key] == TEXTS and isinstance(values[key], str):
            values[key] = [values[key]]
        problems += value_problems(key, values[key], keys[key])
    if values.get("true") == []:
        problems.append("'true' is empty: a fact needs at least one right answer")
    return sorted(problems) or values


def _fact_problems(lines: Sequence[_Line]) -> Iterator[_Problem]:
    """What is wrong with facts that are well-formed one by one."""
    first_lines: dict[str, int] = {}
    types: dict[str, tuple[str, int]] = {}
    for line in lines:
        for problem in (
            _repeated_id(line, first_lines),
            _other_type(line, types),
            _question_without_entity(line),
            _false_is_right(line),
        ):
            if problem:
                yield line.number, problem


def _repeated_id(line: _Line, first_lines: dict[str, int]) -> str | None:
    first = first_lines.setdefault(line.fact_id, line.number)
    if first == line.number:
        return None
    return f"fact {line.fact_id!r} stands on line {first} already; give one another `fact_id`"


def _other_type(line: _Line, types: dict[str, tuple[str, int]]) -> str | None:
    if "type" not in line.values:
        return None
    other, where = types.setdefault(line["relation"], (line["type"], line.number))
    if other == line["type"]:
        return None
    return f"objects of {line['relation']!r} are {line['type']!r} here, {other!r} on line {where}"


def _question_without_entity(line: _Line) -> str | None:
    if contains_word(line["question"], line["entity"]):
        return None
    return f"the question does not name its entity {line['entity']!r}: {line['question']!r}"


def _false_is_right(line: _Line) -> str | None:
    if "false" not in line.values or line["false"].casefold() not in line.accepted():
        return None
    return f"the false object {line['false']!r} is one of the right answers"


def _template_problems(lines: Sequence[_Line]) -> Iterator[_Problem]:
    for line in lines:
        for key, templates, slots in (
            ("question", [line["question"]], ["{entity}"]),
            ("statements", line.get("statements", []), ["{entity}", "{object}"]),
            ("rephrasings", line.get("rephrasings", []), ["{entity}"]),
            ("reverse", [line["reverse"]] if "reverse" in line.values else [], ["{object}"]),
        ):
            for template in templates:
                if re.findall(r"\{.*?\}|[{}]", without_escapes(template)) != slots:
                    wanted = " before ".join(slots)
                    problem = f"{key!r} needs {wanted}, once, and no other braces: {template!r}"
                    yield line.number, problem


def _kind_problems(lines: Iterable[_Line]) -> Iterator[_Problem]:
    kinds: dict[str, tuple[str, int]] = {}
    for line in lines:
        if "kind" in line.values:
            entity, kind = line["entity"], line["kind"]
            other, where = kinds.setdefault(entity, (kind, line.number))
            if other != kind:
                yield line.number, f"{entity!r} is a {kind!r} here and a {other!r} on line {where}"


def _example_problems(lines: Sequence[_Line], relations: set[str]) -> Iterator[_Problem]:
    for line in lines:
        if line["relation"] not in relations:
            hint = nearest(line["relation"], relations)
            yield line.number, f"no fact has this example's relation {line['relation']!r}{hint}"


# ---- records -> FactSet


def _fact_set(name: str, records: Mapping[str, Sequence[_Line]]) -> FactSet:
    for line in records["set"]:
        name = line["name"]
    relations = _relations(records["relation"], records["fact"])
    facts = tuple(
        Fact(
            fact_id=line.fact_id,
            entity=line["entity"],
            relation=line["relation"],
            question=line["question"],
            true_objects=tuple(dict.fromkeys(line["true"])),
            object_type=line.get("type", relations[line["relation"]].object_type),
        )
        for line in records["fact"]
    )
    false_objects = {
        line.fact_id: line["false"] for line in records["fact"] if "false" in line.values
    }
    return FactSet(
        name=name,
        facts=facts,
        entities=_entities(records["entity"], records["fact"]),
        relations=relations,
        pools=_united(
            *((line["type"], line["objects"]) for line in records["pool"]),
            *((fact.object_type, fact.true_objects) for fact in facts),
            *((fact.object_type, [false_objects[fact.fact_id]]) for fact in facts
              if fact.fact_id in false_objects),
        ),
        aliases=_united(
            *((line["object"], line["aliases"]) for line in records["alias"]),
            *(pair for line in records["fact"] for pair in line.get("aliases", {}).items()),
        ),
        contexts=_united(
            *(
                (
                    line["relation"],
                    [
                        Example(
                            entity=line["entity"],
                            question=line["question"],
                            answer=line["answer"],
                        )
                    ],
                )
                for line in records["example"]
            )
        ),
        false_objects=false_objects,
    )  # fmt: skip


def _entities(own: Sequence[_Line], facts: Sequence[_Line]) -> dict[str, Entity]:
    """Every entity that a record names; its kind is the one that any of its records gives."""
    kinds = {line["entity"]: DEFAULT_KIND for line in (*own, *facts)}
    kinds |= {line["entity"]: line["kind"] for line in (*own, *facts) if "kind" in line.values}
    aliases = {line["entity"]: tuple(line.get("aliases", ())) for line in own}
    return {
        name: Entity(name=name, kind=kind, aliases=aliases.get(name, ()))
        for name, kind in kinds.items()
    }


def _relations(own: Sequence[_Line], facts: Sequence[_Line]) -> dict[str, Relation]:
    """The relations that are described, then those that only facts name."""
    types = {line["relation"]: line["type"] for line in facts if "type" in line.values}
    relations = {
        line["relation"]: Relation(
            relation=line["relation"],
            name=line.get("name", line["relation"]),
            question=line["question"],
            object_type=line.get("type", types.get(line["relation"], line["relation"])),
            statements=tuple(line.get("statements", ())),
            rephrasings=tuple(line.get("rephrasings", ())),
            reverse=line.get("reverse", None),
        )
        for line in own
    }
    asked: dict[str, list[tuple[str, str]]] = {}
    for line in facts:
        asked.setdefault(line["relation"], []).append((line["question"], line["entity"]))
    for key, questions in asked.items():
        if key not in relations:
            relations[key] = Relation(
                relation=key,
                name=key,
                question=template_of(questions),
                object_type=types.get(key, key),
            )
    return relations


def _united(*parts: tuple[str, Iterable[Any]]) -> dict[str, tuple[Any, ...]]:
    """Key -> everything that stands under it, in order and without repeats."""
    united: dict[str, dict[Any, None]] = {}
    for key, values in parts:
        united.setdefault(key, {}).update(dict.fromkeys(values))
    return {key: tuple(values) for key, values in united.items()}
