"""The rest of a run, from some residual streams in some layer on: differentiable, many at once.

Where `regions` puts single values into a run, this takes the whole residual stream of the tokens
from a base run's start on, and may change it again after every layer: what gradients along a path
of inputs, and directions taken out of all later layers, need.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.measure.bases import BaseRun
from restor_interp.measure.packed import Rows, packed_attention, run_layer

Change = Callable[[int, Tensor], Tensor]
"""(number of layers run so far, residual stream [draw token width]) -> what goes on instead."""


def continue_run(
    base: BaseRun,
    hidden: Float[Tensor, "draw token width"],
    *,
    layer: int,
    change: Change | None = None,
) -> Float[Tensor, "draw width"]:
    """The residual stream after the last layer at the last token, if the tokens from `base.start`
    on have `hidden` before `layer`.

    The base run says what stands before them; it has one draw and no branches. `change` is applied
    after each layer that is run, not to `hidden` itself. Gradients flow to `hidden`.
    """
    if base.engine == "brute":
        return _by_full_passes(base, hidden, layer, change)
    state = hidden[:, None]
    with packed_attention(base.model):
        for number in range(layer, base.model.num_layers):
            rows = Rows(
                layout=base.layout,
                tokens=range(base.start, base.length),
                hidden=state,
                rotary=base.rotary[number],
                before=base.before(number, base.start),
            )
            (state,), _ = run_layer(base.model, number, [rows])
            if change is not None:
                state = change(number + 1, state[:, 0])[:, None]
    return state[:, 0, -1]


def _by_full_passes(
    base: BaseRun, hidden: Float[Tensor, "draw token width"], layer: int, change: Change | None
) -> Float[Tensor, "draw width"]:
    model, top = base.model, base.model.num_layers
    if layer == top:
        return hidden[:, -1]
    kept: dict[int, Tensor] = {}

    def put_in(value: Tensor, hook: Any) -> Tensor:
        del hook
        return torch.cat([value[:, : base.start], hidden], dim=1)

    def go_on(value: Tensor, hook: Any) -> Tensor | None:
        number = hook.layer() + 1
        if change is not None:
            changed = change(number, value[:, base.start :])
            value = torch.cat([value[:, : base.start], changed], dim=1)
        kept[number] = value
        return value

    def embed(value: Tensor, hook: Any) -> Tensor:
        del value, hook
        return base.embeddings.expand(len(hidden), -1, -1)

    hooks = [("hook_embed", embed), (f"blocks.{layer}.hook_resid_pre", put_in)]
    hooks += [(f"blocks.{number}.hook_resid_post", go_on) for number in range(layer, top)]
    ids = torch.zeros(len(hidden), base.length, dtype=torch.long, device=model.device)
    with model.hooks(hooks):
        model.hf_model.base_model(input_ids=ids, use_cache=False)
    return kept[top][:, -1]
