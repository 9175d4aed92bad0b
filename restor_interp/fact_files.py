"""Facts in files: the JSONL format for a user's own facts, and RESTOR's official JSON.

JSONL has one record a line. A fact needs only four keys:

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
     "statements": ["The capital of {entity} is {object}.", …]}
    {"record": "pool", "type": "city", "objects": ["Lima", "Quito", …]}
    {"record": "alias", "object": "Lima", "aliases": ["City of Kings"]}
    {"record": "example", "relation": "P36", "entity": "Chad",
     "question": "What is the capital of Chad?", "answer": "N'Djamena"}

An entity record also introduces entities without facts, whose names may stand in for others; an
example record is a few-shot example to be used for its relation as it stands. Order is free.

Problems are collected, and reported together as `file:line: problem`.
"""

import difflib
import json
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restor_interp.errors import DataError, StorageError
from restor_interp.facts import Entity, Example, Fact, FactSet, Relation

DEFAULT_KIND = "thing"

_TEXT = "a text of one line, without spaces around it"
_TEXTS = "a list of texts"
_ALIASES = "an object of lists of texts"
_KEYS: Mapping[str, Mapping[str, str]] = {
    "fact": {
        "entity": _TEXT,
        "relation": _TEXT,
        "question": _TEXT,
        "true": _TEXTS,
        "fact_id": _TEXT,
        "kind": _TEXT,
        "type": _TEXT,
        "aliases": _ALIASES,
        "false": _TEXT,
    },
    "set": {"name": _TEXT},
    "entity": {"entity": _TEXT, "kind": _TEXT, "aliases": _TEXTS},
    "relation": {
        "relation": _TEXT,
        "name": _TEXT,
        "question": _TEXT,
        "type": _TEXT,
        "statements": _TEXTS,
    },
    "pool": {"type": _TEXT, "objects": _TEXTS},
    "alias": {"object": _TEXT, "aliases": _TEXTS},
    "example": {"relation": _TEXT, "entity": _TEXT, "question": _TEXT, "answer": _TEXT},
}
"""Record -> key -> what its value must be."""
_OPTIONAL = {
    "fact": {"fact_id", "kind", "type", "aliases", "false"},
    "entity": {"kind", "aliases"},
    "relation": {"name", "type", "statements"},
}


# ---- JSONL


@dataclass(frozen=True)
class _Line:
    """One well-formed record and where it stands."""

    number: int
    values: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)


def read_jsonl(path: Path) -> FactSet:
    """The facts of a JSONL file; the format is described above. Raises `DataError`."""
    problems: list[tuple[int, str]] = []
    records: dict[str, list[_Line]] = {record: [] for record in _KEYS}
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if line.strip():
            found = _parse_line(line)
            if isinstance(found, list):
                problems += [(number, problem) for problem in found]
            else:
                records[found.pop("record", "fact")].append(_Line(number, found))
    if not records["fact"] and not problems:
        problems.append((1, "the file holds no fact"))
    problems += _fact_problems(records["fact"]) + _template_problems(records["relation"])
    problems += _kind_problems(records) + _example_problems(records)
    if problems:
        raise DataError.from_problems(
            f"{path} cannot be used",
            [f"{path}:{number}: {problem}" for number, problem in sorted(problems)],
        )
    return _assemble(path, records)


def to_jsonl(facts: FactSet) -> str:
    """A fact set as the text of a JSONL file, from which `read_jsonl` makes an equal set."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _records(facts))


def write_jsonl(facts: FactSet, path: Path) -> None:
    """Write a fact set; the file appears whole or not at all. Raises `StorageError`."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".facts-", delete=False
        ) as stream:
            stream.write(to_jsonl(facts))
            stream.flush()
            os.fsync(stream.fileno())
        Path(stream.name).replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


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
        }
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


def _parse_line(line: str) -> dict[str, Any] | list[str]:
    """A record with its keys and types checked, or the problems with it."""
    try:
        values = _parse(line)
    except ValueError as error:
        return [str(error)]
    if not isinstance(values, dict):
        return [f"a record is a JSON object, found {_shown(values)}"]
    record = values.get("record", "fact")
    if not isinstance(record, str) or record not in _KEYS:
        return [f"unknown record {_shown(record)}{_nearest(record, _KEYS)}"]
    keys, problems = _KEYS[record], []
    for key in values.keys() - {"record"} - keys.keys():
        problems.append(f"unknown key {key!r}{_nearest(key, keys)}")
    for key in keys.keys() - values.keys() - _OPTIONAL.get(record, set()):
        problems.append(f"the key {key!r} is missing")
    for key in keys.keys() & values.keys():
        if keys[key] == _TEXTS and isinstance(values[key], str):
            values[key] = [values[key]]
        problems += _value_problems(key, values[key], keys[key])
    if values.get("true") == []:
        problems.append("'true' is empty: a fact needs at least one right answer")
    return sorted(problems) or values


