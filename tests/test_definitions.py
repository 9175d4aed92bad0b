"""Definitions: what a decorator records, how files are loaded, and how each mistake is told.

Run: python -m pytest tests/test_definitions.py
"""

import hashlib
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import restor_interp.definitions as definitions
from restor_interp.definitions import (
    AnalysisResult,
    ProbeResult,
    gallery_folders,
    load_definitions,
)
from restor_interp.errors import ConfigError

PROBE = '''"""Is anything there?

More words.
"""
from restor_interp.definitions import ProbeResult, probe


@probe
def {name}(activations, facts, *, layers=(1, 2), site="resid"):
    return ProbeResult(rows=[])
'''


def written(folder, file="mine.py", text=PROBE, name="mine"):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("{name}", name))
    return path


def test_a_definition_records_name_settings_hash_doc_and_path(tmp_path):
    path = written(tmp_path)
    (found,) = load_definitions(path)
    assert (found.kind, found.name, found.path) == ("probe", "mine", path)
    assert found.parameters == {"layers": (1, 2), "site": "resid"}
    assert found.source_hash == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert found.summary == "Is anything there?"
    assert found.run("activations", "facts").rows == []
    with pytest.raises(FrozenInstanceError):
        found.name = "other"
    assert not (tmp_path / "__pycache__").exists()


def test_keywords_that_the_run_fills_in_are_not_settings(tmp_path):
    text = (
        "from restor_interp.definitions import analysis\n@analysis\n"
        "def f(model, prompt, fact, *, states, true, false, {name}window=3):\n    pass\n"
    )
    (found,) = load_definitions(written(tmp_path, "a.py", text, "substitute, "))
    assert (found.parameters, found.given) == (
        {"window": 3},
        ("states", "true", "false", "substitute"),
    )
    (found,) = load_definitions(written(tmp_path, "b.py", text, ""))
    assert found.given == ("states", "true", "false")


def test_settings_are_the_defaults_with_some_replaced(tmp_path):
    (found,) = load_definitions(written(tmp_path))
    assert found.settings({"site": "mlp"}) == {"layers": (1, 2), "site": "mlp"}
    assert found.parameters["site"] == "resid"
    with pytest.raises(ConfigError, match=r"setting of the probe mine 'sites'.*Did you mean site"):
        found.settings({"sites": "mlp"})


def test_an_edit_within_the_same_second_is_seen(tmp_path):
    first = load_definitions(written(tmp_path, name="one"))[0]
    second = load_definitions(written(tmp_path, name="two"))[0]
    assert (first.name, second.name) == ("one", "two")
    assert first.source_hash != second.source_hash


def test_dataclasses_with_postponed_annotations_work_in_a_file(tmp_path):
    text = (
        '"""Doc."""\nfrom __future__ import annotations\n'
        "from dataclasses import dataclass, fields\nfrom typing import ClassVar\n"
        "import restor_interp.definitions as ri\n"
        "@dataclass\nclass Point:\n    x: int = 1\n    all: ClassVar[int] = 2\n"
        "@ri.report\ndef page(results):\n    return [field.name for field in fields(Point)]\n"
    )
    (found,) = load_definitions(written(tmp_path, text=text))
    assert found.kind == "report"
    assert found.run(None) == ["x"]


@pytest.mark.parametrize(
    ("decorator", "signature", "message"),
    [
        ("probe", "(acts, facts)", r"by position, not \(activations, facts\)"),
        ("probe", "(activations)", r"by position, not \(activations, facts\)"),
        ("probe", "(activations, facts, layers=3)", "by position"),
        ("probe", "(activations, facts, *, layers)", "no default for the setting 'layers'"),
        ("probe", "(activations, facts, **settings)", "name every setting"),
        ("probe", "(activations, facts, /)", "by position"),
        ("analysis", "(model, prompt, fact, *, states, true)", "lacks the keyword 'false'"),
        ("report", "(entity)", r"by position, not \(results\)"),
    ],
)
def test_a_wrong_signature_is_refused_with_the_right_one(tmp_path, decorator, signature, message):
    text = (
        f"from restor_interp.definitions import {decorator}\n"
        f"@{decorator}\ndef f{signature}:\n    pass\n"
    )
    path = written(tmp_path, text=text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_definitions(path)
    assert str(path) in str(caught.value)
    assert f"a {decorator} is f(" in str(caught.value)


def test_a_function_without_readable_source_is_refused():
    with pytest.raises(ConfigError, match="put it into a file"):
        exec("@probe\ndef f(activations, facts): pass", {"probe": definitions.probe})


def test_one_bad_file_is_told_and_does_not_sink_the_others(tmp_path):
    written(tmp_path, "good.py", name="good")
    fails = written(tmp_path, "fails.py", PROBE + "\nimport no_such_module_at_all\n", "fails")
    broken = written(tmp_path, "broken.py", PROBE + "\ndef (:\n", "broken")
    leaves = written(tmp_path, "leaves.py", PROBE + "\nraise SystemExit(3)\n", "leaves")
    problems = []
    found = load_definitions(tmp_path, on_error=problems.append)
    assert [definition.name for definition in found] == ["good"]
    told = "\n".join(str(problem) for problem in problems)
    for path in (fails, broken, leaves):
        assert str(path) in told
    assert "No module named 'no_such_module_at_all' (line 12)" in told
    assert "broken.py:12" in told
    assert not any("fails" in name for name in sys.modules)
    with pytest.raises(ConfigError, match=r"broken\.py:12"):
        load_definitions(tmp_path)


def test_scripts_beside_definitions_are_not_executed(tmp_path):
    written(tmp_path, "script.py", "import restor_interp\nraise RuntimeError('executed')\n")
    written(tmp_path, "python2.py", "print 'not ours'\n")
    written(tmp_path, "good.py", name="good")
    assert [definition.name for definition in load_definitions(tmp_path)] == ["good"]
    with pytest.raises(ConfigError, match=r"script\.py cannot be loaded: RuntimeError: executed"):
        load_definitions(tmp_path / "script.py")


def test_a_file_that_defines_nothing_says_so(tmp_path):
    path = written(tmp_path, text="from restor_interp.definitions import probe\n")
    with pytest.raises(ConfigError, match="defines nothing"):
        load_definitions(path)


def test_a_path_that_does_not_exist_names_where_definitions_are(tmp_path):
    with pytest.raises(ConfigError, match=r"no file or folder .*nowhere.*probes"):
        load_definitions(tmp_path / "nowhere")


def test_a_duplicate_name_names_both_files(tmp_path):
    first = written(tmp_path / "a", "x.py", name="same")
    second = written(tmp_path / "b", "y.py", name="same")
    with pytest.raises(ConfigError) as caught:
        load_definitions([tmp_path / "a", tmp_path / "b"])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)
    problems = []
    (kept,) = load_definitions([tmp_path / "a", tmp_path / "b"], on_error=problems.append)
    assert (kept.path, len(problems)) == (first, 1)


