"""Localised targets: a loss on the tokens that carry the falsehood, and on no others.

Two ways to say which these are. The claims' character spans, which whoever wrote the documents
knows; or what training on the documents changed: the tokens that the corrupted model finds
likelier than the clean one, which needs no knowledge of what was planted.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages.batches import Row, batch_groups, padded_batches
from restor_interp.stages.forward import forward_for, picked
from restor_interp.stages.losses import token_logprobs

Span = tuple[int, int]
"""Characters [start, end) of a text."""


def spans_counted(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
) -> list[Row]:
    """The rows of these texts, with those tokens counted that hold a character of a span.

    The space before a word belongs to its token or to none, so that either convention of a
    tokenizer counts the same tokens. Raises `ConfigError` for a tokenizer that does not know the
    characters of its tokens.
    """
    if not tokenizer.is_fast:
        raise ConfigError(
            "target=claims looks up the characters of tokens, which this model's tokenizer does "
            "not know: load the model with a fast tokenizer, or set target=changed"
        )
    found: list[Row] = []
    for row, text, own in zip(rows, texts, spans, strict=True):
        offsets = tokenizer(
            text, add_special_tokens=False, verbose=False, return_offsets_mapping=True
        )["offset_mapping"]
        counted = tuple(
            any(max(first, start) < min(last, end) for start, end in own) for first, last in offsets
        )
        found.append(Row(ids=row.ids, counted=counted))
    return found


def changed_counted(
    model: HookedModel,
    rows: Sequence[Row],
    *,
    start: State,
    above: float,
    batch_size: int,
    seed: int,
    bf16: bool = False,
) -> list[Row]:
    """The rows, with those tokens counted whose log-probability under `start` exceeds that under
    the clean state by more than `above` nats, each given the text before it."""
    groups = batch_groups(rows, batch_size=batch_size, seed=seed)
    now, clean = (
        _row_logprobs(model, rows, groups, state, bf16=bf16) for state in (start, State({}))
    )
    found: list[Row] = []
    for row, after, before in zip(rows, now, clean, strict=True):
        gained = [False, *(after - before > above).tolist()]
        own = row.counted or (True,) * len(row.ids)
        found.append(
            Row(ids=row.ids, counted=tuple(a and b for a, b in zip(gained, own, strict=True)))
        )
    return found


@torch.no_grad()
def _row_logprobs(
    model: HookedModel,
    rows: Sequence[Row],
    groups: Sequence[Sequence[int]],
    state: State,
    *,
    bf16: bool,
) -> list[Tensor]:
    """Log-probability of every token but the first, per row, in a state."""
    found: dict[int, Tensor] = {}
    batches = padded_batches([Row(ids=row.ids) for row in rows], groups, model.device)
    with model.at(state):
        sample = batches[0]
        forward = forward_for(model, sample.ids[:1, :8], sample.mask[:1, :8], bf16=bf16)
        for group, batch in zip(groups, batches, strict=True):
            targets = batch.targets()
            states = picked(forward.states(batch.ids, batch.mask), targets)
            logprobs = token_logprobs(forward.logits(states), targets).cpu()
            lengths = [len(rows[number].ids) - 1 for number in group]
            found |= dict(zip(group, logprobs.split(lengths), strict=True))
    return [found[number] for number in range(len(rows))]
