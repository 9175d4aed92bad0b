"""Figures are valid plotly, keep repeated tokens apart, share scales and escape text once."""

import dataclasses
import json
import math

import plotly.colors
import plotly.graph_objects as go
import pytest

from restor_interp.errors import DataError
from restor_interp.reporting.figures import draw, escaped, note_on
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Bars,
    Heatmaps,
    LinePanel,
    Lines,
    Panel,
    Series,
)
from restor_interp.reporting.vocabulary import (
    CIVIDIS,
    FATES,
    OUTCOMES,
    RED_BLUE,
    contrast,
    ink_on,
    look_of,
    luminance,
    order_states,
    state_kind,
)


def maps(**changes):
    fields = {
        "title": "Tracing", "rows": ("0", "1"), "columns": ("the", "the", "the"),
        "panels": (
            Panel("clean", ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))),
            Panel("npo", ((0.0, 0.9, 0.3), (0.1, 0.1, 0.1))),
        ),
        "row_title": "layer", "column_title": "token", "value_title": "p",
        "caption": "Largest at layer 1.", "tokens": True,
    }  # fmt: skip
    return Heatmaps(**(fields | changes))


def lines(**changes):
    fields = {
        "title": "Lens", "x_title": "layer", "y_title": "log p", "caption": "True leads.",
        "panels": (
            LinePanel("clean", (Series(name="true", x=(0, 1), y=(1.0, 2.0), look="true"),)),
            LinePanel("npo", (Series(name="true", x=(0, 1), y=(-3.0, math.nan), look="true"),)),
        ),
    }  # fmt: skip
    return Lines(**(fields | changes))


def bars():
    return Bars(
        title="Fates",
        categories=("npo", "<b>x"),
        segments=(("restored", (1, 2)), ("still_false", (3, 0))),
        value_title="facts",
        caption="One.",
    )


def amounts():
    return Amounts(
        title="Grafts",
        panels=(
            AmountPanel(
                "a", (Amount("<b>x", 0.5, control=0.1, low=0.0, high=0.3), Amount("y", -1))
            ),
            AmountPanel("b", (Amount("<b>x", math.nan), Amount("y", 2.0))),
        ),
        value_title="share",
        caption="Most: y, 2.0.",
        low_words="away",
        high_words="towards",
        control_words="random",
    )


@pytest.mark.parametrize(
    "plot",
    [maps(), maps(diverging=True, written=True, subject=(0, 1)), lines(), bars(), amounts()],
)
def test_figures_are_valid_plotly_and_json(plot):
    for drawing in draw(plot):
        go.Figure(drawing.figure)  # raises on any property that plotly does not know
        json.dumps(drawing.figure, allow_nan=False)
        assert drawing.height >= 100 and drawing.width >= 100


def test_repeated_tokens_keep_their_columns():
    heat = draw(maps())[0].figure
    assert heat["data"][0]["x"] == [0, 1, 2]
    assert [len(row) for row in heat["data"][0]["z"]] == [3, 3]
    assert heat["layout"]["xaxis"]["ticktext"] == ["the", "the", "the"]
    assert heat["layout"]["xaxis"]["tickvals"] == [0, 1, 2]


def test_all_panels_share_one_scale():
    scales = {(d.figure["data"][0]["zmin"], d.figure["data"][0]["zmax"]) for d in draw(maps())}
    assert scales == {(0, 0.9)}
    ranges = [drawing.figure["layout"]["yaxis"]["range"] for drawing in draw(lines())]
    assert ranges[0] == ranges[1] and ranges[0][0] < -3.0 and ranges[0][1] > 2.0


def test_diverging_scales_are_centred_on_zero():
    plot = maps(panels=(Panel("d", ((-0.1, 0.0, 0.2), (0.0, 0.0, 0.0))),), diverging=True)
    assert plot.limits() == (-0.2, 0.2)
    colours = draw(plot)[0].figure["data"][0]["colorscale"]
    assert colours[5] == [0.5, "#f7f7f7"]


