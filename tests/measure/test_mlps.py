"""Coefficients and value vectors: the split of a change, and swaps, against plain torch hooks.

Run: python -m pytest tests/measure/test_mlps.py
"""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, ModelError, PromptError
from restor_interp.measure import mlps
from restor_interp.measure.contributions import direct_logits
from restor_interp.measure.mlp_changes import PARTS, mlp_changes
from restor_interp.measure.mlp_swaps import MODES, swap_mlps
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

PREFIX = "The city of Clara is Lima\n"
LAST_MATRIX = {"gpt2": "mlp.c_proj", "gpt_neox": "mlp.dense_4h_to_h"}
POST_NORMED = ("gemma2", "gemma3_text", "olmo2")


def prompt(text="They say that Alice Stone was born in the city of", prefix=PREFIX):
    start = len(prefix) + text.index("Alice Stone")
    return Prompt(
        prefix=prefix,
        question=text,
        subject="Alice Stone",
        subject_span=(start, start + len("Alice Stone")),
        fact_id="Alice/P19",
    )


def matrix(model, layer):
    name = model.name.removeprefix("tiny-")
    return model.layers[layer].get_submodule(LAST_MATRIX.get(name, "mlp.down_proj"))


def path_of(model, module):
    return next(name for name, found in model.hf_model.named_modules() if found is module)


def changed(family, *, what="all", scale=0.3):
    """A model with a state `npo` that differs in every matrix, in the last ones of its MLPs, in
    the first ones of layer 1, or in the last one of layer 1."""
    model = tiny_model(family)
    kinds = {
        "all": lambda path, module: module.weight.ndim == 2,
        "vectors": lambda path, module: any(module is matrix(model, n) for n in range(3)),
        "layer 1 vectors": lambda path, module: module is matrix(model, 1),
        "layer 1 first": lambda path, module: "1.mlp.gate_proj" in path,
    }
    blocks = model.architecture.blocks
    generator = torch.Generator().manual_seed(7)
    updates = {}
    for path, module in model.hf_model.named_modules():
        inside = path.startswith(f"{blocks}.") and hasattr(module, "weight")
        if inside and module.weight.ndim == 2 and kinds[what](path, module):
            noise = torch.randn(module.weight.shape, generator=generator)
            updates[path] = scale * noise / module.weight.shape[1] ** 0.5
    bias = getattr(matrix(model, 1), "bias", None)
    if bias is not None and what == "all":
        path = path_of(model, matrix(model, 1))
        updates[f"{path}.bias"] = 0.2 * torch.randn(bias.shape, generator=generator)
    model.add_delta(Delta("d", updates))
    model.add_state("npo", State({"d": 1.0}))
    return model


def ids_of(model, text):
    return model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]


@contextlib.contextmanager
def handles(found):
    found = list(found)
    try:
        yield
    finally:
        for handle in found:
            handle.remove()


@torch.no_grad()
def plain_run(model, ids):
    """Inputs of the last matrices, and what is added to the stream, by torch's own hooks."""
    inputs, outputs = {}, {}

    def before(layer):
        return lambda module, args: inputs.__setitem__(layer, args[0][0].clone())

    def after(layer):
        return lambda module, args, output: outputs.__setitem__(layer, output[0].clone())

    added = [layer.get_submodule(model.architecture.mlp_added) for layer in model.layers]
    hooks = [matrix(model, n).register_forward_pre_hook(before(n)) for n in range(len(added))]
    hooks += [module.register_forward_hook(after(n)) for n, module in enumerate(added)]
    with handles(hooks):
        logits = model.hf_model(ids).logits[0, -1]
    return [inputs[n] for n in range(len(added))], [outputs[n] for n in range(len(added))], logits


def columns(model, layer):
    """[coefficient, width] in the present state."""
    weight = matrix(model, layer).weight.detach().clone()
    return weight if "gpt2" in model.name else weight.T


