"""Grafting: the staircase against models rebuilt by hand, planted places, matched controls, laws.

Run: python -m pytest tests/measure/test_grafting.py
"""

import copy
import hashlib
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError, PromptError
from restor_interp.facts import Fact, load_facts
from restor_interp.measure import swaps
from restor_interp.measure.graft_modules import BY, differing_modules, matched_swap
from restor_interp.measure.grafting import GraftJob, graft
from restor_interp.measure.smallest_graft import smallest_graft
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.models.loading import load_model
from restor_interp.prompts import Prompt, build_prompt
from restor_interp.store import TABLES
from restor_interp.testing import FAMILIES, tiny_model

PREFIX = "Question Where was Alice Stone born Answer Oslo\n"
PROMPTS = [
    Prompt(prefix=PREFIX, question="Question Where was Bruno born Answer"),
    Prompt(prefix=PREFIX, question="Question Where was Clara River born Answer"),
    "They say that Alice Stone was born in the city of",
]
ANSWERS, FOILS = ["Rome", "Paris", "Lima"], ["Oslo", "Berlin", "Cairo"]
HOST, DONOR = State({"a": 1.0, "b": -0.5}), State({"a": 1.0, "c": 1.0})


def low_rank(model, name, *, seed, size=0.3, keep=lambda path: True):
    """A low-rank change of every matrix in the blocks, or of some."""
    generator = torch.Generator().manual_seed(seed)
    updates = {}
    for path, module in linear_modules(model.hf_model).items():
        rows, columns = module.weight.shape[::-1] if "gpt2" in model.name else module.weight.shape
        a = torch.randn(2, columns, generator=generator) * size
        b = torch.randn(rows, 2, generator=generator) * size
        if keep(path):
            updates[path] = LowRank(a, b, 1.5)
    return Delta(name, updates)


