"""A prompt in tokens, and the tokens by which its answer and foil are told apart: what instruments
that read a prompt at its last position begin with."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.objects import diverge
from restor_interp.measure.subjects import with_subject
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel, HookFn
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt in tokens, and what is read after them."""

    prompt: Prompt
    ids: Int[Tensor, " pos"]
    """The prompt's tokens, then those that answer and foil share."""
    num_shared: int
    """How many they share."""
    subject: tuple[int, int] | None
    """Tokens [start, end) of the subject, where the prompt says which it is."""
    targets: Int[Tensor, " object"]
    """First token of answer and foil, or the first at which they differ."""
    tokens: tuple[str, ...]
    """`ids` as text."""


def ask(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str | None,
    *,
    subject: str | None = None,
) -> Question:
    """Tokens of a prompt and of its objects, on the model's device.

    Raises `PromptError` for a prompt without a token, a subject that does not stand once in it,
    an empty object, and for answer and foil that no token tells apart.
    """
    asked = Prompt(prefix="", question=prompt) if isinstance(prompt, str) else prompt
    if subject is not None:
        asked = with_subject(asked, subject)
    tokens = tokenize(model.tokenizer, [asked])
    objects = [answer] if foil is None else [answer, foil]
    apart = diverge(model.tokenizer, asked.text, objects)
    ids = torch.cat([tokens.ids[0], torch.tensor(apart.shared, dtype=torch.long)])
    return Question(
        prompt=asked,
        ids=ids.to(model.device),
        num_shared=len(apart.shared),
        subject=tokens.subject[0],
        targets=torch.tensor(apart.tokens, device=model.device),
        tokens=tuple(model.tokenizer.decode([token]) for token in ids.tolist()),
    )


def last_logits(
    model: HookedModel, ids: Int[Tensor, "row pos"], hooks: Sequence[tuple[str, HookFn]] = ()
) -> Float[Tensor, "row vocab"]:
    """Logits at the last position alone, with values replaced on the way."""
    with model.hooks(hooks):
        return model.hf_model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]


def log_probs(
    logits: Float[Tensor, "row vocab"], targets: Int[Tensor, " object"]
) -> Float[Tensor, "row object"]:
    """Log-probabilities of some tokens (nats), in fp32."""
    return logits.float().log_softmax(dim=-1)[:, targets]


def check_finite(values: Tensor, what: str) -> None:
    """Raises `ConfigError` if a run gave numbers that are not finite."""
    if not torch.isfinite(values).all():
        raise ConfigError(
            f"{what} gives log-probabilities that are not finite, so nothing can be compared with "
            "it; use float32, or a state that has not diverged"
        )


def state_name(state: str | State) -> str:
    """A state's name, or the sum of deltas that it is."""
    if isinstance(state, str):
        return state
    terms = [f"{value:g}·{name}" for name, value in state.coefficients.items()]
    return " + ".join(terms) or "clean"
