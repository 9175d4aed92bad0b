"""The numbers of `mechanisms.md`: how unlearning methods differ inside, computed run by run.

    python docs/results/mechanisms.py compute bios --seeds 2   # goes on where it stopped
    python docs/results/mechanisms.py add runs/demo --name demo
    python docs/results/mechanisms.py write                    # the page and its figures

Each run leaves a shard in `tables/mechanisms/<tier>/`; the page is written from shards alone. Runs
of `bios` are those of `restor.py compute bios design`, in the same folders, with a look inside: a
training that one of the two scripts has made the other does not make again, as long as both run
with as many threads (set OMP_NUM_THREADS).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mechanism_counts import REFERENCES
from mechanism_page import TIERS, write_page
from restor import HERE, ROTATIONS, TABLES, with_chosen
from shards import compute, measured_tables, write_shard

from restor_interp.explain.predictors import lost_facts
from restor_interp.pipeline import Run, open_run
from restor_interp.pipeline.designs import parts
from restor_interp.presets import AnalysisSettings, ExplanationSettings, RunConfig, resolve

SHARDS = TABLES / "mechanisms"
SEEDS = 1
FACTS = 64
"""Facts whose retention is measured in every state: half of them untouched, the others of those
that corruption took, each person in turn (about 59 of a run; with 120 they are all in)."""
REFUTED = 4
"""Facts on which refuters are put to the test in every state: of as many people."""
EVERYBODY = 128
"""More facts than a run has: what is cheap, and what foretells restoration, is measured of all."""

WHOLE = ("fates", "summary", "transitions", "sensitivity")
"""Tables of a run that its shard has as they are."""
RETENTION = ["fact_id", "state", "donor_kind", "site", "layer", "share"]


def bios_config(facts: int = FACTS) -> RunConfig:
    """Every method of `bios-all` at the settings that were chosen on other people, its sham, the
    references and the corruption rolled back, looked into."""
    base = with_chosen(resolve("bios-all"), "bios")
    shams = (f"sham_{name}" for name in base.shams if name not in REFERENCES)
    states = ("clean", "corrupted", *base.methods, *shams)
    return base.model_copy(update={"explanation": looking_inside(states, facts)})


def looking_inside(states: tuple[str, ...], facts: int) -> ExplanationSettings:
    """What verdicts and their refuters are made of, and what foretells restoration."""
    patched = {"kinds": ["subject", "attn"], "back": False}
    grafted = {"by": "late", "late": False, "controls": 3, "judged_layers": 0}
    return ExplanationSettings(
        capture=False,
        probe_controls=False,
        probes=(),
        surveys=(),
        lens_facts=EVERYBODY,
        lens_states=states,
        traced_facts=REFUTED,
        traced_states=states,
        analyses=(
            *("logit_lens", "causal_trace", "retention", "cross_state_patching", "grafting"),
            *("attention_knockout", "direct_logits"),
        ),
        per_analysis={
            "retention": AnalysisSettings(facts=facts),
            "direct_logits": AnalysisSettings(facts=facts),
            "causal_trace": AnalysisSettings(facts=EVERYBODY, states=("clean",)),
            "cross_state_patching": AnalysisSettings(settings=patched),
            "grafting": AnalysisSettings(settings=grafted),
        },
    )


def kept(made: Run) -> Mapping[str, pd.DataFrame]:
    """The tables of a run's shard."""
    there = {path.stem for path in (made.folder / "tables").glob("*.parquet")}
    needed = ("facts", "answers", "choices", "margins", "lens", "traces")
    read = {name: made.table(name) for name in needed if name in there}
    tables = {name: made.table(name).drop(columns="seed") for name in WHOLE if name in there}
    if "retention" in there:
        retention: Any = made.table("retention")[RETENTION]
        tables["retention"] = retention
    return {**tables, **measured_tables(made), "predictors": lost_facts(read, run=made.folder.name)}


def compute_bios(runs: Path, seeds: int, facts: int = FACTS) -> None:
    """All runs on the calibration model that have no shard."""
    todo = parts(bios_config(facts), seeds=seeds, rotations=ROTATIONS)
    compute(todo, SHARDS / "bios", runs / "bios-design", kept)


def add(folder: Path, tier: str) -> None:
    """The shard of a finished run, which is only read."""
    made = open_run(folder)
    write_shard(
        SHARDS / tier / made.folder.resolve().name,
        kept(made),
        made,
        made.config,
        seed=made.config.seed,
        rotation=0,
        seconds=made.manifest["seconds"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    computing = commands.add_parser("compute", help="the shards of a tier")
    computing.add_argument("tier", choices=["bios"])
    computing.add_argument("--runs", type=Path, default=Path("runs/results"))
    computing.add_argument("--seeds", type=int, default=SEEDS)
    computing.add_argument("--facts", type=int, default=FACTS, help="looked into in every state")
    adding = commands.add_parser("add", help="a finished run as a shard of a tier")
    adding.add_argument("folder", type=Path)
    adding.add_argument("--name", choices=TIERS, required=True, help="of the tier")
    commands.add_parser("write", help="the page and its figures, from the shards")
    told = parser.parse_args()
    if told.command == "compute":
        compute_bios(told.runs, told.seeds, told.facts)
    elif told.command == "add":
        add(told.folder, told.name)
    else:
        print(write_page(HERE, SHARDS))


if __name__ == "__main__":
    main()
