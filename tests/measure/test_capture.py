"""Capture: shared prefixes against plain forward passes, in states and in the middle of training.

Run: python -m pytest tests/measure/test_capture.py
"""

import logging
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from restor_interp.errors import ConfigError, PromptError
from restor_interp.facts import Fact
from restor_interp.measure.capture import capture, capturing, object_vectors, shared
from restor_interp.measure.lens import logit_lens
from restor_interp.models.activations import Activations, ActivationWriter, writing
from restor_interp.models.adapters import attach_adapter
from restor_interp.models.deltas import Delta, State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model, tiny_tokenizer
from restor_interp.testing.models import WORDS

SHOTS = {
    "P19": "Question: Where was Clara born? Answer: Paris\n",
    "P103": "Question: What language does Bruno speak? Answer: Italian\n",
}
NAMES = ("Alice Stone", "Clara River", "David", "Bruno Field", "Alice")


def question(name, relation, *, shots=3):
    prefix = SHOTS[relation] * shots
    ask = "Where was {} born?" if relation == "P19" else "What language does {} speak?"
    text = f"Question: {ask.format(name)} Answer:"
    start = len(prefix) + text.index(name)
    return Prompt(
        prefix=prefix,
        question=text,
        subject=name,
        subject_span=(start, start + len(name)),
        fact_id=f"{name}/{relation}",
    )


PROMPTS = [question(name, relation) for name in NAMES for relation in SHOTS]
PROMPTS.append(question("Alice Stone", "P19", shots=0))  # shares no prefix with any other
OBJECTS = [
    ("Oslo", "Rome") if prompt.fact_id.endswith("P19") else ("French", "German")
    for prompt in PROMPTS
]
OBJECTS[2] = ("Oslo Rome", "Oslo Paris")


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def token_ids(model, text):
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def plainly(model, prompt):
    """One plain forward pass, eager attention: the witness, by transformers' own outputs."""
    ids = token_ids(model, prompt.text)
    offsets = model.tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"]
    last_of_subject = max(i for i, (a, _) in enumerate(offsets) if a < prompt.subject_span[1])
    added = {"attn": [], "mlp": []}
    names = {"attn": "blocks.{}.hook_attn_out", "mlp": "blocks.{}.hook_mlp_out"}

    def keep(site):
        return lambda value, hook: added[site].append(value[0].detach())

    hooks = [
        (name.format(layer), keep(site))
        for site, name in names.items()
        for layer in range(model.num_layers)
    ]
    config = model.hf_model.config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    last = []
    layers = [
        layer.register_forward_hook(lambda module, args, out: last.append(out[0].detach()))
        for layer in model.layers
    ]
    try:
        with torch.no_grad(), model.hooks(hooks):
            out = model.hf_model(
                torch.tensor([ids]), output_hidden_states=True, output_attentions=True
            )
    finally:
        config._attn_implementation = before
        for layer in layers:
            layer.remove()
    places = [last_of_subject, len(ids) - 1]
    stream = torch.stack([out.hidden_states[0][0], *last])
    return {
        "resid": stream[:, places].numpy(),
        "attn": torch.stack(added["attn"])[:, places].numpy(),
        "mlp": torch.stack(added["mlp"])[:, places].numpy(),
        "pattern": torch.stack(out.attentions)[:, 0, :, -1].numpy(),
    }


