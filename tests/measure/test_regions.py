"""Interventions by regions: against full forward passes, those against hooks and masks set by hand,
and the work that is done against the work that must be done.

Run: python -m pytest tests/measure/test_regions.py
"""

import logging
import random
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restor_interp.errors import ConfigError
from restor_interp.measure import packed, regions, restoring, staircase
from restor_interp.measure.choices import score_choices
from restor_interp.measure.endings import Endings
from restor_interp.measure.packed import Layout
from restor_interp.measure.regions import (
    HOOKS,
    Cut,
    Job,
    Patch,
    bytes_per_token,
    run_base,
    run_many,
    run_patches,
    run_prefix,
    token_layers,
)
from restor_interp.measure.restoring import regions_problem
from restor_interp.models.loading import load_model
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model

SITES = tuple(HOOKS)
MUCH = 10**9


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def words(model, number, seed):
    """Ids of a random text; no id means anything to a random model."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.vocab_size, (number,), generator=generator)


def embedded(model, ids):
    return model.hf_model.get_input_embeddings()(ids).detach()


def reader(model, targets=(3, 5)):
    """Log-probabilities of some tokens at every token that is read."""

    def read(final):
        return model.project(final).float().log_softmax(-1)[..., list(targets)].flatten(1)

    return read


def random_patch(model, rng, start, length, site=None):
    generator = torch.Generator().manual_seed(rng.randrange(10**6))
    site = site or rng.choice(SITES)
    layer = rng.randrange(model.num_layers)
    layers = range(layer, rng.randint(layer + 1, model.num_layers))
    position = rng.randint(start, length - 1)
    span = rng.randint(1, length - position)
    width = model.d_head if site == "head" else model.d_model
    return Patch(
        site=site,
        layers=layers,
        position=position,
        values=torch.randn(len(layers), span, width, generator=generator),
        head=rng.randrange(model.num_heads) if site == "head" else None,
    )


def random_cut(model, rng, start, length):
    """Never of a token's own key, so that something is left to attend to."""
    layer = rng.randrange(model.num_layers)
    queries = rng.sample(range(start, length), rng.randint(1, min(3, length - start)))
    others = [key for key in range(length) if key not in queries]
    if not others:
        queries, others = [length - 1], [0]
    heads = rng.sample(range(model.num_heads), rng.randint(1, model.num_heads))
    return Cut(
        layers=range(layer, rng.randint(layer + 1, model.num_layers)),
        queries=tuple(queries),
        keys=tuple(rng.sample(others, rng.randint(1, len(others)))),
        heads=None if rng.random() < 0.5 else tuple(heads),
    )


def random_rows(model, rng, start, length):
    """Some of every kind, alone and together."""
    rows = [random_patch(model, rng, start, length, site) for site in SITES]
    rows.append(random_cut(model, rng, start, length))
    several = [random_patch(model, rng, start, length), random_cut(model, rng, start, length)]
    several += [random_patch(model, rng, start, length)]
    rng.shuffle(several)
    rows.append(tuple(several))
    rng.shuffle(rows)
    return rows


def random_prompt(model, rng):
    """Embeddings of a prompt in one to three draws, with branches or without."""
    length = rng.randint(2, 16)
    start = rng.randint(0, length - 1)
    branches = tuple(rng.randint(1, 3) for _ in range(rng.choice((0, 0, 1, 3))))
    draws = embedded(model, words(model, length + sum(branches), rng.randrange(10**6)))
    draws = draws.expand(rng.randint(1, 3), -1, -1).clone()
    span = rng.randint(1, length - start)
    generator = torch.Generator().manual_seed(rng.randrange(10**6))
    noise = torch.randn(len(draws), span, model.d_model, generator=generator)
    draws[:, start : start + span] += 3 * draws.std() * noise
    return draws, start, branches


def assert_equal_logprobs(found, expected):
    assert (found - expected).abs().max() <= 1e-4
    assert (found.exp() - expected.exp()).abs().max() <= 1e-5


