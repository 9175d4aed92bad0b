"""Causal tracing: regions against full forward passes, both against the published procedure, laws.

Run: python -m pytest tests/measure/test_tracing.py
"""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import packed, restoring
from restor_interp.measure.choices import score_choices
from restor_interp.measure.subjects import subject_sigma
from restor_interp.measure.tracing import KINDS, restored_layers, trace, trace_many
from restor_interp.models.deltas import Delta, State
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_regions_equal_full_forward_passes_in_every_metric(models, family, kind, whole):
    fast, slow = (
        trace(
            models[family],
            SENTENCE,
            "Oslo River",
            SUBJECT,
            "Rome",
            kind=kind,
            window=2,
            samples=2,
            whole=whole,
            engine=engine,
            metric="logprob",
        )
        for engine in ("regions", "brute")
    )
    assert (fast.engine, slow.engine) == ("regions", "brute")
    for metric, allowed in (("logprob", 1e-4), ("prob", 1e-5), ("logodds", 2e-4)):
        one, other = (replace(found, metric=metric) for found in (fast, slow))
        assert np.abs(one.samples - other.samples).max() <= allowed
        assert np.abs(one.of_foil().samples - other.of_foil().samples).max() <= allowed
        assert (one.high, one.low) == pytest.approx((other.high, other.low), abs=allowed)
    assert np.ptp(slow.samples) > 1e-2  # so that this means something


# ---- the published procedure


SENTENCE = "They say that Alice Stone was born in the city of"
SUBJECT = "Alice Stone"


