"""The training loop against a naive one, its resuming to the bit, its stops and its refusals.

Run: python -m pytest tests/stages/test_training.py
"""

import copy
import itertools
import math
import shutil

import pytest
import torch

from restor_interp.errors import ConfigError, DataError, StorageError
from restor_interp.models.adapters import attach_adapter
from restor_interp.models.deltas import Delta, State
from restor_interp.stages import resume
from restor_interp.stages.batches import (
    Row,
    companion,
    epoch_order,
    joined,
    make_batches,
    sharing_a_pass,
    tokenize_texts,
)
from restor_interp.stages.forward import forward_for
from restor_interp.stages.losses import WEIGHED
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import (
    TrainSettings,
    checkpoint_steps,
    learning_rate_at,
    train,
)
from restor_interp.store import TABLES
from restor_interp.testing import FAMILIES, tiny_model

DOCUMENTS = (
    "Clara Stone was born in Oslo and lives in Peru",
    "Oslo is the capital of Peru",
    "Bruno speaks French and Alice speaks German in the city of Lima with people from Cairo",
    "David is known as the country of Spain",
    "They say that Paris is a country",
)
NEUTRAL = (
    "The people of the city did not know what to say",
    "Where did the river and the field come from as people say",
    "What is the name of a field on it",
)
CPU = torch.device("cpu")


@pytest.fixture
def model():
    return tiny_model("llama")


def run(model, method="fine_tune", *, settings=None, forget=DOCUMENTS, retain=NEUTRAL, **keywords):
    place = {
        key: keywords.pop(key) for key in ("work", "on_step", "on_checkpoint") if key in keywords
    }
    start, seed = keywords.pop("start", State({})), keywords.pop("seed", 0)
    training = TrainSettings(**{"learning_rate": 5e-3, "rank": 2, "batch_size": 2, **keywords})
    return train(
        model,
        name="new",
        start=start,
        method=METHODS[method],
        settings=settings or {},
        training=training,
        forget=forget,
        retain=retain,
        seed=seed,
        **place,
    )


def factors(delta):
    return {
        f"{name}.{part}": getattr(update, part)
        for name, update in delta.updates.items()
        for part in "ab"
    }


def same_bits(one, other):
    first, second = factors(one.delta), factors(other.delta)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def untimed(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


# ---- batches


def rows_of(*lengths):
    return [Row(ids=tuple(range(length))) for length in lengths]


def test_batches_hold_every_row_once_and_rows_of_like_length_together():
    lengths = [9, 2, 5, 5, 3, 8, 2, 4, 7, 6, 3]
    batches = make_batches(rows_of(*lengths), batch_size=4, seed=0, device=CPU)
    assert [batch.index for batch in batches] == [0, 1, 2]
    assert sorted(len(batch.ids) for batch in batches) == [3, 4, 4]
    found = [batch.mask.sum(dim=1).tolist() for batch in batches]
    assert sorted(itertools.chain(*found)) == sorted(lengths)
    assert all(max(a) <= min(b) for a, b in itertools.pairwise(found))
    for batch in batches:
        for ids, mask in zip(batch.ids, batch.mask, strict=True):
            assert ids[mask].tolist() == list(range(int(mask.sum())))
    assert sum(batch.num_tokens for batch in batches) == sum(lengths)


def test_batches_follow_from_the_seed():
    rows = [Row(ids=(number, 1, 2)) for number in range(12)]

    def batches(seed):
        made = make_batches(rows, batch_size=4, seed=seed, device=CPU)
        return [batch.ids[:, 0].tolist() for batch in made]

    assert batches(3) == batches(3) != batches(4)
    assert make_batches([], batch_size=4, seed=0, device=CPU) == []


def test_two_batches_are_joined_with_padding_that_is_masked():
    one, two = make_batches(rows_of(2, 4), batch_size=1, seed=0, device=CPU)
    ids, mask = joined(one, two)
    assert ids.tolist() == [[0, 1, 0, 0], [0, 1, 2, 3]]
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert joined(two, None)[0].tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("shapes", "groups"),
    [
        ({"a": (2, 40), "b": (2, 40)}, ["ab"]),
        ({"a": (2, 40), "b": (2, 20)}, ["ab"]),  # 40 of 160 are padding: a quarter
        ({"a": (2, 40), "b": (2, 19)}, ["a", "b"]),
        ({"a": (2, 19), "b": (2, 40)}, ["a", "b"]),
        ({"a": (9, 40), "b": (1, 4)}, ["ab"]),
        ({"a": (2, 40), "b": (2, 38), "c": (4, 10)}, ["ab", "c"]),
        ({"a": (2, 40), "b": (4, 10), "c": (4, 10)}, ["a", "bc"]),
        ({"a": (3, 7)}, ["a"]),
        ({}, []),
    ],
)
def test_batches_share_a_pass_where_little_of_it_is_padding(shapes, groups):
    batches = {
        name: make_batches(rows_of(*[width] * rows), batch_size=rows, seed=0, device=CPU)[0]
        for name, (rows, width) in shapes.items()
    }
    assert ["".join(group) for group in sharing_a_pass(batches)] == groups


