"""An attack that trains, killed in the middle, goes on to the same bits.

Run: python -m pytest tests/pipeline/test_attack_resume.py
"""

import pandas as pd
import pytest

from restor_interp.pipeline import attacking
from restor_interp.pipeline.asking import Asking
from restor_interp.pipeline.attacking import carry_out, job_of
from restor_interp.pipeline.running import _work_through
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import RobustnessSettings
from restor_interp.stages.training import train
from restor_interp.store import CellWriter, Store


class Killed(Exception):
    pass


class Killer(Silent):
    """Ends the work after a step of its training."""

    def __init__(self, step):
        self.step = step

    def advanced(self, done, total, cell=None):
        if done == self.step:
            raise Killed


@pytest.fixture(scope="module")
def corrupted(small_config, tmp_path_factory):
    """The corruption of a small run and its answers: what an attack begins with."""
    config = small_config.model_copy(
        update={"methods": {}, "shams": (), "corruption": {"steps": 4, "learning_rate": 2e-3}}
    )
    explanation = type(config.explanation)(capture=False, probes=(), analyses=(), surveys=())
    config = config.model_copy(update={"explanation": explanation})
    bench = Workbench(config, Store(tmp_path_factory.mktemp("runs")), Silent())
    wanted = ("data", "train/corruption", "evaluate/corrupted")
    assert _work_through([s for s in steps(bench) if s.cell.name in wanted], bench) == {}
    return bench


@pytest.fixture
def relearn(corrupted, tmp_path, monkeypatch):
    """Relearns the falsehoods, perhaps until it is killed: rows, losses, deltas, steps done."""

    def relearned(work, *, killed_at=-1, contexts=(1,)):
        done, deltas = [], []

        def watched(*args, on_step, **settings):
            def step(number, total):
                done.append(number)
                on_step(number, total)

            trained = train(*args, on_step=step, **settings)
            deltas.append(trained.delta.digest())
            return trained

        monkeypatch.setattr(attacking, "train", watched)
        own = {
            "steps": [3, 6], "contexts": contexts, "roles": ["direct"],
            "training": {"save_every": 2},
        }  # fmt: skip
        attack = RobustnessSettings(attacks=("relearn_false",), settings={"relearn_false": own})
        config = corrupted.config.model_copy(update={"robustness": attack})
        bench = Workbench(config, corrupted.store, Killer(killed_at))
        bench.__dict__["model"] = corrupted.model
        monkeypatch.setattr(bench, "checkpoint_folder", lambda cell: tmp_path / work / cell)
        carry_out(bench, job_of(bench, "relearn_false"), "corrupted", CellWriter(folder=tmp_path))
        rows, losses = (
            pd.read_parquet(tmp_path / f"{name}.parquet")
            for name in ("robustness", "attack_training")
        )
        return rows, losses.drop(columns="seconds"), deltas, done

    return relearned


def test_a_relearning_killed_in_the_middle_goes_on_to_the_same_bits(relearn, monkeypatch):
    rows, losses, deltas, done = relearn("whole")
    assert done == list(range(1, 7)) and sorted(set(rows["step"])) == [0, 3, 6]
    assert rows.groupby("step")["fact_id"].nunique().nunique() == 1

    def same(found, passed):
        assert found[3] == passed
        assert found[0].equals(rows) and found[1].equals(losses) and found[2] == deltas

    with pytest.raises(Killed):
        relearn("killed", killed_at=5)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        # In the middle of the questions after the last step.
        keep = Asking.keep

        def ending(self, step, folder):
            if step == 6:
                raise Killed
            keep(self, step, folder)

        patched.setattr(Asking, "keep", ending)
        relearn("killed")
    with pytest.raises(Killed):
        relearn("killed", killed_at=6)
    same(relearn("killed"), [])
    with pytest.raises(Killed):
        relearn("again", killed_at=5)
    # With other questions it begins anew: nobody was asked these on the way.
    other = relearn("again", contexts=(0,))
    assert other[3] == list(range(1, 7)) and set(other[0]["context_id"]) == {0}
    same(relearn("again"), [5, 6])
