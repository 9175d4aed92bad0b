"""The numbers of `restor.md`: computed tier by tier, kept as small tables, written as one page.

    python docs/results/restor.py compute bios    # an hour on 2 cores; goes on where it stopped
    python docs/results/restor.py write           # the page, from the tables beside this file

A tier is computed in parts (`compute bios depth`): a part that is done is not done again, and each
puts its tables into `tables/<tier>/`. The page is made from these tables alone.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from page import write_page

from restor_interp.data.bios import bios_facts
from restor_interp.pipeline import run
from restor_interp.pipeline.designs import run_design
from restor_interp.pipeline.sweeping import sweep
from restor_interp.presets import MethodSettings, RunConfig, resolve
from restor_interp.presets.bios import without_explanation

HERE = Path(__file__).parent
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
STEPS = (30, 120)
"""Learning rates and numbers of steps that every method is tried with: as many trials for all."""
SEEDS, ROTATIONS = 3, 3
LEVELS = (0, 1, 2, 3)
"""Corruption levels k of the part `depth`."""
ATTACKED = ("clean", "corrupted", "npo", "grad_diff", "undial", "task_vector", "retain_only")
ATTACKED += ("sham_npo", "truth_fine_tune")
ATTACKS = ("relearn_false", "relearn_truth", "relearn_half", "quantise_8", "quantise_4", "noise")
ATTACKS += ("rephrase",)
LOCALISED = ("npo", "grad_diff")
"""Methods also run on the claims' spans alone, and on the tokens that corruption made likelier."""


# ---- bios


def bios_sweep(runs: Path) -> Mapping[str, pd.DataFrame]:
    """Every method at every rate and number of steps, on people of whom nothing else is told."""
    base = resolve("bios-all")
    people = sorted({fact.entity for fact in bios_facts()})
    config = base.model_copy(
        update={
            "data": base.data.model_copy(
                update={
                    "corrupted": tuple(people[2::15]),
                    "untouched": tuple(people[7::15]),
                    "sham": tuple(people[12::15]),
                }
            )
        }
    )
    swept = sweep(
        config,
        methods=list(base.methods),
        tries=[
            f"learning_rate={','.join(f'{rate:g}' for rate in RATES)}",
            f"steps={','.join(map(str, STEPS))}",
        ],
        out=runs / "bios-sweep",
    )
    return {name: swept.table(name) for name in ("trials", "selection")}


def chosen_settings(trials: pd.DataFrame, selection: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Method -> the rate and steps that the blind rule takes; the gentler where halves differ."""
    chosen: dict[str, dict[str, Any]] = {}
    for method, own in selection.loc[selection["label"].eq("blind")].groupby("method", sort=False):
        states = own.loc[own["half"].isin(["A", "B"]), "chosen"].dropna()
        found = [json.loads(text) for text in trials.loc[trials["state"].isin(states), "training"]]
        chosen[str(method)] = min(
            ({name: one[name] for name in ("learning_rate", "steps")} for one in found),
            key=lambda one: one["learning_rate"] * one["steps"],
            # no trial kept the untouched facts
            default={"learning_rate": min(RATES), "steps": min(STEPS)},
        )
    return chosen


def bios_config() -> RunConfig:
    """`bios-all` with the settings that were chosen, and localised targets beside whole texts."""
    base = resolve("bios-all")
    tables = HERE / "tables" / "bios"
    settings = chosen_settings(
        pd.read_csv(tables / "trials.csv"), pd.read_csv(tables / "selection.csv")
    )
    methods = {name: MethodSettings(method=name, training=settings[name]) for name in base.methods}
    for name in LOCALISED:
        for target in ("claims", "changed"):
            methods[f"{name}-{target}"] = MethodSettings(
                method=name, training={**settings[name], "target": target}
            )
    return base.model_copy(update={"methods": methods})


def bios_design(runs: Path) -> Mapping[str, pd.DataFrame]:
    """All methods, their shams and rollbacks, over seeds and rotations."""
    design = run_design(bios_config(), out=runs / "bios-design", seeds=SEEDS, rotations=ROTATIONS)
    parts = [design.run(part.seed, part.rotation).table("summary") for part in design.parts]
    scores = pd.concat([part.loc[part["metric"].str.startswith("score_")] for part in parts])
    columns = ["state", "role", "metric"]
    return {
        "pooled": design.table("pooled"),
        "pooled_flips": design.table("pooled_flips"),
        "scores": scores.groupby(columns, sort=False)["value"].mean().reset_index(),
    }


def bios_depth(runs: Path) -> Mapping[str, pd.DataFrame]:
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
            corruption = {**base.corruption, **changes}
            config = base.model_copy(
                update={
                    "data": data,
                    "corruption": {key: own for key, own in corruption.items() if own is not None},
                }
            )
            name = f"bios-depth-k{k}-{schedule.partition(',')[0].replace(' ', '-')}"
            design = run_design(config, out=runs / name, seeds=SEEDS)
            pooled = design.table("pooled")
            steps = design.run(base.seed, 0).table("training")["step"].max()
            found.append(pooled.assign(k=k, schedule=schedule, steps=steps))
    joined = pd.concat(found)
    return {"depth": joined.loc[joined["state"].isin(["clean", "corrupted"])]}


def bios_robustness(runs: Path) -> Mapping[str, pd.DataFrame]:
    """Every attack on some states of one run of the design."""
    design = run_design(bios_config(), out=runs / "bios-design", seeds=SEEDS, rotations=ROTATIONS)
    first = design.parts[0]
    attacked = first.config.model_copy(
        update={
            "robustness": first.config.robustness.model_copy(
                update={
                    "attacks": ATTACKS,
                    "states": ATTACKED,
                    # This small model shrugs off what shakes a large one.
                    "settings": {"noise": {"scales": (0.3, 0.5, 1.0)}},
                }
            )
        }
    )
    # In that run's own folder: only the attacks are computed.
    done = run(attacked, out=design.folder / first.name)
    return {"lasting": done.table("lasting")}


Part = Callable[[Path], Mapping[str, pd.DataFrame]]
TIERS: Mapping[str, Mapping[str, Part]] = {
    "bios": {
        "sweep": bios_sweep,
        "design": bios_design,
        "depth": bios_depth,
        "robustness": bios_robustness,
    },
}


# ---- tables


def compute(tier: str, parts: Sequence[str], runs: Path) -> None:
    """The parts of a tier, each with its tables."""
    folder = HERE / "tables" / tier
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or TIERS[tier]:
        for name, table in TIERS[tier][part](runs).items():
            # Columns that say nothing here, and digits that nobody reads, are left out.
            kept = table.drop(columns="seed", errors="ignore").dropna(axis=1, how="all")
            kept.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
            print(f"{tier}/{part}: {folder / name}.csv, {len(kept)} rows", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    computing = commands.add_parser("compute", help="the tables of a tier")
    computing.add_argument("tier", choices=TIERS)
    computing.add_argument("parts", nargs="*")
    computing.add_argument("--runs", type=Path, default=Path("runs/results"))
    commands.add_parser("write", help="the page, from the tables")
    told = parser.parse_args()
    if told.command == "compute":
        compute(told.tier, told.parts, told.runs)
    else:
        write_page(HERE)


if __name__ == "__main__":
    main()
