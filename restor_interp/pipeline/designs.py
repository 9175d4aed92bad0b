"""A design: the same run over several seeds and rotations, and the tables pooled over them.

    design = run_design("bios", seeds=3, rotations=3, out="runs/bios")
    design.table("pooled")

Every run lies in a folder of its own (`seed0-rot0`, …) and is resumed like any other. A seed
repeats everything: contexts, claims, documents, corruption, trainings. A rotation changes which
entities of the pool (corrupted, untouched and sham ones together) are corrupted, so that over all
rotations every entity is corrupted once.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from restor_interp.errors import BusyError, ConfigError, StorageError
from restor_interp.explain.measured import Measured
from restor_interp.explain.pooling import pooled_rows
from restor_interp.facts import load_facts
from restor_interp.pipeline.running import DESIGN, PlannedCell, plan, run
from restor_interp.pipeline.runs import Run
from restor_interp.pipeline.workbench import Progress
from restor_interp.presets import RunConfig, resolve, validated
from restor_interp.store import Cell, Store, write_atomic

VERSION = 1
"""Raise it when pooling gives other numbers than before."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One run of a design."""

    seed: int
    rotation: int
    config: RunConfig

    @property
    def name(self) -> str:
        return f"seed{self.seed}-rot{self.rotation}"


