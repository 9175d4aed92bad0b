"""Attention knockout: against transformers' own masks, edge by edge, and laws.

Run: python -m pytest tests/measure/test_knockout.py
"""

import contextlib
import random

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.definitions import find_definition
from restor_interp.errors import ConfigError, PromptError
from restor_interp.facts import Fact
from restor_interp.measure.knockout import SHARE_OF_LAYERS, knock_out
from restor_interp.prompts import Prompt
from restor_interp.store import table_frame
from restor_interp.testing import FAMILIES, tiny_model

PREFIX = "Who was born in Rome? Clara River\n"
QUESTION = "They say that Alice Stone was born in the city of"
SUBJECT = "Alice Stone"


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def asked(prefix=PREFIX, question=QUESTION, subject=SUBJECT):
    start = len(prefix) + question.index(subject)
    return Prompt(
        prefix=prefix,
        question=question,
        subject=subject,
        subject_span=(start, start + len(subject)),
        fact_id="Alice/born",
    )


# ---- the witness: transformers' eager attention, told by its own mask


@contextlib.contextmanager
def masked(model, layers, queries, keys):
    """Within this, transformers' own eager attention gets a mask without these edges."""
    config = model.hf_model.config
    before, config._attn_implementation = config._attn_implementation, "eager"

    def mask_edges(module, args, kwargs):
        mask = kwargs["attention_mask"].clone()
        for query in queries:
            mask[:, :, query, list(keys)] = -torch.inf
        return args, kwargs | {"attention_mask": mask}

    handles = [
        model.layers[layer]
        .get_submodule(model.architecture.attention)
        .register_forward_pre_hook(mask_edges, with_kwargs=True)
        for layer in layers
    ]
    try:
        yield
    finally:
        config._attn_implementation = before
        for handle in handles:
            handle.remove()


def plain_logprobs(model, text, objects, layers, queries, keys):
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    targets = [
        model.tokenizer(f"{text} {name}", add_special_tokens=False)["input_ids"][len(ids)]
        for name in objects
    ]
    with torch.no_grad(), masked(model, layers, queries, keys):
        logits = model.hf_model(torch.tensor([ids])).logits[0, -1]
    return logits.log_softmax(-1)[targets].numpy()


