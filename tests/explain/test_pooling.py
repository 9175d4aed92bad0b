"""Seeds and rotations as one experiment, against brute force over plain lists.

Run: python -m pytest tests/explain/test_pooling.py
"""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from restor_interp.explain.equal import at_equal, equal_rows, false_levels, overlap
from restor_interp.explain.pooling import pooled_rows

STATES = ("clean", "corrupted", "rollback_0.5", "npo", "sham_npo", "retain_only")


def made(toy, seed, rotation, *, entities=9, states=STATES):
    """Three groups that take turns at being corrupted; answers drawn at random."""
    order = np.random.default_rng([seed, rotation])
    run = toy()
    for number in range(entities):
        corrupted = (number // 3) % 3 == rotation
        for fact in range(2 + number % 2):
            outcomes = {state: "".join(order.choice(list("tfo"), 3)) for state in states}
            outcomes |= {"clean": "ttt", "corrupted": order.choice(["fff", "ttt"], p=[0.7, 0.3])}
            level = {"clean": -8.0, "rollback_0.5": -4.0, "corrupted": -1.0, "npo": -2.0 - rotation}
            logp = {state: (-2.0, level.get(state, -3.0), -9.0) for state in states}
            role = "untouched" if not corrupted else "sibling" if fact == 1 else "direct"
            run.add(f"e{number}/{fact}", f"e{number}", outcomes, role=role, logp=logp)
    return run


@pytest.fixture(scope="module")
def design(toy):
    runs = {key: made(toy, *key) for key in itertools.product(range(2), range(3))}
    return runs, pd.DataFrame(pooled_rows({key: run.measured() for key, run in runs.items()}))


def the_row(frame, **values):
    chosen = frame
    for name, value in values.items():
        chosen = chosen[chosen[name].eq(value)]
    assert len(chosen) == 1, values
    return chosen.iloc[0]


def outcomes(run, fact_id, state):
    return [
        row["outcome"] for row in run.answers if (row["fact_id"], row["state"]) == (fact_id, state)
    ]


def scored(run, fact_id, state):
    return float(np.mean([o == "true" for o in outcomes(run, fact_id, state)[1:]]))


def lost_direct(run):
    return [
        (fact["fact_id"], fact["entity"])
        for fact in run.facts
        if fact["role"] == "direct" and outcomes(run, fact["fact_id"], "corrupted")[0] != "true"
    ]


def entity_means(values):
    """(entity, fact) -> numbers of several runs; facts first, then entities."""
    by_entity = {}
    for (entity, _), numbers in values.items():
        by_entity.setdefault(entity, []).append(np.mean(numbers))
    return np.array([np.mean(numbers) for numbers in by_entity.values()])


def flipped(means):
    """The sign-flip test, pattern by pattern."""
    sums = [
        abs(sum(sign * mean for sign, mean in zip(signs, means, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(means))
    ]
    return float(np.mean([total >= abs(sum(means)) - 1e-12 for total in sums]))


def test_what_is_restored_beyond_the_sham_by_brute_force(design):
    runs, pooled = design
    values, levels, count = {}, {}, 0
    for run in runs.values():
        for fact_id, entity in lost_direct(run):
            count += 1
            own, sham = (scored(run, fact_id, state) for state in ("npo", "sham_npo"))
            values.setdefault((entity, fact_id), []).append(own - sham)
            levels.setdefault((entity, fact_id), []).append(own)
    means = entity_means(values)
    row = the_row(pooled, state="npo", role="direct", metric="restored_minus_sham")
    assert row["value"] == pytest.approx(means.mean())
    assert row["p"] == pytest.approx(flipped(means))
    interval = stats.ttest_1samp(means, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert (row["n_facts"], row["n_observations"]) == (len(values), count)
    assert (row["n_entities"], row["n_seeds"], row["n_runs"]) == (len(means), 2, 6)
    assert row["against"] == "sham_npo" and row["mde"] > 0
    level = the_row(pooled, state="npo", role="direct", metric="p_restored")
    assert level["value"] == pytest.approx(entity_means(levels).mean())
    assert pd.isna(level["p"]) and 0 <= level["low"] <= level["value"] <= level["high"] <= 1
    clean = the_row(pooled, state="clean", role="direct", metric="p_restored")
    assert clean["value"] == clean["high"] == 1, "all of them, of so many that some might be missed"
    n, quantile = len(values), stats.t.ppf(0.975, len(means) - 1)
    assert clean["low"] == pytest.approx(n / (n + quantile**2))  # Wilson's bound at 1
    lost = the_row(pooled, state="npo", role="direct", metric="n_lost")
    assert (lost["value"], lost["n_observations"]) == (len(values), count)


def test_beyond_the_rollback_each_run_has_its_own_point(design):
    runs, pooled = design
    # log p(false) of npo: -2, -3, -4 in the three rotations; corrupted -1, rollback -4.
    share = {0: 2 / 3, 1: 1 / 3, 2: 0.0}
    values = {}
    for (_, rotation), run in runs.items():
        for fact_id, entity in lost_direct(run):
            low, high = (scored(run, fact_id, state) for state in ("rollback_0.5", "corrupted"))
            there = low + share[rotation] * (high - low)
            values.setdefault((entity, fact_id), []).append(scored(run, fact_id, "npo") - there)
    row = the_row(pooled, state="npo", role="direct", metric="restored_minus_rollback")
    assert row["value"] == pytest.approx(entity_means(values).mean())
    assert "λ 0.83, 0.67, 0.50" in row["note"]


def test_accuracy_counts_a_fact_once_and_seeds_spread(design):
    runs, pooled = design
    values, by_seed = {}, {0: {}, 1: {}}
    for (seed, _), run in runs.items():
        for fact in run.facts:
            if fact["role"] == "untouched":
                right = np.mean([o == "true" for o in outcomes(run, fact["fact_id"], "npo")])
                key = (fact["entity"], fact["fact_id"])
                values.setdefault(key, []).append(right)
                by_seed[seed].setdefault(key, []).append(right)
    row = the_row(pooled, state="npo", role="untouched", metric="accuracy")
    assert row["value"] == pytest.approx(entity_means(values).mean())
    assert row["n_entities"] == 9 and row["n_observations"] == 2 * row["n_facts"] * 2
    both = [entity_means(by_seed[seed]).mean() for seed in (0, 1)]
    assert row["seed_sd"] == pytest.approx(np.std(both, ddof=1))
    everything = the_row(pooled, state="npo", role="all", metric="accuracy")
    assert everything["n_observations"] == sum(len(run.facts) for run in runs.values())


def test_one_seed_few_entities_and_no_sham_are_said(toy):
    states = ("clean", "corrupted", "npo")
    rows = pd.DataFrame(
        pooled_rows({(0, 0): made(toy, 0, 0, entities=3, states=states).measured()})
    )
    assert not rows["metric"].str.contains("sham|retain").any()
    row = the_row(rows, state="npo", role="direct", metric="accuracy_minus_corrupted")
    assert row["n_seeds"] == 1 and pd.isna(row["seed_sd"]) and pd.isna(row["mde"])
    assert "fewer than six" in row["note"]
    assert rows.select_dtypes("number").apply(np.isinf).to_numpy().sum() == 0
    nothing = made(toy, 0, 1, entities=3, states=states)  # nobody is corrupted
    empty = pd.DataFrame(pooled_rows({(0, 1): nothing.measured()}))
    assert set(empty["role"]) == {"all", "untouched"}


def test_a_state_that_only_some_runs_have_is_pooled_over_these(toy):
    runs = {
        (0, 0): made(toy, 0, 0).measured(),
        (1, 0): made(toy, 1, 0, states=("clean", "corrupted", "rollback_0.5", "npo")).measured(),
    }
    rows = pd.DataFrame(pooled_rows(runs))
    row = the_row(rows, state="npo", role="direct", metric="restored_minus_sham")
    assert row["n_runs"] == 1 and "in 1 of 2 runs" in row["note"]
    assert the_row(rows, state="npo", role="direct", metric="p_restored")["n_runs"] == 2


# ---- equal forgetting


LEVELS = {"ga-01": -3.0, "ga-02": -9.0, "npo-01": -2.0, "npo-02": -4.0, "npo-03": -8.0}
GA, NPO = ("ga-01", "ga-02"), ("npo-01", "npo-02", "npo-03")


def test_methods_are_compared_between_their_trials():
    facts, entities = pd.Index(["a/1", "a/2", "b/1"]), ["a", "a", "b"]
    table = pd.DataFrame(
        {"ga-01": [0.0, 0.0, 0.2], "ga-02": [0.6, 0.0, 0.8], "npo-01": [0.0, 0.0, 0.0],
         "npo-02": [0.5, 1.0, 0.4], "npo-03": [0.9, 1.0, 0.0]}, index=facts,
    )  # fmt: skip
    found = at_equal(table, facts, entities, levels=LEVELS, level=-5.0, first=NPO, second=GA)
    npo = [0.5 + 0.25 * 0.4, 1.0, 0.4 - 0.25 * 0.4]  # a quarter of the way from -4 to -8
    ga = [0.6 / 3, 0.0, 0.2 + 0.6 / 3]  # a third of the way from -3 to -9
    gaps = np.array(npo) - np.array(ga)
    means = np.array([gaps[:2].mean(), gaps[2]])
    assert found["value"] == pytest.approx(means.mean())
    assert found["p"] == flipped(means) and found["mde"] is None
    assert found["value_first"] - found["value_second"] == pytest.approx(found["value"])
    assert found["between_first"] == "npo-03 and npo-02"
    assert found["between_second"] == "ga-02 and ga-01"
    outside = at_equal(table, facts, entities, levels=LEVELS, level=-8.5, first=NPO, second=GA)
    assert outside["value"] is None and "no two trials" in outside["reason"]


def test_the_range_that_both_methods_pass():
    assert overlap(LEVELS, GA, NPO) == (-8.0, -3.0)
    assert overlap(LEVELS, ("ga-02",), ("npo-01",)) is None
    assert overlap({"a": math.nan}, ("a",), ("b",)) is None


def test_a_sweep_compares_every_two_methods_at_equal_levels(toy):
    run = toy()
    for number in range(6):
        logp = {state: (-2.0, level, -9.0) for state, level in LEVELS.items()}
        logp |= {"clean": (-1.0, -9.0, -9.0), "corrupted": (-5.0, -1.0, -9.0)}
        outcomes = dict.fromkeys(NPO, "ot") | dict.fromkeys(GA, "oo")
        outcomes |= {"clean": "tt", "corrupted": "ff"}
        run.add(f"e{number}/1", f"e{number}", outcomes, logp=logp)
    training = pd.DataFrame(
        [
            {"state": state, "step": step, "forget_nll": nll}
            for state, level in LEVELS.items()
            for step, nll in ((1, 0.5), (9, -level))
        ]
    )
    measured = run.measured()
    assert false_levels(measured)["npo-03"] == pytest.approx(-8.0)
    rows = pd.DataFrame(equal_rows(measured, {"npo": NPO, "ga": GA}, training))
    assert set(rows["by"]) == {"log_p_false", "forget_nll"} and len(rows) == 2 * 3 * 3
    for by, middle in (("log_p_false", -5.5), ("forget_nll", 5.5)):
        own = rows[rows["by"].eq(by)]
        assert sorted(own["level"].unique())[1] == pytest.approx(middle)
        # Every fact is right in one of two contexts under NPO, and never under GA.
        assert own[own["metric"].eq("accuracy")]["value"].tolist() == pytest.approx([0.5] * 3)
        assert own[own["metric"].eq("p_restored")]["value"].tolist() == pytest.approx([1.0] * 3)
    apart = equal_rows(measured, {"npo": ("npo-01",), "ga": ("ga-02",)}, training)
    assert all(row["value"] is None and "share no level" in row["reason"] for row in apart)
