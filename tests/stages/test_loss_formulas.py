"""The newer losses against numbers worked out by hand, and against float64 loops over tokens.

Run: python -m pytest tests/stages/test_loss_formulas.py
"""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restor_interp.errors import ConfigError
from restor_interp.stages.losses import (
    LOSSES,
    NOTHING,
    Targets,
    predicted_tokens,
    rmu_direction,
    token_logprobs,
)

LN2 = math.log(2)


def whole(ids):
    """Targets of rows without padding."""
    ids = torch.tensor(ids)
    return predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool))


# ---- three tokens by hand: the model gives them 1/2, 1/4 and 1/8, the reference 1/2 each

BY_HAND = [
    ("wga", {"beta": 0}, -2 * LN2),
    ("wga", {"beta": 1}, -(1 / 2 * 1 + 1 / 4 * 2 + 1 / 8 * 3) / 3 * LN2),
    ("wga", {"beta": 2}, -(1 / 4 * 1 + 1 / 16 * 2 + 1 / 64 * 3) / 3 * LN2),
    ("satimp", {"beta1": 1, "beta2": 1}, -(1 / 4 * 1 + 3 / 16 * 2 + 7 / 64 * 3) / 3 * LN2),
    ("satimp", {"beta1": 0, "beta2": 2}, -(1 / 4 * 1 + 9 / 16 * 2 + 49 / 64 * 3) / 3 * LN2),
    ("satimp", {}, -(1 / 64 * 1 + 3 / 4096 * 2 + 7 / 262144 * 3) / 3 * LN2),
    ("tnpo", {"beta": 1}, -(1 * 1 + 2 / 3 * 2 + 2 / 5 * 3) / 3 * LN2),
    ("tnpo", {"beta": 2}, -(1 * 1 + 2 / 5 * 2 + 2 / 17 * 3) / 3 * LN2),
    ("simnpo", {"beta": 1}, 2 * math.log(1 + 1 / 4)),
    ("simnpo", {"beta": 2, "delta": LN2}, math.log(1 + 1 / 4)),
]


@pytest.mark.parametrize(("name", "keywords", "value"), BY_HAND)
def test_three_tokens_by_hand(name, keywords, value):
    logits = torch.tensor([[p, 1 - p] for p in (1 / 2, 1 / 4, 1 / 8)]).log()
    if name == "tnpo":
        keywords = {**keywords, "reference_logprobs": torch.full((3,), -LN2)}
    out = LOSSES[name](logits, whole([[0, 0, 0, 0]]), **keywords)
    assert out.loss.item() == pytest.approx(value, rel=1e-6)
    assert out.parts["nll"].item() == pytest.approx(2 * LN2, rel=1e-6)


@pytest.mark.parametrize(
    ("keywords", "value"),
    [
        ({"beta": 1}, 2 * math.log(1 + 1 / 32)),
        ({"beta": 2}, math.log(1 + 1 / 1024)),
        ({"beta": 1, "reduction": "sequence_mean"}, 2 * math.log(1 + 1 / 4)),
    ],
)
def test_dpo_by_hand(keywords, value):
    # ΣD of the document is −3 ln 2 over three tokens, of the chosen text +2 ln 2 over two.
    out = LOSSES["dpo"](
        torch.tensor([[p, 1 - p] for p in (1 / 2, 1 / 4, 1 / 8)]).log(),
        whole([[0, 0, 0, 0]]),
        reference_logprobs=torch.full((3,), -LN2),
        chosen_logits=torch.tensor([[1 / 2, 1 / 2]] * 2).log(),
        chosen_targets=whole([[1, 1, 1]]),
        chosen_reference_logprobs=torch.full((2,), -2 * LN2),
        **keywords,
    )
    assert out.loss.item() == pytest.approx(value, rel=1e-6)
    margin = 2 * LN2 if "reduction" in keywords else 5 * LN2
    assert out.parts["margin"].item() == pytest.approx(margin, rel=1e-6)
    assert out.parts["chosen_nll"].item() == pytest.approx(LN2, rel=1e-6)


THIRDS = torch.tensor([[1 / 2, 1 / 4, 1 / 4]]).log()


