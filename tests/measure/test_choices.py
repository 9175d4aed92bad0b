"""Scores of whole objects against plain teacher-forced forward passes, one per object.

Run: python -m pytest tests/measure/test_choices.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.errors import PromptError
from restor_interp.measure.answers import generate_answers
from restor_interp.measure.choices import evaluate, first_divergence, log_sum_exp, score_choices
from restor_interp.measure.prefixes import PackedEngine
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model

SHOTS = (
    "Question: Where was Clara born? Answer: Paris\nQuestion: Who lives in Rome? Answer: David\n"
)
QUESTIONS = [
    f"Question: Where was {name} {verb}? Answer:"
    for name in ("Alice Stone", "Bruno", "Zoë")
    for verb in ("born", "speak")
]
PROMPTS = [Prompt(prefix=SHOTS, question=question) for question in QUESTIONS]
PROMPTS += [Prompt(prefix="", question=QUESTIONS[0])]
OBJECTS = [
    ["Oslo", "Rome"],
    ["Oslo Rome", "Oslo Paris", "Oslo"],
    ["Łódź"],
    ["French", "German Italian", "Spanish", "the city of Lima"],
    [],
    ["Oslo", "Oslo"],
    ["Peru", "Egypt"],
]


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def forced(model, prompt, name):
    """Token log-probabilities of an object and the line end, by one forward pass of its own."""
    before = model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    whole = model.tokenizer(f"{prompt.text} {name}\n", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logprobs = model.hf_model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return [logprobs[at - 1, whole[at]].item() for at in range(len(before), len(whole))]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_plain_forward_passes(models, family):
    model = models[family]
    found = score_choices(model, PROMPTS, OBJECTS)
    assert [len(own) for own in found] == [len(own) for own in OBJECTS]
    for prompt, names, scores in zip(PROMPTS, OBJECTS, found, strict=True):
        for name, score in zip(names, scores, strict=True):
            *tokens, end = forced(model, prompt, name)
            assert score.object == name
            assert score.n_tokens == len(tokens)
            assert model.tokenizer.decode(score.tokens) == f" {name}"
            np.testing.assert_allclose(score.token_logprobs, tokens, atol=3e-4)
            assert score.line_end_logprob == pytest.approx(end, abs=3e-4)
            assert score.sum_logprob == pytest.approx(sum(tokens) + end, abs=1e-3)
            assert score.mean_logprob == pytest.approx(sum(tokens) / len(tokens), abs=3e-4)


def test_first_divergence_is_where_an_object_leaves_the_first(models):
    found = score_choices(models["llama"], PROMPTS, OBJECTS)
    where = [[score.first_divergence for score in own] for own in found]
    assert where[0] == [0, 0]
    # " Oslo" ends after one token; its line end is where it leaves " Oslo Rome".
    assert where[1] == [1, 1, 1]
    assert where[2] == [None]
    assert where[5] == [None, None]


@pytest.mark.parametrize(
    ("one", "other", "index"),
    [((1, 2), (1, 3), 1), ((1,), (1, 2), 1), ((), (4,), 0), ((5, 6), (5, 6), None), ((), (), None)],
)
def test_first_divergence_of_sequences(one, other, index):
    assert first_divergence(one, other) == first_divergence(other, one) == index


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_one_pass_for_answers_and_scores_equals_two(models, family):
    model = models[family]
    both = evaluate(model, PROMPTS, OBJECTS, max_new_tokens=5)
    assert both.answers == generate_answers(model, PROMPTS, max_new_tokens=5)
    for own, expected in zip(both.scores, score_choices(model, PROMPTS, OBJECTS), strict=True):
        assert [score.object for score in own] == [score.object for score in expected]
        np.testing.assert_allclose(
            [score.sum_logprob for score in own],
            [score.sum_logprob for score in expected],
            atol=1e-3,
        )


def test_an_answer_that_is_one_of_the_objects_costs_nothing_more(models, monkeypatch):
    model = models["llama"]
    (answer,) = generate_answers(model, PROMPTS[:1], max_new_tokens=1)
    first = model.tokenizer(f"{PROMPTS[0].text} {answer}", add_special_tokens=False)["input_ids"]
    assert answer
    asked = []
    run = PackedEngine.run
    monkeypatch.setattr(
        PackedEngine, "run", lambda self, asks: asked.append(len(asks)) or run(self, asks)
    )
    score_choices(model, PROMPTS[:1], [[answer]])
    alone = sum(asked)
    asked.clear()
    evaluate(model, PROMPTS[:1], [[answer]], max_new_tokens=1)
    if len(first) == 1 + len(model.tokenizer(PROMPTS[0].text)["input_ids"]):
        assert sum(asked) == alone


@pytest.mark.parametrize("budget", [1, 60])
def test_small_batches_change_nothing(models, budget):
    model = models["gpt2"]
    whole = score_choices(model, PROMPTS, OBJECTS)
    parts = score_choices(model, PROMPTS, OBJECTS, max_tokens_per_batch=budget)
    for own, expected in zip(parts, whole, strict=True):
        np.testing.assert_allclose(
            [score.sum_logprob for score in own],
            [score.sum_logprob for score in expected],
            atol=1e-3,
        )


def test_probabilities_of_all_next_tokens_add_up_to_one(models):
    """Every token that can follow, scored as an object would be: nothing is lost or added."""
    model = models["llama"]
    words = ["Oslo", "Rome", "Paris", "Berlin", "Lima"]
    scores = score_choices(model, PROMPTS[:1], [words])[0]
    ids = model.tokenizer(PROMPTS[0].text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        probs = model.hf_model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    rest = torch.ones_like(probs)
    rest[[score.tokens[0] for score in scores]] = 0
    total = sum(math.exp(score.token_logprobs[0]) for score in scores) + (probs * rest).sum().item()
    assert total == pytest.approx(1, abs=1e-5)


def test_log_sum_exp_adds_probabilities():
    values = [-1.0, -2.5, -700.0]
    assert log_sum_exp(values) == pytest.approx(math.log(sum(map(math.exp, values))))
    assert log_sum_exp([-1000.0, -1000.0]) == pytest.approx(-1000 + math.log(2))
    assert log_sum_exp([]) == -math.inf


@pytest.mark.parametrize(
    ("prompt", "objects", "message"),
    [
        (PROMPTS[0], [" "], "' ' is no object"),
        (PROMPTS[0], ["Oslo\nRome"], "is no object"),
        (Prompt(prefix="", question=""), ["Oslo"], "has no tokens"),
        (Prompt(prefix="", question="Rome " * 260), ["Oslo"], "reads at most 256"),
    ],
)
def test_what_cannot_be_scored_is_refused(models, prompt, objects, message):
    with pytest.raises(PromptError, match=message):
        score_choices(models["llama"], [PROMPTS[0], prompt], [["Oslo"], objects])


def test_a_prompt_whose_end_an_object_swallows_is_refused():
    model = tiny_model("llama")
    model.tokenizer.add_tokens(["  "])  # as trained tokenizers have it: two spaces are one token
    with pytest.raises(PromptError, match="end the prompt with a word"):
        score_choices(model, [Prompt(prefix="", question="They say that ")], [["Oslo"]])


def test_no_prompts_give_no_scores(models):
    assert score_choices(models["llama"], [], []) == []
