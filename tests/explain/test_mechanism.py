"""The table of mechanisms, row by row and edge by edge, against rules written down by hand.

Run: python -m pytest tests/explain/test_mechanism.py
"""

import itertools
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restor_interp.explain.mechanism import MECHANISMS, Readings, classify
from restor_interp.explain.retention import Band, Bands, Controls
from restor_interp.explain.thresholds import DEFAULT, NAMES, Thresholds

BAND = Band(layer=3, intact_above=0.8, lost_below=0.2, n_intact=40, n_lost=40)
BANDS = Bands(subject=BAND, mid=BAND, out=BAND)
SHARE = {"intact": 0.9, "between": 0.5, "lost": 0.1}
"""A share of each word, by the band above."""
TABLE = {
    "intact intact intact": "restored",
    "intact intact lost": "late_override",
    "intact lost lost": "not_routed",
    "lost lost lost": "lost_at_subject",
}


def readings(words="intact intact intact", **more):
    subject, mid, out = (SHARE[word] for word in words.split())
    return Readings(r_subject=subject, r_mid=mid, r_out=out, **more)


def judge(words="intact intact intact", *, thresholds=DEFAULT, **more):
    return classify(readings(words, **more), BANDS, thresholds)


# ---- the table


@pytest.mark.parametrize("words", [" ".join(w) for w in itertools.product(SHARE, repeat=3)])
def test_four_patterns_have_a_mechanism_and_the_other_twenty_three_none(words):
    verdict = judge(words)
    assert verdict.mechanism == TABLE.get(words, "undetermined")
    assert verdict.said == tuple(words.split())
    if words in TABLE:
        assert verdict.refuter == "not measured" and verdict.reason
    else:
        assert verdict.refuter is None and "no mechanism has this pattern" in verdict.reason


@pytest.mark.parametrize("site", ["r_subject", "r_mid", "r_out"])
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_was_not_measured_is_undetermined_and_named(site, nothing):
    verdict = classify(replace(readings(), **{site: nothing}), BANDS)
    assert verdict.mechanism == "undetermined"
    assert verdict.reason == f"{site} was not measured"


@pytest.mark.parametrize("site", ["subject", "mid", "out"])
def test_without_controls_nothing_is_claimed(site):
    bare = replace(BAND, intact_above=math.nan)
    for band in (None, bare):
        verdict = classify(readings(), replace(BANDS, **{site: band}))
        assert verdict.mechanism == "undetermined"
        assert verdict.reason == f"there are no controls for r_{site}"


@pytest.mark.parametrize("margin", SHARE)
@pytest.mark.parametrize("answer", [*SHARE, None])
def test_the_answer_is_lost_by_either_of_two_shares_and_intact_by_both(margin, answer):
    bands = replace(BANDS, answer=BAND)
    own = replace(readings(f"intact intact {margin}"), answer=SHARE.get(answer))
    both = {margin, answer or margin}
    expected = "lost" if "lost" in both else "between" if "between" in both else "intact"
    assert classify(own, bands).said[2] == expected
    # Without controls of its own the share of the answer says nothing.
    assert classify(own, BANDS).said[2] == margin


# ---- refuters

PASSED, FAILED, OPEN = "passed", "failed", "not measured"


@pytest.mark.parametrize(
    ("words", "more", "refuter"),
    [
        ("intact intact intact", {"sham_r_out": 0.1}, PASSED),
        ("intact intact intact", {"sham_r_out": 0.8}, PASSED),  # on the edge it is not intact
        ("intact intact intact", {"sham_r_out": 0.81}, FAILED),
        ("intact intact intact", {"sham_r_out": math.nan}, OPEN),
        ("intact intact lost", {"late_effect": 0.7, "late_control": 0.1}, PASSED),
        ("intact intact lost", {"late_effect": 0.3, "late_control": 0.1}, PASSED),
        ("intact intact lost", {"late_effect": 0.7, "late_control": 0.65}, FAILED),
        ("intact intact lost", {"late_effect": 0.1, "late_control": 0.4}, FAILED),
        ("intact intact lost", {"late_effect": 0.7}, OPEN),
        ("intact lost lost", {"attention_effect": 0.5}, PASSED),
        ("intact lost lost", {"attention_effect": 0.499}, FAILED),
        ("intact lost lost", {"attention_effect": 0.9, "attention_control": 0.85}, FAILED),
        ("intact lost lost", {"attention_effect": 0.9, "attention_control": 0.2}, PASSED),
        ("intact lost lost", {"attention_control": 0.2}, OPEN),
        ("lost lost lost", {"subject_effect": 0.5}, PASSED),
        ("lost lost lost", {"subject_effect": 0.499}, FAILED),
        ("lost lost lost", {"subject_effect": 0.9, "subject_control": 0.9}, FAILED),
        ("lost lost lost", {"subject_effect": 0.3, "subject_whole": False}, OPEN),
        ("lost lost lost", {"subject_effect": 0.6, "subject_whole": False}, PASSED),
        ("lost lost lost", {"subject_effect": None}, OPEN),
    ],
)
def test_a_refuter_that_speaks_against_a_class_withdraws_it(words, more, refuter):
    verdict = judge(words, **more)
    assert (verdict.suspected, verdict.refuter) == (TABLE[words], refuter)
    if refuter == FAILED:
        assert verdict.mechanism == "undetermined"
        assert verdict.reason.startswith(f"it would be {TABLE[words]}, but ")
    else:
        assert verdict.mechanism == TABLE[words]
        assert (verdict.reason is None) == (refuter == PASSED)