def dense(model, name, *, seed, size=0.1, keep=lambda path: True):
    """A change of every parameter: embeddings, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    tied = model.tied_parameters()
    return Delta(
        name,
        {
            path.removesuffix(".weight"): size * torch.randn(weight.shape, generator=generator)
            for path, weight in model.clean_parameters().items()
            if path not in tied and keep(path)
        },
    )


def changed_model(family, **settings):
    model = tiny_model(family, **settings)
    model.add_delta(low_rank(model, "a", seed=1))
    model.add_delta(low_rank(model, "b", seed=2, keep=lambda path: "mlp" in path or ".1." in path))
    model.add_delta(dense(model, "c", seed=3))
    return model


@pytest.fixture(scope="module")
def models():
    return {family: changed_model(family) for family in FAMILIES}


def planted(keep, *, family="llama", size=0.5):
    """A model whose state `bad` differs from the clean one in some modules alone."""
    model = tiny_model(family)
    model.add_delta(low_rank(model, "bad", seed=4, size=size, keep=keep))
    model.add_state("bad", State({"bad": 1.0}))
    return model


def fingerprint(model):
    running = hashlib.sha256()
    for name, weight in model.hf_model.state_dict().items():
        running.update(name.encode())
        running.update(weight.contiguous().view(torch.uint8).numpy().tobytes())
    return running.hexdigest()


def parameters(model, state):
    """Copies of all parameters in a state, under every name that they have."""
    with model.at(state):
        named = model.hf_model.named_parameters(remove_duplicate=False)
        return {name: weight.detach().clone() for name, weight in named}


def logprobs_of(hf_model, tokenizer, prompt, *objects):
    """By one plain forward pass, of objects that differ at once."""
    text = prompt if isinstance(prompt, str) else prompt.text
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = [tokenizer(f"{text} {o}", add_special_tokens=False)["input_ids"] for o in objects]
    with torch.no_grad():
        logprobs = hf_model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    return [float(logprobs[own[len(ids)]]) for own in after]


# ---- the same as a model that was put together by hand


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("family", FAMILIES)
def test_swaps_are_those_of_a_model_put_together_by_hand(models, family, by):
    """Dense and low-rank deltas, tied embeddings, norms, biases, transposed matrices; prompts that
    share their examples, and one of another length."""
    model = models[family]
    found = graft(model, PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST, by=by, controls=0)
    assert found.engine == "regions"
    host, donor = parameters(model, HOST), parameters(model, DONOR)
    by_hand = copy.deepcopy(model.hf_model)
    own = dict(by_hand.named_parameters(remove_duplicate=False))
    tied = model.tied_parameters()
    chosen = random.Random(0).sample(range(len(found.grafts)), min(4, len(found.grafts)))
    for index in chosen:
        modules = set(found.grafts[index].modules)
        assert modules
        with torch.no_grad():
            for name, parameter in own.items():
                first = tied.get(name, name)
                swapped = first in modules or first.removesuffix(".weight") in modules
                parameter.copy_((donor if swapped else host)[name])
        expected = [
            logprobs_of(by_hand, model.tokenizer, *asked)
            for asked in zip(PROMPTS, ANSWERS, FOILS, strict=True)
        ]
        np.testing.assert_allclose(found.grafted_logprobs[:, index], expected, atol=1e-4)
    assert np.abs(found.grafted_logprobs - found.host_logprobs[:, None]).max() > 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_the_staircase_equals_full_forward_passes_with_controls(models, family):
    asked = {"donor": DONOR, "host": HOST, "by": "component", "controls": 2, "seed": 5}
    fast = graft(models[family], PROMPTS, ANSWERS, FOILS, **asked)
    slow = graft(models[family], PROMPTS, ANSWERS, FOILS, **asked, engine="brute")
    assert (fast.engine, slow.engine) == ("regions", "brute")
    assert fast.grafts == slow.grafts
    for name in ("host_logprobs", "donor_logprobs", "grafted_logprobs", "control_logprobs"):
        a, b = getattr(fast, name), getattr(slow, name)
        np.testing.assert_allclose(a, b, atol=1e-4)
        np.testing.assert_allclose(np.exp(a), np.exp(b), atol=1e-5)
    assert np.isfinite(fast.control_logprobs).any()


def test_host_and_donor_are_plain_runs_of_these_states(models):
    model = models["qwen2"]
    found = graft(model, PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST, controls=0)
    for state, logprobs in ((HOST, found.host_logprobs), (DONOR, found.donor_logprobs)):
        with model.at(state):
            expected = [
                logprobs_of(model.hf_model, model.tokenizer, *asked)
                for asked in zip(PROMPTS, ANSWERS, FOILS, strict=True)
            ]
        np.testing.assert_allclose(logprobs, expected, atol=1e-5)


def test_half_precision_differs_by_its_rounding(models):
    del models
    model = changed_model("llama", dtype=torch.bfloat16)
    asked = {"donor": DONOR, "host": HOST, "by": "layer", "controls": 1}
    fast = graft(model, PROMPTS, ANSWERS, FOILS, **asked)
    slow = graft(model, PROMPTS, ANSWERS, FOILS, **asked, engine="brute")
    np.testing.assert_allclose(fast.grafted_logprobs, slow.grafted_logprobs, atol=0.3)
    assert np.abs(fast.grafted_logprobs - fast.host_logprobs[:, None]).max() > 1


def test_prompts_of_which_one_begins_with_another(models):
    """The longer one's tokens, and twice the same prompt, in one row."""
    model = models["gemma2"]
    prompts = [
        Prompt(prefix=PREFIX, question="Question Where"),
        Prompt(prefix=PREFIX, question="Question Where was Bruno"),
        Prompt(prefix=PREFIX, question="Question Where"),
    ]
    asked = {"donor": DONOR, "host": HOST, "by": "layer", "controls": 0}
    fast = graft(model, prompts, ANSWERS, FOILS, **asked)
    slow = graft(model, prompts, ANSWERS, FOILS, **asked, engine="brute")
    np.testing.assert_allclose(fast.grafted_logprobs, slow.grafted_logprobs, atol=1e-4)


def test_objects_that_begin_alike_are_read_where_they_differ(models):
    model = models["llama"]
    found = graft(model, [PROMPTS[2]], ["Oslo Rome"], ["Oslo Paris"], donor=DONOR, host=HOST)
    longer = graft(model, [PROMPTS[2] + " Oslo"], ["Rome"], ["Paris"], donor=DONOR, host=HOST)
    np.testing.assert_allclose(found.grafted_logprobs, longer.grafted_logprobs, atol=1e-5)


def test_a_layer_is_run_once_for_all_swaps_that_agree_up_to_it(models, monkeypatch):
    rows = []

    def counting(model, layer, present):
        rows.append(present[0].hidden.shape[1])
        return run_layer(model, layer, present)

    run_layer = swaps.run_layer
    monkeypatch.setattr(swaps, "run_layer", counting)
    model = planted(lambda path: True)
    graft(model, PROMPTS[2:], ANSWERS[2:], host="bad", by="layer", controls=0)
    # Layer 0: the host, and the donor, which the first swap equals so far. Then host, donor, and
    # every swap that has begun.
    assert sum(rows) == 2 + 4 + 5


