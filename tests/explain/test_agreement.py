"""Cohen's kappa against scikit-learn, a table worked out by hand, and a published variance.

Run: python -m pytest tests/explain/test_agreement.py
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from restor_interp.explain.agreement import OUTCOMES, agreement_rows, cohen_kappa


def judged(table):
    """Two judges' outcomes, as often in every cell as a table says."""
    pairs = [
        (OUTCOMES[i], OUTCOMES[j])
        for i, row in enumerate(table)
        for j, number in enumerate(row)
        for _ in range(number)
    ]
    return [a for a, _ in pairs], [b for _, b in pairs]


def drawn(rng, *, n, entities, like_entity=0.0):
    """Two judges who look at the same truth with errors; some entities are harder than others."""
    names = np.arange(n) % entities
    hard = rng.random(entities)
    truth = rng.choice(OUTCOMES, n, p=[0.5, 0.2, 0.3])
    wrong = 0.15 + like_entity * 0.8 * (hard[names] > 0.7)

    def judge():
        return np.where(rng.random(n) < wrong, rng.choice(OUTCOMES, n), truth).tolist()

    return judge(), judge(), names.tolist()


HAND = [[44, 5, 1], [7, 20, 3], [9, 5, 6]]


def test_a_table_worked_out_by_hand():
    """100 answers: p_o = 0.70, p_e = 0.5·0.6 + 0.3·0.3 + 0.2·0.1 = 0.41, κ = 0.29/0.59."""
    found = cohen_kappa(*judged(HAND), range(100))
    assert found.agreed == pytest.approx(0.70)
    assert found.kappa == pytest.approx(0.29 / 0.59)
    assert (found.n, found.n_entities, found.reason) == (100, 100, "")


def test_with_one_answer_per_entity_the_variance_is_the_published_one():
    """Fleiss, Cohen and Everitt 1969, equation 13, term by term."""
    table = np.array(HAND) / 100
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    agreed, chance = np.trace(table), rows @ columns
    first = sum(
        table[i, i] * ((1 - chance) - (columns[i] + rows[i]) * (1 - agreed)) ** 2 for i in range(3)
    )
    second = (1 - agreed) ** 2 * sum(
        table[i, j] * (columns[i] + rows[j]) ** 2 for i in range(3) for j in range(3) if i != j
    )
    last = (agreed * chance - 2 * chance + agreed) ** 2
    variance = (first + second - last) / (100 * (1 - chance) ** 4)
    half = stats.t.ppf(0.975, 99) * math.sqrt(variance * 100 / 99)
    found = cohen_kappa(*judged(HAND), range(100))
    assert found.high - found.kappa == pytest.approx(half, rel=1e-9)
    assert found.kappa - found.low == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_scikit_learns(seed):
    first, second, names = drawn(np.random.default_rng(seed), n=80, entities=10)
    found = cohen_kappa(first, second, names)
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert cohen_kappa(second, first, names).low == pytest.approx(found.low, abs=1e-12)


def test_answers_that_are_repeated_tell_nothing_new():
    """Every answer ten times: entities, not answers, are what the interval counts."""
    first, second, names = drawn(np.random.default_rng(0), n=40, entities=40)
    once = cohen_kappa(first, second, names)
    often = cohen_kappa(first * 10, second * 10, names * 10)
    assert often.n == 10 * once.n
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_the_interval_covers_kappa_where_entities_differ():
    """Nominally 95%; intervals that took answers for independent would be too narrow."""
    rng = np.random.default_rng(1)
    big = cohen_kappa(*drawn(rng, n=200_000, entities=20_000, like_entity=1.0)).kappa
    ours = alone = 0
    for _ in range(400):
        first, second, names = drawn(rng, n=240, entities=24, like_entity=1.0)
        found = cohen_kappa(first, second, names)
        ours += found.low <= big <= found.high
        found = cohen_kappa(first, second, range(len(names)))
        alone += found.low <= big <= found.high
    assert 0.92 <= ours / 400 <= 0.98
    assert alone / 400 < 0.90


# ---- where there is little to count


