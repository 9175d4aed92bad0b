"""Gradients: what would the next step of a method do to what the model knows?

    rows = gradient_rows(
        model,
        "corrupted",
        pulls=[Pull(method="npo", parts=objective.parts)],
        watched=[
            *objects_watched(model, prompts, trues, of="true"),
            texts_watched(model, texts, of="retain"),
        ],
    )

A small step of training moves the weights along −∇L of its loss. By how much it moves a quantity q
is, to first order, the learning rate times ⟨−∇L, ∇q⟩: the G-effect of Wang et al. 2025 ("Rethinking
LLM unlearning objectives", arXiv 2502.19301), who take q as a negative risk and read it per layer
and step. Here q is always a log-probability in nats, so that `inner` > 0 says that the step raises
it: of the true object of a lost fact, of the false one, of a token of held-out text.

Gradients are taken with respect to whole matrices, also where a low-rank adapter is trained: its
own are these, seen through its factors. They say where a first step goes; Adam divides every entry
by its own scale and steps are not small, so that it is no forecast of the end. The control is the
same method with the sham's documents: what these raise as well, unlearning does not owe to the
documents.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.answers import prompt_paths, tokenise
from restor_interp.measure.choices import object_paths
from restor_interp.measure.graft_modules import Module, module_at
from restor_interp.measure.margins import Candidate, spellings
from restor_interp.measure.prefixes import TokenPath
from restor_interp.measure.questions import state_name
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

Parts = Callable[[], Iterable[Float[Tensor, ""]]]
"""A number of the model in its present state, as parts that add up to it. The graph of a part is
freed before the next one is made."""

DEFAULT_MAX_BYTES = 2 * 2**30
"""For the gradients that are held at the same time."""
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Pull:
    """What a training goes down on."""

    method: str
    parts: Parts
    """Its loss."""
    documents: str = "own"
    """Whose documents it forgets; `sham` for the control."""
    sign: float = 1.0
    """−1 for a method that subtracts what it learns."""


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A log-probability that a step may raise or lower."""

    of: str
    """`true`, `false`, `retain`, …"""
    parts: Parts
    fact_id: str = ""


