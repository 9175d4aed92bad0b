"""Choosing a trial on some entities and scoring it on others.

Run: python -m pytest tests/explain/test_selection.py
"""

import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from restor_interp.explain.measured import Measured
from restor_interp.explain.selection import halves, selection_rows, trial_rows, trials_of

TRIALS = {"npo": ("npo-01", "npo-02", "npo-03")}


def share_of_true(true, false, random):
    return true - math.log(sum(math.exp(v) for v in (true, false, random)))


def planted(toy, levels, *, right=None, entities=8):
    """`levels`: state -> log p(true), log p(false) of every direct fact; `right`: state -> share of
    the untouched entities that are answered."""
    run = toy()
    logp = {state: (true, false, -9.0) for state, (true, false) in levels.items()}
    for number in range(entities):
        outcomes = dict.fromkeys(levels, "ff") | {"clean": "tt"}
        run.add(f"e{number}/1", f"e{number}", outcomes, logp=logp)
    for number in range(10):
        outcomes = {
            state: "tt" if number < 10 * (right or {}).get(state, 1.0) else "oo" for state in levels
        }
        run.add(f"u{number}/1", f"u{number}", outcomes, role="untouched")
    return run.measured()


def the(rows, **values):
    found = [row for row in rows if all(row[name] == value for name, value in values.items())]
    assert len(found) == 1, (values, found)
    return found[0]


LEVELS = {
    "clean": (-1.0, -8.0),
    "corrupted": (-6.0, -0.5),
    "npo-01": (-1.5, -7.5),  # milder than clean
    "npo-02": (-4.0, -9.0),  # beyond
    "npo-03": (-7.0, -30.0),  # destroyed: the falsehood gone, and the truth too
}


def test_the_known_best_trial_is_chosen_by_either_rule(toy):
    right = {"npo-01": 1.0, "npo-02": 0.9, "npo-03": 0.5, "corrupted": 0.9}
    rows = selection_rows(planted(toy, LEVELS, right=right), TRIALS)
    assert len(rows) == 6
    for label, best in (("oracle", "npo-01"), ("blind", "npo-02")):
        for half in ("A", "B", "both"):
            row = the(rows, label=label, half=half)
            assert row["chosen"] == best
            expected = share_of_true(*LEVELS[best], -9.0)
            assert row["value_selected"] == pytest.approx(expected)
            assert row["value_scored"] == pytest.approx(expected)
    assert the(rows, label="blind", half="both")["reached"] is True
    assert the(rows, label="blind", half="A")["utility"] == pytest.approx(0.9)
    assert the(rows, label="blind", half="both")["log_p_false"] == pytest.approx(-9.0)


def test_driving_the_falsehood_down_without_end_does_not_win(toy):
    """By log p(true) - log p(false), the destroyed trial would."""
    gaps = {name: true - false for name, (true, false) in LEVELS.items() if name in TRIALS["npo"]}
    assert max(gaps, key=lambda name: gaps[name]) == "npo-03"
    rows = selection_rows(planted(toy, LEVELS), TRIALS)
    assert the(rows, label="oracle", half="both")["chosen"] != "npo-03"


def test_a_blind_choice_sees_no_truth_about_corrupted_entities(toy):
    other = {name: (-2.0 - i, false) for i, (name, (_, false)) in enumerate(LEVELS.items())}
    right = {"npo-02": 0.9, "npo-03": 0.5}
    chosen = [
        the(selection_rows(planted(toy, levels, right=right), TRIALS), label="blind", half="both")
        for levels in (LEVELS, other)
    ]
    assert chosen[0]["chosen"] == chosen[1]["chosen"]


def test_where_none_reaches_the_clean_level_the_lowest_is_taken_and_said(toy):
    levels = LEVELS | {"npo-02": (-4.0, -7.9), "npo-03": (-7.0, -6.0)}
    row = the(selection_rows(planted(toy, levels), TRIALS), label="blind", half="both")
    assert (row["chosen"], row["reached"]) == ("npo-02", False)
    assert "no trial reaches the clean level" in row["reason"]


def test_where_all_do_damage_none_is_taken(toy):
    right = dict.fromkeys(TRIALS["npo"], 0.5)
    rows = selection_rows(planted(toy, LEVELS, right=right), TRIALS)
    row = the(rows, label="blind", half="both")
    assert row["chosen"] is None and row["value_scored"] is None
    assert "within the bound" in row["reason"]
    assert the(rows, label="oracle", half="both")["chosen"] == "npo-01"
    loose = selection_rows(planted(toy, LEVELS, right=right), TRIALS, utility_loss=0.5)
    assert the(loose, label="blind", half="both")["chosen"] is not None


