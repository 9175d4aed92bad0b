"""The benchmark of tracing runs, and what it compares is the same.

Run: python -m pytest tests/test_tracing_benchmark.py
"""

import importlib.util
import re
import sys
from argparse import Namespace
from pathlib import Path

import pytest

GAPS = re.compile(r"(\d\.\de[-+]\d\d)\s+(\d\.\de[-+]\d\d)$", re.MULTILINE)


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "benchmarks" / "tracing.py"
    spec = importlib.util.spec_from_file_location("tracing_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    ("dtype", "in_p", "in_log_p"),
    [("float32", 1e-5, 1e-4), pytest.param("bfloat16", 1, 1, marks=pytest.mark.slow)],
)
def test_every_way_gives_the_same_numbers(script, capsys, dtype, in_p, in_log_p):
    script.main(["--quick", "--shape", "tiny", "--dtype", dtype])
    told = capsys.readouterr().out
    gaps = GAPS.findall(told)
    # Ours, the other two loops, three of transformer-lens and two windows, of three prompts.
    assert len(gaps) == 3 * 8
    assert max(float(gap) for gap, _ in gaps) <= in_p
    assert max(float(gap) for _, gap in gaps) <= in_log_p
    assert told.count("the region allows") == 3
    assert len(re.findall(r"cells × 2 draws: +\d+ MiB", told)) == (
        2 if Path("/proc/self/clear_refs").exists() else 0
    )
    assert "all heads, subject_last and last" in told


@pytest.mark.slow
def test_how_cost_grows_is_measured_and_drawn(script):
    options = Namespace(quick=True, shape="tiny", dtype="float32", device="cpu")
    found = script.growth(options)
    assert [axis.split()[0] for axis, *_ in found] == ["layers", "tokens", "draws", "facts"]
    assert all(min(own + loop) > 0 for _, _, own, loop in found)
    assert len(script.plot(found, "title").data) == 2 * len(found)
