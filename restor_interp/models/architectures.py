"""Where the parts of a decoder are: the one place that knows how families name their modules.

Known families are listed by their configuration's `model_type`. For others the usual names are
searched; whether what was found adds up to the model's own residual stream and logits is checked
by whoever uses it (`HookedModel`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from transformers.pytorch_utils import Conv1D

from restor_interp.errors import ModelError

Packing = Literal["separate", "stacked", "interleaved"]
"""How queries, keys and values come out of the linear layers: of one each; of a single one, all
queries, then all keys, then all values; of a single one, head by head."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Names of modules; those of a block's parts start at the block."""

    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    learned_positions: str | None = None
    attention: str = "self_attn"
    attention_added: str = "self_attn"
    """The module whose output is added to the residual stream: attention itself, or a norm."""
    mlp_added: str = "mlp"
    parallel: bool = False
    """Attention and MLP read the same residual stream, so that there is no `resid_mid`."""
    ln1: str | None = "input_layernorm"
    """The norm before attention."""
    ln2: str | None = "post_attention_layernorm"
    """The norm before the MLP."""
    packing: Packing = "separate"
    queries: str | None = "self_attn.q_proj"
    """Linear layer that gives queries, or all three; none where the search found no such layer."""
    keys: str | None = "self_attn.k_proj"
    values: str | None = "self_attn.v_proj"
    attention_out: str | None = "self_attn.o_proj"
    mlp_in: str | None = "mlp.gate_proj"
    """Linear layer before the activation function."""
    mlp_beside: str | None = "mlp.up_proj"
    """Linear layer that the activations are multiplied with, in gated MLPs."""
    mlp_fused: bool = False
    """`mlp_in` gives the gate, then what it is multiplied with."""
    mlp_out: str | None = "mlp.down_proj"
    searched: bool = False
    """Found by the usual names; to be checked."""


_LLAMA = Architecture()
_SANDWICH = replace(
    _LLAMA,
    attention_added="post_attention_layernorm",
    mlp_added="post_feedforward_layernorm",
    ln2="pre_feedforward_layernorm",
)
_GPT2 = Architecture(
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    learned_positions="transformer.wpe",
    attention="attn",
    attention_added="attn",
    ln1="ln_1",
    ln2="ln_2",
    packing="stacked",
    queries="attn.c_attn",
    keys="attn.c_attn",
    values="attn.c_attn",
    attention_out="attn.c_proj",
    mlp_in="mlp.c_fc",
    mlp_beside=None,
    mlp_out="mlp.c_proj",
)
_GPT_NEOX = Architecture(
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    attention="attention",
    attention_added="attention",
    packing="interleaved",
    queries="attention.query_key_value",
    keys="attention.query_key_value",
    values="attention.query_key_value",
    attention_out="attention.dense",
    mlp_in="mlp.dense_h_to_4h",
    mlp_beside=None,
    mlp_out="mlp.dense_4h_to_h",
)
_PHI3 = replace(
    _LLAMA,
    packing="stacked",
    queries="self_attn.qkv_proj",
    keys="self_attn.qkv_proj",
    values="self_attn.qkv_proj",
    mlp_in="mlp.gate_up_proj",
    mlp_beside="mlp.gate_up_proj",
    mlp_fused=True,
)

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _SANDWICH,
    "gemma3_text": _SANDWICH,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "olmo2": replace(_SANDWICH, ln1=None, ln2=None),
    "phi3": _PHI3,
}
"""`model_type` -> its parts."""

_ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
_MLP_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "ff")
_NORM_NAMES = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm", "norm_f")


def architecture_of(hf_model: Any) -> Architecture:
    """The parts of a model. Raises `ModelError` where they cannot be found."""
    config = hf_model.config.get_text_config()
    known = ARCHITECTURES.get(config.model_type)
    if known is not None and _has(hf_model, known.blocks) and _has(hf_model, known.final_norm):
        if config.model_type == "gpt_neox" and config.use_parallel_residual:
            return replace(known, parallel=True)
        return known
    return _search(hf_model, config)


def _search(hf_model: Any, config: Any) -> Architecture:
    """Parts under their usual names."""
    lists = [
        (name, module)
        for name, module in hf_model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == config.num_hidden_layers
    ]
    for name, blocks in lists:
        above = name.rpartition(".")[0]
        attention = _first(blocks[0], _ATTENTION_NAMES)
        mlp = _first(blocks[0], _MLP_NAMES)
        norm = _first(hf_model.get_submodule(above), _NORM_NAMES)
        if attention is None or mlp is None or norm is None:
            continue
        block = blocks[0]

        def part(path: str | None, block: Any = block) -> str | None:
            return path if path is not None and _has(block, path) else None

        found = replace(
            _LLAMA, blocks=name, final_norm=f"{above}.{norm}" if above else norm, searched=True
        )
        sandwich = part("post_feedforward_layernorm") is not None
        ln2 = "pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"
        return replace(
            found,
            attention=attention,
            attention_added="post_attention_layernorm" if sandwich else attention,
            mlp_added="post_feedforward_layernorm" if sandwich else mlp,
            ln1=part("input_layernorm"),
            ln2=part(ln2),
            queries=part(f"{attention}.q_proj"),
            keys=part(f"{attention}.k_proj"),
            values=part(f"{attention}.v_proj"),
            attention_out=part(f"{attention}.o_proj"),
            mlp_in=part(f"{mlp}.gate_proj"),
            mlp_beside=part(f"{mlp}.up_proj"),
            mlp_out=part(f"{mlp}.down_proj"),
        )
    raise ModelError(
        f"the parts of a {type(hf_model).__name__} (model_type {config.model_type!r}) cannot be "
        "found: no list of blocks with an attention, an MLP and a final norm under their usual "
        f"names. Known families: {', '.join(ARCHITECTURES)}"
    )


def _first(module: Any, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if _has(module, name)), None)


def _has(module: Any, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


# ---- matrices


def linear_modules(hf_model: Any) -> dict[str, torch.nn.Module]:
    """The matrices inside the blocks by their full names, in the model's order."""
    blocks = architecture_of(hf_model).blocks
    return {
        name: module
        for name, module in hf_model.named_modules()
        if name.startswith(f"{blocks}.") and isinstance(module, torch.nn.Linear | Conv1D)
    }


def is_transposed(module: torch.nn.Module) -> bool:
    """Whether a module's weight is [in, out], as in GPT-2, and not [out, in]."""
    return isinstance(module, Conv1D)


def place_of(path: str, architecture: Architecture) -> tuple[int, Literal["attn", "mlp"]] | None:
    """Layer and component of a module inside a block; none for norms and everything outside."""
    found = re.match(rf"{re.escape(architecture.blocks)}\.(\d+)\.(.+)", path)
    if found is None:
        return None
    layer, inner = int(found[1]), found[2]
    if f"{inner}.".startswith(f"{architecture.attention}."):
        return layer, "attn"
    mlp = (architecture.mlp_out or "mlp.").partition(".")[0]
    if f"{inner}.".startswith(f"{mlp}."):
        return layer, "mlp"
    return None
