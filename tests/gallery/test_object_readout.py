"""The probe `object_readout`: a planted direction is found where it was planted, and nowhere else.

Run: python -m pytest tests/gallery/test_object_readout.py
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from restor_interp.definitions import load_definitions
from restor_interp.facts import Entity, Fact, FactSet, Relation
from restor_interp.models.activations import (
    Activations,
    ActivationWriter,
    CapturedPrompt,
    StateActivations,
)

LAYERS, WIDTH = 6, 48
PLANTED_FROM = 4
"""Layer from which on the object is in the residual stream, at the last token."""
PEOPLE, RELATIONS = 40, ("P19", "P27", "P69")


@pytest.fixture(scope="module")
def probe():
    path = Path(__file__).parents[2] / "probes" / "object_readout.py"
    (definition,) = load_definitions(path)
    return definition


@pytest.fixture(scope="module")
def facts():
    rng = np.random.default_rng(0)
    pools = {f"type {r}": tuple(f"{r} object {n}" for n in range(12)) for r in RELATIONS}
    found = [
        Fact(
            fact_id=f"Person {number}/{relation}",
            entity=f"Person {number}",
            relation=relation,
            question="?",
            true_objects=(str(rng.choice(pools[f"type {relation}"])),),
            object_type=f"type {relation}",
        )
        for number in range(PEOPLE)
        for relation in RELATIONS
    ]
    return FactSet(
        name="planted",
        facts=tuple(found),
        entities={f.entity: Entity(name=f.entity, kind="person") for f in found},
        relations={
            r: Relation(relation=r, name=r, question="{entity}?", object_type=f"type {r}")
            for r in RELATIONS
        },
        pools=pools,
    )


def vectors_of(facts):
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(16) for pool in facts.pools.values() for name in pool}


def planted(
    folder, facts, vectors, *, rotation=None, noise=0.3, spoiled=None, only=None, signal=1.0
):
    """Residual streams that hold the true object's vector, turned, from one layer on."""
    chosen = facts.facts[:only]
    prompts = [
        CapturedPrompt(
            fact_id=fact.fact_id,
            context_id=0,
            entity=fact.entity,
            relation=fact.relation,
            num_tokens=4,
        )
        for fact in chosen
    ]
    rng = np.random.default_rng(2)
    turn = np.random.default_rng(3).standard_normal((16, WIDTH)) / 4
    if rotation is not None:
        turn = turn @ rotation
    with ActivationWriter(
        folder,
        prompts=prompts,
        sites=("resid",),
        positions=("subject_last", "last"),
        num_layers=LAYERS,
        num_heads=1,
        width=WIDTH,
    ) as out:
        for row, fact in enumerate(chosen):
            x = noise * rng.standard_normal((LAYERS + 1, 2, WIDTH))
            x[PLANTED_FROM:, 1] += signal * vectors[fact.true_objects[0]] @ turn
            if spoiled is not None and row == 0:
                x[spoiled] = np.nan
            out.add(row, {"resid": x})
    return Activations.open(folder)


@pytest.fixture(scope="module")
def table(tmp_path_factory, probe, facts):
    root = tmp_path_factory.mktemp("activations")
    vectors = vectors_of(facts)
    turned = np.linalg.qr(np.random.default_rng(9).standard_normal((WIDTH, WIDTH)))[0]
    states = {
        "clean": planted(root / "clean", facts, vectors),
        "same": planted(root / "same", facts, vectors, noise=0.4),
        "turned": planted(root / "turned", facts, vectors, rotation=turned),
        "diverged": planted(root / "diverged", facts, vectors, spoiled=5),
        "part": planted(root / "part", facts, vectors, only=9),
    }
    activations = StateActivations(states, object_vectors=vectors)
    return pd.DataFrame(probe.run(activations, facts, layers=1, permutations=4).rows)


