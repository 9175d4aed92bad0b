"""Activations on disk: written shard by shard while a model runs, read lazily one slice at a time.

`layout` says what lies where, `writing` streams rows in, `reading` opens a folder, `choosing` says
which rows, `states` puts several states side by side, `named` gives arrays whose axes have names.
Neither side holds more than one shard, so memory does not grow with the number of prompts.
"""

from restor_interp.models.activations.layout import (
    ALL,
    LOGPROBS,
    SHORT_SITES,
    SITES,
    CapturedPrompt,
    Dtype,
    SiteLayout,
    is_attention,
    layers_of,
)
from restor_interp.models.activations.named import NamedArray
from restor_interp.models.activations.reading import Activations
from restor_interp.models.activations.states import StateActivations
from restor_interp.models.activations.writing import ActivationWriter

__all__ = [
    "ALL",
    "LOGPROBS",
    "SHORT_SITES",
    "SITES",
    "ActivationWriter",
    "Activations",
    "CapturedPrompt",
    "Dtype",
    "NamedArray",
    "SiteLayout",
    "StateActivations",
    "is_attention",
    "layers_of",
]