def test_undial_by_hand():
    # ln 2 off the first of (1/2, 1/4, 1/4) leaves a third for each.
    out = LOSSES["undial"](THIRDS, whole([[2, 0]]), reference_logits=THIRDS, beta=LN2)
    assert out.loss.item() == pytest.approx(5 / 3 * LN2, rel=1e-6)
    assert out.parts["nll"].item() == pytest.approx(LN2, rel=1e-6)


@pytest.mark.parametrize(
    ("ignored", "value"), [(0, (2 + 4 / 3 + 4 / 3) / 3), (1, 4 / 3), (2, 4 / 3), (3, 0)]
)
def test_ceu_by_hand_with_and_without_the_first_tokens(ignored, value):
    # Without the token 0 a half each for 1 and 2; without the token 1 two thirds for 0.
    out = LOSSES["ceu"](THIRDS.expand(3, 3), whole([[2, 0, 1, 1]]), ignore_first=ignored)
    assert out.loss.item() == pytest.approx(value * LN2, rel=1e-6)


def test_ceu_leaves_out_the_first_token_of_every_row_and_not_of_the_batch():
    logits = THIRDS.expand(4, 3)
    one = LOSSES["ceu"](logits[:2], whole([[2, 0, 1]]))
    two = LOSSES["ceu"](logits, whole([[2, 0, 1], [0, 0, 0]]))
    assert one.loss.item() == pytest.approx(4 / 3 * LN2, rel=1e-6)
    assert two.loss.item() == pytest.approx((4 / 3 + 2) / 2 * LN2, rel=1e-6)


def test_ceu_counts_a_rows_first_token_among_the_counted_ones():
    ids = torch.tensor([[2, 0, 0, 0], [2, 0, 0, 1]])
    counted = torch.tensor([[False, True, True, False], [False, False, True, True]])
    targets = predicted_tokens(ids, torch.ones_like(counted), counted)
    out = LOSSES["ceu"](THIRDS.expand(4, 3), targets)
    assert out.loss.item() == pytest.approx((2 + 4 / 3) / 2 * LN2, rel=1e-6)
    # The same with the positions that are not counted given, and predicting nothing.
    token = torch.tensor([0, 0, NOTHING, NOTHING, 0, 1])
    place = torch.arange(6)
    given = Targets(row=place // 3, position=place % 3, token=token, num_rows=2)
    out = LOSSES["ceu"](THIRDS.expand(6, 3), given)
    assert out.loss.item() == pytest.approx((2 + 4 / 3) / 2 * LN2, rel=1e-6)


def test_rmu_and_its_retain_term_by_hand():
    ids = torch.zeros(2, 3, dtype=torch.long)
    targets = predicted_tokens(ids, torch.tensor([[True] * 3, [True, True, False]]))
    states = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 0.0]])
    direction = torch.tensor([0.6, 0.8])
    out = LOSSES["rmu"](states, targets, direction=direction, coefficient=5.0)
    # The goal is (3, 4): rows 0 and 25/2, then 16/2; a mean over rows of means over tokens.
    assert out.loss.item() == pytest.approx(((0 + 12.5) / 2 + 8) / 2, rel=1e-6)
    assert out.parts["along"].item() == pytest.approx((2.5 + 1.8) / 2, rel=1e-6)
    later = LOSSES["rmu"](states, targets, direction=direction, coefficient=5.0, first_position=1)
    assert later.loss.item() == pytest.approx(12.5, rel=1e-6)  # row 1 has no later position
    out = LOSSES["embed_diff"](states, targets, reference_states=torch.zeros(3, 2))
    assert out.loss.item() == pytest.approx((12.5 / 2 + 4.5) / 2, rel=1e-6)


def test_rmus_direction_is_a_fixed_unit_vector_of_positive_entries():
    direction = rmu_direction(4096, seed=0)
    assert direction.norm().item() == pytest.approx(1, rel=1e-6)
    assert direction.dtype == torch.float32
    # Uniform on [0, 1): mean √3/2 of the root mean square; cosine of two of them 3/4.
    assert direction.min() >= 0
    assert direction.mean().item() * 64 == pytest.approx(math.sqrt(3) / 2, abs=0.02)
    other = rmu_direction(4096, seed=1)
    assert (direction @ other).item() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(direction, rmu_direction(4096, seed=0))


