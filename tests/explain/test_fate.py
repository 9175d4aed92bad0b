"""Fates: the whole table of outcomes, written out.

Run: python -m pytest tests/explain/test_fate.py
"""

import itertools

import pytest

from restor_interp.explain.fate import FATES, fate_of, is_guess, majority
from restor_interp.reporting import vocabulary

EXPECTED = {
    # clean, corrupted, unlearned (t true, f false, o other); margin as large as the clean one
    "ttt": "kept", "ttf": "collateral", "tto": "collateral",
    "tft": "restored", "tff": "still_false", "tfo": "forgotten",
    "tot": "restored", "tof": "still_lost", "too": "still_lost",
    "ftt": "gained", "ftf": "unknown", "fto": "unknown",
    "fft": "gained", "fff": "unknown", "ffo": "unknown",
    "fot": "gained", "fof": "unknown", "foo": "unknown",
    "ott": "gained", "otf": "unknown", "oto": "unknown",
    "oft": "gained", "off": "unknown", "ofo": "unknown",
    "oot": "gained", "oof": "unknown", "ooo": "unknown",
}  # fmt: skip
WORDS = {"t": "true", "f": "false", "o": "other"}


def test_every_combination_of_outcomes_has_its_fate():
    assert set(EXPECTED) == {"".join(names) for names in itertools.product("tfo", repeat=3)}
    for names, fate in EXPECTED.items():
        outcomes = (WORDS[name] for name in names)
        assert fate_of(*outcomes, margin=3.0, margin_clean=3.0) == fate, names


@pytest.mark.parametrize(
    ("margin", "margin_clean", "fate"),
    [
        (1.49, 3.0, "guessed"), (1.5, 3.0, "restored"), (-2.0, 3.0, "guessed"),
        (None, 3.0, "restored"), (0.1, None, "restored"),
        (float("nan"), 3.0, "restored"), (0.1, float("nan"), "restored"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("corrupted", ["false", "other"])
def test_a_right_answer_without_the_knowledge_is_a_guess(margin, margin_clean, fate, corrupted):
    assert fate_of("true", corrupted, "true", margin=margin, margin_clean=margin_clean) == fate


def test_margins_matter_only_where_something_came_back():
    assert fate_of("true", "true", "true", margin=0.0, margin_clean=5.0) == "kept"
    assert fate_of("other", "true", "true", margin=0.0, margin_clean=5.0) == "gained"
    assert is_guess(0.0, 5.0)
    assert not is_guess(3.0, 5.0)


def test_what_is_no_outcome_is_refused():
    with pytest.raises(ValueError, match="'correct' is no outcome; there are true, false, other"):
        fate_of("true", "correct", "true", margin=None, margin_clean=None)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [("t", "t"), ("tff", "f"), ("tfo", "t"), ("oftt", "t"), ("ftft", "f"), ("foofo", "o")],
)
def test_a_majority_decides_and_a_tie_goes_to_the_earliest(outcomes, expected):
    assert majority([WORDS[letter] for letter in outcomes]) == WORDS[expected]


def test_nothing_has_no_majority():
    assert majority([]) is None


def test_every_fate_has_its_sign_in_the_report():
    assert set(FATES) == set(vocabulary.FATES)
