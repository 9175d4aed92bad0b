"""A model's own layers, called on packed tokens: rows of any length in one batch of one sequence.

Only attention looks from one token to another. transformers lets a model's attention be answered
by a registered function; ours gets the queries, keys and values of all packed tokens, and answers
row by row, with further keys and values taken from a base run. Everything else of a layer
(rotary embeddings, query norms, biases, soft caps, parallel blocks, post-norms) stays the model's.

Rows need no padding: each has the length that it has, on either side.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AttentionInterface

from restor_interp.errors import ConfigError
from restor_interp.measure.interventions import Cut, KeysValues
from restor_interp.models.hooked import HookedModel

_NAME = "restor_interp_packed"
_LANES = 16
"""Scores per token that there are at least: of fewer, a CPU's softmax takes five times as long."""


@dataclass(frozen=True)
class Layout:
    """Which tokens of a row follow which: a trunk, then alternative continuations of it. Each of
    these branches sees the trunk and itself, and its positions go on where the trunk ends."""

    length: int
    branches: tuple[int, ...] = ()
    """The branches' numbers of tokens."""

    @property
    def trunk(self) -> int:
        """The trunk's number of tokens."""
        return self.length - sum(self.branches)

    @property
    def branch_tokens(self) -> list[range]:
        """The tokens of each branch."""
        ends = [self.trunk + sum(self.branches[: i + 1]) for i in range(len(self.branches))]
        return [range(end - size, end) for end, size in zip(ends, self.branches, strict=True)]

    @property
    def positions(self) -> list[int]:
        """Every token's position id."""
        branches = [self.trunk + i for size in self.branches for i in range(size)]
        return [*range(self.trunk), *branches]


@functools.lru_cache(maxsize=64)
def _unseen(layout: Layout, window: int | None) -> Bool[Tensor, "token key"]:
    """Keys that a token does not see: later ones, other branches, those outside the window."""
    token = torch.arange(layout.length)
    unseen = token[None, :] > token[:, None]
    for branch in layout.branch_tokens:
        unseen[branch.stop :, branch.start : branch.stop] = True
    if window is not None:
        place = torch.tensor(layout.positions)
        unseen |= place[None, :] <= place[:, None] - window
    return unseen


