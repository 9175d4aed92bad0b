"""Numbers in sentences.

Run: python -m pytest tests/explain/test_wording.py
"""

import math

import pytest

from restor_interp.explain.wording import layer_range, measured, number


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.456, "0.46"), (-0.456, "−0.46"), (0.0, "0.00"), (12, "12.00"),
        (None, ""), (math.nan, ""), (-math.inf, ""),
    ],
)  # fmt: skip
def test_a_number_has_two_decimals_or_is_not_told(value, told):
    assert number(value) == told
    assert measured(value) == bool(told)


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([24], "layer 24"), ([24, 25, 26], "layers 24–26"), ([26, 20, 24, 25], "layers 20, 24–26"),
        ([0, 1], "layers 0–1"),
    ],
)  # fmt: skip
def test_ranges_of_layers(layers, told):
    assert layer_range(layers) == told
