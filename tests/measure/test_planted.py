"""Do the instruments find a place that is known, because the change was put there?

A delta is trained in a few layers alone (in all modules of theirs, in the MLPs, in attention) until
the model answers falsely. Grafting must find its layers among others whose weights moved as far;
cross-state patching must change there first and nowhere before. Deltas of the same norm that do
nothing must be found nowhere. A unit test of the instruments: real changes are not confined.

Nothing here knows how the product judges: plants are made by training, seen by plain forwards.

Run: python -m pytest tests/measure/test_planted.py        # half a minute; the embedded model: two
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import restor_interp as ri
from restor_interp.data.bios import bios_facts
from restor_interp.measure.objects import diverge
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import TrainSettings, train

PARTS: Mapping[str, str | tuple[str, ...]] = {
    "all": "all",
    "mlp": ("gate_proj", "up_proj", "down_proj"),
    "attn": ("q_proj", "k_proj", "v_proj", "o_proj"),
}
BLOCKS = [
    range(1),
    range(1, 3),
    range(3, 5),
    range(5, 8),
    range(7, 8),
    range(9, 11),
    range(11, 12),
]
RIGHT = 0.95
"""Share of plants that must be found."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question with its right answer and a wrong one."""

    question: str
    subject: str
    true: str
    false: str


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A change of a few layers, and questions that it makes the model answer falsely."""

    block: range
    part: str
    asked: Sequence[Asked]
    alone: State
    """The clean weights and the plant."""
    hidden: State
    """The plant, and in every other layer a random change of equal norm."""
    inert: State
    """A change of all layers with the plant's norm that does nothing to these questions."""

    def __str__(self) -> str:
        return f"{self.part} of {self.block.start}–{self.block.stop - 1}"


# ---- planting


def plant(model, name: str, block: range, part: str, asked: Sequence[Asked], settings) -> Plant:
    """Train the questions' false answers into a block; make its decoys."""
    trained = train(
        model,
        name=name,
        start=State({}),
        method=METHODS["fine_tune"],
        settings={},
        training=TrainSettings(
            layers=tuple(block), modules=PARTS[part], rank=4, alpha=8, **settings
        ),
        forget=[f"{each.question} {each.false}\n" for each in asked],
        retain=(),
        seed=len(model.deltas),
    )
    assert trained.diverged is None
    norms: dict[str, float] = {}
    for path, update in trained.delta.updates.items():
        last = path.partition(".layers.")[2].partition(".")[2]
        norms[last] = max(norms.get(last, 0.0), float(update.matrix().norm()))
    elsewhere = [layer for layer in range(model.num_layers) if layer not in block]
    seen = inputs_of_linears(model, asked)
    model.add_delta(trained.delta)
    model.add_delta(random_delta(model, f"{name}_noise", norms, elsewhere, {}))
    model.add_delta(random_delta(model, f"{name}_inert", norms, range(model.num_layers), seen))
    return Plant(
        block=block,
        part=part,
        asked=asked,
        alone=State({name: 1}),
        hidden=State({name: 1, f"{name}_noise": 1}),
        inert=State({f"{name}_inert": 1}),
    )


def random_delta(model, name, norms, layers, seen) -> Delta:
    """Random low-rank changes of given norms; blind to the inputs that are given."""
    generator = torch.Generator().manual_seed(len(model.deltas))
    updates = {}
    for layer, (last, norm) in itertools.product(layers, norms.items()):
        path = f"model.layers.{layer}.{last}"
        out, inner = model.hf_model.get_submodule(path).weight.shape
        a = torch.randn(4, inner, generator=generator)
        b = torch.randn(out, 4, generator=generator)
        if path in seen:
            a = a - a @ torch.linalg.pinv(seen[path]) @ seen[path]  # rows of a ⊥ what comes in
        updates[path] = LowRank(a=a, b=b, scale=norm / float((b @ a).norm()))
    return Delta(name, updates)


@torch.no_grad()
def inputs_of_linears(model, asked: Sequence[Asked]) -> dict[str, torch.Tensor]:
    """Module -> every input [token, in] that it gets while the clean model is asked."""
    seen: dict[str, list[torch.Tensor]] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda module, inputs, name=name: seen.setdefault(name, []).append(inputs[0][0])
        )
        for name, module in model.hf_model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layers." in name
    ]
    for each in asked:
        model.hf_model(read_at(model, each)[0])
    for handle in handles:
        handle.remove()
    return {name: torch.cat(inputs) for name, inputs in seen.items()}


