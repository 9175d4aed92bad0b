"""Digests of files, and what a disk can do wrong in one clear sentence."""

import contextlib
import errno
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import safetensors

from restor_interp.errors import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def sha256_of(path: Path) -> str:
    """Full sha256 of a file's bytes, read anew at every call."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
