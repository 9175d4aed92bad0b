"""Does the report keep its budgets: small pages, a fast first picture, nothing asked of a network?

    python benchmarks/report.py                    # a made-up run of 50 entities, about 2 minutes
    python benchmarks/report.py runs/demo          # the report of a run; its folder is only read
    python benchmarks/report.py --quick            # two entities, one visit: does it work?

The site is built in a temporary folder, a second time by another process with another hash seed,
time zone and locale, and then opened from the disk by Chromium. A visit scrolls to the first plot
at once. Times are medians of visits, each in a context of its own, so that nothing is cached by the
browser; first paint is the browser's own first contentful paint. Shown beside each budget are the
values of the page that does worst: the first page, or the entity page with the most data.

Needs playwright and a Chromium (`apt-get install chromium-headless-shell`, or
`playwright install chromium`).
"""

import argparse
import hashlib
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from playwright.sync_api import Browser, sync_playwright

import restor_interp as ri
from restor_interp.reporting.html import write_site
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.svg import find_browser

ROOT = Path(__file__).parents[1]
ENTITIES = 50

WATCH = """
window.violations = 0;
window.firstPlot = null;
document.addEventListener("securitypolicyviolation", () => { window.violations += 1; });
new MutationObserver(() => {
  if (document.querySelector(".canvas[data-drawn]")) window.firstPlot ??= performance.now();
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-drawn"] });
document.addEventListener("DOMContentLoaded", () => {
  const seen = [...document.querySelectorAll(".canvas")].find((one) => one.checkVisibility());
  if (seen) seen.scrollIntoView({ behavior: "instant", block: "center" });
});
"""
PAINT = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null"""


@dataclass(frozen=True)
class Line:
    """A budget beside what is measured."""

    name: str
    measured: float
    budget: float
    unit: str

    def __str__(self) -> str:
        digits = 0 if self.unit in ("kB", "") else 2
        kept = "kept" if self.measured <= self.budget else "MISSED"
        value, most = (f"{number:.{digits}f}" for number in (self.measured, self.budget))
        return f"{self.name:<44}{value:>9} {self.unit:<3}{most:>9} {self.unit:<3} {kept}"


# ---- what is built


def made_up(entities: int) -> RunResults:
    """The tests' made-up run, its entities repeated under other names until there are enough."""
    path = ROOT / "tests/reporting/synthetic.py"
    spec = importlib.util.spec_from_file_location("made_up_run", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    run = module.synthetic_run()
    tables = {}
    for name, table in run.tables.items():
        if "fact_id" not in table.columns:
            tables[name] = table
            continue
        owner, copies = table["fact_id"].str.rpartition("/")[0], []
        for number in range(-(-entities // len(run.entities))):
            chosen = run.entities[: max(0, entities - number * len(run.entities))]
            own = table[owner.isin(chosen)]
            copies.append(_renamed(own, number + 1) if number else own)
        tables[name] = pd.concat(copies, ignore_index=True)
    return RunResults(
        name=f"made up, {entities} entities", config=run.config, manifest=run.manifest,
        tables=tables,
    )  # fmt: skip


def _renamed(table: pd.DataFrame, number: int) -> pd.DataFrame:
    """The same rows about entities of other names; a fact's name begins with its entity's."""
    parts = table["fact_id"].str.rpartition("/")
    names = parts[0] + f" {number}"
    fresh = table.assign(fact_id=names + "/" + parts[2])
    return fresh.assign(entity=names) if "entity" in table.columns else fresh


def results_of(run: Path | None, entities: int) -> RunResults:
    """The tables to report on: of a run's folder, or made up."""
    return made_up(entities) if run is None else ri.open_run(run).results()


def build(results: RunResults, folder: Path) -> float:
    """Write the site of all entities; seconds from tables to files."""
    reports = {one.name: one for one in ri.load_definitions(ROOT / "reports")}
    begun = time.perf_counter()
    pages = {name: reports["entity"].run(results.entity(name)) for name in results.entities}
    write_site(reports["overview"].run(results), pages, folder)
    return time.perf_counter() - begun


def digest(folder: Path) -> str:
    """One digest of every file of a site; its manifest holds theirs."""
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def digest_elsewhere(run: Path | None, entities: int, folder: Path) -> str:
    """The same site, built by a process with another hash seed, time zone and locale."""
    words = [sys.executable, str(Path(__file__).resolve()), "--entities", str(entities)]
    words += ["--build-only", str(folder), *([str(run)] if run else [])]
    strange = {"PYTHONHASHSEED": "12345", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    return subprocess.run(
        words, env=os.environ | strange, check=True, capture_output=True, text=True
    ).stdout.split()[-1]


# ---- what a reader waits for


@dataclass(frozen=True)
class Visits:
    """Several visits of one page."""

    paint: float
    """Median seconds to the first paint."""
    plot: float
    """Median seconds to the first plot; 0 where the page has none in sight."""
    elsewhere: int
    """Requests for anything but the site's own files."""
    violations: int
    """Violations of the content security policy."""


def visit(browser: Browser, page: Path, site: Path, times: int) -> Visits:
    paints, plots, elsewhere, violations = [], [], [], 0
    for _ in range(times):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        tab.add_init_script(WATCH)
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.goto(page.resolve().as_uri())
        has_plot = tab.evaluate(
            "[...document.querySelectorAll('.canvas')].some((one) => one.checkVisibility())"
        )
        paints.append(_when(tab, PAINT) / 1000)
        if has_plot:
            plots.append(_when(tab, "() => window.firstPlot") / 1000)
        violations += tab.evaluate("window.violations")
        context.close()
    own = site.resolve().as_uri()
    return Visits(
        paint=statistics.median(paints),
        plot=statistics.median(plots) if plots else 0.0,
        elsewhere=sum(not url.startswith(own) for url in elsewhere),
        violations=violations,
    )


def _when(tab, expression: str) -> float:
    """What the page tells, as soon as it does."""
    deadline = time.monotonic() + 60
    while (told := tab.evaluate(expression)) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{tab.url} told nothing within a minute: {expression}")
        time.sleep(0.02)
    return told


def help_seconds(times: int) -> float:
    """Median seconds that `restor-interp --help` takes."""
    command = [str(Path(sys.executable).with_name("restor-interp")), "--help"]
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


# ---- all of it


def measure(run: Path | None, entities: int, times: int, folder: Path) -> list[Line]:
    """Every budget beside what is measured."""
    results = results_of(run, entities)
    number, site = len(results.entities), folder / "report"
    seconds = build(results, site)
    same = digest(site) == digest_elsewhere(run, entities, folder / "again")
    pages = sorted((site / "e").iterdir())
    data = {page: site / f"data/{page.stem}.js" for page in pages}
    heaviest = max(pages, key=lambda page: (data[page].stat().st_size, page.name))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser())
        visit(browser, site / "index.html", site, 1)  # the first one reads the disk
        seen = [visit(browser, page, site, times) for page in (site / "index.html", heaviest)]
        browser.close()
    kilo = 1000.0
    return [
        Line("largest entity page", max(p.stat().st_size for p in pages) / kilo, 500, "kB"),
        Line("data of its plots, largest", max(d.stat().st_size for d in data.values()) / kilo,
             500, "kB"),
        Line("first page", (site / "index.html").stat().st_size / kilo, 500, "kB"),
        Line("first paint", max(one.paint for one in seen), 0.3, "s"),
        Line("first plot", max(one.plot for one in seen), 1.5, "s"),
        Line(f"building {number} entities", seconds, 20 * max(1, number / ENTITIES), "s"),
        Line("files that differ when built again", 0 if same else 1, 0, ""),
        Line("restor-interp --help", help_seconds(times), 0.4, "s"),
        Line("requests elsewhere", sum(one.elsewhere for one in seen), 0, ""),
        Line("violations of the page's policy", sum(one.violations for one in seen), 0, ""),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The report's budgets beside what is measured.")
    parser.add_argument("run", type=Path, nargs="?", help="a run's folder; none: a made-up run")
    parser.add_argument("--entities", type=int, default=ENTITIES, help="of the made-up run")
    parser.add_argument("--visits", type=int, default=7, help="of each page; medians are shown")
    parser.add_argument("--quick", action="store_true", help="two entities, one visit")
    parser.add_argument("--build-only", type=Path, help="write the site here, print its digest")
    given = parser.parse_args(arguments)
    entities = 2 if given.quick else given.entities
    if given.build_only:
        build(results_of(given.run, entities), given.build_only)
        print(digest(given.build_only))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(given.run, entities, 1 if given.quick else given.visits, Path(folder))
    print(f"{given.run or 'a made-up run'}; {platform.machine()}, {os.cpu_count()} cores")
    print(f"{'':<44}{'measured':>12} {'at most':>12}")
    for line in lines:
        print(line)


if __name__ == "__main__":
    main()
