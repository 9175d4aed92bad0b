"""Between states: the alignment against scipy and planted maps, loss and rotation by definition.

Run: python -m pytest tests/measure/test_probing_transfer.py
"""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from restor_interp.errors import ConfigError, DataError
from restor_interp.measure.probing import Folds, carry_over, compare_states, fit_probe


def world(rows=120, width=20, per_entity=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, width))
    entities = [f"entity {row // per_entity}" for row in range(rows)]
    anchors = np.arange(rows) // per_entity % 2 == 0
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0]
    return x, entities, anchors, turn


def test_a_planted_rotation_and_shift_are_undone_on_rows_that_no_map_was_fitted_on():
    x, entities, anchors, turn = world()
    target = x / x[anchors].std(axis=0)  # the standardised units in which it turns
    source = target @ turn + 3.0
    carried = carry_over(source, target, anchors=anchors, entities=entities, strengths=(1e-9,))
    np.testing.assert_allclose(carried.aligned, target, atol=1e-6)
    np.testing.assert_allclose(
        carried.recentred[~anchors].mean(axis=0) - (target[~anchors] @ turn).mean(axis=0),
        target[anchors].mean(axis=0) - (target[anchors] @ turn).mean(axis=0),
        atol=1e-9,
    )


def test_the_rotation_is_that_of_scipy_where_anchors_outnumber_dimensions():
    x, entities, anchors, turn = world(rows=400)
    rng = np.random.default_rng(1)
    target = x * rng.uniform(0.1, 30, x.shape[1])
    source = x @ turn + 0.5 * rng.standard_normal(x.shape)
    carried = carry_over(source, target, anchors=anchors, entities=entities, strengths=(1e-12,))
    scale = target[anchors].std(axis=0)
    s, t = source / scale, target / scale
    means = s[anchors].mean(axis=0), t[anchors].mean(axis=0)
    best = orthogonal_procrustes(s[anchors] - means[0], t[anchors] - means[1])[0]
    expected = ((s - means[0]) @ best + means[1]) * scale
    np.testing.assert_allclose(carried.aligned[~anchors], expected[~anchors], rtol=1e-6, atol=1e-6)


def test_with_few_anchors_nothing_outside_their_span_is_turned():
    """30 anchors in 200 dimensions: lengths are kept, and what is orthogonal to all stays."""
    x, entities, anchors, turn = world(rows=60, width=200)
    target = x
    source = x @ turn
    carried = carry_over(source, target, anchors=anchors, entities=entities, strengths=(0.03,))
    scale = target[anchors].std(axis=0)
    centred = [y[anchors] / scale - (y[anchors] / scale).mean(axis=0) for y in (source, target)]
    basis = np.linalg.qr(np.concatenate(centred).T)[0]
    before, after = (y[~anchors] / scale for y in (carried.recentred, carried.aligned))
    middle = target[anchors].mean(axis=0) / scale
    outside = np.eye(200) - basis @ basis.T
    np.testing.assert_allclose((after - middle) @ outside, (before - middle) @ outside, atol=1e-8)
    lengths = [np.linalg.norm(y - middle, axis=1) for y in (before, after)]
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-9)
    assert not np.allclose(before, after)


def test_without_anything_to_undo_no_rotation_is_chosen():
    """Independent noise: a rotation fitted on some entities only hurts on others."""
    x, entities, anchors, _ = world(rows=60, width=80)
    noise = np.random.default_rng(2).standard_normal(x.shape)
    carried = carry_over(x + 0.1 * noise, x, anchors=anchors, entities=entities)
    np.testing.assert_allclose(carried.aligned, carried.recentred, atol=0.35)
    same = carry_over(x, x, anchors=anchors, entities=entities)
    np.testing.assert_allclose(same.recentred[~anchors], x[~anchors], atol=1e-9)


def labelled(rows=160, width=24):
    x, entities, anchors, turn = world(rows=rows, width=width)
    labels = np.where(x[:, 0] + 0.2 * x[:, 1] > 0, "yes", "no").tolist()
    return x, entities, anchors, turn, labels


def test_loss_and_rotation_are_what_they_are_called():
    x, entities, anchors, turn, labels = labelled()
    rng = np.random.default_rng(3)
    gone = x.copy()
    gone[:, :2] = rng.standard_normal((len(x), 2))
    states = {"clean": x, "same": x, "turned": x @ turn, "gone": gone}

    def fit(split, others):
        return fit_probe(split, labels, transfer=others, permutations=0)

    found = compare_states(states, fit, entities=entities, untouched=anchors)
    assert set(found) == {"same", "turned", "gone"}
    same = found["same"].touched
    assert (same.loss, same.rotation) == (0.0, 0.0)
    turned = found["turned"].touched
    native = fit(Folds(x @ turn, entities=entities), {}).score.only(~anchors).accuracy
    read = fit(Folds(x, entities=entities), {"x": x @ turn}).transfer["x"].only(~anchors).accuracy
    assert turned.rotation == pytest.approx(native - read)
    assert turned.native_base - turned.native == turned.loss
    assert turned.n == int((~anchors).sum())
    assert turned.rotation > 0.25
    assert abs(turned.rotation_aligned) < 0.1
    assert found["turned"].untouched.rotation_aligned < 0.15
    assert found["gone"].touched.loss > 0.25
    # Nothing is left to be rotated: within three standard deviations of 80 rows.
    assert abs(found["gone"].touched.rotation) < 3 * np.sqrt(0.25 / 80)


def test_bad_input_is_refused():
    x, entities, anchors, _, labels = labelled()

    def fit(split, others):
        return fit_probe(split, labels, transfer=others, permutations=0)

    with pytest.raises(ConfigError, match="no state 'clean'"):
        compare_states({"npo": x}, fit, entities=entities, untouched=anchors)
    states = {"clean": x, "npo": x[:, :5]}
    with pytest.raises(DataError, match=r"target has the shape \[160, 24\].* \[160, 5\]"):
        compare_states(states, fit, entities=entities, untouched=anchors)
    states = {"clean": x, "npo": x}
    with pytest.raises(DataError, match="nothing is left to score"):
        compare_states(states, fit, entities=entities, untouched=np.ones(160, dtype=bool))
    for few in (np.arange(160) < 8, anchors[:9]):
        with pytest.raises(DataError, match="untouched entities for an alignment of 160 rows"):
            compare_states(states, fit, entities=entities, untouched=few)