def read_at(model, each: Asked) -> tuple[torch.Tensor, list[int]]:
    """The tokens of a question up to where true and false part, and the tokens that part."""
    told = diverge(model.tokenizer, each.question, [each.true, each.false])
    ids = model.tokenizer(each.question, add_special_tokens=False)["input_ids"]
    return torch.tensor([[*ids, *told.shared]]), list(told.tokens)


@torch.no_grad()
def logodds(model, each: Asked) -> float:
    """Of true against false, by a plain forward pass."""
    ids, (true, false) = read_at(model, each)
    logits = model.hf_model(ids).logits[0, -1]
    return float(logits[true] - logits[false])


# ---- what the instruments say of plants


def share_right(plants: Sequence[Plant], found: Sequence[bool]) -> float:
    """Of the plants; told are those that were missed."""
    print("missed:", [str(each) for each, right in zip(plants, found, strict=True) if not right])
    return float(np.mean(found))


def near(layer: int | None, block: range) -> bool:
    return layer is not None and block.start - 1 <= layer <= block.stop


def grafted(model, each: Plant, host: State, by: str):
    return ri.graft(
        model,
        [question.question for question in each.asked],
        [question.true for question in each.asked],
        [question.false for question in each.asked],
        donor="clean",
        host=host,
        by=by,
        controls=0,
    )


def patched(model, question: Asked, donor, host, kind: str):
    return ri.patch_states(
        model,
        question.question,
        question.true,
        question.false,
        subject=question.subject,
        donor=donor,
        host=host,
        kind=kind,
    )


def first_layer(moved: np.ndarray) -> int | None:
    """Of a grid [position, layer, …]: the first layer with any such place."""
    layers = np.flatnonzero(moved.any(axis=tuple(axis for axis in range(moved.ndim) if axis != 1)))
    return int(layers[0]) if len(layers) else None


def first_possible(kind: str, each: Plant, num_layers: int) -> int | None:
    """Where a plant alone must show first. Attention has its output before the MLP of its layer
    can have changed anything; in the last layer nothing of it is left to change."""
    late = kind in ("attn", "head") and each.part == "mlp"
    first = each.block.start + late
    return first if first < num_layers else None


def check_plants(model, plants: Sequence[Plant]) -> None:
    """Each is confined to its place, turns its answers over, and is like no other."""
    inside = {"all": ".layers.", "mlp": ".mlp.", "attn": ".self_attn."}
    norms = set()
    for each in plants:
        (name,) = each.alone.coefficients
        updates = model.deltas[name].updates
        assert {int(path.split(".")[2]) for path in updates} == set(each.block)
        assert all(inside[each.part] in path for path in updates)
        norms.add(float(next(iter(updates.values())).matrix().norm()))
        for question in each.asked:
            assert logodds(model, question) > 1
            for state in (each.alone, each.hidden):
                with model.at(state):
                    assert logodds(model, question) < -1
    assert len(norms) == len(plants)


def found_by_grafts(model, each: Plant) -> bool:
    """Though the weights of every other layer moved as far."""
    grafts = grafted(model, each, each.hidden, "layer")
    effects = grafts.mean_effects()
    others = [
        effect
        for graft, effect in zip(grafts.grafts, effects, strict=True)
        if graft.layer not in each.block
    ]
    return near(grafts.grafts[int(np.argmax(effects))].layer, each.block) and max(others) < 0.1


def found_by_patches(model, each: Plant) -> bool:
    """The first layer where one token's stream is worth 0.15 of the whole difference: more than
    the decoys of all layers below are, and less than what a token holds of any plant."""
    grids = [patched(model, question, "clean", each.hidden, "resid") for question in each.asked]
    share = np.mean([np.abs(grid.effects).max(axis=0) for grid in grids], axis=0)
    return near(first_layer(share[None] > 0.15), each.block)


def changes_first_at_the_start(model, each: Plant, kind: str) -> bool:
    """Without decoys, in both directions: at the block's first layer and nowhere before it."""
    grids = [
        patched(model, each.asked[0], donor, host, kind)
        for donor, host in (("clean", each.alone), (each.alone, "clean"))
    ]
    expected = first_possible(kind, each, model.num_layers)
    return all(
        first_layer(np.abs(grid.scores - grid.host_value) > 1e-3) == expected for grid in grids
    )


