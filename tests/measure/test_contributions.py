"""Direct logit attribution: against the model's own logits, weights, and transformer-lens.

Run: python -m pytest tests/measure/test_contributions.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError, ModelError, PromptError
from restor_interp.facts import Fact
from restor_interp.measure.contributions import direct_logits
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

SENTENCE = "They say that Alice Stone was born in the city of"
POST_NORMED = ("gemma2", "gemma3_text", "olmo2")
"""Families that norm what attention gives, which transformer-lens does not undo for heads."""


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def own_logits(model, text):
    """The plain transformers model's logits at the last position, by token id."""
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.hf_model(ids).logits[0, -1]


def first_tokens(model, text, *objects):
    length = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    return [
        model.tokenizer(f"{text} {name}", add_special_tokens=False)["input_ids"][length]
        for name in objects
    ]


# ---- the closed sum


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", [SENTENCE, "Alice", SENTENCE + " Oslo and that she lives in"])
def test_parts_sum_to_the_models_own_difference(models, family, text):
    model = models[family]
    found = direct_logits(model, text, "Oslo", "Rome")
    logits = own_logits(model, text)[first_tokens(model, text, "Oslo", "Rome")].double()
    cap = getattr(model.hf_model.config, "final_logit_softcapping", None)
    if cap is not None:
        assert found.capped_total == pytest.approx(float(logits[0] - logits[1]), abs=1e-5)
        logits = cap * torch.atanh(logits / cap)
    else:
        assert found.capped_total is None
    own = float(logits[0] - logits[1])
    assert found.total == pytest.approx(own, abs=1e-4)
    summed = sum(row["value"] for row in found.rows(fact_id="f", state="s"))
    assert summed == pytest.approx(own, abs=1e-4)
    assert found.sum == pytest.approx(own, abs=1e-4)
    # The sum means something only where parts are large beside what is allowed.
    assert abs(found.heads).max() > 1e-2


def test_the_cap_is_one_that_changes_the_difference(models):
    found = direct_logits(models["gemma2"], SENTENCE, "Oslo", "from")
    assert abs(found.capped_total - found.total) > 2e-2


def test_half_precision_sums_up_to_its_rounding():
    model = tiny_model("llama", dtype=torch.bfloat16)
    found = direct_logits(model, SENTENCE, "Oslo", "Rome")
    exact = direct_logits(tiny_model("llama"), SENTENCE, "Oslo", "Rome")
    assert found.sum == pytest.approx(exact.sum, abs=0.2)
    np.testing.assert_allclose(found.heads, exact.heads, atol=0.1)


# ---- every part by itself


@pytest.mark.filterwarnings("ignore:.*does not support fold_ln:UserWarning")
@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in POST_NORMED])
def test_parts_are_those_of_transformer_lens(models, family):
    """Its `logit_attrs` leaves out the gain of a norm unless that was folded into the unembedding,
    and moves the biases of values out of the heads unless told not to."""
    model = models[family]
    found = direct_logits(model, SENTENCE, "Oslo", "Rome")
    bridge = model.to_bridge()
    bridge.enable_compatibility_mode(disable_warnings=True, fold_value_biases=False)
    ids = model.tokenizer(SENTENCE, add_special_tokens=False, return_tensors="pt")["input_ids"]
    true, false = first_tokens(model, SENTENCE, "Oslo", "Rome")
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids)

        def attributed(stack):
            return cache.logit_attrs(
                stack, tokens=true, incorrect_tokens=false, pos_slice=-1
            ).flatten()

        heads = attributed(cache.stack_head_results(layer=-1, pos_slice=-1))[: found.heads.size]
        parts, labels = cache.decompose_resid(
            layer=-1, pos_slice=-1, mode="mlp", return_labels=True
        )
        others = attributed(parts)
    np.testing.assert_allclose(heads.numpy(), found.heads.flatten(), atol=1e-5)
    embed = sum(float(others[i]) for i, label in enumerate(labels) if "embed" in label)
    mlps = [float(others[i]) for i, label in enumerate(labels) if "mlp" in label]
    assert found.embed == pytest.approx(embed, abs=1e-5)
    np.testing.assert_allclose(found.mlps, mlps, atol=1e-5)


