"""What tests of the documentation share: its folder, its tools, and a comparison of outputs."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {"mkdocs": "mkdocs", "mkdocstrings": "mkdocstrings", "nbclient": "nbclient"}
NUMBER = re.compile(r"[-+−]?\d+\.\d+")
TOLERANCE = 0.06
"""By which a printed number may differ: other processors add in another order."""


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def documentation_tools():
    """Skips without the extra `docs`; in CI it fails instead."""
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        message = f"{', '.join(missing)} not installed: pip install -e '.[docs]'"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@pytest.fixture(scope="session")
def same_output():
    """Asserts that two outputs say the same: equal words, and numbers that are close."""

    def check(found: str, stored: str) -> None:
        words, numbers = zip(*(_told(text) for text in (found, stored)), strict=True)
        assert words[0] == words[1]
        assert numbers[0] == pytest.approx(numbers[1], abs=TOLERANCE)

    return check


def _told(text: str) -> tuple[str, list[float]]:
    numbers = [float(number.replace("−", "-")) for number in NUMBER.findall(text)]
    return " ".join(NUMBER.sub("#", text).split()), numbers
