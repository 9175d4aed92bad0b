"""What further analyses say of one fact, and the verdict with its evidence, on an entity's page.

Run: python -m pytest tests/reporting/test_readings.py
"""

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import restor_interp as ri
from restor_interp.definitions import find_definition
from restor_interp.reporting.descriptions import description_lines
from restor_interp.reporting.evidence import mechanism_table
from restor_interp.reporting.features import feature_parts
from restor_interp.reporting.figures import draw
from restor_interp.reporting.html import site_files
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.interventions import instruments
from restor_interp.reporting.mechanisms import (
    mechanism_parts,
    sensitivity_table,
    told_of_thresholds,
    why_undetermined,
)
from restor_interp.reporting.mlp_changes import mlp_change_parts
from restor_interp.reporting.parts import (
    Amounts,
    Details,
    Heatmaps,
    Lines,
    Mark,
    Paragraph,
    Plot,
    Table,
    parts_in,
)
from restor_interp.reporting.reasons import common_reasons, counted_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.run_sections import not_found
from restor_interp.reporting.subject_attention import attention_maps
from restor_interp.reporting.text import to_text
from restor_interp.reporting.token_attributions import token_strips
from restor_interp.reporting.value_vectors import value_vector_tables
from restor_interp.reporting.verdicts import facts_table
from restor_interp.reporting.whole_states import whole_states
from restor_interp.store import TABLES
from restor_interp.testing import tiny_model

HOSTILE = "</script><img src=x onerror=alert(1)>‮"


@pytest.fixture(scope="module")
def full(surveyed, run_results):
    return surveyed(run_results)


@pytest.fixture(scope="module")
def fact(full):
    return full.facts[0]


@pytest.fixture(scope="module")
def rows_of(full, fact):
    return lambda name: records(full.table(name), fact_id=fact["fact_id"])


def lines_of(panel):
    return {line.name: line for line in panel.series}


# ---- one fact


def test_mlps_are_split_by_cause_and_swapped_beside_a_wrong_entity(rows_of, fact):
    written, moved, swapped = mlp_change_parts(rows_of("mlp_changes"), fact)
    assert isinstance(written, Lines) and isinstance(moved, Lines) and isinstance(swapped, Lines)
    lines = lines_of(written.panels[1])
    assert written.panels[1].name == "npo" and lines["coefficients"].y == (-1.0,) * 6
    assert "npo: coefficients −6.00, value vectors −1.50, both together 0.00" in written.caption
    assert [panel.name for panel in moved.panels][2:] == [
        "npo, the last token",
        "npo, the subject's last token",
    ]
    assert lines_of(moved.panels[0])["value vectors"].y == (0.05,) * 6
    assert swapped.x_labels == ("0–1", "2–3", "4–5", "all")
    control = lines_of(swapped.panels[1])["clean coefficients of a wrong entity"]
    assert control.y == (-1.0, -1.0, -1.0, -3.0) and control.look == "control"
    assert "npo (+8.00 to clean): clean coefficients +6.00, +2.00" in swapped.caption


def test_a_swap_without_a_wrong_entity_says_why(rows_of, fact):
    rows = [row for row in rows_of("mlp_changes") if row["part"] != "wrong_coefficients"]
    reason = "no other entity was given"
    rows.append(rows[-1] | {"part": "wrong_coefficients", "layer": None, "window": None,
                            "value": None, "reason": reason})  # fmt: skip
    *plots, note = mlp_change_parts(rows, fact)
    assert note == Paragraph(f"Not measured: {reason}.", quiet=True)
    assert len(plots) == 3


def test_value_vectors_stand_beside_random_ones(rows_of, fact):
    rows = rows_of("value_vectors")
    table, folded = value_vector_tables([*rows, *(r | {"state": "clean"} for r in rows)], fact)
    assert isinstance(table, Table) and isinstance(folded, Details)
    assert len(table.rows) == 2 * 2 * 2  # objects, states, kinds; not the clean one
    assert "true object, npo 0.990 (random 0.970)" in table.caption
    assert table.rows[0].cells[4].value == 3  # concepts of five
    (words,) = folded.parts
    assert isinstance(words, Table) and words.rows[1].cells[2].text == "layer 3, −v1"


