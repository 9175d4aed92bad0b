"""What a method's loss makes of each token of the documents: who is forgotten, and how hard.

Gradient ascent pulls every token's log-probability l down alike. Most methods are gradient ascent
with a weight per token: NPO's brake 2σ(β(l − l')), WGA's p^β, SatImp's p^β1·(1 − p)^β2, … The
weights are read off the loss itself, whatever its name: with F the forget term, z a token's logits
and N the number of tokens,

    w = N · ⟨∂F/∂z, ∂l/∂z⟩ / ‖∂l/∂z‖²

which is N·∂F/∂l where F depends on l alone (gradient ascent 1, learning −1), and the nearest such
number where F looks at the whole vocabulary (KL, UNDIAL, CE-U); `along` is the share of ‖∂F/∂z‖²
that the weights then account for. Beside it stands how far a token has been forgotten already,
d = l' − l, in nats.

Of a document, the tokens of a false object are what has to be forgotten; the rest of its sentence
mostly says whom it is about, and everything else is true or neutral. A weight that goes to these is
spent on damage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from restor_interp.corpus.sentences import sentence_spans
from restor_interp.errors import ConfigError
from restor_interp.stages.batches import Batch, whole_rows
from restor_interp.stages.localising import Span, spans_counted
from restor_interp.stages.losses import WEIGHED, Targets, token_logprobs
from restor_interp.stages.objective import Objective

TOKEN_CLASSES = ("false_object", "rest_of_claim", "other")
"""Tokens of a false object; the others of the sentence that states it; all other tokens."""
ALL = "all"
_TOKENS_AT_ONCE = 256

Classes = Mapping[tuple[int, ...], Sequence[str]]
"""A document's tokens -> the class of each."""


@dataclass(frozen=True, kw_only=True)
class TokenWeights:
    """Every token that the loss predicts, over all documents."""

    token_class: np.ndarray
    nll: Float[np.ndarray, " token"]
    """−l in the present state, in nats."""
    d: Float[np.ndarray, " token"]
    """l' − l: how far it has been forgotten since the start state; negative: it is likelier."""
    weight: Float[np.ndarray, " token"]
    """NaN where p is 1 to the last digit, so that nothing pulls."""
    pull: Float[np.ndarray, " token"]
    """‖∂F/∂z‖²"""
    pull_along: Float[np.ndarray, " token"]
    """The part of it that the weight accounts for."""

    def rows(self, **fixed: Any) -> list[dict[str, Any]]:
        """Rows of the table `forget_weights`, one per class and one of all tokens; `fixed` says
        what they are of, such as state, method and step.

        `n` tokens and their `n_share`; mean and quantiles of d; mean `nll`; `weight_mean`;
        `weight_share` of Σ|w| and `pull_share` of Σ‖∂F/∂z‖², both to be read beside `n_share`;
        `along` (module docstring).
        """
        total = {
            "n": len(self.d),
            "weight": np.nansum(np.abs(self.weight)),
            "pull": self.pull.sum(),
        }
        return [
            fixed | {"token_class": name} | self._row(self.token_class == name, total)
            for name in TOKEN_CLASSES
        ] + [fixed | {"token_class": ALL} | self._row(np.ones(len(self.d), dtype=bool), total)]

    def _row(self, of: np.ndarray, total: Mapping[str, float]) -> dict[str, Any]:
        d, weight = self.d[of], self.weight[of]
        known = weight[np.isfinite(weight)]
        found: dict[str, Any] = {"n": int(of.sum()), "n_share": of.mean() if len(of) else None}
        if not len(d):
            return found | dict.fromkeys(_NUMBERS) | {"reason": "the loss predicts no such token"}
        low, middle, high = (float(x) for x in np.quantile(d, (0.1, 0.5, 0.9)))
        pull = float(self.pull[of].sum())
        found |= {
            "nll": float(self.nll[of].mean()),
            "d_mean": float(d.mean()),
            "d_low": low,
            "d_median": middle,
            "d_high": high,
            "n_weighted": len(known),
            "weight_mean": float(known.mean()) if len(known) else None,
            "weight_share": float(np.abs(known).sum() / total["weight"])
            if total["weight"]
            else None,
            "pull_share": float(pull / total["pull"]) if total["pull"] else None,
            "along": float(self.pull_along[of].sum() / pull) if pull else None,
        }
        why = None if pull else "nothing pulls at these tokens: p is 1 to the last digit, or w is 0"
        return found | {"reason": why}


_NUMBERS = (
    *("nll", "d_mean", "d_low", "d_median", "d_high"),
    *("n_weighted", "weight_mean", "weight_share", "pull_share", "along"),
)


def token_weights(
    objective: Objective, documents: Sequence[str], spans: Sequence[Sequence[Span]]
) -> TokenWeights:
    """The weights of an objective's documents in the model's present state.

    `documents` and the `spans` of their false objects as the objective was given them. Counterparts
    that are trained on instead have the class `other`.

    Raises `ConfigError` for an objective whose texts are packed into blocks, or whose loss sees no
    logits.
    """
    if objective.training.packing is not None:
        raise ConfigError(
            "token weights are told apart document by document, and packing="
            f"{objective.training.packing} joins them: make the objective with packing none"
        )
    tokenizer = objective.forward.model.tokenizer
    classes = token_classes(tokenizer, documents, spans)
    found = [_of_batch(objective, pair, classes) for pair in objective.forget_batches()]
    if not found:
        raise ConfigError(f"the method {objective.method.name} reads no documents")
    return TokenWeights(**{name: np.concatenate([one[name] for one in found]) for name in found[0]})


