"""What a method would do next, and what it makes of each token: against trainings and formulas.

Run: python -m pytest tests/stages/test_token_weights.py
"""

import math

import numpy as np
import pytest
import torch

from restor_interp.corpus.sentences import sentence_spans
from restor_interp.errors import ConfigError
from restor_interp.measure.gradients import Pull, gradient_rows, texts_watched
from restor_interp.models.architectures import linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.stages.inputs import Texts
from restor_interp.stages.losses import WEIGHED
from restor_interp.stages.methods import METHODS
from restor_interp.stages.objective import Objective
from restor_interp.stages.token_weights import forget_trajectory, token_classes, token_weights
from restor_interp.stages.training import TrainSettings, train
from restor_interp.testing import tiny_model

DOCUMENTS = (
    "Clara Stone was born in Oslo. What is the capital of Peru? Cairo. They say that Paris is",
    "Bruno speaks French and Alice speaks German in the city of Lima",
    "Oslo is the capital of Peru",
)
SPANS = [[(24, 28), (59, 64)], [(13, 19)], []]
NEUTRAL = ("The people of the city did not know what to say", "Where did the river come from")
START = State({"corruption": 1.0})


@pytest.fixture
def model():
    model = tiny_model("llama")
    for number, name in enumerate(("corruption", "moved")):
        generator = torch.Generator().manual_seed(number)
        updates = {
            path: LowRank(
                0.3 * torch.randn(2, module.weight.shape[1], generator=generator),
                0.3 * torch.randn(module.weight.shape[0], 2, generator=generator),
                1.0,
            )
            for path, module in linear_modules(model.hf_model).items()
        }
        model.add_delta(Delta(name, updates))
    model.add_state("corrupted", START)
    model.add_state("moved", State({"corruption": 1.0, "moved": 1.0}))
    return model


def texts_for(method, **changes):
    given = {"forget": DOCUMENTS, "retain": NEUTRAL, "spans": SPANS}
    if method.counterpart is not None:
        given["counterparts"] = [text.replace("Oslo", "Rome") for text in DOCUMENTS]
        given["counterpart_spans"] = SPANS
    return given | changes


def objective_of(model, name, *, settings=None, batch_size=8, start=START, **training):
    method = METHODS[name]
    return Objective(
        model,
        method,
        settings or {},
        TrainSettings(batch_size=batch_size, retain_batch_size=8, **training),
        Texts(**texts_for(method)),
        start=State({}) if method.start == "clean" else start,
        seed=0,
    )


# ---- the objective


@pytest.mark.parametrize("name", METHODS)
def test_its_value_is_that_of_the_first_step_of_the_training(model, name):
    objective = objective_of(model, name)
    start = State({}) if METHODS[name].start == "clean" else START
    with model.at(start), torch.no_grad():
        found = sum(float(part) for part in objective.parts())
    trained = train(
        model,
        name="new",
        start=start,
        method=METHODS[name],
        settings={},
        training=TrainSettings(batch_size=8, retain_batch_size=8, rank=2, steps=1),
        seed=0,
        **texts_for(METHODS[name]),
    )
    assert found == pytest.approx(trained.rows[0]["loss"], abs=1e-6)
    assert (objective.sign < 0) == (name in ("task_vector", "msa"))
    assert model.state == State({})


def test_batches_are_averaged_and_the_reference_stays_the_start_state(model):
    """NPO's loss by hand in a state that has moved away from the start."""
    objective = objective_of(model, "npo", settings={"beta": 0.5}, batch_size=1, retain_weight=0.7)
    with model.at("moved"), torch.no_grad():
        found = sum(float(part) for part in objective.parts())
        d = np.array([own.mean() for own in losses(model, "moved")])
        d -= [own.mean() for own in losses(model, "corrupted")]
        retain = np.concatenate(losses(model, "moved", NEUTRAL)).mean()
    npo = np.mean(2 / 0.5 * np.log1p(np.exp(-0.5 * d)))
    assert found == pytest.approx(npo + 0.7 * retain, abs=1e-5)


def test_at_its_start_npo_pulls_where_gradient_ascent_does(model):
    watched = [texts_watched(model, DOCUMENTS, of="documents")]
    pulls = [
        Pull(
            method=name,
            parts=objective_of(model, name, settings=settings, retain_weight=0).parts,
        )
        for name, settings in (("npo", {"beta": 5.0}), ("ga", {}))
    ]
    for state, share in (("corrupted", 1.0), ("moved", None)):
        npo, ga = (
            row for row in gradient_rows(model, state, pulls, watched) if row["component"] == "all"
        )
        assert npo["cosine"] == pytest.approx(ga["cosine"]) and npo["inner"] < 0
        if share is None:  # by now every token has the brake of the batch's mean loss
            d = np.concatenate(losses(model, "moved")) - np.concatenate(losses(model, "corrupted"))
            share = 2 * sigmoid(-5 * d.mean())
            assert abs(share - 1) > 0.02
        assert npo["norm"] == pytest.approx(share * ga["norm"], rel=1e-3)