def _value_problems(key: str, value: Any, wanted: str) -> list[str]:
    if wanted == _TEXT:
        texts = [value]
    elif wanted == _TEXTS:
        texts = value if isinstance(value, list) else [None]
    else:
        lists = list(value.values()) if isinstance(value, dict) else [None]
        texts = [text for part in lists for text in (part if isinstance(part, list) else [None])]
        texts += list(value) if isinstance(value, dict) else []
    if all(_is_line(text) for text in texts):
        return []
    return [f"{key!r} must be {wanted}; none empty; found {_shown(value)}"]


def _is_line(text: Any) -> bool:
    return isinstance(text, str) and text == text.strip() and len(text.splitlines()) == 1


def _fact_problems(lines: list[_Line]) -> list[tuple[int, str]]:
    """What is wrong with facts that are well-formed one by one."""
    problems, first = [], dict[str, int]()
    types: dict[str, tuple[str, int]] = {}
    for line in lines:
        fact_id = _fact_id(line)
        if fact_id in first:
            problems.append(
                (line.number, f"fact {fact_id!r} stands on line {first[fact_id]} already; give one "
                 "of them another `fact_id`")
            )  # fmt: skip
        first.setdefault(fact_id, line.number)
        if not contains_word(line["question"], line["entity"]):
            problems.append(
                (line.number, f"the question does not name its entity {line['entity']!r}: "
                 f"{line['question']!r}")
            )  # fmt: skip
        if "type" in line.values:
            known, where = types.setdefault(line["relation"], (line["type"], line.number))
            if known != line["type"]:
                problems.append(
                    (line.number, f"objects of relation {line['relation']!r} are of type "
                     f"{line['type']!r} here and {known!r} on line {where}")
                )  # fmt: skip
        right = [
            spelling
            for name in line["true"]
            for spelling in (name, *line.get("aliases", {}).get(name, ()))
        ]
        if "false" in line.values and line["false"].casefold() in map(str.casefold, right):
            problems.append(
                (line.number, f"the false object {line['false']!r} is one of the right answers")
            )
    return problems


def _template_problems(lines: list[_Line]) -> list[tuple[int, str]]:
    problems = []
    for line in lines:
        for key, templates, slots in (
            ("question", [line["question"]], ("{entity}",)),
            ("statements", line.get("statements", []), ("{entity}", "{object}")),
        ):
            for template in templates:
                if re.findall(r"\{.*?\}|[{}]", _unescaped(template)) != list(slots):
                    problems.append(
                        (line.number, f"{key!r} needs {' before '.join(slots)}, each once and "
                         f"nothing else in braces; found {template!r}")
                    )  # fmt: skip
    return problems


def _kind_problems(records: Mapping[str, list[_Line]]) -> list[tuple[int, str]]:
    problems, seen = [], dict[str, tuple[str, int]]()
    for line in (*records["entity"], *records["fact"]):
        if "kind" in line.values:
            kind, where = seen.setdefault(line["entity"], (line["kind"], line.number))
            if kind != line["kind"]:
                problems.append(
                    (line.number, f"{line['entity']!r} is a {line['kind']!r} here and a {kind!r} "
                     f"on line {where}")
                )  # fmt: skip
    return problems


def _example_problems(records: Mapping[str, list[_Line]]) -> list[tuple[int, str]]:
    relations = {line["relation"] for line in (*records["fact"], *records["relation"])}
    return [
        (line.number, f"an example for relation {line['relation']!r}, of which there is no fact"
         f"{_nearest(line['relation'], relations)}")
        for line in records["example"]
        if line["relation"] not in relations
    ]  # fmt: skip


