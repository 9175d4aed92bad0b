"""Every error that a user can cause or meet, and the exit code that the CLI gives it.

    RestorError                      1   something could not be done
    ├── ConfigError                  2   unknown preset, key, method or name; senseless settings
    ├── DataError                    2   a data file is wrong: `file:line` and the first 20 problems
    ├── PromptError                  2   a prompt cannot be built or does not hold its subject
    ├── ModelError                   2   a model cannot be found, fetched or read
    ├── RefusedError                 4   refused for safety: pickles, remote code
    ├── IntegrityError               3   a file's digest is not the one that was recorded
    ├── StorageError                 1   disk full, folder not writable
    └── BusyError                   75   another run holds the folder: try again later

A message says what was asked, what was found, what is allowed, and what to do.
"""

import difflib
from collections.abc import Iterable, Sequence

MAX_PROBLEMS = 20
"""How many problems of a data file are listed."""


class RestorError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class ConfigError(RestorError, ValueError):
    """A setting, a preset or a name that does not exist or does not make sense."""

    exit_code = 2


class DataError(RestorError, ValueError):
    """A data file that is wrong, with where and how."""

    exit_code = 2

    @classmethod
    def from_problems(cls, what: str, problems: Sequence[str]) -> "DataError":
        """One error out of many problems, each already of the form `file:line: text`."""
        shown = "\n".join(f"  {problem}" for problem in problems[:MAX_PROBLEMS])
        rest = len(problems) - MAX_PROBLEMS
        more = f"\n  … and {rest} more" if rest > 0 else ""
        plural = "problem" if len(problems) == 1 else "problems"
        return cls(f"{what}: {len(problems)} {plural}\n{shown}{more}")


class PromptError(RestorError, ValueError):
    """A prompt that cannot be built, or whose subject cannot be found."""

    exit_code = 2


class ModelError(RestorError):
    """A model that cannot be found, fetched or read."""

    exit_code = 2


class RefusedError(RestorError):
    """Refused for safety, before anything was opened."""

    exit_code = 4


class IntegrityError(RestorError):
    """Bytes that are not the ones that were recorded."""

    exit_code = 3


class StorageError(RestorError, OSError):
    """A disk that is full or a folder that cannot be written."""


class BusyError(RestorError):
    """Another process holds the folder."""

    exit_code = 75


def unknown_name(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    """The error for a name that does not exist: the nearest names, then all of them."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=3)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    return ConfigError(f"there is no {kind} {name!r}.{hint} Known: {', '.join(names)}")