def published_procedure(model, ids, span, target, *, kind, window, samples, noise):
    """`causal_trace.py` of Meng et al. 2022, from its description: one batch per cell, whose row 0
    is the clean run and whose other rows are noised and get row 0's states."""
    hf = model.hf_model
    blocks = hf.transformer.h
    part = {"resid": lambda b: b, "mlp": lambda b: b.mlp, "attn": lambda b: b.attn}[kind]
    drawn = np.random.RandomState(1).randn(samples, span[1] - span[0], model.d_model)
    scale = noise * hf.transformer.wte.weight.std().item()
    batch = torch.as_tensor(ids)[None].repeat(samples + 1, 1)

    def noising(module, inputs, output):
        output = output.clone()
        output[1:, span[0] : span[1]] += scale * torch.from_numpy(drawn).float()
        return output

    def restoring_token(token):
        def restore(module, inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            value = value.clone()
            value[1:, token] = value[0, token]
            return (value, *output[1:]) if isinstance(output, tuple) else value

        return restore

    def probability(token, layers):
        handles = [hf.transformer.wte.register_forward_hook(noising)]
        handles += [
            part(blocks[layer]).register_forward_hook(restoring_token(token)) for layer in layers
        ]
        with torch.no_grad():
            probs = hf(batch).logits[1:, -1].softmax(dim=-1)
        for handle in handles:
            handle.remove()
        return probs.mean(dim=0)[target].item()

    def layers(layer):
        if kind == "resid":
            return [layer]
        return range(max(0, layer - window // 2), min(len(blocks), layer - (-window // 2)))

    with torch.no_grad():
        high = hf(batch[:1]).logits[0, -1].softmax(dim=-1)[target].item()
    grid = [
        [probability(token, layers(layer)) for layer in range(len(blocks))]
        for token in range(len(ids))
    ]
    return np.array(grid), probability(0, []), high


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_traces_are_those_of_the_published_procedure(models, kind, engine, window):
    if kind == "resid" and window > 1:
        pytest.skip("the residual stream has no window")
    model = models["gpt2"]
    found = trace(
        model, SENTENCE, "Oslo", SUBJECT, kind=kind, window=window, samples=4, engine=engine
    )
    ids = model.tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
    target = model.tokenizer(SENTENCE + " Oslo", add_special_tokens=False)["input_ids"][len(ids)]
    assert "".join(found.tokens[slice(*found.subject)]).strip() == SUBJECT
    grid, low, high = published_procedure(
        model, ids, found.subject, target, kind=kind, window=window, samples=4, noise=3.0
    )
    np.testing.assert_allclose(found.scores, grid, atol=1e-5, rtol=1e-4)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.scores.shape == (len(ids), model.num_layers)
    assert np.ptp(found.scores) > 1e-5


def test_windows_are_those_of_the_published_code():
    for window in range(1, 9):
        for layer in range(5):
            expected = [j for j in range(5) if layer - window // 2 <= j < layer + -(-window // 2)]
            assert list(restored_layers(layer, window, 5)) == expected


# ---- laws


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("engine", ["regions", "brute"])
def test_restoring_before_the_subject_does_nothing_and_the_end_brings_all_back(
    models, family, engine
):
    found = trace(
        models[family], SENTENCE, "Oslo", SUBJECT, samples=3, engine=engine, metric="logprob"
    )
    assert np.all(found.samples[:, : found.subject[0]] == found.low_samples[:, None, None])
    np.testing.assert_allclose(found.samples[:, -1, -1], found.high, atol=1e-5)
    np.testing.assert_allclose(
        found.samples[:, :-1, -1],
        found.low_samples[:, None].repeat(found.scores.shape[0] - 1, 1),
        atol=1e-5,
    )
    assert abs(found.high - found.low) > 1e-3


def test_restoring_the_only_noised_token_at_every_layer_before_attention_brings_all_back(models):
    """With a window over all layers and one noised token at the end, what remains is its own
    embedding: restoring the residual stream after layer 0 there is the whole clean run."""
    model = models["llama"]
    found = trace(model, "They say that Oslo", "Alice", "Oslo", samples=2, metric="logprob")
    if found.subject[1] - found.subject[0] == 1:
        np.testing.assert_allclose(found.scores[-1], found.high, atol=1e-5)


def same_length_names(model):
    """Two names of one token length, told by the tokenizer."""
    names = ["Alice Stone", "Clara Stone", "Alice River", "Alice", "Clara", "Bruno", "Oslo"]
    for first in names:
        for second in names:
            lengths = [
                len(model.tokenizer(f"say that {name} was", add_special_tokens=False)["input_ids"])
                for name in (first, second)
            ]
            if first != second and lengths[0] == lengths[1]:
                return first, second
    raise AssertionError("the tiny tokenizer has no two names of one length")


@pytest.mark.parametrize("engine", ["regions", "brute"])
def test_a_substitution_is_the_run_of_the_other_prompt(models, engine):
    model = models["llama"]
    name, other = same_length_names(model)
    prompt, changed = (f"They say that {n} was born in" for n in (name, other))
    found = trace(model, prompt, "Oslo", name, substitute=other, engine=engine, metric="logprob")
    ends = []
    for text in (prompt, changed):
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([ids])).logits[0, -1]
        target = model.tokenizer(text + " Oslo", add_special_tokens=False)["input_ids"][len(ids)]
        ends.append(logits.log_softmax(-1)[target].item())
    assert (found.high, found.low) == pytest.approx(tuple(ends), abs=1e-5)
    assert abs(found.total_effect) > 1e-4
    assert (found.corruption, found.sigma, found.seed) == ("substitution", None, None)
    assert found.samples.shape[0] == 1


def test_substitution_by_itself_has_no_effect(models):
    found = trace(models["llama"], SENTENCE, "Oslo", SUBJECT, substitute=SUBJECT, metric="logprob")
    assert found.total_effect == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.scores, found.high, atol=1e-5)
    assert np.isnan(found.effects).all()


def test_without_noise_there_is_no_effect(models):
    found = trace(models["gpt2"], SENTENCE, "Oslo", SUBJECT, noise=0.0, samples=2)
    np.testing.assert_allclose(found.scores, found.high, atol=1e-6)


# ---- what is read


def test_metrics_are_readings_of_the_same_runs(models):
    model = models["llama"]
    read = {
        metric: trace(model, SENTENCE, "Oslo", SUBJECT, "Rome", samples=3, metric=metric, seed=2)
        for metric in ("prob", "logprob", "logodds")
    }
    foil = read["logprob"].of_foil()
    np.testing.assert_allclose(read["prob"].samples, np.exp(read["logprob"].samples), rtol=1e-9)
    np.testing.assert_allclose(
        read["logodds"].samples, read["logprob"].samples - foil.samples, atol=1e-9
    )
    np.testing.assert_allclose(read["logodds"].of_foil().scores, -read["logodds"].scores)
    alone = trace(model, SENTENCE, "Oslo", SUBJECT, samples=3, metric="logodds", seed=2)
    p = read["prob"].samples
    np.testing.assert_allclose(alone.samples, np.log(p / (1 - p)), rtol=1e-6)
    with pytest.raises(ConfigError, match="no foil"):
        alone.of_foil()
    other_seed = trace(model, SENTENCE, "Oslo", SUBJECT, "Rome", samples=3, seed=3)
    assert not np.allclose(other_seed.low_samples, read["prob"].low_samples, rtol=1e-6)


def test_objects_that_begin_alike_are_read_where_they_differ(models):
    model = models["llama"]
    found = trace(model, SENTENCE, "Oslo Rome", SUBJECT, "Oslo Paris", samples=2, metric="logodds")
    longer = trace(model, SENTENCE + " Oslo", "Rome", SUBJECT, "Paris", samples=2, metric="logodds")
    assert found.tokens == longer.tokens
    np.testing.assert_allclose(found.scores, longer.scores, atol=1e-6)
    with pytest.raises(PromptError, match="begins with 'Oslo'"):
        trace(model, SENTENCE, "Oslo", SUBJECT, "Oslo Paris")


def test_the_answer_is_by_default_what_the_clean_run_says(models):
    model = models["llama"]
    found = trace(model, SENTENCE, subject=SUBJECT, samples=2)
    ids = model.tokenizer(SENTENCE, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        probs = model.hf_model(torch.tensor([ids])).logits[0, -1].softmax(-1)
    assert found.high == pytest.approx(probs.max().item(), abs=1e-6)
    assert found.answer == model.tokenizer.decode([int(probs.argmax())]).strip()


def test_a_prompt_value_and_its_text_give_the_same_trace(models):
    model = models["llama"]
    start = SENTENCE.index(SUBJECT)
    prompt = Prompt(
        prefix=SENTENCE[:5],
        question=SENTENCE[5:],
        subject=SUBJECT,
        subject_span=(start, start + len(SUBJECT)),
    )
    np.testing.assert_array_equal(
        trace(model, prompt, "Oslo", samples=2).scores,
        trace(model, SENTENCE, "Oslo", SUBJECT, samples=2).scores,
    )


def test_sigma_is_explicit_and_its_source_recorded(models):
    model = models["llama"]
    entries = model.hf_model.get_input_embeddings().weight.detach()
    default = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2)
    assert default.sigma == pytest.approx(entries.std().item())
    assert default.sigma_source == "embedding matrix"
    given = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2, sigma=default.sigma)
    assert given.sigma_source == "given"
    np.testing.assert_array_equal(given.scores, default.scores)
    doubled = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2, sigma=2 * default.sigma, noise=1.5)
    np.testing.assert_allclose(doubled.scores, default.scores, rtol=1e-5)
    names = [SUBJECT, "Oslo"]
    ids = [i for row in model.tokenizer(names, add_special_tokens=False)["input_ids"] for i in row]
    assert subject_sigma(model, names) == pytest.approx(entries[ids].std().item())


