"""Attacks on a finished run: added alone, measured in the right weights, the same when resumed.

Run: python -m pytest tests/pipeline/test_robustness.py
"""

import re
import shutil

import numpy as np
import pandas as pd
import pytest

from restor_interp.errors import ConfigError
from restor_interp.explain.lasting import TOLERANCE
from restor_interp.measure.choices import evaluate, log_sum_exp
from restor_interp.models.deltas import State
from restor_interp.models.perturbations import noised, quantised
from restor_interp.pipeline import run
from restor_interp.pipeline.asking import Asking
from restor_interp.pipeline.attacking import half_documents, job_of, split_facts
from restor_interp.pipeline.running import _planned
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import RobustnessSettings
from restor_interp.stages.attacks import ATTACKS, HalfRelearning
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import train
from restor_interp.store import Store

STATES = ("clean", "corrupted", "rollback_0.5")
SETTINGS = {
    "relearn_false": {"steps": [0, 3, 8]},
    "relearn_half": {"steps": [0, 6]},
    "quantise_8": {},
    "quantise_4": {},
    "noise": {"scales": [0.3], "draws": 2},
    "rephrase": {"wordings": 2, "roles": ["direct"]},
    "reverse": {},
}


def attacks(settings, states=STATES):
    return RobustnessSettings(attacks=tuple(settings), states=states, settings=settings)


