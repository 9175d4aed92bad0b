"""`verify` finds every planted damage, `doctor` what a machine lacks, `compare` what differs.

Run: python -m pytest tests/cli/test_checking.py
"""

import contextlib
import json
import shutil

import pandas as pd
import pytest
import torch

from restor_interp.models.hooked import HookedModel
from restor_interp.pipeline import Run, machine
from restor_interp.pipeline.verifying.tables import check_tables
from restor_interp.store import Store, sha256_of


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run, to be damaged."""
    return shutil.copytree(finished.folder, tmp_path / "copy")


def flip(path, at=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 0x10
    path.write_bytes(data)


def found_in(cli, folder, *arguments):
    """(exit code, promise -> its findings)."""
    code, out, err = cli("verify", folder, "--json", *arguments)
    assert "Traceback" not in err
    return code, {check["promise"]: check["findings"] for check in json.loads(out)}


def test_a_finished_run_holds_all_its_promises_and_measures_the_same_again(cli, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")}
    code, out, err = cli("verify", finished.folder, "--deep")
    assert code == 0, out + err
    assert out.count("✓") == 7 and "everything that was checked holds" in " ".join(err.split())
    assert {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*")} == before


DAMAGES = {
    "a table of a cell": ("cells/evaluate/npo/answers.parquet", "cells"),
    "a delta of a cell": ("cells/train/npo/delta/adapter_model.safetensors", "cells"),
    "a delta of the run": ("deltas/npo/adapter_model.safetensors", "deltas"),
    "a page": ("report/index.html", "report"),
    "the plots of a page": ("report/data/index.js", "report"),
    "the record of a cell": ("cells/evaluate/npo/cell.json", "cells"),
    "the manifest": ("manifest.json", "manifest"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_flipped_bit_is_found_where_it_is(cli, copy, damage):
    file, promise = DAMAGES[damage]
    flip(copy / file, at=0 if file.endswith(".json") else None)
    code, found = found_in(cli, copy, "--quick")
    assert code == 3
    assert found[promise], found
    name = file.split("/")[-2 if promise in ("cells", "deltas") else -1]
    assert any(name in finding["place"] or promise == "manifest" for finding in found[promise])
    assert all(finding["mend"] for findings in found.values() for finding in findings)


def test_a_table_is_damaged_where_it_reads_otherwise(copy):
    """Parquet has no digest of its own: rows are compared with those of the cells. A bit that
    changes nothing of what is read, as in a table's own statistics, is no damage."""
    run, path = Run(copy), copy / "tables" / "answers.parquet"
    whole, frame = path.read_bytes(), pd.read_parquet(path)
    outcomes = set()
    for at in range(5, len(whole), len(whole) // 6):
        flip(path, at)
        try:
            is_same = pd.read_parquet(path).equals(frame)
        except Exception:
            is_same = False
        found = [finding.place for finding in check_tables(run).findings]
        assert found == ([] if is_same else ["tables/answers.parquet"]), at
        outcomes.add(is_same)
        path.write_bytes(whole)
    assert False in outcomes
    frame.loc[3, "answer"] = "something else"
    frame.to_parquet(path, index=False)
    assert [finding.place for finding in check_tables(run).findings] == ["tables/answers.parquet"]


def test_what_is_missing_is_damage_and_an_unfinished_run_is_not(cli, copy):
    (copy / "tables" / "choices.parquet").unlink()
    shutil.rmtree(copy / "cells" / "margins" / "npo")
    code, found = found_in(cli, copy, "--quick")
    assert code == 3
    assert [f["place"] for f in found["manifest"]] == ["cells/margins/npo"]
    assert "tables/choices.parquet" in {f["place"] for f in found["tables"]}
    (copy / "manifest.json").unlink()
    code, found = found_in(cli, copy, "--quick")
    assert code == 1 and found["manifest"][0]["problem"].endswith("not finished")


def test_the_run_s_own_command_mends_what_was_found(cli, copy, least):
    flip(copy / "cells" / "evaluate" / "npo" / "answers.parquet")
    flip(copy / "tables" / "margins.parquet")
    assert found_in(cli, copy, "--quick")[0] == 3
    code, _, err = cli("run", "bios", "--out", copy, *least)
    assert code == 0, err
    (copy / "report" / "index.html").unlink()
    assert cli("run", "bios", "--out", copy, *least)[0] == 0
    assert found_in(cli, copy, "--quick")[0] == 0


def test_weights_that_do_not_come_back_are_found(cli, finished, monkeypatch):
    plain = HookedModel.at

    @contextlib.contextmanager
    def leaking(self, state):
        with plain(self, state):
            yield self
        if state == "npo":
            with torch.no_grad():
                next(iter(self.hf_model.parameters())).view(-1)[7] += 1e-3

    monkeypatch.setattr(HookedModel, "at", leaking)
    code, found = found_in(cli, finished.folder)
    assert code == 3 and [finding["place"] for finding in found["states"]] == ["state npo"]


def test_deep_finds_an_answer_that_was_changed_with_its_digest(cli, copy):
    """As if other code, or another machine, had measured it."""
    store, cell = Store(copy), "evaluate/clean"
    answers, choices = (store.part(cell, table) for table in ("answers", "choices"))
    answers["answer"] = "Atlantis"
    choices["sum_logprob"] += 0.01
    record = store.record(cell)
    for name, frame in (("answers", answers), ("choices", choices)):
        path = store.cell_folder(cell) / f"{name}.parquet"
        frame.to_parquet(path, index=False)
        record["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (store.cell_folder(cell) / "cell.json").write_text(json.dumps(record))
    code, found = found_in(cli, copy, "--deep")
    assert code == 3 and not found["cells"]
    places = {finding["place"].rpartition(" in ")[2] for finding in found["answers"]}
    assert places == {"clean"}
    assert all("0.01 nats" in f["problem"] and "Atlantis" in f["problem"] for f in found["answers"])


def test_what_is_no_run_is_refused(cli, tmp_path):
    code, _, err = cli("verify", tmp_path)
    assert code == 2 and "no config.yaml" in err


# ---- doctor


def test_a_machine_on_which_tests_run_can_run_a_demo(cli):
    code, out, err = cli("doctor", "--json")
    items = {item["name"]: item for item in json.loads(out)}
    assert code == 0, out
    assert items["torch"]["found"] == torch.__version__
    assert items["model bios"]["state"] == "ok"
    assert all(item["todo"] for item in items.values() if item["state"] != "ok")
    code, out, err = cli("doctor")
    assert code == 0 and "run demo" in err and "Python" in out and "extra [judge]" in out


def test_what_a_demo_cannot_do_without_is_missing(cli, monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000_000)
    monkeypatch.setattr(machine, "requires", lambda _: ["torch>=99", "no-such-thing>=1", "rich"])
    code, out, err = cli("doctor", "--json")
    states = {item["name"]: item for item in json.loads(out)}
    assert code == 1 and "memory" in err and "packages" in err
    assert states["memory"]["state"] == states["packages"]["state"] == "missing"
    assert "no-such-thing missing (needs >=1)" in states["packages"]["found"]
    assert "torch" in states["packages"]["found"] and "rich" not in states["packages"]["found"]


def test_an_empty_cache_and_an_offline_hub_are_notes(cli, monkeypatch, tmp_path):
    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = cli("doctor", "--json")
    items = {item["name"]: item for item in json.loads(out)}
    assert code == 0
    assert items["model smollm2-135m"]["state"] == "note"
    assert "restor-interp model get smollm2-135m" in items["model smollm2-135m"]["todo"]
    assert "HF_HUB_OFFLINE=1" in items["model hub"]["found"]
    assert not (tmp_path / "cache").exists()


# ---- compare


def test_two_methods_and_two_runs_are_compared(cli, finished, copy, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = cli("compare", finished.folder, "--methods", "npo,grad_diff", "--out", page)
    assert code == 0, err
    assert "accuracy" in out and str(page) in out and "methods" not in err
    assert "Numbers beside each other" in page.read_text()
    code, out, _ = cli("compare", finished.folder, copy, "--json", "--out", page)
    found = json.loads(out)
    assert code == 0 and not found["settings"] and not found["fates"]
    assert all(row["difference"] in (0, None) for row in found["differences"])
    summary = finished.table("summary")
    accuracy = summary.query("state == 'npo' and role == 'direct' and metric == 'accuracy'")
    told = [
        row for row in found["differences"]
        if (row["state"], row["role"], row["metric"]) == ("npo", "direct", "accuracy")
    ]  # fmt: skip
    assert told[0]["first"] == pytest.approx(float(accuracy["value"].iloc[0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "compare two runs"), (("--methods", "npo"), "two methods of one"),
     (("--methods", "npo,nqo"), "Did you mean npo")],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_message(cli, finished, arguments, message):
    code, out, err = cli("compare", finished.folder, *arguments)
    assert code == 2 and message in err.replace("\n", " ") and "Traceback" not in out + err
