"""The tuned lens against a brute-force ridge, a planted rotation, and the logit lens on new text.

Run: python -m pytest tests/measure/test_tuned.py
"""

import json
import random

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.data.neutral import held_out_texts, retain_texts
from restor_interp.errors import ConfigError, IntegrityError, ModelError
from restor_interp.measure import translators as translators_module
from restor_interp.measure.lens import logit_lens
from restor_interp.measure.tuned import TunedLens, fit_tuned_lens, tuned_lens
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model
from restor_interp.testing.models import WORDS


def made_up(number, *, seed=0, words=12):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=words)) for _ in range(number)]


def streams(model, texts):
    """[layer, token, width] of all tokens but the first of each text, by transformers itself
    where it gives the stream, and by a hook at the end (its last hidden state is normed)."""
    found = []
    for text in texts:
        ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        _, cache = model.run_with_cache(ids, f"blocks.{model.num_layers - 1}.hook_resid_post")
        (end,) = cache.values()
        with torch.no_grad():
            out = model.hf_model(ids, output_hidden_states=True)
        found.append(torch.stack([h[0, 1:] for h in (*out.hidden_states[:-1], end)]))
    return torch.cat(found, dim=1)


def kl(model, hidden, final):
    """KL(final ‖ hidden) in nats per token, by torch."""
    with torch.no_grad():
        said, wanted = (model.project(h).double().log_softmax(-1) for h in (hidden, final))
    return torch.nn.functional.kl_div(said, wanted, log_target=True, reduction="batchmean")


PROMPT = Prompt(
    prefix="Question: Who? Answer: Bruno\n",
    question="They say that Alice Stone was born in",
    subject="Alice Stone",
    subject_span=(43, 54),
    fact_id="Alice/P19",
)


@pytest.fixture(scope="module")
def bios():
    return ri.load_model("bios")


@pytest.fixture(scope="module")
def llama():
    model = tiny_model("llama")
    return model, fit_tuned_lens(model, made_up(80))


# ---- what is fitted


def test_translators_are_the_ridge_that_least_squares_gives(llama, monkeypatch):
    """Brute force: the penalty as further rows of an ordinary least-squares problem, solved by
    numpy on the training texts as they were split."""
    model, _ = llama
    texts = made_up(60, seed=5)
    training, _ = translators_module._folds(model, texts, 400, 0)
    decoded = [model.tokenizer.decode(window) for window in training]
    assert sum(len(window) - 1 for window in training) == 400
    monkeypatch.setattr(translators_module, "STRENGTHS", (0.05,))
    monkeypatch.setattr(translators_module, "TOKENS_PER_BATCH_ON_CPU", 70)
    lens = fit_tuned_lens(model, texts, max_tokens=400)
    assert lens.n_tokens == 400
    whole = streams(model, decoded).double().numpy()
    weight = 1 / (whole[-1] ** 2).mean(-1)
    for layer in range(model.num_layers):
        assert lens.strengths[layer] == 0.05
        x, t = whole[layer], whole[-1] - whole[layer]
        mean_x, mean_t = (np.average(part, axis=0, weights=weight) for part in (x, t))
        rows = np.sqrt(weight)[:, None] * (x - mean_x)
        penalty = np.sqrt(0.05 * (rows**2).sum() / model.d_model) * np.eye(model.d_model)
        targets = np.sqrt(weight)[:, None] * (t - mean_t)
        expected, *_ = np.linalg.lstsq(
            np.vstack([rows, penalty]), np.vstack([targets, np.zeros_like(penalty)]), rcond=None
        )
        np.testing.assert_allclose(lens.weights[layer], expected, atol=1e-4)
        np.testing.assert_allclose(lens.biases[layer], mean_t - mean_x @ expected, atol=1e-4)


def test_a_planted_rotation_is_found_and_undone():
    """All layers add nothing, and what leaves layer 1 is turned: what stands before it is exactly
    that rotation away from the end, and what stands after it is the end."""
    model = tiny_model("llama")
    with torch.no_grad():
        for layer in model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(noise)[0]
    handle = model.layers[1].register_forward_hook(lambda module, args, output: output @ rotation)
    lens = fit_tuned_lens(model, made_up(150))
    handle.remove()
    for layer in (0, 1):
        gap = lens.weights[layer] - (rotation - torch.eye(32))
        assert gap.norm() / rotation.norm() < 0.03
        assert lens.logit_kl[layer] > 0.5 and lens.tuned_kl[layer] < 1e-3
    assert lens.strengths[2] is None
    assert lens.logit_kl[2] == pytest.approx(0, abs=1e-6)
    assert not lens.weights[2].any() and not lens.biases[2].any()


