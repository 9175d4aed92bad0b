"""What is read while a batch is run: sites by their short names, or any hook of the model."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.activations import (
    ALL,
    SHORT_SITES,
    SiteLayout,
    is_attention,
    layers_of,
)
from restor_interp.models.hooked import HookedModel

_IN_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


def site_layouts(
    model: HookedModel,
    sites: Sequence[str],
    layers: Iterable[int] | None,
    positions: Sequence[str | int],
) -> dict[str, SiteLayout]:
    """Site -> the layers that are read and the shape of one token's value.

    Shapes of hooks without a short name are found by running one token.

    Raises `ConfigError` for an unknown site, one whose shape differs between layers, and a layer
    that no site has.
    """
    if not sites or len(set(sites)) != len(sites):
        raise ConfigError(f"name at least one site, each once; found {list(sites)}")
    known: dict[str, list[int]] = {}
    for name in model.hook_names:
        found = _IN_BLOCK.fullmatch(name)
        known.setdefault(found[2] if found else name, []).append(int(found[1]) if found else 0)
    for site in SHORT_SITES:
        known[site] = list(layers_of(site, model.num_layers))
    chosen = {}
    for site in sites:
        inside = _IN_BLOCK.fullmatch(site)
        if inside is not None:
            raise ConfigError(
                f"site {site!r} names a layer: ask for sites=[{inside[2]!r}], layers=[{inside[1]}]"
            )
        if site not in known:
            raise unknown_name("site", site, known)
        if is_attention(site) and site != "pattern" and set(positions) == {ALL}:
            raise ConfigError(
                f"{site} is kept of the tokens that are named, not of all: name positions, or ask "
                "for the site 'pattern' (the attention of the last token)"
            )
        chosen[site] = known[site]
    picked = _pick(model, chosen, None if layers is None else sorted(set(layers)))
    shapes = _shapes(model, picked)
    return {site: SiteLayout(layers=own, shape=shapes[site]) for site, own in picked.items()}


def _pick(
    model: HookedModel, known: Mapping[str, Sequence[int]], layers: Sequence[int] | None
) -> dict[str, tuple[int, ...]]:
    """Site -> those of the layers asked for that it has."""
    if layers is None:
        return {site: tuple(own) for site, own in known.items()}
    for layer in layers:
        if not any(layer in own for own in known.values()):
            raise ConfigError(
                f"there is no layer {layer} of {', '.join(known)}: the blocks of {model.name} are "
                f"0 to {model.num_layers - 1}; resid has 0 (the embeddings) to {model.num_layers}"
            )
    outside = {site for site in known if site not in SHORT_SITES and site in model.hook_names}
    picked = {
        # What lies outside the blocks has no layers to choose from.
        site: tuple(own) if site in outside else tuple(i for i in layers if i in own)
        for site, own in known.items()
    }
    for site, own in picked.items():
        if not own:
            raise ConfigError(
                f"{site} has none of the layers {list(layers)}: leave one of them out"
            )
    return picked


def hook_name(site: str, layer: int, model: HookedModel) -> str:
    """The hook at which one layer of a site is read."""
    if site == "resid":
        return f"blocks.{layer - 1}.hook_resid_post" if layer else "blocks.0.hook_resid_pre"
    if site in SHORT_SITES:
        return f"blocks.{layer}.{SHORT_SITES[site]}"
    return site if site in model.hook_names else f"blocks.{layer}.{site}"


@torch.no_grad()
def _shapes(model: HookedModel, picked: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Site -> shape of one token's value; of attention that of its heads."""
    shapes: dict[str, set[tuple[int, ...]]] = {
        site: {(model.num_heads if site == "pattern" else model.d_model,)}
        for site in picked
        if site in SHORT_SITES
    }
    searched = {site: layers for site, layers in picked.items() if site not in SHORT_SITES}
    shapes |= {site: set() for site in searched}

    def keep(site: str) -> Callable[..., None]:
        def fn(value: Tensor, hook: Any) -> None:
            del hook
            shape = value.shape[1:2] if is_attention(site) else value.shape[2:]
            shapes[site].add(tuple(shape))

        return fn

    if searched:
        wanted = [(site, layer) for site, layers in searched.items() for layer in layers]
        with model.hooks([(hook_name(site, layer, model), keep(site)) for site, layer in wanted]):
            one = torch.zeros(1, 1, dtype=torch.long, device=model.device)
            model.hf_model.base_model(input_ids=one, use_cache=False)
    for site, found in shapes.items():
        if len(found) != 1:
            raise ConfigError(
                f"{site} has not one shape in all layers, but {sorted(found)}: capture layers of "
                "one shape at a time"
            )
    return {site: found.pop() for site, found in shapes.items()}


class Reader:
    """What one batch's values are written into as its hooks see them, in one tensor per site."""

    def __init__(
        self,
        model: HookedModel,
        layouts: Mapping[str, SiteLayout],
        *,
        dtype: torch.dtype,
        places: Int[Tensor, "row place"],
        last: Int[Tensor, " row"],
        width: int,
        keys: int,
        all_tokens: bool,
        lens_at: Int[Tensor, " row"] | None,
    ) -> None:
        """`places` and the rest count from the first token that is run: `width` of them. `keys`:
        how many attention sees. `lens_at`: where every layer's residual stream is kept, in fp32.
        """
        self._model, self._rows = model, torch.arange(len(places), device=places.device)
        self._places, self._last, self._lens_at = places, last, lens_at
        self.values: dict[str, Tensor] = {}
        """Site -> [row, layer, place, …shape], and `<site>.all` -> [row, layer, token, …shape];
        `pattern` [row, layer, head, key], other attention [row, layer, place, head, key]."""
        self.stream: Float[Tensor, "row layer width"] | None = None
        self.hooks: list[tuple[str, Callable[..., None]]] = []
        named = places.shape[1]
        for site, layout in layouts.items():
            start = (len(places), len(layout.layers))
            shapes = {}
            if site == "pattern":
                shapes[site] = (*start, *layout.shape, keys)
            elif is_attention(site):
                shapes[site] = (*start, named, *layout.shape, keys)
            else:
                if named:
                    shapes[site] = (*start, named, *layout.shape)
                if all_tokens:
                    shapes[f"{site}.{ALL}"] = (*start, width, *layout.shape)
            for name, shape in shapes.items():
                self.values[name] = torch.empty(shape, dtype=dtype, device=places.device)
                for index, layer in enumerate(layout.layers):
                    function = self._kept(site, name, index)
                    self.hooks.append((hook_name(site, layer, model), function))
        if lens_at is not None:
            layers = layers_of("resid", model.num_layers)
            shape = (len(places), len(layers), model.d_model)
            self.stream = torch.empty(shape, device=places.device)
            for layer in layers:
                self.hooks.append((hook_name("resid", layer, model), self._streamed(layer)))

    def _kept(self, site: str, name: str, index: int) -> Callable[..., None]:
        rows = self._rows[:, None]

        def fn(value: Tensor, hook: Any) -> None:
            del hook
            # GPT-2's position embeddings are one row for the whole batch.
            value = value.expand(len(self._rows), *value.shape[1:])
            if site == "pattern":
                value = value[self._rows, :, self._last]
            elif is_attention(site):
                value = value[rows, :, self._places]
            elif name == site:
                value = value[rows, self._places]
            self.values[name][:, index] = value

        return fn

    def _streamed(self, layer: int) -> Callable[..., None]:
        def fn(value: Tensor, hook: Any) -> None:
            del hook
            assert self.stream is not None
            self.stream[:, layer] = value[self._rows, self._lens_at]

        return fn
