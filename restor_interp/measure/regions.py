"""Interventions computed only where they can change anything, exactly.

A value put in at (position t, layer l) of a causal transformer changes positions from t on in
layers above l, and nothing else. So a base run is made once and kept: its residual stream, its
keys and values. Every intervention then starts from the base run at its own layer, holds only
positions from t on, and attends to the base run's keys and values before t. Rows that start at
different layers are carried upwards together, each joining when its layer comes (the staircase);
rows that start at different positions lie packed, token after token, in one batch; logits are
computed by the caller, at the last position alone.

The layers themselves are the model's own (`packed`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.packed import KeysValues, Rows, entrance, packed_attention, run_layer
from restor_interp.models.hooked import HookedModel

Site = Literal["resid", "mlp", "attn"]
"""What an intervention replaces: the residual stream after a layer, or one output in it."""

HOOKS: dict[Site, str] = {
    "resid": "blocks.{}.hook_resid_post",
    "mlp": "blocks.{}.hook_mlp_out",
    "attn": "blocks.{}.hook_attn_out",
}


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One intervention: values for a span of positions, in one or several layers."""

    site: Site
    layers: range
    """The layers whose site is replaced; for `resid` it is one."""
    position: int
    """First position of the span."""
    values: Float[Tensor, "layer span width"]

    @property
    def enters(self) -> int:
        """The first layer that must be computed."""
        return self.layers.start + 1 if self.site == "resid" else self.layers.start


@dataclass(frozen=True, kw_only=True)
class BaseRun:
    """Runs of one prompt in several draws, which differ from position `start` on."""

    model: HookedModel
    start: int
    length: int
    rotary: Sequence[KeysValues | None]
    """Per layer, cosines and sines [1, pos, head width] of all positions."""
    shared: Sequence[KeysValues | None]
    """Per layer, before `start`; none if the draws differ from the first token on."""
    own: Sequence[KeysValues]
    """Per layer, from `start` on."""
    hidden: Sequence[Float[Tensor, "draw pos width"]]
    """Residual stream from `start` on: before layer 0, then after every layer."""
    outputs: dict[str, Sequence[Float[Tensor, "draw pos width"]]]
    """`mlp` and `attn` -> per layer, the output from `start` on, as far as it was asked for."""

    @property
    def final(self) -> Float[Tensor, "draw width"]:
        """Residual stream after the last layer at the last position."""
        return self.hidden[-1][:, -1]

    @property
    def num_draws(self) -> int:
        return len(self.hidden[0])

    def draws(self, start: int, stop: int) -> "BaseRun":
        """Some of the draws."""
        return replace(
            self,
            own=[(keys[:, start:stop], values[:, start:stop]) for keys, values in self.own],
            hidden=[hidden[start:stop] for hidden in self.hidden],
            outputs={
                site: [output[start:stop] for output in outputs]
                for site, outputs in self.outputs.items()
            },
        )

    def at(self, site: Site, layer: int) -> Float[Tensor, "draw pos width"]:
        """The value of a site in a layer, from `start` on."""
        return self.hidden[layer + 1] if site == "resid" else self.outputs[site][layer]

    def before(self, layer: int, position: int) -> list[KeysValues]:
        """What a row that starts at `position` attends to beside itself."""
        shared, upto = self.shared[layer], position - self.start
        if upto == 0:
            return [] if shared is None else [shared]
        keys, values = self.own[layer]
        own = (keys[:, :, :upto], values[:, :, :upto])
        if shared is None:
            return [own]
        if keys.shape[1] == 1:
            return [(torch.cat([shared[0], own[0]], 2), torch.cat([shared[1], own[1]], 2))]
        return [shared, own]


