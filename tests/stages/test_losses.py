"""Every loss's laws; the older ones against hand-made numbers and formulas in float64 numpy.

The formulas of the others are in test_loss_formulas.py.

Run: python -m pytest tests/stages/test_losses.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.stages.losses import (
    LOSSES,
    NOTHING,
    ON_STATES,
    PAIRED,
    REFERENCES,
    WEIGHED,
    LossOut,
    every_position,
    predicted_tokens,
    rmu_direction,
    token_logprobs,
)

REDUCTIONS = ("sum", "sequence_mean", "batch_mean", "token")
CASES = [(name, {}) for name in LOSSES if name != "npo"] + [
    ("npo", {"reduction": reduction, "beta": beta}) for reduction in REDUCTIONS for beta in (0.1, 2)
]
LN2 = math.log(2)
WEIGHTED = ("wga", "satimp", "tnpo", "ceu")
"""Losses in which something is held constant: their value may rise in a step."""


def case_name(case):
    return "-".join([case[0], *map(str, case[1].values())])


cases = pytest.mark.parametrize("case", CASES, ids=case_name)
OLDER = ("nll", "ga", "kl_restor", "kl", "npo", "kl_retain")
older = pytest.mark.parametrize("case", [c for c in CASES if c[0] in OLDER], ids=case_name)


class Random:
    """A batch of rows of unlike lengths over a small vocabulary, with a reference.

    For a loss on states the logits are the states.
    """

    def __init__(self, lengths=(5, 3, 7), vocab=11, seed=0, padding=0, chosen=True):
        generator = torch.Generator().manual_seed(seed)
        rows, width = len(lengths), max(lengths)
        self.ids = torch.randint(vocab, (rows, width), generator=generator)
        self.mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        self.logits = torch.randn(rows, width, vocab, generator=generator)
        self.reference = torch.randn(rows, width, vocab, generator=generator)
        if padding:
            fill = torch.Generator().manual_seed(99)
            more = torch.randint(vocab, (rows, padding), generator=fill)
            self.ids = torch.cat([self.ids, more], dim=1)
            self.mask = torch.nn.functional.pad(self.mask, (0, padding))
            noise = 5 * torch.randn(2, rows, padding, vocab, generator=fill)
            self.logits = torch.cat([self.logits, noise[0]], dim=1)
            self.reference = torch.cat([self.reference, noise[1]], dim=1)
        self.chosen = (
            Random((4, 6, 2), vocab, seed + 100, padding, chosen=False) if chosen else None
        )

    def targets(self, name):
        if name == "kl_restor":
            return every_position(self.ids, self.mask)
        return predicted_tokens(self.ids, self.mask)

    def loss(self, name, keywords, logits=None, reference=None, targets=None):
        logits = self.logits if logits is None else logits
        reference = self.reference if reference is None else reference
        targets = self.targets(name) if targets is None else targets
        keywords = keywords | referred(name, reference, targets, "reference")
        if name == "rmu":
            keywords["direction"] = rmu_direction(logits.shape[-1], seed=4)
        if name in PAIRED:
            others = self.chosen.targets(name)
            keywords["chosen_logits"] = self.chosen.logits[others.row, others.position]
            keywords["chosen_targets"] = others
            keywords |= referred(name, self.chosen.reference, others, "chosen_reference")
        return LOSSES[name](logits[targets.row, targets.position], targets, **keywords)


def referred(name, reference, targets, prefix):
    """What the loss is given of the reference."""
    kind = REFERENCES.get(name)
    if kind is None:
        return {}
    found = reference[targets.row, targets.position]
    return {f"{prefix}_{kind}": token_logprobs(found, targets) if kind == "logprobs" else found}


# ---- the shift and the mask


def test_a_row_predicts_every_real_token_but_its_first():
    ids = torch.tensor([[7, 8, 9], [5, 6, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    targets = predicted_tokens(ids, mask)
    assert targets.row.tolist() == [0, 0, 1]
    assert targets.position.tolist() == [0, 1, 0]
    assert targets.token.tolist() == [8, 9, 6]


def test_only_counted_tokens_are_predicted():
    ids = torch.tensor([[4, 5, 6, 7]])
    counted = torch.tensor([[True, False, True, True]])
    targets = predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool), counted)
    assert targets.token.tolist() == [6, 7]


def test_every_position_holds_padding_and_last_tokens_without_a_target():
    ids = torch.tensor([[7, 8, 9], [5, 6, 0]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    targets = every_position(ids, mask)
    assert targets.token.tolist() == [8, 9, NOTHING, 6, NOTHING, NOTHING]
    assert targets.position.tolist() == [0, 1, 2] * 2


def test_a_padding_id_that_is_also_a_real_token_is_not_confused_with_it():
    ids = torch.tensor([[2, 3, 2], [3, 2, 2]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert predicted_tokens(ids, mask).token.tolist() == [3, 2, 2]


# ---- three tokens, by hand

# The model gives the three tokens 1/2, 1/4 and 1/8, the reference 1/2 each: D = 0, −ln 2, −2 ln 2.
THREE = [1 / 2, 1 / 4, 1 / 8]
BY_HAND = [
    ("nll", {}, 2 * LN2),
    ("ga", {}, -2 * LN2),
    ("npo", {"beta": 1, "reduction": "sum"}, 2 * math.log(1 + 1 / 8)),
    ("npo", {"beta": 1, "reduction": "sequence_mean"}, 2 * math.log(1 + 1 / 2)),
    ("npo", {"beta": 1, "reduction": "batch_mean"}, 2 * math.log(1 + 1 / 2)),
    ("npo", {"beta": 1, "reduction": "token"}, 2 / 3 * math.log(2 * 1.5 * 1.25)),
    ("npo", {"beta": 2, "reduction": "token"}, 1 / 3 * math.log(2 * 1.25 * (1 + 1 / 16))),
]


@pytest.mark.parametrize(("name", "keywords", "value"), BY_HAND)
def test_three_tokens_by_hand(name, keywords, value):
    ids = torch.tensor([[0, 0, 0, 0]])
    targets = predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    logits = torch.tensor([[p, 1 - p] for p in THREE]).log()
    if name == "npo":
        keywords = {**keywords, "reference_logprobs": torch.full((3,), -LN2)}
    out = LOSSES[name](logits, targets, **keywords)
    assert out.loss.item() == pytest.approx(value, rel=1e-6)
    assert out.parts["nll"].item() == pytest.approx(2 * LN2, rel=1e-6)


def test_the_reductions_differ_in_what_they_average_over_two_rows():
    # Row 0 predicts three tokens with D = −ln 2 each, row 1 one token with D = −2 ln 2.
    ids = torch.zeros(2, 4, dtype=torch.long)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    targets = predicted_tokens(ids, mask)
    logits = torch.tensor([[1 / 4, 3 / 4]] * 3 + [[1 / 8, 7 / 8]]).log()
    reference = torch.full((4,), -LN2)
    wanted = {
        "sum": math.log(1 + 1 / 8) + math.log(1 + 1 / 4),
        "sequence_mean": math.log(1 + 1 / 2) + math.log(1 + 1 / 4),
        "batch_mean": 2 * math.log(1 + 2 ** (-5 / 4)),
        "token": 2 / 4 * (3 * math.log(1 + 1 / 2) + math.log(1 + 1 / 4)),
    }
    for reduction, value in wanted.items():
        out = LOSSES["npo"](
            logits, targets, reference_logprobs=reference, beta=1, reduction=reduction
        )
        assert out.loss.item() == pytest.approx(value, rel=1e-6), reduction


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kl", -(0.5 * math.log(2) + 0.5 * math.log(2 / 3))),
        ("kl_retain", 0.25 * math.log(1 / 2) + 0.75 * math.log(3 / 2)),
        ("kl_restor", -(0.5 * math.log(4) + 0.5 * math.log(4 / 3))),
    ],
)
def test_the_losses_on_distributions_by_hand(name, value):
    ids = torch.zeros(1, 4, dtype=torch.long)
    targets = predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    logits = torch.tensor([[1 / 2, 1 / 2]] * 3).log()
    reference = torch.tensor([[1 / 4, 3 / 4]] * 3).log()
    out = LOSSES[name](logits, targets, reference_logits=reference)
    assert out.loss.item() == pytest.approx(value, rel=1e-6)
    assert out.parts["nll"].item() == pytest.approx(LN2, rel=1e-6)


# ---- the same, written again: row by row, token by token, in float64


def log_softmax64(row):
    row = np.asarray(row, dtype=np.float64)
    return row - row.max() - math.log(np.exp(row - row.max()).sum())


def softplus64(x):
    return math.log1p(math.exp(x))


def by_loops(name, batch, beta=0.1, reduction="batch_mean"):
    """The tables of `losses.py`, read literally."""
    lengths = batch.mask.sum(dim=1).tolist()
    rows = []
    for i, length in enumerate(lengths):
        rows.append([])
        for t in range(length - 1):
            own = log_softmax64(batch.logits[i, t])
            reference = log_softmax64(batch.reference[i, t])
            rows[-1].append((own, reference, int(batch.ids[i, t + 1])))
    flat = [cell for row in rows for cell in row]
    if name in ("nll", "ga"):
        mean = sum(own[token] for own, _, token in flat) / len(flat)
        return mean if name == "ga" else -mean
    if name == "kl":
        return -sum((np.exp(o) * (o - c)).sum() for o, c, _ in flat) / len(flat)
    if name == "kl_retain":
        return sum((np.exp(c) * (c - o)).sum() for o, c, _ in flat) / len(flat)
    if name == "kl_restor":
        p = np.exp([[log_softmax64(x) for x in row] for row in batch.logits])
        q = np.exp([[log_softmax64(x) for x in row] for row in batch.reference])
        return -(-(p * np.log(q + 1e-12)).sum(axis=-1)).mean()
    ratios = [[own[token] - c[token] for own, c, token in row] for row in rows]
    everything = [ratio for row in ratios for ratio in row]
    if reduction == "sum":
        terms = [softplus64(beta * sum(row)) for row in ratios]
    elif reduction == "sequence_mean":
        terms = [softplus64(beta * sum(row) / len(row)) for row in ratios]
    elif reduction == "batch_mean":
        terms = [softplus64(beta * sum(everything) / len(everything))]
    else:
        terms = [softplus64(beta * ratio) for ratio in everything]
    return 2 / beta * sum(terms) / len(terms)


@older
@pytest.mark.parametrize("seed", range(3))
def test_every_loss_equals_its_formula_in_float64(case, seed):
    name, keywords = case
    batch = Random(seed=seed)
    found = batch.loss(name, keywords)
    assert found.loss.item() == pytest.approx(by_loops(name, batch, **keywords), rel=2e-6)
    assert found.parts["nll"].item() == pytest.approx(by_loops("nll", batch), rel=2e-6)


# ---- laws


@cases
def test_padding_changes_nothing_except_in_restors_kl(case):
    name, keywords = case
    plain = Random().loss(name, keywords).loss.item()
    padded = Random(padding=3).loss(name, keywords).loss.item()
    if name == "kl_restor":
        assert abs(padded - plain) > 1e-2
    else:
        assert padded == pytest.approx(plain, rel=1e-6)


@cases
def test_positions_that_predict_nothing_are_not_read_except_in_restors_kl(case):
    name, keywords = case
    batch = Random(padding=3)
    everything = every_position(batch.ids, batch.mask)
    wanted = batch.loss(name, keywords, targets=predicted_tokens(batch.ids, batch.mask))
    found = batch.loss(name, keywords, targets=everything)
    same = found.loss.item() == pytest.approx(wanted.loss.item(), rel=1e-6)
    assert same == (name != "kl_restor")


@cases
def test_the_order_of_rows_changes_nothing(case):
    name, keywords = case
    batch = Random()
    wanted = batch.loss(name, keywords).loss.item()
    for part in (batch, batch.chosen):
        for tensor in ("ids", "mask", "logits", "reference"):
            setattr(part, tensor, getattr(part, tensor)[[2, 0, 1]])
    assert batch.loss(name, keywords).loss.item() == pytest.approx(wanted, rel=1e-6)


@cases
def test_a_row_in_which_nothing_is_counted_changes_nothing(case):
    name, keywords = case
    if name == "kl_restor":
        return  # it has no mask
    batch, shorter = Random(), Random()
    counted = torch.ones_like(batch.mask)
    counted[2] = False
    found = batch.loss(name, keywords, targets=predicted_tokens(batch.ids, batch.mask, counted))
    for part in (shorter, shorter.chosen):
        for tensor in ("ids", "mask", "logits", "reference"):
            setattr(part, tensor, getattr(part, tensor)[:2])
    wanted = shorter.loss(name, keywords)
    assert found.loss.item() == pytest.approx(wanted.loss.item(), rel=1e-6)


@cases
def test_a_batch_without_targets_is_finite_and_moves_nothing(case):
    name, keywords = case
    batch = Random()
    logits = batch.logits.clone().requires_grad_(True)
    nothing = predicted_tokens(batch.ids, batch.mask, torch.zeros_like(batch.mask))
    out = batch.loss(name, keywords, logits=logits, targets=nothing)
    assert torch.isfinite(out.loss)
    assert all(torch.isfinite(part) for part in out.parts.values())
    out.loss.backward()
    assert logits.grad is None or not logits.grad.any()


@cases
def test_no_gradient_reaches_padding_except_in_restors_kl(case):
    name, keywords = case
    batch = Random(padding=2)
    logits = batch.logits.clone().requires_grad_(True)
    batch.loss(name, keywords, logits=logits).loss.backward()
    at_padding = logits.grad[~batch.mask].abs().max()
    assert (at_padding > 0) == (name == "kl_restor")


@cases
def test_values_and_gradients_where_the_model_is_the_reference(case):
    name, keywords = case
    batch = Random()
    logits = batch.logits.clone().requires_grad_(True)
    out = batch.loss(name, keywords, logits=logits, reference=batch.logits)
    out.loss.backward()
    ascent = batch.logits.clone().requires_grad_(True)
    batch.loss("ga", {}, logits=ascent).loss.backward()
    if name == "tnpo":
        assert out.parts["weight"].item() == pytest.approx(1)
        torch.testing.assert_close(logits.grad, ascent.grad)
    elif name == "embed_diff":
        assert out.loss.item() == 0
        assert not logits.grad.any()
    elif name == "npo":
        assert out.loss.item() == pytest.approx(2 / keywords["beta"] * LN2, rel=1e-6)
        assert out.parts["npo_weight"].item() == pytest.approx(1)
        wanted = ascent.grad
        if keywords["reduction"] in ("sum", "sequence_mean"):
            # Rows weigh the same, where GA weighs tokens the same.
            counts = batch.mask.sum(dim=1).float() - 1
            number = counts.sum() / (1 if keywords["reduction"] == "sum" else counts)
            wanted = ascent.grad * (number / len(counts) * torch.ones(3))[:, None, None]
        torch.testing.assert_close(logits.grad, wanted, rtol=1e-5, atol=1e-8)
    elif name in ("kl", "kl_retain"):
        assert out.loss.item() == pytest.approx(0, abs=1e-6)
        assert logits.grad.abs().max() < 1e-7
    elif name == "kl_restor":
        entropy = -(batch.logits.softmax(-1) * batch.logits.log_softmax(-1)).sum(-1).mean()
        assert out.loss.item() == pytest.approx(-entropy.item(), rel=1e-5)
        assert logits.grad.abs().max() > 1e-4


@cases
def test_a_small_step_down_the_loss_moves_the_documents_as_the_method_wants(case):
    name, keywords = case
    batch = Random()
    logits = batch.logits.clone().requires_grad_(True)
    out = batch.loss(name, keywords, logits=logits)
    out.loss.backward()
    after = batch.loss(name, keywords, logits=(logits - 0.1 * logits.grad).detach())
    assert after.loss < out.loss or name in WEIGHTED
    if name in ON_STATES:
        assert "nll" not in after.parts
        return
    change = (after.parts["nll"] - out.parts["nll"]).item()
    if name in ("ga", "npo", "simnpo", "dpo", "undial", *WEIGHTED):
        assert change > 0
    if name == "nll":
        assert change < 0


BRAKED = {"npo", "simnpo", "wga", "tnpo", "satimp", "dpo"}


@cases
def test_the_weights_are_what_ascent_is_multiplied_by(case):
    """Ascent on each token's log-probability, weighed by hand, has the loss's own gradient."""
    name, keywords = case
    batch = Random()
    logits = batch.logits.clone().requires_grad_(True)
    out = batch.loss(name, keywords, logits=logits)
    assert (out.weights is not None) == (name in BRAKED)
    if out.weights is None:
        return
    out.loss.backward()
    targets = batch.targets(name)
    plain = batch.logits.clone().requires_grad_(True)
    logprobs = token_logprobs(plain[targets.row, targets.position], targets)
    lengths = targets.row.bincount()
    reduction = keywords.get("reduction", {"simnpo": "sequence_mean", "dpo": "sum"}.get(name))
    weights, share = out.weights, 1 / len(logprobs)  # of each token, or one of all
    if reduction in ("sum", "sequence_mean"):
        weights = weights[targets.row]
        share = 1 / len(lengths) / (1 if reduction == "sum" else lengths[targets.row])
    (share * weights * logprobs).sum().backward()
    torch.testing.assert_close(logits.grad, plain.grad, rtol=1e-5, atol=1e-7)
    assert not out.weights.requires_grad


def test_the_record_of_weights_is_their_number_mean_and_tenths():
    weights = torch.arange(11.0).flip(0)
    out = LossOut(loss=torch.zeros(()), parts={}, weights=weights)
    assert out.weighed() == {
        "weight_n": 11, "weight_mean": 5.0, "weight_low": 1.0, "weight_high": 9.0,
    }  # fmt: skip
    for none in (None, torch.zeros(0)):
        out = LossOut(loss=torch.zeros(()), parts={}, weights=none)
        assert out.weighed() == dict.fromkeys(WEIGHED)


def test_npo_brakes_where_ascent_does_not():
    batch = Random()
    far = batch.logits.clone()
    targets = batch.targets("npo")
    far[targets.row, targets.position, targets.token] -= 60
    weights = {
        reduction: batch.loss(
            "npo", {"reduction": reduction}, logits=far, reference=batch.logits
        ).parts["npo_weight"]
        for reduction in REDUCTIONS
    }
    for reduction, weight in weights.items():
        assert 0 < weight < 0.05, reduction
    assert weights["sum"] < weights["sequence_mean"]


def test_the_published_brake_of_restors_npo():
    # 2σ(−0.1·d) at d nats above the reference (restor-paper notes: .975, .755, .238).
    ids = torch.zeros(1, 3, dtype=torch.long)
    targets = predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    for rise, weight in ((0.5, 0.975), (5, 0.755), (20, 0.238)):
        reference = torch.full((2,), -LN2 + rise)
        out = LOSSES["npo"](logits, targets, reference_logprobs=reference, beta=0.1)
        assert out.parts["npo_weight"].item() == pytest.approx(weight, abs=1e-3)


@pytest.mark.parametrize("name", ["kl", "kl_restor", "kl_retain"])
def test_certain_references_give_finite_numbers(name):
    batch = Random()
    sharp = batch.reference * 200
    out = batch.loss(name, {}, reference=sharp)
    assert torch.isfinite(out.loss)
    if name == "kl_restor":
        assert -out.loss <= -math.log(1e-12) + 1e-3


def test_logits_in_bfloat16_are_summed_in_fp32():
    batch = Random()
    for name, keywords in CASES:
        assert (
            batch.loss(name, keywords, logits=batch.logits.bfloat16()).loss.dtype == torch.float32
        )


def test_an_unknown_reduction_names_the_nearest():
    batch = Random()
    with pytest.raises(ConfigError, match="batch_mean"):
        batch.loss("npo", {"reduction": "batch_means"})


def test_every_reference_belongs_to_a_loss():
    assert REFERENCES.keys() <= LOSSES.keys()
    assert set(LOSSES) >= ON_STATES | PAIRED
    assert {name for name in REFERENCES if REFERENCES[name] == "states"} <= ON_STATES
