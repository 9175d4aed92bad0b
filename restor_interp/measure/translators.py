"""Fitting the tuned lens: sums over texts, a ridge per layer out of them, and what validation says.

    minimise over W, b:   Σ_i w_i ‖ t_i − x_i W − b ‖²  +  α ‖W‖²

x: residual stream after a layer; t: what the rest of the model adds to it; w: 1 / mean square of
the final residual stream. With the centred weighted sums G = X'X and C = X't, W = (G + α)⁻¹ C: one
eigendecomposition of G serves every α (`tuned` says why it is this that is fitted).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.answers import tokenise
from restor_interp.measure.batching import batches_by_length
from restor_interp.models.hooked import HookedModel

STRENGTHS = (1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)
"""Ridges that are tried, as shares of the mean eigenvalue of G."""
VALIDATION_EVERY = 5
VALIDATION_TOKENS = 128
"""KL is taken on so many: each costs an unembedding per layer, twice."""
LONGEST_WINDOW = 256
"""Tokens that a text is read in."""
TOKENS_PER_BATCH_ON_CPU = 512
TOKENS_PER_BATCH = 8192
"""On any other device."""
BYTES_OF_LOGITS = 128 * 2**20


@dataclass(frozen=True, kw_only=True)
class Translators:
    """Fields of `TunedLens` of the same names."""

    weights: Float[Tensor, "layer width width"]
    biases: Float[Tensor, "layer width"]
    strengths: tuple[float | None, ...]
    logit_kl: tuple[float, ...]
    tuned_kl: tuple[float, ...]
    n_tokens: int
    n_validation: int


@torch.no_grad()
def fit_translators(
    model: HookedModel, texts: Sequence[str], *, max_tokens: int, seed: int, max_bytes: int
) -> Translators:
    """Translators of the model in its present state. Raises as `tuned.fit_tuned_lens`."""
    training, held = _folds(model, texts, max_tokens, seed)
    layers, width = model.num_layers, model.d_model
    validation = _some_tokens(model, held)
    final = validation[layers]
    logit_kl = [_kl(model, validation[layer], final) for layer in range(layers)]
    weights, biases = torch.zeros(layers, width, width), torch.zeros(layers, width)
    strengths: list[float | None] = [None] * layers
    tuned_kl = [float(kl.mean()) for kl in logit_kl]
    at_once = max(1, max_bytes // (2 * width * width * 8))
    number = 0
    for first in range(0, layers, at_once):
        group = range(first, min(layers, first + at_once))
        sums = [_Sums.empty(width, model.device) for _ in group]
        number = _add_all(model, training, group, sums)
        for layer, own in zip(group, sums, strict=True):
            strength, weight, bias = _best(own, validation[layer], final)
            moved = validation[layer] + validation[layer] @ weight + bias
            kl = _kl(model, moved, final)
            gain = logit_kl[layer] - kl
            # Within chance of the validation tokens, nothing is what is claimed least with.
            if float(gain.mean()) > float(gain.std(correction=0)) / len(gain) ** 0.5:
                weights[layer], biases[layer], strengths[layer] = weight, bias, strength
                tuned_kl[layer] = float(kl.mean())
    return Translators(
        weights=weights,
        biases=biases,
        strengths=tuple(strengths),
        logit_kl=tuple(float(kl.mean()) for kl in logit_kl),
        tuned_kl=tuple(tuned_kl),
        n_tokens=number,
        n_validation=len(final),
    )


# ---- the texts


def _folds(
    model: HookedModel, texts: Sequence[str], max_tokens: int, seed: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Token windows to fit on and to validate on; no text is in both."""
    order = list(texts)
    random.Random(f"tuned lens/{seed}").shuffle(order)
    limit = getattr(model.hf_model.config.get_text_config(), "max_position_embeddings", None)
    size = min(LONGEST_WINDOW, limit or LONGEST_WINDOW)
    read = [
        [path[start : start + size] for start in range(0, len(path) - 1, size)]
        for path in map(list, tokenise(model, order))
    ]
    read = [[window for window in own if len(window) > 1] for own in read]
    read = [own for own in read if own]
    if len(read) < 2 or max_tokens < 1:
        raise ConfigError(
            f"{len(read)} of {len(texts)} texts have at least two tokens, and max_tokens is "
            f"{max_tokens}: a tuned lens is fitted on some texts and tested on others, so it takes "
            "two or more of them, and a token"
        )
    held = [window for own in read[::VALIDATION_EVERY] for window in own]
    training: list[list[int]] = []
    left = max_tokens
    for number, own in enumerate(read):
        for window in own:
            if number % VALIDATION_EVERY and left > 0:
                training.append(window[: left + 1])
                left -= len(training[-1]) - 1
    return training, held