def by_both(model, seed, **arguments):
    """Values of random rows by regions and by full forward passes, and those without rows."""
    rng = random.Random(seed)
    draws, start, branches = random_prompt(model, rng)
    rows = random_rows(model, rng, start, draws.shape[1])
    read_at = rng.sample(range(start, draws.shape[1]), rng.randint(1, draws.shape[1] - start))
    runs = [
        run_base(model, draws, start=start, branches=branches, engine=engine)
        for engine in ("regions", "brute")
    ]
    values = [run_patches(run, rows, reader(model), read_at=read_at, **arguments) for run in runs]
    places = [token - start for token in read_at]
    return *values, reader(model)(runs[1].hidden[-1][:, places])


# ---- against full forward passes


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_interventions_equal_full_forward_passes(models, family, seed):
    found, expected, _ = by_both(models[family], seed, max_bytes=MUCH)
    assert_equal_logprobs(found, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_these_interventions_change_something(models, family):
    """So that equality with the full forward passes means something."""
    changed = []
    for seed in range(6):
        _, expected, without = by_both(models[family], seed, max_bytes=MUCH)
        changed += (expected - without).abs().amax(dim=(1, 2)).tolist()
    assert sum(change > 1e-3 for change in changed) > len(changed) / 2


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_run_keeps_the_values_of_a_plain_run(models, family):
    model = models[family]
    ids = words(model, 11, 1)
    base = run_base(
        model,
        embedded(model, ids)[None],
        start=3,
        outputs=("mlp", "attn", "head"),
        engine="regions",
    )
    _, cache = model.run_with_cache(ids[None])
    for site in SITES:
        for layer in range(model.num_layers):
            expected = cache[HOOKS[site].format(layer)][:, 3:]
            torch.testing.assert_close(base.at(site, layer), expected, rtol=1e-4, atol=1e-5)
    assert base.at("head", 0).shape == (1, 8, model.num_heads, model.d_head)
    with pytest.raises(ConfigError, match="kept no outputs, not head"):
        replace(base, outputs={}).at("head", 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_run_by_regions(models, family):
    assert regions_problem(models[family]) is None


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_prompts_of_several_lengths_in_one_sweep_are_each_as_if_alone(models, family):
    model, rng = models[family], random.Random(1)
    jobs = []
    for number in range(5):
        draws, start, branches = random_prompt(model, rng)
        base = run_base(model, draws, start=start, branches=branches)
        rows = random_rows(model, rng, start, base.length)
        read_at = range(start, base.length) if number % 2 else None
        jobs.append(Job(base=base, rows=rows, read=reader(model, [number]), read_at=read_at))
    together = run_many(jobs, max_bytes=MUCH)
    for job, found in zip(jobs, together, strict=True):
        brute = run_base(
            model,
            job.base.embeddings,
            start=job.base.start,
            branches=job.base.layout.branches,
            engine="brute",
        )
        assert_equal_logprobs(found, run_many([replace(job, base=brute)])[0])
    assert run_many([]) == []


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
def test_ragged_rows_are_the_rows_of_a_padded_batch(models, family, side):
    """What transformers computes with padding and a mask, on either side."""
    model = models[family]
    prompts = [words(model, number, number) for number in (3, 9, 14)]
    position, layer, width = 2, 1, max(map(len, prompts))
    values = torch.randn(1, 1, model.d_model, generator=torch.Generator().manual_seed(0))
    ids = torch.full((len(prompts), width), 7)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    offsets = [width - len(prompt) if side == "left" else 0 for prompt in prompts]
    for row, (prompt, first) in enumerate(zip(prompts, offsets, strict=True)):
        ids[row, first : first + len(prompt)] = prompt
        mask[row, first : first + len(prompt)] = 1

    def put_in(value, hook):
        value = value.clone()
        for row, first in enumerate(offsets):
            value[row, first + position] = values[0, 0]
        return value

    with torch.no_grad(), model.hooks([(HOOKS["resid"].format(layer), put_in)]):
        places = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model.hf_model(ids, attention_mask=mask, position_ids=places).logits
    patch = Patch(site="resid", layers=range(layer, layer + 1), position=position, values=values)
    jobs = [
        Job(
            base=run_base(model, embedded(model, prompt)[None], start=1),
            rows=[patch],
            read=reader(model),
        )
        for prompt in prompts
    ]
    for row, (found, first) in enumerate(zip(run_many(jobs), offsets, strict=True)):
        end = logits[row, first + len(prompts[row]) - 1].log_softmax(-1)[[3, 5]]
        assert_equal_logprobs(found[0, 0], end)


# ---- the reference against hooks and masks set by hand


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "olmo2"])
def test_a_heads_output_is_what_the_output_matrix_gets(models, family, engine):
    model = models[family]
    ids, head, layer = words(model, 9, 2), 2, 1
    values = torch.randn(1, 3, model.d_head, generator=torch.Generator().manual_seed(0))

    def put_in(module, inputs):
        z = inputs[0].clone()
        z[:, 4:7, head * model.d_head : (head + 1) * model.d_head] = values[0]
        return (z,)

    handle = model.layers[layer].self_attn.o_proj.register_forward_pre_hook(put_in)
    with torch.no_grad():
        expected = model.hf_model(ids[None]).logits[:, -1].log_softmax(-1)[:, [3, 5]]
    handle.remove()
    base = run_base(model, embedded(model, ids)[None], start=4, engine=engine)
    patch = Patch(site="head", layers=range(1, 2), position=4, values=values, head=head)
    assert_equal_logprobs(run_patches(base, [patch], reader(model))[0], expected)


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2", "gpt_neox", "olmo2"])
def test_a_cut_in_all_layers_is_a_mask_of_transformers(models, family, engine):
    model = models[family]
    ids = words(model, 9, 2)
    mask = torch.zeros(9, 9).masked_fill(torch.ones(9, 9).triu(1).bool(), float("-inf"))
    mask[5, [0, 2, 5]] = mask[8, [0, 2, 5]] = float("-inf")
    with torch.no_grad():
        ends = model.hf_model(ids[None], attention_mask=mask[None, None]).logits[:, -1]
    cut = Cut(layers=range(model.num_layers), queries=(8, 5), keys=(0, 2, 5))
    base = run_base(model, embedded(model, ids)[None], start=1, engine=engine)
    found = run_patches(base, [cut], reader(model))[0]
    assert_equal_logprobs(found, ends.log_softmax(-1)[:, [3, 5]])
    apart = [replace(cut, heads=(head,)) for head in range(model.num_heads)]
    assert_equal_logprobs(run_patches(base, [tuple(apart)], reader(model))[0], found)
    assert (run_patches(base, [apart[0]], reader(model))[0] - found).abs().max() > 1e-4


