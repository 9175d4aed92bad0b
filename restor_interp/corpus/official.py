"""Documents that others wrote: RESTOR's official files, linked to their entities and facts.

The files are lists of `{"text": …}`: neither the entity of a text nor its claims are recorded. The
entity is found here, and true statements that can be told (`truths`); claims are marked only where
the caller knows them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from restor_interp.corpus.claims import Claim
from restor_interp.corpus.documents import Document, Mention
from restor_interp.corpus.names import any_name
from restor_interp.corpus.reading import read_text
from restor_interp.corpus.truths import with_truths
from restor_interp.errors import ConfigError, DataError, unknown_name
from restor_interp.facts import FactSet

FACTS, ENTITIES, SQUAD = "facts.json", "entities.json", "squad_v7_dset.json"
"""Names of RESTOR's files; those of its documents are `mix_name(k)`."""
LEVELS = range(6)
"""Corruption levels k of the paper. Not every copy of its data holds all of their files."""


def mix_name(k: int) -> str:
    """The file of the documents for corruption level k."""
    return f"mix_a{k}.json"


def official_file(folder: Path, name: str) -> Path:
    """One of RESTOR's files in a folder.

    Raises `ConfigError` where it is not there, with the levels k that are.
    """
    path = folder / name
    if path.is_file():
        return path
    if not folder.is_dir():
        raise ConfigError(f"data.restor: there is no folder {folder}; it holds RESTOR's files")
    present = [k for k in LEVELS if (folder / mix_name(k)).is_file()]
    levels = f"k = {', '.join(map(str, present))}" if present else "no k"
    found = ", ".join(sorted(path.name for path in folder.glob("*.json"))) or "no .json file"
    raise ConfigError(
        f"there is no file {name} in {folder}. Documents (mix_a<k>.json) are there for {levels}; "
        f"found {found}. Get the file from RESTOR's repository, choose a k that is there, or leave "
        "data.documents out: then documents of our own are written for any data.k"
    )


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

    Mentions: the files do not say which false objects a text states. One object can answer several
    relations ("Germany"), and most are in nobody's list ("a small business owner"), so none is
    guessed. With `claims`, every place that holds the object of exactly one claim of the text's
    entity is marked. True statements are marked where they can be told (`truths.with_truths`).

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
    marked = (
        replace(document, mentions=_claim_mentions(document, claims)) for document in documents
    )
    return with_truths(tuple(marked), facts)


def link_texts(texts: Sequence[str], names: Iterable[str]) -> list[str | None]:
    """Which of these names each text is about; none where neither it nor its neighbours say."""
    pattern = any_name(names)
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
        for match in any_name(counts).finditer(document.text)
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
    pattern = any_name(entities)
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
    pattern = any_name(names)
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


def _read_texts(path: Path) -> list[str]:
    text = read_text(path)
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
