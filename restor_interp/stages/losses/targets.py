"""Where losses look and what they return: the one shift, the one mask, the one record."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from restor_interp.stages.losses.deferred import Logits, per_token

WEIGHED = ("weight_n", "weight_mean", "weight_low", "weight_high")
"""Columns of `training` that tell what a loss makes of each token, or each sequence."""

NOTHING = -1
"""The token of a position that predicts none: padding, and a row's last token."""


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
    """Detached scalars for the record. Always with `nll`, in nats per token, except in losses on
    states, which see no logits."""
    weights: Float[Tensor, " n"] | None = None
    """Detached: what gradient ascent is multiplied by, token by token; where sequences are braked
    as wholes, or the whole batch, of each of these. None: the loss has no such weights."""

    def weighed(self) -> dict[str, float | None]:
        """Of the weights, `WEIGHED`: their number, their mean, and the 10th and 90th percentile."""
        if self.weights is None or not self.weights.numel():
            return dict.fromkeys(WEIGHED)
        weights = self.weights.detach().float()
        ends = weights.quantile(weights.new_tensor([0.1, 0.9]))
        numbers = torch.cat([weights.mean()[None], ends]).tolist()  # a GPU is waited for once
        return dict(zip(WEIGHED, [len(weights), *numbers], strict=True))


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


def token_logprobs(logits: Logits, targets: Targets) -> Float[Tensor, " token"]:
    """Log-probability of each predicted token, in fp32; 0 where nothing is predicted."""
    return per_token(_logprobs, logits, targets.token)[0]


def _logprobs(logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]) -> tuple[Tensor]:
    return (-F.cross_entropy(logits.float(), token, reduction="none", ignore_index=NOTHING),)


def token_mean(values: Float[Tensor, " token"], targets: Targets) -> Float[Tensor, ""]:
    """Mean over the predicted tokens of the batch; 0 where there are none (no target in it)."""
    counted = targets.counted
    return torch.where(counted, values, 0.0).sum() / counted.sum().clamp(min=1)


def row_sums(
    values: Float[Tensor, " token"], targets: Targets
) -> tuple[Float[Tensor, " row"], Float[Tensor, " row"]]:
    """The sum over the predicted tokens of each row, and their number; both 0 in an empty row."""
    rows = torch.arange(targets.num_rows, device=targets.row.device)
    # A product instead of index_add, whose order of summation on a GPU is not fixed.
    member = ((targets.row == rows[:, None]) & targets.counted).to(values.dtype)
    return member @ values, member.sum(dim=1)


def row_means(values: Float[Tensor, " token"], targets: Targets) -> Float[Tensor, " filled_row"]:
    """The mean over the predicted tokens of each row that has any."""
    sums, tokens = row_sums(values, targets)
    return sums[tokens > 0] / tokens[tokens > 0]


def mean_or_zero(values: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """The mean; of nothing 0, through which no gradient goes."""
    return values.mean() if values.numel() else values.sum()


def log_softmax(logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
    """Log-probabilities in fp32."""
    return F.log_softmax(logits.float(), dim=-1)


def chosen(
    logprobs: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """The log-probability of each token, detached; where nothing is predicted, any."""
    return logprobs.detach().gather(-1, token.clamp(min=0)[:, None])[:, 0]
