"""What training minimises: pure functions of logits, each importable alone.

    targets = predicted_tokens(ids, mask)                     # the one shift and the one mask
    logits = model(ids, mask)[targets.row, targets.position]
    out = LOSSES["npo"](logits, targets, reference_logprobs=reference, beta=0.1)

One convention for all methods: every function here returns what is *minimised*, and

    total = forget_weight · forget + retain_weight · retain

Symbols below: l = log pθ(token), l' = the same under the reference c (the start state), D = l − l',
T_i the number of predicted tokens of row i, N their number in the batch; sums run over them.

| name            | value                                       | papers and code                  |
| --------------- | ------------------------------------------- | -------------------------------- |
| `nll`           | −(1/N) Σ l                                  | fine-tuning; every method's L_r  |
| `ga`            | +(1/N) Σ l                                  | GA; −CE_f in RESTOR's code       |
| `kl_restor`     | −mean over ALL positions of H(pθ, p_c)      | RESTOR's and SOUL's `KL.py`, its |
|                 |                                             | γ is our forget_weight           |
| `kl`            | −(1/N) Σ KL(pθ ‖ p_c)                       | "KL" in RESTOR's README          |
| `npo`           | by `reduction`, with s(x) = log(1 + exp x): | Zhang et al. 2024 (2404.05868)   |
| · sum           | (2/β) mean_i s(β Σ_t D_it)                  | official NPO, open-unlearning    |
| · sequence_mean | (2/β) mean_i s(β/T_i Σ_t D_it)              | unlearning-taxonomy              |
| · batch_mean    | (2/β) s(β/N Σ D)                            | RESTOR's and SOUL's `NPO.py`     |
| · token         | (2/β) (1/N) Σ s(β D)                        | "NPO" in RESTOR's README         |
| `kl_retain`     | +(1/N) Σ KL(p_c ‖ pθ)                       | TOFU, open-unlearning            |

In GA and NPO RESTOR's γ weighs the retain term (our retain_weight); in KL the forget term.

Three traps. True `kl` has zero gradient where θ = c, so alone it does not move at the first step:
only the retain term, or noise, does. `kl_restor` is a cross-entropy and not a divergence: its
extremes are one-hot distributions, and it depends on how the batch was padded. A β means
something else in each reduction of NPO: the gradient is GA's times 2σ(βx) with x the mean or the
*sum* of D, so that at one nat per token over 100 tokens β = 0.1 leaves 0.95 of it (`token`,
`batch_mean`, `sequence_mean`) or nothing (`sum`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from restor_interp.errors import unknown_name

NOTHING = -1
"""The token of a position that predicts none: padding, and a row's last token."""