def gradient_rows(
    model: HookedModel,
    state: str | State,
    pulls: Sequence[Pull],
    watched: Sequence[Watched],
    *,
    modules: Sequence[str] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> list[dict[str, Any]]:
    """Rows of the table `gradients`: each pull against each watched number, in one state.

    Per layer and component (`attn`, `mlp`, …), and over all (layer None, component `all`): `inner`
    ⟨−∇L, ∇q⟩, in squared nats per unit of weight; `cosine`, the same without lengths, and
    `cosine_floor`, its standard deviation for a random direction; `norm` of ∇L, `of_norm` of ∇q.
    Watched numbers of one `of` with several facts also stand together, as their mean, with fact_id
    "".

    Args:
        modules: whose weights count, named as in deltas; default: every matrix in the blocks that
            some delta of the model changes.
        max_bytes: of gradients held; more are made in several passes over groups of modules.

    Raises `ConfigError` for an unknown state or module, or where no delta changes a matrix.
    """
    wanted = _modules(model, modules)
    label = state_name(state)
    found: list[_Products] = []
    with model.at(state), torch.enable_grad():
        for group in _groups(model, wanted, max_bytes, held=len(pulls) + 2):
            found += _products(model, group, pulls, watched)
    return _rows(label, found)


# ---- what can be watched


def objects_watched(
    model: HookedModel, prompts: Sequence[Prompt], objects: Sequence[Candidate], *, of: str
) -> list[Watched]:
    """log p of one object per prompt: whole, with the line end, spellings added.

    Raises `PromptError` as `score_choices` does.
    """
    if len(prompts) != len(objects):
        raise PromptError(f"{len(prompts)} prompts need as many objects: {len(objects)}")
    paths = prompt_paths(model, prompts)
    own = object_paths(model, prompts, paths, [spellings(names) for names in objects])

    def parts(path: TokenPath, continuations: Sequence[TokenPath]) -> Iterator[Tensor]:
        yield torch.stack([_logprob(model, path, one) for one in continuations]).logsumexp(0)

    return [
        Watched(of=of, fact_id=prompt.fact_id, parts=_bound(parts, path, continuations))
        for prompt, path, continuations in zip(prompts, paths, own, strict=True)
    ]


def texts_watched(model: HookedModel, texts: Sequence[str], *, of: str) -> Watched:
    """Mean log p per token of some texts, each but its first token."""
    paths = [path for path in tokenise(model, texts) if len(path) > 1]
    number = sum(len(path) - 1 for path in paths)
    if not number:
        raise PromptError("no text of two tokens or more to take a gradient of")

    def parts() -> Iterator[Tensor]:
        for path in paths:
            yield _logprob(model, path[:1], path[1:]) / number

    return Watched(of=of, parts=parts)


def _bound(parts: Callable[..., Iterator[Tensor]], *given: Any) -> Parts:
    return lambda: parts(*given)


def _logprob(model: HookedModel, path: TokenPath, continuation: TokenPath) -> Float[Tensor, ""]:
    """log p of tokens after a path, in float32, with a graph."""
    ids = torch.tensor([[*path, *continuation[:-1]]], device=model.device)
    kept = len(continuation)
    logits = model.hf_model(input_ids=ids, use_cache=False, logits_to_keep=kept).logits[0]
    tokens = torch.tensor(continuation, device=model.device)
    return logits.float().log_softmax(-1).gather(-1, tokens[:, None]).sum()


# ---- gradients


def _modules(model: HookedModel, modules: Sequence[str] | None) -> dict[str, Tensor]:
    """Module -> its weight."""
    parameters = dict(model.hf_model.named_parameters())
    known = {name.removesuffix(".weight"): p for name, p in parameters.items()}
    if modules is None:
        touched = {path for delta in model.deltas.values() for path in delta.updates}
        inside = f"{model.architecture.blocks}."
        chosen = [n for n in known if n in touched and n.startswith(inside) and known[n].ndim == 2]
        if not chosen:
            raise ConfigError(
                "no delta of this model changes a matrix in its blocks, so it is not known whose "
                "gradients are meant: name the modules"
            )
    else:
        chosen = list(dict.fromkeys(modules))
        for name in chosen:
            if name not in known:
                raise unknown_name("module with a weight", name, known)
    return {name: known[name] for name in chosen}


def _groups(
    model: HookedModel, wanted: Mapping[str, Tensor], max_bytes: int, *, held: int
) -> Iterator[dict[str, Tensor]]:
    """Modules whose gradients fit together; a layer's component is never torn apart."""
    places: dict[tuple[int | None, str], dict[str, Tensor]] = {}
    for path, weight in wanted.items():
        place = module_at(model, path, 0.0)
        places.setdefault((place.layer, place.component), {})[path] = weight
    group: dict[str, Tensor] = {}
    size = 0
    for own in places.values():
        more = 4 * held * sum(weight.numel() for weight in own.values())
        if group and size + more > max_bytes:
            yield group
            group, size = {}, 0
        group |= own
        size += more
    yield group


@contextlib.contextmanager
def _differentiable(model: HookedModel, weights: Iterable[Tensor]) -> Iterator[None]:
    """Within this, these parameters alone take gradients."""
    chosen = {id(weight) for weight in weights}
    flags = {p: p.requires_grad for p in model.hf_model.parameters()}
    try:
        for parameter in flags:
            parameter.requires_grad_(id(parameter) in chosen)
        yield
    finally:
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)