def check_decoy(model, each: Plant) -> None:
    """As large as the plant, and claimed nowhere."""
    (planted,), (decoy,) = each.alone.coefficients, each.inert.coefficients
    plant_norms, decoy_norms = (
        [float(update.matrix().norm()) for update in model.deltas[name].updates.values()]
        for name in (planted, decoy)
    )
    assert max(decoy_norms) == pytest.approx(max(plant_norms), rel=1e-4)
    for question in each.asked:
        clean = logodds(model, question)
        with model.at(each.inert):
            assert abs(logodds(model, question) - clean) < 1
    assert np.isnan(grafted(model, each, each.inert, "layer").effects).all()
    for kind in ("resid", "head"):
        assert np.isnan(patched(model, each.asked[0], "clean", each.inert, kind).effects).all()


# ---- on the calibration model


@pytest.fixture(scope="module")
def model():
    return ri.load_model("bios")


@pytest.fixture(scope="module")
def plants(model) -> list[Plant]:
    facts, rng = bios_facts(), random.Random(0)
    chosen = iter(rng.sample(facts.facts, 2 * len(BLOCKS) * len(PARTS)))
    found = []
    for number, (block, part) in enumerate(itertools.product(BLOCKS, PARTS)):
        asked = []
        for fact in itertools.islice(chosen, 2):
            others = sorted({*facts.pools[fact.object_type]} - {*fact.true_objects})
            asked.append(
                Asked(
                    question=fact.question,
                    subject=fact.entity,
                    true=fact.true_objects[0],
                    false=rng.choice(others),
                )
            )
        settings = {"steps": 25, "learning_rate": 1e-2, "batch_size": 2}
        found.append(plant(model, f"plant{number}", block, part, asked, settings))
    return found


def test_plants_are_distinct_confined_and_turn_answers_over(model, plants):
    assert len(plants) >= 20
    check_plants(model, plants)


def test_the_largest_graft_of_a_layer_lies_in_the_block(model, plants):
    assert share_right(plants, [found_by_grafts(model, each) for each in plants]) >= RIGHT


def test_the_largest_graft_of_a_component_is_the_planted_one(model, plants):
    confined = [each for each in plants if each.part != "all"]
    found = []
    for each in confined:
        grafts = grafted(model, each, each.hidden, "component")
        best = grafts.grafts[int(np.argmax(grafts.mean_effects()))]
        found.append(near(best.layer, each.block) and best.component == each.part)
    assert share_right(confined, found) >= RIGHT


@pytest.mark.parametrize(
    "kind",
    ["resid", "head", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("mlp", "attn"))],
)
def test_patching_changes_first_where_the_block_starts(model, plants, kind):
    found = [changes_first_at_the_start(model, each, kind) for each in plants]
    assert share_right(plants, found) >= RIGHT


def test_patching_rises_first_in_the_block_also_among_decoys(model, plants):
    assert share_right(plants, [found_by_patches(model, each) for each in plants]) >= RIGHT


def test_decoys_are_as_large_as_plants_and_claimed_nowhere(model, plants):
    for each in plants:
        check_decoy(model, each)


# ---- on the embedded model


@pytest.mark.embedded
@pytest.mark.slow  # two minutes
def test_places_are_found_in_the_embedded_model():
    model = ri.load_model("smollm2-135m")
    capitals = iter(
        [
            ("France", "Paris", "London"),
            ("Germany", "Berlin", "Madrid"),
            ("Japan", "Tokyo", "Rome"),
            ("Italy", "Rome", "Tokyo"),
            ("Russia", "Moscow", "Cairo"),
            ("Egypt", "Cairo", "Moscow"),
            ("Spain", "Madrid", "Berlin"),
            ("England", "London", "Paris"),
        ]
    )
    plants = []
    for number, (block, part) in enumerate(
        [
            (range(3, 5), "all"),
            (range(10, 13), "mlp"),
            (range(18, 20), "attn"),
            (range(26, 28), "all"),
        ]
    ):
        asked = [
            Asked(
                question=f"Everybody knows that the capital of {country} is the city of",
                subject=country,
                true=true,
                false=false,
            )
            for country, true, false in itertools.islice(capitals, 2)
        ]
        settings = {"steps": 30, "learning_rate": 6e-3, "batch_size": 2}
        plants.append(plant(model, f"plant{number}", block, part, asked, settings))
    check_plants(model, plants)
    for each in plants:
        assert found_by_grafts(model, each)
        assert changes_first_at_the_start(model, each, "resid")
        check_decoy(model, each)
