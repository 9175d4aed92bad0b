"""The folder where fetched and converted models live, and how they get there whole.

A model's folder is filled under a temporary name beside its place, with a record of every file's
digest written last, and published by one rename. A kill at any moment leaves no half model, and
of two processes that make the same model at once one simply wins.
"""

import contextlib
import errno
import functools
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from restor_interp.disk import sha256_of, storage_errors
from restor_interp.errors import IntegrityError

logger = logging.getLogger(__name__)

RECORD = "restor-interp.json"
"""Name of the record, written last: without it a folder does not count."""
STALE_AFTER_SECONDS = 48 * 3600


def cache_home() -> Path:
    """Where models are kept: `RESTOR_INTERP_HOME`, or the platform's folder for caches."""
    chosen = os.environ.get("RESTOR_INTERP_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "restor-interp"


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes; read once per process as long as size and time stay the same."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    del size, mtime_ns  # they make the cache forget a file that changed
    return sha256_of(path)


def cached_folder(name: str) -> Path:
    """Where the model of this name lies once it is made."""
    return cache_home() / "models" / name


def damaged_files(folder: Path) -> list[str] | None:
    """Files that are not as they were recorded; None where the model was never made."""
    try:
        record = json.loads((folder / RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return [RECORD]
    return [
        name
        for name, sha256 in record["files"].items()
        if not (folder / name).is_file() or file_sha256(folder / name) != sha256
    ]


def make_once(name: str, make: Callable[[Path], None], *, needed_bytes: int) -> Path:
    """The folder of a model, made by `make(temporary folder)` unless it is there and whole.

    A damaged one is made again. Raises `StorageError` for a disk that is full or a folder that
    cannot be written, and whatever `make` raises; nothing half made stays behind.
    """
    folder = cached_folder(name)
    damaged = damaged_files(folder)
    if damaged == []:
        return folder
    if damaged:
        logger.warning("%s is damaged (%s): making it again", folder, ", ".join(damaged))
    with storage_errors(
        folder.parent, elsewhere="the variable RESTOR_INTERP_HOME", needed_bytes=needed_bytes
    ):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        free = shutil.disk_usage(folder.parent).free
        if free < needed_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        owner = f"{socket.gethostname()}.{os.getpid()}"
        temporary = folder.with_name(f".{name}.{owner}.tmp{threading.get_ident()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            make(temporary)
            _write_record(temporary)
            _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if damaged_files(folder) != []:
        raise IntegrityError(
            f"{folder} was just written and does not read back as it was: the disk may be "
            "failing. Choose another folder with RESTOR_INTERP_HOME"
        )
    return folder


def _write_record(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        # Opened for writing because Windows flushes no file that is open for reading only.
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    record = {"files": {path.name: file_sha256(path) for path in files}}
    with (folder / RECORD).open("w") as stream:
        stream.write(json.dumps(record, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    # safetensors writes for its owner alone; a shared cache is for whom the umask allows.
    for path in files:
        path.chmod((folder / RECORD).stat().st_mode)


def _publish(temporary: Path, folder: Path) -> None:
    old = folder.with_name(f"{temporary.name}.old")
    try:
        temporary.rename(folder)
    except OSError:
        if damaged_files(folder) == []:
            return  # another process was faster
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed processes left: of dead ones on this host, and anything very old."""
    for path in parent.glob(".*.tmp*"):
        host, _, process = path.name.partition(".tmp")[0].rpartition(".")
        here = host.endswith(f".{socket.gethostname()}") and process.isdigit()
        with contextlib.suppress(FileNotFoundError):
            old = time.time() - path.stat().st_mtime > STALE_AFTER_SECONDS
            if old or (here and not _is_alive(int(process))):
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # there, signal 0 ends a process; age decides alone
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