def _runs(
    model: HookedModel, windows: Sequence[Sequence[int]], layers: Sequence[int]
) -> Iterator[tuple[list[Tensor], Bool[Tensor, "row pos"]]]:
    """Batch by batch: the residual streams that enter these layers (L: leave the last), and which
    tokens count. The first of a window does not: it stands after nothing, and is unlike others."""
    budget = TOKENS_PER_BATCH_ON_CPU if model.device.type == "cpu" else TOKENS_PER_BATCH
    names = [
        f"blocks.{layer}.hook_resid_pre"
        if layer < model.num_layers
        else f"blocks.{layer - 1}.hook_resid_post"
        for layer in layers
    ]
    for batch in batches_by_length([len(window) for window in windows], budget):
        parts = [torch.tensor(windows[place], device=model.device) for place in batch]
        ids = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
        lengths = torch.tensor([len(part) for part in parts], device=model.device)
        counts = torch.arange(ids.shape[1], device=model.device)[None] < lengths[:, None]
        seen: dict[str, Tensor] = {}

        def keep(value: Tensor, hook: Any, seen: dict[str, Tensor] = seen) -> None:
            seen[hook.name] = value

        with model.hooks([(name, keep) for name in dict.fromkeys(names)]):
            model.hf_model.base_model(input_ids=ids, attention_mask=counts.long(), use_cache=False)
        counts[:, 0] = False
        yield [seen[name] for name in names], counts


def _some_tokens(
    model: HookedModel, windows: Sequence[Sequence[int]]
) -> Float[Tensor, "layer token width"]:
    """The residual stream at tokens that are spread evenly over the windows."""
    total = sum(len(window) - 1 for window in windows)
    step = max(1.0, total / VALIDATION_TOKENS)
    wanted = {int(place * step) for place in range(min(total, VALIDATION_TOKENS))}
    kept, before = [], 0
    for streams, counts in _runs(model, windows, range(model.num_layers + 1)):
        places = counts.nonzero()
        chosen = [n for n in range(len(places)) if before + n in wanted]
        before += len(places)
        rows, columns = places[chosen].T
        kept.append(torch.stack([stream[rows, columns].float() for stream in streams]))
    found = torch.cat(kept, dim=1)
    if not torch.isfinite(found).all():
        raise ConfigError(
            f"{model.name} gives activations that are not finite, so nothing can be fitted to "
            "them; use float32, or a state that has not diverged"
        )
    return found


# ---- sums, and a ridge out of them


@dataclass(kw_only=True)
class _Sums:
    """Weighted sums over tokens, in fp64."""

    weight: float
    x: Float[Tensor, " width"]
    t: Float[Tensor, " width"]
    xx: Float[Tensor, "width width"]
    xt: Float[Tensor, "width width"]

    @classmethod
    def empty(cls, width: int, device: torch.device) -> "_Sums":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(
            weight=0.0,
            x=zeros(width),
            t=zeros(width),
            xx=zeros(width, width),
            xt=zeros(width, width),
        )

    def add(
        self,
        x: Float[Tensor, "token width"],
        t: Float[Tensor, "token width"],
        weights: Float[Tensor, " token"],
    ) -> None:
        weighted = x * weights[:, None]
        self.weight += float(weights.sum())
        self.x += weighted.sum(0)
        self.t += (t * weights[:, None]).sum(0)
        self.xx.addmm_(weighted.T, x)
        self.xt.addmm_(weighted.T, t)


def _add_all(
    model: HookedModel, windows: Sequence[Sequence[int]], layers: range, sums: Sequence[_Sums]
) -> int:
    """Add all tokens of some windows to the sums of some layers; how many there were."""
    number = 0
    for streams, counts in _runs(model, windows, [*layers, model.num_layers]):
        final = streams[-1][counts].double()
        weights = 1 / final.pow(2).mean(-1)
        for stream, own in zip(streams[:-1], sums, strict=True):
            x = stream[counts].double()
            own.add(x, final - x, weights)
        number += len(final)
    return number


def _best(
    sums: _Sums, x: Float[Tensor, "token width"], final: Float[Tensor, "token width"]
) -> tuple[float, Float[Tensor, "width width"], Float[Tensor, " width"]]:
    """Strength, weights and bias of the ridge that predicts the validation tokens best."""
    mean_x, mean_t = sums.x / sums.weight, sums.t / sums.weight
    gram = sums.xx - sums.weight * torch.outer(mean_x, mean_x)
    cross = sums.xt - sums.weight * torch.outer(mean_x, mean_t)
    values, basis = torch.linalg.eigh(gram)
    values, cross = values.clamp_min(0.0), basis.T @ cross
    given = (x.double() - mean_x) @ basis
    target = (final - x).double() - mean_t
    weights = 1 / final.double().pow(2).mean(-1, keepdim=True)
    unit = float(values.mean()) or 1.0
    errors = [
        float((weights * (given / (values + strength * unit) @ cross - target) ** 2).mean())
        for strength in STRENGTHS
    ]
    strength = STRENGTHS[errors.index(min(errors))]
    found = basis @ (cross / (values + strength * unit)[:, None])
    return strength, found.float(), (mean_t - mean_x @ found).float()


def _kl(
    model: HookedModel, hidden: Float[Tensor, "token width"], final: Float[Tensor, "token width"]
) -> Float[Tensor, " token"]:
    """KL(final ‖ hidden) of the next-token distributions, in nats, in fp64 sums."""
    found = []
    at_once = max(1, BYTES_OF_LOGITS // (8 * model.vocab_size))
    for own, end in zip(hidden.split(at_once), final.split(at_once), strict=True):
        said = model.project(own.to(model.dtype)).float().log_softmax(-1)
        wanted = model.project(end.to(model.dtype)).float().log_softmax(-1)
        found.append((wanted.exp() * (wanted - said)).sum(-1).double())
    return torch.cat(found).cpu()