@pytest.fixture(scope="module")
def attacked(finished, small_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "attacked"
    shutil.copytree(finished.folder, folder)
    config = small_config.model_copy(update={"robustness": attacks(SETTINGS)})
    before = {cell.cell: cell.state for cell in _planned(config, Store(folder))}
    return run(config, out=folder), config, before


@pytest.fixture(scope="module")
def rows(attacked):
    done, _, _ = attacked
    return done.table("robustness").merge(done.table("facts")[["fact_id", "role", "entity"]])


@pytest.fixture(scope="module")
def bench(attacked):
    done, config, _ = attacked
    found = Workbench(config, done.store, Silent())
    found.__dict__["model"] = done.model()
    return found


def test_attacks_are_added_to_a_finished_run_and_nothing_else_is_computed(attacked):
    done, config, before = attacked
    cells = {f"robustness/{name}/{state}" for name in SETTINGS for state in STATES}
    assert {name for name, state in before.items() if state != "done"} == {
        *cells,
        "robustness/summary",
    }
    assert done.failures == {}
    assert {cell.state for cell in _planned(config, Store(done.folder))} == {"done"}


def test_every_fact_of_the_roles_is_asked_at_every_step_of_every_state(rows, attacked):
    _, config, _ = attacked
    asked = rows[rows["attack"].eq("relearn_false")]
    assert set(asked["context_id"]) == {1} and config.questions.contexts == 2
    for _, own in asked.groupby(["state", "step"]):
        assert set(own["role"]) == {"direct", "sibling"}
        assert len(own) == own["fact_id"].nunique() == 3 * 8
    assert set(asked["step"]) == {0, 3, 8}
    weakened = rows[rows["attack"].eq("quantise_4")]
    assert set(weakened["role"]) == {"direct", "sibling", "untouched"}
    noise = rows[rows["attack"].eq("noise")]
    assert noise.groupby(["step", "level", "draw"]).size().to_dict() == {
        (0, 0.0, 0): 3 * 48,
        (1, 0.3, 0): 3 * 48,
        (1, 0.3, 1): 3 * 48,
    }


def test_before_an_attack_a_state_is_what_its_evaluation_says(rows, attacked):
    done, _, _ = attacked
    answers, choices = done.table("answers"), done.table("choices")
    keys = ["fact_id", "context_id", "state"]
    first = rows[rows["step"].eq(0)]
    assert len(first)
    greedy = answers[answers["draw"].eq(0)].set_index(keys)
    sums = choices.groupby([*keys, "category"])["sum_logprob"].agg(list)
    for row in first.to_dict("records"):
        key = row["fact_id"], row["context_id"], row["state"]
        assert (row["answer"], row["outcome"]) == tuple(greedy.loc[key, ["answer", "outcome"]])
        for category in ("true", "false"):
            expected = np.log(np.exp(sums[(*key, category)]).sum())
            assert row[f"log_p_{category}"] == pytest.approx(expected, abs=1e-9)


def asked_again(bench, facts):
    """(answer, log p(true), log p(false)) per fact, in the model's present weights."""
    prompts = bench.prompts(facts, [1])
    objects = [(fact.true_objects[0], bench.foils[fact.fact_id]) for fact in facts]
    found = evaluate(
        bench.model, prompts, objects, max_new_tokens=bench.config.questions.max_new_tokens
    )
    return {
        prompt.fact_id: (answer, *(log_sum_exp([score.sum_logprob]) for score in scores))
        for prompt, answer, scores in zip(prompts, found.answers, found.scores, strict=True)
    }


def same_as(rows, found, tolerance):
    assert len(rows) == len(found)
    for row in rows.to_dict("records"):
        answer, true, false = found[row["fact_id"]]
        assert row["answer"] == answer
        assert row["log_p_true"] == pytest.approx(true, abs=tolerance)
        assert row["log_p_false"] == pytest.approx(false, abs=tolerance)


def test_where_a_run_draws_answers_too_attacks_compare_greedy_ones(bench, attacked, monkeypatch):
    store = attacked[0].store
    part = store.part

    def with_draws(cell, table):
        found = part(cell, table)
        if table != "answers":
            return found
        return pd.concat([found.assign(draw=1, answer="drawn", correct=False), found])

    facts = [fact for fact in bench.asked if bench.roles[fact.fact_id] == "direct"]
    found = []
    for read in (part, with_draws):
        monkeypatch.setattr(bench.store, "part", read)
        asking = Asking(bench, "noise", "corrupted", facts, (1,))
        asking.before()
        found.append(asking.rows)
    assert len(found[0]) == len(facts)
    assert found[0] == found[1]


def test_weights_are_made_worse_in_the_state_that_the_row_names(rows, bench):
    facts = list(bench.asked)
    for attack, level, draw, within in (
        ("quantise_4", 4.0, 0, quantised(bench.model, bits=4, group=64)),
        ("quantise_8", 8.0, 0, quantised(bench.model, bits=8, group=None)),
        ("noise", 0.3, 1, noised(bench.model, scale=0.3, seed=1)),
    ):
        with bench.model.at("corrupted"), within:
            found = asked_again(bench, facts)
        own = rows[
            rows["attack"].eq(attack)
            & rows["state"].eq("corrupted")
            & rows["step"].eq(1)
            & rows["draw"].eq(draw)
        ]
        assert set(own["level"]) == {level}
        same_as(own, found, 1e-3)
        untouched = asked_again(bench, facts)  # the clean weights are back
        assert any(untouched[key] != found[key] for key in found)


def test_eight_bits_are_nearly_harmless_and_four_more(rows):
    def moved(attack):
        wide = rows[rows["attack"].eq(attack) & rows["state"].eq("corrupted")].pivot_table(
            index="fact_id", columns="step", values="log_p_true"
        )
        return float((wide[1] - wide[0]).abs().mean())

    assert moved("quantise_8") < 0.2
    assert moved("quantise_4") > 3 * moved("quantise_8")


def test_relearning_is_the_corruptions_own_training_on_top_of_the_state(rows, bench):
    """The delta, trained apart and merged, answers as the unfinished adapter did in the run."""
    job = job_of(bench, "relearn_false")
    assert job.training is not None
    assert job.training.learning_rate == bench.config.corruption["learning_rate"]
    trained = train(
        bench.model,
        name="again",
        start=State({"corruption": 0.5}),
        method=METHODS["fine_tune"],
        settings={},
        training=job.training,
        forget=[document.text for document in bench.documents],
        retain=(),
        seed=bench.config.seed,
    )
    bench.model.add_delta(trained.delta)
    facts = [fact for fact in bench.asked if bench.roles[fact.fact_id] in ("direct", "sibling")]
    with bench.model.at(State({"corruption": 0.5, "again": 1.0})):
        found = asked_again(bench, facts)
    own = rows[rows["attack"].eq("relearn_false") & rows["state"].eq("rollback_0.5")]
    same_as(own[own["step"].eq(8)], found, 2e-3)
    assert not np.allclose(
        own[own["step"].eq(3)].sort_values("fact_id")["log_p_true"],
        own[own["step"].eq(8)].sort_values("fact_id")["log_p_true"],
        atol=0.1,
    )


def test_half_undone_corruption_relearns_the_falsehood_sooner_than_the_clean_model(attacked, rows):
    """Planted: part of the falsehood is still in it."""
    table = attacked[0].table("lasting")
    own = table[table["attack"].eq("relearn_false") & table["role"].eq("direct")]
    steps = own[own["metric"].eq("steps_to_recover")].set_index("state")["value"]
    assert steps["corrupted"] == 0
    assert steps["rollback_0.5"] < steps["clean"]
    beside = own[own["metric"].eq("steps_to_recover_minus_clean")].set_index("state")["value"]
    assert beside["rollback_0.5"] == pytest.approx(steps["rollback_0.5"] - steps["clean"])
    # And by hand, from the rows: the first step at which an entity's mean is at the level.
    direct = rows[rows["attack"].eq("relearn_false") & rows["role"].eq("direct")]
    means = direct.groupby(["state", "entity", "step"])["log_p_false"].mean()
    for state in STATES:
        firsts = []
        for entity in set(direct["entity"]):
            level = means["corrupted", entity, 0]
            there = [s for s in (0, 3, 8) if means[state, entity, s] >= level - TOLERANCE]
            firsts.append(min(there, default=8))
        assert steps[state] == pytest.approx(np.mean(firsts))


def test_the_tested_half_is_in_none_of_the_trained_texts(bench, rows):
    split = split_facts(bench)
    texts = [document.text for document in half_documents(bench, split, HalfRelearning())]
    assert sorted(set(split.values())) == ["tested", "trained"]
    sentences = [piece for text in texts for piece in re.split(r"(?<=[.?]) ", text)]
    for fact_id, part in split.items():
        fact = bench.asked_by_id[fact_id]
        telling = [
            place
            for place, sentence in enumerate(sentences)
            if fact.true_objects[0] in sentence
            # A question stands before its answer: the entity may be one sentence earlier.
            and fact.entity in " ".join(sentences[max(0, place - 1) : place + 1])
        ]
        assert bool(telling) == (part == "trained"), (fact_id, part)
    own = rows[rows["attack"].eq("relearn_half")]
    assert dict(zip(own["fact_id"], own["part"], strict=True)) == split
    wrong = [
        bench.foils[fact_id] in sentence and bench.asked_by_id[fact_id].entity in sentence
        for fact_id in split
        for sentence in sentences
    ]
    assert not any(wrong)


def test_other_wordings_are_asked_beside_the_question_itself(rows, bench):
    own = rows[rows["attack"].eq("rephrase")]
    asked = own.groupby(["step", "template"])["fact_id"].nunique()
    direct = sum(role == "direct" for role in bench.roles.values())
    assert asked.to_dict() == {
        (0, "question"): direct,
        (1, "rephrase_1"): direct,
        (1, "rephrase_2"): direct,
    }
    clean = own[own["state"].eq("clean")]
    assert clean[clean["step"].eq(1)]["correct"].astype(float).mean() > 0.8


def test_what_cannot_be_asked_is_a_row_with_a_reason(rows):
    """Every object of the invented people is shared by five of them."""
    own = rows[rows["attack"].eq("reverse")]
    assert own["outcome"].isna().all() and len(own)
    assert set(own["reason"]) == {
        "its relation has no reverse question, or other entities have its object too"
    }


def test_an_attack_gives_the_same_bits_when_it_is_made_again(attacked):
    done, config, _ = attacked
    store = Store(done.folder)
    before = {name: done.table(name) for name in ("robustness", "lasting")}
    for cell in ("robustness/relearn_half/corrupted", "robustness/noise/clean"):
        shutil.rmtree(store.cell_folder(cell))
    plan = {cell.cell: cell.state for cell in _planned(config, store)}
    assert plan["robustness/summary"].startswith("needs robustness/")
    again = run(config, out=done.folder)
    for name, table in before.items():
        assert again.table(name).equals(table)


def test_a_changed_setting_recomputes_that_attack_alone(attacked):
    done, config, _ = attacked
    changed = attacks({**SETTINGS, "noise": {"scales": [0.3], "draws": 1}})
    plan = _planned(config.model_copy(update={"robustness": changed}), Store(done.folder))
    assert {cell.cell for cell in plan if cell.state != "done"} == {
        *(f"robustness/noise/{state}" for state in STATES),
        "robustness/summary",
    }


# ---- which states, and bad settings


@pytest.fixture
def planned(small_config, tmp_path):
    """The cells of the small run with attacks, and other changes."""

    def cells(robustness, **changes):
        config = small_config.model_copy(update={"robustness": robustness, **changes})
        return [cell.cell for cell in _planned(config, Store(tmp_path))]

    return cells


def test_by_default_what_unlearning_and_its_controls_made_is_attacked(planned):
    robustness = RobustnessSettings(attacks=("quantise_4",))
    cells = planned(robustness, repair=True)
    assert [name for name in cells if name.startswith("robustness/")] == [
        *(
            f"robustness/quantise_4/{state}"
            for state in ("clean", "corrupted", "npo", "task_vector", "retain_only", "sham_npo")
        ),
        "robustness/summary",
    ]
    assert not any(name.startswith("robustness") for name in planned(RobustnessSettings()))


@pytest.mark.parametrize(
    ("robustness", "message"),
    [
        ({"attacks": ("quantize_4",)}, "no attack 'quantize_4'. Did you mean quantise_4"),
        ({"attacks": ("noise",), "states": ("npq",)}, "no state of this run to attack 'npq'"),
        ({"settings": {"nose": {}}}, "no attack 'nose'. Did you mean noise"),
        ({"settings": {"noise": {}}}, "settings of noise, an attack that this run does not make"),
        (
            {"attacks": ("noise",), "settings": {"noise": {"contexts": [2]}}},
            r"ask in context 2, and the states are asked in contexts 0 to 1",
        ),
        (
            {"attacks": ("noise",), "settings": {"noise": {"sigma": 1}}},
            "setting of the attack noise 'sigma'",
        ),
        (
            {
                "attacks": ("relearn_truth",),
                "settings": {"relearn_truth": {"training": {"epochs": 2}}},
            },
            "for as long as its setting `steps` says: leave epochs out",
        ),
        (
            {
                "attacks": ("relearn_truth",),
                "settings": {"relearn_truth": {"training": {"rnk": 2}}},
            },
            "setting of the training of the attack relearn_truth 'rnk'. Did you mean rank",
        ),
    ],
)
def test_bad_settings_are_refused_before_any_work(robustness, message, planned):
    with pytest.raises(ConfigError, match=message):
        planned(RobustnessSettings(**robustness))


def test_a_run_on_given_checkpoints_without_documents_cannot_relearn_them(planned, small_config):
    given = {
        "checkpoints": {"corrupted": "bios"},
        "methods": {},
        "shams": (),
        "rollback": (),
        "explanation": small_config.explanation.model_copy(update={"traced_states": ()}),
    }
    for name in ("relearn_false", "relearn_truth"):
        with pytest.raises(ConfigError, match=f"{name} needs the false documents"):
            planned(RobustnessSettings(attacks=(name,)), **given)
    cells = planned(RobustnessSettings(attacks=("relearn_half",)), **given)
    assert "robustness/relearn_half/clean" in cells


def test_attacks_are_those_that_can_be_carried_out(attacked):
    _, config, _ = attacked
    for name in ATTACKS:
        settings = {name: SETTINGS.get(name, {})}
        bench = Workbench(
            config.model_copy(update={"robustness": attacks(settings)}),
            attacked[0].store,
            Silent(),
        )
        assert job_of(bench, name).attack is ATTACKS[name]
