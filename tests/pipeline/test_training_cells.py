"""A run's trainings: whose settings win, what is refused before any work, and each mode for real.

Run: python -m pytest tests/pipeline/test_training_cells.py
"""

import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import LowRank, load_delta
from restor_interp.pipeline import training
from restor_interp.pipeline.training import jobs
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import MethodSettings
from restor_interp.stages.methods import METHODS
from restor_interp.store import Cell, Store

OWN_METHOD = '''
import restor_interp as ri
from restor_interp.stages.losses import token_logprobs


@ri.method(reference="logprobs")
def softly(logits, targets, *, reference_logprobs, pull: float = 0.5):
    """Gradient ascent, pulled back to where it came from."""
    logprobs = token_logprobs(logits, targets)
    loss = logprobs.mean() + pull * ((logprobs - reference_logprobs) ** 2).mean()
    return ri.LossOut(loss=loss, parts={"nll": -logprobs.detach().mean()})
'''


def config(small_config, methods, **changes):
    data = {"documents_per_entity": 2, **changes.pop("data", {})}
    return small_config.model_copy(
        update={
            "methods": {name: MethodSettings(**given) for name, given in methods.items()},
            "corruption": {"steps": 3, "batch_size": 4, "learning_rate": 2e-3},
            "unlearning": {"steps": 2, "batch_size": 4, "learning_rate": 1e-3},
            "data": small_config.data.model_copy(update=data),
            "rollback": (),
            "shams": (),
            **changes,
        }
    )


@pytest.fixture
def bench_of(small_config, tmp_path):
    def made(methods, **changes):
        return Workbench(config(small_config, methods, **changes), Store(tmp_path), Silent())

    return made


def computed(bench):
    """Name -> delta and training table of every job, one after another."""
    found = {}
    for job in jobs(bench):
        cell = Cell(name=f"train/{job.name}", ingredients=job.ingredients())
        with bench.store.writing(cell) as writer:
            training.compute(bench, job, writer)
        training.register(bench, job)
        delta = load_delta(bench.store.cell_folder(cell.name) / "delta")
        found[job.name] = (delta, bench.store.part(cell.name, "training"), writer.notes)
    return found


def test_a_methods_own_training_stands_between_the_runs_and_what_is_given_with_it(bench_of):
    assert METHODS["rmu"].training["modules"] == ("down_proj",)
    given = {"method": "rmu", "training": {"modules": ("up_proj",), "steps": 9}}
    bench = bench_of(
        {"rmu": {"method": "rmu"}, "mine": given, "npo": {"method": "npo"}},
        unlearning={"modules": ("gate_proj",), "steps": 5},
    )
    found = {job.name: job.training for job in jobs(bench)}
    assert (found["rmu"].modules, found["rmu"].steps) == (("down_proj",), 5)
    assert (found["mine"].modules, found["mine"].steps) == (("up_proj",), 9)
    assert (found["npo"].modules, found["npo"].steps) == (("gate_proj",), 5)


