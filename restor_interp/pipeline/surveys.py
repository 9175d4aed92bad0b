"""The cells that look at a whole state: its weights, its drift, what it adds on any text, the way
from another state to it, what its documents still pull at, and how its training went.

Analyses ask about one fact at a time; a survey asks about a state, with the facts that are looked
into as its examples.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.explain.timeline import leading_layers, turning_rows
from restor_interp.measure.directions import difference_directions, direction_rows
from restor_interp.measure.drift import representation_drift
from restor_interp.measure.gradients import Pull, gradient_rows, objects_watched, texts_watched
from restor_interp.measure.interpolation import interpolate
from restor_interp.measure.steering import steering_rows
from restor_interp.measure.timeline import timeline_rows
from restor_interp.measure.tuned import fit_tuned_lens
from restor_interp.measure.weights import weight_geometry
from restor_interp.models.activations import Activations
from restor_interp.models.deltas import State
from restor_interp.pipeline import capturing, explaining, training
from restor_interp.pipeline.building import Builder
from restor_interp.pipeline.workbench import Workbench
from restor_interp.stages.inputs import Texts
from restor_interp.stages.objective import Objective
from restor_interp.stages.token_weights import forget_trajectory, token_weights
from restor_interp.store import CellWriter

GRADIENT_DOCUMENTS = 4
WEIGHED_DOCUMENTS = 8
"""Documents whose gradient is taken, and whose tokens are weighed: a sample, the first ones."""
TEXTS = 24
FEW_TEXTS = 4
"""Held-out texts that directions are found on; and those on the way between two states, and under
gradients, which are run many times."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One kind of cell."""

    compute: Callable[[Workbench, str, CellWriter], None]
    of: Callable[["Known", str], bool]
    """Whether it says something of a state."""
    reads_captures: bool = False
    looks_at_facts: bool = False


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a run has, as far as it decides which surveys make sense."""

    states: Mapping[str, State]
    jobs: Mapping[str, training.Job] = field(default_factory=dict)
    """State -> how it is trained."""

    def trained(self, state: str) -> bool:
        """Made by unlearning with documents: a method, or its sham."""
        job = self.jobs.get(state)
        return job is not None and job.method is not None and job.forget != "none"

    def unlearned(self, state: str) -> bool:
        return self.trained(state) and state != "corrupted"


def add_steps(
    build: Builder, states: Mapping[str, State], sources: Mapping[str, tuple[str, ...]]
) -> None:
    """A cell per survey and state that it is wanted of, and the fitted lens where it is read.

    Surveys of captured activations are left out where nothing is captured. Raises `ConfigError`
    for a survey that does not exist.
    """
    bench, explanation = build.bench, build.bench.config.explanation
    for name in explanation.surveys:
        if name not in SURVEYS:
            raise unknown_name("survey", name, SURVEYS)
    known = Known(
        states=states,
        jobs={} if bench.config.checkpoints else {j.state_name: j for j in training.jobs(bench)},
    )
    wanted = explanation.traced(states)
    corruption = f"train/{training.CORRUPTION}"
    for name in explanation.surveys:
        survey = SURVEYS[name]
        if survey.reads_captures and not explanation.capture:
            continue
        for state in wanted:
            if state == "clean" or not survey.of(known, state):
                continue
            needs = {"data": None, corruption: None, **dict.fromkeys(sources[state])}
            if survey.reads_captures:
                needs |= dict.fromkeys(
                    f"capture/{one}" for one in ("clean", "corrupted", state) if one in states
                )
            if survey.looks_at_facts:
                needs |= dict.fromkeys(("evaluate/clean", "evaluate/corrupted", "margins/clean"))
            build.add(
                f"{name}/{state}",
                functools.partial(survey.compute, bench, state),
                needs=tuple(needs),
                optional=True,
                coefficients=dict(states[state].coefficients),
                facts=explanation.survey_facts if survey.looks_at_facts else 0,
            )


def add_tuned_lens(build: Builder) -> None:
    """The lens that the analysis `tuned_lens` reads through, fitted on the clean state."""
    build.add(
        explaining.TUNED_LENS,
        functools.partial(fit_lens, build.bench),
        needs=("data",),
        optional=True,
    )


def fit_lens(bench: Workbench, writer: CellWriter) -> None:
    """Translators of every layer, and how much they gain on validation texts."""
    lens = fit_tuned_lens(bench.model, bench.retain_texts, seed=bench.config.seed)
    lens.save(writer.folder / "lens")
    writer.rows("tuned_lens", lens.rows())


# ---- the facts and texts that are looked at


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The facts of a survey: their questions, true and false objects."""

    prompts: list[Any]
    true: list[str]
    false: list[str]

    @classmethod
    def of(cls, bench: Workbench) -> "Looked":
        facts = explaining.analysed_facts(bench, bench.config.explanation.survey_facts)
        return cls(
            prompts=bench.prompts(facts, [0]),
            true=[fact.true_objects[0] for fact in facts],
            false=[bench.foils[fact.fact_id] for fact in facts],
        )

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.true, self.false, strict=True))


