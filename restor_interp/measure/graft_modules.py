"""Which modules of two states differ, by how much, and which of them are swapped together."""

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.architectures import place_of
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel

By = Literal["layer", "component", "module", "bottom_up", "top_down", "late"]
BY: tuple[By, ...] = get_args(By)

LATE_DEPTHS = 12
"""Of `late`, about half as many depths are begun at, however many layers there are."""

Swap = Mapping[str, float]
"""Module -> how far its weight goes from the host's (0) to the donor's (1)."""

ENTRY, EXIT = "embed", "unembed"
"""What lies before the blocks and after them. A matrix of both (tied embeddings) is `ENTRY`."""


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module whose weight differs between two states."""

    path: str
    layer: int | None
    """None outside the blocks."""
    component: str
    """`attn`, `mlp`, `norm` (whatever else a block has), `embed` or `unembed`."""
    norm: float
    """Frobenius norm of the difference."""


def differing_modules(model: HookedModel, donor: State, host: State) -> tuple[Module, ...]:
    """The modules that donor and host differ in, in the model's order.

    Raises `ConfigError` where there are none.
    """
    found = model.distances(donor, host)
    if not found:
        raise ConfigError(
            f"donor {dict(donor.coefficients)} and host {dict(host.coefficients)} have the same "
            "weights, so there is nothing to graft: choose two states that differ"
        )
    return tuple(module_at(model, path, norm) for path, norm in found.items())


def module_at(model: HookedModel, path: str, norm: float) -> Module:
    inside = re.match(rf"{re.escape(model.architecture.blocks)}\.(\d+)\.", path)
    if inside is not None:
        place = place_of(path, model.architecture)
        component = "norm" if place is None else place[1]
        return Module(path=path, layer=int(inside[1]), component=component, norm=norm)
    hf_model, after = model.hf_model, [model.architecture.final_norm]
    if hf_model.get_output_embeddings().weight is not hf_model.get_input_embeddings().weight:
        after += [n for n, m in hf_model.named_modules() if m is hf_model.get_output_embeddings()]
    is_after = any(f"{path}.".startswith(f"{name}.") for name in after)
    return Module(path=path, layer=None, component=EXIT if is_after else ENTRY, norm=norm)


def matched_swap(modules: Sequence[Module], norm: float, rng: random.Random) -> Swap | None:
    """Random modules whose weights together move by this norm; none where they cannot.

    Modules are drawn one after another until the norm is reached; the last one goes only as far
    as makes it exact.
    """
    swap: dict[str, float] = {}
    missing = norm**2
    for module in rng.sample(list(modules), len(modules)):
        share = min(1.0, missing / module.norm**2)
        swap[module.path] = math.sqrt(share)
        missing -= share * module.norm**2
        if missing <= 1e-9 * norm**2:
            return swap
    return None


@dataclass(frozen=True, kw_only=True)
class Graft:
    """Modules that are swapped together."""

    name: str
    """`layers.3`, `layers.3.mlp`, `layers.0-3`, …"""
    modules: tuple[str, ...]
    """Of these, the ones that donor and host differ in; none where the swap changes nothing."""
    layer: int | None = None
    """The layer; of cumulative depth the last one from below, or the first one from above. None
    outside the blocks, and for modules of several layers."""
    component: str | None = None
    norm: float
    """Of the change of weights."""
    control_reason: str | None = None
    """Why it has no control."""


# ---- which modules go together


def grafts_by(by: By, modules: Sequence[Module], num_layers: int) -> list[Graft]:
    """The swaps of a way to put modules together, from the first layer to the last."""
    before = [m for m in modules if m.component == "embed"]
    after = [m for m in modules if m.component == "unembed"]
    layers = [[m for m in modules if m.layer == layer] for layer in range(num_layers)]
    if by == "module":
        return [put_together(_short(m.path), [m], m.layer, m.component) for m in modules]
    if by == "bottom_up":
        found, so_far = [], before
        for layer, own in enumerate(layers):
            so_far = [*so_far, *own, *(after if layer == num_layers - 1 else [])]
            found.append(put_together(f"layers.0-{layer}", so_far, layer))
        return found
    if by in ("top_down", "late"):
        found, so_far = [], after
        for layer, own in reversed(list(enumerate(layers))):
            so_far = [*(before if layer == 0 else []), *own, *so_far]
            found.append(put_together(f"layers.{layer}-{num_layers - 1}", so_far, layer))
        if by == "late":
            step = max(1, num_layers // LATE_DEPTHS)
            return found[: max(1, num_layers // 2) : step][::-1]
        return found[::-1]
    found = []
    for layer, own in enumerate(layers):
        if by == "layer":
            found.append(put_together(f"layers.{layer}", own, layer))
            continue
        for component in ("attn", "mlp", "norm"):
            some = [m for m in own if m.component == component]
            if some or component != "norm":
                found.append(put_together(f"layers.{layer}.{component}", some, layer, component))
    outside = (("embed", before), ("unembed", after))
    return found + [put_together(name, some, None, name) for name, some in outside if some]


def put_together(
    name: str, modules: Sequence[Module], layer: int | None, component: str | None = None
) -> Graft:
    return Graft(
        name=name,
        modules=tuple(module.path for module in modules),
        layer=layer,
        component=component,
        norm=norm_of(modules),
    )


def joined(grafts: Sequence[Graft], modules: Sequence[Module]) -> Graft:
    """Several swaps as one."""
    wanted = {path for graft in grafts for path in graft.modules}
    own = [module for module in modules if module.path in wanted]
    return put_together(", ".join(graft.name for graft in grafts), own, None)


def own_choice(modules: Sequence[Module], chosen: Sequence[Sequence[str]]) -> list[Graft]:
    known = {module.path: module for module in modules}
    found = []
    for names in chosen:
        if isinstance(names, str):
            raise ConfigError(f"by={names!r}: give a sequence of module names for every swap")
        for name in names:
            if name not in known:
                raise unknown_name("module in which donor and host differ", name, known)
        own = [known[name] for name in dict.fromkeys(names)]
        layers, components = {m.layer for m in own}, {m.component for m in own}
        found.append(
            put_together(
                ", ".join(_short(module.path) for module in own),
                own,
                layers.pop() if len(layers) == 1 else None,
                components.pop() if len(components) == 1 else None,
            )
        )
    return found


def _short(path: str) -> str:
    """`model.layers.3.mlp.down_proj` -> `layers.3.mlp.down_proj`."""
    return path.partition(".")[2] or path


def norm_of(modules: Sequence[Module]) -> float:
    return math.sqrt(sum(module.norm**2 for module in modules))
