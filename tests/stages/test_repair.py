"""Repair: the loss ranges over answers alone, and a repaired state is one delta more.

Run: python -m pytest tests/stages/test_repair.py
"""

import math

import pytest
import torch

from restor_interp.data.neutral import Example, repair_texts
from restor_interp.errors import DataError
from restor_interp.models.deltas import Delta, State
from restor_interp.stages.repair import example_row, repair
from restor_interp.stages.training import TrainSettings
from restor_interp.testing import tiny_model

EXAMPLES = (
    Example(question="Where is Oslo?", answer="Norway"),
    Example(question="Who plays in Rome and in Paris?", answer="Alice Stone"),
)


def answer_nll(model, examples):
    """From whole forward passes, token by token."""
    found = []
    for example in examples:
        question = model.tokenizer(example.question)["input_ids"]
        answer = model.tokenizer(f" {example.answer}\n")["input_ids"]
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([question + answer])).logits[0]
        for place, token in enumerate(answer):
            found.append(-logits.log_softmax(-1)[len(question) + place - 1, token].item())
    return sum(found) / len(found)


def test_only_answers_are_predicted():
    model = tiny_model("llama")
    row = example_row(model.tokenizer, EXAMPLES[0])
    assert model.tokenizer.decode(row.ids) == "Where is Oslo? Norway\n"
    predicted = [
        token for token, counted in zip(row.ids, row.counted or (), strict=True) if counted
    ]
    assert model.tokenizer.decode(predicted) == " Norway\n"


def test_the_first_loss_is_that_of_the_answers_and_it_falls():
    model = tiny_model("llama")
    path = "model.layers.0.mlp.down_proj"
    shape = model.hf_model.get_submodule(path).weight.shape
    model.add_delta(Delta("harm", {path: torch.full(shape, 0.1)}))
    start = State({"harm": 1.0})
    trained = repair(
        model,
        name="repair",
        start=start,
        training=TrainSettings(epochs=30, learning_rate=2e-2),
        seed=0,
        examples=EXAMPLES,
    )
    with model.at(start):
        before = answer_nll(model, EXAMPLES)
    assert trained.rows[0]["forget_nll"] == pytest.approx(before, rel=1e-5)
    assert trained.rows[0]["retain_loss"] is None
    model.add_delta(trained.delta)
    with model.at(State({"harm": 1.0, "repair": 1.0})):
        assert answer_nll(model, EXAMPLES) < before / 3


def test_our_examples_are_enough_for_a_step():
    model = tiny_model("llama")
    trained = repair(model, name="repair", start=State({}), training=TrainSettings(steps=1), seed=0)
    assert len(repair_texts()) >= 20
    assert math.isfinite(trained.rows[0]["loss"])


def test_no_examples_and_empty_answers_are_refused():
    model = tiny_model("llama")
    common = {"name": "r", "start": State({}), "training": TrainSettings(max_length=4), "seed": 0}
    with pytest.raises(DataError, match="found none"):
        repair(model, examples=(), **common)
    with pytest.raises(DataError, match=r"repair examples\[1\]: nothing to predict"):
        repair(model, examples=EXAMPLES, **common)
