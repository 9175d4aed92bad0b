"""Dictionaries at a site, SAELens' files, and what single features do.

The files are written here in the format that SAELens' `save_model` writes; features are computed
again in loops, from the formulas of its encoders.

Run: python -m pytest tests/measure/test_dictionaries.py
"""

import json
import math

import numpy as np
import pytest
import safetensors.torch
import torch

from restor_interp.errors import ConfigError, IntegrityError, ModelError
from restor_interp.measure.dictionaries import Dictionary, attached
from restor_interp.measure.features import feature_rows
from restor_interp.measure.saelens import read_saelens
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

WIDTH, FEATURES = 32, 50
SITE = "blocks.1.hook_resid_post"
QUESTION = "They say that Alice Stone was born in"
PROMPT = Prompt(
    prefix="Question: Who? Answer: Bruno\n",
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(29 + 14, 29 + 25),
    fact_id="f",
)
TRUE, FALSE = "Oslo", "Rome"


@pytest.fixture(scope="module")
def model():
    model = tiny_model("llama")
    generator = torch.Generator().manual_seed(0)
    weight = model.hf_model.get_submodule("model.layers.1.mlp.down_proj").weight
    noise = 2.0 * weight.std().item() * torch.randn(weight.shape, generator=generator)
    model.add_delta(Delta("npo", {"model.layers.1.mlp.down_proj": noise}))
    model.add_state("npo", State({"npo": 1}))
    return model


def weights_of(architecture, width=WIDTH, features=FEATURES, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=draw)

    found = {"W_enc": randn(width, features) / 3, "W_dec": randn(features, width) / 3}
    found["b_dec"] = randn(width) / 5
    if architecture == "gated":
        names = ("b_gate", "b_mag", "r_mag")
    elif architecture == "jumprelu":
        names = ("b_enc", "threshold")
    else:
        names = ("b_enc",)
    found |= {name: randn(features) / 4 for name in names}
    if architecture == "jumprelu":
        found["threshold"] = found["threshold"].abs()
    return found


def written(folder, kind, *, weights=None, before_6=False, site=SITE, **changes):
    """A folder as SAELens writes it, in the layout of version 6 or of those before."""
    weights = weights or weights_of(kind)
    width, features = weights["W_enc"].shape
    where = {"model_name": "tiny", "hook_name": site, "hook_head_index": None}
    config = {"d_in": width, "d_sae": features, "dtype": "float32", "device": "cpu"}
    config |= {"apply_b_dec_to_input": True, "normalize_activations": "none"}
    config |= {"architecture": kind}
    if before_6:
        where["hook_point"] = where.pop("hook_name")
        config |= where | {"activation_fn_str": "relu", "finetuning_scaling_factor": False}
        if kind == "topk":
            config |= {"architecture": "standard", "activation_fn_str": "topk"}
            config |= {"activation_fn_kwargs": {"k": 4}}
    else:
        config |= {"reshape_activations": "none", "metadata": {**where, "sae_lens_version": "6.20"}}
        if kind == "topk":
            config |= {"k": 4, "rescale_acts_by_decoder_norm": False}
    config |= changes
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config))
    safetensors.torch.save_file(weights, folder / "sae_weights.safetensors")
    return folder


def by_hand(architecture, w, x, *, subtract=True, by_norm=False):
    """Features of one activation, one feature after the other."""
    w = {name: value.double().numpy() for name, value in w.items()}
    x = x.double().numpy() - (w["b_dec"] if subtract else 0)
    found = np.zeros(FEATURES)
    for f in range(FEATURES):
        product = sum(x[i] * w["W_enc"][i, f] for i in range(WIDTH))
        if architecture == "gated":
            magnitude = product * math.exp(w["r_mag"][f]) + w["b_mag"][f]
            found[f] = max(0, magnitude) if product + w["b_gate"][f] > 0 else 0
            continue
        found[f] = product + w["b_enc"][f]
        if architecture == "jumprelu":
            found[f] = max(0, found[f]) if found[f] > w["threshold"][f] else 0
        if architecture == "standard":
            found[f] = max(0, found[f])
    if architecture == "topk":
        if by_norm:
            found *= [np.linalg.norm(row) for row in w["W_dec"]]
        kept = np.argsort(-found)[:4]
        found = np.array([max(0, found[f]) if f in kept else 0 for f in range(FEATURES)])
    return found


