"""Cells side by side: the same tables, and every misfortune of a worker told.

Run: python -m pytest tests/pipeline/test_crew.py
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest

from restor_interp.errors import ConfigError, DataError, RestorError
from restor_interp.pipeline import crew, estimating, run, running, steps
from restor_interp.presets import resolve

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers are ended by signals")


@pytest.fixture(scope="module")
def few(small_config):
    """Settings of seconds of work: short trainings, one context, nothing inside the model."""
    config = small_config
    inside = {
        "capture": False, "analyses": (), "probes": (), "surveys": (), "lens_facts": 1,
        "traced_facts": 1, "traced_states": ("clean",),
    }  # fmt: skip
    return config.model_copy(
        update={
            "threads": 1,
            "workers": 2,
            "explanation": config.explanation.model_copy(update=inside),
            "questions": config.questions.model_copy(update={"contexts": 1}),
            "data": config.data.model_copy(update={"documents_per_entity": 1}),
            "corruption": {**config.corruption, "epochs": 1},
            "unlearning": {**config.unlearning, "steps": 2, "checkpoints": 0},
            "methods": {name: config.methods[name] for name in ("npo", "retain_only")},
        }
    )


@pytest.fixture(scope="module")
def many(few, tmp_path_factory):
    """A run by two workers, and what its progress was told."""
    watching = Watching()
    return run(few, out=tmp_path_factory.mktemp("crew") / "many", progress=watching), watching


@pytest.fixture
def with_analysis(few, many, tmp_path):
    """The settings of that run with an analysis of this body added, and a copy of its folder."""

    def added(body):
        path = tmp_path / "own.py"
        path.write_text(
            "import os, signal, time\nimport restor_interp as ri\n\n\n"
            "@ri.analysis\n"
            "def own(model, prompt, fact, *, states, true, false):\n"
            + textwrap.indent(body, "    ")
        )
        explanation = few.explanation.model_copy(update={"analyses": (str(path),)})
        folder = shutil.copytree(many[0].folder, tmp_path / "run")
        return few.model_copy(update={"explanation": explanation}), folder

    return added


def same_tables(one, other):
    assert set(one.store.tables()) == set(other.store.tables())
    for name, expected in one.store.tables().items():
        volatile = [column for column in ("seconds",) if column in expected]
        pd.testing.assert_frame_equal(
            other.table(name).drop(columns=volatile), expected.drop(columns=volatile),
            check_exact=True,
        )  # fmt: skip


class Watching:
    """Notes which cells are at work at the same time."""

    def __init__(self):
        self.now, self.most, self.notes = set(), 0, []

    def started(self, cell, number, total):
        self.now.add(cell)
        self.most = max(self.most, len(self.now))

    def advanced(self, done, total, cell=None):
        assert cell is None or cell in self.now

    def finished(self, cell, seconds, outcome):
        self.now.remove(cell)

    def note(self, text):
        self.notes.append(text)


def test_two_workers_give_the_tables_of_one(few, many, tmp_path):
    together, watching = many
    assert watching.most == 2 and not watching.now
    assert any("loading" in note for note in watching.notes)
    alone = few.model_copy(update={"workers": 1})
    one = run(alone, out=tmp_path / "one")
    same_tables(one, together)
    assert together.manifest["cells"].keys() == one.manifest["cells"].keys()
    again = Watching()
    run(alone, out=together.folder, progress=again)
    assert again.most == 0, "the number of workers changes no result, so nothing is computed again"


@pytest.mark.slow
def test_a_cell_names_all_that_it_needs(finished, small_config, tmp_path, monkeypatch):
    """Whatever the order, as long as what a cell names comes first: the same tables. A cell that
    read something else would not find it, or find it too early."""

    def another_order(bench):
        todo, order, placed = steps.steps(bench), [], set()
        generator = random.Random(5)
        while todo:
            ready = [step for step in todo if placed.issuperset((*step.needs, *step.uses))]
            step = generator.choice(ready[-3:])  # from the end of the usual order
            todo.remove(step)
            order.append(step)
            placed.add(step.cell.name)
        assert [step.cell.name for step in order] != [s.cell.name for s in steps.steps(bench)]
        return order

    monkeypatch.setattr(running, "steps", another_order)
    found = run(small_config, out=tmp_path / "other")
    for name, expected in finished.store.tables().items():
        # Tables are put together in the order of work.
        volatile = [column for column in ("seconds",) if column in expected]
        a, b = (frame.drop(columns=volatile).astype(str) for frame in (expected, found.table(name)))
        by = list(a.columns)
        pd.testing.assert_frame_equal(
            b.sort_values(by, ignore_index=True), a.sort_values(by, ignore_index=True)
        )


@pytest.mark.slow
def test_an_analysis_that_raises_in_a_worker_leaves_its_reason(with_analysis):
    config, folder = with_analysis('raise ValueError("no luck with " + fact.fact_id)')
    (reason,) = set(run(config, out=folder).failures.values())
    assert reason.startswith("ValueError: no luck with ")
    assert "Traceback" in (folder / "log.jsonl").read_text()


@pytest.mark.slow
def test_what_must_not_fail_raises_its_own_error(few, tmp_path, monkeypatch):
    """A file that is damaged when a worker reads it."""
    facts = tmp_path / "facts.jsonl"
    facts.write_text("{not json}\n")
    broken = few.data.model_copy(update={"facts": str(facts)})
    monkeypatch.setattr(running, "steps", lambda bench: steps.steps(_with(bench, few)))
    with pytest.raises(DataError, match=r"facts\.jsonl:1"):
        run(few.model_copy(update={"data": broken}), out=tmp_path / "run")


def _with(bench, config):
    """The steps of other settings, so that only workers meet what is wrong with their own."""
    return type(bench)(config, bench.store, bench.progress)


@pytest.mark.slow
def test_a_worker_that_is_ended_from_outside_is_told_of(with_analysis):
    config, folder = with_analysis("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RestorError, match=r"analysis/own/clean was ended from outside.*workers=1"):
        run(config, out=folder)
    assert not (folder / "lease.json").exists()


def test_workers_end_when_the_run_is_killed(with_analysis, tmp_path):
    """They would hold memory, and might write into a folder that somebody else has taken over."""
    config, folder = with_analysis(
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(100)"
    )
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    code = (
        "import sys; from restor_interp.pipeline import run; from restor_interp.presets import "
        "RunConfig; run(RunConfig.model_validate_json(open(sys.argv[1]).read()), out=sys.argv[2])"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(settings), str(folder)])
    try:
        worker = int(_waited_for(lambda: (tmp_path / "pid").read_text()))
    finally:
        job.send_signal(signal.SIGKILL)
        job.wait()
    assert _waited_for(lambda: not _lives(worker), seconds=20)


def _waited_for(get, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := get():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- how many


@pytest.mark.parametrize(
    ("overrides", "cores", "memory", "expected"),
    [
        (("workers=1", "threads=1"), 8, 2**40, 1),
        (("workers=3",), 1, 2**30, 3),
        (
            ("workers=auto", "threads=null"),
            8,
            2**40,
            1,
        ),  # without `threads` one process takes all cores
        (("workers=auto", "threads=1"), 8, 2**40, 8),
        (("workers=auto", "threads=3"), 8, 2**40, 2),
        (("workers=auto", "threads=16"), 8, 2**40, 1),
        (("workers=auto", "threads=1"), 8, int(5.5e9), 5),
        (("workers=auto", "threads=1"), 8, 2**20, 1),
        (("workers=auto", "threads=1"), 8, None, 8),
        (("workers=auto", "threads=1", "device=cuda"), 8, 2**40, 1),
    ],
)
def test_as_many_workers_as_cores_and_memory_allow(overrides, cores, memory, expected, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(cores), raising=False)
    monkeypatch.setattr(crew, "available_memory", lambda: memory)
    monkeypatch.setattr(estimating, "memory_bytes", lambda config: 1e9)
    assert crew.number_of_workers(resolve("bios", list(overrides))) == expected


def test_senseless_numbers_are_refused():
    for wrong in ("workers=0", "workers=some", "threads=0"):
        with pytest.raises(ConfigError, match=wrong.split("=")[0]):
            resolve("bios", [wrong])