# ---- the same, token by token, in float64


def log_softmax(row):
    top = max(row)
    total = math.log(sum(math.exp(x - top) for x in row))
    return [x - top - total for x in row]


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


class Batch:
    """Random rows as nested lists of floats and, for the losses, as fp32 tensors."""

    def __init__(self, lengths, seed, vocab=5):
        generator = torch.Generator().manual_seed(seed)
        width = max(lengths)
        self.lengths = lengths
        self.ids = torch.randint(vocab, (len(lengths), width), generator=generator)
        self.mask = torch.arange(width) < torch.tensor(lengths)[:, None]
        self.z, self.c = 2 * torch.randn(2, len(lengths), width, vocab, generator=generator)
        self.targets = predicted_tokens(self.ids, self.mask)

    def at_targets(self, values):
        return values[self.targets.row, self.targets.position]

    def rows(self):
        """Per row the triples (own logits, reference logits, token) of its predicted tokens."""
        return [
            [
                (self.z[i, t].double().tolist(), self.c[i, t].double().tolist(), token)
                for t, token in enumerate(self.ids[i, 1:length].tolist())
            ]
            for i, length in enumerate(self.lengths)
        ]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def tokens(batch):
    """(l, l', z, z', token) of every predicted token."""
    for row in batch.rows():
        for z, c, token in row:
            yield log_softmax(z)[token], log_softmax(c)[token], z, c, token


def wga(batch, beta):
    return mean(math.exp(own) ** beta * own for own, *_ in tokens(batch))


def satimp(batch, beta1, beta2):
    def term(own):
        p = math.exp(own)
        return p**beta1 * (1 - p) ** beta2 * own

    return mean(term(own) for own, *_ in tokens(batch))


def tnpo(batch, beta):
    def term(own, reference):
        p, q = math.exp(own) ** beta, math.exp(reference) ** beta
        return 2 * p / (p + q) * own

    return mean(term(own, reference) for own, reference, *_ in tokens(batch))


def simnpo(batch, beta, delta):
    terms = []
    for row in batch.rows():
        nll = mean(-log_softmax(z)[token] for z, _, token in row)
        # −log σ(β (nll − δ)), as printed
        terms.append(-math.log(1 / (1 + math.exp(-beta * (nll - delta)))))
    return 2 / beta * mean(terms)


def dpo(batch, chosen, beta, reduction):
    def ratio(row):
        ratios = [log_softmax(z)[token] - log_softmax(c)[token] for z, c, token in row]
        return sum(ratios) if reduction == "sum" else mean(ratios)

    margins = [
        ratio(win) - ratio(lose) for lose, win in zip(batch.rows(), chosen.rows(), strict=True)
    ]
    return 2 / beta * mean(softplus(-beta * margin) for margin in margins)


def cross_entropy(teacher, student):
    """H(softmax(teacher), softmax(student)); a teacher's logit may be −∞."""
    q = [math.exp(x) for x in log_softmax(teacher)]
    return -sum(w * x for w, x in zip(q, log_softmax(student), strict=True))


def undial(batch, beta):
    def term(z, c, token):
        return cross_entropy([x - beta * (v == token) for v, x in enumerate(c)], z)

    return mean(term(z, c, token) for _, _, z, c, token in tokens(batch))


def ceu(batch, ignored):
    terms = []
    for row in batch.rows():
        for z, _, token in row[ignored:]:
            terms.append(
                cross_entropy([-math.inf if v == token else x for v, x in enumerate(z)], z)
            )
    return mean(terms)


def squares(batch, goal):
    """mean_i mean_t (1/d) ‖state − goal‖², over the positions that predict."""
    return mean(
        mean(mean((x - g) ** 2 for x, g in zip(z, goal(c), strict=True)) for z, c, _ in row)
        for row in batch.rows()
    )


batches = st.builds(
    Batch,
    lengths=st.lists(st.integers(3, 6), min_size=1, max_size=4).map(tuple),
    seed=st.integers(0, 10_000),
)
betas = st.floats(0.05, 6)
few = settings(max_examples=25, deadline=None)


def close(out, wanted):
    assert out.loss.item() == pytest.approx(wanted, rel=2e-5, abs=1e-6)


