"""Base runs: the runs that interventions start from, kept with all that regions need of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.interventions import HOOKS, KeysValues, Site
from restor_interp.measure.packed import (
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
    outputs: Mapping[Site, Sequence[Float[Tensor, "draw token ..."]]]
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

    def above(self, upto: int) -> list[KeysValues] | None:
        """What `Patch.above` wants of the first draw's tokens from `start` up to one; None of a
        run by full forward passes, which keeps no keys."""
        first = upto - self.start
        return [(keys[:, :1, :first], values[:, :1, :first]) for keys, values in self.own] or None

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
            return [_joined(shared, own)]
        return [shared, own]


Prefix = Sequence[KeysValues]
"""Per layer, keys and values [key head, 1, token, head width] of the tokens that prompts begin
with."""


@torch.no_grad()
def run_prefix(model: HookedModel, embeddings: Float[Tensor, "token width"]) -> Prefix:
    """The keys and values of tokens that several prompts begin with, such as their examples.

    They belong to the weights that the model has now.
    """
    layout = Layout(len(embeddings))
    hidden, rotary = entrance(model, embeddings[None], layout)
    state, found = hidden[:, None], []
    last = model.num_layers - 1
    with packed_attention(model):
        for layer in range(model.num_layers):
            rows = Rows(
                layout=layout,
                tokens=range(layout.length),
                hidden=state,
                rotary=rotary[layer],
                before=[],
            )
            if layer < last:
                (state,), seen = run_layer(model, layer, [rows])
            else:
                seen = run_keys(model, layer, [rows])
            found.append(_of_one_row(seen[0]))
    return found


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
    """A base run by packed layers: what all draws share goes through them once, with the rest of
    each draw behind it in the same batch."""
    hidden, rotary = entrance(model, embeddings, layout)
    known = 0 if prefix is None else prefix[0][0].shape[2]
    between = range(known, start)
    ahead, stream = hidden[:1, None, known:start], hidden[:, None, start:]
    kept: dict[Site, list[Tensor]] = {site: [] for site in outputs}

    def keeping(site: Site) -> Callable[..., None]:
        def keep(output: Tensor, hook: Any) -> None:
            del hook
            own = output[:, len(between) :]
            kept[site].append(own.reshape(*hidden[:, start:].shape[:2], *own.shape[2:]).clone())

        return keep

    layers = range(model.num_layers)
    hooks = [(HOOKS[site].format(layer), keeping(site)) for site in outputs for layer in layers]
    states, own, shared = [hidden[:, start:]], [], []
    with packed_attention(model), model.hooks(hooks):
        for layer in layers:
            shared_here = None if prefix is None else prefix[layer]
            rows = Rows(
                layout=layout,
                tokens=range(start, layout.length),
                hidden=stream,
                rotary=rotary[layer],
                before=[] if shared_here is None else [shared_here],
            )
            if between:
                first = replace(rows, tokens=between, hidden=ahead)
                (ahead, stream), seen = run_layer(model, layer, [first, replace(rows, after=0)])
                found = _of_one_row(seen[0])
                shared_here = found if shared_here is None else _joined(shared_here, found)
            else:
                (stream,), seen = run_layer(model, layer, [rows])
            shared.append(shared_here)
            own.append(_of_one_row(seen[-1]))
            states.append(stream[:, 0])
    return BaseRun(
        model=model,
        engine="regions",
        layout=layout,
        start=start,
        embeddings=embeddings,
        hidden=states,
        outputs=kept,
        rotary=rotary,
        shared=shared,
        own=own,
    )


def _of_one_row(seen: KeysValues) -> KeysValues:
    """Keys and values [key head, draw, token, head width] of rows that are one per draw."""
    keys, values = seen
    return keys[:, :, 0], values[:, :, 0]


def _joined(first: KeysValues, then: KeysValues) -> KeysValues:
    return torch.cat([first[0], then[0]], dim=2), torch.cat([first[1], then[1]], dim=2)
