"""One small run on the calibration model, shared by the tests that only look at it."""

import pytest
from filelock import FileLock

from restor_interp.data.bios import bios_facts
from restor_interp.pipeline import run
from restor_interp.presets import resolve

PEOPLE = sorted({fact.entity for fact in bios_facts()})
CORRUPTED, UNTOUCHED, SHAM = PEOPLE[0:60:20], PEOPLE[5:65:20], PEOPLE[10:70:20]


def small(**changes):
    """The preset `bios`, cut down to seconds."""
    config = resolve("bios")
    data = config.data.model_copy(
        update={
            "corrupted": tuple(CORRUPTED),
            "untouched": tuple(UNTOUCHED),
            "sham": tuple(SHAM),
            "documents_per_entity": 6,
        }
    )
    questions = config.questions.model_copy(update={"contexts": 2, "candidates": 8})
    explanation = config.explanation.model_copy(
        update={
            "lens_facts": 4,
            "traced_facts": 2,
            "checkpoint_facts": 4,
            "traced_states": ("clean", "corrupted", "npo"),
        }
    )
    values = {
        "preset": "custom",
        "workers": 1,
        "data": data,
        "questions": questions,
        "explanation": explanation,
        "corruption": {**config.corruption, "epochs": 8},
        "unlearning": {**config.unlearning, "steps": 4, "checkpoints": 1},
        "methods": {name: config.methods[name] for name in ("npo", "task_vector", "retain_only")},
        **changes,
    }
    return config.model_copy(update=values)


@pytest.fixture(scope="session")
def small_config():
    return small()


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_config, request):
    """The run, finished once, whichever of several test processes comes first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if hasattr(request.config, "workerinput") else base
    with FileLock(base / "small.lock"):
        return run(small_config, out=base / "small")
