"""Probes of a user's own: scikit-learn estimators and torch modules keep splits and controls.

Run: python -m pytest tests/measure/test_probing_estimators.py
"""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

from restor_interp.errors import ConfigError, DataError
from restor_interp.measure.probing import Folds, TorchProbe, fit_probe
from restor_interp.measure.ridge import Spectrum

ROWS, WIDTH = 240, 12
ENTITIES = [f"entity {row // 4}" for row in range(ROWS)]


@pytest.fixture(scope="module")
def planted():
    """Three classes along three directions."""
    rng = np.random.default_rng(0)
    index = rng.integers(3, size=ROWS)
    x = 2.5 * rng.standard_normal((3, WIDTH))[index] / 2 + rng.standard_normal((ROWS, WIDTH))
    return x * rng.uniform(0.1, 20, WIDTH), [f"class {number}" for number in index]


@pytest.fixture(scope="module")
def split(planted):
    return Folds(planted[0], entities=ENTITIES)


def linear(width, labels):
    return nn.Linear(width, labels)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        GaussianNB(),
        LinearSVC(),
        Ridge(alpha=1.0),
        RandomForestClassifier(n_estimators=20, random_state=0),
        TorchProbe(linear, steps=40),
        nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 3)),
    ],
    ids=lambda one: getattr(one, "__name__", type(one).__name__),
)
def test_any_estimator_reads_what_is_planted_with_the_same_controls(planted, split, estimator):
    x, labels = planted
    lost = np.random.default_rng(1).standard_normal(x.shape)
    probe = fit_probe(
        split, labels, estimator=estimator, permutations=1, transfer={"same": x, "lost": lost}
    )
    assert probe.score.accuracy > 0.8
    np.testing.assert_array_equal(probe.transfer["same"].ranks, probe.score.ranks)
    three = 3 * np.sqrt(2 / 9 / ROWS)
    assert probe.transfer["lost"].accuracy < 1 / 3 + three
    assert abs(np.mean([one.accuracy for one in probe.shuffled]) - 1 / 3) < three
    assert np.mean(np.array(probe.predict(x)) == labels) > 0.85
    assert probe.labels == ("class 0", "class 1", "class 2")


def test_held_out_predictions_are_a_plain_loop_over_the_folds(planted, split):
    x, labels = planted
    probe = fit_probe(split, labels, estimator=LogisticRegression(C=0.1), permutations=0)
    right = np.empty(ROWS, dtype=bool)
    for fold in split:
        scaler = StandardScaler().fit(x[fold.train])
        own = LogisticRegression(C=0.1).fit(
            scaler.transform(x[fold.train]), np.array(labels)[fold.train]
        )
        right[fold.test] = (
            own.predict(scaler.transform(x[fold.test])) == np.array(labels)[fold.test]
        )
    np.testing.assert_array_equal(probe.score.ranks == 1, right)


def test_a_ridge_regressor_is_the_ridge_of_the_library(planted, split):
    """The same penalty in every fold, on one-hot targets and on vectors."""
    _, labels = planted
    rng = np.random.default_rng(2)
    vectors = {label: rng.standard_normal(5) for label in sorted(set(labels))}
    penalty = Spectrum.of(split.x).penalty(0.1)
    for targets in (None, vectors):
        ours = fit_probe(split, labels, vectors=targets, ridges=(0.1,), permutations=0)
        theirs = fit_probe(
            split, labels, vectors=targets, estimator=Ridge(alpha=penalty), permutations=0
        )
        np.testing.assert_array_equal(ours.score.ranks, theirs.score.ranks)


