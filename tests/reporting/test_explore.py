"""What a reader does with a page: cursor in all maps, keyboard, files, links, facts side by side.

Run: python -m pytest tests/reporting/test_explore.py
"""

import csv
import io
from xml.etree import ElementTree

import pytest

from restor_interp.reporting.html import write_site
from restor_interp.reporting.parts import Document, Heatmaps, Panel

pytestmark = pytest.mark.browser

FORMULA = '=HYPERLINK("x"),<b>'


@pytest.fixture
def maps(visit, tmp_path):
    """Two maps of two rows and three columns; one cell was not measured."""
    plot = Heatmaps(
        title="Where?",
        panels=(
            Panel("clean", ((0.1, 0.2, 0.3), (0.4, 0.5, float("nan")))),
            Panel("npo", ((0.6, 0.7, 0.8), (0.9, 0.15, 0.25))),
        ),
        rows=("0", "1"), columns=(FORMULA, "the", "the"), tokens=True,
        row_title="layer", column_title="token", value_title="share", caption="A caption.",
    )  # fmt: skip
    index = write_site(Document("Run", (plot,)), {}, tmp_path / "report")
    seen = visit(index)
    seen.draw(".canvas")
    return seen


def hovers(seen):
    """The hover texts of every map."""
    return [one.text_content() for one in seen.page.locator(".canvas .hoverlayer").all()]


def test_the_pointer_marks_one_cell_in_every_map(maps):
    area = maps.page.locator(".canvas").first.locator(".nsewdrag")
    box = area.bounding_box()
    area.hover(position={"x": box["width"] / 6, "y": box["height"] / 4})
    maps.until("document.querySelectorAll('.hoverlayer .hovertext').length === 2")
    first, second = hovers(maps)
    assert "0.4" in first and "0.9" in second
    assert all("layer 1" in text and "<b>" in text for text in (first, second))
    maps.page.mouse.move(5, 5)
    maps.until("document.querySelectorAll('.hoverlayer .hovertext').length === 0")


def test_arrow_keys_walk_over_the_cells_and_tell_them(maps):
    maps.page.locator(".canvas").last.focus()
    told = []
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowRight", "ArrowRight"):
        maps.page.keyboard.press(key)
        told.append(maps.page.locator("#said").inner_text())
    assert told[0] == f"layer 0, token {FORMULA}: clean 0.1; npo 0.6"
    assert told[1] == "layer 0, token the: clean 0.2; npo 0.7"
    assert told[2] == told[3] == "layer 1, token the: clean 0.5; npo 0.15"
    assert told[4] == told[5] == "layer 1, token the: clean ×; npo 0.25"
    maps.until("document.querySelectorAll('.hoverlayer .hovertext').length > 0")
    maps.page.keyboard.press("Tab")
    maps.until("document.querySelectorAll('.hoverlayer .hovertext').length === 0")


def test_a_plot_is_saved_as_csv_and_svg(maps, tmp_path):
    with maps.page.expect_download() as waiting:
        maps.page.get_by_role("button", name="Save as CSV").click()
    assert waiting.value.suggested_filename == "run-where.csv"
    rows = list(csv.reader(io.StringIO(waiting.value.path().read_text(encoding="utf-8-sig"))))
    assert rows[0] == ["panel", "layer", "token", "share"]
    assert len(rows) == 1 + 2 * 6
    assert rows[1] == ["clean", "0", f"'{FORMULA}", "0.1"]  # no formula for a spreadsheet
    assert rows[6] == ["clean", "1", "the", ""] and rows[12] == ["npo", "1", "the", "0.25"]

    downloads = []
    maps.page.on("download", lambda download: downloads.append(download))
    maps.page.get_by_role("button", name="Save as SVG").click()
    for _ in range(100):
        if len(downloads) == 2:
            break
        maps.page.wait_for_timeout(100)
    assert [one.suggested_filename for one in downloads] == ["run-where-1.svg", "run-where-2.svg"]
    drawn = downloads[0].path().read_text()
    texts = [one.text for one in ElementTree.fromstring(drawn).iter() if one.tag.endswith("text")]
    assert FORMULA in texts and "layer" in texts
    maps.assert_quiet(tmp_path / "report")


def test_the_address_keeps_the_view(visit, site):
    seen = visit(site)
    header = seen.page.locator("#s1 th", has_text="p(false)")
    header.locator("button").click()
    header.locator("button").click()
    seen.page.locator("#s3 input").fill("ka & á~")
    seen.page.locator("#s3 .fold > summary").first.click()
    seen.until("location.hash.includes('open=')")
    again = visit(site)
    again.page.goto(seen.page.url)
    again.page.reload()
    header = again.page.locator("#s1 th", has_text="p(false)")
    assert header.get_attribute("aria-sort") == "descending"
    assert again.page.locator("#s3 input").input_value() == "ka & á~"
    assert again.page.locator("#s3 .fold").first.get_attribute("open") is not None
    again.assert_quiet(site.parent)


@pytest.mark.parametrize(
    "fragment",
    ["#<img src=x onerror=window.PWN=1>", "#&find=0~<script>window.PWN=1</script>&open=9999.x.-1",
     "#&pin=0.0.99&sort=x.-1.constructor&off=__proto__", "#s1&&&=%ff&%"],
)  # fmt: skip
def test_a_hostile_address_does_nothing(visit, site, fragment):
    seen = visit(site)
    seen.page.goto(site.as_uri() + fragment)
    seen.page.reload()
    seen.page.wait_for_timeout(100)
    seen.assert_quiet(site.parent)


def test_two_facts_stand_side_by_side(visit, entity_page):
    seen = visit(entity_page)
    facts = seen.page.locator("section > .fold[id], .beside > .fold[id]")
    order = [one.get_attribute("id") for one in facts.all()]
    seen.page.evaluate("for (const f of document.querySelectorAll('.fold')) f.open = false")
    for number in (0, 2):
        facts.nth(number).evaluate("(fold) => { fold.open = true; }")
        seen.page.locator(f"#{order[number]} > .pin").click()
    boxes = (
        "[...document.querySelectorAll('.beside > .fold')].map((f) => f.getBoundingClientRect())"
    )
    left, right = seen.page.evaluate(f"{boxes}.map((box) => box.toJSON())")
    assert left["top"] == right["top"] and left["right"] < right["left"]
    seen.until("location.hash.includes('pin=')")
    again = visit(entity_page)
    again.page.goto(seen.page.url)
    again.page.reload()
    assert again.page.locator(".beside > .fold").count() == 2
    seen.page.locator(f"#{order[0]} > .pin").click()
    assert seen.page.locator(".beside").count() == 0
    assert [one.get_attribute("id") for one in facts.all()] == order
    seen.assert_quiet(entity_page.parents[1])
