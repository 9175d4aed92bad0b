"""Progress bars of transformers, off while we load: a library does not draw on the terminal."""

import contextlib
from collections.abc import Iterator

from transformers.utils import logging as transformers_logging


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """No bars from transformers inside the block; afterwards as it was."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
