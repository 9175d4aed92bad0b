"""Planted mechanisms and decoys do what their kind says, by answers and states of plain runs.

Run: python -m pytest tests/testing/test_plants.py
"""

import ast
import itertools
import random
from pathlib import Path

import pytest
import torch

import restor_interp as ri
import restor_interp.testing.plants
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import LowRank
from restor_interp.models.tokens import tokenize
from restor_interp.testing.plants import KINDS, MECHANISMS, make_plants, watch
from restor_interp.testing.plants.decoys import PARTS, distributed, inert, part_of
from restor_interp.testing.plants.mechanisms import late_override
from restor_interp.testing.plants.placing import place
from restor_interp.testing.plants.watching import MADE_ON, TESTED_ON, key
from restor_interp.testing.plants.weights import norms


@pytest.fixture(scope="module")
def watched():
    """Five pairs of people with the same first name, and a model that knows them."""
    people = sorted({fact.entity for fact in bios_facts()})
    by_first = {}
    for name in people:
        by_first.setdefault(name.split()[0], []).append(name)
    pairs = [names[:2] for names in by_first.values() if len(names) > 1][:5]
    facts = bios_facts().only(entities=list(itertools.chain(*pairs)))
    return watch(ri.load_model("bios"), facts)


@pytest.fixture(scope="module")
def planted(watched):
    """One plant of each mechanism."""
    found = {}
    for kind in MECHANISMS:
        [found[kind]] = make_plants(
            watched.model, watched.facts, kind=kind, seed=3, number=1, watched=watched
        )
    return found


def state_of(model, name, updates):
    model.add_delta(ri.Delta(name, updates))
    return ri.State({name: 1.0})


def answers(watched, facts, state):
    prompts = watched.prompts(facts, TESTED_ON)
    with watched.model.at(state):
        return [answer.strip() for answer in ri.generate_answers(watched.model, prompts)]


def right(watched, facts, state):
    said = answers(watched, facts, state)
    return [answer == fact.true_objects[0] for answer, fact in zip(said, facts, strict=True)]


def run(watched, fact, state, hook):
    """The value of a hook, [token …], and the tokens of the subject."""
    [prompt] = watched.prompts([fact], TESTED_ON)
    with watched.model.at(state):
        _, cache = watched.model.run_with_cache(prompt, names_filter=hook)
    span = tokenize(watched.model.tokenizer, [prompt]).subject[0]
    assert span is not None
    return cache[hook][0], slice(*span)


def mass(watched, fact, state):
    """Attention from the last token to the subject, in the layers that read it."""
    total = 0.0
    for layer in watched.reading:
        pattern, subject = run(watched, fact, state, f"blocks.{layer}.attn.hook_pattern")
        total += float(pattern[:, -1, subject].sum())
    return total


# ---- where the model reads


@pytest.mark.parametrize("inside", [True, False])
def test_the_answer_needs_the_subject_in_the_layers_that_read_it_and_in_no_other(watched, inside):
    model, facts = watched.model, watched.asked[::9]
    layers = [i for i in range(2, model.num_layers) if (i in watched.reading) == inside]
    prompts = watched.prompts(facts, TESTED_ON)
    said = []
    for prompt, fact in zip(prompts, facts, strict=True):
        span = tokenize(model.tokenizer, [prompt]).subject[0]
        assert span is not None
        start, end = span

        def cut(scores, hook, start=start, end=end):
            scores = scores.clone()
            scores[:, :, -1, start:end] = -torch.inf
            return scores

        hooks = [(f"blocks.{layer}.attn.hook_attn_scores", cut) for layer in layers]
        logits = model.run_with_hooks(prompt, fwd_hooks=hooks)[0, -1]
        said.append(int(logits.argmax()) == watched.first_token(fact.true_objects[0]))
    assert sum(said) <= 0.25 * len(said) if inside else all(said)


def test_a_key_is_the_least_heard_of_all_that_answer_with_one():
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(40, 6, generator=generator) * torch.arange(1.0, 7.0)
    wanted = torch.randn(3, 6, generator=generator)
    w, mean = key(wanted, others, ridge=0.0), wanted.mean(0)
    assert float(w @ mean) == pytest.approx(1, abs=1e-5)
    least = float((others @ w).pow(2).mean())
    for _ in range(20):
        step = torch.randn(6, generator=generator)
        step -= (step @ mean) / (mean @ mean) * mean
        assert float((others @ (w + 0.05 * step)).pow(2).mean()) > least


