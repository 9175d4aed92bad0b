"""Layers, bands, shares and depth scores against tables that were worked out by hand.

Run: python -m pytest tests/explain/test_retention.py
"""

import math

import numpy as np
import pandas as pd
import pytest

from restor_interp.explain.retention import Band, depth_scores, retained
from restor_interp.explain.tables import fate_rows
from restor_interp.explain.thresholds import DEFAULT

# Five layers; effects (nats) of the clean donor in two untouched facts, and in one lost one that
# would choose other layers.
SUBJECT = {"a": [4, 8, 6, 6, 0], "b": [6, 12, 12, 10, 0], "lost": [9, 0.5, 9, 9, 9]}
LAST = {"a": [0, 0, 2, 6, 8], "b": [0, 4, 6, 10, 12], "lost": [5, 5, 5, 5, 5]}
ROLES = {"a": "untouched", "b": "untouched", "lost": "direct"}
HOST = -5.0
# Means of the subject: 5, 10, 9, 8, 0; the last with at least 8 is layer 3.
# At the last token a has half of its 8 from layer 3 on, b half of its 12 from layer 2 on.


def rows_of(fact_id, state, kind, shares):
    """Rows with the same share at every layer of a site; `shares`: subject, last."""
    rows = []
    for site, effects, share in zip(("subject", "last"), (SUBJECT, LAST), shares, strict=True):
        for layer, clean in enumerate(effects[fact_id]):
            measured = clean >= 1 and share is not None
            rows.append(
                {
                    "fact_id": fact_id, "state": state, "donor_kind": kind, "site": site,
                    "layer": layer, "logp": HOST + share * clean if measured else None,
                    "host_logp": HOST, "clean_logp": HOST + clean,
                    "clean_effect": clean, "share": share if measured else None,
                }
            )  # fmt: skip
    return rows


@pytest.fixture
def table():
    rows = []
    for fact_id in ROLES:
        rows += rows_of(fact_id, "clean", "state", (1.0, 1.0))
    for fact_id, context, wrong in (("a", 0.9, 0.0), ("b", 1.1, 0.2), ("lost", 1.0, 0.1)):
        rows += rows_of(fact_id, "clean", "other_context", (context, context))
        rows += rows_of(fact_id, "clean", "wrong_entity", (wrong, wrong))
    rows += rows_of("lost", "npo", "state", (0.97, 0.05))
    rows += rows_of("a", "npo", "state", (0.5, 1.2))
    return pd.DataFrame(rows)


def test_the_subjects_layer_is_fixed_on_untouched_facts_and_mid_is_each_facts_own(table):
    found = retained(table, ROLES)
    assert (found.subject.layer, found.mid.layer) == (3, 3)
    assert found.mid_layers == {"a": 3, "b": 2, "lost": 0}
    assert found.n_untouched == 2 and found.reason is None
    # The lost fact by itself would have chosen others.
    other = retained(table, {"a": "direct", "b": "direct", "lost": "untouched"})
    assert (other.subject.layer, other.mid.layer) == (4, 0)
    assert other.n_untouched == 1


def test_mid_is_read_at_the_own_layer_of_every_fact_and_control(table):
    """Shares that differ by layer, so that only the right one gives these numbers."""
    layer = table["layer"].astype(float)
    at_last = table["site"].eq("last") & table["share"].notna()
    told = table.assign(share=table["share"].where(~at_last, layer / 10))
    found = retained(told, ROLES)
    keys = [("a", "npo"), ("lost", "npo"), ("b", "clean")]
    assert [found.by_fact[key]["r_mid"] for key in keys] == [0.3, 0.0, 0.2]
    # Controls: 0.3 of a, 0.2 of b, 0 of lost; 5% between the last two of three is 0.02.
    assert found.mid.intact_above == pytest.approx(min(0.02, 0.2 - 0.05))


