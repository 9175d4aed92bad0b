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
    from restor_interp.facts import Entity, Fact, FactSet, Relation, load_facts
    from restor_interp.measure.answers import generate_answers
    from restor_interp.measure.attribution import Attribution, attribute_patches
    from restor_interp.measure.choices import score_choices
    from restor_interp.measure.contributions import Contributions, direct_logits
    from restor_interp.measure.grafting import Grafts, graft
    from restor_interp.measure.judging import judge
    from restor_interp.measure.knockout import Knockouts, knock_out
    from restor_interp.measure.lens import Lens, logit_lens
    from restor_interp.measure.patching import Grid, patch_states
    from restor_interp.measure.probing import Probe, fit_probe
    from restor_interp.measure.retention import Retention, measure_retention
    from restor_interp.measure.smallest_graft import SmallestGraft, smallest_graft
    from restor_interp.measure.tracing import Trace, trace
    from restor_interp.models.activations import Activations, StateActivations
    from restor_interp.models.deltas import Delta, State
    from restor_interp.models.hooked import HookedModel
    from restor_interp.models.loading import load_model
    from restor_interp.pipeline import Run, open_run, run
    from restor_interp.prompts import Prompt, build_prompt
    from restor_interp.stages.losses import LOSSES, LossOut, Targets
    from restor_interp.stages.methods import Method
    from restor_interp.stages.methods.own import method

_HOMES = {
    "definitions": "AnalysisResult Definition ProbeResult analysis load_definitions probe report",
    "facts": "Entity Fact FactSet Relation load_facts",
    "measure.answers": "generate_answers",
    "measure.attribution": "Attribution attribute_patches",
    "measure.choices": "score_choices",
    "measure.contributions": "Contributions direct_logits",
    "measure.grafting": "Grafts graft",
    "measure.judging": "judge",
    "measure.knockout": "Knockouts knock_out",
    "measure.lens": "Lens logit_lens",
    "measure.patching": "Grid patch_states",
    "measure.probing": "Probe fit_probe",
    "measure.retention": "Retention measure_retention",
    "measure.smallest_graft": "SmallestGraft smallest_graft",
    "measure.tracing": "Trace trace",
    "models.activations": "Activations StateActivations",
    "models.deltas": "Delta State",
    "models.hooked": "HookedModel",
    "models.loading": "load_model",
    "pipeline": "Run open_run run",
    "prompts": "Prompt build_prompt",
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
    "Contributions",
    "Definition",
    "Delta",
    "Entity",
    "Fact",
    "FactSet",
    "Grafts",
    "Grid",
    "HookedModel",
    "Knockouts",
    "Lens",
    "LossOut",
    "Method",
    "Probe",
    "ProbeResult",
    "Prompt",
    "Relation",
    "Retention",
    "Run",
    "SmallestGraft",
    "State",
    "StateActivations",
    "Targets",
    "Trace",
    "analysis",
    "attribute_patches",
    "build_prompt",
    "direct_logits",
    "fit_probe",
    "generate_answers",
    "graft",
    "judge",
    "knock_out",
    "load_definitions",
    "load_facts",
    "load_model",
    "logit_lens",
    "measure_retention",
    "method",
    "open_run",
    "patch_states",
    "probe",
    "report",
    "run",
    "score_choices",
    "smallest_graft",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
