"""A run's folder: cells of finished work, the tables made of them, and nothing half done.

Work is cut into cells (`train/npo`, `answers/clean`, …). A cell's key is the hash of what
determines its result: settings, inputs, model, numerics. It is done only when its small
`cell.json`, written last, says so and the digests of its files check. Everything is written to
a temporary file or folder beside its place and published by one rename, so a kill at any moment
leaves either the old or the new result; correctness never depends on a lock.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.numpy

from restor_interp.disk import publish, sha256_of, storage_errors
from restor_interp.errors import BusyError, DataError, IntegrityError, unknown_name

_COLUMNS = {
    "facts": (
        "fact_id entity relation question true_objects false_object role split known known_specific"
    ),
    "answers": "fact_id context_id template draw state answer outcome correct judge",
    "choices": (
        "fact_id context_id state category object"
        " mean_logprob sum_logprob n_tokens first_divergence"
    ),
    "margins": (
        "fact_id context_id state margin own_logprob substitute_logprob n_substitutes reason"
    ),
    "training": (
        "state step loss forget_loss retain_loss grad_norm forget_nll retain_nll tokens seconds"
    ),
    "lens": "fact_id state lens layer position object logprob rank",
    "lens_top": (
        "fact_id state lens layer position token_position context_id k token logprob reason"
    ),
    "traces": (
        "fact_id state kind corruption metric object window layer position token score low high"
    ),
    "knockouts": "fact_id state edge layer window metric object effect",
    "attributions": "fact_id donor host kind metric object layer position approx exact",
    "contributions": "fact_id state part layer head value",
    "patches": "fact_id donor host kind metric object layer position head effect",
    "retention": "fact_id state donor_kind site layer logp host_logp clean_logp clean_effect share",
    "grafts": "fact_id donor host modules order effect control_effect",
    "probes": "probe state fitted_on layer position metric value control control_value n",
    "fates": ("fact_id state fate mechanism flags margin r_subject r_mid r_out rds evidence"),
    "summary": "state role metric value low high n_facts n_entities mde",
    "texts": "set text_id state n_tokens nll perplexity",
    "judgements": "fact_id context_id template draw state judge outcome reason",
    "agreement": "state judge_a judge_b kappa low high n failed",
    "robustness": (
        "fact_id context_id state attack step template answer outcome correct"
        " log_p_true log_p_false reason"
    ),
    "lasting": (
        "state attack step role metric value low high n_facts n_entities p mde against reason"
    ),
    "flips": "state role clean corrupted unlearned n_facts n_entities",
    "weights": "state module norm rank90 cosine projection subspace_energy",
    "drift": "state layer position role metric value floor",
    "directions": "state base layer rank token logit norm share",
    "steering": "fact_id state layer mode metric value control_value n_controls",
    "interpolation": "fact_id from_state to_state t metric value",
    "forget_weights": "state step token_class n weight_mean weight_share",
    "gradients": "state method layer of inner cosine norm",
    "forget_trajectory": "state step forget_nll d",
    "leading_layers": "state fact_id layer half_step",
    "timeline": "state step layer fact_id category object logprob",
    "turnings": "state fact_id layer of change half_step",
    "tuned_lens": "layer strength logit_kl tuned_kl",
    "mlp_changes": "fact_id state mode layer part value",
    "token_attributions": "fact_id state kind position token in_subject value",
    "attention": "fact_id state layer head value",
    "descriptions": "fact_id state host layer metric object value control_value",
    "value_vectors": "fact_id state layer",
    "features": "fact_id state feature value base_value effect control_effect",
    "sensitivity": "threshold change state n_facts from to n_changed",
    "transitions": "state role from to n_facts n_entities",
    "prediction": "state model metric value low high n_facts n_entities n_events reason",
    "failures": "cell reason",
}
TABLES = {name: tuple(columns.split()) for name, columns in _COLUMNS.items()}
"""Fixed columns per table (`design` §6); a table may have more. Every row has a `seed` too."""

STALE_AFTER_SECONDS = 300.0
HEARTBEAT_SECONDS = 30.0


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Hash of a JSON value, 16 hex characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def write_atomic(path: Path, data: bytes) -> None:
    """Publish bytes at `path` by one rename; the old content stays until then."""
    with storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        publish(path, data)


def write_json(path: Path, value: Any) -> None:
    """Publish a JSON file that people can read."""
    write_atomic(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode())


def table_frame(name: str, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Rows as a frame whose fixed columns come first, in their order.

    A table that is not in `TABLES` is a user's own and has no fixed columns. Raises `DataError` for
    a missing column.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    columns = TABLES.get(name, ())
    if not len(frame.columns):
        return pd.DataFrame(columns=list(columns))
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"rows of table {name!r} lack the columns {', '.join(missing)}")
    return frame.reindex(columns=[*columns, *sorted(set(frame.columns) - set(columns))])


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One unit of work and everything that determines its result."""

    name: str
    """`kind/what`, such as `answers/npo`; also its folder."""
    ingredients: Mapping[str, Any]
    """JSON values by name; a changed one changes the key."""

    @property
    def key(self) -> str:
        return digest({"name": self.name, **self.ingredients})