def _assemble(path: Path, records: Mapping[str, list[_Line]]) -> FactSet:
    facts, name = records["fact"], path.stem
    for line in records["set"]:
        name = line["name"]
    kinds: dict[str, str] = {}
    names: dict[str, tuple[str, ...]] = {}
    for line in (*records["entity"], *facts):
        kinds[line["entity"]] = line.get("kind") or kinds.get(line["entity"], DEFAULT_KIND)
    for line in records["entity"]:
        names[line["entity"]] = tuple(line.get("aliases", ()))

    relations: dict[str, Relation] = {}
    types = {line["relation"]: line["type"] for line in facts if "type" in line.values}
    for line in records["relation"]:
        key = line["relation"]
        relations[key] = Relation(
            relation=key,
            name=line.get("name", key),
            question=line["question"],
            object_type=line.get("type", types.get(key, key)),
            statements=tuple(line.get("statements", ())),
        )
    for line in facts:
        key = line["relation"]
        if key not in relations:
            asked = [(other["question"], other["entity"]) for other in facts
                     if other["relation"] == key]  # fmt: skip
            relations[key] = Relation(
                relation=key, name=key, question=_template(asked), object_type=types.get(key, key)
            )

    pools: dict[str, dict[str, None]] = {}
    aliases: dict[str, dict[str, None]] = {}
    for line in records["pool"]:
        pools.setdefault(line["type"], {}).update(dict.fromkeys(line["objects"]))
    for line in records["alias"]:
        aliases.setdefault(line["object"], {}).update(dict.fromkeys(line["aliases"]))
    made = []
    false_objects = {}
    for line in facts:
        object_type = line.get("type", relations[line["relation"]].object_type)
        made.append(
            Fact(
                fact_id=_fact_id(line),
                entity=line["entity"],
                relation=line["relation"],
                question=line["question"],
                true_objects=tuple(dict.fromkeys(line["true"])),
                object_type=object_type,
            )
        )
        objects = list(line["true"])
        if "false" in line.values:
            objects.append(line["false"])
            false_objects[_fact_id(line)] = line["false"]
        pools.setdefault(object_type, {}).update(dict.fromkeys(objects))
        for name_, spellings in line.get("aliases", {}).items():
            aliases.setdefault(name_, {}).update(dict.fromkeys(spellings))

    contexts: dict[str, list[Example]] = {}
    for line in records["example"]:
        contexts.setdefault(line["relation"], []).append(
            Example(entity=line["entity"], question=line["question"], answer=line["answer"])
        )
    return FactSet(
        name=name,
        facts=tuple(made),
        entities={
            key: Entity(name=key, kind=kind, aliases=names.get(key, ()))
            for key, kind in kinds.items()
        },
        relations=relations,
        pools={key: tuple(objects) for key, objects in pools.items()},
        aliases={key: tuple(spellings) for key, spellings in aliases.items()},
        contexts={key: tuple(examples) for key, examples in contexts.items()},
        false_objects=false_objects,
    )


def _fact_id(line: _Line) -> str:
    return line.get("fact_id") or f"{line['entity']}/{line['relation']}"


# ---- RESTOR


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
    text = _read_text(path)
    try:
        values = _parse(text)
    except ValueError as error:
        raise DataError.from_problems(f"{path} cannot be used", [f"{path}:{error}"]) from None
    problems: list[str] = []

    def complain(keys: tuple[str, ...], problem: str) -> None:
        problems.append(f"{path}:{_line_of(text, keys)}: {' / '.join(keys)}: {problem}")

    for key in ("dset", "context"):
        if not isinstance(values, dict) or not isinstance(values.get(key), dict):
            raise DataError.from_problems(
                f"{path} cannot be used",
                [f"{path}:1: an object with 'dset' and 'context' is needed, each an object; "
                 f"found {_shown(values)}"],
            )  # fmt: skip
    facts: list[Fact] = []
    asked: dict[str, list[tuple[str, str]]] = {}
    pools: dict[str, dict[str, None]] = {}
    for entity, relations in values["dset"].items():
        if not isinstance(relations, dict):
            complain(("dset", entity), f"must be an object of relations, found {_shown(relations)}")
            continue
        for relation, entry in relations.items():
            found = _restor_problems(entity, entry, {"question": _TEXT, "answers": _TEXTS})
            for problem in found:
                complain(("dset", entity, relation), problem)
            if found:
                continue
            asked.setdefault(relation, []).append((entry["question"], entity))
            pools.setdefault(relation, {}).update(dict.fromkeys(entry["answers"]))
            facts.append(
                Fact(
                    fact_id=f"{entity}/{relation}",
                    entity=entity,
                    relation=relation,
                    question=entry["question"],
                    true_objects=tuple(dict.fromkeys(entry["answers"])),
                    object_type=relation,
                )
            )
    contexts: dict[str, tuple[Example, ...]] = {}
    for relation, entries in values["context"].items():
        keys = ("context", relation)
        if not isinstance(entries, list):
            complain(keys, f"must be a list of examples, found {_shown(entries)}")
            continue
        wanted = {"entity": _TEXT, "question": _TEXT, "answer": _TEXT}
        found = [
            f"example {number}: {problem}"
            for number, entry in enumerate(entries, start=1)
            for problem in _restor_problems(None, entry, wanted)
        ]
        for problem in found:
            complain(keys, problem)
        if not found:
            contexts[relation] = tuple(Example(**entry) for entry in entries)
    if not facts and not problems:
        complain(("dset",), "holds no fact")
    if problems:
        raise DataError.from_problems(f"{path} cannot be used", problems)
    return FactSet(
        name="restor",
        facts=tuple(facts),
        entities={name: Entity(name=name, kind="person") for name in values["dset"]},
        relations={
            relation: Relation(
                relation=relation,
                name=RESTOR_RELATIONS.get(relation, relation),
                question=_template(questions),
                object_type=relation,
            )
            for relation, questions in asked.items()
        },
        pools={relation: tuple(objects) for relation, objects in pools.items()},
        contexts=contexts,
    )


