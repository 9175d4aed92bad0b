"""The section on whole states: planted numbers come out in figures, captions and tables.

Run: python -m pytest tests/reporting/test_whole_states.py
"""

import math

import numpy as np
import pytest

from restor_interp.reporting.figures import draw
from restor_interp.reporting.parts import (
    Amounts,
    Details,
    Empty,
    Heatmaps,
    Lines,
    Missing,
    Paragraph,
    Plot,
    Table,
    parts_in,
)
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.surveys.directions import direction_table, steering_bars
from restor_interp.reporting.surveys.drift import drift_parts
from restor_interp.reporting.surveys.forgetting import forget_weight_parts, trajectory_lines
from restor_interp.reporting.surveys.gradients import gradient_lines
from restor_interp.reporting.surveys.interpolation import interpolation_parts
from restor_interp.reporting.surveys.lenses import lens_quality
from restor_interp.reporting.surveys.timeline import leading_table, timeline_maps
from restor_interp.reporting.surveys.weights import weight_parts
from restor_interp.reporting.text import to_text
from restor_interp.reporting.whole_states import SURVEYS, whole_states

HOSTILE = "</script><img src=x onerror=alert(1)>‮"


@pytest.fixture(scope="module")
def full(surveyed, run_results):
    return surveyed(run_results)


@pytest.fixture(scope="module")
def rows_of(full):
    return lambda name: records(full.table(name))


def lines_of(panel):
    return {line.name: line for line in panel.series}


def lone(parts, kind):
    (found,) = (part for part in parts if isinstance(part, kind))
    return found


# ---- weights


def test_matrices_of_a_layer_add_up_as_one(rows_of):
    table, relative, cosine, projection, energy = weight_parts(rows_of("weights"))
    assert isinstance(table, Table) and isinstance(cosine, Lines)
    assert [panel.name for panel in cosine.panels] == ["attention", "MLP"]
    attention, mlp = map(lines_of, cosine.panels)
    # planted: only npo's MLPs go back, and every line holds its own layers
    assert mlp["npo"].y == pytest.approx([0.5] * 6)
    assert attention["npo"].y == pytest.approx([0] * 6)
    assert mlp["sham_npo"].y == pytest.approx([0] * 6) and "corrupted" not in mlp
    # brute force of the two attention matrices, orthogonal in blocks: ‖U‖/‖W‖ and the floor
    own = [r for r in rows_of("weights") if r["state"] == "npo" and r["layer"] == 3]
    pair = [row for row in own if row["component"] == "attn"]
    norms = np.array([row["norm"] for row in pair])
    weights = norms / np.array([row["norm_relative"] for row in pair])
    assert isinstance(relative, Lines)
    found = lines_of(relative.panels[0])["npo"].y[3]
    assert found == pytest.approx(math.sqrt((norms**2).sum() / (weights**2).sum()))
    before = np.array([row["corruption_norm"] for row in pair])
    draws = np.random.default_rng(0).normal(0, 0.01, (20000, 2)) * norms * before
    deviation = draws.sum(1).std() / math.sqrt((norms**2).sum() * (before**2).sum())
    band = attention["random change"]
    assert band.high[3] == pytest.approx(2 * deviation, rel=0.05) and band.low[3] == -band.high[3]
    assert isinstance(projection, Lines) and isinstance(energy, Lines)
    assert lines_of(projection.panels[1])["npo"].y == pytest.approx([0.4] * 6)
    assert lines_of(energy.panels[0])["npo"].y == pytest.approx([0.3] * 6)
    assert "MLP, npo: 0.500 on average" in cosine.caption
    assert "npo +0.200 (a random change: ±0.020)" in table.caption
    corrupted = next(row for row in table.rows if row.cells[0].text == "corrupted")
    assert corrupted.cells[3] == Missing("this is the state corrupted itself")


# ---- drift


def test_drift_has_a_line_per_role_over_its_floor(rows_of):
    plots = drift_parts(rows_of("drift"))
    assert [plot.title.partition(",")[0] for plot in plots[:2]] == [
        "Cosine to the clean activations"
    ] * 2
    assert len(plots) == 4  # procrustes stands in the table alone
    first = plots[0]
    assert isinstance(first, Lines)
    assert [panel.name for panel in first.panels] == ["corrupted", "npo", "sham_npo"]
    lines = lines_of(first.panels[1])
    assert lines["direct"].y == pytest.approx([1, 0.95, 0.9, 0.85, 0.8, 0.75])
    assert "all" not in lines and lines["other facts' rows (floor)"].y == (0.2,) * 6
    assert "npo direct 0.75 (layer 5), untouched 0.95 (layer 5)" in first.caption
    cka = plots[2]
    assert isinstance(cka, Lines)
    assert lines_of(cka.panels[0])["direct"].x[0] == 1.0  # layer 0 has a reason, no number


