"""The numbers of `restor.md`: computed tier by tier, kept as small tables, written as one page.

    python docs/results/restor.py compute bios     # goes on where it stopped
    python docs/results/restor.py compute atlas design --seeds 1
    python docs/results/restor.py write            # the page, from the tables beside this file

A tier is computed in parts (`compute bios depth`). Each run of a design leaves a shard in
`tables/<tier>/`: what the clean model knew, answers, log-probabilities and margins, fact by fact.
A shard that is there is not computed again, wherever its run may be; the pooled tables, and the
page, are made from shards alone.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from page import write_page
from shards import MEASURED, compute, measured_tables, read_shards

from restor_interp.data.bios import bios_facts
from restor_interp.explain.flips import flip_rows
from restor_interp.explain.measured import CATEGORIES, Measured, estimate_row
from restor_interp.explain.observed import column_of, margins_by_state
from restor_interp.explain.pooling import observe, pooled_rows
from restor_interp.explain.pooling import pool as pool_facts
from restor_interp.explain.prediction import foretold_by
from restor_interp.pipeline import run
from restor_interp.pipeline.designs import parts
from restor_interp.pipeline.sweeping import sweep
from restor_interp.presets import MethodSettings, RunConfig, resolve
from restor_interp.presets.bios import without_explanation
from restor_interp.presets.demo import TUNING_CORRUPTED

HERE = Path(__file__).parent
TABLES = HERE / "tables"
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
STEPS = (30, 120)
"""Learning rates and numbers of steps that every method is tried with on `bios`: as many trials
for all."""
ATLAS_RATES = (7e-4, 1.4e-3, 2.8e-3)
SEEDS, ROTATIONS = 3, 3
LEVELS = (0, 1, 2, 3)
"""Corruption levels k of the part `depth`."""
ATTACKED = ("clean", "corrupted", "npo", "grad_diff", "undial", "task_vector", "retain_only")
ATTACKED += ("sham_npo", "truth_fine_tune")
ATTACKS = ("relearn_false", "relearn_truth", "relearn_half", "quantise_8", "quantise_4", "noise")
ATTACKS += ("rephrase",)
LOCALISED = ("npo", "grad_diff")
TARGETS = ("claims", "changed")
"""Methods also run on parts of their documents: the claims' spans, and the tokens that corruption
made likelier."""
DOCUMENTS = 20
"""Of each person, in the tiers on RESTOR's official documents."""
UNTOUCHED = 12
"""People of RESTOR's facts, besides the corrupted ones, who are asked about."""


@dataclass(frozen=True)
class Job:
    """What was asked for on the command line."""

    tier: str
    runs: Path
    seeds: int
    restor: str | None
    """The folder with RESTOR's official files."""

    @property
    def tables(self) -> Path:
        return TABLES / self.tier

    def write(self, **tables: pd.DataFrame) -> None:
        """Small tables as text; columns that say nothing, and digits nobody reads, left out.

        A table without rows has no file.
        """
        self.tables.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            if table.empty:
                (self.tables / f"{name}.csv").unlink(missing_ok=True)
                continue
            kept = table.drop(columns="seed", errors="ignore").dropna(axis=1, how="all")
            kept.to_csv(self.tables / f"{name}.csv", index=False, float_format="%.5g")
            print(f"{self.tables / name}.csv: {len(kept)} rows", flush=True)


# ---- which settings: every method as many trials, on other entities, chosen without the truth


def bios_sweep(job: Job) -> None:
    """Every method at every rate and number of steps, on people of whom nothing else is told."""
    base = resolve("bios-all")
    people = sorted({fact.entity for fact in bios_facts()})
    groups = {"corrupted": people[2::15], "untouched": people[7::15], "sham": people[12::15]}
    _sweep(job, _among(base, groups), tried("learning_rate", RATES), tried("steps", STEPS))


