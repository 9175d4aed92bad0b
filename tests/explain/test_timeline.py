"""Moments of a training, from planted curves; and the curves, from captures on its way.

Run: python -m pytest tests/explain/test_timeline.py
"""

import math

import numpy as np
import pandas as pd
import pytest

from restor_interp.errors import ConfigError
from restor_interp.explain.timeline import leading_layers, turning_rows
from restor_interp.measure.capture import capture
from restor_interp.measure.lens import logit_lens
from restor_interp.measure.timeline import timeline_rows
from restor_interp.models.deltas import State
from restor_interp.prompts import Prompt
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import TrainSettings, train
from restor_interp.testing import tiny_model

STEPS = (0, 10, 20, 40)


def table(curves, *, steps=STEPS):
    """{(fact, layer): (true, false)} as the table `timeline`."""
    return pd.DataFrame(
        {"state": "npo", "step": step, "layer": layer, "fact_id": fact, "context_id": 0,
         "category": category, "object": category, "logprob": curve[place]}
        for (fact, layer), pair in curves.items()
        for category, curve in zip(("true", "false"), pair, strict=True)
        for place, step in enumerate(steps)
    )  # fmt: skip


def one(rows, **wanted):
    [row] = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    return row


def test_half_of_a_change_comes_where_it_was_planted():
    # True: −6 → −2, half at −4, which is a fifth of the way from step 20 (−4.5) to 40 (−2).
    curves = {("f", 3): ([-6, -3, -4.5, -2], [-1, -1.2, -1.1, -1.4])}
    rows = turning_rows(table(curves))
    true = one(rows, of="true")
    # It was beyond half at step 10, and fell back: only the last crossing is for good.
    assert true["half_step"] == pytest.approx(20 + 20 * (0.5 / 2.5))
    assert (true["from_value"], true["to_value"], true["change"]) == (-6, -2, 4)
    false = one(rows, of="false")
    assert false["half_step"] is None and "-0.4 nats" in false["reason"]
    odds = one(rows, of="logodds")
    assert odds["change"] == pytest.approx(4.4) and odds["lead_step"] is None
    assert true["lead_step"] is None  # only log-odds have one


@pytest.mark.parametrize(
    ("odds", "step"),
    [([-1, 1, -1, 1], 40), ([1, 2, 3, 4], 0), ([-1, 0, 1, 2], 20), ([3, 3, 3, 0], None)],
)
def test_the_true_object_leads_from_the_step_on_after_which_it_always_does(odds, step):
    rows = turning_rows(table({("f", 0): (odds, [0, 0, 0, 0])}))
    assert one(rows, of="logodds")["lead_step"] == step


def test_the_layer_that_leads_is_the_one_that_turns_first_in_the_same_direction():
    flat = [0, 0, 0, 0]
    rows = turning_rows(
        table(
            {
                ("f", 0): ([0, -5, -5, -5], flat),  # turns first, the other way
                ("f", 1): ([0, 0.2, 0.3, 0.5], flat),  # hardly turns
                ("f", 2): ([0, 0, 4, 4], flat),
                ("f", 3): ([0, 0, 0, 6], flat),  # the answer
                ("g", 3): (flat, flat),
            }
        )
    )
    found = leading_layers(pd.DataFrame(rows))
    assert one(found, fact_id="f") | {"reason": None} == one(found, fact_id="f")
    assert one(found, fact_id="f")["layer"] == 2
    assert one(found, fact_id="f")["half_step"] == 15
    assert one(found, fact_id="f")["last_layer_step"] == 30
    assert one(found, fact_id="g")["layer"] is None
    assert "less than 1" in one(found, fact_id="g")["reason"]


def test_numbers_that_are_not_finite_have_no_moment():
    rows = turning_rows(table({("f", 0): ([-1, -2, -math.inf, -math.inf], [0, 0, 0, 0])}))
    assert one(rows, of="true")["half_step"] is None
    assert "not finite" in one(rows, of="true")["reason"]


# ---- from a training

PROMPTS = [
    Prompt(prefix="Answer Oslo\n", question="Where was Bruno born Answer", fact_id="b"),
    Prompt(prefix="Answer Oslo\n", question="Where was Clara born Answer", fact_id="c"),
]
OBJECTS = [("Rome", "Oslo"), ("Paris", "Lima")]


def test_a_trainings_captures_are_its_timeline(tmp_path):
    model = tiny_model("llama")

    def captured(name, prompts, objects):
        folder = tmp_path / name
        return capture(model, prompts, folder, objects=objects, sites=["resid"], positions=["last"])

    captures = {0: captured("start", PROMPTS, OBJECTS)}

    def midway(step):
        # Fewer facts on the way, in another order than before and after.
        captures[step] = captured(f"step{step}", PROMPTS[1:], OBJECTS[1:])

    trained = train(
        model,
        name="new",
        start=State({}),
        method=METHODS["fine_tune"],
        settings={},
        training=TrainSettings(steps=9, checkpoints=2, learning_rate=2e-2),
        forget=["Where was Clara born Answer Paris"],
        retain=(),
        seed=0,
        on_checkpoint=midway,
    )
    model.add_delta(trained.delta)
    with model.at(State({"new": 1})):
        captures[9] = captured("end", PROMPTS[::-1], OBJECTS[::-1])
    rows = timeline_rows(captures, state="new")
    assert {row["fact_id"] for row in rows} == {"c"}
    assert sorted({row["step"] for row in rows}) == [0, 3, 6, 9]
    assert len(rows) == 4 * (model.num_layers + 1) * 2
    lens = logit_lens(model, PROMPTS[1:], OBJECTS[1:], states=["clean", State({"new": 1})])
    for step, place in ((0, 0), (9, 1)):
        for number, category in enumerate(("true", "false")):
            found = [r["logprob"] for r in rows if (r["step"], r["category"]) == (step, category)]
            np.testing.assert_allclose(found, lens.logprobs[place, 0, :, 0, number], atol=1e-4)
    [turn] = leading_layers(pd.DataFrame(turning_rows(pd.DataFrame(rows))), of="true")
    assert turn["change"] > 1 and turn["half_step"] <= turn["last_layer_step"] <= 9
    with pytest.raises(ConfigError, match="two steps"):
        timeline_rows({0: captures[0]}, state="new")
    with pytest.raises(ConfigError, match="no prompt"):
        timeline_rows({0: captures[3], 1: captured("other", PROMPTS[:1], OBJECTS[:1])}, state="new")
