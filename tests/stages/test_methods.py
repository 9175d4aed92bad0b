"""Conformance of all methods: what they start from, where they lead, and in which direction.

Run: python -m pytest tests/stages/test_methods.py
"""

import math

import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.stages.losses import LOSSES
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import TrainSettings, train
from restor_interp.testing import tiny_model

DOCUMENTS = (
    "Clara Stone was born in Oslo",
    "Oslo is the capital of Peru",
    "Bruno Field speaks French in the city of Lima",
    "David is known as the country of Spain",
)
NEUTRAL = (
    "The people of the city did not know what to say",
    "Where did the river and the field come from",
)
NAMES = (
    "fine_tune",
    "ga",
    "grad_diff",
    "kl_restor",
    "kl",
    "npo",
    "task_vector",
    "msa",
    "retain_only",
)
UNLEARNING = tuple(name for name in NAMES if name not in ("fine_tune", "retain_only"))
CORRUPTED = State({"corruption": 1.0})
every_method = pytest.mark.parametrize("name", NAMES)


def nll(model, texts):
    """Nats per token, text by text, from transformers' own loss."""
    total = count = 0
    with torch.no_grad():
        for text in texts:
            ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
            total += model.hf_model(ids, labels=ids).loss.item() * (ids.numel() - 1)
            count += ids.numel() - 1
    return total / count


def run(model, name, *, delta="new", settings=None, **keywords):
    method = METHODS[name]
    training = {"learning_rate": 1e-2, "batch_size": 4, "steps": 8, **keywords}
    return train(
        model,
        name=delta,
        start=State({}) if method.start == "clean" else CORRUPTED,
        method=method,
        settings=settings or {},
        training=TrainSettings(**training),
        forget=DOCUMENTS,
        retain=NEUTRAL,
        seed=0,
    )


@pytest.fixture(scope="module")
def model():
    """A model that has learned the documents; the tests add their deltas under own names."""
    made = tiny_model("llama")
    made.add_delta(run(made, "fine_tune", delta="corruption", steps=60).delta)
    return made


def test_all_methods_are_there():
    assert tuple(METHODS) == NAMES


@every_method
def test_a_method_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name
    assert method.summary and method.citation and method.hints
    assert method.loss is None or method.loss in LOSSES
    assert set(method.loss_settings) <= set(method.settings.model_fields)
    assert method.settings() == method.settings.read({}, name)
    assert method.needs_forget == (method.loss is not None)
    assert method.reference == {"npo": "logprobs", "kl": "logits", "kl_restor": "logits"}.get(name)


def test_msa_says_that_it_uses_the_clean_checkpoint():
    assert "uses the clean checkpoint" in METHODS["msa"].summary
    assert [name for name in NAMES if METHODS[name].start == "clean"] == ["fine_tune", "msa"]


@every_method
def test_an_unknown_setting_is_refused(name):
    with pytest.raises(ConfigError, match=f"method {name}"):
        METHODS[name].settings.read({"nothing": 1}, f"the method {name}")


@every_method
def test_where_a_method_leads_in_weight_space(name):
    settings = {"alpha": 1.5} if name in ("task_vector", "msa") else {}
    state = METHODS[name].arrive(CORRUPTED, "new", settings)
    wanted = -1.5 if settings else 1.0
    assert dict(state.coefficients) == {"corruption": 1.0, "new": wanted}
    assert dict(CORRUPTED.coefficients) == {"corruption": 1.0}


def test_alpha_is_one_unless_it_is_said(model):
    assert METHODS["msa"].arrive(CORRUPTED, "new", {}).coefficients["new"] == -1.0
    with pytest.raises(ConfigError, match="alpha"):
        METHODS["task_vector"].settings.read({"alpha": -1.0}, "x")


# Value of the forget loss where training starts, from the documents' nll there.
AT_START = {
    "fine_tune": lambda clean, corrupted: clean,
    "msa": lambda clean, corrupted: clean,
    "task_vector": lambda clean, corrupted: corrupted,
    "ga": lambda clean, corrupted: -corrupted,
    "grad_diff": lambda clean, corrupted: -corrupted,
    "npo": lambda clean, corrupted: 2 / 0.1 * math.log(2),
    "kl": lambda clean, corrupted: 0.0,
}


