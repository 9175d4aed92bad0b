"""Statistics: every number against enumeration, scipy, a closed form or a simulation.

Run: python -m pytest tests/measure/test_statistics.py
"""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from restor_interp.measure.statistics import (
    MAX_ENUMERATED,
    MIN_LOST,
    difference,
    entity_mean,
    entity_share,
    max_statistic,
    minimum_detectable,
    missing,
    recovered_fraction,
    share,
    share_difference,
    sign_flip,
    wilson,
)


def flipped_by_hand(effects):
    """The sign-flip p-value, pattern by pattern."""
    observed = abs(sum(effects))
    patterns = list(itertools.product((1, -1), repeat=len(effects)))
    hits = sum(
        abs(sum(sign * effect for sign, effect in zip(pattern, effects, strict=True)))
        >= observed - 1e-9
        for pattern in patterns
    )
    return hits / len(patterns)


# ---- shares


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (47, 120)])
def test_wilson_equals_scipy(successes, n):
    peer = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((peer.low, peer.high), abs=1e-12)


def test_wilson_of_nothing_and_of_the_impossible():
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 successes of 3"):
        wilson(5, 3)


def test_facts_that_agree_within_entities_widen_the_interval_of_a_share():
    entities = np.repeat(np.arange(10), 8).tolist()
    together = np.repeat(np.arange(10) % 2, 8)
    apart = np.tile([0, 1], 40)
    wide, narrow = share(together, entities), share(apart, entities)
    assert wide.value == narrow.value == 0.5
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert (wide.n_facts, wide.n_entities) == (80, 10)
    # All facts of an entity alike: as good as one fact per entity, up to g / (g - 1).
    alone = share(np.arange(10) % 2, list(range(10)))
    assert wide.high == pytest.approx(alone.high, abs=0.02)


def test_a_share_covers_the_truth_in_clustered_data():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(600):
        rates = random.beta(2, 3, 16)  # mean 0.4
        values = (random.random((16, 8)) < rates[:, None]).ravel()
        found = share(values, np.repeat(np.arange(16), 8).tolist())
        covered += found.low <= 0.4 <= found.high
    assert 0.92 <= covered / 600 <= 0.985


def test_a_share_over_entities_is_the_share_where_all_have_as_many_facts():
    random = np.random.default_rng(3)
    entities = np.repeat(np.arange(9), 4).tolist()
    for odds in ([1, 1, 1], [30, 1, 1]):
        values = random.choice([0, 0.5, 1], 36, p=np.array(odds) / sum(odds))
        for some in (values, np.zeros(36), np.ones(36)):
            over, plain = entity_share(some, entities), share(some, entities)
            found = (over.value, over.low, over.high)
            assert found == pytest.approx((plain.value, plain.low, plain.high), abs=1e-12)
            assert over.low >= 0 and over.high <= 1 and over.high - over.low > 0.05


def test_a_share_over_entities_weighs_entities_and_covers():
    values, entities = [1, 1, 1, 1, 0, math.nan], ["a", "a", "a", "b", "c", "d"]
    found = entity_share(values, entities)
    assert (found.value, found.n_facts, found.n_entities) == (pytest.approx(2 / 3), 5, 3)
    alone = entity_share([1.0, 0.0], ["a", "a"])
    assert (alone.value, alone.low, alone.high) == (0.5, 0, 1)
    assert "no such facts" in entity_share([], []).reason
    random = np.random.default_rng(5)
    sizes = random.integers(2, 9, 14)
    entities, hits = np.repeat(np.arange(14), sizes).tolist(), 0
    for _ in range(1500):
        chances = np.repeat(random.beta(0.4, 3.6, 14), sizes)  # rare, and alike within an entity
        found = entity_share(random.random(len(entities)) < chances, entities)
        hits += found.low <= 0.1 <= found.high
    assert 0.93 <= hits / 1500 <= 0.985


def test_differences_of_shares_stay_within_one():
    wide = difference([1.0, 0.0], [0.0, 0.0], ["a", "b"])
    cut = share_difference([1.0, 0.0], [0.0, 0.0], ["a", "b"])
    assert wide.low < -5 and wide.high > 5
    assert (cut.value, cut.low, cut.high, cut.p) == (wide.value, -1, 1, wide.p)
    assert math.isnan(share_difference([1.0], [0.0], ["a"]).high)


def test_a_share_of_nothing_has_a_reason():
    assert math.isnan(share([], []).value)
    assert "no such facts" in share([], []).reason
    with pytest.raises(ValueError, match="2 facts, but 1 entities"):
        share([1, 0], ["a"])