def test_of_two_values_for_one_place_the_later_stays(models):
    model = models["llama"]
    ids = words(model, 8, 0)
    for site in SITES:
        rng = random.Random(3)
        one, other = (random_patch(model, rng, 2, 8, site) for _ in range(2))
        other = replace(other, layers=one.layers, position=one.position, head=one.head)
        other = replace(other, values=torch.flip(one.values, [-1]) + 1)
        for engine in ("regions", "brute"):
            base = run_base(model, embedded(model, ids)[None], start=2, engine=engine)
            both, second = run_patches(base, [(one, other), other], reader(model))
            torch.testing.assert_close(both, second)


# ---- whole continuations


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize("family", FAMILIES)
def test_endings_are_scored_as_if_each_alone(models, family, engine):
    model = models[family]
    prompt = words(model, 9, 0).tolist()
    own = [tuple(words(model, 1 + number % 4, number).tolist()) for number in range(9)]
    endings = Endings(prompt_length=len(prompt), endings=tuple(own))
    tokens = embedded(model, torch.tensor([*prompt, *endings.tokens]))
    base = run_base(model, tokens[None], start=4, branches=endings.branches, engine=engine)
    values = torch.randn(1, 2, model.d_model, generator=torch.Generator().manual_seed(0))
    patch = Patch(site="mlp", layers=range(1, 2), position=5, values=values)
    read = endings.reader(model)
    found = run_patches(base, [patch], read, read_at=endings.read_at)[0, 0]
    without = read(base.hidden[-1][:, [token - 4 for token in endings.read_at]])[0]

    def put_in(value, hook):
        value = value.clone()
        value[:, 5:7] = values[0]
        return value

    for hooks, scores in (([(HOOKS["mlp"].format(1), put_in)], found), ([], without)):
        for ending, score in zip(own, scores, strict=True):
            ids = torch.tensor([[*prompt, *ending]])
            with torch.no_grad():
                logprobs = model.run_with_hooks(ids, fwd_hooks=hooks)[0].log_softmax(-1)
            places = range(len(prompt) - 1, ids.shape[1] - 1)
            expected = sum(
                logprobs[place, token].item() for place, token in zip(places, ending, strict=True)
            )
            assert score.item() == pytest.approx(expected, abs=1e-4)


