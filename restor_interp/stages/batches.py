"""Texts as tokens, and fixed batches of rows of like length.

Batches are the unit of work: which rows share a batch depends on the data and the seed alone, and
never changes between epochs, because the company that a row keeps decides the last bits of its
result. What changes is their order. So everything that is constant for a batch (the reference) is
computed once, and a training that was interrupted continues to the same bits.
"""

import functools
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from restor_interp.errors import DataError
from restor_interp.stages.losses import Targets, predicted_tokens

MOST_PADDING = 0.25
"""Largest share of a forward pass that batches may waste on each other's length. A second pass
costs a processor as much as some 30 to 80 tokens do, so that below this it saves little."""

Name = TypeVar("Name")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One text as tokens."""

    ids: tuple[int, ...]
    counted: tuple[bool, ...] | None = None
    """Which tokens are predicted, one value per token; none: all. The others are only read, such
    as a question before its answer. The first token is predicted by nothing in any case."""

    @property
    def num_predicted(self) -> int:
        return len(self.ids[1:]) if self.counted is None else sum(self.counted[1:])

    def cut(self, length: int) -> "Row":
        """Its first `length` tokens."""
        counted = None if self.counted is None else self.counted[:length]
        return Row(ids=self.ids[:length], counted=counted)


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
    return checked_rows(whole_rows(tokenizer, texts), max_length=max_length, what=what)


def whole_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
    """A row per text, however long or short."""
    return [
        Row(ids=tuple(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]))
        for text in texts
    ]


def checked_rows(rows: Sequence[Row], *, max_length: int, what: str) -> tuple[list[Row], list[str]]:
    """The rows cut to `max_length` tokens; refuses those in which nothing is predicted."""
    cut = [row.cut(max_length) for row in rows]
    problems = [
        f"{what}[{number}]: nothing to predict in {len(row.ids)} tokens (at most {max_length} are "
        "read): give a longer text, or raise max_length"
        for number, row in enumerate(cut)
        if not row.num_predicted
    ]
    if problems:
        raise DataError.from_problems(f"{what} that cannot be trained on", problems)
    too_long = sum(len(row.ids) > max_length for row in rows)
    notes = [f"{too_long} of {len(rows)} {what} cut to {max_length} tokens"] if too_long else []
    return cut, notes


def make_batches(
    rows: Sequence[Row], *, batch_size: int, seed: int, device: torch.device, mixed: bool = True
) -> list[Batch]:
    """Batches of at most `batch_size` rows and nearly equal size; see `batch_groups`."""
    groups = batch_groups(rows, batch_size=batch_size, seed=seed, mixed=mixed)
    return padded_batches(rows, groups, device)


def batch_groups(
    rows: Sequence[Row], *, batch_size: int, seed: int, mixed: bool = True
) -> list[tuple[int, ...]]:
    """Which rows share a batch: those of like length, shortest first; rows of equal length are
    mixed by the seed. Not `mixed`: neighbours share one, as they come."""
    order = list(range(len(rows)))
    if mixed:
        random.Random(f"batches/{seed}").shuffle(order)
        order.sort(key=lambda number: len(rows[number].ids))
    number = -(-len(rows) // batch_size)
    bounds = [len(rows) * part // number for part in range(number + 1)] if rows else [0]
    return [tuple(order[start:end]) for start, end in itertools.pairwise(bounds)]


def padded_batches(
    rows: Sequence[Row], groups: Sequence[Sequence[int]], device: torch.device
) -> list[Batch]:
    """A batch per group of row numbers, in the groups' order."""
    return [
        _padded([rows[row] for row in group], index, device) for index, group in enumerate(groups)
    ]


def sharing_a_pass(batches: Mapping[Name, Batch]) -> list[list[Name]]:
    """Names of batches that go through a model together, in their order: neighbours, as long as
    the padding that joins them is at most `MOST_PADDING` of the tokens."""
    groups: list[list[Name]] = []
    for name in batches:
        together = [batches[other].ids for other in (*groups[-1], name)] if groups else []
        width = max((ids.shape[1] for ids in together), default=0)
        tokens, room = sum(ids.numel() for ids in together), width * sum(map(len, together))
        if together and room - tokens <= MOST_PADDING * room:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def joined(
    first: Batch, *others: Batch | None
) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Ids and mask of several batches as one, for one forward pass; the first one's rows first."""
    batches = [first, *(batch for batch in others if batch is not None)]
    if len(batches) == 1:
        return first.ids, first.mask
    width = max(batch.ids.shape[1] for batch in batches)
    parts = [
        torch.nn.functional.pad(tensor, (0, width - tensor.shape[1]))
        for batch in batches
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
    ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows])
    mask = torch.arange(width) < lengths[:, None]
    counted = mask.clone()
    for place, row in enumerate(rows):
        if row.counted is not None:
            counted[place, : len(row.counted)] = torch.tensor(row.counted)
    return Batch(index=index, ids=ids.to(device), mask=mask.to(device), counted=counted.to(device))
