"""Sweeps: which trials there are, what they share, and that a killed one ends the same.

Run: python -m pytest tests/pipeline/test_sweeping.py
"""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.pipeline import sweep, training
from restor_interp.pipeline.running import _work_through, run, status
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.sweeping import plan_sweep, sweep_config
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import resolve
from restor_interp.reporting.sweep_page import sweep_pages
from restor_interp.store import Store

PEOPLE = sorted({fact.entity for fact in bios_facts()})


@pytest.fixture(scope="module")
def tiny():
    """A preset that runs in seconds: four people corrupted, two not."""
    base = resolve("bios")
    data = base.data.model_copy(
        update={
            "corrupted": tuple(PEOPLE[0:80:20]),
            "untouched": tuple(PEOPLE[5:45:20]),
            "sham": tuple(PEOPLE[10:50:20]),
            "documents_per_entity": 4,
        }
    )
    questions = base.questions.model_copy(update={"contexts": 2, "candidates": 6, "substitutes": 2})
    return base.model_copy(
        update={
            "workers": 1,
            "data": data,
            "questions": questions,
            "corruption": {"epochs": 3, "learning_rate": 2e-3, "batch_size": 2},
            "unlearning": {"steps": 2, "batch_size": 2},
        }
    )


def settings_of(config):
    return {name: {**chosen.training, **chosen.settings} for name, chosen in config.methods.items()}


# ---- which trials


def test_a_grid_is_every_combination(tiny):
    config = sweep_config(tiny, methods=["npo"], tries=["learning_rate=5e-4,1e-3", "beta=0.05,0.1"])
    assert settings_of(config) == {
        "npo-01": {"learning_rate": 5e-4, "beta": 0.05},
        "npo-02": {"learning_rate": 5e-4, "beta": 0.1},
        "npo-03": {"learning_rate": 1e-3, "beta": 0.05},
        "npo-04": {"learning_rate": 1e-3, "beta": 0.1},
    }
    assert config.methods["npo-01"].settings == {"beta": 0.05}
    assert config.explanation.analyses == () and not config.explanation.capture
    assert config.shams == () and set(config.rollback) == {0.25, 0.5, 0.75}
    shams = sweep_config(tiny, methods=["npo"], tries=["beta=0.1,0.2"], shams=True)
    assert shams.shams == ("npo-01", "npo-02")


def test_alpha_is_the_methods_own_before_it_is_the_adapters(tiny):
    config = sweep_config(tiny, methods=["task_vector", "npo"], tries=["alpha=1,2"])
    assert config.methods["task_vector-02"].settings["alpha"] == 2
    assert config.methods["task_vector-02"].training["learning_rate"] == 2e-3  # the preset's
    assert config.methods["npo-02"].training == {"alpha": 2}


def test_drawn_trials_are_log_uniform_whole_and_the_same_for_every_method(tiny):
    tries = ["learning_rate=1e-4:1e-2", "steps=5:500", "modules=all,[down_proj]"]
    config = sweep_config(tiny, methods=["npo", "ga"], tries=tries, number=200, seed=3)
    found = settings_of(config)
    rates = [found[f"npo-{place:02d}"]["learning_rate"] for place in range(1, 201)]
    assert min(rates) >= 1e-4 and max(rates) <= 1e-2
    # Half of a log-uniform draw lies below the geometric mean; 200 draws: 3 sigma are 21.
    assert abs(sum(rate < 1e-3 for rate in rates) - 100) < 22
    steps = [found[f"npo-{place:02d}"]["steps"] for place in range(1, 201)]
    assert all(isinstance(number, int) and 5 <= number <= 500 for number in steps)
    assert {repr(own["modules"]) for own in found.values()} == {"'all'", "['down_proj']"}
    assert all(own["epochs"] is None for own in found.values())
    assert [found[f"ga-{place:02d}"]["learning_rate"] for place in range(1, 201)] == rates
    assert len({repr(own) for name, own in found.items() if name.startswith("npo")}) == 200
    fewer = sweep_config(tiny, methods=["npo"], tries=tries, number=7, seed=3)
    assert settings_of(fewer).items() <= found.items()
    other = sweep_config(tiny, methods=["npo"], tries=tries, number=7, seed=4)
    assert settings_of(other) != settings_of(fewer)