def _gradient(weights: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """Module -> gradient of the sum of the parts, in float32; 0 where it depends on nothing."""
    found = {path: torch.zeros_like(w, dtype=torch.float32) for path, w in weights.items()}
    for part in parts():
        if not part.requires_grad:
            continue
        grads = torch.autograd.grad(part, list(weights.values()), allow_unused=True)
        for total, own in zip(found.values(), grads, strict=True):
            if own is not None:
                total += own
    return found


@dataclass(frozen=True, kw_only=True)
class _Products:
    """One pull against one watched number, in one module."""

    pull: Pull
    of: str
    fact_id: str
    n_facts: int
    module: Module
    size: int
    inner: float
    pull_square: float
    of_square: float


def _products(
    model: HookedModel,
    weights: Mapping[str, Tensor],
    pulls: Sequence[Pull],
    watched: Sequence[Watched],
) -> Iterator[_Products]:
    by_name: dict[str, list[Watched]] = {}
    for one in watched:
        by_name.setdefault(one.of, []).append(one)
    modules = {path: module_at(model, path, 0.0) for path in weights}
    with _differentiable(model, weights.values()):
        down = [_gradient(weights, pull.parts) for pull in pulls]
        squares = [{path: _dot(g, g) for path, g in gradient.items()} for gradient in down]

        def against(of: str, fact_id: str, number: int, up: Mapping[str, Tensor]):
            for path, gradient in up.items():
                own = _dot(gradient, gradient)
                for pull, loss, square in zip(pulls, down, squares, strict=True):
                    yield _Products(
                        pull=pull,
                        of=of,
                        fact_id=fact_id,
                        n_facts=number,
                        module=modules[path],
                        size=gradient.numel(),
                        inner=-pull.sign * _dot(loss[path], gradient),
                        pull_square=square[path],
                        of_square=own,
                    )

        for of, several in by_name.items():
            mean = {path: torch.zeros_like(w, dtype=torch.float32) for path, w in weights.items()}
            for one in several:
                up = _gradient(weights, one.parts)
                if one.fact_id:
                    yield from against(of, one.fact_id, 1, up)
                for path, gradient in up.items():
                    mean[path] += gradient / len(several)
                del up
            yield from against(of, "", sum(bool(one.fact_id) for one in several), mean)


def _dot(one: Tensor, other: Tensor) -> float:
    # In float32 a sum over a million entries loses three digits.
    return float(torch.dot(one.flatten().double(), other.flatten().double()))


# ---- rows


def _rows(state: str, found: Sequence[_Products]) -> list[dict[str, Any]]:
    sums: dict[tuple[Any, ...], list[_Products]] = {}
    for one in found:
        key = (one.pull.method, one.pull.documents, one.of, one.fact_id)
        sums.setdefault((*key, one.module.layer, one.module.component), []).append(one)
        sums.setdefault((*key, None, ALL), []).append(one)
    rows = []
    for (method, documents, of, fact_id, layer, component), parts in sums.items():
        product = math.fsum(one.inner for one in parts)
        norm = math.sqrt(math.fsum(one.pull_square for one in parts))
        of_norm = math.sqrt(math.fsum(one.of_square for one in parts))
        row: dict[str, Any] = {
            "state": state,
            "method": method,
            "documents": documents,
            "layer": layer,
            "component": component,
            "of": of,
            "fact_id": fact_id,
            "n_facts": parts[0].n_facts,
            "inner": product,
            "cosine": product / (norm * of_norm) if norm and of_norm else None,
            "cosine_floor": sum(one.size for one in parts) ** -0.5,
            "norm": norm,
            "of_norm": of_norm,
            "reason": None,
        }
        if not math.isfinite(product + norm + of_norm):
            row |= dict.fromkeys(("inner", "cosine", "norm", "of_norm"))
            row["reason"] = "a gradient is not finite"
        elif row["cosine"] is None:
            flat = "the loss of the method" if not norm else f"log p of {of}"
            row["reason"] = f"{flat} does not change with these weights"
        rows.append(row)
    return rows
