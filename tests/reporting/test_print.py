"""A page on paper: unfolded, every plot drawn, light, nothing beyond the edge; and back again.

Run: python -m pytest tests/reporting/test_print.py
"""

import re

import pytest

from restor_interp.reporting.html import write_site
from restor_interp.reporting.parts import (
    Column,
    Details,
    Document,
    LinePanel,
    Lines,
    Paragraph,
    Row,
    Section,
    Series,
    Table,
    Text,
)

pytestmark = pytest.mark.browser


def lines(title):
    panel = LinePanel("", (Series(name="p", x=(0, 1), y=(1.0, 2.0), look="true"),))
    return Lines(title=title, x_title="x", y_title="y", caption="A caption.", panels=(panel,))


@pytest.fixture
def page(visit, tmp_path):
    wide = Table(
        tuple(Column(f"column {number}") for number in range(30)),
        (Row(tuple(Text("word") for _ in range(30))),),
        caption="Wide",
    )
    document = Document(
        "Run",
        (
            Section("First", (lines("seen at once"), wide)),
            Section(
                "Second",
                (
                    Details(
                        "folded", (lines("folded away"), Details("deeper", (Paragraph("hid"),)))
                    ),
                ),
            ),
        ),
    )
    seen = visit(write_site(document, {}, tmp_path / "report"), color_scheme="dark")
    seen.draw("#s1 .canvas")
    return seen


STATE = """() => ({
  open: [...document.querySelectorAll(".fold")].filter((one) => one.open).length,
  drawn: document.querySelectorAll(".canvas[data-drawn] .main-svg").length > 0
    ? document.querySelectorAll(".canvas[data-drawn]").length : 0,
  paper: getComputedStyle(document.body).backgroundColor,
  beyond: [...document.querySelectorAll(".scroll, .panel")].filter((one) =>
    one.scrollWidth > one.clientWidth + 1).length,
  width: document.querySelector(".canvas .main-svg").getBoundingClientRect().width,
})"""


def test_the_button_prepares_everything_and_what_was_changed_is_put_back(page):
    before = page.page.evaluate(STATE)
    assert before["open"] == 0 and before["drawn"] == 1 and before["beyond"] == 1
    page.page.evaluate("window.print = () => { window.asked = true; }")
    page.page.locator("#print").click()
    page.until("window.asked === true")
    page.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.page.evaluate(STATE) == {
        "open": 2, "drawn": 2, "paper": "rgb(255, 255, 255)", "beyond": 0,
        "width": pytest.approx(900, abs=150),
    }  # fmt: skip
    page.page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.until("document.querySelectorAll('.fold[open]').length === 0")
    after = page.page.evaluate(STATE)
    assert {**after, "drawn": 1} == before and page.errors == []


def test_what_cannot_be_drawn_in_time_says_so(page):
    told = page.page.evaluate(
        """() => {
          const [library, folded] = [window.Plotly, document.querySelector("#s2 .canvas")];
          window.Plotly = undefined;
          dispatchEvent(new Event("beforeprint"));
          const during = folded.textContent;
          window.Plotly = library;
          dispatchEvent(new Event("afterprint"));
          return [during, folded.textContent];
        }"""
    )
    assert told == ["Not drawn: print this page with its own button.", ""]


def test_a_printed_page_has_the_plots_and_the_texts(page, tmp_path):
    page.page.evaluate("window.print = () => {}")
    page.page.locator("#print").click()
    page.until("panels !== null && window.Plotly !== undefined")
    data = page.page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    boxes = re.findall(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)", data)
    assert boxes and all(float(width) > float(height) for width, height in boxes)  # landscape
