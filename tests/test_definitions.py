"""Definitions: what a decorator records, how files are loaded, and how each mistake is told.

Run: python -m pytest tests/test_definitions.py
"""

import hashlib
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

import restor_interp.definitions as definitions
from restor_interp.definitions import (
    AnalysisResult,
    ProbeResult,
    find_method,
    gallery_folders,
    load_definitions,
)
from restor_interp.errors import ConfigError
from restor_interp.stages.losses import LOSSES, predicted_tokens
from restor_interp.stages.methods import METHODS
from restor_interp.testing import check_method

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


def test_what_a_definition_asks_is_the_docstring_of_its_file(tmp_path):
    own = PROBE.replace("):\n", '):\n    """Its settings."""\n', 1)
    (found,) = load_definitions(written(tmp_path, text=own))
    assert own != PROBE and found.summary == "Is anything there?"
    (found,) = load_definitions(written(tmp_path, "bare.py", own.split('"""\n', 1)[1], "bare"))
    assert found.summary == "Its settings."


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
    with pytest.raises(ConfigError, match=r"found '\.\./more'"):
        AnalysisResult(table="traces", rows=[], further={"lens": [], "../more": []})
    with pytest.raises(ConfigError, match="'scores' is a list"):
        AnalysisResult(table="traces", rows=[], tensors={"scores": [1.0]})


# ---- methods

METHOD = '''"""A method of one's own."""
import torch
import restor_interp as ri
from restor_interp.stages.losses import token_logprobs, token_mean

{imports}
@ri.method(citation="nobody 2026", hints="less of it")
def {name}(logits, targets, *, beta: float = 0.5, mode="slow", times=2):
    """Ascent, slowly.

    More words.
    """
    loss = times * beta * token_mean(token_logprobs(logits, targets), targets)
    return ri.LossOut(loss=loss, parts={{}})
'''


def method_file(folder, file="mine.py", name="mine", imports="", text=METHOD):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(name=name, imports=imports))
    return path


def test_a_method_is_found_by_its_name(tmp_path):
    assert find_method("npo") is METHODS["npo"]
    with pytest.raises(ConfigError, match=r"there is no method 'nppo'.*Did you mean npo"):
        find_method("nppo")


def test_a_method_is_found_by_its_file_with_its_settings_and_hash(tmp_path):
    path = method_file(tmp_path)
    found = find_method(path)
    assert (found.name, found.summary) == ("mine", "Ascent, slowly.")
    assert (found.citation, found.hints) == ("nobody 2026", "less of it")
    assert found.source_hash == hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    assert found.needs_retain and found.needs_forget and not found.ceiling
    assert (found.reference, found.paired, found.on_states) == (None, False, False)
    assert found.settings().model_dump() == {"beta": 0.5, "mode": "slow", "times": 2}
    assert found.loss_settings == ("beta", "mode", "times")
    check_method(found)
    check_method(str(path), settings={"beta": 3.0})
    assert find_method(str(path)).source_hash == found.source_hash
    method_file(tmp_path, imports="# changed")
    assert find_method(path).source_hash != found.source_hash


def test_settings_of_an_own_method_are_typed_and_their_names_are_checked(tmp_path):
    settings = find_method(method_file(tmp_path)).settings
    read = settings.read({"beta": "0.25", "times": 1.5}, "the method mine")
    assert read.model_dump() == {"beta": 0.25, "mode": "slow", "times": 1.5}
    with pytest.raises(ConfigError, match=r"setting of the method mine 'bete'.*Did you mean beta"):
        settings.read({"bete": 1}, "the method mine")
    with pytest.raises(ConfigError, match=r"the method mine: beta.*'much'"):
        settings.read({"beta": "much"}, "the method mine")


def test_annotations_may_be_postponed_and_be_literals_or_fields(tmp_path):
    text = (
        "from __future__ import annotations\n"
        "from typing import Annotated, Literal\nfrom pydantic import Field\n"
        "import restor_interp.stages.methods.own as own\n"
        "@own.method\n"
        "def f(logits, targets, *, how: Literal['a', 'b'] = 'a',\n"
        "      beta: Annotated[float, Field(gt=0)] = 1.0, more=None):\n    pass\n"
    )
    path = tmp_path / "f.py"
    path.write_text(text)
    settings = find_method(path).settings
    assert settings().model_dump() == {"how": "a", "beta": 1.0, "more": None}
    for wrong in ({"how": "c"}, {"beta": 0}):
        with pytest.raises(ConfigError, match="f"):
            settings.read(wrong, "the method f")