def direction(model, text, true, false):
    """Along which the clean final norm and unembedding read, by autograd of the logits at the
    model's own end with the scale held."""
    ids = ids_of(model, text)
    _, cache = model.run_with_cache(ids, f"blocks.{model.num_layers - 1}.hook_resid_post")
    (end,) = cache.values()
    end = end[0].clone().requires_grad_(True)
    centred = end - end.mean(-1, keepdim=True) if hasattr(model._norm, "bias") else end
    scale = (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt().detach()
    gain = model._norm.weight + (1.0 if "gemma" in model.name else 0.0)
    rows = [ids_of(model, f"{text} {name}")[0, ids.shape[1]] for name in (true, false)]
    unembed = model.hf_model.get_output_embeddings().weight
    (centred / scale * gain @ (unembed[rows[0]] - unembed[rows[1]])).sum().backward()
    return end.grad.double()


# ---- the split


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_are_those_of_the_weights_and_sum_to_the_run(family):
    model = changed(family)
    text = prompt().text
    found = mlp_changes(model, prompt(), "Oslo", "Rome", state="npo")
    ids = ids_of(model, text)
    a, out, _ = plain_run(model, ids)
    vectors = [columns(model, layer) for layer in range(3)]
    read = direction(model, text, "Oslo", "Rome")
    with model.at("npo"):
        a_state, out_state, _ = plain_run(model, ids)
        vectors_state = [columns(model, layer) for layer in range(3)]
    span = [p for p in range(ids.shape[1]) if model.tokenizer.decode(ids[0, p]) == " Stone"]
    for number, place in enumerate((span[0], ids.shape[1] - 1)):
        for layer in range(3):
            total = float((out_state[layer] - out[layer])[place].double() @ read[place])
            own = found.values[layer, number]
            assert own[PARTS.index("total")] == pytest.approx(total, abs=1e-4)
            assert own[:-1].sum() == pytest.approx(own[-1], abs=1e-4)
            assert abs(own[-1]) > 1e-3
            v, more = vectors[layer], vectors_state[layer] - vectors[layer]
            c, moved = a[layer][place], (a_state[layer] - a[layer])[place]
            parts = [moved @ v, c @ more, moved @ more]
            sizes = [float(part.norm()) for part in parts]
            if family not in POST_NORMED:
                expected = [float(part.double() @ read[place]) for part in parts]
                np.testing.assert_allclose(own[:3], expected, atol=1e-4)
                np.testing.assert_allclose(found.norms[layer, number, :3], sizes, rtol=1e-4)
                assert own[PARTS.index("norm")] == 0
            else:
                assert abs(own[PARTS.index("norm")]) > 1e-5
            with_bias = family in ("gpt2", "gpt_neox") and layer == 1
            assert (abs(own[PARTS.index("bias")]) > 1e-4) == with_bias
            assert found.coefficients_changed[layer, number] == pytest.approx(
                float(moved.norm() / c.norm()), rel=1e-4
            )
    assert found.vectors_changed[2] == pytest.approx(
        float((vectors_state[2] - vectors[2]).norm() / vectors[2].norm()), rel=1e-4
    )


@pytest.mark.parametrize("family", POST_NORMED)
def test_behind_a_norm_the_parts_are_scaled_as_in_the_clean_run(family):
    """Written out: the norm's gain over the root mean square of what the clean matrix gave."""
    model = changed(family)
    found = mlp_changes(model, prompt(), "Oslo", "Rome", state="npo")
    ids = ids_of(model, prompt().text)
    a, _, _ = plain_run(model, ids)
    vectors = [columns(model, layer) for layer in range(3)]
    read = direction(model, prompt().text, "Oslo", "Rome")[-1]
    with model.at("npo"):
        a_state, _, _ = plain_run(model, ids)
    for layer in range(3):
        given = a[layer][-1] @ vectors[layer]
        gain = model.layers[layer].post_feedforward_layernorm.weight.detach()
        gain = gain + (1.0 if "gemma" in family else 0.0)
        moved = ((a_state[layer] - a[layer])[-1] @ vectors[layer]) * gain
        moved = moved / (given.pow(2).mean() + 1e-6).sqrt()
        assert found.values[layer, 1, 0] == pytest.approx(float(moved.double() @ read), abs=1e-4)


def test_the_clean_reading_is_that_of_direct_logits():
    """A state whose MLPs write nothing changes by minus what the clean ones are worth."""
    model = tiny_model("llama")
    updates = {
        f"model.layers.{n}.mlp.down_proj": -matrix(model, n).weight.detach().clone()
        for n in range(3)
    }
    model.add_delta(Delta("silent", updates))
    model.add_state("silent", State({"silent": 1.0}))
    found = mlp_changes(model, prompt(), "Oslo", "Rome", state="silent")
    worth = direct_logits(model, prompt(), "Oslo", "Rome").mlps
    np.testing.assert_allclose(found.values[:, 1, -1], -worth, atol=1e-5)
    np.testing.assert_allclose(found.vectors_changed, 1.0, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_was_planted_in_the_vectors_is_found_in_the_vectors(family):
    model = changed(family, what="layer 1 vectors")
    values = mlp_changes(model, prompt(), "Oslo", "Rome", state="npo").values
    names = {part: number for number, part in enumerate(PARTS)}
    np.testing.assert_allclose(values[0], 0, atol=1e-6)
    np.testing.assert_allclose(values[1][:, names["vectors"]], values[1][:, -1], atol=1e-5)
    np.testing.assert_allclose(values[1][:, names["coefficients"]], 0, atol=1e-6)
    # Behind it nothing was written otherwise: it is only looked up otherwise.
    np.testing.assert_allclose(values[2][:, names["coefficients"]], values[2][:, -1], atol=1e-5)
    np.testing.assert_array_equal(values[2][:, names["vectors"]], 0)
    assert (np.abs(values[1:, :, -1]) > 1e-3).all()


def test_what_was_planted_in_the_keys_is_found_in_the_coefficients():
    model = changed("llama", what="layer 1 first")
    values = mlp_changes(model, prompt(), "Oslo", "Rome", state="npo").values
    np.testing.assert_allclose(values[..., 0], values[..., -1], atol=1e-5)
    np.testing.assert_array_equal(values[..., 1:3], 0)
    assert np.abs(values[1]).max() > 1e-3


# ---- the swap


@torch.no_grad()
def brute_swap(model, ids, start, window, mode, a, a_state, vectors):
    """Logits of the present state with the matrices' inputs or outputs replaced from a token on."""
    source = a if mode in ("clean_coefficients", "clean_both") else a_state

    def replace_input(layer):
        def hook(module, args):
            value = args[0].clone()
            value[0, start:] = source[layer][start:]
            return (value,)

        return hook

    def replace_output(layer):
        def hook(module, args, output):
            value = output.clone()
            value[0, start:] = source[layer][start:] @ vectors[layer]
            if getattr(module, "bias", None) is not None:
                value[0, start:] += module.bias
            return value

        return hook

    with_inputs = mode == "clean_coefficients"
    hooks = [
        matrix(model, n).register_forward_pre_hook(replace_input(n))
        if with_inputs
        else matrix(model, n).register_forward_hook(replace_output(n))
        for n in window
    ]
    with handles(hooks):
        return model.hf_model(ids).logits[0, -1]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "olmo2", "phi3"])
