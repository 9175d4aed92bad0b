"""Gradients: against differences of the numbers themselves, in passes of any size, with laws.

Run: python -m pytest tests/measure/test_gradients.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.choices import log_sum_exp, score_choices
from restor_interp.measure.gradients import (
    Pull,
    Watched,
    gradient_rows,
    objects_watched,
    texts_watched,
)
from restor_interp.measure.texts import mean_nll, score_texts
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

PREFIX = "Question Where was Alice Stone born Answer Oslo\n"
PROMPTS = [
    Prompt(prefix=PREFIX, question="Question Where was Bruno born Answer", fact_id="b"),
    Prompt(prefix=PREFIX, question="Question Where was Clara born Answer", fact_id="c"),
]
TRUE = [("Rome", "the Rome city"), "Paris"]
TEXTS = ("The people of the city did not know what to say", "What is the name of a field on it")
FORGET = ("Bruno was born in Oslo", "Clara was born in Lima")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    model = tiny_model(request.param)
    generator = torch.Generator().manual_seed(1)
    updates = {
        path: 0.1 * torch.randn(module.weight.shape, generator=generator)
        for path, module in linear_modules(model.hf_model).items()
        if "mlp" in path
    }
    model.add_delta(Delta("corruption", updates))
    model.add_state("corrupted", State({"corruption": 1}))
    return model


def ascent(model, texts=FORGET):
    """Gradient ascent's loss on some texts: their mean log p."""
    return Pull(method="ga", parts=texts_watched(model, texts, of="").parts)


def watched_by(model):
    return [
        *objects_watched(model, PROMPTS, TRUE, of="true"),
        texts_watched(model, TEXTS, of="retain"),
    ]


def numbers(model):
    """What is watched, by the code that scores it."""
    scores = score_choices(model, PROMPTS, [list(TRUE[0]), [TRUE[1]]])
    found = {
        ("true", prompt.fact_id): log_sum_exp([one.sum_logprob for one in own])
        for prompt, own in zip(PROMPTS, scores, strict=True)
    }
    found["true", ""] = np.mean(list(found.values()))
    found["retain", ""] = -mean_nll(score_texts(model, TEXTS))
    return found


def test_inner_products_foretell_a_small_step(model):
    """A step of gradient ascent by hand, and how much every number then moved per unit of it."""
    rows = gradient_rows(model, "corrupted", [ascent(model)], watched_by(model))
    weights = dict(model.hf_model.named_parameters())
    paths = [f"{path}.weight" for path in model.deltas["corruption"].updates]
    with model.at("corrupted"):
        loss = -sum(
            model.hf_model(ids, labels=ids).loss * (ids.shape[1] - 1)
            for ids in (torch.tensor([model.tokenizer(text)["input_ids"]]) for text in FORGET)
        ) / sum(len(model.tokenizer(text)["input_ids"]) - 1 for text in FORGET)
        grads = torch.autograd.grad(loss, [weights[path] for path in paths])
    length = math.sqrt(sum(float(g.square().sum()) for g in grads))
    size = 2e-3 / length
    step = {p.removesuffix(".weight"): -size * g for p, g in zip(paths, grads, strict=True)}
    model.add_delta(Delta(f"step{len(model.deltas)}", step))
    name = list(model.deltas)[-1]
    found = []
    for coefficient in (1.0, -1.0):
        with model.at(State({"corruption": 1, name: coefficient})):
            found.append(numbers(model))
    whole = {(row["of"], row["fact_id"]): row for row in rows if row["component"] == "all"}
    assert whole.keys() == found[0].keys()
    for key, row in whole.items():
        moved = (found[0][key] - found[1][key]) / (2 * size)
        assert row["inner"] == pytest.approx(
            moved, rel=0.02, abs=0.02 * length * row["of_norm"] / 10
        )
        assert row["norm"] == pytest.approx(length, rel=1e-4)
        assert row["cosine"] == pytest.approx(row["inner"] / row["norm"] / row["of_norm"])


