"""Definitions of one's own: what `new` writes works as it stands, and `probe` adds to a run."""

import re
import shutil
from pathlib import Path

import pytest

from restor_interp import StateActivations, build_prompt, load_definitions, load_facts
from restor_interp.errors import ConfigError
from restor_interp.pipeline import open_run
from restor_interp.pipeline.adding import TEMPLATES, add_probe, write_template
from restor_interp.presets import ExplanationSettings
from restor_interp.testing import check_method

OURS = set(ExplanationSettings().probes)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copied(finished, tmp_path):
    """The small run in a folder of its own, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "kind", ["probe", "probe-sklearn", pytest.param("probe-torch", marks=pytest.mark.slow)]
)
def test_a_template_of_a_probe_reads_a_run(kind, finished, tmp_path):
    made = write_template(kind, "mine", tmp_path)
    (probe,) = load_definitions(made.path)
    states = StateActivations({name: finished.activations(name) for name in finished.states()})
    rows = probe.run(states, load_facts(finished.folder / "facts.jsonl"), layer=6, length=5).rows
    assert [row["state"] for row in rows] == list(finished.states())
    assert all(0 <= row["value"] <= 1 and 0 <= row["control_value"] <= 1 for row in rows)


def test_templates_of_analyses_reports_and_methods_work(finished, tmp_path):
    (analysis,) = load_definitions(write_template("analysis", "sure", tmp_path).path)
    model = finished.model()
    facts = load_facts("bios")
    fact = facts[finished.table("facts")["fact_id"][0]]
    prompt = build_prompt(facts, fact)
    result = analysis.run(model, prompt, fact, states=["clean", "npo"], true="a", false="b")
    assert [row["state"] for row in result.rows] == ["clean", "npo"]
    assert all(row["entropy"] > 0 for row in result.rows)
    report = write_template("report", "told", tmp_path)
    (page,) = load_definitions(report.path)
    assert page.run(finished.results().entity(fact.entity)).title == fact.entity
    check_method(str(write_template("method", "floored", tmp_path).path))


def test_the_probe_template_is_the_example_of_the_readme(tmp_path):
    text = (ROOT / "probes" / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    made = write_template("probe", "long_answers", tmp_path)
    assert made.path.read_text() == example


def test_a_probe_is_added_to_a_run_and_nothing_else_is_computed(copied, tmp_path):
    before = {name: open_run(copied).store.record(name) for name in open_run(copied).store.cells()}
    file = write_template("probe", "mine", tmp_path).path
    file.write_text(file.read_text().replace("layer=12, length=8", "layer=6, length=5"))
    added = add_probe(file, copied)
    assert not added.failures and set(added.rows["probe"]) == {"mine"}
    run = open_run(copied)
    assert set(run.table("probes")["probe"]) == {*OURS, "mine"}
    after = {name: run.store.record(name) for name in run.store.cells()}
    assert after.keys() - before.keys() == {"probe/mine"}
    assert all(after[name] == before[name] for name in before)
    assert "mine" in (copied / "report" / "index.html").read_text() or "mine" in "".join(
        path.read_text() for path in (copied / "report").rglob("*.html")
    )
    # again, with another setting: it is the same probe
    file.write_text(file.read_text().replace("layer=6", "layer=5"))
    again = add_probe(file, copied)
    assert set(again.rows["layer"]) == {5}
    assert len(again.run.config.explanation.probes) == len(OURS) + 1


def test_a_probe_that_fails_leaves_the_run_and_its_other_probes(copied, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(
        "import restor_interp as ri\n\n\n@ri.probe\ndef broken(activations, facts):\n"
        '    """Fails."""\n    raise RuntimeError("no such thing")\n'
    )
    added = add_probe(file, copied)
    assert "no such thing" in added.failures["probe/broken"]
    assert not len(added.rows)
    assert set(open_run(copied).table("probes")["probe"]) == OURS


def test_what_cannot_be_done_is_said(copied, tmp_path):
    with pytest.raises(ConfigError, match="probe-sklearn"):
        write_template("prob", "mine", tmp_path)
    with pytest.raises(ConfigError, match="my_probe"):
        write_template("probe", "not a name", tmp_path)
    with pytest.raises(ConfigError, match="my_analysis"):
        write_template("analysis", "1x", tmp_path)
    made = write_template("probe", "mine", tmp_path)
    with pytest.raises(ConfigError, match="exists"):
        write_template("probe", "mine", tmp_path)
    with pytest.raises(ConfigError, match="no finished run"):
        add_probe(made.path, tmp_path / "nowhere")
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("capture: true", "capture: false"))
    with pytest.raises(ConfigError, match=r"explanation\.capture=true"):
        add_probe(made.path, copied)
    assert set(TEMPLATES) >= {"probe", "analysis", "report", "method"}
