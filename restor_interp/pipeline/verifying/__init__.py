"""Checking a run's folder: whether what it promises still holds, promise by promise.

    cells      every file has the bytes that were recorded when its cell was finished
    manifest   names the cells that are there, with their keys, and the model that made them
    tables     can be read, have their fixed columns, and hold what their cells hold
    deltas     load, are finite, and are those of their trainings
    report     every file has the bytes that were recorded
    states     the clean weights come back bit by bit after every state
    answers    (deep) some questions are asked again, and answered and scored as they were

Nothing is written. A damaged cell is computed again by the run's own command.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from restor_interp.errors import RestorError
from restor_interp.pipeline.runs import Run, config_file
from restor_interp.pipeline.verifying.files import (
    check_cells,
    check_deltas,
    check_manifest,
    check_report,
)
from restor_interp.pipeline.verifying.finding import Check, Finding, Looked, again
from restor_interp.pipeline.verifying.tables import check_tables
from restor_interp.pipeline.verifying.weights import check_answers, check_states
from restor_interp.pipeline.workbench import Progress, Silent

__all__ = ["PROMISES", "Check", "Finding", "verify"]

PROMISES: Mapping[str, str] = {
    "cells": "files have the bytes that were recorded",
    "manifest": "cells are there with their keys, and the model is the same",
    "tables": "can be read, have their columns, and hold what their cells hold",
    "deltas": "load, are finite, and are those of their trainings",
    "report": "files have the bytes that were recorded",
    "states": "the clean weights come back bit by bit after each",
    "answers": "questions that are asked again are answered and scored as before",
}
_LOOK: Mapping[str, Callable[[Run], Looked]] = {
    "cells": check_cells,
    "manifest": check_manifest,
    "tables": check_tables,
    "deltas": check_deltas,
    "report": check_report,
    "states": check_states,
    "answers": check_answers,
}
_OF_ANY_RUN = ("cells", "manifest")
"""Promises that also a run keeps that is not finished."""


def verify(
    folder: str | Path,
    *,
    deep: bool = False,
    weights: bool = True,
    progress: Progress | None = None,
) -> list[Check]:
    """Check every promise of a run's folder: a check per promise, with its findings.

    `weights`: also load the model and go through its states. `deep`: that, and ask a sample of
    stored questions again. Raises `ConfigError` where the folder holds no run at all.
    """
    run, progress = Run(folder), progress or Silent()
    config_file(folder)  # raises where there is nothing to check
    left_out = {"answers": not deep, "states": not (weights or deep)}
    promises = [name for name in PROMISES if not left_out.get(name)]
    is_finished = (run.folder / "manifest.json").is_file()
    checks = []
    for number, name in enumerate(promises, 1):
        if not is_finished and name not in _OF_ANY_RUN:
            checks.append(Check(promise=name, looked_at=0, skipped="the run is not finished"))
            continue
        progress.started(name, number, len(promises))
        began = time.monotonic()
        checks.append(_checked(name, run))
        outcome = f"{len(checks[-1].findings)} wrong" if checks[-1].findings else "holds"
        progress.finished(name, time.monotonic() - began, outcome)
    return checks


def _checked(promise: str, run: Run) -> Check:
    try:
        number, findings = _LOOK[promise](run)
        return Check(promise=promise, looked_at=number, findings=tuple(findings))
    except (RestorError, OSError, ValueError, KeyError, TypeError) as error:
        problem = f"cannot be checked ({type(error).__name__}: {error})"
        finding = Finding(place=promise, problem=problem, mend=again(run))
        return Check(promise=promise, looked_at=0, findings=(finding,))
