"""The benchmark of capture runs, and what it compares is the same.

Run: python -m pytest tests/test_capture_benchmark.py
"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

LINE = re.compile(r"^  (.+?) +(\d+\.\d{3}) +(\d+\.\d{3}) +(\d\.\de[-+]\d\d)?$", re.MULTILINE)


@pytest.fixture(scope="module")
def script():
    path = Path(__file__).parents[1] / "benchmarks" / "capture.py"
    spec = importlib.util.spec_from_file_location("capture_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_every_way_gives_the_same_numbers(script, capsys, monkeypatch):
    monkeypatch.setattr(script, "memory_elsewhere", lambda arguments: None)
    script.main(["--quick", "--prompts", "12"])
    told = capsys.readouterr().out
    gaps = {name: gap for name, _, _, gap in LINE.findall(told)}
    assert list(gaps)[:4] == [
        "plain forward pass",
        "ri.capture, 32 bits",
        "ri.capture, 16 bits",
        "transformer-lens run_with_cache",
    ]
    assert gaps["plain forward pass"] == ""
    assert float(gaps["transformer-lens run_with_cache"]) <= 1e-5
    assert 0 < float(gaps["ri.capture, 16 bits"]) <= 1e-3
    assert "one layer of one site read in" in told
    assert "few-shot prompts" in told


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux counts peaks")
def test_memory_is_measured(script, capsys):
    script.main(["--quick", "--memory"])
    told = capsys.readouterr().out
    assert re.findall(r"(\d+) prompts: +\d+ MiB", told) == ["50", "200"]
