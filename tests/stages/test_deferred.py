"""Deferred logits give the losses, parts and gradients of whole ones, a few positions at a time.

Run: python -m pytest tests/stages/test_deferred.py
"""

from typing import Any

import pytest
import torch

from restor_interp.stages.losses import (
    LOSSES,
    ON_STATES,
    REFERENCES,
    Deferred,
    every_position,
    predicted_tokens,
    token_logprobs,
)
from restor_interp.stages.losses import deferred as module

WIDTH, VOCAB = 6, 13
ON_LOGITS = sorted(set(LOSSES) - ON_STATES)


class Side:
    """States of a batch of rows of unlike lengths, and their unembedding."""

    def __init__(self, lengths, seed, *, every=False):
        generator = torch.Generator().manual_seed(seed)
        width = max(lengths)
        ids = torch.randint(VOCAB, (len(lengths), width), generator=generator)
        mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        self.targets = every_position(ids, mask) if every else predicted_tokens(ids, mask)
        number = len(self.targets.token)
        self.states = torch.randn(number, WIDTH, generator=generator)
        self.reference = torch.randn(number, WIDTH, generator=generator)
        self.matrix = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(7))
        self.seen = []

    def unembed(self, states):
        self.seen.append(len(states))
        return 3 * torch.tanh(states @ self.matrix.T / 3)

    def logits(self, states, *, deferred):
        if deferred:
            return Deferred(states=states, unembed=self.unembed)
        return self.unembed(states)

    def compared(self, name, prefix, *, deferred):
        kind = REFERENCES.get(name)
        if kind is None:
            return {}
        logits = self.logits(self.reference, deferred=deferred)
        found = token_logprobs(logits, self.targets) if kind == "logprobs" else logits
        return {f"{prefix}_{kind}": found}


def outcome(name, *, deferred):
    """Loss, parts, and the gradient at the states of both sides."""
    one, two = Side((5, 3, 7), 0, every=name == "kl_restor"), Side((4, 6, 2), 1)
    for side in (one, two):
        side.states.requires_grad_(True)
    keywords: dict[str, Any] = one.compared(name, "reference", deferred=deferred)
    if name == "dpo":
        keywords |= two.compared(name, "chosen_reference", deferred=deferred)
        keywords["chosen_logits"] = two.logits(two.states, deferred=deferred)
        keywords["chosen_targets"] = two.targets
    out = LOSSES[name](one.logits(one.states, deferred=deferred), one.targets, **keywords)
    (2.5 * out.loss).backward()
    return out, [side.states.grad for side in (one, two)], [*one.seen, *two.seen]


@pytest.mark.parametrize("positions", [1, 4, 12, 1000])
@pytest.mark.parametrize("name", ON_LOGITS)
def test_they_give_what_whole_logits_give(name, positions, monkeypatch):
    monkeypatch.setattr(module, "POSITIONS", positions)
    found, slopes, seen = outcome(name, deferred=True)
    wanted, gradients, _ = outcome(name, deferred=False)
    assert max(seen) <= positions
    torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-5, atol=1e-6)
    assert found.parts.keys() == wanted.parts.keys()
    for part, value in wanted.parts.items():
        torch.testing.assert_close(found.parts[part], value, rtol=1e-5, atol=1e-6)
        assert not found.parts[part].requires_grad
    for slope, gradient in zip(slopes, gradients, strict=True):
        assert (slope is None) == (gradient is None)
        if gradient is not None:
            largest = gradient.abs().max().item()
            assert largest > 1e-5
            torch.testing.assert_close(slope, gradient, rtol=1e-4, atol=1e-5 * largest)


def test_without_a_gradient_each_position_is_unembedded_once_and_nothing_else_is_done():
    side = Side((5, 3), 0)
    side.states.requires_grad_(True)
    logits = side.logits(side.states, deferred=True)
    with torch.no_grad():
        found = token_logprobs(logits, side.targets)
    assert not found.requires_grad and side.seen == [6]
    wanted = side.unembed(side.states).log_softmax(-1).gather(1, side.targets.token[:, None])[:, 0]
    torch.testing.assert_close(found, wanted.detach())


@pytest.mark.parametrize("name", ["nll", "kl", "kl_restor"])
def test_no_position_at_all_is_a_loss_of_zero(name):
    side = Side((1, 1), 0)
    states = side.states.requires_grad_(True)
    keywords = side.compared(name, "reference", deferred=True)
    loss = LOSSES[name](side.logits(states, deferred=True), side.targets, **keywords).loss
    loss.backward()
    assert loss.item() == 0 and states.grad is not None and states.grad.shape == (0, WIDTH)
