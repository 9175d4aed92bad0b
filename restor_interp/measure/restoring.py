"""The reference for regions: full forward passes with hooks, one per row of interventions.

Slow and plain. It answers the same jobs as `staircase`, serves models that packed layers do not
reproduce, and tells which those are: `regions_problem`.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.measure.bases import BaseRun, climb
from restor_interp.measure.courses import DEFAULT_MAX_BYTES, Job
from restor_interp.measure.interventions import HOOKS, Cut, Patch, Row, Site, check_row, parts_of
from restor_interp.measure.packed import Layout
from restor_interp.measure.staircase import sweep
from restor_interp.models.hooked import CLEAN, HookedModel


@torch.no_grad()
def full_base(
    model: HookedModel,
    embeddings: Float[Tensor, "draw token width"],
    *,
    start: int,
    outputs: Sequence[Site],
    layout: Layout,
) -> BaseRun:
    """A base run by full forward passes."""
    layers = range(model.num_layers)
    names = ["blocks.0.hook_resid_pre"]
    names += [HOOKS[site].format(layer) for site in ("resid", *outputs) for layer in layers]
    found = _run(model, embeddings, layout, (), names)
    kept = {name: value[:, start:] for name, value in found.items()}
    return BaseRun(
        model=model,
        engine="brute",
        layout=layout,
        start=start,
        embeddings=embeddings,
        hidden=[kept[names[0]], *(kept[HOOKS["resid"].format(layer)] for layer in layers)],
        outputs={site: [kept[HOOKS[site].format(layer)] for layer in layers] for site in outputs},
        rotary=[],
        shared=[],
        own=[],
    )


@torch.no_grad()
def full_rows(job: Job, *, max_bytes: int) -> Float[Tensor, "row draw value"]:
    """What a job reads, by a full forward pass of all draws for every row."""
    base = job.base
    model, top = base.model, HOOKS["resid"].format(base.model.num_layers - 1)
    rows_at_once = max(1, max_bytes // (8 * base.length * model.vocab_size))
    results = []
    for row in job.rows:
        check_row(model, row, base.start, base.length)
        finals = [
            _run(model, draws, base.layout, parts_of(row), [top])[top][:, list(job.tokens_read)]
            for draws in base.embeddings.split(rows_at_once)
        ]
        results.append(torch.cat([job.reading(final, max_bytes) for final in finals]))
    return torch.stack(results)


def _run(
    model: HookedModel,
    embeddings: Float[Tensor, "draw token width"],
    layout: Layout,
    parts: Sequence[Patch | Cut],
    names: Sequence[str],
) -> dict[str, Float[Tensor, "draw token ..."]]:
    """The values of hooks in runs with interventions. Each branch is run after the trunk, alone."""
    found: dict[str, Tensor] = {}
    trunk = list(range(layout.trunk))
    for tokens in [[*trunk, *branch] for branch in layout.branch_tokens] or [trunk]:
        places = {token: place for place, token in enumerate(tokens)}

        def keep(value: Tensor, hook: Any, tokens: list[int] = tokens) -> None:
            if hook.name not in found:
                found[hook.name] = value.new_zeros((len(value), layout.length, *value.shape[2:]))
            found[hook.name][:, tokens] = value

        hooks = [("hook_embed", _setting(slice(None), None, embeddings[:, tokens]))]
        for part in parts:
            hooks += _cutting(part, places) if isinstance(part, Cut) else _replacing(part, places)
        ids = torch.zeros(len(embeddings), len(tokens), dtype=torch.long, device=model.device)
        model.run_with_hooks(ids, fwd_hooks=[*hooks, *((name, keep) for name in names)])
    return found


def _replacing(patch: Patch, places: Mapping[int, int]) -> list[tuple[str, Callable[..., Tensor]]]:
    """Hooks that put in the values of a patch at those of its tokens that are there."""
    span = [token for token in range(patch.position, patch.end) if token in places]
    if not span:
        return []
    values = patch.values[:, [token - patch.position for token in span]]
    at = [places[token] for token in span]
    return [
        (HOOKS[patch.site].format(layer), _setting(at, patch.head, value))
        for layer, value in zip(patch.layers, values, strict=True)
    ]


def _cutting(cut: Cut, places: Mapping[int, int]) -> list[tuple[str, Callable[..., Tensor]]]:
    queries = [places[query] for query in cut.queries if query in places]
    keys = [places[key] for key in cut.keys if key in places]
    heads = cut.heads

    def cut_out(scores: Tensor, hook: Any) -> Tensor:
        del hook
        scores = scores.clone()
        for head in range(scores.shape[1]) if heads is None else heads:
            for query in queries:
                scores[:, head, query, keys] = float("-inf")
        return scores

    return [(f"blocks.{layer}.attn.hook_attn_scores", cut_out) for layer in cut.layers]


def _setting(
    positions: slice | list[int], head: int | None, values: Tensor
) -> Callable[..., Tensor]:
    def put_in(value: Tensor, hook: Any) -> Tensor:
        del hook
        value = value.clone()
        if head is None:
            value[:, positions] = values.to(value.dtype)
        else:
            value[:, positions, head] = values.to(value.dtype)
        return value

    return put_in


_CHECKED: weakref.WeakKeyDictionary[torch.nn.Module, str | None] = weakref.WeakKeyDictionary()
"""Model -> why regions cannot be used on it, or none. A property of its code, not its weights."""


def regions_problem(model: HookedModel) -> str | None:
    """Why regions do not reproduce this model's forward pass; none if they do.

    Compares both engines on a few rows of every kind, once per model object.
    """
    if model.hf_model not in _CHECKED:
        with model.at(CLEAN):  # a state that has diverged gives no numbers to compare
            _CHECKED[model.hf_model] = _compare(model)
    return _CHECKED[model.hf_model]


@torch.no_grad()
def _compare(model: HookedModel) -> str | None:
    start, length, middle, top = 4, 12, model.num_layers // 2, model.num_layers - 1
    layout = Layout(length, (1, 2))
    ids = torch.arange(length, device=model.device) * 7 % model.vocab_size
    clean = model.hf_model.get_input_embeddings()(ids).detach()
    embeddings = torch.stack([clean, clean])
    embeddings[1, start + 1] = -clean[start + 1]
    outputs: list[Site] = ["mlp", "attn", "head"]
    # fp32 kernels differ by about 1e-6; half precision by its rounding of the logits.
    allowed = 1e-3 if model.dtype == torch.float32 else 0.3
    try:
        base = climb(model, embeddings, start=start, outputs=outputs, layout=layout, prefix=None)
        full = full_base(model, embeddings, start=start, outputs=outputs, layout=layout)

        def patch(site: Site, layers: range, position: int, head: int | None = None) -> Patch:
            values = torch.stack([full.at(site, layer)[0, :2] for layer in layers])
            values = values if head is None else values[..., head, :]
            return Patch(site=site, layers=layers, position=position, values=values, head=head)

        rows: dict[str, Row] = {
            "resid": patch("resid", range(middle, middle + 1), start + 1),
            "mlp": patch("mlp", range(top + 1), start + 2),
            "attn": patch("attn", range(middle, top + 1), start),
            "head": patch("head", range(middle, middle + 1), start + 3, model.num_heads - 1),
            "cut": Cut(layers=range(middle + 1), queries=(start + 4,), keys=(start, start + 2)),
        }
        known = patch("resid", range(middle, middle + 1), start)
        rows["known"] = replace(known, above=base.above(start + 2))
        rows["together"] = (rows["head"], rows["cut"], rows["resid"])  # pyright: ignore
        targets = min(model.vocab_size, 50)

        def read(final: Tensor) -> Tensor:
            logprobs = model.project(final).float().log_softmax(dim=-1)
            return logprobs[..., :targets].flatten(1)

        def job(run: BaseRun) -> Job:
            return Job(
                base=run, rows=list(rows.values()), read=read, read_at=(8, length - 3, length - 1)
            )

        found, expected = (
            sweep([job(base)], max_bytes=DEFAULT_MAX_BYTES)[0],
            full_rows(job(full), max_bytes=DEFAULT_MAX_BYTES),
        )
    except (AttributeError, KeyError, TypeError, RuntimeError) as error:
        return f"its layers cannot be called on packed tokens ({type(error).__name__}: {error})"
    for kind, one, other in zip(rows, found, expected, strict=True):
        gap = (one - other).abs().max().item()
        if not gap <= allowed:
            return f"log-probabilities ({kind}) differ by {gap:.2g}"
    return None
