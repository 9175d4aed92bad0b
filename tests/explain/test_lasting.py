"""The table `lasting`, worked out by hand.

Run: python -m pytest tests/explain/test_lasting.py
"""

import math

import pandas as pd
import pytest
from scipy import stats

from restor_interp.explain.lasting import LOST, TOLERANCE, lasting_rows

ENTITIES = ("Ada", "Bo", "Cy")
STATES = ("clean", "corrupted", "npo", "sham_npo")
TARGETS = {"relearn_false": "false", "relearn_half": "true"}


def fact_frame(specific=True):
    return pd.DataFrame(
        {
            "fact_id": [f"{name}/{number}" for name in ENTITIES for number in range(2)],
            "entity": [name for name in ENTITIES for _ in range(2)],
            "role": "direct",
            "known_specific": pd.array([specific] * 6, dtype="boolean"),
        }
    )


def answer_frame(corrupted=("false", "false")):
    """Context 0 and 1 of the clean and the corrupted state."""
    return pd.DataFrame(
        [
            {"fact_id": fact_id, "context_id": context, "state": state, "outcome": outcome}
            for fact_id in fact_frame()["fact_id"]
            for state, outcomes in (("clean", ("true", "true")), ("corrupted", corrupted))
            for context, outcome in enumerate(outcomes)
        ]
    )


def rows(attack, values, *, part="", context=1, level=0.0, template="question"):
    """{state: {step: {fact_id: (outcome, log_p_true, log_p_false)}}} as rows of `robustness`."""
    return [
        {
            "fact_id": fact_id,
            "context_id": context,
            "state": state,
            "attack": attack,
            "step": step,
            "template": template,
            "part": part,
            "level": level if step else 0.0,
            "draw": 0,
            "outcome": outcome,
            "log_p_true": true,
            "log_p_false": false,
        }
        for state, steps in values.items()
        for step, facts in steps.items()
        for fact_id, (outcome, true, false) in facts.items()
    ]


def all_facts(outcome, true, false):
    return dict.fromkeys(fact_frame()["fact_id"], (outcome, true, false))


def lasting(robustness, *, facts=None, answers=None):
    facts = fact_frame() if facts is None else facts
    answers = answer_frame() if answers is None else answers
    return pd.DataFrame(lasting_rows(facts, answers, pd.DataFrame(robustness), targets=TARGETS))


def one(table, **values):
    for column, value in values.items():
        table = table[table[column].eq(value)]
    assert len(table) == 1, table
    return table.iloc[0]


def test_accuracy_before_and_after_with_the_difference_over_entities():
    right, wrong = ("true", -0.1, -9.0), ("false", -6.0, -0.2)
    ids = list(fact_frame()["fact_id"])
    after = dict(zip(ids, (right, right, right, wrong, wrong, wrong), strict=True))
    table = lasting(
        rows(
            "quantise_4",
            {
                "corrupted": {0: all_facts(*wrong), 1: all_facts(*wrong)},
                "npo": {0: all_facts(*wrong), 1: after},
            },
            level=4.0,
        )
    )
    own = table[table["state"].eq("npo") & table["role"].eq("direct")]
    assert one(own, metric="accuracy", step=0)["value"] == 0
    found = one(own, metric="accuracy", step=1)
    assert (found["value"], found["n_facts"], found["n_entities"]) == (0.5, 6, 3)
    assert found["low"] < 0.5 < found["high"] and found["level"] == 4.0
    assert one(own, metric="said_false", step=1)["value"] == 0.5
    assert one(own, metric="log_p_true", step=1)["value"] == pytest.approx((-0.1 - 6.0) / 2)
    # Entity means of the change are 1, ½ and 0.
    half = stats.t.ppf(0.975, 2) * 0.5 / math.sqrt(3)
    for metric, against in (("before", "npo"), ("corrupted", "corrupted")):
        change = one(own, metric=f"accuracy_minus_{metric}", step=1)
        assert change["value"] == pytest.approx(0.5)
        assert (change["low"], change["high"]) == pytest.approx((0.5 - half, min(0.5 + half, 1)))
        assert change["against"] == against
        # 2 of the 8 patterns of signs have a sum as large: those with Ada's and Bo's alike,
        # and Cy's is 0 either way.
        assert change["p"] == pytest.approx(4 / 8)
        assert "fewer than six entities" in change["note"]
    assert not {"accuracy_minus_sham", "steps_to_recover"} & set(own["metric"])


