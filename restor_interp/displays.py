"""How a notebook shows a result: looked up when it is asked for.

What draws stands above what measures and is not known there; a result only says that it can be
shown, by one line in its class: `_repr_html_ = as_html`.
"""

import importlib
from typing import Any

__all__ = ["as_html"]


def as_html(result: Any) -> str:
    """A result as a short piece of HTML: what it found, and its map or its first rows."""
    return importlib.import_module("restor_interp.reporting.notebook").html_of(result)