def test_choosing_and_scoring_on_the_same_half_would_flatter(toy):
    """Twenty trials that are equal but for noise: the truth is that none is better."""
    order = np.random.default_rng(3)
    names = tuple(f"npo-{n:02d}" for n in range(1, 21))
    run = toy()
    for number in range(8):
        logp = {"clean": (-0.1, -9.0, -9.0), "corrupted": (-9.0, -0.1, -9.0)}
        logp |= {name: (float(order.normal(-3, 2)), -1.0, -9.0) for name in names}
        outcomes = dict.fromkeys(logp, "ff") | {"clean": "tt"}
        run.add(f"e{number}/1", f"e{number}", outcomes, logp=logp)
    measured = run.measured()
    row = the(selection_rows(measured, {"npo": names}), label="oracle", half="both")
    own = measured.candidate_logprob[list(names)].to_numpy()
    same = own.mean(0).max()  # the winner over all entities, scored on all entities
    truth = own.mean()
    assert row["value_selected"] > same - 0.2 > truth + 0.3
    assert row["value_scored"] < row["value_selected"] - 0.5
    assert abs(row["value_scored"] - truth) < abs(row["value_selected"] - truth)
    assert row["low"] < row["value_scored"] < row["high"]


def test_cross_scoring_by_brute_force(toy):
    order = np.random.default_rng(0)
    run = toy()
    for number in range(7):
        for fact in range(1 + number % 3):
            logp = {
                state: tuple(order.normal(-4, 2, 3))
                for state in ("clean", "corrupted", *TRIALS["npo"])
            }
            outcomes = {
                state: "".join(order.choice(list("tfo"), 2)) for state in logp
            } | {"clean": "tt", "corrupted": "ff"}  # fmt: skip
            run.add(f"e{number}/{fact}", f"e{number}", outcomes, logp=logp)
    measured = run.measured()
    rows = selection_rows(measured, TRIALS)
    values = {
        (row["fact_id"], row["state"], row["category"]): row["sum_logprob"]
        for row in run.choices
        if row["context_id"] == 0  # equal in both contexts
    }
    entities = [f"e{number}" for number in range(7)]

    def value(state, some):
        means = []
        for name in some:
            own = [f["fact_id"] for f in run.facts if f["entity"] == name]
            means.append(
                np.mean([share_of_true(*(values[f, state, c] for c in ("true", "false", "random")))
                         for f in own])
            )  # fmt: skip
        return float(np.mean(means))

    cut = entities[::2], entities[1::2]
    assert halves(entities) == (tuple(cut[0]), tuple(cut[1]))
    picked = [max(TRIALS["npo"], key=lambda state, h=half: value(state, h)) for half in cut]
    for name, half, other, state in zip("AB", cut, cut[::-1], picked, strict=True):
        row = the(rows, label="oracle", half=name)
        assert row["chosen"] == state
        assert row["value_selected"] == pytest.approx(value(state, half))
        assert row["value_scored"] == pytest.approx(value(state, other))
    both = the(rows, label="oracle", half="both")
    weights = [len(cut[1]), len(cut[0])]
    scored = [value(picked[0], cut[1]), value(picked[1], cut[0])]
    assert both["value_scored"] == pytest.approx(np.average(scored, weights=weights))
    assert both["n_entities"] == 7 and both["n_facts"] == len(run.facts)
    right = pd.DataFrame(run.answers).query("context_id == 1").set_index(["fact_id", "state"])
    restored = []
    for name in entities:
        state = picked[1] if name in cut[0] else picked[0]
        own = [f["fact_id"] for f in run.facts if f["entity"] == name]
        restored.append(np.mean([right.loc[(f, state), "outcome"] == "true" for f in own]))
    assert both["restored_scored"] == pytest.approx(np.mean(restored))


def test_what_is_missing_has_a_reason(toy):
    alone = planted(toy, LEVELS, entities=1)
    row = the(selection_rows(alone, TRIALS), label="oracle", half="both")
    assert row["chosen"] == "npo-01" and row["value_scored"] is None and row["reason"]
    no_untouched = Measured(
        **{
            name: frame if name != "facts" else frame[frame["role"].eq("direct")]
            for name, frame in vars(planted(toy, LEVELS)).items()
            if name in ("facts", "answers", "choices", "margins")
        }
    )
    row = the(selection_rows(no_untouched, TRIALS), label="blind", half="both")
    assert row["chosen"] == "npo-02" and "damage is not bounded" in row["reason"]
    assert row["utility"] is None
    assert selection_rows(alone, {}) == []


def test_unequal_numbers_of_trials_are_noted(toy):
    levels = LEVELS | {"ga-01": (-5.0, -8.5), "ga-02": (-5.0, -9.5)}
    rows = selection_rows(planted(toy, levels), TRIALS | {"ga": ("ga-01", "ga-02")})
    assert the(rows, method="ga", label="oracle", half="both")["note"].startswith("fewer trials")
    assert the(rows, method="npo", label="oracle", half="both")["note"] == ""


def test_trials_are_the_versions_of_one_method():
    def chosen(method, **settings):
        return SimpleNamespace(method=method, settings=settings, training={"learning_rate": 1e-3})

    methods = {"a": chosen("npo", beta=0.1), "ga": chosen("ga"), "b": chosen("npo", beta=0.2)}
    assert trials_of(methods) == {"npo": ("a", "b")}
    rows = trial_rows(methods)
    assert [(row["state"], row["number"]) for row in rows] == [("a", 1), ("b", 2)]
    assert json.loads(rows[1]["settings"]) == {"beta": 0.2}
    assert json.loads(rows[1]["training"]) == {"learning_rate": 1e-3}
