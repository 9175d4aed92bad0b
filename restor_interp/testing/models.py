"""Tiny random models of every family, for tests; nothing in them means anything.

Not for results. Sizes are chosen so that what could be confused differs: queries and keys have
other head counts where the family allows it, sliding windows are shorter than the prompts, norms
and biases are not the ones and zeros of a fresh model.
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from restor_interp.errors import unknown_name
from restor_interp.models.hooked import HookedModel

_TEXT = """
They say that the The A a an of in is was born city country capital language What what which
Who who Where where did does and to on for by with from it as or not name people known
speaks works plays lives died Alice Clara Bruno David Stone River Field Oslo Rome Paris
Berlin Lima Cairo London Madrid France Italy Germany Spain Peru Egypt French Italian German
Spanish English Question Answer
"""
WORDS = tuple(_TEXT.split())
"""Words that are one token each, with and without a space before them; others fall into bytes."""

_SHAPE: Mapping[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": None,
}
_GATED: Mapping[str, Any] = {**_SHAPE, "intermediate_size": 48, "num_key_value_heads": 2}
_KINDS = ["sliding_attention", "full_attention", "sliding_attention"]

_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "llama": {**_GATED, "tie_word_embeddings": False},
    "mistral": {**_GATED, "sliding_window": 7, "head_dim": 8},
    "qwen2": {**_GATED, "tie_word_embeddings": True},
    "qwen3": {**_GATED, "head_dim": 12},
    "gemma2": {
        **_GATED,
        "head_dim": 12,
        "query_pre_attn_scalar": 10,
        "sliding_window": 7,
        "layer_types": _KINDS,
        "final_logit_softcapping": 4.0,
        "attn_logit_softcapping": 3.0,
    },
    "gemma3_text": {
        **_GATED,
        "head_dim": 12,
        "query_pre_attn_scalar": 10,
        "sliding_window": 7,
        "layer_types": _KINDS,
    },
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 256,
        "bos_token_id": None,
        "eos_token_id": 0,
    },
    "gpt_neox": {**_SHAPE, "intermediate_size": 48, "rotary_pct": 0.25},
    "olmo2": {**_GATED},
    "phi3": {**_GATED, "sliding_window": 7},
}

FAMILIES = tuple(_SETTINGS)


def tiny_model(family: str, *, seed: int = 3, dtype: torch.dtype = torch.float32) -> HookedModel:
    """A random model of a family; the same seed gives the same weights.

    Raises `ConfigError` for an unknown family.
    """
    if family not in _SETTINGS:
        raise unknown_name("family of tiny models", family, FAMILIES)
    tokenizer = tiny_tokenizer()
    settings = dict(_SETTINGS[family])
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), **settings)
    with torch.random.fork_rng(devices=[]):
        hf_model = AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    offset = "gemma" in family  # their norms multiply by 1 + weight
    with torch.no_grad():
        for name, parameter in hf_model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(_scaled(name, noise, hf_model, offset))
    hf_model.to(dtype).eval()
    digest = hashlib.sha256(f"tiny {family} {seed} {dtype}".encode()).hexdigest()
    return HookedModel(hf_model, tokenizer, name=f"tiny-{family}", digest=digest)


def _scaled(name: str, noise: torch.Tensor, hf_model: Any, offset: bool) -> torch.Tensor:
    if noise.ndim == 1:
        is_scale = name.endswith("weight") and not offset
        return 0.2 * noise + (1.0 if is_scale else 0.0)
    if "embed" in name or "wte" in name or "lm_head" in name:
        scaled_inside = getattr(hf_model.get_input_embeddings(), "scalar_embed_scale", 1.0)
        return 0.25 * noise / scaled_inside**0.5
    if "wpe" in name:
        return 0.3 * noise
    return noise / noise.shape[1] ** 0.5


@functools.cache
def _tokenizer_json() -> str:
    byte_tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0, **{byte: index + 1 for index, byte in enumerate(byte_tokens)}}
    merges: list[tuple[str, str]] = []
    # Words after a space come first, so that their merges win over those of other words.
    for word in [f"Ġ{word}" for word in WORDS] + list(WORDS):
        for end in range(1, len(word)):
            pair = (word[:end], word[end])
            if pair not in merges:
                merges.append(pair)
                vocabulary.setdefault("".join(pair), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer to which `WORDS` are single tokens."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        eos_token="<|end|>",
        pad_token="<|end|>",
        clean_up_tokenization_spaces=False,
    )
