"""The other probes of the gallery: each finds what was planted, and its controls what they should.

Run: python -m pytest tests/gallery/test_probes_gallery.py
"""

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

WIDTH, ENTITIES, RELATIONS = 40, 36, ("P1", "P2", "P3")
KINDS = ("person", "city")
PROBES = Path(__file__).parents[2] / "probes"


def role_of(number):
    return "direct" if number % 2 else "untouched"


@pytest.fixture(scope="module")
def facts():
    rng = np.random.default_rng(0)
    pools = {r: tuple(f"{r} object {n}" for n in range(6)) for r in RELATIONS}
    names = [f"Entity {number}" for number in range(ENTITIES)]
    return FactSet(
        name="planted",
        facts=tuple(
            Fact(
                fact_id=f"{name}/{relation}",
                entity=name,
                relation=relation,
                question="?",
                true_objects=(str(rng.choice(pools[relation])),),
                object_type=relation,
            )
            for name in names
            for relation in RELATIONS
        ),
        entities={n: Entity(name=n, kind=KINDS[i // 2 % 2]) for i, n in enumerate(names)},
        relations={
            r: Relation(relation=r, name=r, question="{entity}?", object_type=r) for r in RELATIONS
        },
        pools=pools,
    )


@pytest.fixture(scope="module")
def vectors(facts):
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal(12) for pool in facts.pools.values() for name in pool}


def number_of(fact):
    return int(fact.entity.split()[1])


def prompts_of(facts, labels=("",), contexts=(0,)):
    return [
        CapturedPrompt(
            fact_id=fact.fact_id,
            context_id=context,
            entity=fact.entity,
            relation=fact.relation,
            num_tokens=3,
            role=role_of(number_of(fact)),
            label=label,
        )
        for fact in facts
        for context in contexts
        for label in labels
    ]


def written(folder, prompts, x, positions=("subject_last", "last")):
    """`x`: [row, layer, position, width]."""
    with ActivationWriter(
        folder,
        prompts=prompts,
        sites=("resid",),
        positions=positions,
        num_layers=x.shape[1] - 1,
        num_heads=1,
        width=WIDTH,
    ) as out:
        for row, one in enumerate(x):
            out.add(row, {"resid": one})
    return Activations.open(folder)


def run(name, activations, facts, **settings):
    (definition,) = load_definitions(PROBES / f"{name}.py")
    return pd.DataFrame(definition.run(activations, facts, **settings).rows)


def noise(seed, facts, *, rows=1, layers=2, positions=2):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((len(facts) * rows, layers, positions, WIDTH))


# ---- relation


def test_relation_and_kind_are_read_where_they_are(facts, tmp_path):
    x = noise(2, facts)
    code = np.random.default_rng(3).standard_normal((5, WIDTH))
    for row, fact in enumerate(facts):
        x[row, 1, 1] += 2 * code[RELATIONS.index(fact.relation)]
        x[row, 1, 0] += 2 * code[3 + KINDS.index(facts.entities[fact.entity].kind)]
    broken = noise(4, facts)
    prompts = prompts_of(facts)
    states = StateActivations(
        {
            "clean": written(tmp_path / "clean", prompts, x),
            "broken": written(tmp_path / "broken", prompts, broken),
        },
        controls={"random_weights": written(tmp_path / "random", prompts, noise(5, facts))},
    )
    table = run("relation", states, facts, layers=[1])

    def accuracy(state, metric, position, column="value", control="labels shuffled"):
        rows = table[
            (table["state"] == state) & (table["metric"] == metric) & (table["control"] == control)
        ]
        return rows[rows["position"] == position][column].to_numpy()

    assert (accuracy("clean", "relation accuracy", "last") > 0.95).all()
    assert (accuracy("clean", "kind accuracy", "subject_last") > 0.95).all()
    # Three standard deviations at 108 rows, and at 36 entities of one kind each.
    assert (accuracy("clean", "relation accuracy", "subject_last") < 1 / 3 + 0.14).all()
    assert (accuracy("clean", "kind accuracy", "last") < 1 / 2 + 0.25).all()
    assert (accuracy("broken", "relation accuracy", "last") < 1 / 3 + 0.14).all()
    for control in ("random weights", "subject embedding only"):
        found = accuracy("clean", "relation accuracy", "last", "control_value", control)
        assert (found < 1 / 3 + 0.14).all()


# ---- transfer


@pytest.fixture(scope="module")
def moved(facts, vectors, tmp_path_factory):
    """States in which the object is gone, shifted, or turned, for the corrupted entities or all."""
    root = tmp_path_factory.mktemp("moved")
    code = np.random.default_rng(6).standard_normal((12, WIDTH)) / 2
    turn = np.linalg.qr(np.random.default_rng(7).standard_normal((WIDTH, WIDTH)))[0]
    touched = np.array([number_of(fact) % 2 == 1 for fact in facts])
    objects = np.stack([vectors[fact.true_objects[0]] @ code for fact in facts])

    def made(name, change, seed):
        x = noise(seed, facts) * 0.3
        x[:, 1, 1] = change(
            objects + 0.3 * np.random.default_rng(seed).standard_normal(objects.shape)
        )
        return written(root / name, prompts_of(facts), x)

    return StateActivations(
        {
            "clean": made("clean", lambda x: x, 10),
            "same": made("same", lambda x: x, 11),
            "erased": made("erased", lambda x: np.where(touched[:, None], x[::-1], x), 12),
            "shifted": made("shifted", lambda x: x + 15 * code[0], 13),
            "turned": made("turned", lambda x: x @ turn, 14),
        },
        object_vectors=vectors,
    )


def test_transfer_tells_loss_from_rotation_and_what_an_alignment_removes(facts, moved):
    table = run("transfer", moved, facts, layers=[1], positions=("last",), candidates=6)
    assert set(table["n"]) == {len(facts) // 2}
    of = {(row.state, row.metric): row.value for row in table.itertuples()}
    control = {(row.state, row.metric): row.control_value for row in table.itertuples()}
    assert max(abs(of["same", m]) for m in ("loss", "rotation", "rotation_aligned")) < 0.1
    assert of["erased", "loss"] > 0.5
    assert control["erased", "loss"] < 0.15
    assert abs(of["turned", "loss"]) < 0.1
    assert of["turned", "rotation"] > 0.5
    assert of["turned", "rotation_recentred"] > 0.5
    assert of["turned", "rotation_aligned"] < of["turned", "rotation"] - 0.3
    assert control["turned", "rotation_aligned"] < control["turned", "rotation"] - 0.3
    assert of["shifted", "rotation"] > 0.3
    assert abs(of["shifted", "rotation_recentred"]) < 0.1
    assert table["reason"].isna().all()


def test_transfer_without_untouched_entities_gives_its_reason(facts, moved):
    few = facts.only(
        entities=[name for name in facts.entities if role_of(int(name.split()[1])) == "direct"]
    )
    table = run("transfer", moved, few, layers=[1], positions=("last",))
    assert table["value"].isna().all()
    assert set(table["reason"]) == {
        "0 untouched entities for an alignment of 54 rows; 3 are the least, and a mark per row is "
        "needed"
    }


# ---- true versus false


def sides(facts, seed, *, false=0.0, drift=0.0):
    """Clean activations, moved along one direction by the falsehood, along another by drift."""
    ways = np.random.default_rng(20).standard_normal((2, WIDTH)) / np.sqrt(WIDTH) * 6
    x = noise(19, facts) + 0.3 * noise(seed, facts)
    touched = np.array([number_of(fact) % 2 == 1 for fact in facts])
    x[touched, 1, 1] += false * ways[0]
    x[:, 1, 1] += drift * ways[1]
    return x


def side_states(facts, root, drift):
    prompts = prompts_of(facts)
    states = {
        "clean": sides(facts, 21),
        "corrupted": sides(facts, 22, false=1.0, drift=drift),
        "restored": sides(facts, 23, drift=drift / 2),
        "stuck": sides(facts, 24, false=1.0, drift=drift),
    }
    return StateActivations(
        {name: written(root / f"{name} {drift}", prompts, x) for name, x in states.items()}
    )


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_states_stand_on_the_side_of_what_they_hold(facts, tmp_path, drift):
    table = run("true_versus_false", side_states(facts, tmp_path, drift), facts, layers=[1])
    at_last = table[table["position"] == "last"]
    for kind in ("mean_difference", "lda", "logistic"):
        rows = at_last[at_last["metric"] == f"on the true side by {kind}"].set_index("state")
        accuracy = at_last[at_last["metric"] == f"accuracy of {kind}"].iloc[0]
        assert accuracy["value"] > 0.95
        assert accuracy["p"] == pytest.approx(1 / 6)
        assert abs(accuracy["control_value"] - 0.5) < 0.15
        assert rows.loc["clean", "value"] > 0.9
        assert rows.loc["corrupted", "value"] < 0.1
        assert rows.loc["stuck", "value"] < 0.1
        if not drift:
            assert rows.loc["restored", "value"] > 0.9
            assert rows.loc["corrupted", "control_value"] > 0.8
    if drift:
        # The control says it: untouched facts cross the line, which is one between states.
        rows = at_last[at_last["metric"] == "on the true side by mean_difference"]
        assert rows.set_index("state").loc["corrupted", "control_value"] < 0.6
    nowhere = table[(table["position"] == "subject_last") & table["metric"].str.startswith("acc")]
    assert nowhere["value"].max() < 0.5 + 3 * 0.5 / np.sqrt(54)


def test_without_a_corrupted_state_or_claims_the_reason_is_told(facts, tmp_path):
    states = StateActivations(
        {"clean": written(tmp_path / "a", prompts_of(facts), noise(1, facts))}
    )
    table = run("true_versus_false", states, facts, layers=[1])
    assert set(table["reason"]) == {"no state corrupted"}
    none = facts.only(entities=["Entity 0", "Entity 2"])
    both = written(tmp_path / "b", prompts_of(none), noise(1, none))
    table = run("true_versus_false", StateActivations({"clean": both, "corrupted": both}), none)
    assert table["value"].isna().all()
    assert table["reason"].str.contains("0 entities").all()


# ---- truth of statements


def statement_states(facts, root, *, planted_true=True):
    """True statements lie along one direction; corruption moves its falsehoods there as well."""
    prompts = prompts_of(facts, labels=("true", "false", "random"), contexts=(0, 1))
    way = np.random.default_rng(30).standard_normal(WIDTH) / np.sqrt(WIDTH) * 5

    def made(state, seed):
        x = np.random.default_rng(seed).standard_normal((len(prompts), 2, 1, WIDTH))
        for row, prompt in enumerate(prompts):
            believed = prompt.label == "true" or (
                state == "corrupted"
                and planted_true
                and (prompt.label, prompt.role) == ("false", "direct")
            )
            x[row, 1, 0] += believed * way
        return written(root / state, prompts, x, positions=("last",))

    statements = StateActivations(
        {s: made(s, 31 + i) for i, s in enumerate(("clean", "corrupted"))}
    )
    questions = written(root / "questions", prompts_of(facts), noise(1, facts))
    return StateActivations(
        {"clean": questions, "corrupted": questions}, others={"statements": statements}
    )


def test_truth_of_statements_and_planted_falsehoods(facts, tmp_path):
    table = run(
        "statement_truth", statement_states(facts, tmp_path), facts, layers=1, permutations=2
    )
    at = table[table["layer"] == 1]
    for kind in ("lda", "mean_difference", "logistic"):
        rows = at[at["metric"] == f"accuracy of {kind}"]
        assert rows["value"].min() > 0.95
        shuffled = rows[rows["control"] == "labels shuffled"]["control_value"]
        assert abs(shuffled.mean() - 0.5) < 0.1
        below = table[(table["layer"] == 0) & (table["metric"] == f"accuracy of {kind}")]
        assert below["value"].max() < 0.5 + 3 * 0.5 / np.sqrt(432)
    planted = at[at["metric"] == "planted falsehoods taken for true"].set_index("state")
    assert planted.loc["corrupted", "value"] > 0.95
    assert planted.loc["clean", "value"] < 0.05
    assert planted["control_value"].max() < 0.05
    assert set(planted["n"]) == {len(facts) // 2 * 2}
    words = at[at["metric"] == "accuracy in other templates"]
    assert set(words["control"]) == {"control task"}
    assert words["value"].min() > 0.95


def test_statements_that_were_not_captured_are_a_reason(facts, tmp_path):
    states = StateActivations({"clean": written(tmp_path, prompts_of(facts), noise(1, facts))})
    table = run("statement_truth", states, facts)
    assert len(table) == 1
    assert "'statements'" in table["reason"].iloc[0]
