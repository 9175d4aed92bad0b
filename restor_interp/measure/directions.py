"""Activation-difference directions: what a state adds to its activations whatever it reads.

Narrow fine-tuning shifts the residual stream on the first tokens of any text, and the mean shift
says what the tuning was about (Activation Difference Lens, arXiv 2510.13900). One unlearning
method, RMU, does most of its work by one such direction (Arditi and Chughtai 2024, "Unlearning via
RMU is mostly shallow"). Here it is measured on neutral texts against another state, read through
the lens, and compared between halves of the texts: a direction that two halves do not share is
noise. `steering` takes it out and puts it in.

The first token is left out by default, where the paper has it among its five: models park
attention on it, and its residual stream is hundreds of times as long as any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.questions import state_name
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel

TOKENS = tuple(range(1, 6))
"""Tokens of each text whose activations are compared."""

LEAST_TEXTS = 4
"""Texts below which two halves say nothing."""

TEXTS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Directions:
    """The mean difference of a state's residual stream to another's, in every layer.

    Layer 0 is the embeddings, layer l the stream after l layers.
    """

    state: str
    base: str
    n_texts: int
    tokens: tuple[int, ...]
    vectors: Float[Tensor, "layer width"]
    """Mean of h_state − h_base over texts and tokens, in fp32."""
    base_means: Float[Tensor, "layer width"]
    """Mean of h_base."""
    base_norms: Float[Tensor, " layer"]
    """Mean length of h_base: a scale for the direction's own."""
    shares: Float[Tensor, " layer"]
    """‖mean difference‖² / mean ‖difference‖²: the share of the difference that is the same in all
    texts and tokens; 1/(texts · tokens) if nothing is. NaN where nothing differs."""
    agreements: Float[Tensor, " layer"]
    """Cosine of the directions of two halves of the texts; NaN where nothing differs."""

    @property
    def norms(self) -> Float[Tensor, " layer"]:
        return self.vectors.norm(dim=-1)


def difference_directions(
    model: HookedModel,
    texts: Sequence[str],
    *,
    states: Sequence[str | State],
    base: str | State = "clean",
    tokens: Sequence[int] = TOKENS,
) -> list[Directions]:
    """The mean difference of each state to the base on some texts, in every layer.

    Args:
        texts: such as `restor_interp.data.neutral.held_out_texts()`; those that are too short for
            `tokens` are left out.
        tokens: which tokens of each text; only these and what stands before them is run.

    Raises:
        PromptError: fewer than 4 texts that are long enough.
        ConfigError: no tokens, an unknown state, activations that are not finite.
    """
    chosen = tuple(dict.fromkeys(tokens))
    if not chosen or min(chosen) < 0:
        raise ConfigError(f"tokens={tuple(tokens)}: give places from 0 on, such as {TOKENS}")
    length = max(chosen) + 1
    coded = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    rows = [ids[:length] for ids in coded if len(ids) >= length]
    if len(rows) < LEAST_TEXTS:
        raise PromptError(
            f"{len(rows)} of {len(coded)} texts have the {length} tokens that are compared; at "
            f"least {LEAST_TEXTS} are needed"
        )
    ids = torch.tensor(rows, device=model.device)
    with model.at(base):
        own = _streams(model, ids, chosen)
    return [_directions(model, ids, own, state, base, chosen) for state in states]


def _directions(
    model: HookedModel,
    ids: Tensor,
    own: Float[Tensor, "layer text token width"],
    state: str | State,
    base: str | State,
    tokens: tuple[int, ...],
) -> Directions:
    with model.at(state):
        differences = _streams(model, ids, tokens) - own
    if not torch.isfinite(differences).all():
        raise ConfigError(
            f"activations of {state_name(state)} or {state_name(base)} are not finite, so they "
            "have no mean difference; use float32, or a state that has not diverged"
        )
    vectors = differences.mean(dim=(1, 2))
    halves = [differences[:, half::2].mean(dim=(1, 2)) for half in (0, 1)]
    sizes = differences.pow(2).sum(dim=-1).mean(dim=(1, 2))
    lengths = halves[0].norm(dim=-1) * halves[1].norm(dim=-1)
    return Directions(
        state=state_name(state),
        base=state_name(base),
        n_texts=len(ids),
        tokens=tokens,
        vectors=vectors,
        base_means=own.mean(dim=(1, 2)),
        base_norms=own.norm(dim=-1).mean(dim=(1, 2)),
        shares=vectors.pow(2).sum(dim=-1) / sizes,  # 0 / 0 where nothing differs
        agreements=(halves[0] * halves[1]).sum(dim=-1) / lengths,
    )


@torch.no_grad()
def _streams(
    model: HookedModel, ids: Tensor, tokens: Sequence[int]
) -> Float[Tensor, "layer text token width"]:
    """The residual stream at some tokens, before layer 0 and after every layer, in fp32."""
    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.num_layers)]
    batches = []
    for part in ids.split(TEXTS_AT_ONCE):
        kept: list[Tensor] = []

        def keep(value: Tensor, hook: Any, kept: list[Tensor] = kept) -> None:
            del hook
            kept.append(value[:, list(tokens)].float())

        with model.hooks([(name, keep) for name in names]):
            model.hf_model.base_model(input_ids=part, use_cache=False)
        batches.append(torch.stack(kept))
    return torch.cat(batches, dim=1)


@torch.no_grad()
def direction_rows(
    model: HookedModel,
    directions: Directions,
    *,
    layers: Sequence[int] | None = None,
    top: int = 10,
) -> list[dict[str, Any]]:
    """Rows of the table `directions`: the tokens that each layer's direction speaks for.

    The direction stands for a residual stream and is read through the final norm and unembedding
    of the base (`end` = promoted), and so is its negative (demoted). `rank` 1 is the highest
    logit. A layer in which nothing differs has one row with a reason. `layers` default: all.

    Raises `ConfigError` for a layer that does not exist.
    """
    rows = []
    for layer in checked_layers(directions, layers):
        norm = directions.norms[layer]
        fixed = {
            "state": directions.state,
            "base": directions.base,
            "layer": layer,
            "norm": norm.item(),
            "relative_norm": (norm / directions.base_norms[layer]).item(),
            "n_texts": directions.n_texts,
            "share": _or_none(directions.shares[layer]),
            "agreement": _or_none(directions.agreements[layer]),
        }
        if norm == 0:
            empty = dict.fromkeys(("end", "rank", "token", "logit"))
            rows.append(fixed | empty | {"reason": "the states do not differ here"})
            continue
        for end, sign in (("promoted", 1), ("demoted", -1)):
            with model.at(directions.base):
                vector = (sign * directions.vectors[layer]).to(model.dtype)
                logits, ids = model.project(vector).float().topk(min(top, model.vocab_size))
            rows += [
                fixed
                | {
                    "end": end,
                    "rank": rank,
                    "token": model.tokenizer.decode([token]),
                    "logit": logit,
                    "reason": None,
                }
                for rank, (logit, token) in enumerate(
                    zip(logits.tolist(), ids.tolist(), strict=True), start=1
                )
            ]
    return rows


def checked_layers(directions: Directions, layers: Sequence[int] | None) -> list[int]:
    """Some layers of the directions. Raises `ConfigError` for one that does not exist."""
    number = len(directions.vectors)
    for layer in layers or ():
        if not 0 <= layer < number:
            raise ConfigError(
                f"there is no layer {layer}: directions have 0 (the embeddings) to {number - 1}"
            )
    return list(range(number)) if layers is None else list(layers)


def _or_none(value: Tensor) -> float | None:
    return value.item() if torch.isfinite(value) else None
