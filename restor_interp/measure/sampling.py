"""Sampled answers: how a distribution is cut, and how a token is drawn from it.

The operations and their order are those of transformers' `generate(do_sample=True)`: tokens that
may not come yet are forbidden, then temperature, then `top_k`, then `top_p`. A token is drawn by
one uniform number: the first token, in the order of the vocabulary, at which the cumulative
probability exceeds it. The numbers belong to (seed, fact, context, template, draw) and to nothing
else: a question is asked with the same luck in every state and in every batch.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.sampling_styles import STYLES
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

SHORTLIST = 512
"""Likeliest tokens among which `top_p` is looked for before a whole vocabulary is sorted."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How answers are drawn."""

    draws: int
    """Answers per prompt."""
    temperature: float = 1.0
    """Logits are divided by it."""
    top_k: int | None = None
    """Only so many of the likeliest tokens; None: all."""
    top_p: float = 1.0
    """The smallest set of the likeliest tokens that has at least this probability."""
    min_new_tokens: int = 0
    """The end of the text does not come before; a line end does, and ends the answer."""
    max_length: int | None = None
    """Most tokens of prompt and answer together, beside the limit on the answer alone."""
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = (
            ("draws", self.draws >= 1, "at least 1"),
            ("temperature", self.temperature > 0, "above 0; a greedy answer is `generate_answers`"),
            ("top_k", self.top_k is None or self.top_k >= 1, "at least 1, or None"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_new_tokens", self.min_new_tokens >= 0, "at least 0"),
            ("max_length", self.max_length is None or self.max_length >= 1, "at least 1, or None"),
        )
        for name, fits, wanted in allowed:
            if not fits:
                raise ConfigError(f"{name} of sampled answers is {wanted}; got {vars(self)[name]}")

    @classmethod
    def of_restor(cls, model: HookedModel, *, draws: int = 3, seed: int = 0) -> "Sampling":
        """RESTOR's: the generation defaults of the model, 2 tokens at least, 200 with the prompt.

        Where the model names none, transformers' own defaults hold: temperature 1, the 50
        likeliest tokens, no `top_p`. An answer is cut at its line end, so ask for
        `max_new_tokens=200`.
        """
        paper, configured = STYLES["paper"], model.hf_model.generation_config
        temperature, top_k, top_p = (
            getattr(configured, name, None) for name in ("temperature", "top_k", "top_p")
        )
        return cls(
            draws=draws,
            temperature=1.0 if temperature is None else temperature,
            top_k=paper.top_k if top_k is None else top_k or None,
            top_p=1.0 if top_p is None else top_p,
            min_new_tokens=paper.min_new_tokens,
            max_length=paper.max_length,
            seed=seed,
        )


class Pick(NamedTuple):
    """One token is to be drawn after a path."""

    sampling: Sampling
    uniform: float
    """In [0, 1)."""
    forbidden: tuple[int, ...] = ()
    """Tokens that may not come."""


def luck(prompt: Prompt, draw: int, seed: int) -> Iterator[float]:
    """The uniform numbers of one answer, one per token."""
    asked = prompt.fact_id or prompt.text
    name = f"answers/{seed}/{asked}/{prompt.context_id}/{prompt.template}/{draw}"
    numbers = random.Random(name)
    while True:
        yield numbers.random()


def distribution(
    logits: Float[Tensor, "row vocab"], sampling: Sampling, forbidden: Sequence[int] = ()
) -> Float[Tensor, "row vocab"]:
    """Probabilities of the next token after temperature, `top_k` and `top_p`, in float64."""
    logits = logits.double()
    if forbidden:
        logits = logits.index_fill(
            -1, torch.tensor(forbidden, dtype=torch.long, device=logits.device), -torch.inf
        )
    logits = logits / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probs = logits.softmax(-1)
    if sampling.top_p == 1:
        return probs
    kept = _nucleus(probs, sampling.top_p)
    return kept / kept.sum(-1, keepdim=True)


def _nucleus(probs: Float[Tensor, "row vocab"], top_p: float) -> Float[Tensor, "row vocab"]:
    """The likeliest tokens whose predecessors have less than `top_p` together; the others 0."""
    size = min(SHORTLIST, probs.shape[-1])
    values, tokens = probs.topk(size, dim=-1)
    if size < probs.shape[-1] and bool((values.sum(-1) < top_p).any()):
        values, tokens = probs.sort(dim=-1, descending=True, stable=True)
    before = values.cumsum(-1) - values
    return torch.zeros_like(probs).scatter(-1, tokens, values * (before < top_p))


def draw_tokens(
    logits: Float[Tensor, "row vocab"], rows: Sequence[int], picks: Sequence[Pick]
) -> list[int]:
    """The token of each pick, drawn after the logits of its row."""
    drawn: list[int] = [0] * len(picks)
    alike: dict[tuple[Sampling, tuple[int, ...]], list[int]] = {}
    for index, pick in enumerate(picks):
        alike.setdefault((pick.sampling, pick.forbidden), []).append(index)
    for (sampling, forbidden), own in alike.items():
        row_of = {row: place for place, row in enumerate(dict.fromkeys(rows[i] for i in own))}
        probs = distribution(logits[list(row_of)], sampling, forbidden)
        cumulative = probs.cumsum(-1)
        places = [row_of[rows[index]] for index in own]
        uniforms = torch.tensor(
            [[picks[index].uniform] for index in own], dtype=torch.float64, device=logits.device
        )
        ends = cumulative[places]
        found = torch.searchsorted(ends, uniforms * ends[:, -1:], right=True)[:, 0]
        # By rounding a number may lie at the very end: the last token that can come at all.
        last = (ends < ends[:, -1:]).sum(-1)
        for index, token in zip(own, torch.minimum(found, last).tolist(), strict=True):
            drawn[index] = token
    return drawn