def atlas_sweep(job: Job) -> None:
    """The methods of `atlas-k0` at every rate, on the entities that the demo was tuned on."""
    base = resolve("atlas-k0")
    _sweep(job, _among(base, {"corrupted": TUNING_CORRUPTED}), tried("learning_rate", ATLAS_RATES))


def _among(config: RunConfig, groups: Mapping[str, Sequence[str]]) -> RunConfig:
    data = {name: tuple(names) for name, names in groups.items()}
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def tried(setting: str, values: Sequence[float]) -> str:
    """`setting=value,value`, as a sweep takes it."""
    return f"{setting}={','.join(f'{value:g}' for value in values)}"


def _sweep(job: Job, config: RunConfig, *tries: str) -> None:
    out = job.runs / f"{job.tier}-sweep"
    swept = sweep(config, methods=list(config.methods), tries=tries, out=out)
    job.write(**{name: swept.table(name) for name in ("trials", "selection")})


def chosen_settings(tier: str) -> dict[str, dict[str, Any]]:
    """Method -> the rate and steps that the blind rule takes; the gentler where halves differ, and
    the gentlest tried where no trial kept the untouched facts."""
    trials = pd.read_csv(TABLES / tier / "trials.csv")
    selection = pd.read_csv(TABLES / tier / "selection.csv")
    training = {
        str(state): {name: told[name] for name in ("learning_rate", "steps") if name in told}
        for state, told in zip(trials["state"], map(json.loads, trials["training"]), strict=True)
    }

    def force(settings: Mapping[str, Any]) -> float:
        return settings["learning_rate"] * settings.get("steps", 1)

    chosen: dict[str, dict[str, Any]] = {}
    for method, own in selection.loc[selection["label"].eq("blind")].groupby("method", sort=False):
        states = own.loc[own["half"].isin(["A", "B"]), "chosen"].dropna()
        all_tried = [training[s] for s in trials.loc[trials["method"].eq(method), "state"]]
        chosen[str(method)] = min([training[s] for s in states] or all_tried, key=force)
    return chosen


def with_chosen(config: RunConfig, tier: str) -> RunConfig:
    """Every method of a configuration at the settings that were chosen in a tier's sweep."""
    settings = chosen_settings(tier)
    methods = {
        name: own.model_copy(update={"training": {**own.training, **settings.get(name, {})}})
        for name, own in config.methods.items()
    }
    return config.model_copy(update={"methods": methods})


# ---- what is run


def bios_config(job: Job) -> RunConfig:
    """`bios-all`, with localised targets beside whole documents."""
    del job
    base = with_chosen(resolve("bios-all"), "bios")
    localised = {
        f"{name}-{target}": MethodSettings(
            method=name, training={**base.methods[name].training, "target": target}
        )
        for name in LOCALISED
        for target in TARGETS
    }
    return base.model_copy(update={"methods": {**base.methods, **localised}})


def atlas_config(job: Job) -> RunConfig:
    """`atlas-k0`: eleven methods."""
    del job
    return with_chosen(resolve("atlas-k0"), "atlas")


def official_config(job: Job) -> RunConfig:
    """`restor-k0` or `-k1` (four methods) on the first documents of each person.

    Rates are those of the atlas tier: nothing was tuned on these data.
    """
    level = job.tier.removeprefix("restor-")
    name, _, repaired = level.partition("-")
    base = resolve(
        f"restor-{name}" + ("+repaired" if repaired else ""),
        [
            f"data.restor={job.restor}",
            f"data.documents_per_entity={DOCUMENTS}",
            "corruption.steps=150",
            "corruption.batch_size=4",
            "unlearning.steps=30",
            "unlearning.batch_size=4",
            "unlearning.retain_batch_size=2",
        ],
    )
    people = [name for name in _evaluated(base) if name not in base.data.corrupted]
    config = _among(base, {"untouched": people[:UNTOUCHED]})
    if level != "k0":
        kept = ("grad_diff", "kl_restor", "npo", "msa", "retain_only")
        config = config.model_copy(
            update={
                "methods": {name: config.methods[name] for name in kept},
                "shams": tuple(name for name in config.shams if name in kept),
            }
        )
    return with_chosen(config, "atlas")


