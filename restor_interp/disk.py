"""Digests of files, files that are whole or absent, and what a disk can do wrong in a sentence."""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import safetensors

from restor_interp.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT)


def sha256_of(path: Path) -> str:
    """Full sha256 of a file's bytes, read anew at every call."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def publish(path: Path, data: bytes) -> None:
    """Put bytes at `path` by one rename; a kill at any moment leaves the old content or the new.

    Raises `OSError` as the disk does; inside `storage_errors` it says what to do.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def storage_errors(
    folder: Path, *, elsewhere: str = "--out", needed_bytes: int | None = None
) -> Iterator[None]:
    """Raise `StorageError` with the folder and what to do where the disk is full or refuses.

    `elsewhere` names the setting that chooses another folder. The writer of safetensors reports
    the system's errors as text: their number is read from it.
    """
    try:
        yield
    except StorageError:
        raise
    except (OSError, safetensors.SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in _FULL or f"os error {errno.ENOSPC}" in str(error):
            free = shutil.disk_usage(nearest_existing(folder)).free
            needed = "" if needed_bytes is None else f"{needed_bytes:,} bytes needed, "
            raise StorageError(
                f"the disk of {folder} is full ({needed}{free:,} bytes free). Nothing that was "
                "finished is lost: free some space and give the same command again, or choose "
                f"another folder with {elsewhere}"
            ) from error
        if number in _REFUSED:
            raise StorageError(
                f"{folder} cannot be written ({error}). Choose another folder with {elsewhere}"
            ) from error
        raise


def nearest_existing(path: Path) -> Path:
    """The path itself or its closest parent that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())
