"""The three figures of a run: staircase, restoration plane, and the best swaps of a fact.

Run: python -m pytest tests/reporting/test_run_figures.py
"""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from restor_interp.reporting.figures import draw
from restor_interp.reporting.mechanisms import in_short, mechanism_parts, mechanisms
from restor_interp.reporting.parts import Amounts, Details, Empty, Heatmaps, Lines, Paragraph, Table
from restor_interp.reporting.plane import restoration_plane
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.staircase import staircase
from restor_interp.reporting.swaps_map import swaps_map

HOSTILE = "</script><img src=x onerror=alert(1)>"
STATES = ("clean", "rollback_0.5", "corrupted", "npo", "sham_npo")
FALSE = {"clean": -9.0, "rollback_0.5": -5.0, "corrupted": -1.0, "npo": -4.0, "sham_npo": -2.0}
MARGIN = {"clean": 4.0, "rollback_0.5": 2.0, "corrupted": 0.0, "npo": 3.0, "sham_npo": 0.5}


def run_of(**tables):
    facts = pd.DataFrame(
        [
            {"fact_id": f"{entity}/{n}", "entity": entity, "relation": "P1", "question": "q",
             "true_objects": ["Rome"], "false_object": f"Oslo{HOSTILE}", "role": role,
             "split": "score", "known": True, "known_specific": True}
            for entity, role in (("a", "direct"), ("b", "direct"), ("u", "untouched"))
            for n in range(2)
        ]
    )  # fmt: skip
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return RunResults(name="x", config={}, manifest={}, tables={"facts": facts} | frames)


def answers_and_numbers():
    answers, choices, margins = [], [], []
    for entity in "abu":
        for n in range(2):
            for state in STATES:
                key = {"fact_id": f"{entity}/{n}", "context_id": 0, "state": state}
                lost = state == "corrupted" and entity != "u"
                answers.append(key | {"draw": 0, "outcome": "false" if lost else "true"})
                # entity b is a nat further on than a
                more = 1.0 if entity == "b" and state == "npo" else 0.0
                choices += [
                    key | {"category": c, "sum_logprob": v, "mean_logprob": v, "object": c}
                    for c, v in (("true", -2.0), ("false", FALSE[state] - more), ("random", -9.0))
                ]
                margins.append(key | {"margin": MARGIN[state] + more})
    return {"answers": answers, "choices": choices, "margins": margins}


def series_of(panel):
    return {line.name: line for line in panel.series}


# ---- the plane


def test_states_are_where_their_numbers_are():
    (plot,) = restoration_plane(run_of(**answers_and_numbers()))
    assert isinstance(plot, Lines)
    (panel,) = plot.panels
    lines = series_of(panel)
    # corrupted −1 to npo −4 (a) and −5 (b); margins 0 to 3 and 4
    assert (lines["npo"].x, lines["npo"].y) == ((3.5,), (3.5,))
    assert (lines["shams"].x, lines["shams"].y) == ((1.0,), (0.5,))
    path = lines["rollback: clean to corrupted"]
    assert (path.x, path.y) == ((8.0, 4.0, 0.0), (4.0, 2.0, 0.0)) and path.joined
    peer = stats.ttest_1samp([3.0, 4.0], 0).confidence_interval()
    band = lines["95% intervals"]
    assert band.y[:2] == pytest.approx((peer.low, peer.high)) and math.isnan(band.x[2])
    assert plot.caption == (
        "Margin of the true object beyond the corrupted state's, nats, over n = 4 lost facts, 2 "
        "entities: npo +3.50 where log p(false) fell by 3.50 (its sham +0.50). Above the curve of "
        "rollbacks by more than its interval: no method."  # two entities: −2.9 to 9.9
    )
    json.dumps([one.figure for one in draw(plot)])


def test_what_is_above_by_more_than_its_interval_is_told():
    tables = answers_and_numbers()
    for row in tables["margins"]:
        row["margin"] += 2.0 * (row["state"] == "npo")
    for row in tables["choices"]:  # b forgets no more than a, and knows hardly more
        row["sum_logprob"] = FALSE[row["state"]] if row["category"] == "false" else -2.0
    for row in tables["margins"]:
        row["margin"] -= 0.99 * (row["fact_id"].startswith("b") and row["state"] == "npo")
    (plot,) = restoration_plane(run_of(**tables))
    assert isinstance(plot, Lines)
    assert plot.caption.endswith("by more than its interval: npo.")