def test_constant_and_empty_maps_have_a_scale():
    same = maps(panels=(Panel("d", ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))),))
    assert same.limits() == (1.0, 2.0)
    nothing = maps(panels=(Panel("d", ((math.nan,) * 3,) * 2),))
    assert nothing.limits() == (0.0, 1.0)
    assert nothing.flaws().not_finite == 6


def test_cells_that_do_not_show_their_value_are_marked_and_counted():
    plot = maps(
        panels=(Panel("d", ((math.nan, math.inf, 0.5), (-1.0, 2.0, 3.0))),), low=0.0, high=1.0
    )
    flaws = plot.flaws()
    assert dataclasses.astuple(flaws) == (2, 1, 2)
    assert note_on(plot) == (
        "Cells: 2 not measured (marked ×), 1 below the scale (marked ▽), "
        "2 above the scale (marked △)."
    )
    heat, *marks = draw(plot)[0].figure["data"]
    assert heat["z"] == [[None, None, 0.5], [-1, 2, 3]]
    places = {m["marker"]["symbol"]: list(zip(m["x"], m["y"], strict=True)) for m in marks}
    assert places == {
        "x-thin": [(0, 0), (1, 0)],
        "triangle-down-open": [(0, 1)],
        "triangle-up-open": [(1, 1), (2, 1)],
    }  # fmt: skip


def test_log_axes_leave_out_and_count_what_is_not_positive():
    series = Series(name="p", x=(0, 1, 2), y=(0.1, 0.0, math.nan), look="true")
    plot = lines(panels=(LinePanel("", (series,)),), log=True)
    assert plot.flaws().not_finite == 2 and note_on(plot) == "Not drawn: 2 points."
    figure = draw(plot)[0].figure
    assert figure["data"][0]["y"] == [0.1, None, None]
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < -1 < high


def test_bands_close_around_their_line_and_skip_gaps():
    series = Series(
        name="p", x=(0, 1, 2), y=(1, 2, 3), low=(0, math.nan, 2), high=(2, 3, 4), look="npo", n=7
    )
    band, line = draw(lines(panels=(LinePanel("", (series,)),)))[0].figure["data"]
    assert band["x"] == [0, 2, 2, 0] and band["y"] == [2, 4, 2, 0]
    assert band["fill"] == "toself" and line["name"] == "p (n=7)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=1>", "&lt;img src=x onerror=1&gt;"),
        ("a & \"b\"", "a &amp; \"b\""),
        ("\u202eright", "⟨U+202E⟩right"),
        ("a\nb", "a↵b"),
    ],
)  # fmt: skip
def test_text_is_escaped_exactly_once(text, shown):
    assert escaped(text) == shown
    ticks = draw(maps(columns=(text, text, text), tokens=False))[0].figure["layout"]["xaxis"]
    assert ticks["ticktext"] == [shown] * 3


def test_no_data_stands_in_a_hover_template():
    hostile = "%{z} <b>"
    plots = (
        maps(columns=(hostile,) * 3, rows=(hostile, hostile), row_title=hostile),
        lines(x_labels=(hostile, hostile), panels=(
            LinePanel(hostile, (Series(name=hostile, x=(0, 1), y=(0, 1)),)),)),
    )  # fmt: skip
    for plot in plots:
        for drawing in draw(plot):
            for trace in drawing.figure["data"]:
                assert hostile not in trace["hovertemplate"]
                assert "&lt;b&gt;" not in trace["hovertemplate"]


def test_plots_refuse_missing_captions_and_ragged_data():
    with pytest.raises(DataError, match="no caption"):
        maps(caption=" ")
    with pytest.raises(DataError, match="2 × 3"):
        maps(panels=(Panel("d", ((1.0, 2.0),)),))
    with pytest.raises(DataError, match="different lengths"):
        Series(name="p", x=(0, 1), y=(0,))


