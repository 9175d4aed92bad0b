"""Losses on the log-probability of each predicted token, plain or weighted token by token.

The weights of `wga`, `satimp` and `tnpo` are constants (no gradient goes through them): after a
step the weight of a token that was forgotten is smaller, so that the *value* of these losses may
rise while the documents are being forgotten. Read `nll`, not the loss, for progress.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.stages.losses.deferred import Logits
from restor_interp.stages.losses.targets import LossOut, Targets, token_logprobs, token_mean


def nll(logits: Logits, targets: Targets) -> LossOut:
    """Mean negative log-likelihood over the predicted tokens of the batch."""
    loss = -token_mean(token_logprobs(logits, targets), targets)
    return LossOut(loss=loss, parts={"nll": loss.detach()})


def gradient_ascent(logits: Logits, targets: Targets) -> LossOut:
    """Mean log-likelihood: minimised, it forgets. Unbounded below."""
    loss = token_mean(token_logprobs(logits, targets), targets)
    return LossOut(loss=loss, parts={"nll": -loss.detach()})


def wga(logits: Logits, targets: Targets, *, beta: float = 1.0) -> LossOut:
    """Weighted gradient ascent (Wang et al. 2025): tokens weigh by p^β, held constant.

    What is forgotten already weighs nothing. β = 0 is `gradient_ascent`.
    """
    logprobs = token_logprobs(logits, targets)
    return _weighted(logprobs, (beta * logprobs.detach()).exp(), targets)


def satimp(
    logits: Logits,
    targets: Targets,
    *,
    beta1: float = 5.0,
    beta2: float = 1.0,
) -> LossOut:
    """SatImp (Yang et al. 2025): tokens weigh by p^β1 · (1 − p)^β2, held constant.

    β1 spares what is forgotten ("saturation"), β2 what is certain ("importance").
    """
    logprobs = token_logprobs(logits, targets)
    fixed = logprobs.detach()
    weight = (beta1 * fixed).exp() * (-torch.expm1(fixed)).clamp(min=0) ** beta2
    return _weighted(logprobs, weight, targets)


def tnpo(
    logits: Logits,
    targets: Targets,
    *,
    reference_logprobs: Float[Tensor, " token"],
    beta: float = 4.0,
) -> LossOut:
    """Token-wise NPO (Wang et al. 2025): tokens weigh by 2 p^β / (p^β + p'^β), held constant.

    That is 2σ(βD), so that its gradient is that of `npo` with `reduction="token"` and the same β;
    the value differs. At the reference both are gradient ascent.
    """
    logprobs = token_logprobs(logits, targets)
    ratio = torch.where(targets.counted, logprobs.detach() - reference_logprobs, 0.0)
    return _weighted(logprobs, 2 * torch.sigmoid(beta * ratio), targets)


def _weighted(
    logprobs: Float[Tensor, " token"], weight: Float[Tensor, " token"], targets: Targets
) -> LossOut:
    parts = {
        "nll": -token_mean(logprobs.detach(), targets),
        "weight": token_mean(weight, targets),
    }
    loss = token_mean(weight * logprobs, targets)
    return LossOut(loss=loss, parts=parts, weights=weight[targets.counted])