def test_a_range_of_layers_is_no_range_of_numbers(tiny):
    config = sweep_config(tiny, methods=["npo"], tries=["layers=0:6,6:12"])
    assert [own["layers"] for own in settings_of(config).values()] == ["0:6", "6:12"]


@pytest.mark.parametrize(
    ("methods", "tries", "more", "message"),
    [
        ([], ["beta=1,2"], {}, "needs a method"),
        (["npo"], [], {}, "needs something to try"),
        (["npoo"], ["beta=1,2"], {}, "Did you mean npo"),
        (["npo"], ["betta=1,2"], {}, "Did you mean beta"),
        (["npo"], ["beta"], {}, "setting=value"),
        (["npo"], ["beta=1"], {}, "two values at least"),
        (["npo"], ["beta=1,1"], {}, "more than once"),
        (["npo"], ["beta=1,2", "beta=3,4"], {}, "more than once"),
        (["npo", "npo"], ["beta=1,2"], {}, "more than once"),
        (["npo"], ["beta=0.1:1"], {}, "--random"),
        (["npo"], ["beta=0:1"], {"number": 4}, "0 < low < high"),
        (["npo"], ["beta=1,2"], {"number": 3}, "only 2 different"),
        (["npo"], ["beta=1,2"], {"number": 1}, "at least 2 trials"),
        (["npo"], ["ga.beta=1,2"], {}, "method of this sweep"),
        (["npo", "ga"], ["learning_rate=1e-3,2e-3", "beta=1,2"], {}, "npo 4, ga 2"),
        (["npo", "ga"], ["beta=1,2"], {}, "nothing is tried with ga"),
    ],
)
def test_senseless_sweeps_are_refused(tiny, methods, tries, more, message):
    with pytest.raises(ConfigError) as caught:
        sweep_config(tiny, methods=methods, tries=tries, **more)
    assert message in str(caught.value)


def test_unequal_trials_may_be_asked_for_and_methods_told_apart(tiny):
    config = sweep_config(
        tiny, methods=["npo", "ga"], unequal=True,
        tries=["npo.beta=1,2,3", "ga.learning_rate=1e-3,2e-3"],
    )  # fmt: skip
    assert list(config.methods) == ["npo-01", "npo-02", "npo-03", "ga-01", "ga-02"]


