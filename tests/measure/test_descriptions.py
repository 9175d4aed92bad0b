"""Vectors put into a placeholder: against transformers run with a torch hook.

Run: python -m pytest tests/measure/test_descriptions.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import restoring
from restor_interp.measure.descriptions import describe_subject
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.store import table_frame
from restor_interp.testing import tiny_model

PREFIX = "Where was Clara Field born? Lima\n"
QUESTION = "Where was Alice Stone born?"
START = len(PREFIX) + QUESTION.index("Alice")
PROMPT = Prompt(
    prefix=PREFIX,
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(START, START + len("Alice Stone")),
    fact_id="Alice/P19",
)
HOST = PREFIX + "Where was it born?"


def with_state(family):
    model = tiny_model(family)
    generator = torch.Generator().manual_seed(1)
    paths = {
        path: 0.05 * torch.randn(module.weight.shape, generator=generator)
        for path, module in model.hf_model.named_modules()
        if path.startswith(f"{model.architecture.blocks}.")
        and getattr(module, "weight", None) is not None
        and module.weight.ndim == 2
    }
    model.add_delta(Delta("d", paths))
    model.add_state("npo", State({"d": 1.0}))
    return model


def ids_of(model, text):
    return model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


@torch.no_grad()
def vectors(model, subject):
    """[layer, width] at the subject's last token, by running no further than that."""
    found = []
    handles = [
        layer.register_forward_hook(
            lambda module, args, out: found.append(
                (out[0] if isinstance(out, tuple) else out)[0, -1]
            )
        )
        for layer in model.layers
    ]
    model.hf_model(ids_of(model, PREFIX + f"Where was {subject}"))
    for handle in handles:
        handle.remove()
    return torch.stack(found)


@torch.no_grad()
def said(model, layer, vector):
    """Log-probabilities after the host's text with a vector in the placeholder's place."""
    ids = ids_of(model, HOST)
    place = ids_of(model, PREFIX + "Where was").shape[1]

    def hook(module, args, output):
        value = (output[0] if isinstance(output, tuple) else output).clone()
        value[0, place] = vector
        return (value, *output[1:]) if isinstance(output, tuple) else value

    handle = model.layers[layer].register_forward_hook(hook)
    logits = model.hf_model(ids).logits[0, -1]
    handle.remove()
    return logits.log_softmax(-1)


def tokens(model):
    length = ids_of(model, HOST).shape[1]
    return [ids_of(model, f"{HOST} {name}")[0, length].item() for name in ("Oslo", "Rome")]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox", "qwen3"])
@pytest.mark.parametrize("host", ["clean", "npo"])
def test_it_is_what_a_torch_hook_gives(family, host):
    model = with_state(family)
    found = describe_subject(
        model,
        PROMPT,
        "Oslo",
        "Rome",
        state="npo",
        host=host,
        wrong_entities=["Clara", "Bruno River"],
        into=("same", 1),
        placeholder="it",
    )
    with model.at("npo"):
        given = [vectors(model, name) for name in ("Alice Stone", "Clara", "Bruno River")]
    with model.at(host):
        for layer in range(3):
            for i, target in enumerate((layer, 1)):
                logprobs = said(model, target, given[0][layer])
                own = logprobs[tokens(model)]
                np.testing.assert_allclose(found.logprobs[i, layer], own, atol=1e-4)
                order = logprobs.argsort(descending=True).tolist()
                ranks = [1 + order.index(token) for token in tokens(model)]
                assert found.ranks[i, layer].tolist() == ranks
                for e, other in enumerate(given[1:]):
                    own = said(model, target, other[layer])[tokens(model)]
                    np.testing.assert_allclose(found.control_logprobs[e, i, layer], own, atol=1e-4)
        with torch.no_grad():
            plain = model.hf_model(ids_of(model, HOST)).logits[0, -1].log_softmax(-1)
        np.testing.assert_allclose(found.host_logprobs, plain[tokens(model)], atol=1e-4)
    assert np.abs(found.logprobs[:, :2] - found.host_logprobs).max() > 1e-3


