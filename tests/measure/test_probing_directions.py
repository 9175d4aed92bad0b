"""Directions: against scikit-learn, and against the best classifier of Gaussian classes.

Run: python -m pytest tests/measure/test_probing_directions.py
"""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from restor_interp.errors import ConfigError, DataError
from restor_interp.measure.probing import Folds, fit_direction, fit_probe
from restor_interp.measure.ridge import Spectrum

WIDTH, ROWS = 30, 2400
KINDS = ("mean_difference", "lda", "logistic")


def people(rows, per_entity=4):
    return [f"entity {row // per_entity}" for row in range(rows)]


class Gaussian:
    """Two classes with means ±m and one covariance: the best rule and any other in closed form."""

    def __init__(self, *, correlated):
        rng = np.random.default_rng(0)
        self.mean = 0.4 * rng.standard_normal(WIDTH) / np.sqrt(WIDTH)
        spread = np.diag(rng.uniform(0.1, 3.0, WIDTH))
        if correlated:
            mix = rng.standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH)
            spread = spread @ mix
        self.covariance = spread @ spread.T + 0.01 * np.eye(WIDTH)
        # One feature hundreds of times larger than the rest, as in a residual stream.
        rogue = np.ones(WIDTH)
        rogue[3] = 300.0
        self.covariance = rogue[:, None] * self.covariance * rogue
        self.mean = self.mean * rogue
        length = np.sqrt(self.mean @ np.linalg.solve(self.covariance, self.mean))
        self.mean *= 1.2 / length
        self.optimum = norm.cdf(1.2)

    def draw(self, rng, rows):
        signs = rng.choice([-1, 1], size=rows)
        noise = rng.multivariate_normal(np.zeros(WIDTH), self.covariance, size=rows)
        return signs[:, None] * self.mean + noise, np.where(signs > 0, "true", "false").tolist()

    def accuracy(self, direction, intercept):
        """Of the rule "true where x · direction + intercept > 0"."""
        deviation = np.sqrt(direction @ self.covariance @ direction)
        apart = direction @ self.mean
        sides = [norm.cdf((apart + sign * intercept) / deviation) for sign in (1, -1)]
        return np.mean(sides)


def accuracy_of(world, probe):
    intercept = probe.intercept[1] - probe.intercept[0]
    return world.accuracy(probe.direction, intercept)


@pytest.mark.parametrize(
    ("kind", "correlated"),
    [("mean_difference", False), ("lda", True), ("logistic", True), ("ridge", True)],
)
def test_a_planted_direction_is_found_within_two_percent_of_the_optimum(kind, correlated):
    world = Gaussian(correlated=correlated)
    x, labels = world.draw(np.random.default_rng(1), ROWS)
    if kind == "ridge":
        probe = fit_probe(x, labels, entities=people(ROWS), permutations=3)
    else:
        probe = fit_direction(x, labels, kind=kind, entities=people(ROWS), permutations=3)
    assert world.optimum - 0.02 < accuracy_of(world, probe) <= world.optimum
    # On held-out rows, with three standard deviations of 2400 of them.
    spread = np.sqrt(world.optimum * (1 - world.optimum) / ROWS)
    assert probe.score.accuracy == pytest.approx(world.optimum, abs=0.02 + 3 * spread)
    assert probe.p_value == 1 / 4


def test_the_difference_of_means_falls_short_where_features_are_correlated():
    """The measure above can fail: only a kind that knows the covariance reaches the optimum."""
    world = Gaussian(correlated=True)
    x, labels = world.draw(np.random.default_rng(1), ROWS)
    split = Folds(x, entities=people(ROWS))
    found = {
        kind: accuracy_of(world, fit_direction(split, labels, kind=kind, permutations=0))
        for kind in ("mean_difference", "lda")
    }
    assert found["mean_difference"] < world.optimum - 0.05 < found["lda"]