def test_a_small_memory_budget_changes_nothing(models):
    asked = {"donor": DONOR, "host": HOST, "by": "module", "controls": 1}
    whole = graft(models["llama"], PROMPTS, ANSWERS, FOILS, **asked)
    with pytest.raises(ConfigError, match="too little for one row") as refused:
        graft(models["llama"], PROMPTS, ANSWERS, FOILS, **asked, max_bytes=1000)
    needed = int(str(refused.value).rpartition(" ")[2])
    chunked = graft(models["llama"], PROMPTS, ANSWERS, FOILS, **asked, max_bytes=needed)
    np.testing.assert_allclose(chunked.grafted_logprobs, whole.grafted_logprobs, atol=1e-5)
    np.testing.assert_allclose(chunked.control_logprobs, whole.control_logprobs, atol=1e-5)


# ---- weights of single modules in another state


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_bits_come_back_after_grafts_and_errors(family, dtype):
    model = changed_model(family, dtype=dtype)
    clean = fingerprint(model)
    with model.at(HOST):
        host = fingerprint(model)
        donor = parameters(model, DONOR)
        paths = [*low_rank(model, "a", seed=1).updates][::3]
        with model.grafted(dict.fromkeys(paths, DONOR)):
            now = dict(model.hf_model.named_parameters())
            for path in paths:
                assert torch.equal(now[f"{path}.weight"], donor[f"{path}.weight"])
            mixed = fingerprint(model)
            with model.grafted({paths[0]: "clean"}):
                assert fingerprint(model) != mixed
            assert fingerprint(model) == mixed != host
        assert fingerprint(model) == host
        with pytest.raises(KeyError), model.grafted(dict.fromkeys(paths, DONOR)):
            raise KeyError
        assert fingerprint(model) == host
        graft(model, PROMPTS, ANSWERS, donor=DONOR, host=HOST, by="layer")
        assert fingerprint(model) == host
        assert model.state == HOST
    assert fingerprint(model) == clean


def test_grafts_of_unknown_modules_and_states_are_refused(models):
    with pytest.raises(ConfigError, match="no module that a delta changes"):
        models["llama"].grafted({"model.layers.9.mlp.up_proj": HOST}).__enter__()
    with pytest.raises(ConfigError, match="no state 'later'"):
        models["llama"].grafted({"model.layers.1.mlp.up_proj": "later"}).__enter__()


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_distances_are_norms_of_differences_of_weights(family):
    """fp64, so that weights are the exact sums; low-rank, dense, and both in one module."""
    model = changed_model(family, dtype=torch.float64)
    host, donor = parameters(model, HOST), parameters(model, DONOR)
    found = model.distances(HOST, DONOR)
    tied = model.tied_parameters()
    expected = {
        name.removesuffix(".weight"): float((host[name] - donor[name]).norm())
        for name in host
        if name not in tied and not torch.equal(host[name], donor[name])
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-6)
    only = model.distances("clean", State({"b": 2.0}))
    assert set(only) == set(model.deltas["b"].updates)
    assert only == pytest.approx({p: 2 * 1.5 * float((u.b.double() @ u.a.double()).norm())
                                  for p, u in model.deltas["b"].updates.items()})  # fmt: skip
    assert model.distances(HOST, State({"b": -0.5, "a": 1.0})) == {}


# ---- planted places


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma3_text"])
def test_the_gain_is_where_the_delta_is_and_nowhere_else(family, layer):
    model = planted(lambda path: f".{layer}." in path, family=family)
    found = graft(model, PROMPTS, ANSWERS, FOILS, host="bad", by="layer", controls=2)
    assert np.isfinite(found.effects).any(), "the plant moves no answer by a nat"
    for index, one in enumerate(found.grafts):
        if index == layer:
            np.testing.assert_allclose(found.scores[:, index], found.donor_values, atol=1e-6)
            assert np.nanmax(np.abs(found.effects[:, index] - 1)) < 1e-6
            assert "no random modules can match it" in one.control_reason
        else:
            np.testing.assert_array_equal(found.scores[:, index], found.host_values)
            assert (one.modules, one.norm) == ((), 0)
            assert "nothing to match" in one.control_reason
    assert np.isnan(found.control_effects).all()


