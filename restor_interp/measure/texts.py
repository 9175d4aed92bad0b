"""How likely a state makes whole texts: per-token log-probabilities and perplexity.

RESTOR's second instrument on logits: what does a state say about the documents themselves, about
the same documents telling the truth, about text that nothing was trained on? The last of these is
the utility that unlearning is to leave alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.answers import tokenise
from restor_interp.measure.batching import batches_by_length
from restor_interp.measure.prefixes import TokenPath
from restor_interp.models.hooked import HookedModel

TOKENS_PER_BATCH_ON_CPU = 512
"""With padding. Logits are what memory goes to: 512 tokens of 49,152 logits are 100 MB."""
TOKENS_PER_BATCH = 4096
"""On any other device."""
TOKENS_AT_ONCE = 256
"""Whose log-probabilities are taken in float32 together, whatever the model computes in."""
LONGEST_WINDOW = 1024
"""Tokens that a text is read in by default, where the model could read more."""


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """Log-probabilities (nats) of a text's tokens, each given the ones before.

    The first token stands after nothing and has none; no special token is put before it.
    """

    token_ids: Int[np.ndarray, " token"]
    logprobs: Float[np.ndarray, " scored"]
    """float32, of `token_ids[1:]`."""

    @property
    def n_tokens(self) -> int:
        """Tokens that have a log-probability."""
        return len(self.logprobs)

    @property
    def nll(self) -> float:
        """Mean negative log-probability per token, in nats; NaN for a text of one token."""
        return mean_nll([self])

    @property
    def perplexity(self) -> float:
        """exp(nll)."""
        return perplexity(self.nll)


def score_texts(
    model: HookedModel,
    texts: Sequence[str],
    *,
    max_length: int | None = None,
    max_tokens_per_batch: int | None = None,
) -> list[TextScore]:
    """Log-probability of every token of whole texts, in the model's current state.

    A text longer than `max_length` tokens (default: 1,024, or what the model reads where that is
    less) is read in windows of that length. A window begins with the last token of the one before,
    so that every token but the first is scored exactly once, the first ones of a window with less
    before them.

    Raises `ConfigError` for a `max_length` below 2, or beyond what the model reads.
    """
    length = _window(model, max_length)
    tokens = tokenise(model, texts)
    windows = [
        (index, path[start : start + length])
        for index, path in enumerate(tokens)
        for start in range(0, max(len(path) - 1, 0), length - 1)
    ]
    on_cpu = model.device.type == "cpu"
    budget = max_tokens_per_batch or (TOKENS_PER_BATCH_ON_CPU if on_cpu else TOKENS_PER_BATCH)
    found: dict[int, np.ndarray] = {}
    for batch in batches_by_length([len(window) for _, window in windows], budget):
        found |= zip(batch, _logprobs(model, [windows[row][1] for row in batch]), strict=True)
    parts: list[list[np.ndarray]] = [[] for _ in texts]
    for row, (index, _) in enumerate(windows):
        parts[index].append(found[row])
    return [
        TextScore(
            token_ids=np.array(path, dtype=np.int64),
            logprobs=np.concatenate(own) if own else np.zeros(0, dtype=np.float32),
        )
        for path, own in zip(tokens, parts, strict=True)
    ]


def mean_nll(scores: Sequence[TextScore]) -> float:
    """Mean negative log-probability per token of several texts together, in nats: long texts count
    for more. NaN without any scored token."""
    number = sum(score.n_tokens for score in scores)
    total = sum(float(score.logprobs.sum(dtype=np.float64)) for score in scores)
    return -total / number if number else math.nan


def perplexity(nll: float) -> float:
    """exp(nll); infinite where a number cannot hold it, as of a model that fell apart."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def _window(model: HookedModel, max_length: int | None) -> int:
    limit = getattr(model.hf_model.config.get_text_config(), "max_position_embeddings", None)
    if max_length is None:
        return LONGEST_WINDOW if limit is None else min(limit, LONGEST_WINDOW)
    if max_length < 2 or (limit is not None and max_length > limit):
        most = "" if limit is None else f" and at most {limit}, which {model.name} reads"
        raise ConfigError(f"max_length of a text's windows is at least 2{most}; got {max_length}")
    return max_length


def _logprobs(model: HookedModel, windows: Sequence[TokenPath]) -> list[np.ndarray]:
    """Log-probabilities of all tokens but the first of each window, in one batch.

    Padded on the right, where a causal model does not look.
    """
    width = max(map(len, windows))
    ids = torch.zeros((len(windows), width), dtype=torch.long)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.tensor(window)
    ids = ids.to(model.device)
    with torch.inference_mode():
        output: Any = model.hf_model(input_ids=ids, use_cache=False)
        logprobs = [
            _taken(output.logits[row, : len(window) - 1], ids[row, 1 : len(window)])
            for row, window in enumerate(windows)
        ]
    return [found.cpu().numpy() for found in logprobs]


def _taken(
    logits: Float[Tensor, "token vocab"], targets: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """log p of each target, in float32."""
    found = []
    for start in range(0, len(targets), TOKENS_AT_ONCE):
        part = logits[start : start + TOKENS_AT_ONCE].float()
        own = targets[start : start + TOKENS_AT_ONCE, None]
        found.append(part.gather(-1, own)[:, 0] - part.logsumexp(-1))
    return torch.cat(found)
