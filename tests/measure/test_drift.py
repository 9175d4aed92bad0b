"""Drift: against definitions written out in loops, closed forms, and shifts that were planted.

Run: python -m pytest tests/measure/test_drift.py
"""

import numpy as np
import pytest
import scipy.linalg
from sklearn.decomposition import PCA

from restor_interp.errors import ConfigError
from restor_interp.measure import similarity
from restor_interp.measure.drift import METRICS, UNPAIRED, representation_drift
from restor_interp.measure.similarity import Cloud
from restor_interp.models.activations import Activations, ActivationWriter, CapturedPrompt

ROWS, WIDTH, LAYERS = 24, 40, 2


def rows_of(seed, rows=ROWS, width=WIDTH):
    return np.random.default_rng(seed).standard_normal((rows, width)) + 0.5


def rotation(seed):
    return np.linalg.qr(rows_of(seed, WIDTH))[0]


# ---- definitions


def hsic_unbiased(k, other):
    """Song et al. 2012, equation 5, term by term."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    places = range(n)
    one = sum(k[i, j] * other[j, i] for i in places for j in places)
    two = k.sum() * other.sum() / ((n - 1) * (n - 2))
    three = sum(k[i, j] * other[j, m] for i in places for j in places for m in places)
    return (one + two - 2 / (n - 2) * three) / (n * (n - 3))


def test_similarities_are_their_definitions():
    x, y = rows_of(0), rows_of(0) + 0.8 * rows_of(1)
    one, other = Cloud.of(x), Cloud.of(y)
    xc, yc = x - x.mean(0), y - y.mean(0)
    # Kornblith et al. 2019: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius norms of width × width matrices.
    expected = np.linalg.norm(yc.T @ xc) ** 2
    expected /= np.linalg.norm(xc.T @ xc) * np.linalg.norm(yc.T @ yc)
    assert similarity.cka(one, other) == pytest.approx(expected, abs=1e-12)
    k, m = x @ x.T, y @ y.T  # not centred: the estimator needs no centring
    expected = hsic_unbiased(k, m) / np.sqrt(hsic_unbiased(k, k) * hsic_unbiased(m, m))
    assert similarity.debiased_cka(one, other) == pytest.approx(expected, abs=1e-10)
    xn, yn = xc / np.linalg.norm(xc), yc / np.linalg.norm(yc)
    turn, _ = scipy.linalg.orthogonal_procrustes(xn, yn)
    expected = np.linalg.norm(xn @ turn - yn) ** 2
    assert similarity.procrustes(one, other) == pytest.approx(expected, abs=1e-12)
    of_x, of_y = PCA(2).fit(x), PCA(2).fit(y)
    expected = abs(of_x.components_[0] @ of_y.components_[0])
    assert similarity.pc1_cosine(one, other) == pytest.approx(expected, abs=1e-9)
    before, after = of_x.transform(x), of_x.transform(y)
    moved = after.mean(0) - before.mean(0)
    expected = abs(moved[0]) / before[:, 0].std()
    assert similarity.pca_shift(one, other) == pytest.approx(expected, rel=1e-9)
    expected = np.linalg.norm(moved) / np.sqrt((before**2).sum(1).mean())
    assert similarity.pca_distance(one, other) == pytest.approx(expected, rel=1e-9)
    pairs = list(zip(x, y, strict=True))
    expected = np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
    assert similarity.mean_cosine(x, y) == pytest.approx(expected)
    expected = np.mean([np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in pairs])
    assert similarity.mean_distance(x, y) == pytest.approx(expected)


def test_rotation_scale_and_shift_leave_the_geometry():
    x = rows_of(0)
    one, other = Cloud.of(x), Cloud.of(3.0 * x @ rotation(7) + 2.0)
    assert similarity.cka(one, other) == pytest.approx(1, abs=1e-12)
    assert similarity.debiased_cka(one, other) == pytest.approx(1, abs=1e-12)
    assert similarity.procrustes(one, other) == pytest.approx(0, abs=1e-12)
    assert similarity.pc1_cosine(one, other) < 0.9


def test_unrelated_rows_look_alike_to_cka_and_not_to_its_debiased_form():
    values = [
        (similarity.cka(*pair), similarity.debiased_cka(*pair))
        for seed in range(40)
        for pair in [[Cloud.of(rows_of(2 * seed + one, 20, 400)) for one in (0, 1)]]
    ]
    biased, debiased = np.mean(values, axis=0)
    assert biased > 0.9 and abs(debiased) < 0.02


@pytest.mark.parametrize("rows", [np.ones((9, 5)), np.ones((9, 5)) * 1e-8 + 1e3, rows_of(0)[:4]])
def test_rows_without_geometry_are_refused(rows):
    with pytest.raises(ValueError, match=r"equal|only 4 rows"):
        Cloud.of(rows)


# ---- the table

ROLES = {f"f{n}": "direct" if n % 3 else "untouched" for n in range(ROWS // 2)}


def written(folder, values, contexts=(0, 1), prompts=None):
    """values: [layer row width]; rows are facts, each in every context."""
    prompts = prompts or [
        CapturedPrompt(fact_id=f"f{n}", context_id=c, entity=f"e{n}", relation="r", num_tokens=3)
        for n in range(ROWS // len(contexts))
        for c in contexts
    ]
    writer = ActivationWriter(
        folder, prompts=prompts, sites=("resid",), positions=("last",), num_layers=LAYERS - 1,
        num_heads=1, width=WIDTH,
    )  # fmt: skip
    with writer:
        for row in range(len(prompts)):
            writer.add(row, {"resid": values[:, row][:, None]})
    return Activations.open(folder)


@pytest.fixture(scope="module")
def base_values():
    shared = np.repeat(np.stack([rows_of(s, ROWS // 2) for s in (1, 2)]), 2, axis=1)
    return (shared + 0.1 * np.stack([rows_of(s) for s in (3, 4)])).astype(np.float32)


@pytest.fixture(scope="module")
def activations(tmp_path_factory, base_values):
    root = tmp_path_factory.mktemp("drift")
    direct = np.array([ROLES[f"f{n}"] == "direct" for n in range(ROWS // 2) for _ in range(2)])
    moved = base_values.copy()
    moved[1, direct] += 0.7 * rows_of(9)[direct]  # layer 1, direct facts alone
    spoiled = base_values.copy()
    spoiled[0, 3] = np.inf
    return {
        "clean": written(root / "clean", base_values),
        "same": written(root / "same", base_values),
        "moved": written(root / "moved", moved),
        "turned": written(root / "turned", 2 * base_values @ rotation(3).astype(np.float32)),
        "spoiled": written(root / "spoiled", spoiled),
        "others": written(root / "others", base_values, contexts=(5, 6)),
    }


@pytest.fixture(scope="module")
def table(activations):
    rows = representation_drift(activations, roles=ROLES)
    return {(r["state"], r["layer"], r["role"], r["metric"]): r for r in rows}


UNCHANGED = {"cosine": 1, "relative_distance": 0, "cka": 1, "cka_debiased": 1, "procrustes": 0}
UNCHANGED |= {"pc1_cosine": 1, "pca_shift": 0, "pca_distance": 0}


def test_every_state_layer_role_and_metric_has_a_row(table):
    assert len(table) == 5 * LAYERS * 3 * len(METRICS)
    for metric, expected in UNCHANGED.items():
        for role in ("all", "direct", "untouched"):
            row = table["same", 1, role, metric]
            assert row["value"] == pytest.approx(expected, abs=1e-7), metric
            assert row["n"] == {"all": 24, "direct": 16, "untouched": 8}[role]
            assert (row["floor"] is None) == (metric in UNPAIRED)
            assert row["other_context"] is not None


def test_a_planted_shift_is_seen_where_it_is_and_a_rotation_only_by_what_sees_rotations(table):
    for metric, expected in UNCHANGED.items():
        assert table["moved", 0, "all", metric]["value"] == pytest.approx(expected, abs=1e-7)
        assert table["moved", 1, "untouched", metric]["value"] == pytest.approx(expected, abs=1e-7)
        assert abs(table["moved", 1, "direct", metric]["value"] - expected) > 0.01, metric
    for metric in ("cka", "cka_debiased", "procrustes"):
        assert table["turned", 1, "all", metric]["value"] == pytest.approx(
            UNCHANGED[metric], abs=1e-5
        )
    assert table["turned", 1, "all", "cosine"]["value"] < 0.9


def test_floors_are_unrelated_rows_and_contexts_are_the_base_s_own(table, base_values):
    x = base_values[1].astype(float)
    order = np.arange(ROWS)
    order[::2], order[1::2] = order[1::2].copy(), order[::2].copy()  # the fact's other context
    row = table["moved", 1, "all", "relative_distance"]
    assert row["other_context"] == pytest.approx(similarity.mean_distance(x, x[order]), rel=1e-6)
    assert row["other_context"] < 0.3 < row["value"] < row["floor"]
    draw = np.random.default_rng(0)
    orders = [draw.permutation(ROWS) for _ in range(4)]
    one = Cloud.of(x)
    expected = np.mean([similarity.cka(one, Cloud.of(x[order])) for order in orders])
    assert table["moved", 1, "all", "cka"]["floor"] == pytest.approx(expected, abs=1e-9)
    expected = np.mean([similarity.debiased_cka(one, Cloud.of(x[order])) for order in orders])
    assert table["moved", 1, "all", "cka_debiased"]["floor"] == pytest.approx(expected, abs=1e-9)
    # The few rows of a role are further above 0 than all rows are.
    cka = {role: table["moved", 1, role, "cka"]["floor"] for role in ("all", "untouched")}
    assert cka["untouched"] > cka["all"] > 0.3


def test_what_cannot_be_measured_has_a_reason(table, activations):
    assert "not finite" in table["spoiled", 0, "all", "cka"]["reason"]
    assert "other prompts" in table["others", 0, "all", "cka"]["reason"]
    for row in table.values():
        missing = None in (row["value"], row["floor"], row["other_context"])
        assert missing == (row["reason"] is not None)
    few = representation_drift(activations, roles={"f0": "sibling"}, states=["same"], layers=[0])
    reasons = {row["reason"] for row in few if row["role"] == "sibling"}
    assert reasons == {"only 2 rows; 5 are needed"}


def test_other_contexts_may_be_captured_apart(tmp_path, activations, base_values):
    single = base_values[:, ::2]
    prompts = [
        CapturedPrompt(fact_id=f"f{n}", context_id=0, entity=f"e{n}", relation="r", num_tokens=3)
        for n in range(ROWS // 2)
    ]
    acts = {n: written(tmp_path / n, single, prompts=prompts) for n in ("clean", "npo")}
    [alone] = [
        row for row in representation_drift(acts, roles={}, layers=[1]) if row["metric"] == "cka"
    ]
    assert alone["other_context"] is None and alone["reason"] == "no other context was captured"
    rows = representation_drift(acts, roles={}, layers=[1], other_context=activations["others"])
    found = next(row for row in rows if row["metric"] == "relative_distance")
    # Those of context 5, which comes next, hold the same numbers; those of context 6 do not.
    assert found["other_context"] == pytest.approx(0)


def test_each_row_stands_beside_the_next_context_of_its_fact(tmp_path, base_values):
    acts = {"clean": written(tmp_path, base_values, contexts=(0, 1, 2))}
    acts["npo"] = acts["clean"]
    rows = representation_drift(acts, roles={}, layers=[1])
    found = next(row for row in rows if row["metric"] == "relative_distance")
    x = base_values[1].astype(float)
    following = np.arange(ROWS).reshape(-1, 3)[:, [1, 2, 0]].flatten()
    assert found["other_context"] == pytest.approx(similarity.mean_distance(x, x[following]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"states": ["npo"]}, "captured state"),
        ({"base": "npo"}, "captured state"),
        ({"site": "mlp"}, "site"),
        ({"layers": [9]}, "layer 9"),
        ({"positions": ["first"]}, "position"),
        ({"permutations": 0}, "at least 1"),
    ],
)
def test_bad_input_is_refused_with_a_reason(activations, change, message):
    with pytest.raises(ConfigError, match=message):
        representation_drift(activations, **{"roles": ROLES, **change})