@few
@given(batches, betas, st.floats(0, 3))
def test_weighted_ascent_in_float64(batch, beta, beta2):
    own = batch.at_targets(batch.z)
    reference = token_logprobs(batch.at_targets(batch.c), batch.targets)
    close(LOSSES["wga"](own, batch.targets, beta=beta), wga(batch, beta))
    found = LOSSES["satimp"](own, batch.targets, beta1=beta, beta2=beta2)
    close(found, satimp(batch, beta, beta2))
    found = LOSSES["tnpo"](own, batch.targets, reference_logprobs=reference, beta=beta)
    close(found, tnpo(batch, beta))


@few
@given(batches, betas, st.floats(-1, 4))
def test_simnpo_in_float64(batch, beta, delta):
    own = batch.at_targets(batch.z)
    found = LOSSES["simnpo"](own, batch.targets, beta=beta, delta=delta)
    close(found, simnpo(batch, beta, delta))


def dpo_loss(batch, chosen, own=None, win=None, **keywords):
    return LOSSES["dpo"](
        batch.at_targets(batch.z) if own is None else own,
        batch.targets,
        reference_logprobs=token_logprobs(batch.at_targets(batch.c), batch.targets),
        chosen_logits=chosen.at_targets(chosen.z) if win is None else win,
        chosen_targets=chosen.targets,
        chosen_reference_logprobs=token_logprobs(chosen.at_targets(chosen.c), chosen.targets),
        **keywords,
    )


@few
@given(batches, betas, st.integers(0, 9), st.sampled_from(["sum", "sequence_mean"]))
def test_dpo_in_float64(batch, beta, seed, reduction):
    chosen = Batch(tuple(7 - length for length in batch.lengths), seed) if seed else batch
    if min(chosen.lengths) < 2:
        chosen = Batch((4,) * len(batch.lengths), seed)
    found = dpo_loss(batch, chosen, beta=beta, reduction=reduction)
    close(found, dpo(batch, chosen, beta, reduction))


@few
@given(batches, st.floats(0, 30), st.integers(0, 1))
def test_distillation_in_float64(batch, beta, ignored):
    own, reference = batch.at_targets(batch.z), batch.at_targets(batch.c)
    found = LOSSES["undial"](own, batch.targets, reference_logits=reference, beta=beta)
    close(found, undial(batch, beta))
    close(LOSSES["ceu"](own, batch.targets, ignore_first=ignored), ceu(batch, ignored))


@few
@given(batches, st.floats(0.1, 30), st.integers(0, 99))
def test_steering_in_float64(batch, coefficient, seed):
    own, reference = batch.at_targets(batch.z), batch.at_targets(batch.c)
    direction = rmu_direction(5, seed)
    goal = [coefficient * x for x in direction.double().tolist()]
    found = LOSSES["rmu"](own, batch.targets, direction=direction, coefficient=coefficient)
    close(found, squares(batch, lambda c: goal))
    found = LOSSES["embed_diff"](own, batch.targets, reference_states=reference)
    close(found, squares(batch, lambda c: c))


# ---- what they are to each other, and their gradients


def gradient(loss, x):
    x = x.clone().requires_grad_(True)
    loss(x).loss.backward()
    return x.grad


@few
@given(batches, betas)
def test_the_gradient_of_tnpo_is_that_of_npo_per_token(batch, beta):
    own = batch.at_targets(batch.z)
    reference = {"reference_logprobs": token_logprobs(batch.at_targets(batch.c), batch.targets)}
    found = gradient(lambda x: LOSSES["tnpo"](x, batch.targets, beta=beta, **reference), own)
    wanted = gradient(
        lambda x: LOSSES["npo"](x, batch.targets, beta=beta, reduction="token", **reference), own
    )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)


def test_weighted_ascent_with_weight_one_is_gradient_ascent():
    batch = Batch((4, 6, 3), seed=5)
    own = batch.at_targets(batch.z)
    wanted = gradient(lambda x: LOSSES["ga"](x, batch.targets), own)
    torch.testing.assert_close(
        gradient(lambda x: LOSSES["wga"](x, batch.targets, beta=0.0), own), wanted
    )
    flat = {"beta1": 0.0, "beta2": 0.0}
    torch.testing.assert_close(
        gradient(lambda x: LOSSES["satimp"](x, batch.targets, **flat), own), wanted
    )


