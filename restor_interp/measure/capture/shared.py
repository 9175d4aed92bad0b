"""Tokens that many prompts begin with are run once.

The few-shot examples of a relation are the same in all its prompts: they are run once, then the
rest of each prompt on their keys and values. A model that this does not reproduce is run plainly,
and it is said.
"""

import logging
import weakref
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from restor_interp.measure.capture.rows import Row
from restor_interp.models.hooked import HookedModel

logger = logging.getLogger(__name__)

WORTH_SHARING = 0.5
"""Prompts are run together if they share at least this part of their tokens."""

PASSES = 64
"""Tokens that a small group's two passes of its own cost about as much as: a pass reads all weights
for however few tokens. A group that saves less is run among the others."""

TOLERANCE = 1e-3
"""Largest difference, relative to the largest activation, that rounding explains."""
TOLERANCE_OF_16_BITS = 0.1

_SHARES: MutableMapping[PreTrainedModel, bool] = weakref.WeakKeyDictionary()
"""Model -> whether a run on the keys and values of a shared prefix reproduces the plain run."""


class _PrefixLayer(DynamicLayer):
    """Keys and values of a prefix that every row of a batch sees.

    Those of the rows are joined for the layer at work alone: a batch never holds more than one
    layer's copy, and the prefix serves the next batch as it is.
    """

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        assert self.keys is not None and self.values is not None
        shape = (len(key_states), -1, -1, -1)
        keys = torch.cat([self.keys.expand(shape), key_states], dim=-2)
        return keys, torch.cat([self.values.expand(shape), value_states], dim=-2)


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Tokens that several rows begin with, and their keys and values."""

    length: int
    cache: DynamicCache | None

    @classmethod
    def run(cls, model: HookedModel, ids: Int[np.ndarray, " pos"]) -> "Prefix":
        if not len(ids):
            return cls(length=0, cache=None)
        filled = DynamicCache()
        model.hf_model.base_model(
            input_ids=as_tensor(ids, model)[None], past_key_values=filled, use_cache=True
        )
        cache: Any = DynamicCache()
        # Of layers that keep no keys (linear attention) the error is told by `_reproduces`.
        one: Any
        for one in filled.layers:
            layer = _PrefixLayer()
            layer.lazy_initialization(one.keys, one.values)
            layer.keys, layer.values = one.keys, one.values
            cache.layers.append(layer)
        return cls(length=len(ids), cache=cache)


def run_rows(model: HookedModel, prefix: Prefix, ids: Int[np.ndarray, "row pos"]) -> None:
    """Run rows behind a prefix; hooks see what is captured. The unembedding is left out.

    Shorter rows are padded on the right: nothing looks there, so no mask is needed.
    """
    tokens = as_tensor(ids, model)
    backbone: Any = model.hf_model.base_model
    if prefix.cache is None:
        backbone(input_ids=tokens, use_cache=False)
        return
    places = torch.arange(prefix.length, prefix.length + ids.shape[1], device=model.device)
    backbone(
        input_ids=tokens,
        position_ids=places.expand(len(ids), -1),
        past_key_values=prefix.cache,
        use_cache=True,
    )


def as_tensor(ids: Int[np.ndarray, "*row pos"], model: HookedModel) -> Int[Tensor, "*row pos"]:
    """Token ids on the model's device."""
    return torch.from_numpy(ids.astype(np.int64)).to(model.device)


def groups(model: HookedModel, rows: Sequence[Row]) -> Iterator[tuple[int, list[Row]]]:
    """Rows that share their first tokens, with how many; in the end those that share none."""
    alone: list[Row] = []
    group: list[Row] = []
    shared = 0
    # By bytes: any order will do in which rows that begin alike are neighbours.
    for row in [*sorted(rows, key=lambda row: row.ids.tobytes()), None]:
        if row is not None and group:
            common = min(shared, _num_common(group[0].ids, row.ids), row.needed_from)
            if common >= WORTH_SHARING * len(row.ids):
                shared = common
                group.append(row)
                continue
        worth = len(group) > 1 and shared * (len(group) - 1) >= PASSES
        if worth and _reproduces(model, group[0], shared):
            yield shared, group
        else:
            alone += group
        group = [row] if row is not None else []
        shared = group[0].needed_from if group else 0
    if alone:
        yield 0, alone


def _num_common(one: Int[np.ndarray, " pos"], other: Int[np.ndarray, " pos"]) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def _reproduces(model: HookedModel, row: Row, shared: int) -> bool:
    """Whether this model, run behind a prefix, gives what a plain run gives. Tried once."""
    if model.hf_model not in _SHARES:
        ends: list[Tensor] = []

        def keep(value: Tensor, hook: Any) -> None:
            del hook
            ends.append(value[-1, -1].float())

        # Two rows: what one row's batch leaves in the prefix would show in another's.
        ids = np.stack([row.ids, row.ids])
        problem = ""
        hook = (f"blocks.{model.num_layers - 1}.hook_resid_post", keep)
        with model.hooks([hook]):
            run_rows(model, Prefix(length=0, cache=None), ids)
        prefix = None
        try:
            prefix = Prefix.run(model, row.ids[:shared])
        except (TypeError, AttributeError) as error:
            problem = f"its forward pass takes no cache ({error})"
        if prefix is not None:
            with model.hooks([hook]):
                run_rows(model, prefix, ids[:, shared:])
            difference = ((ends[1] - ends[0]).abs().max() / ends[0].abs().max()).item()
            exact = model.dtype in (torch.float32, torch.float64)
            if not difference <= (TOLERANCE if exact else TOLERANCE_OF_16_BITS):
                problem = f"activations differ by {difference:.2g}"
        if problem:
            logger.warning("%s: every prompt is captured on its own: %s", model.name, problem)
        _SHARES[model.hf_model] = not problem
    return _SHARES[model.hf_model]
