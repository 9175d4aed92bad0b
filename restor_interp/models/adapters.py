"""A low-rank adapter on a model, attached for training and taken off without a trace.

    with model.at(start), attach_adapter(model, rank=8, alpha=16, seed=0) as adapter:
        optimiser = torch.optim.AdamW(adapter.parameters())
        with adapter.disabled(), torch.no_grad():
            ...                       # the reference: the same model with the delta off
    delta = adapter.to_delta("npo")   # b·a·alpha/rank per adapted module

The adapter is PEFT's (`y = W x + alpha/rank · B A x`, B = 0 at first), put around the linear
modules of the decoder layers by PEFT's tuner. It lies on top of whatever the weights are now: the
merged state. PEFT's own `unload` leaves every parameter frozen and a config on the model, so that
taking off is done here: the modules that were there return to their places, and every
`requires_grad` to its value.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer, LoraModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.deltas import Delta, LowRank
from restor_interp.models.hooked import HookedModel

NAME = "delta"
"""PEFT's name of the adapter while it is attached."""


class Adapter:
    """The trainable factors of an attached adapter; still readable after it was taken off."""

    def __init__(self, layers: Mapping[str, LoraLayer], *, scale: float, base: str) -> None:
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
            found[f"{name}.a"], found[f"{name}.b"] = _factors(layer)
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
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers.values():
                layer.enable_adapters(True)

    def to_delta(self, name: str) -> Delta:
        """A copy of the adapter as it is now, on the CPU in fp32."""
        updates = {}
        for module, layer in self._layers.items():
            a, b = (factor.detach().float().cpu().clone() for factor in _factors(layer))
            updates[module] = LowRank(a=a, b=b, scale=self.scale)
        return Delta(name, updates, base_model=self.base)


def _factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """A [rank, in] and B [out, rank] of PEFT's layer."""
    return layer.lora_A[NAME].weight, layer.lora_B[NAME].weight


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
    attributes = set(vars(hf_model))
    parents = dict(hf_model.named_modules())
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # pyright: ignore[reportArgumentType]  any number works
        target_modules=list(targets),
        fan_in_fan_out=isinstance(next(iter(targets.values())), Conv1D),
        lora_dropout=0.0,
    )
    try:
        with torch.random.fork_rng(devices=[]):
            LoraModel(hf_model, config, NAME)
        attached = {
            name: layer
            for name, layer in hf_model.named_modules()
            if isinstance(layer, LoraLayer) and name in targets
        }
        assert attached.keys() == targets.keys(), "PEFT adapted other modules than were named"
        _initialise(attached, seed)
        yield Adapter(attached, scale=alpha / rank, base=model.name)
    finally:
        for name, target in targets.items():
            parent, _, child = name.rpartition(".")
            # The child keeps its place among its siblings: modules are stored in a dictionary.
            parents[parent]._modules[child] = target
        for attribute in set(vars(hf_model)) - attributes:
            delattr(hf_model, attribute)
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
def _initialise(attached: Mapping[str, LoraLayer], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for layer in attached.values():
        a, b = _factors(layer)
        bound = a.shape[1] ** -0.5
        # Drawn on the CPU: the same start on every device.
        a.copy_(torch.empty(a.shape).uniform_(-bound, bound, generator=generator))
        b.zero_()
