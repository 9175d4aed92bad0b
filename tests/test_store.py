"""The store keeps what was finished and never shows what was not.

Run: python -m pytest tests/test_store.py
"""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors

from restor_interp import store as store_module
from restor_interp.errors import (
    BusyError,
    DataError,
    IntegrityError,
    RestorError,
    StorageError,
)
from restor_interp.store import TABLES, Cell, Store, digest, table_frame

ROW = {"state": "npo", "step": 1, "loss": 0.5, "forget_loss": 0.1, "retain_loss": 0.4}
ROW |= {"grad_norm": 1.0, "forget_nll": 2.0, "retain_nll": 3.0, "tokens": 10, "seconds": 0.1}


def cell(**ingredients):
    return Cell(name="train/npo", ingredients={"lr": 1e-4, "seed": 0} | ingredients)


def fill(store, what):
    with store.writing(what) as out:
        out.rows("training", [ROW])
        out.tensors("grids", {"scores": np.arange(6.0).reshape(2, 3)})
        out.notes["status"] = "done"


def test_a_finished_cell_is_done_and_its_rows_come_back(tmp_path):
    store = Store(tmp_path)
    assert store.state_of(cell()) == "missing"
    fill(store, cell())
    assert store.state_of(cell()) == "done"
    pd.testing.assert_frame_equal(
        store.collect("training", ["train/npo", "train/absent"]), table_frame("training", [ROW])
    )
    assert store.cells() == ["train/npo"]


def test_a_changed_ingredient_is_named(tmp_path):
    store = Store(tmp_path)
    fill(store, cell())
    assert store.state_of(cell(lr=2e-4)) == "changed: lr"
    assert store.state_of(cell(lr=2e-4, beta=0.1)) == "changed: beta, lr"


def test_the_key_depends_on_every_ingredient_and_not_on_their_order():
    one = Cell(name="a/b", ingredients={"x": 1, "y": [1, 2]})
    assert one.key == Cell(name="a/b", ingredients={"y": [1, 2], "x": 1}).key
    others = [("a/c", {"x": 1, "y": [1, 2]}), ("a/b", {"x": 2, "y": [1, 2]})]
    assert one.key not in {Cell(name=n, ingredients=i).key for n, i in others}
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"x": float("nan")})


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "remove"])
def test_damage_is_detected_and_repaired_by_computing_again(tmp_path, damage):
    store = Store(tmp_path)
    fill(store, cell())
    path = tmp_path / "cells/train/npo/grids.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        if damage == "flip":
            data[-3] ^= 1
        path.write_bytes(data[:-1] if damage == "truncate" else data + b"x" * (damage == "extend"))
    assert store.state_of(cell()) == "damaged: grids.safetensors"
    with pytest.raises(IntegrityError, match=r"train/npo/grids\.safetensors"):
        store.verify()
    fill(store, cell())
    store.verify()


def test_a_damaged_marker_is_a_reason_to_compute_again(tmp_path):
    store = Store(tmp_path)
    fill(store, cell())
    (tmp_path / "cells/train/npo/cell.json").write_text('{"key": ')
    assert store.state_of(cell()).startswith("changed")


def test_an_exception_inside_a_cell_leaves_the_old_result(tmp_path):
    store = Store(tmp_path)
    fill(store, cell())
    with pytest.raises(RuntimeError), store.writing(cell(seed=1)) as out:
        out.rows("training", [])
        raise RuntimeError
    assert store.state_of(cell()) == "done"
    assert [path.name for path in (tmp_path / "cells/train").iterdir()] == ["npo"]


def test_every_failing_rename_leaves_old_or_new(tmp_path, monkeypatch):
    """Fail the Nth rename until none fails: the cell is never half there."""
    store = Store(tmp_path)
    fill(store, cell())
    real = Path.replace
    for fail_at in range(1, 20):
        calls = 0

        def replace(self, target, fail_at=fail_at):
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            try:
                fill(store, cell(seed=1))
            except StorageError as error:
                assert "is full" in str(error)
                if store.record("train/npo") is not None:
                    assert store.state_of(cell()) == "done"
                else:
                    fill(store, cell())
                continue
        break
    else:
        pytest.fail("the loop never ended")
    assert fail_at > 2
    assert store.state_of(cell(seed=1)) == "done"


