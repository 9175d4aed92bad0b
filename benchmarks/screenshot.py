"""The pictures of a report in README and quick start: the first page, an entity, one fact inside.

    python benchmarks/screenshot.py runs/demo      # report{,-facts,-entity}.png, into docs/
    python benchmarks/screenshot.py runs/demo --entity France --dark

Needs playwright and a Chromium (`apt-get install chromium-headless-shell`, or
`playwright install chromium`). Plots are drawn before the picture is taken.
"""

import argparse
import time
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

import restor_interp as ri
from restor_interp.reporting.characters import file_stem
from restor_interp.reporting.svg import find_browser

WIDTH = 1280
HEIGHT = 1160
"""Pixels of the first page that fit: the verdict, the table of states, and some of the bars."""
TALLEST = 1500
"""Pixels of a part that are shown: of the open fact, the evidence and its first figures."""

DRAW_NEXT = """(selector) => {
  const all = [...document.querySelectorAll(selector)].filter((c) => c.checkVisibility());
  const next = all.find((canvas) => !canvas.dataset.drawn);
  if (next) next.scrollIntoView({ behavior: "instant", block: "center" });
  return !next;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description="The README's pictures of a report.")
    parser.add_argument("run", type=Path, help="a run's folder, with its report")
    parser.add_argument("--entity", help="whose page; default: the first that was traced")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures")
    parser.add_argument("--dark", action="store_true")
    given = parser.parse_args()

    report = given.run / "report"
    entity = given.entity or first_traced(given.run)
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser())
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT},
            color_scheme="dark" if given.dark else "light",
        )
        page.goto((report / "index.html").resolve().as_uri())
        draw(page, "#s1 .canvas")
        page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        page.screenshot(path=given.out / "report.png")
        page.goto((report / f"e/{file_stem(entity)}.html").resolve().as_uri())
        picture(page, page.locator("#s1"), given.out / "report-facts.png")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        draw(page, "details[open] > .plot .canvas")
        fold = page.locator("details.fold[open]").filter(has=page.locator(".plot")).first
        picture(page, fold, given.out / "report-entity.png")
        browser.close()
    for name in ("report.png", "report-facts.png", "report-entity.png"):
        path = given.out / name
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")


def picture(page: Page, part: Locator, path: Path) -> None:
    """A part of a page, down to `TALLEST`."""
    box = part.bounding_box()
    # All of it at once, so that the bar that sticks to the window's top is not in the middle.
    height = int(box["height"]) + 200 if box else HEIGHT
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    box = part.bounding_box()
    shown = {**box, "height": min(box["height"], TALLEST)} if box else None
    page.screenshot(path=path, clip=shown, full_page=True)


def first_traced(run: Path) -> str:
    """The first entity one of whose facts was traced; without any, the first of all."""
    results = ri.open_run(run).results()
    traced = set(results.table("traces")["fact_id"])
    facts = [fact for fact in results.facts if fact["fact_id"] in traced] or list(results.facts)
    return facts[0]["entity"]


def draw(page: Page, selector: str) -> None:
    """Scroll along the unfolded plots that match, until each of them is drawn."""
    deadline = time.monotonic() + 60
    while not page.evaluate(DRAW_NEXT, selector):
        if time.monotonic() > deadline:
            raise SystemExit(f"a plot of {page.url} was not drawn within a minute")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