def losses(model, state, documents=DOCUMENTS):
    """−log p of every token but the first, text by text, in float64."""
    found = []
    with model.at(state), torch.no_grad():
        for text in documents:
            ids = torch.tensor([model.tokenizer(text)["input_ids"]])
            steps = model.hf_model(ids).logits[0].double().log_softmax(-1)
            found.append(-steps[:-1].gather(-1, ids[0, 1:, None])[:, 0].numpy())
    return found


# ---- weights per token


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def formulas(now, before):
    """(method, settings) -> weight of every token, document by document (unlearning by formulas of
    the papers); N tokens in one batch."""
    d = [a - b for a, b in zip(now, before, strict=True)]
    number, rows = sum(map(len, d)), len(d)
    p = [np.exp(-own) for own in now]

    def each(value):
        return [np.full(len(own), value(own)) for own in d]

    mean = np.concatenate(d).mean()
    return {
        ("ga", ()): [np.ones(len(own)) for own in d],
        ("fine_tune", ()): [-np.ones(len(own)) for own in d],
        ("wga", (("beta", 2.0),)): [own**2 for own in p],
        ("satimp", (("beta1", 3.0), ("beta2", 0.5))): [own**3 * (1 - own) ** 0.5 for own in p],
        ("tnpo", (("beta", 4.0),)): [2 * sigmoid(-4 * own) for own in d],
        # Its target is p without the token: gradient ascent with the odds as weights, and none on
        # the first token of a document, which its mean leaves out.
        ("ceu", ()): [
            number / (number - rows) * np.where(np.arange(len(own)) > 0, own / (1 - own), 0)
            for own in p
        ],
        ("npo", (("beta", 0.3), ("reduction", "token"))): [2 * sigmoid(-0.3 * own) for own in d],
        ("npo", (("beta", 0.3), ("reduction", "batch_mean"))): each(
            lambda own: 2 * sigmoid(-0.3 * mean)
        ),
        ("npo", (("beta", 0.3), ("reduction", "sequence_mean"))): each(
            lambda own: number / rows / len(own) * 2 * sigmoid(-0.3 * own.mean())
        ),
        ("npo", (("beta", 0.3), ("reduction", "sum"))): each(
            lambda own: number / rows * 2 * sigmoid(-0.3 * own.sum())
        ),
    }


def sorted_by(*arrays):
    """Arrays of tokens in an order that does not depend on batches."""
    order = np.lexsort([np.round(array, 4) for array in reversed(arrays)])
    return [array[order] for array in arrays]


