"""A model that knows nothing: the same architecture and tokenizer, weights as they are before
training.

What a probe reads from its activations is what the tokens of a prompt and the architecture give
by themselves (Zhang and Bowman 2018, "Language modeling teaches you more syntax than translation
does"; Hewitt and Liang 2019, "Designing and interpreting probes with control tasks").
"""

import copy
import hashlib
from typing import Any

import torch

from restor_interp.models.hooked import HookedModel


def random_weights(model: HookedModel, *, seed: int = 0) -> HookedModel:
    """A model beside the given one, drawn by its family's own initialisation, embeddings too.

    The weights depend on the seed and the architecture alone, not on the device or the number
    type: they are drawn in fp32 on the CPU. The given model is not touched; the new one takes as
    much memory again, and knows the state `clean` alone.
    """
    original: Any = model.hf_model
    config = copy.deepcopy(original.config)
    config._attn_implementation = original.config._attn_implementation
    with torch.random.fork_rng(devices=[]):
        # A family's initialisation draws from the global generator; the fork gives it back.
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        hf_model = type(original)._from_config(config, dtype=torch.float32)
    hf_model.to(device=model.device, dtype=model.dtype).eval()
    named = f"random weights {model.digest} {seed}"
    return HookedModel(
        hf_model,
        model.tokenizer,
        name=f"{model.name}-random-{seed}",
        digest=hashlib.sha256(named.encode()).hexdigest(),
    )
