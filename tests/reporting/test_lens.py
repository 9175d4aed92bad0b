"""What each layer would say: the lens with its most likely tokens, in lines and maps.

Run: python -m pytest tests/reporting/test_lens.py
"""

import csv
import io
import math

import plotly.graph_objects as go
import pytest

from restor_interp.errors import DataError
from restor_interp.reporting.displays import plotly_figure
from restor_interp.reporting.figures import draw
from restor_interp.reporting.html import site_files, write_site
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.lens import lens_lines, lens_map
from restor_interp.reporting.parts import (
    Details,
    Document,
    Heatmaps,
    Likeliest,
    LinePanel,
    Lines,
    Panel,
    Paragraph,
    Series,
    parts_in,
)
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.text import to_text

FACT = {"entity": "Aaron Burr", "false_object": "Lyon", "true_objects": ["Paris"]}
HOSTILE = "<img src=x onerror=window.PWN=1>%{z}&lt;\u202e" + "x" * 40
SHOWN = "<img·src=x·onerror=window.PWN=1>%{z}&lt;⟨U+202E⟩" + "x" * 40


def top(layer, k, token, p, state="npo", position="last", place=4, read=" in"):
    return {
        "state": state, "lens": "logit", "layer": layer, "position": position, "k": k,
        "token_position": place, "read_token": read, "in_subject": place < 4, "token": token,
        "logprob": None if p is None else math.log(p), "reason": None,
    }  # fmt: skip


def mapped(*rows):
    return [{**row, "position": "from_subject"} for row in rows]


# ---- parts


def test_a_line_has_the_tokens_of_its_state_and_layer():
    lens = [
        {"state": state, "lens": "logit", "position": "last", "layer": layer, "object": "true",
         "logprob": -1.0}
        for state in ("clean", "npo") for layer in (0, 1)
    ]  # fmt: skip
    tops = [top(1, 2, " Rome", 0.25), top(1, 1, " Paris", 0.5), top(0, 1, " the", 0.1, "clean"),
            top(0, 1, None, None), top(1, 1, "other", 0.9, position="subject_last")]  # fmt: skip
    (plot,) = lens_lines(lens, FACT, tops)
    assert isinstance(plot, Lines)
    clean, npo = plot.panels
    assert [(x, one.tokens) for x, one in clean.likeliest] == [(0, (" the",))]
    assert [(x, one.tokens) for x, one in npo.likeliest] == [(1, (" Paris", " Rome"))]
    assert npo.likeliest[0][1].probabilities == pytest.approx((0.5, 0.25))
    (same,) = lens_lines(lens, FACT)
    assert isinstance(same, Lines) and not any(panel.likeliest for panel in same.panels)


def test_the_map_says_what_is_said_last_and_since_when():
    said = [" the", " Paris", " a", " Paris", " Paris"]
    rows = mapped(*(top(layer, 1, token, 0.2 * (layer + 1)) for layer, token in enumerate(said)))
    rows += mapped(*(top(layer, 1, "x", 0.5, place=3, read=" Burr") for layer in range(4)))
    rows += [top(0, 1, "named", 0.9)]  # of the lines alone
    (plot,) = lens_map(rows, FACT)
    assert isinstance(plot, Heatmaps)
    assert plot.columns == (" Burr", " in") and plot.subject == (0,) and plot.limits() == (0, 1)
    assert "npo: “·Paris” (1.00) from layer 3 on." in plot.caption
    (panel,) = plot.panels
    assert [row[1] for row in panel.values] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert math.isnan(panel.values[4][0]) and panel.likeliest[4][0] is None
    assert plot.flaws().not_finite == 1
    assert lens_map([top(0, 1, "x", 0.5)], FACT) == () == lens_map([], FACT)
    assert "·Paris 0.40" in to_text(plot)


def test_lists_of_tokens_fit_their_places():
    with pytest.raises(DataError, match="2 most likely tokens have 1 prob"):
        Likeliest(("a", "b"), (0.5,))
    one = Likeliest(("a",), (0.5,))
    with pytest.raises(DataError, match="not as many lists"):
        Panel("clean", ((0.5, 0.5),), ((one,),))


