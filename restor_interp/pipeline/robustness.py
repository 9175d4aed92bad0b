"""Does it last? Answers after more training, quantisation, noise, other wordings.

A cell per attack (`restor_interp.stages.attacks`) and state writes rows of the table `robustness`;
`robustness/summary` compares the states (`restor_interp.explain.lasting`) in the table `lasting`.
Rows of step 0 are the state as it was, taken from its cell `evaluate`. After an attack without
training the step is 1. `level` is the number of bits or the size of the noise (0: neither), `part`
tells the halves of a split apart. Answers are greedy, also where the run draws its own.
"""

import functools
from collections.abc import Mapping

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.explain.lasting import lasting_rows
from restor_interp.explain.tables import facts_with_knowledge
from restor_interp.models.deltas import State
from restor_interp.pipeline.attacking import carry_out, job_of
from restor_interp.pipeline.building import Builder
from restor_interp.pipeline.training import rollback_states
from restor_interp.pipeline.workbench import Workbench
from restor_interp.stages.attacks import ATTACKS
from restor_interp.store import CellWriter

TARGETS: Mapping[str, str] = {
    attack.name: attack.target for attack in ATTACKS.values() if attack.target is not None
}
"""Attack that trains -> which object it brings back."""


def add_steps(
    build: Builder,
    states: Mapping[str, State],
    sources: Mapping[str, tuple[str, ...]],
) -> None:
    """A cell for every attack of `config.robustness` and every state it is made on."""
    bench = build.bench
    config = bench.config.robustness
    for name in config.settings:
        if name not in ATTACKS:
            raise unknown_name("attack", name, ATTACKS)
        if name not in config.attacks:
            raise ConfigError(
                f"robustness.settings has settings of {name}, an attack that this run does not "
                "make: add it to robustness.attacks, or leave its settings out"
            )
    jobs = [job_of(bench, name) for name in config.attacks]
    attacked = attacked_states(bench, states)
    cells: list[str] = []
    for job in jobs:
        for state in attacked:
            name = f"robustness/{job.attack.name}/{state}"
            needs = ("data", *sources[state], "evaluate/clean", f"evaluate/{state}")
            build.add(
                name,
                functools.partial(carry_out, bench, job, state),
                needs=tuple(dict.fromkeys(needs)),
                optional=True,
                **job.ingredients(bench),
            )
            cells.append(name)
    if cells:
        keys = {name: build.keys[name] for name in cells}
        build.add(
            "robustness/summary",
            functools.partial(summarise, bench, keys),
            needs=("evaluate/clean", "evaluate/corrupted", "margins/clean"),
            uses=tuple(cells),
            optional=True,
        )


def attacked_states(bench: Workbench, states: Mapping[str, State]) -> tuple[str, ...]:
    """Those that the configuration names; else all but rollbacks and repaired ones.

    Raises `ConfigError` for a state that the run does not have.
    """
    wanted = bench.config.robustness.states
    for name in wanted:
        if name not in states:
            raise unknown_name("state of this run to attack", name, states)
    if wanted:
        return tuple(name for name in states if name in wanted)
    left_out = rollback_states(bench.config)
    return tuple(name for name in states if name not in left_out and not name.endswith("+repair"))


# ---- the states beside each other


def summarise(bench: Workbench, cells: Mapping[str, str], writer: CellWriter) -> None:
    """The table `lasting` out of the attacks that succeeded (`cells`: name -> key)."""
    store = bench.store
    done = [name for name, key in cells.items() if (store.record(name) or {}).get("key") == key]
    answers = store.collect("answers", ["evaluate/clean", "evaluate/corrupted"])
    facts = facts_with_knowledge(
        bench.fact_frame(), answers, store.collect("margins", ["margins/clean"])
    )
    rows = lasting_rows(facts, answers, store.collect("robustness", done), targets=TARGETS)
    writer.rows("lasting", rows)