def test_whole_objects_have_the_scores_of_the_evaluation(models):
    model = models["llama"]
    text, names = "They say that Alice Stone was born in", ["Oslo", "Rome River", "Lima Oslo Paris"]
    scored = score_choices(model, [Prompt(prefix="", question=text)], [names])[0]
    ids = model.tokenizer(text)["input_ids"]
    whole = [model.tokenizer(f"{text} {name}\n")["input_ids"][len(ids) :] for name in names]
    endings = Endings(prompt_length=len(ids), endings=tuple(map(tuple, whole)))
    tokens = embedded(model, torch.tensor([*ids, *endings.tokens]))
    base = run_base(model, tokens[None], start=3, branches=endings.branches)
    found = endings.reader(model)(base.hidden[-1][:, [token - 3 for token in endings.read_at]])[0]
    assert found.tolist() == pytest.approx([score.sum_logprob for score in scored], abs=1e-4)


@pytest.mark.parametrize("endings", [(), ((1, 2), ())])
def test_an_ending_without_tokens_is_refused(endings):
    with pytest.raises(ConfigError, match="none may be empty"):
        Endings(prompt_length=3, endings=endings)


# ---- the prefix that prompts share


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("known", [1, 9, 10])
def test_a_prefix_that_is_given_changes_nothing(models, family, known):
    model = models[family]
    tokens = embedded(model, words(model, 14, 0))
    prefix = run_prefix(model, tokens[:known])
    rows = random_rows(model, random.Random(0), 10, 14)
    plain, given = (
        run_base(model, tokens[None], start=10, prefix=which) for which in (None, prefix)
    )
    found, expected = (run_patches(base, rows, reader(model)) for base in (given, plain))
    assert_equal_logprobs(found, expected)
    with pytest.raises(ConfigError, match="runs differ at 0"):
        run_base(model, tokens[None], start=0, prefix=prefix)


# ---- what is computed


def counted_tokens(monkeypatch, job, max_bytes=MUCH):
    """Tokens that the model's layers get, whole and for their keys, during a sweep."""
    counts = {"whole": 0, "keys": 0}

    def counting(name, run):
        def call(model, layer, rows):
            counts[name] += sum(group.num_tokens for group in rows)
            return run(model, layer, rows)

        return call

    monkeypatch.setattr(staircase, "run_layer", counting("whole", packed.run_layer))
    monkeypatch.setattr(staircase, "run_keys", counting("keys", packed.run_keys))
    run_many([job], max_bytes=max_bytes)
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_the_work_that_is_counted_is_done(models, monkeypatch, seed):
    model, rng = models["llama"], random.Random(seed)
    draws, start, _ = random_prompt(model, rng)
    base = run_base(model, draws, start=start)
    for row in random_rows(model, rng, start, base.length):
        job = Job(base=base, rows=[row], read=reader(model))
        counts, told = counted_tokens(monkeypatch, job), token_layers(job)
        assert (counts["whole"], counts["keys"]) == (told.computed, told.keys_only)
        assert told.computed <= told.region <= told.full