def test_after_the_last_layer_the_subject_cannot_be_heard():
    """Nothing after it looks at the placeholder: the value is the host's own, whoever is put in."""
    model = with_state("llama")
    found = describe_subject(
        model, PROMPT, "Oslo", "Rome", state="npo", wrong_entities=["Clara"], placeholder="it"
    )
    np.testing.assert_allclose(found.logprobs[0, -1], found.host_logprobs, atol=1e-5)
    np.testing.assert_allclose(found.control_logprobs[0, 0, -1], found.host_logprobs, atol=1e-5)


def test_a_vector_that_was_made_to_carry_the_object_is_read(monkeypatch):
    """The last block copies from the placeholder to every token: a vector along the object's row of
    the unembedding makes it the first word, and another entity's does not."""
    model = tiny_model("llama")
    word = model.hf_model.lm_head.weight.detach()[tokens(model)[0]]
    place = ids_of(model, PREFIX + "Where was").shape[1]
    stone = ids_of(model, PREFIX + "Where was Alice Stone").shape[1] - 1
    length = ids_of(model, PROMPT.text).shape[1]

    def plant(module, args, output):
        value = output.clone()
        if value.shape[1] == length:
            value[0, stone] = 40 * word / word.norm()
        return value

    def copy(module, args, output):
        return output + args[0][:, place : place + 1]

    # By full forward passes: packed layers would not see the token that is copied from.
    monkeypatch.setitem(restoring._CHECKED, model.hf_model, "the test's own hooks")
    handles = [model.layers[1].register_forward_hook(plant)]
    handles.append(model.layers[2].register_forward_hook(copy))
    found = describe_subject(
        model,
        PROMPT,
        "Oslo",
        "Rome",
        state="clean",
        wrong_entities=["Clara"],
        layers=[1],
        placeholder="it",
    )
    for handle in handles:
        handle.remove()
    assert found.ranks[0, 0, 0] == 1
    assert found.logprobs[0, 0, 0] - found.control_logprobs[0, 0, 0, 0] > 2


def test_rows_have_controls_and_reasons():
    model = with_state("llama")
    found = describe_subject(
        model,
        PROMPT,
        "Oslo",
        "Rome",
        state="npo",
        wrong_entities=["Clara", "Bruno"],
        layers=[0, 2],
        into=("same", 1),
        placeholder="it",
    )
    frame = table_frame("descriptions", found.rows(fact_id="f"))
    assert len(frame) == 2 * 2 * 3
    assert frame["into"].tolist() == [0] * 3 + [2] * 3 + [1] * 6
    row = frame[(frame.metric == "logodds") & (frame.layer == 2) & ~frame.same_layer].iloc[0]
    assert row.value == pytest.approx(np.subtract(*found.logprobs[1, 1]))
    control = np.mean([np.subtract(*own[1, 1]) for own in found.control_logprobs])
    assert row.control_value == pytest.approx(control) and row.n_controls == 2
    assert np.isnan(row["rank"]) and frame.reason.isna().all()
    alone = describe_subject(model, PROMPT, "Oslo", "Rome", state="npo", placeholder="it")
    rows = alone.rows(fact_id="f")
    assert all(r["control_value"] is None and "no other entity" in r["reason"] for r in rows)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"placeholder": "zebra"}, PromptError, "takes the place of one token"),
        ({"state": "cleen"}, ConfigError, "Did you mean clean"),
        ({"host": "self"}, ConfigError, "no state 'self'"),
        ({"layers": [3]}, ConfigError, "layers 0 to 2"),
        ({"into": (5,)}, ConfigError, "layers 0 to 2"),
        ({"into": ()}, ConfigError, "layers 0 to 2"),
    ],
)
def test_bad_input_is_refused(change, error, words):
    arguments = {"state": "clean", "placeholder": "it"} | change
    with pytest.raises(error, match=words):
        describe_subject(tiny_model("llama"), PROMPT, "Oslo", "Rome", **arguments)