class Design:
    """The folder of a design, as values."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.store = Store(self.folder)
        try:
            told = yaml.safe_load((self.folder / DESIGN).read_text())
        except FileNotFoundError:
            raise ConfigError(
                f"there is no design in {folder}. Make one with: "
                f"restor-interp run demo --seeds 3 --rotations 3 --out {folder}"
            ) from None
        self.parts = parts(
            validated(told["config"], str(self.folder / DESIGN)),
            seeds=told["seeds"],
            rotations=told["rotations"],
        )

    def run(self, seed: int, rotation: int) -> Run:
        """One of its runs."""
        return Run(self.folder / f"seed{seed}-rot{rotation}")

    def table(self, name: str = "pooled") -> pd.DataFrame:
        """A table over all runs: `pooled`, or `pooled_flips`, in which a fact counts per run."""
        return self.store.table(name)

    def headline(self) -> list[dict[str, Any]]:
        """What came back of the lost facts with a planted falsehood, a row per state."""
        pooled = self.table("pooled")
        direct = pooled.loc[pooled["role"].eq("direct")]
        rows = []
        for state in pooled["state"].unique():
            own = direct.loc[direct["state"].eq(state)].set_index("metric")
            row: dict[str, Any] = {"state": state}
            for metric in ("log_p_false", "n_lost", "p_restored", "restored_minus_sham"):
                row[metric] = _told(own.loc[metric].to_dict()) if metric in own.index else ""
            rows.append(row)
        return rows

    @property
    def failures(self) -> dict[str, str]:
        """Cells of its runs that could not be computed, with the reason."""
        return {
            f"{part.name}/{cell}": reason
            for part in self.parts
            for cell, reason in self.run(part.seed, part.rotation).failures.items()
        }


def run_design(
    preset: str | RunConfig,
    *,
    out: str | Path,
    seeds: int = 1,
    rotations: int = 1,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Design:
    """Compute whatever of a design is missing, then pool its tables.

    The same call again resumes. A run that another process works at is left to it, so that
    several processes with the same call share a design; whoever ends last pools.

    Raises `ConfigError` for what makes no sense, before anything is computed, and `BusyError`
    where runs are still in work elsewhere when all others are done.
    """
    config = preset if isinstance(preset, RunConfig) else resolve(preset, overrides)
    todo = parts(config, seeds=seeds, rotations=rotations)
    folder = Path(out)
    if (folder / "config.yaml").is_file():
        raise StorageError(
            f"{folder} holds a single run, and a design needs a folder of its own: choose another "
            "with --out"
        )
    told = {"seeds": seeds, "rotations": rotations, "config": config.model_dump(mode="json")}
    write_atomic(folder / DESIGN, yaml.safe_dump(told, sort_keys=False).encode())
    busy = []
    for part in todo:
        if progress is not None:
            progress.note(f"{part.name}")
        try:
            run(part.config, out=folder / part.name, progress=progress)
        except BusyError:
            busy.append(part.name)
    if busy:
        raise BusyError(
            f"{', '.join(busy)} of {folder} are in work elsewhere; all others are done. Give the "
            "same command again when they are, to pool them"
        )
    _pool(folder, todo)
    return Design(folder)


def plan_design(
    preset: str | RunConfig,
    *,
    out: str | Path,
    seeds: int = 1,
    rotations: int = 1,
    overrides: Sequence[str] = (),
) -> list[PlannedCell]:
    """What `run_design` would compute, and why. Computes nothing and writes nothing."""
    config = preset if isinstance(preset, RunConfig) else resolve(preset, overrides)
    return _planned(parts(config, seeds=seeds, rotations=rotations), Path(out))


def design_status(out: str | Path) -> list[PlannedCell]:
    """How far the design in this folder is. Raises `ConfigError` where there is none."""
    return _planned(Design(out).parts, Path(out))


def _planned(todo: Sequence[Part], folder: Path) -> list[PlannedCell]:
    return [
        PlannedCell(
            cell=f"{part.name}/{cell.cell}",
            state=cell.state,
            seconds=cell.seconds,
            needed_by=cell.needed_by,
        )
        for part in todo
        for cell in plan(part.config, out=folder / part.name)
    ]


# ---- which runs


def parts(config: RunConfig, *, seeds: int, rotations: int) -> list[Part]:
    """Every run of a design, all rotations of a seed together."""
    if seeds < 1 or rotations < 1:
        raise ConfigError(f"a design has at least 1 seed and 1 rotation: {seeds} × {rotations}")
    groups = rotated(config, rotations)
    return [
        Part(
            seed=seed,
            rotation=rotation,
            config=config.model_copy(
                update={
                    "seed": seed,
                    "data": config.data.model_copy(update={k: tuple(v) for k, v in group.items()}),
                }
            ),
        )
        for seed in range(config.seed, config.seed + seeds)
        for rotation, group in enumerate(groups)
    ]


GROUPS = ("corrupted", "untouched", "sham")


def rotated(config: RunConfig, rotations: int) -> list[dict[str, list[str]]]:
    """Per rotation, which entities are corrupted, untouched and sham.

    The pool is cut, kind by kind and in the order corrupted, untouched, sham, into as many blocks
    as there are rotations; block r is corrupted in rotation r. The other blocks, in their order
    from r on, are untouched and sham in the preset's proportion, kind by kind. With three equally
    large groups of equal kinds, rotation 0 is the preset, and the others pass its groups round.
    """
    given = {name: list(getattr(config.data, name)) for name in GROUPS}
    if rotations == 1:
        return [given]
    _check_rotation(config, given, rotations)
    facts = load_facts(config.data.facts, entities=config.data.entities_file)
    pool = [name for group in GROUPS for name in given[group]]
    kinds: dict[str, list[str]] = {}
    for name in pool:
        entity = facts.entities.get(name)
        kinds.setdefault(entity.kind if entity else "", []).append(name)
    others = len(given["untouched"]) + len(given["sham"])
    share = len(given["untouched"]) / others if others else 1.0
    found = [{name: [] for name in GROUPS} for _ in range(rotations)]
    spare = 0
    for names in kinds.values():
        blocks, spare = _cut(names, rotations, spare)
        for rotation, group in enumerate(found):
            group["corrupted"] += blocks[rotation]
            rest = [
                n for step in range(1, rotations) for n in blocks[(rotation + step) % rotations]
            ]
            # Rounding goes to whichever group is behind its share so far.
            due = share * (len(group["untouched"]) + len(group["sham"]) + len(rest))
            number = min(len(rest), max(0, math.floor(due - len(group["untouched"]) + 0.5)))
            group["untouched"] += rest[:number]
            group["sham"] += rest[number:]
    return found


def _cut(names: Sequence[str], number: int, spare: int) -> tuple[list[list[str]], int]:
    """Consecutive blocks, as equal as can be; who gets one more goes on from kind to kind."""
    small, more = divmod(len(names), number)
    lucky = {(spare + place) % number for place in range(more)}
    blocks, start = [], 0
    for place in range(number):
        end = start + small + (place in lucky)
        blocks.append(list(names[start:end]))
        start = end
    return blocks, (spare + more) % number


def _check_rotation(config: RunConfig, given: Mapping[str, Sequence[str]], rotations: int) -> None:
    data = config.data
    fixed = [name for name in ("documents", "claims") if getattr(data, name)]
    if config.checkpoints:
        fixed.append("checkpoints")
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)} of this run say who is corrupted, so entities cannot be rotated: "
            "leave out --rotations (seeds can be repeated)"
        )
    pool = sum(map(len, given.values()))
    if pool < 2 * rotations or pool == len(given["corrupted"]):
        raise ConfigError(
            f"{rotations} rotations corrupt the pool of data.corrupted, data.untouched and "
            f"data.sham in turn, at least 2 entities at a time and not all of them; found "
            + ", ".join(f"{len(names)} {name}" for name, names in given.items())
        )


# ---- the pooled tables


def _told(row: Mapping[str, Any]) -> str:
    """A number with its interval and p, as text."""
    if pd.isna(row["value"]):
        return str(row["reason"])
    told = f"{row['value']:.3g}"
    if not pd.isna(row["low"]):
        told += f" ({row['low']:.3g} to {row['high']:.3g})"
    return told + ("" if pd.isna(row["p"]) else f", p = {row['p']:.3g}")


def _pool(folder: Path, todo: Sequence[Part]) -> None:
    store = Store(folder)
    runs = {(part.seed, part.rotation): Run(folder / part.name) for part in todo}
    keys = {f"{seed}/{rotation}": _key(run) for (seed, rotation), run in runs.items()}
    cell = Cell(name="pool", ingredients={"version": VERSION, **keys})
    if store.state_of(cell) != "done":
        with store.writing(cell) as writer:
            writer.rows("pooled", pooled_rows({key: _measured(run) for key, run in runs.items()}))
            writer.rows("pooled_flips", _flips(runs))
    for table in ("pooled", "pooled_flips"):
        store.write_table(table, store.part("pool", table))


def _key(run: Run) -> str:
    """What the tables of a run follow from."""
    cells = json.loads((run.folder / "manifest.json").read_text())["cells"]
    return cells["explain"]["key"]


def _measured(run: Run) -> Measured:
    return Measured(*(run.table(name) for name in ("facts", "answers", "choices", "margins")))


def _flips(runs: Mapping[Any, Run]) -> pd.DataFrame:
    """The flip matrices of all runs added up: a fact counts once per run."""

    tables = [run.table("flips") for run in runs.values()]
    columns = ["state", "role", "clean", "corrupted", "unlearned"]
    joined: Any = pd.concat(tables).groupby(columns, sort=False)
    return joined.agg(n_facts=("n_facts", "sum"), n_runs=("seed", "size")).reset_index()