@torch.no_grad()
def run_base(
    model: HookedModel,
    embeddings: Float[Tensor, "draw pos width"],
    *,
    start: int,
    outputs: Sequence[Site] = (),
) -> BaseRun:
    """Run draws of one prompt whose token embeddings are equal before `start`.

    Args:
        embeddings: as the embedding matrix gives them, before learned positions are added.
        start: first position where draws differ; positions before it are run once.
        outputs: keep the outputs of `mlp`, `attn` of every layer too.
    """
    hidden, rotary = entrance(model, embeddings)
    run = BaseRun(
        model=model,
        start=0,
        length=embeddings.shape[1],
        rotary=rotary,
        shared=[None] * model.num_layers,
        own=[],
        hidden=[],
        outputs={},
    )
    with packed_attention(model):
        if start:
            shared = _climb(run, hidden[:1, :start], ()).own
            run = replace(run, start=start, shared=shared)
        return _climb(run, hidden[:, start:], outputs)


@torch.no_grad()
def run_patches(
    base: BaseRun,
    patches: Sequence[Patch],
    read: Callable[[Float[Tensor, "row width"]], Float[Tensor, "row value"]],
    *,
    max_bytes: int,
) -> Float[Tensor, "patch draw value"]:
    """What `read` makes of the last position after each patch of each draw of the base run.

    Args:
        patches: every one starts a row of its own per draw, at its own layer and position.
        read: from the residual stream after the last layer, such as log-probabilities.
        max_bytes: of working memory; the rows are run in as many chunks as that takes.

    Raises:
        ConfigError: a patch outside the run, or a budget that a single row exceeds.
    """
    for patch in patches:
        _check(base, patch)
    budget = max_bytes // bytes_per_token(base)
    longest = max(base.length - patch.position for patch in patches)
    if budget < longest:
        raise ConfigError(
            f"max_bytes={max_bytes} is too little for one row of {longest} tokens; it needs "
            f"{longest * bytes_per_token(base)}"
        )
    num_draws = min(base.num_draws, budget // longest)
    blocks = []
    with packed_attention(base.model):
        for first in range(0, base.num_draws, num_draws):
            draws = base.draws(first, first + num_draws)
            read_chunks = [
                _staircase(draws, chunk, read) for chunk in _chunks(draws, patches, budget)
            ]
            blocks.append(torch.cat(read_chunks))
    return torch.cat(blocks, dim=1)


def _chunks(base: BaseRun, patches: Sequence[Patch], budget: int) -> Iterator[list[Patch]]:
    """Consecutive patches whose rows hold at most `budget` tokens."""
    chunk: list[Patch] = []
    used = 0
    for patch in patches:
        tokens = base.num_draws * (base.length - patch.position)
        if chunk and used + tokens > budget:
            yield chunk
            chunk, used = [], 0
        chunk.append(patch)
        used += tokens
    yield chunk


def _staircase(
    base: BaseRun,
    patches: Sequence[Patch],
    read: Callable[[Float[Tensor, "row width"]], Float[Tensor, "row value"]],
) -> Float[Tensor, "patch draw value"]:
    """Carry the rows of all patches upwards, each from its own layer on."""
    order = sorted(range(len(patches)), key=lambda i: (patches[i].position, patches[i].enters))
    groups: dict[int, list[Patch]] = {}
    for index in order:
        groups.setdefault(patches[index].position, []).append(patches[index])
    rows = {position: _no_rows(base, position) for position in groups}
    model = base.model
    for layer in range(min(patch.enters for patch in patches), model.num_layers + 1):
        for position, group in groups.items():
            entering = [_entering(base, patch) for patch in group if patch.enters == layer]
            if entering:
                rows[position] = torch.cat([rows[position], *entering], dim=1)
        if layer < model.num_layers:
            present = [
                Rows(position=position, before=base.before(layer, position), hidden=held)
                for position, held in rows.items()
                if held.shape[1]
            ]
            with model.hooks(_overrides(groups, present, layer)):
                streams, _ = run_layer(model, layer, present, base.rotary[layer])
            rows |= {group.position: held for group, held in zip(present, streams, strict=True)}
    final = torch.cat([held[:, :, -1].transpose(0, 1) for held in rows.values()])
    values = read(final.flatten(0, 1)).unflatten(0, final.shape[:2])
    return values[torch.tensor(order, device=values.device).argsort()]


def _entering(base: BaseRun, patch: Patch) -> Float[Tensor, "draw 1 pos width"]:
    """A patch's row as it stands before the first layer that it must be run through."""
    row = base.hidden[patch.enters][:, None, patch.position - base.start :]
    if patch.site != "resid":
        return row
    row = row.clone()
    row[:, :, : patch.values.shape[1]] = patch.values[0]
    return row


def _overrides(
    groups: dict[int, list[Patch]], rows: Sequence[Rows], layer: int
) -> list[tuple[str, Callable[..., Tensor]]]:
    """Hooks that put in the values of those patches whose layers include this one."""
    hooks = []
    for site in ("mlp", "attn"):
        spots: list[tuple[Tensor, Tensor]] = []
        offset = 0
        for group in rows:
            draws, count, length, _ = group.hidden.shape
            index = torch.arange(offset, offset + group.num_tokens, device=group.hidden.device)
            index = index.view(draws, count, length)
            for row, patch in enumerate(groups[group.position][:count]):
                if patch.site == site and layer in patch.layers:
                    values = patch.values[layer - patch.layers.start].expand(draws, -1, -1)
                    spots.append((index[:, row, : values.shape[1]].flatten(), values.flatten(0, 1)))
            offset += group.num_tokens
        if spots:
            tokens = torch.cat([spot for spot, _ in spots])
            values = torch.cat([value for _, value in spots])
            hooks.append((HOOKS[site].format(layer), _replacing(tokens, values)))
    return hooks


def _replacing(tokens: Tensor, values: Tensor) -> Callable[..., Tensor]:
    def replace_tokens(output: Tensor, hook: Any) -> Tensor:
        del hook
        return output.index_copy(1, tokens, values[None].to(output.dtype))

    return replace_tokens


def _no_rows(base: BaseRun, position: int) -> Float[Tensor, "draw 0 pos width"]:
    return base.hidden[0][:, None, position - base.start :][:, :0]


def _climb(
    run: BaseRun, hidden: Float[Tensor, "draw pos width"], outputs: Sequence[Site]
) -> BaseRun:
    """Run draws through all layers, keeping what regions need of them."""
    kept: dict[Site, list[Tensor]] = {site: [] for site in outputs}
    states, own = [hidden], []

    def keeping(site: Site) -> Callable[..., None]:
        def keep(output: Tensor, hook: Any) -> None:
            del hook
            kept[site].append(output.view_as(hidden).clone())

        return keep

    for layer in range(run.model.num_layers):
        before = run.before(layer, run.start)
        rows = Rows(position=run.start, before=before, hidden=states[-1][:, None])
        with run.model.hooks([(HOOKS[site].format(layer), keeping(site)) for site in outputs]):
            (stream,), packing = run_layer(run.model, layer, [rows], run.rotary[layer])
        keys, values = packing.seen[0]
        own.append((keys[:, :, 0], values[:, :, 0]))
        states.append(stream[:, 0])
    return replace(run, own=own, hidden=states, outputs=kept)


def _check(base: BaseRun, patch: Patch) -> None:
    layers, span, width = patch.values.shape
    inside = base.start <= patch.position and patch.position + span <= base.length
    in_model = 0 <= patch.layers.start < patch.layers.stop <= base.model.num_layers
    if not inside or not span or not in_model or layers != len(patch.layers):
        raise ConfigError(
            f"a patch of positions {patch.position} to {patch.position + span - 1} in layers "
            f"{patch.layers.start} to {patch.layers.stop - 1} with values for {layers} layers; the "
            f"run has positions {base.start} to {base.length - 1} and layers 0 to "
            f"{base.model.num_layers - 1}"
        )
    if width != base.model.d_model or (patch.site == "resid" and layers != 1):
        raise ConfigError(
            f"a patch of {patch.site} with values of shape {list(patch.values.shape)}; the width "
            f"is {base.model.d_model}, and the residual stream is replaced after one layer"
        )


def bytes_per_token(base: BaseRun) -> int:
    """Working memory per token of a row, about: a layer's widest tensors and its scores."""
    config = base.model.hf_model.config
    inner = getattr(config, "intermediate_size", None) or 4 * base.model.d_model
    floats = 8 * base.model.d_model + 4 * inner + 4 * base.model.num_heads * base.length
    return floats * base.hidden[0].element_size()