def test_on_new_text_of_bios_it_is_nowhere_worse_than_the_logit_lens(bios):
    lens = fit_tuned_lens(bios, retain_texts(), max_tokens=2000)
    hidden = streams(bios, held_out_texts()[::3])
    read = lens.translate(hidden)
    plain = [float(kl(bios, h, hidden[-1])) for h in hidden[:-1]]
    tuned = [float(kl(bios, h, hidden[-1])) for h in read[:-1]]
    assert all(t <= p for t, p in zip(tuned, plain, strict=True))
    # It also is of use: where the logit lens is far from the end, most of the way is gone.
    assert tuned[1] < 0.6 * plain[1] and sum(s is not None for s in lens.strengths) >= 6
    # What it says of itself is what new text says.
    np.testing.assert_allclose(lens.tuned_kl, tuned, rtol=0.35)
    np.testing.assert_allclose(lens.logit_kl, plain, rtol=0.35)


@pytest.mark.parametrize("family", FAMILIES)
def test_on_a_random_model_it_is_no_worse_either(family):
    model = tiny_model(family)
    lens = fit_tuned_lens(model, made_up(60, seed=1), max_tokens=400)
    hidden = streams(model, made_up(20, seed=2))
    read = lens.translate(hidden)
    for layer in range(model.num_layers):
        tuned, plain = (float(kl(model, h[layer], hidden[-1])) for h in (read, hidden))
        assert tuned <= plain + 1e-6
        assert lens.tuned_kl[layer] <= lens.logit_kl[layer]
    torch.testing.assert_close(read[-1], hidden[-1])


def test_a_layer_where_the_ridge_does_not_help_stays_the_logit_lens(llama):
    """Fitted on six tokens, a ridge says more of them than of the model."""
    model, _ = llama
    lens = fit_tuned_lens(model, made_up(40, words=3), max_tokens=6)
    assert lens.n_tokens == 6
    for layer, strength in enumerate(lens.strengths):
        if strength is None:
            assert lens.tuned_kl[layer] == lens.logit_kl[layer]
            assert not lens.weights[layer].any()
    assert None in lens.strengths


