"""Activation-difference directions and what they do: against plain passes with hooks, and on a
shift that was planted.

Run: python -m pytest tests/measure/test_directions.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.directions import difference_directions, direction_rows
from restor_interp.measure.steering import MODES, steering_rows
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

TEXTS = (
    "They say that the name is not in the city",
    "The capital of Italy was Rome and not Paris",
    "Who lives in a country of people or plays with it",
    "What did David and Clara know of the German language",
    "A city in Spain is not known for what it was",
    "It plays and works",  # too short: five tokens are needed after the first
)
PROMPTS = [
    Prompt(prefix="Question: Who? Answer: Bruno\n", question=question, fact_id=f"f{number}")
    for number, question in enumerate(
        ("They say that Alice Stone was born in", "The city in which Clara lives is")
    )
]
OBJECTS = [("Oslo", "Rome"), ("Paris", "Lima")]


def shifted(family, name="shift", seed=0, layer=1):
    model = tiny_model(family)
    add_shift(model, name, seed, layer)
    return model


def add_shift(model, name, seed, layer=1):
    generator = torch.Generator().manual_seed(seed)
    start = f"{model.architecture.blocks}.{layer}."
    updates = {
        path: 0.5
        * module.weight.std().item()
        * torch.randn(module.weight.shape, generator=generator)
        for path, module in model.hf_model.named_modules()
        if path.startswith(start) and getattr(module, "weight", None) is not None
        if module.weight.ndim == 2
    }
    model.add_delta(Delta(name, updates))
    model.add_state(name, State({name: 1}))


@pytest.fixture(scope="module")
def llama():
    model = shifted("llama")
    add_shift(model, "sham", 5)
    return model


def ids_of(model, text):
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def streams(model, state, ids):
    """[layer token width] by transformers' own hidden states; the last from the final layer."""
    kept = {}

    def keep(value, hook):
        kept["last"] = value[0]

    last = f"blocks.{model.num_layers - 1}.hook_resid_post"
    with model.at(state), model.hooks([(last, keep)]), torch.no_grad():
        out = model.hf_model(torch.tensor([ids]), output_hidden_states=True)
    return torch.stack([hidden[0] for hidden in out.hidden_states[:-1]] + [kept["last"]])


# ---- directions


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_directions_are_the_mean_differences_of_plain_runs(family):
    model = shifted(family)
    [found] = difference_directions(model, TEXTS, states=["shift"])
    rows = [ids_of(model, text) for text in TEXTS]
    rows = [ids[:6] for ids in rows if len(ids) >= 6]
    assert found.n_texts == len(rows) == 5
    own = torch.stack([streams(model, "clean", ids)[:, 1:] for ids in rows]).double()
    differences = torch.stack([streams(model, "shift", ids)[:, 1:] for ids in rows]).double() - own
    mean = differences.mean(dim=(0, 2))
    np.testing.assert_allclose(found.vectors, mean, atol=1e-5)
    np.testing.assert_allclose(found.base_means, own.mean(dim=(0, 2)), atol=1e-5)
    for layer in range(2, model.num_layers + 1):
        size = (differences[:, layer] ** 2).sum(-1).mean()
        assert found.shares[layer] == pytest.approx(
            (mean[layer] @ mean[layer] / size).item(), abs=1e-4
        )
        halves = [differences[half::2, layer].mean(dim=(0, 1)) for half in (0, 1)]
        cosine = torch.nn.functional.cosine_similarity(*halves, dim=0).item()
        assert found.agreements[layer] == pytest.approx(cosine, abs=1e-4)
        assert found.norms[layer] > 1e-2
    assert found.norms[:2].max() == 0  # below the first layer that differs