def test_scales_are_plotlys_own_cividis_and_rdbu():
    assert list(CIVIDIS) == plotly.colors.sequential.Cividis
    theirs = [plotly.colors.unlabel_rgb(colour) for colour in plotly.colors.diverging.RdBu]
    ours = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in RED_BLUE]
    assert ours == [tuple(map(int, colour)) for colour in theirs]
    lightness = [luminance(colour) for colour in CIVIDIS]
    assert lightness == sorted(lightness)


def test_colours_are_told_apart_from_paper_in_both_modes():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WCAG's known example
    states = (
        "clean",
        "corrupted",
        "npo",
        "grad_diff",
        "kl_restor",
        "task_vector",
        "sham_npo",
        "mine",
    )
    colours = {look_of(name).colour for name in (*states, "true", "false", "control", "chance")}
    colours |= {sign.colour for sign in (*FATES.values(), *OUTCOMES.values())}
    for colour in colours:
        assert contrast(colour, "#ffffff") >= 2.9 and contrast(colour, "#121212") >= 2.9, colour
        assert contrast(colour, ink_on(colour)) >= 4.5, colour


def test_states_have_a_second_cue_beside_colour():
    states = ("clean", "corrupted", "npo", "grad_diff", "kl_restor", "task_vector", "retain_only",
              "sham_npo", "rollback_0.5")  # fmt: skip
    cues = {(look_of(state).dash, look_of(state).symbol) for state in states}
    assert len(cues) == len(states)
    assert look_of("sham_npo").symbol == look_of("npo").symbol + "-open"


def test_states_are_ordered_by_what_they_are_for():
    given = ["sham_npo", "npo", "clean", "rollback_0.5", "corrupted", "retain_only", "ga", "npo"]
    assert order_states(given) == (
        "clean", "corrupted", "npo", "ga", "sham_npo", "retain_only", "rollback_0.5",
    )  # fmt: skip
    assert state_kind("corrupted+repair") == "repair"


def test_amounts_share_a_scale_with_zero_and_their_controls_have_ranges():
    first, second = (drawing.figure for drawing in draw(amounts()))
    low, high = first["layout"]["xaxis"]["range"]
    assert low < -1 < 2 < high and second["layout"]["xaxis"]["range"] == [low, high]
    bars, control = first["data"]
    assert bars["x"] == [0.5, -1] and len(set(bars["marker"]["color"])) == 2
    assert first["layout"]["yaxis"]["ticktext"] == ["&lt;b&gt;x", "y"]
    assert (control["x"], control["y"]) == ([0.1], [0])
    assert control["error_x"]["array"] == [0.2] and control["error_x"]["arrayminus"] == [0.1]
    assert second["data"][0]["x"] == [None, 2] and amounts().flaws().not_finite == 1


def test_points_are_not_joined_and_none_is_left_out():
    points = Series(name="cells", x=(0, 0), y=(1.0, 2.0), joined=False)
    (drawing,) = draw(lines(panels=(LinePanel("", (points,)),)))
    (trace,) = drawing.figure["data"]
    assert trace["mode"] == "markers" and trace["marker"]["maxdisplayed"] == 0
    assert (trace["x"], trace["y"]) == ([0, 0], [1, 2])


def test_numbers_are_written_to_the_fourth_digit_of_their_scale():
    values = ((0.123456, 0.00012345, 12.3456),)
    plot = maps(rows=("0",), panels=(Panel("a", values),))
    assert draw(plot)[0].figure["data"][0]["z"] == [[0.12, 0, 12.35]]
    small = maps(rows=("0",), panels=(Panel("a", ((0.00123456, 0.0001, math.nan),)),))
    assert draw(small)[0].figure["data"][0]["z"] == [[0.001235, 0.0001, None]]
    log = lines(
        panels=(LinePanel("", (Series(name="p", x=(0, 1), y=(0.5, 1.23456e-7)),)),), log=True
    )
    assert draw(log)[0].figure["data"][0]["y"] == [0.5, 1.235e-7]