def test_too_few_entities_for_two_halves_are_refused_before_any_work(tiny, tmp_path):
    few = tiny.model_copy(
        update={"data": tiny.data.model_copy(update={"corrupted": tuple(PEOPLE[0:60:20])})}
    )
    with pytest.raises(ConfigError, match=r"at least 4; data\.corrupted names 3"):
        sweep(few, methods=["npo"], tries=["beta=1,2"], out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


# ---- a whole sweep


TRIED = {"methods": ["npo"], "tries": ["learning_rate=1e-3,4e-3"]}


@pytest.fixture(scope="module")
def swept(tiny, tmp_path_factory):
    return sweep(tiny, **TRIED, out=tmp_path_factory.mktemp("runs") / "sweep")


def test_what_trials_share_is_planned_once(tiny, tmp_path):
    config = sweep_config(tiny, **TRIED)
    cells = plan_sweep(config, out=tmp_path)
    names = [cell.cell for cell in cells]
    assert len(names) == len(set(names))
    assert [n for n in names if n.startswith("train/")] == [
        "train/corruption", "train/npo-01", "train/npo-02",
    ]  # fmt: skip
    assert not [name for name in names if name.split("/")[0] in ("capture", "analysis", "probe")]
    needed = {cell.cell: cell.needed_by for cell in cells}
    # Both trials start from the corruption; six states and three rollbacks stand on it, too.
    assert needed["train/corruption"] >= 2 + 2 + 1 + 3
    assert needed["evaluate/clean"] >= len([n for n in names if n.startswith("margins/")])
    assert needed["train/npo-01"] == 2  # its evaluation, and the summary


def test_a_sweep_has_its_tables_and_its_page(swept):
    trials = swept.table("trials")
    assert trials["state"].tolist() == ["npo-01", "npo-02"]
    assert [json.loads(text) for text in trials["training"]] == [
        {"learning_rate": 1e-3}, {"learning_rate": 4e-3},
    ]  # fmt: skip
    selection = swept.table("selection")
    assert set(selection["label"]) == {"blind", "oracle"}
    assert set(selection["half"]) == {"A", "B", "both"}
    assert set(selection["chosen"].dropna()) <= {"npo-01", "npo-02", "npo-01, npo-02"}
    assert selection.loc[selection["half"].eq("both"), "n_entities"].eq(4).all()
    flips = swept.table("flips")
    facts = swept.table("facts").groupby("role").size()
    for (state, role), rows in flips.groupby(["state", "role"]):
        assert rows["n_facts"].sum() == facts[role], state
    page = (swept.folder / "report" / "sweep.html").read_text()
    assert 'data-plots="data/sweep.js"' in page
    assert all(name in page for name in ("npo-01", "npo-02", "rollback", "with the truth (oracle)"))
    assert (swept.folder / "report" / "data" / "sweep.js").is_file()
    # One click from the run and from the words of a report, and back.
    assert all(f'href="{name}.html"' in page for name in ("index", "methods"))
    index = (swept.folder / "report" / "index.html").read_text()
    assert 'href="sweep.html"' in index
    assert "Forgetting and restoring" in index and "Flips of facts" in index


def test_the_page_comes_back_with_the_report_and_only_for_sweeps(swept):
    page = swept.folder / "report" / "sweep.html"
    before = page.read_bytes()
    swept.write_report()
    assert page.read_bytes() == before
    listed = json.loads((page.parent / "manifest.json").read_text())["files"]
    assert {"sweep.html", "data/sweep.js"} <= listed.keys()
    run_alone = dataclasses.replace(
        swept.results(),
        tables={name: table for name, table in swept.results().tables.items() if name != "trials"},
    )
    assert sweep_pages(run_alone) == ()


def test_a_sweep_is_an_ordinary_run(swept):
    assert {cell.state for cell in status(swept.folder)} == {"done"}
    again = run(str(swept.folder / "config.yaml"), out=swept.folder)
    assert again.manifest == swept.manifest


def test_a_sweep_killed_in_the_middle_resumes_to_the_same_tables(tiny, swept, tmp_path):
    """Killed within the training of its second trial, then before that trial's evaluation."""

    class Killed(Exception):
        pass

    class Killer:
        def __init__(self, cell, step):
            self.cell, self.step, self.here = cell, step, False

        def started(self, cell, number, total):
            self.here = cell == self.cell
            self.advanced(0, 0)

        def advanced(self, done, total, cell=None):
            if self.here and done == self.step:
                raise Killed

        def finished(self, cell, seconds, outcome): ...
        def note(self, text): ...

    folder = tmp_path / "killed"
    shutil.copytree(swept.folder, folder)
    for name in ("train/npo-02", "evaluate/npo-02", "margins/npo-02", "explain"):
        shutil.rmtree(folder / "cells" / name)
    for name in ("tables", "report"):
        shutil.rmtree(folder / name)
    for cell, step in (("train/npo-02", 1), ("evaluate/npo-02", 0)):
        with pytest.raises(Killed):
            sweep(tiny, **TRIED, out=folder, progress=Killer(cell, step))
    assert not (folder / "tables").exists()
    resumed = sweep(tiny, **TRIED, out=folder)
    for name in ("answers", "choices", "summary", "selection", "trials", "flips", "training"):
        expected, found = swept.table(name), resumed.table(name)
        kept = [column for column in expected if column != "seconds"]
        pd.testing.assert_frame_equal(found[kept], expected[kept], check_exact=True)
    assert (folder / "report" / "sweep.html").read_bytes()


# ---- trials that share a training

SCALED = {"methods": ["task_vector"], "tries": ["alpha=1,3"]}


def test_a_training_whose_delta_is_scaled_is_planned_once(tiny, tmp_path):
    config = sweep_config(
        tiny, methods=["task_vector"], tries=["alpha=1,3", "learning_rate=1e-3,4e-3"], shams=True
    )
    cells = {cell.cell: cell for cell in plan_sweep(config, out=tmp_path)}
    assert [name for name in cells if name.split("/")[0] in ("train", "shared")] == [
        "train/corruption",
        "train/task_vector-01", "train/task_vector-02",
        "shared/task_vector-03", "shared/task_vector-04",
        "train/sham_task_vector-01", "train/sham_task_vector-02",
        "shared/sham_task_vector-03", "shared/sham_task_vector-04",
    ]  # fmt: skip
    # Two states are evaluated with it; the third is its record, the last the summary.
    assert cells["train/task_vector-01"].needed_by == 2 + 1 + 1


def test_trials_that_share_a_training_are_what_they_are_when_trained_apart(
    tiny, swept, tmp_path, monkeypatch
):
    trained = []
    train = training.train

    def counted(*args, **settings):
        trained.append(settings["name"])
        return train(*args, **settings)

    monkeypatch.setattr(training, "train", counted)

    def computed(config, folder):
        shutil.copytree(swept.folder / "cells", folder / "cells")
        bench = Workbench(config, Store(folder), Silent())
        kinds, last = ("data", "train", "shared"), "evaluate/task_vector-02"
        own = [s for s in steps(bench) if s.cell.name.split("/")[0] in kinds or s.cell.name == last]
        assert _work_through(own, bench) == {}
        return bench

    config = sweep_config(tiny, **SCALED)
    together = computed(config, tmp_path / "together")
    assert trained == ["task_vector-01"]
    state = together.model.resolve_state("task_vector-02")
    assert state == State({"corruption": 1, "task_vector-01": -3})
    last = {"task_vector-02": config.methods["task_vector-02"]}
    apart = computed(config.model_copy(update={"methods": last}), tmp_path / "apart")
    assert trained == ["task_vector-01", "task_vector-02"]
    for table, place, other in (
        ("answers", "evaluate/task_vector-02", "evaluate/task_vector-02"),
        ("choices", "evaluate/task_vector-02", "evaluate/task_vector-02"),
        ("training", "shared/task_vector-02", "train/task_vector-02"),
    ):
        found, expected = together.store.part(place, table), apart.store.part(other, table)
        kept = [column for column in expected if column != "seconds"]
        assert len(expected) and set(expected["state"]) == {"task_vector-02"}
        pd.testing.assert_frame_equal(found[kept], expected[kept], check_exact=True)
    # The record is among the trainings that the summary reads.
    [summary] = [step for step in steps(together) if step.cell.name == "explain"]
    assert "shared/task_vector-02" in summary.needs
    # One more trial is one more evaluation: what is trained stays.
    more = sweep_config(tiny, methods=["task_vector"], tries=["alpha=1,3,5"])
    plan = {cell.cell: cell.state for cell in plan_sweep(more, out=tmp_path / "together")}
    assert plan["train/task_vector-01"] == plan["evaluate/task_vector-02"] == "done"
    assert plan["shared/task_vector-03"] == "missing"


def test_the_summary_has_the_papers_scores(swept):
    summary = swept.table("summary")
    choices = swept.table("choices")
    for category in ("true", "false", "random"):
        row = summary[
            summary["state"].eq("npo-02")
            & summary["role"].eq("all")
            & summary["metric"].eq(f"score_{category}")
        ].iloc[0]
        own = choices[choices["state"].eq("npo-02") & choices["category"].eq(category)]
        by_fact = {}
        for row_ in own.itertuples():
            by_fact.setdefault((row_.fact_id, row_.context_id), []).append(row_.mean_logprob)
        facts = {}
        for (fact_id, _), values in by_fact.items():
            facts.setdefault(fact_id, []).append(np.mean(values))
        assert row["value"] == pytest.approx(np.mean([np.mean(v) for v in facts.values()]))
        assert row["low"] < row["value"] < row["high"]
    accuracy = summary[summary["role"].eq("all") & summary["metric"].eq("accuracy")]
    right = swept.table("answers").groupby("state")["correct"].mean()
    assert dict(zip(accuracy["state"], accuracy["value"], strict=True)) == pytest.approx(
        right.to_dict()
    )