def test_a_direction_is_read_as_a_residual_stream_of_the_base(llama):
    [found] = difference_directions(llama, TEXTS, states=["shift"])
    rows = direction_rows(llama, found, layers=[0, 3], top=4)
    assert [row["reason"] for row in rows if row["layer"] == 0] == ["the states do not differ here"]
    for end, sign in (("promoted", 1), ("demoted", -1)):
        logits = llama.project(sign * found.vectors[3])
        own = [row for row in rows if row["layer"] == 3 and row["end"] == end]
        assert [row["rank"] for row in own] == [1, 2, 3, 4]
        best = logits.argsort(descending=True)[:4].tolist()
        assert [row["token"] for row in own] == [llama.tokenizer.decode([t]) for t in best]
        assert [row["logit"] for row in own] == pytest.approx(logits[best].tolist(), abs=1e-4)
    assert own[0]["relative_norm"] == pytest.approx((found.norms[3] / found.base_norms[3]).item())


# ---- a planted shift


@pytest.fixture(scope="module")
def planted():
    """A state in which every token but the prompts' first is embedded with one vector added."""
    model = tiny_model("llama")
    weight = model.hf_model.get_input_embeddings().weight
    vector = 0.5 * torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(1))
    update = vector.expand_as(weight).clone()
    update[ids_of(model, PROMPTS[0].text)[0]] = 0
    model.add_delta(Delta("planted", {"model.embed_tokens": update}))
    model.add_state("planted", State({"planted": 1}))
    return model, vector


def test_a_planted_shift_is_found_and_taking_it_away_restores_everything(planted, monkeypatch):
    model, vector = planted
    monkeypatch.setattr("restor_interp.measure.steering.LEAST_EFFECT", 1e-3)
    [found] = difference_directions(model, TEXTS, states=["planted"])
    np.testing.assert_allclose(found.vectors[0], vector, atol=1e-6)
    assert found.shares[0] == pytest.approx(1, abs=1e-5)
    assert found.agreements[0] == pytest.approx(1, abs=1e-5)
    rows = steering_rows(
        model, PROMPTS, OBJECTS, found, layers=[0], modes=["add", "subtract"], scope="all"
    )
    assert {row["control"] for row in rows} == {"random"}
    for row in rows:
        assert row["value"] == pytest.approx(row["target"], abs=1e-4)
        assert row["share"] == pytest.approx(1, abs=1e-2)
    assert max(abs(row["control_share"] - 1) for row in rows) > 0.5
    half = steering_rows(
        model, PROMPTS, OBJECTS, found, layers=[0], modes=["subtract"], scope="all", scale=0.5
    )
    assert all(abs(row["value"] - row["target"]) > 1e-3 for row in half)


# ---- exactness


def by_hooks(model, question, state, change, start):
    """(log-odds, lead) by one plain pass; change: layers so far -> new stream of [token width]."""

    def at(value, hook):
        layer = 0 if hook.name.endswith("pre") else hook.layer() + 1
        value = value.clone()
        value[0, start:] = change(layer, value[0, start:])
        return value

    hooks = [("blocks.0.hook_resid_pre", at)]
    hooks += [(f"blocks.{layer}.hook_resid_post", at) for layer in range(model.num_layers)]
    prompt, (true, false) = question
    ids = ids_of(model, prompt.text)
    with model.at(state), torch.no_grad():
        logits = model.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0, -1]
    one, other = (ids_of(model, f"{prompt.text} {name}")[len(ids)] for name in (true, false))
    rest = logits.clone()
    rest[one] = -torch.inf
    return (logits[one] - logits[other]).item(), (logits[one] - rest.max()).item()


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("engine", ["auto", "brute"])
def test_every_mode_and_control_is_a_plain_run_with_hooks(family, engine):
    model = shifted(family)
    add_shift(model, "sham", 5)
    found, sham = difference_directions(model, TEXTS, states=["shift", "sham"])
    rows = steering_rows(
        model, PROMPTS, OBJECTS, found, controls=[sham], layers=[2, 3], random=1, scale=3.0,
        engine=engine,
    )  # fmt: skip
    assert len(rows) == 2 * 2 * len(MODES) * 2 * 2  # layers facts modes metrics controls
    start = len(ids_of(model, PROMPTS[0].prefix))
    for row in rows:
        case = next(c for c in zip(PROMPTS, OBJECTS, strict=True) if c[0].fact_id == row["fact_id"])
        which = ("logodds", "lead").index(row["metric"])

        def effect(vector, row=row, case=case, which=which):
            unit = vector / vector.norm()
            step = unit * found.norms[row["layer"]] * 3.0

            def change(layer, value):
                if row["mode"] == "ablate":
                    if layer < row["layer"]:
                        return value
                    along = (value - found.base_means[layer]) @ unit
                    return value - along[:, None] * unit
                if layer != row["layer"]:
                    return value
                return value + step if row["mode"] == "add" else value - step

            state = "clean" if row["mode"] == "add" else "shift"
            return by_hooks(model, case, state, change, start)[which]

        assert row["value"] == pytest.approx(effect(found.vectors[row["layer"]]), abs=3e-5)
        if row["control"] != "random":
            expected = effect(sham.vectors[row["layer"]])
            assert row["control"] == "direction of sham"
            assert row["control_value"] == pytest.approx(expected, abs=3e-5)
        assert abs(row["value"] - row["control_value"]) > 1e-6
        host = "clean" if row["mode"] == "add" else "shift"
        plain = by_hooks(model, case, host, lambda layer, value: value, start)[which]
        assert row["before"] == pytest.approx(plain, abs=3e-5)
    # What is changed before the last layer changes the answer.
    assert max(abs(row["value"] - row["before"]) for row in rows) > 1e-2