def test_attention_to_the_subject_has_its_control_and_difference(rows_of, fact):
    maps, difference = attention_maps(rows_of("attention"), fact)
    assert isinstance(maps, Heatmaps) and isinstance(difference, Heatmaps)
    assert [panel.name for panel in maps.panels] == [
        "clean", "clean, control", "corrupted", "corrupted, control", "npo", "npo, control",
    ]  # fmt: skip
    assert maps.limits() == (0.0, 1.0) and difference.diverging
    assert maps.panels[0].values[3][2] == 0.8
    # 23 heads at 0.05 and one at 0.8; control 0.1 there
    assert "clean layer 3, head 2, 0.80, heads together 1.95 (the control at most 0.10)" in (
        maps.caption
    )
    assert difference.panels[2].values[3][2] == pytest.approx(-0.5)
    assert "npo layer 3, head 2, −0.50; 1 heads look away" not in difference.caption
    assert "1 head looks away by 0.1 or more; all together −0.50 (control 0.00)" in (
        difference.caption
    )


def test_the_subjects_vector_stands_beside_other_entities(rows_of, fact):
    same, early = description_lines(rows_of("descriptions"), fact)
    assert isinstance(same, Lines) and isinstance(early, Lines)
    assert [panel.name for panel in same.panels] == [
        "clean, read by clean", "npo, read by clean", "npo, read by npo"
    ]  # fmt: skip
    assert lines_of(same.panels[0])["the subject's vector"].y[4] == 3.0
    assert lines_of(same.panels[0])["other entities' vectors"].y == (-1.0,) * 6
    assert "clean, read by clean: +3.00 at layer 4 (control −1.00)" in same.caption
    assert "vectors of 2 other entities" in same.caption and early.title.endswith("at layer 1")


def test_tokens_are_a_strip_per_state(rows_of, fact):
    exact, estimate, note = token_strips(rows_of("token_attributions"), fact)
    assert isinstance(exact, Heatmaps) and isinstance(estimate, Heatmaps)
    assert exact.rows == ("npo", "corrupted", "clean") and exact.subject == (1,)
    assert exact.panels[0].values[2][:3] == (0.25, 2.0, 0.25)
    assert exact.flaws().not_finite == 3 and note.text == "Crossed cells: not in the sample."
    # occlusion left the question mark out
    assert "the subject +2.00 of +2.50 together" in exact.caption
    assert "npo: most “·Aaron·Burr” (+0.50), the subject +0.50 of +1.25" in estimate.caption
    assert "rank correlation with occlusion 0.83" in estimate.caption


def test_features_stand_beside_other_features(rows_of, fact):
    bars, table, note = feature_parts(rows_of("features"), fact)
    assert isinstance(bars, Amounts) and isinstance(table, Table)
    first = bars.panels[0].amounts[0]
    assert (first.name, first.value, first.control) == ("feature 7", 3.0, 0.5)
    assert "npo feature 7 +3.00 of a gap of +6.00 (control +0.50)" in bars.caption
    assert "leaves out up to 12%" in bars.caption and len(table.rows) == 2
    assert note.text == "Not measured: no feature differs here."


# ---- verdicts


def test_a_mechanism_stands_with_its_refuter_and_evidence(full, fact):
    (table,) = mechanism_table(full.entity(fact["entity"]))
    assert isinstance(table, Table) and len(table.rows) == 2
    late, open_ = table.rows
    assert late.key == fact["fact_id"]
    assert [cell.text for cell in late.cells[1:]] == [
        "npo", "late override", "passed", "The subject still carries it (0.86 of clean).",
    ]  # fmt: skip
    assert late.cells[2].detail == "false active" and open_.cells[3].text == "failed"
    assert open_.cells[2].text == "undetermined; suspected: restored"
    older = full.table("fates").drop(columns="suspected")
    (plain,) = mechanism_table(
        replace(full, tables={**full.tables, "fates": older}).entity(fact["entity"])
    )
    assert plain.rows[1].cells[2].text == "undetermined"
    assert table.caption == "Why: npo 1 late override, 1 undetermined."
    facts = facts_table(full.entity(fact["entity"]))[0]
    assert isinstance(facts, Table)
    marks = [cell for cell in facts.rows[0].cells if isinstance(cell, Mark)]
    assert [mark.detail.partition(" · ")[2] for mark in marks].count("late override") == 1
    assert not any("undetermined" in mark.detail for mark in marks)
    inside = next(p for p in inside_by_fact(full.entity(fact["entity"])) if isinstance(p, Details))
    assert (
        Paragraph("npo (late override): The subject still carries it (0.86 of clean).")
        in inside.parts
    )


