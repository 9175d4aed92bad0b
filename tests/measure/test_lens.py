"""The logit lens against transformer-lens and against the model's own hidden states and logits.

Run: python -m pytest tests/measure/test_lens.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import lens as lens_module
from restor_interp.measure.lens import logit_lens
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model


def prompt(question, subject, fact_id="Alice/P19", prefix="Question: Who? Answer: Bruno\n"):
    start = len(prefix) + question.index(subject)
    return Prompt(
        prefix=prefix,
        question=question,
        subject=subject,
        subject_span=(start, start + len(subject)),
        fact_id=fact_id,
    )


PROMPTS = [
    prompt("They say that Alice Stone was born in", "Alice Stone"),
    prompt("The city in which Clara lives is", "Clara", fact_id="Clara/P551"),
    prompt("Where does Bruno Field of Italy play?", "Bruno Field", fact_id="Bruno/P1", prefix=""),
]
OBJECTS = [["Oslo", "Rome"], ["Paris", "Oslo", "Lima"], ["Oslo Rome", "Oslo Paris"]]


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def encode(model, text):
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def shift(model, *, scale=0.2, seed=0):
    """A dense delta that changes one matrix of the middle layer."""
    path = next(
        name
        for name, module in model.hf_model.named_modules()
        if name.endswith(("layers.1.mlp.down_proj", "h.1.mlp.c_proj"))
    )
    weight = model.hf_model.get_submodule(path).weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return Delta("shift", {path: scale * noise})


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_the_models_own_hidden_states_through_its_own_end(models, family):
    """transformers' `hidden_states`: embeddings, then each layer, the last of them normed."""
    model = models[family]
    found = logit_lens(model, PROMPTS, OBJECTS, states=["clean"])
    assert found.logprobs.shape == (1, 3, model.num_layers + 1, 1, 3)
    for row, (one, own) in enumerate(zip(PROMPTS, OBJECTS, strict=True)):
        text = one.text + (" Oslo" if row == 2 else "")
        ids = encode(model, text)
        firsts = [encode(model, f"{one.text} {name}")[len(ids)] for name in own]
        with torch.no_grad():
            out = model.hf_model(torch.tensor([ids]), output_hidden_states=True)
            ends = [model.project(hidden[0, -1]) for hidden in out.hidden_states[:-1]]
        logits = torch.stack([*ends, out.logits[0, -1]])
        expected = logits.log_softmax(-1)[:, firsts].numpy()
        got = found.logprobs[0, row, :, 0]
        np.testing.assert_allclose(got[:, : len(own)], expected, atol=1e-4)
        assert np.isnan(got[:, len(own) :]).all()
        order = logits.argsort(dim=-1, descending=True)
        ranks = [[1 + row.tolist().index(first) for first in firsts] for row in order]
        np.testing.assert_array_equal(found.ranks[0, row, :, 0, : len(own)], ranks)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_is_the_lens_of_transformer_lens(models, family):
    """`ActivationCache.accumulated_resid` and the bridge's own norm and unembedding."""
    model = models[family]
    one = PROMPTS[0]
    found = logit_lens(model, one, OBJECTS[0], states=["clean"])
    bridge = model.to_bridge()
    ids = torch.tensor([encode(model, one.text)])
    with torch.no_grad():
        logits, cache = bridge.run_with_cache(ids)
        layers = [cache["resid_pre", 0]]
        layers += [cache["resid_post", layer] for layer in range(model.num_layers)]
        read = [bridge.unembed(bridge.ln_final(layer[:, -1:]))[0, 0] for layer in layers]
    firsts = [encode(model, f"{one.text} {name}")[ids.shape[1]] for name in OBJECTS[0]]
    expected = torch.stack(read).log_softmax(-1)[:, firsts].numpy()
    np.testing.assert_allclose(found.logprobs[0, 0, :, 0], expected, atol=1e-4)
    np.testing.assert_allclose(
        found.logprobs[0, 0, -1, 0], logits[0, -1].log_softmax(-1)[firsts].numpy(), atol=1e-4
    )


def test_positions_are_the_subjects_own(models):
    model = models["llama"]
    found = logit_lens(
        model, PROMPTS[0], OBJECTS[0], states=["clean"], positions=("subject_last", "last")
    )
    upto = PROMPTS[0].text[: PROMPTS[0].subject_span[1]]
    short = Prompt(prefix="", question=upto)
    alone = logit_lens(model, short, OBJECTS[0], states=["clean"])
    # A causal model at the subject's last token is the model that has read no further.
    np.testing.assert_allclose(found.logprobs[..., 0, :], alone.logprobs[..., 0, :], atol=1e-5)
    assert not np.allclose(found.logprobs[..., 0, :], found.logprobs[..., 1, :], atol=1e-2)


