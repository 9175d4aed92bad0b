"""Base runs: the runs that interventions start from, kept with all that regions need of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.interventions import HOOKS, Site
from restor_interp.measure.packed import (
    KeysValues,
    Layout,
    Rows,
    entrance,
    packed_attention,
    run_keys,
    run_layer,
)
from restor_interp.models.hooked import HookedModel


@dataclass(frozen=True, kw_only=True)
class BaseRun:
    """Runs of one prompt in several draws, which differ from token `start` on.

    It belongs to the weights that it was made with.
    """

    model: HookedModel
    engine: Literal["regions", "brute"]
    layout: Layout
    start: int
    embeddings: Float[Tensor, "draw token width"]
    """Of all tokens, as the embedding matrix gives them."""
    hidden: Sequence[Float[Tensor, "draw token width"]]
    """Residual stream from `start` on: before layer 0, then after every layer."""
    outputs: dict[Site, Sequence[Float[Tensor, "draw token ..."]]]
    """`mlp`, `attn`, `head` -> per layer, the output from `start` on, if it was asked for."""
    rotary: Sequence[KeysValues | None]
    """Per layer, cosines and sines [token, head width] of all tokens."""
    shared: Sequence[KeysValues | None]
    """Per layer, before `start`, with one draw; none if there is nothing before it."""
    own: Sequence[KeysValues]
    """Per layer, from `start` on. Of both, the brute engine has none."""

    @property
    def length(self) -> int:
        """Tokens of the prompt and its branches."""
        return self.layout.length

    @property
    def final(self) -> Float[Tensor, "draw width"]:
        """Residual stream after the last layer at the last token."""
        return self.hidden[-1][:, -1]

    @property
    def num_draws(self) -> int:
        return len(self.hidden[0])

    def draws(self, start: int, stop: int) -> "BaseRun":
        """Some of the draws."""
        return replace(
            self,
            embeddings=self.embeddings[start:stop],
            own=[(keys[:, start:stop], values[:, start:stop]) for keys, values in self.own],
            hidden=[hidden[start:stop] for hidden in self.hidden],
            outputs={
                site: [output[start:stop] for output in outputs]
                for site, outputs in self.outputs.items()
            },
        )

    def at(self, site: Site, layer: int) -> Float[Tensor, "draw token ..."]:
        """The value of a site in a layer, from `start` on: [draw, token, width], of heads [draw,
        token, head, head width]. Raises `ConfigError` for one that was not kept."""
        if site == "resid":
            return self.hidden[layer + 1]
        if site not in self.outputs:
            raise ConfigError(
                f"the base run kept {', '.join(self.outputs) or 'no outputs'}, not {site}: give "
                "run_base its name in outputs"
            )
        return self.outputs[site][layer]

    def before(self, layer: int, token: int) -> list[KeysValues]:
        """What a row that starts at a token attends to beside itself."""
        shared, upto = self.shared[layer], token - self.start
        if upto == 0:
            return [] if shared is None else [shared]
        keys, values = self.own[layer]
        own = (keys[:, :, :upto], values[:, :, :upto])
        if shared is None:
            return [own]
        if keys.shape[1] == 1:
            return [(torch.cat([shared[0], own[0]], 2), torch.cat([shared[1], own[1]], 2))]
        return [shared, own]


Prefix = Sequence[KeysValues]
"""Per layer, keys and values [key head, 1, token, head width] of the tokens that prompts begin
with."""


@torch.no_grad()
def run_prefix(model: HookedModel, embeddings: Float[Tensor, "token width"]) -> Prefix:
    """The keys and values of tokens that several prompts begin with, such as their examples.

    They belong to the weights that the model has now.
    """
    return _prefix(model, embeddings, None, 0)


@torch.no_grad()
def climb(
    model: HookedModel,
    embeddings: Float[Tensor, "draw token width"],
    *,
    start: int,
    outputs: Sequence[Site],
    layout: Layout,
    prefix: Prefix | None,
) -> BaseRun:
    """A base run by packed layers: what all draws share once, then the rest of each."""
    known = 0 if prefix is None else prefix[0][0].shape[2]
    if known < start:
        prefix = _prefix(model, embeddings[0, :start], prefix, known)
    hidden, rotary = entrance(model, embeddings, layout)
    run = BaseRun(
        model=model,
        engine="regions",
        layout=layout,
        start=start,
        embeddings=embeddings,
        hidden=[],
        outputs={},
        rotary=rotary,
        shared=[None] * model.num_layers if prefix is None else prefix,
        own=[],
    )
    return _climb(run, hidden[:, start:], outputs)


def _prefix(
    model: HookedModel,
    embeddings: Float[Tensor, "token width"],
    prefix: Prefix | None,
    known: int,
) -> Prefix:
    """A prefix and what follows it, up to the last of these tokens."""
    layout = Layout(len(embeddings))
    hidden, rotary = entrance(model, embeddings[None], layout)
    state, found = hidden[:, None, known:], []
    with packed_attention(model):
        for layer in range(model.num_layers):
            rows = Rows(
                layout=layout,
                tokens=range(known, layout.length),
                hidden=state,
                rotary=rotary[layer],
                before=[] if prefix is None else [prefix[layer]],
            )
            if layer + 1 < model.num_layers:
                (state,), seen = run_layer(model, layer, [rows])
            else:
                seen = run_keys(model, layer, [rows])
            own = (seen[0][0][:, :, 0], seen[0][1][:, :, 0])
            if prefix is not None:
                keys, values = prefix[layer]
                own = (torch.cat([keys, own[0]], 2), torch.cat([values, own[1]], 2))
            found.append(own)
    return found


def _climb(
    run: BaseRun, hidden: Float[Tensor, "draw token width"], outputs: Sequence[Site]
) -> BaseRun:
    """Run draws through all layers, keeping what regions need of them."""
    kept: dict[Site, list[Tensor]] = {site: [] for site in outputs}
    states, own = [hidden], []

    def keeping(site: Site) -> Callable[..., None]:
        def keep(output: Tensor, hook: Any) -> None:
            del hook
            kept[site].append(output.reshape(*hidden.shape[:2], *output.shape[2:]).clone())

        return keep

    layers = range(run.model.num_layers)
    hooks = [(HOOKS[site].format(layer), keeping(site)) for site in outputs for layer in layers]
    with packed_attention(run.model), run.model.hooks(hooks):
        for layer in layers:
            rows = Rows(
                layout=run.layout,
                tokens=range(run.start, run.length),
                hidden=states[-1][:, None],
                rotary=run.rotary[layer],
                before=run.before(layer, run.start),
            )
            (stream,), ((keys, values),) = run_layer(run.model, layer, [rows])
            own.append((keys[:, :, 0], values[:, :, 0]))
            states.append(stream[:, 0])
    return replace(run, own=own, hidden=states, outputs=kept)
