"""Losses on the residual stream after one decoder layer: x is states [token d_model], not logits.

They see no logits, so that their parts have no `nll`.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.stages.losses.targets import NOTHING, LossOut, Targets, mean_or_zero, row_means


def rmu(
    states: Float[Tensor, "token d_model"],
    targets: Targets,
    *,
    direction: Float[Tensor, " d_model"],
    coefficient: float = 20.0,
    first_position: int = 0,
) -> LossOut:
    """RMU (Li et al. 2024): mean_i mean_t (1/d) ‖h_it − c·u‖², u the unit vector `direction`.

    Documents' states are steered to one random point, whatever they say. Positions are those that
    predict a counted token, where the published code takes every real token, and of these those
    from `first_position` of a row on: the state of a row's first token may be an attention sink,
    a hundred times longer than the others, and then it is all that the mean sees.

    Parts: `distance`, the loss; `along`, the mean of h·u, which is to become c.
    """
    if first_position:
        token = torch.where(targets.position >= first_position, targets.token, NOTHING)
        targets = replace(targets, token=token)
    goal = coefficient * direction.float()
    distance = _mean_square(states.float() - goal, targets)
    along = row_means(states.detach().float() @ direction.float(), targets)
    return LossOut(
        loss=distance, parts={"distance": distance.detach(), "along": mean_or_zero(along)}
    )


def embed_diff(
    states: Float[Tensor, "token d_model"],
    targets: Targets,
    *,
    reference_states: Float[Tensor, "token d_model"],
) -> LossOut:
    """RMU's retain term: the same mean of (1/d) ‖h_it − h'_it‖², h' the start state's."""
    distance = _mean_square(states.float() - reference_states.float(), targets)
    return LossOut(loss=distance, parts={"distance": distance.detach()})


def rmu_direction(d_model: int, seed: int) -> Float[Tensor, " d_model"]:
    """RMU's random unit vector: uniform entries in [0, 1), divided by their norm.

    The same for the same width and seed on every device; on the CPU, in fp32. All its entries are
    positive, as in the paper's code, so that two of them have a cosine of about 0.75.
    """
    generator = torch.Generator().manual_seed(seed)
    entries = torch.rand(d_model, generator=generator)
    return entries / entries.norm()


def _mean_square(difference: Float[Tensor, "token d_model"], targets: Targets) -> Tensor:
    return mean_or_zero(row_means(difference.square().mean(dim=-1), targets))