@dataclass(kw_only=True)
class CellWriter:
    """Collects what one cell writes; published as a whole when its `with` ends well."""

    folder: Path
    """Temporary folder: anything written below it becomes part of the cell."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Small JSON values kept in `cell.json`."""

    def rows(self, table: str, rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> None:
        """Rows of one table (an empty sequence is a table without rows)."""
        frame = table_frame(table, rows)
        with storage_errors(self.folder):
            frame.to_parquet(self.folder / f"{table}.parquet", index=False)

    def tensors(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        """Named arrays in one safetensors file."""
        with storage_errors(self.folder):
            arrays = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
            safetensors.numpy.save_file(arrays, self.folder / f"{name}.safetensors")


class Store:
    """The folder of one run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    # ---- cells

    def cell_folder(self, name: str) -> Path:
        return self.folder / "cells" / name

    def record(self, name: str) -> dict[str, Any] | None:
        """What `cell.json` says, or None where the cell was never finished."""
        path = self.cell_folder(name) / "cell.json"
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            return {"key": "", "ingredients": {}, "files": {}, "damaged": "cell.json"}

    def state_of(self, cell: Cell) -> str:
        """`done`, or why it must be computed: `missing`, `changed: …`, `damaged: …`."""
        record = self.record(cell.name)
        if record is None:
            return "missing"
        if record["key"] != cell.key:
            old, new = record["ingredients"], json.loads(canonical_json(dict(cell.ingredients)))
            names = sorted(
                name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
            )
            return f"changed: {', '.join(names) or record.get('damaged', 'code')}"
        damaged = self.damaged_files(cell.name)
        return f"damaged: {', '.join(damaged)}" if damaged else "done"

    def damaged_files(self, name: str) -> list[str]:
        """Files of a cell whose bytes are not the ones that were recorded."""
        record = self.record(name) or {"files": {}}
        folder = self.cell_folder(name)
        return [
            file
            for file, entry in record["files"].items()
            if not (folder / file).is_file()
            or (folder / file).stat().st_size != entry["bytes"]
            or sha256_of(folder / file) != entry["sha256"]
        ]

    @contextlib.contextmanager
    def writing(self, cell: Cell) -> Iterator[CellWriter]:
        """Compute a cell: what is written below `folder` appears when the block ends well."""
        place = self.cell_folder(cell.name)
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        started = time.monotonic()
        with storage_errors(self.folder):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            try:
                writer = CellWriter(folder=temporary)
                yield writer
                self._publish(cell, writer, place, time.monotonic() - started)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _publish(self, cell: Cell, writer: CellWriter, place: Path, seconds: float) -> None:
        files = sorted(path for path in writer.folder.rglob("*") if path.is_file())
        record = {
            "name": cell.name,
            "key": cell.key,
            "ingredients": dict(cell.ingredients),
            "notes": writer.notes,
            "seconds": round(seconds, 3),
            "files": {
                str(path.relative_to(writer.folder)): {
                    "bytes": path.stat().st_size,
                    "sha256": sha256_of(path),
                }
                for path in files
            },
        }
        write_json(writer.folder / "cell.json", record)
        old = place.with_name(f".{place.name}.{os.getpid()}.old")
        if place.exists():
            place.replace(old)
        writer.folder.replace(place)
        shutil.rmtree(old, ignore_errors=True)

    def cells(self) -> list[str]:
        """Names of all finished cells."""
        root = self.folder / "cells"
        found = (path.parent.relative_to(root) for path in root.rglob("cell.json"))
        return sorted(str(name) for name in found if not any(p.startswith(".") for p in name.parts))

    def verify(self) -> None:
        """Re-read every file of every cell. Raises `IntegrityError` naming the damaged ones."""
        damaged = [f"{name}/{file}" for name in self.cells() for file in self.damaged_files(name)]
        if damaged:
            raise IntegrityError(
                f"{len(damaged)} files of {self.folder} are damaged: {', '.join(damaged[:20])}. "
                "Give the run's command again: these cells are then computed anew"
            )

    # ---- tables

    def part(self, cell: str, table: str) -> pd.DataFrame:
        """One cell's rows of one table."""
        return pd.read_parquet(self.cell_folder(cell) / f"{table}.parquet")

    def collect(self, table: str, cells: Sequence[str]) -> pd.DataFrame:
        """The rows of a table from these cells, in this order."""
        parts = [
            self.part(cell, table)
            for cell in cells
            if (self.cell_folder(cell) / f"{table}.parquet").is_file()
        ]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else table_frame(table, [])

    def table_names(self, cells: Sequence[str]) -> list[str]:
        """The fixed tables, then those of users' own that these cells have."""
        folders = [self.cell_folder(cell) for cell in cells]
        found = {path.stem for folder in folders for path in folder.glob("*.parquet")}
        return [*TABLES, *sorted(found - set(TABLES))]

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Publish `tables/<name>.parquet`."""
        folder = self.folder / "tables"
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            table_frame(name, frame).to_parquet(temporary, index=False)
            temporary.replace(folder / f"{name}.parquet")

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run. Raises `ConfigError` for an unknown or not yet written one."""
        path = self.folder / "tables" / f"{name}.parquet"
        if not path.is_file():
            written = [found.stem for found in sorted((self.folder / "tables").glob("*.parquet"))]
            raise unknown_name(f"table in {self.folder}", name, written)
        return pd.read_parquet(path)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table that this run has."""
        paths = sorted((self.folder / "tables").glob("*.parquet"))
        return {path.stem: pd.read_parquet(path) for path in paths}

    # ---- the log and the lease

    def log(self, event: str, **values: Any) -> None:
        """Append one line to `log.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **values}) + "\n"
        with storage_errors(self.folder), (self.folder / "log.jsonl").open("a") as stream:
            stream.write(line)

    @contextlib.contextmanager
    def lease(self) -> Iterator[None]:
        """Hold the folder while a run works in it. Raises `BusyError` where another one does."""
        path = self.folder / "lease.json"
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            mine = {"host": socket.gethostname(), "pid": os.getpid(), "start": time.time()}
            while True:
                try:
                    with path.open("x") as stream:
                        json.dump(mine, stream)
                    break
                except FileExistsError:
                    if not _is_stale(path):
                        raise BusyError(
                            f"{self.folder} is in use by another run ({path.read_text()}). Wait "
                            f"for it, or choose another folder with --out. A run that died frees "
                            f"the folder by itself"
                        ) from None
                    path.unlink(missing_ok=True)
        stop = threading.Event()
        beat = threading.Thread(target=_heartbeat, args=(path, stop), daemon=True)
        beat.start()
        try:
            yield
        finally:
            stop.set()
            path.unlink(missing_ok=True)


def _heartbeat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _is_stale(path: Path) -> bool:
    """Whether the holder is gone: its process on this host, or its heartbeat anywhere."""
    try:
        holder = json.loads(path.read_text())
        age = time.time() - path.stat().st_mtime
    except (FileNotFoundError, ValueError):
        return not path.exists() or time.time() - path.stat().st_mtime > 5
    if holder["host"] == socket.gethostname():
        try:
            os.kill(holder["pid"], 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        return False  # it lives, even if it was suspended and its heart stood still
    return age > STALE_AFTER_SECONDS