def test_trainings_that_were_captured_have_their_way():
    timeline = [
        {"state": state, "step": step, "layer": layer, "fact_id": fact, "category": category,
         "logprob": value if layer == 6 else 0.0}
        for state in ("npo", "corrupted")
        for fact, off in (("a/0", 0.0), ("b/1", 1.0), ("u/0", 50.0))
        for step, true, false in ((0, -6.0, -1.0), (10, -5.0, -3.0), (20, -4.0 + off, -4.0))
        for layer in (5, 6)
        for category, value in (("true", true), ("false", false))
    ]  # fmt: skip
    (plot,) = restoration_plane(run_of(**answers_and_numbers(), timeline=timeline))
    assert isinstance(plot, Lines)
    lines = series_of(plot.panels[1])
    assert set(lines) == {"npo"}  # what corruption itself did is another way
    assert (lines["npo"].x, lines["npo"].y) == ((0.0, 2.0, 3.0), (0.0, 1.0, 2.5))
    assert "npo +2.50 after 20 steps" in plot.caption


def test_without_margins_the_plane_says_what_is_missing():
    parts = restoration_plane(run_of(answers=answers_and_numbers()["answers"]))
    assert isinstance(parts[0], Empty)


# ---- the staircase


def fates(**shares):
    """`shares`: state -> (r_subject, r_mid, r_out, mechanism, refuter) of every lost fact."""
    return [
        {"fact_id": f"{entity}/{n}", "state": state, "margin": 1.0, "flags": "", "evidence": "",
         "fate": "restored" if entity != "u" else "kept", "rds": 1.0,
         "r_subject": subject + 0.1 * n, "r_mid": mid, "r_out": out,
         "mechanism": mechanism, "refuter": refuter}
        for state, (subject, mid, out, mechanism, refuter) in shares.items()
        for entity in "abu"
        for n in range(2)
    ]  # fmt: skip


def retention():
    rows = []
    for n in range(8):
        kinds = {"other_context": 0.9, "wrong_entity": 0.1, "state": 1.0}
        for kind, share in kinds.items():
            for site in ("subject", "last"):
                for layer in range(4):
                    rows.append(
                        {"fact_id": f"u/{n % 2}", "state": "clean", "donor_kind": kind,
                         "site": site, "layer": layer, "host_logp": -5.0, "logp": -1.0,
                         "clean_logp": -4.9 + layer if site == "last" else -1.0 - layer,
                         "clean_effect": 0.1 + layer if site == "last" else 4.0 - layer,
                         "share": share}
                    )  # fmt: skip
    return rows


def test_the_staircase_has_means_and_the_bands_that_judge():
    run = run_of(
        fates=fates(
            corrupted=(0.2, 0.1, 0.0, "lost_at_subject", "not measured"),
            npo=(0.9, 0.8, 0.1, "late_override", "passed"),
        ),
        retention=retention(),
    )
    (plot,) = staircase(run)
    assert isinstance(plot, Lines)
    lost, untouched = plot.panels
    assert (lost.name, untouched.name) == ("facts that corruption took", "untouched facts")
    lines = series_of(lost)
    # no share of the answer was measured of them
    assert lines["npo"].y == pytest.approx((0.95, 0.8, math.nan, 0.1), nan_ok=True)
    assert lines["npo"].n == 4
    assert lines["npo"].low[0] == pytest.approx(0.9) and lines["npo"].high[0] == pytest.approx(1)
    assert lines["intact above"].y[:3] == pytest.approx((0.85, 0.85, 0.85))
    assert lines["lost below"].y[:3] == pytest.approx((0.15, 0.15, 0.15))
    # of margins: what the donors' own T says, (−1 + 5) / (−1.9 + 5), less the least tolerance
    assert lines["intact above"].y[3] == pytest.approx(4 / 3.1 - 0.05)
    # the subject's effect is 4, 3, 2, 1: layer 0; the last token's 0.1, 1.1, 2.1, 3.1: layer 2
    assert plot.x_labels == ("subject, layer 0", "last token, layer 2", "answer", "margin")
    assert "npo 0.95 → 0.80 → × → 0.10 (n = 4)" in plot.caption
    assert "(n = 8 clean donors in another context)" in plot.caption
    json.dumps([one.figure for one in draw(plot)])


def test_facts_without_all_three_shares_are_left_out():
    rows = fates(npo=(0.9, 0.8, None, "undetermined", None))
    parts = staircase(run_of(fates=rows, retention=retention()))
    assert isinstance(parts[0], Empty)