@pytest.mark.parametrize("kind", KINDS)
def test_on_a_planted_null_a_probe_and_its_controls_are_at_chance(kind):
    """Three standard deviations of the binomial; twenty shuffles are nearly independent."""
    rng = np.random.default_rng(3)
    rows = 600
    x = rng.standard_normal((rows, 20))
    labels = rng.choice(["true", "false"], rows).tolist()
    transfer = {"other": rng.standard_normal((rows, 20))}
    probe = fit_direction(
        x, labels, kind=kind, entities=people(rows), permutations=20, transfer=transfer
    )
    three = 3 * np.sqrt(0.25 / rows)
    assert abs(probe.score.accuracy - 0.5) < three
    assert abs(probe.transfer["other"].accuracy - 0.5) < three
    assert abs(probe.prior.accuracy - 0.5) < three + 0.05
    for scores in (probe.shuffled, probe.transfer_shuffled["other"]):
        assert len(scores) == 20
        assert abs(np.mean([one.accuracy for one in scores]) - 0.5) < three / 2
    assert probe.p_value > 0.05


class Regularised:
    """A covariance to which a multiple of the identity is added, for scikit-learn."""

    def __init__(self, added):
        self.added = added

    def fit(self, x):
        self.covariance_ = np.cov(x.T, bias=True) + self.added * np.eye(x.shape[1])
        return self


@pytest.mark.parametrize("shape", [(60, 100), (200, 12)], ids=["wide", "tall"])
def test_lda_is_that_of_scikit_learn_with_the_same_covariance(shape):
    rng = np.random.default_rng(4)
    x = rng.standard_normal(shape) * rng.uniform(0.1, 9, shape[1]) + 2
    signs = rng.random(shape[0]) < 0.3  # the prior matters
    x[signs] += 0.5
    labels = np.where(signs, "true", "false")
    probe = fit_direction(
        x, labels.tolist(), kind="lda", entities=people(shape[0]), permutations=0, ridges=(0.1,)
    )
    scaler = StandardScaler().fit(x)
    penalty = Spectrum.of(x).penalty(0.1)
    witness = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=Regularised(penalty / shape[0])
    ).fit(scaler.transform(x), labels)
    new = rng.standard_normal((50, shape[1])) * 5
    ours = new @ probe.direction + probe.intercept[1] - probe.intercept[0]
    theirs = witness.decision_function(scaler.transform(new))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_logistic_regression_is_that_of_scikit_learn_on_all_features():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 150)) * rng.uniform(0.1, 9, 150)
    labels = np.where(x[:, 0] + x[:, 1] > 0, "true", "false")
    probe = fit_direction(
        x, labels.tolist(), kind="logistic", entities=people(60), permutations=0, ridges=(0.1,)
    )
    scaler = StandardScaler().fit(x)
    witness = LogisticRegression(C=1 / Spectrum.of(x).penalty(0.1), tol=1e-6, max_iter=9999)
    witness.fit(scaler.transform(x), labels)
    cosine = probe.direction * scaler.scale_ @ witness.coef_[0]
    cosine /= np.linalg.norm(probe.direction * scaler.scale_) * np.linalg.norm(witness.coef_[0])
    assert cosine > 0.9999


def test_the_difference_of_means_is_the_nearer_class_mean_of_training_rows():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((80, 10)) * rng.uniform(0.1, 30, 10)
    labels = np.where(x[:, 0] > 0, "true", "false")
    split = Folds(x, entities=people(80), folds=4, seed=2)
    probe = fit_direction(split, labels.tolist(), kind="mean_difference", permutations=0)
    right = np.empty(80, dtype=bool)
    for fold in split:
        z = (x - x[fold.train].mean(axis=0)) / x[fold.train].std(axis=0)
        means = [
            z[fold.train][labels[fold.train] == side].mean(axis=0) for side in ("false", "true")
        ]
        far = [np.linalg.norm(z[fold.test] - mean, axis=1) for mean in means]
        right[fold.test] = (far[1] < far[0]) == (labels[fold.test] == "true")
    np.testing.assert_array_equal(probe.score.ranks == 1, right)


