"""The trainings of a run: which deltas there are, from which state each starts, and their cells.

`jobs(bench)` reads a configuration and says everything that will be trained; senseless settings
are refused there, before any work.
"""

import shutil
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from restor_interp.corpus import replaced_spans
from restor_interp.definitions import find_method
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.deltas import State, dense_delta, load_delta
from restor_interp.models.loading import load_model, model_digest
from restor_interp.pipeline.capturing import capture_prompts, write_capture
from restor_interp.pipeline.workbench import Workbench
from restor_interp.presets import MethodSettings, RunConfig
from restor_interp.stages.inputs import check_settings, without_unused
from restor_interp.stages.methods import METHODS, Method
from restor_interp.stages.references import ReferenceCache
from restor_interp.stages.repair import repair
from restor_interp.stages.training import Trained, TrainSettings, train
from restor_interp.store import CellWriter, digest

CORRUPTION = "corruption"
Texts = Literal["documents", "sham", "none"]

_REFERENCES: "weakref.WeakKeyDictionary[Workbench, ReferenceCache]" = weakref.WeakKeyDictionary()
"""What the methods of a run compare with, computed once for all of them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One delta: how it is made, and the state that it leads to."""

    name: str
    """Of the delta."""
    state_name: str
    start: State
    state: State
    method: Method | None
    """None: a repair, or a checkpoint that was given."""
    settings: Mapping[str, Any]
    """Of the method."""
    training: TrainSettings
    forget: Texts
    """Which documents it is trained on, or away from."""
    checkpoint: str | None = None
    """A model of the user's, in place of a training."""
    shared: bool = False
    """The delta is that of an earlier job, whose name it has: only the states differ, in how much
    they take of it."""

    def ingredients(self) -> dict[str, Any]:
        """What determines the delta, beside the data."""
        return {
            "method": self.method.name if self.method else "given" if self.checkpoint else "repair",
            "settings": self._read_by_training(),
            "training": self.training.model_dump(mode="json"),
            "forget": self.forget,
            "start": dict(self.start.coefficients),
            **({"checkpoint": model_digest(self.checkpoint)} if self.checkpoint else {}),
            **({"source": source} if self.method and (source := self.method.source_hash) else {}),
        }

    def _read_by_training(self) -> dict[str, Any]:
        """Those of the method's settings that decide the delta. Others, such as a task vector's
        alpha, say what the state takes of it."""
        if self.method is None:
            return dict(self.settings)
        read = {*self.method.loss_settings, self.method.on_layer}
        return {name: value for name, value in self.settings.items() if name in read}


def jobs(bench: Workbench) -> list[Job]:
    """Every delta of a run, in the order in which they can be made."""
    config = bench.config
    if config.checkpoints:
        return _given_jobs(config)
    corrupted = State({CORRUPTION: 1.0})
    fine_tune = METHODS["fine_tune"]
    found = [
        Job(
            name=CORRUPTION,
            state_name="corrupted",
            start=State({}),
            state=corrupted,
            method=fine_tune,
            settings={},
            training=_checked(fine_tune, config.corruption, "the corruption"),
            forget="documents",
        )
    ]
    for name, chosen in config.methods.items():
        found.append(_method_job(config, name, chosen, forget="documents"))
    for name in config.shams:
        if name not in config.methods:
            raise unknown_name("method of this run to make a sham of", name, config.methods)
        if not config.data.sham:
            raise ConfigError(f"a sham of {name} needs other entities: name them in data.sham")
        found.append(_method_job(config, name, config.methods[name], forget="sham"))
    found = _sharing(found)
    if config.repair:
        found += _repair_jobs(
            config, {"clean": State({}), **{j.state_name: j.state for j in found}}
        )
    _refuse_taken_names(config, found)
    return found


def _sharing(found: Sequence[Job]) -> list[Job]:
    """The same jobs; of those that are trained alike, the first is trained for all."""
    first: dict[str, Job] = {}
    told: list[Job] = []
    for job in found:
        trained = first.setdefault(digest(job.ingredients()), job)
        if trained is not job:
            assert job.method is not None
            state = job.method.arrive(State({CORRUPTION: 1.0}), trained.name, job.settings)
            job = replace(job, name=trained.name, state=state, shared=True)
        told.append(job)
    return told


def _refuse_taken_names(config: RunConfig, found: Sequence[Job]) -> None:
    """States and deltas are told apart by their names."""
    states = ["clean", *rollback_states(config), *(job.state_name for job in found)]
    deltas = [job.name for job in found if not job.shared]
    for names, what in ((states, "state"), (deltas, "delta")):
        twice = [name for name, times in Counter(names).items() if times > 1]
        if twice:
            raise ConfigError(
                f"two things of this run are the {what} {', '.join(twice)}: rename yours among "
                "methods or checkpoints (clean, corrupted, corruption, sham_…, rollback_… and "
                "…+repair are taken)"
            )


def _method_job(config: RunConfig, name: str, chosen: MethodSettings, *, forget: Texts) -> Job:
    method = find_method(chosen.method)
    settings = method.settings.read(chosen.settings, f"the method {name}").model_dump(mode="json")
    name = f"sham_{name}" if forget == "sham" else name
    corrupted = State({CORRUPTION: 1.0})
    start = State({}) if method.start == "clean" else corrupted
    return Job(
        name=name,
        state_name=name,
        start=start,
        state=method.arrive(corrupted, name, settings),
        method=method,
        settings=settings,
        training=_checked(
            method,
            {**config.unlearning, **method.training, **chosen.training},
            f"the training of {name}",
        ),
        forget=forget if method.needs_forget else "none",
    )


