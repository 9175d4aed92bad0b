"""The promises of a run's files: bytes, keys, deltas, pages."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch

from restor_interp.disk import sha256_of
from restor_interp.errors import RestorError
from restor_interp.models.deltas import Delta, LowRank, load_delta
from restor_interp.models.loading import model_digest
from restor_interp.pipeline.runs import Run
from restor_interp.pipeline.verifying.finding import (
    Finding,
    Looked,
    again,
    assembled_again,
)

# ---- cells and manifest


def check_cells(run: Run) -> Looked:
    names = run.store.cells()
    return Looked(len(names), _damaged_cells(run, names))


def _damaged_cells(run: Run, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        record = run.store.record(name) or {}
        mend = f"{again(run)}: the cell is computed again"
        if "damaged" in record:
            yield Finding(place=f"cells/{name}/cell.json", problem="cannot be read", mend=mend)
            continue
        for file in run.store.damaged_files(name):
            there = (run.store.cell_folder(name) / file).is_file()
            problem = "other bytes than were recorded" if there else "is missing"
            yield Finding(place=f"cells/{name}/{file}", problem=problem, mend=mend)
        yield from _unreadable(run, name, record, mend)


def _unreadable(run: Run, name: str, record: Mapping[str, Any], mend: str) -> Iterator[Finding]:
    """Tensors that no longer open although their digest holds: they were written wrongly."""
    for file in record["files"]:
        path = run.store.cell_folder(name) / file
        if path.suffix == ".safetensors" and path.is_file():
            try:
                with safetensors.safe_open(path, "numpy") as opened:
                    opened.keys()
            except (safetensors.SafetensorError, OSError) as error:
                yield Finding(place=f"cells/{name}/{file}", problem=str(error), mend=mend)


def check_manifest(run: Run) -> Looked:
    if not (run.folder / "manifest.json").is_file():
        finding = Finding(
            place="manifest.json",
            problem="is missing: the run was not finished",
            mend=again(run),
            damaged=False,
        )
        return Looked(0, [finding])
    return Looked(len(run.manifest["cells"]), _disagreements(run))


def _disagreements(run: Run) -> Iterator[Finding]:
    manifest, there = run.manifest, set(run.store.cells())
    for name, entry in manifest["cells"].items():
        record = run.store.record(name) if name in there else None
        if record is None:
            problem = "the manifest names this cell, and it is not there"
        elif record["key"] != entry["key"]:
            problem = f"has the key {record['key']}, in the manifest {entry['key']}"
        else:
            continue
        yield Finding(place=f"cells/{name}", problem=problem, mend=again(run))
    found = model_digest(run.config.model)
    if found != manifest["model_digest"]:
        yield Finding(
            place=f"model {run.config.model}",
            problem=f"is not the one that the run was made with ({found[:12]}…, was "
            f"{manifest['model_digest'][:12]}…)",
            mend="put the model's files back, or run again into another folder",
        )
    for name, reason in manifest["failures"].items():
        yield Finding(
            place=name, problem=f"could not be computed: {reason}", mend=again(run), damaged=False
        )


# ---- deltas


def check_deltas(run: Run) -> Looked:
    wanted = [
        name.removeprefix("train/")
        for name in run.manifest["cells"]
        if name.startswith("train/") and (run.store.cell_folder(name) / "delta").is_dir()
    ]
    return Looked(len(wanted), _wrong_deltas(run, wanted))


def _wrong_deltas(run: Run, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        place, mend = f"deltas/{name}", assembled_again(run)
        folder, source = run.folder / place, run.store.cell_folder(f"train/{name}") / "delta"
        files = sorted(path.name for path in source.iterdir())
        other = [
            file
            for file in files
            if not (folder / file).is_file() or sha256_of(folder / file) != sha256_of(source / file)
        ]
        if other:
            problem = f"is not the delta of its training: {', '.join(other)}"
            yield Finding(place=place, problem=problem, mend=mend)
        try:
            broken = _not_finite(load_delta(folder))
        except RestorError as error:
            yield Finding(place=place, problem=f"does not load: {error}", mend=mend)
            continue
        if broken:
            problem = f"holds numbers that are not finite in {', '.join(broken[:4])}"
            yield Finding(
                place=place, problem=problem, mend=f"delete cells/train/{name} and {mend}"
            )


def _not_finite(delta: Delta) -> list[str]:
    found = []
    for module, update in delta.updates.items():
        tensors = (update.a, update.b) if isinstance(update, LowRank) else (update,)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            found.append(module)
    return found


# ---- the report


def check_report(run: Run) -> Looked:
    mend = f"write it again: restor-interp report --out {run.folder}"
    record = run.folder / "report" / "manifest.json"
    if not record.is_file():
        return Looked(0, [Finding(place="report", problem="is missing", mend=mend, damaged=False)])
    files = json.loads(record.read_text())["files"]
    return Looked(len(files), _wrong_pages(run.folder / "report", files, mend))


def _wrong_pages(
    folder: Path, files: Mapping[str, Mapping[str, Any]], mend: str
) -> Iterator[Finding]:
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            yield Finding(place=f"report/{name}", problem="is missing", mend=mend)
        elif sha256_of(path) != entry["sha256"]:
            problem = "other bytes than were recorded"
            yield Finding(place=f"report/{name}", problem=problem, mend=mend)
