"""The cells that capture activations: every state at the question of every fact, and what probes
are compared with.

    capture/<state>          the questions, at the subject's last token and at the last one
    statements/<state>       sentences that state the true, the false and a random object
    wrong_entity/<state>     the same questions about another entity
    random_weights           the questions in a model that knows nothing
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

from restor_interp.corpus import statements
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.facts import Fact
from restor_interp.measure.capture import Passage, capture, object_vectors
from restor_interp.models.activations import Activations, StateActivations
from restor_interp.models.deltas import State
from restor_interp.models.random_weights import random_weights
from restor_interp.pipeline.building import Builder
from restor_interp.pipeline.workbench import Workbench
from restor_interp.presets import ExplanationSettings
from restor_interp.prompts import Prompt, with_substitute
from restor_interp.store import CellWriter, Store

FOLDER = "activations"
"""Of a cell, in which its activations lie."""
STATEMENTS, WRONG_ENTITY, RANDOM_WEIGHTS = "statements", "wrong_entity", "random_weights"
OTHERS = (STATEMENTS, WRONG_ENTITY)
"""Other prompts than the questions: cells by state, and what a probe calls them."""
TEMPLATES = 2
"""Sentences per statement: a probe can be scored in words that it has not seen."""


def add_steps(build: Builder, states: Mapping[str, State]) -> None:
    """The questions in every state; with `explanation.probe_controls` also the rest."""
    bench, explanation = build.bench, build.bench.config.explanation
    if not explanation.capture:
        return
    _check_captured(explanation, states)
    for name in explanation.captured(states):
        build.add(
            f"capture/{name}",
            functools.partial(capture_state, bench, name),
            needs=(f"evaluate/{name}",),
        )
    if not explanation.probe_controls:
        return
    for name in explanation.traced(states):
        build.add(
            f"{STATEMENTS}/{name}",
            functools.partial(capture_statements, bench, name),
            needs=("data", f"evaluate/{name}"),
            facts=explanation.statement_facts,
        )
    build.add(
        f"{WRONG_ENTITY}/clean",
        functools.partial(capture_wrong_entity, bench, "clean"),
        needs=("data",),
    )
    build.add(RANDOM_WEIGHTS, functools.partial(capture_random, bench), needs=("data",))


def _check_captured(explanation: ExplanationSettings, states: Mapping[str, State]) -> None:
    """Raises `ConfigError` for a state that does not exist, and where one is left out that others
    are compared with."""
    for name in explanation.captured_states:
        if name not in states:
            raise unknown_name("state of this run to capture", name, states)
    captured = explanation.captured(states)
    needed = dict.fromkeys(("clean", "corrupted", *explanation.traced(states)))
    absent = [name for name in needed if name in states and name not in captured]
    if absent:
        raise ConfigError(
            f"explanation.captured_states is {list(explanation.captured_states)}, without "
            f"{', '.join(absent)}: what is looked into (explanation.traced_states) and what it is "
            "compared with must be captured"
        )


def cells_of(build: Builder) -> tuple[str, ...]:
    """Every cell whose captures a probe may read."""
    kinds = ("capture", *OTHERS, RANDOM_WEIGHTS)
    return tuple(name for name in build.keys if name.split("/")[0] in kinds)


def state_activations(store: Store, states: Sequence[str]) -> StateActivations:
    """What was captured, state by state, opened lazily; with whatever there is beside it."""

    def opened(kind: str, names: Sequence[str]) -> dict[str, Activations]:
        folders = {name: store.cell_folder(f"{kind}/{name}") / FOLDER for name in names}
        return {name: Activations.open(path) for name, path in folders.items()}

    others = {}
    for kind in OTHERS:
        there = [name for name in states if (store.cell_folder(f"{kind}/{name}") / FOLDER).is_dir()]
        if there:
            others[kind] = StateActivations(opened(kind, there))
    control = store.cell_folder(RANDOM_WEIGHTS) / FOLDER
    return StateActivations(
        opened("capture", states),
        object_vectors=store.cell_folder("capture/clean") / "object_vectors.safetensors",
        others=others,
        controls={RANDOM_WEIGHTS: Activations.open(control)} if control.is_dir() else {},
    )


# ---- questions


def capture_state(bench: Workbench, state: str, writer: CellWriter) -> None:
    """Activations of one state at the question of every fact, and the objects' lens."""
    with bench.model.at(state):
        write_capture(bench, capture_prompts(bench), writer.folder / FOLDER)
    if state == "clean":
        names = sorted({name for pool in bench.facts.pools.values() for name in pool})
        vectors = object_vectors(bench.model, names)
        writer.tensors("object_vectors", vectors)


