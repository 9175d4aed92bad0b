"""Retention: against plain runs of whole objects, against margins, on changes planted in a model
that knows its facts.

Run: python -m pytest tests/measure/test_retention.py
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure import retention as instrument
from restor_interp.measure.margins import measure_margins
from restor_interp.measure.retention import SITES, measure_retention
from restor_interp.prompts import Prompt, build_prompt, substitutes, with_substitute
from restor_interp.store import TABLES
from restor_interp.testing import FAMILIES, tiny_model

QUESTION = "They say that Alice Stone was born in the city of"
PROMPT = Prompt(
    prefix="Question: Answer\n",
    question=QUESTION,
    subject="Alice Stone",
    subject_span=(31, 42),
    fact_id="f",
)
# "Oslo Rome" begins with the whole of "Oslo", and "Lima" has a second spelling: objects whose
# branches hold each other, and whose probabilities are added.
CANDIDATES = [("Oslo", "Oslo Oslo"), "Oslo Rome", "Paris", ("Lima", "the Lima city")]
HOST, WRONG = "Clara Stone", "Alice River"


def add_change(model, name, layers, *, scale=0.5, inside=""):
    """A state whose weights differ in these layers alone, or in a part of them."""
    generator = torch.Generator().manual_seed(0)
    start = f"{model.architecture.blocks}."
    updates = {}
    for path, module in model.hf_model.named_modules():
        weight = getattr(module, "weight", None)
        place, _, part = path.removeprefix(start).partition(".")
        chosen = path.startswith(start) and place in layers and part.startswith(inside)
        if chosen and weight is not None and weight.ndim == 2:
            noise = torch.randn(weight.shape, generator=generator)
            updates[path] = scale * weight.std().item() * noise
    model.add_delta(ri.Delta(name, updates))
    model.add_state(name, ri.State({name: 1}))


@pytest.fixture(scope="module")
def tiny():
    model = tiny_model("llama")
    add_change(model, "changed", ["0", "1", "2"])
    return model


def measured(model, **changes):
    settings = {"states": ["clean", "changed"], "substitute": HOST, **changes}
    return measure_retention(model, PROMPT, CANDIDATES, **settings)


# ---- against plain runs


def log_p_by_hand(model, prompt, patches=(), name_of_hook="hook_resid_post"):
    """log p_C(true) by one plain forward pass per spelling; patches: (layer, position, values)."""
    totals = []
    for candidate in CANDIDATES:
        own = []
        for name in (candidate,) if isinstance(candidate, str) else candidate:
            before = len(model.tokenizer(prompt.text)["input_ids"])
            ids = model.tokenizer(f"{prompt.text} {name}\n")["input_ids"]

            def put_in(value, hook):
                value = value.clone()
                for layer, position, values in patches:
                    if layer == hook.layer() and hook.name.endswith(name_of_hook):
                        value[0, position : position + len(values)] = values
                return value

            hooks = [(f"blocks.{i}.{name_of_hook}", put_in) for i in range(model.num_layers)]
            with torch.no_grad():
                logits = model.run_with_hooks(torch.tensor([ids]), fwd_hooks=hooks)[0]
            steps = logits.double().log_softmax(-1)
            own.append(sum(steps[t - 1, ids[t]] for t in range(before, len(ids))))
        totals.append(torch.stack(own).logsumexp(0))
    return (totals[0] - torch.stack(totals).logsumexp(0)).item()


def places_of(model, prompt):
    ids = model.tokenizer(prompt.text)["input_ids"]
    start = len(model.tokenizer(prompt.text[: prompt.subject_span[0]].rstrip())["input_ids"])
    end = len(model.tokenizer(prompt.text[: prompt.subject_span[1]])["input_ids"])
    last = range(len(ids) - 1, len(ids))
    return {"subject": range(start, end), "last": last, "attended": last}


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("site", SITES)
def test_numbers_are_those_of_plain_runs(tiny, site, engine, monkeypatch):
    # Every donor is measured everywhere, however little the clean model adds.
    monkeypatch.setattr("restor_interp.measure.retention.LEAST_EFFECT", -np.inf)
    other = replace(PROMPT, prefix="Question: Answer Oslo people\n", subject_span=(43, 54))
    found = measured(tiny, other_contexts=[other], wrong_entities=[WRONG], engine=engine)
    host = with_substitute(PROMPT, HOST)
    assert found.host_logp == pytest.approx(log_p_by_hand(tiny, host), abs=1e-5)
    assert [donor.kind for donor in found.donors] == [
        "state", "state", "other_context", "wrong_entity",
    ]  # fmt: skip
    assert found.donors[-1].prompt.subject == WRONG
    for number, donor in enumerate(found.donors):
        with tiny.at(donor.state):
            _, cache = tiny.run_with_cache(donor.prompt)
        for layer in range(tiny.num_layers):
            span = places_of(tiny, donor.prompt)[site]
            stream = "resid_mid" if site == "attended" else "resid_post"
            values = cache[stream, layer][0, span.start : span.stop]
            position = places_of(tiny, host)[site].start
            hook = f"hook_{stream}"
            by_hand = log_p_by_hand(tiny, host, [(layer, position, values)], hook)
            index = (number, SITES.index(site), layer)
            assert found.logps[index] == pytest.approx(by_hand, abs=1e-5)
    assert np.abs(found.effects).max() > 1e-2


def test_the_hosts_own_number_is_the_substitutes_in_the_margin(tiny):
    host = with_substitute(PROMPT, HOST)
    [margin] = measure_margins(tiny, [PROMPT], [[host]], [CANDIDATES])
    assert measured(tiny).host_logp == pytest.approx(margin.substitute_logprobs[0], abs=1e-5)


def test_a_memory_budget_and_a_choice_of_layers_change_nothing(tiny):
    whole, little = measured(tiny), measured(tiny, max_bytes=400_000, layers=[2, 0])
    np.testing.assert_allclose(little.clean_logps, whole.clean_logps[:, [2, 0]], atol=1e-6)
    assert little.layers == (2, 0)


# ---- laws


def test_the_clean_donor_has_share_one_and_what_is_not_measured_has_a_reason(tiny, monkeypatch):
    found = measured(tiny)
    gain = found.clean_effects
    # A random model has no facts; half of what there is shall count as enough.
    monkeypatch.setattr("restor_interp.measure.retention.LEAST_EFFECT", float(np.median(gain)))
    found = measured(tiny, wrong_entities=[WRONG])
    enough = gain >= np.median(gain)
    assert 0 < enough.sum() < gain.size
    assert np.all(found.shares[0][enough] == 1.0)
    assert np.all(found.logps[0] == found.clean_logps)
    for number in (0, 1, 2):
        assert np.array_equal(~np.isnan(found.shares[number]), enough)
    rows = found.rows(fact_id="f")
    assert set(TABLES["retention"]) <= set(rows[0])
    assert len(rows) == 3 * len(SITES) * tiny.num_layers
    for row in rows:
        assert (row["share"] is None) == (row["reason"] is not None)
        measured_here = row["share"] is not None or row["state"] == "clean"
        assert (row["logp"] is not None) >= (row["share"] is not None)
        if row["share"] is not None:
            chance = -np.log(len(CANDIDATES))
            own, host, clean = (max(row[f"{n}logp"], chance) for n in ("", "host_", "clean_"))
            share = (own - host) / (clean - host)
            assert row["clean_effect"] == pytest.approx(clean - host)
            assert row["share"] == pytest.approx(share) and measured_here
    kinds = {(row["state"], row["donor_kind"], row["donor_subject"]) for row in rows}
    assert kinds == {
        ("clean", "state", "Alice Stone"),
        ("changed", "state", "Alice Stone"),
        ("clean", "wrong_entity", WRONG),
    }


def test_knowing_nothing_is_no_share_of_knowing(tiny):
    """A host that is sure of somebody else's answer, and donors that are sure, ignorant, half
    informed or sure of a third answer: by chance of four candidates, worked out by hand."""
    chance = np.log(1 / 4)
    found = replace(
        measured(tiny, states=["clean"] * 4, layers=[0]),
        host_logp=-12.0,
        chance=chance,
        clean_logps=np.full((2, 1), -0.0),
        logps=np.array([0.0, chance, chance / 2, -9.0])[:, None, None].repeat(2, axis=1),
    )
    np.testing.assert_allclose(found.clean_effects, -chance)
    np.testing.assert_allclose(found.shares[:, 0, 0], [1, 0, 0.5, 0])
    # A host that knows more than chance by itself is no ignorance: what is above it counts.
    knows = replace(found, host_logp=chance / 2, clean_logps=np.full((2, 1), 1.0))
    np.testing.assert_allclose(knows.effects[:, 1, 0], [-chance / 2, chance / 2, 0, chance / 2])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_mlp_that_says_something_else_leaves_what_attention_brought(family, monkeypatch):
    monkeypatch.setattr("restor_interp.measure.retention.LEAST_EFFECT", -np.inf)
    model = tiny_model(family)
    add_change(model, "loud", ["2"], inside="mlp")
    found = measured(model, states=["loud"])
    if model.architecture.parallel:
        assert found.logps.shape[1] == 2
        return
    last, attended = (found.logps[0, SITES.index(site), 2] for site in ("last", "attended"))
    assert attended == pytest.approx(found.clean_logps[2, 2], abs=1e-5)
    assert abs(last - attended) > 1e-3
    # In the clean model it is the stream after the layer, put in after the layer.
    np.testing.assert_allclose(found.clean_logps[2], found.clean_logps[1], atol=1e-5)


def test_a_state_that_differs_late_retains_all_before_exactly():
    model = tiny_model("gpt2")
    add_change(model, "late", ["2"])
    found = measured(model, states=["late"])
    assert np.all(found.logps[0, :, :2] == found.clean_logps[:, :2])
    assert not np.any(found.logps[0, :, 2] == found.clean_logps[:, 2])


# ---- state after state


def counted(monkeypatch):
    """How many values are put into hosts, and whose states are read."""
    put, read = [], []
    hosts, values = instrument.Host.log_p_given, instrument._values

    def log_p_given(self, given):
        put.append(len(given))
        return hosts(self, given)

    def of(model, donor, **keywords):
        read.append(donor.state)
        return values(model, donor, **keywords)

    monkeypatch.setattr(instrument.Host, "log_p_given", log_p_given)
    monkeypatch.setattr(instrument, "_values", of)
    return put, read


def test_calls_that_share_are_equal_to_calls_that_do_not_and_to_one_call(monkeypatch):
    monkeypatch.setattr(instrument, "LEAST_EFFECT", -np.inf)
    model = tiny_model("llama")
    add_change(model, "changed", ["0", "1", "2"])
    add_change(model, "late", ["2"])
    states = ["clean", "changed", "late"]
    more = {"wrong_entities": [WRONG]}  # in the clean state alone, as a run asks for them
    put, read = counted(monkeypatch)
    apart = [measured(model, states=[s], **(more if s == "clean" else {})) for s in states]
    before, seen = sum(put), list(read)
    put.clear(), read.clear()
    shared = {}
    found = [
        measured(model, states=[s], shared=shared, **(more if s == "clean" else {})) for s in states
    ]
    for one, other in zip(found, apart, strict=True):
        assert one.host_logp == pytest.approx(other.host_logp, abs=1e-5)
        np.testing.assert_allclose(one.clean_logps, other.clean_logps, atol=1e-5)
        np.testing.assert_allclose(one.logps, other.logps, atol=1e-5)
    one_call = measured(model, states=states)
    np.testing.assert_allclose(one_call.logps, np.stack([own.logps[0] for own in apart]), atol=1e-5)
    # The clean donor is read and put in once, where each call did both.
    cells = len(SITES) * model.num_layers
    assert before - sum(put[: len(states) + 1]) == 2 * cells
    assert seen.count("clean") == 4 and read[:4].count("clean") == 2


def test_what_is_shared_is_of_one_question(tiny):
    shared = {}
    fixed = {"states": ["changed"], "layers": [2], "shared": shared}
    changes = [{}, {"substitute": WRONG}, {"layers": [1]}, {"engine": "brute"}]
    first = [measured(tiny, **{**fixed, **change}) for change in changes]
    assert len(shared) == len(changes)
    again = [measured(tiny, **{**fixed, **change}) for change in changes]
    for own, kept, change in zip(first, again, changes, strict=True):
        alone = measured(tiny, **{**fixed, **change, "shared": None})
        for found in (own, kept):
            np.testing.assert_allclose(found.logps, alone.logps, atol=1e-6)
            np.testing.assert_allclose(found.clean_logps, alone.clean_logps, atol=1e-6)
    assert len(shared) == len(changes)
    question = {"substitute": HOST, **fixed}
    measure_retention(tiny, PROMPT, CANDIDATES[:3], **question)
    measure_retention(
        tiny, replace(PROMPT, prefix="Question:\n", subject_span=(24, 35)), CANDIDATES, **question
    )
    measured(tiny_model("llama"), **{**fixed, "states": ["clean"]})
    assert len(shared) == len(changes) + 3


# ---- in a model that knows its facts


@pytest.fixture(scope="module")
def known():
    """Facts of the calibration model, each with its prompts, candidates and other entities."""
    model = ri.load_model("bios")
    facts = bios_facts()

    def length(name):
        return len(model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"])

    cases = []
    for fact in facts.facts[:120:12]:
        true = set(facts.accepted(fact))
        sharing = {
            other.entity
            for other in facts
            if other.relation == fact.relation and true & set(facts.accepted(other))
        }
        names = substitutes(
            facts, fact.entity, number=3, length=length, seed=0, exclude=frozenset(sharing)
        )
        pool = [name for name in facts.pools[fact.object_type] if name not in true]
        candidates = [fact.true_objects[0], *pool[:6]]
        prompts = [build_prompt(facts, fact, context_id=number) for number in (0, 1)]
        if len(names) == 3:
            cases.append((fact, prompts, candidates, names))
    assert len(cases) >= 5
    return model, cases


def shares(known, states, **settings):
    """Mean share over facts, [donor site layer]: states, another context, two wrong entities."""
    model, cases = known
    found = [
        measure_retention(
            model, prompts[0], candidates, states=states, substitute=names[0],
            other_contexts=[prompts[1]], wrong_entities=names[1:], **settings,
        ).shares
        for _, prompts, candidates, names in cases
    ]  # fmt: skip
    return np.stack(found)


def test_clean_states_retain_all_wrong_entities_nothing_and_a_destroyed_subject_less(known):
    model, _ = known
    add_change(model, "ruined", [str(layer) for layer in range(4)], scale=2.0)
    found = shares(known, ["clean", "ruined"])
    subject, last = (found[:, :, SITES.index(site)] for site in ("subject", "last"))
    own = subject[:, 0, 0]
    assert (own == 1.0).sum() >= 8 and np.all((own == 1.0) | np.isnan(own))
    early = np.nanmedian(subject[:, :, 1], axis=0)
    clean, ruined, context, *wrong = early
    assert clean == 1.0 and context > 0.8
    assert max(map(abs, wrong)) < 0.5 and ruined < 0.5
    # At the last token the knowledge is there at the end, and only of the right entity.
    end = np.nanmedian(last[:, :, -1], axis=0)
    assert end[0] == 1.0 and end[2] > 0.8 and max(end[3:]) < 0.5


def test_a_change_after_the_subject_was_read_leaves_its_retention(known):
    model, _ = known
    late = range(model.num_layers - 2, model.num_layers)
    add_change(model, "silenced", [str(layer) for layer in late], scale=2.0)
    found = shares(known, ["silenced"])[:, 0]
    before = found[..., : late.start]
    assert np.all(before[~np.isnan(before)] == 1.0)
    assert np.nanmedian(found[:, SITES.index("last"), -1]) < 0.8


# ---- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"states": ["npo"]}, ConfigError, "state"),
        ({"substitute": "Alice"}, PromptError, "same token length"),
        ({"wrong_entities": ["Alice"]}, PromptError, "same token length"),
        ({"layers": [3]}, ConfigError, "has layers 0 to 2"),
        ({"engine": "fast"}, ConfigError, "engine"),
        ({"prompt": Prompt(prefix="", question=QUESTION)}, PromptError, "subject"),
        ({"candidates": ["Oslo"]}, ConfigError, "at least one other"),
        ({"candidates": ["Oslo", " "]}, PromptError, "no object"),
    ],
)
def test_bad_input_is_refused_with_a_reason(tiny, change, error, message):
    settings = {"prompt": PROMPT, "candidates": CANDIDATES, "states": ["changed"], **change}
    settings.setdefault("substitute", HOST)
    with pytest.raises(error, match=message):
        measure_retention(tiny, settings.pop("prompt"), settings.pop("candidates"), **settings)