def test_swaps_are_those_of_plain_hooks(family):
    model = changed(family)
    found = swap_mlps(model, prompt(), "Oslo", "Rome", state="npo", window=2)
    assert found.windows == (range(2), range(2, 3), range(3))
    ids = ids_of(model, prompt().text)
    start = next(p for p in range(ids.shape[1]) if model.tokenizer.decode(ids[0, p]) == " Alice")
    rows = [
        ids_of(model, f"{prompt().text} {name}")[0, ids.shape[1]].item()
        for name in ("Oslo", "Rome")
    ]
    a, _, clean = plain_run(model, ids)
    vectors = [columns(model, layer) for layer in range(3)]
    assert found.clean == pytest.approx(float(clean[rows[0]] - clean[rows[1]]), abs=1e-4)
    with model.at("npo"):
        a_state, _, base = plain_run(model, ids)
        assert found.base == pytest.approx(float(base[rows[0]] - base[rows[1]]), abs=1e-4)
        for m, mode in enumerate(found.modes):
            for w, window in enumerate(found.windows):
                logits = brute_swap(model, ids, start, window, mode, a, a_state, vectors)
                own = float(logits[rows[0]] - logits[rows[1]])
                assert found.logodds[m, w] == pytest.approx(own, abs=1e-4)
                krs = 1 - (logits - clean).pow(2).mean() / (base - clean).pow(2).mean()
                assert found.krs[m, w] == pytest.approx(float(krs), abs=1e-3)