def test_layers_add_up_and_one_facts_rows_to_their_mean(model):
    rows = gradient_rows(model, "corrupted", [ascent(model)], watched_by(model))
    layers = [row for row in rows if row["component"] != "all"]
    assert {(row["layer"], row["component"]) for row in layers} == {(n, "mlp") for n in range(3)}
    for whole in (row for row in rows if row["component"] == "all"):
        own = [
            row for row in layers if (row["of"], row["fact_id"]) == (whole["of"], whole["fact_id"])
        ]
        assert sum(row["inner"] for row in own) == pytest.approx(whole["inner"])
        for name in ("norm", "of_norm"):
            assert sum(row[name] ** 2 for row in own) == pytest.approx(whole[name] ** 2)
        several = [
            row["inner"]
            for row in rows
            if row["of"] == "true" and row["fact_id"] and row["layer"] == whole["layer"]
            and row["component"] == "all"
        ]  # fmt: skip
        if whole["of"] == "true" and not whole["fact_id"]:
            assert whole["inner"] == pytest.approx(np.mean(several)) and whole["n_facts"] == 2


def test_passes_over_groups_of_modules_give_the_same_numbers(model):
    pulls = [ascent(model), Pull(method="learn", parts=ascent(model).parts, sign=-1.0)]
    one = gradient_rows(model, "corrupted", pulls, watched_by(model))
    several = gradient_rows(model, "corrupted", pulls, watched_by(model), max_bytes=1)
    assert len(one) == len(several)

    def by_key(rows):
        keys = ("method", "of", "fact_id", "layer", "component")
        return {tuple(row[key] for key in keys): row for row in rows}

    for key, row in by_key(one).items():
        assert by_key(several)[key]["inner"] == pytest.approx(row["inner"], abs=1e-7)
        assert by_key(several)[key]["cosine_floor"] == row["cosine_floor"]
        if key[0] == "learn":  # subtracting what is learned is going the other way
            assert row["inner"] == pytest.approx(-by_key(one)["ga", *key[1:]]["inner"])


def test_a_pull_on_a_number_itself_lowers_it_in_its_own_direction(model):
    own = texts_watched(model, TEXTS, of="retain")
    rows = gradient_rows(model, "clean", [Pull(method="ga", parts=own.parts)], [own])
    for row in rows:
        assert row["cosine"] == pytest.approx(-1)
        assert row["inner"] == pytest.approx(-(row["norm"] ** 2))


def test_the_model_is_left_as_it_was_and_nothing_else_takes_gradients(model):
    flags = [p.requires_grad for p in model.hf_model.parameters()]
    seen = []

    def parts():
        seen.append({n for n, p in model.hf_model.named_parameters() if p.requires_grad})
        yield from texts_watched(model, TEXTS, of="retain").parts()

    with torch.no_grad():  # as inside of somebody else's measurement
        gradient_rows(model, "corrupted", [ascent(model)], [Watched(of="retain", parts=parts)])
    expected = {f"{path}.weight" for path in model.deltas["corruption"].updates}
    assert seen and all(names == expected for names in seen)
    assert [p.requires_grad for p in model.hf_model.parameters()] == flags
    assert all(p.grad is None for p in model.hf_model.parameters())
    assert model.state == State({})


def test_what_has_no_gradient_or_no_finite_one_says_so(model):
    flat = Watched(of="flat", parts=lambda: [torch.zeros(())])
    broken = Watched(
        of="broken",
        parts=lambda: [part * math.inf for part in texts_watched(model, TEXTS, of="").parts()],
    )
    rows = gradient_rows(model, "clean", [ascent(model)], [flat, broken])
    for row in rows:
        assert row["cosine"] is None
        told = "does not change" if row["of"] == "flat" else "not finite"
        assert told in row["reason"]


def test_senseless_questions_are_refused(model):
    with pytest.raises(ConfigError, match="no module"):
        gradient_rows(model, "clean", [], [], modules=["model.layers.0.nothing"])
    with pytest.raises(ConfigError, match="no delta"):
        gradient_rows(tiny_model("llama"), "clean", [], [])
    with pytest.raises(PromptError, match="as many objects"):
        objects_watched(model, PROMPTS, TRUE[:1], of="true")
    with pytest.raises(PromptError, match="two tokens"):
        texts_watched(model, ["Oslo"], of="retain")
