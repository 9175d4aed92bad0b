"""What is read of an answer after an intervention, and when a share of an effect means anything."""

from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Metric = Literal["prob", "logprob", "logodds"]
METRICS: tuple[Metric, ...] = get_args(Metric)

LEAST_EFFECT = 1.0
"""Nats that two runs must be apart before a share of their difference means anything."""


def measured(logprobs: Float[Tensor, "*any object"], metric: Metric) -> Float[Tensor, "*any"]:
    """The metric of the first object: its probability or log-probability, or its log-odds against
    the second one (where there is none, against everything else: log p / (1 − p))."""
    answer = logprobs[..., 0]
    if metric == "logprob":
        return answer
    if metric == "prob":
        return answer.exp()
    if logprobs.shape[-1] > 1:
        return answer - logprobs[..., 1]
    return answer - torch.log(-torch.expm1(answer))


def measured_array(
    logprobs: Float[np.ndarray, "*any object"], metric: Metric
) -> Float[np.ndarray, "*any"]:
    """`measured`, of and as a numpy array."""
    return measured(torch.from_numpy(np.array(logprobs)), metric).numpy()
