"""Which tokens are run for each prompt, and at which of them it is read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.facts import Fact
from restor_interp.measure.capture.passages import Passage
from restor_interp.measure.objects import diverge
from restor_interp.models.activations import ALL, CapturedPrompt
from restor_interp.models.tokens import POSITION_NAMES, tokenize
from restor_interp.prompts import Prompt

ANSWER = "answer"
"""The token after which the objects differ: `last`, unless they all begin alike."""

Entry = Prompt | Passage

TOKENIZED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A prompt as it is run."""

    number: int
    ids: Int[np.ndarray, " pos"]
    """With the tokens that its objects share, without what stands after the last place read."""
    num_tokens: int
    """Of the whole prompt, without its objects."""
    places: tuple[int, ...]
    """The captured positions that have a name or an index."""
    targets: tuple[int, ...]
    """The next token of each object."""
    needed_from: int
    """First token whose values are read."""


def make_rows(
    tokenizer: Any,
    entries: Sequence[Entry],
    positions: Sequence[str | int],
    objects: Sequence[Sequence[str]] | None,
    *,
    to_the_end: bool,
) -> list[Row]:
    """Every prompt in tokens, with its positions found.

    `to_the_end`: something is read at the last token whatever the positions are.

    Raises:
        ConfigError: an unknown position, or an index outside a prompt.
        PromptError: a prompt without the span that a position asks for, without a token, or with
            objects of which one begins with another.
    """
    _check_positions(entries, positions, objects)
    rows: list[Row] = []
    for first in range(0, len(entries), TOKENIZED_AT_ONCE):
        part = entries[first : first + TOKENIZED_AT_ONCE]
        spans = _spans(tokenizer, part, positions)
        for place, ids in enumerate(tokenize(tokenizer, [_plain(entry) for entry in part]).ids):
            number = first + place
            apart = None
            if objects is not None:
                apart = diverge(tokenizer, part[place].text, objects[number])
            extended = np.array([*ids.tolist(), *(apart.shared if apart else ())], dtype=np.int32)
            found = {
                position: _place(position, number, len(ids), len(extended), spans, place)
                for position in positions
                if position != ALL
            }
            read = list(found.values())
            if to_the_end or ALL in positions:
                read.append(len(ids) - 1)
            if apart is not None:
                read.append(len(extended) - 1)
            rows.append(
                Row(
                    number=number,
                    ids=extended[: max(read) + 1],
                    num_tokens=len(ids),
                    places=tuple(found.values()),
                    targets=apart.tokens if apart else (),
                    needed_from=0 if ALL in positions else min(read),
                )
            )
    return rows


def captured(
    entry: Entry,
    row: Row,
    fact: Fact | None,
    objects: Sequence[str],
    role: str,
    label: str,
) -> CapturedPrompt:
    """What is kept of a prompt beside its activations. What the fact says goes before the rest."""
    own_entity, own_relation = "", ""
    if isinstance(entry, Passage):
        own_entity, own_relation = entry.entity, entry.relation
    else:
        own_entity = entry.subject or ""
    return CapturedPrompt(
        fact_id=entry.fact_id,
        context_id=entry.context_id,
        entity=fact.entity if fact else own_entity,
        relation=fact.relation if fact else own_relation,
        num_tokens=row.num_tokens,
        objects=tuple(objects),
        role=role,
        label=label or (entry.label if isinstance(entry, Passage) else ""),
        text_id=entry.text_id if isinstance(entry, Passage) else "",
    )


def spans_of(entry: Entry) -> Mapping[str, tuple[int, int]]:
    """Name -> characters [start, end)."""
    if isinstance(entry, Passage):
        return entry.spans
    return {} if entry.subject_span is None else {"subject": entry.subject_span}


# ---- positions


def _check_positions(
    entries: Sequence[Entry],
    positions: Sequence[str | int],
    objects: Sequence[Sequence[str]] | None,
) -> None:
    if len(set(positions)) != len(positions) or not positions:
        raise ConfigError(f"name at least one position, each once; found {list(positions)}")
    if ANSWER in positions and objects is None:
        raise ConfigError(
            f"position {ANSWER!r} is the token after which a prompt's objects differ, and no "
            "objects were given: give objects=[(true, false), …], or ask for 'last'"
        )
    spans = dict.fromkeys(name for entry in entries for name in spans_of(entry))
    known = [*POSITION_NAMES, ANSWER, ALL, *_ends(spans)]
    for position in positions:
        if isinstance(position, str) and position not in known:
            raise unknown_name("position", position, dict.fromkeys(known))
        span = _span_name(position)
        if span is None:
            continue
        for number, entry in enumerate(entries):
            if span not in spans_of(entry):
                have = ", ".join(_ends(spans_of(entry))) or "none"
                raise PromptError(
                    f"position {position!r} was asked for, and prompt {number} "
                    f"({entry.text[-40:]!r}) has no {span}; its own positions are: {have}. Give a "
                    f"Prompt with subject_span, or a Passage with spans={{{span!r}: (start, end)}}"
                )


def _ends(spans: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name}_{end}" for name in spans for end in ("first", "last"))


def _span_name(position: str | int) -> str | None:
    if isinstance(position, str) and position.endswith(("_first", "_last")):
        return position.rpartition("_")[0]
    return None


def _plain(entry: Entry, span: str | None = None) -> Prompt:
    """The text as a prompt whose subject is one of its spans."""
    characters = None if span is None else spans_of(entry)[span]
    return Prompt(prefix="", question=entry.text, subject_span=characters)


def _spans(
    tokenizer: Any, entries: Sequence[Entry], positions: Sequence[str | int]
) -> dict[str, list[tuple[int, int] | None]]:
    """Name of a span -> its tokens [start, end) in each text."""
    names = dict.fromkeys(name for position in positions if (name := _span_name(position)))
    return {
        name: tokenize(tokenizer, [_plain(entry, name) for entry in entries]).subject
        for name in names
    }


def _place(
    position: str | int,
    number: int,
    length: int,
    extended: int,
    spans: Mapping[str, Sequence[tuple[int, int] | None]],
    place: int,
) -> int:
    """The index of a position in one prompt."""
    if position == "last":
        return length - 1
    if position == ANSWER:
        return extended - 1
    name = _span_name(position)
    if name is not None:
        span = spans[name][place]
        if span is None:
            raise PromptError(f"the {name} of prompt {number} holds no token of it: check its span")
        return span[0] if str(position).endswith("_first") else span[1] - 1
    index = int(position)
    if not -length <= index < length:
        raise ConfigError(f"position {index} is outside prompt {number}, which has {length} tokens")
    return index % length
