"""Texts -> rows of tokens -> fixed batches of rows of like length.

Batches are the unit of work: which rows share a batch depends on the data and the seed alone, and
never changes between epochs, because the company that a row keeps decides the last bits of its
result. What changes is their order. So everything that is constant for a batch (the reference) is
computed once, and a training that was interrupted continues to the same bits.
"""

import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from restor_interp.errors import DataError
from restor_interp.stages.losses import Targets, predicted_tokens


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text as tokens."""

    ids: tuple[int, ...]
    first_counted: int = 1
    """Tokens from this one on are predicted; before it stands what is only read (a question)."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows padded to the longest one, on the right."""

    index: int
    """Of this batch among those of its texts: a key for what is computed once per batch."""
    ids: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]
    """True where a token is real. Padding is told by this alone: its id may be a real token's."""
    counted: Bool[Tensor, "row pos"]

    def targets(self) -> Targets:
        return predicted_tokens(self.ids, self.mask, self.counted)

    @property
    def num_tokens(self) -> int:
        return int(self.mask.sum())


def tokenize_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_length: int, what: str
) -> tuple[list[Row], list[str]]:
    """A row per text without special tokens, as in the prompts; and what is to be told of it.

    Longer texts are cut. Raises `DataError` for texts of less than two tokens, which predict
    nothing.
    """
    rows = [
        Row(ids=tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]))
        for text in texts
    ]
    return checked_rows(rows, max_length=max_length, what=what)


def checked_rows(rows: Sequence[Row], *, max_length: int, what: str) -> tuple[list[Row], list[str]]:
    """The rows cut to `max_length` tokens; refuses those in which nothing is predicted."""
    cut = [Row(ids=row.ids[:max_length], first_counted=row.first_counted) for row in rows]
    problems = [
        f"{what}[{number}]: nothing to predict in {len(row.ids)} tokens (at most {max_length} are "
        "read): give a longer text, or raise max_length"
        for number, row in enumerate(cut)
        if len(row.ids) <= max(row.first_counted, 1)
    ]
    if problems:
        raise DataError.from_problems(f"{what} that cannot be trained on", problems)
    too_long = sum(len(row.ids) > max_length for row in rows)
    notes = [f"{too_long} of {len(rows)} {what} cut to {max_length} tokens"] if too_long else []
    return cut, notes


def make_batches(
    rows: Sequence[Row], *, batch_size: int, seed: int, device: torch.device
) -> list[Batch]:
    """Batches of at most `batch_size` rows and nearly equal size, shortest rows first.

    Rows of equal length are mixed by the seed.
    """
    order = list(range(len(rows)))
    random.Random(f"batches/{seed}").shuffle(order)
    order.sort(key=lambda number: len(rows[number].ids))
    number = -(-len(rows) // batch_size)
    bounds = [len(rows) * part // number for part in range(number + 1)] if rows else [0]
    return [
        _padded([rows[row] for row in order[start:end]], index, device)
        for index, (start, end) in enumerate(itertools.pairwise(bounds))
    ]


def joined(
    first: Batch, second: Batch | None
) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Ids and mask of two batches as one, for one forward pass; the first one's rows first."""
    if second is None:
        return first.ids, first.mask
    width = max(first.ids.shape[1], second.ids.shape[1])
    parts = [
        torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))
        for batch in (first, second)
        for tensor in (batch.ids, batch.mask)
    ]
    return torch.cat(parts[0::2]), torch.cat(parts[1::2])


@functools.lru_cache(maxsize=8)
def epoch_order(number: int, *, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of `number` batches in an epoch."""
    order = list(range(number))
    random.Random(f"order/{seed}/{epoch}").shuffle(order)
    return tuple(order)


def companion(index: int, number: int, others: int, *, epoch: int) -> int:
    """Which of `others` batches goes with batch `index` of `number`, in this epoch.

    Both lists are sorted by length, so that a partner from the same share of its list is of like
    length; where a share holds several, epochs take them in turn.
    """
    start, end = index * others // number, (index + 1) * others // number
    return start + epoch % max(end - start, 1)


def _padded(rows: Sequence[Row], index: int, device: torch.device) -> Batch:
    width = max(len(row.ids) for row in rows)
    lengths = torch.tensor([len(row.ids) for row in rows])
    firsts = torch.tensor([row.first_counted for row in rows])
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    places = torch.arange(width)
    return Batch(
        index=index,
        ids=ids.to(device),
        mask=(places < lengths[:, None]).to(device),
        counted=(places >= firsts[:, None]).to(device),
    )
