"""The command line: what it prints, and one clear message with its exit code when it cannot.

Run: python -m pytest tests/cli/test_runs.py
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console

from restor_interp.store import Store


def test_a_run_prints_its_summary_and_where_the_report_is(cli, tmp_path, least):
    code, out, _ = cli("run", "bios", "--out", tmp_path / "run", *least)
    assert code == 0
    assert "npo" in out and "corrupted" in out
    assert str(tmp_path / "run" / "report" / "index.html") in out.replace("\n", "")
    code, out, err = cli("status", "--out", tmp_path / "run", "--json")
    assert code == 0 and {row["state"] for row in json.loads(out)} == {"done"}
    assert str(tmp_path / "run" / "report" / "index.html") in err
    code, out, _ = cli("plan", "bios", "--out", tmp_path / "run", "--json", *least, "seed=1")
    assert code == 0 and not [row for row in json.loads(out) if row["state"] == "done"]
    code, out, _ = cli("report", "--out", tmp_path / "run")
    assert code == 0 and "index.html" in out


@pytest.mark.parametrize(
    "kind", ["definitions", "methods", "attacks", "presets", "switches", "models", "facts"]
)
def test_lists_name_what_there_is(cli, kind):
    code, out, _ = cli("list", kind, "--json")
    rows = json.loads(out)
    assert code == 0 and rows
    names = {row["name"] for row in rows}
    expected = {
        "definitions": {"object_readout", "causal_trace", "logit_lens", "entity", "overview"},
        "methods": {
            *("fine_tune", "ga", "grad_diff", "kl", "kl_restor", "npo", "task_vector", "msa"),
            *("retain_only", "simnpo", "undial", "rmu", "dpo_truth", "truth_fine_tune"),
        },
        "attacks": {"relearn_false", "relearn_half", "quantise_4", "noise", "rephrase"},
        "presets": {"demo", "demo_tuning", "bios", "restor-k0", "restor-squad-paper"},
        "switches": {"+packed", "+matched", "+fast"},
        "models": {"smollm2-135m", "bios"},
        "facts": {"atlas", "bios"},
    }
    assert expected[kind] <= names
    assert all(row.get("what", "x") for row in rows)


def test_all_lists_together_are_one_value(cli):
    code, out, _ = cli("list", "--json")
    found = json.loads(out)
    assert code == 0 and all(found.values())
    assert list(found) == [
        *("definitions", "methods", "attacks", "presets", "switches", "models", "facts"),
    ]


def test_what_is_too_wide_for_a_table_is_a_block_each(cli, monkeypatch):
    monkeypatch.setattr("restor_interp.cli.shown.out_console", Console(width=80, highlight=False))
    code, out, _ = cli("list", "methods")
    lines = out.splitlines()
    assert code == 0 and "npo" in lines and max(map(len, lines)) <= 80
    assert lines[lines.index("npo") + 2].startswith("    what: gradient ascent that brakes")


def test_data_commands(cli, tmp_path):
    code, out, _ = cli("data", "check", "bios")
    assert code == 0 and "960 facts, nothing wrong" in out
    code, out, _ = cli("data", "show", "atlas", "--entity", "France", "--json")
    assert code == 0 and any("Paris" in row["true objects"] for row in json.loads(out))
    broken = tmp_path / "broken.jsonl"
    broken.write_text("".join('{"entity": 1,\n' for _ in range(30)))
    code, _, err = cli("data", "check", broken)
    assert code == 2
    assert "broken.jsonl:1:" in err and "and 10 more" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "dmeo"], 2, "Did you mean demo"),
        (["run", "bios", "sede=1"], 2, "Did you mean seed"),
        (["run", "bios", "data.corrupted=[Nobody]"], 2, "no entity in bios 'Nobody'"),
        (["run", "bios", "data.documents=absent.json"], 2, "absent.json"),
        (["run", "bios", "model=absent/folder.bin"], 2, "there is no model"),
        (["run"], 2, "Missing argument"),
        (["list", "methodz"], 2, "Did you mean methods"),
        (["model", "get", "smollm"], 2, "smollm2-135m"),
        (["data", "show", "atlas", "--entity", "Frankreich"], 2, "no entity in atlas"),
        (["report", "--out", "absent"], 2, "restor-interp run demo"),
        (["run", "absent.yaml+fast"], 2, "there is no configuration file absent.yaml"),
        (["status", "--out", "absent"], 2, "there is no run in absent"),
    ],
)
def test_what_cannot_be_done_is_one_message(cli, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    found, out, err = cli(*arguments)
    assert found == code
    assert message in err.replace("\n", " ")
    assert "Traceback" not in out + err


def test_a_page_without_its_entity_is_refused(cli, finished):
    code, _, err = cli("report", "--out", finished.folder, "--page", "x.html")
    told = err.replace("\n", " ")
    assert code == 2 and "name the entity with --entity" in told and "Alba Delmonte" in told


def test_a_busy_folder_has_its_own_exit_code(cli, tmp_path, least):
    with Store(tmp_path).lease():
        code, _, err = cli("run", "bios", "--out", tmp_path, *least)
    assert code == 75 and "in use by another run" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(cli, tmp_path, least):
    tmp_path.chmod(0o500)
    code, _, err = cli("run", "bios", "--out", tmp_path / "run", *least)
    tmp_path.chmod(0o700)
    assert code == 1 and "cannot be written" in err


def test_a_file_in_the_place_of_the_folder_is_refused(cli, tmp_path, least):
    place = tmp_path / "run"
    place.write_text("")
    code, _, err = cli("run", "bios", "--out", place, *least)
    assert code == 1 and "cannot be written" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_run_says_how_to_go_on_and_does(cli, tmp_path, least):
    folder = tmp_path / "run"
    arguments = ["run", "bios", "--out", str(folder), *least]
    command = [sys.executable, "-m", "restor_interp", *arguments]
    # What is started in the background of a shell ignores interrupts, and hands that on.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    log = folder / "log.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and "train/" in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in err and "Traceback" not in err
    assert not (folder / "lease.json").exists()
    code, _, err = cli(*arguments)
    assert code == 0, err
    assert (folder / "report" / "index.html").is_file()


# ---- sweeps and designs


def test_a_sweep_is_planned_with_what_its_trials_share(cli, tmp_path):
    code, out, err = cli(
        "sweep", "bios", "--method", "npo", "--method", "ga", "--try", "learning_rate=1e-4:1e-2",
        "--random", "3", "--seed", "1", "--plan", "--json", "--out", tmp_path / "sweep",
    )  # fmt: skip
    assert code == 0 and "0 of" in err
    needed = {row["cell"]: row["needed by"] for row in json.loads(out)}
    assert {f"train/{name}-0{number}" for name in ("npo", "ga") for number in (1, 2, 3)} <= set(
        needed
    )
    assert needed["train/corruption"] > 6 and needed["train/ga-03"] == 2
    assert not (tmp_path / "sweep").exists()


def test_a_design_is_planned_run_by_run(cli, tmp_path):
    code, out, _ = cli(
        "plan",
        "bios",
        "--seeds",
        "2",
        "--rotations",
        "3",
        "--json",
        "--out",
        tmp_path / "d",
    )
    assert code == 0
    runs = {row["cell"].split("/")[0] for row in json.loads(out)}
    assert runs == {f"seed{seed}-rot{rotation}" for seed in range(2) for rotation in range(3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "bios"], "needs a method"),
        (["sweep", "bios", "--method", "npo"], "--try learning_rate="),
        (["sweep", "bios", "--method", "npo", "--try", "betta=1,2"], "Did you mean beta"),
        (
            ["sweep", "bios", "data.corrupted=[Alba Delmonte]", "--method", "npo", "--try",
             "beta=1,2"],
            "at least 4",
        ),
        (["run", "bios", "--seeds", "0"], "at least 1 seed"),
        (["run", "bios", "--rotations", "20"], "at least 2 entities at a time"),
        (["run", "bios", "data.documents=x.json", "--rotations", "2"], "cannot be rotated"),
    ],
)  # fmt: skip
def test_senseless_sweeps_and_designs_are_one_message(cli, tmp_path, arguments, message):
    code, out, err = cli(*arguments, "--out", tmp_path / "out")
    assert code == 2 and message in err.replace("\n", " ")
    assert "Traceback" not in out + err
    assert not (tmp_path / "out").exists()
