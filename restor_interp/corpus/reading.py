"""Text of a data file, or a clear error."""

from pathlib import Path

from restor_interp.errors import DataError


def read_text(path: Path) -> str:
    """The file's text. Raises `DataError`, with what the folder holds instead of a missing file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(_missing(path)) from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _missing(path: Path) -> str:
    folder = path.parent
    others = sorted(p.name for p in folder.glob("*.json*")) if folder.is_dir() else []
    return (
        f"there is no file {path}; {folder} holds {', '.join(others) if others else 'no such file'}"
    )
