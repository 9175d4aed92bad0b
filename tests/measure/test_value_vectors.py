"""Value vectors that write an object: planted ones, and ranks counted by hand.

Run: python -m pytest tests/measure/test_value_vectors.py
"""

from typing import Any

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import value_vectors as module
from restor_interp.measure.mlps import value_vectors
from restor_interp.measure.value_vectors import compare_value_vectors
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

PROMPT = Prompt(prefix="", question="They say that Alice was born in", fact_id="Alice/P19")


def token_of(model, name):
    ids = model.tokenizer(PROMPT.text, add_special_tokens=False)["input_ids"]
    return model.tokenizer(f"{PROMPT.text} {name}", add_special_tokens=False)["input_ids"][len(ids)]


def matrix_path(model, layer):
    return f"{model.architecture.blocks}.{layer}.{model.architecture.mlp_out}"


@torch.no_grad()
def put(model, layer, index, vector):
    """Make a value vector of the clean model this one."""
    value_vectors(model, layer)[index] = vector


def gains(model, layer):
    """Of the norms between a value vector and the unembedding, by their weights."""
    offset = 1.0 if "gemma" in model.name else 0.0
    found = model._norm.weight.detach() + offset
    after = getattr(model.layers[layer], "post_feedforward_layernorm", None)
    return found if after is None else found * (after.weight.detach() + offset)


def promoted(model, layer, vector):
    """How much a vector promotes every word, written out."""
    read = vector
    if isinstance(model._norm, torch.nn.LayerNorm):
        read = read - read.mean()
    return model.hf_model.get_output_embeddings().weight.detach() @ (read * gains(model, layer))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_planted_vector_is_found_in_either_direction(family):
    model = tiny_model(family)
    word = model.hf_model.get_output_embeddings().weight.detach()[token_of(model, "Oslo")]
    for layer, index, sign in ((1, 5, 1), (2, 7, -1)):
        put(model, layer, index, sign * 3 * word / gains(model, layer))
    found = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean", number=4)
    own = [v for v in found.vectors if (v.object, v.kind) == ("Oslo", "concept")]
    places = {(v.layer, v.index, v.sign) for v in own if v.clean_rank == 1}
    assert places >= {(1, 5, 1), (2, 7, -1)}
    assert own[0].clean_words[0] == "Oslo"
    # The clean model is what it is compared with.
    for v in found.vectors:
        assert v.rank == v.clean_rank and v.jaccard == 1 and v.distance == 0
        assert v.cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2", "gpt_neox"])
def test_ranks_and_changes_are_those_of_the_weights(family):
    model = tiny_model(family)
    generator = torch.Generator().manual_seed(2)
    path = matrix_path(model, 1)
    weight = model.hf_model.get_submodule(path).weight
    model.add_delta(Delta("d", {path: 0.1 * torch.randn(weight.shape, generator=generator)}))
    model.add_state("npo", State({"d": 1.0}))
    clean = [value_vectors(model, layer).clone() for layer in range(3)]
    found = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="npo", top_k=20, number=6)
    with model.at("npo"):
        moved = [value_vectors(model, layer).clone() for layer in range(3)]
    assert len(found.vectors) == 24
    assert {v.layer for v in found.vectors} > {1}
    for v in found.vectors:
        token = token_of(model, v.object)
        one, other = clean[v.layer][v.index], moved[v.layer][v.index]
        ranks, tops = [], []
        for vector in (one, other):
            order = promoted(model, v.layer, v.sign * vector).argsort(descending=True).tolist()
            ranks.append(1 + order.index(token))
            tops.append(set(order[:20]))
        assert [v.clean_rank, v.rank] == ranks
        assert v.jaccard == pytest.approx(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
        assert v.cosine == pytest.approx(
            float(torch.cosine_similarity(one, other, dim=0)), abs=1e-5
        )
        assert v.distance == pytest.approx(float((other - one).norm() / one.norm()), abs=1e-6)
        assert (v.distance > 0.05) == (v.layer == 1)


def test_those_chosen_promote_it_most_of_all_vectors():
    """Brute force: every vector of the model projected onto the whole vocabulary."""
    model = tiny_model("llama")
    found = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean", number=5)
    token = token_of(model, "Oslo")
    ranks = []
    for layer in range(3):
        for vector in value_vectors(model, layer):
            for sign in (1, -1):
                logits = promoted(model, layer, sign * vector)
                ranks.append(1 + int((logits > logits[token]).sum()))
    own = [v.clean_rank for v in found.vectors if (v.object, v.kind) == ("Oslo", "concept")]
    assert own == sorted(ranks)[:5]


def test_random_vectors_are_of_the_same_layers_and_others(monkeypatch):
    model = tiny_model("llama")
    found = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean", number=8)
    for name in ("Oslo", "Rome"):
        own = [v for v in found.vectors if v.object == name]
        concept = [v for v in own if v.kind == "concept"]
        random = [v for v in own if v.kind == "random"]
        assert [v.layer for v in concept] == [v.layer for v in random]
        assert len({(v.layer, v.index) for v in own}) == 16
        median = np.median([[v.clean_rank for v in kind] for kind in (concept, random)], axis=1)
        assert median[0] < 0.3 * median[1]
    again = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean", number=8, seed=2)
    assert again.vectors != found.vectors
    monkeypatch.setattr(module, "VECTORS_AT_ONCE", 3)
    assert (
        compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean").vectors == found.vectors
    )


def test_the_vectors_are_the_clean_models_in_whatever_state_it_is():
    model = tiny_model("llama")
    model.add_delta(Delta("d", {"lm_head": torch.randn(model.hf_model.lm_head.weight.shape)}))
    model.add_state("npo", State({"d": 1.0}))
    outside = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean")
    with model.at("npo"):
        inside = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean")
    assert outside == inside


def test_rows_say_what_is_a_concept_and_bad_input_is_refused():
    model = tiny_model("llama")
    found = compare_value_vectors(model, PROMPT, "Oslo", "Rome", state="clean", top_k=3)
    frame = table_frame("value_vectors", found.rows(fact_id="f"))
    assert len(frame) == 32 and (frame.concept == (frame.clean_rank <= 3)).all()
    assert frame.notna().all(axis=None)
    assert set(frame.kind) == {"concept", "random"} and set(frame.object) == {"Oslo", "Rome"}
    for change, error in (
        ({"number": 0}, ConfigError),
        ({"top_k": 0}, ConfigError),
        ({"state": "cleen"}, ConfigError),
        ({"foil": "Oslo"}, PromptError),
    ):
        arguments: dict[str, Any] = {"answer": "Oslo", "foil": "Rome", "state": "clean"} | change
        with pytest.raises(error):
            compare_value_vectors(
                model, PROMPT, arguments.pop("answer"), arguments.pop("foil"), **arguments
            )