@pytest.mark.parametrize("name", ["undial", "ceu"])
def test_the_gradient_of_a_distillation_is_student_minus_teacher(name):
    # So that the target is held constant: the derivative of H(q, pθ) alone.
    batch = Batch((4, 6, 3), seed=6)
    own, reference = batch.at_targets(batch.z), batch.at_targets(batch.c)
    label = torch.nn.functional.one_hot(batch.targets.token, 5)
    if name == "undial":
        teacher = (reference - 10.0 * label).softmax(-1)
        keywords = {"reference_logits": reference}
    else:
        teacher = own.masked_fill(label.bool(), -math.inf).softmax(-1)
        keywords = {"ignore_first": 0}
    found = gradient(lambda x: LOSSES[name](x, batch.targets, **keywords), own)
    torch.testing.assert_close(found, (own.softmax(-1) - teacher) / len(own))


def test_dpo_pushes_the_document_down_and_the_chosen_text_up_alike():
    batch, chosen = Batch((4, 6, 3), seed=7), Batch((5, 3, 4), seed=8)
    own, win = batch.at_targets(batch.z), chosen.at_targets(chosen.z)
    down = gradient(lambda x: dpo_loss(batch, chosen, own=x), own)
    up = gradient(lambda x: dpo_loss(batch, chosen, win=x), win)
    # Of row i both are ascent and descent times the same weight 2σ(−β·margin) / rows.
    logprob_down = gradient(lambda x: LOSSES["ga"](x, batch.targets), own) * len(own)
    logprob_up = gradient(lambda x: LOSSES["nll"](x, chosen.targets), win) * len(win)
    for row in range(3):
        a, b = batch.targets.row == row, chosen.targets.row == row
        weight = (down[a] / logprob_down[a]).mean()
        torch.testing.assert_close(down[a], weight * logprob_down[a], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(up[b], weight * logprob_up[b], rtol=1e-3, atol=1e-6)
        assert weight > 0


def test_dpo_at_the_reference_is_two_log_two_over_beta_whatever_the_lengths():
    batch, chosen = Batch((4, 6, 3), seed=7), Batch((5, 3, 4), seed=8)
    batch.c, chosen.c = batch.z, chosen.z
    for reduction in ("sum", "sequence_mean"):
        out = dpo_loss(batch, chosen, beta=0.5, reduction=reduction)
        assert out.loss.item() == pytest.approx(4 * LN2, rel=1e-6)
        assert out.parts["dpo_weight"].item() == pytest.approx(1, rel=1e-6)
    with pytest.raises(ConfigError, match=r"reduction of dpo 'sums'.*Did you mean sum"):
        dpo_loss(batch, chosen, reduction="sums")


def test_a_refused_token_of_undial_ends_with_its_odds_divided():
    # Descent to the end of training: p = q, and the odds of the token fell by e^β.
    batch = Batch((5,), seed=9)
    reference = batch.at_targets(batch.c)
    x = reference.clone().requires_grad_(True)
    optimiser = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        out = LOSSES["undial"](x, batch.targets, reference_logits=reference, beta=3.0)
        out.loss.backward()
        return out.loss

    optimiser.step(closure)
    label = batch.targets.token[:, None]
    before = torch.logit(reference.double().softmax(-1).gather(1, label))
    after = torch.logit(x.detach().double().softmax(-1).gather(1, label))
    torch.testing.assert_close(after, before - 3.0, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", ["ceu", "undial", "satimp", "wga", "tnpo", "simnpo"])
def test_extreme_logits_give_finite_losses_and_gradients(name):
    targets = whole([[0, 0, 1, 2]])
    logits = torch.tensor([[400.0, 0, 0], [-400.0, 0, 0], [0.0, 0, 400.0]])
    keywords = {}
    if name == "undial":
        keywords["reference_logits"] = -logits
    if name == "tnpo":
        keywords["reference_logprobs"] = torch.tensor([-400.0, 0.0, -3.0])
    x = logits.requires_grad_(True)
    out = LOSSES[name](x, targets, **keywords)
    out.loss.backward()
    assert torch.isfinite(out.loss) and torch.isfinite(x.grad).all()