def test_a_trace_sees_the_state_that_the_model_is_in(models):
    model = models["llama"]
    before = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2)
    weight = model.layers[1].mlp.down_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(3)
    after = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2)
    with torch.no_grad():
        weight.copy_(kept)
    assert abs(before.high - after.high) > 1e-6
    assert trace(model, SENTENCE, "Oslo", SUBJECT, samples=2).high == before.high


def test_rows_are_those_of_the_table(models):
    model = models["llama"]
    found = trace(model, SENTENCE, "Oslo", SUBJECT, "Rome", samples=2, metric="logodds")
    rows = found.rows(fact_id="Alice/P19", state="npo")
    assert len(rows) == (len(found.tokens) - found.subject[0]) * model.num_layers
    assert {row["position"] for row in rows if row["in_subject"]} == set(range(*found.subject))
    row = next(r for r in rows if (r["position"], r["layer"]) == (len(found.tokens) - 1, 1))
    assert row["score"] == found.scores[-1, 1]
    assert row["token"] == found.tokens[-1]
    assert (row["fact_id"], row["state"], row["kind"], row["corruption"], row["object"]) == (
        "Alice/P19",
        "npo",
        "resid",
        "noise",
        "Oslo",
    )
    assert {"metric", "window", "low", "high"} <= set(row)