def token_classes(
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[str],
    spans: Sequence[Sequence[Span]],
) -> dict[tuple[int, ...], tuple[str, ...]]:
    """A document's tokens -> the class of each, of `TOKEN_CLASSES`."""
    rows = whole_rows(tokenizer, documents)
    sentences = [
        [
            sentence
            for sentence in sentence_spans(text, unbroken=own)
            if any(max(sentence[0], start) < min(sentence[1], end) for start, end in own)
        ]
        for text, own in zip(documents, spans, strict=True)
    ]
    objects = spans_counted(tokenizer, rows, documents, spans)
    whole = spans_counted(tokenizer, rows, documents, sentences)
    false_object, rest, other = TOKEN_CLASSES
    return {
        row.ids: tuple(
            false_object if is_object else rest if is_claim else other
            for is_object, is_claim in zip(one.counted or (), two.counted or (), strict=True)
        )
        for row, one, two in zip(rows, objects, whole, strict=True)
    }


def _of_batch(
    objective: Objective, pair: Mapping[Any, Batch], classes: Classes
) -> dict[str, np.ndarray]:
    batch = pair["forget"]
    targets, logits, gradient = objective.forget_gradient(pair)
    reference = objective.reference_logprobs(batch)
    counted = targets.counted
    number = int(counted.sum())
    logprobs = token_logprobs(logits, targets)
    parts = [
        _weights(targets, logits, gradient, slice(first, first + _TOKENS_AT_ONCE))
        for first in range(0, len(logits), _TOKENS_AT_ONCE)
    ]
    weight, pull, along = (
        torch.cat(part)[counted].cpu().numpy() for part in zip(*parts, strict=True)
    )
    return {
        "token_class": _classes(batch, targets, classes),
        "nll": -logprobs[counted].double().cpu().numpy(),
        "d": (reference - logprobs)[counted].double().cpu().numpy(),
        "weight": number * weight,
        "pull": pull,
        "pull_along": along,
    }


def _weights(
    targets: Targets, logits: Tensor, gradient: Tensor, part: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """⟨g, a⟩ / ‖a‖², ‖g‖² and the part of it along a, per token, with a = ∂l/∂z."""
    own = Targets(
        row=targets.row[part],
        position=targets.position[part],
        token=targets.token[part],
        num_rows=targets.num_rows,
    )
    # By the same code as the loss: where p is nearly 1, both are rounded alike.
    leaf = logits[part].clone().requires_grad_(True)
    with torch.enable_grad():
        total = token_logprobs(leaf, own).sum()
    (ascent,) = torch.autograd.grad(total, leaf)
    ascent, given = ascent.double(), gradient[part].double()
    length, product = ascent.square().sum(-1), (given * ascent).sum(-1)
    weight = torch.where(length > 0, product / length, torch.nan)
    along = torch.where(length > 0, product.square() / length, 0.0)
    return weight, given.square().sum(-1), along


def _classes(batch: Batch, targets: Targets, classes: Classes) -> np.ndarray:
    """The class of each token that is predicted."""
    lengths = batch.mask.sum(1).tolist()
    rows = [tuple(ids[:length]) for ids, length in zip(batch.ids.tolist(), lengths, strict=True)]
    known = [classes.get(row) or _cut_classes(row, classes) for row in rows]
    row, position = (part[targets.counted].tolist() for part in (targets.row, targets.position))
    found = [known[r][p + 1] for r, p in zip(row, position, strict=True)]
    return np.array(found, dtype=object)


def _cut_classes(row: tuple[int, ...], classes: Classes) -> Sequence[str]:
    """Of a document that was cut to `max_length`, or of a text that is none of them."""
    whole = (own for ids, own in classes.items() if ids[: len(row)] == row)
    return next(whole, TOKEN_CLASSES[-1:] * len(row))


# ---- along the training


def forget_trajectory(
    objective: Objective, training: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """d at every step of a training, from its rows of the table `training`.

    `objective` with the texts, settings and seed that it was trained with. What a step's batch lost
    up to then is the difference between its `forget_nll` and the same batch's in the start state
    (`reference_nll`): batches differ by more than training changes, so that the bare `forget_nll`
    says little. The first step comes before any change, where d is 0 up to rounding.

    Columns: `step`, `forget_nll`, `reference_nll`, `d` in nats per token, `retain_nll`, what the
    loss made of the batch at that step (`losses.WEIGHED`, of losses that have such weights), and a
    `reason` where there is no d.
    """
    found: list[dict[str, Any]] = []
    reference: dict[int, float] = {}
    for row in training:
        step = int(row["step"])
        batch = objective.batches.of_step(step - 1, seed=objective.seed).get("forget")
        now, before = _or_none(row.get("forget_nll")), None
        if batch is not None and now is not None:
            if batch.index not in reference:
                logprobs = objective.reference_logprobs(batch)
                number = int(batch.targets().counted.sum())
                reference[batch.index] = -float(logprobs.sum()) / number
            before = reference[batch.index]
        told = "it reads no documents" if batch is None else "its loss sees no logits"
        found.append(
            {
                "step": step,
                "forget_nll": now,
                "reference_nll": before,
                "d": None if now is None or before is None else now - before,
                "retain_nll": row.get("retain_nll"),
                **{name: _or_none(row.get(name)) for name in WEIGHED},
                "reason": None if before is not None else told,
            }
        )
    return found


def _or_none(value: float | None) -> float | None:
    """A number of a table, where a missing one is NaN."""
    return None if value is None or np.isnan(value) else float(value)