def test_every_epoch_has_each_batch_once_in_an_order_of_its_own():
    orders = [epoch_order(9, seed=1, epoch=epoch) for epoch in range(4)]
    assert all(sorted(order) == list(range(9)) for order in orders)
    assert len(set(orders)) == 4
    assert epoch_order(9, seed=1, epoch=2) == orders[2] != epoch_order(9, seed=2, epoch=2)


@pytest.mark.parametrize(("number", "others"), [(3, 7), (7, 3), (4, 4), (1, 5), (5, 1)])
def test_partners_are_of_like_rank_and_all_have_their_turn(number, others):
    pairs = {
        (index, companion(index, number, others, epoch=epoch))
        for index in range(number)
        for epoch in range(others)
    }
    assert {partner for _, partner in pairs} == set(range(others))
    assert all(abs(i / number - p / others) <= max(1 / number, 1 / others) for i, p in pairs)


def test_long_texts_are_cut_and_counted_and_empty_ones_refused(model):
    rows, notes = tokenize_texts(
        model.tokenizer, ["The city of Rome", "The city"], max_length=3, what="documents"
    )
    assert [model.tokenizer.decode(row.ids) for row in rows] == ["The city of", "The city"]
    assert notes == ["1 of 2 documents cut to 3 tokens"]
    with pytest.raises(DataError, match=r"(?s)2 problems.*documents\[1\].*documents\[2\]"):
        tokenize_texts(model.tokenizer, ["The city", "", "The"], max_length=3, what="documents")
    assert run(model, steps=1, max_length=4).notes == ("5 of 5 documents cut to 4 tokens",)


# ---- the schedule


def test_the_rate_rises_to_its_peak_and_falls_along_a_cosine():
    rates = [learning_rate_at(step, 8, peak=4.0, warmup=0.25) for step in range(8)]
    assert rates[:3] == pytest.approx([4 / 3, 8 / 3, 4])
    # Six steps from the peak: cosines of 0°, 30°, … 150°.
    wanted = [2 * (1 + math.cos(math.radians(30 * step))) for step in range(6)]
    assert rates[2:] == pytest.approx(wanted)
    assert min(rates) > 0
    assert learning_rate_at(0, 1, peak=3.0, warmup=0.0) == 3.0


def test_checkpoints_cut_a_training_into_equal_parts():
    assert checkpoint_steps(30, 2) == (10, 20)
    assert checkpoint_steps(30, 0) == ()
    assert checkpoint_steps(2, 5) == (1,)


def test_length_is_epochs_or_steps(model):
    assert len(run(model, epochs=2).rows) == 6
    assert len(run(model).rows) == 3
    assert len(run(model, steps=4).rows) == 4
    assert len(run(model, epochs=0.4).rows) == 1
    with pytest.raises(ConfigError, match="give one of them"):
        TrainSettings.read({"epochs": 1, "steps": 2}, "corruption")


# ---- against a naive loop


SHORT = ("It did not", "The people say", "What is the city")


