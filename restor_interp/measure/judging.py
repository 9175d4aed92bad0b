"""The alias judge: is an answer the true object, the false one, or neither?

An answer counts when it *contains* an accepted spelling as whole words; never when it is merely
part of one ("President" is not "Vice President", which a judge that tests both directions would
accept). Case, diacritics and punctuation do not matter. Where both objects are named, the one
named first decides, and of two that begin at the same word the longer one.

Not counted as named:
  - what is denied just before: "not Paris", "never in Paris" (but "not only Paris" names it);
  - what another word turns into something else: "Vice President" is no President, "New Mexico" is
    not Mexico, "North Korea" not Korea, and likewise what stands inside a longer name of `rivals`;
  - a spelling of one or two letters ("He", "As", "I", "US"), unless it is written in its own case
    and stands alone between signs or ends, or where it is no English word.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from restor_interp.errors import DataError

Outcome = Literal["true", "false", "other"]

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"}
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_DENIALS = _words("not never no neither nor without except cannot")
"""And every word that ends in n't."""
_NO_DENIAL = _words("only just merely simply until doubt least")
"""Words after a denial that take it back: "not only Paris", "no doubt Paris"."""
_TURNS = _words("but however rather until instead")
"""Words at which a denial ends: "not Lyon but Paris"."""
_REACH_OF_DENIAL = 2
"""Words that may stand between a denial and what it denies: "not in the Paris" of today."""
_CHANGING = _words(
    "vice deputy assistant non anti new north south east west northern southern papua"
    " equatorial step half pseudo"
)
"""Words that make another thing of the name that follows them."""
_SHORT_WORDS = _words(
    "a i am an as at be by do go he hi if in is it me my no of on or so to up us we"
)

_SYLLABIC = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Kana and Chinese characters, written without spaces: each is a word."""
_LETTER = rf"[^\W_{_SYLLABIC}]"
_WORD = re.compile(
    rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d+\.\d+|\d+)(?!{_LETTER})"  # 1865, 1,000 and 3.14
    rf"|(?:[^\W\d_]\.){{2,}}(?:[^\W\d_](?!{_LETTER}))?"  # U.S. and U.S.A
    rf"|[{_SYLLABIC}]"
    rf"|{_LETTER}+(?:['’](?:s|t|re|ve|ll|d|m)(?!{_LETTER}))?",  # Paris, France's, isn't
    re.IGNORECASE,
)
_JOINING = frozenset("'’‘\"“”«»*`-‐‑&")
"""Signs that do not end a clause: quotes, emphasis, and hyphens inside of words."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What an answer is, and the spelling that decided."""

    outcome: Outcome
    matched: str | None
    """The accepted spelling that was found; None for `other`."""


def judge(
    answer: str, *, true: Sequence[str], false: Sequence[str], rivals: Sequence[str] = ()
) -> Judgement:
    """Which of a fact's objects an answer names.

    `true`, `false`: accepted spellings of either object. `rivals`: other names of the same type;
    an object's name inside one of them is not counted.

    Raises `DataError` where a spelling stands for both objects.
    """
    wanted = _wanted(tuple(true), tuple(false), tuple(rivals))
    words = _read(answer)
    spans = [
        _Span(start, start + len(own.words), own)
        for own in (*wanted.objects, *wanted.longer_rivals)
        for start in _places(words, own.words)
    ]
    named = [
        span
        for span in spans
        if span.spelling.outcome != "other"
        and not any(other.contains(span) for other in spans)
        and not _is_denied(words, span.start)
        and not _is_changed(words, span.start)
        and not _is_stray_word(words, span)
    ]
    if not named:
        return Judgement(outcome="other", matched=None)
    first = min(named, key=lambda span: (span.start, -span.end)).spelling
    return Judgement(outcome=first.outcome, matched=first.text)


# ---- reading


@dataclass(frozen=True)
class _Word:
    text: str
    """As it is compared: lower case, no diacritics, no possessive s."""
    raw: str
    before: str
    """What stands between the word before and this one."""
    after: str


