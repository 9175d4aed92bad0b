"""An adapter trains on top of the present state and leaves the model exactly as it was.

Run: python -m pytest tests/stages/test_adapters.py
"""

import contextlib
import copy
import hashlib

import peft
import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.adapters import attach_adapter
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.testing import tiny_model

FAMILIES = ("llama", "gpt2", "gpt_neox", "phi3")


def identity(model):
    """Everything that must not change: objects, names, bits, flags, attributes."""
    hf_model = model.hf_model
    return {
        "modules": [(name, id(module)) for name, module in hf_model.named_modules()],
        "handles": [id(layer) for layer in model.layers],
        "parameters": [
            (name, id(p), p.requires_grad, hashlib.sha256(p.detach().numpy().tobytes()).hexdigest())
            for name, p in hf_model.named_parameters()
        ],
        "buffers": [(name, id(b)) for name, b in hf_model.named_buffers()],
        "attributes": sorted(vars(hf_model)),
        "training": [module.training for module in hf_model.modules()],
        "grads": [p.grad is None for p in hf_model.parameters()],
        "rng": torch.get_rng_state().tolist(),
    }


def some_ids(model, rows=2, length=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.vocab_size, (rows, length), generator=generator)


def fill(adapter, seed=1):
    """An adapter that does something: B is zero when it is attached."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("family", FAMILIES)
def test_afterwards_everything_is_as_before(family):
    model = tiny_model(family)
    parameters = list(model.hf_model.parameters())
    parameters[0].requires_grad_(False)
    before = identity(model)
    ids = some_ids(model)
    with torch.no_grad():
        logits = model.hf_model(ids).logits
    with attach_adapter(model, rank=2, seed=3) as adapter:
        fill(adapter)
        model.hf_model(ids).logits.logsumexp(-1).mean().backward()
        torch.optim.AdamW(adapter.parameters(), lr=0.1).step()
    assert identity(model) == before
    with torch.no_grad():
        assert torch.equal(model.hf_model(ids).logits, logits)


def test_afterwards_everything_is_as_before_an_error_too():
    model = tiny_model("llama")
    before = identity(model)
    with pytest.raises(KeyboardInterrupt), attach_adapter(model, rank=2):
        raise KeyboardInterrupt
    with pytest.raises(ConfigError), attach_adapter(model, modules=["q_prog"]):
        pass
    assert identity(model) == before
    with attach_adapter(model, rank=2), attach_adapter(tiny_model("llama"), rank=3):
        pass
    assert identity(model) == before


@pytest.mark.parametrize("family", FAMILIES)
def test_the_delta_does_to_weights_what_the_adapter_did(family):
    model = tiny_model(family)
    ids = some_ids(model)
    with attach_adapter(model, rank=3, alpha=5.0) as adapter, torch.no_grad():
        fill(adapter)
        adapted = model.hf_model(ids).logits
        delta = adapter.to_delta("x")
    model.add_delta(delta)
    with torch.no_grad(), model.at(State({"x": 1.0})):
        merged = model.hf_model(ids).logits
    plain = model.hf_model(ids).logits.detach()
    assert (adapted - plain).abs().max() > 0.05
    torch.testing.assert_close(merged, adapted, atol=2e-4, rtol=1e-4)
    update = next(iter(delta.updates.values()))
    assert isinstance(update, LowRank) and update.rank == 3
    assert update.scale == pytest.approx(5 / 3)


def with_peft(model, adapter, *, rank, alpha):
    """A copy of a model with PEFT's adapter on it, of the same numbers; and its factors."""
    linear = linear_modules(model.hf_model)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(linear),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in linear.values()),
    )
    peer = peft.get_peft_model(copy.deepcopy(model.hf_model), config, autocast_adapter_dtype=False)
    parameters = {}
    for name, parameter in peer.named_parameters():
        if ".lora_" in name:
            module, _, which = name.removeprefix("base_model.model.").partition(".lora_")
            parameters[f"{module}.{which[0].lower()}"] = parameter
    with torch.no_grad():
        for name, tensor in adapter.tensors().items():
            parameters[name].copy_(tensor)
    return peer, [parameters[name] for name in adapter.tensors()]


