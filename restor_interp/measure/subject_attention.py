"""Does the last token still look at the subject?

What a model recalls about a subject reaches the answer by attention from the last token to the
subject's (Geva et al. 2023, "Dissecting recall of factual associations"). Weights alone do not say
what is carried; that a head stopped looking does say that it carries nothing (`knockout` asks what
looking is worth).

A head may look at whatever name stands there, so each weight has a control: the subject of the last
example in the same prompt, or else the name that stands in the subject's place in a prompt about
somebody else.
"""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from restor_interp.displays import as_html
from restor_interp.errors import PromptError
from restor_interp.measure.questions import ask, check_finite
from restor_interp.measure.subjects import with_subject
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt, with_substitute

Control = Literal["example", "substitute"]


@dataclass(frozen=True, kw_only=True)
class SubjectAttention:
    """How much of its attention each head's last token gives to the subject."""

    _repr_html_ = as_html

    weights: Float[np.ndarray, "layer head"]
    """Share of the last token's attention, summed over the subject's tokens; 0 to 1."""
    at_last_token: Float[np.ndarray, "layer head"]
    """Of it, what the subject's last token gets."""
    control: Control | None
    """Whose weights the control's are; None where there is none."""
    control_subject: str | None
    control_weights: Float[np.ndarray, "layer head"] | None

    def rows(self, *, fact_id: str, state: str) -> list[dict[str, Any]]:
        """Rows of the table `attention`, one per layer and head."""
        reason = "no example in the prompt is worded as its question, and no substitute was given"
        return [
            {
                "fact_id": fact_id,
                "state": state,
                "layer": layer,
                "head": head,
                "value": float(self.weights[layer, head]),
                "last_value": float(self.at_last_token[layer, head]),
                "control": self.control,
                "control_subject": self.control_subject,
                "control_value": (
                    None
                    if self.control_weights is None
                    else float(self.control_weights[layer, head])
                ),
                "reason": reason if self.control_weights is None else None,
            }
            for layer, head in np.ndindex(self.weights.shape)
        ]


@torch.no_grad()
def subject_attention(
    model: HookedModel,
    prompt: Prompt,
    answer: str,
    foil: str | None = None,
    *,
    substitute: str | None = None,
) -> SubjectAttention:
    """Attention from the last token to the subject, per layer and head, in the present state.

    Args:
        answer, foil: where they begin with the same tokens, the last token is the last of these.
        substitute: another entity's name, of any length: the control where no example in the
            prompt is worded as its question.

    Raises:
        PromptError: no subject, or answer and foil that no token tells apart.
        ConfigError: weights that are not finite.
    """
    asked = with_subject(prompt, None)
    weights = _weights(model, asked, answer, foil)
    control: Control | None = None
    example = last_example(asked)
    other, given = None, None
    if example is not None:
        control, other = "example", example.subject
        given = _weights(model, example, answer, foil)
    elif substitute is not None:
        control, other = "substitute", substitute
        given = _weights(model, with_substitute(asked, substitute), answer, foil)
    return SubjectAttention(
        weights=weights.sum(-1),
        at_last_token=weights[..., -1],
        control=control,
        control_subject=other,
        control_weights=None if given is None else given.sum(-1),
    )


def last_example(prompt: Prompt) -> Prompt | None:
    """The same prompt, with the subject of its last example as its subject; None where no example
    is worded as the question."""
    assert prompt.subject_span is not None
    start, end = (place - len(prompt.prefix) for place in prompt.subject_span)
    if start < 0:
        return None
    before, after = prompt.question[:start], prompt.question[end:]
    if not re.search(r"\w", before + after):
        return None  # Any line would be worded like that.
    line = rf"^{re.escape(before)}(\S[^\n]*?){re.escape(after)}"
    found = list(re.finditer(line, prompt.prefix, re.MULTILINE))
    if not found:
        return None
    return replace(prompt, subject=found[-1][1], subject_span=found[-1].span(1))


def _weights(
    model: HookedModel, prompt: Prompt, answer: str, foil: str | None
) -> Float[np.ndarray, "layer head subject"]:
    """The last token's attention to each token of the prompt's subject."""
    question = ask(model, prompt, answer, foil)
    span = tokenize(model.tokenizer, [prompt]).subject[0]
    if span is None:
        raise PromptError(f"the subject {prompt.subject!r} holds no token of its prompt")
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.num_layers)]
    _, cache = model.run_with_cache(question.ids[None], names, positions="last")
    found = torch.stack([cache[name][0, :, 0, span[0] : span[1]] for name in names]).float()
    check_finite(found, f"attention of {model.name}")
    return found.cpu().numpy().astype(float)