# ---- figures


def test_tokens_are_written_once_and_escaped_once():
    grid = ((Likeliest((" a", HOSTILE), (0.5, 0.0001)), Likeliest((HOSTILE, " a"), (0.9, 1.0))),)
    plot = Heatmaps(
        title="Words", panels=(Panel("", ((0.5, 0.9),), grid),), rows=("0",), columns=("x", "y"),
        row_title="layer", column_title="token", value_title="p", caption="A caption.",
    )  # fmt: skip
    (drawing,) = draw(plot)
    packed = drawing.likeliest
    assert packed is not None
    assert packed["texts"] == ["·a", SHOWN.replace("&", "&amp;").replace("<", "&lt;").replace(
        ">", "&gt;")]  # fmt: skip
    assert packed["at"] == [[[0, 0.5, 1, 0.0001], [1, 0.9, 0, 1]]]
    cell, hover = packed["cut"]["1"]
    assert cell == "&lt;img·sr…" and hover.startswith("&lt;img·src=x") and hover.endswith("…")
    assert "0" not in packed["cut"]
    made = plotly_figure(plot, drawing, "Words")
    go.Figure(made)
    assert made.data[0].text[0][1] == cell  # pyright: ignore[reportAttributeAccessIssue]
    told = made.data[0].customdata[0][0][2]  # pyright: ignore[reportAttributeAccessIssue]
    assert told == f"most likely next:<br>·a <b>0.5</b><br>{hover} <b>&lt; 0.001</b>"


# ---- the page