def test_lost_facts_are_chosen_by_the_first_context_and_specific():
    facts = fact_frame()
    facts.loc[0, "known_specific"] = False
    facts.loc[1, "known_specific"] = pd.NA
    answers = answer_frame(corrupted=("false", "true"))
    first = answers["fact_id"].eq("Bo/0") & answers["state"].eq("corrupted")
    answers.loc[first, "outcome"] = ["true", "false"]
    table = lasting(
        rows("noise", {"npo": {0: all_facts("true", 0.0, -9.0), 1: all_facts("true", 0.0, -9.0)}}),
        facts=facts,
        answers=answers,
    )
    found = one(table, role=LOST, metric="accuracy", step=1)
    assert (found["n_facts"], found["n_entities"]) == (3, 2)  # Bo/1, Cy/0, Cy/1
    assert found["note"] == "selected on the first context, scored on the others"
    direct = one(table, role="direct", metric="accuracy", step=1)
    assert (direct["n_facts"], direct["note"]) == (6, "")


def test_scoring_on_the_context_of_the_choice_is_said():
    values = {"npo": {0: all_facts("true", 0.0, -9.0), 1: all_facts("true", 0.0, -9.0)}}
    table = lasting(rows("noise", values, context=0))
    note = one(table, role=LOST, metric="accuracy", step=1)["note"]
    assert note == "selected and scored on the same single context"


def test_no_lost_facts_is_a_row_with_a_reason():
    values = {"npo": {0: all_facts("true", 0.0, -9.0), 1: all_facts("true", 0.0, -9.0)}}
    table = lasting(rows("noise", values), facts=fact_frame(specific=False))
    found = one(table, role=LOST, metric="accuracy", step=1)
    assert pd.isna(found["value"]) and found["reason"] == "there are no such facts"


def test_wordings_are_averaged_within_facts():
    """One fact right in 1 of 4 wordings is a quarter, and not four facts."""
    ids = list(fact_frame()["fact_id"])
    found = []
    for number in range(4):
        outcomes = dict.fromkeys(ids, ("true" if number == 0 else "other", -1.0 - number, -2.0))
        found += rows("rephrase", {"npo": {1: outcomes}}, template=f"rephrase_{number + 1}")
    table = lasting(found)
    accuracy = one(table, role="direct", metric="accuracy")
    assert (accuracy["value"], accuracy["n_facts"]) == (0.25, 6)
    assert one(table, role="direct", metric="log_p_true")["value"] == pytest.approx(-2.5)
    assert not table["metric"].str.endswith("_before").any()


# ---- steps to recover


def curve(levels):
    """step -> every fact's log p(false), per entity."""
    return {
        step: {
            f"{name}/{number}": ("other", -5.0, value + (0.4 if number else -0.4))
            for name, value in zip(ENTITIES, values, strict=True)
            for number in range(2)
        }
        for step, values in levels.items()
    }


@pytest.fixture
def relearned():
    known = dict.fromkeys((0, 2, 5), (-1.0, -1.0, -2.0))
    return lasting(
        rows(
            "relearn_false",
            {
                "clean": curve({0: (-9, -9, -9), 2: (-8, -8, -8), 5: (-7, -7, -7)}),
                "corrupted": curve(known),
                # Ada at once, Bo after 2 steps and worse later, Cy just short of its tolerance.
                "npo": curve(
                    {
                        0: (-1.0 - TOLERANCE + 1e-9, -4, -9),
                        2: (-3.0, -1.5, -9),
                        5: (-3.0, -9.0, -2.0 - TOLERANCE - 1e-6),
                    }
                ),
                "sham_npo": curve({0: (-2, -2, -3), 2: (-1, -1, -2), 5: (-1, -1, -2)}),
            },
        )
    )