def test_rows_enter_at_their_layer_and_what_is_not_read_is_not_computed(models, monkeypatch):
    model = models["llama"]
    base = run_base(model, embedded(model, words(model, 10, 0))[None], start=2)
    one = torch.zeros(1, 1, model.d_model)
    last = model.num_layers - 1
    job = Job(base=base, rows=[], read=reader(model))

    def work(row, read_at=None):
        counts = counted_tokens(monkeypatch, replace(job, rows=[row], read_at=read_at))
        return counts["whole"], counts["keys"]

    def patch(site, layer, position):
        return Patch(site=site, layers=range(layer, layer + 1), position=position, values=one)

    assert last == 2
    assert work(patch("resid", 0, 4)) == (6 + 1, 6)  # layer 1; the end of layer 2; its keys
    assert work(patch("mlp", 0, 4)) == (1 + 6 + 1, 6)  # in layer 0 the token alone
    assert work(patch("resid", 1, 4)) == (1, 6)
    assert work(patch("mlp", last, 4)) == (0, 0)
    assert work(patch("mlp", last, 9)) == (1, 0)
    assert work(patch("resid", last, 9)) == (0, 0)
    assert work(patch("resid", 0, 4), read_at=[2, 3]) == (0, 0)
    assert work(Cut(layers=range(1), queries=(5,), keys=(2,))) == (1 + 5 + 1, 5)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_that_go_on_as_in_another_run_are_not_computed(models, family):
    model = models[family]
    for seed in range(6):
        rng = random.Random(seed)
        start, length = rng.randint(0, 4), rng.randint(8, 12)
        branches = rng.choice(((), (1, 2)))
        clean = embedded(model, words(model, length + sum(branches), seed))
        draws = clean.expand(3, -1, -1).clone()
        end = rng.randint(start + 1, length - 2)
        draws[1:, start:end] += 3 * clean.std() * torch.randn(2, end - start, model.d_model)
        both = run_base(model, draws, start=start, branches=branches, engine="regions")
        upto = rng.randint(1, end - start)
        above = [(keys[:, :1, :upto], values[:, :1, :upto]) for keys, values in both.own]

        def patch(layer, both=both, start=start, upto=upto, **told):
            values = both.at("resid", layer)[:1, :upto]
            layers = range(layer, layer + 1)
            return Patch(site="resid", layers=layers, position=start, values=values, **told)

        base, layers = both.draws(1, 3), range(model.num_layers)
        read_at = [length - 1, *range(length, base.length)]
        rows = [random_patch(model, rng, start, base.length), *(patch(i) for i in layers)]
        known = [rows[0], *(patch(i, above=above) for i in layers)]
        asked = [
            Job(base=base, rows=own, read=reader(model), read_at=read_at) for own in (rows, known)
        ]
        plain, quick = run_many(asked, max_bytes=MUCH)
        assert_equal_logprobs(quick, plain)
        full = run_base(model, draws, start=start, branches=branches, engine="brute").draws(1, 3)
        assert_equal_logprobs(
            quick, run_patches(full, rows, reader(model), max_bytes=MUCH, read_at=read_at)
        )
        # A wrong run's keys and values would show.
        wrong = [(keys.flip(-1), values.flip(-1)) for keys, values in above]
        [other] = run_many([replace(asked[1], rows=[patch(0, above=wrong)])], max_bytes=MUCH)
        assert (other - plain[1]).abs().max() > 1e-3


def test_what_goes_on_as_in_another_run_spares_its_tokens(models):
    model = models["llama"]
    both = run_base(model, embedded(model, words(model, 10, 0)).expand(2, -1, -1), start=3)
    above = [(keys[:, :1, :2], values[:, :1, :2]) for keys, values in both.own]
    values = torch.zeros(1, 2, model.d_model)

    def work(position, told, **reading):
        patch = Patch(site="resid", layers=range(1), position=position, values=values, above=told)
        job = Job(base=both.draws(1, 2), rows=[patch], read=reader(model), **reading)
        return token_layers(job)

    plain, spared = work(3, None), work(3, above)
    between = model.num_layers - 2
    assert plain.computed - spared.computed == 2 * between
    assert plain.keys_only - spared.keys_only == 2
    assert plain.region == spared.region
    # Not where something of the base run's own stands before it, nor where it is read itself.
    assert work(4, above) == work(4, None)
    assert work(3, above, read_at=[4, 9]) == work(3, None, read_at=[4, 9])


