"""What an MLP writes, by its own parts: coefficients, and the value vectors that they multiply.

The last matrix of an MLP gives Σ_i a_i · v_i: its input a holds the coefficients, its columns v_i
are the value vectors (Geva et al. 2021, "Transformer feed-forward layers are key-value memories").
In a gated MLP a_i is the activation times what it is gated with, and can have either sign.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ModelError
from restor_interp.measure.contributions import frozen_norm
from restor_interp.models.architectures import is_transposed
from restor_interp.models.hooked import HookedModel

COEFFICIENTS, OUTPUT = "blocks.{}.mlp.hook_post", "blocks.{}.hook_mlp_out"

ToResidual = Callable[[Float[Tensor, "*any width"]], Float[Tensor, "*any width"]]
"""From what the last matrix gives to what is added to the residual stream."""


def last_matrix(model: HookedModel, layer: int) -> Any:
    """The module whose columns are a layer's value vectors. Raises `ModelError` where it is not
    known, as in a mixture of experts."""
    path = model.architecture.mlp_out
    if path is None:
        raise ModelError(
            f"the last matrix of the MLPs of {model.name} was not found, so their value vectors "
            "are not known; ask for its family to be added to restor_interp/models/architectures.py"
        )
    return model.layers[layer].get_submodule(path)


def value_vectors(
    model: HookedModel, layer: int, *, clean: bool = False
) -> Float[Tensor, "coefficient width"]:
    """The value vectors of a layer in the present state, or in the clean model; not a copy."""
    module = last_matrix(model, layer)
    weight = module.weight.detach()
    if clean:
        path = f"{model.architecture.blocks}.{layer}.{model.architecture.mlp_out}"
        weight = model.clean_parameters()[f"{path}.weight"]
    return weight if is_transposed(module) else weight.T


def value_bias(model: HookedModel, layer: int) -> Float[Tensor, " width"] | None:
    """What the last matrix adds whatever the coefficients; None where it adds nothing."""
    bias = getattr(last_matrix(model, layer), "bias", None)
    return None if bias is None else bias.detach().clone()


def norm_after(model: HookedModel, layer: int) -> Any | None:
    """The norm between the last matrix and the residual stream (Gemma 2 and 3, OLMo 2)."""
    added = model.architecture.mlp_added
    beside = (model.architecture.mlp_out or "").rpartition(".")[0]
    return None if added == beside else model.layers[layer].get_submodule(added)


@torch.no_grad()
def to_residual(
    model: HookedModel, layer: int, given: Float[Tensor, " width"] | None = None
) -> ToResidual:
    """The map from a layer's last matrix to the residual stream, in the present state.

    A norm between the two has its scale held at that of `given`, which makes it linear; without
    `given` it is the norm as it is.
    """
    norm = norm_after(model, layer)
    if norm is None:
        return lambda parts: parts
    if given is None:
        return lambda parts: norm(parts.to(model.dtype))
    return frozen_norm(norm, given)


@torch.no_grad()
def added_by_mlp(
    model: HookedModel, layer: int, stream: Float[Tensor, "*any width"]
) -> Float[Tensor, "*any width"]:
    """What a layer's MLP adds, in the present state, to a residual stream that is put before it.

    Raises `ModelError` where the MLP is not known, or does not come after attention.
    """
    parts, block = model.architecture, model.layers[layer]
    last_matrix(model, layer)
    if parts.parallel:
        raise ModelError(
            f"attention and MLP of {model.name} read the same residual stream: nothing stands "
            "between the two"
        )
    read = stream if parts.ln2 is None else block.get_submodule(parts.ln2)(stream)
    written = block.get_submodule((parts.mlp_out or "").rpartition(".")[0])(read)
    return to_residual(model, layer)(written)


@torch.no_grad()
def coefficients_at(
    model: HookedModel, ids: Int[Tensor, " pos"], positions: Sequence[int]
) -> tuple[Float[Tensor, "layer pos coefficient"], Float[Tensor, "layer pos width"], Tensor]:
    """Every MLP's coefficients and output at some tokens in the present state, and the residual
    stream after the last layer there."""
    layers = range(model.num_layers)
    names = [hook.format(layer) for layer in layers for hook in (COEFFICIENTS, OUTPUT)]
    last = f"blocks.{layers[-1]}.hook_resid_post"
    last_matrix(model, 0)
    _, cache = model.run_with_cache(ids[None], [*names, last], positions=list(positions))

    def stacked(hook: str) -> Tensor:
        return torch.stack([cache[hook.format(layer)][0] for layer in layers])

    return stacked(COEFFICIENTS), stacked(OUTPUT), cache[last][0]
