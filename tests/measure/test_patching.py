"""Cross-state patching: against plain hooks, against the state it comes from, planted changes.

Run: python -m pytest tests/measure/test_patching.py
"""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.patching import KINDS, patch_states, window_around
from restor_interp.measure.tracing import trace
from restor_interp.prompts import Prompt, build_prompt, substitutes, with_substitute
from restor_interp.store import TABLES
from restor_interp.testing import FAMILIES, tiny_model

SENTENCE = "They say that Alice Stone was born in the city of"
SUBJECT = "Alice Stone"


def add_change(model, name, layers, *, scale=0.3, seed=0):
    """A state whose weights differ in these layers alone."""
    generator = torch.Generator().manual_seed(seed)
    blocks = model.architecture.blocks
    updates = {}
    for path, module in model.hf_model.named_modules():
        place = path.removeprefix(f"{blocks}.").partition(".")[0]
        weight = getattr(module, "weight", None)
        inside = path.startswith(f"{blocks}.") and place in map(str, layers)
        if inside and weight is not None and weight.ndim == 2:
            noise = torch.randn(weight.shape, generator=generator)
            updates[path] = scale * weight.std().item() * noise
    model.add_delta(ri.Delta(name, updates))
    model.add_state(name, ri.State({name: 1}))
    return model


@pytest.fixture(scope="module")
def models():
    made = {family: tiny_model(family) for family in FAMILIES}
    return {
        family: add_change(model, "changed", range(model.num_layers))
        for family, model in made.items()
    }


# ---- against brute force


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_regions_equal_full_forwards(models, family, kind):
    rng = random.Random(f"{family}{kind}")
    settings = {
        "kind": kind,
        "window": rng.randint(1, 4),
        "positions": (
            None if kind in ("head", "subject") else [rng.randint(0, 5), "subject_last", -1]
        ),
        "metric": "logprob",
    }
    directions = [("clean", "changed"), ("changed", "clean")]
    for donor, host in directions:
        fast, slow = (
            patch_states(
                models[family], SENTENCE, "Oslo", "Rome", donor=donor, host=host,
                subject=SUBJECT, engine=engine, **settings,
            )
            for engine in ("regions", "brute")
        )  # fmt: skip
        assert (fast.engine, slow.engine) == ("regions", "brute")
        for name in ("host_logprobs", "donor_logprobs", "patched_logprobs"):
            a, b = getattr(fast, name), getattr(slow, name)
            assert np.abs(a - b).max() <= 1e-4
            assert np.abs(np.exp(a) - np.exp(b)).max() <= 1e-5
        # The comparison means something only where patching does something.
        assert np.abs(slow.scores - slow.host_value).max() > 1e-3


def parts_of_llama(model, kind, layer):
    block = model.hf_model.model.layers[layer]
    return {
        "resid": block, "subject": block, "attn": block.self_attn, "mlp": block.mlp,
        "head": block.self_attn.o_proj,
    }[kind]  # fmt: skip


def patched_by_hand(model, ids, position, layers, kind, head, target):
    """Hooks of PyTorch on a transformers model, and nothing of this library's but the states."""
    kept, handles = {}, []
    own = slice(head * model.d_head, (head + 1) * model.d_head) if kind == "head" else slice(None)

    def hooked(function):
        for layer in layers:
            part = parts_of_llama(model, kind, layer)
            if kind == "head":
                hook = part.register_forward_pre_hook(lambda m, a, n=layer: (function(n, a[0]),))
            else:

                def at_output(module, inputs, output, n=layer):
                    if isinstance(output, tuple):
                        return (function(n, output[0]), *output[1:])
                    return function(n, output)

                hook = part.register_forward_hook(at_output)
            handles.append(hook)

    def run():
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([ids])).logits[0, -1]
        while handles:
            handles.pop().remove()
        return logits.log_softmax(-1)[target].item()

    def keep(layer, value):
        kept[layer] = value[0, position, own].clone()
        return value

    def put_in(layer, value):
        value = value.clone()
        value[0, position, own] = kept[layer]
        return value

    with model.at("changed"):
        hooked(keep)
        run()
    with model.at("clean"):
        hooked(put_in)
        return run()


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_is_what_hooks_of_pytorch_say(models, kind, engine):
    model = models["llama"]
    positions = None if kind == "subject" else ["subject_last", "last"]
    grid = patch_states(
        model, SENTENCE, "Oslo", donor="changed", host="clean", subject=SUBJECT, kind=kind,
        window=2, metric="logprob", positions=positions, engine=engine,
    )  # fmt: skip
    ids = model.tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
    target = model.tokenizer(SENTENCE + " Oslo", add_special_tokens=False)["input_ids"][len(ids)]
    assert "".join(grid.tokens[slice(*grid.subject)]).strip() == SUBJECT
    places = list(grid.positions)
    if kind == "subject":
        assert places == [grid.subject[0]] and grid.subject[1] - grid.subject[0] > 1
        assert {row["token"].strip() for row in grid.rows(fact_id="f")} == {SUBJECT}
        places = [slice(*grid.subject)]
    else:
        assert places == [grid.subject[1] - 1, len(ids) - 1]
    seen = []
    for index in np.ndindex(grid.scores.shape):
        layer = grid.layers[index[1]]
        layers = [layer - 1, layer] if kind in ("attn", "mlp") and layer else [layer]
        head = index[2] if kind == "head" else None
        place = (ids, places[index[0]], layers, kind, head, target)
        seen.append(patched_by_hand(model, *place))
    np.testing.assert_allclose(grid.scores.ravel(), seen, atol=1e-5)
    assert np.ptp(seen) > 1e-3