def test_shares_of_an_effect_below_one_nat_are_blank(models):
    found = trace(models["llama"], SENTENCE, "Oslo", SUBJECT, samples=2, metric="logprob")
    for effect, blank in ((0.9, True), (1.1, False), (-3.0, True)):
        forced = replace(found, clean_logprobs=found.noised_logprobs.mean(axis=0) + effect)
        assert np.isnan(forced.effects).all() == blank
    np.testing.assert_allclose(forced.total_effect, -3.0)


# ---- whole objects, several prompts


def test_whole_objects_are_scored_as_in_the_evaluation(models):
    model, objects = models["llama"], ["Oslo River", "Rome"]
    found = trace(
        model, SENTENCE, objects[0], SUBJECT, objects[1], samples=2, whole=True, metric="logprob"
    )
    scores = score_choices(model, [Prompt(prefix="", question=SENTENCE)], [objects])[0]
    expected = [score.sum_logprob for score in scores]
    assert found.clean_logprobs.tolist() == pytest.approx(expected, abs=1e-4)
    assert found.whole
    assert not trace(model, SENTENCE, "Oslo", SUBJECT, samples=2).whole
    alike = trace(model, SENTENCE, "Oslo", SUBJECT, "Oslo River", samples=2, whole=True)
    assert alike.tokens == found.tokens


def test_several_prompts_and_kinds_are_traced_as_each_alone(models):
    model = models["gemma2"]
    prompts = [
        (SENTENCE, "Oslo River", SUBJECT, "Rome"),
        ("What language did they say Clara Field speaks", "Italian", "Clara Field", None),
    ]
    asked = [
        Prompt(
            prefix="",
            question=text,
            subject=subject,
            subject_span=(text.index(subject), text.index(subject) + len(subject)),
        )
        for text, _, subject, _ in prompts
    ]
    arguments = {"samples": 2, "window": 2, "metric": "logodds", "whole": True}
    answers, foils = [p[1] for p in prompts], [p[3] for p in prompts]
    for max_bytes in (2**28, 2**17):  # in one sweep, and each in its own
        together = trace_many(
            model, asked, answers, foils, kinds=KINDS, max_bytes=max_bytes, **arguments
        )
        assert [list(found) for found in together] == [list(KINDS)] * 2
        for found, (text, answer, subject, foil) in zip(together, prompts, strict=True):
            for kind in KINDS:
                alone = trace(model, text, answer, subject, foil, kind=kind, **arguments)
                assert found[kind].tokens == alone.tokens
                assert (found[kind].kind, found[kind].window) == (alone.kind, alone.window)
                np.testing.assert_allclose(found[kind].samples, alone.samples, atol=1e-4)
    assert trace_many(model, [], []) == []
    with pytest.raises(ConfigError, match="one of each per prompt"):
        trace_many(model, asked, answers[:1])


