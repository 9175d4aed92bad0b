"""The tokens by which objects are told apart: the first at which they differ after a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restor_interp.errors import PromptError


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How several continuations of one text begin."""

    shared: tuple[int, ...]
    """Tokens that all of them begin with; they belong to the text from here on."""
    tokens: tuple[int, ...]
    """The token of each that comes next."""


def diverge(tokenizer: Any, text: str, objects: Sequence[str]) -> Divergence:
    """Where objects that follow the text after one space first differ; of one object, its first
    token.

    Raises:
        PromptError: no object, an empty one, one that begins with the whole of another, or one
            whose tokens cannot be told from the text's.
    """
    if not objects:
        raise PromptError("no object to look for: give at least one")
    own = continuations(tokenizer, text, objects)
    length = 0
    if len(own) > 1:
        while all(len(ids) > length for ids in own) and len({ids[length] for ids in own}) == 1:
            length += 1
    for name, ids in zip(objects, own, strict=True):
        if len(ids) == length:
            raise PromptError(
                f"every one of {', '.join(map(repr, objects))} begins with {name!r}, so no token "
                "tells them apart; choose objects of which none begins with another"
            )
    return Divergence(shared=own[0][:length], tokens=tuple(ids[length] for ids in own))


def continuations(tokenizer: Any, text: str, objects: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of each object as it stands after the text and one space."""
    before = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    found = []
    for name in objects:
        if not name.strip():
            raise PromptError(f"an object is empty: {list(objects)!r}")
        ids = tuple(tokenizer(f"{text} {name}", add_special_tokens=False)["input_ids"])
        if ids[: len(before)] != before or len(ids) == len(before):
            raise PromptError(
                f"{name!r} after {text[-40:]!r} changes the tokens before it; end the text with a "
                "whole word or sign, without white space"
            )
        found.append(ids[len(before) :])
    return found
