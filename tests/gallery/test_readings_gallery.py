"""The analyses that read a state from inside: what they return, in a state and in the clean model.

Run: python -m pytest tests/gallery/test_readings_gallery.py
"""

import math
import random

import pytest
import torch

import restor_interp as ri
from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError
from restor_interp.measure.tuned import fit_tuned_lens
from restor_interp.testing import tiny_model
from restor_interp.testing.models import WORDS

PREFIX = "Where was Clara Field born? Lima\n"
QUESTION = "Where was Alice Stone born?"
START = len(PREFIX) + QUESTION.index("Alice")
PROMPT = ri.Prompt(
    prefix=PREFIX,
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(START, START + len("Alice Stone")),
    fact_id="Alice Stone/born",
    context_id=2,
)
FACT = ri.Fact(
    fact_id="Alice Stone/born",
    entity="Alice Stone",
    relation="born",
    question=QUESTION,
    true_objects=("Oslo",),
    object_type="city",
)
ASKED = {"true": "Oslo", "false": "Rome"}


@pytest.fixture(scope="module")
def model():
    found = tiny_model("llama")
    weight = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    found.add_delta(ri.Delta("d", {"model.layers.1.mlp.down_proj": 0.3 * weight}))
    found.add_state("npo", ri.State({"d": 1.0}))
    return found


@pytest.fixture(scope="module")
def lens(model):
    rng = random.Random(0)
    return fit_tuned_lens(model, [" ".join(rng.choices(WORDS, k=12)) for _ in range(60)])


def run(name, model, states, **offered):
    definition = find_definition("analysis", name)
    result = definition.run(model, PROMPT, FACT, states=states, **ASKED, **offered)
    assert all(row["fact_id"] == FACT.fact_id and row["state"] in states for row in result.rows)
    for row in result.rows:
        value = row.get("value", row.get("logprob", row.get("cosine")))
        missing = value is None or math.isnan(value)
        assert not missing or row["reason"]
    return result


def test_tuned_lens_rows_are_of_the_table_lens(model, lens):
    found = run("tuned_lens", model, ("clean", "npo"), tuned_lens=lens)
    assert found.table == "lens" and len(found.rows) == 2 * 2 * 2 * 4
    assert {row["lens"] for row in found.rows} == {"tuned"}
    with pytest.raises(ConfigError, match="no tuned lens was given"):
        run("tuned_lens", model, ("clean",))


def test_mlp_changes_compare_a_state_with_the_clean_model(model):
    found = run("mlp_changes", model, ("clean", "npo"), substitute="Clara River")
    assert found.table == "mlp_changes"
    assert {row["state"] for row in found.rows} == {"npo"}
    assert {row["mode"] for row in found.rows} == {"direct", "swap"}
    assert sum(row["part"] == "wrong_coefficients" for row in found.rows) == 4


def test_subject_description_has_both_hosts(model):
    settings = {"others": ("Clara River", "Bruno"), "placeholder": "it"}
    found = run("subject_description", model, ("npo",), **settings)
    assert found.table == "descriptions"
    assert {row["host"] for row in found.rows} == {"clean", "npo"}
    assert {row["n_controls"] for row in found.rows} == {2}
    clean = run("subject_description", model, ("clean",), **settings)
    assert len(clean.rows) == len(found.rows) / 2


def test_value_vectors_and_attention_are_read_in_each_state(model):
    found = run("value_vectors", model, ("clean", "npo"))
    assert found.table == "value_vectors" and len(found.rows) == 2 * 32
    moved = {(row["state"], row["layer"]) for row in found.rows if row["distance"] > 0}
    assert moved == {("npo", 1)}
    attention = run("subject_attention", model, ("clean", "npo"), substitute="Clara River")
    assert attention.table == "attention" and len(attention.rows) == 2 * 12
    assert {row["control_subject"] for row in attention.rows} == {"Clara Field"}
    assert {array.shape for array in attention.tensors.values()} == {(3, 4)}