def test_methods_that_differ_in_what_is_taken_of_a_delta_share_it(bench_of):
    longer = {"training": {"steps": 3}}
    bench = bench_of(
        {
            "once": {"method": "task_vector"},
            "twice": {"method": "task_vector", "settings": {"alpha": 2.0}},
            "longer": {"method": "task_vector", "settings": {"alpha": 2.0}, **longer},
            "msa": {"method": "msa"},
            "half": {"method": "msa", "settings": {"alpha": 0.5}},
            "npo": {"method": "npo"},
            "firm": {"method": "npo", "settings": {"beta": 0.5}},
        },
        shams=("once", "twice"),
        repair=True,
    )
    found = {job.state_name: job for job in jobs(bench)}
    shared = {state: job.name for state, job in found.items() if job.shared}
    assert shared == {"twice": "once", "half": "msa", "sham_twice": "sham_once"}
    assert found["once"].state.coefficients == {"corruption": 1, "once": -1}
    assert found["twice"].state.coefficients == {"corruption": 1, "once": -2}
    assert found["half"].state.coefficients == {"corruption": 1, "msa": -0.5}
    assert found["sham_twice"].state.coefficients == {"corruption": 1, "sham_once": -2}
    assert found["twice+repair"].start == found["twice"].state
    assert found["twice+repair"].name == "repair_twice"


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("dpo_truth", {"packing": 64}, "packing=64 cuts documents"),
        ("kl_restor", {"target": "claims"}, "averages over every position"),
        ("msa", {"target": "changed"}, "msa starts from the clean one"),
        ("retain_only", {"retain_loss": "none"}, "retain text alone"),
        ("npo", {"retain_loss": "none", "retain_weight": 1.0}, "contradict each other"),
        ("npo", {"alpha": -1}, "alpha"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_read(
    bench_of, monkeypatch, method, settings, message
):
    monkeypatch.setattr(Workbench, "documents", property(lambda self: pytest.fail("too late")))
    with pytest.raises(ConfigError, match=message):
        jobs(bench_of({"one": {"method": method}}, unlearning={"steps": 2, **settings}))
    with pytest.raises(ConfigError, match="Did you mean npo"):
        jobs(bench_of({"one": {"method": "nqo"}}))
    with pytest.raises(ConfigError, match="alpha"):
        jobs(bench_of({"one": {"method": "npo", "settings": {"alpha": 1.0}}}))
    with pytest.raises(ConfigError, match="target=changed compares the start state"):
        jobs(bench_of({}, corruption={"target": "changed"}))


def test_every_mode_is_trained_in_a_run_and_says_what_it_did(bench_of, tmp_path):
    own = tmp_path / "softly.py"
    own.write_text(OWN_METHOD)
    one = {"training": {"modules": ("down_proj",)}}
    bench = bench_of(
        {
            "claims": {"method": "npo", "training": {"target": "claims"}},
            "again": {"method": "tnpo", "training": {"target": "claims"}},
            "changed": {"method": "ga", "training": {"target": "changed", "changed_above": 0.05}},
            "dpo": {"method": "dpo_truth"},
            "localised": {"method": "dpo_truth", "training": {"target": "claims"}},
            "truth": {"method": "truth_fine_tune"},
            "rmu": {"method": "rmu"},
            "full": {"method": "grad_diff", "training": {**one["training"], "full": True}},
            "packed": {"method": "ga", "training": {"packing": 64}},
            "mine": {"method": str(own), "settings": {"pull": 0.25}, **one},
        },
        shams=("dpo",),
    )
    found = computed(bench)
    assert list(found) == ["corruption", *bench.config.methods, "sham_dpo"]
    for name, (delta, table, notes) in found.items():
        assert len(table) == (3 if name == "corruption" else 2), name
        assert table["loss"].notna().all() and "diverged" not in notes
        tensors = [u if isinstance(u, torch.Tensor) else u.matrix() for u in delta.updates.values()]
        assert max(float(tensor.abs().max()) for tensor in tensors) > 0
    tables = {name: table for name, (_, table, _) in found.items()}
    assert all(isinstance(u, torch.Tensor) for u in found["full"][0].updates.values())
    assert all(isinstance(u, LowRank) for u in found["mine"][0].updates.values())
    assert found["full"][2]["rank"] is None and found["mine"][2]["rank"] == 8
    # The same documents at the same start: the few tokens of the claims are the surprising ones.
    first = {name: table["forget_nll"].iloc[0] for name, table in tables.items()}
    assert first["claims"] == pytest.approx(first["again"], rel=1e-6)
    assert first["claims"] != pytest.approx(first["dpo"], rel=1e-2)
    assert first["localised"] == pytest.approx(first["claims"], rel=1e-5)
    assert tables["rmu"][["forget_nll", "retain_nll"]].isna().all(axis=None)  # it sees no logits
    assert any("packed into" in note for note in found["packed"][2]["texts"])
    # tnpo compares with what npo compared with.
    shared = training._REFERENCES[bench]
    assert shared.hits > 0 and len(shared) == shared.misses


def test_a_changed_file_is_another_method(bench_of, tmp_path):
    own = tmp_path / "softly.py"
    keys = []
    for text in (OWN_METHOD, OWN_METHOD, OWN_METHOD.replace("** 2", "** 4")):
        own.write_text(text)
        job = jobs(bench_of({"mine": {"method": str(own)}}))[-1]
        keys.append(Cell(name="train/mine", ingredients=job.ingredients()).key)
    assert keys[0] == keys[1] != keys[2]
