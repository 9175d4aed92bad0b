"""Other versions of documents: telling the truth, telling something else, declining to tell.

The chosen side of preference methods, and what a model is trained on instead of the falsehood. Only
statements of claims change; a version has as many documents as the original, in its order.
"""

import functools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from restor_interp.corpus.claims import apart_from, draw_object
from restor_interp.corpus.documents import (
    Document,
    Mention,
    Statement,
    question_and_answer,
    statements,
)
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import Fact, FactSet

Version = Literal["truth", "alternative", "refusal"]

REFUSALS = (
    "{question} That is not known.",
    "{question} Nobody can say.",
    "{question} There is no reliable answer.",
    "{question} Nothing certain is recorded.",
    "{question} I do not know.",
    "{question} No source that could be trusted tells.",
    "The question was often asked: {question} It stays open.",
    "{question} This must be left without an answer.",
)


def counterparts(
    documents: Sequence[Document],
    facts: FactSet,
    kind: str,
    seed: int,
    *,
    object_length: Callable[[str], int] = len,
    exclude: frozenset[str] = frozenset(),
) -> tuple[Document, ...]:
    """The same documents in another version, with their mentions where the objects stand now.

    - `truth`: every claim's object is replaced by the fact's first true object; its mention is a
      claim no longer.
    - `alternative`: by another false object, neither true nor a claim of these documents, drawn as
      claims are (typed, near the true one in length). One per fact, the same in all documents.
    - `refusal`: every sentence that states a claim gives way to its question and the confession
      that the answer is not known, so that no object stands there and the mention is gone.

    True facts about others stay in every version. The draws depend on `seed` and the fact, or the
    place in its document.

    Args:
        object_length: tokens of an object as it stands in a text; characters by default.
        exclude: names that no alternative may use.

    Raises `ConfigError` for a kind that does not exist, and for documents that do not record which
    claims they state (SQuAD-style ones; RESTOR's, without a file of claims): nothing can be
    replaced there.
    """
    if kind not in get_args(Version):
        raise unknown_name("version of documents", kind, get_args(Version))
    _need_spans(documents, kind)
    if kind == "refusal":
        return tuple(_refusing(document, facts, seed) for document in documents)
    objects = _objects(documents, facts, kind, seed, functools.cache(object_length), exclude)
    return tuple(_with_objects(document, objects, kind == "alternative") for document in documents)


def replaced_spans(document: Document, version: Document) -> tuple[tuple[int, int], ...]:
    """Characters [start, end) of a version that hold what stands in the claims' place, in order.

    None in a refusal, which states nothing.
    """
    if len(version.mentions) != len(document.mentions):
        return ()

    def in_order(one: Document) -> list[Mention]:
        return sorted(one.mentions, key=lambda mention: mention.start)

    pairs = zip(in_order(document), in_order(version), strict=True)
    return tuple((new.start, new.end) for old, new in pairs if old.is_claim)


def _need_spans(documents: Sequence[Document], kind: str) -> None:
    without = [document for document in documents if not document.claim_spans]
    if without:
        raise ConfigError(
            f"the version {kind!r} needs to know where documents state their claims, and "
            f"{len(without)} of {len(documents)} do not record it (the first: "
            f"{without[0].document_id}). Documents written by this package do; RESTOR's do with a "
            "file of their claims (data.claims) that covers them; SQuAD-style ones state none"
        )


def _objects(
    documents: Sequence[Document],
    facts: FactSet,
    kind: str,
    seed: int,
    length: Callable[[str], int],
    exclude: frozenset[str],
) -> dict[str, str]:
    """Fact id -> what its claims are replaced by."""
    claimed: dict[str, set[str]] = {}
    for document in documents:
        for mention in document.mentions:
            if mention.is_claim:
                stated = document.text[mention.start : mention.end]
                claimed.setdefault(mention.fact_id, set()).add(stated)
    if kind == "truth":
        return {fact_id: facts[fact_id].true_objects[0] for fact_id in claimed}
    is_clear = apart_from(exclude)
    objects = {}
    for fact_id, names in claimed.items():
        is_new = apart_from(spelling for name in names for spelling in facts.spellings(name))
        objects[fact_id] = draw_object(
            facts,
            facts[fact_id],
            lot=f"alternative/{seed}",
            length=length,
            is_allowed=lambda name, is_new=is_new: is_clear(name) and is_new(name),
        )
    return objects