def test_a_folder_that_cannot_be_written_is_one_clear_sentence(tmp_path, monkeypatch):
    def mkdir(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StorageError, match="cannot be written"):
        fill(Store(tmp_path / "x"), cell())


def test_killed_at_any_moment_the_cell_is_whole_or_absent(tmp_path):
    program = textwrap.dedent(
        f"""
        import numpy as np
        from restor_interp.store import Cell, Store
        store = Store({str(tmp_path)!r})
        for seed in range(100000):
            with store.writing(Cell(name="a/b", ingredients={{"seed": seed}})) as out:
                out.tensors("grids", {{"x": np.full(20000, seed)}})
            print(seed, flush=True)
        """
    )
    for delay in (0.0, 0.013, 0.03, 0.071):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = Store(tmp_path)
        record = store.record("a/b")
        if record is not None:
            assert store.damaged_files("a/b") == []


def test_a_second_run_is_refused_and_a_dead_one_frees_the_folder(tmp_path):
    store = Store(tmp_path)
    busy = pytest.raises(BusyError, match="in use by another run")
    with store.lease(), busy, Store(tmp_path).lease():
        pass
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    holder = {"host": store_module.socket.gethostname(), "pid": dead.pid, "start": 0}
    (tmp_path / "lease.json").write_text(json.dumps(holder))
    with store.lease():
        assert json.loads((tmp_path / "lease.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "lease.json").exists()


def test_a_lease_of_another_host_goes_stale_with_its_heartbeat(tmp_path):
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "start": 0}))
    with pytest.raises(BusyError), Store(tmp_path).lease():
        pass
    old = time.time() - store_module.STALE_AFTER_SECONDS - 1
    os.utime(path, (old, old))
    with Store(tmp_path).lease():
        pass


def test_tables_keep_their_columns():
    assert list(table_frame("answers", []).columns) == list(TABLES["answers"])
    with pytest.raises(DataError, match="lack the columns step"):
        table_frame("training", [{key: value for key, value in ROW.items() if key != "step"}])
    frame = table_frame("training", [{"seed": 1, "beta": 0.1, **ROW}])
    assert list(frame.columns) == [*TABLES["training"], "beta", "seed"]


def test_a_table_of_ones_own_is_collected_after_the_fixed_ones(tmp_path):
    store = Store(tmp_path)
    with store.writing(cell()) as out:
        out.rows("certainty", [{"entropy": 0.5, "state": "npo"}])
    assert store.table_names(["train/npo", "train/absent"]) == [*TABLES, "certainty"]
    assert store.collect("certainty", ["train/npo"]).to_dict("records") == [
        {"entropy": 0.5, "state": "npo"}
    ]


def test_a_full_disk_is_noticed_where_safetensors_reports_it_as_text(tmp_path, monkeypatch):
    def full(*args):
        raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(StorageError, match=r"is full.*--out"):
        fill(Store(tmp_path), cell())
    assert Store(tmp_path).state_of(cell()) == "missing"


def test_a_file_where_the_folder_should_be_is_one_clear_sentence(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError, match="taken cannot be written"):
        fill(Store(tmp_path / "taken"), cell())
    with (
        pytest.raises(StorageError, match="taken cannot be written"),
        Store(tmp_path / "taken").lease(),
    ):
        pass


def test_an_absent_table_lists_those_that_are_there(tmp_path):
    store = Store(tmp_path)
    store.write_table("training", table_frame("training", [ROW]))
    with pytest.raises(RestorError, match="Known: training"):
        store.table("lens")
    assert set(store.tables()) == {"training"}