def test_settings_are_chosen_on_training_entities_left_out(planted, split):
    """Where only a strong penalty generalises, it is taken; where it is the only one, as well."""
    rng = np.random.default_rng(3)
    x = np.repeat(rng.standard_normal((60, 100)), 4, axis=0)  # an entity's rows are alike
    labels = np.repeat(rng.choice(["no", "yes"], 60), 4).tolist()
    grid = {"C": [1e-4, 1e4]}
    probe = fit_probe(
        x, labels, entities=ENTITIES, estimator=LogisticRegression(), settings=grid, permutations=0
    )
    chosen = probe.whole.reader.estimator.C
    assert chosen in grid["C"]
    same = fit_probe(
        x, labels, entities=ENTITIES, estimator=LogisticRegression(C=chosen), permutations=0
    )
    assert np.isfinite(same.score.ranks).all()
    with pytest.raises(ConfigError, match="settings of LogisticRegression cannot be chosen"):
        fit_probe(split, planted[1], estimator=LogisticRegression(), settings={"D": [1]})


def test_a_torch_probe_is_the_same_every_time_and_leaves_the_generator_alone(planted, split):
    _, labels = planted

    def mlp(width, count):
        return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, count))

    before = torch.get_rng_state()

    def fit(seed):
        return fit_probe(
            split, labels, estimator=TorchProbe(mlp, steps=15, seed=seed), permutations=0
        )

    first, second = fit(0), fit(0)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(first.score.ranks, second.score.ranks)
    assert not np.array_equal(first.score.ranks, fit(9).score.ranks)


def test_a_linear_torch_probe_reaches_the_best_linear_classifier(planted, split):
    _, labels = planted
    best = fit_probe(split, labels, estimator=LogisticRegression(max_iter=1000), permutations=0)
    ours = fit_probe(split, labels, estimator=linear, permutations=0)
    assert ours.score.accuracy > best.score.accuracy - 0.02


def test_a_label_without_training_rows_comes_last():
    rng = np.random.default_rng(4)
    x = rng.standard_normal((40, 5))
    labels = ["rare"] * 2 + ["no", "yes"] * 19
    entities = [f"entity {row // 2}" for row in range(40)]
    probe = fit_probe(x, labels, entities=entities, estimator=GaussianNB(), permutations=0)
    np.testing.assert_array_equal(probe.score.ranks[:2], [3, 3])


class OnlyFits:
    def fit(self, x, y):
        return self


class Constant:
    """No estimator of scikit-learn's, but it fits and predicts."""

    def fit(self, x, y):
        self.said = y[0]
        return self

    def predict(self, x):
        return np.array([self.said] * len(x))


def test_what_has_fit_and_predict_is_an_estimator(planted, split):
    probe = fit_probe(split, planted[1], estimator=Constant(), permutations=0)
    assert abs(probe.score.accuracy - 1 / 3) < 0.1


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"estimator": OnlyFits()}, ConfigError, "OnlyFits has no `predict`"),
        ({"estimator": PCA()}, ConfigError, "PCA has no `predict`"),
        ({"estimator": LogisticRegression}, ConfigError, "is no estimator: give an instance"),
        ({"estimator": "svm"}, ConfigError, "'svm' is no estimator"),
        ({"settings": {"C": [1]}}, ConfigError, "`settings` are those of an `estimator`"),
        ({"estimator": nn.Linear(WIDTH, 2)}, DataError, r"\[\d+, 2\], and should give \[\d+, 3\]"),
        (
            {"estimator": GaussianNB(), "vectors": {f"class {n}": np.eye(3)[n] for n in range(3)}},
            ConfigError,
            "no use for `vectors`",
        ),
        (
            {"estimator": TorchProbe(linear, learning_rate=1e20)},
            DataError,
            "loss is not finite; lower its learning rate",
        ),
    ],
)
def test_bad_estimators_are_refused(planted, split, keywords, error, message):
    with pytest.raises(error, match=message):
        fit_probe(split, planted[1], permutations=0, **keywords)


def test_an_estimators_probe_has_no_weights(planted, split):
    probe = fit_probe(split, planted[1], estimator=GaussianNB(), permutations=0)
    with pytest.raises(ConfigError, match="only a linear probe has weights"):
        _ = probe.weights
    with pytest.raises(ConfigError, match="3 labels has no one direction"):
        _ = fit_probe(split, planted[1], permutations=0).direction
