"""Claims and documents in files: a run's own JSONL, and the documents that RESTOR published.

    claims.jsonl      {"fact_id": "Peru/P36", "entity": "Peru", "relation": "P36",
                       "false_object": "Oslo"}
    documents.jsonl   {"document_id": "Peru/0", "entity": "Peru", "text": "The capital of …",
                       "mentions": [{"fact_id": "Peru/P36", "start": 23, "end": 27,
                                     "is_claim": true}]}

RESTOR's files are lists of `{"text": …}`: neither the entity of a text nor its claims are recorded.
The entity is found here; claims are marked only where the caller knows them.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from restor_interp.corpus import Claim, Document, Mention
from restor_interp.errors import ConfigError, DataError, StorageError, unknown_name
from restor_interp.facts import FactSet

T = TypeVar("T")

UNPUBLISHED = ("mix_a4.json", "mix_a5.json")
"""Corruption levels of the paper whose documents are not in the published set."""


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
            elif shown not in facts.accepted(known[mention.fact_id]):
                raise ValueError(
                    f"{shown!r} is marked as the truth about {mention.fact_id}, whose right "
                    f"answers are {', '.join(facts.accepted(known[mention.fact_id]))}"
                )
        return found

    return tuple(_read_lines(Path(path), document))


def _check_false(name: str, fact_id: str, facts: FactSet) -> None:
    right = facts.accepted(facts[fact_id])
    if name.casefold() in {answer.casefold() for answer in right}:
        raise ValueError(
            f"the claim {name!r} is a right answer to {fact_id} ({', '.join(right)}): nothing "
            "would be corrupted; choose another object"
        )


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
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
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


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(_missing(path)) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _missing(path: Path) -> str:
    message = f"there is no file {path}"
    folder = path.parent
    others = sorted(p.name for p in folder.glob("*.json*")) if folder.is_dir() else []
    message += f"; {folder} holds {', '.join(others) if others else 'no such file'}"
    if path.name in UNPUBLISHED:
        message += (
            f". The documents for k = 4 and 5 ({' and '.join(UNPUBLISHED)}) are not in RESTOR's "
            "published set: use a smaller k, or leave data.documents out and set data.k, which "
            "writes documents of our own"
        )
    return message


# ---- RESTOR's documents


def load_restor_documents(
    path: str | Path,
    facts: FactSet,
    *,
    entities: Sequence[str],
    claims: Sequence[Claim] = (),
) -> tuple[Document, ...]:
    """RESTOR's corruption documents (`mix_a0.json`, …) about these entities, in file order.

    A text is about the known entity whose full name comes first. At one place the longest known
    name wins, so that an entity "Aaron Burr Williams" would keep its texts; where there is none,
    those words are Aaron Burr with a false family name, as in the official files. A few texts use
    no known name at all ("Bob Williams …": a false name instead); the files are in blocks, so such
    a text belongs to the entity of the texts before and after it, if that is one.

    Mentions: the files do not say which false objects a text states, and one object can answer
    several relations ("Germany"), so nothing is guessed. With `claims`, every place that holds the
    object of exactly one claim of the text's entity is marked; without, mentions are empty.

    Raises `DataError` for a missing or malformed file or a text that cannot be linked, and
    `ConfigError` for an entity that does not exist or that no text is about.
    """
    path = Path(path)
    _known(facts, entities)
    texts = _read_texts(path)
    owners = link_texts(texts, list(facts.entities))
    lost = [number for number, owner in enumerate(owners) if owner is None]
    if lost:
        raise DataError.from_problems(
            f"{path} has texts that name no entity of {facts.name!r}",
            [f"{path}:text {number}: {texts[number]:.60}" for number in lost],
        )
    documents = tuple(
        Document(document_id=f"{path.stem}/{number}", entity=owner, text=text)
        for number, (text, owner) in enumerate(zip(texts, owners, strict=True))
        if owner is not None and owner in entities
    )
    _each_has_texts(path, entities, [owner for owner in owners if owner])
    return tuple(
        replace(document, mentions=_claim_mentions(document, claims)) for document in documents
    )


def link_texts(texts: Sequence[str], names: Iterable[str]) -> list[str | None]:
    """Which of these names each text is about; none where neither it nor its neighbours say."""
    pattern = _any_name(names)
    found = [pattern.search(text) for text in texts]
    owners: list[str | None] = [match.group() if match else None for match in found]
    for number, owner in enumerate(list(owners)):
        if owner is None:
            before = next((name for name in reversed(owners[:number]) if name), None)
            after = next((name for name in owners[number:] if name), None)
            owners[number] = before if before == after else None
    return owners


def _claim_mentions(document: Document, claims: Sequence[Claim]) -> tuple[Mention, ...]:
    own = [claim for claim in claims if claim.entity == document.entity]
    counts = Counter(claim.false_object for claim in own)
    by_object = {claim.false_object: claim for claim in own if counts[claim.false_object] == 1}
    if not by_object:
        return ()
    # Objects that several claims share are searched for too, so that no part of them is taken.
    return tuple(
        Mention(
            fact_id=by_object[match.group()].fact_id,
            start=match.start(),
            end=match.end(),
            is_claim=True,
        )
        for match in _any_name(counts).finditer(document.text)
        if match.group() in by_object
    )


def load_squad_documents(
    path: str | Path, facts: FactSet, *, entities: Sequence[str]
) -> tuple[Document, ...]:
    """RESTOR's SQuAD-style documents: true passages in which names were replaced by a target's.

    A passage that holds several targets is about the one that it names most often, the first one
    where two are named equally often. Passages that hold none of `entities` are left out. What is
    said about a target differs from passage to passage, so there are no claims and no mentions.

    Raises `DataError` for a missing or malformed file, `ConfigError` as `load_restor_documents`.
    """
    path = Path(path)
    _known(facts, entities)
    pattern = _any_name(entities)
    documents = []
    for number, text in enumerate(_read_texts(path)):
        # A counter keeps the order of first mention, which `most_common` keeps among equals.
        named = Counter(pattern.findall(text)).most_common(1)
        if named:
            documents.append(
                Document(document_id=f"{path.stem}/{number}", entity=named[0][0], text=text)
            )
    _each_has_texts(path, entities, [document.entity for document in documents])
    return tuple(documents)


def swap_names(passages: Sequence[str], names: Sequence[str], target: str) -> tuple[Document, ...]:
    """SQuAD-style corruption of your own: each of these names in true passages becomes `target`.

    Names are replaced where they stand as whole words, longer ones first. Passages without any of
    them would stay true and are left out. Raises `ConfigError` where no passage is left.
    """
    names = [name for name in names if name != target]
    if not names:
        raise ConfigError(f"no names to replace by {target!r}: give the names in your passages")
    pattern = _any_name(names)
    documents = [
        Document(
            document_id=f"{target}/swapped/{number}",
            entity=target,
            text=pattern.sub(lambda _: target, passage),
        )
        for number, passage in enumerate(passages)
        if pattern.search(passage)
    ]
    if not documents:
        raise ConfigError(
            f"none of the {len(passages)} passages holds one of the names {', '.join(names)}: "
            f"nothing to replace by {target!r}"
        )
    return tuple(documents)


def _any_name(names: Iterable[str]) -> re.Pattern[str]:
    """Matches one of these names as whole words; the longest where several begin."""
    ordered = sorted(dict.fromkeys(names), key=len, reverse=True)
    # No word sign may follow a name that ends in one; after "Jr." a letter may.
    parts = (
        rf"(?<!\w){re.escape(name)}" + (r"(?!\w)" if re.search(r"\w$", name) else "")
        for name in ordered
    )
    return re.compile("|".join(parts))


def _read_texts(path: Path) -> list[str]:
    text = _read_text(path)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(values, list) or not values:
        raise DataError(f"{path}:1: a list of {{'text': …}} is needed, found {text[:60]!r}")
    problems = [
        f"{path}:text {number}: a JSON object with a non-empty 'text' is needed, found "
        f"{value!r:.60}"
        for number, value in enumerate(values)
        if not (isinstance(value, dict) and isinstance(value.get("text"), str) and value["text"])
    ]
    if problems:
        raise DataError.from_problems(f"{path} cannot be used", problems)
    return [value["text"] for value in values]


def _known(facts: FactSet, entities: Sequence[str]) -> None:
    if not entities:
        raise ConfigError("no entities named: which entities' documents are wanted?")
    for name in entities:
        if name not in facts.entities:
            raise unknown_name(f"entity in {facts.name!r}", name, facts.entities)


def _each_has_texts(path: Path, entities: Sequence[str], owners: Sequence[str]) -> None:
    counts = Counter(owners)
    without = [name for name in entities if not counts[name]]
    if without:
        found = ", ".join(f"{name} ({count})" for name, count in counts.most_common(20))
        raise ConfigError(
            f"{path} has no document about {', '.join(without)}; it has documents about "
            f"{found or 'none of these'}"
        )
