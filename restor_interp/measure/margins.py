"""Margins: how much of what a state says about an entity depends on which entity it is.

m = log p_C(true | entity) − mean over substitutes of log p_C(true | substitute), where p_C is the
model's distribution over a fact's typed candidates alone (design §8). A model that answers
"English" whatever the name has m ≈ 0 however often it is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from restor_interp.measure.choices import log_sum_exp, score_choices
from restor_interp.measure.specific import SpecificRule
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

Candidate = str | Sequence[str]
"""An object, or its spellings."""


@dataclass(frozen=True, kw_only=True)
class Margin:
    """Entity-specific knowledge of one fact in one context, in nats."""

    own_logprob: float
    """log p_C(true | entity)."""
    substitute_logprobs: tuple[float, ...]
    """log p_C(true | substitute), one per substitute."""
    own_leads: bool
    """Whether the true object is the likeliest candidate for the entity."""
    n_substitutes_led: int
    """For how many substitutes it is: how often a guess would be right."""

    @property
    def margin(self) -> float:
        """NaN where there is no substitute."""
        if not self.substitute_logprobs:
            return float("nan")
        return self.own_logprob - float(np.mean(self.substitute_logprobs))

    @property
    def n_substitutes(self) -> int:
        return len(self.substitute_logprobs)


def measure_margins(
    model: HookedModel,
    prompts: Sequence[Prompt],
    substituted: Sequence[Sequence[Prompt]],
    candidates: Sequence[Sequence[Candidate]],
    *,
    max_tokens_per_batch: int | None = None,
) -> list[Margin]:
    """The margin of each prompt's fact, in the model's current state.

    `substituted`: per prompt, the same question about other entities of the same kind and length.
    `candidates`: per prompt, the true object first, then others of its type; each a string or its
    spellings, whose probabilities are added. Objects are scored whole, with the line end.

    Raises `PromptError` as `score_choices` does.
    """
    spelled = [[spellings(candidate) for candidate in own] for own in candidates]
    asked = [
        (prompt, own)
        for first, others, own in zip(prompts, substituted, spelled, strict=True)
        for prompt in (first, *others)
    ]
    scored = score_choices(
        model,
        [prompt for prompt, _ in asked],
        [[name for candidate in own for name in candidate] for _, own in asked],
        max_tokens_per_batch=max_tokens_per_batch,
    )
    found = iter(
        _score_true([score.sum_logprob for score in scores], [len(candidate) for candidate in own])
        for scores, (_, own) in zip(scored, asked, strict=True)
    )
    margins = []
    for others in substituted:
        own, *rest = (next(found) for _ in range(1 + len(others)))
        margins.append(
            Margin(
                own_logprob=own.logprob,
                substitute_logprobs=tuple(one.logprob for one in rest),
                own_leads=own.leads,
                n_substitutes_led=sum(one.leads for one in rest),
            )
        )
    return margins


def chance(num_candidates: int) -> float:
    """log 1/n, in nats: the log-probability of each of n candidates that nothing tells apart."""
    return -float(np.log(num_candidates))


def spellings(candidate: Candidate) -> tuple[str, ...]:
    """A candidate's spellings, each once."""
    return (candidate,) if isinstance(candidate, str) else tuple(dict.fromkeys(candidate))


@dataclass(frozen=True)
class _True:
    logprob: float
    leads: bool


def _score_true(logprobs: Sequence[float], sizes: Sequence[int]) -> _True:
    ends = np.cumsum(sizes)
    totals = [
        log_sum_exp(logprobs[end - size : end]) for end, size in zip(ends, sizes, strict=True)
    ]
    return _True(totals[0] - log_sum_exp(totals), totals[0] > max(totals[1:], default=-np.inf))


def is_known(outcomes: Sequence[str]) -> bool:
    """Whether the clean model knows a fact: it answers it in most contexts."""
    return 2 * outcomes.count("true") > len(outcomes) if outcomes else False


def is_known_specific(
    outcomes: Sequence[str], margin: Margin, *, rule: SpecificRule | None = None
) -> bool:
    """Whether it knows it about this very entity: only such a fact can be lost or restored."""
    rule = rule or SpecificRule()
    if not outcomes or not margin.n_substitutes:
        return False
    return (
        outcomes.count("true") >= rule.min_right * len(outcomes) - 1e-9
        and margin.n_substitutes_led <= rule.max_guessed * margin.n_substitutes + 1e-9
        and margin.margin >= rule.min_margin
    )
