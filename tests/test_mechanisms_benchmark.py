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


def test_with_a_floor_ignorance_is_no_knowledge(script):
    ignorance = script.FLOOR
    row = {"host_logp": -12.0, "clean_logp": -0.1, "logp": ignorance, "share": 0.75}
    knows_half = row | {"logp": ignorance / 2 - 0.05}
    found = script.floored([row, knows_half, row | {"clean_logp": -2.5}])
    assert found[0]["share"] == 0
    assert found[1]["share"] == pytest.approx(0.5)
    assert found[2]["share"] is None  # the clean model itself is hardly better than ignorance


def test_every_fact_is_read_where_half_of_it_has_arrived(script):
    def rows(fact_id, gains):
        fixed = {"fact_id": fact_id, "host_logp": -3.0}
        last = [
            fixed | {"site": "last", "layer": layer, "clean_logp": gain - 3, "share": layer / 10}
            for layer, gain in gains.items()
        ]
        return [*last, fixed | {"site": "subject", "layer": 7, "clean_logp": 0.0, "share": 1.0}]

    early, late = rows("early", {8: 2.0, 9: 2.5, 10: 3.0}), rows("late", {8: 0.1, 9: 0.2, 10: 3.0})
    assert (script.own_mid(early), script.own_mid(late)) == (8, 10)
    found = script.at_own_mid(early + late)
    read = {(r["fact_id"], r["site"], r["layer"]): r["share"] for r in found}
    assert read == {
        ("early", "subject", 7): 1.0,
        ("early", "last", script.OWN_MID): 0.8,
        ("early", "last", 10): 1.0,
        ("late", "subject", 7): 1.0,
        ("late", "last", script.OWN_MID): 1.0,
        ("late", "last", 10): 1.0,
    }