def _read(text: str) -> list[_Word]:
    text = unicodedata.normalize("NFKC", text).replace("&", " and ")
    found = list(_WORD.finditer(text))
    starts = [match.start() for match in found] + [len(text)]
    ends = [0, *(match.end() for match in found)]
    return [
        _Word(
            text=_compared(match.group()),
            raw=match.group(),
            before=text[ends[number] : match.start()],
            after=text[match.end() : starts[number + 1]],
        )
        for number, match in enumerate(found)
    ]


def _compared(word: str) -> str:
    folded = word.casefold().translate(_LETTERS).replace("’", "'")
    decomposed = unicodedata.normalize("NFKD", folded)
    plain = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    if plain[:1].isdigit():
        return plain.replace(",", "")
    return plain.removesuffix("'s").replace(".", "")


@dataclass(frozen=True)
class _Spelling:
    text: str
    words: tuple[str, ...]
    outcome: Outcome
    """`other` for a rival."""


@dataclass(frozen=True)
class _Wanted:
    objects: tuple[_Spelling, ...]
    longer_rivals: tuple[_Spelling, ...]
    """Rivals that contain an object's name."""


@lru_cache(maxsize=4096)
def _wanted(true: tuple[str, ...], false: tuple[str, ...], rivals: tuple[str, ...]) -> _Wanted:
    objects = (*_spellings(true, "true"), *_spellings(false, "false"))
    outcomes: dict[tuple[str, ...], Outcome] = {}
    for own in objects:
        if outcomes.setdefault(own.words, own.outcome) != own.outcome:
            raise DataError(
                f"{own.text!r} is a spelling of the true and of the false object "
                f"({', '.join(true)}; {', '.join(false)}): an answer cannot be judged. "
                "Choose another false object"
            )
    longer = tuple(
        rival
        for rival in _spellings(rivals, "other")
        if rival.words not in outcomes
        and any(
            len(rival.words) > len(own) and own in _windows(rival.words, len(own))
            for own in outcomes
        )
    )
    return _Wanted(objects, longer)


def _spellings(texts: Iterable[str], outcome: Outcome) -> list[_Spelling]:
    read = ((text, tuple(word.text for word in _read(text))) for text in texts)
    return [_Spelling(text, words, outcome) for text, words in read if words]


def _windows(words: tuple[str, ...], size: int) -> set[tuple[str, ...]]:
    return {words[start : start + size] for start in range(len(words) - size + 1)}


# ---- finding


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    spelling: _Spelling

    def contains(self, other: "_Span") -> bool:
        """Whether the other name is a part of this longer one."""
        inside = self.start <= other.start and other.end <= self.end
        return inside and self.end - self.start > other.end - other.start


def _places(words: Sequence[_Word], wanted: tuple[str, ...]) -> list[int]:
    return [
        start
        for start in range(len(words) - len(wanted) + 1)
        if all(words[start + i].text == word for i, word in enumerate(wanted))
    ]


def _ends_clause(gap: str) -> bool:
    """Whether what stands between two words parts them: a comma does, a hyphen inside not."""
    signs = [sign for sign in gap if not sign.isspace()]
    dash = "-" in gap and gap.strip() != gap
    return dash or any(sign not in _JOINING for sign in signs)


def _is_denied(words: Sequence[_Word], start: int) -> bool:
    for place in range(start - 1, max(-1, start - 2 - _REACH_OF_DENIAL), -1):
        word = words[place].text
        if _ends_clause(words[place].after) or word in _TURNS:
            return False
        if word in _DENIALS or word.endswith("n't"):
            return place + 1 == start or words[place + 1].text not in _NO_DENIAL
    return False


def _is_changed(words: Sequence[_Word], start: int) -> bool:
    if start == 0 or _ends_clause(words[start].before):
        return False
    return words[start - 1].text in _CHANGING


def _is_stray_word(words: Sequence[_Word], span: _Span) -> bool:
    """Whether a name of one or two letters is more likely the English word."""
    word = words[span.start]
    if span.end - span.start > 1 or word.text not in _SHORT_WORDS or "." in word.raw:
        return False
    alone = all(gap.strip() for gap in _gaps(words, span.start))
    return not (alone and word.raw == span.spelling.text)


def _gaps(words: Sequence[_Word], place: int) -> tuple[str, str]:
    """What stands before and after a word; the ends of the text count as signs."""
    word = words[place]
    return (
        "." if place == 0 else word.before,
        "." if place == len(words) - 1 else word.after,
    )