def test_bands_are_percentiles_of_the_controls(table):
    found = retained(table, ROLES)
    for band in (found.subject, found.mid):
        # 5% between the first and the second of three is a tenth of the way: 0.9 + 0.1 · 0.1.
        assert band.intact_above == pytest.approx(0.91)
        assert band.lost_below == pytest.approx(0.19)
        assert (band.n_intact, band.n_lost) == (3, 3)


def test_mid_is_read_before_the_mlp_where_that_was_measured(table):
    between = table.loc[table["site"].eq("last")].assign(site="attended")
    between["share"] = between["share"].where(between["share"].isna(), between["share"] / 2)
    found = retained(pd.concat([table, between], ignore_index=True), ROLES)
    plain = retained(table, ROLES)
    assert found.mid_layers == found.late_from == plain.mid_layers
    assert plain.late_from == {name: layer + 1 for name, layer in plain.mid_layers.items()}
    assert found.by_fact["a", "npo"]["r_mid"] == plain.by_fact["a", "npo"]["r_mid"] / 2
    assert found.mid.intact_above == pytest.approx(plain.mid.intact_above / 2, abs=0.01)
    assert found.answer == plain.answer and found.subject == plain.subject


def test_margins_are_judged_by_controls_without_the_floor(table):
    """Wrong entities whose T is halfway from the host's certainty to the clean model's, and below
    chance: half of the way, no share."""
    wrong = table["donor_kind"].eq("wrong_entity")
    clean = table["clean_logp"].astype(float)
    table.loc[wrong, "logp"] = (HOST + clean[wrong]) / 2
    table.loc[wrong, "share"] = table.loc[wrong, "share"].where(table["share"].isna(), 0.0)
    found = retained(table, ROLES)
    assert found.out.layer == found.answer.layer == 4
    assert (found.out.lost_below, found.answer.lost_below) == pytest.approx((0.55, 0.05))
    assert found.bands.answer == found.answer


def test_shares_are_read_at_the_layers_and_judged_by_the_bands(table):
    found = retained(table, ROLES).by_fact
    lost = found["lost", "npo"]
    assert (lost["r_subject"], lost["subject"]) == (0.97, "intact")
    assert (lost["r_mid"], lost["mid"]) == (0.05, "lost")
    assert found["a", "npo"]["subject"] == "between"
    assert found["a", "npo"]["mid"] == "intact"
    assert found["lost", "clean"]["r_subject"] == 1.0
    assert set(found) == {(fact, "clean") for fact in ROLES} | {("lost", "npo"), ("a", "npo")}


@pytest.mark.parametrize(
    ("share", "verdict"),
    [(0.9, "intact"), (0.8, "between"), (0.5, "between"), (0.2, "between"), (0.1, "lost")],
)
def test_a_band_claims_nothing_on_its_edges_or_between(share, verdict):
    band = Band(layer=0, intact_above=0.8, lost_below=0.2, n_intact=9, n_lost=9)
    assert band.verdict(share) == verdict


def test_edges_that_are_drawn_are_where_verdicts_turn():
    band = Band(layer=0, intact_above=0.8, lost_below=0.2, n_intact=9, n_lost=9)
    assert band.edges() == (0.8, 0.2)
    loose = Band(layer=0, intact_above=0.1, lost_below=1.3, n_intact=9, n_lost=9)
    assert loose.edges() == (DEFAULT.never_intact_below, DEFAULT.never_lost_above) == (0.5, 0.5)
    assert loose.verdict(0.51) != "lost" and loose.verdict(0.49) != "intact"
    assert np.isnan(
        Band(layer=0, intact_above=math.nan, lost_below=math.nan, n_intact=0, n_lost=0).edges()
    ).all()


