"""What a planted change does, seen from outside: answers, whose name the subject is, attention.

    true_said     the first token that the model says is the true object's
    subject_own   the clean model's states of which person are nearest to what stands at the
                  subject where the last token begins to read it: this one's? A classifier by
                  nearest example (Cover and Hart 1967) that was made of clean states alone
    attention     from the last token to the subject, summed over the layers and heads that read
                  it, as a share of the clean model's
    lead          nats of the true object's first token over the best other of its type, as a
                  share of the clean model's

No state of one run is put into another: that is how the instruments look at it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from restor_interp.facts import Fact
from restor_interp.models.deltas import Delta, State
from restor_interp.models.hooked import CLEAN
from restor_interp.models.tokens import tokenize
from restor_interp.testing.plants.watching import BATCH, TESTED_ON, Watched


@dataclass(frozen=True, kw_only=True)
class Witnessed:
    """Means over a plant's facts, and over those that it was to spare."""

    says: tuple[bool, ...]
    """Per fact, whether its true object is said."""
    true_said: float
    false_said: float
    """Share that says what was chosen to be said instead."""
    subject_own: float
    attention: float
    lead: float
    spared: float
    """Share of spared facts whose true object is said, of those where the clean model says it."""
    spared_lead: float

    def numbers(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if name != "says"}


def witness(
    watched: Watched,
    delta: Delta,
    facts: Sequence[Fact],
    *,
    spared: Sequence[Fact],
    said_instead: dict[str, str],
) -> Witnessed:
    """Ask facts in a context that nothing was made on, with and without a change."""
    model = watched.model
    model.add_delta(delta)
    asked = [*facts, *spared]
    with model.at(CLEAN):
        before = _run(watched, asked)
    with model.at(State({delta.name: 1.0})):
        after = _run(watched, asked)
    own, others = slice(0, len(facts)), slice(len(facts), None)
    false = [
        fact.fact_id in said_instead and token == watched.first_token(said_instead[fact.fact_id])
        for fact, token in zip(facts, after.said.tolist(), strict=False)
    ]
    known = before.right[others]
    return Witnessed(
        says=tuple(after.right[own].tolist()),
        true_said=float(after.right[own].float().mean()),
        false_said=float(np.mean(false)),
        subject_own=float(after.own_name[own].float().mean()),
        attention=float(after.attention[own].mean() / before.attention[own].mean()),
        lead=float(after.lead[own].mean() / before.lead[own].mean()),
        spared=float(after.right[others][known].float().mean()) if known.any() else float("nan"),
        spared_lead=float(after.lead[others].mean() / before.lead[others].mean()),
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    said: Tensor
    right: Bool[Tensor, " fact"]
    own_name: Bool[Tensor, " fact"]
    attention: Float[Tensor, " fact"]
    lead: Float[Tensor, " fact"]


@torch.no_grad()
def _run(watched: Watched, asked: Sequence[Fact]) -> _Seen:
    model, first = watched.model, watched.reading[0]
    prompts = watched.prompts(asked, TESTED_ON)
    tokens = tokenize(model.tokenizer, prompts)
    resid = f"blocks.{first}.hook_resid_pre"
    patterns = [f"blocks.{layer}.attn.hook_pattern" for layer in watched.reading]
    said, own_name, attention, lead = [], [], [], []
    for start in range(0, len(prompts), BATCH):
        logits, cache = model.run_with_cache(
            prompts[start : start + BATCH], names_filter=[resid, *patterns]
        )
        for row in range(len(logits)):
            fact, span = asked[start + row], tokens.subject[start + row]
            assert span is not None
            last = len(tokens.ids[start + row]) - 1
            said.append(int(logits[row, last].argmax()))
            lead.append(_lead(watched, fact, logits[row, last]))
            name = _nearest(watched, fact, cache[resid][row, span[0] : span[1]])
            own_name.append(name == fact.entity)
            seen = [cache[name][row, :, last, span[0] : span[1]].sum() for name in patterns]
            attention.append(float(sum(seen)))
    true = [watched.first_token(fact.true_objects[0]) for fact in asked]
    return _Seen(
        said=torch.tensor(said),
        right=torch.tensor(said) == torch.tensor(true),
        own_name=torch.tensor(own_name),
        attention=torch.tensor(attention),
        lead=torch.tensor(lead),
    )


def _lead(watched: Watched, fact: Fact, logits: Float[Tensor, " vocab"]) -> float:
    true = watched.first_token(fact.true_objects[0])
    pool = {watched.first_token(name) for name in watched.facts.pools[fact.object_type]} - {true}
    return float(logits[true] - logits[sorted(pool)].max())


def _nearest(watched: Watched, fact: Fact, states: Float[Tensor, "span width"]) -> str:
    """Whose clean states at the subject these are most like."""
    rows = [i for i, other in enumerate(watched.asked) if other.relation == fact.relation]
    known = watched.inside.pre[watched.reading[0], rows, :-1].flatten(1)
    nearest = int((known - states.flatten()).norm(dim=1).argmin())
    return watched.asked[rows[nearest]].entity