def test_steps_to_recover_are_the_first_at_the_corrupted_level(relearned):
    own = relearned[relearned["role"].eq("direct")]
    found = one(own, state="npo", metric="steps_to_recover")
    assert found["value"] == pytest.approx((0 + 2 + 5) / 3)
    assert (found["n_facts"], found["n_entities"], found["step"]) == (6, 3, 5)
    assert found["note"] == "1 of 3 entities did not within 5 steps"
    half = stats.t.ppf(0.975, 2) * math.sqrt((7 / 3) ** 2 + (1 / 3) ** 2 + (8 / 3) ** 2)
    half /= math.sqrt(2) * math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert one(own, state="corrupted", metric="steps_to_recover")["value"] == 0
    assert one(own, state="clean", metric="steps_to_recover")["value"] == 5


def test_steps_to_recover_are_compared_entity_by_entity(relearned):
    own = relearned[relearned["role"].eq("direct") & relearned["state"].eq("npo")]
    differences = {"clean": (-5, -3, 0), "corrupted": (0, 2, 5), "sham": (-2, 0, 3)}
    for name, each in differences.items():
        found = one(own, metric=f"steps_to_recover_minus_{name}")
        assert found["value"] == pytest.approx(sum(each) / 3)
        assert found["against"] == ("sham_npo" if name == "sham" else name)
        assert found["n_facts"] == 6


def test_the_truth_is_recovered_at_the_clean_level_in_each_half_apart():
    def half(level):
        return dict.fromkeys(fact_frame()["fact_id"][::2], ("other", level, -1.0))

    def other(level):
        return dict.fromkeys(fact_frame()["fact_id"][1::2], ("other", level, -1.0))

    table = lasting(
        rows(
            "relearn_half",
            {"clean": {0: half(-0.1), 3: half(-0.1)}, "npo": {0: half(-9), 3: half(-0.1)}},
            part="trained",
        )
        + rows(
            "relearn_half",
            {"clean": {0: other(-0.1), 3: other(-0.1)}, "npo": {0: other(-9), 3: other(-8)}},
            part="tested",
        )
    )
    own = table[table["state"].eq("npo") & table["role"].eq("direct")]
    trained = one(own, part="trained", metric="steps_to_recover")
    tested = one(own, part="tested", metric="steps_to_recover")
    assert (trained["value"], trained["note"], trained["n_facts"]) == (3, "", 3)
    assert (tested["value"], tested["note"]) == (3, "3 of 3 entities did not within 3 steps")
    change = one(own, part="tested", metric="log_p_true_minus_before", step=3)
    assert change["value"] == pytest.approx(1.0)


def test_without_the_corrupted_state_there_is_no_level_to_reach():
    values = {"npo": curve({0: (-4, -4, -4), 2: (-1, -1, -1)})}
    table = lasting(rows("relearn_false", values))
    found = one(table, role="direct", metric="steps_to_recover")
    assert pd.isna(found["value"])
    assert found["reason"] == (
        "the state corrupted, whose level is to be reached, was not attacked"
    )


def test_a_step_that_a_training_did_not_reach_counts_as_not_recovered():
    values = {
        "corrupted": curve({0: (-1, -1, -1), 2: (-1, -1, -1), 5: (-1, -1, -1)}),
        "npo": curve({0: (-9, -9, -9), 2: (-9, -9, -9)}),
    }
    values["npo"][5] = all_facts(None, None, None)
    table = lasting(rows("relearn_false", values))
    found = one(table, state="npo", role="direct", metric="steps_to_recover")
    assert (found["value"], found["note"]) == (5, "3 of 3 entities did not within 5 steps")
    accuracy = one(table, state="npo", role="direct", metric="accuracy", step=5)
    assert pd.isna(accuracy["value"]) and accuracy["reason"] == "there are no such facts"


def test_no_attacks_no_rows():
    assert lasting_rows(fact_frame(), answer_frame(), pd.DataFrame(), targets=TARGETS) == []