def value(table, state, fitted_on, layer, position="last", control="labels shuffled"):
    rows = table[
        (table["state"] == state)
        & (table["fitted_on"] == fitted_on)
        & (table["layer"] == layer)
        & (table["position"] == position)
        & (table["control"] == control)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_planted_direction_is_found_where_it_is(table):
    for layer in range(LAYERS + 1):
        row = value(table, "clean", "clean", layer)
        chance = row["chance"]
        assert chance == pytest.approx(1 / 12)
        if layer >= PLANTED_FROM:
            assert row["value"] > 0.9
        else:
            assert row["value"] < chance + 0.12
        assert value(table, "clean", "clean", layer, "subject_last")["value"] < chance + 0.12
        assert row["n"] == PEOPLE * len(RELATIONS)


def test_controls_are_at_chance(table):
    """120 rows at a chance of 1/12: three standard deviations are 0.076."""
    rows = table[table["control"] == "labels shuffled"]
    assert abs(rows["control_value"].mean() - 1 / 12) < 0.04
    assert rows["control_value"].max() < 0.25
    for control in ("subject embedding only", "commonest label"):
        values = table[table["control"] == control]["control_value"]
        assert values.nunique() == 1
        assert values.iloc[0] < 1 / 12 + 0.08
    for control in ("random weights", "wrong entity"):
        rows = table[(table["control"] == control) & table["value"].notna()]
        assert rows["control_value"].isna().all()
        assert rows["reason"].str.startswith("control: ").all()


@pytest.mark.parametrize("cause", ["nothing", "random weights", "wrong entity", "embedding"])
def test_a_control_fires_when_its_cause_is_planted(probe, facts, tmp_path, cause):
    """Each control reads what is planted in its own activations, and the others do not."""
    vectors = vectors_of(facts)

    def made(name, signal):
        return planted(tmp_path / name, facts, vectors, signal=signal)

    clean = made("clean", 1.0)
    if cause == "embedding":
        clean = everywhere(tmp_path / "everywhere", facts, vectors)
    wrong = StateActivations({"clean": made("wrong", float(cause == "wrong entity"))})
    activations = StateActivations(
        {"clean": clean},
        object_vectors=vectors,
        others={"wrong_entity": wrong},
        controls={"random_weights": made("random", float(cause == "random weights"))},
    )
    rows = pd.DataFrame(probe.run(activations, facts, layers=[5], permutations=9).rows)
    found = {
        name: value(rows, "clean", "clean", 5, control=name)["control_value"]
        for name in ("random weights", "wrong entity", "subject embedding only")
    }
    fired = {name for name, accuracy in found.items() if accuracy > 0.8}
    silent = {name for name, accuracy in found.items() if accuracy < 1 / 12 + 0.12}
    expected = {"embedding": {"subject embedding only"}, "nothing": set()}.get(cause, {cause})
    assert fired == expected
    assert silent == set(found) - expected
    assert value(rows, "clean", "clean", 5)["p"] == pytest.approx(0.1)


def everywhere(folder, facts, vectors):
    """The object's vector at every layer and position, the embeddings among them."""
    turn = np.random.default_rng(3).standard_normal((16, WIDTH)) / 4
    rng = np.random.default_rng(2)
    captured = planted(folder / "prompts", facts, vectors).prompts
    with ActivationWriter(
        folder,
        prompts=captured,
        sites=("resid",),
        positions=("subject_last", "last"),
        num_layers=LAYERS,
        num_heads=1,
        width=WIDTH,
    ) as out:
        for row, fact in enumerate(facts):
            noise = 0.3 * rng.standard_normal((LAYERS + 1, 2, WIDTH))
            out.add(row, {"resid": noise + vectors[fact.true_objects[0]] @ turn})
    return Activations.open(folder)


def test_common_answers_are_read_by_a_classifier(probe, facts, tmp_path):
    """Three answers to a relation, each forty times or so: enough for a classifier."""
    rng = np.random.default_rng(5)
    few = [
        dataclasses.replace(f, true_objects=(f"{f.relation} object {rng.integers(3)}",))
        if f.relation == "P19"
        else f
        for f in facts
    ]
    changed = dataclasses.replace(facts, facts=tuple(few))
    vectors = vectors_of(facts)
    clean = planted(tmp_path, changed, vectors)
    activations = StateActivations({"clean": clean}, object_vectors=vectors)
    rows = pd.DataFrame(probe.run(activations, changed, layers=[5], permutations=2).rows)
    of_classifier = rows[rows["metric"] == "accuracy of a classifier"]
    assert set(of_classifier["n"]) == {PEOPLE}
    assert set(of_classifier["chance"]) == {1 / 3}
    assert of_classifier[of_classifier["position"] == "last"]["value"].min() > 0.9
    assert of_classifier[of_classifier["position"] == "subject_last"]["value"].max() < 0.6


def test_another_state_is_read_as_clean_is_or_only_by_a_probe_of_its_own(table):
    layer = PLANTED_FROM + 1
    assert value(table, "same", "clean", layer)["value"] > 0.9
    assert value(table, "turned", "clean", layer)["value"] < 0.35
    assert value(table, "turned", "each state", layer)["value"] > 0.9
    assert (
        value(table, "clean", "each state", layer)["value"]
        == value(table, "clean", "clean", layer)["value"]
    )


def test_what_cannot_be_read_is_a_row_with_its_reason(table):
    bad = table[(table["state"] == "diverged") & (table["layer"] == 5)]
    assert len(bad) == 2 * 2
    assert set(bad["reason"]) == {"1 of 120 activations are not finite"}
    assert bad["value"].isna().all()
    fine = table[(table["state"] == "diverged") & (table["layer"] == 4)]
    assert fine["value"].notna().all()
    part = table[table["state"] == "part"]
    assert len(part) == 2 * 2 * (LAYERS + 1)
    assert part["reason"].str.contains("other prompts were captured").all()


def test_layers_are_every_so_many_and_the_last_or_a_list(probe, facts, tmp_path):
    vectors = vectors_of(facts)
    activations = StateActivations(
        {"clean": planted(tmp_path, facts, vectors)}, object_vectors=vectors
    )
    for layers, expected in ((4, [0, 4, 6]), ([2], [2])):
        rows = probe.run(activations, facts, layers=layers, permutations=1).rows
        assert sorted({row["layer"] for row in rows}) == expected


def test_candidates_are_of_the_type_and_begin_otherwise(probe, facts, tmp_path):
    """An object whose vector is the true one's cannot be told from it, and is no candidate."""
    vectors = vectors_of(facts)
    for relation in RELATIONS:
        vectors[f"{relation} object 1"] = vectors[f"{relation} object 0"]
    activations = StateActivations(
        {"clean": planted(tmp_path, facts, vectors)}, object_vectors=vectors
    )
    rows = probe.run(activations, facts, layers=[6], candidates=12, permutations=1).rows
    twins = sum(fact.true_objects[0].endswith((" 0", " 1")) for fact in facts)
    chance = (twins / 11 + (len(facts) - twins) / 12) / len(facts)
    assert rows[0]["chance"] == pytest.approx(chance)
    assert max(row["value"] for row in rows) > 0.9


def test_too_few_entities_are_a_reason_not_an_error(probe, facts, tmp_path):
    vectors = vectors_of(facts)
    activations = StateActivations(
        {"clean": planted(tmp_path, facts, vectors, only=9)}, object_vectors=vectors
    )
    rows = probe.run(activations, facts, layers=[6]).rows
    assert {row["reason"] for row in rows} == {
        "3 entities cannot be split into 5 folds (and 3 are the least); give more entities, "
        "or fewer folds"
    }


def test_the_example_of_the_read_me_runs(facts, tmp_path):
    text = (Path(__file__).parents[2] / "probes" / "README.md").read_text("utf-8")
    path = tmp_path / "long_answers.py"
    path.write_text(text.split("```python\n")[1].split("```")[0], "utf-8")
    (example,) = load_definitions(path)
    activations = StateActivations({"clean": planted(tmp_path / "a", facts, vectors_of(facts))})
    (row,) = example.run(activations, facts, layer=5, length=12).rows
    assert row["n"] == len(facts)
    assert row["value"] > row["control_value"]