def test_only_a_class_own_refuter_is_asked():
    against_all = {
        "sham_r_out": 0.95, "late_effect": 0.0, "late_control": 0.9, "attention_effect": 0.0,
        "subject_effect": 0.0,
    }  # fmt: skip
    own = {
        "restored": {"sham_r_out"}, "late_override": {"late_effect", "late_control"},
        "not_routed": {"attention_effect"}, "lost_at_subject": {"subject_effect"},
    }  # fmt: skip
    for words, mechanism in TABLE.items():
        others = {k: v for k, v in against_all.items() if k not in own[mechanism]}
        assert judge(words, **others).mechanism == mechanism
        assert judge(words, **against_all).mechanism == "undetermined"


def test_what_corruption_left_was_not_restored():
    left = judge(corrupted_r_out=0.9, sham_r_out=0.95)
    assert (left.mechanism, left.refuter, left.reason) == ("never_lost", None, None)
    assert judge(corrupted_r_out=0.8, sham_r_out=0.1).mechanism == "restored"
    assert judge("intact intact lost", corrupted_r_out=0.9).mechanism == "late_override"


# ---- flags


def test_the_route_is_told_of_what_is_restored_alone():
    assert judge(route_similarity=0.7).flags == ("same_route",)
    assert judge(route_similarity=0.69).flags == ("new_route",)
    assert judge().flags == ()
    assert judge("lost lost lost", route_similarity=0.1).flags == ()
    assert judge(route_similarity=0.1, sham_r_out=0.9).flags == ()  # refuted
    assert judge(route_similarity=0.1, corrupted_r_out=0.9).flags == ()  # never lost


@pytest.mark.parametrize("words", [*TABLE, "between lost intact"])
def test_the_false_object_is_active_from_a_nat_on(words):
    assert "false_active" in judge(words, false_lead=1.0).flags
    assert "false_active" not in judge(words, false_lead=0.99).flags
    assert "false_active" not in judge(words, false_lead=math.nan).flags


@pytest.mark.parametrize(
    ("words", "untouched", "is_told"),
    [
        ("lost lost lost", 0.1, True),
        ("lost lost lost", 0.32, True),  # fell by 0.68, three quarters of 0.9 are 0.675
        ("lost lost lost", 0.33, False),
        ("lost lost lost", None, False),
        ("intact intact lost", 0.1, True),
        ("intact intact between", 0.625, True),
        ("intact intact intact", 0.1, False),  # this one did not fall
    ],
)
def test_damage_is_general_where_untouched_facts_fell_as_much(words, untouched, is_told):
    assert ("general_damage" in judge(words, untouched_r_out=untouched).flags) == is_told


def test_little_damage_is_not_told():
    band = replace(BAND, intact_above=0.95)
    found = classify(replace(readings(), r_out=0.9, untouched_r_out=0.5), replace(BANDS, out=band))
    assert found.said[2] == "between" and found.flags == ()


# ---- properties

shares = st.floats(-2, 3, allow_nan=False)
maybe = st.one_of(st.none(), st.just(math.nan), shares)
RANK = {"lost": 0, "between": 1, "intact": 2}


@given(st.tuples(shares, shares), st.tuples(shares, shares))
def test_more_is_never_called_less(edges, pair):
    band = replace(BAND, intact_above=edges[0], lost_below=edges[1])
    low, high = sorted(pair)
    assert RANK[band.verdict(low)] <= RANK[band.verdict(high)]


@given(st.fixed_dictionaries({name: maybe for name in Readings.__dataclass_fields__
                              if name != "subject_whole"}), st.booleans())  # fmt: skip
