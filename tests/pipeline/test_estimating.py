"""What a run will cost: units, rates and where they come from, with planted records.

Run: python -m pytest tests/pipeline/test_estimating.py
"""

import json

import pytest
import yaml

from restor_interp.models.loading import BIOS_FOLDER, load_model
from restor_interp.pipeline import estimating
from restor_interp.pipeline.estimating import cost, duration, memory_bytes, waiting
from restor_interp.pipeline.estimating import speed as speeds
from restor_interp.pipeline.estimating.reference import REFERENCE, REFERENCE_SIZE, REFERENCE_SPEED
from restor_interp.pipeline.estimating.work import bare, rate_names, rates, seconds_of, units
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import resolve
from restor_interp.store import Cell, Store

BIOS = resolve("bios")


def test_units_are_what_a_cell_has_to_do():
    config = resolve(
        "bios",
        ["unlearning={steps: 30, batch_size: 4, retain_batch_size: 2}", "corruption={epochs: 3}",
         "data.documents_per_entity=10", "questions.contexts=2", "questions.draws=1"],
    )  # fmt: skip
    people = len(config.data.corrupted)
    batches = -(-3 * people * 10 // 4)  # rounded up
    assert units(config, "train/corruption", 100) == batches * 4
    assert units(config, "train/npo", 100) == units(config, "train/sham_npo", 100) == 30 * 6
    assert units(config, "evaluate/npo", 100) == 2 * units(config, "evaluate/npo", 50)
    assert units(config, "evaluate/npo", 100) == 100 * 2 * 2 * config.questions.max_new_tokens
    assert units(config, "analysis/causal_trace/npo", 100) == config.explanation.traced_facts
    assert units(config, "analysis/logit_lens/npo", 100) == config.explanation.lens_facts
    assert units(config, "explain", 100) == 1
    assert bare("seed1-rot2/train/npo") == "train/npo"
    assert units(config, "seed1-rot2/train/npo", 100) == 30 * 6


def test_a_rate_is_looked_for_from_the_specific_to_the_general():
    known = rates(
        [("train/npo", 60.0), ("train/ga", 20.0), ("train/kl", 40.0), ("margins/clean", 90.0),
         ("margins/npo", 3.0)],
        lambda cell: 2.0,
    )  # fmt: skip
    assert known["train/npo"] == 30 and known["train"] == 20  # the median of 30, 10 and 20
    assert seconds_of("train/sham_npo", 4, known) == 120
    assert seconds_of("train/new", 4, known) == 80
    # of the clean state's margins, which are of all facts, the others' say nothing
    assert seconds_of("margins/kl", 2, known) == 3 and seconds_of("margins/clean", 2, known) == 90
    assert seconds_of("drift/npo", 4, known) is None
    assert rate_names("analysis/grafting/npo")[-1] == "analysis"


def planted(folder, config, seconds):
    """A run folder with finished cells that took so long."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    store = Store(folder)
    numerics = Workbench(config, store, Silent()).numerics()
    for name, taken in seconds.items():
        cell = Cell(name=name, ingredients={"numerics": numerics})
        with store.writing(cell):
            pass
        record = store.record(name)
        assert record is not None
        path = store.cell_folder(name) / "cell.json"
        path.write_text(json.dumps({**record, "seconds": taken}))


def test_seconds_come_from_the_runs_beside_it_and_scale_with_the_work(tmp_path):
    planted(tmp_path / "old", BIOS, {"evaluate/clean": 8.0, "train/npo": 12.0})
    twice = resolve("bios", ["unlearning.steps=60", "questions.contexts=6", "workers=1"])
    found = cost(
        twice, ["evaluate/npo", "train/npo", "nothing/like"], out=tmp_path / "new", measure=False
    )
    assert found.of["evaluate/npo"] == pytest.approx(16) and found.of["train/npo"] == (
        pytest.approx(24)
    )
    assert found.seconds == pytest.approx(40 + estimating.PUBLISH_SECONDS)
    assert found.unknown == ("nothing/like",) and "nothing/like" in found.text()
    assert "runs beside it" in found.source


def test_workers_share_the_work_but_for_what_is_one_chain(tmp_path):
    planted(
        tmp_path / "old", BIOS, {"train/corruption": 30.0, "evaluate/clean": 8.0, "explain": 4.0}
    )
    cells = ["train/corruption", "explain", *(f"evaluate/{n}" for n in ("npo", "kl", "ga", "wga"))]
    for workers, seconds in ((1, 34 + 4 * 8), (2, 34), (3, 34)):
        config = resolve("bios", [f"workers={workers}"])
        found = cost(config, cells, out=tmp_path / "new", measure=False)
        assert found.seconds == pytest.approx(seconds + estimating.PUBLISH_SECONDS)
        alone = memory_bytes(config)
        assert alone is not None and found.memory == pytest.approx(workers * alone)


@pytest.mark.parametrize("change", ["dtype=bfloat16", "threads=3", "model=smollm2-135m"])
def test_runs_of_another_kind_say_nothing(tmp_path, monkeypatch, change):
    monkeypatch.setattr(estimating, "model_speed", lambda config, measure: None)
    planted(tmp_path / "old", BIOS, {"evaluate/clean": 8.0})
    found = cost(resolve("bios", [change]), ["evaluate/npo"], out=tmp_path / "new", measure=False)
    assert found.seconds is None and found.unknown == ("evaluate/npo",)
    assert "unknown time" in found.text()


def test_without_any_run_it_is_the_reference_times_this_machine_s_speed(tmp_path, monkeypatch):
    out = tmp_path / "runs" / "one"
    monkeypatch.setattr(
        estimating, "model_speed", lambda config, measure: REFERENCE_SPEED["bios"] / 3
    )
    found = cost(BIOS, ["evaluate/npo"], out=out)
    facts = len(Workbench(BIOS, Store(out), Silent()).asked)
    expected = 3 * REFERENCE["bios"]["evaluate"] * units(BIOS, "evaluate/npo", facts)
    assert found.of["evaluate/npo"] == pytest.approx(expected, rel=0.3)
    assert not found.unknown


@pytest.mark.parametrize("preset", ["bios", "demo"])
def test_every_cell_of_the_presets_has_an_estimate(tmp_path, monkeypatch, preset):
    config = resolve(preset)
    monkeypatch.setattr(
        estimating, "model_speed", lambda config, measure: REFERENCE_SPEED[config.model]
    )
    found = cost(config, waiting(config, tmp_path / "run"), out=tmp_path / "run")
    assert not found.unknown
    assert 60 < found.seconds < {"bios": 1800, "demo": 3600}[preset]


@pytest.mark.embedded
def test_before_the_first_run_the_model_need_not_be_there(tmp_path, monkeypatch):
    demo = resolve("demo", ["workers=2"])
    memory, folder = memory_bytes(demo), speeds.model_folder(demo.model)
    if folder is None:
        pytest.skip("smollm2-135m is not in the cache: restor-interp model get smollm2-135m")
    assert REFERENCE_SIZE[demo.model][0] == speeds.parameters(folder)
    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path))
    assert speeds.model_folder(demo.model) is None and memory_bytes(demo) == memory
    found = cost(demo, ["evaluate/npo"], out=tmp_path / "run")
    facts = len(Workbench(demo, Store(tmp_path), Silent()).asked)
    rate = REFERENCE[demo.model]["evaluate"]
    assert found.of["evaluate/npo"] == pytest.approx(rate * units(demo, "evaluate/npo", facts))
    assert "another machine" in found.text() and found.memory == 2 * memory


def test_a_speed_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("RESTOR_INTERP_HOME", str(tmp_path))
    assert speeds.model_speed(BIOS, measure=False) is None
    first = speeds.model_speed(BIOS)
    assert first is not None and first > 0
    kept = json.loads((tmp_path / speeds.FILE).read_text())
    assert list(kept.values()) == [first] and "float32" in next(iter(kept))
    monkeypatch.setattr(speeds, "load_model", lambda *_, **__: pytest.fail("measured again"))
    assert speeds.model_speed(BIOS) == first
    assert speeds.model_speed(BIOS.model_copy(update={"model": "org/elsewhere"})) is None


def test_memory_grows_with_the_model(tmp_path):
    model = load_model("bios")
    count = sum(p.numel() for p in model.hf_model.parameters())
    assert speeds.parameters(BIOS_FOLDER) == count  # the two embeddings are tied: counted once
    whole, half = (
        memory_bytes(BIOS.model_copy(update={"dtype": dtype})) for dtype in ("float32", "bfloat16")
    )
    assert whole is not None and half is not None
    assert whole - half == pytest.approx(2 * 2 * count)
    assert memory_bytes(BIOS.model_copy(update={"model": "org/elsewhere"})) is None


def test_only_what_is_waiting_is_counted(finished):
    assert waiting(finished.config, finished.folder) == []
    changed = finished.config.model_copy(update={"seed": 7})
    assert "train/npo" in waiting(changed, finished.folder)
    assert cost(changed, [], out=finished.folder).text() == "nothing to compute"


def test_durations_are_words():
    assert [duration(s) for s in (0.2, 40, 89, 100, 3000, 20000)] == [
        "1 s", "40 s", "89 s", "2 min", "50 min", "5.6 h",
    ]  # fmt: skip