def test_a_small_memory_budget_changes_nothing(models):
    model = models["llama"]
    for seed in range(4):
        rng = random.Random(seed)
        draws, start, _ = random_prompt(model, rng)
        base = run_base(model, draws, start=start)
        rows = [
            *random_rows(model, rng, start, base.length),
            *random_rows(model, rng, start, base.length),
        ]
        whole = run_patches(base, rows, reader(model), max_bytes=MUCH)
        longest = base.length - start
        for tokens in (longest, longest + 1, 5 * longest):
            budget = tokens * bytes_per_token(base)
            assert_equal_logprobs(run_patches(base, rows, reader(model), max_bytes=budget), whole)
        one = torch.zeros(1, 1, model.d_model)
        patch = Patch(site="resid", layers=range(1), position=start, values=one)
        with pytest.raises(ConfigError, match=f"too little for one row of {longest} tokens"):
            run_patches(base, [patch], reader(model), max_bytes=longest * bytes_per_token(base) - 1)


def test_the_budget_bounds_the_tokens_of_a_chunk(models, monkeypatch):
    model = models["llama"]
    base = run_base(model, embedded(model, words(model, 10, 0)).expand(3, -1, -1), start=2)
    rows = [random_patch(model, random.Random(seed), 2, 10) for seed in range(40)]
    budget, largest = 60, 0

    def watching(model, layer, groups):
        nonlocal largest
        largest = max(largest, sum(group.num_tokens for group in groups))
        return packed.run_layer(model, layer, groups)

    monkeypatch.setattr(staircase, "run_layer", watching)
    run_patches(base, rows, reader(model), max_bytes=budget * bytes_per_token(base))
    assert budget / 2 < largest <= budget


# ---- other numbers, other machines


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_both_differ_by_rounding(family):
    """Their kernels round differently; the tolerance is that of bf16 logits, and regions are no
    further from the fp32 numbers than full forward passes are."""
    model, exact = tiny_model(family, dtype=torch.bfloat16), tiny_model(family)
    for parameter, rounded in zip(
        exact.hf_model.parameters(), model.hf_model.parameters(), strict=True
    ):
        parameter.data.copy_(rounded.data)
    assert regions_problem(model) is None
    tokens = embedded(model, words(model, 10, 0))
    rows = random_rows(model, random.Random(1), 3, 10)
    runs = [run_base(model, tokens[None], start=3, engine=e) for e in ("regions", "brute")]
    found, expected = (run_patches(run, rows, reader(model)) for run in runs)
    truth = run_patches(run_base(exact, tokens[None].float(), start=3), rows, reader(exact))
    assert (found - expected).abs().max() <= 0.1
    assert (found - truth).abs().max() <= 2 * (expected - truth).abs().max() + 0.03


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_on_cuda_regions_equal_full_forward_passes(family):
    model = tiny_model(family)
    model.hf_model.cuda()
    tokens = embedded(model, words(model, 10, 0).cuda()).expand(2, -1, -1)
    rows = random_rows(model, random.Random(1), 3, 10)
    runs = [run_base(model, tokens, start=3, engine=e) for e in ("regions", "brute")]
    found, expected = (run_patches(run, rows, reader(model)) for run in runs)
    assert_equal_logprobs(found, expected)


# ---- fall-back


def test_a_model_that_regions_do_not_reproduce_is_run_by_full_forward_passes(monkeypatch, caplog):
    model = tiny_model("llama")
    tokens = embedded(model, words(model, 10, 0))[None]
    expected = run_base(model, tokens, start=3, engine="brute")
    monkeypatch.setattr(packed, "_hidden_from", lambda *_: None)  # attention that sees the future
    monkeypatch.setattr(restoring, "_CHECKED", {})
    with caplog.at_level(logging.WARNING):
        found = [run_base(model, tokens, start=3) for _ in range(2)]
    told = [record.message for record in caplog.records if "full forward passes" in record.message]
    assert len(told) == 1
    assert "differ by" in told[0]
    assert found[1].engine == "brute"
    torch.testing.assert_close(found[1].final, expected.final)
    with pytest.raises(ConfigError, match="cannot be run by regions"):
        run_base(model, tokens, start=3, engine="regions")


def wrong_heads(monkeypatch):
    monkeypatch.setattr(staircase, "HOOKS", {**HOOKS, "head": HOOKS["mlp"]})