def capture_prompts(bench: Workbench, *, limit: int | None = None) -> list[Prompt]:
    """The questions that activations are captured at: one context of every fact, or of some."""
    facts: Sequence[Fact] = bench.asked.facts
    if limit is not None:
        facts = facts[:: max(1, len(facts) // max(limit, 1))][:limit]
    return bench.prompts(facts, [0])


def write_capture(bench: Workbench, prompts: Sequence[Prompt], folder: Path) -> None:
    """Capture in the model's current weights, whatever they are."""
    capture(
        bench.model,
        prompts,
        folder,
        facts=bench.asked,
        roles=bench.roles,
        objects=[
            (bench.asked_by_id[p.fact_id].true_objects[0], bench.foils[p.fact_id]) for p in prompts
        ],
    )


# ---- what probes are compared with


def capture_statements(bench: Workbench, state: str, writer: CellWriter) -> None:
    """A state reading sentences that state true, planted or false, and random objects."""
    told = statement_passages(bench)
    capture(
        bench.model,
        told,
        writer.folder / FOLDER,
        state=state,
        facts=bench.asked,
        roles=bench.roles,
        sites=("resid",),
        positions=("last",),
    )


def statement_passages(bench: Workbench) -> list[Passage]:
    """Of some facts, corrupted and untouched ones in turn: each object in each template."""
    facts: Sequence[Fact] = bench.asked.facts
    number = bench.config.explanation.statement_facts
    chosen = facts[:: max(1, len(facts) // max(number, 1))][:number]
    told = []
    for fact in chosen:
        true, foil, *rest = bench.candidates(fact)
        objects = {"true": true, "false": foil, **({"random": rest[0]} if rest else {})}
        for place, template in enumerate(statements(bench.facts.relations[fact.relation])):
            if place == TEMPLATES:
                break
            for label, name in objects.items():
                told.append(
                    Passage(
                        text_id=f"{fact.fact_id}/{place}/{label}",
                        text=template.format(entity=fact.entity, object=name),
                        fact_id=fact.fact_id,
                        context_id=place,
                        entity=fact.entity,
                        relation=fact.relation,
                        label=label,
                    )
                )
    return told


def capture_wrong_entity(bench: Workbench, state: str, writer: CellWriter) -> None:
    """Every question asked about another entity; it keeps the fact's id, whose object is then the
    wrong answer."""
    asked = [
        with_substitute(prompt, _another(bench, bench.asked_by_id[prompt.fact_id]))
        for prompt in capture_prompts(bench)
    ]
    capture(
        bench.model,
        asked,
        writer.folder / FOLDER,
        state=state,
        facts=bench.asked,
        roles=bench.roles,
        sites=("resid",),
    )


def _another(bench: Workbench, fact: Fact) -> str:
    """A substitute; without one the next entity of whom something else is true, whatever the
    length of its name: nothing is patched here."""
    for name in bench.substitutes(fact, 1):
        return name
    true = set(bench.facts.accepted(fact))
    others = [other for other in bench.asked if other.entity != fact.entity]
    others.sort(key=lambda other: other.relation != fact.relation)
    return next(o.entity for o in others if not true & set(bench.facts.accepted(o)))


def capture_random(bench: Workbench, writer: CellWriter) -> None:
    """The same questions in a model of the same architecture before any training."""
    capture(
        random_weights(bench.model, seed=bench.config.seed),
        capture_prompts(bench),
        writer.folder / FOLDER,
        facts=bench.asked,
        roles=bench.roles,
        sites=("resid",),
    )