@settings(max_examples=300)
def test_any_numbers_give_a_verdict_that_holds_together(values, whole):
    verdict = classify(Readings(**values, subject_whole=whole), BANDS)
    assert verdict.mechanism in MECHANISMS
    assert (verdict.mechanism == "undetermined") <= bool(verdict.reason)
    if verdict.refuter == FAILED:
        assert verdict.mechanism == "undetermined"
    if verdict.mechanism not in ("undetermined", "never_lost"):
        assert verdict.mechanism == TABLE[" ".join(verdict.said)]
    assert not {"same_route", "new_route"} <= set(verdict.flags)


@given(shares, shares, shares)
def test_a_stronger_intervention_never_refutes_what_a_weaker_one_did_not(a, b, control):
    low, high = sorted((a, b))
    for words, name in (
        ("intact intact lost", "late"), ("intact lost lost", "attention"),
        ("lost lost lost", "subject"),
    ):  # fmt: skip
        weak, strong = (
            judge(words, **{f"{name}_effect": effect, f"{name}_control": control})
            for effect in (low, high)
        )
        assert not (weak.refuter == PASSED and strong.refuter == FAILED)


# ---- bands out of controls


def controls(values, facts=None):
    return Controls(
        shares=np.array(values, dtype=float),
        facts=np.arange(len(values)) if facts is None else np.array(facts),
    )


def test_bands_of_many_controls_are_their_percentiles():
    rng = np.random.default_rng(0)
    intact, lost = rng.normal(1.0, 0.1, 4000), rng.normal(0.05, 0.1, 4000)
    band = Band.of(2, controls(intact), controls(lost))
    assert band.intact_above == pytest.approx(1 - 1.645 * 0.1, abs=0.01)
    assert band.lost_below == pytest.approx(0.05 + 1.645 * 0.1, abs=0.01)
    assert (band.layer, band.n_intact, band.n_lost) == (2, 4000, 4000)
    # by construction, one in twenty of the controls themselves is not called what it is
    called = [band.verdict(share) for share in intact]
    assert np.mean([word == "intact" for word in called]) == pytest.approx(0.95, abs=0.002)


def test_controls_without_spread_have_a_tolerance():
    band = Band.of(0, controls([1.0] * 9), controls([0.0] * 9))
    assert (band.intact_above, band.lost_below) == (0.95, 0.05)
    assert (band.verdict(0.999), band.verdict(0.001)) == ("intact", "lost")


def test_few_controls_reach_as_far_as_their_noise():
    """Four facts, two contexts each, 0.2 apart: the deviation about a fact's mean is √(8·0.01/4).

    The fifth percentile of eight shares is hardly below the least of them."""
    shares = [0.8, 1.0] * 4
    found = controls(shares, [0, 0, 1, 1, 2, 2, 3, 3])
    assert found.noise == pytest.approx(math.sqrt(8 * 0.01 / 4))
    assert found.edge(upwards=False) == pytest.approx(0.9 - 1.645 * found.noise)
    assert found.edge(upwards=False) < np.percentile(shares, 5)
    # the same spread between facts is no noise: a fact's own contexts agree
    between = controls(shares, [0, 1, 0, 1, 0, 1, 0, 1])
    assert between.noise == 0
    assert between.edge(upwards=False) == pytest.approx(np.percentile(shares, 5))


def test_too_few_controls_make_no_band():
    band = Band.of(0, controls([1.0, 0.9]), controls([0.0] * 9))
    assert math.isnan(band.intact_above) and band.verdict(0.9) is None


def test_less_than_half_is_never_intact_and_more_never_lost():
    band = replace(BAND, intact_above=0.1, lost_below=0.05)
    assert [band.verdict(share) for share in (0.3, 0.49, 0.5)] == ["between", "between", "intact"]
    wide = replace(BAND, intact_above=0.95, lost_below=0.9)
    assert [wide.verdict(share) for share in (0.5, 0.51)] == ["lost", "between"]


# ---- thresholds


def test_a_version_is_of_every_threshold():
    assert Thresholds().version == DEFAULT.version
    versions = {DEFAULT.moved(1.25, (name,)).version for name in NAMES}
    assert len(versions | {DEFAULT.version}) == len(NAMES) + 1


def test_moving_multiplies_and_keeps_shares_within_one():
    moved = DEFAULT.moved(1.25)
    for name, value in asdict(moved).items():
        expected = 4 if name == "least_controls" else min(1.25 * asdict(DEFAULT)[name], 99)
        assert value == pytest.approx(expected), name
    assert DEFAULT.moved(2.0, ("subject_share",)).subject_share == 1.0
    assert DEFAULT.moved(1.25, ("restores",)).moved(0.8, ("restores",)) == DEFAULT
    with pytest.raises(KeyError):
        DEFAULT.moved(1.25, ("taste",))