def test_random_controls_have_the_direction_s_length_and_their_spread_is_given(llama):
    [found] = difference_directions(llama, TEXTS, states=["shift"])
    rows = steering_rows(llama, PROMPTS, OBJECTS, found, layers=[2], modes=["add"], random=6)
    for row in rows:
        assert row["n_controls"] == 6
        assert row["control_low"] < row["control_value"] < row["control_high"]
        assert (row["share"] is None) == (row["reason"] is not None)
    again = steering_rows(llama, PROMPTS, OBJECTS, found, layers=[2], modes=["add"], random=6)
    other = steering_rows(
        llama, PROMPTS, OBJECTS, found, layers=[2], modes=["add"], random=6, seed=2
    )
    assert rows == again
    assert rows[0]["control_value"] != other[0]["control_value"]
    assert rows[0]["value"] == other[0]["value"]


def test_a_layer_in_which_nothing_differs_has_rows_with_a_reason(llama):
    [found] = difference_directions(llama, TEXTS, states=["shift"])
    rows = steering_rows(llama, PROMPTS[:1], OBJECTS[:1], found, layers=[1])
    assert len(rows) == len(MODES) * 2
    assert all(row["value"] is None and "do not differ" in row["reason"] for row in rows)


# ---- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"states": ["npo"]}, ConfigError, "state"),
        ({"texts": TEXTS[:3]}, PromptError, "3 of 3 texts"),
        ({"texts": []}, PromptError, "0 of 0 texts"),
        ({"tokens": []}, ConfigError, "places from 0 on"),
    ],
)
def test_bad_texts_are_refused_with_a_reason(llama, change, error, message):
    settings = {"texts": TEXTS, "states": ["shift"], **change}
    with pytest.raises(error, match=message):
        difference_directions(llama, settings.pop("texts"), **settings)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"layers": [4]}, ConfigError, "no layer 4"),
        ({"modes": ["remove"]}, ConfigError, "way of steering"),
        ({"scope": "prefix"}, ConfigError, "scope"),
        ({"random": 0}, ConfigError, "random control"),
        ({"objects": OBJECTS[:1]}, PromptError, "2 prompts need as many"),
    ],
)
def test_bad_steering_is_refused_with_a_reason(llama, change, error, message):
    [found] = difference_directions(llama, TEXTS, states=["shift"])
    settings = {"objects": OBJECTS, **change}
    with pytest.raises(error, match=message):
        steering_rows(llama, PROMPTS, settings.pop("objects"), found, **settings)
