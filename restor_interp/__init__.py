"""restor-interp: does unlearning restore what a language model knew, or only silence it?

These are the public names. Each is imported when it is first used, so that
`import restor_interp` and the command line start at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restor_interp.definitions import (
        AnalysisResult,
        Definition,
        ProbeResult,
        analysis,
        load_definitions,
        probe,
        report,
    )
    from restor_interp.explain.mechanism import Readings, classify
    from restor_interp.explain.prediction import prediction_rows
    from restor_interp.explain.predictors import pooled_lost
    from restor_interp.explain.retention import Bands
    from restor_interp.explain.thresholds import Thresholds
    from restor_interp.fact_files import load_columns
    from restor_interp.facts import Entity, Fact, FactSet, Relation, load_facts
    from restor_interp.measure.answers import generate_answers
    from restor_interp.measure.attribution import Attribution, attribute_patches
    from restor_interp.measure.capture import Passage, capture
    from restor_interp.measure.choices import score_choices
    from restor_interp.measure.contributions import Contributions, direct_logits
    from restor_interp.measure.descriptions import Descriptions, describe_subject
    from restor_interp.measure.dictionaries import Dictionary, attached
    from restor_interp.measure.directions import Directions, difference_directions, direction_rows
    from restor_interp.measure.drift import representation_drift
    from restor_interp.measure.features import feature_rows
    from restor_interp.measure.grafting import Grafts, graft
    from restor_interp.measure.interpolation import Interpolation, interpolate
    from restor_interp.measure.judging import judge
    from restor_interp.measure.knockout import Knockouts, knock_out
    from restor_interp.measure.lens import Lens, logit_lens
    from restor_interp.measure.mlp_changes import MlpChanges, mlp_changes
    from restor_interp.measure.mlp_swaps import MlpSwaps, swap_mlps
    from restor_interp.measure.patching import Grid, patch_states
    from restor_interp.measure.probing import (
        Folds,
        Probe,
        StateTransfer,
        TorchProbe,
        chosen_layers,
        compare_states,
        control_rows,
        fit_direction,
        fit_or_reason,
        fit_probe,
        object_labels,
        read_states,
        survey_states,
        survey_transfer,
    )
    from restor_interp.measure.retention import Retention, measure_retention
    from restor_interp.measure.saelens import read_saelens
    from restor_interp.measure.smallest_graft import SmallestGraft, smallest_graft
    from restor_interp.measure.steering import steering_rows
    from restor_interp.measure.subject_attention import SubjectAttention, subject_attention
    from restor_interp.measure.token_attribution import TokenAttribution, attribute_tokens
    from restor_interp.measure.tracing import Trace, trace
    from restor_interp.measure.tuned import TunedLens, fit_tuned_lens, tuned_lens
    from restor_interp.measure.value_vectors import ValueVectors, compare_value_vectors
    from restor_interp.measure.weights import WeightGeometry, weight_geometry
    from restor_interp.models.activations import Activations, NamedArray, StateActivations
    from restor_interp.models.deltas import Delta, State
    from restor_interp.models.hooked import HookedModel
    from restor_interp.models.loading import load_model
    from restor_interp.models.random_weights import random_weights
    from restor_interp.pipeline import Run, open_run, run
    from restor_interp.prompts import Prompt, build_prompt
    from restor_interp.reporting.displays import figure, figures
    from restor_interp.stages.losses import LOSSES, LossOut, Targets
    from restor_interp.stages.methods import Method
    from restor_interp.stages.methods.own import method

_HOMES = {
    "definitions": "AnalysisResult Definition ProbeResult analysis load_definitions probe report",
    "explain.mechanism": "Readings classify",
    "explain.prediction": "prediction_rows",
    "explain.predictors": "pooled_lost",
    "explain.retention": "Bands",
    "explain.thresholds": "Thresholds",
    "fact_files": "load_columns",
    "facts": "Entity Fact FactSet Relation load_facts",
    "measure.answers": "generate_answers",
    "measure.attribution": "Attribution attribute_patches",
    "measure.capture": "Passage capture",
    "measure.choices": "score_choices",
    "measure.contributions": "Contributions direct_logits",
    "measure.descriptions": "Descriptions describe_subject",
    "measure.dictionaries": "Dictionary attached",
    "measure.directions": "Directions difference_directions direction_rows",
    "measure.drift": "representation_drift",
    "measure.features": "feature_rows",
    "measure.grafting": "Grafts graft",
    "measure.interpolation": "Interpolation interpolate",
    "measure.judging": "judge",
    "measure.knockout": "Knockouts knock_out",
    "measure.lens": "Lens logit_lens",
    "measure.mlp_changes": "MlpChanges mlp_changes",
    "measure.mlp_swaps": "MlpSwaps swap_mlps",
    "measure.patching": "Grid patch_states",
    "measure.probing": (
        "Folds Probe StateTransfer TorchProbe chosen_layers compare_states control_rows "
        "fit_direction fit_or_reason fit_probe object_labels read_states survey_states "
        "survey_transfer"
    ),
    "measure.retention": "Retention measure_retention",
    "measure.saelens": "read_saelens",
    "measure.smallest_graft": "SmallestGraft smallest_graft",
    "measure.steering": "steering_rows",
    "measure.subject_attention": "SubjectAttention subject_attention",
    "measure.token_attribution": "TokenAttribution attribute_tokens",
    "measure.tracing": "Trace trace",
    "measure.tuned": "TunedLens fit_tuned_lens tuned_lens",
    "measure.value_vectors": "ValueVectors compare_value_vectors",
    "measure.weights": "WeightGeometry weight_geometry",
    "models.activations": "Activations NamedArray StateActivations",
    "models.deltas": "Delta State",
    "models.hooked": "HookedModel",
    "models.loading": "load_model",
    "models.random_weights": "random_weights",
    "pipeline": "Run open_run run",
    "prompts": "Prompt build_prompt",
    "reporting.displays": "figure figures",
    "stages.losses": "LOSSES LossOut Targets",
    "stages.methods": "Method",
    "stages.methods.own": "method",
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "LOSSES",
    "Activations",
    "AnalysisResult",
    "Attribution",
    "Bands",
    "Contributions",
    "Definition",
    "Delta",
    "Descriptions",
    "Dictionary",
    "Directions",
    "Entity",
    "Fact",
    "FactSet",
    "Folds",
    "Grafts",
    "Grid",
    "HookedModel",
    "Interpolation",
    "Knockouts",
    "Lens",
    "LossOut",
    "Method",
    "MlpChanges",
    "MlpSwaps",
    "NamedArray",
    "Passage",
    "Probe",
    "ProbeResult",
    "Prompt",
    "Readings",
    "Relation",
    "Retention",
    "Run",
    "SmallestGraft",
    "State",
    "StateActivations",
    "StateTransfer",
    "SubjectAttention",
    "Targets",
    "Thresholds",
    "TokenAttribution",
    "TorchProbe",
    "Trace",
    "TunedLens",
    "ValueVectors",
    "WeightGeometry",
    "analysis",
    "attached",
    "attribute_patches",
    "attribute_tokens",
    "build_prompt",
    "capture",
    "chosen_layers",
    "classify",
    "compare_states",
    "compare_value_vectors",
    "control_rows",
    "describe_subject",
    "difference_directions",
    "direct_logits",
    "direction_rows",
    "feature_rows",
    "figure",
    "figures",
    "fit_direction",
    "fit_or_reason",
    "fit_probe",
    "fit_tuned_lens",
    "generate_answers",
    "graft",
    "interpolate",
    "judge",
    "knock_out",
    "load_columns",
    "load_definitions",
    "load_facts",
    "load_model",
    "logit_lens",
    "measure_retention",
    "method",
    "mlp_changes",
    "object_labels",
    "open_run",
    "patch_states",
    "pooled_lost",
    "prediction_rows",
    "probe",
    "random_weights",
    "read_saelens",
    "read_states",
    "report",
    "representation_drift",
    "run",
    "score_choices",
    "smallest_graft",
    "steering_rows",
    "subject_attention",
    "survey_states",
    "survey_transfer",
    "swap_mlps",
    "trace",
    "tuned_lens",
    "weight_geometry",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