def no_cuts(monkeypatch):
    whole = staircase.Rows
    monkeypatch.setattr(staircase, "Rows", lambda **values: whole(**{**values, "cuts": ()}))


def no_streams(monkeypatch):
    monkeypatch.setattr(staircase._Group, "replace_stream", lambda *_: None)


def blind_branches(monkeypatch):
    monkeypatch.setattr(Layout, "branch_tokens", property(lambda self: []))


@pytest.mark.parametrize(
    ("breaking", "told"),
    [
        (wrong_heads, r"\(head\)"),
        (no_cuts, r"\(cut\)"),
        (no_streams, r"\(resid\)"),
        (blind_branches, "differ by|cannot be called"),
    ],
)
def test_the_check_covers_every_kind_of_intervention(monkeypatch, breaking, told):
    model = tiny_model("llama")
    assert restoring._compare(model) is None
    breaking(monkeypatch)
    packed._unseen.cache_clear()
    packed._hidden_from.cache_clear()
    problem = restoring._compare(model)
    packed._unseen.cache_clear()
    packed._hidden_from.cache_clear()
    assert problem is not None
    assert re.search(told, problem)


def test_a_model_whose_layers_are_called_otherwise_is_told_apart(monkeypatch):
    model = tiny_model("llama")
    monkeypatch.setattr(restoring, "_CHECKED", {})
    monkeypatch.setattr(type(model.layers[0]), "forward", lambda self, hidden: hidden)
    assert "cannot be called on packed tokens" in str(regions_problem(model))


def test_the_models_own_attention_is_back_after_a_sweep_and_after_an_error(models):
    model = models["llama"]
    before = model.hf_model.config._attn_implementation
    base = run_base(model, embedded(model, words(model, 8, 0))[None], start=2)
    run_patches(base, random_rows(model, random.Random(0), 2, 8), reader(model))
    assert model.hf_model.config._attn_implementation == before
    with pytest.raises(ZeroDivisionError), packed.packed_attention(model):
        raise ZeroDivisionError
    assert model.hf_model.config._attn_implementation == before


# ---- bad input


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize(
    "change",
    [
        {"position": 2},
        {"position": 11},
        {"layers": range(1, 99)},
        {"layers": range(2)},
        {"layers": range(0)},
        {"values": torch.zeros(1, 2, 3)},
        {"values": torch.zeros(1, 0, 32)},
        {"values": torch.zeros(2, 32)},
        {"head": 0},
        {"site": "head"},
        {"site": "head", "head": 4, "values": torch.zeros(1, 2, 8)},
    ],
)
def test_a_patch_outside_the_run_is_refused(models, change, engine):
    model = models["llama"]
    base = run_base(model, embedded(model, words(model, 12, 0))[None], start=3, engine=engine)
    fine = Patch(site="resid", layers=range(1), position=4, values=torch.zeros(1, 2, model.d_model))
    run_patches(base, [fine], model.project)
    with pytest.raises(ConfigError, match=r"a patch of .* the run has tokens 3 to 11"):
        run_patches(base, [replace(fine, **change)], model.project)


@pytest.mark.parametrize("engine", ["regions", "brute"])
@pytest.mark.parametrize(
    "change",
    [
        {"queries": (2, 8)},
        {"queries": (12,)},
        {"queries": ()},
        {"keys": (12,)},
        {"keys": (-1,)},
        {"keys": ()},
        {"heads": (4,)},
        {"heads": ()},
        {"layers": range(2, 4)},
    ],
)
def test_a_cut_outside_the_run_is_refused(models, change, engine):
    model = models["llama"]
    base = run_base(model, embedded(model, words(model, 12, 0))[None], start=3, engine=engine)
    fine = Cut(layers=range(1), queries=(8,), keys=(4,))
    run_patches(base, [fine], model.project)
    with pytest.raises(ConfigError, match=r"a cut of .* the run has tokens 3 to 11"):
        run_patches(base, [replace(fine, **change)], model.project)