def test_a_run_counts_why_verdicts_are_missing(full):
    table, rest = why_undetermined(full)
    assert isinstance(table, Table) and isinstance(rest, Paragraph)
    assert table.caption == "Why 1 verdict is undetermined."
    assert [column.title for column in table.columns] == ["Why", "npo"]
    ((why, number),) = (row.cells for row in table.rows)
    assert why.text == "it would be restored, but its sham restores 0.91" and number.value == 1
    left = len(full.table("fates")) - 2
    assert rest.text == f"Not attempted: {left} verdicts: not looked into ({left})."


def test_sensitivity_is_a_table_of_thresholds(full):
    (table,) = sensitivity_table(full)
    assert isinstance(table, Table)
    assert [column.title for column in table.columns] == ["Threshold", "−25%", "+25%"]
    assert [[cell.value for cell in row.cells[1:]] for row in table.rows] == [[0, 1], [0, 2]]
    told = "Moving one threshold by a quarter changes at most 1 of 2 verdicts (restores), all at"
    assert told_of_thresholds(full) == f"{told} once 2."
    assert table.caption.endswith(" 1 further threshold changed none.")
    counts, fold = mechanism_parts(full)
    assert isinstance(counts, Table) and isinstance(fold, Details)
    still = full.table("sensitivity").assign(n_changed=0)
    calm = RunResults(
        name="x", config={}, manifest={}, tables={**full.tables, "sensitivity": still}
    )
    (said,) = sensitivity_table(calm)
    assert isinstance(said, Paragraph) and "none of 2 verdicts, all at once none." in said.text


def test_old_runs_have_no_verdicts(run_results):
    assert mechanism_table(run_results.entity("Aaron Burr")) == ()
    assert why_undetermined(run_results) == () and sensitivity_table(run_results) == ()
    assert "No mechanism was determined" in to_text(mechanism_parts(run_results)[0])


# ---- reasons


def test_reasons_that_differ_in_numbers_are_one():
    reasons = ["changes by +0.2 nats, less than 1", "changes by −3e-05 nats, less than 1", "no 7",
               "no 7"]  # fmt: skip
    assert counted_reasons(reasons) == [("changes by … nats, less than …", 2), ("no 7", 2)]
    rows = [{"reason": text} for text in (*"abcde", None, "e")]
    assert common_reasons(rows) == "e (2); a (1); b (1); c (1); others (1)"
    named = ["no state 'npo' here", "no state 'clean' here", "it's the model's own"]
    assert counted_reasons(named) == [("no state … here", 2), ("it's the model's own", 1)]


def test_reasons_of_every_table_are_counted_at_the_end(full):
    text = to_text(not_found(full)[-1])
    for reason in ("no feature differs here", "all rows are equal", "less than 1"):
        assert reason in text


# ---- pages


def test_all_of_it_makes_pages_of_bounded_size(full, fact, make_documents):
    files = site_files(*make_documents(full, (fact["entity"],)))
    pages = {name: len(data) for name, data in files.items() if name.endswith(".html")}
    assert max(pages.values()) <= 500_000
    assert all(len(data) <= 400_000 for name, data in files.items() if name.startswith("data/"))
    (text,) = (data.decode() for name, data in files.items() if name.startswith("e/"))
    drawn = re.findall('<symbol id="([^"]+)">', text)
    used = re.findall('<use href="#([^"]+)"', text)
    assert set(used) == set(drawn) and len(used) > 5 * len(drawn) == 5 * len(set(drawn))


