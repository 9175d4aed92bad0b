"""Weights in few bits and weights with noise: the formulas, and that nothing stays behind.

Run: python -m pytest tests/models/test_perturbations.py
"""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import restor_interp as ri
from restor_interp.errors import ConfigError
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.models.perturbations import (
    NF4,
    nearest_nf4,
    noised,
    quantised,
    round_to_nearest,
)
from restor_interp.testing import tiny_model


@pytest.fixture(scope="module")
def bios():
    return ri.load_model("bios")


@pytest.fixture
def weight():
    found = torch.randn(6, 150, generator=torch.Generator().manual_seed(0))
    found[2] = 0
    found[3, :70] = 0
    return found


def matrices(model) -> dict[str, Any]:
    return {name: module.weight for name, module in linear_modules(model.hf_model).items()}


def copies(model):
    return {name: value.detach().clone() for name, value in model.hf_model.named_parameters()}


def same_bits(model, before):
    now = dict(model.hf_model.named_parameters())
    return all(torch.equal(now[name].data, value) for name, value in before.items())


# ---- formulas


def levels_of(row, bits):
    """The 2^bits − 1 numbers that a group may hold, each written out."""
    largest, n = np.abs(row).max(), 2 ** (bits - 1) - 1
    return np.array([largest * level / n for level in range(-n, n + 1)])


@pytest.mark.parametrize("group", [None, 64, 7])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_number_goes_to_the_nearest_level_of_its_group(weight, bits, group):
    found = round_to_nearest(weight, bits=bits, group=group).numpy()
    whole = weight.double().numpy()
    size = group or whole.shape[1]
    for output in range(whole.shape[0]):
        for start in range(0, whole.shape[1], size):
            part = whole[output, start : start + size]
            levels = levels_of(part, bits)
            nearest = levels[np.abs(part[:, None] - levels).argmin(axis=1)]
            got = found[output, start : start + size]
            half_a_step = np.abs(part).max() / (2 ** (bits - 1) - 1) / 2
            assert (np.abs(got - part) <= half_a_step * (1 + 1e-5)).all()
            np.testing.assert_allclose(got, nearest, atol=1e-6)


def test_nf4_is_the_published_construction():
    """Quantiles of a normal, eight below and nine above zero, as the paper builds them."""
    offset = (1 - 1 / (2 * 15) + 1 - 1 / (2 * 16)) / 2
    above = stats.norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    below = -stats.norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    built = np.sort(np.concatenate([below, [0.0], above]))
    np.testing.assert_allclose(NF4, built / np.abs(built).max(), atol=5e-7)


def test_nf4_takes_the_nearest_of_sixteen(weight):
    found = nearest_nf4(weight, group=64).numpy()
    whole = weight.numpy()
    for output in range(len(whole)):
        for start in range(0, whole.shape[1], 64):
            part = whole[output, start : start + 64]
            levels = np.array(NF4) * np.abs(part).max()
            nearest = levels[np.abs(part[:, None] - levels).argmin(axis=1)]
            np.testing.assert_allclose(found[output, start : start + 64], nearest, atol=1e-6)


# ---- on a model


def test_matrices_of_the_blocks_change_and_nothing_else(bios):
    before = copies(bios)
    inside = {f"{name}.weight" for name in matrices(bios)}
    for perturbed in (quantised(bios), quantised(bios, levels="nf4"), noised(bios)):
        with perturbed:
            now = dict(bios.hf_model.named_parameters())
            changed = {name for name in before if not torch.equal(now[name].data, before[name])}
        assert changed == inside and len(inside) == 12 * 7
        assert same_bits(bios, before)


def test_weights_come_back_after_an_error(bios):
    before = copies(bios)
    for perturbed in (quantised(bios, bits=2), noised(bios, scale=1.0)):
        with pytest.raises(RuntimeError, match="in the middle"), perturbed:
            assert not same_bits(bios, before)
            raise RuntimeError("in the middle")
        assert same_bits(bios, before)


