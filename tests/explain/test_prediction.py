"""Prediction against planted signals, pure noise, and features that know the entity.

Run: python -m pytest tests/explain/test_prediction.py
"""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from restor_interp.explain import prediction
from restor_interp.explain.prediction import foretold_by, prediction_rows, score, within_folds_auc
from restor_interp.explain.predictors import concentration, lost_facts, pooled_lost

BASE = ["relation", "floor", "clean_margin", "corruption_margin"]


def made(seed, *, weight=0.0, spread=0.5, entities=40, each=5, inside=False):
    """Facts whose odds of being restored follow the clean margin (or `resolve_depth`)."""
    rng = np.random.default_rng(seed)
    entity = np.repeat(np.arange(entities), each)
    signal = rng.normal(size=len(entity))
    odds = weight * signal + rng.normal(0, spread, entities)[entity]
    noise = rng.normal(size=(4, len(entity)))
    return pd.DataFrame(
        {
            "run": "a", "state": "npo", "fact_id": [f"f{n}" for n in range(len(entity))],
            "entity": [f"e{n}" for n in entity],
            "relation": [f"r{n % 5}" for n in range(len(entity))],
            "restored": rng.random(len(entity)) < 1 / (1 + np.exp(-odds)),
            "floor": noise[0], "clean_margin": noise[1] if inside else signal,
            "corruption_margin": noise[2], "resolve_depth": signal if inside else noise[3],
            "trace_concentration": np.nan,
        }
    )  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One division into folds: several only make an AUC steadier."""
    monkeypatch.setattr(prediction, "REPEATS", 1)


# ---- planted truth


def test_a_planted_signal_of_known_auc_is_found():
    many = made(99, weight=1.5, entities=4000)
    truth = roc_auc_score(many["restored"], many["clean_margin"])  # of the rule that was planted
    assert truth == pytest.approx(0.80, abs=0.01)
    found = score(made(1, weight=1.5), BASE)
    low, high = np.percentile(found.draws, (2.5, 97.5))
    assert low <= truth <= high
    assert found.auc == pytest.approx(truth, abs=0.07)
    assert low > 0.6


def test_one_number_foretells_as_well_as_it_ranks():
    facts = made(1, weight=1.5)
    found = foretold_by(facts, "clean_margin")
    assert found["value"] == pytest.approx(roc_auc_score(facts["restored"], facts["clean_margin"]))
    assert 0.6 < found["low"] < found["value"] < found["high"] < 1 and found["reason"] is None
    assert (found["n_facts"], found["n_entities"]) == (200, 40)
    assert found["n_events"] == min(facts["restored"].sum(), (~facts["restored"]).sum())
    few = foretold_by(facts[:60], "clean_margin")
    assert few["value"] is None and few["reason"].startswith("not run, n = 60")
    # Of pure noise, 95 in 100 intervals hold a half: nothing is fitted that could lean away.
    noise = [foretold_by(made(seed, spread=1), "clean_margin") for seed in range(60)]
    assert sum(one["low"] <= 0.5 <= one["high"] for one in noise) >= 51
    assert np.mean([one["value"] for one in noise]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_interval_on_pure_noise_covers_a_half(seed):
    found = score(made(seed), BASE)
    low, high = np.percentile(found.draws, (2.5, 97.5))
    assert low <= 0.5 <= high
    assert high - low > 0.05


def test_what_knows_the_entity_gains_nothing():
    """Whole entities are restored or not, and one's relation is its own name: with any fact of the
    entity in training, or its own outcome in the rate of its relation, the AUC would be near 1."""
    facts = made(3)
    rng = np.random.default_rng(5)
    coin = dict(zip(dict.fromkeys(facts["entity"]), rng.random(40) < 0.5, strict=True))
    facts = facts.assign(relation=facts["entity"], restored=facts["entity"].map(coin).astype(bool))
    leaking = facts.groupby("relation")["restored"].transform("mean")
    assert roc_auc_score(facts["restored"], leaking) == 1.0
    found = score(facts, BASE)
    low, high = np.percentile(found.draws, (2.5, 97.5))
    assert low <= 0.5 <= high and found.auc < 0.75


def test_a_relation_that_decides_is_used():
    facts = made(4)
    rng = np.random.default_rng(6)
    odds = {f"r{n}": rate for n, rate in enumerate((0.05, 0.2, 0.5, 0.8, 0.95))}
    restored = rng.random(len(facts)) < facts["relation"].map(odds).astype(float)
    found = score(facts.assign(restored=restored), BASE)
    best = roc_auc_score(restored, facts["relation"].map(odds))
    assert found.auc == pytest.approx(best, abs=0.08)


# ---- the AUC itself


def test_weighted_auc_within_one_fold_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores, outcome = np.round(rng.normal(size=60), 1), rng.random(60) < 0.4  # with ties
    weights = rng.integers(0, 4, (5, 60)).astype(float)
    found = within_folds_auc(scores, outcome, np.zeros(60, int), weights)
    peer = [roc_auc_score(outcome, scores, sample_weight=own) for own in weights]
    assert found == pytest.approx(peer)


def test_only_facts_of_one_fold_are_compared():
    scores = np.array([0.0, 1.0, 10.0, 11.0])
    outcome = np.array([True, False, False, True])
    fold = np.array([0, 0, 1, 1])
    assert within_folds_auc(scores, outcome, fold, np.ones((1, 4)))[0] == 0.5
    alone = within_folds_auc(scores, np.array([True] * 4), fold, np.ones((1, 4)))
    assert np.isnan(alone[0])


# ---- rows


def rows_of(frame):
    return {(row["model"], row["metric"]): row for row in prediction_rows(frame)}


def test_what_looking_inside_adds_has_its_own_interval():
    rows = rows_of(made(7, weight=2.0, inside=True))
    gain = rows["full", "auc_minus_baseline"]
    assert gain["value"] == pytest.approx(
        rows["full", "auc"]["value"] - rows["baseline", "auc"]["value"]
    )
    assert gain["low"] > 0.1
    assert rows["baseline", "auc"]["low"] <= 0.5 <= rows["baseline", "auc"]["high"]
    full = rows["full", "auc"]
    assert full["predictors"] == "relation, floor, clean_margin, corruption_margin, resolve_depth"
    assert full["left_out"] == "trace_concentration"
    assert (full["n_facts"], full["n_entities"], full["reason"]) == (200, 40, None)


def test_states_are_predicted_each_for_itself_and_in_the_same_way():
    npo = made(8, weight=2.0)
    sham = made(9).assign(state="sham_npo")
    rows = prediction_rows(pd.concat([npo, sham]))
    assert [row["state"] for row in rows] == ["npo"] * 3 + ["sham_npo"] * 3
    assert rows[0]["value"] > 0.7 > rows[3]["value"]
    assert rows[:3] == prediction_rows(npo)


def test_too_little_is_not_run_and_says_why():
    few = prediction_rows(made(0, entities=15))
    assert {row["reason"] for row in few} == {"not run, n = 75 lost facts: 80 are needed"}
    assert all(row["value"] is None for row in few)
    rare = made(0, entities=40)
    rare["restored"] = np.arange(len(rare)) < 39
    reasons = [row["reason"] for row in prediction_rows(rare)]
    assert reasons == [
        "not run, n = 200: 39 facts of the rarer outcome, and 4 predictors need 40",
        "not run, n = 200: 39 facts of the rarer outcome, and 5 predictors need 50",
    ]
    whole = prediction_rows(made(0, entities=9, each=30))
    assert {row["reason"] for row in whole} == {"not run, n = 270 of 9 entities: 10 are needed"}
    never = made(0).assign(restored=False)
    assert "0 facts of the rarer outcome" in prediction_rows(never)[0]["reason"]
    assert prediction_rows(made(0).iloc[:0]) == []


def test_without_instruments_there_is_only_a_baseline():
    frame = made(2, weight=1.0).assign(resolve_depth=np.nan)
    rows = rows_of(frame)
    assert set(rows) == {("baseline", "auc"), ("full", "auc")}
    assert rows["baseline", "auc"]["value"] is not None
    assert "nothing inside was measured" in rows["full", "auc"]["reason"]


# ---- predictors out of tables


def test_concentration_of_a_trace():
    assert concentration([0, 0, 5, 0]) == 1.0
    assert concentration([2, 2, 2, 2]) == pytest.approx(0.0)
    assert concentration([1, 1, 0, -3]) == pytest.approx(0.5)  # two of four places
    assert math.isnan(concentration([0, -1])) and math.isnan(concentration([1.0]))


def test_lost_facts_with_what_was_known_before(toy):
    run = toy()
    said = {"clean": "ttt", "corrupted": "fff"}
    logp = {"corrupted": (-5.0, -1.0, -9.0)}
    run.add("a", "x", said | {"npo": "ftt"}, logp=logp)
    run.add("b", "x", said | {"npo": "tft"}, logp=logp)  # one of the two that are scored
    run.add("c", "y", said | {"npo": "t--"}, logp=logp)  # nothing to score
    run.add("kept", "y", dict.fromkeys(("clean", "corrupted", "npo"), "ttt"))
    tables = run.frames()
    tables["facts"] = tables["facts"].assign(
        relation=["p", "p", "q", "p"], true_objects=[["Rome"], ["Oslo"], ["Rome"], ["Rome"]]
    )
    tables["lens"] = pd.DataFrame(
        [
            {"fact_id": fact, "state": state, "lens": "logit", "position": "last",
             "layer": layer, "object": name, "logprob": lead if name == "Rome" else 0.0}
            for fact, state, leads in (
                ("a", "clean", (-1, 1, -1, 2, 3)), ("c", "clean", (-1, -1, -1, -1, -1)),
                ("a", "npo", (9, 9, 9, 9, 9)),
            )
            for layer, lead in enumerate(leads)
            for name in ("Rome", "Bern")
        ]
    )  # fmt: skip
    tables["traces"] = pd.DataFrame(
        {"fact_id": "a", "state": "clean", "kind": "resid", "effect": [0.0, 1.0, 0.0]}
    )
    found = lost_facts(tables, run="one").set_index("fact_id")
    assert found.index.tolist() == ["a", "b"]
    assert found["restored"].tolist() == [True, False]
    assert found["floor"].tolist() == pytest.approx([2 / 3, 2 / 3])
    assert set(found["clean_margin"]) == {3.0} and set(found["corruption_margin"]) == {4.0}
    assert found.loc["a", "resolve_depth"] == 3 / 4
    assert found.loc["a", "trace_concentration"] == 1.0
    assert math.isnan(found.loc["b", "resolve_depth"])
    pooled = pooled_lost({"one": tables, "two": tables})
    assert len(pooled) == 4 and set(pooled["run"]) == {"one", "two"}
    assert set(pooled["state"]) == {"npo"}
