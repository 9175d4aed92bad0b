import math

import pytest

from restor_interp.reporting.formats import (
    cell_text,
    interval_text,
    plain,
    plural,
    probability,
    share,
    share_text,
    signed,
    sort_key,
    wilson,
)
from restor_interp.reporting.parts import (
    EntityLink,
    FateBar,
    Mark,
    Missing,
    Number,
    Share,
    Text,
)


@pytest.mark.parametrize(("k", "n"), [(0, 4), (3, 7), (7, 7), (41, 130)])
def test_intervals_are_wilsons(k, n):
    z, p = 1.959963984540054, k / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson(k, n) == pytest.approx((middle - reach, middle + reach), abs=1e-12)


def test_nothing_counted_has_no_interval():
    assert all(math.isnan(end) for end in wilson(0, 0))
    assert share_text(share(0, 0)) == "none to count"
    assert interval_text(share(0, 0)) == ""
    assert sort_key(share(0, 0)) is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (plain(-1.236), "−1.24"), (plain(-0.0), "0.00"), (plain(-0.004), "0.00"),
        (plain(math.nan), "×"), (plain(math.inf), "×"), (signed(0.5), "+0.50"),
        (signed(0.001), "0.00"),
        (signed(-2, 0), "−2"), (probability(0.25), "0.250"), (probability(3.2e-7), "3e−7"),
        (probability(9.7e-5), "1e−4"), (probability(0.0), "0.000"), (plural(1, "fact"), "1 fact"),
        (plural(0, "fact"), "0 facts"), (share_text(share(3, 7)), "43%, 95% interval 16 to 75%"),
    ],
)  # fmt: skip
def test_numbers_as_text(written, expected):
    assert written == expected


@pytest.mark.parametrize(
    ("cell", "text", "key"),
    [
        (Text("Rome", detail="or Roma"), "Rome (or Roma)", "rome (or roma)"),
        (Number(0.431, percent=True, digits=0, low=0.16, high=0.75, n=7),
         "43% [16–75%] n=7", 0.431),
        (Number(-0.2, percent=True, digits=0, signed=True, low=-0.3, high=0.1),
         "−20% [−30 to +10]", -0.2),
        (Number(2e-5, small=True), "2e−5", 2e-5),
        (Number(None), "×", None),
        (Number(math.nan), "×", None),
        (Share(3, 7, low=0.158, high=0.75), "3/7 [16–75%]", 3 / 7),
        (Mark("false", "Lyon", detail="false 2/3", fate="still_false"),
         "✗ Lyon (false 2/3, ✗ still false)", "✗ lyon (false 2/3, ✗ still false)"),
        (Mark("other"), "○ other", "○ other"),
        (EntityLink("Kaká"), "Kaká", "kaká"),
        (FateBar((("restored", 2), ("kept", 6))), "2 restored, 6 kept", 0.25),
        (FateBar(()), "none", None),
        (Missing("no room"), "— (no room)", None),
    ],
)  # fmt: skip
def test_cells_as_text_and_as_sort_keys(cell, text, key):
    assert cell_text(cell) == text
    assert sort_key(cell) == key
