"""Whole texts against the loss that transformers computes, text by text.

Run: python -m pytest tests/measure/test_texts.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.measure.texts import mean_nll, score_texts
from restor_interp.models.loading import load_model
from restor_interp.testing import FAMILIES, tiny_model

TEXTS = [
    "They say that Alice Stone was born in the city of Oslo.",
    "Rome",
    "What language does Bruno speak? Italian",
    "",
    "Zoë lives in Łódź, " * 12,
    "The capital of France is Paris.\nThe capital of Peru is Lima.",
]


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def loss_of_transformers(model, text):
    """Its own mean loss over a text, and over how many tokens."""
    ids = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return model.hf_model(ids, labels=ids).loss.item(), ids.shape[1] - 1


@pytest.mark.parametrize("family", FAMILIES)
def test_nll_is_the_loss_of_transformers(models, family):
    model = models[family]
    scores = score_texts(model, TEXTS)
    weighted = 0.0
    for text, score in zip(TEXTS, scores, strict=True):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert score.token_ids.tolist() == ids
        assert len(score.logprobs) == score.n_tokens == max(len(ids) - 1, 0)
        if len(ids) < 2:
            assert math.isnan(score.nll) and math.isnan(score.perplexity)
            continue
        loss, number = loss_of_transformers(model, text)
        assert number == score.n_tokens
        assert score.nll == pytest.approx(loss, abs=2e-4)
        assert score.perplexity == pytest.approx(math.exp(loss), rel=3e-4)
        assert score.logprobs.dtype == np.float32
        weighted += loss * number
    assert mean_nll(scores) == pytest.approx(
        weighted / sum(score.n_tokens for score in scores), abs=2e-4
    )


def test_every_token_has_its_own_log_probability(models):
    model = models["llama"]
    [score] = score_texts(model, TEXTS[:1])
    with torch.no_grad():
        logits = model.hf_model(torch.from_numpy(score.token_ids)[None]).logits[0].double()
    expected = logits.log_softmax(-1)[range(score.n_tokens), score.token_ids[1:]]
    np.testing.assert_allclose(score.logprobs, expected, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_batches_change_nothing(models, budget):
    model = models["gpt2"]
    whole = score_texts(model, TEXTS)
    parts = score_texts(model, TEXTS[::-1], max_tokens_per_batch=budget)
    for one, other in zip(whole, parts[::-1], strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=2e-5)


def test_a_batch_holds_no_more_than_its_budget(models):
    model = models["llama"]
    shapes = []
    with model.hooks([("blocks.0.hook_resid_pre", lambda v, hook: shapes.append(v.shape[:2]))]):
        score_texts(model, TEXTS * 4, max_tokens_per_batch=100, max_length=60)
    assert all(rows * width <= 100 or rows == 1 for rows, width in shapes)
    # Lengths are alike within a batch, so few tokens are padding.
    tokens = 4 * sum(len(model.tokenizer(text)["input_ids"]) for text in TEXTS)
    assert sum(rows * width for rows, width in shapes) < 1.15 * tokens


@pytest.mark.parametrize("length", [2, 7, 64, 256])
def test_windows_score_every_token_once_given_what_the_window_holds(models, length):
    model = models["llama"]
    text = TEXTS[4]
    [score] = score_texts(model, [text], max_length=length)
    ids = score.token_ids.tolist()
    assert score.n_tokens == len(ids) - 1 > 64
    for at in range(1, len(ids)):
        start = (at - 1) // (length - 1) * (length - 1)
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([ids[start:at]])).logits[0, -1].double()
        assert score.logprobs[at - 1] == pytest.approx(
            logits.log_softmax(-1)[ids[at]].item(), abs=1e-4
        )


def test_texts_longer_than_the_model_reads_are_read_in_windows(models):
    model = models["gpt2"]
    [score] = score_texts(model, ["Rome Paris " * 200])
    assert score.n_tokens > 256  # the model's limit
    for length in (1, 257):
        with pytest.raises(ConfigError, match="at least 2 and at most 256, which tiny-gpt2 reads"):
            score_texts(model, TEXTS, max_length=length)


def test_a_trained_model_is_scored_in_float32_whatever_it_computes_in():
    text = "Alba Delmonte keeps a llama. The pet of Alba Delmonte is a llama."
    exact = load_model("bios")
    [score] = score_texts(exact, [text])
    loss, _ = loss_of_transformers(exact, text)
    assert score.nll == pytest.approx(loss, abs=1e-5)
    half = load_model("bios", dtype="bfloat16")
    [rounded] = score_texts(half, [text])
    assert rounded.logprobs.dtype == np.float32
    with torch.no_grad():
        logits = half.hf_model(torch.from_numpy(rounded.token_ids)[None]).logits[0].double()
    expected = logits.log_softmax(-1)[range(rounded.n_tokens), rounded.token_ids[1:]]
    # Not rounded to bfloat16 again, of which a step at 4 nats is 0.03.
    np.testing.assert_allclose(rounded.logprobs, expected, atol=1e-4)


def test_a_model_that_fell_apart_has_an_infinite_perplexity():
    model = tiny_model("llama")
    with torch.no_grad():
        model.hf_model.get_output_embeddings().weight *= 1e6
    [score] = score_texts(model, TEXTS[:1])
    assert score.nll > 1000
    assert score.perplexity == math.inf


def test_no_texts_have_no_scores(models):
    assert score_texts(models["llama"], []) == []
    assert math.isnan(mean_nll([]))
