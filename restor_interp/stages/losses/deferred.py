"""Logits that are computed where a loss looks at them, a few positions at a time.

A loss on next-token distributions is made of numbers that each belong to one position, and nothing
of a position's logits matters to another. So the number's gradient with respect to the position's
state, a vector as wide as the model, can be taken as soon as the number is known, and the logits,
as wide as the vocabulary, need not be kept for the backward pass. That is exact, unembeds once, and
saves several matrices of all positions by the whole vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

POSITIONS = 128
"""Unembedded at a time: of 50 thousand tokens, 24 MiB in fp32."""


@dataclass(frozen=True, kw_only=True)
class Deferred:
    """Logits that are not computed yet."""

    states: Float[Tensor, "token width"]
    unembed: Callable[[Tensor], Tensor]
    """`[token, width] -> [token, vocab]`, row by row. No gradient goes to what it is made of."""

    def whole(self) -> Float[Tensor, "token vocab"]:
        """All of them, through which a gradient goes as usual."""
        return self.unembed(self.states)

    def part(self, rows: slice) -> Float[Tensor, "part vocab"]:
        return self.unembed(self.states[rows])


Logits = Float[Tensor, "token vocab"] | Deferred
"""What a loss may be given as `logits`."""


def per_token(
    function: Callable[..., tuple[Tensor, ...]], logits: Logits, *rows: Logits
) -> tuple[Float[Tensor, " token"], ...]:
    """`function(logits, *rows)`: numbers per position, of which the first is differentiable.

    `rows` are tensors with a row per position, or further logits, through which no gradient goes if
    `logits` are deferred. Then the function sees `POSITIONS` positions at a time, and what it makes
    of one must not depend on the others.
    """
    if isinstance(logits, Tensor):
        return function(logits, *(row if isinstance(row, Tensor) else row.whole() for row in rows))
    states = logits.states if torch.is_grad_enabled() else logits.states.detach()
    return _InParts.apply(function, logits.unembed, rows, states)  # pyright: ignore


class _InParts(torch.autograd.Function):
    """A function of states, with the slope of its first number at every position."""

    @staticmethod
    def forward(
        ctx: Any,
        function: Callable[..., tuple[Tensor, ...]],
        unembed: Callable[[Tensor], Tensor],
        rows: tuple[Logits, ...],
        states: Tensor,
    ) -> tuple[Tensor, ...]:
        wanted = ctx.needs_input_grad[-1]
        numbers, slopes = [], []
        for first in range(0, max(len(states), 1), POSITIONS):
            part = slice(first, first + POSITIONS)
            given = [row[part] if isinstance(row, Tensor) else row.part(part) for row in rows]
            own = states[part].detach().requires_grad_(wanted)
            with torch.set_grad_enabled(wanted):
                # A view: torch's module trackers put hooks on inputs, which a leaf here refuses.
                found = function(unembed(own.view_as(own)), *given)
                if wanted:
                    # Each number depends on its own state alone: the sum's gradient is all slopes.
                    slopes.append(torch.autograd.grad(found[0].sum(), own)[0])
            numbers.append([number.detach() for number in found])
        if wanted:
            ctx.save_for_backward(torch.cat(slopes))
        first_numbers, *others = (torch.cat(parts) for parts in zip(*numbers, strict=True))
        ctx.mark_non_differentiable(*others)
        return first_numbers, *others

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return None, None, None, (gradients[0][:, None] * slopes).to(slopes.dtype)