def test_a_token_must_have_something_to_attend_to(models):
    for family, first in (("llama", 0), ("mistral", 3)):  # a window of 7 reaches from 9 to 3
        model = models[family]
        base = run_base(model, embedded(model, words(model, 12, 0))[None], start=3)
        cut = Cut(layers=range(1), queries=(9,), keys=tuple(range(first, 10)))
        with pytest.raises(ConfigError, match="nothing to attend to"):
            run_patches(base, [cut], model.project)
        run_patches(base, [replace(cut, heads=(0,), keys=cut.keys[1:])], model.project)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 12}, "start=12"),
        ({"start": -1}, "start=-1"),
        ({"branches": (3, 6)}, "the prompt before the branches must hold the start"),
        ({"branches": (2, 0)}, "no branch may be empty"),
        ({"outputs": ("resid",)}, "no output 'resid'"),
        ({"outputs": ("heads",)}, "Did you mean head"),
        ({"engine": "fast"}, "no engine 'fast'"),
    ],
)
def test_a_base_run_that_cannot_be_is_refused(models, change, message):
    model = models["llama"]
    with pytest.raises(ConfigError, match=message):
        run_base(model, embedded(model, words(model, 12, 0))[None], **{"start": 3, **change})


@pytest.mark.parametrize("read_at", [[2], [12], [], [4, 4]])
def test_what_cannot_be_read_is_refused(models, read_at):
    model = models["llama"]
    base = run_base(model, embedded(model, words(model, 12, 0))[None], start=3)
    cut = Cut(layers=range(1), queries=(8,), keys=(4,))
    with pytest.raises(ConfigError, match="different tokens from 3 to 11"):
        run_patches(base, [cut], reader(model), read_at=read_at)
    with pytest.raises(ConfigError, match="0 rows"):
        run_patches(base, [], reader(model))
    with pytest.raises(ConfigError, match="without interventions"):
        run_patches(base, [()], reader(model))
    other = run_base(models["gpt2"], embedded(models["gpt2"], words(model, 5, 0))[None], start=3)
    jobs = [Job(base=run, rows=[cut], read=reader(model)) for run in (base, other)]
    with pytest.raises(ConfigError, match="several models"):
        run_many(jobs)


def test_what_is_public_is_there():
    for name in regions.__all__:
        assert hasattr(regions, name)


@pytest.mark.parametrize("heads", [None, (1, 3)])
def test_a_cut_goes_on_where_its_queries_are_not_read(models, heads):
    """In the last layer rows go on at the tokens that are read, none of which is a query here."""
    model = models["llama"]
    tokens = embedded(model, words(model, 10, 0))[None]
    cut = Cut(layers=range(model.num_layers), queries=(4, 6), keys=(3, 1), heads=heads)
    found, expected = (
        run_patches(run_base(model, tokens, start=2, engine=engine), [cut], reader(model))
        for engine in ("regions", "brute")
    )
    assert_equal_logprobs(found, expected)


@pytest.mark.embedded
@pytest.mark.slow
def test_on_the_embedded_model_too():
    """30 layers of trained weights, 50 tokens: differences add up to no more than is allowed."""
    model = load_model("smollm2-135m")
    text = "".join(
        f"What is the capital of {country}? {city}\n"
        for country, city in (("France", "Paris"), ("Spain", "Madrid"), ("Egypt", "Cairo"))
    )
    ids = torch.tensor(model.tokenizer(text + "What is the capital of Peru?")["input_ids"])
    draws = embedded(model, ids).expand(2, -1, -1).clone()
    draws[1, -2] *= -1
    rng = random.Random(0)
    start = len(ids) - 4
    read_at = [len(ids) - 1, len(ids) - 2]
    runs = [run_base(model, draws, start=start, engine=engine) for engine in ("regions", "brute")]
    # The model's own values of the other draw: random ones would leave its numbers' usual range.
    rows = [
        Patch(
            site="resid",
            layers=range(layer, layer + 1),
            position=position,
            values=runs[1].at("resid", layer)[1:, position - start, None],
        )
        for layer in (3, 28, 29)
        for position in range(start, len(ids))
    ]
    rows += [random_cut(model, rng, start, len(ids)) for _ in range(4)]
    found, expected = (run_patches(run, rows, reader(model), read_at=read_at) for run in runs)
    assert_equal_logprobs(found, expected)
