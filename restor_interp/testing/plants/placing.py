"""At which tokens does a change do its damage, before the last token reads the subject?

The changed model runs, and where the reading begins, some tokens get the clean model's states: the
subject's, or all others. If the first brings the answer back and the second does not, the damage
is at the subject and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from restor_interp.facts import Fact
from restor_interp.models.deltas import Delta, State
from restor_interp.models.hooked import CLEAN, Hook
from restor_interp.models.tokens import tokenize
from restor_interp.testing.plants.watching import TESTED_ON, Watched


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Per fact, whether its true object is said."""

    changed: Bool[Tensor, " fact"]
    """By the changed model."""
    clean_subject: Bool[Tensor, " fact"]
    """By the changed model with clean states at the subject."""
    clean_elsewhere: Bool[Tensor, " fact"]
    """By the changed model with clean states at all tokens but the subject's."""

    @property
    def at_subject(self) -> Bool[Tensor, " fact"]:
        """Lost, brought back at the subject, and not brought back elsewhere."""
        return ~self.changed & self.clean_subject & ~self.clean_elsewhere


@torch.no_grad()
def place(watched: Watched, delta: Delta, facts: Sequence[Fact]) -> Placed:
    """Where a change loses facts, asked in a context that nothing was made on."""
    model = watched.model
    model.add_delta(delta)
    prompts = watched.prompts(facts, TESTED_ON)
    tokens = tokenize(model.tokenizer, prompts)
    name = f"blocks.{watched.reading[0]}.hook_resid_pre"
    with model.at(CLEAN):
        _, cache = model.run_with_cache(prompts, names_filter=name)
    at_subject = torch.zeros(cache[name].shape[:2], dtype=torch.bool, device=model.device)
    for row, span in enumerate(tokens.subject):
        assert span is not None
        at_subject[row, span[0] : span[1]] = True
    true = torch.tensor([watched.first_token(fact.true_objects[0]) for fact in facts])
    last = [len(ids) - 1 for ids in tokens.ids]

    def said(replaced: Tensor) -> Tensor:
        def put(value: Any, hook: Hook) -> Any:
            del hook
            return torch.where(replaced[..., None], cache[name], value)

        logits = model.run_with_hooks(prompts, fwd_hooks=[(name, put)])
        return logits[torch.arange(len(last)), last].argmax(-1).cpu() == true

    with model.at(State({delta.name: 1.0})):
        return Placed(
            changed=said(torch.zeros_like(at_subject)),
            clean_subject=said(at_subject),
            clean_elsewhere=said(~at_subject),
        )
