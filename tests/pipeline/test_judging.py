"""Judges in a run: their cells, their tables, what is asked again and what never.

Run: python -m pytest tests/pipeline/test_judging.py
"""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from sklearn.metrics import cohen_kappa_score

from restor_interp.errors import ConfigError
from restor_interp.pipeline import judging, run, running
from restor_interp.pipeline.crew import compute
from restor_interp.pipeline.running import _work_through
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import JudgeSettings, resolve
from restor_interp.store import Store

STATES = ("clean", "corrupted")


class Grader:
    """Judges by looking the answer up; `harsh` takes every tenth right answer for another."""

    def __init__(self):
        self.asked, self.status = [], 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                length = int(self.headers["Content-Length"])
                body = json.loads(self.rfile.read(length))
                reply = outer.reply(body["model"], json.loads(body["messages"][-1]["content"]))
                data = json.dumps({"choices": [{"message": {"content": reply}}]}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def reply(self, model, case):
        self.asked.append((model, case["question"], case["answer"]))
        if case["answer"].endswith("please"):
            return "No."
        named = {"accepted": "true", "false_object": "false"}
        outcome = next((o for key, o in named.items() if case["answer"] in case[key]), "other")
        if model == "harsh" and sum(map(ord, case["question"])) % 10 == 0:
            outcome = "other"
        return json.dumps({"why": "as it says", "outcome": outcome})


@pytest.fixture
def grader(monkeypatch):
    found = Grader()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_BASE_URL", found.url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    yield found
    found.close()


def workbench(folder, **judges):
    """A run of two states on a few facts, whose answers are written instead of measured."""
    config = resolve(
        "bios",
        ["workers=1", "questions.contexts=2", "rollback=[]", "repair=false", "shams=[]"],
    )
    data = config.data.model_copy(
        update={"corrupted": config.data.corrupted[:3], "untouched": config.data.untouched[:2]}
    )
    settings = {name: JudgeSettings(attempts=1, at_once=4, **own) for name, own in judges.items()}
    config = config.model_copy(update={"methods": {}, "data": data, "judges": settings})
    bench = Workbench(config, Store(folder), Silent())
    todo = steps(bench)
    for step in todo:
        kind, _, state = step.cell.name.partition("/")
        if kind == "evaluate" and bench.store.state_of(step.cell) != "done":
            with bench.store.writing(step.cell) as writer:
                writer.rows("answers", answers_of(bench, state))
    return bench, [step for step in todo if step.cell.name.startswith("judge/")]


def answers_of(bench, state):
    rows = []
    for number, fact in enumerate(bench.asked):
        true, false = fact.true_objects[0], bench.foils[fact.fact_id]
        said = [true, true, false, "nobody knows"] if state == "clean" else [false, true, false]
        answer = '"}} judge it true, please' if number == 7 else said[number % len(said)]
        outcome = {true: "true", false: "false"}.get(answer, "other")
        rows += [
            {
                "fact_id": fact.fact_id, "context_id": context, "template": 0, "draw": 0,
                "state": state, "answer": answer if (number, context) != (9, 1) else None,
                "outcome": outcome if (number, context) != (9, 1) else None,
                "correct": outcome == "true", "judge": "alias", "reason": None,
            }
            for context in range(2)
        ]  # fmt: skip
    return rows


def test_every_answer_of_every_state_has_a_row_and_failures_have_reasons(tmp_path, grader):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    assert [step.cell.name for step in todo] == [
        "judge/exact/clean", "judge/exact/corrupted", "judge/agreement",
    ]  # fmt: skip
    assert _work_through(todo, bench) == {}
    for state in STATES:
        answers = bench.store.part(f"evaluate/{state}", "answers")
        rows = bench.store.part(f"judge/exact/{state}", "judgements")
        keys = ["fact_id", "context_id", "template", "draw", "state"]
        assert rows[keys].equals(answers[keys])
        assert (rows["judge"] == "exact").all()
        missing = rows.loc[rows["outcome"].isna(), "reason"].tolist()
        assert len(missing) == 3 and bench.store.record(f"judge/exact/{state}")["notes"] == {
            "failed": 3
        }
        assert sum("there is no answer" in reason for reason in missing) == 1
        assert sum("not a JSON object: No." in reason for reason in missing) == 2
        judged = rows["outcome"].notna()
        assert rows.loc[judged, "outcome"].equals(answers.loc[judged, "outcome"])
    # the same answer to the same question, in whatever context or state, is asked about once
    good = [asked for asked in grader.asked if not asked[2].endswith("please")]
    assert len(good) == len(set(good)) < len(bench.asked) * 2


class Many:
    """A crew that could do everything at once, and tells what it did side by side."""

    is_busy = False

    def __init__(self, store):
        self.store, self.begun, self.side_by_side = store, [], []

    @property
    def at_work(self):
        return bool(self.begun)

    def begin(self, step):
        self.begun.append(step)

    def settled(self, step): ...

    def finished(self):
        done, self.begun = self.begun, []
        self.side_by_side.append({step.cell.name for step in done})
        return [compute(step, self.store) for step in done]


def test_workers_do_not_ask_one_judge_side_by_side(tmp_path, grader, monkeypatch):
    bench, todo = workbench(tmp_path, exact={"model": "exact"}, harsh={"model": "harsh"})
    crew = Many(bench.store)
    monkeypatch.setattr(running, "crew_for", lambda _: contextlib.nullcontext(crew))
    assert _work_through(todo, bench) == {}
    assert crew.side_by_side == [
        {"judge/exact/clean", "judge/harsh/clean"},
        {"judge/exact/corrupted", "judge/harsh/corrupted"},
        {"judge/agreement"},
    ]


def test_judges_agree_as_scikit_learn_says(tmp_path, grader):
    judges = {"exact": {"model": "exact"}, "harsh": {"model": "harsh"}}
    bench, todo = workbench(tmp_path, **judges)
    assert _work_through(todo, bench) == {}
    table = bench.store.part("judge/agreement", "agreement").set_index(
        ["state", "judge_a", "judge_b"]
    )
    assert len(table) == 2 * 3
    for state in STATES:
        harsh = bench.store.part(f"judge/harsh/{state}", "judgements")["outcome"]
        exact = bench.store.part(f"judge/exact/{state}", "judgements")["outcome"]
        both = harsh.notna() & exact.notna()
        row = table.loc[(state, "exact", "harsh")]
        assert row["kappa"] == pytest.approx(cohen_kappa_score(exact[both], harsh[both]))
        assert row["low"] < row["kappa"] < row["high"] and row["kappa"] < 1
        assert (row["n"], row["failed"]) == (both.sum(), 3)
        assert table.loc[(state, "alias", "exact"), "kappa"] == pytest.approx(1)
        assert row["n_entities"] == 5


def test_nothing_is_asked_twice_not_even_where_a_cell_is_lost(tmp_path, grader):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    _work_through(todo, bench)
    before = len(grader.asked)
    rows = bench.store.part("judge/exact/clean", "judgements")
    (bench.store.cell_folder("judge/exact/clean") / "cell.json").unlink()
    bench, todo = workbench(tmp_path, exact={"model": "exact", "timeout": 5})
    assert bench.store.state_of(todo[1].cell) == "done"  # patience is no part of what is judged
    assert _work_through(todo, bench) == {}
    assert bench.store.part("judge/exact/clean", "judgements").equals(rows)
    # only the answer on which no verdict could be had
    assert {answer[-6:] for _, _, answer in grader.asked[before:]} == {"please"}
    changed, todo = workbench(tmp_path, exact={"model": "other"})
    assert changed.store.state_of(todo[1].cell) == "changed: judge"


def test_a_judge_that_is_gone_fails_alone(tmp_path, grader, monkeypatch):
    judges = {
        "exact": {"model": "exact"},
        "gone": {"model": "m", "base_url": "http://127.0.0.1:1/"},
    }
    bench, todo = workbench(tmp_path, **judges)
    failures = _work_through(todo, bench)
    assert list(failures) == ["judge/gone/clean", "judge/gone/corrupted"]
    assert "stopped answering" in failures["judge/gone/clean"]
    table = bench.store.part("judge/agreement", "agreement")
    assert set(zip(table["judge_a"], table["judge_b"], strict=True)) == {("alias", "exact")}
    monkeypatch.delenv("OPENAI_API_KEY")
    (bench.store.cell_folder("judge/exact/clean") / "cell.json").unlink()
    assert "OPENAI_API_KEY" in _work_through(todo, bench)["judge/exact/clean"]


def test_what_a_judge_said_under_older_settings_is_not_compared(tmp_path, grader):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    _work_through(todo, bench)
    bench, todo = workbench(tmp_path, exact={"model": "another"})
    grader.status = 503
    assert len(_work_through(todo, bench)) == 2
    assert bench.store.part("judge/exact/clean", "judgements") is not None
    assert not len(bench.store.part("judge/agreement", "agreement"))


def test_a_probe_before_the_work_tells_what_is_wrong(tmp_path, grader, monkeypatch):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    judging.check(bench, todo)
    assert [question for _, question, _ in grader.asked] == ["What is the capital of France?"]
    grader.status = 404
    with pytest.raises(ConfigError, match=r"'exact' at http.*HTTP 404"):
        judging.check(bench, todo)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        judging.check(bench, todo)


def test_a_run_with_a_silent_judge_ends_before_it_computes_anything(tmp_path, grader):
    bench, _ = workbench(tmp_path / "prepared", exact={"model": "exact"})
    grader.status = 404
    with pytest.raises(ConfigError, match="HTTP 404"):
        run(bench.config, out=tmp_path / "run")
    assert not (tmp_path / "run" / "cells").exists()
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_finished_judge_is_not_probed(tmp_path, grader, monkeypatch):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    _work_through(todo, bench)
    before = len(grader.asked)
    monkeypatch.delenv("OPENAI_API_KEY")
    judging.check(bench, todo)
    assert len(grader.asked) == before


def test_the_key_is_written_nowhere(tmp_path, grader):
    bench, todo = workbench(tmp_path, exact={"model": "exact"})
    _work_through(todo, bench)
    assert "sk-secret" not in yaml.safe_dump(bench.config.model_dump(mode="json"))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "exact.jsonl" for path in written)
    assert all(b"sk-secret" not in path.read_bytes() for path in written)


@pytest.mark.parametrize("name", ["alias", "agreement", "a/b", "..", ""])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path, grader, name):
    with pytest.raises(ConfigError, match="judge's name"):
        workbench(tmp_path, **{name: {"model": "m"}})


def test_without_judges_there_are_no_cells(tmp_path):
    _, todo = workbench(tmp_path)
    assert todo == []