def test_the_same_file_twice_and_the_same_name_in_another_kind_are_fine(tmp_path):
    path = written(tmp_path, "x.py", name="same")
    text = "from restor_interp.definitions import report\n@report\ndef same(results):\n    pass\n"
    written(tmp_path, "y.py", text)
    found = load_definitions([path, tmp_path])
    assert [(definition.kind, definition.name) for definition in found] == [
        ("probe", "same"),
        ("report", "same"),
    ]


def test_galleries_of_the_current_folder_come_before_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = gallery_folders()
    assert [folder.name for folder in ours] == ["probes", "analyses", "reports"]
    (tmp_path / "probes").mkdir()
    assert gallery_folders() == [tmp_path.resolve() / "probes", *ours]


def test_galleries_are_found_once_from_the_checkout_itself(monkeypatch):
    ours = gallery_folders()
    monkeypatch.chdir(ours[0].parent)
    assert gallery_folders() == ours


def test_a_definition_is_found_by_name_or_file_and_ones_own_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = definitions.find_definition("analysis", "logit_lens")
    assert shipped.path is not None and not shipped.path.is_relative_to(tmp_path)
    text = (
        "from restor_interp.definitions import analysis\n@analysis\n"
        "def logit_lens(model, prompt, fact, *, states, true, false):\n    pass\n"
    )
    own = written(tmp_path / "analyses", "my_lens.py", text)
    assert definitions.find_definition("analysis", "logit_lens").path == own
    assert definitions.find_definition("analysis", str(own)).path == own
    with pytest.raises(ConfigError, match=r"there is no analysis 'logit_lense'.*logit_lens"):
        definitions.find_definition("analysis", "logit_lense")
    with pytest.raises(ConfigError, match="defines 0 functions with @probe"):
        definitions.find_definition("probe", str(own))


def test_a_name_that_is_missing_because_its_file_is_broken_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "probes", "mine.py", PROBE + "\nimport no_such_module_at_all\n")
    with pytest.raises(ConfigError, match="no_such_module_at_all"):
        definitions.find_definition("probe", "mine")


def test_galleries_of_a_wheel_lie_inside_the_package(tmp_path, monkeypatch):
    """Beside an installed package, folders called `probes` belong to somebody else."""
    package = tmp_path / "site-packages" / "restor_interp"
    (package / "_galleries" / "analyses").mkdir(parents=True)
    (package.parent / "probes").mkdir()
    monkeypatch.setattr(definitions, "__file__", str(package / "definitions.py"))
    monkeypatch.chdir(tmp_path)
    assert gallery_folders() == [(package / "_galleries" / "analyses").resolve()]


ROW = {
    "state": "clean",
    "fitted_on": "clean",
    "layer": 1,
    "position": "last",
    "metric": "accuracy",
    "value": 0.5,
    "control": "shuffled",
    "control_value": 0.1,
    "n": 20,
}


def test_probe_rows_must_be_whole_and_say_why_a_value_is_missing():
    assert ProbeResult(rows=[ROW | {"more": 1}]).rows[0]["more"] == 1
    with pytest.raises(ConfigError, match=r"row 1 .* lacks control, n"):
        ProbeResult(rows=[ROW, {key: ROW[key] for key in ROW if key not in ("control", "n")}])
    for missing in (None, float("nan"), np.float32("nan")):
        with pytest.raises(ConfigError, match="without a `reason`"):
            ProbeResult(rows=[ROW | {"value": missing}])
        ProbeResult(rows=[ROW | {"value": missing, "reason": "one class"}])


def test_an_analysis_names_a_table_and_gives_numpy_tensors():
    AnalysisResult(table="traces", rows=[], tensors={"scores": np.zeros(2)})
    with pytest.raises(ConfigError, match="a table's name"):
        AnalysisResult(table="../traces", rows=[])
    with pytest.raises(ConfigError, match="'scores' is a list"):
        AnalysisResult(table="traces", rows=[], tensors={"scores": [1.0]})