def test_windows_are_those_of_the_published_code():
    for window in range(1, 9):
        for layer in range(6):
            expected = [j for j in range(6) if layer - window // 2 <= j < layer + -(-window // 2)]
            assert list(window_around(layer, window, 6)) == expected


# ---- laws


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("state", ["clean", "changed"])
def test_equal_states_give_exactly_the_hosts_value(models, kind, engine, state):
    grid = patch_states(
        models["gpt2"], SENTENCE, "Oslo", "Rome", donor=state, host=state, subject=SUBJECT,
        kind=kind, engine=engine,
    )  # fmt: skip
    assert np.all(grid.scores == grid.host_value)
    assert grid.donor_value == grid.host_value
    assert np.isnan(grid.effects).all()


def test_the_last_state_of_all_is_the_donors_answer(models):
    for donor, host in (("clean", "changed"), ("changed", "clean")):
        # The norm and the unembedding are not changed, so the last layer decides.
        grid = patch_states(
            models["llama"], SENTENCE, "Oslo", "Rome", donor=donor, host=host, subject=SUBJECT
        )
        assert grid.scores[-1, -1] == pytest.approx(grid.donor_value, abs=1e-5)
        assert np.abs(grid.scores[:-1, -1] - grid.host_value).max() < 1e-5
        assert grid.positions == tuple(range(grid.subject[0], len(grid.tokens)))
        assert (grid.donor, grid.host) == (donor, host)


def test_swapping_donor_and_host_swaps_their_values(models):
    one, other = (
        patch_states(
            models["llama"], SENTENCE, "Oslo", "Rome", donor=donor, host=host, subject=SUBJECT
        )
        for donor, host in (("clean", "changed"), ("changed", "clean"))
    )
    # The host is read after shared keys of its prefix, the donor likewise: the same runs.
    assert (one.host_value, one.donor_value) == (other.donor_value, other.host_value)


def test_a_change_of_some_layers_shows_in_these_first(models):
    model = add_change(tiny_model("qwen2"), "late", [1])
    forth = patch_states(
        model, SENTENCE, "Oslo", "Rome", donor="late", host="clean", subject=SUBJECT
    )
    assert np.all(forth.scores[:, 0] == forth.host_value)
    assert np.abs(forth.scores[:, 1] - forth.host_value).min(axis=0) > 0
    for kind in ("attn", "mlp", "head"):
        parts = patch_states(
            model, SENTENCE, "Oslo", "Rome", donor="late", host="clean", subject=SUBJECT, kind=kind
        )
        assert np.all(parts.scores[:, 0] == parts.host_value)
        assert np.all(parts.scores[:, 1] != parts.host_value)


def test_patching_within_a_state_from_another_prompt_is_tracing(models):
    """Another implementation of the same numbers: a substitution and its restored states."""
    model, other = models["llama"], "Clara Stone"
    lengths = {
        len(model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"])
        for name in (SUBJECT, other)
    }
    assert len(lengths) == 1
    traced = trace(model, SENTENCE, "Oslo", SUBJECT, "Rome", substitute=other, metric="logodds")
    grid = patch_states(
        model, SENTENCE.replace(SUBJECT, other), "Oslo", "Rome", donor="clean", host="clean",
        subject=other, donor_prompt=SENTENCE,
    )  # fmt: skip
    np.testing.assert_allclose(grid.scores, traced.scores[grid.positions[0] :], atol=1e-5)
    assert (grid.host_value, grid.donor_value) == pytest.approx((traced.low, traced.high), abs=1e-5)


def test_another_model_may_be_the_donor(models):
    model = models["llama"]
    copy = tiny_model("llama")
    add_change(copy, "changed", range(copy.num_layers))
    by_state = patch_states(
        model, SENTENCE, "Oslo", "Rome", donor="changed", host="clean", subject=SUBJECT
    )
    with copy.at("changed"):
        by_model = patch_states(
            model, SENTENCE, "Oslo", "Rome", donor=copy, host="clean", subject=SUBJECT
        )
    np.testing.assert_array_equal(by_model.scores, by_state.scores)
    assert by_model.donor == copy.name


# ---- what is read


def test_metrics_are_readings_of_the_same_runs(models):
    def read(metric, foil="Rome", engine="auto"):
        return patch_states(
            models["llama"], SENTENCE, "Oslo", foil, donor="clean", host="changed",
            subject=SUBJECT, metric=metric, engine=engine,
        )  # fmt: skip

    logprob, prob, odds = (read(metric) for metric in ("logprob", "prob", "logodds"))
    np.testing.assert_allclose(prob.scores, np.exp(logprob.scores), rtol=1e-9)
    np.testing.assert_allclose(odds.scores, logprob.scores - logprob.of_foil().scores, atol=1e-9)
    np.testing.assert_allclose(odds.of_foil().scores, -odds.scores)
    alone = read("logodds", foil=None)
    np.testing.assert_allclose(alone.scores, np.log(prob.scores / (1 - prob.scores)), rtol=1e-6)
    with pytest.raises(ConfigError, match="no foil"):
        alone.of_foil()


def gap(grid, nats):
    """The same grid with its donor so many nats above its host."""
    logprobs = grid.host_logprobs + np.array([nats, 0.0])
    return replace(grid, donor_logprobs=logprobs)


def test_an_effect_is_a_share_of_the_gap_and_blank_below_a_nat(models):
    grid = patch_states(
        models["llama"], SENTENCE, "Oslo", "Rome", donor="clean", host="changed", subject=SUBJECT
    )
    for nats in (1.5, -1.5):
        wide = gap(grid, nats)
        np.testing.assert_allclose(wide.effects, (grid.scores - grid.host_value) / nats)
        assert {row["reason"] for row in wide.rows(fact_id="f")} == {None}
    small = gap(grid, 0.9)
    assert np.isnan(small.effects).all()
    assert {row["effect"] for row in small.rows(fact_id="f")} == {None}
    assert all("less than 1 nat" in row["reason"] for row in small.rows(fact_id="f"))
    # A probability's gap is judged in nats as well.
    assert np.isnan(replace(small, metric="prob").effects).all()
    assert not np.isnan(replace(gap(grid, 1.5), metric="prob").effects).any()
    # A null has the scale of the grid it is the null of.
    rows = small.rows(fact_id="f", null_of=gap(grid, 2.0))
    assert {row["null"] for row in rows} == {"wrong_entity"}
    assert rows[3]["effect"] == pytest.approx((grid.scores.ravel()[3] - grid.host_value) / 2.0)


def test_rows_fill_the_table(models):
    for kind in ("resid", "head"):
        grid = patch_states(
            models["llama"], SENTENCE, "Oslo", "Rome", donor="clean", host="changed",
            subject=SUBJECT, kind=kind, layers=[2, 0],
        )  # fmt: skip
        rows = grid.rows(fact_id="f")
        assert len(rows) == grid.scores.size
        assert set(TABLES["patches"]) <= set(rows[0])
        for row in rows:
            index = (grid.positions.index(row["position"]), grid.layers.index(row["layer"]))
            index += () if row["head"] is None else (row["head"],)
            assert row["score"] == grid.scores[index]
            assert row["in_subject"] == (row["position"] < grid.subject[1])
            assert row["token"] == grid.tokens[row["position"]]


def test_objects_that_begin_alike_are_read_where_they_differ(models):
    model = models["llama"]
    grid = patch_states(
        model, SENTENCE, "Oslo Rome", "Oslo Paris", donor="clean", host="changed", subject=SUBJECT
    )
    assert grid.tokens[-1].strip() == "Oslo"
    assert grid.positions[-1] == len(grid.tokens) - 1
    plain = patch_states(
        model, SENTENCE + " Oslo", "Rome", "Paris", donor="clean", host="changed", subject=SUBJECT
    )
    np.testing.assert_allclose(grid.scores, plain.scores, atol=1e-6)


# ---- planted in a model that knows something


@pytest.fixture(scope="module")
def bios():
    return ri.load_model("bios")


def test_a_change_planted_in_a_model_that_knows_the_fact_is_found_where_it_is(bios):
    facts = bios_facts()
    fact = facts.facts[0]
    prompt = build_prompt(facts, fact)
    foil = next(name for name in facts.pools[fact.object_type] if name not in fact.true_objects)
    block = range(bios.num_layers // 2, bios.num_layers // 2 + 1)
    add_change(bios, "planted", block, scale=2.0)
    grid = patch_states(bios, prompt, fact.true_objects[0], foil, donor="planted", host="clean")
    moved = np.abs(grid.scores - grid.host_value).max(axis=0)
    assert np.all(moved[: block.start] == 0) and moved[block.start] > 0.1
    # The null: what the same place brings from a state that is asked about somebody else.
    (other,) = substitutes(
        facts, fact.entity, number=1, seed=0,
        length=lambda name: len(bios.tokenizer(f" {name}", add_special_tokens=False)["input_ids"]),
    )  # fmt: skip
    back = patch_states(bios, prompt, fact.true_objects[0], foil, donor="clean", host="planted")
    null = patch_states(
        bios, prompt, fact.true_objects[0], foil, donor="clean", host="planted",
        donor_prompt=with_substitute(prompt, other),
    )  # fmt: skip
    assert back.donor_value - back.host_value > 1
    # Beyond the changed block the clean last token restores the answer, and its null does not.
    assert np.all(back.effects[:, : block.start] == 0)
    assert back.effects[-1, block.start] > 0.5
    assert back.effects[-1, -1] == pytest.approx(1, abs=1e-4)
    assert null.shares_of(back)[-1, -1] < 0.5
    assert null.donor_prompt is not None and other in null.donor_prompt


# ---- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"host": "npo"}, ConfigError, "state"),
        ({"donor": "npo"}, ConfigError, "state"),
        ({"donor": ri.State({"npo": 1})}, ConfigError, "delta"),
        ({"kind": "residual"}, ConfigError, "kind of state"),
        ({"metric": "p"}, ConfigError, "metric"),
        ({"engine": "fast"}, ConfigError, "engine"),
        ({"window": 0, "kind": "mlp"}, ConfigError, "window"),
        ({"positions": [99]}, ConfigError, "outside prompt"),
        ({"positions": []}, ConfigError, "no position"),
        ({"positions": ["middle"]}, ConfigError, "position"),
        ({"layers": [3]}, ConfigError, "has layers 0 to 2"),
        ({"layers": []}, ConfigError, "has layers 0 to 2"),
        ({"subject": "Bruno"}, PromptError, "occurs 0 times"),
        ({"subject": None}, PromptError, "are the subject"),
        ({"answer": " "}, PromptError, "empty"),
        ({"answer": "Rome"}, PromptError, "no token tells them apart"),
        ({"donor_prompt": "They say that Oslo"}, PromptError, "same token length"),
        ({"prompt": Prompt(prefix="", question="")}, PromptError, "subject"),
    ],
)
def test_bad_input_is_refused_with_a_reason(models, change, error, message):
    settings = {
        "prompt": SENTENCE, "answer": "Oslo", "foil": "Rome", "host": "changed",
        "subject": SUBJECT, **change,
    }  # fmt: skip
    if isinstance(settings["prompt"], Prompt):
        settings["subject"] = None
    with pytest.raises(error, match=message):
        patch_states(models["llama"], settings.pop("prompt"), settings.pop("answer"), **settings)


def test_a_donor_of_another_shape_is_refused(models):
    with pytest.raises(ConfigError, match=r"num_heads|d_model|d_head|vocab_size|num_layers"):
        other = models["gemma2"]
        patch_states(models["llama"], SENTENCE, "Oslo", donor=other, host="clean", subject=SUBJECT)


def test_a_diverged_state_is_refused(models):
    model = tiny_model("llama")
    add_change(model, "diverged", [0], scale=1e30)
    with pytest.raises(ConfigError, match="not finite"):
        patch_states(model, SENTENCE, "Oslo", donor="clean", host="diverged", subject=SUBJECT)
