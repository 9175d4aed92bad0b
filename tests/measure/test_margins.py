"""Margins by the formula, from plain forward passes alone; who is known, by truth tables.

Run: python -m pytest tests/measure/test_margins.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.measure.margins import (
    Margin,
    is_known,
    is_known_specific,
    measure_margins,
)
from restor_interp.measure.specific import SpecificRule
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model

SHOTS = "Question: Where was Clara born? Answer: Paris\n"


def ask(name):
    return Prompt(prefix=SHOTS, question=f"Question: Where was {name} born? Answer:")


PROMPTS = [ask("Alice Stone"), ask("Bruno")]
SUBSTITUTED = [
    [ask(name) for name in ("Clara Stone", "David River", "Bruno Field")],
    [ask("David")],
]
CANDIDATES = [
    ["Oslo", ("Rome", "the city of Rome", "Rome"), "Lima", "Cairo"],
    [("Paris", "France"), "Berlin", ["Madrid", "Spain"]],
]


def candidate_logprobs(model, prompt, candidates):
    """log p_C of each candidate: spellings added up, candidates normalised."""
    totals = []
    for candidate in candidates:
        spellings = {candidate} if isinstance(candidate, str) else set(candidate)
        probability = 0.0
        for name in spellings:
            before = model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
            whole = model.tokenizer(f"{prompt.text} {name}\n", add_special_tokens=False)[
                "input_ids"
            ]
            with torch.no_grad():
                logprobs = model.hf_model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
            own = [logprobs[at - 1, whole[at]].item() for at in range(len(before), len(whole))]
            probability += math.exp(sum(own))
        totals.append(probability)
    return [math.log(total / sum(totals)) for total in totals]


@pytest.mark.parametrize("family", FAMILIES)
def test_margins_are_those_of_the_formula(family):
    model = tiny_model(family)
    found = measure_margins(model, PROMPTS, SUBSTITUTED, CANDIDATES)
    for margin, prompt, others, candidates in zip(
        found, PROMPTS, SUBSTITUTED, CANDIDATES, strict=True
    ):
        own = candidate_logprobs(model, prompt, candidates)
        rest = [candidate_logprobs(model, other, candidates) for other in others]
        assert margin.own_logprob == pytest.approx(own[0], abs=1e-3)
        np.testing.assert_allclose(margin.substitute_logprobs, [r[0] for r in rest], atol=1e-3)
        assert margin.margin == pytest.approx(own[0] - np.mean([r[0] for r in rest]), abs=2e-3)
        assert margin.own_leads == (own[0] == max(own))
        assert margin.n_substitutes_led == sum(r[0] == max(r) for r in rest)
        assert margin.n_substitutes == len(others)


def test_a_model_that_does_not_look_at_the_subject_has_no_margin():
    """Substitutes that are the subject itself: nothing depends on who is asked about."""
    model = tiny_model("llama")
    (margin,) = measure_margins(model, PROMPTS[:1], [[PROMPTS[0]] * 4], CANDIDATES[:1])
    assert margin.margin == pytest.approx(0, abs=1e-5)
    assert margin.n_substitutes_led == (4 if margin.own_leads else 0)


def test_without_substitutes_there_is_no_margin():
    model = tiny_model("gpt2")
    (margin,) = measure_margins(model, PROMPTS[:1], [[]], CANDIDATES[:1])
    assert math.isnan(margin.margin)
    assert margin.n_substitutes == 0
    assert not is_known_specific(["true"] * 3, margin)
    assert measure_margins(model, [], [], []) == []


def margin_of(nats, led, number=5):
    return Margin(
        own_logprob=-1.0,
        substitute_logprobs=(-1.0 - nats,) * number,
        own_leads=True,
        n_substitutes_led=led,
    )


@pytest.mark.parametrize(
    ("outcomes", "known"),
    [
        (["true", "true", "false"], True),
        (["true", "other", "false"], False),
        (["true", "false"], False),
        (["true"], True),
        ([], False),
    ],
)
def test_known_is_answered_in_most_contexts(outcomes, known):
    assert is_known(outcomes) == known


@pytest.mark.parametrize(
    ("right", "nats", "led", "specific"),
    [
        (3, 2.0, 0, True),
        (2, 1.0, 1, True),
        (1, 2.0, 0, False),
        (3, 0.99, 0, False),
        (3, 2.0, 2, False),
    ],
)
def test_specific_knowledge_is_two_of_three_one_of_five_and_one_nat(right, nats, led, specific):
    outcomes = ["true"] * right + ["false"] * (3 - right)
    assert is_known_specific(outcomes, margin_of(nats, led)) == specific


def test_another_rule_can_be_given():
    loose = SpecificRule(min_right=1 / 3, max_guessed=2 / 5, min_margin=0.5)
    assert is_known_specific(["true", "other", "other"], margin_of(0.5, 2), rule=loose)
    assert not is_known_specific(["other"] * 3, margin_of(0.5, 2), rule=loose)
    assert not is_known_specific([], margin_of(5.0, 0), rule=loose)
