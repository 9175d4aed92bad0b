"""Prompt-token attribution: against plain forward and backward passes of the whole model.

Run: python -m pytest tests/measure/test_token_attribution.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.token_attribution import KINDS, attribute_tokens
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

PREFIX = "Question: Who? Answer: Bruno\n"
QUESTION = "They say that the name Alice Stone was born in"
START = len(PREFIX) + QUESTION.index("Alice")
PROMPT = Prompt(
    prefix=PREFIX,
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(START, START + len("Alice Stone")),
)
TRUE, FALSE = "Oslo", "Rome"


def shifted(family, seed=0):
    """A tiny model with a second state, in which all of one layer's matrices differ."""
    model = tiny_model(family)
    generator = torch.Generator().manual_seed(seed)
    start = f"{model.architecture.blocks}.1."
    updates = {
        path: 0.3
        * module.weight.std().item()
        * torch.randn(module.weight.shape, generator=generator)
        for path, module in model.hf_model.named_modules()
        if path.startswith(start) and getattr(module, "weight", None) is not None
        if module.weight.ndim == 2
    }
    model.add_delta(Delta("shift", updates))
    model.add_state("shifted", State({"shift": 1}))
    return model


@pytest.fixture(scope="module")
def llama():
    return shifted("llama")


def ids_of(model, text):
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def logodds(model, embeddings):
    """By one plain forward pass from token embeddings [row token width]."""
    targets = [ids_of(model, f"in {name}")[-1] for name in (TRUE, FALSE)]

    def put(value, hook):
        return embeddings

    ids = torch.zeros(embeddings.shape[:2], dtype=torch.long)
    logits = model.run_with_hooks(ids, fwd_hooks=[("hook_embed", put)])[:, -1]
    steps = logits.log_softmax(-1)[:, targets]
    return steps[:, 0] - steps[:, 1]


def by_hand(model, kind, *, steps=8):
    """Contributions of the question's tokens, from whole passes."""
    embed = model.hf_model.get_input_embeddings()
    ids = ids_of(model, PROMPT.text)
    first = len(ids_of(model, PREFIX))
    the = embed(torch.tensor(ids_of(model, "a the")[-1]))
    own = embed(torch.tensor(ids))
    away = own.clone()
    away[first:] = the
    if kind == "occlusion":
        found = []
        for place in range(first, len(ids)):
            without = own.clone()
            without[place] = the
            found.append((logodds(model, own[None]) - logodds(model, without[None])).item())
        return np.array(found)
    total = torch.zeros_like(own)
    points = [1.0] if kind == "gradient" else [(k + 0.5) / steps for k in range(steps)]
    for share in points:
        between = (away + share * (own - away)).detach().requires_grad_()
        logodds(model, between[None]).sum().backward()
        total += between.grad
    return ((own - away) * total / len(points)).sum(-1)[first:].detach().numpy()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gemma3_text"])
@pytest.mark.parametrize("engine", ["auto", "brute"])
def test_contributions_are_those_of_whole_passes_in_every_state(family, engine):
    model = shifted(family)
    found = attribute_tokens(
        model, PROMPT, TRUE, FALSE, states=["clean", "shifted"], steps=5, engine=engine
    )
    for number, state in enumerate(found.states):
        with model.at(state):
            for kind in KINDS:
                expected = by_hand(model, kind, steps=5)
                np.testing.assert_allclose(found.of(kind)[number], expected, atol=2e-5)
                assert np.abs(expected).max() > 1e-2
    assert np.abs(found.values[0] - found.values[1]).max() > 1e-2


def test_integrated_contributions_sum_to_the_whole_effect_with_enough_steps(llama):
    few, many = (
        attribute_tokens(llama, PROMPT, TRUE, FALSE, states=["clean"], steps=steps, scope="all")
        for steps in (2, 200)
    )
    whole = (many.totals - many.neutral)[0]
    assert abs(whole) > 0.1
    error = {
        name: abs(found.completeness_errors[0, found.kinds.index("integrated")])
        for name, found in (("few", few), ("many", many))
    }
    assert error["many"] < 1e-3 < error["few"]
    assert many.of("integrated").sum() == pytest.approx(whole, abs=1e-3)


def test_a_token_that_is_the_neutral_word_contributes_nothing(llama):
    found = attribute_tokens(llama, PROMPT, TRUE, FALSE, states=["clean", "shifted"])
    place = next(p for p, at in enumerate(found.positions) if found.tokens[at].strip() == "the")
    # Of occlusion, two runs of equal numbers in batches of different size.
    np.testing.assert_allclose(found.values[:, :, place], 0, atol=1e-6)
    assert found.tokens[found.positions[place] + 1].strip() == "name"


def test_rows_name_the_subject_and_what_was_not_sampled(llama):
    found = attribute_tokens(llama, PROMPT, TRUE, FALSE, states=["clean"], sample=4)
    rows = found.rows(fact_id="f")
    assert len(rows) == len(KINDS) * len(found.positions)
    subject = {row["token"].strip() for row in rows if row["in_subject"]}
    assert subject == {"Alice", "Stone"}
    exact = [row for row in rows if row["kind"] == "occlusion"]
    assert sum(row["value"] is not None for row in exact) == 4
    assert all((row["value"] is None) == (row["reason"] is not None) for row in rows)
    assert all(row["completeness_error"] is None for row in exact)
    sampled = [i for i, row in enumerate(exact) if row["value"] is not None]
    own = [row for row in rows if row["kind"] == "gradient"]
    ranks = [
        np.argsort(np.argsort([column[i]["value"] for i in sampled])) for column in (own, exact)
    ]
    assert own[0]["rank_correlation"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert own[0]["n_exact"] == 4 and own[0]["position"] == len(ids_of(llama, PREFIX))


def test_a_plain_question_leaves_its_first_token(llama):
    found = attribute_tokens(
        llama, QUESTION, TRUE, FALSE, states=["clean"], subject="Alice Stone", kinds=["gradient"]
    )
    assert found.positions == tuple(range(1, len(ids_of(llama, QUESTION))))
    assert found.rows(fact_id="f")[0]["rank_correlation"] is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"states": ["npo"]}, ConfigError, "state"),
        ({"kinds": ["saliency"]}, ConfigError, "kind of token attribution"),
        ({"scope": "prefix"}, ConfigError, "scope"),
        ({"steps": 0}, ConfigError, "at least 1"),
        ({"sample": 2}, ConfigError, "at least 3"),
        ({"replacement": "photosynthesis"}, PromptError, "give a word of one"),
        ({"foil": TRUE}, PromptError, "tells them apart"),
    ],
)
def test_bad_input_is_refused_with_a_reason(llama, change, error, message):
    settings = {"states": ["clean"], "foil": FALSE, **change}
    with pytest.raises(error, match=message):
        attribute_tokens(llama, PROMPT, TRUE, settings.pop("foil"), **settings)