# ---- means and differences


def test_differences_are_students_interval_over_entity_means():
    random = np.random.default_rng(1)
    entities = [name for name, size in zip("abcdefg", (3, 1, 4, 2, 5, 2, 3), strict=True)
                for _ in range(size)]  # fmt: skip
    first, second = random.random((2, len(entities)))
    found = difference(first, second, entities)
    means = [
        np.mean([a - b for a, b, e in zip(first, second, entities, strict=True) if e == name])
        for name in "abcdefg"
    ]
    peer = stats.ttest_1samp(means, 0.0).confidence_interval()
    assert found.value == pytest.approx(np.mean(means))
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    assert found.p == flipped_by_hand(means)
    assert (found.n_facts, found.n_entities) == (20, 7)


def test_a_fact_missing_in_one_state_is_left_out_of_both():
    nan = float("nan")
    found = difference([1.0, nan, 0.5, 1.0], [0.0, 1.0, 0.5, nan], ["a", "a", "b", "c"])
    assert (found.value, found.n_facts, found.n_entities) == (0.5, 2, 2)
    with pytest.raises(ValueError, match="paired by fact"):
        difference([1.0], [1.0, 2.0], ["a"])


@pytest.mark.parametrize("n", [1, 4, 9])
def test_sign_flip_equals_enumeration(n):
    random = np.random.default_rng(n)
    for effects in (random.normal(0.7, 1, n), random.integers(-2, 3, n) / 3, np.zeros(n)):
        assert sign_flip(effects) == flipped_by_hand(effects.tolist())


def test_sign_flip_on_ranks_is_wilcoxons_test():
    effects = np.random.default_rng(5).normal(0.5, 1, 12)
    ranks = np.sign(effects) * stats.rankdata(np.abs(effects))
    assert sign_flip(ranks) == pytest.approx(stats.wilcoxon(effects, method="exact").pvalue)


def test_sign_flip_beyond_enumeration_agrees_with_scipy_and_repeats():
    effects = np.random.default_rng(2).normal(0.4, 1, MAX_ENUMERATED + 8)
    peer = stats.permutation_test(
        (effects,), np.sum, permutation_type="samples", n_resamples=20000,
        rng=np.random.default_rng(3),
    ).pvalue  # fmt: skip
    assert sign_flip(effects, seed=4) == sign_flip(effects, seed=4)
    assert sign_flip(effects, seed=4) == pytest.approx(peer, abs=0.012)
    assert sign_flip(np.ones(40)) == 2.0**-MAX_ENUMERATED  # never zero


def test_sign_flip_errs_in_five_per_cent_and_the_interval_covers_in_ninety_five():
    random = np.random.default_rng(6)
    wrong = covered = 0
    for _ in range(2000):
        sizes = random.integers(2, 8, 10)
        entities = np.repeat(np.arange(10), sizes).tolist()
        own = np.repeat(random.normal(0, 0.3, 10), sizes)
        values = own + random.normal(0, 0.4, len(own))
        found = entity_mean(values, entities)
        wrong += found.p <= 0.05
        covered += found.low <= 0 <= found.high
    assert 0.037 <= wrong / 2000 <= 0.063  # 2.6 standard errors
    assert 0.937 <= covered / 2000 <= 0.963


def test_minimum_detectable_effect_is_found_in_eighty_per_cent():
    random = np.random.default_rng(7)
    effect = minimum_detectable(1.0, 12)
    samples = random.normal(effect, 1.0, (4000, 12))
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05) == pytest.approx(
        0.8, abs=0.02
    )
    flips = np.mean([sign_flip(sample) <= 0.05 for sample in samples[:800]])
    assert flips == pytest.approx(0.8, abs=0.045)
    # Large n: the normal approximation (1.96 + 0.84) / √n.
    assert minimum_detectable(2.0, 2000) == pytest.approx(2 * 2.8016 / math.sqrt(2000), rel=0.01)


def test_five_entities_can_find_nothing_six_can():
    assert sign_flip([1.0] * 5) == 1 / 16
    assert minimum_detectable(1.0, 5) == math.inf
    assert sign_flip([1.0] * 6) == 1 / 32
    assert minimum_detectable(1.0, 6) < math.inf


@pytest.mark.parametrize(
    ("entities", "reason"), [("aaa", "a single entity"), ("abc", "the same in every entity")]
)
def test_no_spread_no_interval(entities, reason):
    found = entity_mean([0.5, 0.5, 0.5], entities)
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert reason in found.reason
    assert found.mde is None