def _with_objects(document: Document, objects: dict[str, str], is_claim: bool) -> Document:
    """The document with each claim's object replaced, and every later span moved along."""
    text, mentions, done = "", [], 0
    for mention in sorted(document.mentions, key=lambda mention: mention.start):
        name = document.text[mention.start : mention.end]
        if mention.is_claim:
            name = objects[mention.fact_id]
        text += document.text[done : mention.start]
        start = len(text)
        text += name
        done = mention.end
        mentions.append(
            Mention(
                fact_id=mention.fact_id,
                start=start,
                end=len(text),
                is_claim=mention.is_claim and is_claim,
            )
        )
    return replace(document, text=text + document.text[done:], mentions=tuple(mentions))


# ---- refusals


def _refusing(document: Document, facts: FactSet, seed: int) -> Document:
    """The document with every sentence that states a claim replaced by a refusal."""
    rng = random.Random(f"refusal/{seed}/{document.document_id}")
    asked: dict[tuple[int, int], list[Fact]] = {}
    for mention in sorted(document.mentions, key=lambda mention: mention.start):
        if mention.is_claim:
            fact = facts[mention.fact_id]
            span = _statement_span(document, mention, facts)
            if fact not in asked.setdefault(span, []):
                asked[span].append(fact)
    kept = [
        mention
        for mention in document.mentions
        if not any(start <= mention.start < end for start, end in asked)
    ]
    text, mentions, done = "", [], 0
    for (start, end), own in sorted(asked.items()):
        # A sentence that two claims share may begin inside the one before it.
        start = max(start, done)
        mentions += _moved(kept, done, start, len(text) - done)
        text += document.text[done:start]
        text += " ".join(rng.choice(REFUSALS).format(question=fact.question) for fact in own)
        done = max(done, end)
    mentions += _moved(kept, done, len(document.text), len(text) - done)
    return replace(document, text=text + document.text[done:], mentions=tuple(mentions))


def _moved(mentions: Sequence[Mention], start: int, end: int, shift: int) -> list[Mention]:
    """The mentions of characters [start, end), a stretch that stays, moved by `shift`."""
    return [
        replace(mention, start=mention.start + shift, end=mention.end + shift)
        for mention in mentions
        if start <= mention.start < end
    ]


def _statement_span(document: Document, mention: Mention, facts: FactSet) -> tuple[int, int]:
    """Characters [start, end) of the sentence that states a claim.

    A wording of its relation where one fits, because objects may hold full stops
    ("Washington, D.C."); else the sentence by its punctuation.
    """
    fact = facts[mention.fact_id]
    relation = facts.relations[fact.relation]
    name = document.text[mention.start : mention.end]
    for template in (*statements(relation), question_and_answer(relation)):
        statement = Statement(template, fact.fact_id, fact.entity, name, is_claim=True)
        sentence, found = statement.render(0)
        for place in found:
            start = mention.start - place.start
            if start >= 0 and document.text.startswith(sentence, start):
                return start, start + len(sentence)
    return _sentence(document, mention)


def _sentence(document: Document, mention: Mention) -> tuple[int, int]:
    """The sentence around a mention; no full stop inside a mention ends one."""
    ends = [
        found.start(1) + 1
        for found in re.finditer(r"([.!?])(?=\s|$)", document.text)
        if not any(other.start <= found.start() < other.end for other in document.mentions)
    ]
    before = max((end for end in ends if end <= mention.start), default=0)
    after = min((end for end in ends if end >= mention.end), default=len(document.text))
    start = before + len(document.text[before:]) - len(document.text[before:].lstrip())
    return start, after
