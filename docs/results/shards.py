"""Runs kept as small tables, from which alone pages are written, wherever the runs may be.

A shard is a folder with a parquet file per table and `shard.json`, written last, which says of
which configuration they are: a run that has one need not be computed again.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import restor_interp
from restor_interp.errors import BusyError
from restor_interp.explain.measured import Measured
from restor_interp.pipeline import Run, run
from restor_interp.pipeline.designs import Part
from restor_interp.presets import RunConfig
from restor_interp.store import digest

TOLD = "shard.json"
MEASURED = {
    "facts": ["fact_id", "entity", "relation", "role", "known", "known_specific", "margin"],
    "answers": ["fact_id", "context_id", "state", "draw", "outcome"],
    "choices": ["fact_id", "context_id", "state", "category", "mean_logprob", "sum_logprob"],
    "margins": ["fact_id", "context_id", "state", "margin"],
}
"""What a run is read from, fact by fact (`restor_interp.explain.measured`)."""


@dataclass(frozen=True)
class Shard:
    """The tables of one run."""

    folder: Path
    told: Mapping[str, Any]
    """`seed`, `rotation`, `seconds`, `failures`, `version`."""

    @property
    def key(self) -> tuple[int, int]:
        return self.told["seed"], self.told["rotation"]

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.parquet").is_file()

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"{name}.parquet")

    def measured(self) -> Measured:
        return Measured(*(self.table(name) for name in MEASURED))


def mark(config: RunConfig) -> str:
    """What a run follows from: what is set. The folder of the official files is a place, not a
    setting, and a setting that came later and is not set changes nothing."""
    told = config.model_dump(mode="json", exclude={"data": {"restor"}}, exclude_none=True)
    return digest(told)


def is_done(folder: Path, config: RunConfig) -> bool:
    """Whether this very configuration has a shard there."""
    told = folder / TOLD
    return told.is_file() and json.loads(told.read_text())["config"] == mark(config)


def read_shards(tier: Path) -> Iterator[Shard]:
    """Every shard in a tier's folder, by name."""
    for told in sorted(tier.glob(f"*/{TOLD}")):
        yield Shard(told.parent, json.loads(told.read_text()))


def compute(
    todo: Sequence[Part],
    tables: Path,
    runs: Path,
    kept: Callable[[Run], Mapping[str, pd.DataFrame]],
) -> None:
    """Every run of a design that has no shard in the folder `tables`, in folders of `runs`; of
    each, what `kept` names. A run that another process works at is left to it."""
    for part in todo:
        if is_done(tables / part.name, part.config):
            continue
        started = time.monotonic()
        try:
            made = run(part.config, out=runs / part.name)
        except BusyError:
            print(f"{part.name} is in work elsewhere", flush=True)
            continue
        about = {"seed": part.seed, "rotation": part.rotation}
        seconds = time.monotonic() - started
        write_shard(tables / part.name, kept(made), made, part.config, seconds=seconds, **about)


def measured_tables(made: Run) -> dict[str, pd.DataFrame]:
    """Of a run, what `MEASURED` names: greedy answers alone, margins where there is one."""
    tables: dict[str, Any] = {name: made.table(name)[columns] for name, columns in MEASURED.items()}
    tables["answers"] = tables["answers"].loc[tables["answers"]["draw"].eq(0)]
    tables["margins"] = tables["margins"].loc[tables["margins"]["margin"].notna()]
    return tables


def write_shard(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    made: Run,
    config: RunConfig,
    *,
    seed: int,
    rotation: int,
    seconds: float,
) -> None:
    """A run's shard, numbers to three decimals, its description last."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, table in tables.items():
        _rounded(table).to_parquet(folder / f"{name}.parquet", index=False, compression="zstd")
    told = {
        "config": mark(config),
        "seed": seed,
        "rotation": rotation,
        "version": restor_interp.__version__,
        "seconds": round(seconds),
        "failures": made.failures,
    }
    (folder / TOLD).write_text(json.dumps(told, indent=1) + "\n")
    print(f"{folder}: {seconds:.0f} s", flush=True)


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    floats = [name for name in table.columns if table[name].dtype.kind == "f"]
    return table.assign(**{name: table[name].round(3).astype("float32") for name in floats})
