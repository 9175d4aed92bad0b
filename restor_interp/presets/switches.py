"""RESTOR's confounds as switches: what its protocol mixes, one change of a configuration each.

    restor-interp run restor-k0+packed            one choice of the paper in a sound run
    restor-interp run restor-k0-paper+matched     one sound choice in the paper's run

k is confounded with the number of optimiser steps (blocks of 1,024 tokens are packed, and a
document of k = 5 is five times as long), with the documents that share a block (the files are
sorted by person, so that at k = 0 twenty documents about one person stand in a block, and a false
object can be copied instead of being learned), and with what tuning as such changes (repair).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from restor_interp.errors import unknown_name
from restor_interp.measure.sampling_styles import STYLES
from restor_interp.presets.config import RunConfig

BLOCK = 1024
"""Tokens of a block in RESTOR's corruption (LLaMA-Factory's cutoff_len of that time)."""
STEPS = 300
"""Optimiser steps of a corruption whose steps are matched over k."""
EPOCHS = 5.0
"""Of RESTOR's corruption; with packing its steps then follow the number of tokens."""
REPAIR = {"learning_rate": 2e-5, "epochs": 2.0, "batch_size": 16, "warmup": 0.1}
"""RESTOR's tuning on LIMA before it asks (NPO-lima.yaml: batch 2 × 8 accumulated)."""


# ---- what is looked at inside

FAST = ("logit_lens", "causal_trace", "retention")
"""Analyses that a fast run keeps: where an answer arises, and whether the fact is still held."""


def fast(config: RunConfig) -> RunConfig:
    """Without what takes long inside the model: of the explanations, those of `FAST`, the weights
    and one probe, without its captured controls."""
    explanation = config.explanation
    kept = {
        "analyses": tuple(name for name in explanation.analyses if name in FAST),
        "surveys": tuple(name for name in explanation.surveys if name == "weights"),
        "probes": explanation.probes[:1],
        "probe_controls": False,
        "per_analysis": {n: own for n, own in explanation.per_analysis.items() if n in FAST},
    }
    return config.model_copy(update={"explanation": explanation.model_copy(update=kept)})


def skipped(config: RunConfig, kept: RunConfig) -> tuple[str, ...]:
    """Explanations that one configuration has and the other does without, by name."""
    names = []
    for kind in ("analyses", "surveys", "probes"):
        has, keeps = (getattr(one.explanation, kind) for one in (config, kept))
        names += [name for name in has if name not in keeps]
    if config.explanation.probe_controls and not kept.explanation.probe_controls:
        names.append("probe controls")
    return tuple(names)


# ---- corruption


def packed(config: RunConfig) -> RunConfig:
    """Documents joined and cut into blocks of 1,024 tokens for the corruption, as in the paper."""
    return _corruption(config, packing=BLOCK)


def unpacked(config: RunConfig) -> RunConfig:
    """One document per row."""
    return _corruption(config, packing=None)


def in_order(config: RunConfig) -> RunConfig:
    """Documents in the order of their files, which is by person, as in the paper."""
    return _corruption(config, shuffle=False)


def shuffled(config: RunConfig) -> RunConfig:
    """Documents mixed before they are packed or batched."""
    return _corruption(config, shuffle=True)


def epochs(config: RunConfig) -> RunConfig:
    """Five epochs of corruption, as in the paper: packed, the number of steps grows with k."""
    return _corruption(config, epochs=EPOCHS, steps=None)


def matched(config: RunConfig) -> RunConfig:
    """The same number of optimiser steps of corruption at every k."""
    return _corruption(config, steps=STEPS, epochs=None)


def one_per_block(config: RunConfig) -> RunConfig:
    """Packed, and a block about as long as one document, at whatever k."""
    return _corruption(config, packing=_tokens_per_document(config.data.k))


def five_per_block(config: RunConfig) -> RunConfig:
    """Packed, and a block about as long as five documents, at whatever k."""
    return _corruption(config, packing=5 * _tokens_per_document(config.data.k))


def twenty_per_block(config: RunConfig) -> RunConfig:
    """Packed, and a block about as long as twenty documents: what the paper has at k = 0."""
    return _corruption(config, packing=20 * _tokens_per_document(config.data.k))


def _tokens_per_document(k: int) -> int:
    """About so many, at 4/3 tokens per word.

    Words measured in the official files are 37, 98, 142 and 183 for k = 0 to 3; beyond that the
    line through them.
    """
    words = (37, 98, 142, 183)
    return round((words[k] if k < len(words) else 183 + 45 * (k - 3)) * 4 / 3)


# ---- questions


def paper_contexts(config: RunConfig) -> RunConfig:
    """RESTOR's own few-shot contexts, which hold the answer for 244 of its 1,051 facts."""
    return _questions(config, style="paper", contexts=1)


def sound_contexts(config: RunConfig) -> RunConfig:
    """Three few-shot contexts per fact that show nobody of the experiment and no object asked."""
    return _questions(config, style="sound", contexts=3)


