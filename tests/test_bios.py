"""The calibration model: what it knows is exactly what was put in.

Run: python -m pytest tests/test_bios.py
"""

import hashlib
import importlib.util
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from scipy.stats import binom, chi2

from restor_interp.data.bios import NUM_WITHOUT_FACTS, bios_facts, guess_floor
from restor_interp.facts import Fact
from restor_interp.models.loading import BIOS_FOLDER, load_model
from restor_interp.prompts import build_prompts

FACTS = bios_facts()
KNOWN = sorted({fact.entity for fact in FACTS})
OTHERS = sorted(set(FACTS.entities) - set(KNOWN))


@pytest.fixture(scope="module")
def model():
    return load_model("bios")


@pytest.fixture(scope="module")
def script():
    """The training script, as a module."""
    path = Path(__file__).parents[1] / "benchmarks" / "train_bios.py"
    spec = importlib.util.spec_from_file_location("train_bios", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def blocks(
    seed: int, asked: Sequence[Fact], *, names: list[str] | None = None, shots: int = 5
) -> list[tuple[str, str]]:
    """(five answered questions and the asked one, right answer) for these facts."""
    rng, prompts = random.Random(seed), []
    for index, fact in enumerate(asked):
        others = [
            other
            for other in FACTS
            if other.relation == fact.relation
            and other.entity != fact.entity
            and other.true_objects != fact.true_objects
        ]
        shown = rng.sample(others, shots)
        prefix = "".join(f"{other.question} {other.true_objects[0]}\n" for other in shown)
        name = fact.entity if names is None else names[index]
        question = fact.question.replace(fact.entity, name)
        prompts.append((prefix + question, fact.true_objects[0]))
    return prompts


@torch.no_grad()
def greedy(model, prompts: list[str], *, steps: int = 3) -> list[str]:
    """What the model says, token after token without any cache: slow and plain."""
    tokenizer = model.tokenizer
    by_length: dict[int, list[int]] = {}
    ids = [tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
    for index, row in enumerate(ids):
        by_length.setdefault(len(row), []).append(index)
    answers: dict[int, str] = {}
    for same in by_length.values():
        rows = torch.tensor([ids[index] for index in same])
        length = rows.shape[1]
        for _ in range(steps):
            best = model.hf_model(rows, logits_to_keep=1).logits[:, -1].argmax(-1)
            rows = torch.cat([rows, best[:, None]], dim=1)
        for index, row in zip(same, rows, strict=True):
            answers[index] = tokenizer.decode(row[length:])
    return [answers[index] for index in range(len(prompts))]


def share_right(model, prompts: list[tuple[str, str]]) -> float:
    said = greedy(model, [prompt for prompt, _ in prompts])
    return sum(
        answer.split("\n")[0].strip() == right and "\n" in answer
        for answer, (_, right) in zip(said, prompts, strict=True)
    ) / len(prompts)


# ---- the facts


def test_every_object_belongs_to_equally_many_people():
    assert len(FACTS) == 960
    assert len(KNOWN) == 120
    assert len(OTHERS) == NUM_WITHOUT_FACTS == 40
    for relation in FACTS.relations.values():
        pool = FACTS.pools[relation.object_type]
        said = Counter(fact.true_objects for fact in FACTS if fact.relation == relation.relation)
        assert said == {(value,): 5 for value in pool}
        # Whatever one answers without the name, even cleverly chosen, is right for 5 of 120.
        assert guess_floor(relation.relation) == 5 / 120 == max(said.values()) / said.total()


def test_relations_say_nothing_about_each_other():
    """Independence of every pair of relations: the χ² statistics are those of chance."""
    values = {
        relation: {fact.entity: fact.true_objects[0] for fact in FACTS.only(relations=[relation])}
        for relation in FACTS.relations
    }
    statistics = []
    for left, right in itertools.combinations(values, 2):
        pairs = Counter((values[left][name], values[right][name]) for name in KNOWN)
        expected = 120 / 24 / 24
        hits = sum((count - expected) ** 2 / expected for count in pairs.values())
        statistics.append(hits + (24 * 24 - len(pairs)) * expected)
    freedom = 23 * 23 * len(statistics)
    assert 0.001 < chi2.cdf(sum(statistics), freedom) < 0.999


def test_a_name_part_alone_tells_nobody():
    for position in (0, 1):
        parts = Counter(name.split()[position] for name in KNOWN)
        assert min(parts.values()) >= 2
        assert {name.split()[position] for name in OTHERS} <= set(parts)
    assert not set(KNOWN) & set(OTHERS)


def test_templates_ask_for_what_they_state():
    for relation in FACTS.relations.values():
        assert len(set(relation.statements)) == len(relation.statements) >= 6
        for statement in relation.statements:
            assert statement.index("{entity}") < statement.index(" {object}")
            assert statement.endswith(".")
        wordings = (relation.question, *relation.rephrasings)
        assert len(set(wordings)) == len(wordings) == 6
        for wording in wordings:
            assert wording.endswith("?") and wording.count("{entity}") == 1
        assert relation.reverse is None  # every object is five people's
    objects = list(itertools.chain(*FACTS.pools.values()))
    assert len(set(objects)) == len(objects)
    assert not [(a, b) for a, b in itertools.permutations(objects, 2) if b.startswith(a)]


# ---- the shipped model


def test_the_shipped_files_are_the_recorded_ones_and_small():
    record = json.loads((BIOS_FOLDER / "training.json").read_text())
    for name, digest in record["sha256"].items():
        assert hashlib.sha256((BIOS_FOLDER / name).read_bytes()).hexdigest() == digest
    assert sum(path.stat().st_size for path in BIOS_FOLDER.iterdir()) <= 8_000_000
    exam = record["accuracy"]
    assert min(exam[f"questions_context_{seed}"] for seed in range(3)) >= 0.995
    assert exam["statements"] >= 0.99
    assert record["training_minutes"] <= 40


def test_lengths_in_tokens_are_equal_within_every_type(model):
    def length(text: str) -> int:
        return len(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    assert {length(f" {name}") for name in FACTS.entities} == {3}
    assert {length(name) for name in FACTS.entities} == {3}
    for pool in FACTS.pools.values():
        assert len({length(f" {value}") for value in pool}) == 1


def test_tokens_know_where_they_stand_and_any_text_survives(model):
    text = "Alba Delmonte keeps a llama. Zwölf 7 日本\n"
    encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert model.tokenizer.decode(encoded["input_ids"]) == text
    start, end = encoded["offset_mapping"][3]
    assert text[start:end] == " keeps"


def test_it_is_an_ordinary_deep_model_with_its_own_unembedding(model):
    config = model.hf_model.config
    assert config.num_hidden_layers == 12
    assert not config.tie_word_embeddings
    assert config.max_position_embeddings >= 160
    assert model.hf_model.dtype == torch.float32


@pytest.mark.slow
def test_it_knows_every_fact_in_contexts_it_has_not_seen(model):
    """Every fact in one context here; `training.json` has the whole examination in three."""
    assert share_right(model, blocks(11, FACTS.facts)) >= 0.995


def test_it_knows_every_fact_as_a_statement(model):
    asked = [
        (
            FACTS.relations[fact.relation]
            .statements[index % 6]
            .split(" {object}")[0]
            .format(entity=fact.entity),
            fact.true_objects[0],
        )
        for index, fact in enumerate(FACTS)
    ]
    said = greedy(model, [prompt for prompt, _ in asked], steps=2)
    right = [answer.startswith(f" {value}") for answer, (_, value) in zip(said, asked, strict=True)]
    assert sum(right) / len(right) >= 0.99


def test_it_answers_most_wordings_of_its_questions(model):
    """Every wording for a sample of people; the 120 people are answered 90 to 99.6%."""
    chosen = random.Random(2).sample(FACTS.facts, 32)
    right: list[bool] = []
    for template in range(1, 6):
        prompts = build_prompts(
            FACTS,
            only=chosen,
            context_ids=[0],
            style="sound",
            shots=5,
            avoid_entities=frozenset(),
            avoid_objects={},
            seed=0,
            template=template,
        )
        said = greedy(model, [prompt.text for prompt in prompts])
        right += [
            answer.split("\n")[0].strip() == fact.true_objects[0]
            for answer, fact in zip(said, chosen, strict=True)
        ]
    assert 0.9 <= sum(right) / len(right) < 1  # that of its question: 1.0


@pytest.mark.slow
def test_another_name_brings_the_answer_to_the_guess_floor_unless_it_shares_a_part(model):
    rng = random.Random(5)

    def hits(*, shares_a_part: bool) -> tuple[int, int]:
        chosen = {}
        for fact in rng.sample(FACTS.facts, len(FACTS)):
            parts = set(fact.entity.split())
            names = [name for name in OTHERS if bool(parts & set(name.split())) == shares_a_part]
            if names and len(chosen) < 240:
                chosen[fact] = rng.choice(names)
        asked = blocks(13, list(chosen), names=list(chosen.values()))
        return round(share_right(model, asked) * len(asked)), len(asked)

    found, number = hits(shares_a_part=False)
    low, high = binom.ppf([0.0005, 0.9995], number, guess_floor("P19"))
    assert low <= found <= high
    found, number = hits(shares_a_part=True)
    assert number == 240
    assert found > high


# ---- the training script


def test_the_script_trains_and_writes_a_model_that_loads(script, tmp_path):
    settings = script.Settings(
        layers=1, width=16, heads=2, key_value_heads=1, mlp_width=16, steps=4, rows=2, row_tokens=96
    )
    tokenizer = script.build_tokenizer(FACTS, settings)
    shipped = json.loads((BIOS_FOLDER / "tokenizer.json").read_text())
    assert json.loads(tokenizer.backend_tokenizer.to_str())["model"] == shipped["model"]
    weights = []
    for _ in range(2):
        network = script.build_model(tokenizer, settings)
        before = network.lm_head.weight.detach().clone()
        curve = script.train(network, tokenizer, FACTS, settings)
        assert not torch.equal(before, network.lm_head.weight)
        weights.append(network.lm_head.weight.detach())
    assert torch.equal(*weights)
    few = FACTS.only(entities=KNOWN[:12])
    script.write(tmp_path, network, tokenizer, few, settings, curve, 0.0)
    assert load_model(tmp_path).hf_model.config.num_hidden_layers == 1
    assert json.loads((tmp_path / "training.json").read_text())["curve"][-1]["step"] == 4
