"""Prompts in tokens: their ids, the tokens of their subject, and positions by name.

No special tokens are added: a model is asked exactly what stands in the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.prompts import Prompt

POSITION_NAMES = ("subject_first", "subject_last", "last")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Several prompts in tokens, each as long as it is."""

    ids: list[Int[Tensor, " pos"]]
    """On the CPU."""
    subject: list[tuple[int, int] | None]
    """Tokens [start, end) of each prompt's subject; none where it has none."""

    def padded(self, pad_id: int = 0) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
        """One batch, padded on the right, and which of its tokens belong to the prompts.

        A causal model needs no attention mask for it: nothing looks to the right.
        """
        width = max(map(len, self.ids))
        batch = torch.full((len(self.ids), width), pad_id)
        mask = torch.zeros(batch.shape, dtype=torch.bool)
        for row, ids in enumerate(self.ids):
            batch[row, : len(ids)] = ids
            mask[row, : len(ids)] = True
        return batch, mask


def tokenize(tokenizer: Any, prompts: Sequence[Prompt]) -> Tokens:
    """Prompts -> Tokens. `tokenizer`: a fast one, which knows the characters of its tokens.

    A token belongs to the subject if it holds at least one of its characters.

    Raises `PromptError` for no prompt, and for one that holds no token.
    """
    if not prompts:
        raise PromptError("no prompt was given: give at least one")
    encoded = tokenizer(
        [prompt.text for prompt in prompts],
        add_special_tokens=False,
        return_offsets_mapping=True,
    )
    ids: list[Tensor] = []
    subject: list[tuple[int, int] | None] = []
    rows = zip(prompts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
    for prompt, row, offsets in rows:
        if not row:
            raise PromptError(f"the prompt {prompt.text!r} holds no token: give it some words")
        ids.append(torch.tensor(row, dtype=torch.long))
        subject.append(_span(offsets, prompt.subject_span))
    return Tokens(ids=ids, subject=subject)


def _span(
    offsets: Sequence[tuple[int, int]], characters: tuple[int, int] | None
) -> tuple[int, int] | None:
    if characters is None:
        return None
    start, end = characters
    inside = [index for index, (a, b) in enumerate(offsets) if max(a, start) < min(b, end)]
    return (inside[0], inside[-1] + 1) if inside else None


def resolve_position(tokens: Tokens, row: int, position: int | str) -> int:
    """The index of a position in one prompt: a name of `POSITION_NAMES`, or an index, which may
    count from the prompt's own end (-1 is its last token).

    Raises `ConfigError` for an unknown name or an index outside the prompt, `PromptError` where
    the prompt has no subject.
    """
    length = len(tokens.ids[row])
    if isinstance(position, str):
        if position not in POSITION_NAMES:
            raise unknown_name("position", position, POSITION_NAMES)
        if position == "last":
            return length - 1
        span = tokens.subject[row]
        if span is None:
            raise PromptError(
                f"position {position!r} of prompt {row} was asked for, and it has no subject: give "
                "a Prompt with subject_span"
            )
        return span[0] if position == "subject_first" else span[1] - 1
    if not -length <= position < length:
        raise ConfigError(f"position {position} is outside prompt {row}, which has {length} tokens")
    return position % length


def token_text(tokenizer: Any, token: int) -> str:
    """The text of one token, with the space that it begins with.

    Tokenizers in which a space is the sign `▁` drop it from what they decode first.
    """
    text = tokenizer.decode([token])
    begins = str(tokenizer.convert_ids_to_tokens(token)).startswith("▁")
    return f" {text}" if begins and not text.startswith(" ") else text