@pytest.mark.parametrize("family", POST_NORMED)
def test_heads_of_families_with_a_norm_after_attention_by_their_weights(models, family):
    """Written out from the weights: the head's share of the attention output, times the gain of
    the norm after it over that output's root mean square, then the same with the final norm."""
    model = models[family]
    found = direct_logits(model, SENTENCE, "Oslo", "Rome")
    offset = 1.0 if "gemma" in family else 0.0
    ids = model.tokenizer(SENTENCE, add_special_tokens=False, return_tensors="pt")["input_ids"]
    last = model.num_layers - 1
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.num_layers)]
    names.append(f"blocks.{last}.hook_resid_post")
    _, cache = model.run_with_cache(ids, names)
    true, false = first_tokens(model, SENTENCE, "Oslo", "Rome")
    backbone = model.hf_model.model

    def scale(value, eps):
        return (value.pow(2).mean() + eps).sqrt()

    eps = model.hf_model.config.rms_norm_eps
    final = cache[names[-1]][0, -1]
    unembed = model.hf_model.lm_head.weight
    direction = (unembed[true] - unembed[false]) * (backbone.norm.weight + offset)
    direction = direction / scale(final, eps)
    for layer, block in enumerate(backbone.layers):
        z = cache[names[layer]][0, -1]
        weight = block.self_attn.o_proj.weight.unflatten(1, (model.num_heads, model.d_head))
        parts = torch.einsum("whd,hd->hw", weight, z)
        gain = (block.post_attention_layernorm.weight + offset) / scale(parts.sum(0), eps)
        expected = (parts * gain) @ direction
        np.testing.assert_allclose(found.heads[layer], expected.detach().numpy(), atol=1e-5)


def test_a_head_that_is_made_to_write_the_answer_is_found(models):
    model = tiny_model("llama")
    true, false = first_tokens(model, SENTENCE, "Oslo", "Rome")
    unembed = model.hf_model.lm_head.weight
    before = direct_logits(model, SENTENCE, "Oslo", "Rome")
    with torch.no_grad():
        towards = (unembed[true] - unembed[false]) / (unembed[true] - unembed[false]).norm()
        ids = model.tokenizer(SENTENCE, add_special_tokens=False, return_tensors="pt")["input_ids"]
        _, cache = model.run_with_cache(ids, ["blocks.2.attn.hook_z"])
        z = cache["blocks.2.attn.hook_z"][0, -1]
        weight = model.hf_model.model.layers[2].self_attn.o_proj.weight
        width = model.d_head
        weight[:, 3 * width :] = 9 * torch.outer(towards, z[3] / z[3].norm() ** 2)
        weight[:, width : 2 * width] = 0
    found = direct_logits(model, SENTENCE, "Oslo", "Rome")
    assert np.unravel_index(found.heads.argmax(), found.heads.shape) == (2, 3)
    assert found.heads[2, 3] > 2 * np.delete(found.heads.flatten(), 11).max()
    assert found.heads[2, 1] == 0
    assert before.heads[2, 1] != 0


def test_each_state_has_its_own_parts(models):
    model = tiny_model("qwen3")
    path = "model.layers.1.mlp.down_proj"
    change = torch.randn(32, 48, generator=torch.Generator().manual_seed(0)) * 0.3
    model.add_delta(ri.Delta("d", {path: change}))
    model.add_state("changed", ri.State({"d": 1.0}))
    clean = direct_logits(model, SENTENCE, "Oslo", "Rome")
    with model.at("changed"):
        found = direct_logits(model, SENTENCE, "Oslo", "Rome")
        logits = own_logits(model, SENTENCE)
    true, false = first_tokens(model, SENTENCE, "Oslo", "Rome")
    assert found.sum == pytest.approx(float(logits[true] - logits[false]), abs=1e-4)
    assert abs(found.mlps[1] - clean.mlps[1]) > 1e-2


def test_swapping_the_objects_changes_every_sign(models):
    one = direct_logits(models["gpt2"], SENTENCE, "Oslo", "Rome")
    other = direct_logits(models["gpt2"], SENTENCE, "Rome", "Oslo")
    np.testing.assert_allclose(one.heads, -other.heads, atol=1e-6)
    assert (one.embed, one.bias) == pytest.approx((-other.embed, -other.bias), abs=1e-6)


