"""Capture: what a state holds inside while it reads many prompts, streamed to disk.

Only hooks are used and nothing is merged, so it works on any state, and in the middle of training
while an adapter is attached. Prompts that begin with the same tokens (the few-shot examples of a
relation) are run together: the shared tokens once, then the rest of each prompt on their keys
and values. A model that this does not reproduce is run plainly, and it is said.
"""

import contextlib
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from restor_interp.errors import PromptError
from restor_interp.facts import Fact
from restor_interp.measure.batching import batches_by_length
from restor_interp.measure.lens import read_logprobs
from restor_interp.measure.objects import continuations, diverge
from restor_interp.models.activations import (
    LOGPROBS,
    SITES,
    Activations,
    ActivationWriter,
    CapturedPrompt,
    Dtype,
)
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import resolve_position, tokenize
from restor_interp.prompts import Prompt

logger = logging.getLogger(__name__)

TOKENS_PER_BATCH_ON_CPU = 1024
TOKENS_PER_BATCH = 8192
"""On any other device."""

WORTH_SHARING = 0.5
"""Prompts are run together if they share at least this part of their tokens."""

TOLERANCE = 1e-3
"""Largest difference, relative to the largest activation, that rounding explains."""
TOLERANCE_OF_16_BITS = 0.1

_SHARES: MutableMapping[PreTrainedModel, bool] = weakref.WeakKeyDictionary()
"""Model -> whether a run on the keys and values of a shared prefix reproduces the plain run."""

_HOOKS = {
    "attn": "blocks.{}.hook_attn_out",
    "mlp": "blocks.{}.hook_mlp_out",
    "pattern": "blocks.{}.attn.hook_pattern",
}


def capture(
    model: HookedModel,
    prompts: Sequence[Prompt],
    folder: str | Path,
    *,
    objects: Sequence[Sequence[str]] | None = None,
    state: str | State | None = None,
    facts: Iterable[Fact] = (),
    sites: Sequence[str] = SITES,
    positions: Sequence[str] = ("subject_last", "last"),
    dtype: Dtype = "float16",
    max_tokens_per_batch: int | None = None,
    on_rows: Callable[[int, int], None] | None = None,
) -> Activations:
    """Write every layer's activations of each prompt into a folder, and open it.

    Args:
        objects: per prompt (true, false): their log-probabilities after every layer are written
            too, at the first token at which they differ.
        state: what to capture; by default the model as it is, with whatever is attached to it.
        facts: say which entity and relation a prompt's `fact_id` is about. Without them the
            entity is the prompt's subject.
        dtype: 16 bits keep three digits and halve the disk; log-probabilities keep 32 bits.
        max_tokens_per_batch: bounds the memory (default: what suits the device).
        on_rows: is told how many prompts are done, and of how many.

    Raises:
        ConfigError: an unknown site, position or state.
        PromptError: a prompt without the subject that a position asks for, or objects of which
            one begins with another.
    """
    if objects is not None and len(objects) != len(prompts):
        raise PromptError(f"{len(prompts)} prompts need as many pairs of objects: {len(objects)}")
    on_cpu = model.device.type == "cpu"
    budget = max_tokens_per_batch or (TOKENS_PER_BATCH_ON_CPU if on_cpu else TOKENS_PER_BATCH)
    rows = _rows(model, prompts, objects, positions)
    by_id = {fact.fact_id: fact for fact in facts}
    writer = ActivationWriter(
        folder,
        prompts=[
            _captured(prompt, row, by_id.get(prompt.fact_id), own)
            for prompt, row, own in zip(prompts, rows, objects or [()] * len(prompts), strict=True)
        ],
        sites=sites,
        positions=positions,
        num_layers=model.num_layers,
        num_heads=model.num_heads,
        width=model.d_model,
        model_name=model.name,
        model_digest=model.digest,
        dtype=dtype,
    )
    done = 0
    in_state = model.at(state) if state is not None else contextlib.nullcontext()
    with in_state, _evaluating(model), writer:
        for shared, group in _groups(model, rows):
            prefix = _Prefix.run(model, group[0].ids[:shared])
            for places in batches_by_length([len(row.ids) - shared for row in group], budget):
                batch = [group[place] for place in places]
                _capture_batch(model, prefix, batch, tuple(sites), writer)
                done += len(batch)
                if on_rows is not None:
                    on_rows(done, len(prompts))
    return Activations.open(folder)


