"""Interpolation: every point against a model whose weights were mixed by hand, planted barriers.

Run: python -m pytest tests/measure/test_interpolation.py
"""

import copy
import math

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.interpolation import barrier, between, interpolate
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

PREFIX = "Question Where was Alice Stone born Answer Oslo\n"
PROMPTS = [
    Prompt(prefix=PREFIX, question="Question Where was Bruno born Answer", fact_id="b"),
    Prompt(prefix=PREFIX, question="Question Where was Clara born Answer", fact_id="c"),
]
TRUE, FALSE = [("Rome", "the Rome city"), "Paris"], ["Oslo", "Lima"]
TEXTS = ("The people of the city did not know what to say", "What is the name of a field on it")


def low_rank(model, name, *, seed):
    generator = torch.Generator().manual_seed(seed)
    updates = {
        path: LowRank(
            0.3 * torch.randn(2, module.weight.shape[1], generator=generator),
            0.3 * torch.randn(module.weight.shape[0], 2, generator=generator),
            1.5,
        )
        for path, module in linear_modules(model.hf_model).items()
    }
    return Delta(name, updates)


@pytest.fixture(scope="module")
def model():
    model = tiny_model("llama")
    model.add_delta(low_rank(model, "corruption", seed=1))
    model.add_delta(low_rank(model, "npo", seed=2))
    model.add_state("corrupted", State({"corruption": 1}))
    model.add_state("npo", State({"corruption": 1, "npo": 1}))
    return model


def mixed(model, one, other, t):
    """A copy whose parameters are (1 − t)·one + t·other, number by number."""
    parameters = []
    for state in (one, other):
        with model.at(state):
            parameters.append([p.detach().double().clone() for p in model.hf_model.parameters()])
    hf_model = copy.deepcopy(model.hf_model).double()
    with torch.no_grad():
        for p, a, b in zip(hf_model.parameters(), *parameters, strict=True):
            p.copy_((1 - t) * a + t * b)
    return hf_model