def run_backwards(hf_model, parameters, ids, *, autocast):
    """Logits and the gradients of the factors, as one long vector in float64."""
    with torch.autocast("cpu", torch.bfloat16) if autocast else contextlib.nullcontext():
        logits = hf_model(ids).logits
    logits.double().logsumexp(-1).mean().backward()
    gradients = [parameter.grad for parameter in parameters]
    return logits.detach().double(), torch.cat([g.double().flatten() for g in gradients])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("kind", ["float64", "float32 computed in bfloat16", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_are_those_of_peft(family, kind):
    """In 16 bits: about as far from PEFT in 64 bits as PEFT in 16 bits is."""
    dtype = getattr(torch, kind.split()[0])
    model = tiny_model(family, dtype=dtype)
    peers = [copy.deepcopy(model), copy.deepcopy(model)]
    peers[1].hf_model.double()
    ids = some_ids(model)
    with attach_adapter(model, rank=3, alpha=5) as adapter:
        assert {tensor.dtype for tensor in adapter.parameters()} == {
            torch.promote_types(dtype, torch.float32)
        }
        fill(adapter)
        autocast = "computed" in kind
        found = run_backwards(model.hf_model, adapter.parameters(), ids, autocast=autocast)
        rough, exact = (
            run_backwards(*with_peft(peer, adapter, rank=3, alpha=5), ids, autocast=cast)
            for peer, cast in zip(peers, (autocast, False), strict=True)
        )
    for ours, theirs, wanted in zip(found, rough, exact, strict=True):
        own, peer = ((x - wanted).norm() / wanted.norm() for x in (ours, theirs))
        assert own <= (1e-10 if dtype is torch.float64 else 2 * peer)
        assert dtype is torch.float64 or 1e-4 < peer < 0.3


def test_it_lies_on_the_present_state_and_disabled_shows_that_state():
    model = tiny_model("llama")
    path = "model.layers.1.mlp.down_proj"
    weight = model.hf_model.get_submodule(path).weight
    generator = torch.Generator().manual_seed(5)
    model.add_delta(Delta("old", {path: 0.5 * torch.randn(weight.shape, generator=generator)}))
    ids = some_ids(model)
    with torch.no_grad():
        clean = model.hf_model(ids).logits
    with torch.no_grad(), model.at(State({"old": 1.0})):
        start = model.hf_model(ids).logits
        assert not torch.equal(start, clean)
        with attach_adapter(model, rank=2) as adapter:
            assert torch.equal(model.hf_model(ids).logits, start)
            fill(adapter)
            changed = model.hf_model(ids).logits
            with adapter.disabled():
                assert torch.equal(model.hf_model(ids).logits, start)
            assert torch.equal(model.hf_model(ids).logits, changed)
            assert all(parameter.requires_grad for parameter in adapter.parameters())
    assert not torch.equal(changed, start)


def test_the_start_is_seeded_and_global_randomness_is_left_alone():
    factors = []
    for seed, stir in ((1, 0), (1, 5), (2, 0)):
        torch.rand(stir)
        state = torch.get_rng_state()
        with attach_adapter(tiny_model("llama"), rank=2, seed=seed) as adapter:
            factors.append({name: t.detach().clone() for name, t in adapter.tensors().items()})
        assert torch.equal(torch.get_rng_state(), state)
    one, again, other = factors
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert all(
        (one[name] == 0).all() if name.endswith(".b") else not torch.equal(one[name], other[name])
        for name in one
    )
    widths = [t.shape[1] ** -0.5 for name, t in one.items() if name.endswith(".a")]
    assert max(widths) >= max(t.abs().max() for t in one.values()) > 0.8 * min(widths)


def test_all_linear_modules_of_the_layers_are_adapted_and_nothing_else():
    model = tiny_model("llama")
    with attach_adapter(model, rank=2) as adapter:
        names = set(adapter.modules)
        trainable = [p for p in model.hf_model.parameters() if p.requires_grad]
        assert {id(p) for p in trainable} == {id(p) for p in adapter.parameters()}
    linear = {
        f"model.layers.{layer}.{part}_proj"
        for layer in range(model.num_layers)
        for part in (
            *(f"self_attn.{x}" for x in "qkvo"),
            *(f"mlp.{x}" for x in ("gate", "up", "down")),
        )
    }
    assert names == linear


def test_modules_and_layers_restrict_it():
    model = tiny_model("llama")
    for layers, wanted in (((-1,), {2}), ("1:", {1, 2}), ("-3:-1", {0, 1}), ([0, 2], {0, 2})):
        with attach_adapter(model, rank=2, modules=("down_proj", "q_proj"), layers=layers) as found:
            assert {int(name.split(".")[2]) for name in found.modules} == wanted
            assert {name.split(".")[-1] for name in found.modules} == {"down_proj", "q_proj"}


def test_below_the_lowest_adapted_layer_there_is_no_graph():
    model = tiny_model("llama")
    needs_gradient = {}
    names = ["hook_embed", *(f"blocks.{layer}.hook_resid_post" for layer in range(3))]

    def look(value, hook):
        needs_gradient[hook.name] = value.requires_grad

    with (
        attach_adapter(model, rank=2, layers=(1,)),
        model.hooks([(name, look) for name in names]),
    ):
        model.hf_model(some_ids(model))
    assert list(needs_gradient.values()) == [False, False, True, True]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"modules": ["q_porj"]}, "q_proj"),
        ({"layers": [3]}, "layers 0 to 2"),
        ({"layers": []}, "no linear module"),
        ({"layers": "one"}, "like 20:30"),
    ],
)
def test_wrong_requests_say_what_is_allowed(keywords, message):
    with (
        pytest.raises(ConfigError, match=message),
        attach_adapter(tiny_model("llama"), **keywords),
    ):
        pass
