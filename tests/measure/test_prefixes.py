"""The tree of token paths against one plain forward pass per path, in every family.

Run: python -m pytest tests/measure/test_prefixes.py
"""

import logging
import random
import re
import weakref

import numpy as np
import pytest
import torch

from restor_interp.errors import PromptError
from restor_interp.measure import prefixes
from restor_interp.measure.prefixes import Ask, PackedEngine, PlainEngine, engine_for
from restor_interp.measure.reading import read
from restor_interp.testing import FAMILIES, tiny_model

WINDOWED = {"mistral", "gemma2", "gemma3_text", "phi3"}
"""Families whose tiny models attend over fewer tokens than the paths have."""


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


@pytest.fixture(autouse=True)
def nothing_verified(monkeypatch):
    monkeypatch.setattr(prefixes, "_VERIFIED", weakref.WeakKeyDictionary())


def plain(model, path):
    """Next-token log-probabilities after a path, by one forward pass of its own."""
    with torch.no_grad():
        return model.hf_model(torch.tensor([path])).logits[0, -1].log_softmax(-1)


def random_paths(model, rng, number, longest):
    """Paths that branch off each other anywhere, some of them the start of another."""
    paths = [tuple(rng.randrange(1, model.vocab_size) for _ in range(longest))]
    while len(paths) < number:
        parent = rng.choice(paths)
        kept = parent[: rng.randint(0, len(parent))]
        more = rng.randint(0 if kept else 1, 4)
        paths.append(kept + tuple(rng.randrange(1, model.vocab_size) for _ in range(more)))
    return paths


def assert_read_as_plain(model, asks, readings, atol=2e-4):
    for ask, reading in zip(asks, readings, strict=True):
        expected = plain(model, ask.path)
        np.testing.assert_allclose(reading.logprobs, expected[list(ask.tokens)], atol=atol)
        assert expected[reading.greedy] >= expected.max() - atol


def asks_of(model, rng, paths):
    return [
        Ask(path, tuple(rng.sample(range(model.vocab_size), rng.randint(0, 3)))) for path in paths
    ]


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in WINDOWED])
def test_a_packed_tree_gives_every_path_its_own_forward_pass(models, family):
    model = models[family]
    for seed in range(3):
        rng = random.Random(seed)
        engine = PackedEngine(model)
        paths = random_paths(model, rng, 24, longest=14)
        first = asks_of(model, rng, paths[:12])
        assert_read_as_plain(model, first, engine.run(first))
        # Asked again, continued, and with branches from what was run before.
        second = asks_of(model, rng, paths[6:])
        assert_read_as_plain(model, second, engine.run(second))
        engine.keep(paths[10:14])
        third = asks_of(model, rng, [(*path, 5, 9) for path in paths[8:16]])
        assert_read_as_plain(model, third, engine.run(third))


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_shorter_than_the_paths_are_run_plainly_and_it_is_said(models, family, caplog):
    model = models[family]
    path = tuple(range(3, 23))
    with caplog.at_level(logging.WARNING):
        engine = engine_for(model, path, max_tokens=64)
    if family in WINDOWED:
        assert isinstance(engine, PlainEngine)
        assert re.search(r"attends over \d tokens, and prompts have up to 20", caplog.text)
    else:
        assert isinstance(engine, PackedEngine)
        assert not caplog.records


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_that_is_chosen_reads_as_plain_runs_do(models, family):
    model = models[family]
    rng = random.Random(1)
    paths = random_paths(model, rng, 16, longest=20)
    asks = asks_of(model, rng, paths)
    engine = engine_for(model, paths[0], max_tokens=64)
    assert_read_as_plain(model, asks, engine.run(asks))


def test_shared_tokens_are_run_once(models):
    model = models["llama"]
    ran = []
    prefix = tuple(range(2, 42))
    asks = [Ask((*prefix, end, end + 1), (7,)) for end in range(50, 60)]
    engine = PackedEngine(model)
    expected = engine.cost(ask.path for ask in asks)
    with model.hooks([("blocks.0.hook_resid_pre", lambda v, hook: ran.append(v.shape[1]))]):
        engine.run(asks)
        assert ran == [expected] == [40 + 2 * 10]
        more = [Ask((*ask.path, 3)) for ask in asks]
        assert engine.cost(ask.path for ask in more) == 10
        engine.run(more)
        assert ran[-1] == 10
        # One that was run has no logits any more: its last token alone is run again.
        assert engine.cost([asks[0].path]) == 1
        engine.run(asks[:1])
        assert ran[-1] == 1
        engine.keep([more[1].path])
        assert engine.cost([more[1].path]) == 1
        assert engine.cost([more[2].path]) == 3


