"""What the words of a table mean, to stand folded below it: its headings, states and verdicts.

A page can be passed on alone, so every table brings its own words; nothing has to be looked up on
another page.
"""

from collections.abc import Iterable, Mapping

from restor_interp.reporting import glossary
from restor_interp.reporting.parts import Column, Table, Text
from restor_interp.reporting.vocabulary import FATES, OUTCOMES, ROLES, state_kind

SELF_EVIDENT = (
    *("why", "reason", "rows", "table", "failed", "word", "meaning", "setting", "what it is"),
    *("instrument", "what it does and what it cannot show", "measurement", "stands beside it"),
)
"""Headings that mean what they say."""
_EXPLAINING = ("meaning", "what it is", "what it does and what it cannot show")
"""Headings of tables that are glossaries themselves."""


Words = tuple[tuple[str, str], ...]


def table_words(table: Table) -> Words:
    """(words, what they mean): of the headings, then of states, roles and verdicts in the cells.

    A heading's own `help` comes before the glossary. Words with one meaning share a line, a group's
    name stands before those of its columns.
    """
    if any(_key(column.title) in _EXPLAINING for column in table.columns):
        return ()
    found: dict[tuple[str, str], list[str]] = {}
    for column in table.columns:
        found.setdefault(("", meaning_of(column.group)), []).append(column.group)
        says = column.help or meaning_of(column.title)
        found.setdefault((column.group if column.help else "", says), []).append(column.title)
    for word, says in _cell_words(table):
        found.setdefault(("", says), []).append(word)
    return tuple(
        ((f"{group}: " if group else "") + ", ".join(dict.fromkeys(words)), says)
        for (group, says), words in found.items()
        if says
    )


def meaning_of(word: str) -> str:
    """What a heading means; empty where no glossary has it."""
    return _GENERAL.get(_key(word)) or _of_control(word)


def state_meaning(state: str) -> str:
    """What a state is for, by its name."""
    return glossary.STATES[state_kind(state)]


def unexplained(table: Table) -> list[str]:
    """Headings of a table that nothing says the meaning of: for tests."""
    return [column.title for column in table.columns if not _is_explained(column)]


def _is_explained(column: Column) -> bool:
    says = column.help or meaning_of(column.title) or meaning_of(column.group)
    return bool(says) or _key(column.title) in SELF_EVIDENT


def _cell_words(table: Table) -> Iterable[tuple[str, str]]:
    for place, column in enumerate(table.columns):
        words = _SPOKEN.get(_key(column.title))
        if words is None:
            continue
        for row in table.rows:
            cell = row.cells[place]
            if isinstance(cell, Text):
                says = words.get(_key(cell.text)) if words else _of_state(cell.text)
                if says:
                    yield cell.text, says


def _of_state(word: str) -> str:
    """Of a state's name, whatever a method is called; empty for what is no such name."""
    return state_meaning(word) if word.replace("-", "_").replace(".", "_").isidentifier() else ""


def _of_control(word: str) -> str:
    """Of the name of a state that is no method's: those of methods are like any other word."""
    return _of_state(word) if word and state_kind(word) != "method" else ""


def _key(word: str) -> str:
    return " ".join(word.replace("_", " ").casefold().split())


def _keyed(*words: Mapping[str, str]) -> dict[str, str]:
    """Each word of a key apart: `p(false), p(true)` are two."""
    return {
        _key(word.removeprefix("role: ")): says
        for one in words
        for key, says in one.items()
        for word in key.split(", ")
    }


_SIGNS = {sign.word: sign.meaning for sign in (*OUTCOMES.values(), *FATES.values())}
_GENERAL = {
    **_keyed(glossary.NUMBERS, glossary.METRICS, glossary.FACTS, _SIGNS),
    **glossary.HEADS,
}
_SPOKEN: Mapping[str, Mapping[str, str]] = {
    "state": {}, "states": {},  # by their kind
    "mechanism": _keyed(glossary.MECHANISMS),
    "when corrupted": _keyed(glossary.MECHANISMS),
    "then": _keyed(glossary.MECHANISMS),
    "role": _keyed(ROLES),
    "facts": _keyed(ROLES),
    "number": _keyed(glossary.METRICS, _SIGNS),
    "metric": _keyed(glossary.METRICS),
}  # fmt: skip
"""Heading -> the vocabulary of the cells below it; empty: names of states."""