def test_overlapping_bands_and_missing_controls_claim_nothing():
    overlapping = Band(layer=0, intact_above=0.3, lost_below=0.6, n_intact=9, n_lost=9)
    assert [overlapping.verdict(share) for share in (0.2, 0.4, 0.7)] == [
        "lost", "between", "intact",
    ]  # fmt: skip
    strangers_know = Band(layer=0, intact_above=0.999, lost_below=0.99, n_intact=9, n_lost=9)
    assert [strangers_know.verdict(share) for share in (0.4, 0.98)] == ["lost", "between"]
    without = Band(layer=0, intact_above=math.nan, lost_below=0.2, n_intact=0, n_lost=9)
    assert without.verdict(0.1) is None
    assert overlapping.verdict(math.nan) is None


def test_depth_scores_are_weighted_by_what_the_clean_model_adds(table):
    rows = pd.DataFrame(
        {
            "clean_effect": [2.0, 4.0, 0.5, 3.0],  # half a nat is no share
            "share": [0.5, 1.5, None, -1.0],
        }
    )
    clipped, unclipped = depth_scores(rows)
    assert clipped == pytest.approx((2 * 0.5 + 4 * 1.0 + 3 * 0.0) / 9)
    assert unclipped == pytest.approx((2 * 0.5 + 4 * 1.5 - 3 * 1.0) / 9)
    assert np.isnan(depth_scores(rows.assign(share=None))).all()
    found = retained(table, ROLES).by_fact
    assert found["lost", "npo"]["rds"] == pytest.approx(0.97)
    assert found["lost", "clean"]["rds"] == 1.0


# ---- where it cannot be said


def test_without_untouched_facts_nothing_is_fixed_and_the_reason_told(table):
    found = retained(table, dict.fromkeys(ROLES, "direct"))
    assert found.subject is None and found.mid is None
    assert "no untouched fact" in found.reason
    assert found.by_fact["lost", "npo"]["r_subject"] is None
    assert found.by_fact["lost", "npo"]["rds"] == pytest.approx(0.97)  # it needs no layer


def test_layers_at_which_nothing_is_added_fix_nothing(table):
    faint = table.assign(clean_effect=0.1 * table["clean_effect"])
    found = retained(faint.loc[faint["fact_id"].ne("b")], ROLES)
    assert found.subject is None and "less than 1 nat" in found.reason


def test_a_fact_without_a_share_there_is_not_judged(table):
    at_layer = table["fact_id"].eq("lost") & table["layer"].eq(3) & table["site"].eq("subject")
    found = retained(table.assign(share=table["share"].where(~at_layer)), ROLES).by_fact
    assert found["lost", "npo"]["r_subject"] is None and found["lost", "npo"]["subject"] is None
    assert found["lost", "npo"]["mid"] == "lost"


def test_of_nothing_nothing_is_said():
    found = retained(pd.DataFrame(columns=["fact_id", "state"]), ROLES)
    assert found.by_fact == {} and found.reason == "retention was not measured"


def test_fates_have_what_was_measured(table):
    facts = pd.DataFrame({"fact_id": ["lost", "b"]})
    answers = pd.DataFrame(
        [
            {"fact_id": fact, "context_id": 0, "state": state, "outcome": "true", "reason": None}
            for fact in ("lost", "b")
            for state in ("clean", "corrupted", "npo")
        ]
    )
    margins = pd.DataFrame(columns=["fact_id", "state", "margin"], dtype=float)
    choices = pd.DataFrame(
        columns=["fact_id", "context_id", "state", "category", "sum_logprob"], dtype=float
    )
    held = retained(table, ROLES)
    rows = {
        (row["fact_id"], row["state"]): row
        for row in fate_rows(facts, answers, margins, choices, held)
    }
    npo = rows["lost", "npo"]
    assert (npo["r_subject"], npo["r_mid"], npo["rds"]) == (0.97, 0.05, pytest.approx(0.97))
    assert "Retains 0.97 at the subject (intact), 0.05 on the way out (lost)" in npo["evidence"]
    for key in (("lost", "corrupted"), ("b", "npo")):
        assert rows[key]["r_subject"] is None and "Retains" not in rows[key]["evidence"]
    assert fate_rows(facts, answers, margins, choices)[0]["r_subject"] is None