def test_objects_that_begin_alike_are_read_where_they_differ(models):
    model = models["llama"]
    found = direct_logits(model, SENTENCE, "Oslo Rome", "Oslo Paris")
    longer = direct_logits(model, SENTENCE + " Oslo", "Rome", "Paris")
    assert found.tokens == longer.tokens
    np.testing.assert_allclose(found.heads, longer.heads, atol=1e-6)


# ---- rows, and what is refused


def test_rows_are_every_part_once(models):
    model = models["gpt2"]
    frame = table_frame(
        "contributions",
        direct_logits(model, SENTENCE, "Oslo", "Rome").rows(fact_id="f", state="clean"),
    )
    counts = frame.part.value_counts().to_dict()
    assert counts == {"embed": 1, "head": 12, "mlp": 3, "bias": 4}
    assert (
        frame[frame.part == "head"].groupby("layer")["head"].apply(list).tolist()
        == [[0, 1, 2, 3]] * 3
    )
    assert frame["total"].nunique() == 1
    llama = direct_logits(models["llama"], SENTENCE, "Oslo", "Rome")
    parts = [row["part"] for row in llama.rows(fact_id="f", state="clean")]
    assert parts.count("bias") == 1 and llama.bias == 0


@pytest.mark.parametrize(
    ("answer", "foil", "words"),
    [
        ("", "Rome", "empty"),
        ("Oslo", "  ", "empty"),
        ("Oslo", "Oslo", "tells them apart"),
        ("Oslo Rome", "Oslo", "tells them apart"),
    ],
)
def test_objects_that_cannot_be_read_are_refused(models, answer, foil, words):
    with pytest.raises(PromptError, match=words):
        direct_logits(models["llama"], SENTENCE, answer, foil)


def test_a_stream_with_something_unknown_in_it_is_refused():
    model = tiny_model("llama")
    handle = model.layers[1].register_forward_hook(lambda module, args, output: output * 1.5)
    with pytest.raises(ModelError, match="not known here"):
        direct_logits(model, SENTENCE, "Oslo", "Rome")
    handle.remove()
    direct_logits(model, SENTENCE, "Oslo", "Rome")
    model.architecture = replace(model.architecture, attention_out=None)
    with pytest.raises(ModelError, match="cannot be told apart"):
        direct_logits(model, SENTENCE, "Oslo", "Rome")


def test_a_model_that_gives_no_numbers_is_refused():
    model = tiny_model("llama")
    with torch.no_grad():
        model.hf_model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite"):
        direct_logits(model, SENTENCE, "Oslo", "Rome")


def test_the_analysis_gives_rows_of_every_state(models):
    model = models["llama"]
    fact = Fact(
        fact_id="Alice/born",
        entity="Alice",
        relation="born",
        question=SENTENCE,
        true_objects=("Oslo",),
        object_type="city",
    )
    prompt = ri.Prompt(prefix="", question=SENTENCE, fact_id="Alice/born")
    found = find_definition("analysis", "direct_logits").run(
        model, prompt, fact, states=("clean",), true="Oslo", false="Rome"
    )
    frame = table_frame(found.table, found.rows)
    assert set(frame.state) == {"clean"} and set(frame.fact_id) == {"Alice/born"}
    own = direct_logits(model, SENTENCE, "Oslo", "Rome")
    assert frame["value"].sum() == pytest.approx(own.total, abs=1e-4)
    np.testing.assert_array_equal(found.tensors["Alice/born/0/clean/heads"], own.heads)


# ---- the real one


@pytest.mark.embedded
def test_parts_of_a_real_model_sum_to_its_own_difference(real, capital):
    found = direct_logits(real, capital, "Paris", "Madrid")
    logits = own_logits(real, capital.text)
    true, false = first_tokens(real, capital.text, "Paris", "Madrid")
    assert found.sum == pytest.approx(float(logits[true] - logits[false]), abs=1e-3)
    assert found.total > 3
    assert len(found.rows(fact_id="f", state="clean")) == 1 + 30 * (9 + 1) + 1
