"""Designs: who is corrupted when, that runs are shared and resumed, and what is pooled.

Run: python -m pytest tests/pipeline/test_designs.py
"""

from collections import Counter

import pandas as pd
import pytest

from restor_interp.data.bios import bios_facts
from restor_interp.errors import BusyError, ConfigError, StorageError
from restor_interp.facts import load_facts
from restor_interp.pipeline import run_design, status
from restor_interp.pipeline.designs import (
    GROUPS,
    Design,
    design_status,
    parts,
    plan_design,
    rotated,
)
from restor_interp.presets import resolve
from restor_interp.store import Store

PEOPLE = sorted({fact.entity for fact in bios_facts()})


def tiny(**data):
    """Two people in each group; seconds."""
    base = resolve("bios")
    groups = {
        "corrupted": tuple(PEOPLE[0:40:20]),
        "untouched": tuple(PEOPLE[5:45:20]),
        "sham": tuple(PEOPLE[10:50:20]),
    }
    own = {**groups, "documents_per_entity": 4, **data}
    return base.model_copy(
        update={
            "workers": 1,
            "data": base.data.model_copy(update=own),
            "questions": base.questions.model_copy(
                update={"contexts": 2, "candidates": 6, "substitutes": 2}
            ),
            "explanation": type(base.explanation)(
                capture=False, probes=(), analyses=(), surveys=()
            ),
            "corruption": {"epochs": 3, "learning_rate": 2e-3, "batch_size": 2},
            "unlearning": {"steps": 2, "batch_size": 2},
            "methods": {"npo": base.methods["npo"]},
            "shams": (),
            "rollback": (),
        }
    )


# ---- who is corrupted when


@pytest.mark.parametrize("preset", ["bios", "demo"])
@pytest.mark.parametrize("rotations", [2, 3, 4])
def test_every_entity_is_corrupted_once_and_kinds_are_shared_out(preset, rotations):
    config = resolve(preset)
    pool = {name for group in GROUPS for name in getattr(config.data, group)}
    kinds = load_facts(config.data.facts).entities
    found = rotated(config, rotations)
    assert Counter(name for group in found for name in group["corrupted"]) == Counter(pool)
    sizes = [len(group["corrupted"]) for group in found]
    assert max(sizes) - min(sizes) <= 1
    for group in found:
        assert Counter(name for names in group.values() for name in names) == Counter(pool)
        assert abs(len(group["untouched"]) - len(group["sham"])) <= 1
    for kind in {kinds[name].kind for name in pool}:
        counts = [sum(kinds[n].kind == kind for n in group["corrupted"]) for group in found]
        assert max(counts) - min(counts) <= 1, kind


def test_three_rotations_of_equal_groups_pass_them_round():
    config = resolve("bios")
    groups = [list(getattr(config.data, name)) for name in GROUPS]
    for rotation, found in enumerate(rotated(config, 3)):
        assert [found[name] for name in GROUPS] == groups[rotation:] + groups[:rotation]


def test_one_rotation_is_the_preset_and_seeds_count_from_its_own():
    config = tiny().model_copy(update={"seed": 5})
    found = parts(config, seeds=2, rotations=1)
    assert [part.name for part in found] == ["seed5-rot0", "seed6-rot0"]
    assert found[0].config == config
    assert found[1].config.seed == 6 and found[1].config.data == config.data
    assert len(parts(config, seeds=3, rotations=3)) == 9


def test_without_a_sham_everyone_else_is_untouched():
    for group in rotated(tiny(sham=()), 2):
        assert len(group["corrupted"]) == len(group["untouched"]) == 2 and not group["sham"]


@pytest.mark.parametrize(
    ("config", "sizes", "message"),
    [
        (tiny(), {"seeds": 0, "rotations": 1}, "at least 1 seed"),
        (tiny(), {"seeds": 1, "rotations": 4}, "at least 2 entities at a time"),
        (tiny(untouched=(), sham=()), {"seeds": 1, "rotations": 2}, "not all of them"),
        (tiny(documents="mix.json"), {"seeds": 1, "rotations": 2}, "leave out --rotations"),
    ],
)
def test_senseless_designs_are_refused_before_any_work(config, sizes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run_design(config, out=tmp_path / "design", **sizes)
    assert not (tmp_path / "design").exists()


def test_a_design_takes_no_other_runs_folder(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(StorageError, match="a folder of its own"):
        run_design(tiny(), out=tmp_path, seeds=2)
    with pytest.raises(ConfigError, match="--seeds 3 --rotations 3"):
        Design(tmp_path)


# ---- a whole design


@pytest.fixture(scope="module")
def design(tmp_path_factory):
    return run_design(tiny(), out=tmp_path_factory.mktemp("runs") / "design", rotations=2)


def test_pooled_tables_hold_every_entity_once(design):
    pooled = design.table("pooled")
    row = pooled[
        pooled["state"].eq("npo") & pooled["role"].eq("all") & pooled["metric"].eq("accuracy")
    ].iloc[0]
    answers = {
        part.rotation: design.run(part.seed, part.rotation).table("answers")
        for part in design.parts
    }
    right = {}
    for table in answers.values():
        for fact_id, rows in table[table["state"].eq("npo")].groupby("fact_id"):
            right.setdefault(fact_id, []).append(rows["correct"].mean())
    entities = {}
    for fact_id, values in right.items():
        entities.setdefault(fact_id.split("/")[0], []).append(sum(values) / len(values))
    expected = [sum(values) / len(values) for values in entities.values()]
    assert row["value"] == pytest.approx(sum(expected) / len(expected))
    assert (row["n_runs"], row["n_entities"]) == (2, len(entities))
    direct = pooled[pooled["role"].eq("direct") & pooled["metric"].eq("accuracy")]
    assert set(direct["n_entities"]) == {6}
    flips = design.table("pooled_flips")
    assert flips["n_facts"].sum() == sum(
        design.run(part.seed, part.rotation).table("flips")["n_facts"].sum()
        for part in design.parts
    )
    assert {row["state"] for row in design.headline()} == {"clean", "corrupted", "npo"}
    assert design.failures == {}


def test_a_design_resumes_and_knows_how_far_it_is(design, monkeypatch):
    cells = status(design.folder)
    assert {cell.state for cell in cells} == {"done"}
    assert {cell.cell.split("/")[0] for cell in cells} == {"seed0-rot0", "seed0-rot1"}
    assert cells == design_status(design.folder)
    planned = plan_design(tiny(), out=design.folder, seeds=2, rotations=2)
    waiting = {cell.cell.split("/")[0] for cell in planned if cell.state != "done"}
    assert waiting == {"seed1-rot0", "seed1-rot1"}
    before = design.table("pooled")
    monkeypatch.setattr(
        "restor_interp.pipeline.designs.pooled_rows", lambda runs: pytest.fail("pooled again")
    )
    again = run_design(tiny(), out=design.folder, rotations=2)
    pd.testing.assert_frame_equal(again.table("pooled"), before)


def test_a_run_in_work_elsewhere_is_left_to_it(design):
    with Store(design.folder / "seed0-rot0").lease(), pytest.raises(BusyError, match="seed0-rot0"):
        run_design(tiny(), out=design.folder, rotations=2)
