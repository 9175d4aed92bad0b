"""The made-up run, the two gallery reports, a site on the disk, and a browser to look at it."""

import base64
import gzip
import importlib.util
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

import restor_interp
from restor_interp.definitions import load_definitions
from restor_interp.reporting.characters import file_stem
from restor_interp.reporting.html import write_site
from restor_interp.reporting.svg import BROWSERS, find_browser

_HERE = Path(__file__).parent


def _load(path):
    spec = importlib.util.spec_from_file_location(f"_reporting_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


synthetic_run = _load(_HERE / "synthetic.py").synthetic_run
_surveyed = _load(_HERE / "surveyed.py").surveyed


@pytest.fixture(scope="session")
def run_results():
    return synthetic_run()


@pytest.fixture(scope="session")
def make_run():
    return synthetic_run


@pytest.fixture(scope="session")
def surveyed():
    """run -> the same run with the tables of surveys and further analyses."""
    return _surveyed


@pytest.fixture(scope="session")
def reports():
    """The gallery's reports by name."""
    folder = Path(restor_interp.__file__).parent.parent / "reports"
    return {definition.name: definition for definition in load_definitions(folder)}


@pytest.fixture(scope="session")
def make_documents(reports):
    """run -> (first page, entity -> page)."""

    def make(run, entities=None):
        names = run.entities if entities is None else entities
        pages = {name: reports["entity"].run(run.entity(name)) for name in names}
        return reports["overview"].run(run), pages

    return make


@pytest.fixture(scope="session")
def site(tmp_path_factory, run_results, make_documents):
    """The whole made-up run as a site; the path of its first page."""
    index, pages = make_documents(run_results)
    return write_site(index, pages, tmp_path_factory.mktemp("site") / "report")


@pytest.fixture(scope="session")
def plots_of():
    """The data file of a page -> its plots, each a list of panels. It holds nothing but base64."""

    def read(data):
        found = re.fullmatch(r'window\.packedPlots = "([A-Za-z0-9+/]+=*)";\n', data.decode("ascii"))
        assert found, data[:80]
        return json.loads(gzip.decompress(base64.b64decode(found[1])))

    return read


@pytest.fixture(scope="session")
def browser():
    """Chromium. Without one a test is skipped, in CI it fails."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = find_browser()
    with sync_api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).is_file():
            message = f"no Chromium: none of {', '.join(BROWSERS)}, nor playwright's own"
            if os.environ.get("CI"):
                pytest.fail(f"{message}; a browser test may not be skipped in CI")
            pytest.skip(message)
        running = playwright.chromium.launch(executable_path=found)
        yield running
        running.close()


WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Visit:
    """A page of the site and everything suspicious that happened on it."""

    def __init__(self, context, path):
        self.page = context.new_page()
        self.requests, self.errors, self.dialogs = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.on(
            "dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss())
        )
        self.page.add_init_script(WATCH)
        self.page.goto(path.as_uri())

    def until(self, expression, argument=None):
        """Wait until a JavaScript expression holds (the page's policy forbids playwright's own)."""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def draw(self, selector):
        """Scroll along the plots that match and are unfolded, until each of them is drawn."""
        self.until(
            """(selector) => {
              const found = [...document.querySelectorAll(selector)];
              const all = found.filter((canvas) => canvas.checkVisibility());
              const next = all.find((canvas) => !canvas.dataset.drawn);
              if (next) next.scrollIntoView({ behavior: "instant", block: "center" });
              return all.length && !next;
            }""",
            selector,
        )
        return self.page.locator(selector)

    def hover_text(self, canvas, across, down):
        """What is shown where the pointer stands on a plot; both places as shares of its area."""
        area = canvas.locator(".nsewdrag").first
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        area.hover(position={"x": box["width"] * across, "y": box["height"] * down})
        canvas.locator(".hoverlayer text").first.wait_for(timeout=10_000)
        return canvas.locator(".hoverlayer").first.text_content()

    def assert_quiet(self, folder):
        assert [url for url in self.requests if not url.startswith(folder.as_uri())] == []
        assert (self.errors, self.dialogs) == ([], [])
        assert self.page.evaluate("window.violations") == []
        assert self.page.evaluate("window.PWN") is None


@pytest.fixture(scope="module")
def visit(browser):
    contexts = []

    def make(path, **options):
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
        contexts.append(context)
        return Visit(context, path)

    yield make
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def entity_page(site):
    return site.parent / f"e/{file_stem('Aaron Burr')}.html"