Reduction = Literal["sum", "sequence_mean", "batch_mean", "token"]
Reference = Literal["logprobs", "logits"]


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Positions of a batch at which logits are looked at, and the token that each predicts."""

    row: Int[Tensor, " token"]
    position: Int[Tensor, " token"]
    token: Int[Tensor, " token"]
    """The token that follows, or `NOTHING`."""
    num_rows: int

    @property
    def counted(self) -> Bool[Tensor, " token"]:
        """Where a token is predicted: everything but `kl_restor` is blind to the rest."""
        return self.token != NOTHING


@dataclass(frozen=True, kw_only=True)
class LossOut:
    """A loss and what it is made of."""

    loss: Float[Tensor, ""]
    """What is minimised, in fp32."""
    parts: Mapping[str, Float[Tensor, ""]]
    """Detached scalars for the record; always with `nll`, in nats per token."""


def predicted_tokens(
    ids: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch pos"],
    counted: Bool[Tensor, "batch pos"] | None = None,
) -> Targets:
    """Every position whose next token is real and, where `counted` is given, counted.

    The shift by one and the mask are made here and nowhere else. A row's first token is predicted
    by nothing. Positions come in row-major order.
    """
    wanted = mask[:, :-1] & mask[:, 1:]
    if counted is not None:
        wanted = wanted & counted[:, 1:]
    row, position = wanted.nonzero(as_tuple=True)
    return Targets(row=row, position=position, token=ids[row, position + 1], num_rows=len(ids))


def every_position(ids: Int[Tensor, "batch pos"], mask: Bool[Tensor, "batch pos"]) -> Targets:
    """Every position, padding and last ones included: what `kl_restor` averages over."""
    num_rows, length = ids.shape
    row = torch.arange(num_rows, device=ids.device).repeat_interleave(length)
    position = torch.arange(length, device=ids.device).repeat(num_rows)
    wanted = F.pad(mask[:, :-1] & mask[:, 1:], (0, 1))
    token = torch.where(wanted, ids.roll(-1, dims=1), NOTHING)
    return Targets(row=row, position=position, token=token.flatten(), num_rows=num_rows)


def token_logprobs(
    logits: Float[Tensor, "token vocab"], targets: Targets
) -> Float[Tensor, " token"]:
    """Log-probability of each predicted token, in fp32; 0 where nothing is predicted."""
    return -F.cross_entropy(logits.float(), targets.token, reduction="none", ignore_index=NOTHING)


def nll(logits: Float[Tensor, "token vocab"], targets: Targets) -> LossOut:
    """Mean negative log-likelihood over the predicted tokens of the batch."""
    loss = -_mean(token_logprobs(logits, targets), targets)
    return LossOut(loss=loss, parts={"nll": loss.detach()})


def gradient_ascent(logits: Float[Tensor, "token vocab"], targets: Targets) -> LossOut:
    """Mean log-likelihood: minimised, it forgets. Unbounded below."""
    loss = _mean(token_logprobs(logits, targets), targets)
    return LossOut(loss=loss, parts={"nll": -loss.detach()})


def npo(
    logits: Float[Tensor, "token vocab"],
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
        excess = _mean(ratio, targets)
    else:
        rows = torch.arange(targets.num_rows, device=targets.row.device)
        # A product instead of index_add, whose order of summation on a GPU is not fixed.
        member = ((targets.row == rows[:, None]) & targets.counted).to(ratio.dtype)
        tokens = member.sum(dim=1)
        excess = (member @ ratio)[tokens > 0]
        if reduction == "sequence_mean":
            excess = excess / tokens[tokens > 0]
    loss = F.softplus(beta * excess).mean() * (2 / beta)
    weight = 2 * torch.sigmoid(beta * excess.detach()).mean()
    parts = {"nll": -_mean(logprobs.detach(), targets), "npo_weight": weight}
    return LossOut(loss=loss, parts=parts)


def kl_divergence(
    logits: Float[Tensor, "token vocab"],
    targets: Targets,
    *,
    reference_logits: Float[Tensor, "token vocab"],
) -> LossOut:
    """Minus the mean KL(pθ ‖ p_c) at the predicting positions: minimised, it moves away from c."""
    logprobs, reference = _log_softmax(logits), _log_softmax(reference_logits)
    divergence = (logprobs.exp() * (logprobs - reference)).sum(dim=-1)
    loss = -_mean(divergence, targets)
    return LossOut(loss=loss, parts={"nll": _nll_of(logprobs, targets), "kl": -loss.detach()})


def cross_entropy_to_reference(
    logits: Float[Tensor, "token vocab"],
    targets: Targets,
    *,
    reference_logits: Float[Tensor, "token vocab"],
) -> LossOut:
    """Minus the mean of H(pθ, p_c) = −Σ pθ log(p_c + 1e-12) over *all* given positions.

    What RESTOR's code computes under the name KL (`unlearning/unlearn/KL.py`): no entropy of pθ,
    no mask. Give it `every_position` for RESTOR's numbers.
    """
    logprobs, reference = _log_softmax(logits), _log_softmax(reference_logits)
    # log(p + 1e-12) without leaving log space, where a tiny p would underflow.
    floored = torch.logaddexp(reference, reference.new_tensor(math.log(1e-12)))
    loss = (logprobs.exp() * floored).sum(dim=-1).mean()
    parts = {"nll": _nll_of(logprobs, targets), "cross_entropy": -loss.detach()}
    return LossOut(loss=loss, parts=parts)


def kl_from_reference(
    logits: Float[Tensor, "token vocab"],
    targets: Targets,
    *,
    reference_logits: Float[Tensor, "token vocab"],
) -> LossOut:
    """Mean KL(p_c ‖ pθ) at the predicting positions: minimised, it stays at c."""
    logprobs, reference = _log_softmax(logits), _log_softmax(reference_logits)
    divergence = (reference.exp() * (reference - logprobs)).sum(dim=-1)
    loss = _mean(divergence, targets)
    return LossOut(loss=loss, parts={"nll": _nll_of(logprobs, targets), "kl": loss.detach()})


def _mean(values: Float[Tensor, " token"], targets: Targets) -> Float[Tensor, ""]:
    counted = targets.counted
    return torch.where(counted, values, 0.0).sum() / counted.sum()


def _log_softmax(logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
    return F.log_softmax(logits.float(), dim=-1)


def _nll_of(logprobs: Float[Tensor, "token vocab"], targets: Targets) -> Float[Tensor, ""]:
    chosen = logprobs.detach().gather(-1, targets.token.clamp(min=0)[:, None])[:, 0]
    return -_mean(chosen, targets)


LOSSES: Mapping[str, Callable[..., LossOut]] = {
    "nll": nll,
    "ga": gradient_ascent,
    "kl_restor": cross_entropy_to_reference,
    "kl": kl_divergence,
    "npo": npo,
    "kl_retain": kl_from_reference,
}
"""Every loss by name: `LOSSES[name](logits, targets, **its own keywords) -> LossOut`."""

REFERENCES: Mapping[str, Reference] = {
    "kl_restor": "logits",
    "kl": "logits",
    "npo": "logprobs",
    "kl_retain": "logits",
}
"""What a loss asks of the reference: one number per token, or the whole vocabulary."""
