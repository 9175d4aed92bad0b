"""The control that knows nothing: same architecture, other weights, nothing else changed.

Run: python -m pytest tests/models/test_random_weights.py
"""

import copy

import pytest
import torch

from restor_interp.models.random_weights import random_weights
from restor_interp.testing import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_the_architecture_is_the_same_and_every_matrix_is_another(family):
    model = tiny_model(family)
    before = copy.deepcopy(model.hf_model.state_dict())
    torch.manual_seed(5)
    untouched = torch.rand(3)
    torch.manual_seed(5)
    found = random_weights(model, seed=1)
    torch.testing.assert_close(torch.rand(3), untouched, rtol=0, atol=0)  # nobody's draws moved
    assert found.hook_names == model.hook_names
    assert found.tokenizer is model.tokenizer
    assert found.digest != model.digest
    own = found.hf_model.state_dict()
    assert {name: value.shape for name, value in own.items()} == {
        name: value.shape for name, value in before.items()
    }
    for name, value in before.items():
        torch.testing.assert_close(model.hf_model.state_dict()[name], value, rtol=0, atol=0)
        if value.ndim == 2:
            spread = found.hf_model.config.initializer_range
            if family == "gpt2" and "c_proj" in name:  # Radford et al. 2019: 1 / √(residual layers)
                spread /= (2 * model.num_layers) ** 0.5
            assert not torch.equal(own[name], value)
            assert own[name].std().item() == pytest.approx(spread, rel=0.5), name
    assert found.hf_model.training is False


def test_the_seed_decides_the_weights_and_the_number_type_does_not():
    model, half = tiny_model("llama"), tiny_model("llama", dtype=torch.bfloat16)
    ids = torch.arange(1, 9)[None]
    one, again, other = (random_weights(model, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.run_with_hooks(ids), again.run_with_hooks(ids))
    assert not torch.equal(one.run_with_hooks(ids), other.run_with_hooks(ids))
    assert one.digest == again.digest != other.digest
    rounded = random_weights(half, seed=0)
    assert rounded.dtype == torch.bfloat16
    for (name, value), (_, exact) in zip(
        rounded.hf_model.named_parameters(), one.hf_model.named_parameters(), strict=True
    ):
        torch.testing.assert_close(value, exact.to(torch.bfloat16), rtol=0, atol=0, msg=name)
