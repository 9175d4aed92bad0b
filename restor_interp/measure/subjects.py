"""The subject of a prompt: which tokens it is, and runs in which they are noised or replaced."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import PromptError
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt


def with_subject(prompt: Prompt | str, subject: str | None) -> Prompt:
    """The prompt with the characters of its subject."""
    asked = Prompt(prefix="", question=prompt) if isinstance(prompt, str) else prompt
    if subject is None:
        if asked.subject_span is None:
            raise PromptError(
                f"which words of {asked.text[-60:]!r} are the subject? Give subject='…', or a "
                "Prompt with its span"
            )
        return asked
    if asked.subject == subject and asked.subject_span is not None:
        return asked
    count = asked.text.count(subject) if subject else 0
    if count != 1:
        raise PromptError(
            f"the subject {subject!r} occurs {count} times in {asked.text[-200:]!r}; give a prompt "
            "in which it stands once, or a Prompt with subject_span"
        )
    start = asked.text.index(subject)
    return replace(asked, subject=subject, subject_span=(start, start + len(subject)))


def prompt_tokens(
    model: HookedModel, prompt: Prompt, shared: Sequence[int]
) -> tuple[Tensor, tuple[int, int]]:
    """Token ids with the shared ones of the objects, and the subject's tokens."""
    tokens = tokenize(model.tokenizer, [prompt])
    span = tokens.subject[0]
    if span is None:
        raise PromptError(f"the subject {prompt.subject!r} holds no token of its prompt")
    ids = torch.cat([tokens.ids[0], torch.tensor(shared, dtype=tokens.ids[0].dtype)])
    return ids.to(model.device), span


def noised(
    model: HookedModel,
    ids: Tensor,
    span: tuple[int, int],
    *,
    samples: int,
    spread: float,
    seed: int,
) -> Float[Tensor, "draw pos width"]:
    """Token embeddings with noise on the subject, another in every draw."""
    embeddings = model.hf_model.get_input_embeddings()(ids).detach()
    shape = (samples, span[1] - span[0], embeddings.shape[-1])
    drawn = torch.from_numpy(np.random.RandomState(seed).randn(*shape)).to(ids.device)
    draws = embeddings.expand(samples, -1, -1).clone()
    draws[:, span[0] : span[1]] += spread * drawn
    return draws


def substituted(
    model: HookedModel,
    prompt: Prompt,
    substitute: str,
    shared: Sequence[int],
    ids: Tensor,
    span: tuple[int, int],
) -> Tensor:
    """Token ids with another name in the subject's place."""
    assert prompt.subject_span is not None
    start, end = prompt.subject_span
    text = prompt.text[:start] + substitute + prompt.text[end:]
    changed = Prompt(
        prefix="",
        question=text,
        subject=substitute,
        subject_span=(start, start + len(substitute)),
    )
    others, other_span = prompt_tokens(model, changed, shared)
    elsewhere = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    elsewhere[span[0] : span[1]] = False
    same_length = other_span == span and len(others) == len(ids)
    if not same_length or bool((others != ids)[elsewhere].any()):
        raise PromptError(
            f"the substitute {substitute!r} has {other_span[1] - other_span[0]} tokens where "
            f"{prompt.subject!r} has {span[1] - span[0]}, or changes the tokens around it; choose "
            "a name of the same token length (`restor_interp.prompts.substitutes`)"
        )
    return others


def subject_sigma(model: HookedModel, subjects: Sequence[str]) -> float:
    """Standard deviation of the embeddings of all tokens of these subjects.

    What Meng et al. 2022 call σ (`collect_embedding_std` in their code). Raises `PromptError` for
    no subjects.
    """
    if not any(subjects):
        raise PromptError("no subjects to take the deviation of: give their names")
    ids = [
        token
        for row in model.tokenizer(list(subjects), add_special_tokens=False)["input_ids"]
        for token in row
    ]
    with torch.no_grad():
        vectors = model.hf_model.get_input_embeddings()(torch.tensor(ids, device=model.device))
    return float(vectors.float().std())
