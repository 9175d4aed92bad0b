"""The analyses `token_attribution` and `dictionary_features`: what they hand on to a run.

Run: python -m pytest tests/gallery/test_activation_analyses.py
"""

import json

import pandas as pd
import pytest
import safetensors.torch
import torch

from restor_interp.definitions import find_definition
from restor_interp.errors import ModelError
from restor_interp.facts import Fact
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

PREFIX, QUESTION = "Question: Who? Answer: Bruno\n", "They say that Alice Stone was born in"
START = len(PREFIX) + QUESTION.index("Alice")
PROMPT = Prompt(
    prefix=PREFIX,
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(START, START + len("Alice Stone")),
    fact_id="Alice Stone/P19",
    context_id=2,
)
FACT = Fact(
    fact_id="Alice Stone/P19",
    entity="Alice Stone",
    relation="P19",
    question=QUESTION,
    true_objects=("Oslo",),
    object_type="city",
)


@pytest.fixture(scope="module")
def model():
    model = tiny_model("llama")
    weight = model.hf_model.get_submodule("model.layers.1.mlp.down_proj").weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) / 4
    model.add_delta(Delta("npo", {"model.layers.1.mlp.down_proj": noise}))
    model.add_state("npo", State({"npo": 1}))
    return model


def run(model, name, states, **settings):
    definition = find_definition("analysis", name)
    settings = definition.settings(settings)
    return definition.run(model, PROMPT, FACT, states=states, true="Oslo", false="Rome", **settings)


def test_tokens_are_attributed_in_every_state(model):
    found = run(model, "token_attribution", ["clean", "npo"], steps=2)
    assert found.table == "token_attributions"
    table = pd.DataFrame(found.rows)
    assert set(table["context_id"]) == {2} and set(table["fact_id"]) == {PROMPT.fact_id}
    per_state = table[table["in_subject"]].groupby(["state", "kind"])["value"].count()
    assert per_state.to_dict() == {
        (state, kind): 2
        for state in ("clean", "npo")
        for kind in ("gradient", "integrated", "occlusion")
    }


def test_features_that_changed_are_told_of_a_dictionary_in_a_folder(model, tmp_path):
    width, features = 32, 40
    draw = torch.Generator().manual_seed(1)
    weights = {
        "W_enc": torch.randn(width, features, generator=draw) / 3,
        "W_dec": torch.randn(features, width, generator=draw) / 3,
        "b_enc": torch.zeros(features),
        "b_dec": torch.zeros(width),
    }
    config = {"architecture": "standard", "d_in": width, "d_sae": features}
    config |= {"metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    safetensors.torch.save_file(weights, tmp_path / "sae_weights.safetensors")
    found = run(model, "dictionary_features", ["clean", "npo"], dictionary=str(tmp_path), top=3)
    assert found.table == "features"
    table = pd.DataFrame(found.rows)
    assert list(table["state"]) == ["npo"] * 3 and list(table["rank"]) == [1, 2, 3]
    assert table["effect"].abs().max() > 0 and set(table["context_id"]) == {2}
    assert run(model, "dictionary_features", ["clean"], dictionary=str(tmp_path)).rows == []


def test_a_dictionary_must_be_named(model):
    with pytest.raises(ModelError, match=r"no cfg\.json"):
        run(model, "dictionary_features", ["npo"])
