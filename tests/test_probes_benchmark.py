"""The benchmark of probes runs, and what it compares reads the same.

Run: python -m pytest tests/test_probes_benchmark.py
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "benchmarks" / "probes.py"
    spec = importlib.util.spec_from_file_location("probes_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


# What probes read is held against scikit-learn in tests/measure.
@pytest.mark.slow
def test_every_probe_is_timed_and_scikit_learn_reads_the_same(script, capsys):
    script.main(["--quick"])
    told = capsys.readouterr().out
    for path in script.PROBES.glob("*.py"):
        assert path.stem in told
    pairs = re.findall(r"accuracy (\d\.\d+), ours (\d\.\d+)", told)
    assert len(pairs) == 2
    # 36 facts and 72 statements: a few rows more or less.
    for theirs, ours in pairs:
        assert abs(float(theirs) - float(ours)) < 0.12