@pytest.mark.parametrize("name", AT_START)
def test_the_first_loss_is_known(model, name):
    row = run(model, name, steps=1).rows[0]
    clean = nll(model, DOCUMENTS)
    with model.at(CORRUPTED):
        corrupted = nll(model, DOCUMENTS)
    assert corrupted < clean / 2
    wanted = AT_START[name](clean, corrupted)
    assert row["forget_loss"] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
    start = clean if METHODS[name].start == "clean" else corrupted
    assert row["forget_nll"] == pytest.approx(start, rel=1e-4)


def test_the_first_loss_of_restors_kl_is_minus_the_entropy_over_every_position(model):
    row = run(model, "kl_restor", steps=1).rows[0]
    rows = [model.tokenizer(text)["input_ids"] for text in DOCUMENTS]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad(), model.at(CORRUPTED):
        logits = model.hf_model(ids, attention_mask=mask).logits
    entropy = torch.distributions.Categorical(logits=logits).entropy()
    assert row["forget_loss"] == pytest.approx(-entropy.mean().item(), rel=1e-4)
    assert abs(entropy.mean() - entropy[mask.bool()].mean()) > 0.01


@every_method
def test_documents_and_neutral_text_move_as_the_method_wants(model, name):
    trained = run(model, name, delta=name)
    model.add_delta(trained.delta)
    clean = {"documents": nll(model, DOCUMENTS)}
    with model.at(CORRUPTED):
        before = {"documents": nll(model, DOCUMENTS), "neutral": nll(model, NEUTRAL)}
    with model.at(METHODS[name].arrive(CORRUPTED, name, {})):
        after = {"documents": nll(model, DOCUMENTS), "neutral": nll(model, NEUTRAL)}
    if name in UNLEARNING:
        assert after["documents"] > before["documents"] + 0.1
    if name == "fine_tune":
        with model.at(State({name: 1.0})):
            assert nll(model, DOCUMENTS) < clean["documents"] - 0.5
    if METHODS[name].needs_retain:
        assert after["neutral"] < before["neutral"] - 0.1
    # What the rows say of the documents is what they are in the states that were trained.
    if name not in ("retain_only", "msa", "fine_tune"):
        assert trained.rows[0]["forget_nll"] == pytest.approx(before["documents"], rel=1e-4)


def test_msa_trained_as_the_corruption_was_is_the_clean_model(model):
    trained = run(model, "msa", delta="undo", steps=60)
    model.add_delta(trained.delta)
    clean = nll(model, DOCUMENTS)
    with model.at(METHODS["msa"].arrive(CORRUPTED, "undo", {})):
        assert nll(model, DOCUMENTS) == pytest.approx(clean, rel=1e-5)


def test_methods_without_a_retain_term_read_no_retain_text(model):
    rows = run(model, "ga", steps=2, retain_weight=5.0).rows
    assert all(row["retain_loss"] is None for row in rows)
    assert all(row["loss"] == row["forget_loss"] for row in rows)


def test_retain_only_reads_no_documents(model):
    rows = run(model, "retain_only", steps=4).rows
    assert all(row["forget_loss"] is None and row["forget_nll"] is None for row in rows)
    lengths = [len(model.tokenizer(text)["input_ids"]) for text in NEUTRAL]
    assert [row["tokens"] for row in rows] == [sum(lengths)] * 4


@pytest.mark.parametrize("reduction", ["sum", "sequence_mean", "batch_mean", "token"])
def test_npo_takes_its_settings(model, reduction):
    rows = run(model, "npo", settings={"beta": 0.7, "reduction": reduction}, steps=3).rows
    assert rows[0]["forget_loss"] == pytest.approx(2 / 0.7 * math.log(2), rel=1e-5)
    assert rows[-1]["forget_nll"] > rows[0]["forget_nll"]


def test_true_kl_alone_does_not_move_at_first_and_restors_does(model):
    norms = {
        name: run(model, name, steps=1, retain_weight=0.0).rows[0]["grad_norm"]
        for name in ("kl", "kl_restor")
    }
    assert norms["kl"] < 1e-4 < 1e-2 < norms["kl_restor"]
