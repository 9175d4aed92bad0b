"""The cells that explain: analyses, probes, and the verdict over all tables."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from restor_interp.definitions import Definition, Kind, find_definition
from restor_interp.errors import RestorError
from restor_interp.explain.equal import equal_rows
from restor_interp.explain.flips import flip_rows
from restor_interp.explain.measured import Measured
from restor_interp.explain.readings import TABLES as READ_FROM
from restor_interp.explain.retention import retained
from restor_interp.explain.selection import selection_rows, trial_rows, trials_of
from restor_interp.explain.sensitivity import sensitivity_rows
from restor_interp.explain.tables import facts_with_knowledge, fate_rows, summary_rows
from restor_interp.explain.transitions import transition_rows
from restor_interp.explain.verdicts import verdicts
from restor_interp.facts import Fact
from restor_interp.measure.tuned import TunedLens
from restor_interp.pipeline.capturing import state_activations
from restor_interp.pipeline.measuring import spelled_candidates
from restor_interp.pipeline.workbench import Workbench
from restor_interp.presets import AnalysisSettings
from restor_interp.prompts import Prompt
from restor_interp.store import CellWriter

LENS = "logit_lens"
"""The one analysis that is cheap enough to look at more facts and states than the others."""

OTHER_FACTS = 2
"""How many facts about other entities an analysis is offered."""

TUNED_LENS = "tuned_lens"
"""The cell with the fitted lens, and the analysis that reads through it."""

RETENTION = "retention"
"""The analysis that fates are joined with, and its table."""

JUDGED_FROM = tuple(
    f"analysis/{name}/"
    for name in (
        RETENTION,
        *("grafting", "cross_state_patching", LENS, "tuned_lens"),
        *("attention_knockout", "direct_logits"),
    )
)
"""How the names of the cells begin that a verdict on a mechanism is made of."""


# ---- which definitions, on what


def definitions(bench: Workbench, kind: Kind) -> list[Definition]:
    """The analyses or probes that this run asks for."""
    explanation = bench.config.explanation
    names = explanation.analyses if kind == "analysis" else explanation.probes
    return [find_definition(kind, name) for name in names]


def of_its_own(bench: Workbench, definition: Definition) -> AnalysisSettings:
    """What an analysis does otherwise than the others."""
    return bench.config.explanation.per_analysis.get(definition.name, AnalysisSettings())


def analysed_states(
    bench: Workbench, definition: Definition, states: Iterable[str]
) -> tuple[str, ...]:
    """The states in which an analysis is run; of those wanted, the ones that this run has."""
    explanation = bench.config.explanation
    usual = explanation.lens_states if definition.name == LENS else explanation.traced_states
    wanted = of_its_own(bench, definition).states or usual
    return tuple(state for state in states if not wanted or state in wanted)


def number_of_facts(bench: Workbench, definition: Definition) -> int:
    """How many facts an analysis looks at."""
    explanation, own = bench.config.explanation, of_its_own(bench, definition).facts
    usual = explanation.lens_facts if definition.name == LENS else explanation.traced_facts
    return usual if own is None else own


def analysed_facts(bench: Workbench, number: int, *, balanced: bool = False) -> list[Fact]:
    """The facts that are looked into: what corruption took first, each entity in turn.

    In order: specific knowledge that the corrupted state has lost, then other specific knowledge
    about corrupted entities, then about untouched ones, then the rest. `balanced`: of these, the
    first specific knowledge about untouched entities makes up half, as far as there is as much.
    """
    half = bench.config.questions.contexts / 2
    lost = {name for name, times in bench.times_right("corrupted").items() if times <= half}
    specific = bench.known_specific

    def rank(fact: Fact) -> int:
        role = bench.roles[fact.fact_id]
        if not specific[fact.fact_id]:
            return 3
        if role == "untouched":
            return 2
        return 0 if fact.fact_id in lost else 1

    chosen: list[Fact] = []
    for wanted in range(4):
        queues: dict[str, list[Fact]] = {}
        for fact in bench.asked:
            if rank(fact) == wanted:
                queues.setdefault(fact.entity, []).append(fact)
        while any(queues.values()):
            chosen += [queue.pop(0) for queue in queues.values() if queue]
    if not balanced:
        return chosen[:number]
    untouched = [fact for fact in chosen if rank(fact) == 2][: number // 2]
    rest = [fact for fact in chosen if fact not in untouched]
    return rest[: number - len(untouched)] + untouched


def traced_facts(bench: Workbench) -> list[Fact]:
    """The facts that analyses usually look at."""
    return analysed_facts(bench, bench.config.explanation.traced_facts)


def is_traced(bench: Workbench, state: str) -> bool:
    """Whether analyses usually look at a state; what was there before any method always counts."""
    traced = bench.config.explanation.traced_states
    return not traced or state in ("clean", "corrupted", *traced)


def traced_in(bench: Workbench, definition: Definition, state: str) -> dict[str, Any]:
    """What determines which facts count as traced, for an analysis that asks."""
    if "traced" not in definition.given:
        return {}
    return {"traced": bench.config.explanation.traced_facts if is_traced(bench, state) else 0}


def read_by(definition: Definition) -> tuple[str, ...]:
    """Cells of the run that an analysis is offered something of."""
    return (TUNED_LENS,) if TUNED_LENS in definition.given else ()


# ---- analyses


def run_analysis(bench: Workbench, definition: Definition, state: str, writer: CellWriter) -> None:
    """One analysis of the chosen facts in one state; a fact that fails leaves a reason."""
    rows: dict[str, list[dict[str, Any]]] = {}
    tensors: dict[str, Any] = {}
    balanced = "role" in definition.given
    facts = analysed_facts(bench, number_of_facts(bench, definition), balanced=balanced)
    table = "failures"
    for done, fact in enumerate(facts):
        (prompt,) = bench.prompts([fact], [0])
        keywords = {
            "states": (state,),
            "true": fact.true_objects[0],
            "false": bench.foils[fact.fact_id],
            **of_its_own(bench, definition).settings,
            **_offered(bench, definition, fact, state),
        }
        fixed = {"fact_id": fact.fact_id, "context_id": prompt.context_id, "state": state}
        try:
            result = definition.run(bench.model, prompt, fact, **keywords)
        except RestorError as error:
            rows.setdefault(table, []).append(
                fixed | {"cell": f"analysis/{definition.name}/{state}", "reason": str(error)}
            )
        else:
            for name, found in {result.table: result.rows, **result.further}.items():
                rows.setdefault(name, []).extend({**fixed, "reason": None, **row} for row in found)
            tensors |= result.tensors
        bench.progress.advanced(done + 1, len(facts))
    for name, found in rows.items():
        writer.rows(name, found)
    if tensors:
        writer.tensors("tensors", tensors)


def _offered(bench: Workbench, definition: Definition, fact: Fact, state: str) -> dict[str, Any]:
    """What an analysis is given because it names it (`OFFERED`)."""
    questions = bench.config.questions
    offers: dict[str, Callable[[], Any]] = {
        "substitute": lambda: next(iter(bench.substitutes(fact, 1)), None),
        "others": lambda: bench.substitutes(fact, questions.substitutes),
        "candidates": lambda: spelled_candidates(bench, fact),
        "other_contexts": lambda: bench.prompts([fact], range(1, questions.contexts)),
        "other_facts": lambda: _other_facts(bench, fact),
        "role": lambda: bench.roles[fact.fact_id],
        "traced": lambda: is_traced(bench, state) and fact in traced_facts(bench),
        "tuned_lens": lambda: _fitted_lens(bench),
        "shared": lambda: _shared(bench, definition, fact),
    }
    return {name: offers[name]() for name in offers if name in definition.given}


def _fitted_lens(bench: Workbench) -> TunedLens | None:
    """The lens that the run fitted; None where that failed."""
    folder = bench.store.cell_folder(TUNED_LENS) / "lens"
    if bench not in _LENSES and folder.is_dir():
        _LENSES[bench] = TunedLens.load(folder, bench.model)
    return _LENSES.get(bench)


_LENSES: "weakref.WeakKeyDictionary[Workbench, TunedLens]" = weakref.WeakKeyDictionary()
"""Read once for all facts: it is as large as a layer of the model each."""


def _shared(bench: Workbench, definition: Definition, fact: Fact) -> dict[Any, Any]:
    """What an analysis keeps of a fact from one state to the next, in one process."""
    if _SHARED.get(bench, ("", {}))[0] != definition.name:
        _SHARED[bench] = (definition.name, {})
    return _SHARED[bench][1].setdefault(fact.fact_id, {})


_SHARED: "weakref.WeakKeyDictionary[Workbench, tuple[str, dict[str, dict[Any, Any]]]]" = (
    weakref.WeakKeyDictionary()
)
"""Of the analysis that is at work, by fact: its states follow one another."""


def _other_facts(bench: Workbench, fact: Fact) -> list[tuple[Prompt, str, str]]:
    """Questions about other entities with their true and false objects: in the order in which
    facts are looked into, those of the same relation first."""
    ranked = analysed_facts(bench, len(bench.asked))
    others = [other for other in ranked if other.entity != fact.entity]
    others.sort(key=lambda other: other.relation != fact.relation)
    chosen = others[:OTHER_FACTS]
    return [
        (prompt, other.true_objects[0], bench.foils[other.fact_id])
        for prompt, other in zip(bench.prompts(chosen, [0]), chosen, strict=True)
    ]


# ---- probes


def run_probe(
    bench: Workbench, definition: Definition, states: Sequence[str], writer: CellWriter
) -> None:
    """One probe over the captured activations of all states."""
    result = definition.run(state_activations(bench.store, states), bench.asked)
    writer.rows("probes", [{"probe": definition.name, **row} for row in result.rows])


# ---- the verdict


def explain(
    bench: Workbench,
    states: Sequence[str],
    trainings: Sequence[str],
    inside: Mapping[str, str],
    writer: CellWriter,
) -> None:
    """Facts with what the clean model knows of them, fates with their mechanisms, how far these
    hang on thresholds and how they changed, flips, and the summary of the run.

    A run with several versions of one method is a sweep: also its trials, and which of them would
    be chosen.

    `inside`: cell -> key of those that looked inside (`JUDGED_FROM`); one that failed is left out.
    """
    collect = bench.store.collect
    answers = collect("answers", [f"evaluate/{state}" for state in states])
    choices = collect("choices", [f"evaluate/{state}" for state in states])
    margins = collect("margins", [f"margins/{state}" for state in states])
    training = collect("training", trainings)
    facts = facts_with_knowledge(bench.fact_frame(), answers, margins)
    done = [n for n, key in inside.items() if (bench.store.record(n) or {}).get("key") == key]
    retention = collect(RETENTION, done)
    tables = {name: collect(name, done) for name in READ_FROM}
    held = retained(retention, bench.roles)
    judged = verdicts(facts, margins, held, tables)
    fates = pd.DataFrame(fate_rows(facts, answers, margins, choices, held, judged))
    writer.rows("facts", facts)
    writer.rows("fates", fates)
    writer.rows("transitions", transition_rows(facts, fates))
    writer.rows("sensitivity", sensitivity_rows(facts, margins, retention, tables))
    writer.rows("flips", flip_rows(facts, answers))
    writer.rows("summary", summary_rows(facts, answers, choices, margins, fates, training))
    methods = bench.config.methods
    trials = trials_of(methods)
    if trials:  # several versions of a method: a sweep
        measured = Measured(facts, answers, choices, margins)
        writer.rows("trials", trial_rows(methods))
        writer.rows("selection", selection_rows(measured, trials))
        if len(trials) > 1:
            writer.rows("equal_forgetting", equal_rows(measured, trials, training))