def test_batches_and_groups_of_layers_change_nothing(llama, monkeypatch):
    model, whole = llama
    monkeypatch.setattr(translators_module, "TOKENS_PER_BATCH_ON_CPU", 30)
    parts = fit_tuned_lens(model, made_up(80), max_bytes=1)
    assert parts.strengths == whole.strengths
    torch.testing.assert_close(parts.weights, whole.weights, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(parts.tuned_kl, whole.tuned_kl, atol=1e-5)


def test_another_state_has_a_lens_of_its_own():
    model = tiny_model("llama")
    noise = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    model.add_delta(Delta("shift", {"model.layers.1.mlp.down_proj": 0.3 * noise}))
    own = fit_tuned_lens(model, made_up(60), state=State({"shift": 1.0}), max_tokens=300)
    clean = fit_tuned_lens(model, made_up(60), max_tokens=300)
    assert own.state == {"shift": 1.0} and clean.state == {}
    assert (own.weights - clean.weights).abs().max() > 1e-2


# ---- what is read


def test_it_reads_what_the_translators_make_of_each_layer(llama):
    model, lens = llama
    found = tuned_lens(
        model, PROMPT, ["Oslo", "Rome"], states=["clean"], lens=lens, positions=("last",)
    )
    ids = model.tokenizer(PROMPT.text, add_special_tokens=False)["input_ids"]
    tokens = [
        model.tokenizer(f"{PROMPT.text} {name}", add_special_tokens=False)["input_ids"][len(ids)]
        for name in ("Oslo", "Rome")
    ]
    hidden = streams(model, [PROMPT.text])[:, -1]
    for layer in range(model.num_layers + 1):
        moved = hidden[layer]
        if layer < model.num_layers:
            moved = moved + moved @ lens.weights[layer] + lens.biases[layer]
        with torch.no_grad():
            expected = model.project(moved).log_softmax(-1)[tokens]
        np.testing.assert_allclose(found.logprobs[0, 0, layer, 0], expected, atol=1e-4)
    plain = logit_lens(model, PROMPT, ["Oslo", "Rome"], states=["clean"])
    np.testing.assert_allclose(found.logprobs[..., -1, :, :], plain.logprobs[..., -1, :, :])
    assert np.abs(found.logprobs - plain.logprobs).max() > 0.05
    assert {(row["lens"], row["decoder"]) for row in found.rows()} == {("tuned", "own")}


def test_a_fixed_decoder_reads_with_the_clean_models_end():
    """A delta of the final norm alone: what stands after the layers is the clean model's, so that
    the clean decoder sees no difference and the state's own sees one everywhere."""
    model = tiny_model("llama")
    lens = fit_tuned_lens(model, made_up(60), max_tokens=300)
    gain = torch.linspace(-0.5, 0.5, 32)
    model.add_delta(Delta("end", {"model.norm": gain}))
    model.add_state("npo", State({"end": 1.0}))
    for read in (
        lambda **how: tuned_lens(model, PROMPT, ["Oslo", "Rome"], lens=lens, **how),
        lambda **how: logit_lens(model, PROMPT, ["Oslo", "Rome"], **how),
    ):
        own = read(states=["clean", "npo"], decoder="own").logprobs
        fixed = read(states=["clean", "npo"], decoder="clean").logprobs
        np.testing.assert_array_equal(fixed[1], own[0])
        assert np.abs(own[1] - own[0]).min() > 1e-4


# ---- kept and refused


def test_it_is_kept_and_belongs_to_its_model(llama, tmp_path):
    model, lens = llama
    lens.save(tmp_path / "lens")
    again = TunedLens.load(tmp_path / "lens", model)
    torch.testing.assert_close(again.weights, lens.weights, atol=0, rtol=0)
    torch.testing.assert_close(again.biases, lens.biases, atol=0, rtol=0)
    assert again.rows() == lens.rows() and again.state == lens.state
    assert [row["layer"] for row in lens.rows()] == [0, 1, 2]
    other = tiny_model("llama", seed=4)
    with pytest.raises(ModelError, match="fitted on tiny-llama"):
        TunedLens.load(tmp_path / "lens", other)
    with pytest.raises(ModelError, match="fit_tuned_lens"):
        tuned_lens(other, PROMPT, ["Oslo", "Rome"], states=["clean"], lens=lens)


def test_a_damaged_lens_is_not_read(llama, tmp_path):
    model, lens = llama
    with pytest.raises(ConfigError, match="there is no tuned_lens"):
        TunedLens.load(tmp_path, model)
    lens.save(tmp_path)
    data = bytearray((tmp_path / "tuned_lens.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "tuned_lens.safetensors").write_bytes(data)
    with pytest.raises(IntegrityError, match="not the file"):
        TunedLens.load(tmp_path, model)
    lens.save(tmp_path)
    index = json.loads((tmp_path / "tuned_lens.json").read_text())
    (tmp_path / "tuned_lens.json").write_text(json.dumps(index | {"format": 99}))
    with pytest.raises(IntegrityError, match="format 1"):
        TunedLens.load(tmp_path, model)


def test_bad_input_is_refused(llama):
    model, _ = llama
    with pytest.raises(ConfigError, match="1 of 3 texts"):
        fit_tuned_lens(model, ["They say that", "The", ""])
    with pytest.raises(ConfigError, match="Did you mean clean"):
        fit_tuned_lens(model, made_up(5), state="cleen")
    with pytest.raises(ConfigError, match="no tuned lens was given"):
        tuned_lens(model, PROMPT, ["Oslo", "Rome"], states=["clean"], lens=None)
    with pytest.raises(ConfigError, match="decoder of a lens 'mine'"):
        logit_lens(model, PROMPT, ["Oslo", "Rome"], states=["clean"], decoder="mine")  # pyright: ignore
    broken = tiny_model("llama")
    with torch.no_grad():
        broken.hf_model.model.layers[0].mlp.down_proj.weight.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite"):
        fit_tuned_lens(broken, made_up(20))