def test_states_are_read_with_their_own_weights(models):
    model = tiny_model("llama")
    delta = shift(model)
    model.add_delta(delta)
    model.add_state("corrupted", State({"shift": 1.0}))
    half = State({"shift": 0.5})
    found = logit_lens(model, PROMPTS, OBJECTS, states=["clean", "corrupted", half])
    assert found.states == ("clean", "corrupted", "0.5·shift")
    # The delta is in layer 1: the embeddings and layer 0 cannot differ, what follows must.
    for state in (1, 2):
        same, other = found.logprobs[state, :2, :2], found.logprobs[state, :2, 2:]
        np.testing.assert_array_equal(same, found.logprobs[0, :2, :2])
        gap = np.nanmax(np.abs(other - found.logprobs[0, :2, 2:]))
        assert gap > 1e-3
    # An independent model with the sum written into it says what the state says.
    other = tiny_model("llama")
    for path, update in delta.updates.items():
        with torch.no_grad():
            other.hf_model.get_submodule(path).weight.add_(0.5 * update)
    witness = logit_lens(other, PROMPTS, OBJECTS, states=["clean"])
    np.testing.assert_allclose(found.logprobs[2], witness.logprobs[0], atol=1e-5)


def test_batches_and_chunks_of_logits_change_nothing(models, monkeypatch):
    model = models["gpt2"]
    whole = logit_lens(
        model, PROMPTS, OBJECTS, states=["clean"], positions=("last", "subject_first")
    )
    monkeypatch.setattr(lens_module, "PROMPTS_PER_BATCH", 1)
    monkeypatch.setattr(lens_module, "BYTES_OF_LOGITS", 4 * model.vocab_size * 2)
    alone = logit_lens(
        model, PROMPTS, OBJECTS, states=["clean"], positions=("last", "subject_first")
    )
    np.testing.assert_allclose(alone.logprobs, whole.logprobs, atol=1e-5)
    np.testing.assert_array_equal(alone.ranks, whole.ranks)


def test_objects_that_begin_alike_extend_the_prompt(models):
    model = models["llama"]
    found = logit_lens(model, PROMPTS[2], OBJECTS[2], states=["clean"])
    assert found.prompts[0].text == PROMPTS[2].text + " Oslo"
    assert found.prompts[0].subject_span == PROMPTS[2].subject_span
    longer = Prompt(prefix="", question=PROMPTS[2].text + " Oslo")
    plain = logit_lens(model, longer, ["Rome", "Paris"], states=["clean"])
    np.testing.assert_allclose(found.logprobs, plain.logprobs, atol=1e-6)


def test_rows_are_those_of_the_table(models):
    model = models["llama"]
    found = logit_lens(
        model, PROMPTS, OBJECTS, states=["clean"], positions=("last", "subject_last")
    )
    rows = found.rows()
    layers = model.num_layers + 1
    assert len(rows) == layers * 2 * (2 + 3 + 2)
    row = next(
        r
        for r in rows
        if (r["fact_id"], r["layer"], r["position"], r["object"])
        == ("Clara/P551", 2, "last", "Lima")
    )
    assert row["logprob"] == found.logprobs[0, 1, 2, 0, 2]
    assert row["rank"] == found.ranks[0, 1, 2, 0, 2]
    assert (row["state"], row["lens"]) == ("clean", "logit")
    assert all(np.isfinite(r["logprob"]) for r in rows)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"states": ["cleen"]}, ConfigError, "Did you mean clean"),
        ({"positions": ("subject",)}, ConfigError, "position 'subject'"),
        ({"objects": "Oslo"}, PromptError, "1 prompts need as many lists"),
        ({"objects": []}, PromptError, "no object"),
        ({"objects": ["Oslo", "Oslo Rome"]}, PromptError, "begins with 'Oslo'"),
        ({"objects": ["Oslo", " "]}, PromptError, "an object is empty"),
        ({"prompts": PROMPTS}, PromptError, "3 prompts need as many lists"),
        (
            {
                "prompts": Prompt(prefix="", question="They say that"),
                "positions": ("subject_last",),
            },
            PromptError,
            "no subject",
        ),
    ],
)
def test_bad_input_is_refused(models, change, error, message):
    arguments = {"prompts": PROMPTS[0], "objects": OBJECTS[0], "states": ["clean"]} | change
    with pytest.raises(error, match=message):
        logit_lens(models["llama"], arguments.pop("prompts"), arguments.pop("objects"), **arguments)