def test_missing_is_not_a_number_with_a_reason():
    found = missing("nobody asked", n_facts=3, n_entities=2)
    assert math.isnan(found.value)
    assert (found.reason, found.n_facts, found.n_entities) == ("nobody asked", 3, 2)


# ---- the recovered fraction


def graded(gap, back, *, entities=12, facts=5, seed=0):
    """(clean, corrupted, unlearned, entities) with a known gap and recovered fraction."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(entities), facts).tolist()
    gaps = np.repeat(random.normal(gap, 0.1, entities), facts)
    corrupted = random.normal(0.2, 0.05, len(names))
    noise = np.repeat(random.normal(0, 0.05, entities), facts)
    return corrupted + gaps, corrupted, corrupted + back * gaps + noise, names


def test_recovered_fraction_is_a_ratio_of_means_with_fiellers_interval():
    clean, corrupted, unlearned, names = graded(0.5, 0.4)
    found = recovered_fraction(clean, corrupted, unlearned, names, n_lost=30)
    assert found.value == pytest.approx(
        (unlearned.mean() - corrupted.mean()) / (clean.mean() - corrupted.mean())
    )
    # Fieller: at either bound the mean of gain − r·gap is just significant.
    for bound in (found.low, found.high):
        residual = (unlearned - corrupted) - bound * (clean - corrupted)
        means = residual.reshape(12, 5).mean(1)
        assert stats.ttest_1samp(means, 0).pvalue == pytest.approx(0.05, abs=1e-6)


def test_fiellers_interval_covers():
    hits = 0
    for seed in range(600):
        found = recovered_fraction(*graded(0.4, 0.3, seed=seed), n_lost=30)
        hits += found.low <= 0.3 <= found.high
    assert 0.925 <= hits / 600 <= 0.975


def test_recovered_fraction_needs_lost_facts_and_a_sure_gap():
    few = recovered_fraction(*graded(0.5, 0.4), n_lost=MIN_LOST - 1)
    assert math.isnan(few.value)
    assert "only 19 facts were lost" in few.reason
    narrow = recovered_fraction(*graded(0.06, 0.4), n_lost=30)
    assert math.isnan(narrow.value)
    assert "not above 0.05" in narrow.reason
    lone = recovered_fraction(*graded(0.5, 0.4, entities=1), n_lost=30)
    assert math.isnan(lone.value)


# ---- maps


def test_max_statistic_equals_enumeration_over_patterns_and_cells():
    random = np.random.default_rng(8)
    entities = ["a", "a", "b", "c", "c", "c", "d", "e", "f"]
    maps = random.normal(0.3, 1, (9, 3, 2))
    means = np.array(
        [maps[[i for i, e in enumerate(entities) if e == name]].mean(0) for name in "abcdef"]
    )

    def greatest(flipped):
        return np.abs(stats.ttest_1samp(flipped, 0).statistic)

    largest = [
        greatest(np.array(signs)[:, None, None] * means).max()
        for signs in itertools.product((1, -1), repeat=6)
    ]
    found = max_statistic(maps, entities)
    expected = np.mean(np.array(largest)[:, None, None] >= greatest(means) - 1e-9, axis=0)
    np.testing.assert_allclose(found.p, expected)
    np.testing.assert_allclose(found.effect, means.mean(0))
    assert (found.n_facts, found.n_entities) == (9, 6)


def test_max_statistic_finds_the_planted_cell_alone():
    random = np.random.default_rng(9)
    maps = random.normal(0, 1, (40, 10, 8))
    maps[:, 4, 7] += 2.0
    found = max_statistic(maps, np.repeat(np.arange(20), 2).tolist())
    assert np.argwhere(found.significant()).tolist() == [[4, 7]]


def test_max_statistic_keeps_the_error_of_the_whole_map():
    random = np.random.default_rng(10)
    names = list(range(9))
    wrong = sum(
        max_statistic(random.normal(0, 1, (9, 6, 6)), names).significant().any() for _ in range(500)
    )
    assert 0.025 <= wrong / 500 <= 0.08


def test_blank_cells_of_a_map_stay_blank():
    maps = np.random.default_rng(11).normal(3, 1, (8, 2, 2))
    maps[:, 0, 0] = np.nan
    maps[:4, 1, 1] = np.nan
    found = max_statistic(maps, list(range(8)))
    assert np.isnan(found.p[0, 0])
    assert np.isnan(found.effect[0, 0])
    assert found.effect[1, 1] == pytest.approx(maps[4:, 1, 1].mean())
    assert not found.significant()[0, 0]
    with pytest.raises(ValueError, match="8 maps, but 2 entities"):
        max_statistic(maps, ["a", "b"])