def _sham_of(bench: Workbench, state: str) -> list[str]:
    return [f"sham_{state}"] if state in bench.config.shams else []


def _captured(bench: Workbench, states: Sequence[str]) -> dict[str, Activations]:
    found = capturing.state_activations(bench.store, states)
    return {state: found[state] for state in states}


# ---- surveys


def survey_weights(bench: Workbench, state: str, writer: CellWriter) -> None:
    """What a state's delta is to the corruption's, matrix by matrix."""
    found = weight_geometry(bench.model, state)
    writer.rows("weights", found.rows)
    writer.tensors("spectra", found.spectra)


def survey_drift(bench: Workbench, state: str, writer: CellWriter) -> None:
    """How far activations moved from the clean ones, layer by layer."""
    captured = _captured(bench, ("clean", state))
    rows = representation_drift(captured, roles=bench.roles, states=[state], seed=bench.config.seed)
    writer.rows("drift", rows)


def survey_directions(bench: Workbench, state: str, writer: CellWriter) -> None:
    """What a state adds on texts about nobody; taken out of it, and put into the clean model."""
    own, *shams = difference_directions(
        bench.model, bench.heldout_texts[:TEXTS], states=[state, *_sham_of(bench, state)]
    )
    depth = bench.model.num_layers
    layers = [depth // 3, 2 * depth // 3, depth - 1]
    looked = Looked.of(bench)
    writer.rows("directions", direction_rows(bench.model, own, layers=layers))
    writer.rows(
        "steering",
        steering_rows(
            bench.model, looked.prompts, looked.pairs, own, controls=shams, layers=layers[1:2]
        ),
    )


def survey_interpolation(bench: Workbench, state: str, writer: CellWriter) -> None:
    """What is known on the straight way to a state: from the clean one, and from the corrupted."""
    looked = Looked.of(bench)
    rows: list[dict[str, Any]] = []
    for start in ("clean", "corrupted"):
        if start != state:
            way = interpolate(
                bench.model,
                start,
                state,
                looked.prompts,
                looked.true,
                looked.false,
                bench.heldout_texts[:FEW_TEXTS],
            )
            rows += way.rows()
    writer.rows("interpolation", rows)


def _objective(bench: Workbench, job: training.Job, *, documents: int | None = None) -> Objective:
    """What a job minimises, over its first documents or all of them."""
    if job.method is None:
        raise ConfigError(f"{job.state_name} was not trained by a method of this run")
    texts = {name: own[:documents] for name, own in training.texts_of(bench, job).items()}
    retain = bench.retain_texts[:documents] if job.method.needs_retain else ()
    return Objective(
        bench.model,
        job.method,
        job.settings,
        job.training,
        Texts(retain=retain, **texts),
        start=job.start,
        seed=bench.config.seed,
    )


def _job(bench: Workbench, state: str) -> training.Job:
    return next(job for job in training.jobs(bench) if job.state_name == state)


def survey_forget_weights(bench: Workbench, state: str, writer: CellWriter) -> None:
    """Which tokens of its documents a method would go on to change, before and after it did."""
    job = _job(bench, state)
    assert job.method is not None
    objective = _objective(bench, job, documents=WEIGHED_DOCUMENTS)
    told = training.texts_of(bench, job)
    texts, spans = (told[name][:WEIGHED_DOCUMENTS] for name in ("forget", "spans"))
    steps = bench.store.part(f"train/{job.name}", "training")
    rows: list[dict[str, Any]] = []
    for now, step in ((job.start, 0), (state, len(steps))):
        with bench.model.at(now):
            found = token_weights(objective, texts, spans)
        rows += found.rows(state=state, method=job.method.name, step=step)
    writer.rows("forget_weights", rows)
    trajectory = forget_trajectory(_objective(bench, job), steps.to_dict("records"))
    writer.rows("forget_trajectory", [{"state": state, **row} for row in trajectory])


def survey_gradients(bench: Workbench, state: str, writer: CellWriter) -> None:
    """What a first step of a method, and one more at its end, does to facts and text, beside the
    same steps of its sham."""
    looked = Looked.of(bench)
    jobs = [_job(bench, name) for name in (state, *_sham_of(bench, state))]
    pulls = []
    for job in jobs:
        objective = _objective(bench, job, documents=GRADIENT_DOCUMENTS)
        pulls.append(
            Pull(
                method=state,
                parts=objective.parts,
                documents="own" if job.forget == "documents" else "sham",
                sign=objective.sign,
            )
        )
    watched = [
        *objects_watched(bench.model, looked.prompts, looked.true, of="true"),
        *objects_watched(bench.model, looked.prompts, looked.false, of="false"),
        texts_watched(bench.model, bench.heldout_texts[:FEW_TEXTS], of="retain"),
    ]
    rows = [
        row
        for now in ("corrupted", state)
        for row in gradient_rows(bench.model, now, pulls, watched)
    ]
    writer.rows("gradients", rows)


def survey_timeline(bench: Workbench, state: str, writer: CellWriter) -> None:
    """At which step, and in which layer first, true objects come back and false ones go."""
    job = _job(bench, state)
    folder = bench.store.cell_folder(f"train/{job.name}") / "checkpoints"
    started = "corrupted" if job.start.coefficients else "clean"
    ends = _captured(bench, (started, state))
    total = len(bench.store.part(f"train/{job.name}", "training"))
    captures = {0: ends[started]}
    if _adds_what_it_trains(job):
        captures[total] = ends[state]
    for path in sorted(folder.glob("step_*")):
        captures[int(path.name.removeprefix("step_"))] = Activations.open(path)
    rows = timeline_rows(captures, state=state)
    writer.rows("timeline", rows)
    turnings = turning_rows(pd.DataFrame(rows))
    writer.rows("turnings", turnings)
    writer.rows("leading_layers", leading_layers(pd.DataFrame(turnings)))


def _adds_what_it_trains(job: training.Job) -> bool:
    """Not where the state subtracts it (task arithmetic): training never stood there."""
    return job.state.coefficients.get(job.name, 0.0) > 0


def _any(known: Known, state: str) -> bool:
    del known, state
    return True


def _unlearned(known: Known, state: str) -> bool:
    return known.unlearned(state)


def _has_logits(known: Known, state: str) -> bool:
    """Its loss gives tokens a weight, and its documents are told apart."""
    job = known.jobs.get(state)
    if not known.unlearned(state) or job is None or job.method is None:
        return False
    return job.method.loss is not None and not job.method.on_states and not job.training.packing


def _with_checkpoints(known: Known, state: str) -> bool:
    return known.trained(state) and known.jobs[state].training.checkpoints > 0


SURVEYS: Mapping[str, Survey] = {
    "weights": Survey(compute=survey_weights, of=_any),
    "drift": Survey(compute=survey_drift, of=_any, reads_captures=True),
    "directions": Survey(compute=survey_directions, of=_any, looks_at_facts=True),
    "interpolation": Survey(compute=survey_interpolation, of=_any, looks_at_facts=True),
    "forget_weights": Survey(compute=survey_forget_weights, of=_has_logits),
    "gradients": Survey(compute=survey_gradients, of=_unlearned, looks_at_facts=True),
    "timeline": Survey(compute=survey_timeline, of=_with_checkpoints, reads_captures=True),
}
"""Name, also of the cells -> what it is."""
