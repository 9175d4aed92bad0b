"""Attribution patching: gradients against finite differences, exact cells against plain hooks.

Run: python -m pytest tests/measure/test_attribution.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import restor_interp as ri
from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError, PromptError
from restor_interp.facts import Fact
from restor_interp.measure.attribution import KINDS, attribute_patches
from restor_interp.models.architectures import is_transposed, linear_modules
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

SENTENCE = "They say that Alice Stone was born in the city of"
OTHER = "They say that Clara River was born in the city of"
SUBJECT = "Alice Stone"
HOOKS = {
    "resid": "blocks.{}.hook_resid_post",
    "mlp": "blocks.{}.hook_mlp_out",
    "attn": "blocks.{}.hook_attn_out",
    "head": "blocks.{}.attn.hook_z",
}


def with_states(model, size=0.02):
    """The model with a state `npo` that differs from `clean` in every matrix of its blocks."""
    generator = torch.Generator().manual_seed(5)
    updates = {}
    for path, module in linear_modules(model.hf_model).items():
        shape = module.weight.shape
        assert len(shape) == 2 and isinstance(is_transposed(module), bool)
        updates[path] = size * torch.randn(shape, generator=generator)
    model.add_delta(ri.Delta("d", updates))
    model.add_state("npo", ri.State({"d": 1.0}))
    return model


@pytest.fixture(scope="module")
def models():
    return {family: with_states(tiny_model(family)) for family in FAMILIES}


@pytest.fixture(scope="module")
def precise():
    """In fp64 for finite differences, of a family whose norms do not go by way of fp32."""
    return with_states(tiny_model("gpt2", dtype=torch.float64))


# ---- the witness: plain forward passes with values put in


def run(model, text, state, metric, put_in=()):
    """The metric of Oslo (against Rome) in a full forward pass, in the logits' own precision.

    `put_in`: (hook name, index into [pos, …], value) at each place.
    """
    hooks = []
    for name, place, new in put_in:

        def put(value, hook, place=place, new=new):
            value = value.clone()
            value[0][place] = new
            return value

        hooks.append((name, put))
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    targets = [
        model.tokenizer(f"{text} {name}", add_special_tokens=False)["input_ids"][ids.shape[1]]
        for name in ("Oslo", "Rome")
    ]
    with torch.no_grad(), model.at(state):
        logits = model.run_with_hooks(ids, fwd_hooks=hooks)[0, -1]
    answer, foil = logits.log_softmax(-1)[targets]
    return float({"logodds": answer - foil, "logprob": answer, "prob": answer.exp()}[metric])


def values_of(model, text, state, kind):
    names = [HOOKS[kind].format(layer) for layer in range(model.num_layers)]
    ids = model.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with model.at(state):
        _, cache = model.run_with_cache(ids, names)
    return [cache[name][0] for name in names]


# ---- estimates


@pytest.mark.parametrize("metric", ["logodds", "logprob", "prob"])
@pytest.mark.parametrize("kind", KINDS)
def test_estimates_are_the_slope_towards_the_donors_value(precise, kind, metric):
    """A small step from the host's value towards the donor's, both ways, in full forward passes."""
    found = attribute_patches(
        precise, SENTENCE, "Oslo", "Rome", subject=SUBJECT, host="npo", kind=kind, metric=metric
    )
    own, donor = (values_of(precise, SENTENCE, state, kind) for state in ("npo", "clean"))
    rng = np.random.default_rng(0)
    cells = list(np.ndindex(found.approx.shape))
    step, seen = 1e-4, []
    for index in rng.permutation(len(cells))[:16]:
        cell = cells[index]
        layer, place = found.layers[cell[1]], (found.positions[cell[0]], *cell[2:])
        ends = [
            run(
                precise,
                SENTENCE,
                "npo",
                metric,
                [
                    (
                        HOOKS[kind].format(layer),
                        place,
                        own[layer][place] + sign * step * (donor[layer] - own[layer])[place],
                    )
                ],
            )
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert found.approx[cell] == pytest.approx(slope, rel=1e-4, abs=1e-7)
        seen.append(abs(slope))
    assert max(seen) > 1e-4


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_exact_cells_are_those_of_plain_forward_passes(models, family, kind, engine):
    model = models[family]
    found = attribute_patches(
        model,
        SENTENCE,
        "Oslo",
        "Rome",
        subject=SUBJECT,
        host="npo",
        kind=kind,
        sample=6,
        engine=engine,
    )
    donor = values_of(model, SENTENCE, "clean", kind)
    base = run(model, SENTENCE, "npo", "logodds")
    assert found.host_value == pytest.approx(base, abs=1e-4)
    assert found.donor_value == pytest.approx(run(model, SENTENCE, "clean", "logodds"), abs=1e-4)
    sampled = np.argwhere(np.isfinite(found.exact))
    assert len(sampled) == found.n_exact == 6
    for cell in map(tuple, sampled):
        layer, place = found.layers[cell[1]], (found.positions[cell[0]], *cell[2:])
        put_in = [(HOOKS[kind].format(layer), place, donor[layer][place])]
        patched = run(model, SENTENCE, "npo", "logodds", put_in)
        assert found.exact[cell] == pytest.approx(patched - base, abs=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_for_a_small_change_the_estimate_is_the_effect(family):
    """To first order, so the error is of second order in the size of the change."""
    model = with_states(tiny_model(family), size=2e-3)
    for kind in KINDS:
        found = attribute_patches(
            model, SENTENCE, "Oslo", "Rome", subject=SUBJECT, host="npo", kind=kind, sample=999
        )
        assert found.n_exact == found.exact.size
        largest = abs(found.exact).max()
        np.testing.assert_allclose(found.approx, found.exact, atol=0.15 * largest)
        assert found.rank_correlation > 0.9


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_neox"])
@pytest.mark.parametrize("kind", KINDS)
def test_integrated_gradients_sum_to_the_effect_of_their_whole_layer(family, kind):
    """Completeness: the closed form that the integral has, for a change that is not small."""
    model = with_states(tiny_model(family), size=0.1)
    text = "They say that"
    donor = values_of(model, text, "clean", kind)
    base = run(model, text, "npo", "logodds")
    sums = {}
    for steps in (0, 40):
        found = attribute_patches(model, text, "Oslo", "Rome", host="npo", kind=kind, steps=steps)
        sums[steps] = found.approx.sum(axis=(0, *range(2, found.approx.ndim)))
    effects = [
        run(model, text, "npo", "logodds", [(HOOKS[kind].format(layer), slice(None), donor[layer])])
        - base
        for layer in range(model.num_layers)
    ]
    np.testing.assert_allclose(sums[40], effects, atol=1e-2)
    assert abs(sums[0] - effects).max() > 5 * abs(sums[40] - effects).max()


def test_one_step_is_the_gradient_half_way(precise):
    found = attribute_patches(
        precise, SENTENCE, "Oslo", "Rome", subject=SUBJECT, host="npo", kind="mlp", steps=1
    )
    own, donor = (values_of(precise, SENTENCE, state, "mlp") for state in ("npo", "clean"))
    layer, cell, step = 1, (4, 1), 1e-4
    between = [(a + b) / 2 for a, b in zip(own, donor, strict=True)]
    ends = []
    for sign in (1, -1):
        value = between[layer].clone()
        place = found.positions[cell[0]]
        value[place] += sign * step * (donor[layer] - own[layer])[place]
        put_in = [(HOOKS["mlp"].format(layer), slice(None), value)]
        ends.append(run(precise, SENTENCE, "npo", "logodds", put_in))
    slope = (ends[0] - ends[1]) / (2 * step)
    assert found.approx[cell] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_many_steps_are_run_in_passes_of_some(precise, monkeypatch):
    settings = {"subject": SUBJECT, "host": "npo", "steps": 7}
    whole = attribute_patches(precise, SENTENCE, "Oslo", "Rome", **settings)
    monkeypatch.setattr("restor_interp.measure.attribution.STEPS_PER_PASS", 3)
    parts = attribute_patches(precise, SENTENCE, "Oslo", "Rome", **settings)
    np.testing.assert_allclose(whole.approx, parts.approx, atol=1e-6)


# ---- donors


def test_a_donor_may_be_asked_about_another_entity(models):
    model = models["llama"]
    found = attribute_patches(
        model,
        SENTENCE,
        "Oslo",
        "Rome",
        donor="clean",
        host="clean",
        donor_prompt=OTHER,
        positions=range(11),
        sample=999,
    )
    donor = values_of(model, OTHER, "clean", "resid")
    base = run(model, SENTENCE, "clean", "logodds")
    for cell in [(4, 0), (10, 2), (7, 1)]:
        put_in = [(HOOKS["resid"].format(cell[1]), cell[0], donor[cell[1]][cell[0]])]
        patched = run(model, SENTENCE, "clean", "logodds", put_in)
        assert found.exact[cell] == pytest.approx(patched - base, abs=1e-4)
    # Before the names, both prompts are the same text.
    np.testing.assert_allclose(found.approx[:3], 0, atol=1e-6)
    np.testing.assert_allclose(found.exact[:3], 0, atol=1e-5)
    # After the last layer nothing is left to the host.
    assert found.exact[10, 2] == pytest.approx(found.donor_value - found.host_value, abs=1e-4)
    assert (found.donor, found.host, found.donor_subject) == ("clean", "clean", OTHER)


def test_two_equal_states_give_nothing_and_no_correlation(models):
    found = attribute_patches(
        models["llama"], SENTENCE, "Oslo", "Rome", donor="npo", host=ri.State({"d": 1.0})
    )
    assert not found.approx.any()
    np.testing.assert_allclose(found.exact[np.isfinite(found.exact)], 0, atol=1e-5)
    assert np.isnan(found.rank_correlation)
    row = found.rows(fact_id="f")[0]
    assert row["rank_correlation"] is None and "no rank correlation" in row["reason"]
    assert row["host"] == "1·d"


def test_the_model_is_left_as_it_was(models):
    model = models["llama"]
    parameters = list(model.hf_model.parameters())
    before = [(p.requires_grad, p.detach().clone()) for p in parameters]
    attribute_patches(model, SENTENCE, "Oslo", "Rome", host="npo", steps=2)
    for parameter, (needed, value) in zip(parameters, before, strict=True):
        assert parameter.requires_grad == needed and parameter.grad is None
        assert torch.equal(parameter, value)
    assert model.state == ri.State({})


def test_it_works_where_gradients_are_off(models):
    model = models["gpt2"]
    on = attribute_patches(model, SENTENCE, "Oslo", "Rome", host="npo", steps=2)
    with torch.no_grad():
        off = attribute_patches(model, SENTENCE, "Oslo", "Rome", host="npo", steps=2)
    np.testing.assert_allclose(on.approx, off.approx, atol=1e-6)


# ---- the sample, rows, and what is refused


def test_the_sample_is_seeded_and_correlated(models):
    model = models["llama"]
    settings = {"subject": SUBJECT, "host": "npo", "kind": "head", "sample": 20}
    found = attribute_patches(model, SENTENCE, "Oslo", "Rome", **settings, seed=1)
    again = attribute_patches(model, SENTENCE, "Oslo", "Rome", **settings, seed=1)
    other = attribute_patches(model, SENTENCE, "Oslo", "Rome", **settings, seed=2)
    np.testing.assert_array_equal(found.exact, again.exact)
    assert not np.array_equal(np.isfinite(found.exact), np.isfinite(other.exact))
    np.testing.assert_array_equal(found.approx, other.approx)
    frame = table_frame("attributions", found.rows(fact_id="f"))
    assert len(frame) == found.approx.size == (11 - found.subject[0]) * 3 * 4
    sampled = frame[frame.exact.notna()]
    assert len(sampled) == 20 and set(frame.n_exact) == {20}
    expected = spearmanr(sampled.approx, sampled.exact).statistic
    assert set(frame.rank_correlation) == {expected}
    assert (found.approx.shape[2], sorted(set(frame["head"]))) == (4, [0, 1, 2, 3])
    row = frame[(frame.layer == 2) & (frame.position == 9) & (frame["head"] == 3)].iloc[0]
    assert row.approx == found.approx[9 - found.subject[0], 2, 3]


def test_chosen_positions_and_layers_are_those_of_all(models):
    model = models["llama"]
    every = attribute_patches(model, SENTENCE, "Oslo", "Rome", host="npo", sample=999)
    assert every.positions == tuple(range(11))
    some = attribute_patches(
        model,
        SENTENCE,
        "Oslo",
        "Rome",
        subject=SUBJECT,
        host="npo",
        positions=["last", "subject_last", 2],
        layers=[2, 0],
        sample=999,
    )
    assert some.positions == (10, 4, 2)
    for name in ("approx", "exact"):
        all_of_them = getattr(every, name)[[10, 4, 2]][:, [2, 0]]
        np.testing.assert_allclose(getattr(some, name), all_of_them, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"kind": "neuron"}, ConfigError, "no kind of state 'neuron'"),
        ({"metric": "bits"}, ConfigError, "no metric 'bits'"),
        ({"engine": "fast"}, ConfigError, "no engine 'fast'"),
        ({"host": "ga"}, ConfigError, "no state 'ga'"),
        ({"donor": "ga"}, ConfigError, "no state 'ga'"),
        ({"steps": -1}, ConfigError, "steps=-1"),
        ({"sample": 2}, ConfigError, "at least 3"),
        ({"positions": []}, ConfigError, "no positions"),
        ({"positions": [11]}, ConfigError, "outside prompt"),
        ({"positions": ["subject_last"]}, PromptError, "no subject"),
        ({"layers": [3]}, ConfigError, "layers 0 to 2"),
        ({"layers": []}, ConfigError, "layers 0 to 2"),
        ({"answer": " "}, PromptError, "empty"),
        ({"foil": "Oslo"}, PromptError, "tells them apart"),
        ({"donor_prompt": "They say that Clara"}, PromptError, "same"),
        ({"subject": "Bruno"}, PromptError, "occurs 0 times"),
    ],
)
def test_what_cannot_be_patched_is_refused(models, change, error, words):
    settings = {"prompt": SENTENCE, "answer": "Oslo", "foil": "Rome", "host": "npo"} | change
    with pytest.raises(error, match=words):
        attribute_patches(models["llama"], **settings)


def test_a_state_that_gives_no_numbers_is_refused():
    model = tiny_model("llama")
    change = torch.full((32, 48), 1e38)
    model.add_delta(ri.Delta("d", {"model.layers.1.mlp.down_proj": change}))
    model.add_state("diverged", ri.State({"d": 1.0}))
    for states in ({"host": "diverged"}, {"donor": "diverged", "host": "clean"}):
        with pytest.raises(ConfigError, match="not finite"):
            attribute_patches(model, SENTENCE, "Oslo", "Rome", **states)


def test_the_analysis_gives_rows_of_every_state_but_the_donor(models):
    model = models["llama"]
    fact = Fact(
        fact_id="Alice/born",
        entity="Alice Stone",
        relation="born",
        question=SENTENCE,
        true_objects=("Oslo",),
        object_type="city",
    )
    start = SENTENCE.index(SUBJECT)
    prompt = ri.Prompt(prefix="", question=SENTENCE, fact_id="Alice/born")
    prompt = replace(prompt, subject=SUBJECT, subject_span=(start, start + len(SUBJECT)))
    analysis = find_definition("analysis", "attribution")
    found = analysis.run(model, prompt, fact, states=("clean", "npo"), true="Oslo", false="Rome")
    frame = table_frame(found.table, found.rows)
    assert set(frame.host) == {"npo"} and set(frame.donor) == {"clean"}
    assert set(frame.kind) == {"resid", "mlp", "attn"}
    own = attribute_patches(model, prompt, "Oslo", "Rome", host="npo")
    np.testing.assert_array_equal(found.tensors["Alice/born/0/clean/npo/resid"], own.approx)
    alone = analysis.run(model, prompt, fact, states=("clean",), true="Oslo", false="Rome")
    assert list(alone.rows) == []


# ---- the real one


@pytest.mark.embedded
def test_estimates_of_a_real_model_rank_as_the_effects_do(real, capital):
    generator = torch.Generator().manual_seed(0)
    updates = {
        path: 0.1 * module.weight.std() * torch.randn(module.weight.shape, generator=generator)
        for path, module in linear_modules(real.hf_model).items()
        if ".1" in path
    }
    real.add_delta(ri.Delta("d", {path: update.detach() for path, update in updates.items()}))
    real.add_state("npo", ri.State({"d": 1.0}))
    for kind in ("mlp", "head"):
        found = attribute_patches(real, capital, "Paris", "Madrid", host="npo", kind=kind)
        assert found.n_exact == 64
        assert found.rank_correlation > 0.7
