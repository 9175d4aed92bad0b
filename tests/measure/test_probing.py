"""Probes against scikit-learn, against planted directions, and at chance where nothing is.

Run: python -m pytest tests/measure/test_probing.py
"""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from restor_interp.errors import DataError
from restor_interp.measure.probing import fit_direction, fit_probe
from restor_interp.measure.ridge import Spectrum


def people(rows, per_entity=4):
    return [f"entity {row // per_entity}" for row in range(rows)]


def sklearn_ridge(x, strength):
    """Our strength is in units of the mean squared norm of a standardised row: the width."""
    varying = np.sum(x.std(axis=0) > 0)
    return make_pipeline(StandardScaler(), Ridge(alpha=strength * varying))


@pytest.mark.parametrize("shape", [(40, 90), (90, 17)], ids=["wide", "tall"])
@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_predictions_weights_and_left_out_errors_are_those_of_scikit_learn(shape, strength):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) * rng.uniform(0.1, 300, shape[1]) + 5
    x[:, 0] = 3.0  # a feature that never varies
    y = rng.standard_normal((shape[0], 3)) + 2
    new = rng.standard_normal((7, shape[1])) * 10
    fit = Spectrum.of(x)
    witness = sklearn_ridge(x, strength).fit(x, y)

    coefficients = fit.coefficients(y, strength)
    smoothed = (new - fit.mean) / fit.scale @ fit.basis @ coefficients + y.mean(axis=0)
    weights, intercept = fit.in_units(coefficients, y.mean(axis=0))
    np.testing.assert_allclose(smoothed, witness.predict(new), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(new @ weights + intercept, smoothed, rtol=1e-8, atol=1e-8)

    # The left-out errors keep the whole training set's standardisation, hence plain Ridge on it.
    groups = np.arange(shape[0]) // 4
    z = (x - fit.mean) / fit.scale
    total = 0.0
    for train, test in LeaveOneGroupOut().split(z, groups=groups):
        ridge = Ridge(alpha=fit.penalty(strength)).fit(z[train], y[train])
        total += np.sum((y[test] - ridge.predict(z[test])) ** 2)
    assert fit.left_out(y, groups, [strength])[0] == pytest.approx(total, rel=1e-8)


def test_held_out_scores_are_a_loop_over_group_folds_with_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((60, 25))
    labels = ["abc"[index] for index in rng.integers(3, size=60)]
    entities = people(60)
    probe = fit_probe(x, labels, entities=entities, folds=4, ridges=(0.1,), seed=3)
    index = np.array(["abc".index(label) for label in labels])
    ranks = np.empty(60)
    groups = np.unique(entities, return_inverse=True)[1]
    splits = GroupKFold(n_splits=4, shuffle=True, random_state=3)
    for train, test in splits.split(x, groups=groups):
        assert not {entities[row] for row in train} & {entities[row] for row in test}
        ridge = sklearn_ridge(x[train], 0.1).fit(x[train], np.eye(3)[index[train]])
        scores = ridge.predict(x[test])
        ranks[test] = 1 + (scores > scores[np.arange(len(test)), index[test]][:, None]).sum(axis=1)
    np.testing.assert_array_equal(probe.score.ranks, ranks)
    assert probe.score.accuracy == np.mean(ranks == 1)
    assert probe.score.reciprocal_rank == pytest.approx(np.mean(1 / ranks))


def test_the_strength_is_the_one_with_the_least_error_on_left_out_entities():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((80, 200))
    labels = np.where(x @ rng.standard_normal(200) > 0, "yes", "no").tolist()
    entities = people(80)
    ridges = (1e-4, 1e-2, 1.0, 1e2)
    fit = Spectrum.of(x)
    y = np.stack([np.array(labels) == "no", np.array(labels) == "yes"], axis=1).astype(float)
    groups = np.unique(entities, return_inverse=True)[1]
    errors = fit.left_out(y, groups, ridges)
    probe = fit_probe(x, labels, entities=entities, ridges=ridges, permutations=0)
    assert probe.setting == ridges[int(np.argmin(errors))]


def planted(rng, rows, width=40, rogue=300.0):
    """Two classes a known distance apart, one feature hundreds of times larger than the rest.

    The best rule is Fisher's: with means ±m and covariance S it is right Φ(√(mᵀ S⁻¹ m)) of times.
    """
    direction = np.random.default_rng(7).standard_normal(width)
    mean = 1.1 * direction / np.linalg.norm(direction)
    signs = rng.choice([-1, 1], size=rows)
    x = signs[:, None] * mean + rng.standard_normal((rows, width))
    x[:, 3] *= rogue
    return x, np.where(signs > 0, "yes", "no"), mean


def test_a_planted_direction_is_read_within_two_percent_of_the_optimum():
    rng = np.random.default_rng(4)
    x, labels, mean = planted(rng, 2400)
    probe = fit_probe(x, labels.tolist(), entities=people(2400), permutations=5)
    fresh, truth, _ = planted(rng, 20_000)
    best = mean.copy()
    best[3] /= 300.0
    optimum = np.mean(np.where(fresh @ best > 0, "yes", "no") == truth)
    assert 0.85 < optimum < 0.88
    assert np.mean(np.array(probe.predict(fresh)) == truth) > optimum - 0.02
    assert probe.score.accuracy > optimum - 0.03
    direction = probe.weights[:, 1] - probe.weights[:, 0]
    assert direction @ best / np.linalg.norm(direction) / np.linalg.norm(best) > 0.95
    assert probe.chance == 0.5
    assert probe.p_value == pytest.approx(1 / 6)


def test_noise_is_read_at_chance_and_so_are_shuffled_labels():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((600, 30))
    labels = [f"label {index}" for index in rng.integers(5, size=600)]
    probe = fit_probe(x, labels, entities=people(600), permutations=19)
    assert abs(probe.score.accuracy - 0.2) < 0.06
    shuffled = [control.accuracy for control in probe.shuffled]
    assert abs(np.mean(shuffled) - 0.2) < 0.03
    assert probe.p_value > 0.05


def test_a_property_of_the_entity_alone_cannot_be_memorised():
    """Every entity has its own direction and a random label: only a leaky split could read it."""
    rng = np.random.default_rng(6)
    x = np.repeat(rng.standard_normal((60, 50)), 6, axis=0) + 0.01 * rng.standard_normal((360, 50))
    labels = np.repeat(rng.choice(["yes", "no"], 60), 6).tolist()
    entities = people(360, per_entity=6)
    assert fit_probe(x, labels, entities=entities).score.accuracy < 0.65
    leaky = fit_probe(x, labels, entities=[f"row {row}" for row in range(360)])
    assert leaky.score.accuracy > 0.85


OBJECTS = [f"object {number}" for number in range(30)]


def read_out(rng, rows=240, width=60, signal=1.0):
    """Activations that hold the object's vector in a rotated form; 8 typed candidates a row."""
    vectors = dict(zip(OBJECTS, rng.standard_normal((30, 20)) + 4, strict=True))
    rotation = rng.standard_normal((20, width))
    labels = [OBJECTS[index] for index in rng.integers(30, size=rows)]
    x = signal * np.stack([vectors[label] - 4 for label in labels]) @ rotation
    x = x + rng.standard_normal((rows, width))
    candidates = [
        [label, *rng.choice([name for name in OBJECTS if name != label], 7, replace=False)]
        for label in labels
    ]
    return x, labels, vectors, candidates


def test_a_read_out_names_objects_that_it_was_never_fitted_on():
    rng = np.random.default_rng(8)
    x, labels, vectors, candidates = read_out(rng)
    entities = [f"about {label}" for label in labels]  # no held-out row's object is in training
    probe = fit_probe(x, labels, entities=entities, vectors=vectors, candidates=candidates)
    assert probe.labels == tuple(sorted(OBJECTS))
    assert probe.score.accuracy > 0.9
    assert probe.chance == pytest.approx(1 / 8)
    one_hot = fit_probe(x, labels, entities=entities, candidates=candidates)
    assert one_hot.score.accuracy < 0.2


def test_without_signal_a_read_out_is_at_the_chance_of_its_candidates():
    rng = np.random.default_rng(9)
    x, labels, vectors, candidates = read_out(rng, rows=480, signal=0.0)
    probe = fit_probe(x, labels, entities=people(480), vectors=vectors, candidates=candidates)
    assert abs(probe.score.accuracy - 1 / 8) < 0.05


def test_frequencies_of_a_relation_are_read_by_the_shuffled_control_as_well():
    """Nine in ten answers of a relation are the same: accuracy without knowledge of the entity."""
    rng = np.random.default_rng(10)
    relation = np.repeat(["language", "sport"], 120)
    usual = np.where(relation == "language", "English", "football")
    rare = np.where(relation == "language", "French", "chess")
    labels = np.where(rng.random(240) < 0.9, usual, rare)
    x = rng.standard_normal((240, 20))
    x[:, 0] += 10 * (relation == "sport")
    probe = fit_probe(x, labels.tolist(), entities=people(240), strata=relation.tolist())
    assert probe.score.accuracy > 0.8
    assert abs(np.mean([s.accuracy for s in probe.shuffled]) - probe.score.accuracy) < 0.03
    across = fit_probe(x, labels.tolist(), entities=people(240))
    assert np.mean([s.accuracy for s in across.shuffled]) < 0.6


def test_transfer_reads_other_activations_with_the_same_held_out_fits():
    rng = np.random.default_rng(11)
    x, labels, _ = planted(rng, 400)
    rotated = x @ np.linalg.qr(rng.standard_normal((40, 40)))[0]
    probe = fit_probe(
        x, labels.tolist(), entities=people(400), transfer={"same": x, "rotated": rotated}
    )
    np.testing.assert_array_equal(probe.transfer["same"].ranks, probe.score.ranks)
    assert probe.transfer["rotated"].accuracy < probe.score.accuracy - 0.2


def test_units_keep_one_label_when_labels_are_shuffled():
    """Three contexts of a fact are one fact: shuffled as rows, they would look like 3 × n."""
    rng = np.random.default_rng(12)
    x = np.repeat(rng.standard_normal((40, 10)), 3, axis=0)
    labels = np.repeat(rng.choice(["yes", "no"], 40), 3).tolist()
    units = [f"fact {row // 3}" for row in range(120)]
    whole = fit_probe(x, labels, entities=people(120, 6), units=units, permutations=40)
    rows = fit_probe(x, labels, entities=people(120, 6), permutations=40)
    spread = [np.std([s.accuracy for s in probe.shuffled]) for probe in (whole, rows)]
    assert spread[0] > 1.2 * spread[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activations": np.zeros((11, 3))}, r"shape \[11, 3\].*\[12, width\]"),
        ({"activations": np.full((12, 3), np.nan)}, "12 rows are not finite, the first is row 0"),
        ({"labels": ["yes"] * 12}, "every row has the label 'yes'"),
        ({"entities": ["one"] * 6 + ["two"] * 6}, "2 entities cannot be split into 5 folds"),
        ({"entities": ["one"]}, "1 entities for 12 labels"),
        ({"vectors": {"yes": np.ones(2)}}, "no vector for the labels no"),
        ({"candidates": [["yes"]] * 12}, "row 0: 1 candidates for the label 'no'"),
        ({"candidates": [["yes", "perhaps"]] * 12}, "'perhaps' is no label"),
        ({"transfer": {"npo": np.zeros((12, 4))}}, r"transfer\['npo'\] has the shape \[12, 4\]"),
        ({"units": ["one"] * 12}, "more than one label"),
        ({"vectors": {"yes": np.ones(2), "no": np.ones(2)}}, "no direction"),
    ],
)
def test_bad_input_is_refused(change, message):
    rng = np.random.default_rng(13)
    arguments = {
        "activations": rng.standard_normal((12, 3)),
        "labels": ["no", "yes"] * 6,
        "entities": people(12, per_entity=2),
    } | change
    with pytest.raises(DataError, match=message):
        fit_probe(arguments.pop("activations"), arguments.pop("labels"), **arguments)


def test_activations_without_any_variation_give_chance_not_an_error():
    labels = ["no", "yes"] * 30
    probe = fit_probe(np.ones((60, 5)), labels, entities=people(60, 2), permutations=0)
    assert np.isfinite(probe.weights).all()
    assert probe.score.accuracy <= 0.5


def test_a_logistic_direction_needs_activations_that_vary():
    with pytest.raises(DataError, match="nothing to fit"):
        fit_direction(
            np.ones((12, 4)),
            ["yes", "no"] * 6,
            kind="logistic",
            entities=[str(row // 2) for row in range(12)],
        )
