"""Logits at chosen positions only: the unembedding is a fifth of a small model's work.

The decoder runs once over a batch; its last states are picked where a loss looks, and only those
are unembedded. What is kept of a reference is the picked states and not their logits (a vector of
d_model in place of one of vocab_size), since unembedding them again gives the same bits.

A model whose unembedding does more than is known here is recognised by comparing both ways on a
few tokens, and is run plainly.

A loss on states reads the residual stream after one layer: the pass ends there, and the layers
above are not run.
"""

import contextlib
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from restor_interp.models.hooked import Hook, HookedModel
from restor_interp.stages.losses import Deferred, Logits, Targets

TOLERANCE = 1e-3
"""Largest difference in a logit, relative to the largest logit, that rounding explains."""


class _Seen(Exception):
    """Ends a forward pass: what it was made for has been read."""


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A model as training sees it: states of a batch, then logits of some of them."""

    model: HookedModel
    bf16: bool
    """Compute in bfloat16 where that is safe; weights and losses keep their precision."""
    plain: bool = False
    """States are the logits themselves."""

    def states(
        self, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"]
    ) -> Float[Tensor, "row pos width"]:
        """Final states, after the last norm."""
        hf_model = self.model.hf_model
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bf16):
            if self.plain:
                return hf_model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
            output = hf_model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return output.last_hidden_state

    def residuals(
        self, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], layer: int
    ) -> Float[Tensor, "row pos width"]:
        """The residual stream after a layer, before any norm; nothing above the layer is run."""
        seen: list[Tensor] = []

        def read(value: Tensor, hook: Hook) -> None:
            del hook
            seen.append(value)
            raise _Seen

        with (
            self.model.hooks([(f"blocks.{layer}.hook_resid_post", read)]),
            contextlib.suppress(_Seen),
            torch.autocast(ids.device.type, torch.bfloat16, enabled=self.bf16),
        ):
            self.model.hf_model.base_model(
                input_ids=ids, attention_mask=mask.long(), use_cache=False
            )
        return seen[0]

    def logits(self, states: Float[Tensor, "token width"]) -> Float[Tensor, "token vocab"]:
        """Unembeds states."""
        if self.plain:
            return states
        hf_model = self.model.hf_model
        config = hf_model.config.get_text_config()
        with torch.autocast(states.device.type, torch.bfloat16, enabled=self.bf16):
            logits = hf_model.get_output_embeddings()(states)
        if cap := getattr(config, "final_logit_softcapping", None):
            logits = cap * torch.tanh(logits / cap)
        return logits

    def deferred(self, states: Float[Tensor, "token width"]) -> Logits:
        """Logits for a loss that looks at each position for itself: they are not kept. The whole of
        them where a gradient is to go to the unembedding."""
        if self.plain:
            return states
        if any(p.requires_grad for p in self.model.hf_model.get_output_embeddings().parameters()):
            return self.logits(states)
        return Deferred(states=states, unembed=self.logits)


def forward_for(
    model: HookedModel, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], *, bf16: bool
) -> Forward:
    """The fast way if it gives the plain way's logits on these tokens, else the plain way."""
    fast, plain = Forward(model=model, bf16=bf16), Forward(model=model, bf16=bf16, plain=True)
    with torch.no_grad():
        try:
            logits = fast.logits(fast.states(ids, mask))
        except (AttributeError, TypeError):
            return plain
        wanted = plain.states(ids, mask)
    if logits.shape != wanted.shape:
        return plain
    difference = (logits - wanted)[mask].abs().max()
    return fast if difference <= TOLERANCE * wanted[mask].abs().max() else plain


def picked(
    states: Float[Tensor, "row pos width"], targets: Targets, *, first_row: int = 0
) -> Float[Tensor, "token width"]:
    """The states at the targets' positions; their rows begin at `first_row` of the batch."""
    place = (targets.row + first_row) * states.shape[1] + targets.position
    return states.flatten(0, 1).index_select(0, place)