def test_mechanisms_are_counted_with_what_they_hang_on():
    run = run_of(
        fates=fates(
            corrupted=(0.2, 0.1, 0.0, "lost_at_subject", "not measured"),
            npo=(0.9, 0.8, 0.1, "late_override", "passed"),
        ),
        sensitivity=[
            {"threshold": name, "change": change, "state": state, "n_facts": 6,
             "from": "late_override", "to": "undetermined", "n_changed": changed}
            for name, change, changed in (
                ("restores", 0.25, 1), ("restores", -0.25, 0), ("all", 0.25, 2), ("all", -0.25, 0)
            )
            for state in ("corrupted", "npo")
        ],
        transitions=[
            {"state": "npo", "role": "direct", "from": "lost_at_subject", "to": "late_override",
             "n_facts": 4, "n_entities": 2}
        ],
    )  # fmt: skip
    table, fold = mechanism_parts(run)
    assert isinstance(table, Table) and isinstance(fold, Details)
    moves, hang = fold.parts
    assert isinstance(moves, Table) and isinstance(hang, Table)
    titles = [column.title for column in table.columns]
    npo = dict(zip(titles, table.rows[1].cells, strict=True))
    assert npo["late override"].value == 6 and npo["passed"].value == 6
    assert npo["restored"].value == 0
    assert table.caption.endswith("Determined: corrupted 6 of 6; npo 6 of 6.")
    assert fold.told == (
        "Moving one threshold by a quarter changes at most 2 of 12 verdicts (restores), all at "
        "once 4."
    )
    (told,) = in_short(run)
    assert told == Paragraph(
        "Why, of facts with a planted falsehood: npo 4 late override (of 4 looked into)."
    )
    for row in (rows := fates(npo=(0.9, 0.8, 0.9, "restored", "not measured"))):
        row["refuter"] = "passed" if row["fact_id"] == "a/0" else "not measured"
    (told,) = in_short(run_of(fates=rows))
    assert told.text.endswith(
        "npo 3 restored whose refuter was not measured, 1 restored (of 4 looked into)."
    )
    assert moves.caption.endswith("0 of 4 verdicts stay.")
    assert moves.rows[0].cells[2].value == 4
    nothing = run_of(fates=fates(npo=(0.9, 0.8, 0.1, None, None)))
    assert isinstance(mechanisms(nothing)[0], Empty) and in_short(nothing) == ()


# ---- swaps

FACT = {"entity": "Rome", "true_objects": ["x"], "false_object": "y"}


def patch_rows(donor, host, effects, null):
    return [
        {"donor": donor, "host": host, "kind": "resid", "layer": layer, "position": position,
         "token": f"{HOSTILE}{position}", "in_subject": position == 0, "effect": value,
         "null": kind}
        for kind, values in (("none", effects), ("wrong_entity", null))
        for layer, line in enumerate(values)
        for position, value in enumerate(line)
    ]  # fmt: skip


def graft_row(name, effect, control, *, judged_on="fact"):
    return {
        "donor": "clean", "host": "npo", "by": "layer", "modules": name, "effect": effect,
        "judged_on": judged_on, "control_effect": control, "control_low": control - 0.1,
        "control_high": control + 0.1,
    }  # fmt: skip


def test_a_map_is_what_another_entity_does_not_bring():
    real, null = [[0.9, 0.1], [0.6, 1.0]], [[0.1, 0.1], [0.5, 0.2]]
    rows = patch_rows("clean", "npo", real, null) + patch_rows("npo", "clean", null, real)
    grafts = [
        graft_row("layers.3", 0.4, 0.05),
        graft_row(f"layers.4{HOSTILE}", 0.8, 0.1),
        graft_row("layers.5", 0.99, 0.0, judged_on="other_facts"),
    ]
    maps, swaps = swaps_map(rows, grafts, FACT)
    assert isinstance(maps, Heatmaps) and isinstance(swaps, Amounts)
    assert [panel.name for panel in maps.panels] == ["clean → npo", "npo → clean"]
    assert np.allclose(maps.panels[0].values, [[0.8, 0.0], [0.1, 0.8]])
    assert np.allclose(maps.panels[1].values, [[-0.8, 0.0], [-0.1, -0.8]])
    assert "clean → npo layer 0, token" in maps.caption and ", 0.80" in maps.caption
    (bar,) = swaps.panels[0].amounts
    assert (bar.value, bar.control) == (0.8, 0.1)
    assert (bar.low, bar.high) == pytest.approx((0.0, 0.2))
    assert "best of 2" in bar.name
    for part in (maps, swaps):
        drawn = json.dumps([one.figure for one in draw(part)] + [one.labels for one in draw(part)])
        assert "<img" not in drawn


def test_without_a_control_or_rows_there_is_no_figure():
    rows = [row for row in patch_rows("clean", "npo", [[1.0]], [[0.0]]) if row["null"] == "none"]
    assert swaps_map(rows, [], FACT) == ()
    assert swaps_map([], [], FACT) == ()
    assert swaps_map([], [graft_row("layers.3", math.nan, 0.1)], FACT) == ()
