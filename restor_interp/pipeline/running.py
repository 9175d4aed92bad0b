"""Going through the steps of a run: what is done is kept, what changed is computed again."""

import platform
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from restor_interp.pipeline import judging
from restor_interp.pipeline.building import Step
from restor_interp.pipeline.crew import crew_for
from restor_interp.pipeline.runs import Run, config_file
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Progress, Silent, Workbench
from restor_interp.presets import RunConfig, read_config, resolve
from restor_interp.store import Store, write_atomic, write_json

DESIGN = "design.yaml"
"""The file by which a folder of several runs is known."""
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "transformer-lens", "restor-interp")


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One cell of a plan."""

    cell: str
    state: str
    """`done`, or why it is computed: `missing`, `changed: …`, `damaged: …`, `needs …`."""
    seconds: float | None
    """How long it took when it was last computed; none: never."""
    needed_by: int = 0
    """How many other cells take it in: it is computed once for all of them."""


def plan(
    preset: str | RunConfig, *, out: str | Path, overrides: Sequence[str] = ()
) -> list[PlannedCell]:
    """What `run` would compute, and why. Computes nothing and writes nothing."""
    config = preset if isinstance(preset, RunConfig) else resolve(preset, overrides)
    return _planned(config, Store(out))


def status(out: str | Path) -> list[PlannedCell]:
    """How far the run or design in this folder is. Raises `ConfigError` where there is none."""
    if (Path(out) / DESIGN).is_file():
        from restor_interp.pipeline.designs import design_status  # it is made of runs

        return design_status(out)
    return _planned(read_config(config_file(out)), Store(out))


def _planned(config: RunConfig, store: Store) -> list[PlannedCell]:
    planned: dict[str, PlannedCell] = {}
    todo = steps(Workbench(config, store, Silent()))
    needed = Counter(need for step in todo for need in {*step.needs, *step.uses})
    for step in todo:
        state = store.state_of(step.cell)
        waiting = [need for need in (*step.needs, *step.uses) if planned[need].state != "done"]
        if state == "done" and waiting:
            state = f"needs {', '.join(waiting)}"
        seconds = (store.record(step.cell.name) or {}).get("seconds")
        planned[step.cell.name] = PlannedCell(
            cell=step.cell.name,
            state=state,
            seconds=seconds,
            needed_by=needed[step.cell.name],
        )
    return list(planned.values())


def run(
    preset: str | RunConfig,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Run:
    """Compute whatever of a run is missing, then write its tables and its report.

    The same call again resumes: finished cells are kept, a training goes on at its last
    checkpoint. Raises `ConfigError` for settings that make no sense and for a judge that does not
    answer, `BusyError` while another process works in the folder, `StorageError` where the disk
    refuses.
    """
    config = preset if isinstance(preset, RunConfig) else resolve(preset, overrides)
    store = Store(out)
    progress = progress or Silent()
    with store.lease():
        bench = Workbench(config, store, progress)
        todo = steps(bench)
        judging.check(bench, todo)
        write_atomic(
            store.folder / "config.yaml",
            yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode(),
        )
        failures = _work_through(todo, bench)
        _publish(store, config, todo, failures)
        shutil.rmtree(store.folder / "work", ignore_errors=True)
        return Run(store.folder)


def _work_through(todo: Sequence[Step], bench: Workbench) -> dict[str, str]:
    """Compute the steps that are not done, each once all that it waits for is settled; returns why
    cells failed."""
    store, progress = bench.store, bench.progress
    by_name = {step.cell.name: step for step in todo}
    waiting = dict(zip(range(1, len(todo) + 1), todo, strict=True))
    # What is not among the steps is there already, or nobody will ever make it.
    waits_for = {
        name: {*step.needs, *step.uses, *step.after} & by_name.keys()
        for name, step in by_name.items()
    }
    settled: set[str] = set()
    computed: set[str] = set()
    failures: dict[str, str] = {}
    with crew_for(bench) as crew:
        while waiting or crew.at_work:
            for number, step in list(waiting.items()):
                name = step.cell.name
                if crew.is_busy or not settled >= waits_for[name]:
                    continue
                del waiting[number]
                blocked = [need for need in step.needs if need in failures]
                if blocked:
                    failures[name] = f"not computed: {', '.join(blocked)} failed"
                    settled.add(name)
                    continue
                reason = store.state_of(step.cell)
                anew = [name for name in step.uses if name in computed]
                if reason == "done" and anew:
                    reason = f"changed: {', '.join(anew)}"
                if reason == "done":
                    crew.settled(step)
                    settled.add(name)
                    continue
                store.log("started", cell=name, reason=reason)
                progress.started(name, number, len(todo))
                crew.begin(step)
            for outcome in crew.finished():
                name, failure = outcome.cell, outcome.failure
                if failure is None:
                    computed.add(name)
                    crew.settled(by_name[name])
                else:
                    failures[name] = failure
                settled.add(name)
                seconds = outcome.seconds
                store.log("failed" if failure else "done", cell=name, seconds=round(seconds, 3))
                progress.finished(name, seconds, failure or "done")
    return failures


def _publish(
    store: Store, config: RunConfig, todo: Sequence[Step], failures: dict[str, str]
) -> None:
    """Tables, deltas, manifest and report out of the cells, unless they are those already.

    The report's first page is taken away first and written last: while it stands, all the rest
    belongs to it.
    """
    run = Run(store.folder)
    cells = [step.cell.name for step in todo if step.cell.name not in failures]
    manifest = _manifest(store, config, todo[0], cells, failures)
    if run.is_reported() and run.manifest == manifest:
        return
    run.report_index.unlink(missing_ok=True)
    run.assemble(cells, failures)
    write_json(store.folder / "manifest.json", manifest)
    Run(store.folder).write_report()


def _manifest(
    store: Store,
    config: RunConfig,
    first: Step,
    cells: Sequence[str],
    failures: dict[str, str],
) -> dict[str, Any]:
    records = {name: store.record(name) or {} for name in cells}
    return {
        "preset": config.preset,
        "model": config.model,
        "model_digest": first.cell.ingredients["model"],
        "seed": config.seed,
        "versions": {name: version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "numerics": dict(first.cell.ingredients["numerics"]),
        "seconds": round(sum(record["seconds"] for record in records.values()), 1),
        "cells": {
            name: {"key": record["key"], "seconds": record["seconds"], **record["notes"]}
            for name, record in records.items()
        },
        "failures": failures,
    }