def assert_plain(model, found, prompts):
    """In units of the largest value: streams reach a few dozen."""
    atol = 3e-5
    for layer in range(model.num_layers):
        patterns = found.patterns(layer)
        for row, prompt in enumerate(prompts):
            truth = plainly(model, prompt)
            keys = truth["pattern"].shape[-1]
            assert found.prompts[row].num_tokens == keys
            np.testing.assert_allclose(patterns[row, :, :keys], truth["pattern"][layer], atol=atol)
            assert np.isnan(patterns[row, :, keys:]).all()
    truths = [plainly(model, prompt) for prompt in prompts]
    for site in ("resid", "attn", "mlp"):
        for layer in found.layers(site):
            for place, position in enumerate(("subject_last", "last")):
                got = found.select(site=site, layer=layer, position=position)
                expected = np.stack([truth[site][layer, place] for truth in truths])
                np.testing.assert_allclose(got, expected, atol=atol * np.abs(expected).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_captured_is_what_a_plain_forward_pass_has(models, family, tmp_path, caplog):
    model = models[family]
    ran = []

    def count(value, hook):
        ran.append(value.shape[:2].numel())

    with caplog.at_level(logging.WARNING), model.hooks([("blocks.0.hook_resid_pre", count)]):
        found = capture(model, PROMPTS, tmp_path, objects=OBJECTS, dtype="float32")
    assert not caplog.records
    assert_plain(model, found, PROMPTS)
    # Shared tokens were run once: far fewer than the prompts have together, with the check.
    assert sum(ran) < 0.7 * sum(len(token_ids(model, prompt.text)) for prompt in PROMPTS)
    lens = logit_lens(model, PROMPTS, OBJECTS, states=["clean"])
    np.testing.assert_allclose(found.logprobs, lens.logprobs[0, :, :, 0], atol=1e-4)


@pytest.mark.parametrize("budget", [1, 40])
def test_small_batches_change_nothing(models, budget, tmp_path):
    model = models["llama"]
    whole = capture(model, PROMPTS, tmp_path / "whole", dtype="float32")
    parts = capture(
        model, PROMPTS, tmp_path / "parts", dtype="float32", max_tokens_per_batch=budget
    )
    for site in ("resid", "attn", "mlp"):
        np.testing.assert_allclose(
            parts.select(site=site, layer=1), whole.select(site=site, layer=1), atol=1e-5
        )
    np.testing.assert_allclose(parts.patterns(2), whole.patterns(2), atol=1e-5)


def test_a_state_is_captured_with_its_own_weights(tmp_path):
    model = tiny_model("llama")
    path = "model.layers.1.mlp.down_proj"
    noise = torch.randn(
        model.hf_model.get_submodule(path).weight.shape, generator=torch.Generator().manual_seed(0)
    )
    model.add_delta(Delta("shift", {path: noise}))
    model.add_state("corrupted", State({"shift": 0.5}))
    clean = capture(model, PROMPTS, tmp_path / "clean", state="clean", dtype="float32")
    found = capture(model, PROMPTS, tmp_path / "corrupted", state="corrupted", dtype="float32")
    again = capture(model, PROMPTS, tmp_path / "again", dtype="float32")
    same = {"site": "resid", "layer": 1}
    changed = {"site": "resid", "layer": 2}
    np.testing.assert_array_equal(found.select(**same), clean.select(**same))
    assert np.abs(found.select(**changed) - clean.select(**changed)).max() > 0.1
    np.testing.assert_array_equal(again.select(**changed), clean.select(**changed))
    other = tiny_model("llama")
    with torch.no_grad():
        other.hf_model.get_submodule(path).weight.add_(0.5 * noise)
    assert_plain(other, found, PROMPTS)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_in_the_middle_of_training_the_adapter_counts_and_training_goes_on(family, tmp_path):
    model = tiny_model(family)
    with attach_adapter(model, rank=2, alpha=4, seed=0) as adapter:
        parameters = adapter.parameters()
        with torch.no_grad():
            for index, parameter in enumerate(parameters):
                generator = torch.Generator().manual_seed(index)
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.hf_model.train()
        found = capture(model, PROMPTS, tmp_path / "mid", objects=OBJECTS, dtype="float32")
        assert model.hf_model.training
        ids = torch.tensor([token_ids(model, PROMPTS[0].text)])
        model.hf_model(ids).logits.sum().backward()
        assert all(parameter.grad is not None for parameter in parameters)
        model.hf_model.eval()
        with adapter.disabled():
            without = capture(model, PROMPTS, tmp_path / "off", objects=OBJECTS, dtype="float32")
        delta = adapter.to_delta("mid")
    clean = tiny_model(family)
    assert_plain(clean, without, PROMPTS)
    # The same adapter, merged into another model's weights, is the witness.
    clean.add_delta(delta)
    with clean.at(State({"mid": 1.0})):
        assert_plain(clean, found, PROMPTS)
        lens = logit_lens(clean, PROMPTS, OBJECTS, states=[State({"mid": 1.0})])
    np.testing.assert_allclose(found.logprobs, lens.logprobs[0, :, :, 0], atol=1e-4)
    assert np.abs(found.logprobs - without.logprobs).max() > 0.1


def test_rows_say_which_fact_they_are_about(models, tmp_path):
    model = models["llama"]
    facts = [
        Fact(
            fact_id=prompt.fact_id,
            entity=prompt.subject.split()[0],
            relation=prompt.fact_id.partition("/")[2],
            question="?",
            true_objects=("Oslo",),
            object_type="city",
        )
        for prompt in PROMPTS[:4]
    ]
    told = []
    found = capture(
        model,
        PROMPTS,
        tmp_path,
        facts=facts,
        objects=OBJECTS,
        on_rows=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (len(PROMPTS), len(PROMPTS))
    assert [row.fact_id for row in found.rows(relations=["P103"])] == [
        "Alice Stone/P103",
        "Clara River/P103",
    ]
    assert {row.entity for row in found.prompts[:4]} == {"Alice", "Clara"}
    assert found.prompts[5].entity == PROMPTS[5].subject
    assert found.prompts[5].objects == OBJECTS[5]


def test_sites_and_positions_are_what_was_asked_for(models, tmp_path):
    model = models["gpt2"]
    found = capture(
        model, PROMPTS, tmp_path, sites=("mlp",), positions=("subject_first",), dtype="float32"
    )
    assert (found.sites, found.positions) == (("mlp",), ("subject_first",))
    ids = torch.tensor([token_ids(model, PROMPTS[0].text)])
    _, cache = model.run_with_cache(ids, "blocks.2.hook_mlp_out")
    start = len(token_ids(model, PROMPTS[0].text[: PROMPTS[0].subject_span[0]].rstrip()))
    np.testing.assert_allclose(
        found.select(site="mlp", layer=2, position="subject_first")[0],
        cache["mlp_out", 2][0, start].numpy(),
        atol=1e-5,
    )
    with pytest.raises(ConfigError, match="no objects were given"):
        found.logprobs  # noqa: B018


def test_half_the_bits_are_the_default(models, tmp_path):
    model = models["llama"]
    half = capture(model, PROMPTS, tmp_path / "half")
    full = capture(model, PROMPTS, tmp_path / "full", dtype="float32")
    sizes = [
        sum(path.stat().st_size for path in (tmp_path / name).glob("*.safetensors"))
        for name in ("half", "full")
    ]
    assert sizes[0] < 0.6 * sizes[1]
    np.testing.assert_allclose(
        half.select(site="resid", layer=3), full.select(site="resid", layer=3), rtol=2e-3, atol=1e-3
    )


def test_a_group_that_saves_little_is_run_among_the_others(models, tmp_path, monkeypatch):
    model, lengths = models["llama"], []
    plain = capturing.run_rows

    def watched(model, prefix, ids):
        lengths.append(prefix.length)
        plain(model, prefix, ids)

    monkeypatch.setattr(capturing, "run_rows", watched)
    small = [question(name, relation, shots=1) for name in NAMES[:2] for relation in SHOTS]
    assert_plain(model, capture(model, small, tmp_path / "small", dtype="float32"), small)
    assert lengths == [0]
    capture(model, PROMPTS, tmp_path / "large", dtype="float32")
    assert sum(length > 0 for length in lengths) == len(SHOTS)


def test_a_model_that_prefixes_do_not_reproduce_is_run_plainly(monkeypatch, tmp_path, caplog):
    model = tiny_model("llama")
    monkeypatch.setattr(shared, "_SHARES", weakref.WeakKeyDictionary())
    joined = shared._PrefixLayer.update

    def spoiled(self, *arguments, **keywords):
        keys, values = joined(self, *arguments, **keywords)
        return keys, values + 1

    monkeypatch.setattr(shared._PrefixLayer, "update", spoiled)
    with caplog.at_level(logging.WARNING):
        found = capture(model, PROMPTS, tmp_path / "a", dtype="float32")
        capture(model, PROMPTS, tmp_path / "b", dtype="float32")
    (record,) = caplog.records
    assert "captured on its own: activations differ by" in record.message
    assert_plain(model, found, PROMPTS)


def test_what_waits_in_memory_does_not_grow_with_the_number_of_prompts(
    models, tmp_path, monkeypatch
):
    """`test_activations` measures bytes; here: no row waits for more than its shard, and no
    batch is larger than was allowed, however many prompts there are."""
    held, batches = [], []

    class Watched(ActivationWriter):
        def add(self, row, values):
            super().add(row, values)
            held.append(self.held_bytes)

    monkeypatch.setattr(
        capturing,
        "ActivationWriter",
        lambda *arguments, **keywords: Watched(*arguments, **keywords, shard_bytes=2**16),
    )
    model = models["llama"]
    with model.hooks(
        [
            (
                "blocks.0.hook_resid_pre",
                lambda v, hook: batches.append(v.shape[:2].numel() * (len(v) > 1)),
            )
        ]
    ):
        capture(model, PROMPTS * 40, tmp_path, max_tokens_per_batch=64)
    written = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert written > 15 * 2**16
    assert max(held) < 2**16
    assert 32 < max(batches) <= 64


def test_a_capture_of_many_prompts_and_layers_needs_no_more_memory(tmp_path, monkeypatch):
    """Six times the prompts of thirty layers: what grows is the bookkeeping of a prompt (its
    tokens, its row of the index), which is a tenth of its activations even in this tiny model."""
    monkeypatch.setattr(writing, "SHARD_BYTES", 2**18)
    settings = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 30}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(vocab_size=len(tokenizer), **settings, **heads)
    model = HookedModel(LlamaForCausalLM(config), tokenizer, name="deep", digest="deep")
    peaks, sizes = [], []
    for number in (100, 600):
        texts = {f"text {row}": f"{WORDS[row % 50]} {WORDS[row // 50]} in" for row in range(number)}
        folder = tmp_path / str(number)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        found = capture(model, texts, folder, sites=("resid", "attn", "mlp"), positions=(0, "last"))
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        assert len(found) == number
        assert len(list(folder.glob("resid-*"))) > 2
        sizes.append(sum(path.stat().st_size for path in folder.iterdir()))
    assert sizes[1] > 5.5 * sizes[0]
    assert peaks[1] - peaks[0] < 0.15 * (sizes[1] - sizes[0])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_vectors_of_objects_are_unembedding_rows(models, family):
    model = models[family]
    found = object_vectors(model, ["Oslo", "Rome", "Oslo Rome", "Oslo"])
    assert list(found) == ["Oslo", "Rome", "Oslo Rome"]
    weight = model.hf_model.get_output_embeddings().weight
    token = model.tokenizer.convert_tokens_to_ids("ĠRome")
    np.testing.assert_array_equal(found["Rome"], weight[token].detach().numpy())
    np.testing.assert_array_equal(found["Oslo Rome"], found["Oslo"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sites": ("residual",)}, ConfigError, "site 'residual'"),
        ({"positions": ("subject_lst",)}, ConfigError, "Did you mean subject_last"),
        ({"state": "npoo"}, ConfigError, "'npoo'"),
        ({"objects": OBJECTS[:2]}, PromptError, "as many pairs of objects"),
        ({"objects": [("Oslo", "Oslo Rome")] * 11}, PromptError, "begins with 'Oslo'"),
        ({"dtype": "int8"}, ConfigError, "number type"),
        ({"prompts": [Prompt(prefix="", question="They say")]}, PromptError, "has no subject"),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(models, change, error, message, tmp_path):
    arguments = {"prompts": PROMPTS} | change
    with pytest.raises(error, match=message):
        capture(models["llama"], arguments.pop("prompts"), tmp_path / "out", **arguments)
    with pytest.raises(ConfigError, match="no capture was finished"):
        Activations.open(tmp_path / "out")


@pytest.mark.embedded
def test_the_embedded_model_is_captured_as_a_plain_forward_pass_has_it(tmp_path):
    from restor_interp.models.loading import load_model

    model = load_model("smollm2-135m")
    prompts = PROMPTS[:4]
    found = capture(model, prompts, tmp_path, objects=OBJECTS[:4], dtype="float32")
    truths = [plainly(model, prompt) for prompt in prompts]
    for layer in found.layers("resid"):
        got = found.select(site="resid", layer=layer)
        expected = np.stack([truth["resid"][layer, 1] for truth in truths])
        # Residual streams reach several hundred: in units of their largest entry.
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()
    for layer in (0, 15, 29):
        for row, truth in enumerate(truths):
            keys = truth["pattern"].shape[-1]
            got = found.patterns(layer)[row, :, :keys]
            np.testing.assert_allclose(got, truth["pattern"][layer], atol=1e-4)
    lens = logit_lens(model, prompts, OBJECTS[:4], states=["clean"])
    np.testing.assert_allclose(found.logprobs, lens.logprobs[0, :, :, 0], atol=1e-3)
