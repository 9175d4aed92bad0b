"""Results in a notebook, and their plots as plotly figures.

Run: python -m pytest tests/reporting/test_displays.py
"""

import html.parser

import plotly.graph_objects as go
import pytest

import restor_interp as ri
from restor_interp.displays import as_html
from restor_interp.errors import ConfigError
from restor_interp.reporting.displays import DRAWN, figures
from restor_interp.reporting.notebook import html_of
from restor_interp.reporting.parts import Document, Heatmaps, Panel, Paragraph

PROMPT, SUBJECT = "In the north Oslo lies in", "Oslo"


@pytest.fixture(scope="module")
def model():
    return ri.load_model("bios")


@pytest.fixture(scope="module")
def results(model):
    prompt = ri.Prompt(prefix="", question=PROMPT, subject=SUBJECT, subject_span=(13, 17))
    return {
        "Trace": ri.trace(model, PROMPT, subject=SUBJECT, samples=2),
        "Lens": ri.logit_lens(model, prompt, (" Rome", " Paris"), states=["clean"]),
        "Knockouts": ri.knock_out(model, prompt, "Rome", "Paris"),
        "Contributions": ri.direct_logits(model, prompt, "Rome", "Paris"),
        "SubjectAttention": ri.subject_attention(model, prompt, "Rome", "Paris"),
    }


class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "name", ["Trace", "Lens", "Knockouts", "Contributions", "SubjectAttention"]
)
def test_a_result_shows_itself_shortly_and_without_script(results, name):
    result = results[name]
    text = result._repr_html_()
    tags = Tags(text)
    assert not tags.open and name in tags.text
    assert {tag for tag, _ in tags.seen} <= {
        *("div", "p", "b", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    }
    assert not any(
        key.startswith("on") or key in ("src", "href") for _, a in tags.seen for key in a
    )
    assert len(text) < 120_000


@pytest.mark.parametrize(
    "name", ["Trace", "Lens", "Knockouts", "Contributions", "SubjectAttention"]
)
def test_the_plots_of_a_result_are_plotly_figures_that_can_be_changed(results, name):
    found = figures(results[name])
    assert found and all(isinstance(figure, go.Figure) for figure in found.values())
    figure = ri.figure(results[name])
    figure.update_layout(title_text="mine")
    assert (
        figure.layout.title.text == "mine" and ri.figure(results[name]).layout.title.text != "mine"
    )


def test_a_figure_of_a_trace_holds_its_numbers_and_the_names_of_its_cells(results):
    trace = results["Trace"]
    scores = [figure for name, figure in figures(trace).items() if "itself" in name]
    heat = scores[0].data[0]
    start = trace.subject[0]
    assert len(heat.z) == trace.scores.shape[1] and len(heat.z[0]) == len(trace.tokens) - start
    for layer in (0, 5, 11):
        for column in range(len(heat.z[0])):
            assert heat.z[layer][column] == pytest.approx(
                trace.scores[start + column, layer], rel=1e-3, abs=1e-4
            )
    assert heat.customdata[5][1][1] == "5" and heat.showscale


def test_what_strangers_wrote_stays_text():
    hostile = "<script>alert(1)</script>\u202e"
    plot = Heatmaps(
        title=hostile, panels=(Panel(hostile, ((0.0, 1.0),)),), rows=(hostile,),
        columns=(hostile, "b"), row_title=hostile, column_title="c", value_title="v",
        caption=hostile,
    )  # fmt: skip
    text = html_of(Document(hostile, (Paragraph(hostile), plot)))
    tags = Tags(text)
    assert not {"script", "img"} & {tag for tag, _ in tags.seen}
    assert "alert(1)" in tags.text and "\u202e" not in text


def test_what_has_no_plot_says_so_and_shows_its_fields():
    state = ri.State({"a": 1.0})
    with pytest.raises(ConfigError, match="has no plot"):
        figures(state)
    assert "coefficients" in as_html(state)


def test_every_class_that_is_drawn_is_a_public_result():
    for name in DRAWN:
        assert getattr(ri, name)._repr_html_ is as_html
