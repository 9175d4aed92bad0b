"""Presets on the calibration model: invented people, so that the guess floor is exact."""

from restor_interp.data.bios import bios_facts
from restor_interp.presets.config import (
    DataSettings,
    ExplanationSettings,
    MethodSettings,
    QuestionSettings,
    RunConfig,
)
from restor_interp.presets.demo import demo

NOT_UNLEARNING = ("fine_tune",)
"""Methods that make a corruption; on top of one they would deepen it."""


def bios() -> RunConfig:
    """The demo on the calibration model: invented people, exact guess floor, six minutes."""
    people = sorted({fact.entity for fact in bios_facts()})
    return demo().model_copy(
        update={
            "preset": "bios",
            "model": "bios",
            "questions": QuestionSettings(),
            "explanation": ExplanationSettings(),
            "data": DataSettings(
                facts="bios",
                corrupted=tuple(people[0::15]),
                untouched=tuple(people[5::15]),
                sham=tuple(people[10::15]),
            ),
            "corruption": {"epochs": 4, "learning_rate": 2e-3},
            "unlearning": {"steps": 30, "learning_rate": 2e-3},
        }
    )


def bios_all() -> RunConfig:
    """Every method with its sham, and the corruption rolled back, on the calibration model.

    The main evidence: answers and margins alone, nothing is looked at inside. Which people are
    corrupted follows from `data`, everything else that is drawn from `seed`: runs over both are
    replicates.
    """
    # Here rather than above: methods need torch, and presets are read where torch is not wanted.
    from restor_interp.stages.methods import METHODS

    names = [name for name in METHODS if name not in NOT_UNLEARNING]
    base = bios()
    return base.model_copy(
        update={
            "preset": "bios-all",
            "explanation": without_explanation(),
            "methods": {
                name: base.methods.get(name, MethodSettings(method=name)) for name in names
            },
            "shams": tuple(name for name in names if METHODS[name].needs_forget),
            "rollback": (0.2, 0.4, 0.6, 0.8),
        }
    )


def without_explanation() -> ExplanationSettings:
    """Nothing is captured, probed or traced."""
    return ExplanationSettings(capture=False, probes=(), analyses=(), surveys=())
