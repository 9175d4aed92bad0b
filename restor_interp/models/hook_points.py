"""TransformerLens' hook names: which of a model's values each of them means.

Values come from the inputs and outputs of a model's own modules; `Point` says of which and how
they are read. Shapes are TransformerLens' [row, pos, …, width], heads apart; `hook_pattern` and
`hook_attn_scores` are [row, head, query pos, key pos].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from restor_interp.models.architectures import Architecture

Side = Literal["input", "output", "norm", "mid", "attention"]
"""Where a value is: what a module gets, what it gives, the inside of a norm, the residual stream
between attention and MLP, the inside of attention."""

View = Callable[[Tensor], Tensor]
"""A part of a tensor, as a view: writing into it writes into the tensor."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Where the value of one hook name is."""

    name: str
    module: str
    """From the model's root, as the modules are called without adapters."""
    side: Side
    view: View | None = None
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of a configuration that say how values are cut into heads."""

    num_layers: int
    num_heads: int
    num_key_heads: int
    d_head: int


READ_ONLY = ("hook_scale", "hook_normalized")
"""Values inside norms: they are seen, and cannot be replaced."""


def points(architecture: Architecture, sizes: Sizes, embedding: str) -> dict[str, Point]:
    """Every hook name of a model, in the order of its computation."""
    found = [Point(name="hook_embed", module=embedding, side="output")]
    if architecture.learned_positions is not None:
        positions = architecture.learned_positions
        found.append(Point(name="hook_pos_embed", module=positions, side="output"))
    for layer in range(sizes.num_layers):
        found += _block_points(architecture, sizes, layer)
    found += _norm_points("ln_final", architecture.final_norm, None)
    return {point.name: point for point in found}


def _block_points(a: Architecture, sizes: Sizes, layer: int) -> list[Point]:
    def point(name: str, path: str, side: Side, view: View | None = None) -> Point:
        root = f"{a.blocks}.{layer}"
        return Point(
            name=f"blocks.{layer}.{name}",
            module=f"{root}.{path}" if path else root,
            side=side,
            view=view,
            layer=layer,
        )

    found = [point("hook_resid_pre", "", "input")]
    if a.ln1 is not None:
        found += _norm_points(f"blocks.{layer}.ln1", f"{a.blocks}.{layer}.{a.ln1}", layer)
    for letter, path in (("q", a.queries), ("k", a.keys), ("v", a.values)):
        if path is not None:
            view = _heads(letter, a.packing, sizes)
            found.append(point(f"attn.hook_{letter}", path, "output", view))
    found.append(point("attn.hook_attn_scores", a.attention, "attention"))
    found.append(point("attn.hook_pattern", a.attention, "attention"))
    if a.attention_out is not None:
        view = _cut(sizes.num_heads, sizes.d_head)
        found.append(point("attn.hook_z", a.attention_out, "input", view))
    found.append(point("hook_attn_out", a.attention_added, "output"))
    if not a.parallel:
        found.append(point("hook_resid_mid", a.attention_added, "mid"))
    if a.ln2 is not None:
        found += _norm_points(f"blocks.{layer}.ln2", f"{a.blocks}.{layer}.{a.ln2}", layer)
    if a.mlp_in is not None:
        found.append(point("mlp.hook_pre", a.mlp_in, "output", _half(0) if a.mlp_fused else None))
    if a.mlp_beside is not None:
        view = _half(1) if a.mlp_fused else None
        found.append(point("mlp.hook_pre_linear", a.mlp_beside, "output", view))
    if a.mlp_out is not None:
        found.append(point("mlp.hook_post", a.mlp_out, "input"))
    found.append(point("hook_mlp_out", a.mlp_added, "output"))
    found.append(point("hook_resid_post", "", "output"))
    return found


def _norm_points(name: str, module: str, layer: int | None) -> list[Point]:
    return [
        Point(name=f"{name}.{value}", module=module, side="norm", layer=layer)
        for value in READ_ONLY
    ]


def _cut(count: int, width: int) -> View:
    return lambda value: value.unflatten(-1, (count, width))


def _half(index: int) -> View:
    return lambda value: value.chunk(2, dim=-1)[index]


def _heads(letter: str, packing: str, sizes: Sizes) -> View:
    counts = {"q": sizes.num_heads, "k": sizes.num_key_heads, "v": sizes.num_key_heads}
    which = "qkv".index(letter)
    if packing == "interleaved":
        return lambda value: value.unflatten(-1, (sizes.num_heads, 3, sizes.d_head))[..., which, :]
    cut = _cut(counts[letter], sizes.d_head)
    if packing == "separate":
        return cut
    widths = [count * sizes.d_head for count in counts.values()]
    return lambda value: cut(value.split(widths, dim=-1)[which])


def norm_values(module: Any, given: Tensor) -> Mapping[str, Tensor]:
    """`hook_scale` and `hook_normalized` of a norm, in fp32 as TransformerLens has them."""
    value = given.float()
    if isinstance(module, torch.nn.LayerNorm):
        value = value - value.mean(dim=-1, keepdim=True)
    eps = getattr(module, "variance_epsilon", None) or getattr(module, "eps", 0.0)
    scale = (value.pow(2).mean(dim=-1, keepdim=True) + eps).sqrt()
    return {"hook_scale": scale, "hook_normalized": value / scale}
