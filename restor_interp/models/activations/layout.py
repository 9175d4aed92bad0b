"""How activations lie on disk, and what is known of each row.

    index.json                   what was captured of which prompts; written last: without it
                                 nothing is
    resid-00000.safetensors      one site of some dozen or hundred prompts; tensors by name:
        resid                    [layer, position, row, width]  layer 0 is the embeddings, L the
                                                                last
        resid.all                [layer, token, width]          where all tokens were captured,
                                                                row after row
    attn-…, mlp-…                the same of what a layer adds to the residual stream
    attn.hook_z-…                the same of any hook, [layer, position, row, …its own shape]
    pattern-…                    [layer, head, key]             attention of the last token, row
                                                                after row, as many keys as the row
                                                                has tokens
    attn.hook_pattern-…          [layer, position, head, key]   the same of every position
    logprobs-…                   [layer, row, object]           logit lens of the objects

One layer and position of a site is one stretch of bytes per file, so that reading it reads
nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

SHORT_SITES: Mapping[str, str] = {
    "resid": "hook_resid_post",
    "attn": "hook_attn_out",
    "mlp": "hook_mlp_out",
    "pattern": "attn.hook_pattern",
}
"""Short name -> the hook of a block. `resid` has the embeddings as its layer 0 besides, so that
its layer l is what enters block l; `pattern` is that of the last token."""
SITES = tuple(SHORT_SITES)
LOGPROBS = "logprobs"
ALL = "all"
"""The position that stands for every token of a row."""

INDEX = "index.json"
FORMAT = 2
SHARD_BYTES = 32 * 2**20

Dtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CapturedPrompt:
    """One row of the activations: which prompt it was."""

    fact_id: str
    context_id: int
    entity: str
    relation: str
    num_tokens: int
    """Tokens of the prompt, so many keys its attention pattern has."""
    objects: tuple[str, ...] = ()
    """The objects whose log-probabilities were read: true, false."""
    role: str = ""
    """Role of its fact."""
    label: str = ""
    """What it states, of a statement: `true`, `false`, `random`."""
    text_id: str = ""
    """Which document or text it is."""


@dataclass(frozen=True, kw_only=True)
class SiteLayout:
    """Layers and shape of one site."""

    layers: tuple[int, ...]
    shape: tuple[int, ...]
    """Of one token's value: [width], or [head, width]; of attention [head], and its keys follow."""


def is_attention(site: str) -> bool:
    """Whether a site holds queries by keys, and not a vector per token."""
    return site == "pattern" or site.endswith(("hook_pattern", "hook_attn_scores"))


def layers_of(site: str, num_layers: int) -> range:
    """Layers that a site of a block has: the residual stream one more, for the embeddings."""
    return range(num_layers + 1) if site in ("resid", LOGPROBS) else range(num_layers)