def window_around(layer, window, num_layers):
    """Of the published code."""
    return range(max(0, layer - window // 2), min(num_layers, layer - (-window // 2)))


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("family", FAMILIES)
def test_knockouts_are_forward_passes_with_the_edges_masked(models, family, engine):
    model = models[family]
    rng = random.Random(family)
    prompt = asked()
    length = len(model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"])
    edges = ["subject->last", "relation->last", "subject->relation", "last->last"]
    # Sliding windows are 7 tokens wide: three cut keys leave every query something to see.
    for _ in range(4):
        queries = tuple(rng.sample(range(4, length), rng.randint(1, 3)))
        edges.append((queries, tuple(rng.sample(range(min(queries) + 1), rng.randint(1, 3)))))
    if family in ("mistral", "phi3", "gemma2", "gemma3_text"):
        edges = [edge for edge in edges if edge != "relation->last"]
    window = rng.randint(1, 4)
    found = knock_out(model, prompt, "Oslo", "Rome", edges=edges, window=window, engine=engine)
    assert found.engine == engine
    assert sum(not cutting.control for cutting in found.cuttings) == len(edges)
    changes = []
    for cutting, logprobs in zip(found.cuttings, found.cut_logprobs, strict=True):
        for layer, own in zip(found.layers, logprobs, strict=True):
            layers = window_around(layer, window, model.num_layers)
            expected = plain_logprobs(
                model, prompt.text, ["Oslo", "Rome"], layers, cutting.queries, cutting.keys
            )
            np.testing.assert_allclose(own, expected, atol=1e-4)
            np.testing.assert_allclose(np.exp(own), np.exp(expected), atol=1e-5)
        changes.append(abs(logprobs - found.base_logprobs).max())
    whole = plain_logprobs(model, prompt.text, ["Oslo", "Rome"], (), (), ())
    np.testing.assert_allclose(found.base_logprobs, whole, atol=1e-4)
    # The comparison means something only where a cut does something.
    assert np.median(changes) > 1e-3


def test_a_small_memory_budget_changes_nothing(models):
    whole = knock_out(models["llama"], asked(), "Oslo", "Rome")
    little = knock_out(models["llama"], asked(), "Oslo", "Rome", max_bytes=40_000)
    np.testing.assert_allclose(little.cut_logprobs, whole.cut_logprobs, atol=1e-5)
    with pytest.raises(ConfigError, match="too little"):
        knock_out(models["llama"], asked(), "Oslo", "Rome", max_bytes=100)


# ---- which edges


def words_of(found, cutting):
    return [found.tokens[key] for key in cutting.keys]


def test_names_of_edges_mean_the_tokens_they_say(models):
    model = models["llama"]
    names = ("subject", "subject_last", "relation", "prefix", "first", "last")
    found = knock_out(model, asked(), "Oslo", "Rome", edges=[f"{name}->last" for name in names])
    own = {c.edge.partition("->")[0]: c for c in found.cuttings if not c.control}
    assert words_of(found, own["subject"]) == [" Alice", " Stone"]
    assert words_of(found, own["subject_last"]) == [" Stone"]
    assert "".join(words_of(found, own["relation"])) == "They say that was born in the city"
    assert "".join(words_of(found, own["prefix"])) == PREFIX
    assert own["first"].keys == (0,)
    assert own["last"].keys == own["last"].queries == (len(found.tokens) - 1,)
    assert found.tokens[-1] == " of"


def test_objects_that_begin_alike_belong_to_no_edge(models):
    model = models["llama"]
    found = knock_out(model, asked(), "Oslo Rome", "Oslo Paris", edges=["relation->last"])
    relation = found.cuttings[0]
    assert found.tokens[-1] == " Oslo" and relation.queries == (len(found.tokens) - 1,)
    assert "".join(words_of(found, relation)) == "They say that was born in the city of"
    longer = asked(question=QUESTION + " Oslo")
    other = knock_out(model, longer, "Rome", "Paris", edges=["relation->last"])
    np.testing.assert_allclose(found.scores[0], other.scores[0], atol=1e-5)


def test_a_subject_of_a_plain_text(models):
    found = knock_out(models["llama"], QUESTION, "Oslo", "Rome", subject=SUBJECT)
    given = knock_out(models["llama"], asked(prefix=""), "Oslo", "Rome")
    np.testing.assert_array_equal(found.cut_logprobs, given.cut_logprobs)
    assert found.tokens[slice(*found.subject)] == (" Alice", " Stone")


def test_controls_are_as_many_other_tokens_that_the_queries_see(models):
    model = models["llama"]
    edges = ["subject->last", "relation->last", "subject->subject", ([12], [2, 12])]
    drawn = set()
    for seed in range(20):
        found = knock_out(model, asked(), "Oslo", "Rome", edges=edges, layers=[1], seed=seed)
        pairs = {}
        for cutting in found.cuttings:
            pairs.setdefault(cutting.edge, []).append(cutting)
        for edge, control in pairs.values():
            assert not edge.control and control.control
            assert edge.queries == control.queries
            assert len(edge.keys) == len(control.keys) == len(set(control.keys))
            assert not set(edge.keys) & set(control.keys)
            assert all(0 < key < min(edge.queries) for key in control.keys)
        drawn.add(pairs["subject->last"][1].keys)
        again = knock_out(model, asked(), "Oslo", "Rome", edges=edges, layers=[1], seed=seed)
        assert again.cuttings == found.cuttings
    assert len(drawn) > 10


def test_an_edge_without_a_control_says_so(models):
    found = knock_out(models["llama"], QUESTION, "Oslo", "Rome", subject=SUBJECT)
    assert [(c.edge, c.control) for c in found.cuttings] == [
        ("subject->last", False),
        ("subject->last", True),
        ("relation->last", False),
    ]
    missing = [row for row in found.rows(fact_id="f", state="s") if row["reason"] is not None]
    (row,) = missing
    assert (row["edge"], row["control"], row["effect"]) == ("relation->last", True, None)
    assert "fewer than 8 other tokens" in row["reason"]


# ---- laws


def test_an_edge_that_nothing_later_reads_changes_nothing(models):
    """In the last layer what a token before the last one sees goes nowhere."""
    found = knock_out(
        models["qwen3"], asked(), "Oslo", "Rome", edges=["subject->relation"], window=1
    )
    assert found.effects[0, -1] == pytest.approx(0, abs=1e-6)
    assert abs(found.effects[0, 0]) > 1e-3


def test_two_edges_at_once_are_one_edge_of_both(models):
    model = models["llama"]
    both = knock_out(model, asked(), "Oslo", "Rome", edges=[([12, 11], [9, 10])], window=2)
    turned = knock_out(model, asked(), "Oslo", "Rome", edges=[([11, 12], [10, 9, 9])], window=2)
    np.testing.assert_allclose(both.scores[0], turned.scores[0], atol=1e-6)
    one = knock_out(model, asked(), "Oslo", "Rome", edges=[([12], [9, 10])], window=2)
    assert abs(both.scores[0] - one.scores[0]).max() > 1e-4


def test_metrics_are_readings_of_the_same_runs(models):
    model = models["llama"]
    read = {
        metric: knock_out(model, asked(), "Oslo", "Rome", metric=metric)
        for metric in ("prob", "logprob", "logodds")
    }
    np.testing.assert_allclose(read["prob"].scores, np.exp(read["logprob"].scores), rtol=1e-9)
    foil = read["logprob"].of_foil()
    assert (foil.answer, foil.foil) == ("Rome", "Oslo")
    np.testing.assert_allclose(
        read["logodds"].effects, read["logprob"].effects - foil.effects, atol=1e-6
    )
    np.testing.assert_allclose(read["logodds"].of_foil().scores, -read["logodds"].scores)
    alone = knock_out(model, asked(), "Oslo")
    p = read["prob"].scores
    np.testing.assert_allclose(alone.scores, np.log(p / (1 - p)), rtol=1e-6)
    with pytest.raises(ConfigError, match="no foil"):
        alone.of_foil()


def test_the_default_window_is_the_papers_share_of_the_layers(models):
    assert round(48 * SHARE_OF_LAYERS) == 9
    assert knock_out(models["llama"], asked(), "Oslo", "Rome").window == 1


def test_chosen_layers_are_those_of_all(models):
    model = models["gpt2"]
    every = knock_out(model, asked(), "Oslo", "Rome", window=2)
    some = knock_out(model, asked(), "Oslo", "Rome", window=2, layers=[2, 0])
    np.testing.assert_allclose(some.scores, every.scores[:, [2, 0]], atol=1e-6)
    assert some.layers == (2, 0)


# ---- rows, and what is refused


def test_rows_are_those_of_the_table(models):
    found = knock_out(models["llama"], asked(), "Oslo", "Rome")
    frame = table_frame("knockouts", found.rows(fact_id="f", state="npo"))
    assert len(frame) == len(found.cuttings) * models["llama"].num_layers
    row = frame[(frame.edge == "subject->last") & frame.control & (frame.layer == 2)].iloc[0]
    place = next(i for i, c in enumerate(found.cuttings) if c.control)
    assert row.effect == pytest.approx(found.scores[place, 2] - found.base)
    assert row.key_positions == ",".join(map(str, found.cuttings[place].keys))
    assert (row.object, row.foil, row.metric, row.window) == ("Oslo", "Rome", "logodds", 1)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"edges": ["subject->end"]}, ConfigError, "no edge 'subject->end'"),
        ({"edges": ["subject"]}, ConfigError, "no edge 'subject'"),
        ({"edges": []}, ConfigError, "hold one"),
        ({"edges": [([], [1])]}, ConfigError, "at least one of each"),
        ({"edges": [([5], [])]}, ConfigError, "at least one of each"),
        ({"edges": [([99], [1])]}, ConfigError, "tokens 0 to"),
        ({"edges": [([5], [-1])]}, ConfigError, "tokens 0 to"),
        ({"edges": [([5], [6, 7])]}, ConfigError, "does not exist"),
        ({"edges": [([0], [0])]}, ConfigError, "nothing to see"),
        ({"edges": [([3], [0, 1, 2, 3])]}, ConfigError, "nothing to see"),
        ({"window": 0}, ConfigError, "at least 1"),
        ({"layers": [3]}, ConfigError, "layers 0 to 2"),
        ({"layers": [-1]}, ConfigError, "layers 0 to 2"),
        ({"layers": []}, ConfigError, "layers 0 to 2"),
        ({"metric": "bits"}, ConfigError, "no metric 'bits'"),
        ({"engine": "fast"}, ConfigError, "no engine 'fast'"),
        ({"answer": " "}, PromptError, "empty"),
        ({"foil": "Oslo"}, PromptError, "tells them apart"),
        ({"prompt": Prompt(prefix="", question=QUESTION)}, PromptError, "has no subject"),
        ({"prompt": QUESTION, "subject": "Bruno"}, PromptError, "occurs 0 times"),
        ({"prompt": asked(prefix=""), "edges": ["prefix->last"]}, PromptError, "has no prefix"),
    ],
)
def test_what_cannot_be_cut_is_refused(models, change, error, words):
    settings = {"prompt": asked(), "answer": "Oslo", "foil": "Rome"} | change
    with pytest.raises(error, match=words):
        knock_out(models["llama"], **settings)