def object_vectors(
    model: HookedModel, objects: Iterable[str]
) -> dict[str, Float[np.ndarray, " width"]]:
    """Each object's direction in the unembedding of the current state: its first token's row."""
    names = list(dict.fromkeys(objects))
    weight = model.hf_model.get_output_embeddings().weight.detach()
    # After a colon, as an answer stands: a word begins there as it does in a prompt.
    first = [tokens[0] for tokens in continuations(model.tokenizer, "Answer:", names)]
    return {
        name: weight[token].float().cpu().numpy() for name, token in zip(names, first, strict=True)
    }


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A prompt as it is run."""

    number: int
    ids: Int[Tensor, " pos"]
    """With the tokens that its objects share."""
    num_tokens: int
    """Without them."""
    places: tuple[int, ...]
    """The captured positions."""
    targets: tuple[int, ...]
    """The next token of each object."""

    @property
    def needed_from(self) -> int:
        """First token whose activations are wanted."""
        return min((*self.places, self.num_tokens - 1))


def _rows(
    model: HookedModel,
    prompts: Sequence[Prompt],
    objects: Sequence[Sequence[str]] | None,
    positions: Sequence[str],
) -> list[_Row]:
    tokens = tokenize(model.tokenizer, prompts)
    rows = []
    for number, prompt in enumerate(prompts):
        ids = tokens.ids[number]
        apart = None
        if objects is not None:
            apart = diverge(model.tokenizer, prompt.text, objects[number])
        shared = torch.tensor(apart.shared if apart else (), dtype=ids.dtype)
        rows.append(
            _Row(
                number=number,
                ids=torch.cat([ids, shared]),
                num_tokens=len(ids),
                places=tuple(resolve_position(tokens, number, name) for name in positions),
                targets=apart.tokens if apart else (),
            )
        )
    return rows


def _captured(
    prompt: Prompt, row: _Row, fact: Fact | None, objects: Sequence[str]
) -> CapturedPrompt:
    return CapturedPrompt(
        fact_id=prompt.fact_id,
        context_id=prompt.context_id,
        entity=fact.entity if fact else prompt.subject or "",
        relation=fact.relation if fact else "",
        num_tokens=row.num_tokens,
        objects=tuple(objects),
    )


@contextlib.contextmanager
def _evaluating(model: HookedModel) -> Iterator[None]:
    """No dropout and no gradients, also in the middle of training."""
    training = model.hf_model.training
    model.hf_model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.hf_model.train(training)


# ---- shared prefixes


@dataclass(frozen=True, kw_only=True)
class _Prefix:
    """Keys and values of tokens that several rows begin with."""

    length: int
    layers: Sequence[tuple[Tensor, Tensor]]

    @classmethod
    def run(cls, model: HookedModel, ids: Int[Tensor, " pos"]) -> "_Prefix":
        if not len(ids):
            return cls(length=0, layers=())
        cache = DynamicCache()
        model.hf_model.base_model(
            input_ids=ids[None].to(model.device), past_key_values=cache, use_cache=True
        )
        # Of layers that keep no keys (linear attention) the error is told by `_reproduces`.
        layers = cast(Any, cache).layers
        return cls(length=len(ids), layers=[(one.keys, one.values) for one in layers])

    def cache(self, rows: int) -> DynamicCache:
        """A copy for so many rows; a run adds to it."""
        cache = DynamicCache()
        for index, (keys, values) in enumerate(self.layers):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
        return cache


def _run(
    model: HookedModel, prefix: _Prefix, ids: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"]
) -> None:
    """Run rows behind a prefix; hooks see what is captured. The unembedding is left out."""
    ids, mask = ids.to(model.device), mask.to(model.device)
    backbone: Any = model.hf_model.base_model
    if not prefix.length:
        backbone(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        return
    seen = mask.new_ones(len(ids), prefix.length)
    places = torch.arange(prefix.length, prefix.length + ids.shape[1], device=model.device)
    backbone(
        input_ids=ids,
        attention_mask=torch.cat([seen, mask], dim=1).long(),
        position_ids=places.expand(len(ids), -1),
        past_key_values=prefix.cache(len(ids)),
        use_cache=True,
    )


def _groups(model: HookedModel, rows: Sequence[_Row]) -> Iterator[tuple[int, list[_Row]]]:
    """Rows that share their first tokens, with how many; in the end those that share none."""
    alone: list[_Row] = []
    group: list[_Row] = []
    shared = 0
    for row in [*sorted(rows, key=lambda row: row.ids.tolist()), None]:
        if row is not None and group:
            common = min(shared, _num_common(group[0].ids, row.ids), row.needed_from)
            if common >= WORTH_SHARING * len(row.ids):
                shared = common
                group.append(row)
                continue
        if len(group) > 1 and _reproduces(model, group[0], shared):
            yield shared, group
        else:
            alone += group
        group = [row] if row is not None else []
        shared = group[0].needed_from if group else 0
    if alone:
        yield 0, alone


def _num_common(one: Tensor, other: Tensor) -> int:
    length = min(len(one), len(other))
    differs = (one[:length] != other[:length]).nonzero()
    return int(differs[0]) if len(differs) else length


def _reproduces(model: HookedModel, row: _Row, shared: int) -> bool:
    """Whether this model, run behind a prefix, gives what a plain run gives. Tried once."""
    if model.hf_model not in _SHARES:
        ids, ends = row.ids[None], {}
        mask = torch.ones_like(ids, dtype=torch.bool)

        def keep(value: Tensor, hook: Any) -> None:
            del hook
            ends[len(ends)] = value[0, -1].float()

        problem = ""
        with model.hooks([(f"blocks.{model.num_layers - 1}.hook_resid_post", keep)]):
            _run(model, _Prefix(length=0, layers=()), ids, mask)
        prefix = None
        try:
            prefix = _Prefix.run(model, row.ids[:shared])
        except (TypeError, AttributeError) as error:
            problem = f"its forward pass takes no cache ({error})"
        if prefix is not None:
            with model.hooks([(f"blocks.{model.num_layers - 1}.hook_resid_post", keep)]):
                _run(model, prefix, ids[:, shared:], mask[:, shared:])
            difference = ((ends[1] - ends[0]).abs().max() / ends[0].abs().max()).item()
            exact = model.dtype in (torch.float32, torch.float64)
            if not difference <= (TOLERANCE if exact else TOLERANCE_OF_16_BITS):
                problem = f"activations differ by {difference:.2g}"
        if problem:
            logger.warning("%s: every prompt is captured on its own: %s", model.name, problem)
        _SHARES[model.hf_model] = not problem
    return _SHARES[model.hf_model]


# ---- one batch


def _capture_batch(
    model: HookedModel,
    prefix: _Prefix,
    batch: Sequence[_Row],
    sites: Sequence[str],
    writer: ActivationWriter,
) -> None:
    shared = prefix.length
    parts = [row.ids[shared:] for row in batch]
    ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence(
        [torch.ones_like(part, dtype=torch.bool) for part in parts], batch_first=True
    )
    # The last place is where the objects part; it is read by the lens and not written.
    places = torch.tensor([[*row.places, len(row.ids) - 1] for row in batch]) - shared
    last = torch.tensor([row.num_tokens - 1 for row in batch]) - shared
    kept: dict[str, list[Tensor]] = {"resid": [], "attn": [], "mlp": [], "pattern": []}
    with model.hooks(_hooks(model, kept, sites, places.to(model.device), last.to(model.device))):
        _run(model, prefix, ids, mask)
    # [row, layer, …] of everything: one copy to the host per site.
    found = {site: torch.stack(values, dim=1) for site, values in kept.items() if values}
    on_host = {site: values.cpu().numpy() for site, values in found.items()}
    for number, row in enumerate(batch):
        values = {}
        for site in sites:
            own = on_host[site][number]
            values[site] = own[..., : row.num_tokens] if site == "pattern" else own[:, :-1]
        if row.targets:
            values[LOGPROBS] = read_logprobs(model, found["resid"][number, :, -1], row.targets)
        writer.add(row.number, values)


def _hooks(
    model: HookedModel,
    kept: dict[str, list[Tensor]],
    sites: Sequence[str],
    places: Int[Tensor, "row place"],
    last: Int[Tensor, " row"],
) -> list[tuple[str, Callable[..., None]]]:
    """What appends to `kept` the wanted places of each layer, in order of layers."""
    rows = torch.arange(len(last), device=last.device)

    def keep(site: str) -> Callable[..., None]:
        def fn(value: Tensor, hook: Any) -> None:
            del hook
            chosen = value[rows, :, last] if site == "pattern" else value[rows[:, None], places]
            kept[site].append(chosen.float())

        return fn

    # The residual stream is always read: the lens needs it.
    hooks = [("blocks.0.hook_resid_pre", keep("resid"))]
    for layer in range(model.num_layers):
        hooks += [(_HOOKS[site].format(layer), keep(site)) for site in _HOOKS if site in sites]
        hooks.append((f"blocks.{layer}.hook_resid_post", keep("resid")))
    return hooks
