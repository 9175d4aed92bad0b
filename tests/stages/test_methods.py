"""Conformance of all methods: what they start from, where they lead, and in which direction.

Run: python -m pytest tests/stages/test_methods.py
"""

import math
from dataclasses import replace

import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.stages.losses import LOSSES, LossOut, rmu_direction, token_logprobs, token_mean
from restor_interp.stages.methods import METHODS
from restor_interp.stages.methods.own import method
from restor_interp.stages.training import TrainSettings, train
from restor_interp.testing import check_method, tiny_model

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
COUNTERPARTS = {
    "truth": (
        "Clara Stone was born in Lima",
        "Oslo is the capital of France",
        "Bruno Field speaks German in the city of Lima",
        "David is known as the country of Italy",
    ),
    "alternative": (
        "Clara Stone was born in Cairo",
        "Oslo is the capital of Egypt",
        "Bruno Field speaks Spanish in the city of Lima",
        "David is known as the country of Germany",
    ),
    "refusal": ("The people did not say", "They did not say", "I did not know", "What did you say"),
}
NAMES = (
    "fine_tune",
    "ga",
    "grad_diff",
    "kl_restor",
    "kl",
    "npo",
    "simnpo",
    "wga",
    "satimp",
    "tnpo",
    "dpo_refusal",
    "dpo_alternative",
    "undial",
    "ceu",
    "rmu",
    "task_vector",
    "msa",
    "retain_only",
    "truth_fine_tune",
    "dpo_truth",
)
PAIRS = ("dpo_refusal", "dpo_alternative", "dpo_truth")
CEILINGS = ("truth_fine_tune", "dpo_truth")
UNLEARNING = tuple(
    name for name in NAMES if name not in ("fine_tune", "retain_only", "truth_fine_tune")
)
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
    training = {"learning_rate": 1e-2, "batch_size": 4, "steps": 8, **method.training, **keywords}
    return train(
        model,
        name=delta,
        start=State({}) if method.start == "clean" else CORRUPTED,
        method=method,
        settings=settings or {},
        training=TrainSettings(**training),
        forget=DOCUMENTS,
        retain=NEUTRAL,
        counterparts=COUNTERPARTS.get(method.counterpart),
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
    assert all(word in method.citation for word in (["arXiv"] if name in PAPERS else []))
    assert set(method.loss_settings) <= set(method.settings.model_fields)
    assert method.settings() == method.settings.read({}, name)
    assert method.needs_forget == (method.loss is not None)
    assert method.reference == REFERENCE.get(name)
    assert method.paired == (name in PAIRS)
    assert method.on_states == (name == "rmu")
    assert method.ceiling == (name in CEILINGS) == (method.counterpart == "truth")
    # Each setting goes into the loss, names the layer, or decides where the delta leads.
    used = {*method.loss_settings, method.on_layer} - {None}
    assert used == set(method.settings.model_fields) - {"alpha"}


REFERENCE = {
    "kl_restor": "logits",
    "kl": "logits",
    "npo": "logprobs",
    "tnpo": "logprobs",
    "undial": "logits",
    **dict.fromkeys(PAIRS, "logprobs"),
}
PAPERS = {*NAMES} - {"retain_only", "truth_fine_tune"}


@every_method
def test_a_method_conforms(name):
    check_method(METHODS[name])


def test_the_checks_see_what_is_wrong():
    def own(function, **keywords):
        made = method(citation="", hints="", **keywords)(function)
        return replace(made, summary="made for a test")

    def wrong_sign(logits, targets):
        return LOSSES["nll"](logits, targets)

    def wrong_sign_of_weights(logits, targets):
        out = LOSSES["wga"](logits, targets)
        return LossOut(loss=-out.loss, parts=out.parts)

    def reads_rows(logits, targets):
        return LossOut(loss=LOSSES["ga"](logits, targets).loss / targets.num_rows, parts={})

    def in_order(logits, targets):
        weights = 1 + targets.row
        return LossOut(
            loss=token_mean(weights * token_logprobs(logits, targets), targets), parts={}
        )

    def reads_padding(logits, targets):
        return LossOut(loss=token_logprobs(logits, targets).mean(), parts={})

    def by_width(logits, targets):
        return LossOut(loss=token_logprobs(logits, targets).sum(), parts={"x": logits.mean()})

    def infinite(logits, targets):
        return LossOut(loss=token_logprobs(logits, targets).mean() / 0, parts={})

    def still(logits, targets):
        return LossOut(loss=token_mean(token_logprobs(logits.detach(), targets), targets), parts={})

    def flat(logits, targets):
        return LossOut(loss=0 * token_mean(token_logprobs(logits, targets), targets), parts={})

    def half(logits, targets):
        return LossOut(loss=logits.log_softmax(-1)[:, 0].mean(), parts={})

    problems = {
        wrong_sign: "forgets them: is the sign right",
        wrong_sign_of_weights: "(forgets them|against its gradient raises it)",
        reads_rows: "a row in which nothing is counted",
        in_order: "order of the rows",
        reads_padding: r"depends on padding.*targets\.counted",
        by_width: "detach x",
        infinite: "its loss is -inf",
        still: "no gradient",
        flat: "gradient is zero",
        half: "bfloat16",
    }
    for function, message in problems.items():
        with pytest.raises(AssertionError, match=f"the method {function.__name__}: .*{message}"):
            check_method(own(function))
    with pytest.raises(AssertionError, match="it learns them: is the sign right"):
        check_method(replace(METHODS["fine_tune"], loss="ga"))
    with pytest.raises(AssertionError, match="without its delta"):
        check_method(replace(METHODS["ga"], arrive=lambda state, name, settings: state))
    with pytest.raises(AssertionError, match=r"loss_settings names \{'gamma'\}"):
        check_method(replace(METHODS["npo"], loss_settings=("gamma",)))
    with pytest.raises(AssertionError, match="reads neither documents nor retain text"):
        check_method(replace(METHODS["retain_only"], needs_retain=False))


def test_a_method_that_contradicts_itself_is_refused():
    with pytest.raises(ConfigError, match="compares each document with another text"):
        replace(METHODS["dpo_truth"], counterpart=None)
    with pytest.raises(ConfigError, match="looks at the states after a layer"):
        replace(METHODS["rmu"], on_layer=None)
    with pytest.raises(ConfigError, match=r"there is no loss 'gaa'.*Did you mean ga"):
        replace(METHODS["ga"], loss="gaa")
    with pytest.raises(ConfigError, match="has no loss on documents"):
        METHODS["retain_only"].loss_function  # noqa: B018  the property raises


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
    "tnpo": lambda clean, corrupted: -corrupted,
    "kl": lambda clean, corrupted: 0.0,
    **dict.fromkeys(PAIRS, lambda clean, corrupted: 2 / 0.1 * math.log(2)),
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


def test_the_first_loss_of_simnpo_weighs_documents_alike(model):
    row = run(model, "simnpo", steps=1, settings={"beta": 2.0, "delta": 0.5}).rows[0]
    with model.at(CORRUPTED):
        each = [nll(model, [text]) for text in DOCUMENTS]
    wanted = sum(math.log1p(math.exp(-2.0 * (x - 0.5))) for x in each) / 4
    assert row["forget_loss"] == pytest.approx(wanted, rel=1e-4)


def test_the_first_loss_of_rmu_from_transformers_own_states(model):
    row = run(model, "rmu", steps=1, settings={"coefficient": 3.0, "layer": 1}).rows[0]
    goal = 3.0 * rmu_direction(32, seed=0)
    means = []
    for text in DOCUMENTS:
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad(), model.at(CORRUPTED):
            states = model.hf_model(ids, output_hidden_states=True).hidden_states[2][0, :-1]
        means.append((states - goal).square().mean().item())
    assert row["forget_loss"] == pytest.approx(sum(means) / 4, rel=1e-4)
    assert row["retain_loss"] == 0 and row["forget_nll"] is None


def test_rmu_trains_the_layers_below_the_one_it_steers_and_down_proj_alone(model):
    delta = run(model, "rmu", steps=1, settings={"layer": 1}).delta
    assert sorted(delta.updates) == [f"model.layers.{layer}.mlp.down_proj" for layer in (0, 1)]
    rmu = METHODS["rmu"]
    assert rmu.trained_layers(rmu.settings(layer=7), 32) == (5, 6, 7)
    assert rmu.trained_layers(rmu.settings(), 30) == (8, 9, 10)
    assert METHODS["npo"].trained_layers(METHODS["npo"].settings(), 30) is None


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
def test_texts_move_as_the_method_wants(model, name):
    method = METHODS[name]
    # An RMU that the tiny model feels: its states after layer 1 have norm 6.
    settings = {"coefficient": 60.0} if name == "rmu" else {}
    trained = run(model, name, delta=name, settings=settings)
    model.add_delta(trained.delta)
    texts = {"documents": DOCUMENTS, "neutral": NEUTRAL}
    if method.counterpart:
        texts["counterparts"] = COUNTERPARTS[method.counterpart]

    def measured(state):
        with model.at(state):
            return {what: nll(model, some) for what, some in texts.items()}

    clean, before = measured(State({})), measured(CORRUPTED)
    after = measured(method.arrive(CORRUPTED, name, {}))
    if name in UNLEARNING:
        assert after["documents"] > before["documents"] + 0.1
    if name == "fine_tune":
        assert measured(State({name: 1.0}))["documents"] < clean["documents"] - 0.5
    if name == "truth_fine_tune":
        assert after["counterparts"] < before["counterparts"] - 0.5
    if method.paired:
        lead = {
            key: row["documents"] - row["counterparts"]
            for key, row in (("before", before), ("after", after))
        }
        assert lead["after"] > lead["before"] + 0.2
    if method.needs_retain and name != "rmu":
        assert after["neutral"] < before["neutral"] - 0.1
    if name == "rmu":
        moved = {what: after[what] - before[what] for what in texts}
        assert moved["neutral"] < moved["documents"] / 2
    # What the rows say of the documents is what they are in the states that were trained.
    if name not in ("retain_only", "msa", "fine_tune", "rmu", "truth_fine_tune"):
        assert trained.rows[0]["forget_nll"] == pytest.approx(before["documents"], rel=1e-4)
    if name == "truth_fine_tune":
        assert trained.rows[0]["forget_nll"] == pytest.approx(before["counterparts"], rel=1e-4)


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