def test_nothing_in_common_is_zero_and_opposite_is_negative():
    independent = cohen_kappa(*judged([[4, 4, 0], [4, 4, 0], [0, 0, 0]]), range(16))
    assert independent.kappa == pytest.approx(0)
    opposite = cohen_kappa(*judged([[0, 5, 0], [5, 0, 0], [0, 0, 0]]), [*range(5)] * 2)
    assert opposite.kappa == pytest.approx(-1)
    assert opposite.low == -1


def test_a_judge_who_always_says_the_same_has_kappa_zero():
    assert cohen_kappa(["true"] * 4, ["true", "false"] * 2, range(4)).kappa == 0


def test_where_both_always_say_the_same_there_is_no_kappa():
    found = cohen_kappa(["other"] * 6, ["other"] * 6, range(6))
    assert math.isnan(found.kappa) and math.isnan(found.low)
    assert found.agreed == 1 and "both judges say 'other'" in found.reason


def test_full_agreement_has_a_lower_bound_that_rises_with_entities():
    first = ["true", "false", "other", "true"] * 10
    few, many = (cohen_kappa(first, first, [i % g for i in range(40)]) for g in (4, 40))
    assert few.kappa == many.kappa == few.high == many.high == 1
    chance = 0.5**2 + 2 * 0.25**2
    quantile = stats.norm.ppf(0.975)
    assert few.low == pytest.approx((4 / (4 + quantile**2) - chance) / (1 - chance))
    assert few.low < many.low < 1


def test_a_single_entity_has_no_interval():
    found = cohen_kappa(*judged(HAND), ["one"] * 100)
    assert found.kappa == pytest.approx(0.29 / 0.59)
    assert math.isnan(found.low) and "single entity" in found.reason


def test_no_answers_and_unequal_numbers_are_told():
    assert "no answer" in cohen_kappa([], [], []).reason
    with pytest.raises(ValueError, match="2 and 1 outcomes"):
        cohen_kappa(["true"] * 2, ["true"], [1, 2])


# ---- the table


def rows_of(judge, outcomes, state="npo"):
    return [
        {
            "fact_id": f"f{number // 2}", "context_id": number % 2, "template": 0, "draw": 0,
            "state": state, "judge": judge, "outcome": outcome, "reason": "",
        }
        for number, outcome in enumerate(outcomes)
    ]  # fmt: skip


def test_every_pair_of_judges_is_compared_in_every_state_and_failures_are_counted():
    truth = ["true", "false", "other", "true", "false", "true"]
    frame = pd.DataFrame(
        [
            *rows_of("alias", truth),
            *reversed(rows_of("big", ["true", None, "other", "true", "true", None])),
            *rows_of("small", [None, None, None, "true", "true", "other"])[1:],
            *rows_of("alias", truth, state="clean"),
            *rows_of("big", truth, state="clean"),
        ]
    )
    entities = {"f0": "A", "f1": "B", "f2": "C"}
    found = {(r["state"], r["judge_a"], r["judge_b"]): r for r in agreement_rows(frame, entities)}
    assert list(found) == [
        ("npo", "alias", "big"),
        ("npo", "alias", "small"),
        ("npo", "big", "small"),
        ("clean", "alias", "big"),
    ]
    one = found["npo", "alias", "big"]
    first, second = ["true", "other", "true", "false"], ["true", "other", "true", "true"]
    assert one["kappa"] == pytest.approx(cohen_kappa_score(first, second))
    assert (one["n"], one["failed"], one["n_entities"]) == (4, 2, 3)
    assert one["agreed"] == 0.75 and one["reason"] is None
    assert (found["npo", "big", "small"]["n"], found["npo", "big", "small"]["failed"]) == (2, 4)
    assert found["clean", "alias", "big"]["kappa"] == pytest.approx(1)


def test_a_judge_that_failed_on_everything_has_a_row_with_a_reason():
    frame = pd.DataFrame([*rows_of("alias", ["true"] * 3), *rows_of("big", [None] * 3)])
    (row,) = agreement_rows(frame, {"f0": "A", "f1": "B"})
    assert (row["n"], row["failed"]) == (0, 3)
    assert math.isnan(row["kappa"]) and row["reason"] == "no answer was judged by both"