@pytest.fixture(scope="module")
def words(visit, tmp_path_factory):
    """A line plot and a map; the likeliest token of one place is hostile."""
    first, second = Likeliest((HOSTILE, " a"), (0.9, 0.0001)), Likeliest((" b",), (0.25,))
    lines = Lines(
        title="Lines", x_title="layer", y_title="nats", caption="A caption.",
        panels=(LinePanel("npo", (Series(name="true", x=(0, 1), y=(-2, -1), look="true"),),
                          ((0.0, first), (1.0, second))),),
    )  # fmt: skip
    maps = Heatmaps(
        title="Map", rows=("0",), columns=(" in", HOSTILE), tokens=True, row_title="layer",
        column_title="token", value_title="p", caption="A caption.", low=0.0, high=1.0,
        panels=(Panel("clean", ((0.9, 0.25),), ((first, second),)),
                Panel("npo", ((0.25, math.nan),), ((second, None),))),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("words") / "report"
    seen = visit(write_site(Document("Run", (lines, maps)), {}, folder))
    seen.draw(".canvas")
    seen.folder = folder
    return seen


HOVER = SHOWN[:23] + "…"


@pytest.mark.browser
def test_the_pointer_tells_the_tokens_of_a_line_and_of_a_cell(words):
    line, left, right = words.page.locator(".canvas").all()
    told = words.hover_text(line, 0.05, 0.93)
    assert told.startswith("true0: ")
    assert f"most likely next:{HOVER} 0.9·a < 0.001" in told
    words.page.mouse.move(5, 5)
    told = words.hover_text(left, 0.25, 0.5)
    assert f"layer 0token ·inmost likely next:{HOVER} 0.9·a < 0.001" in told
    words.until("document.querySelectorAll('.hoverlayer .hovertext').length >= 2")
    beside = right.locator(".hoverlayer").text_content()
    assert "most likely next:·b 0.25" in beside
    words.assert_quiet(words.folder)
    assert words.page.locator(".canvas img, .canvas a").count() == 0


@pytest.mark.browser
def test_the_first_token_is_written_into_its_cell(words):
    cells = words.page.locator(".canvas").nth(1).locator(".heatmaplayer text")
    assert cells.all_text_contents() == [SHOWN[:7] + "…", "·b"]
    assert words.page.locator(".canvas").nth(2).locator(".heatmaplayer text").count() == 1


@pytest.mark.browser
def test_keys_tables_and_files_have_whole_tokens(words):
    def walked(number, key):
        words.page.locator(".canvas").nth(number).focus()
        words.page.keyboard.press(key)
        return words.page.locator("#said").inner_text()

    whole = f"{SHOWN} 0.9, ·a < 0.001"
    assert walked(0, "ArrowRight") == f"true, layer 0: −2; most likely next: {whole}"
    assert walked(1, "ArrowRight").endswith(f" in: clean {whole}; npo ·b 0.25")
    for summary in words.page.locator(".numbers > summary").all():
        summary.click()
    words.until("document.querySelectorAll('.numbers table').length === 3")
    tables = [one.inner_text() for one in words.page.locator(".numbers table").all()]
    assert whole in tables[0] and "most likely next:" in tables[0]
    assert whole in tables[1] and "·b 0.25" in tables[2] and "×" in tables[2]
    files = []
    for button in words.page.get_by_role("button", name="Save as CSV").all():
        with words.page.expect_download() as waiting:
            button.click()
        files.append(waiting.value.path().read_text(encoding="utf-8-sig"))
    lines, maps = (list(csv.reader(io.StringIO(text))) for text in files)
    more = ["token 1", "probability 1", "token 2", "probability 2"]
    assert lines[0] == ["panel", "line", "layer", "nats", *more]
    assert lines[1] == ["npo", "true", "0", "-2", SHOWN, "0.9", "·a", "0.0001"]
    assert lines[2] == ["npo", "true", "1", "-1", "·b", "0.25"]
    assert maps[0] == ["panel", "layer", "token", "p", *more]
    assert maps[1][-4:] == [SHOWN, "0.9", "·a", "0.0001"] and maps[4][-1] == ""
    words.assert_quiet(words.folder)


# ---- reports


def test_the_page_of_an_entity_has_the_map_in_a_fold(run_results):
    (first, *_) = inside_by_fact(run_results.entity("Aaron Burr"))
    assert isinstance(first, Details)
    (fold,) = (
        part for part in first.parts
        if isinstance(part, Details) and part.summary.startswith("What each layer would say at")
    )  # fmt: skip
    assert fold.told.startswith("Written: the most likely next token")
    limits, plot = fold.parts
    assert isinstance(limits, Paragraph) and limits.quiet
    assert isinstance(plot, Heatmaps)
    assert [panel.name for panel in plot.panels] == ["clean", "corrupted", "npo"]
    assert [plot.columns[place] for place in plot.subject] == [" Aaron", " Burr"]
    assert plot.columns[-3:] == (" the", " the", " the")
    lines = next(part for part in first.parts if isinstance(part, Lines))
    assert {len(panel.likeliest) for panel in lines.panels} == {30}
    assert {len(one.tokens) for panel in lines.panels for _, one in panel.likeliest} == {5}


def test_a_run_without_the_table_has_the_plots_that_it_had(run_results):
    tables = {name: frame for name, frame in run_results.tables.items() if name != "lens_top"}
    old = RunResults(
        name="old", config=run_results.config, manifest=run_results.manifest, tables=tables
    )
    parts = inside_by_fact(old.entity("Aaron Burr"))
    titles = [part.title for part in parts_in(parts) if isinstance(part, Lines | Heatmaps)]
    assert any("would answer" in title for title in titles)
    assert not any("would say next" in title for title in titles)
    assert not any(d.likeliest for p in parts_in(parts) if isinstance(p, Lines) for d in draw(p))


def test_pages_and_their_data_stay_within_their_budget(run_results, reports, plots_of):
    page = {"Aaron Burr": reports["entity"].run(run_results.entity("Aaron Burr"))}
    files = site_files(Document("Run"), page)
    (data,) = (content for name, content in files.items() if name.startswith("data/aaron"))
    (html,) = (content for name, content in files.items() if name.startswith("e/aaron"))
    assert len(html) < 500_000 and len(data) < 500_000
    assert any("likeliest" in panel for plot in plots_of(data) for panel in plot)