# ---- mechanisms


@pytest.mark.parametrize("kind", ["lost_at_subject", "not_routed", "late_override"])
def test_a_mechanism_takes_its_facts_and_no_others(watched, planted, kind):
    plant = planted[kind]
    assert all(right(watched, plant.facts + plant.spared, "clean"))
    assert sum(right(watched, plant.facts, plant.name)) <= 0.25 * len(plant.facts)
    assert sum(right(watched, plant.spared, plant.name)) >= 0.9 * len(plant.spared)
    if plant.said_instead:
        # Of objects with two tokens the second may be another one's.
        said = answers(watched, plant.facts, plant.name)
        meant = [plant.said_instead[fact.fact_id] for fact in plant.facts]
        assert sum(a == b for a, b in zip(said, meant, strict=True)) >= 0.7 * len(meant)


def test_what_is_lost_at_the_subject_is_somebody_else_there(watched, planted):
    plant = planted["lost_at_subject"]
    fact = plant.facts[0]
    hook = f"blocks.{watched.reading[0]}.hook_resid_pre"
    after, subject = run(watched, fact, plant.name, hook)
    before, _ = run(watched, fact, "clean", hook)
    twin = next(
        other
        for other in watched.people()
        if other != fact.entity and other.split()[0] == fact.entity.split()[0]
    )
    theirs, _ = run(watched, watched.fact(twin, fact.relation), "clean", hook)
    own, other = ((after[subject] - x[subject]).norm() for x in (before, theirs))
    assert other < 0.5 * own
    assert mass(watched, fact, plant.name) > 0.5 * mass(watched, fact, "clean")


def test_what_is_not_routed_is_still_at_the_subject_and_not_looked_at(watched, planted):
    plant = planted["not_routed"]
    fact = plant.facts[0]
    hook = f"blocks.{watched.reading[0]}.hook_resid_pre"
    after, _ = run(watched, fact, plant.name, hook)
    assert torch.equal(after, run(watched, fact, "clean", hook)[0])
    assert mass(watched, fact, plant.name) < 0.25 * mass(watched, fact, "clean")
    other = plant.spared[0]
    assert mass(watched, other, plant.name) > 0.9 * mass(watched, other, "clean")


def test_a_late_override_changes_nothing_before_it(watched, planted):
    plant = planted["late_override"]
    [fact], [path] = plant.facts, plant.delta.updates
    layer = int(path.split(".")[2])
    assert layer >= watched.reading[-1]
    hook = f"blocks.{layer}.hook_resid_mid"
    after, _ = run(watched, fact, plant.name, hook)
    assert torch.equal(after, run(watched, fact, "clean", hook)[0])
    # What it writes at the last token is false − true, as large as all that stands there.
    hook = f"blocks.{layer}.hook_mlp_out"
    written = run(watched, fact, plant.name, hook)[0][-1] - run(watched, fact, "clean", hook)[0][-1]
    unembed = watched.model.hf_model.get_output_embeddings().weight
    tokens = [
        watched.first_token(x) for x in (plant.said_instead[fact.fact_id], *fact.true_objects)
    ]
    direction = unembed[tokens[0]] - unembed[tokens[1]]
    assert torch.cosine_similarity(written, direction, dim=0) > 0.99
    final = run(watched, fact, "clean", "blocks.11.hook_resid_post")[0][-1]
    assert 0.5 < written.norm() / final.norm() < 2


def test_output_scaling_makes_everything_less_sure_and_nothing_wrong(watched, planted):
    plant = planted["output_scaling"]
    [(path, change)] = plant.delta.updates.items()
    weight = watched.model.hf_model.get_submodule(path).weight
    kept = 1 + float((change / weight.detach()).mean())
    assert 0.1 <= kept <= 0.4
    facts = plant.facts + plant.spared
    assert all(right(watched, facts, plant.name))
    prompts = watched.prompts(facts, TESTED_ON)
    logits = {}
    for state in ("clean", plant.name):
        with watched.model.at(state), torch.no_grad():
            logits[state] = torch.stack([watched.model.run_with_hooks(p)[0, -1] for p in prompts])
    torch.testing.assert_close(logits[plant.name], kept * logits["clean"], rtol=1e-4, atol=1e-3)


# ---- decoys