def _evaluated(config: RunConfig) -> list[str]:
    """The people whom RESTOR's facts are asked about."""
    return json.loads((Path(config.data.restor or ".") / "entities.json").read_text())


def design(job: Job, config: RunConfig, rotations: int = 1) -> None:
    """Every run of a tier that has no shard, then the pooled tables of all shards."""
    todo = parts(config, seeds=job.seeds, rotations=rotations)
    compute(todo, job.tables, job.runs / f"{job.tier}-design", measured_tables)
    pool(job)


def pool(job: Job) -> None:
    """The tables over all shards: effects, flips, and RESTOR's category scores."""
    runs = {shard.key: shard.measured() for shard in read_shards(job.tables)}
    flips: Any = pd.concat([pd.DataFrame(flip_rows(m.facts, m.answers)) for m in runs.values()])
    keys = ["state", "role", "clean", "corrupted", "unlearned"]
    job.write(
        pooled=pd.DataFrame(pooled_rows(runs)),
        flips=flips.groupby(keys, sort=False)["n_facts"].sum().reset_index(),
        scores=pd.DataFrame(_scores(runs)),
        confidence=pd.DataFrame(_confidence(runs)),
        localised=pd.DataFrame(_localised(runs)),
    )


def _scores(runs: Mapping[tuple[int, int], Measured]) -> Iterator[dict[str, Any]]:
    """Mean log-probability per token of each category's objects, over facts and runs."""
    for role in ("direct", "untouched"):
        for category in CATEGORIES:
            found = pd.concat(
                [one.scores[category].reindex(one.ids(role, known=True)) for one in runs.values()]
            )
            for state, value in found.mean().items():
                yield {"state": state, "role": role, "metric": f"score_{category}", "value": value}


def _localised(runs: Mapping[tuple[int, int], Measured]) -> Iterator[dict[str, Any]]:
    """What a loss on parts of the documents restores, minus the same method on all of them."""
    states = {state for run in runs.values() for state in run.states}
    for method, target in itertools.product(LOCALISED, TARGETS):
        state = f"{method}-{target}"

        def beyond(run: Measured, state: str = state, method: str = method) -> pd.Series:
            lost = run.chosen("direct", lost=True)
            own, whole = (column_of(run.scored_restored, name, lost) for name in (state, method))
            return own - whole

        if state in states:
            found = pool_facts(observe(runs, beyond)).within(-1, 1)
            yield estimate_row(state, "direct", "restored_minus_whole", found, against=method)


def _confidence(runs: Mapping[tuple[int, int], Measured]) -> Iterator[dict[str, Any]]:
    """How well the clean model's margin alone tells which lost direct facts a state brings back."""
    found = pd.concat([_lost(run) for run in runs.values()], ignore_index=True)
    for state, own in found.groupby("state", sort=False):
        yield {"state": state} | foretold_by(own, "clean_margin")


def _lost(run: Measured) -> pd.DataFrame:
    """A row per lost direct fact and later state, as `foretold_by` takes them."""
    lost = run.chosen("direct", lost=True)
    known = pd.DataFrame(
        {
            "entity": run.entities(lost),
            "clean_margin": column_of(margins_by_state(run.margins), "clean", lost),
        },
        index=lost,
    )
    states = [state for state in run.states if state not in ("clean", "corrupted")]
    return pd.concat(
        [
            known.assign(state=state, restored=column_of(run.scored_restored, state, lost) > 0.5)
            for state in states
        ],
        ignore_index=True,
    )


# ---- further parts


