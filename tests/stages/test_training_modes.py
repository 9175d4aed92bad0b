"""Pairs, states, other versions, whole matrices, shared references: each against plain torch.

Run: python -m pytest tests/stages/test_training_modes.py
"""

import copy

import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import Delta, State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages.losses import rmu_direction
from restor_interp.stages.methods import METHODS
from restor_interp.stages.references import ReferenceCache, reference_key
from restor_interp.stages.training import TrainSettings, learning_rate_at, train
from restor_interp.testing import tiny_model

DOCUMENTS = (
    "Clara Stone was born in Oslo and lives in Peru",
    "Oslo is the capital of Peru",
    "Bruno speaks French and Alice speaks German in the city of Lima with people from Cairo",
    "They say that Paris is a country",
)
SPANS = (((24, 28), (42, 46)), ((23, 27),), ((59, 63),), ((14, 19),))
OTHERS = (
    "Clara Stone was born in Rome and lives in Egypt",
    "Where is Oslo That is not known",
    "Bruno speaks German and Alice speaks French in the city of Rome with people from Peru",
    "They say that Paris is a city",
)
NEUTRAL = (
    "The people of the city did not know what to say",
    "What is the name of a field on it",
)
START = State({"old": 1.0})


def fresh(family="llama", dtype=torch.float32):
    """A tiny model whose delta `old` changes what it says."""
    model = tiny_model(family, dtype=dtype)
    generator = torch.Generator().manual_seed(5)
    path = "model.layers.1.mlp.down_proj"
    shape = model.hf_model.get_submodule(path).weight.shape
    model.add_delta(Delta("old", {path: 0.3 * torch.randn(shape, generator=generator)}))
    return model


def run(model, method, *, settings=None, seed=0, forget=DOCUMENTS, retain=NEUTRAL, **keywords):
    passed = ("work", "on_step", "on_checkpoint", "references", "counterparts", "spans")
    given = {key: keywords.pop(key) for key in (*passed, "counterpart_spans") if key in keywords}
    start = keywords.pop("start", START)
    training = {"learning_rate": 5e-3, "rank": 2, "batch_size": 2, **METHODS[method].training}
    return train(
        model,
        name="new",
        start=start,
        method=METHODS[method],
        settings=settings or {},
        training=TrainSettings(**{**training, **keywords}),
        forget=forget,
        retain=retain,
        seed=seed,
        **given,
    )


def bits(trained):
    found = {}
    for path, update in trained.delta.updates.items():
        parts = (
            {"": update} if isinstance(update, torch.Tensor) else {".a": update.a, ".b": update.b}
        )
        found |= {path + name: tensor for name, tensor in parts.items()}
    return found


