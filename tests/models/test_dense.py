"""Whole matrices are trained in place, and the model comes back as it was.

Run: python -m pytest tests/models/test_dense.py
"""

import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import Delta, LowRank, State, load_delta
from restor_interp.models.dense import attach_dense
from restor_interp.testing import tiny_model

FAMILIES = ("llama", "gpt2", "gpt_neox", "phi3")


def some_ids(model):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(model.vocab_size, (2, 7), generator=generator)


def identity(model):
    return [
        (name, id(p), p.data_ptr(), p.requires_grad, p.grad is None, p.detach().clone())
        for name, p in model.hf_model.named_parameters()
    ]


def assert_same(before, after):
    for one, other in zip(before, after, strict=True):
        assert one[:-1] == other[:-1]
        assert torch.equal(one[-1], other[-1])


def train_a_step(model, dense):
    optimiser = torch.optim.AdamW(dense.parameters(), lr=0.05)
    model.hf_model(some_ids(model)).logits.logsumexp(-1).mean().backward()
    optimiser.step()


@pytest.mark.parametrize("family", FAMILIES)
def test_afterwards_every_parameter_is_as_before_and_the_delta_does_what_was_trained(family):
    model = tiny_model(family)
    next(model.hf_model.parameters()).requires_grad_(False)
    before = identity(model)
    ids = some_ids(model)
    with torch.no_grad():
        start = model.hf_model(ids).logits
    with attach_dense(model, layers="1:") as dense:
        trainable = {id(p) for p in model.hf_model.parameters() if p.requires_grad}
        assert trainable == {id(p) for p in dense.parameters()}
        train_a_step(model, dense)
        with torch.no_grad():
            trained = model.hf_model(ids).logits
            with dense.disabled():
                assert torch.equal(model.hf_model(ids).logits, start)
            assert torch.equal(model.hf_model(ids).logits, trained)
    assert_same(before, identity(model))
    delta = dense.to_delta("x")  # still readable
    assert (trained - start).abs().max() > 0.05
    model.add_delta(delta)
    with torch.no_grad(), model.at(State({"x": 1.0})):
        torch.testing.assert_close(model.hf_model(ids).logits, trained, atol=1e-4, rtol=1e-4)
    assert {path.split(".")[2] for path in delta.updates} == {"1", "2"}
    for path, update in delta.updates.items():
        assert update.shape == model.hf_model.get_submodule(path).weight.shape


def test_a_reference_between_forward_and_backward_leaves_the_gradient_alone():
    model = tiny_model("llama")
    ids = some_ids(model)

    def gradient(look):
        with attach_dense(model, modules=("down_proj", "q_proj")) as dense:
            with torch.no_grad():
                for parameter in dense.parameters():
                    parameter += 0.05
            loss = model.hf_model(ids).logits.logsumexp(-1).mean()
            if look:
                with dense.disabled(), torch.no_grad():
                    model.hf_model(ids)
            loss.backward()
            return [parameter.grad.clone() for parameter in dense.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(gradient(True), gradient(False), strict=True))


def test_it_lies_on_the_present_state_and_earlier_values_can_be_taken_over():
    model = tiny_model("llama")
    path = "model.layers.1.mlp.down_proj"
    weight = model.hf_model.get_submodule(path).weight
    generator = torch.Generator().manual_seed(5)
    model.add_delta(Delta("old", {path: 0.5 * torch.randn(weight.shape, generator=generator)}))
    clean = weight.detach().clone()
    with model.at(State({"old": 1.0})):
        start = weight.detach().clone()
        with attach_dense(model, modules="down_proj") as dense:
            values = {name: tensor.detach().clone() for name, tensor in dense.tensors().items()}
            assert torch.equal(values[f"{path}.weight"], start)
            train_a_step(model, dense)
            assert not torch.equal(weight, start)
            dense.copy_(values)
            assert torch.equal(weight, start)
            assert all(not update.any() for update in dense.to_delta("x").updates.values())
            train_a_step(model, dense)
        assert torch.equal(weight, start)
    assert torch.equal(weight, clean)


def test_an_error_inside_puts_everything_back():
    model = tiny_model("llama")
    before = identity(model)
    with pytest.raises(KeyboardInterrupt), attach_dense(model) as dense:
        train_a_step(model, dense)
        raise KeyboardInterrupt
    assert_same(before, identity(model))
    for keywords in ({"modules": ["q_prog"]}, {"layers": [3]}):
        with pytest.raises(ConfigError), attach_dense(model, **keywords):
            pass
    assert_same(before, identity(model))


def test_weights_of_sixteen_bits_are_refused():
    model = tiny_model("llama", dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match="needs weights in float32"), attach_dense(model):
        pass


def test_a_trained_delta_is_saved_and_read_to_the_bit(tmp_path):
    model = tiny_model("llama")
    with attach_dense(model, modules=("down_proj",)) as dense:
        train_a_step(model, dense)
        delta = dense.to_delta("x")
    again = load_delta(delta.save(tmp_path / "x"))
    assert all(torch.equal(update, again.updates[path]) for path, update in delta.updates.items())
    assert again.digest() == delta.digest() == delta.named("y").digest()


def test_a_digest_is_of_numbers_and_places():
    matrix = torch.arange(6.0).reshape(2, 3)
    low = LowRank(a=torch.ones(1, 3), b=torch.ones(2, 1), scale=2.0)
    variants = [
        Delta("x", {"p": matrix}),
        Delta("x", {"q": matrix}),
        Delta("x", {"p": matrix + 1e-6}),
        Delta("x", {"p": low}),
        Delta("x", {"p": LowRank(a=low.a, b=low.b, scale=1.0)}),
        Delta("x", {"p": matrix, "q": matrix}),
    ]
    assert len({delta.digest() for delta in variants}) == len(variants)