def test_the_numbers_of_a_model_are_those_of_the_formula(bios):
    clean = {name: value.detach().clone() for name, value in matrices(bios).items()}
    with quantised(bios, bits=4, group=64):
        for name, value in matrices(bios).items():
            torch.testing.assert_close(
                value.data, round_to_nearest(clean[name], bits=4, group=64), rtol=0, atol=0
            )


def test_a_transposed_matrix_is_grouped_by_its_inputs():
    model = tiny_model("gpt2")
    name, before = next(iter(matrices(model).items()))
    before = before.detach().clone()
    with quantised(model, bits=3, group=4):
        now = matrices(model)[name].data
        torch.testing.assert_close(now, round_to_nearest(before.T, bits=3, group=4).T)
        assert now.is_contiguous()
        assert not torch.allclose(now, round_to_nearest(before, bits=3, group=4))


def test_noise_has_the_deviation_that_was_asked_for_and_is_seeded(bios):
    clean = {name: value.detach().clone() for name, value in matrices(bios).items()}

    def drawn(**settings):
        with noised(bios, **settings):
            return {name: value.data - clean[name] for name, value in matrices(bios).items()}

    one, again, other = drawn(scale=0.1, seed=3), drawn(scale=0.1, seed=3), drawn(scale=0.1, seed=4)
    twice = drawn(scale=0.2, seed=3)
    for name, noise in one.items():
        number = noise.numel()
        unit = noise / (0.1 * clean[name].std(correction=0))
        assert abs(float(unit.mean())) < 5 / number**0.5
        assert abs(float(unit.std()) - 1) < 5 / (2 * number) ** 0.5
        assert torch.equal(noise, again[name])
        assert abs(float(torch.corrcoef(torch.stack([noise, other[name]]).flatten(1))[0, 1])) < 0.05
        # Differences of fp32 numbers: equal but for rounding.
        torch.testing.assert_close(twice[name], 2 * noise, atol=1e-6, rtol=1e-4)


def test_fewer_bits_do_more_harm(bios):
    ids = torch.arange(2, 42)[None]
    with torch.no_grad():
        clean = bios.hf_model(ids).logits.log_softmax(-1)

        def harm(**settings):
            with quantised(bios, **settings):
                there = bios.hf_model(ids).logits.log_softmax(-1)
            return float((clean.exp() * (clean - there)).sum(-1).mean())

        eight, four, two = harm(bits=8, group=None), harm(bits=4), harm(bits=2)
    assert 0 <= eight < 0.01
    assert 10 * eight < four < two


def test_it_is_done_to_the_state_that_the_model_is_in(bios):
    name = "model.layers.3.mlp.down_proj"
    update = LowRank(a=torch.randn(2, 320), b=torch.randn(128, 2), scale=0.1)
    bios.add_delta(Delta("planted", {name: update}))
    before = copies(bios)
    with bios.at(State({"planted": 1.0})):
        changed = matrices(bios)[name].detach().clone()
        with quantised(bios, bits=4):
            torch.testing.assert_close(
                matrices(bios)[name].data, round_to_nearest(changed, bits=4, group=64)
            )
        assert torch.equal(matrices(bios)[name].data, changed)
    assert same_bits(bios, before)


def test_a_state_entered_within_is_an_error_and_leaves_nothing_behind(bios):
    name = "model.layers.3.mlp.up_proj"
    update = LowRank(a=torch.randn(2, 128), b=torch.randn(320, 2), scale=0.1)
    bios.add_delta(Delta("inner", {name: update}))
    before = copies(bios)
    message = "enter the state first"
    with pytest.raises(ConfigError, match=message), quantised(bios), bios.at(State({"inner": 1.0})):
        pass
    assert same_bits(bios, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 1}, "2 to 16 bits, found 1"),
        ({"group": 0}, "at least 1 input, found 0"),
        ({"bits": 8, "levels": "nf4"}, "NF4 has 4 bits, found bits=8"),
    ],
)
def test_senseless_quantisation_is_refused(bios, settings, message):
    with pytest.raises(ConfigError, match=message), quantised(bios, **settings):
        pass


@pytest.mark.parametrize("scale", [-0.1, float("nan")])
def test_senseless_noise_is_refused(bios, scale):
    with pytest.raises(ConfigError, match="at least 0"), noised(bios, scale=scale):
        pass