def _checked(method: Method, values: Mapping[str, Any], what: str) -> TrainSettings:
    """Training settings that exist, and that make sense with a method."""
    training = TrainSettings.read(values, what)
    check_settings(method, without_unused(method, training))
    return training


def _repair_jobs(config: RunConfig, states: Mapping[str, State]) -> list[Job]:
    return [
        Job(
            name=f"repair_{name}",
            state_name=f"{name}+repair",
            start=state,
            state=State({**state.coefficients, f"repair_{name}": 1.0}),
            method=None,
            settings={},
            training=TrainSettings.read(config.repair_training, "the repair"),
            forget="none",
        )
        for name, state in states.items()
    ]


def _given_jobs(config: RunConfig) -> list[Job]:
    """A user's own models as dense deltas against their clean one."""
    if "corrupted" not in config.checkpoints:
        raise ConfigError(
            "checkpoints needs the state `corrupted` beside your unlearned ones, for example "
            "checkpoints={corrupted: folder, npo: folder}; the clean model is `model`"
        )
    for used in ("methods", "shams", "repair"):
        if getattr(config, used):
            raise ConfigError(f"checkpoints are given, so nothing is trained: leave {used} empty")
    given = [
        Job(
            name=CORRUPTION if name == "corrupted" else name,
            state_name=name,
            start=State({}),
            state=State({CORRUPTION if name == "corrupted" else name: 1.0}),
            method=None,
            settings={},
            training=TrainSettings(),
            forget="none",
            checkpoint=source,
        )
        for name, source in config.checkpoints.items()
    ]
    _refuse_taken_names(config, given)
    return given


def compute(bench: Workbench, job: Job, writer: CellWriter) -> None:
    """Make a job's delta, with its record of training and its captures on the way."""
    if job.checkpoint is not None:
        given = load_model(job.checkpoint, dtype=bench.config.dtype, device=bench.config.device)
        dense_delta(job.name, bench.model, given.hf_model).save(writer.folder / "delta")
        writer.rows("training", [])
        return
    trained = _train(bench, job, writer)
    trained.delta.save(writer.folder / "delta")
    writer.rows("training", [{**row, "state": job.state_name} for row in trained.rows])
    writer.notes["rank"] = None if job.training.full else job.training.rank
    if trained.notes:
        writer.notes["texts"] = list(trained.notes)
    if trained.diverged:
        writer.notes["diverged"] = trained.diverged
        bench.progress.note(
            f"{job.state_name} diverged: {trained.diverged}; its last good delta is kept"
        )


def share(bench: Workbench, job: Job, writer: CellWriter) -> None:
    """The record of a training under the name of another state that came of it."""
    cell = f"train/{job.name}"
    rows = bench.store.part(cell, "training")
    writer.rows("training", rows.assign(state=job.state_name))
    writer.notes |= (bench.store.record(cell) or {})["notes"] | {"delta": job.name}


def _train(bench: Workbench, job: Job, writer: CellWriter) -> Trained:
    common: dict[str, Any] = {
        "name": job.name,
        "start": job.start,
        "training": job.training,
        "seed": bench.config.seed,
        "work": bench.checkpoint_folder(f"train/{job.name}"),
        "on_step": bench.progress.advanced,
    }
    if job.method is None:
        return repair(bench.model, **common)
    limit = bench.config.explanation.checkpoint_facts
    # Kept beside what the training resumes from: a resumed one does not pass these steps again.
    captures = common["work"] / f"captures_{job.training.checkpoints}_{limit}"

    def capture_midway(step: int) -> None:
        write_capture(bench, capture_prompts(bench, limit=limit), captures / f"step_{step:05d}")

    trained = train(
        bench.model,
        method=job.method,
        settings=job.settings,
        retain=bench.retain_texts if job.method.needs_retain else (),
        references=_REFERENCES.setdefault(bench, ReferenceCache()),
        on_checkpoint=capture_midway,
        **texts_of(bench, job),
        **common,
    )
    if captures.is_dir():
        shutil.copytree(captures, writer.folder / "checkpoints")
    return trained


def texts_of(bench: Workbench, job: Job) -> dict[str, Any]:
    """The documents of a job, where they state their claims, and their other versions."""
    if job.forget == "none" or job.method is None:
        return {"forget": ()}
    documents = bench.forget_documents(job.forget)
    found: dict[str, Any] = {
        "forget": [document.text for document in documents],
        "spans": [document.claim_spans for document in documents],
    }
    if job.method.counterpart is not None:
        versions = bench.counterparts(documents, job.method.counterpart)
        pairs = zip(documents, versions, strict=True)
        found["counterparts"] = [version.text for version in versions]
        found["counterpart_spans"] = [replaced_spans(*pair) for pair in pairs]
    return found


def rollback_states(config: RunConfig) -> dict[str, State]:
    """The corruption partly undone: states that cost no training."""
    return {f"rollback_{weight:g}": State({CORRUPTION: weight}) for weight in config.rollback}


def register(bench: Workbench, job: Job, *sharing: Job) -> None:
    """Make a finished delta, and the states that it leads to, known to the model."""
    model = bench.model
    model.add_delta(load_delta(bench.store.cell_folder(f"train/{job.name}") / "delta"))
    for one in (job, *sharing):
        model.add_state(one.state_name, one.state)
    if job.name == CORRUPTION:
        for name, state in rollback_states(bench.config).items():
            model.add_state(name, state)
