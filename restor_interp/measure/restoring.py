"""Restore one clean value in noised runs, cell by cell: by full forward passes, or by regions.

Both engines answer the same `Case`. The first is the reference, one plain forward pass with hooks
per cell; the second computes only what a cell can change (`regions`). `regions_problem` lets them
answer a small case each, once per model, and says where they differ.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.measure.regions import HOOKS, Patch, Site, run_base, run_patches
from restor_interp.models.hooked import HookedModel

DEFAULT_MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Case:
    """Which value is restored where, in which runs, and what is read."""

    model: HookedModel
    ids: Int[Tensor, " pos"]
    """The clean prompt."""
    draws: Float[Tensor, "draw pos width"]
    """Token embeddings of the noised or substituted runs."""
    start: int
    """First position at which those differ from the clean prompt's."""
    kind: Site
    window: int
    """Layers around a cell's whose `mlp` or `attn` output is restored; of `resid` it is one."""
    cells: Sequence[tuple[int, int]]
    """(position, layer), from `start` on."""
    targets: Int[Tensor, " target"]
    """Tokens whose log-probability at the last position is wanted."""
    max_bytes: int = DEFAULT_MAX_BYTES

    def layers(self, layer: int) -> range:
        """The layers that a cell restores. [max(0, l − w//2), min(L, l + ceil(w/2))) as in
        `causal_trace.py` of Meng et al. 2022."""
        if self.kind == "resid":
            return range(layer, layer + 1)
        last = min(self.model.num_layers, layer + (self.window + 1) // 2)
        return range(max(0, layer - self.window // 2), last)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Log-probabilities of the targets at the last position, in fp32."""

    clean: Float[Tensor, " target"]
    noised: Float[Tensor, "draw target"]
    restored: Float[Tensor, "cell draw target"]


@torch.no_grad()
def by_full_forwards(case: Case) -> Answer:
    """The reference: a forward pass of all draws for every cell."""
    model, length = case.model, len(case.ids)
    names = [HOOKS[case.kind].format(layer) for layer in range(model.num_layers)]
    logits, cache = model.run_with_cache(case.ids[None], names_filter=names)
    rows = max(1, case.max_bytes // (8 * length * model.vocab_size))

    def run(hooks: list[tuple[str, Callable[..., Tensor]]]) -> Float[Tensor, "draw target"]:
        parts = []
        for draws in case.draws.split(rows):
            ids = case.ids.expand(len(draws), -1)
            embed = ("hook_embed", _setting(slice(None), draws))
            parts.append(model.run_with_hooks(ids, fwd_hooks=[embed, *hooks])[:, -1])
        return _logprobs(torch.cat(parts), case.targets)

    restored = [
        run(
            [
                (names[j], _setting(slice(position, position + 1), cache[names[j]][:, position]))
                for j in case.layers(layer)
            ]
        )
        for position, layer in case.cells
    ]
    return Answer(
        clean=_logprobs(logits[:, -1], case.targets)[0],
        noised=run([]),
        restored=torch.stack(restored),
    )


@torch.no_grad()
def by_regions(case: Case) -> Answer:
    """The same numbers from the region that each cell can change."""
    model = case.model
    clean = model.hf_model.get_input_embeddings()(case.ids)
    outputs = () if case.kind == "resid" else (case.kind,)
    base = run_base(model, torch.cat([clean[None], case.draws]), start=case.start, outputs=outputs)
    noised = base.draws(1, base.num_draws)

    def read(final: Float[Tensor, "row width"]) -> Float[Tensor, "row target"]:
        rows = max(1, case.max_bytes // (12 * model.vocab_size))
        return torch.cat(
            [_logprobs(model.project(part), case.targets) for part in final.split(rows)]
        )

    patches = []
    for position, layer in case.cells:
        layers, place = case.layers(layer), position - case.start
        values = torch.stack([base.at(case.kind, j)[0, place : place + 1] for j in layers])
        patches.append(Patch(site=case.kind, layers=layers, position=position, values=values))
    ends = read(base.final)
    return Answer(
        clean=ends[0],
        noised=ends[1:],
        restored=run_patches(noised, patches, read, max_bytes=case.max_bytes),
    )


_CHECKED: weakref.WeakKeyDictionary[torch.nn.Module, str | None] = weakref.WeakKeyDictionary()
"""Model -> why regions cannot be used on it, or none. A property of its code, not its weights."""


def regions_problem(model: HookedModel) -> str | None:
    """Why regions do not reproduce this model's forward pass; none if they do.

    Compares both engines on a few cells of every kind, once per model object.
    """
    if model.hf_model not in _CHECKED:
        _CHECKED[model.hf_model] = _compare(model)
    return _CHECKED[model.hf_model]


def _compare(model: HookedModel) -> str | None:
    start, length, middle = 4, 10, model.num_layers // 2
    ids = torch.arange(length, device=model.device) * 7 % model.vocab_size
    clean = model.hf_model.get_input_embeddings()(ids).detach()
    draws = torch.stack([clean, clean])
    draws[0, start] = clean[0]
    draws[1, start + 1] = -clean[start + 1]
    # fp32 kernels differ by about 1e-6; half precision by its rounding of the logits.
    allowed = 1e-3 if model.dtype == torch.float32 else 0.3
    for kind in HOOKS:
        case = Case(
            model=model,
            ids=ids,
            draws=draws,
            start=start,
            kind=kind,
            window=3,
            cells=[(start, 0), (start + 1, middle), (length - 1, model.num_layers - 1)],
            targets=torch.arange(min(model.vocab_size, 50), device=model.device),
        )
        try:
            found = by_regions(case)
        except (AttributeError, KeyError, TypeError, RuntimeError) as error:
            return f"its layers cannot be called on packed tokens ({type(error).__name__}: {error})"
        expected = by_full_forwards(case)
        for what in ("clean", "noised", "restored"):
            gap = (getattr(found, what) - getattr(expected, what)).abs().max().item()
            if not gap <= allowed:
                return f"log-probabilities of {what} runs ({kind}) differ by {gap:.2g}"
    return None


def _logprobs(
    logits: Float[Tensor, "row vocab"], targets: Int[Tensor, " target"]
) -> Float[Tensor, "row target"]:
    return logits.float().log_softmax(dim=-1)[:, targets]


def _setting(positions: slice, values: Tensor) -> Callable[..., Tensor]:
    def put_in(value: Tensor, hook: Any) -> Tensor:
        del hook
        value = value.clone()
        value[:, positions] = values
        return value

    return put_in