def test_cumulative_depth_ends_at_the_donor_and_the_two_ways_complement_each_other(models):
    model = models["qwen2"]  # its embeddings are tied, and the delta `c` changes them
    asked = {"donor": DONOR, "host": HOST, "controls": 1}
    up = graft(model, PROMPTS, ANSWERS, FOILS, by="bottom_up", **asked)
    down = graft(model, PROMPTS, ANSWERS, FOILS, by="top_down", **asked)
    np.testing.assert_allclose(up.scores[:, -1], up.donor_values, atol=1e-5)
    np.testing.assert_allclose(down.scores[:, 0], down.donor_values, atol=1e-5)
    everything = {m.path for m in differing_modules(model, DONOR, HOST)}
    for layer in range(model.num_layers - 1):
        low, high = set(up.grafts[layer].modules), set(down.grafts[layer + 1].modules)
        assert low | high == everything
        assert not low & high
        assert up.grafts[layer].layer == layer
    # Swapping the low layers of the host is swapping back the high layers of the donor.
    back = graft(model, PROMPTS, ANSWERS, FOILS, donor=HOST, host=DONOR, by="top_down", controls=0)
    np.testing.assert_allclose(up.scores[:, :-1], back.scores[:, 1:], atol=1e-5)


def test_late_layers_stand_against_what_lies_before_them(models):
    model = models["qwen2"]
    asked = {"donor": DONOR, "host": HOST, "controls": 2}
    down = graft(model, PROMPTS, ANSWERS, FOILS, by="top_down", **asked)
    late = graft(model, PROMPTS, ANSWERS, FOILS, by="late", **asked)
    assert [one.layer for one in late.grafts] == list(
        range(model.num_layers - max(1, model.num_layers // 2), model.num_layers)
    )
    for index, one in enumerate(late.grafts):
        assert set(one.modules) == set(down.grafts[one.layer].modules)
        np.testing.assert_allclose(late.scores[:, index], down.scores[:, one.layer], atol=1e-5)
    # A change of late layers alone: nothing else can match it, and nothing else is what it has.
    bad = planted(lambda path: f".{model.num_layers - 1}." in path)
    found = graft(bad, PROMPTS, ANSWERS, FOILS, host="bad", by="late", controls=2)
    assert "stand all others" in found.grafts[-1].control_reason
    np.testing.assert_allclose(found.scores[:, -1], found.donor_values, atol=1e-5)
    told = np.isfinite(found.effects[:, -1])
    np.testing.assert_allclose(found.control_effects[told, -1, 0], 0, atol=1e-5)
    assert told.any() and np.isnan(found.control_effects[:, -1, 1]).all()


@pytest.mark.parametrize("component", ["attn", "mlp"])
def test_components_are_told_apart(component):
    inside = {"attn": "self_attn", "mlp": "mlp"}[component]
    model = planted(lambda path: f".1.{inside}" in path)
    found = graft(model, PROMPTS, ANSWERS, FOILS, host="bad", by="component", controls=0)
    for index, one in enumerate(found.grafts):
        planted_here = (one.layer, one.component) == (1, component)
        expected = found.donor_values if planted_here else found.host_values
        np.testing.assert_allclose(found.scores[:, index], expected, atol=1e-6)
        assert bool(one.modules) == planted_here
    assert found.best() == [found.grafts[2 + ["attn", "mlp"].index(component)].modules]


def test_a_fact_of_the_calibration_model_is_lost_in_a_block_and_comes_back_with_it():
    facts, model = load_facts("bios"), load_model("bios")
    fact = [fact for fact in facts if fact.relation == "P19"][2]
    prompt = build_prompt(facts, fact)
    foil = next(f.true_objects[0] for f in facts if f.relation == "P19" and f != fact)
    block = (5, 6)
    model.add_delta(
        low_rank(model, "bad", seed=0, size=0.15, keep=lambda path: ".5." in path or ".6." in path)
    )
    model.add_state("bad", State({"bad": 1.0}))
    asked = {"host": "bad", "controls": 0}
    found = {
        by: graft(model, [prompt], fact.true_objects[:1], [foil], by=by, **asked)
        for by in ("layer", "bottom_up", "top_down")
    }
    host, donor = found["layer"].host_values[0], found["layer"].donor_values[0]
    assert donor - host > 1  # known, and lost
    for layer in range(model.num_layers):
        if layer not in block:
            assert found["layer"].scores[0, layer] == host
        up, down = (found[by].effects[0, layer] for by in ("bottom_up", "top_down"))
        if layer < block[0] or layer >= block[1]:
            assert up == pytest.approx(float(layer >= block[1]), abs=1e-5)
        if layer <= block[0] or layer > block[1]:
            assert down == pytest.approx(float(layer <= block[0]), abs=1e-5)
    assert found["layer"].grafts[int(np.nanargmax(found["layer"].effects[0]))].layer in block


# ---- controls


def test_random_modules_move_by_the_same_norm():
    """Norms of the weights themselves, in fp64."""
    model = changed_model("gpt2", dtype=torch.float64)
    modules = differing_modules(model, DONOR, HOST)
    host = parameters(model, HOST)
    for seed in range(12):
        rng = random.Random(seed)
        swapped = rng.sample(modules, 3)
        norm = sum(module.norm**2 for module in swapped) ** 0.5
        others = [module for module in modules if module not in swapped]
        swap = matched_swap(others, norm, rng)
        assert swap is not None
        assert not set(swap) & {module.path for module in swapped}
        case = swaps.SwapCase(
            model=model,
            questions=[],
            modules=modules,
            donor=DONOR,
            host=HOST,
            swaps=[],
            max_bytes=0,
        )
        with model.at(HOST), model.grafted(case.states(swap)):
            moved = [
                float((weight.detach() - host[name]).norm()) ** 2
                for name, weight in model.hf_model.named_parameters()
            ]
        assert sum(moved) ** 0.5 == pytest.approx(norm, rel=1e-6)
        assert sum(value > 0 for value in moved) == len(swap)
        assert sum(0 < share < 1 for share in swap.values()) == 1
    assert matched_swap(others[:1], 1.01 * others[0].norm, random.Random(0)) is None
    assert matched_swap(others[:1], others[0].norm, random.Random(0)) == {others[0].path: 1.0}


def test_controls_are_random_modules_outside_the_swap_and_follow_the_seed(models, monkeypatch):
    model = models["llama"]
    seen = []

    def keeping(case):
        seen.append(case)
        return swaps.by_staircase(case)

    monkeypatch.setattr("restor_interp.measure.grafting.by_staircase", keeping)
    found = [
        graft(model, PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST, by="layer", controls=2,
              seed=seed)
        for seed in (1, 1, 2)
    ]  # fmt: skip
    one = found[0]
    norms = {module.path: module.norm for module in seen[0].modules}
    number = len(one.grafts)
    drawn = seen[0].swaps[2 + number :]
    matched = [g for g in one.grafts if g.control_reason is None]
    assert len(drawn) == 2 * len(matched) > 0
    for index, swap in enumerate(drawn):
        swapped = matched[index // 2]
        assert not set(swap) & set(swapped.modules)
        moved = sum((share * norms[path]) ** 2 for path, share in swap.items()) ** 0.5
        assert moved == pytest.approx(swapped.norm, rel=1e-6)
    assert seen[0].swaps == seen[1].swaps != seen[2].swaps
    np.testing.assert_array_equal(found[0].control_logprobs, found[1].control_logprobs)
    assert np.nanmax(np.abs(found[0].control_logprobs - found[2].control_logprobs)) > 1e-3


def test_controls_of_cumulative_depth_come_from_all_modules(models):
    """Of the whole delta it is the whole delta again."""
    found = graft(
        models["llama"], PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST, by="bottom_up", controls=2
    )
    assert [one.control_reason for one in found.grafts] == [None] * 3
    for draw in range(2):
        np.testing.assert_allclose(
            found.control_logprobs[:, -1, draw], found.donor_logprobs, atol=1e-5
        )
    assert np.abs(found.control_logprobs - found.grafted_logprobs[:, :, None]).max() > 0.1


# ---- the smallest set


def two_plants():
    """Two components that lose the answers, among changes of all others that hardly do."""
    model = tiny_model("llama")
    places = ("layers.0.mlp", "layers.2.self_attn")

    def is_planted(path):
        return any(place in path for place in places)

    strong = low_rank(model, "strong", seed=7, size=0.6, keep=is_planted)
    weak = low_rank(model, "weak", seed=8, size=0.05, keep=lambda path: not is_planted(path))
    for delta in (strong, weak):
        model.add_delta(delta)
    model.add_state("bad", State({"strong": 1.0, "weak": 1.0}))
    return model


def test_greedy_finds_two_planted_components_and_is_judged_on_what_it_did_not_see():
    model = two_plants()
    answers, foils = ["Lima", "Lima", "Oslo"], ["Cairo", "Cairo", "Madrid"]
    judged_on = ["fact", "other_facts", "other_context"]
    asked = {"host": "bad", "judged_on": judged_on, "controls": 4, "share": 0.9}
    found = smallest_graft(model, PROMPTS, answers, foils, **asked)
    assert [unit.name for unit in found.units] == ["layers.0.mlp", "layers.2.attn"]
    assert found.reached
    assert found.curve[-1] >= 0.9 > found.curve[0]
    for kind in ("other_facts", "other_context"):
        assert found.held_out_curve(kind)[-1] == pytest.approx(1, abs=0.2)
    assert np.isnan(found.control_curve()[-1]).all()  # nothing else moves as far
    assert "no random modules" in found.grafts.grafts[-1].control_reason
    # Every step is the best one, by brute force.
    one = {"host": "bad", "controls": 0, "engine": "brute"}
    alone = graft(model, PROMPTS[:1], answers[:1], foils[:1], by="component", **one)
    assert alone.best() == [found.units[0].modules]
    pairs = [found.units[0].modules + g.modules for g in alone.grafts if g != found.units[0]]
    second = graft(model, PROMPTS[:1], answers[:1], foils[:1], by=pairs, **one)
    assert set(second.best()[0]) == set(found.modules)
    assert np.nanmax(second.mean_effects()) == pytest.approx(found.curve[1], abs=1e-4)
    # What is held out decides nothing.
    prompts, others = [PROMPTS[0], PROMPTS[2], PROMPTS[1]], ["Cairo", "Madrid", "London"]
    other = smallest_graft(model, prompts, ["Lima", "Rome", "Paris"], others, **asked)
    assert [unit.name for unit in other.units] == [unit.name for unit in found.units]
    np.testing.assert_allclose(other.curve, found.curve, atol=1e-5)


def test_greedy_has_controls_where_others_can_move_as_far():
    model = planted(lambda path: True)
    found = smallest_graft(
        model, PROMPTS, ANSWERS, FOILS, host="bad", by="module", share=10.0, limit=3, controls=3
    )
    assert not found.reached
    assert len(found.units) == len(found.curve) == 3
    assert found.control_curve().shape == (3, 3)
    assert np.isfinite(found.control_curve()).all()
    assert [len(g.modules) for g in found.grafts.grafts] == [1, 2, 3]
    rows = found.rows(fact_id="f")
    assert [row["order"] for row in rows] == [1, 2, 3]
    assert [row["modules"] for row in rows] == [unit.name for unit in found.units]
    assert [row["effect"] for row in rows] == pytest.approx(found.curve.tolist())
    assert {row["by"] for row in rows} == {"greedy"}


def test_greedy_takes_all_if_it_must():
    model = planted(lambda path: ".1." in path)
    found = smallest_graft(model, PROMPTS, ANSWERS, FOILS, host="bad", share=1.5, controls=0)
    assert len(found.units) == 2
    assert found.curve[-1] == pytest.approx(1, abs=1e-5)
    assert not found.reached


def test_greedy_refuses_a_fact_that_the_host_has_not_lost():
    model = planted(lambda path: True, size=0.01)
    with pytest.raises(ConfigError, match="less than 1 nat apart"):
        smallest_graft(model, PROMPTS, ANSWERS, FOILS, host="bad")
    with pytest.raises(ConfigError, match="no prompt is judged on 'fact'"):
        smallest_graft(model, PROMPTS[:1], ["Rome"], host="bad", judged_on=["other_facts"])
    for wrong in ({"share": 0.0}, {"limit": 0}):
        with pytest.raises(ConfigError, match="must be above 0"):
            smallest_graft(model, PROMPTS, ANSWERS, host="bad", **wrong)
    with pytest.raises(ConfigError, match="no unit of grafts 'head'"):
        smallest_graft(model, PROMPTS, ANSWERS, host="bad", by="head")


# ---- what is read, and rows


def test_metrics_are_readings_of_the_same_runs(models):
    asked = {"donor": DONOR, "host": HOST, "by": "layer", "controls": 1}
    read = {
        metric: graft(models["llama"], PROMPTS, ANSWERS, FOILS, metric=metric, **asked)
        for metric in ("prob", "logprob", "logodds")
    }
    foil = read["logprob"].of_foil()
    np.testing.assert_allclose(read["prob"].scores, np.exp(read["logprob"].scores))
    np.testing.assert_allclose(
        read["logodds"].scores, read["logprob"].scores - foil.scores, atol=1e-9
    )
    np.testing.assert_allclose(read["logodds"].of_foil().scores, -read["logodds"].scores)
    for one in read.values():
        gap = (one.donor_values - one.host_values)[:, None]
        fine = np.isfinite(one.effects)
        assert fine.any()
        expected = (one.scores - one.host_values[:, None]) / gap
        np.testing.assert_allclose(one.effects[fine], expected[fine])
    alone = graft(models["llama"], PROMPTS, ANSWERS, metric="logodds", **asked)
    p = read["prob"].scores
    np.testing.assert_allclose(alone.scores, np.log(p / (1 - p)), atol=1e-6)
    with pytest.raises(ConfigError, match="no foils"):
        alone.of_foil()


def test_shares_of_a_gap_below_one_nat_are_blank_with_a_reason(models):
    found = graft(models["llama"], PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST, controls=1)
    for gap, blank in ((0.9, True), (1.1, False), (-0.9, True), (-1.1, False)):
        donor = found.host_logprobs + np.array([gap, 0.0])
        forced = replace(found, donor_logprobs=donor)
        assert np.isnan(forced.effects).all() == blank
        reasons = {row["reason"] for row in forced.rows(fact_id="f")}
        assert reasons == ({"donor and host are 0.9 nats apart, below 1"} if blank else {None})
        if not blank:
            np.testing.assert_allclose(
                forced.effects, (found.scores - found.host_values[:, None]) / gap
            )


def test_rows_are_means_over_prompts_of_a_kind(models):
    model = models["llama"]
    found = graft(
        model,
        PROMPTS,
        ANSWERS,
        FOILS,
        donor=DONOR,
        host=HOST,
        by="layer",
        judged_on=["fact", "other_facts", "other_facts"],
        controls=3,
    )
    rows = found.rows(fact_id="Bruno/P19")
    assert set(TABLES["grafts"]) <= set(rows[0])
    assert len(rows) == 2 * len(found.grafts)
    for row in rows:
        of = [name == row["judged_on"] for name in found.judged_on]
        index = row["order"] - 1
        assert row["n_prompts"] == sum(of)
        assert row["score"] == pytest.approx(found.scores[of, index].mean())
        assert row["host_value"] == pytest.approx(found.host_values[of].mean())
        assert row["effect"] == pytest.approx(np.nanmean(found.effects[of, index]), nan_ok=True)
        assert (row["layer"], row["modules"]) == (
            found.grafts[index].layer,
            found.grafts[index].name,
        )
        assert (row["object"], row["foil"], row["fact_id"]) == ("Rome", "Oslo", "Bruno/P19")
        assert (row["donor"], row["host"]) == ("1·a + 1·c", "1·a + -0.5·b")
        if found.grafts[index].control_reason is None:
            draws = np.nanmean(found.control_effects[of, index], axis=0)
            assert row["n_controls"] == 3
            assert (row["control_low"], row["control_effect"], row["control_high"]) == (
                pytest.approx((draws.min(), draws.mean(), draws.max()))
            )
        else:
            assert row["n_controls"] == 0
            assert np.isnan(row["control_effect"])


def test_own_sets_of_modules(models):
    model = models["llama"]
    names = ("model.layers.0.mlp.up_proj", "model.layers.2.mlp.up_proj")
    asked = {"donor": DONOR, "host": HOST, "controls": 1}
    found = graft(model, PROMPTS, ANSWERS, FOILS, by=[names, names[:1]], **asked)
    assert found.by == "chosen"
    assert [(g.layer, g.component) for g in found.grafts] == [(None, "mlp"), (0, "mlp")]
    by_module = graft(model, PROMPTS, ANSWERS, FOILS, by="module", **asked)
    same = [g.modules for g in by_module.grafts].index(names[:1])
    np.testing.assert_allclose(found.scores[:, 1], by_module.scores[:, same], atol=1e-5)
    with pytest.raises(ConfigError, match="no module in which donor and host differ"):
        graft(model, PROMPTS, ANSWERS, by=[["model.layers.7.mlp.up_proj"]], **asked)
    with pytest.raises(ConfigError, match="a sequence of module names"):
        graft(model, PROMPTS, ANSWERS, by=[names[0]], **asked)


def test_the_gallery_asks_it_of_one_fact():
    model = planted(lambda path: True)
    definition = find_definition("analysis", "grafting")
    fact = Fact(
        fact_id="Bruno/P19",
        entity="Bruno",
        relation="P19",
        question="Where was Bruno born",
        true_objects=("Rome",),
        object_type="city",
    )
    asked = {"states": ("bad",), "true": "Rome", "false": "Oslo"}
    offered = {
        "other_contexts": [replace(PROMPTS[0], prefix=PREFIX * 2)],
        "other_facts": [(PROMPTS[1], "Paris", "Berlin"), (PROMPTS[2], "Lima", "Cairo")],
    }
    assert set(offered) < set(definition.given)
    result = definition.run(model, PROMPTS[0], fact, **asked, **offered, greedy_limit=2)
    assert result.table == "grafts"
    assert {row["fact_id"] for row in result.rows} == {fact.fact_id}
    by_layer = [row for row in result.rows if row["by"] == "layer"]
    assert [row["layer"] for row in by_layer] == list(range(model.num_layers))
    expected = graft(model, PROMPTS[:1], ["Rome"], ["Oslo"], host="bad", controls=0)
    assert [row["effect"] for row in by_layer] == pytest.approx(expected.effects[0].tolist())
    judged = {row["judged_on"]: row for row in result.rows if row["by"] == "chosen"}
    assert {kind: row["n_prompts"] for kind, row in judged.items()} == {
        "fact": 1,
        "other_context": 1,
        "other_facts": 2,
    }
    assert judged["fact"]["effect"] == pytest.approx(np.nanmax(expected.effects), abs=1e-5)
    assert judged["fact"]["n_controls"] == 3
    assert sum(row["by"] == "greedy" for row in result.rows) >= 3
    assert {row["judged_on"] for row in definition.run(model, PROMPTS[0], fact, **asked).rows} == {
        "fact"
    }
    assert definition.run(model, PROMPTS[0], fact, **asked | {"states": ("clean",)}).rows == []


# ---- bad input


def test_bad_input_is_told(models):
    model = models["llama"]
    states = {"donor": DONOR, "host": HOST}
    with pytest.raises(ConfigError, match="no state 'nowhere'"):
        graft(model, PROMPTS, ANSWERS, host="nowhere")
    with pytest.raises(ConfigError, match="nothing to graft"):
        graft(model, PROMPTS, ANSWERS, donor=HOST, host=State(dict(HOST.coefficients)))
    with pytest.raises(ConfigError, match="nothing to graft"):
        graft(model, PROMPTS, ANSWERS, host="clean")
    with pytest.raises(ConfigError, match="no metric 'loss'"):
        graft(model, PROMPTS, ANSWERS, metric="loss", **states)
    with pytest.raises(ConfigError, match="no way to put modules together 'head'"):
        graft(model, PROMPTS, ANSWERS, by="head", **states)
    with pytest.raises(ConfigError, match="no engine 'fast'"):
        graft(model, PROMPTS, ANSWERS, engine="fast", **states)
    with pytest.raises(ConfigError, match="no kind of prompt 'others'"):
        graft(model, PROMPTS, ANSWERS, judged_on=["others"] * 3, **states)
    with pytest.raises(ConfigError, match="controls=-1"):
        graft(model, PROMPTS, ANSWERS, controls=-1, **states)
    with pytest.raises(ConfigError, match="3 prompts and 2 answers, 1 foils"):
        graft(model, PROMPTS, ANSWERS[:2], FOILS[:1], **states)
    with pytest.raises(ConfigError, match="give lists"):
        graft(model, PROMPTS[2], ANSWERS, **states)
    with pytest.raises(PromptError, match="no prompts"):
        graft(model, [], [], **states)
    with pytest.raises(PromptError, match="empty"):
        graft(model, PROMPTS[:1], [" "], **states)
    with pytest.raises(PromptError, match="begins with"):
        graft(model, PROMPTS[:1], ["Oslo"], ["Oslo Rome"], **states)


def test_a_state_that_gives_no_numbers_is_told():
    model = tiny_model("llama")
    model.add_delta(low_rank(model, "burst", seed=1, size=1e18))
    with pytest.raises(ConfigError, match="not finite"):
        graft(model, PROMPTS, ANSWERS, host=State({"burst": 1.0}), controls=0)


def test_a_job_of_one_kind_keeps_the_order(models):
    job = GraftJob.of(
        models["llama"], PROMPTS, ANSWERS, FOILS, donor=DONOR, host=HOST,
        judged_on=["other_facts", "fact", "fact"], metric="logodds", controls=0, seed=1,
        max_bytes=10**8, engine="auto",
    ).only("fact")  # fmt: skip
    assert (job.answers, job.foils) == (("Paris", "Lima"), ("Berlin", "Cairo"))
    assert [q.prompt.text.endswith("city of") for q in job.questions] == [False, True]