def logprob(hf_model, tokenizer, text, before):
    """Of the tokens of a text from the one after `before` on."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    start = len(tokenizer(before)["input_ids"])
    with torch.no_grad():
        steps = hf_model(ids).logits[0].log_softmax(-1)
    return sum(float(steps[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))


def by_hand(hf_model, tokenizer, prompt, names):
    names = (names,) if isinstance(names, str) else names
    each = [logprob(hf_model, tokenizer, f"{prompt.text} {n}\n", prompt.text) for n in names]
    return math.log(sum(math.exp(one) for one in each))


@pytest.mark.parametrize(
    ("one", "other"), [("clean", "corrupted"), ("corrupted", "npo"), ("npo", "clean")]
)
def test_every_point_is_the_model_with_mixed_weights(model, one, other):
    points = (0, 0.3, 1, 1.2)
    line = interpolate(model, one, other, PROMPTS, TRUE, FALSE, TEXTS, points=points)
    for place, t in enumerate(points):
        hf_model = mixed(model, one, other, t)
        for row, prompt in enumerate(PROMPTS):
            for column, names in enumerate((TRUE[row], FALSE[row])):
                expected = by_hand(hf_model, model.tokenizer, prompt, names)
                assert line.logprobs[row, place, column] == pytest.approx(expected, abs=1e-4)
        tokens = sum(len(model.tokenizer(text)["input_ids"]) - 1 for text in TEXTS)
        first = [model.tokenizer.decode(model.tokenizer(text)["input_ids"][:1]) for text in TEXTS]
        pairs = zip(TEXTS, first, strict=True)
        nll = -sum(logprob(hf_model, model.tokenizer, *pair) for pair in pairs) / tokens
        assert line.retain[place] == pytest.approx(nll, abs=1e-5)
    distance = math.sqrt(sum(norm**2 for norm in model.distances(one, other).values()))
    assert line.distance == pytest.approx(distance)


def test_a_barrier_is_the_rise_above_the_line_between_the_ends():
    points = [0, 0.25, 0.5, 0.75, 1]
    assert barrier(points, np.array([1.0, 2.0, 4.5, 4.0, 5.0])) == (1.5, 0.5)
    # Below the line, or straight: none, though the loss itself rises from end to end.
    assert barrier(points, np.array([1.0, 1.5, 2.0, 3.9, 5.0])) == (0.0, 0.0)
    # A hill beyond an end is not between the two.
    assert barrier([-0.5, 0, 0.5, 1, 1.5], np.array([9.0, 1.0, 2.0, 1.0, 9.0])) == (1.0, 0.5)
    assert all(map(math.isnan, barrier([0, 0.5, 1], np.array([1.0, np.inf, 1.0]))))


def plus_and_minus(delta):
    """A line whose middle is the clean model, between the delta added and subtracted."""
    model = tiny_model("llama")
    model.add_delta(delta)
    name = delta.name
    model.add_state("plus", State({name: 1}))
    model.add_state("minus", State({name: -1}))
    return interpolate(model, "plus", "minus", PROMPTS[:1], ["Rome"], ["Paris"])


def test_a_hill_is_planted_between_two_states_that_both_say_the_truth():
    """logit = (w + s·p)·((g + s·d)·h) of Rome, with s from 1 to −1: the part s²·p·d·h, which both
    ends have and the middle lacks."""
    model = tiny_model("llama")
    token = model.tokenizer(" Rome")["input_ids"][0]
    ids = torch.tensor([model.tokenizer(PROMPTS[0].text)["input_ids"]])
    with torch.no_grad():
        normed = model.hf_model.base_model(ids).last_hidden_state[0, -1]
    p = torch.zeros(model.vocab_size, model.d_model)
    p[token] = 0.5 * (normed / model.hf_model.model.norm.weight.detach()).sign()
    line = plus_and_minus(Delta("hill", {"lm_head": p, "model.norm": torch.ones(model.d_model)}))
    middle = line.truth[5] - (line.truth[0] + line.truth[-1]) / 2
    assert 1 < middle <= line.truth_barrier
    assert 0.2 < barrier(line.points, line.truth)[1] < 0.8


def test_states_that_differ_in_the_unembedding_alone_have_no_barrier():
    """−log p is convex in the logits, which are then linear in t."""
    model = tiny_model("llama")
    noise = torch.randn(model.vocab_size, model.d_model, generator=torch.Generator().manual_seed(0))
    line = plus_and_minus(Delta("flat", {"lm_head": noise}))
    assert np.ptp(line.truth) > 1
    assert line.truth_barrier == 0


def test_rows_hold_every_number_once_and_say_why_one_is_missing(model):
    line = interpolate(model, "clean", "npo", PROMPTS, TRUE, FALSE, points=(0, 0.5, 1))
    rows = line.rows()
    keys = [(row["fact_id"], row["t"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys) == 2 * (3 * 3 + 1) + 2 * 3 + 2
    by_key = dict(zip(keys, rows, strict=True))
    odds = by_key["b", 0.5, "logodds"]["value"]
    assert odds == pytest.approx(
        by_key["b", 0.5, "logprob_true"]["value"] - by_key["b", 0.5, "logprob_false"]["value"]
    )
    mean = np.mean([by_key[name, 1, "logprob_true"]["value"] for name in "bc"])
    assert by_key["", 1, "truth_loss"]["value"] == pytest.approx(-mean)
    barriers = [row for row in rows if row["metric"] == "truth_barrier"]
    assert [row["fact_id"] for row in barriers] == ["b", "c", ""]
    assert barriers[-1]["value"] == line.truth_barrier
    for row in rows:
        assert (row["value"] is None) == (row["metric"].startswith("retain"))
        assert (row["reason"] is None) == (row["value"] is not None)


def test_what_two_states_share_does_not_move(model):
    middle = between(State({"corruption": 1 / 3, "npo": 1}), State({"corruption": 1 / 3}), 0.3)
    assert middle == State({"corruption": 1 / 3, "npo": 0.7})


def test_senseless_lines_are_refused(model):
    ask = (PROMPTS, TRUE, FALSE)
    with pytest.raises(ConfigError, match="same weights"):
        interpolate(model, "clean", State({"corruption": 0}), *ask)
    with pytest.raises(ConfigError, match="its ends"):
        interpolate(model, "clean", "npo", *ask, points=(0.1, 1))
    with pytest.raises(ConfigError, match="no state"):
        interpolate(model, "clean", "nop", *ask)
    with pytest.raises(PromptError, match="one true and one false"):
        interpolate(model, "clean", "npo", PROMPTS, TRUE[:1], FALSE)