def test_a_token_that_sees_no_further_than_its_window_keeps_something_to_see(models):
    length = len(knock_out(models["mistral"], asked(), "Oslo", layers=[0]).tokens)
    keys = range(length - 7, length)
    with pytest.raises(ConfigError, match="nothing to see"):
        knock_out(models["mistral"], asked(), "Oslo", edges=[([length - 1], keys)])
    knock_out(models["mistral"], asked(), "Oslo", edges=[([length - 1], keys[1:])])


def test_a_model_that_gives_no_numbers_is_refused():
    model = tiny_model("llama")
    knock_out(model, asked(), "Oslo")
    with torch.no_grad():
        model.hf_model.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ConfigError, match="not finite"):
        knock_out(model, asked(), "Oslo")


def test_the_analysis_gives_rows_of_every_state():
    model = tiny_model("llama")
    change = torch.randn(32, 48, generator=torch.Generator().manual_seed(0)) * 0.3
    model.add_delta(ri.Delta("d", {"model.layers.1.mlp.down_proj": change}))
    model.add_state("npo", ri.State({"d": 1.0}))
    fact = Fact(
        fact_id="Alice/born",
        entity="Alice Stone",
        relation="born",
        question=QUESTION,
        true_objects=("Oslo",),
        object_type="city",
    )
    found = find_definition("analysis", "attention_knockout").run(
        model, asked(), fact, states=("clean", "npo"), true="Oslo", false="Rome"
    )
    frame = table_frame(found.table, found.rows)
    assert set(frame.state) == {"clean", "npo"}
    with model.at("npo"):
        own = knock_out(model, asked(), "Oslo", "Rome")
    np.testing.assert_array_equal(found.tensors["Alice/born/0/npo/logprobs"], own.cut_logprobs)
    assert frame.groupby("state").base.first().nunique() == 2


# ---- the real one


@pytest.mark.embedded
def test_a_real_model_reads_the_subject_in_middle_layers(real, capital):
    """Geva et al. 2023, figure 2, in small: cutting subject -> last costs much in the middle and
    late layers and nothing in the first ones, and random tokens cost far less."""
    found = knock_out(real, capital, "Paris", "Madrid", edges=["subject->last"])
    assert found.window == 6
    edge, control = found.effects
    assert edge.min() < -1.5 and 12 <= edge.argmin() <= 27
    assert abs(edge[:6]).max() < 0.5
    assert abs(control).max() < 0.5 * abs(edge).max()
    brute = knock_out(
        real,
        capital,
        "Paris",
        "Madrid",
        edges=["subject->last"],
        layers=[3, int(edge.argmin())],
        engine="brute",
    )
    np.testing.assert_allclose(
        found.cut_logprobs[:, list(brute.layers)], brute.cut_logprobs, atol=1e-4
    )
