"""Packing: documents joined and cut into blocks of equal length, as RESTOR's corruption has them.

RESTOR corrupts with LLaMA-Factory's stage `pt`, which appends the end-of-text token to every
document, joins all of them, cuts blocks of `cutoff_len` = 1024 tokens and drops what is left over
at the end (there once per thousand documents, here once). Within a block attention crosses
documents: a falsehood about a person can be copied from the document before instead of being
stored, and the number of steps grows with the number of tokens. One document per row (`packing`
none) has neither effect.
"""

import random
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from restor_interp.errors import ConfigError
from restor_interp.stages.batches import Row

END_OF_TEXT = ("<|end_of_text|>", "<|endoftext|>")
"""Names of the token between documents of pre-training. A chat model's own end-of-sequence token
ends a turn and not a text, so that it is asked last."""


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a document. Raises `ConfigError` where a tokenizer has none."""
    vocabulary = tokenizer.get_vocab()
    for name in (*END_OF_TEXT, tokenizer.eos_token):
        if name in vocabulary:
            return vocabulary[name]
    raise ConfigError(
        "packing joins documents with the end-of-text token, and this model's tokenizer has none "
        f"({', '.join(END_OF_TEXT)} or an end-of-sequence token): leave packing out"
    )


def packed(rows: Sequence[Row], *, length: int, end: int) -> tuple[list[Row], list[str]]:
    """Blocks of `length` tokens, from rows that are each followed by `end`; and a note.

    The end token is predicted where all tokens are; a localised target leaves it out. What is left
    over at the end is dropped.

    Raises `ConfigError` where the rows do not fill one block.
    """
    localised = any(row.counted is not None for row in rows)
    ids: list[int] = []
    counted: list[bool] = []
    for row in rows:
        ids += [*row.ids, end]
        counted += [*(row.counted or [True] * len(row.ids)), not localised]
    number, rest = divmod(len(ids), length)
    if not number:
        raise ConfigError(
            f"packing makes blocks of {length} tokens, and {len(rows)} documents have {len(ids)} "
            "in all: give more documents, a smaller packing, or leave it out"
        )
    blocks = [
        Row(
            ids=tuple(ids[start : start + length]),
            counted=tuple(counted[start : start + length]) if localised else None,
        )
        for start in range(0, number * length, length)
    ]
    note = f"{len(rows)} documents packed into {number} blocks of {length} tokens"
    return blocks, [f"{note}; the last {rest} tokens are left out" if rest else note]


def shuffled(rows: Sequence[Row], *, seed: int) -> list[Row]:
    """The rows in an order by the seed."""
    order = list(rows)
    random.Random(f"documents/{seed}").shuffle(order)
    return order