def test_two_methods_in_a_file_or_none_are_refused_and_an_imported_one_does_not_count(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.py; a method is one of"):
        find_method(tmp_path / "absent.py")
    path = method_file(tmp_path, "two.py")
    path.write_text(path.read_text() + METHOD.format(name="second", imports=""))
    with pytest.raises(ConfigError, match=r"defines 2 methods \(mine, second\)"):
        find_method(path)
    path = tmp_path / "none.py"
    path.write_text("from restor_interp.stages.methods.npo import NPO\n")
    with pytest.raises(ConfigError, match="defines 0 methods: decorate one function"):
        find_method(path)
    path = method_file(
        tmp_path, imports="from restor_interp.stages.methods.npo import NPO\nalias = NPO\n"
    )
    assert find_method(path).name == "mine"
    path.write_text(path.read_text() + "\nagain = mine\n")
    assert find_method(path).name == "mine"
    path.write_text("raise RuntimeError('no')\n")
    with pytest.raises(ConfigError, match=r"mine\.py cannot be loaded: RuntimeError: no \(line 1"):
        find_method(path)


@pytest.mark.parametrize(
    ("arguments", "signature", "message"),
    [
        ("", "(x, y)", r"takes \(x, y\) by position, not \(logits, targets\)"),
        ("", "(logits)", "by position"),
        ("", "(logits, targets, beta=1)", "by position"),
        ("", "(logits, targets, *, beta)", "no default for the setting 'beta'"),
        ("", "(logits, targets, **keywords)", "name every setting"),
        ("", "(logits, targets, *, _a=1)", "starts with a letter"),
        ("", "(logits, targets, *, a: 'NoSuchType' = 1)", "annotations .* cannot be read"),
        ("", "(logits, targets, *, a: int = 'x')", "make no sense.*its defaults: a"),
        ("reference='logits'", "(logits, targets)", "lacks the keyword 'reference_logits'"),
        (
            "reference='states'",
            "(logits, targets, *, reference_states)",
            r"not \(states, targets\)",
        ),
        (
            "paired=True, counterpart='truth'",
            "(logits, targets, *, chosen_logits)",
            "lacks the keyword 'chosen_targets'",
        ),
        (
            "paired=True",
            "(logits, targets, *, chosen_logits, chosen_targets)",
            "does not say which",
        ),
        ("reference='hidden'", "(logits, targets)", "one of logprobs, logits, states or None"),
        ("counterpart='lie'", "(logits, targets)", "one of truth, alternative, refusal or None"),
        ("paired=True, reference='states'", "(states, targets)", "clash"),
    ],
)
def test_a_wrong_method_is_refused_with_the_right_signature(
    tmp_path, arguments, signature, message
):
    path = tmp_path / "wrong.py"
    path.write_text(
        f"import restor_interp as ri\n@ri.method({arguments})\ndef f{signature}:\n    pass\n"
    )
    with pytest.raises(ConfigError, match=message) as caught:
        find_method(path)
    assert str(path) in str(caught.value)


def targets_and_logits():
    ids = torch.tensor([[0, 1, 2], [1, 1, 0]])
    targets = predicted_tokens(ids, torch.ones_like(ids, dtype=torch.bool))
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), targets


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return logits.mean()", r"f returned a Tensor; return restor_interp\.LossOut"),
        ("pass", "f returned a NoneType"),
        ("return ri.LossOut(loss=logits[:, 0], parts={})", r"is one number.*found \(4,\)"),
        ("return ri.LossOut(loss=1.0, parts={})", r"is one number in a tensor, found 1\.0"),
    ],
)
def test_what_a_method_returns_is_checked_when_it_is_called(tmp_path, body, message):
    path = tmp_path / "f.py"
    path.write_text(
        f"import restor_interp as ri\n@ri.method()\ndef f(logits, targets):\n    {body}\n"
    )
    loss = find_method(path).loss_function
    with pytest.raises(ConfigError, match=message):
        loss(*targets_and_logits())


def test_the_part_nll_is_added_to_what_a_method_returns(tmp_path):
    logits, targets = targets_and_logits()
    out = find_method(method_file(tmp_path)).loss_function(logits, targets, beta=1.0)
    wanted = LOSSES["nll"](logits, targets).loss
    assert out.loss.item() == pytest.approx(-2 * wanted.item())
    assert out.parts["nll"].item() == pytest.approx(wanted.item())


def test_an_own_method_on_states_has_a_layer_and_may_take_a_direction(tmp_path):
    path = tmp_path / "steer.py"
    path.write_text(
        "import restor_interp as ri\nfrom restor_interp.stages.losses import rmu\n"
        "@ri.method(reference='states')\n"
        "def steer(states, targets, *, reference_states, direction, far=3.0):\n"
        "    '''Steer away.'''\n"
        "    return rmu(states - reference_states, targets, direction=direction, coefficient=far)\n"
    )
    found = find_method(path)
    assert (found.reference, found.on_states, found.takes_direction) == ("states", True, True)
    assert found.settings().model_dump() == {"far": 3.0, "layer": None}
    assert found.loss_settings == ("far",)
    assert found.layer(found.settings(), 12) == 4
    assert found.layer(found.settings(layer=-1), 12) == 11
    with pytest.raises(ConfigError, match="after layer 12, and the model has the layers 0 to 11"):
        found.layer(found.settings(layer=12), 12)
    check_method(found)


def test_an_own_method_may_compare_pairs(tmp_path):
    path = tmp_path / "pairs.py"
    path.write_text(
        "import restor_interp as ri\nfrom restor_interp.stages.losses import dpo\n"
        "@ri.method(reference='logprobs', counterpart='truth', paired=True, retain=False)\n"
        "def pairs(logits, targets, *, reference_logprobs, chosen_logits, chosen_targets,\n"
        "          chosen_reference_logprobs, beta=0.3):\n"
        "    '''Prefer the truth.'''\n"
        "    return dpo(logits, targets, reference_logprobs=reference_logprobs, beta=beta,\n"
        "               chosen_logits=chosen_logits, chosen_targets=chosen_targets,\n"
        "               chosen_reference_logprobs=chosen_reference_logprobs)\n"
    )
    found = find_method(path)
    assert (found.paired, found.counterpart, found.ceiling) == (True, "truth", True)
    assert not found.needs_retain
    check_method(found)
