"""The steps of a run: which cells there are, in which order, and what determines each.

`steps(bench)` is the whole pipeline read from top to bottom. Keys follow from settings alone, so
that `plan` can say what would be computed, and why, before anything is.
"""

import functools

from restor_interp.disk import sha256_of
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.deltas import State
from restor_interp.pipeline import (
    capturing,
    explaining,
    judging,
    measuring,
    robustness,
    surveys,
    texts,
    training,
)
from restor_interp.pipeline.building import Builder, Step
from restor_interp.pipeline.workbench import Workbench
from restor_interp.store import digest


def steps(bench: Workbench) -> list[Step]:
    """Every step of the run, in the order of work."""
    config = bench.config
    build = Builder(bench)
    add = build.add

    data = config.data.model_dump(mode="json")
    add(
        "data",
        functools.partial(measuring.write_data, bench),
        data=data,
        seed=config.seed,
        facts=digest(repr(bench.facts)),
        # One that is not there is told of by whoever reads it.
        files={
            name: sha256_of(path) if path.is_file() else None
            for name, path in bench.files().items()
        },
        asked=len(bench.asked),
    )

    states: dict[str, State] = {"clean": State({})}
    sources: dict[str, tuple[str, ...]] = {"clean": ()}
    jobs = training.jobs(bench)
    for job in jobs:
        if job.shared:
            add(
                f"shared/{job.state_name}",
                functools.partial(training.share, bench, job),
                needs=(f"train/{job.name}",),
            )
        else:
            sharing = [other for other in jobs if other.shared and other.name == job.name]
            add(
                f"train/{job.name}",
                functools.partial(training.compute, bench, job),
                ready=functools.partial(training.register, bench, job, *sharing),
                needs=("data", *(f"train/{start}" for start in job.start.coefficients)),
                seed=config.seed,
                captured=config.explanation.checkpoint_facts if job.training.checkpoints else 0,
                **job.ingredients(),
            )
        states[job.state_name] = job.state
        sources[job.state_name] = tuple(f"train/{name}" for name in job.state.coefficients)
        if job.name == training.CORRUPTION:
            for name, state in training.rollback_states(config).items():
                states[name] = state
                sources[name] = (f"train/{training.CORRUPTION}",)

    questions = config.questions.ingredients()
    for name, state in states.items():
        add(
            f"evaluate/{name}",
            functools.partial(measuring.evaluate_state, bench, name),
            needs=("data", *sources[name]),
            coefficients=dict(state.coefficients),
            questions=questions,
        )
    for name in states:
        first = ("evaluate/clean", "evaluate/corrupted") if name != "clean" else ("evaluate/clean",)
        add(
            f"margins/{name}",
            functools.partial(measuring.measure_margins, bench, name),
            needs=(*first, f"evaluate/{name}", *(("margins/clean",) if name != "clean" else ())),
        )

    explanation = config.explanation
    if explanation.probes and not explanation.capture:
        raise ConfigError(
            "probes read captured activations: leave explanation.capture on, or set "
            "explanation.probes=[]"
        )
    own_states = [name for own in explanation.per_analysis.values() for name in own.states]
    for name in (*explanation.traced_states, *explanation.lens_states, *own_states):
        if name not in states:
            raise unknown_name("state of this run to look into", name, states)
    selected = ("evaluate/clean", "evaluate/corrupted", "margins/clean")
    capturing.add_steps(build, states)
    analyses = {one.name: one for one in explaining.definitions(bench, "analysis")}
    for name in explanation.per_analysis:
        if name not in analyses:
            raise unknown_name("analysis of this run (explanation.analyses)", name, analyses)
    if explaining.TUNED_LENS in analyses:
        surveys.add_tuned_lens(build)
    for definition in analyses.values():
        own = explaining.of_its_own(bench, definition)
        definition.settings(own.settings)  # says which do not exist
        for name in explaining.analysed_states(bench, definition, states):
            traced = explaining.traced_in(bench, definition, name)
            add(
                f"analysis/{definition.name}/{name}",
                functools.partial(explaining.run_analysis, bench, definition, name),
                needs=(*selected, f"evaluate/{name}", *explaining.read_by(definition)),
                optional=True,
                definition=definition.source_hash,
                facts=explaining.number_of_facts(bench, definition),
                settings=own.settings,
                **traced,
            )
    # Before the probes, which are short: what takes long should not be left for the end.
    surveys.add_steps(build, states, sources)
    for definition in explaining.definitions(bench, "probe"):
        add(
            f"probe/{definition.name}",
            functools.partial(
                explaining.run_probe, bench, definition, explanation.captured(states)
            ),
            needs=capturing.cells_of(build),
            optional=True,
            definition=definition.source_hash,
        )
    texts.add_steps(build, states, sources)
    judging.add_steps(build, tuple(states))
    robustness.add_steps(build, states, sources)

    measured = tuple(
        step.cell.name
        for step in build.steps
        if step.cell.name.split("/")[0] in ("data", "train", "shared", "evaluate", "margins")
    )
    trainings = tuple(name for name in measured if name.startswith(("train/", "shared/")))
    inside = tuple(name for name in build.keys if name.startswith(explaining.JUDGED_FROM))
    keys = {name: build.keys[name] for name in inside}
    add(
        "explain",
        functools.partial(explaining.explain, bench, tuple(states), trainings, keys),
        needs=measured,
        uses=inside,
    )
    return build.steps
