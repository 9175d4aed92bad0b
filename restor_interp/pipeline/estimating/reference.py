"""Seconds per unit of `work`, measured on one machine, for whoever has not run anything yet.

SmolLM2: the preset `demo` on two cores. The calibration model: one core; analyses that were not
measured on it are a seventh of SmolLM2's, as those that were are on average.
"""

from collections.abc import Mapping

REFERENCE_SPEED: Mapping[str, float] = {"smollm2-135m": 560.0, "bios": 7690.0}
"""Tokens per second of `speed.model_speed`, where these were measured."""

_SMOLLM2 = {
    "analysis": 0.88,
    "analysis/attention_knockout": 0.876,
    "analysis/attribution": 4.7,
    "analysis/causal_trace": 0.95,
    "analysis/cross_state_patching": 12.8,
    "analysis/direct_logits": 0.4,
    "analysis/grafting": 8.49,
    "analysis/logit_lens": 0.473,
    "analysis/mlp_changes": 2.48,
    "analysis/retention": 3.33,
    "analysis/subject_attention": 0.581,
    "analysis/subject_description": 2.79,
    "analysis/token_attribution": 1.61,
    "analysis/tuned_lens": 0.466,
    "analysis/value_vectors": 0.689,
    "capture": 0.172,
    "data": 2.97,
    "directions": 2.49,
    "drift": 0.07,
    "evaluate": 0.0129,
    "explain": 2.02,
    "forget_weights": 0.418,
    "gradients": 14.7,
    "interpolation": 6.12,
    "margins": 0.00688,
    "margins/clean": 0.135,
    "probe": 0.0692,
    "random_weights": 0.145,
    "statements": 0.115,
    "timeline": 0.74,
    "train": 0.717,
    "train/grad_diff": 0.576,
    "train/kl_restor": 0.767,
    "train/npo": 0.899,
    "train/retain_only": 0.238,
    "train/task_vector": 0.578,
    "tuned_lens": 20.0,
    "weights": 0.32,
    "wrong_entity": 0.12,
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