def test_only_the_fixed_columns_make_pages_too(full, fact):
    """Only the columns that the store fixes can be counted on."""
    tables = {
        name: frame[[c for c in frame.columns if c in TABLES[name]]] if name in TABLES else frame
        for name, frame in full.tables.items()
    }
    run = RunResults(name="thin", config={}, manifest={}, tables=tables)
    assert sum(isinstance(p, Plot) for p in parts_in(whole_states(run))) >= 8
    assert mechanism_parts(run)
    parts = list(parts_in(inside_by_fact(run.entity(fact["entity"]))))
    assert sum(isinstance(p, Plot) for p in parts) >= 20


def test_hostile_text_is_only_text(surveyed, make_run):
    run = surveyed(make_run(hostile=HOSTILE), hostile=HOSTILE)
    entity = run.entity(run.facts[0]["entity"])
    parts = list(parts_in((*inside_by_fact(entity), *mechanism_table(entity))))
    told = [part.summary for part in parts if isinstance(part, Details)]
    used = {tool.title for table, tool in instruments(entity).items() if run.has(table)}
    assert len(used) >= 12 and used <= set(told)
    for plot in parts:
        if isinstance(plot, Plot):
            assert "<img" not in str([one.figure for one in draw(plot)])


# ---- what the analyses themselves return can be drawn


PREFIX = "Where was Clara Field born? Lima\n"
QUESTION = "Where was Alice Stone born?"
START = len(PREFIX) + QUESTION.index("Alice")


@pytest.fixture(scope="module")
def measured():
    """Table -> rows of one fact, as the analyses give them on a tiny model."""
    model = tiny_model("llama")
    weight = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    model.add_delta(ri.Delta("d", {"model.layers.1.mlp.down_proj": 0.3 * weight}))
    model.add_state("npo", ri.State({"d": 1.0}))
    prompt = ri.Prompt(
        prefix=PREFIX,
        question=QUESTION,
        subject="Alice Stone",
        subject_span=(START, START + len("Alice Stone")),
        fact_id="Alice Stone/born",
    )
    fact = ri.Fact(
        fact_id="Alice Stone/born",
        entity="Alice Stone",
        relation="born",
        question=QUESTION,
        true_objects=("Oslo",),
        object_type="city",
    )
    rows = {}
    for name, more in (
        ("mlp_changes", {"substitute": "Clara River"}),
        ("value_vectors", {}),
        ("subject_attention", {}),
        ("subject_description", {"others": ("Clara River", "Bruno"), "placeholder": "it"}),
        ("token_attribution", {}),
    ):
        found = find_definition("analysis", name).run(
            model, prompt, fact, states=("clean", "npo"), true="Oslo", false="Rome", **more
        )
        rows[found.table] = records(pd.DataFrame(found.rows))
    return rows


@pytest.mark.parametrize(
    ("table", "make"),
    [
        ("mlp_changes", mlp_change_parts),
        ("value_vectors", value_vector_tables),
        ("attention", attention_maps),
        ("descriptions", description_lines),
        ("token_attributions", token_strips),
    ],
)
def test_rows_of_the_analyses_can_be_drawn(measured, table, make):
    fact = {"entity": "Alice Stone", "true_objects": ["Oslo"], "false_object": "Rome"}
    parts = make(measured[table], fact)
    drawn = [part for part in parts if isinstance(part, Plot | Table)]
    assert drawn
    values = [
        value
        for plot in drawn
        if isinstance(plot, Lines)
        for panel in plot.panels
        for line in panel.series
        for value in line.y
    ]
    assert all(map(math.isfinite, values))
    if table == "attention":
        heat = drawn[0]
        assert isinstance(heat, Heatmaps)
        own = [row["value"] for row in measured[table] if row["state"] == "npo"]
        place = [panel.name for panel in heat.panels].index("npo")
        assert np.ravel(heat.panels[place].values).tolist() == own