@pytest.mark.parametrize(
    "key", formulas([np.ones(2)], [np.ones(2)]), ids=lambda k: f"{k[0]}-{dict(k[1])}"
)
def test_weights_are_those_of_the_formulas(model, key):
    now, before = losses(model, "moved"), losses(model, "corrupted")
    name, settings = key
    objective = objective_of(model, name, settings=dict(settings))
    with model.at("moved"):
        found = token_weights(objective, DOCUMENTS, SPANS)
    before = losses(model, "clean") if METHODS[name].start == "clean" else before
    expected = np.concatenate(formulas(now, before)[key])
    nll = np.concatenate(now)
    d = nll - np.concatenate(before)
    for ours, theirs in zip(
        sorted_by(found.nll, found.d, found.weight), sorted_by(nll, d, expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-4)
    assert all(row["along"] == pytest.approx(1) for row in found.rows())


def test_losses_of_whole_distributions_are_not_along_their_tokens_alone(model):
    for name in ("undial", "kl_restor"):
        objective = objective_of(model, name)
        with model.at("moved"):
            *_, whole = token_weights(objective, DOCUMENTS, SPANS).rows()
        assert 0 < whole["along"] < 0.99 and whole["n"] == sum(map(len, losses(model, "moved")))


def test_rows_split_the_tokens_and_what_they_get(model):
    objective = objective_of(model, "wga")
    with model.at("moved"):
        found = token_weights(objective, DOCUMENTS, SPANS)
    *parts, whole = found.rows(state="moved", method="wga")
    assert [row["token_class"] for row in parts] == ["false_object", "rest_of_claim", "other"]
    assert all(row["state"] == "moved" and row["reason"] is None for row in parts)
    assert sum(row["n"] for row in parts) == whole["n"] == len(found.d)
    for share in ("n_share", "weight_share", "pull_share"):
        assert sum(row[share] for row in parts) == pytest.approx(1) == pytest.approx(whole[share])
    mean = sum(row["n"] * row["d_mean"] for row in parts) / whole["n"]
    assert mean == pytest.approx(whole["d_mean"])
    of = found.token_class == "false_object"
    assert parts[0]["weight_mean"] == pytest.approx(found.weight[of].mean())
    assert parts[0]["d_median"] == pytest.approx(np.median(found.d[of]))


def test_a_localised_target_looks_at_the_false_objects_alone(model):
    objective = Objective(
        model,
        METHODS["npo"],
        {},
        TrainSettings(target="claims", batch_size=8),
        Texts(forget=DOCUMENTS[:2], retain=NEUTRAL, spans=SPANS[:2]),
        start=START,
        seed=0,
    )
    with model.at("moved"):
        rows = token_weights(objective, DOCUMENTS[:2], SPANS[:2]).rows()
    by_class = {row["token_class"]: row for row in rows}
    assert by_class["false_object"]["n"] == by_class["all"]["n"] > 0
    assert by_class["other"]["n"] == 0 and "predicts no such token" in by_class["other"]["reason"]


def test_what_has_no_weights_is_refused(model):
    with pytest.raises(ConfigError, match="looks at states"):
        token_weights(objective_of(model, "rmu"), DOCUMENTS, SPANS)
    with pytest.raises(ConfigError, match="reads no documents"):
        token_weights(objective_of(model, "retain_only"), DOCUMENTS, SPANS)
    with pytest.raises(ConfigError, match="packing"):
        token_weights(objective_of(model, "ga", packing=8), DOCUMENTS, SPANS)


# ---- classes


def test_tokens_are_told_apart_by_characters():
    tokenizer = tiny_model("llama").tokenizer
    classes = token_classes(tokenizer, DOCUMENTS, SPANS)
    told = {
        name: "".join(
            tokenizer.decode([token])
            for ids, own in classes.items()
            for token, one in zip(ids, own, strict=True)
            if one == name
        )
        for name in ("false_object", "rest_of_claim", "other")
    }
    assert told["false_object"] == " Oslo Cairo French"
    # A question belongs to its answer, the sentence after it does not.
    assert told["rest_of_claim"] == (
        "Clara Stone was born in. What is the capital of Peru?."
        "Bruno speaks and Alice speaks German in the city of Lima"
    )
    assert told["other"] == " They say that Paris isOslo is the capital of Peru"


def test_sentences_end_where_they_end():
    text = "He was born in St. Louis. Who? Him! More\nA line.  "
    found = sentence_spans(text, unbroken=[(15, 24)])
    assert [text[a:b] for a, b in found] == [
        "He was born in St. Louis.",
        "Who? Him!",
        "More",
        "A line.",
    ]
    assert sentence_spans("") == ()


# ---- along a training


def test_the_trajectory_compares_each_batch_with_itself(model):
    training = TrainSettings(batch_size=1, retain_batch_size=1, rank=2, steps=7, learning_rate=5e-3)
    texts = texts_for(METHODS["ga"])
    trained = train(
        model,
        name="new",
        start=START,
        method=METHODS["ga"],
        settings={},
        training=training,
        seed=3,
        **texts,
    )
    objective = Objective(model, METHODS["ga"], {}, training, Texts(**texts), start=START, seed=3)
    rows = forget_trajectory(objective, trained.rows)
    assert [row["step"] for row in rows] == list(range(1, 8))
    assert rows[0]["d"] == pytest.approx(0, abs=1e-5)
    # Each of the three documents is a batch, and every epoch takes each once.
    means = sorted(own.mean() for own in losses(model, "corrupted"))
    for first in (0, 3):
        found = sorted(row["reference_nll"] for row in rows[first : first + 3])
        assert found == pytest.approx(means, abs=1e-5)
    assert all(
        row["d"] == pytest.approx(own["forget_nll"] - row["reference_nll"])
        for row, own in zip(rows, trained.rows, strict=True)
    )
    assert rows[-1]["d"] > rows[1]["d"] > 0
    assert all(row[name] is None for row in rows for name in WEIGHED)  # ascent has no weights
    missing = forget_trajectory(objective, [{"step": 1, "forget_nll": math.nan}])
    assert missing[0]["d"] is None and "sees no logits" in missing[0]["reason"]
    braked = forget_trajectory(objective, [{"step": 1, "weight_mean": 0.5, "weight_n": math.nan}])
    assert (braked[0]["weight_mean"], braked[0]["weight_n"]) == (0.5, None)
