"""Named whole configurations, as functions; a variant is a few lines.

A `RunConfig` is everything that determines a run. `resolve("demo", ["seed=1"])` gives one, with
`key.sub=value` overrides parsed as YAML; unknown keys are errors that name the nearest one.
`resolve("restor-k0+packed")` changes a preset by a named switch, one confound at a time.

    config      what there is to set            demo, bios, atlas, restor   the presets
    overrides   from files and the command line  switches   what `+name` changes
"""

from restor_interp.presets.config import (
    AnalysisSettings,
    DataSettings,
    ExplanationSettings,
    JudgeSettings,
    MethodSettings,
    QuestionSettings,
    RobustnessSettings,
    RunConfig,
    Section,
    TextSettings,
)
from restor_interp.presets.demo import (
    DEMO_CORRUPTED,
    DEMO_SHAM,
    DEMO_UNTOUCHED,
    TUNING_CORRUPTED,
)
from restor_interp.presets.named import PRESETS, resolve
from restor_interp.presets.overrides import read_config, setting_names, validated
from restor_interp.presets.switches import SWITCHES, fast, skipped

__all__ = [
    "DEMO_CORRUPTED",
    "DEMO_SHAM",
    "DEMO_UNTOUCHED",
    "PRESETS",
    "SWITCHES",
    "TUNING_CORRUPTED",
    "AnalysisSettings",
    "DataSettings",
    "ExplanationSettings",
    "JudgeSettings",
    "MethodSettings",
    "QuestionSettings",
    "RobustnessSettings",
    "RunConfig",
    "Section",
    "TextSettings",
    "fast",
    "read_config",
    "resolve",
    "setting_names",
    "skipped",
    "validated",
]