ARCHITECTURES = ("standard", "gated", "jumprelu", "topk")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("before_6", [False, True])
def test_features_are_saelens_formulas(tmp_path, architecture, before_6):
    w = weights_of(architecture)
    found = read_saelens(written(tmp_path, architecture, before_6=before_6))
    assert isinstance(found, Dictionary)
    assert (found.site, found.width, found.n_features) == (SITE, WIDTH, FEATURES)
    x = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(4))
    features = found.encode(x)
    expected = [[by_hand(architecture, w, x[i, j]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(features, expected, atol=1e-5)
    active = (features > 0).double().mean()
    assert 0.02 < active < 0.7
    decoded = features.double() @ w["W_dec"].double() + w["b_dec"]
    np.testing.assert_allclose(found.decode(features), decoded, atol=1e-5)


def test_settings_of_the_file_change_the_features(tmp_path):
    w = weights_of("topk")
    x = torch.randn(WIDTH, generator=torch.Generator().manual_seed(4))
    scaled = read_saelens(written(tmp_path, "topk", rescale_acts_by_decoder_norm=True))
    features = scaled.encode(x)
    np.testing.assert_allclose(features, by_hand("topk", w, x, by_norm=True), atol=1e-5)
    lengths = w["W_dec"].norm(dim=-1)
    np.testing.assert_allclose(
        scaled.decode(features), (features / lengths) @ w["W_dec"] + w["b_dec"], atol=1e-5
    )
    plain = read_saelens(written(tmp_path, "standard", apply_b_dec_to_input=False))
    expected = by_hand("standard", weights_of("standard"), x, subtract=False)
    np.testing.assert_allclose(plain.encode(x), expected, atol=1e-5)


def test_weights_of_16_bits_are_read(tmp_path):
    w = {name: value.bfloat16() for name, value in weights_of("standard").items()}
    found = read_saelens(written(tmp_path, "standard", weights=w, dtype="bfloat16"))
    x = torch.randn(WIDTH)
    features = found.encode(x)
    assert features.dtype == torch.float32
    np.testing.assert_allclose(features, by_hand("standard", w, x), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"architecture": "transcoder"}, ConfigError, "standard, topk, jumprelu, gated are read"),
        ({"normalize_activations": "layer_norm"}, ConfigError, "normalises"),
        ({"normalize_activations": True}, ConfigError, "normalises"),
        ({"reshape_activations": "other"}, ConfigError, "reshapes"),
        ({"activation_fn": "tanh-relu"}, ConfigError, "tanh-relu"),
        ({"metadata": {}}, ConfigError, "hook_name"),
        ({"metadata": {"hook_name": SITE, "hook_head_index": 3}}, ConfigError, "one head"),
        ({"d_sae": 51}, IntegrityError, "shape"),
        ({"architecture": "jumprelu"}, IntegrityError, "threshold of shape None"),
        ({"architecture": "topk", "k": 99}, IntegrityError, "k=99"),
        ({"d_in": None}, IntegrityError, "not SAELens'"),
    ],
)
def test_files_that_are_not_reproduced_are_refused(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        read_saelens(written(tmp_path, "standard", **change))


def test_files_that_are_absent_or_damaged_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no cfg\.json"):
        read_saelens(tmp_path)
    folder = written(tmp_path / "sae", "standard")
    (folder / "sae_weights.safetensors").write_bytes(b"no tensors")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_saelens(folder)
    w = weights_of("standard") | {"scaling_factor": torch.full((FEATURES,), 2.0)}
    with pytest.raises(ConfigError, match="scaling_factor"):
        read_saelens(written(tmp_path / "scaled", "standard", weights=w))
    w["scaling_factor"] = torch.ones(FEATURES)
    assert read_saelens(written(tmp_path / "ones", "standard", weights=w)).width == WIDTH


# ---- at a site


def logits_of(model, hooks=()):
    with torch.no_grad():
        return model.run_with_hooks(PROMPT, fwd_hooks=hooks)[0]


@pytest.mark.parametrize("site", [SITE, "blocks.0.hook_mlp_out", "blocks.2.attn.hook_z"])
def test_a_model_runs_on_reconstructions_with_or_without_their_error(tmp_path, model, site):
    sae = read_saelens(written(tmp_path, "standard", site=site))
    plain = logits_of(model)
    with attached(model, sae):
        assert torch.equal(logits_of(model), plain)

    def rebuild(value, hook):
        x = value.flatten(2)
        return sae.decode(sae.encode(x)).view_as(value)

    expected = logits_of(model, [(site, rebuild)])
    with attached(model, sae, error=False):
        torch.testing.assert_close(logits_of(model), expected)
    assert (expected - plain).abs().max() > 1e-2
    # One feature more, with the error kept, is one decoder row more.
    row = sae.weights["W_dec"][7]

    def add(value, hook):
        return (value.flatten(2) + 2 * row).view_as(value)

    def more(features):
        return features + 2 * torch.nn.functional.one_hot(torch.tensor(7), FEATURES)

    with attached(model, sae, change=more):
        found = logits_of(model)
    torch.testing.assert_close(found, logits_of(model, [(site, add)]), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits_of(model), plain)


def test_a_dictionary_of_one_s_own_needs_five_members(model):
    class Basis:
        site, width, n_features = SITE, WIDTH, WIDTH

        def encode(self, x):
            return x.roll(1, dims=-1)

        def decode(self, features):
            return features.roll(-1, dims=-1)

    plain = logits_of(model)
    with attached(model, Basis(), error=False):
        assert torch.equal(logits_of(model), plain)
    half = type("Half", (), {"site": SITE, "width": 1, "encode": None})()
    with pytest.raises(ConfigError, match="lacks n_features, decode"), attached(model, half):
        pass
    fewer = attached(model, Basis(), change=lambda features: features[..., :3])
    with pytest.raises(ConfigError, match=r"returned \[1"), fewer:
        logits_of(model)


@pytest.mark.parametrize(
    ("site", "width", "message"),
    [
        ("blocks.1.hook_resid_post", 64, "width of 64"),
        ("blocks.1.mlp.hook_post", WIDTH, "width of 32, and blocks.1.mlp.hook_post .* has 48"),
        ("blocks.9.hook_resid_post", WIDTH, "layers 0 to 2"),
        ("blocks.1.hook_resid", WIDTH, "no hook"),
        ("blocks.1.attn.hook_pattern", WIDTH, "cannot stand"),
    ],
)
def test_a_dictionary_of_another_site_or_width_is_refused(tmp_path, model, site, width, message):
    w = weights_of("standard", width=width)
    sae = read_saelens(written(tmp_path, "standard", weights=w, site=site))
    with pytest.raises(ConfigError, match=message), attached(model, sae):
        pass


# ---- single features


def logodds_by_hand(model, state, hooks=()):
    ids = [model.tokenizer(f" {name}")["input_ids"][0] for name in (TRUE, FALSE)]
    with model.at(state):
        last = logits_of(model, hooks)[-1].log_softmax(-1)
    return (last[ids[0]] - last[ids[1]]).item()


def test_a_feature_set_back_is_a_plain_run_with_its_decoder_row_added(tmp_path, model):
    sae = read_saelens(written(tmp_path, "standard"))
    rows = feature_rows(model, PROMPT, TRUE, FALSE, sae, states=["npo"], top=3, controls=2)
    cached = {}
    for state in ("clean", "npo"):
        with model.at(state):
            _, cache = model.run_with_cache(PROMPT, names_filter=SITE)
        cached[state] = cache[SITE][0]
    features = {state: sae.encode(x) for state, x in cached.items()}
    change = features["clean"] - features["npo"]
    size = change[-1].abs() * sae.weights["W_dec"].norm(dim=-1)
    assert [row["feature"] for row in rows] == size.argsort(descending=True)[:3].tolist()
    start = len(model.tokenizer(PROMPT.prefix)["input_ids"])
    for row in rows:
        feature = row["feature"]

        def add(value, hook, feature=feature):
            value = value.clone()
            value[0, start:] += change[start:, feature, None] * sae.weights["W_dec"][feature]
            return value

        after = logodds_by_hand(model, "npo", [(SITE, add)])
        before = logodds_by_hand(model, "npo")
        assert row["effect"] == pytest.approx(after - before, abs=1e-4)
        assert row["logodds"] == pytest.approx(before, abs=1e-4)
        assert row["base_logodds"] == pytest.approx(logodds_by_hand(model, "clean"), abs=1e-4)
        assert row["base_value"] == pytest.approx(features["clean"][-1, feature].item(), abs=1e-5)
        assert row["value"] == pytest.approx(features["npo"][-1, feature].item(), abs=1e-5)
        assert (row["share"] is None) == (row["reason"] is not None)
        assert row["control_effect"] != row["effect"]
    x = cached["npo"][1:]
    missing = x - sae.decode(features["npo"][1:])
    expected = (missing.pow(2).sum() / (x - x.mean(0)).pow(2).sum()).item()
    assert rows[0]["unexplained"] == pytest.approx(expected, rel=1e-5)
    assert max(abs(row["effect"]) for row in rows) > 1e-3


def test_one_planted_feature_carries_the_whole_loss():
    """A state that differs by one direction, and a dictionary that has it as a feature."""
    model = tiny_model("llama")
    unembed = model.hf_model.get_output_embeddings().weight
    one, other = (model.tokenizer(f" {name}")["input_ids"][0] for name in (TRUE, FALSE))
    direction = (unembed[other] - unembed[one]).detach()
    direction = direction / direction.norm()
    weight = model.hf_model.get_submodule("model.layers.2.mlp.down_proj").weight
    reader = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(0))
    model.add_delta(
        Delta("lost", {"model.layers.2.mlp.down_proj": 5 * torch.outer(direction, reader)})
    )
    model.add_state("lost", State({"lost": 1}))
    basis = torch.linalg.qr(torch.cat([direction[:, None], torch.eye(WIDTH)[:, 1:]], dim=1))[0]

    class Basis:
        site, width, n_features = "blocks.2.hook_mlp_out", WIDTH, WIDTH

        def encode(self, x):
            return x @ basis

        def decode(self, features):
            return features @ basis.T

    [row] = feature_rows(model, PROMPT, TRUE, FALSE, Basis(), states=["lost"], top=1, controls=8)
    assert row["feature"] == 0 and row["share"] == pytest.approx(1, abs=1e-4)
    assert abs(row["control_effect"]) < 0.5 * abs(row["effect"])
    assert row["unexplained"] == pytest.approx(0, abs=1e-9)
    [same] = feature_rows(model, PROMPT, TRUE, FALSE, Basis(), states=["clean"], top=1)
    assert same["feature"] is None and same["reason"] == "no feature differs here"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": ["ga"]}, "state"),
        ({"position": "first"}, "position"),
        ({"top": 0}, "at least 1"),
        ({"top": 48}, "50 features"),
        ({"scope": "prefix"}, "scope"),
    ],
)
def test_bad_input_is_refused_with_a_reason(tmp_path, model, change, message):
    sae = read_saelens(written(tmp_path, "standard"))
    with pytest.raises(ConfigError, match=message):
        feature_rows(model, PROMPT, TRUE, FALSE, sae, **{"states": ["npo"], **change})