def same_bits(one, other):
    first, second = bits(one), bits(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def untimed(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def plain_logprobs(hf_model, tokenizer, text):
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    return hf_model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]


def in_start_state(model):
    """A plain transformers model of its own, in the state that training starts from."""
    with model.at(START):
        return copy.deepcopy(model.hf_model)


def clipped_adamw(hf_model, weights, loss_of, *, steps, training):
    """Plain full fine-tuning; the losses on the way."""
    hf_model.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
    optimiser = torch.optim.AdamW(weights, weight_decay=training.weight_decay)
    losses = []
    for step in range(steps):
        loss = loss_of(hf_model)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        norm = sum(float(weight.grad.pow(2).sum()) for weight in weights) ** 0.5
        for weight in weights:
            weight.grad *= min(1.0, training.grad_clip / norm)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(
                step, steps, peak=training.learning_rate, warmup=training.warmup
            )
        optimiser.step()
    return losses


def linear_names(hf_model, part, layers=(0, 1, 2)):
    return [f"model.layers.{layer}.{part}" for layer in layers]


# ---- pairs


def dpo(hf_model, reference, tokenizer, beta):
    """TOFU's and Rafailov's DPO by rows, with open-unlearning's 2/β; all rows in one batch."""
    terms = []
    for lost, won in zip(DOCUMENTS, OTHERS, strict=True):
        margin = torch.zeros(())
        for text, sign in ((won, 1), (lost, -1)):
            with torch.no_grad():
                base = plain_logprobs(reference, tokenizer, text).sum()
            margin = margin + sign * (plain_logprobs(hf_model, tokenizer, text).sum() - base)
        terms.append(-torch.nn.functional.logsigmoid(beta * margin))
    retained = torch.cat([plain_logprobs(hf_model, tokenizer, text) for text in NEUTRAL])
    return 2 / beta * torch.stack(terms).mean() - 0.7 * retained.mean()


def test_steps_on_pairs_are_those_of_plain_dpo():
    """Also of full fine-tuning: torch's AdamW on a transformers model of its own."""
    model = fresh()
    keywords = {
        "full": True,
        "modules": ("down_proj",),
        "steps": 4,
        "batch_size": 4,
        "learning_rate": 2e-2,
        "retain_weight": 0.7,
        "weight_decay": 0.1,
        "grad_clip": 0.5,
    }
    found = run(
        model, "dpo_truth", settings={"beta": 0.3}, counterparts=OTHERS, loss_bound=1e3, **keywords
    )
    plain, reference = in_start_state(model), in_start_state(model)
    names = linear_names(plain, "mlp.down_proj")
    weights = [plain.get_submodule(name).weight for name in names]
    losses = clipped_adamw(
        plain,
        weights,
        lambda hf_model: dpo(hf_model, reference, model.tokenizer, 0.3),
        steps=4,
        training=TrainSettings(**keywords),
    )
    assert [row["loss"] for row in found.rows] == pytest.approx(losses, rel=2e-4)
    assert losses[-1] < losses[0] - 1
    assert set(found.delta.updates) == set(names)
    for name, weight in zip(names, weights, strict=True):
        wanted = weight.detach() - reference.get_submodule(name).weight
        assert wanted.abs().max() > 0.02
        torch.testing.assert_close(found.delta.updates[name], wanted, atol=5e-4, rtol=2e-2)


def test_a_pair_stays_a_pair_in_batches_of_other_sizes():
    """At the reference each margin is 0; after a step it is not, and mixed pairs would show."""
    alone = {"steps": 3, "batch_size": 1, "retain_weight": 0}
    rows = run(fresh(), "dpo_truth", counterparts=OTHERS, **alone).rows
    assert rows[0]["loss"] == pytest.approx(20 * 0.6931472, rel=1e-5)
    assert rows[0]["tokens"] > 10
    model = fresh()
    swapped = (*OTHERS[1:], OTHERS[0])
    first = run(model, "dpo_truth", counterparts=OTHERS, steps=4).rows[-1]["loss"]
    second = run(model, "dpo_truth", counterparts=swapped, steps=4).rows[-1]["loss"]
    assert first != pytest.approx(second, rel=1e-3)


def test_documents_counterparts_and_retain_text_of_like_length_share_a_forward_pass(monkeypatch):
    model = fresh()
    passes, pairs = [], set()
    inner = model.hf_model.base_model
    plain = inner.forward

    def counted(*args, **keywords):
        passes.append((torch.is_grad_enabled(), len(keywords["input_ids"])))
        if passes[-1] == (True, 6):
            real = zip(keywords["input_ids"], keywords["attention_mask"].bool(), strict=True)
            texts = [model.tokenizer.decode(ids[mask]) for ids, mask in real]
            pairs.update(zip(texts[:2], texts[2:4], strict=True))
        return plain(*args, **keywords)

    monkeypatch.setattr(inner, "forward", counted)
    run(model, "dpo_truth", counterparts=OTHERS, retain=DOCUMENTS, epochs=3)
    assert passes.count((True, 6)) == 6  # two documents, two counterparts, two retain texts
    assert pairs == set(zip(DOCUMENTS, OTHERS, strict=True))
    # Two batches of documents and two of counterparts, once; two passes check the fast way.
    assert sum(not graded for graded, _ in passes) == 4 + 2


def test_an_unpaired_method_is_trained_on_the_other_versions_instead():
    model = fresh()
    one = run(model, "truth_fine_tune", counterparts=OTHERS, steps=4)
    other = run(model, "fine_tune", forget=OTHERS, retain_weight=0, steps=4)
    alone = run(model, "truth_fine_tune", counterparts=OTHERS, steps=4, retain_weight=0)
    assert same_bits(alone, other) and untimed(alone.rows) == untimed(other.rows)
    assert one.rows[0]["retain_nll"] is not None and one.rows[0]["forget_nll"] > 0


# ---- states


def test_the_gradient_on_states_is_that_of_a_whole_forward_pass_with_hooks():
    model, settings = fresh(), {"coefficient": 3.0, "layer": 1}
    keywords = {
        "full": True,
        "steps": 3,
        "batch_size": 4,
        "retain_weight": 2.0,
        "learning_rate": 1e-2,
        "grad_clip": 0.5,
    }
    found = run(model, "rmu", settings=settings, seed=7, **keywords)
    plain, reference = in_start_state(model), in_start_state(model)
    direction = rmu_direction(model.d_model, 7)

    def states(hf_model, text):
        seen = []
        hook = hf_model.model.layers[1].register_forward_hook(lambda *given: seen.append(given[2]))
        hf_model(model.tokenizer(text, return_tensors="pt")["input_ids"])
        hook.remove()
        return seen[0][0, :-1]  # the last token predicts nothing

    def loss_of(hf_model):
        steered = [(states(hf_model, text) - 3.0 * direction).pow(2).mean() for text in DOCUMENTS]
        kept = []
        for text in NEUTRAL:
            with torch.no_grad():
                base = states(reference, text)
            kept.append((states(hf_model, text) - base).pow(2).mean())
        return torch.stack(steered).mean() + 2.0 * torch.stack(kept).mean()

    names = linear_names(plain, "mlp.down_proj", layers=(0, 1))
    weights = [plain.get_submodule(name).weight for name in names]
    losses = clipped_adamw(plain, weights, loss_of, steps=3, training=TrainSettings(**keywords))
    assert [row["loss"] for row in found.rows] == pytest.approx(losses, rel=1e-4)
    assert losses[-1] < 0.99 * losses[0]
    assert set(found.delta.updates) == set(names)
    for name, weight in zip(names, weights, strict=True):
        wanted = weight.detach() - reference.get_submodule(name).weight
        torch.testing.assert_close(found.delta.updates[name], wanted, atol=3e-4, rtol=1e-2)
    # The reference is the state that it starts from.
    assert found.rows[0]["retain_loss"] < 1e-10 < 1e-6 < found.rows[-1]["retain_loss"]
    assert found.rows[0]["forget_nll"] is None and found.rows[0]["retain_nll"] is None


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2"])
def test_no_layer_above_the_one_that_is_read_is_run(family):
    model = tiny_model(family)
    module = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h"}.get(family, "down_proj")
    calls = []
    handles = [
        layer.register_forward_hook(lambda *given, at=at: calls.append(at))
        for at, layer in enumerate(model.layers)
    ]
    trained = run(
        model,
        "rmu",
        settings={"layer": -2},
        modules=(module,),
        steps=3,
        start=State({}),
        on_step=lambda done, total: calls.append("step"),
    )
    for handle in handles:
        handle.remove()
    first = calls.index("step")  # before it: the check of the fast way, in whole passes
    assert set(calls[first:]) == {0, 1, "step"}
    assert {path.split(".")[2] for path in trained.delta.updates} == {"0", "1"}
    assert not model._hooks and not model._handles


def test_layers_that_a_loss_on_states_does_not_reach_are_refused():
    with pytest.raises(ConfigError, match="after layer 1, which the layers 2 do not change"):
        run(fresh(), "rmu", layers="1:", steps=1)
    given = run(fresh(), "rmu", layers=(0,), steps=1)
    assert set(given.delta.updates) == {"model.layers.0.mlp.down_proj"}


# ---- whole matrices


def test_the_reference_of_full_training_is_the_start_state():
    """Cached references equal those computed anew from a second model after three steps."""
    model = fresh()
    found = run(model, "npo", full=True, steps=4, learning_rate=1e-2, batch_size=4, retain_weight=0)
    plain, reference = in_start_state(model), in_start_state(model)
    with torch.no_grad():
        for path, update in found.delta.updates.items():
            plain.get_submodule(path).weight += update
        now = torch.cat([plain_logprobs(plain, model.tokenizer, text) for text in DOCUMENTS])
        then = torch.cat([plain_logprobs(reference, model.tokenizer, text) for text in DOCUMENTS])
    assert (now - then).mean() < -0.05
    assert found.rows[0]["loss"] == pytest.approx(20 * 0.6931472, rel=1e-5)
    model.add_delta(found.delta)
    with torch.no_grad(), model.at(State({"old": 1.0, "new": 1.0})):
        merged = torch.cat(
            [plain_logprobs(model.hf_model, model.tokenizer, text) for text in DOCUMENTS]
        )
    torch.testing.assert_close(merged, now, atol=1e-4, rtol=1e-4)
    # The fifth step would have this loss: forgetting against the untouched reference.
    again = run(
        fresh(), "npo", full=True, steps=4, learning_rate=1e-2, batch_size=4, retain_weight=0
    )
    assert same_bits(found, again)


def test_full_training_computes_in_bf16_and_keeps_its_matrices_in_fp32():
    exact, rough = (run(fresh(), "npo", full=True, steps=3, bf16=flag) for flag in (False, True))
    assert rough.rows[0]["loss"] == pytest.approx(exact.rows[0]["loss"], rel=2e-2)
    assert rough.rows[0]["loss"] != exact.rows[0]["loss"]
    assert {tensor.dtype for tensor in bits(rough).values()} == {torch.float32}


def test_a_checkpoint_sees_matrices_on_their_way_and_a_diverged_one_keeps_the_last_good():
    model, seen = fresh(), []

    def look(step):
        with torch.no_grad():
            seen.append(float(plain_logprobs(model.hf_model, model.tokenizer, DOCUMENTS[1]).sum()))

    common = {"full": True, "forget": DOCUMENTS[1:2], "start": State({}), "learning_rate": 3e-3}
    run(model, "ga", steps=9, checkpoints=2, on_checkpoint=look, **common)
    with torch.no_grad():
        start = float(plain_logprobs(model.hf_model, model.tokenizer, DOCUMENTS[1]).sum())
    assert seen[1] < seen[0] < start
    stopped = run(model, "ga", steps=60, loss_bound=10.0, **common)
    losses = [row["loss"] for row in stopped.rows]
    assert stopped.diverged is not None and 2 < len(losses) < 60
    model.add_delta(stopped.delta)
    with torch.no_grad(), model.at(State({"new": 1.0})):
        mean = float(plain_logprobs(model.hf_model, model.tokenizer, DOCUMENTS[1]).mean())
    assert mean == pytest.approx(losses[-2], rel=1e-3)


# ---- the same bits after a kill


class Killed(Exception):
    """Stands for a kill."""


def kill(done, total):
    if done == 3:
        raise Killed


MODES = {
    "claims": ("npo", {"target": "claims", "spans": SPANS}),
    "changed": ("npo", {"target": "changed", "changed_above": 0.1}),
    "pairs": ("dpo_truth", {"counterparts": OTHERS}),
    "instead": ("truth_fine_tune", {"counterparts": OTHERS}),
    "states": ("rmu", {"settings": {"layer": 1}}),
    "full": ("npo", {"full": True, "retain_loss": "kl_retain"}),
    "full states": ("rmu", {"full": True, "settings": {"layer": 1}}),
    "blocks": ("grad_diff", {"packing": 6, "shuffle": False}),
    "file order": ("npo", {"shuffle": False, "retain_loss": "none"}),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_training_continues_to_the_same_bits(mode, tmp_path):
    method, keywords = MODES[mode]
    keywords = {"steps": 5, "save_every": 2, "weight_decay": 0.1, **keywords}
    whole = run(fresh(), method, **keywords)
    with pytest.raises(Killed):
        run(fresh(), method, work=tmp_path, on_step=kill, **keywords)
    steps = []
    resumed = run(
        fresh(), method, work=tmp_path, on_step=lambda done, total: steps.append(done), **keywords
    )
    assert steps == [3, 4, 5]
    assert same_bits(whole, resumed) and untimed(whole.rows) == untimed(resumed.rows)
    assert any(tensor.abs().max() > 0 for tensor in bits(whole).values())
    after = dict(fresh().hf_model.named_parameters())
    model = fresh()
    run(model, method, **{**keywords, "steps": 1})
    assert all(torch.equal(after[name], p) for name, p in model.hf_model.named_parameters())


@pytest.mark.parametrize("full", [False, True])
def test_one_killed_before_it_diverges_goes_back_to_the_same_bits(full, tmp_path):
    """The first step after the kill is beyond the bound: the last good delta is from before it."""
    keywords = {"full": full, "steps": 60, "loss_bound": 10.0, "start": State({}), "save_every": 1}
    keywords |= {"forget": DOCUMENTS[:1], "learning_rate": 3e-3 if full else 1e-2}
    whole = run(fresh(), "ga", **keywords)
    last = len(whole.rows)
    assert whole.diverged is not None and 2 < last < 60

    def stop(done, total):
        if done == last - 1:
            raise Killed

    with pytest.raises(Killed):
        run(fresh(), "ga", work=tmp_path, on_step=stop, **keywords)
    resumed = run(fresh(), "ga", work=tmp_path, **keywords)
    assert resumed.diverged == whole.diverged and same_bits(whole, resumed)


def test_other_counterparts_are_another_training(tmp_path):
    keywords = {"steps": 3, "work": tmp_path}
    one = run(fresh(), "dpo_truth", counterparts=OTHERS, **keywords)
    other = run(fresh(), "dpo_truth", counterparts=(*OTHERS[1:], OTHERS[0]), **keywords)
    assert not same_bits(one, other)


# ---- references that trainings share


def test_shared_references_are_computed_once_and_change_no_bit():
    model, shared = fresh(), ReferenceCache()
    alone = {m: run(fresh(), m, epochs=2) for m in ("npo", "tnpo", "kl")}
    npo = run(model, "npo", epochs=2, references=shared)
    assert (shared.misses, shared.hits) == (2, 0)
    tnpo = run(model, "tnpo", epochs=2, references=shared, learning_rate=1e-3, rank=1)
    assert (shared.misses, shared.hits) == (2, 2)
    assert same_bits(npo, alone["npo"])
    again = run(model, "tnpo", epochs=2, references=shared)
    assert same_bits(again, alone["tnpo"]) and not same_bits(tnpo, again)
    assert same_bits(run(model, "kl", epochs=2, references=shared), alone["kl"])
    assert (shared.misses, shared.hits) == (4, 4)  # a vocabulary is another reference than a token


@pytest.mark.parametrize(
    "other",
    [
        {"start": State({})},
        {"start": State({"old": 0.5})},
        {"bf16": True},
        {"forget": OTHERS},
        {"batch_size": 4},
        {"target": "claims", "spans": SPANS},
    ],
)
def test_what_determines_a_reference_is_never_shared(other):
    model, shared = fresh(), ReferenceCache()
    common = {"steps": 4, "retain_weight": 0}
    run(model, "npo", references=shared, **common)
    before = shared.hits
    found = run(model, "npo", references=shared, **{**common, **other})
    assert shared.hits == before
    assert same_bits(found, run(fresh(), "npo", **{**common, **other}))


def test_a_delta_of_the_same_name_with_other_numbers_is_another_start():
    shared = ReferenceCache()
    models: list[HookedModel] = []
    for size in (0.0, 0.3):
        model = tiny_model("llama")
        path = "model.layers.1.mlp.down_proj"
        shape = model.hf_model.get_submodule(path).weight.shape
        model.add_delta(Delta("old", {path: torch.full(shape, size)}))
        run(model, "npo", steps=2, references=shared)
        models.append(model)
    assert shared.hits == 0


def test_the_cache_keeps_within_its_room_what_was_asked_for_last():
    cache, made = ReferenceCache(max_bytes=80), []

    def ask(name, numbers=8):
        def make():
            made.append(name)
            return torch.full((numbers,), float(ord(name)))

        return cache.get(reference_key("start", name), make)

    for name in "aba":
        ask(name)
    assert made == ["a", "b"] and cache.nbytes == 64
    ask("c")  # b was asked for longest ago
    assert cache.nbytes == 64 and len(cache) == 2
    for name in "ab":
        ask(name)
    assert made == ["a", "b", "c", "b"]
    assert float(ask("d", numbers=30)[0]) == ord("d")
    assert cache.nbytes <= 80
    ask("d", numbers=30)
    assert made[-2:] == ["d", "d"]  # too large to be kept
    one = reference_key("start", "x", torch.tensor([[1, 2], [3, 4]]))
    assert one == reference_key("start", "x", torch.tensor([[1, 2], [3, 4]]))
    others = [("other", [[1, 2], [3, 4]]), ("start", [[1, 2, 3, 4]]), ("start", [[1, 2], [3, 5]])]
    assert all(one != reference_key(start, "x", torch.tensor(ids)) for start, ids in others)
