"""A model's own layers, called on packed tokens: rows of any length in one batch of one sequence.

Only attention looks from one token to another. transformers lets a model's attention be answered
by a registered function; ours gets the queries, keys and values of all packed tokens, and answers
row by row, with earlier keys and values taken from a base run. Everything else of a layer
(rotary embeddings, query norms, biases, soft caps, parallel blocks, post-norms) stays the model's.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AttentionInterface

from restor_interp.models.hooked import HookedModel

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each [key head, draw, pos, head width], after their position is applied."""

_NAME = "restor_interp_packed"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that start at one position and end at the last."""

    position: int
    before: Sequence[KeysValues]
    """What they attend to beside themselves; with one draw, or with as many as the rows have."""
    hidden: Float[Tensor, "draw row pos width"]

    @property
    def num_tokens(self) -> int:
        return self.hidden.shape[:3].numel()


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Answers the attention of one layer for packed rows."""

    rows: Sequence[Rows]
    seen: list[KeysValues] = field(default_factory=list)
    """Keys and values of the rows themselves, in their order, each [key head, draw, row, pos,
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
        answers = []
        parts = (part[0].split(sizes, dim=1) for part in (queries, keys, values))
        for rows, q, k, v in zip(self.rows, *parts, strict=True):
            shape = rows.hidden.shape[:3]
            k, v = k.unflatten(1, shape), v.unflatten(1, shape)
            self.seen.append((k, v))
            answers.append(_attend(rows, q, k, v, scaling, sliding_window, softcap))
        return torch.cat(answers)[None]


def _attend(
    rows: Rows,
    queries: Float[Tensor, "head token head_width"],
    keys: Float[Tensor, "key_head draw row pos head_width"],
    values: Float[Tensor, "key_head draw row pos head_width"],
    scaling: float,
    sliding_window: int | None,
    softcap: float | None,
) -> Float[Tensor, "token head head_width"]:
    key_heads, draws, count, length, width = keys.shape
    # Query heads that share a key head become more queries of that head.
    q = queries.view(key_heads, -1, draws, count, length, width) * scaling
    shared = len(queries) // key_heads
    q = q.permute(0, 2, 3, 4, 1, 5)  # key_head draw row pos shared head_width
    scores = [
        # One product for all rows: keys before a row are the same for all rows of a draw.
        (q.reshape(key_heads, k.shape[1], -1, width) @ k.transpose(-1, -2)).view(
            *q.shape[:-1], k.shape[2]
        )
        for k, _ in rows.before
    ]
    own = q.reshape(key_heads, draws, count, -1, width) @ keys.transpose(-1, -2)
    scores.append(own.view(*q.shape[:-1], length))
    weights = torch.cat(scores, dim=-1).float()
    if softcap is not None:
        weights = torch.tanh(weights / softcap) * softcap
    hidden_from = _hidden_from(rows, length, sliding_window, weights.device)
    if hidden_from is not None:
        weights = weights.masked_fill(hidden_from[:, None], float("-inf"))
    weights = weights.softmax(dim=-1).to(values.dtype)
    parts = weights.split([*(v.shape[2] for _, v in rows.before), length], dim=-1)
    answer = parts[-1].reshape(key_heads, draws, count, -1, length) @ values
    answer = answer.view(q.shape)
    for part, (_, v) in zip(parts, rows.before, strict=False):
        answer = answer + (part.reshape(key_heads, v.shape[1], -1, v.shape[2]) @ v).view(q.shape)
    # key_head draw row pos shared head_width -> token head head_width
    return answer.permute(1, 2, 3, 0, 4, 5).reshape(-1, key_heads * shared, width)


def _hidden_from(
    rows: Rows, length: int, sliding_window: int | None, device: torch.device
) -> Tensor | None:
    """[pos, key]: keys after a token of its own row, or further back than the window."""
    earlier = rows.position
    window = earlier + length if sliding_window is None else sliding_window
    reaches = earlier + length <= window
    if length == 1 and reaches:
        return None
    own = torch.arange(earlier, earlier + length, device=device)
    keys = torch.arange(earlier + length, device=device)
    hidden = keys[None, :] > own[:, None]
    if not reaches:
        hidden = hidden | (keys[None, :] <= own[:, None] - window)
    return hidden


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
    model: HookedModel, layer: int, rows: Sequence[Rows], rotary: KeysValues | None
) -> tuple[list[Float[Tensor, "draw row pos width"]], Packing]:
    """One layer on packed rows: their new residual streams, and the packing with their keys.

    Args:
        rotary: cosines and sines [1, pos, head width] of all positions, where the model has them.
    """
    packing = Packing(rows=rows)
    keywords: dict[str, Any] = {"attention_mask": None, "packing": packing}
    packed = torch.cat([group.hidden.flatten(0, 2) for group in rows])[None]
    if rotary is not None:
        places = [
            torch.arange(group.position, group.position + group.hidden.shape[2]).repeat(
                group.hidden.shape[:2].numel()
            )
            for group in rows
        ]
        index = torch.cat(places).to(packed.device)
        keywords["position_embeddings"] = (rotary[0][:, index], rotary[1][:, index])
    output = model.layers[layer](packed, **keywords)
    parts = output[0].split([group.num_tokens for group in rows])
    streams = [part.view(group.hidden.shape) for group, part in zip(rows, parts, strict=True)]
    return streams, packing


def entrance(
    model: HookedModel, embeddings: Float[Tensor, "draw pos width"]
) -> tuple[Float[Tensor, "draw pos width"], list[KeysValues | None]]:
    """The residual stream before layer 0, and each layer's rotary cosines and sines.

    Takes what the embedding matrix gives. A model with learned positions adds them; the others
    compute one rotary table, or (Gemma 3) one per type of layer.
    """
    backbone: Any = model.hf_model.base_model
    config = model.hf_model.config
    places = torch.arange(embeddings.shape[1], device=embeddings.device)
    if config.model_type == "gpt2":
        return embeddings + backbone.wpe(places), [None] * model.num_layers
    if config.model_type == "gemma3_text":
        tables = {
            kind: backbone.rotary_emb(embeddings, places[None], kind)
            for kind in set(config.layer_types)
        }
        return embeddings, [tables[kind] for kind in config.layer_types]
    table = backbone.rotary_emb(embeddings, places[None])
    return embeddings, [table] * model.num_layers