def read_names(path: Path, facts: FactSet) -> tuple[str, ...]:
    """A JSON list of entities that have facts. Raises `DataError` for any that has none."""
    text = _read_text(path)
    try:
        names = _parse(text)
    except ValueError as error:
        raise DataError.from_problems(f"{path} cannot be used", [f"{path}:{error}"]) from None
    if not isinstance(names, list) or not names or not all(map(_is_line, names)):
        raise DataError.from_problems(
            f"{path} cannot be used",
            [f"{path}:1: a list of names is needed, found {_shown(names)}"],
        )
    known = {fact.entity for fact in facts}
    problems = [
        f"{path}:{_line_of_value(text, name)}: there is no fact about {name!r} in "
        f"{facts.name}{_nearest(name, known)}"
        for name in names
        if name not in known
    ]
    if problems:
        raise DataError.from_problems(f"{path} does not fit the facts", problems)
    return tuple(dict.fromkeys(names))


def _restor_problems(entity: str | None, entry: Any, wanted: Mapping[str, str]) -> list[str]:
    if not isinstance(entry, dict):
        return [f"must be an object with {', '.join(wanted)}; found {_shown(entry)}"]
    problems = [
        f"unknown key {key!r}{_nearest(key, wanted)}" for key in entry if key not in wanted
    ] + [f"the key {key!r} is missing" for key in wanted if key not in entry]
    for key in wanted:
        if key in entry:
            problems += _value_problems(key, entry[key], wanted[key])
    if problems:
        return problems
    if entry.get("answers") == []:
        problems.append("'answers' is empty: a fact needs at least one right answer")
    name = entry["entity"] if entity is None else entity
    if not contains_word(entry["question"], name):
        problems.append(f"the question does not name {name!r}: {entry['question']!r}")
    return problems


# ---- shared


def contains_word(text: str, name: str) -> bool:
    """Does `name` stand in `text` as whole words? ("Niger" does not stand in "Nigeria".)"""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _template(asked: list[tuple[str, str]]) -> str:
    """The commonest question of (question, entity) pairs with its entity taken out."""
    templates = Counter(
        re.sub(
            rf"(?<!\w){re.escape(_escaped(entity))}(?!\w)", "{entity}", _escaped(question), count=1
        )
        for question, entity in asked
    )
    return templates.most_common(1)[0][0]


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _unescaped(template: str) -> str:
    return template.replace("{{", "").replace("}}", "")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no file {path.absolute()}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _parse(text: str) -> Any:
    """JSON without repeated keys. Raises `ValueError` with what is wrong and where."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = Counter(key for key, _ in pairs)
        twice = [key for key, count in counted.items() if count > 1]
        if twice:
            where = "" if "\n" not in text.strip() else f"{_line_of(text, (twice[0],), 2)}: "
            raise ValueError(f"{where}the key {twice[0]!r} stands twice in one object")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        where = "" if "\n" not in text.strip() else f"{error.lineno}: "
        raise ValueError(
            f"{where}not JSON: {error.msg} at character {error.colno} of the line"
        ) from None
    except RecursionError:
        raise ValueError("not usable JSON: nested too deeply") from None


def _line_of(text: str, keys: tuple[str, ...], occurrence: int = 1) -> int:
    """The line on which a path of keys ends, found by its keys in their order."""
    place = 0
    for key in keys:
        spellings = {json.dumps(key), json.dumps(key, ensure_ascii=False)}
        pattern = re.compile(rf"(?:{'|'.join(map(re.escape, spellings))})\s*:")
        for _ in range(occurrence):
            found = pattern.search(text, place)
            if found is None:
                break
            place = found.end()
    return text.count("\n", 0, place) + 1


def _line_of_value(text: str, name: str) -> int:
    spellings = (json.dumps(name), json.dumps(name, ensure_ascii=False))
    places = [text.find(spelling) for spelling in spellings]
    return text.count("\n", 0, max(*places, 0)) + 1


def _nearest(name: Any, known: Any) -> str:
    """The nearest allowed name, or all of them if few."""
    nearest = difflib.get_close_matches(str(name), list(known), n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; allowed: {', '.join(known)}" if len(known) <= 12 else ""


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "…"
