"""A plotly figure as an SVG file, for pages that cannot run scripts."""

import re
import shutil
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from restor_interp.errors import ConfigError

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
_RANDOM = re.compile(r"defs-([0-9a-f]{6})")


def find_browser() -> str | None:
    """The system's Chromium; None where it has none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write_svg(figure: Any, path: Path) -> None:
    """Let a Chromium draw a plotly figure: plotly itself can draw nothing outside a browser.

    The same figure gives the same bytes, as far as the browser has the same fonts. Raises
    `ConfigError` where there is no Chromium, or no package playwright.
    """
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise ConfigError(
            f"{path} is drawn by a browser, through the package playwright, which is not installed:"
            ' pip install "restor-interp[dev]"'
        ) from None

    def draw() -> str:
        # Its own, where the system has none.
        found = find_browser()
        with sync_playwright() as playwright:
            try:
                browser = playwright.chromium.launch(executable_path=found)
            except Error as error:
                raise ConfigError(
                    f"{path} is drawn by a Chromium, and none starts; looked for "
                    f"{', '.join(BROWSERS)}. Get one with: playwright install chromium "
                    f"({error.message.splitlines()[0]})"
                ) from None
            page = browser.new_page()
            page.set_content(figure.to_html(include_plotlyjs=True, div_id="plot"))
            page.wait_for_function("document.querySelector('#plot .main-svg') !== null")
            script = "Plotly.toImage(document.getElementById('plot'), {format: 'svg'})"
            address = page.evaluate(script)
            browser.close()
        return address

    # In a thread of its own: a notebook's, and that of another playwright, have a loop already.
    with ThreadPoolExecutor(1) as thread:
        address = thread.submit(draw).result()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = urllib.parse.unquote(address.partition(",")[2])
    path.write_text(same_names(drawn), encoding="utf-8")


def same_names(drawn: str) -> str:
    """The SVG with plotly's random names in it, six characters, replaced by the same ones, and
    without the empty style that a browser puts at one place or another."""
    drawn = drawn.replace(' style=""', "")
    named = _RANDOM.search(drawn)
    return drawn if named is None else drawn.replace(named[1], "plot")
