"""Losses on whole next-token distributions: away from the reference, near it, or to an edit of it.

The targets of `undial` and `ceu` are constants: no gradient goes through them.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.stages.losses.deferred import Logits, per_token
from restor_interp.stages.losses.targets import (
    NOTHING,
    LossOut,
    Targets,
    chosen,
    log_softmax,
    mean_or_zero,
    token_mean,
)

PerToken = tuple[Float[Tensor, " token"], Float[Tensor, " token"]]
"""A loss at each position, and the log-probability of the token there."""


def kl_divergence(logits: Logits, targets: Targets, *, reference_logits: Logits) -> LossOut:
    """Minus the mean KL(pθ ‖ p_c) at the predicting positions: minimised, it moves away from c."""

    def divergences(
        logits: Tensor, token: Int[Tensor, " token"], reference_logits: Tensor
    ) -> PerToken:
        logprobs, reference = log_softmax(logits), log_softmax(reference_logits)
        divergence = (logprobs.exp() * (logprobs - reference)).sum(dim=-1)
        return divergence, chosen(logprobs, token)

    divergence, logprobs = per_token(divergences, logits, targets.token, reference_logits)
    loss = -token_mean(divergence, targets)
    parts = {"nll": -token_mean(logprobs, targets), "kl": -loss.detach()}
    return LossOut(loss=loss, parts=parts)


def cross_entropy_to_reference(
    logits: Logits, targets: Targets, *, reference_logits: Logits
) -> LossOut:
    """Minus the mean of H(pθ, p_c) = −Σ pθ log(p_c + 1e-12) over *all* given positions.

    What RESTOR's code computes under the name KL (`unlearning/unlearn/KL.py`): no entropy of pθ,
    no mask. Give it `every_position` for RESTOR's numbers.
    """

    def expectations(
        logits: Tensor, token: Int[Tensor, " token"], reference_logits: Tensor
    ) -> PerToken:
        logprobs, reference = log_softmax(logits), log_softmax(reference_logits)
        # log(p + 1e-12) without leaving log space, where a tiny p would underflow.
        floored = torch.logaddexp(reference, reference.new_tensor(math.log(1e-12)))
        return (logprobs.exp() * floored).sum(dim=-1), chosen(logprobs, token)

    expectation, logprobs = per_token(expectations, logits, targets.token, reference_logits)
    loss = mean_or_zero(expectation)
    parts = {"nll": -token_mean(logprobs, targets), "cross_entropy": -loss.detach()}
    return LossOut(loss=loss, parts=parts)


def kl_from_reference(logits: Logits, targets: Targets, *, reference_logits: Logits) -> LossOut:
    """Mean KL(p_c ‖ pθ) at the predicting positions: minimised, it stays at c."""

    def divergences(
        logits: Tensor, token: Int[Tensor, " token"], reference_logits: Tensor
    ) -> PerToken:
        logprobs, reference = log_softmax(logits), log_softmax(reference_logits)
        divergence = (reference.exp() * (reference - logprobs)).sum(dim=-1)
        return divergence, chosen(logprobs, token)

    divergence, logprobs = per_token(divergences, logits, targets.token, reference_logits)
    loss = token_mean(divergence, targets)
    parts = {"nll": -token_mean(logprobs, targets), "kl": loss.detach()}
    return LossOut(loss=loss, parts=parts)


def undial(
    logits: Logits, targets: Targets, *, reference_logits: Logits, beta: float = 10.0
) -> LossOut:
    """UNDIAL (Dong et al. 2024): the reference's distribution with β taken off the token's logit.

    Mean H(q, pθ), q = softmax(z' − β·onehot(token)): whatever the start state held second comes
    first. The published code averages over prompt and padding too, and there takes β off the
    token at index −100 from the end; here only predicted tokens count.
    """

    def distilled(
        logits: Tensor, token: Int[Tensor, " token"], reference_logits: Tensor
    ) -> PerToken:
        label = token.clamp(min=0)[:, None]
        edited = reference_logits.float().scatter_add(
            -1, label, reference_logits.new_full(label.shape, -beta, dtype=torch.float32)
        )
        return _distilled(logits, edited.detach(), token)

    entropy, logprobs = per_token(distilled, logits, targets.token, reference_logits)
    return _mean(entropy, logprobs, targets, targets)


def ceu(logits: Logits, targets: Targets, *, ignore_first: int = 1) -> LossOut:
    """CE-U (Yang 2025): the model's own present distribution without the token, renormalised.

    Mean H(q, pθ), q = softmax of z with −∞ at the token. The first `ignore_first` predicted tokens
    of a row are left out, one in the source (it is the first token of an answer there).
    """

    def distilled(logits: Tensor, token: Int[Tensor, " token"]) -> PerToken:
        label = token.clamp(min=0)[:, None]
        return _distilled(logits, logits.detach().float().scatter(-1, label, -math.inf), token)

    kept = targets if ignore_first == 0 else _without_first(targets, ignore_first)
    entropy, logprobs = per_token(distilled, logits, targets.token)
    return _mean(entropy, logprobs, kept, targets)


def _distilled(logits: Tensor, edited: Tensor, token: Int[Tensor, " token"]) -> PerToken:
    logprobs, teacher = log_softmax(logits), edited.softmax(dim=-1)
    return -(teacher * logprobs).sum(dim=-1), chosen(logprobs, token)


def _mean(
    entropy: Float[Tensor, " token"],
    logprobs: Float[Tensor, " token"],
    kept: Targets,
    targets: Targets,
) -> LossOut:
    parts = {"nll": -token_mean(logprobs, targets)}
    return LossOut(loss=token_mean(entropy, kept), parts=parts)


def _without_first(targets: Targets, number: int) -> Targets:
    """The same positions, of which the first `number` predicted ones of each row predict nothing.

    Counted along `position` and not along the order in which they come.
    """
    same_row = targets.row[:, None] == targets.row
    earlier = (targets.position < targets.position[:, None]) & targets.counted
    rank = (same_row & earlier).sum(dim=1)
    token = torch.where(rank >= number, targets.token, NOTHING)
    return replace(targets, token=token)
