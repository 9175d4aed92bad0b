"""The reports' README: its example is a report that works as it stands there."""

import importlib.util
import math
import re
import sys
from pathlib import Path

import pytest

import restor_interp
from restor_interp.definitions import load_definitions
from restor_interp.reporting.html import site_files
from restor_interp.reporting.parts import Document
from restor_interp.reporting.text import to_text

ROOT = Path(restor_interp.__file__).parent.parent
SYNTHETIC = Path(__file__).parents[1] / "reporting" / "synthetic.py"


@pytest.fixture(scope="module")
def run_results():
    spec = importlib.util.spec_from_file_location("_gallery_synthetic", SYNTHETIC)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.synthetic_run()


def test_the_example_of_the_readme_is_a_report(tmp_path, run_results):
    text = (ROOT / "reports" / "README.md").read_text()
    example = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    path = tmp_path / "confidence.py"
    path.write_text(example)
    (definition,) = load_definitions(path)
    assert (definition.kind, definition.name) == ("report", "confidence")
    assert definition.summary == "Which falsehoods are still said with confidence?"

    results = run_results.entity("Kaká")
    document = definition.run(results)
    assert isinstance(document, Document)
    table = document.parts[0].parts[0]
    assert len(table.rows) == 8 and len(table.columns) == 2 + len(run_results.states)
    fact, state = results.facts[2], run_results.states[1]
    choices = results.table("choices")
    mine = choices[(choices["fact_id"] == fact["fact_id"]) & (choices["state"] == state)]
    expected = math.exp(mine[mine["category"] == "false"]["sum_logprob"].mean())
    assert table.rows[2].cells[3].value == pytest.approx(expected)
    assert str(fact["false_object"]) in to_text(document)
    assert "index.html" in site_files(document, {"Kaká": document})

    assert len(definition.run(results, at_least=2.0).parts[0].parts[0].rows) == 0


def test_the_gallery_has_the_two_reports_of_the_demo():
    names = {definition.name for definition in load_definitions(ROOT / "reports")}
    assert {"overview", "entity"} <= names
