"""The benchmark of mechanisms counts as it says.

Run: python -m pytest tests/test_mechanisms_benchmark.py
"""

import importlib.util
import math
import sys
from pathlib import Path

import pandas as pd
import pytest

from restor_interp.explain.mechanism import Verdict


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "benchmarks" / "mechanisms.py"
    spec = importlib.util.spec_from_file_location("mechanisms_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


ROWS = pd.DataFrame(
    [
        ("lost_at_subject", "lost_at_subject", "lost_at_subject"),
        ("lost_at_subject", "lost_at_subject", "undetermined"),
        ("not_routed", "not_routed", "not_routed"),
        ("late_override", "late_override", "output_scaling"),
        ("late_override", "late_override", "late_override"),
        ("output_scaling", "output_scaling", "late_override"),
        ("trained_late_mlp", "late_override", "late_override"),
        ("inert", "intact", "intact"),
        ("mixture", "undetermined", "not_routed"),
        ("mixture", "undetermined", "undetermined"),
        ("sham", "intact", "intact"),
    ],
    columns=["kind", "planted", "said"],
)


def test_scores_are_those_counted_by_hand(script):
    found = script.scores(ROWS)
    assert found["balanced accuracy, planted"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 0) / 4)
    merged = found["  with late_override and output_scaling as one class"]
    assert merged == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert found["balanced accuracy, trained"] == 1
    assert found["abstention, planted"] == pytest.approx(1 / 6)
    assert found["false claims, decoys"] == pytest.approx(1 / 3)
    assert found["  mixture"] == 1 / 2 and math.isnan(found["  distributed"])
    assert found["false claims, decoys and shams"] == 1 / 4
    assert script.confusion(ROWS).loc["late_override", "output_scaling"] == 1


@pytest.mark.parametrize(
    ("mechanism", "flags", "told"),
    [
        ("restored", (), "intact"),
        ("never_lost", (), "intact"),
        ("late_override", ("general_damage",), "output_scaling"),
        ("late_override", ("false_active",), "late_override"),
        ("not_routed", ("general_damage",), "not_routed"),
    ],
)
def test_what_a_verdict_counts_as(script, mechanism, flags, told):
    assert script.said(Verdict(mechanism=mechanism, flags=flags)) == told
