"""Presets on the embedded model and the built-in facts: answers and margins of many methods.

Nothing is looked at inside, so that several seeds are affordable; `demo` is where mechanisms are
explained.
"""

from restor_interp.presets.bios import without_explanation
from restor_interp.presets.config import MethodSettings, QuestionSettings, RunConfig
from restor_interp.presets.demo import demo

METHODS = (
    "grad_diff",
    "kl_restor",
    "npo",
    "simnpo",
    "wga",
    "undial",
    "dpo_refusal",
    "task_vector",
    "msa",
    "retain_only",
    "truth_fine_tune",
)
"""RESTOR's own, one or two of every other family, controls and a ceiling."""


def atlas_k0() -> RunConfig:
    """Eleven methods on the embedded model; documents state claims alone (k = 0)."""
    return _atlas(0)


def atlas_k1() -> RunConfig:
    """Eleven methods on the embedded model; five true facts among the claims (k = 1)."""
    return _atlas(1)


def atlas_k2() -> RunConfig:
    """Eleven methods on the embedded model; ten true facts among the claims (k = 2)."""
    return _atlas(2)


def _atlas(k: int) -> RunConfig:
    """The demo's entities and rates, whatever k with the same number of optimiser steps."""
    base = demo()
    documents = len(base.data.corrupted) * base.data.documents_per_entity
    steps = base.corruption["epochs"] * documents // base.corruption["batch_size"]
    return base.model_copy(
        update={
            "preset": f"atlas-k{k}",
            "data": base.data.model_copy(update={"k": k}),
            "questions": QuestionSettings(contexts=2, max_new_tokens=8, margins_of="right"),
            "explanation": without_explanation(),
            "corruption": {
                **{name: value for name, value in base.corruption.items() if name != "epochs"},
                "steps": steps,
            },
            "methods": {
                name: base.methods.get(name, MethodSettings(method=name)) for name in METHODS
            },
            "shams": ("grad_diff", "npo", "simnpo", "task_vector"),
            "rollback": (0.25, 0.5, 0.75),
        }
    )
