"""The most likely tokens of every layer against torch.topk of the model's own hidden states.

Run: python -m pytest tests/measure/test_likeliest.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import lens as lens_module
from restor_interp.measure.lens import logit_lens
from restor_interp.measure.likeliest import NOT_FINITE, Likeliest, Place
from restor_interp.models.deltas import Delta, State
from restor_interp.models.tokens import token_text
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

PREFIX = "Question: Who? Answer: Bruno\n"


def prompt(question, subject, fact_id="Alice/P19", prefix=PREFIX):
    start = len(prefix) + question.index(subject)
    span = (start, start + len(subject))
    return Prompt(
        prefix=prefix, question=question, subject=subject, subject_span=span, fact_id=fact_id
    )


ONE = prompt("They say that Alice Stone was born in", "Alice Stone")
PROMPTS = [ONE, prompt("Where does Bruno Field of Italy play?", "Bruno Field", "Bruno/P1", "")]
OBJECTS = [["Oslo", "Rome"], ["Paris", "Lima"]]


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in ("llama", "gpt2", "gemma2")}


def ids_of(model, text):
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_they_are_the_largest_logits_of_what_is_cached_through_the_models_own_end(models, family):
    model = models[family]
    found = logit_lens(model, ONE, OBJECTS[0], states=["clean"], top=5, from_subject=True)
    (own,) = found.likeliest
    sites = ["blocks.0.hook_resid_pre"]
    sites += [f"blocks.{layer}.hook_resid_post" for layer in range(model.num_layers)]
    _, cache = model.run_with_cache(ONE, names_filter=sites)
    places = [place.index for place in own.places]
    with torch.no_grad():
        logits = torch.stack([model.project(cache[site][0, places]) for site in sites])
    expected = logits.float().log_softmax(-1).topk(5, dim=-1)
    np.testing.assert_allclose(own.logprobs[0], expected.values.numpy(), atol=1e-4)
    np.testing.assert_array_equal(own.tokens[0], expected.indices.numpy())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_after_the_last_layer_they_are_what_the_model_says_next(models, family):
    model = models[family]
    (own,) = logit_lens(
        model, ONE, OBJECTS[0], states=["clean"], top=3, from_subject=True
    ).likeliest
    with torch.no_grad():
        logits = model.hf_model(torch.tensor([ids_of(model, ONE.text)])).logits[0]
    for number, place in enumerate(own.places):
        best = logits[place.index].float().log_softmax(-1).topk(3)
        np.testing.assert_allclose(own.logprobs[0, -1, number], best.values.numpy(), atol=1e-4)
        assert own.tokens[0, -1, number].tolist() == best.indices.tolist()


def test_places_are_the_last_token_and_every_one_from_the_subject_on(models):
    model = models["llama"]
    found = logit_lens(
        model, ONE, OBJECTS[0], states=["clean"], positions=("last", "subject_last"), top=2,
        from_subject=True,
    )  # fmt: skip
    rows = found.top_rows()
    ids = ids_of(model, ONE.text)
    start = len(ids_of(model, ONE.text[: ONE.subject_span[0]].rstrip()))
    asked = list(range(start, len(ids)))
    assert [place.index for place in found.likeliest[0].places] == [len(ids) - 1, start + 1, *asked]
    assert len(rows) == (2 + len(asked)) * (model.num_layers + 1) * 2
    mapped = [row for row in rows if row["position"] == "from_subject" and row["layer"] == 1]
    texts = {row["token_position"]: row["read_token"] for row in mapped}
    assert "".join(texts.values()).strip() == ONE.text[ONE.subject_span[0] :]
    inside = {row["token_position"] for row in mapped if row["in_subject"]}
    assert inside == {start, start + 1}
    assert {(row["fact_id"], row["lens"], row["state"]) for row in rows} == {
        ("Alice/P19", "logit", "clean")
    }
    assert {row["k"] for row in rows} == {1, 2} and {row["reason"] for row in rows} == {None}


def test_a_token_is_read_as_if_the_text_ended_there(models):
    model = models["llama"]
    (own,) = logit_lens(
        model, ONE, OBJECTS[0], states=["clean"], top=4, from_subject=True
    ).likeliest
    short = Prompt(prefix="", question=ONE.text[: ONE.subject_span[1]])
    (alone,) = logit_lens(model, short, OBJECTS[0], states=["clean"], top=4).likeliest
    at = [place.in_subject for place in own.places].index(True) + 1
    np.testing.assert_allclose(own.logprobs[:, :, at], alone.logprobs[:, :, 0], atol=1e-5)
    np.testing.assert_array_equal(own.tokens[:, :, at], alone.tokens[:, :, 0])


def test_states_have_their_own_and_objects_are_read_as_without_them():
    model = tiny_model("llama")
    noise = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    model.add_delta(Delta("shift", {"model.layers.1.mlp.down_proj": noise}))
    states = ["clean", State({"shift": 1.0})]
    found = logit_lens(model, PROMPTS, OBJECTS, states=states, top=5, from_subject=True)
    plain = logit_lens(model, PROMPTS, OBJECTS, states=states)
    np.testing.assert_allclose(found.logprobs, plain.logprobs, atol=1e-5)
    np.testing.assert_array_equal(found.ranks, plain.ranks)
    for own in found.likeliest:
        # The delta is in layer 1: what comes before it cannot differ, what follows must.
        np.testing.assert_array_equal(own.logprobs[1, :2], own.logprobs[0, :2])
        assert not np.allclose(own.logprobs[1, 2:], own.logprobs[0, 2:], atol=1e-3)


def test_rows_of_other_lengths_and_chunks_of_logits_change_nothing(models, monkeypatch):
    model = models["gpt2"]
    asked = {"states": ["clean"], "top": 5, "from_subject": True}
    whole = logit_lens(model, PROMPTS, OBJECTS, **asked)
    assert len({len(own.places) for own in whole.likeliest}) == 2
    monkeypatch.setattr(lens_module, "PROMPTS_PER_BATCH", 1)
    monkeypatch.setattr(lens_module, "BYTES_OF_LOGITS", 4 * model.vocab_size * 2)
    alone = logit_lens(model, PROMPTS, OBJECTS, **asked)
    for one, other in zip(whole.likeliest, alone.likeliest, strict=True):
        assert one.places == other.places and one.texts == other.texts
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)
        np.testing.assert_array_equal(one.tokens, other.tokens)


def test_what_is_not_finite_has_a_reason_and_no_token():
    own = Likeliest(
        places=(Place(position="last", index=3, in_subject=False),),
        tokens=np.array([[[[7, 9]]]]),
        logprobs=np.array([[[[-0.5, np.nan]]]]),
        texts={7: " a", 9: " b", 4: "c"},
        read=(4,),
    )
    first, second = own.rows(["clean"], fact_id="x")
    assert (first["token"], first["logprob"], first["reason"]) == (" a", -0.5, None)
    assert (second["token"], second["logprob"], second["reason"]) == (None, None, NOT_FINITE)
    assert second["read_token"] == "c" and second["k"] == 2


def test_a_token_keeps_the_space_that_it_begins_with(models):
    class Sentencepiece:
        pieces = ("▁Paris", "is", "▁")

        def convert_ids_to_tokens(self, token):
            return self.pieces[token]

        def decode(self, tokens):
            return (
                "".join(self.pieces[token] for token in tokens).replace("▁", " ").removeprefix(" ")
            )

    assert [token_text(Sentencepiece(), token) for token in range(3)] == [" Paris", "is", " "]
    tokenizer = models["llama"].tokenizer
    for token in tokenizer(" Oslo Rome", add_special_tokens=False)["input_ids"]:
        assert token_text(tokenizer, token) == tokenizer.decode([token])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"top": -1}, ConfigError, "top=-1"),
        ({"top": 0, "from_subject": True}, ConfigError, "top=0 with from_subject=True"),
        (
            {"prompts": Prompt(prefix="", question="They say that"), "from_subject": True},
            PromptError,
            "no subject",
        ),
    ],
)
def test_bad_input_is_refused(models, change, error, message):
    arguments = {"prompts": ONE, "top": 2} | change
    with pytest.raises(error, match=message):
        logit_lens(
            models["llama"], arguments.pop("prompts"), OBJECTS[0], states=["clean"], **arguments
        )
