"""The logit lens: what would the model say if it stopped after this layer?

The residual stream after every layer is read through a final norm and an unembedding: those of the
state that is looked at (nostalgebraist 2020, "interpreting GPT: the logit lens"), or always those
of the clean model, so that a state cannot look different by its reading end alone. Layer 0 is the
token embeddings, layer L the model's own answer.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.likeliest import Likeliest, Reading, places_of, rectangle
from restor_interp.measure.objects import diverge
from restor_interp.measure.questions import state_name
from restor_interp.models.deltas import State
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt

POSITIONS = ("last", "subject_last", "subject_first")

Decoder = Literal["own", "clean"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)
"""Whose final norm and unembedding read: those of the state, or of the clean model."""

Translate = Callable[[Float[Tensor, "layer position width"]], Float[Tensor, "layer position width"]]
"""What is done to the residual stream after every layer before it is read."""

PROMPTS_PER_BATCH = 32
BYTES_OF_LOGITS = 128 * 2**20
"""Logits are made for so many bytes of positions at a time."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Log-probability and rank of objects after every layer, in several states."""

    _repr_html_ = as_html

    states: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    """Extended by the words with which the objects of a prompt all begin."""
    objects: tuple[tuple[str, ...], ...]
    """Per prompt, the objects it was read for."""
    positions: tuple[str, ...]
    logprobs: Float[np.ndarray, "state prompt layer position object"]
    """Of each object's first token, or the first at which it differs from the others; NaN beyond
    a prompt's own objects."""
    ranks: Float[np.ndarray, "state prompt layer position object"]
    """Place of that token in the whole vocabulary; 1 is the most likely."""
    lens: str = "logit"
    """`logit`, or `tuned`: how what stands after a layer was carried to the end."""
    decoder: Decoder = "own"
    likeliest: tuple[Likeliest, ...] = ()
    """Per prompt, the most likely tokens; empty where none were asked for."""

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table `lens`."""
        return [
            {
                "fact_id": prompt.fact_id,
                "context_id": prompt.context_id,
                "state": state,
                "lens": self.lens,
                "decoder": self.decoder,
                "layer": layer,
                "position": position,
                "object": name,
                "logprob": float(self.logprobs[s, p, layer, q, o]),
                "rank": int(self.ranks[s, p, layer, q, o]),
            }
            for s, state in enumerate(self.states)
            for p, prompt in enumerate(self.prompts)
            for q, position in enumerate(self.positions)
            for o, name in enumerate(self.objects[p])
            for layer in range(self.logprobs.shape[2])
        ]

    def top_rows(self) -> list[dict[str, Any]]:
        """Rows of the table `lens_top`; none where no most likely tokens were asked for."""
        named = {"lens": self.lens, "decoder": self.decoder}
        return [
            row
            for prompt, own in zip(self.prompts, self.likeliest, strict=False)
            for row in own.rows(
                self.states, fact_id=prompt.fact_id, context_id=prompt.context_id, **named
            )
        ]


def logit_lens(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
    objects: Sequence[str] | Sequence[Sequence[str]],
    *,
    states: Sequence[str | State],
    positions: Sequence[str] = ("last",),
    decoder: Decoder = "own",
    top: int = 0,
    from_subject: bool = False,
) -> Lens:
    """Read every layer of several states for the objects of each prompt.

    Args:
        prompts: one prompt with its `objects`, or several with as many lists of objects. By
            convention the true object comes first and the false one second.
        positions: of `POSITIONS`; `last` is the token before the first at which the objects of a
            prompt differ.
        decoder: `own` reads a state through its own final norm and unembedding, `clean` through
            those of the clean model.
        top: how many of the most likely tokens are kept at each position, beside the objects.
        from_subject: keep these at every token from the subject on, too.

    Raises:
        ConfigError: an unknown state, position or decoder; a negative `top`, or `from_subject`
            without one.
        PromptError: no objects, objects of which one begins with another, or a prompt without
            the subject that a position asks for.
    """
    return read_lens(
        model,
        prompts,
        objects,
        states=states,
        positions=positions,
        decoder=decoder,
        lens="logit",
        translate=lambda hidden: hidden,
        top=top,
        from_subject=from_subject,
    )


def read_lens(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
    objects: Sequence[str] | Sequence[Sequence[str]],
    *,
    states: Sequence[str | State],
    positions: Sequence[str],
    decoder: Decoder,
    lens: str,
    translate: Translate,
    top: int = 0,
    from_subject: bool = False,
) -> Lens:
    """What `logit_lens` does, of residual streams that are translated before they are read."""
    if decoder not in DECODERS:
        raise unknown_name("decoder of a lens", decoder, DECODERS)
    for position in positions:
        if position not in POSITIONS:
            raise unknown_name("position", position, POSITIONS)
    if top < 0 or (from_subject and not top):
        raise ConfigError(
            f"top={top} with from_subject={from_subject}: give the number of most likely tokens "
            "that are kept, such as top=5; 0 keeps none, and then there is nothing to keep at "
            "the tokens from the subject on"
        )
    asked = (prompts,) if isinstance(prompts, Prompt) else tuple(prompts)
    lists: Any = (objects,) if isinstance(prompts, Prompt) else objects
    if len(asked) != len(lists) or any(isinstance(own, str) for own in lists):
        raise PromptError(
            f"{len(asked)} prompts need as many lists of objects, such as ['Paris', 'Rome']; "
            f"found {objects!r}"
        )
    names = tuple(tuple(own) for own in lists)
    read = [_extend(model, prompt, own) for prompt, own in zip(asked, names, strict=True)]
    shape = (len(states), len(asked), model.num_layers + 1, len(positions))
    logprobs = np.full((*shape, max(map(len, names), default=0)), np.nan)
    ranks = np.full_like(logprobs, np.nan)
    likeliest: list[Likeliest] = []
    for first in range(0, len(asked), PROMPTS_PER_BATCH):
        batch = slice(first, first + PROMPTS_PER_BATCH)
        tokens = tokenize(model.tokenizer, asked[batch])
        shared = [torch.tensor(one.shared, dtype=torch.long) for one in read[batch]]
        pairs = zip(tokens.ids, shared, strict=True)
        tokens = replace(tokens, ids=[torch.cat(pair) for pair in pairs])
        places = [
            places_of(tokens, row, positions, from_subject=from_subject)
            for row in range(len(tokens.ids))
        ]
        readings: list[list[Reading]] = [[] for _ in places]
        for number, state in enumerate(states):
            with model.at(state):
                hidden = _residuals(model, *tokens.padded(), rectangle(places))
                with model.at(CLEAN) if decoder == "clean" else contextlib.nullcontext():
                    for row, one in enumerate(read[batch]):
                        own = translate(hidden[row][:, : len(places[row])])
                        found = _read(model, own, one.tokens, top)
                        cells = (number, first + row, ..., slice(len(one.tokens)))
                        logprobs[cells] = found.logprobs[:, : len(positions)]
                        ranks[cells] = found.ranks[:, : len(positions)]
                        readings[row].append(found)
        if top:
            told = zip(tokens.ids, places, readings, strict=True)
            likeliest += [Likeliest.of(model.tokenizer, *one) for one in told]
    return Lens(
        states=tuple(map(state_name, states)),
        prompts=tuple(one.prompt for one in read),
        objects=names,
        positions=tuple(positions),
        logprobs=logprobs,
        ranks=ranks,
        lens=lens,
        decoder=decoder,
        likeliest=tuple(likeliest),
    )


@torch.no_grad()
def read_rows(
    model: HookedModel,
    hidden: Float[Tensor, "row layer width"],
    targets: Sequence[Sequence[int]],
) -> list[Float[np.ndarray, "layer target"]]:
    """Log-probability (nats) of each row's own tokens, read from its residual streams.

    Through the final norm and the unembedding of the model's current state, of as many rows at a
    time as fit.
    """
    layers = hidden.shape[1]
    most = max(1, BYTES_OF_LOGITS // (4 * model.vocab_size * layers))
    found: list[Float[np.ndarray, "layer target"]] = []
    for first in range(0, len(hidden), most):
        logits = model.project(hidden[first : first + most].to(model.dtype)).float()
        total = logits.logsumexp(-1, keepdim=True)
        for row, own in enumerate(targets[first : first + most]):
            found.append((logits[row][:, list(own)] - total[row]).cpu().numpy())
    return found


@torch.no_grad()
def _read(
    model: HookedModel,
    hidden: Float[Tensor, "layer place width"],
    targets: Sequence[int],
    top: int,
) -> Reading:
    """Log-probability and rank of tokens at every place, and the `top` most likely ones; read in
    the same way."""
    chosen, ranks, tokens, likely = [], [], [], []
    flat = hidden.reshape(-1, hidden.shape[-1])
    for part in flat.split(max(1, BYTES_OF_LOGITS // (4 * model.vocab_size))):
        logits = model.project(part.to(model.dtype)).float()
        total = logits.logsumexp(-1, keepdim=True)
        own = logits[:, list(targets)]
        above = [(logits > own[:, [index]]).sum(-1) for index in range(len(targets))]
        best = logits.topk(min(top, logits.shape[-1]), dim=-1)
        chosen.append(own - total)
        ranks.append(1 + torch.stack(above, dim=-1))
        tokens.append(best.indices)
        likely.append(best.values - total)
    parts = [torch.cat(part).cpu().numpy() for part in (chosen, ranks, tokens, likely)]
    made = [part.reshape(*hidden.shape[:-1], part.shape[-1]) for part in parts]
    return Reading(
        logprobs=made[0], ranks=made[1].astype(float), top_tokens=made[2], top_logprobs=made[3]
    )


@dataclass(frozen=True, kw_only=True)
class _Extended:
    """A prompt with the words that its objects share, and the token of each that comes next."""

    prompt: Prompt
    shared: tuple[int, ...]
    tokens: tuple[int, ...]


def _extend(model: HookedModel, prompt: Prompt, objects: Sequence[str]) -> _Extended:
    apart = diverge(model.tokenizer, prompt.text, objects)
    extended = prompt
    if apart.shared:
        text = f"{prompt.text} {objects[0]}"
        coded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        before = len(model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"])
        end = coded["offset_mapping"][before + len(apart.shared) - 1][1]
        extended = replace(prompt, question=text[len(prompt.prefix) : end])
    return _Extended(prompt=extended, shared=apart.shared, tokens=apart.tokens)


def _residuals(
    model: HookedModel, ids: Tensor, mask: Tensor, places: Tensor
) -> Float[Tensor, "row layer position width"]:
    """The residual stream at some places of each row: before layer 0, then after every layer."""
    rows = torch.arange(len(ids), device=model.device)[:, None]
    where = places.to(model.device)
    kept: list[Tensor] = []

    def keep(value: Tensor, hook: Any) -> None:
        del hook
        kept.append(value[rows, where])

    names = ["blocks.0.hook_resid_pre"]
    names += [f"blocks.{layer}.hook_resid_post" for layer in range(model.num_layers)]
    with torch.no_grad(), model.hooks([(name, keep) for name in names]):
        model.hf_model.base_model(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device).long(),
            use_cache=False,
        )
    return torch.stack(kept, dim=1)
