"""What a training continues from: tensors in safetensors, the rest in JSON, in one folder.

    work/step-000050/state.safetensors    adapter, optimiser, the last good adapter
    work/step-000050/state.json           step, rows, fingerprint of the training, tensors' sha256

A folder is complete or absent: it is written under another name and renamed. There is no random
state to keep: whatever is random follows from the seed and the number of the epoch.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from restor_interp.disk import sha256_of
from restor_interp.errors import StorageError

TENSORS, RECORD = "state.safetensors", "state.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A training as it stood after `step` steps."""

    step: int
    tensors: Mapping[str, Tensor]
    rows: list[dict[str, Any]]
    diverged: str | None = None


def save(work: Path, saved: Saved, *, fingerprint: str) -> None:
    """Keep this and nothing older. Raises `StorageError` where it cannot be written."""
    final = work / f"step-{saved.step:06d}"
    part = work / f"{final.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save_file(
            {name: tensor.contiguous() for name, tensor in saved.tensors.items()}, part / TENSORS
        )
        record = {
            "step": saved.step,
            "rows": saved.rows,
            "diverged": saved.diverged,
            "fingerprint": fingerprint,
            "sha256": sha256_of(part / TENSORS),
        }
        (part / RECORD).write_text(json.dumps(record))
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the training state cannot be kept in {work}: {error}. Free space or choose another "
            "folder, and run the same command again"
        ) from error
    for folder in work.glob("step-*"):
        if folder != final:
            shutil.rmtree(folder, ignore_errors=True)


def load(work: Path, *, fingerprint: str) -> Saved | None:
    """The newest state of this very training, if there is one; damaged ones are passed over."""
    for folder in sorted(work.glob("step-??????"), reverse=True):
        try:
            record = json.loads((folder / RECORD).read_text())
            same = record["fingerprint"] == fingerprint
            if same and record["sha256"] == sha256_of(folder / TENSORS):
                return Saved(
                    step=record["step"],
                    tensors=load_file(folder / TENSORS),
                    rows=record["rows"],
                    diverged=record["diverged"],
                )
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
    return None


def fingerprint(ingredients: Mapping[str, Any]) -> str:
    """One text for everything that decides a training's bits."""
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()