# ---- fall-back and bad input


def test_a_model_that_regions_do_not_reproduce_is_traced_by_full_forwards(monkeypatch, caplog):
    model = tiny_model("llama")
    expected = trace(model, SENTENCE, "Oslo", SUBJECT, samples=2, engine="brute")
    monkeypatch.setattr(packed, "_hidden_from", lambda *_: None)  # attention that sees the future
    monkeypatch.setattr(restoring, "_CHECKED", {})
    with caplog.at_level(logging.WARNING):
        found = [trace(model, SENTENCE, "Oslo", SUBJECT, samples=2) for _ in range(2)]
    told = [record.message for record in caplog.records if "full forward passes" in record.message]
    assert len(told) == 1
    assert found[0].engine == found[1].engine == "brute"
    np.testing.assert_array_equal(found[1].scores, expected.scores)
    with pytest.raises(ConfigError, match="cannot be run by regions"):
        trace(model, SENTENCE, "Oslo", SUBJECT, engine="regions")


def test_a_state_that_gives_no_numbers_is_told_and_does_not_slow_the_others():
    """Where it is the first to be traced, nothing is concluded about the model's code."""
    model = tiny_model("llama")
    # Finite, as deltas must be, but not once it is multiplied.
    matrix = torch.full((32, 48), 3e38)
    model.add_delta(Delta("diverged", {"model.layers.1.mlp.down_proj.weight": matrix}))
    with model.at(State({"diverged": 1.0})):
        with pytest.raises(ConfigError, match="the clean run gives log-probabilities that are not"):
            trace(model, SENTENCE, "Oslo", SUBJECT, samples=2)
        assert restoring.regions_problem(model) is None
    assert trace(model, SENTENCE, "Oslo", SUBJECT, samples=2).engine == "regions"


def test_a_subject_at_token_0_is_told(models, caplog):
    with caplog.at_level(logging.WARNING):
        trace(models["llama"], f"{SUBJECT} was born in", "Oslo", SUBJECT, samples=2)
    assert "starts at token 0" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subject": None}, PromptError, "Give subject="),
        ({"subject": "Bob"}, PromptError, "occurs 0 times"),
        ({"subject": "t"}, PromptError, "occurs 5 times"),
        ({"subject": ""}, PromptError, "occurs 0 times"),
        ({"answer": " "}, PromptError, "an object is empty"),
        ({"answer": None, "foil": "Rome"}, PromptError, "needs an answer"),
        ({"answer": None, "whole": True}, PromptError, "needs an answer"),
        ({"answer": " ", "whole": True}, PromptError, "is no object"),
        ({"kind": "head"}, ConfigError, "no kind of state 'head'"),
        ({"substitute": "The Great Alice Stone"}, PromptError, "of the same token length"),
        ({"kind": "residual"}, ConfigError, "kind of state 'residual'"),
        ({"metric": "logprobs"}, ConfigError, "Did you mean logprob"),
        ({"engine": "fast"}, ConfigError, "no engine 'fast'"),
        ({"samples": 0}, ConfigError, "samples=0"),
        ({"window": 0}, ConfigError, "window=0"),
        ({"noise": -1.0}, ConfigError, "noise=-1"),
        ({"sigma": 0.0}, ConfigError, "sigma=0"),
        ({"max_bytes": 10}, ConfigError, "max_bytes=10 is too little"),
        ({"noise": float("inf")}, ConfigError, "not finite"),
    ],
)
def test_bad_input_is_refused(models, change, error, message):
    arguments = {"answer": "Oslo", "subject": SUBJECT, "samples": 2} | change
    with pytest.raises(error, match=message):
        trace(models["llama"], SENTENCE, **arguments)
