"""Deltas and states: what they do to the weights, how they are saved, what is refused.

Run: python -m pytest tests/models/test_deltas.py
"""

import copy
import hashlib
import json
import random
import time

import peft
import pytest
import torch

from restor_interp.errors import ConfigError, ModelError, RefusedError, StorageError
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State, dense_delta, load_delta
from restor_interp.testing import FAMILIES, tiny_model

# transformers' own warning, when PEFT asks a model about checkpointing.
OF_PEFT = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
IDS = torch.tensor([[5, 90, 33, 270, 12, 400]])


def random_delta(model, name, *, rank=2, seed=0, size=0.1, keep=lambda path: True):
    """A low-rank change of every matrix in the blocks, or of some."""
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for path, module in linear_modules(model.hf_model).items():
        if keep(path):
            shape = module.weight.shape[::-1] if "gpt2" in model.name else module.weight.shape
            a = torch.randn(rank, shape[1], generator=generator) * size
            b = torch.randn(shape[0], rank, generator=generator) * size
            updates[path] = LowRank(a, b, 1.5)
    return Delta(name, updates, base_model="org/base")


def dense_like(model, name, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Delta(
        name,
        {
            path: 0.1 * torch.randn(module.weight.shape, generator=generator)
            for path, module in list(linear_modules(model.hf_model).items())[::2]
        },
    )


def fingerprint(model):
    running = hashlib.sha256()
    for name, weight in model.hf_model.state_dict().items():
        running.update(name.encode())
        running.update(weight.contiguous().view(torch.uint8).numpy().tobytes())
    return running.hexdigest()


def logits(model):
    with torch.no_grad():
        return model.hf_model(IDS).logits


def changed_copy(model, parts):
    """The model with Σ coefficient · scale · b @ a added by hand, in float64."""
    other = copy.deepcopy(model.hf_model)
    with torch.no_grad():
        for delta, coefficient in parts:
            for path, update in delta.updates.items():
                weight = other.get_submodule(path).weight
                matrix = (
                    update.scale * update.b.double() @ update.a.double()
                    if isinstance(update, LowRank)
                    else update.double()
                )
                if matrix.shape != weight.shape or "gpt2" in model.name:
                    matrix = matrix.T if isinstance(update, LowRank) else matrix
                weight.copy_((weight.double() + coefficient * matrix).to(weight))
    return other


# ---- states


@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_is_the_explicit_sum(family):
    model = tiny_model(family)
    parts = [
        (random_delta(model, "b", seed=1), 1.0),
        (random_delta(model, "a", seed=2, rank=3), -0.5),
        (dense_like(model, "c"), 0.3),
    ]
    for delta, _ in parts:
        model.add_delta(delta)
    expected = changed_copy(model, parts)
    clean = logits(model)
    with model.at(State({"a": -0.5, "b": 1.0, "c": 0.3})), torch.no_grad():
        found = logits(model)
        torch.testing.assert_close(found, expected(IDS).logits, rtol=1e-4, atol=1e-4)
        assert (found - clean).abs().max() > 0.05
        weights = dict(expected.named_parameters())
        for name, weight in model.hf_model.named_parameters():
            torch.testing.assert_close(weight, weights[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(logits(model), clean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_clean_bits_come_back_and_a_state_always_has_the_same(family, dtype):
    model = tiny_model(family, dtype=dtype)
    deltas = [
        random_delta(model, "whole", seed=1),
        random_delta(model, "small", seed=2, size=0.01),
        random_delta(model, "mlp", seed=3, keep=lambda path: "mlp" in path),
        dense_like(model, "dense"),
    ]
    clean = fingerprint(model)
    for delta in deltas:
        model.add_delta(delta)
    rng = random.Random(0)
    subsets = [rng.sample(deltas, rng.randint(0, 4)) for _ in range(8)]
    states = [
        State({delta.name: rng.choice([-1.0, 0.0, 0.3, 1.0]) for delta in subset})
        for subset in subsets
    ]
    seen = {}

    def wander(depth):
        state = rng.choice(states)
        with model.at(state):
            found = fingerprint(model)
            assert seen.setdefault(state, found) == found
            assert model.state == state
            if depth:
                wander(depth - 1)
                assert fingerprint(model) == found

    for _ in range(12):
        wander(rng.randint(0, 2))
        assert fingerprint(model) == clean
    assert len(set(seen.values())) > 3


def test_the_order_of_coefficients_means_nothing():
    model = tiny_model("llama")
    for seed, name in enumerate("xyz"):
        model.add_delta(random_delta(model, name, seed=seed))
    one, other = State({"x": 0.1, "y": 0.7, "z": -1}), State({"z": -1, "y": 0.7, "x": 0.1})
    assert one == other
    assert hash(one) == hash(other)
    with model.at(one):
        first = fingerprint(model)
    with model.at(other):
        assert fingerprint(model) == first


def test_states_are_nested_from_the_clean_weights_and_left_after_errors():
    model = tiny_model("llama")
    clean = fingerprint(model)
    model.add_delta(random_delta(model, "a", seed=1))
    model.add_delta(random_delta(model, "b", seed=2))
    model.add_state("of_a", State({"a": 1}))
    with model.at("of_a"):
        in_a = fingerprint(model)
    with pytest.raises(ZeroDivisionError), model.at("of_a"):
        with pytest.raises(ZeroDivisionError), model.at(State({"b": 1})):
            assert fingerprint(model) not in (clean, in_a)
            raise ZeroDivisionError
        assert fingerprint(model) == in_a
        with model.at("clean"):
            assert fingerprint(model) == clean
        assert model.state == State({"a": 1})
        raise ZeroDivisionError
    assert fingerprint(model) == clean
    assert model.state == State({})


def test_a_switch_that_breaks_off_leaves_no_half_state(monkeypatch):
    model = tiny_model("llama")
    clean = fingerprint(model)
    model.add_delta(random_delta(model, "a"))
    real, calls = torch.Tensor.addmm_, []

    def breaking(*args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "addmm_", breaking)
    with pytest.raises(KeyboardInterrupt), model.at(State({"a": 1})):
        pytest.fail("the state is not there")
    assert fingerprint(model) == clean


def test_only_what_differs_is_written_and_only_what_is_touched_is_kept(monkeypatch):
    model = tiny_model("llama")
    whole = random_delta(model, "whole")
    mlp = random_delta(model, "mlp", seed=1, keep=lambda path: "layers.1.mlp" in path)
    model.add_delta(mlp)
    kept = model._weights._pristine
    assert set(kept) == set(mlp.updates)
    model.add_delta(whole)
    model.add_delta(random_delta(model, "another", seed=5))
    # At most twice the memory, for any number of deltas: one copy of each touched matrix.
    touched = sum(m.weight.numel() for m in linear_modules(model.hf_model).values())
    assert sum(tensor.numel() for tensor in kept.values()) == touched
    written = []
    real = model._weights._write
    monkeypatch.setattr(
        model._weights, "_write", lambda path, parts: (written.append(path), real(path, parts))
    )
    with model.at(State({"whole": 1})):
        assert sorted(written) == sorted(whole.updates)
        written.clear()
        with model.at(State({"whole": 1, "mlp": 2})):
            assert sorted(written) == sorted(mlp.updates)


def test_rounding_in_bf16_is_told_and_happens_once():
    model = tiny_model("llama", dtype=torch.bfloat16)
    deltas = [random_delta(model, n, seed=s, size=0.02) for s, n in enumerate("abc")]
    for delta in deltas:
        model.add_delta(delta)
    state = State({"a": 1, "b": -0.7, "c": 0.4})
    lost = change = 0.0
    expected = {}
    for path, module in linear_modules(model.hf_model).items():
        base = module.weight.detach().double()
        exact = base + sum(
            c * d.updates[path].scale * d.updates[path].b.double() @ d.updates[path].a.double()
            for d, c in zip(deltas, state.coefficients.values(), strict=True)
        )
        rounded = exact.float().bfloat16().double()
        expected[path] = rounded
        lost += (exact - rounded).square().sum().item()
        change += (exact - base).square().sum().item()
    assert model.rounding_error == 0
    with model.at(state):
        assert model.rounding_error == pytest.approx((lost / change) ** 0.5, rel=1e-2)
        assert model.rounding_error > 0.05
        for path, module in linear_modules(model.hf_model).items():
            differing = (module.weight.double() != expected[path]).float().mean()
            assert differing < 0.01  # fp32 against fp64 sums, at ties of rounding
    assert model.rounding_error == 0
    with (full := tiny_model("llama")).at("clean"):
        assert full.rounding_error == 0


def test_the_model_in_a_state_is_a_plain_one(tmp_path):
    from transformers import AutoModelForCausalLM

    model = tiny_model("qwen2")
    model.add_delta(random_delta(model, "a"))
    with model.at(State({"a": 1})):
        model.hf_model.save_pretrained(tmp_path)
        expected = logits(model)
        text = model.hf_model.generate(IDS, max_new_tokens=4, do_sample=False)
    other = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(other(IDS).logits, expected)
    assert torch.equal(other.generate(IDS, max_new_tokens=4, do_sample=False), text)


# ---- deltas as values


def test_restricted_keeps_some_modules():
    model = tiny_model("llama")
    delta = random_delta(model, "a")
    part = delta.restricted(lambda path: "layers.1." in path)
    assert set(part.updates) == {path for path in delta.updates if "layers.1." in path}
    assert part.updates["model.layers.1.mlp.up_proj"] is delta.updates["model.layers.1.mlp.up_proj"]
    assert part.base_model == delta.base_model
    assert part.named("b").name == "b"


@OF_PEFT
@pytest.mark.parametrize("family", FAMILIES)
def test_peft_loads_what_was_saved_and_gives_the_same_logits(family, tmp_path):
    model = tiny_model(family)
    delta = random_delta(model, "a", rank=3)
    paths = list(delta.updates)
    other = random_delta(model, "b", rank=2, seed=4)
    # Ranks and scales of their own in some modules.
    mixed = {p: delta.updates[p] for p in paths[::2]} | {p: other.updates[p] for p in paths[1::2]}
    mixed[paths[0]] = LowRank(mixed[paths[0]].a, mixed[paths[0]].b, 0.1)
    delta = Delta("a", mixed, base_model="org/base")
    delta.save(tmp_path / "delta")
    config = json.loads((tmp_path / "delta" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    assert str(tmp_path) not in json.dumps(config)
    adapted = peft.PeftModel.from_pretrained(copy.deepcopy(model.hf_model), tmp_path / "delta")
    clean = logits(model)
    with torch.no_grad():
        theirs = adapted(IDS).logits
    model.add_delta(delta)
    with model.at(State({"a": 1})):
        torch.testing.assert_close(logits(model), theirs, rtol=1e-4, atol=1e-4)
        assert (theirs - clean).abs().max() > 0.01


def same(one, other):
    assert one.updates.keys() == other.updates.keys()
    for path, update in one.updates.items():
        if isinstance(update, LowRank):
            assert torch.equal(update.a, other.updates[path].a)
            assert torch.equal(update.b, other.updates[path].b)
            assert update.scale == other.updates[path].scale
        else:
            assert torch.equal(update, other.updates[path])
    assert one.base_model == other.base_model


@pytest.mark.parametrize("kind", ["low rank", "dense", "mixed", "empty"])
def test_saving_and_loading_give_the_same_delta(kind, tmp_path):
    model = tiny_model("llama")
    low, dense = random_delta(model, "a"), dense_like(model, "a")
    updates = {
        "low rank": low.updates,
        "dense": dense.updates,
        "mixed": {**low.updates, **dense.updates},
        "empty": {},
    }[kind]
    delta = Delta("mine", updates, base_model="org/base")
    delta.save(tmp_path / "x")
    loaded = load_delta(tmp_path / "x")
    assert loaded.name == "mine"
    assert load_delta(tmp_path / "x", "yours").name == "yours"
    same(delta, loaded)
    assert not [p for p in (tmp_path / "x").iterdir() if p.suffix not in {".json", ".safetensors"}]


@OF_PEFT
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_made_by_peft_is_read(family, rslora, tmp_path):
    model = tiny_model(family)
    targets = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn", "c_fc"]}[family]
    own = {"llama": "layers.0.self_attn.q_proj", "gpt2": "h.0.attn.c_attn"}[family]
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=targets,
        init_lora_weights=False,
        use_rslora=rslora,
        fan_in_fan_out=family == "gpt2",
        rank_pattern={own: 2},
        alpha_pattern={own: 7},
    )
    adapted = peft.get_peft_model(copy.deepcopy(model.hf_model), config)
    adapted.save_pretrained(tmp_path / "peft_adapter", save_embedding_layers=False)
    delta = load_delta(tmp_path / "peft_adapter")
    assert delta.name == "peft_adapter"
    assert len(delta.updates) == 2 * model.num_layers
    model.add_delta(delta)
    with torch.no_grad():
        theirs = adapted(IDS).logits
    with model.at(State({"peft_adapter": 1})):
        torch.testing.assert_close(logits(model), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_a_dense_delta_is_a_checkpoint(family, tmp_path):
    model, tuned = tiny_model(family), tiny_model(family)
    generator = torch.Generator().manual_seed(9)
    untouched = next(iter(linear_modules(tuned.hf_model)))
    with torch.no_grad():
        for name, weight in tuned.hf_model.named_parameters():
            if name != f"{untouched}.weight":
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    tuned.hf_model.save_pretrained(tmp_path / "tuned")
    tuned.tokenizer.save_pretrained(tmp_path / "tuned")
    model.add_delta(random_delta(model, "a"))
    with model.at(State({"a": 1})):  # it is taken from the clean weights, not from these
        delta = dense_delta("tuned", model, tmp_path / "tuned")
    same(delta, dense_delta("tuned", model, tuned.hf_model))
    assert untouched not in delta.updates
    delta.save(tmp_path / "delta")
    model.add_delta(load_delta(tmp_path / "delta"))
    with model.at(State({"tuned": 1})):
        torch.testing.assert_close(logits(model), logits(tuned), rtol=1e-4, atol=1e-4)
    assert (logits(model) - logits(tuned)).abs().max() > 0.01


# ---- refusals


def test_tied_embeddings_are_changed_under_their_first_name_only():
    model = tiny_model("qwen2")
    width = (model.vocab_size, model.d_model)
    with pytest.raises(ModelError, match=r"same matrix as model\.embed_tokens"):
        model.add_delta(Delta("head", {"lm_head": torch.zeros(width)}))
    with pytest.raises(ModelError, match="give the change as a whole matrix"):
        embeddings = LowRank(torch.zeros(1, width[0]), torch.zeros(width[1], 1), 1.0)
        model.add_delta(Delta("low", {"model.embed_tokens": embeddings}))
    model.add_delta(Delta("both", {"model.embed_tokens": torch.full(width, 0.5)}))
    with model.at(State({"both": 1})):
        assert model.hf_model.lm_head.weight is model.hf_model.model.embed_tokens.weight
    other = copy.deepcopy(model.hf_model)
    other.lm_head.weight = torch.nn.Parameter(other.lm_head.weight + 1)
    with pytest.raises(ModelError, match="one matrix for both"):
        dense_delta("untied", model, other)


def test_what_does_not_fit_is_refused():
    model = tiny_model("llama")
    path = "model.layers.0.mlp.up_proj"
    fine = torch.zeros(48, 32)
    for updates, message in (
        ({"model.layers.0.mlp.up_prj": fine}, "does not belong to this model"),
        ({path: torch.zeros(32, 48)}, "belongs to another model"),
        ({path: LowRank(torch.zeros(2, 48), torch.zeros(32, 2), 1.0)}, "belongs to another model"),
        ({path: torch.full((48, 32), float("nan"))}, "infinite or undefined"),
    ):
        with pytest.raises(ModelError, match=message):
            model.add_delta(Delta("a", updates))
    assert model.deltas == {}
    with pytest.raises(ConfigError, match="needs a"):
        LowRank(torch.zeros(2, 3), torch.zeros(4, 3), 1.0)
    with pytest.raises(ConfigError, match="needs a name"):
        Delta("", {})
    with pytest.raises(ModelError, match="is no checkpoint of"):
        dense_delta("other", model, tiny_model("gpt2").hf_model)


def test_names_that_are_unknown_or_taken():
    model = tiny_model("llama")
    model.add_delta(random_delta(model, "corruption"))
    model.add_delta(random_delta(model, "corruption"))  # the same once more is fine
    with pytest.raises(ConfigError, match="already has another delta 'corruption'"):
        model.add_delta(random_delta(model, "corruption", seed=1))
    model.add_state("corrupted", State({"corruption": 1}))
    with pytest.raises(ConfigError, match="Did you mean corrupted"), model.at("corupted"):
        pass
    with pytest.raises(ConfigError, match="no delta 'npo'"), model.at(State({"npo": 1})):
        pass
    with pytest.raises(ConfigError, match="no delta 'npo'"):
        model.add_state("npo", State({"npo": 1}))
    with pytest.raises(ConfigError, match="state without deltas"):
        model.add_state("clean", State({"corruption": 1}))
    with pytest.raises(ConfigError, match="must be finite"):
        State({"corruption": float("nan")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_adapters_that_are_no_sums_of_products_are_refused(change, message, tmp_path):
    random_delta(tiny_model("llama"), "a").save(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        load_delta(tmp_path)


def test_folders_without_a_delta_are_told(tmp_path):
    with pytest.raises(ModelError, match="there is no folder"):
        load_delta(tmp_path / "none")
    with pytest.raises(ModelError, match="holds neither"):
        load_delta(tmp_path)
    random_delta(tiny_model("llama"), "a").save(tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:40])
    with pytest.raises(ModelError, match="cannot be read as safetensors"):
        load_delta(tmp_path)
    weights.rename(tmp_path / "adapter_model.bin")
    with pytest.raises((RefusedError, ModelError)):
        load_delta(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load_delta(tmp_path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    delta = random_delta(tiny_model("llama"), "a")
    for place in ("file", "file/below"):
        with pytest.raises(StorageError, match="cannot be written"):
            delta.save(tmp_path / place)


# ---- the real one


@pytest.mark.embedded
def test_switching_the_embedded_model_is_quick():
    from restor_interp.models.loading import load_model, model_status

    if not {row.name: row.present for row in model_status()}["smollm2-135m"]:
        pytest.skip("smollm2-135m is not in the cache: restor-interp model get smollm2-135m")
    model = load_model("smollm2-135m")
    clean = fingerprint(model)
    delta = random_delta(model, "a", rank=8, size=0.01)
    assert len(delta.updates) == 210
    model.add_delta(delta)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        with model.at(State({"a": 1})):
            seconds.append(time.process_time() - start)
    assert fingerprint(model) == clean
    assert min(seconds) < 0.3  # of computing; 0.07 were measured