def test_probes_on_the_same_folds_share_their_decompositions(monkeypatch):
    rng = np.random.default_rng(7)
    made = []
    of = Spectrum.of
    monkeypatch.setattr(Spectrum, "of", lambda x: made.append(1) or of(x))
    split = Folds(rng.standard_normal((80, 20)), entities=people(80), folds=4)
    labels = rng.choice(["true", "false"], 80).tolist()
    for kind in ("mean_difference", "lda"):
        fit_direction(split, labels, kind=kind)
    fit_probe(split, labels, transfer={"same": split.x})
    probe = fit_probe(split, [f"label {number % 5}" for number in range(80)])
    assert len(made) == 4
    assert probe.weights.shape == (20, 5)
    assert len(made) == 4 + 1


def test_split_by_template_the_shuffled_labels_are_a_control_task():
    """A random label per entity: memorised across templates, unreadable across entities."""
    rng = np.random.default_rng(8)
    entities, templates = np.repeat(np.arange(40), 4), np.tile(np.arange(4), 40)
    x = rng.standard_normal((40, 60))[entities] + 0.1 * rng.standard_normal((160, 60))
    x[:, :6] += 3 * (entities % 2)[:, None]
    labels = np.where(entities % 2, "true", "false").tolist()
    names = [f"entity {number}" for number in entities]

    def control(**how):
        probe = fit_direction(x, labels, entities=names, units=names, folds=4, **how)
        return probe.score.accuracy, np.mean([one.accuracy for one in probe.shuffled])

    real, task = control(split_by=[f"template {number}" for number in templates])
    assert real > 0.95
    assert task > 0.9  # nothing is selective here: the entities are remembered
    real, vacuous = control()
    assert real > 0.7
    assert abs(vacuous - 0.5) < 3 * np.sqrt(0.25 / 40) / 2


def test_the_commonest_label_of_the_stratum_in_training_rows():
    rng = np.random.default_rng(9)
    strata = np.repeat(["P1", "P2"], 60)
    labels = np.where(rng.random(120) < 0.8, strata, "other")
    split = Folds(rng.standard_normal((120, 5)), entities=people(120))
    probe = fit_probe(split, labels.tolist(), strata=strata.tolist(), permutations=0)
    right = np.empty(120, dtype=bool)
    for fold in split:
        for row in fold.test:
            own = [label for place, label in enumerate(labels) if place in fold.train]
            own = [
                x for x, s in zip(own, strata[np.sort(fold.train)], strict=True) if s == strata[row]
            ]
            right[row] = max(set(own), key=own.count) == labels[row]
    np.testing.assert_array_equal(probe.prior.ranks == 1, right)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": ["yes", "no", "perhaps"] * 4}, DataError, "two labels, found 3: no, perhaps"),
        ({"labels": ["yes"] * 12}, DataError, "every row has the label 'yes'"),
        ({"kind": "median"}, ConfigError, "no kind of direction 'median'"),
        ({"entities": ["a", "b"] * 6}, DataError, "2 entities cannot be split into 5 folds"),
        ({"entities": None}, ConfigError, "say whom each row is about"),
        ({"labels": ["no"] * 10 + ["yes"] * 2}, DataError, r"\(10, about 5 entities\).* one label"),
        ({"split_by": ["t"] * 12}, DataError, "1 values of split_by cannot be split into 5"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    arguments = {
        "labels": ["no", "yes"] * 6,
        "entities": people(12, per_entity=2),
        "kind": "mean_difference",
    } | change
    if "one label" in message:
        arguments["folds"] = 6
    x = np.random.default_rng(13).standard_normal((12, 3))
    with pytest.raises(error, match=message):
        fit_direction(x, arguments.pop("labels"), **arguments)


def test_folds_are_split_once_and_fit_the_labels():
    split = Folds(np.ones((12, 3)), entities=people(12, 2))
    with pytest.raises(ConfigError, match="split already"):
        fit_direction(split, ["no", "yes"] * 6, entities=people(12, 2))
    with pytest.raises(DataError, match="4 labels for 12 rows"):
        fit_direction(split, ["no", "yes"] * 2)
