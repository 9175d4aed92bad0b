"""A keyboard in plots of lines and bars: where it stands is shown, and said.

Run: python -m pytest tests/reporting/test_cursor.py
"""

import math

import pytest

from restor_interp.reporting.html import write_site
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Bars,
    Document,
    LinePanel,
    Lines,
    Series,
)

pytestmark = pytest.mark.browser

LONG = "a name of a line that is by far too long for any label, <b>and hostile</b>"


@pytest.fixture(scope="module")
def plots(visit, tmp_path_factory):
    """A plot of two lines (one with a band and a gap), stacked bars, and amounts."""
    lines = Lines(
        title="Lens", x_title="layer", y_title="nats", caption="A caption.",
        panels=(LinePanel("", (
            Series(name="true", x=(0, 1, 2), y=(1.0, math.nan, 3.0), low=(0, 0, 2),
                   high=(2, 2, 4), look="true"),
            Series(name=LONG, x=(0, 2), y=(-1.0, -2.0), look="false"),
        )),),
    )  # fmt: skip
    bars = Bars(
        title="Fates", categories=("npo", "ga"), segments=(("restored", (1, 2)), ("kept", (3, 0))),
        value_title="facts", caption="A caption.",
    )  # fmt: skip
    amounts = Amounts(
        title="Parts",
        panels=(AmountPanel("", (Amount("MLP", 0.5, control=0.1), Amount(LONG, -2.0))),),
        value_title="share", caption="A caption.", low_words="away", high_words="towards",
        control_words="random",
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("cursor") / "report"
    seen = visit(write_site(Document("Run", (lines, bars, amounts)), {}, folder))
    seen.draw(".canvas")
    return seen


def walked(seen, number, *keys):
    """What is said after each key on one of the plots."""
    seen.page.locator(".canvas").nth(number).focus()
    told = []
    for key in keys:
        seen.page.keyboard.press(key)
        told.append(seen.page.locator("#said").inner_text())
    return told


def test_arrows_walk_along_a_line_and_to_the_next(plots):
    right, down, up, left = "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft"
    told = walked(plots, 0, right, right, right, right, down, left, up)
    assert told == [
        "true, layer 0: 1", "true, layer 1: ×", "true, layer 2: 3", "true, layer 2: 3",
        f"{LONG}, layer 2: −2", f"{LONG}, layer 0: −1", "true, layer 0: 1",
    ]  # fmt: skip
    plots.until("document.querySelectorAll('.hoverlayer .hovertext').length === 1")
    plots.page.keyboard.press("Escape")
    plots.until("document.querySelectorAll('.hoverlayer .hovertext').length === 0")


def test_a_hidden_line_is_passed_over(plots):
    button = plots.page.locator("[data-line]").first
    button.click()
    assert walked(plots, 0, "ArrowUp", "ArrowUp")[-1].startswith(LONG)
    button.click()


def test_arrows_walk_over_bars_and_their_parts(plots):
    told = walked(plots, 1, "ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp")
    assert told == ["✓ restored, npo: 1", "✓ restored, ga: 2", "● kept, ga: 0", "● kept, npo: 3"]
    told = walked(plots, 2, "ArrowDown", "ArrowDown", "ArrowRight")
    assert told == ["share, MLP: 0.5", f"share, {LONG}: −2", "random, MLP: 0.1"]


def test_focus_is_seen_and_long_names_are_whole_in_the_hover(plots):
    canvas = plots.page.locator(".canvas").nth(2)
    walked(plots, 2, "ArrowDown", "ArrowLeft", "ArrowDown", "ArrowDown")
    assert canvas.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
    labels = canvas.locator(".ytick text").all_text_contents()
    assert any(label.endswith("…") and len(label) == 36 for label in labels)
    shown = canvas.locator(".hoverlayer").first
    shown.locator("text").first.wait_for()
    assert LONG.replace(" ", "") in shown.text_content().replace(" ", "")
    assert canvas.locator(".hoverlayer b").count() == 0
