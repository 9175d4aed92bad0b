"""A function that somebody wrote to a pattern: its keywords checked, its source, its docstring."""

import hashlib
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from restor_interp.errors import ConfigError


def keywords_of(
    function: Callable[..., Any],
    *,
    positional: Sequence[str],
    given: Sequence[str],
    refuse: Callable[[str], ConfigError],
) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a function, those in `given` among them.

    Args:
        positional: names that it must take by position, and no others.
        given: keywords that it must have.
        refuse: makes an error of what is wrong, such as "lacks the keyword 'true'".
    """
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if names != list(positional):
        raise refuse(f"takes ({', '.join(names)}) by position, not ({', '.join(positional)})")
    keywords = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
    if len(keywords) + len(names) != len(parameters):
        raise refuse("has *args, **kwargs or positional-only arguments; name every setting")
    for name in given:
        if name not in keywords:
            raise refuse(f"lacks the keyword {name!r}")
    return keywords


def check_default(parameter: inspect.Parameter, refuse: Callable[[str], ConfigError]) -> None:
    """A setting has a default."""
    if parameter.default is parameter.empty:
        raise refuse(f"has no default for the setting {parameter.name!r}")


def source_of(function: Callable[..., Any]) -> tuple[Path | None, str]:
    """The function's file and its text; of a function typed into a notebook its own text."""
    file = Path(function.__code__.co_filename)
    if file.is_file():
        return file.resolve(), file.read_text("utf-8")
    try:
        return None, inspect.getsource(function)
    except OSError:
        raise ConfigError(
            f"the source of {function.__name__} cannot be read, so its results could not be told "
            "from those of another version; put it into a file"
        ) from None


def source_hash(text: str) -> str:
    """16 hex characters: a changed text gives a changed result."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def page_of(function: Callable[..., Any], path: Path | None) -> str:
    """The docstring of its file, or its own where that has none: a file holds one definition, and
    begins with its question. Of a function typed into a session, its own."""
    module_doc = getattr(sys.modules.get(function.__module__), "__doc__", None)
    return doc_of(function) if path is None or not module_doc else inspect.cleandoc(module_doc)


def doc_of(function: Callable[..., Any]) -> str:
    """Its docstring, or its module's."""
    module_doc = getattr(sys.modules.get(function.__module__), "__doc__", None) or ""
    return inspect.cleandoc(function.__doc__ or module_doc)