# ---- directions


def test_directions_as_words_and_what_they_do(rows_of):
    (table,) = direction_table(rows_of("directions"))
    assert isinstance(table, Table) and len(table.rows) == 6
    assert table.rows[3].cells[-1].text == "·city  ·Oslo  the  ·said"
    assert "npo at most 10.0% of the stream's length (layer 5" in table.caption
    bars, left = steering_bars(rows_of("steering"))
    assert isinstance(bars, Amounts) and isinstance(left, Paragraph)
    panels = {panel.name: {bar.name: bar for bar in panel.amounts} for panel in bars.panels}
    lead = panels["npo: share of the lead over every other word"]
    ablated = lead["L4 taken out, vs random"]
    assert ablated.value == pytest.approx(0.6) and ablated.control == pytest.approx(0.15)
    assert (ablated.low, ablated.high) == (pytest.approx(0.1), pytest.approx(0.2))
    assert "L4 taken out, vs sham_npo" in lead
    odds = panels["npo: share of log-odds true : false"]
    assert odds["L4 taken out, vs random"].value == pytest.approx(0.7)  # one has none
    assert left.text == "Left out: 1 row (state and base are 0.31 nats apart)."


# ---- between states


def test_ways_have_facts_behind_their_mean_and_barriers(rows_of):
    odds, retain, table = interpolation_parts(rows_of("interpolation"))
    assert isinstance(odds, Lines) and isinstance(retain, Lines) and isinstance(table, Table)
    assert [panel.name for panel in odds.panels] == [
        "clean → corrupted", "corrupted → npo", "corrupted → sham_npo"
    ]  # fmt: skip
    thin, mean = odds.panels[0].series
    assert thin.thin and not mean.thin and mean.n == 2
    assert mean.y == pytest.approx([4.5, 2.5, 0.5, -1.5, -3.5])
    # two lines of five points, each ended by a gap
    assert [n for n, x in enumerate(thin.x) if math.isnan(x)] == [5, 11]
    assert "clean → corrupted +4.50 to −3.50 (0 at t = 0.56)" in odds.caption
    widths = [trace["line"]["width"] for trace in draw(odds)[0].figure["data"]]
    assert widths == [1, 2]
    assert [panel.name for panel in retain.panels] == ["from clean", "from corrupted"]
    assert [line.name for line in retain.panels[1].series] == ["to npo", "to sham_npo"]
    assert "clean → corrupted at most 2.40" in retain.caption
    assert to_text(table).count("0.400 (at t = 0.5)") == 3


# ---- training


def test_weight_stands_beside_the_share_of_tokens(rows_of):
    bars, table = forget_weight_parts(rows_of("forget_weights"))
    assert isinstance(bars, Amounts) and isinstance(table, Table)
    names = [panel.name for panel in bars.panels]
    assert names[:2] == ["npo, before", "npo, after 10 steps"]
    false = bars.panels[1].amounts[0]
    assert (false.name, false.value, false.control) == ("the false object", 0.25, 0.1)
    assert "npo, after 10 steps 25% for 10% of tokens" in bars.caption
    assert len(table.rows) == 16 and "npo, after 10 steps +0.30" in table.caption

    (plot,) = trajectory_lines(rows_of("forget_trajectory"))
    assert isinstance(plot, Lines)
    lines = lines_of(plot.panels[0])
    assert lines["npo"].y[-1] == pytest.approx(1.0) and len(lines["npo"].x) == 10
    assert "npo +1.00 at step 10" in plot.caption and "sham_npo +0.20" in plot.caption


def test_a_trajectory_that_was_not_measured_gives_its_reason(rows_of):
    rows = [row | {"d": None, "reason": "texts are packed"} for row in rows_of("forget_trajectory")]
    (part,) = trajectory_lines(rows)
    assert part == Paragraph("Not measured: texts are packed.", quiet=True)