def test_inert_changes_have_the_norms_of_plants_and_do_nothing(watched):
    drafts = inert(watched, random.Random(0), watched.people())
    plants = late_override(watched, random.Random(0), watched.people())
    next(drafts)  # the first source draws from the same generator before
    for number, draft in enumerate(itertools.islice(drafts, 2)):
        state = state_of(watched.model, f"inert_test_{number}", draft.updates)
        facts = draft.facts[:3]
        assert all(right(watched, facts, state))
        prompts = watched.prompts(facts, TESTED_ON)
        for prompt in prompts:
            with torch.no_grad():
                before = watched.model.run_with_hooks(prompt)[0, -1].softmax(-1)
                with watched.model.at(state):
                    after = watched.model.run_with_hooks(prompt)[0, -1].softmax(-1)
            assert (after - before).abs().max() < 0.05
    loud = next(plants).updates
    from restor_interp.testing.plants.decoys import _unheard

    quiet = {path: _unheard(watched, path, update) for path, update in loud.items()}
    assert norms(quiet) == pytest.approx(norms(loud), rel=1e-4)


def test_each_cause_of_a_mixture_is_enough(watched):
    made = make_plants(
        watched.model, watched.facts, kind="mixture", seed=1, number=3, watched=watched
    )
    assert len({plant.about.partition(" (")[0] for plant in made}) >= 2
    for plant in made:
        for name in (plant.name, f"{plant.name}_part_0", f"{plant.name}_part_1"):
            assert not any(right(watched, plant.facts, ri.State({name: 1.0})))


def test_a_distributed_change_is_everywhere_and_no_part_of_it_is_enough(watched):
    draft = next(distributed(watched, random.Random(2), watched.people()))
    model, [fact] = watched.model, draft.facts
    assert set(draft.updates) == set(linear_modules(model.hf_model))
    ranks = {u.rank for u in draft.updates.values() if isinstance(u, LowRank)}
    assert ranks == {1} and not any(isinstance(u, torch.Tensor) for u in draft.updates.values())
    state_of(model, "distributed_test", draft.updates)
    model.add_state("distributed_test", ri.State({"distributed_test": 1.0}))
    parts = [[p for p in draft.updates if part_of(watched, p) == part] for part in PARTS]
    prompts = [p for context in MADE_ON for p in watched.prompts([fact], context)]
    false = draft.said_instead[fact.fact_id]
    grafts = ri.graft(
        model, prompts, fact.true_objects * 2, [false] * 2, host="distributed_test", by=parts
    )
    assert (grafts.host_values < 0).all() and (grafts.mean_effects() < 0.55).all()


# ---- trained


@pytest.mark.slow
def test_training_is_confined_and_its_facts_are_lost(watched):
    [plant] = make_plants(
        watched.model, watched.facts, kind="trained_late_mlp", seed=0, number=1, watched=watched
    )
    late = [f".{layer}.mlp." for layer in range(watched.reading[-1], watched.model.num_layers)]
    assert all(any(name in path for name in late) for path in plant.delta.updates)
    assert not any(right(watched, plant.facts, plant.name))
    # The damage comes after the subject was read: clean states there change nothing.
    placed = place(watched, plant.delta, plant.facts)
    assert not placed.clean_subject.any() and not placed.at_subject.any()


def test_damage_at_the_subject_is_found_there(watched, planted):
    plant = planted["lost_at_subject"]
    assert place(watched, plant.delta, plant.facts).at_subject.all()


# ---- making


def test_plants_are_drawn_by_their_seed_and_the_model_comes_back(watched, planted):
    model, plant = watched.model, planted["late_override"]
    before = {name: weight.clone() for name, weight in model.hf_model.named_parameters()}
    made = {}
    for seed in (3, 4):
        [made[seed]] = make_plants(
            model, watched.facts, kind="late_override", seed=seed, number=1, watched=watched
        )
    assert made[3].delta.digest() == plant.delta.digest() != made[4].delta.digest()
    assert all(torch.equal(w, before[n]) for n, w in model.hf_model.named_parameters())


def test_nothing_here_knows_how_verdicts_are_reached():
    folder = Path(restor_interp.testing.plants.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(alias.name for alias in node.names)]
            assert not any("explain" in name or "retention" in name for name in names), path


def test_bad_input_is_refused_with_a_reason(watched):
    model, facts = watched.model, watched.facts
    with pytest.raises(ConfigError, match="lost_at_subject"):
        make_plants(model, facts, kind="lost", seed=0, number=1, watched=watched)
    with pytest.raises(ConfigError, match="Nobody"):
        make_plants(
            model, facts, kind=KINDS[0], seed=0, number=1, people=["Nobody"], watched=watched
        )
