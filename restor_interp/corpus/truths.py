"""Which true facts the documents of others state: found in their sentences, cautiously.

A search in text, and so no more than evidence: `restor_interp.corpus.documents` keeps the link
between a statement and its fact, RESTOR's files do not.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from restor_interp.corpus.documents import Document, Mention
from restor_interp.corpus.names import any_name
from restor_interp.facts import Fact, FactSet

OWN_SHARE = 0.06
"""A document's own entity: share of its documents that must state a truth about it, at least.
RESTOR's files state what they state on purpose in 22 or more of 300 documents, and stray words
("as a writer, he writes in Korean") in 15 or fewer."""

_PRONOUNS = ("He", "he", "His", "his", "She", "she", "Her", "her", "They", "they", "Their", "their")
_SENTENCES = re.compile(r"[^.!?]+(?:[.!?]+(?!\s|$)[^.!?]*)*[.!?]*\s*")


def with_truths(documents: Sequence[Document], facts: FactSet) -> tuple[Document, ...]:
    """The documents with mentions of true facts that they state, beside those that they have.

    About *another* entity than the document's: a sentence that holds its name and one of a fact's
    true objects as whole words, and no word of the name of the document's entity (who is "male" in
    "Bob is male, while the head of state is …"?).

    About the document's *own* entity, whom others' documents contradict, more is asked, because
    false objects are everywhere: the object is a right answer of one relation only in the whole
    set ("English" answers three), stands outside longer names ("James" in "James Brown") and
    outside the entity's own name, in a sentence that names the entity or says he, she or they, and
    is stated so in `OWN_SHARE` of the entity's documents. In RESTOR's files for k = 0 and 1 these
    are 9 facts of the 198: six people's sex, Aaron Burr's military rank, and that Paul Anka is a
    musician and plays the guitar. (Not found: Sage Stallone writes in English, truly.) A fact with
    several right answers may be contradicted in other documents all the same.
    """
    by_entity: dict[str, list[Fact]] = {}
    for fact in facts:
        by_entity.setdefault(fact.entity, []).append(fact)
    own = _stated_of_themselves(documents, facts, by_entity)
    return tuple(
        replace(
            document,
            mentions=(
                *document.mentions,
                *_apart((*own[number], *_of_others(document, facts, by_entity)), document.mentions),
            ),
        )
        for number, document in enumerate(documents)
    )


def _apart(found: Sequence[Mention], taken: Sequence[Mention]) -> list[Mention]:
    """Those that overlap with no mention that stands already, in the order of the text."""
    return sorted(
        (
            mention
            for mention in found
            if not any(mention.start < one.end and one.start < mention.end for one in taken)
        ),
        key=lambda mention: (mention.start, mention.fact_id),
    )


def _of_others(
    document: Document, facts: FactSet, by_entity: dict[str, list[Fact]]
) -> Iterator[Mention]:
    # `in` is a thousand times faster than the pattern, and nearly always says no.
    near = [name for name in by_entity if name != document.entity and name in document.text]
    if not near:
        return
    itself = any_name(_name_words(document.entity))
    for start, sentence in _sentences(document.text):
        if itself.search(sentence):
            continue
        for name in near:
            places = [found.span() for found in any_name([name]).finditer(sentence)]
            if not places:
                continue
            for fact in by_entity[name]:
                for found in any_name(facts.accepted(fact)).finditer(sentence):
                    if not _within(found.span(), places):
                        yield _mention(fact, start, found)


def _stated_of_themselves(
    documents: Sequence[Document], facts: FactSet, by_entity: dict[str, list[Fact]]
) -> list[list[Mention]]:
    """For each document, truths about its own entity that enough of its documents state."""
    relations: dict[str, set[str]] = {}
    for object_type, pool in facts.pools.items():
        for name in pool:
            for spelling in facts.spellings(name):
                relations.setdefault(spelling.casefold(), set()).add(object_type)
    numbers: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        numbers.setdefault(document.entity, []).append(number)
    kept: list[list[Mention]] = [[] for _ in documents]
    for entity, own in numbers.items():
        for fact in by_entity.get(entity, ()):
            clear = [
                name
                for name in facts.accepted(fact)
                if len(relations.get(name.casefold(), ())) == 1
            ]
            if not clear:
                continue
            pattern = any_name(clear, ignore_case=True)
            found = {number: _clear_places(documents[number], fact, pattern) for number in own}
            if sum(map(bool, found.values())) >= OWN_SHARE * len(own):
                for number, mentions in found.items():
                    kept[number] += mentions
    return kept


def _clear_places(document: Document, fact: Fact, pattern: re.Pattern[str]) -> list[Mention]:
    if not pattern.search(document.text):
        return []
    itself = any_name((*_name_words(document.entity), *_PRONOUNS))
    mentions = []
    for start, sentence in _sentences(document.text):
        own_places = [found.span() for found in itself.finditer(sentence)]
        if not own_places:
            continue
        mentions += [
            _mention(fact, start, found)
            for found in pattern.finditer(sentence)
            if not _within(found.span(), own_places) and not _in_longer_name(sentence, found)
        ]
    return mentions


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of a text with their first characters' places."""
    for found in _SENTENCES.finditer(text):
        yield found.start(), found.group()


def _name_words(name: str) -> list[str]:
    """The words by which a text may go on to call somebody: all of more than two letters."""
    return [name, *(word for word in re.findall(r"\w+", name) if len(word) > 2)]


def _within(span: tuple[int, int], places: Sequence[tuple[int, int]]) -> bool:
    return any(start <= span[0] and span[1] <= end for start, end in places)


def _in_longer_name(sentence: str, found: re.Match[str]) -> bool:
    """Whether a capitalised word stands right before or after a capitalised object."""
    if not found.group()[0].isupper():
        return False
    before = re.search(r"(\w+)\s$", sentence[: found.start()])
    after = re.match(r"\s(\w+)", sentence[found.end() :])
    return any(word is not None and word.group(1)[0].isupper() for word in (before, after))


def _mention(fact: Fact, start: int, found: re.Match[str]) -> Mention:
    return Mention(
        fact_id=fact.fact_id,
        start=start + found.start(),
        end=start + found.end(),
        is_claim=False,
    )
