"""A low-rank adapter on a model, attached for training and taken off without a trace.

    with model.at(start), attach_adapter(model, rank=8, alpha=16, seed=0) as adapter:
        optimiser = torch.optim.AdamW(adapter.parameters())
        with adapter.disabled(), torch.no_grad():
            ...                       # the reference: the same model with the delta off
    delta = adapter.to_delta("npo")   # b·a·alpha/rank per adapted module

What is computed is LoRA as PEFT has it (`y = W x + alpha/rank · B A x`, B = 0 at first), around the
linear modules of the decoder layers, on top of whatever their weights are now: the merged state.
PEFT's layers are not used: they take a pass over the activations for every sum and product, which
a training of small rank spends a good part of its time on. Factors are kept in fp32 at least,
whatever the weights are, since steps of a usual learning rate are lost in 16 bits.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.architectures import is_transposed
from restor_interp.models.deltas import Delta, LowRank
from restor_interp.models.hooked import HookedModel


class Adapted(nn.Module):
    """A linear module with a low-rank product beside it, in its place in the model."""

    def __init__(self, base: Any, *, rank: int, scale: float) -> None:
        super().__init__()
        self.base, self.scale, self.enabled = base, scale, True
        weight = base.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        out, width = self.matrix.shape
        self.a = nn.Parameter(torch.zeros(rank, width, dtype=dtype, device=weight.device))
        self.b = nn.Parameter(torch.zeros(out, rank, dtype=dtype, device=weight.device))

    @property
    def matrix(self) -> Float[Tensor, "out in"]:
        """The weight as a linear map has it."""
        return self.base.weight.T if is_transposed(self.base) else self.base.weight

    def forward(self, x: Float[Tensor, "*any in"]) -> Float[Tensor, "*any out"]:
        if not self.enabled:
            return self.base(x)
        device = x.device.type
        lower = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if lower else x.dtype
        x, a, b = (tensor.to(dtype) for tensor in (x, self.a, self.b))
        return _LowRankLinear.apply(x, self.matrix, self.base.bias, a, b, self.scale)  # pyright: ignore


class _LowRankLinear(torch.autograd.Function):
    """x·Wᵀ + bias + s·(x·Aᵀ)·Bᵀ, in which only x, A and B have gradients.

    Sums are made where the larger product already stands. Of a weight in another number type than
    x none is kept for the backward pass but itself.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        matrix = weight.to(x.dtype).T
        y = rows @ matrix if bias is None else torch.addmm(bias.to(x.dtype), rows, matrix)
        low = rows @ a.T
        y.addmm_(low, b.T, alpha=scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        g = gradients[0].reshape(-1, gradients[0].shape[-1])
        back = g @ b
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (g @ weight.to(g.dtype)).addmm_(back, a, alpha=ctx.scale).view(ctx.shape)
        # Not gᵀ·low: the transpose of the wide one is slow.
        of_a, of_b = (back.T @ rows).mul_(ctx.scale), (low.T @ g).mul_(ctx.scale).T
        return of_x, None, None, of_a, of_b, None


class Adapter:
    """The trainable factors of an attached adapter; still readable after it was taken off."""

    def __init__(self, layers: Mapping[str, Adapted], *, scale: float, base: str) -> None:
        self._layers = dict(layers)
        self.scale, self.base = scale, base

    @property
    def modules(self) -> tuple[str, ...]:
        """The adapted modules, by their names in the model without adapter."""
        return tuple(self._layers)

    def tensors(self) -> dict[str, nn.Parameter]:
        """`<module>.a` [rank, in] and `<module>.b` [out, rank], in the model's order."""
        found: dict[str, nn.Parameter] = {}
        for name, layer in self._layers.items():
            found[f"{name}.a"], found[f"{name}.b"] = layer.a, layer.b
        return found

    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser trains."""
        return list(self.tensors().values())

    @torch.no_grad()
    def copy_(self, values: Mapping[str, Tensor]) -> None:
        """Take over the values of `tensors()` from another time."""
        for name, parameter in self.tensors().items():
            parameter.copy_(values[name])

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """The model without the adapter: the state that training started from."""
        for layer in self._layers.values():
            layer.enabled = False
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enabled = True

    def to_delta(self, name: str) -> Delta:
        """A copy of the adapter as it is now, on the CPU in fp32."""
        updates = {}
        for module, layer in self._layers.items():
            a, b = (factor.detach().float().cpu().clone() for factor in (layer.a, layer.b))
            updates[module] = LowRank(a=a, b=b, scale=self.scale)
        return Delta(name, updates, base_model=self.base)


@contextlib.contextmanager
def attach_adapter(
    model: HookedModel,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    modules: str | Sequence[str] = "all",
    layers: Sequence[int] | str | None = None,
    seed: int = 0,
) -> Iterator[Adapter]:
    """Attach an adapter to linear modules of the decoder layers; nothing else is trainable.

    `modules` is "all" or last names such as `q_proj`; `layers` are indices, counted from the end
    where negative, or a range such as "20:30" or "-4:" (default: all of them). Below the lowest
    adapted layer nothing needs a gradient, so that a backward pass ends there. A ~ U(-1/√in,
    1/√in), PEFT's own start, comes from a generator of its own: the global one is neither read
    nor moved.
    """
    targets = chosen_modules(model, modules, layers)
    hf_model = model.hf_model
    trainable = {parameter: parameter.requires_grad for parameter in hf_model.parameters()}
    parents = dict(hf_model.named_modules())
    adapted = {
        name: Adapted(target, rank=rank, scale=alpha / rank) for name, target in targets.items()
    }
    _initialise(adapted, seed)
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        for name, layer in adapted.items():
            parent, _, child = name.rpartition(".")
            setattr(parents[parent], child, layer)
        yield Adapter(adapted, scale=alpha / rank, base=model.name)
    finally:
        for name, target in targets.items():
            parent, _, child = name.rpartition(".")
            setattr(parents[parent], child, target)
        for parameter, flag in trainable.items():
            parameter.requires_grad_(flag)
            parameter.grad = None if not flag else parameter.grad


def chosen_modules(
    model: HookedModel, modules: str | Sequence[str], layers: Sequence[int] | str | None
) -> dict[str, nn.Module]:
    """Linear modules of the decoder layers by name; `modules` and `layers` as in `attach_adapter`.

    Raises `ConfigError` for layers and modules that do not exist, with what there is.
    """
    names = {module: name for name, module in model.hf_model.named_modules()}
    kept = chosen_layers(model, layers)
    linear: dict[str, nn.Module] = {}
    for index, layer in enumerate(model.layers):
        for module in layer.modules():
            if index in kept and isinstance(module, nn.Linear | Conv1D):
                linear[names[module]] = module
    if not linear:
        raise ConfigError(f"the adapter has no linear module to lie on: layers is {layers}")
    if modules == "all":
        return linear
    wanted = [modules] if isinstance(modules, str) else list(modules)
    known = {name.rpartition(".")[2] for name in linear}
    for name in wanted:
        if name not in known:
            raise unknown_name(f"linear module in the layers of {model.name}", name, known)
    return {name: linear[name] for name in linear if name.rpartition(".")[2] in wanted}


def chosen_layers(model: HookedModel, layers: Sequence[int] | str | None) -> set[int]:
    """Layers from 0 on, of indices or a range; raises `ConfigError` for one that is not there."""
    number = len(model.layers)
    chosen = range(number)[_slice(layers)] if layers is None or isinstance(layers, str) else layers
    if outside := [index for index in chosen if not -number <= index < number]:
        raise ConfigError(
            f"the adapter is to lie on layers {outside}, but {model.name} has layers "
            f"0 to {number - 1}: name those, or count from the end with -1 to -{number}"
        )
    return {index % number for index in chosen}


def _slice(text: str | None) -> slice:
    found = re.fullmatch(r"(-?\d*):(-?\d*)", text) if text else None
    if text and found is None:
        raise ConfigError(f"a range of layers is like 20:30, -4: or :10, found {text!r}")
    return slice(*(int(end) if end else None for end in found.groups())) if found else slice(None)


@torch.no_grad()
def _initialise(adapted: Mapping[str, Adapted], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for layer in adapted.values():
        bound = layer.a.shape[1] ** -0.5
        # Drawn on the CPU: the same start on every device.
        layer.a.copy_(torch.empty(layer.a.shape).uniform_(-bound, bound, generator=generator))
