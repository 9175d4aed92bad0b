"""The benchmark of the report runs, and tells a kept budget from a missed one.

Run: python -m pytest tests/test_report_benchmark.py
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[1]
LINE = re.compile(
    r"^(\S.*?) +(\d[\d.]*) (kB|s|) +(\d[\d.]*) (?:kB|s|) +(kept|MISSED)$", re.MULTILINE
)


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = ROOT / "benchmarks" / "report.py"
    spec = importlib.util.spec_from_file_location("report_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.slow
def test_every_budget_stands_beside_its_measurement():
    # A process of its own, because the suite has a browser running in this one.
    words = [sys.executable, "benchmarks/report.py", "--quick"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if "Executable doesn't exist" in done.stderr and not os.environ.get("CI"):
        pytest.skip("no Chromium")
    assert done.returncode == 0, done.stderr
    told = {name: (float(value), kept) for name, value, _, _, kept in LINE.findall(done.stdout)}
    assert len(told) == 10
    # What does not depend on how busy the machine is.
    for name in ("largest entity page", "files that differ when built again",
                 "requests elsewhere", "violations of the page's policy"):  # fmt: skip
        assert told[name][1] == "kept", (name, told[name])
    assert told["first paint"][0] > 0 and told["first plot"][0] > told["first paint"][0]


def test_the_made_up_run_has_as_many_entities_as_asked(script):
    run = script.made_up(20)
    assert len(run.entities) == 20 and len(run.facts) == 20 * 8
    assert len({fact["fact_id"] for fact in run.facts}) == 20 * 8
    copied = run.entity("Aaron Burr 2")
    assert len(copied.table("traces")) == len(run.entity("Aaron Burr").table("traces")) > 0


def test_what_is_beyond_its_budget_is_told(script):
    assert str(script.Line("page", 501, 500, "kB")).endswith("MISSED")
    assert str(script.Line("page", 500, 500, "kB")).endswith("kept")