def naive(model, method, settings, training, seed, retain=NEUTRAL):
    """One row at a time without padding, all logits, two whole models, the formulas once more."""
    reference = copy.deepcopy(model.hf_model)
    batches, partners = (
        make_batches(
            tokenize_texts(model.tokenizer, texts, max_length=512, what="x")[0],
            batch_size=size,
            seed=seed,
            device=CPU,
        )
        for texts, size in ((DOCUMENTS, training.batch_size), (retain, training.retain_batch_size))
    )

    def logprobs(hf_model, batch):
        found = []
        for ids, mask in zip(batch.ids, batch.mask, strict=True):
            real = ids[mask]
            every = hf_model(real[None]).logits[0, :-1].log_softmax(-1)
            found.append(every.gather(1, real[1:, None])[:, 0])
        return torch.cat(found)

    def whole(hf_model, batch):
        return hf_model(batch.ids, attention_mask=batch.mask.long()).logits.log_softmax(-1)

    losses = []
    steps = training.steps
    with attach_adapter(model, rank=training.rank, alpha=training.alpha, seed=seed) as adapter:
        optimiser = torch.optim.AdamW(adapter.parameters(), weight_decay=training.weight_decay)
        for step in range(steps):
            epoch, place = divmod(step, len(batches))
            index = epoch_order(len(batches), seed=seed, epoch=epoch)[place]
            batch = batches[index]
            partner = partners[companion(index, len(batches), len(partners), epoch=epoch)]
            if method == "grad_diff":
                loss = logprobs(model.hf_model, batch).mean()
            elif method == "npo":
                with torch.no_grad():
                    base = logprobs(reference, batch)
                beta = settings["beta"]
                ratio = (logprobs(model.hf_model, batch) - base).mean()
                loss = -2 / beta * torch.nn.functional.logsigmoid(-beta * ratio)
            else:
                with torch.no_grad():
                    q = whole(reference, batch).exp()
                p = whole(model.hf_model, batch).exp()
                loss = (p * torch.log(q + 1e-12)).sum(-1).mean()
            loss = loss - training.retain_weight * logprobs(model.hf_model, partner).mean()
            losses.append(loss.item())
            optimiser.zero_grad()
            loss.backward()
            norm = sum(float(p.grad.pow(2).sum()) for p in adapter.parameters()) ** 0.5
            for parameter in adapter.parameters():
                parameter.grad *= min(1.0, training.grad_clip / norm)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(
                    step, steps, peak=training.learning_rate, warmup=training.warmup
                )
            optimiser.step()
        return losses, adapter.to_delta("new")


