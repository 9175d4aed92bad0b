"""Seconds per unit of `work`, measured on one machine, for whoever has not run anything yet.

One core each: SmolLM2 in the preset `demo`, the calibration model in `bios`. Analyses that were not
measured on that one are a seventh of SmolLM2's, as those that were are on average.
"""

from collections.abc import Mapping

REFERENCE_SPEED: Mapping[str, float] = {"smollm2-135m": 320.0, "bios": 7690.0}
"""Tokens per second of `speed.model_speed`, where these were measured."""

REFERENCE_SIZE: Mapping[str, tuple[int, int]] = {"smollm2-135m": (134_515_008, 49_152)}
"""Parameters and vocabulary of a model that is fetched when it is first used."""

_SMOLLM2 = {
    "analysis": 0.849,
    "analysis/attention_knockout": 1.05,
    "analysis/attribution": 5.35,
    "analysis/causal_trace": 1.55,
    "analysis/cross_state_patching": 13.6,
    "analysis/direct_logits": 0.623,
    "analysis/grafting": 11.4,
    "analysis/logit_lens": 0.609,
    "analysis/mlp_changes": 3.01,
    "analysis/retention": 3.95,
    "analysis/subject_attention": 0.844,
    "analysis/subject_description": 4.13,
    "analysis/token_attribution": 1.74,
    "analysis/tuned_lens": 0.771,
    "analysis/value_vectors": 1.0,
    "capture": 0.171,
    "data": 2.97,
    "directions": 1.85,
    "drift": 0.0211,
    "evaluate": 0.0158,
    "explain": 2.02,
    "forget_weights": 0.544,
    "gradients": 26.8,
    "interpolation": 10.6,
    "margins": 0.00688,
    "margins/clean": 0.18,
    "probe": 0.0728,
    "random_weights": 0.174,
    "shared": 0.01,
    "statements": 0.166,
    "timeline": 0.74,
    "train": 0.952,
    "train/grad_diff": 0.854,
    "train/kl_restor": 1.15,
    "train/npo": 1.18,
    "train/retain_only": 0.199,
    "train/task_vector": 0.667,
    "tuned_lens": 29.2,
    "weights": 0.449,
    "wrong_entity": 0.139,
}
_BIOS = {
    **{name: rate / 7 for name, rate in _SMOLLM2.items() if name.startswith("analysis")},
    "analysis/logit_lens": 0.08,
    "analysis/mlp_changes": 0.6,
    "analysis/tuned_lens": 0.08,
    "capture": 0.03,
    "data": 0.36,
    "directions": 0.31,
    "drift": 0.015,
    "evaluate": 0.0024,
    "explain": 2.2,
    "forget_weights": 0.084,
    "gradients": 0.86,
    "interpolation": 0.39,
    "margins": 0.0101,
    "margins/clean": 0.0238,
    "probe": 0.051,
    "random_weights": 0.024,
    "shared": 0.01,
    "statements": 0.107,
    "timeline": 0.093,
    "train": 0.0427,
    "train/npo": 0.0317,
    "train/retain_only": 0.0204,
    "train/task_vector": 0.0539,
    "tuned_lens": 1.6,
    "weights": 0.25,
    "wrong_entity": 0.045,
}
REFERENCE: Mapping[str, Mapping[str, float]] = {"smollm2-135m": _SMOLLM2, "bios": _BIOS}
"""Model -> rates, as `work.rates` gives them; another model's are those of SmolLM2, scaled."""