def bios_depth(job: Job) -> None:
    """How deep corruption goes with k: at equal steps, and at equal epochs as in the paper."""
    base = resolve("bios").model_copy(
        update={"methods": {}, "shams": (), "rollback": (), "explanation": without_explanation()}
    )
    found = []
    for k in LEVELS:
        data = base.data.model_copy(update={"k": k})
        for schedule, changes in {
            "equal steps": {"steps": 64, "epochs": None},
            "equal epochs, packed": {"epochs": 4.0, "packing": 256, "shuffle": False},
        }.items():
            settings = {**base.corruption, **changes}
            corruption = {key: own for key, own in settings.items() if own is not None}
            config = base.model_copy(update={"data": data, "corruption": corruption})
            name = f"bios-depth-k{k}-{schedule.partition(',')[0].replace(' ', '-')}"
            made = {
                (part.seed, 0): run(part.config, out=job.runs / name / part.name)
                for part in parts(config, seeds=SEEDS, rotations=1)
            }
            measured = {key: Measured(*map(one.table, MEASURED)) for key, one in made.items()}
            steps = made[base.seed, 0].table("training")["step"].max()
            pooled = pd.DataFrame(pooled_rows(measured))
            found.append(pooled.assign(k=k, schedule=schedule, steps=steps))
    joined = pd.concat(found)
    job.write(depth=joined.loc[joined["state"].isin(["clean", "corrupted"])])


def robustness(job: Job, config: RunConfig, **settings: Any) -> None:
    """Every attack on some states of the first run of a design, in that run's own folder."""
    first = parts(config, seeds=1, rotations=1)[0]
    states = tuple(s for s in ATTACKED if s in ("clean", "corrupted") or _has(config, s))
    attacked = first.config.model_copy(
        update={
            "robustness": config.robustness.model_copy(
                update={"attacks": ATTACKS, "states": states, "settings": settings}
            )
        }
    )
    made = run(attacked, out=job.runs / f"{job.tier}-design" / first.name)
    job.write(lasting=made.table("lasting"))


def _has(config: RunConfig, state: str) -> bool:
    return state in config.methods or state.removeprefix("sham_") in config.shams


def bios_robustness(job: Job) -> None:
    """This small model shrugs off what shakes a large one."""
    config = parts(bios_config(job), seeds=1, rotations=ROTATIONS)[0].config
    robustness(job, config, noise={"scales": (0.3, 0.5, 1.0)})


TIERS: Mapping[str, Mapping[str, Callable[[Job], None]]] = {
    "bios": {
        "sweep": bios_sweep,
        "design": lambda job: design(job, bios_config(job), ROTATIONS),
        "depth": bios_depth,
        "robustness": bios_robustness,
    },
    "atlas": {
        "sweep": atlas_sweep,
        "design": lambda job: design(job, atlas_config(job)),
    },
    "restor-k0": {
        "design": lambda job: design(job, official_config(job)),
        "robustness": lambda job: robustness(job, official_config(job)),
    },
    "restor-k0-repaired": {"design": lambda job: design(job, official_config(job))},
    "restor-k1": {"design": lambda job: design(job, official_config(job))},
}
ONE_SEED = ("restor-k0-repaired", "restor-k1")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    computing = commands.add_parser("compute", help="the tables of a tier")
    computing.add_argument("tier", choices=TIERS)
    computing.add_argument("parts", nargs="*", help="of the tier; none: all of them")
    computing.add_argument("--runs", type=Path, default=Path("runs/results"))
    computing.add_argument("--seeds", type=int, help="runs of a design, as far as they go")
    computing.add_argument("--restor", help="the folder with RESTOR's official files")
    commands.add_parser("write", help="the page, from the tables")
    told = parser.parse_args()
    if told.command == "write":
        write_page(HERE)
        return
    if told.tier.startswith("restor") and not told.restor:
        parser.error(f"{told.tier} needs --restor FOLDER")
    unknown = set(told.parts) - set(TIERS[told.tier])
    if unknown:
        parser.error(f"{told.tier} has the parts {', '.join(TIERS[told.tier])}")
    seeds = told.seeds or (1 if told.tier in ONE_SEED else SEEDS)
    job = Job(tier=told.tier, runs=told.runs, seeds=seeds, restor=told.restor)
    for part in told.parts or TIERS[told.tier]:
        TIERS[told.tier][part](job)


if __name__ == "__main__":
    main()
