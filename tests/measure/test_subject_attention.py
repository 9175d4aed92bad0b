"""Attention to the subject, against transformers' own attention weights.

Run: python -m pytest tests/measure/test_subject_attention.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from restor_interp.errors import PromptError
from restor_interp.measure.subject_attention import last_example, subject_attention
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

PREFIX = "Where was Clara Field born? Lima\nWhere was Bruno River born? Paris\n"
QUESTION = "Where was Alice Stone born?"


def prompt(prefix=PREFIX, question=QUESTION, subject="Alice Stone"):
    start = len(prefix) + question.index(subject)
    return Prompt(
        prefix=prefix,
        question=question,
        subject=subject,
        subject_span=(start, start + len(subject)),
        fact_id="Alice/P19",
    )


def own_attention(model, text, words):
    """[layer, head] of the last token to some words, as transformers gives it."""
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    shown = [model.tokenizer.decode(token) for token in ids[0]]
    places = [place for place, token in enumerate(shown) if token.strip() in words]
    assert len(places) == len(words)
    usual = model.hf_model.config._attn_implementation
    model.hf_model.set_attn_implementation("eager")
    with torch.no_grad():
        patterns = model.hf_model(ids, output_attentions=True).attentions
    model.hf_model.set_attn_implementation(usual)
    return np.stack([layer[0, :, -1, places].sum(-1).numpy() for layer in patterns]), patterns


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_transformers_own_attention(family):
    model = tiny_model(family)
    found = subject_attention(model, prompt(), "Oslo", "Rome")
    expected, _ = own_attention(model, prompt().text, ["Alice", "Stone"])
    control, _ = own_attention(model, prompt().text, ["Bruno", "River"])
    last, _ = own_attention(model, prompt().text, ["Stone"])
    assert found.weights.shape == (3, 4)
    np.testing.assert_allclose(found.weights, expected, atol=1e-5)
    assert found.control_weights is not None
    np.testing.assert_allclose(found.control_weights, control, atol=1e-5)
    np.testing.assert_allclose(found.at_last_token, last, atol=1e-5)
    assert (found.control, found.control_subject) == ("example", "Bruno River")
    assert found.weights.max() > 0.05 and abs(expected - control).max() > 0.01


def test_a_head_that_was_made_to_look_is_found():
    """Its scores of the subject's tokens are raised: it gets all of its attention."""
    model = tiny_model("gpt_neox")
    before = subject_attention(model, prompt(), "Oslo", "Rome").weights

    def look(value, hook):
        scores = value.clone()
        span = slice(*_span(model))
        scores[:, 2, -1, span] += 30
        return scores

    with model.hooks([("blocks.1.attn.hook_attn_scores", look)]):
        found = subject_attention(model, prompt(), "Oslo", "Rome").weights
    assert found[1, 2] == pytest.approx(1, abs=1e-4) and before[1, 2] < 0.9
    np.testing.assert_allclose(np.delete(found[1], 2), np.delete(before[1], 2), atol=1e-5)


def _span(model):
    ids = model.tokenizer(PREFIX + "Where was", add_special_tokens=False)["input_ids"]
    return len(ids), len(ids) + 2


def test_a_state_looks_with_its_own_weights():
    model = tiny_model("llama")
    shape = model.hf_model.model.layers[1].self_attn.q_proj.weight.shape
    model.add_delta(Delta("d", {"model.layers.1.self_attn.q_proj": torch.randn(shape)}))
    model.add_state("npo", State({"d": 1.0}))
    clean = subject_attention(model, prompt(), "Oslo").weights
    with model.at("npo"):
        found = subject_attention(model, prompt(), "Oslo").weights
    np.testing.assert_allclose(found[0], clean[0], atol=1e-6)
    assert abs(found[1] - clean[1]).max() > 0.02


# ---- the control


def test_the_last_example_is_found_where_it_is_worded_as_the_question():
    found = last_example(prompt())
    assert found is not None and found.subject == "Bruno River" and found.subject_span
    assert found.text[slice(*found.subject_span)] == "Bruno River"
    assert last_example(prompt(prefix="Who lives in Lima? Clara\n")) is None
    assert last_example(prompt(prefix="")) is None
    first = prompt(
        "Rome has what? Lima\nParis of Peru has what? Oslo\n", "Italy has what?", "Italy"
    )
    earlier = last_example(first)
    assert earlier is not None and earlier.subject == "Paris of Peru"
    bare = prompt("Rome Lima\n", "Alice Stone", "Alice Stone")
    assert last_example(bare) is None
    inside = replace(prompt(), subject="Bruno River", subject_span=found.subject_span)
    assert last_example(inside) is None


def test_without_an_example_a_substitute_is_the_control():
    model = tiny_model("llama")
    asked = prompt(prefix="Who lives in Lima? Clara\n")
    found = subject_attention(model, asked, "Oslo", "Rome", substitute="Madrid River Peru")
    other = asked.text.replace("Alice Stone", "Madrid River Peru")
    expected, _ = own_attention(model, other, ["Madrid", "River", "Peru"])
    assert found.control_weights is not None
    np.testing.assert_allclose(found.control_weights, expected, atol=1e-5)
    assert found.control == "substitute"
    alone = subject_attention(model, asked, "Oslo", "Rome")
    assert alone.control is None
    rows = alone.rows(fact_id="f", state="clean")
    assert all(row["control_value"] is None and "no substitute" in row["reason"] for row in rows)


def test_rows_are_every_head_once():
    model = tiny_model("qwen3")
    found = subject_attention(model, prompt(), "Oslo", "Rome")
    frame = table_frame("attention", found.rows(fact_id="f", state="clean"))
    assert len(frame) == 12 and not frame.duplicated(["layer", "head"]).any()
    row = frame[(frame.layer == 2) & (frame["head"] == 3)].iloc[0]
    assert found.control_weights is not None
    assert row.value == found.weights[2, 3] and row.control_value == found.control_weights[2, 3]
    assert frame.reason.isna().all()


def test_a_prompt_without_a_subject_is_refused():
    with pytest.raises(PromptError, match="subject"):
        subject_attention(tiny_model("llama"), Prompt(prefix="", question="They say"), "Oslo")