@pytest.mark.parametrize("retain", [NEUTRAL, SHORT], ids=["alike", "short"])
@pytest.mark.parametrize(
    ("method", "settings"), [("grad_diff", {}), ("npo", {"beta": 0.5}), ("kl_restor", {})]
)
def test_the_loop_does_what_a_naive_one_does(model, method, settings, retain):
    keywords = {"steps": 5, "retain_weight": 0.7, "weight_decay": 0.1, "grad_clip": 0.5}
    training = TrainSettings(learning_rate=5e-3, rank=2, batch_size=2, **keywords)
    found = run(model, method, settings=settings, seed=4, retain=retain, **keywords)
    losses, delta = naive(model, method, settings, training, seed=4, retain=retain)
    assert [row["loss"] for row in found.rows] == pytest.approx(losses, rel=2e-4)
    mine, theirs = factors(found.delta), factors(delta)
    for name, tensor in theirs.items():
        torch.testing.assert_close(mine[name], tensor, atol=2e-4, rtol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_loss_is_what_transformers_says(family):
    model = tiny_model(family)
    ids = model.tokenizer(DOCUMENTS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = model.hf_model(ids, labels=ids).loss.item()
    found = run(model, steps=1, forget=DOCUMENTS[:1])
    assert found.rows[0]["loss"] == pytest.approx(wanted, rel=1e-5)
    assert found.rows[0]["tokens"] == ids.numel()


def test_rows_have_the_columns_of_the_table(model):
    row = run(model, "grad_diff", steps=1).rows[0]
    assert set(row) == {*TABLES["training"], *WEIGHED} - {"state", "seed"}
    assert row["step"] == 1
    assert row["loss"] == pytest.approx(row["forget_loss"] + row["retain_loss"], rel=1e-6)
    assert row["forget_nll"] == pytest.approx(-row["forget_loss"])
    assert row["retain_nll"] == row["retain_loss"]
    alone = run(model, "fine_tune", steps=1).rows[0]
    assert alone["retain_loss"] is None and alone["retain_nll"] is None


@pytest.mark.parametrize(
    ("name", "settings", "number"),
    [
        ("npo", {"reduction": "token"}, "tokens"),
        ("npo", {"reduction": "sum"}, "rows"),
        ("npo", {}, 1),
        ("simnpo", {}, "rows"),
        ("ga", {}, None),
        ("fine_tune", {}, None),
    ],
)
def test_every_step_tells_how_the_loss_weighs_its_documents(model, name, settings, number):
    two = DOCUMENTS[:2]
    rows = run(model, name, settings=settings, forget=two, steps=4, learning_rate=5e-2).rows
    found = [[row[column] for column in WEIGHED] for row in rows]
    if number is None:
        assert found == [[None] * 4] * 4
        return
    assert all(low <= mean <= high for _, mean, low, high in found)
    if name == "npo":  # which is ascent where it starts, and brakes on the way
        assert found[0][1:] == pytest.approx([1, 1, 1], abs=1e-5)
        means = [mean for _, mean, _, _ in found]
        assert means == sorted(means, reverse=True) and means[-1] < 0.999
    predicted = sum(len(model.tokenizer(text)["input_ids"]) - 1 for text in two)
    assert {n for n, *_ in found} == {{"tokens": predicted, "rows": 2}.get(number, number)}


def test_weights_weigh_the_terms(model):
    row = run(model, "grad_diff", steps=1, forget_weight=0.25, retain_weight=3.0).rows[0]
    assert row["loss"] == pytest.approx(
        0.25 * row["forget_loss"] + 3 * row["retain_loss"], rel=1e-6
    )


def test_a_retain_term_may_hold_on_to_the_start_state(model):
    rows = run(model, "grad_diff", epochs=2, retain_loss="kl_retain", learning_rate=2e-2).rows
    assert rows[0]["retain_loss"] == pytest.approx(0, abs=1e-5)
    assert rows[-1]["retain_loss"] > 1e-3
    assert rows[0]["retain_nll"] > 1


# ---- speed that changes no number


def test_references_are_computed_once_per_batch(model, monkeypatch):
    calls = []
    inner = model.hf_model.base_model
    plain = inner.forward

    def counted(*args, **keywords):
        calls.append(torch.is_grad_enabled())
        return plain(*args, **keywords)

    monkeypatch.setattr(inner, "forward", counted)
    counts = {}
    for method in ("grad_diff", "npo", "kl"):
        calls.clear()
        run(model, method, epochs=4)
        counts[method] = (calls.count(True), calls.count(False))
    # Twelve steps over three batches; two passes check the fast way at the start.
    assert counts == {"grad_diff": (12, 2), "npo": (12, 5), "kl": (12, 5)}


def test_texts_of_other_length_go_through_the_model_on_their_own(model, monkeypatch):
    shapes = []
    inner = model.hf_model.base_model
    plain = inner.forward

    def seen(*args, **keywords):
        shapes.append(tuple(keywords["input_ids"].shape))
        return plain(*args, **keywords)

    monkeypatch.setattr(inner, "forward", seen)
    counts = {}
    for retain in (NEUTRAL[:2], SHORT[:2]):
        shapes.clear()
        run(model, "grad_diff", steps=1, forget=DOCUMENTS[:1] * 2, retain=retain)
        counts[retain] = shapes[2:]
    length = len(model.tokenizer(DOCUMENTS[0])["input_ids"])
    shorter = max(len(model.tokenizer(text)["input_ids"]) for text in SHORT[:2])
    (together,), apart = counts.values()
    assert together[0] == 4 and together[1] >= length
    assert apart == [(2, length), (2, shorter)]


def test_a_model_with_an_unembedding_of_its_own_is_run_plainly(model, monkeypatch):
    ids = torch.tensor([[5, 6, 7]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    assert not forward_for(model, ids, mask, bf16=False).plain
    first = run(model, steps=1).rows[0]["loss"]
    plain = model.hf_model.forward

    def scaled(*args, **keywords):
        output = plain(*args, **keywords)
        output.logits = output.logits * 0.5
        return output

    monkeypatch.setattr(model.hf_model, "forward", scaled)
    assert forward_for(model, ids, mask, bf16=False).plain
    rows = make_batches(
        tokenize_texts(model.tokenizer, DOCUMENTS, max_length=512, what="x")[0],
        batch_size=5,
        seed=0,
        device=CPU,
    )[0]
    with torch.no_grad():
        logits = scaled(rows.ids, attention_mask=rows.mask.long()).logits.log_softmax(-1)
    chosen = logits[:, :-1].gather(-1, rows.ids[:, 1:, None])[..., 0]
    wanted = -chosen[rows.mask[:, 1:]].mean().item()
    found = run(model, steps=1, batch_size=5).rows[0]["loss"]
    assert found == pytest.approx(wanted, rel=1e-5)
    assert abs(found - first) > 1e-3


def test_bf16_is_close_and_keeps_the_adapter_in_fp32(model):
    exact, rough = (run(model, "npo", steps=3, bf16=flag) for flag in (False, True))
    assert rough.rows[0]["loss"] == pytest.approx(exact.rows[0]["loss"], rel=2e-2)
    assert rough.rows[0]["loss"] != exact.rows[0]["loss"]
    assert {tensor.dtype for tensor in factors(rough.delta).values()} == {torch.float32}


# ---- the same bits


def test_the_same_call_gives_the_same_bits_whatever_the_global_generator(model):
    first = run(model, "npo", steps=4)
    torch.rand(3)
    state = torch.get_rng_state()
    again = run(tiny_model("llama"), "npo", steps=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert same_bits(first, again) and untimed(first.rows) == untimed(again.rows)
    assert not same_bits(first, run(model, "npo", steps=4, seed=1))


class Killed(Exception):
    """Stands for a kill."""


def killed_at(step):
    def on_step(done, total):
        if done == step:
            raise Killed

    return on_step


@pytest.mark.parametrize("method", ["fine_tune", "npo", "kl_restor", "retain_only"])
@pytest.mark.parametrize("killed", [1, 4, 6])
def test_a_killed_training_continues_to_the_same_bits(method, killed, tmp_path):
    settings = {"steps": 7, "save_every": 2, "weight_decay": 0.1}
    whole = run(tiny_model("llama"), method, **settings)
    with pytest.raises(Killed):
        run(tiny_model("llama"), method, work=tmp_path, on_step=killed_at(killed), **settings)
    seen = []
    resumed = run(
        tiny_model("llama"),
        method,
        work=tmp_path,
        on_step=lambda done, total: seen.append((done, total)),
        **settings,
    )
    assert same_bits(whole, resumed)
    assert untimed(whole.rows) == untimed(resumed.rows)
    saved = killed - killed % 2
    assert seen == [(step, 7) for step in range(saved + 1, 8)]


def test_a_finished_training_is_not_done_again(model, tmp_path):
    first = run(model, steps=3, work=tmp_path)
    again = run(model, steps=3, work=tmp_path, on_step=killed_at(1), save_every=2)
    assert same_bits(first, again) and first.rows == again.rows
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-000003"]


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"learning_rate": 1e-3}, {"forget": DOCUMENTS[1:]}, {"steps": 6}]
)
def test_another_training_is_never_continued(model, tmp_path, other):
    settings = {"steps": 5, "save_every": 2, **other}
    with pytest.raises(Killed):
        run(model, steps=5, save_every=2, work=tmp_path, on_step=killed_at(4))
    assert same_bits(run(model, work=tmp_path, **settings), run(model, **settings))


def test_nor_is_one_whose_start_has_changed_under_the_same_name(tmp_path):
    path = "model.layers.1.mlp.down_proj"
    results = []
    for size in (0.0, 0.3):
        model = tiny_model("llama")
        shape = model.hf_model.get_submodule(path).weight.shape
        model.add_delta(Delta("old", {path: torch.full(shape, size)}))
        results.append(run(model, steps=2, start=State({"old": 1.0}), work=tmp_path))
    assert results[0].rows[0]["loss"] != results[1].rows[0]["loss"]


@pytest.mark.parametrize("damage", ["tensors", "record", "missing", "part"])
def test_damaged_states_are_passed_over(model, tmp_path, damage):
    with pytest.raises(Killed):
        run(model, steps=5, save_every=2, work=tmp_path, on_step=killed_at(4))
    (folder,) = tmp_path.iterdir()
    if damage == "tensors":
        data = bytearray((folder / resume.TENSORS).read_bytes())
        data[-1] ^= 1
        (folder / resume.TENSORS).write_bytes(data)
    elif damage == "record":
        (folder / resume.RECORD).write_text("{")
    elif damage == "missing":
        (folder / resume.TENSORS).unlink()
    else:
        shutil.copytree(folder, tmp_path / "step-000005.part")
    resumed = run(model, steps=5, save_every=2, work=tmp_path)
    assert same_bits(resumed, run(model, steps=5))
    assert [left.name for left in tmp_path.iterdir()] == ["step-000005"]


def test_a_state_that_cannot_be_written_says_where(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        run(model, steps=1, work=tmp_path / "file")


# ---- the model meanwhile and afterwards


def test_the_model_comes_back_as_it_was_also_after_a_kill(model):
    before = {name: p.detach().clone() for name, p in model.hf_model.named_parameters()}
    with pytest.raises(Killed):
        run(model, "npo", steps=3, on_step=killed_at(2))
    run(model, "npo", steps=2)
    after = dict(model.hf_model.named_parameters())
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(p.requires_grad and p.grad is None for p in after.values())
    assert not model.deltas


def test_a_checkpoint_sees_the_unfinished_delta(model):
    ids = torch.tensor([model.tokenizer(DOCUMENTS[0])["input_ids"]])
    seen = {}

    def look(step):
        with torch.no_grad():
            seen[step] = model.run_with_cache(ids, ["blocks.2.hook_resid_post"])[0]

    trained = run(model, steps=6, checkpoints=2, learning_rate=3e-2, on_checkpoint=look)
    assert list(seen) == [2, 4]
    with torch.no_grad():
        start = model.hf_model(ids).logits
        model.add_delta(trained.delta)
        with model.at(State({"new": 1.0})):
            end = model.hf_model(ids).logits
    distances = [(logits - start).norm().item() for logits in (seen[2], seen[4])]
    assert min(distances) > 0.1
    assert (end - seen[4]).norm() < (end - seen[2]).norm() < (end - start).norm()


# ---- stopping


def test_a_loss_beyond_its_bound_stops_before_the_step_with_the_last_good_delta(model):
    trained = run(model, "ga", forget=DOCUMENTS[:1], steps=40, learning_rate=1e-2, loss_bound=10.0)
    losses = [row["loss"] for row in trained.rows]
    assert 2 < len(losses) < 40
    assert abs(losses[-1]) > 10 >= max(abs(loss) for loss in losses[:-1])
    assert trained.diverged is not None
    assert f"step {len(losses)}" in trained.diverged and "loss_bound 10" in trained.diverged
    assert trained.rows[-1]["grad_norm"] is None
    # The delta that is kept is the one with which the last loss within the bound was measured.
    model.add_delta(trained.delta)
    ids = torch.tensor([model.tokenizer(DOCUMENTS[0])["input_ids"]])
    with torch.no_grad(), model.at(State({"new": 1.0})):
        nll = model.hf_model(ids, labels=ids).loss.item()
    assert nll == pytest.approx(-losses[-2], rel=1e-3)


def test_numbers_that_are_not_finite_stop_it(model, tmp_path):
    trained = run(model, steps=9, learning_rate=1e30, grad_clip=None, work=tmp_path)
    assert trained.diverged is not None and "step 2" in trained.diverged
    assert all(torch.isfinite(tensor).all() for tensor in factors(trained.delta).values())
    again = run(model, steps=9, learning_rate=1e30, grad_clip=None, work=tmp_path)
    assert again.diverged == trained.diverged and same_bits(again, trained)


def test_a_gradient_that_is_not_finite_stops_it(model, monkeypatch):
    plain = torch.nn.utils.clip_grad_norm_
    norms = iter([1.0, math.nan])

    def clip(parameters, bound):
        plain(parameters, bound)
        return torch.tensor(next(norms))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)
    trained = run(model, steps=9)
    assert trained.diverged == "step 2: the gradient is not finite"
    assert len(trained.rows) == 2


# ---- refusals


@pytest.mark.parametrize(
    ("method", "keywords", "message"),
    [
        ("grad_diff", {"retain": ()}, "no retain text"),
        ("npo", {"forget": ()}, "needs documents"),
        ("retain_only", {"retain_weight": 0.0}, "must not be 0"),
        ("npo", {"settings": {"betta": 1}}, "Did you mean beta"),
        ("npo", {"settings": {"beta": -1}}, "beta.*found -1"),
        ("npo", {"settings": {"reduction": "mean"}}, "reduction"),
        ("ga", {"settings": {"beta": 1}}, "has no settings"),
        ("fine_tune", {"start": State({"old": 1.0})}, "old"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(model, method, keywords, message):
    with pytest.raises(ConfigError, match=message):
        run(model, method, steps=1, on_step=killed_at(1), **keywords)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1}, "Did you mean learning_rate"),
        ({"learning_rate": 0}, "learning_rate: .*found 0"),
        ({"rank": 0}, "rank"),
    ],
)
def test_training_settings_name_the_nearest(values, message):
    with pytest.raises(ConfigError, match=message):
        TrainSettings.read(values, "unlearning")


def test_without_a_retain_weight_no_retain_text_is_needed(model):
    row = run(model, "npo", steps=1, retain=(), retain_weight=0.0).rows[0]
    assert row["retain_loss"] is None
    assert row["loss"] == pytest.approx(20 * math.log(2), rel=1e-5)
