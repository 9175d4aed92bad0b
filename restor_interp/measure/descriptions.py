"""Is the subject's own vector enough for a model to name the object?

Patchscopes (Ghandeharioun et al. 2024, "Patchscopes: a unifying framework for inspecting hidden
representations of language models") put a hidden vector into another run, whose words ask for what
is to be read out of it. Here the vector is the residual stream at the subject's last token in a
state; the other run is the question itself after its examples, with a placeholder in the subject's
place; and what is read are the log-probabilities of the true and of the false object, not a sampled
description: exact, and comparable between states.

It shows that one vector, in the hands of the host, suffices. It cannot show that the state itself
uses it; nor, where nothing is read, that nothing is there: a host may not look at a placeholder in
these layers, and the subject's other tokens are left out. `retention` puts in all of the subject's
tokens at their own depth; this asks about a single vector, and may give it to an early layer of the
host, which can then still work on what the state wrote late.

The examples alone make some object likely, so every value has a control: the vectors of other
entities from the same state, put in at the same place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.questions import ask, check_finite, log_probs
from restor_interp.measure.regions import DEFAULT_MAX_BYTES, Patch, run_base, run_patches
from restor_interp.measure.subjects import with_subject
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt, with_substitute

PLACEHOLDER = "x"

Into = Literal["same"] | int
"""The layer after which a vector is put in: the one that it comes from, or a fixed one."""


@dataclass(frozen=True, kw_only=True)
class Descriptions:
    """What a host says of a placeholder that holds the subject's vector from each layer."""

    _repr_html_ = as_html

    state: str
    host: str
    answer: str
    foil: str
    layers: tuple[int, ...]
    """The vectors' own."""
    into: tuple[Into, ...]
    placeholder: str
    wrong_entities: tuple[str, ...]
    logprobs: Float[np.ndarray, "into layer object"]
    """Of answer and foil, in nats."""
    ranks: Float[np.ndarray, "into layer object"]
    """Of their tokens in the vocabulary; 1: what the host says first."""
    control_logprobs: Float[np.ndarray, "entity into layer object"]
    """With the vectors of each wrong entity."""
    host_logprobs: Float[np.ndarray, " object"]
    """With the placeholder's own vector."""

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `descriptions`: per layer and `into`, `metric` `logprob` of each object
        and `logodds` of the answer against the foil (nats). `control_value` is the mean over wrong
        entities, `host_value` that of the placeholder itself."""
        reason = None if self.wrong_entities else "no other entity was given as a control"
        rows = []
        for i, n in np.ndindex(self.logprobs.shape[:2]):
            for metric, name, weights in (
                ("logprob", self.answer, (1, 0)),
                ("logprob", self.foil, (0, 1)),
                ("logodds", self.answer, (1, -1)),
            ):
                control = self.control_logprobs[:, i, n] @ weights
                rank = self.ranks[i, n, weights.index(1)] if metric == "logprob" else None
                rows.append(
                    {
                        "fact_id": fact_id,
                        "state": self.state,
                        "host": self.host,
                        "layer": self.layers[n],
                        "into": self.layers[n] if self.into[i] == "same" else self.into[i],
                        "same_layer": self.into[i] == "same",
                        "metric": metric,
                        "object": name,
                        "value": float(self.logprobs[i, n] @ weights),
                        "rank": None if rank is None else int(rank),
                        "control_value": float(control.mean()) if len(control) else None,
                        "n_controls": len(control),
                        "host_value": float(self.host_logprobs @ weights),
                        "placeholder": self.placeholder,
                        "reason": reason,
                    }
                )
        return rows


@torch.no_grad()
def describe_subject(
    model: HookedModel,
    prompt: Prompt,
    answer: str,
    foil: str,
    *,
    state: str,
    host: str = "clean",
    wrong_entities: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    into: Sequence[Into] = ("same",),
    placeholder: str = PLACEHOLDER,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Descriptions:
    """Put the subject's vector of a state into a host's run about a placeholder.

    Args:
        prompt: the question about the subject, in which the vector arises.
        answer, foil: objects that follow the question after one space, read at the first token at
            which they differ.
        state: whose vector it is.
        host: the state that reads it; the clean model, or the same state.
        wrong_entities: other names, of any number of tokens: the controls.
        layers: after which the vector is taken (default: all).
        into: after which layers of the host it is put in; `same`: after its own.
        placeholder: a word of one token, which stands in the subject's place.

    Raises:
        PromptError: no subject, a placeholder of several tokens, or answer and foil that no token
            tells apart.
        ConfigError: an unknown state, a layer that does not exist, numbers that are not finite.
    """
    asked = with_subject(prompt, None)
    depths = tuple(range(model.num_layers) if layers is None else layers)
    targets = {layer for layer in into if layer != "same"}
    if not depths or not into or not {*depths, *targets} <= set(range(model.num_layers)):
        raise ConfigError(
            f"vectors of layers {list(depths)}, put in at {list(into)}: {model.name} has layers 0 "
            f"to {model.num_layers - 1}, and 'same' stands for a vector's own"
        )
    question = ask(model, with_substitute(asked, placeholder), answer, foil)
    span = question.subject
    length = 0 if span is None else span[1] - span[0]
    if span is None or length != 1:
        raise PromptError(
            f"the placeholder {placeholder!r} has {length} tokens in {question.prompt.question!r}; "
            "one vector takes the place of one token"
        )
    donors = [asked, *(with_substitute(asked, name) for name in wrong_entities)]
    names = [f"blocks.{layer}.hook_resid_post" for layer in depths]
    with model.at(state):
        _, cache = model.run_with_cache(donors, names, positions="subject_last")
        vectors = torch.stack([cache[name][:, 0] for name in names], dim=1)
        check_finite(vectors, f"the run of {state}")

    def read(final: Float[Tensor, "row width"]) -> Float[Tensor, "row value"]:
        logits = model.project(final).float()
        above = [(logits > logits[:, [token]]).sum(-1, keepdim=True) for token in question.targets]
        return torch.cat([log_probs(logits, question.targets), 1.0 + torch.cat(above, -1)], dim=-1)

    with model.at(host):
        embeddings = model.hf_model.get_input_embeddings()(question.ids[None])
        base = run_base(model, embeddings, start=span[0])
        rows = []
        for own in vectors:
            for target in into:
                for vector, layer in zip(own, depths, strict=True):
                    at = layer if target == "same" else target
                    values = vector[None, None]
                    row = Patch(
                        site="resid", layers=range(at, at + 1), position=span[0], values=values
                    )
                    rows.append(row)
        found = run_patches(base, rows, read, max_bytes=max_bytes)[:, 0].double().cpu()
        unpatched = read(base.final)[0].double().cpu()
    check_finite(found, f"a run of {host} with a vector of {state}")
    values = found.unflatten(0, (len(donors), len(into), len(depths))).numpy()
    return Descriptions(
        state=state,
        host=host,
        answer=answer,
        foil=foil,
        layers=depths,
        into=tuple(into),
        placeholder=placeholder,
        wrong_entities=tuple(wrong_entities),
        logprobs=values[0, ..., :2],
        ranks=values[0, ..., 2:],
        control_logprobs=values[1:, ..., :2],
        host_logprobs=unpatched.numpy()[:2],
    )