def test_what_is_kept_bounds_the_memory(models):
    """Many questions of one relation, served one after the other: the cache stays small."""
    model = models["llama"]
    engine = PackedEngine(model)
    prefix = tuple(range(2, 32))
    sizes = []
    for number in range(40):
        engine.run([Ask((*prefix, 40 + number, *range(50, 60)))])
        engine.keep([prefix])
        sizes.append(engine._cache.layers[0].keys.shape[-2])
    assert max(sizes) <= 2 * (30 + 11)
    reading = engine.run([Ask((*prefix, 99), (4,))])[0]
    assert reading.logprobs[0] == pytest.approx(plain(model, (*prefix, 99))[4].item(), abs=2e-4)


def test_a_model_that_packing_does_not_reproduce_is_run_plainly(models, monkeypatch, caplog):
    model = models["llama"]
    forward = PackedEngine._forward

    def blind(self, new, rows):
        self._sees[:] = True  # every branch sees the others
        return forward(self, new, rows)

    monkeypatch.setattr(PackedEngine, "_forward", blind)
    path = tuple(range(3, 23))
    with caplog.at_level(logging.WARNING):
        assert isinstance(engine_for(model, path, max_tokens=64), PlainEngine)
        # A longer path needs no second trial, and no second warning; nor does a shorter one.
        assert isinstance(engine_for(model, path * 2, max_tokens=64), PlainEngine)
    assert "packed log-probabilities differ by" in caplog.text
    assert caplog.text.count("run on its own") <= 2


@pytest.mark.parametrize("max_tokens", [1, 30, 1000])
def test_plain_batches_are_padded_and_bounded(models, max_tokens):
    model = models["gpt2"]
    rng = random.Random(0)
    asks = asks_of(model, rng, random_paths(model, rng, 10, longest=12))
    sizes = []
    engine = PlainEngine(model, max_tokens=max_tokens)
    with model.hooks([("blocks.0.hook_resid_pre", lambda v, hook: sizes.append(v.shape[:2]))]):
        readings = engine.run(asks)
    assert_read_as_plain(model, asks, readings)
    assert all(size.numel() <= max_tokens or size[0] == 1 for size in sizes)


def test_a_path_longer_than_the_model_reads_is_refused(models):
    with pytest.raises(PromptError, match=r"260 tokens, and tiny-llama reads at most 256"):
        engine_for(models["llama"], (5,) * 260, max_tokens=64)


def test_long_paths_up_to_the_limit_are_read(models):
    model = models["llama"]
    rng = random.Random(4)
    path = tuple(rng.randrange(1, model.vocab_size) for _ in range(256))
    engine = engine_for(model, path, max_tokens=64)
    asks = [Ask(path, (3,)), Ask(path[:200], (4,)), Ask((*path[:200], 8, 9), (5,))]
    assert_read_as_plain(model, asks, engine.run(asks))


# ---- readers


def sum_reader(path, steps, result):
    """Asks step by step, as an answer does; returns what it has read."""
    total = []
    for token in range(steps):
        readings = yield [Ask((*path, *range(2, 2 + token)), (1,))]
        total.append(readings[0].logprobs[0])
    return result, total


@pytest.mark.parametrize("budget", [1, 7, 500])
def test_readers_get_their_own_readings_whatever_the_batches(models, budget):
    model = models["llama"]
    rng = random.Random(2)
    paths = random_paths(model, rng, 12, longest=10)
    steps = [rng.randint(0, 4) for _ in paths]
    readers = [sum_reader(p, n, i) for i, (p, n) in enumerate(zip(paths, steps, strict=True))]
    found = read(model, readers, longest=20, max_tokens_per_batch=budget)
    assert [result for result, _ in found] == list(range(12))
    for (_, total), path, number in zip(found, paths, steps, strict=True):
        expected = [plain(model, (*path, *range(2, 2 + n)))[1].item() for n in range(number)]
        np.testing.assert_allclose(total, expected, atol=2e-4)


def test_without_readers_nothing_is_run(models):
    assert read(models["llama"], [], longest=5) == []
