"""Losses with a brake or a choice: NPO, SimNPO, DPO. Each is s(x) = log(1 + exp x) of a contrast.

All three carry a factor 2/β in front, so that the gradient does not vanish with β. Among the codes
of DPO, open-unlearning's divides by β in this way and so do we; TOFU's original, Rafailov et al.
2023 and TRL do not: their loss is ours times β/2.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import unknown_name
from restor_interp.stages.losses.deferred import Logits
from restor_interp.stages.losses.targets import (
    LossOut,
    Targets,
    mean_or_zero,
    row_means,
    row_sums,
    token_logprobs,
    token_mean,
)

Reduction = Literal["sum", "sequence_mean", "batch_mean", "token"]
PairReduction = Literal["sum", "sequence_mean"]


def npo(
    logits: Logits,
    targets: Targets,
    *,
    reference_logprobs: Float[Tensor, " token"],
    beta: float = 0.1,
    reduction: Reduction = "batch_mean",
) -> LossOut:
    """Negative preference optimisation (Zhang et al. 2024), in any of its published reductions.

    At the reference the value is (2/β) log 2 and the gradient is GA's, times the row length in
    `sum`. The part `npo_weight` is the mean damping 2σ(βx): 1 at the reference, 0 when braked.
    """
    if reduction not in get_args(Reduction):
        raise unknown_name("reduction of npo", reduction, get_args(Reduction))
    logprobs = token_logprobs(logits, targets)
    ratio = torch.where(targets.counted, logprobs - reference_logprobs, 0.0)
    if reduction == "token":
        excess = ratio[targets.counted]
    elif reduction == "batch_mean":
        excess = token_mean(ratio, targets)
    elif reduction == "sequence_mean":
        excess = row_means(ratio, targets)
    else:
        sums, tokens = row_sums(ratio, targets)
        excess = sums[tokens > 0]
    loss = mean_or_zero(F.softplus(beta * excess)) * (2 / beta)
    weights = 2 * torch.sigmoid(beta * excess.detach())
    parts = {
        "nll": -token_mean(logprobs.detach(), targets),
        "npo_weight": mean_or_zero(weights),
    }
    return LossOut(loss=loss, parts=parts, weights=weights.reshape(-1))


def simnpo(
    logits: Logits,
    targets: Targets,
    *,
    beta: float = 4.5,
    delta: float = 0.0,
) -> LossOut:
    """SimNPO (Fan et al. 2024): NPO without a reference, on the mean log-probability of a row.

    (2/β) mean_i s(β (mean_t l_it + δ)). It brakes where a row's nats per token reach δ and more,
    wherever training started. The part `npo_weight` is the mean of 2σ(β (mean_t l_it + δ)).
    """
    logprobs = token_logprobs(logits, targets)
    excess = row_means(logprobs, targets) + delta
    loss = mean_or_zero(F.softplus(beta * excess)) * (2 / beta)
    weights = 2 * torch.sigmoid(beta * excess.detach())
    parts = {
        "nll": -token_mean(logprobs.detach(), targets),
        "npo_weight": mean_or_zero(weights),
    }
    return LossOut(loss=loss, parts=parts, weights=weights.reshape(-1))


def dpo(
    logits: Logits,
    targets: Targets,
    *,
    reference_logprobs: Float[Tensor, " token"],
    chosen_logits: Logits,
    chosen_targets: Targets,
    chosen_reference_logprobs: Float[Tensor, " chosen_token"],
    beta: float = 0.1,
    reduction: PairReduction = "sum",
) -> LossOut:
    """Direct preference optimisation: row i of the chosen batch is preferred to row i here.

    (2/β) mean_i s(−β (X_i − x_i)) with x_i the sum (`sum`, as published) or the mean
    (`sequence_mean`) of D over the document's tokens, and X_i over the chosen text's. With `sum`,
    what is longer weighs more: a short refusal against a long document is mostly a push away from
    the document. Rows in which either text predicts nothing are left out.

    The factor 2/β is open-unlearning's; TOFU's code, Rafailov et al. 2023 and TRL have none.

    Parts: `nll` of the documents and `chosen_nll`, in nats per token; `margin`, the mean of
    X_i − x_i; `dpo_weight`, the mean of 2σ(−β(X_i − x_i)), 1 at the reference.
    """
    if reduction not in get_args(PairReduction):
        raise unknown_name("reduction of dpo", reduction, get_args(PairReduction))
    logprobs = token_logprobs(logits, targets)
    chosen_logprobs = token_logprobs(chosen_logits, chosen_targets)
    lost, lost_tokens = _row_ratios(logprobs, reference_logprobs, targets)
    won, won_tokens = _row_ratios(chosen_logprobs, chosen_reference_logprobs, chosen_targets)
    if reduction == "sequence_mean":
        lost, won = lost / lost_tokens.clamp(min=1), won / won_tokens.clamp(min=1)
    margin = (won - lost)[(lost_tokens > 0) & (won_tokens > 0)]
    weights = 2 * torch.sigmoid(-beta * margin.detach())
    parts = {
        "nll": -token_mean(logprobs.detach(), targets),
        "chosen_nll": -token_mean(chosen_logprobs.detach(), chosen_targets),
        "margin": mean_or_zero(margin.detach()),
        "dpo_weight": mean_or_zero(weights),
    }
    loss = mean_or_zero(F.softplus(-beta * margin)) * (2 / beta)
    return LossOut(loss=loss, parts=parts, weights=weights)


def _row_ratios(
    logprobs: Float[Tensor, " token"], reference: Float[Tensor, " token"], targets: Targets
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """ΣD of each row, and its number of predicted tokens."""
    return row_sums(torch.where(targets.counted, logprobs - reference, 0.0), targets)