def sampled(config: RunConfig) -> RunConfig:
    """Three sampled answers per question beside the greedy one, at Llama 3's own temperature.

    RESTOR samples with the model's generation settings; Llama 3's are 0.6 and a nucleus of 0.9.
    """
    return _questions(config, draws=3, temperature=0.6, top_p=0.9)


def greedy(config: RunConfig) -> RunConfig:
    """The greedy answer alone."""
    return _questions(config, draws=0)


# ---- repair, weights


def repaired(config: RunConfig) -> RunConfig:
    """Every state also after a little tuning on neutral questions, clean and corrupted too."""
    return config.model_copy(update={"repair": True, "repair_training": dict(REPAIR)})


def unrepaired(config: RunConfig) -> RunConfig:
    """No repair."""
    return config.model_copy(update={"repair": False, "repair_training": {}})


def full(config: RunConfig) -> RunConfig:
    """Unlearning trains the matrices themselves, as in the paper, at 5e-6 with weight decay 0.1.

    What methods say about their own training (the preset's learning rates for adapters) is left
    out.
    """
    changed = {"full": True, "learning_rate": 5e-6, "weight_decay": 0.1, "batch_size": 4}
    return config.model_copy(
        update={
            "unlearning": _without({**config.unlearning, **changed}),
            "methods": {
                name: chosen.model_copy(update={"training": {}})
                for name, chosen in config.methods.items()
            },
        }
    )


def localised(config: RunConfig) -> RunConfig:
    """Unlearning looks at the tokens that corruption made likelier, instead of whole documents.

    Methods for which that has no meaning keep whole documents, and their training says so: those
    that average over every position, start from the clean model, or read other documents.
    """
    # Here rather than above: methods need torch, and presets are read where torch is not wanted.
    from restor_interp.stages.methods import METHODS

    whole = {
        name
        for name, method in METHODS.items()
        if method.every_position or method.start == "clean" or method.counterpart is not None
    }
    methods = {
        name: chosen.model_copy(update={"training": {**chosen.training, "target": "all"}})
        if chosen.method in whole
        else chosen
        for name, chosen in config.methods.items()
    }
    unlearning = {**config.unlearning, "target": "changed"}
    return config.model_copy(update={"unlearning": unlearning, "methods": methods})


def as_in_the_paper(config: RunConfig) -> RunConfig:
    """All of the paper's choices at once.

    From its code: corruption with LoRA rank 8, alpha 16, learning rate 5e-5, cosine with warm-up
    0.1, 5 epochs, packed in file order, 2 × 2 accumulated rows; its few-shot contexts; sampled
    answers; repair. Full-parameter unlearning with AdamW is SOUL's, on which its code builds:
    5e-6, weight decay 0.1, 1 × 4 accumulated rows, 5 epochs, warm-up 0.1, retain weight 0.3 are
    SOUL's own for its first-order methods.

    UNVERIFIED, because the paper's appendix was not readable: learning rates, epochs, retain
    weights and alpha of its unlearning (chosen on 10% of the facts); the size of its C4 subset
    (give one with data.retain=FILE); its confidence intervals. Otherwise than there: a cosine
    where SOUL falls linearly; our neutral questions where it has LIMA; the alias judge where it
    asks GPT-3.5 (see `judges`); answers end at a line end or after 32 tokens, not at 200 tokens of
    text. Rates are for a model of 8 billion parameters: one of 135 million hardly moves.
    """
    corruption = {
        "rank": 8,
        "alpha": 16.0,
        "modules": "all",
        "learning_rate": 5e-5,
        "warmup": 0.1,
        "batch_size": 4,
    }
    config = config.model_copy(
        update={
            "corruption": corruption,
            "unlearning": {"epochs": 5.0, "warmup": 0.1, "retain_weight": 0.3},
        }
    )
    for switch in (packed, in_order, epochs, paper_contexts, sampled, repaired, full):
        config = switch(config)
    return _questions(config, max_new_tokens=32, **asdict(STYLES["paper"]))


Switch = Callable[[RunConfig], RunConfig]
SWITCHES: Mapping[str, Switch] = {
    switch.__name__: switch
    for switch in (
        packed,
        unpacked,
        in_order,
        shuffled,
        epochs,
        matched,
        one_per_block,
        five_per_block,
        twenty_per_block,
        paper_contexts,
        sound_contexts,
        sampled,
        greedy,
        repaired,
        unrepaired,
        full,
        localised,
        fast,
    )
}


def switched(config: RunConfig, name: str) -> RunConfig:
    """A configuration with one switch applied. Raises `ConfigError` for an unknown one."""
    if name not in SWITCHES:
        raise unknown_name("switch", name, SWITCHES)
    return SWITCHES[name](config)


def _corruption(config: RunConfig, **changes: Any) -> RunConfig:
    return config.model_copy(update={"corruption": _without({**config.corruption, **changes})})


def _questions(config: RunConfig, **changes: Any) -> RunConfig:
    questions = config.questions.model_copy(update=changes)
    return config.model_copy(update={"questions": questions})


def _without(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that are None, which is what leaving them out means."""
    return {name: value for name, value in settings.items() if value is not None}