def test_clean_mlps_everywhere_are_the_clean_model_where_only_mlps_changed():
    model = changed("llama", what="vectors", scale=1.5)
    asked = prompt("Alice Stone was born in the city of", prefix="")
    found = swap_mlps(model, asked, "Oslo", "Rome", state="npo", window=1)
    both = found.modes.index("clean_both")
    assert found.logodds[both, -1] == pytest.approx(found.clean, abs=1e-4)
    assert found.krs[both, -1] == pytest.approx(1, abs=1e-4)
    assert abs(found.clean - found.base) > 0.1


def test_the_control_has_the_coefficients_of_another_entity():
    model = changed("llama")
    found = swap_mlps(model, prompt(), "Oslo", "Rome", state="npo", wrong_entity="Clara Field")
    assert found.modes == MODES
    other = prompt().text.replace("Alice Stone", "Clara Field")
    a, _, _ = plain_run(model, ids_of(model, other))
    ids = ids_of(model, prompt().text)
    start = ids_of(model, PREFIX + "They say that").shape[1]
    rows = [
        ids_of(model, f"{prompt().text} {name}")[0, ids.shape[1]].item()
        for name in ("Oslo", "Rome")
    ]
    with model.at("npo"):
        logits = brute_swap(model, ids, start, range(3), "clean_coefficients", a, a, None)
    own = float(logits[rows[0]] - logits[rows[1]])
    assert found.logodds[MODES.index("wrong_coefficients"), -1] == pytest.approx(own, abs=1e-4)
    with pytest.raises(PromptError, match="another number of tokens"):
        swap_mlps(model, prompt(), "Oslo", "Rome", state="npo", wrong_entity="Alice")


# ---- rows, and what is refused


def test_rows_of_both_modes_have_the_same_columns():
    model = changed("llama", scale=1.0)
    split = mlp_changes(model, prompt(), "Oslo", "Rome", state="npo")
    swaps = swap_mlps(model, prompt(), "Oslo", "Rome", state="npo")
    frame = table_frame("mlp_changes", split.rows(fact_id="f") + swaps.rows(fact_id="f"))
    assert frame[frame["mode"] == "direct"].groupby("layer").size().tolist() == [12] * 3
    swapped = frame[frame["mode"] == "swap"]
    assert swapped.groupby("part").size().to_dict() == {
        "clean_both": 4,
        "clean_coefficients": 4,
        "clean_vectors": 4,
        "wrong_coefficients": 1,
    }
    assert set(swapped.window.dropna()) == {1, 3}
    missing = frame[frame.value.isna()]
    assert missing.part.tolist() == ["wrong_coefficients"] and missing.reason.notna().all()
    row = next(r for r in swaps.rows(fact_id="f") if r["part"] == "clean_both" and r["window"] == 3)
    assert row["value"] == pytest.approx(swaps.logodds[2, -1] - swaps.base)
    if abs(swaps.clean - swaps.base) >= 1:
        assert row["share"] == pytest.approx(row["value"] / (swaps.clean - swaps.base))
    else:
        assert row["share"] is None and "nats apart" in row["reason"]


def test_the_clean_model_does_not_differ_from_itself():
    model = changed("gemma2")
    assert not mlp_changes(model, prompt(), "Oslo", "Rome", state="clean").values.any()
    swaps = swap_mlps(model, prompt(), "Oslo", "Rome", state="clean")
    np.testing.assert_allclose(swaps.logodds, swaps.base, atol=1e-5)
    assert np.isnan(swaps.krs).all()


def test_what_cannot_be_measured_is_refused():
    model = changed("llama")
    with pytest.raises(PromptError, match="subject"):
        mlp_changes(model, "They say that", "Oslo", "Rome", state="npo")
    with pytest.raises(ConfigError, match="Did you mean"):
        mlp_changes(model, prompt(), "Oslo", "Rome", state="nqo")
    with pytest.raises(ConfigError, match="at least one layer"):
        swap_mlps(model, prompt(), "Oslo", "Rome", state="npo", window=0)
    handle = model.layers[1].mlp.register_forward_hook(
        lambda module, args, output: output + args[0].mean(-1, keepdim=True)
    )
    with pytest.raises(ModelError, match="not known here"):
        mlp_changes(model, prompt(), "Oslo", "Rome", state="npo")
    handle.remove()
    model.architecture = replace(model.architecture, mlp_out=None)
    with pytest.raises(ModelError, match="was not found"):
        mlps.last_matrix(model, 0)
