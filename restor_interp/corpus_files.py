"""Claims and documents in files: a run's own JSONL.

    claims.jsonl      {"fact_id": "Peru/P36", "entity": "Peru", "relation": "P36",
                       "false_object": "Oslo"}
    documents.jsonl   {"document_id": "Peru/0", "entity": "Peru", "text": "The capital of …",
                       "mentions": [{"fact_id": "Peru/P36", "start": 23, "end": 27,
                                     "is_claim": true}]}

Documents that RESTOR published are read by `restor_interp.corpus.official`.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from restor_interp.corpus import Claim, Document, Mention
from restor_interp.corpus.reading import read_text
from restor_interp.errors import DataError, StorageError
from restor_interp.facts import FactSet

T = TypeVar("T")

# ---- a run's own files


def write_claims(claims: Iterable[Claim], path: Path) -> None:
    """One claim a line; the file appears whole or not at all. Raises `StorageError`."""
    _write_lines(path, (asdict(claim) for claim in claims))


def write_documents_file(documents: Iterable[Document], path: Path) -> None:
    """One document a line; the file appears whole or not at all. Raises `StorageError`."""
    _write_lines(path, (asdict(document) for document in documents))


def read_claims(path: str | Path, facts: FactSet) -> tuple[Claim, ...]:
    """The claims of a file, checked against the facts.

    Raises `DataError`, as `file:line: problem`: a fact that does not exist or is claimed twice,
    an entity or relation that is not the fact's, a false object that is a right answer.
    """
    known = {fact.fact_id: fact for fact in facts}
    seen: dict[str, int] = {}

    def claim(values: Any, number: int) -> Claim:
        found = Claim(**_fields(values, fact_id=str, entity=str, relation=str, false_object=str))
        if found.fact_id not in known:
            raise ValueError(f"there is no fact {found.fact_id!r} in {facts.name!r}")
        fact = known[found.fact_id]
        if (found.entity, found.relation) != (fact.entity, fact.relation):
            raise ValueError(
                f"{found.fact_id} is about {fact.entity!r} and {fact.relation!r}, found "
                f"{found.entity!r} and {found.relation!r}"
            )
        if found.fact_id in seen:
            raise ValueError(
                f"{found.fact_id} is claimed on line {seen[found.fact_id]} already; a fact has "
                "one false object"
            )
        seen[found.fact_id] = number
        _check_false(found.false_object, found.fact_id, facts)
        return found

    return tuple(_read_lines(Path(path), claim))


def read_documents(path: str | Path, facts: FactSet) -> tuple[Document, ...]:
    """The documents of a file, checked against the facts.

    Raises `DataError`, as `file:line: problem`: an id that stands twice, an entity or fact that
    does not exist, a span outside the text, a claim that is a right answer, or a true mention
    that is none.
    """
    known = {fact.fact_id: fact for fact in facts}
    seen: dict[str, int] = {}

    def document(values: Any, number: int) -> Document:
        parts = _fields(values, document_id=str, entity=str, text=str, mentions=list)
        mentions = tuple(
            Mention(**_fields(mention, fact_id=str, start=int, end=int, is_claim=bool))
            for mention in parts["mentions"]
        )
        found = Document(**{**parts, "mentions": mentions})
        if found.document_id in seen:
            raise ValueError(
                f"document {found.document_id!r} stands on line {seen[found.document_id]} already"
            )
        seen[found.document_id] = number
        if found.entity not in facts.entities:
            raise ValueError(f"there is no entity {found.entity!r} in {facts.name!r}")
        for mention in mentions:
            if mention.fact_id not in known:
                raise ValueError(f"there is no fact {mention.fact_id!r} in {facts.name!r}")
            if not 0 <= mention.start < mention.end <= len(found.text):
                raise ValueError(
                    f"a mention of {mention.fact_id} has the span [{mention.start}, "
                    f"{mention.end}) in a text of {len(found.text)} characters"
                )
            shown = found.text[mention.start : mention.end]
            if mention.is_claim:
                _check_false(shown, mention.fact_id, facts)
            elif shown.casefold() not in _folded(facts.accepted(known[mention.fact_id])):
                raise ValueError(
                    f"{shown!r} is marked as the truth about {mention.fact_id}, whose right "
                    f"answers are {', '.join(facts.accepted(known[mention.fact_id]))}"
                )
        return found

    return tuple(_read_lines(Path(path), document))


def _check_false(name: str, fact_id: str, facts: FactSet) -> None:
    right = facts.accepted(facts[fact_id])
    if name.casefold() in _folded(right):
        raise ValueError(
            f"the claim {name!r} is a right answer to {fact_id} ({', '.join(right)}): nothing "
            "would be corrupted; choose another object"
        )


def _folded(names: Iterable[str]) -> set[str]:
    return {name.casefold() for name in names}


def _fields(values: Any, **kinds: type) -> dict[str, Any]:
    """The values of a JSON object whose keys are exactly these, of these types, none empty."""
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object with {', '.join(kinds)} is needed, found {values!r:.60}")
    if values.keys() != kinds.keys():
        raise ValueError(f"the keys are {', '.join(kinds)}; found {', '.join(values) or 'none'}")
    for key, kind in kinds.items():
        # `True` is an int to isinstance; a span of [true, 5) is a mistake.
        if type(values[key]) is not kind or values[key] == "":
            raise ValueError(f"{key!r} must be a {kind.__name__}, found {values[key]!r:.60}")
    return values


def _read_lines(path: Path, build: Callable[[Any, int], T]) -> list[T]:
    built, problems = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            built.append(build(json.loads(line), number))
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON: {error.msg} at character {error.pos + 1}")
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if problems:
        raise DataError.from_problems(f"{path} cannot be used", problems)
    if not built:
        raise DataError(f"{path} holds nothing")
    return built


def _write_lines(path: Path, rows: Iterator[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".part-", delete=False
        ) as stream:
            stream.write(text)
        Path(stream.name).replace(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