def test_a_step_on_own_documents_stands_beside_the_shams(rows_of):
    plots = gradient_lines(rows_of("gradients"))
    first, after = plots
    assert isinstance(first, Lines) and isinstance(after, Lines)
    assert first.title == "What the first step of npo would do, taken in corrupted"
    assert after.title == "What the next step of npo would do, taken in npo"
    true, false, retain = map(lines_of, first.panels)
    # attention and MLP of a layer add up; rows of single facts are left out
    assert true["own documents"].y == pytest.approx([0.5] * 6)
    assert true["the sham's documents"].y == pytest.approx([0.1] * 6)
    assert false["own documents"].y == pytest.approx([-0.5] * 6)
    assert retain["own documents"].y == pytest.approx([0] * 6)
    told = "log p of true objects own documents +3.00 (cosine 0.020, a random direction ±0.0020)"
    assert told in first.caption and "the sham's documents +0.600" in first.caption


def test_one_fact_alone_stands_for_the_mean(rows_of):
    some = next(row["fact_id"] for row in rows_of("gradients") if row["fact_id"])
    rows = [r for r in rows_of("gradients") if r["fact_id"] == some or r["of"] == "retain"]
    first = gradient_lines(rows)[0]
    assert isinstance(first, Lines) and len(first.panels) == 3


def test_the_timeline_shows_where_the_truth_comes_back(rows_of):
    (plot,) = timeline_maps(rows_of("timeline"))
    assert isinstance(plot, Heatmaps) and plot.columns == ("0", "5", "10", "20")
    assert plot.panels[0].values[6] == pytest.approx((-3.0, -1.5, 0.0, 3.0))
    assert plot.panels[0].values[0] == pytest.approx((0.0,) * 4)
    assert plot.limits() == (-3.0, 3.0)
    assert "from −3.00 at step 0 to +3.00 at step 20" in plot.caption
    assert "most is gained in layer 6 (+6.00)" in plot.caption

    (table,) = leading_table(rows_of("leading_layers"))
    assert isinstance(table, Table) and "npo 1 of 2 answers" in table.caption
    text = to_text(table)
    assert "4.0" in text and "8.0" in text and "10.0" in text
    assert "it changes by +0.2 nats, less than 1 (1)" in text


def test_lens_quality_counts_the_layers_that_gain(rows_of):
    (plot,) = lens_quality(rows_of("tuned_lens"))
    assert isinstance(plot, Lines)
    tuned, logit = (lines_of(plot.panels[0])[name] for name in ("tuned lens", "logit lens"))
    assert all(a <= b for a, b in zip(tuned.y, logit.y, strict=True))
    assert "nearer in 5 of 6 layers: 2.67 nats on average, the logit lens 3.50" in plot.caption
    assert "In 1 layer nothing was gained" in plot.caption
    (better,) = lens_quality([row | {"strength": 0.1} for row in rows_of("tuned_lens")])
    assert "nothing was gained" not in better.caption


# ---- the section


def test_every_survey_is_folded_with_what_it_cannot_show(full):
    parts = whole_states(full)
    assert [part.summary for part in parts if isinstance(part, Details)] == [
        survey.title for survey in SURVEYS
    ]
    for part in parts:
        assert isinstance(part, Details) and isinstance(part.parts[0], Paragraph)
        assert any(sign.isdigit() for sign in part.told), part.summary
        assert any(isinstance(inner, Plot | Table) for inner in part.parts)


def test_an_old_run_says_what_it_lacks_and_how_to_add_it(run_results):
    (part,) = whole_states(run_results)
    assert isinstance(part, Empty) and "weights, drift, directions" in part.what
    for word in ("explanation.surveys=[weights,drift,directions,", "unlearning.checkpoints=",
                 "explanation.analyses=[tuned_lens]"):  # fmt: skip
        assert word in part.command


def test_a_table_of_reasons_alone_is_no_empty_fold(full):
    trajectory = full.table("forget_trajectory").assign(d=None, reason=None)
    tables = {k: v for k, v in full.tables.items() if k != "forget_weights"}
    run = RunResults(
        name="x", config={}, manifest={}, tables=tables | {"forget_trajectory": trajectory}
    )
    told = [part.text for part in whole_states(run) if isinstance(part, Paragraph)]
    assert told == ["Forget weights: no row has a value; see below."]


def test_hostile_words_stay_text(surveyed, make_run):
    run = surveyed(make_run(hostile=HOSTILE), hostile=HOSTILE)
    parts = list(parts_in(whole_states(run)))
    table = next(p for p in parts if isinstance(p, Table) and "neutral texts" in p.caption)
    assert "</script>" in table.rows[0].cells[-1].text  # escaped where tags are made, not here
    assert "‮" not in table.rows[0].cells[-1].text
    for plot in parts:
        if isinstance(plot, Plot):
            assert "<img" not in str([one.figure for one in draw(plot)])