@functools.lru_cache(maxsize=4096)
def _hidden_from(
    layout: Layout,
    tokens: range | tuple[int, ...],
    num_keys: int,
    window: int | None,
    shared: int,
    device: torch.device,
) -> Bool[Tensor, "token shared key"] | None:
    """The same for some tokens, the first keys and as many more as fill the lanes, for every query
    that shares a key; none if they see all of them."""
    unseen = _unseen(layout, window)[list(tokens), :num_keys]
    unseen = F.pad(unseen, (0, max(0, _LANES - num_keys)), value=True)
    if not unseen.any():
        return None
    # Not broadcast over the queries: filling is ten times faster.
    return unseen[:, None].repeat(1, shared, 1).to(device)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that hold the same tokens of one base run."""

    layout: Layout
    tokens: range | tuple[int, ...]
    """Which tokens `hidden` holds."""
    hidden: Float[Tensor, "draw row token width"]
    rotary: KeysValues | None
    """Cosines and sines [token, head width] of all tokens of the layout, where the model has
    them."""
    before: Sequence[KeysValues]
    """What they attend to beside themselves; with one draw, or with as many as the rows have."""
    after: int | None = None
    """Which earlier rows of the same batch, of one draw and one row, stand between `before` and
    these."""
    own: KeysValues | None = None
    """Keys and values [key head, draw, row, token, head width] that follow `before`, where they
    are not those of the tokens held here."""
    cuts: Sequence[tuple[int, Cut]] = ()
    """Row and what is cut in it, in this layer."""

    @property
    def num_tokens(self) -> int:
        return self.hidden.shape[:3].numel()

    def hidden_from(
        self, num_keys: int, window: int | None, heads: tuple[int, int]
    ) -> Bool[Tensor, "key_head 1 row token shared key"] | None:
        """Keys that are not to be seen, to be broadcast; heads: of keys, and queries for each.
        Keys are as many as fill the lanes, at least.

        Raises `ConfigError` for a cut that leaves a token nothing to attend to.
        """
        device = self.hidden.device
        unseen = _hidden_from(self.layout, self.tokens, num_keys, window, heads[1], device)
        if not self.cuts:
            return unseen
        width = max(num_keys, _LANES)
        shape = (heads[0] * heads[1], self.hidden.shape[1], len(self.tokens), width)
        mask = torch.zeros(shape, dtype=torch.bool, device=device)
        if unseen is not None:
            mask |= unseen[:, 0]
        for row, cut in self.cuts:
            queries = [self.tokens.index(query) for query in cut.queries if query in self.tokens]
            keys = [key for key in cut.keys if key < num_keys]
            for head in [slice(None)] if cut.heads is None else cut.heads:
                for query in queries:
                    mask[head, row, query, keys] = True
            if mask[:, row].all(dim=-1).any():
                raise ConfigError(
                    f"the cut of {cut.queries} from {cut.keys} leaves a token nothing to attend "
                    "to; leave it one key that it sees"
                )
        return mask.unflatten(0, heads).permute(0, 2, 3, 1, 4)[:, None]


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Answers the attention of one layer for packed rows."""

    rows: Sequence[Rows]
    keys_only: bool = False
    """Stop as soon as the keys and values are there."""
    seen: list[KeysValues] = field(default_factory=list)
    """Keys and values of the rows themselves, in their order, each [key head, draw, row, token,
    head width]."""

    def attend(
        self,
        queries: Float[Tensor, "1 head token head_width"],
        keys: Float[Tensor, "1 key_head token head_width"],
        values: Float[Tensor, "1 key_head token head_width"],
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Float[Tensor, "1 token head head_width"]:
        """Scaled dot-product attention, each token to its own row and what stands before it."""
        sizes = [rows.num_tokens for rows in self.rows]
        for rows, k, v in zip(
            self.rows, keys[0].split(sizes, dim=1), values[0].split(sizes, dim=1), strict=True
        ):
            shape = rows.hidden.shape[:3]
            self.seen.append((k.unflatten(1, shape), v.unflatten(1, shape)))
        if self.keys_only:
            raise _KeysAreThere
        heads, tokens, width = queries[0].shape
        answers = queries.new_empty(tokens, heads, width)
        first = 0
        for rows, q, own in zip(self.rows, queries[0].split(sizes, dim=1), self.seen, strict=True):
            answer = _attend(
                rows, self._before(rows), q, *(rows.own or own), scaling, sliding_window, softcap
            )
            # A slice, which gradients can go through, as they cannot through parts of a split.
            answers[first : first + rows.num_tokens].view(answer.shape).copy_(answer)
            first += rows.num_tokens
        return answers[None]

    def _before(self, rows: Rows) -> list[KeysValues]:
        if rows.after is None:
            return [*rows.before]
        keys, values = self.seen[rows.after]
        return [*rows.before, (keys[:, :, 0], values[:, :, 0])]


class _KeysAreThere(Exception):
    """Ends a layer's run after its keys and values."""


def _attend(
    rows: Rows,
    before: Sequence[KeysValues],
    queries: Float[Tensor, "head flat_token head_width"],
    keys: Float[Tensor, "key_head draw row key head_width"],
    values: Float[Tensor, "key_head draw row key head_width"],
    scaling: float,
    sliding_window: int | None,
    softcap: float | None,
) -> Float[Tensor, "draw row token key_head shared head_width"]:
    """Query heads that share a key head are more queries of that head."""
    draws, count, length, _ = rows.hidden.shape
    key_heads, width = keys.shape[0], keys.shape[-1]
    shared = len(queries) // key_heads
    q = queries.view(key_heads, shared, draws, count, length, width)
    q = q.permute(0, 2, 3, 4, 1, 5).contiguous()  # key_head draw row token shared head_width
    scores = [
        # One product for all rows: keys before a row are the same for all rows of a draw.
        (q.view(key_heads, k.shape[1], -1, width) @ k.transpose(-1, -2)).view(
            *q.shape[:-1], k.shape[2]
        )
        for k, _ in before
    ]
    own = q.view(key_heads, draws, count, -1, width) @ keys.transpose(-1, -2).contiguous()
    scores.append(own.view(*q.shape[:-1], keys.shape[3]))
    sizes = [score.shape[-1] for score in scores]
    num_keys = sum(sizes)
    if num_keys < _LANES:
        scores.append(own.new_zeros(*q.shape[:-1], _LANES - num_keys))
    weights = torch.cat(scores, dim=-1).float().mul_(scaling)
    if softcap is not None:
        weights = torch.tanh(weights / softcap) * softcap
    unseen = rows.hidden_from(num_keys, sliding_window, (key_heads, shared))
    if unseen is not None:
        weights.masked_fill_(unseen, float("-inf"))
    weights = weights.softmax(dim=-1)[..., :num_keys].to(values.dtype)
    parts = weights.split(sizes, dim=-1)
    answer = parts[-1].flatten(3, 4).contiguous() @ values
    for part, (_, v) in zip(parts, before, strict=False):
        products = key_heads * v.shape[1]
        answer.view(products, -1, width).baddbmm_(
            part.reshape(products, -1, v.shape[2]), v.flatten(0, 1)
        )
    return answer.view(q.shape).permute(1, 2, 3, 0, 4, 5)


def _answer(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    packing: Packing,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls instead of its own attention."""
    del module, attention_mask
    answer = packing.attend(
        query, key, value, scaling=scaling, sliding_window=sliding_window, softcap=softcap
    )
    return answer, None


AttentionInterface.register(_NAME, _answer)


@contextlib.contextmanager
def packed_attention(model: HookedModel) -> Iterator[None]:
    """Within this, the model's attention is answered by the `Packing` that a layer is given."""
    config = model.hf_model.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def run_layer(
    model: HookedModel, layer: int, rows: Sequence[Rows]
) -> tuple[list[Float[Tensor, "draw row token width"]], list[KeysValues]]:
    """One layer on packed rows: their new residual streams; their keys and values, each [key head,
    draw, row, token, head width]."""
    packing = Packing(rows=rows)
    output = _call(model, layer, packing)
    parts = output[0].split([group.num_tokens for group in rows])
    streams = [part.view(group.hidden.shape) for group, part in zip(rows, parts, strict=True)]
    return streams, packing.seen


def run_keys(model: HookedModel, layer: int, rows: Sequence[Rows]) -> list[KeysValues]:
    """The keys and values of packed rows in a layer, and nothing else of it."""
    packing = Packing(rows=rows, keys_only=True)
    with contextlib.suppress(_KeysAreThere):
        _call(model, layer, packing)
    return packing.seen


def _call(model: HookedModel, layer: int, packing: Packing) -> Float[Tensor, "1 flat_token width"]:
    keywords: dict[str, Any] = {"attention_mask": None, "packing": packing}
    if packing.rows[0].rotary is not None:
        keywords["position_embeddings"] = tuple(
            torch.cat([_spread(group, which) for group in packing.rows])[None] for which in (0, 1)
        )
    packed = torch.cat([group.hidden.flatten(0, 2) for group in packing.rows])[None]
    output = model.layers[layer](packed, **keywords)
    return output[0] if isinstance(output, tuple) else output


def _spread(rows: Rows, which: int) -> Float[Tensor, "flat_token head_width"]:
    """Cosines (0) or sines (1) of packed tokens."""
    assert rows.rotary is not None
    table, tokens = rows.rotary[which], rows.tokens
    own = table[tokens.start : tokens.stop] if isinstance(tokens, range) else table[list(tokens)]
    return own.expand(rows.hidden.shape[:2].numel(), -1, -1).flatten(0, 1)


def entrance(
    model: HookedModel, embeddings: Float[Tensor, "draw token width"], layout: Layout
) -> tuple[Float[Tensor, "draw token width"], list[KeysValues | None]]:
    """The residual stream before layer 0, and each layer's rotary cosines and sines [token, head
    width].

    Takes what the embedding matrix gives. A model with learned positions adds them; the others
    compute one rotary table, or (Gemma 3) one per type of layer.
    """
    backbone: Any = model.hf_model.base_model
    config = model.hf_model.config
    places = torch.tensor(layout.positions, device=embeddings.device)
    if config.model_type == "gpt2":
        return embeddings + backbone.wpe(places), [None] * model.num_layers
    kinds = config.layer_types if config.model_type == "gemma3_text" else [None] * model.num_layers
    tables = {
        kind: backbone.rotary_emb(embeddings, places[None], *([] if kind is None else [kind]))
        for kind in set(kinds)
    }
    return embeddings, [(tables[kind][0][0], tables[kind][1][0]) for kind in kinds]
