"""Weight geometry: against whole matrices and numpy's SVD, on planted directions, against draws.

Run: python -m pytest tests/measure/test_weights.py
"""

import numpy as np
import pytest
import torch

from restor_interp.errors import ConfigError
from restor_interp.measure.changes import Change, inner, rank90
from restor_interp.measure.weights import ALL, weight_geometry
from restor_interp.models.architectures import is_transposed, linear_modules
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.testing import tiny_model


def sizes(module):
    rows, columns = module.weight.shape
    return (columns, rows) if is_transposed(module) else (rows, columns)


def low_rank(model, name, *, seed, rank=3, same_right=None, keep=lambda path: True):
    """A low-rank change of the matrices in the blocks; with `same_right`, that seed's factors A."""
    left = torch.Generator().manual_seed(seed)
    right = torch.Generator().manual_seed(1000 + (seed if same_right is None else same_right))
    updates = {}
    for path, module in linear_modules(model.hf_model).items():
        rows, columns = sizes(module)
        a = torch.randn(rank, columns, generator=right)
        b = torch.randn(rows, rank, generator=left)
        if keep(path):
            updates[path] = LowRank(a, b, 0.7)
    return Delta(name, updates)


def dense(model, name, *, seed, keep):
    generator = torch.Generator().manual_seed(seed)
    return Delta(
        name,
        {
            path.removesuffix(".weight"): torch.randn(weight.shape, generator=generator)
            for path, weight in model.clean_parameters().items()
            if keep(path)
        },
    )


def changed_model(family):
    model = tiny_model(family)
    model.add_delta(low_rank(model, "corruption", seed=1, keep=lambda path: "mlp" in path))
    model.add_delta(low_rank(model, "npo", seed=2, rank=2))
    model.add_delta(dense(model, "whole", seed=3, keep=lambda p: "mlp" in p or "ln" in p))
    for name, coefficients in {
        "corrupted": {"corruption": 1},
        "npo": {"corruption": 1, "npo": 1},
        "task_vector": {"corruption": 1, "npo": -2.5},
        "whole": {"whole": 1},  # a user's own checkpoint: its delta is against the clean weights
        "mixed": {"corruption": 0.5, "npo": 1, "whole": 0.2},
    }.items():
        model.add_state(name, State(coefficients))
    return model


def matrices(model, state):
    """Every parameter of a state as numpy, as it maps in to out."""
    modules = dict(model.hf_model.named_modules())
    with model.at(state):
        return {
            name.removesuffix(".weight"): (
                p.detach().double().numpy().T
                if is_transposed(modules.get(name.removesuffix(".weight")))
                else p.detach().double().numpy().reshape(p.shape[0], -1)
            ).copy()
            for name, p in model.hf_model.named_parameters()
        }


def by_hand(u, c):
    """The numbers of one matrix by numpy's SVD of whole matrices."""
    values = np.linalg.svd(u, compute_uv=False)
    left, spectrum, right = np.linalg.svd(c, full_matrices=False)
    number = 1 + int(np.argmax(np.cumsum(spectrum**2) >= 0.9 * (spectrum**2).sum()))
    columns, rows = left[:, :number], right[:number]
    total = (u**2).sum()
    return {
        "norm": np.sqrt(total),
        "rank90": 1 + int(np.argmax(np.cumsum(values**2) >= 0.9 * total)),
        "top_value": values[0],
        "cosine": -(u * c).sum() / np.sqrt(total * (c**2).sum()),
        "projection": -(u * c).sum() / (c**2).sum(),
        "column_energy": ((columns @ columns.T @ u) ** 2).sum() / total,
        "row_energy": ((u @ rows.T @ rows) ** 2).sum() / total,
        "subspace_energy": ((columns @ columns.T @ u @ rows.T @ rows) ** 2).sum() / total,
    }


@pytest.mark.parametrize("state", ["npo", "task_vector", "whole", "mixed"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_numbers_are_those_of_whole_matrices(family, state):
    model = changed_model(family)
    clean, corrupted, own = (matrices(model, name) for name in ("clean", "corrupted", state))
    found = weight_geometry(model, state)
    *rows, whole = found.rows
    assert [row["module"] for row in rows] == [
        path for path in clean if not np.array_equal(clean[path], own[path])
    ]
    for row in rows:
        path = row["module"]
        u, c = own[path] - corrupted[path], corrupted[path] - clean[path]
        assert row["total_norm"] == pytest.approx(np.linalg.norm(own[path] - clean[path]), rel=1e-5)
        relative = np.linalg.norm(u) / np.linalg.norm(clean[path])
        assert row["norm_relative"] == pytest.approx(relative, rel=1e-5)
        values = np.linalg.svd(u, compute_uv=False)[: row["rank"]]
        np.testing.assert_allclose(found.spectra[path], values, rtol=1e-4, atol=1e-4)
        if not c.any():
            assert row["cosine"] is None and "corruption left this" in row["reason"]
            assert row["norm"] == pytest.approx(np.linalg.norm(u), rel=1e-5)
            continue
        assert row["reason"] is None
        for name, value in by_hand(u, c).items():
            assert row[name] == pytest.approx(value, rel=1e-4, abs=1e-5), (path, name)
    # All matrices as one that has them on its diagonal.
    parts = [(own[p] - corrupted[p], corrupted[p] - clean[p]) for p in clean]
    u, c = (np.concatenate([part[i].ravel() for part in parts]) for i in range(2))
    assert whole["module"] == ALL
    assert whole["norm"] == pytest.approx(np.linalg.norm(u), rel=1e-5)
    assert whole["projection"] == pytest.approx(-(u @ c) / (c @ c), rel=1e-4)
    cosine = -(u @ c) / np.linalg.norm(u) / np.linalg.norm(c)
    assert whole["cosine"] == pytest.approx(cosine, rel=1e-4)
    energy = sum(r["subspace_energy"] * r["norm"] ** 2 for r in rows if r["cosine"] is not None)
    assert whole["subspace_energy"] == pytest.approx(energy / (u @ u), rel=1e-4)
    values = np.concatenate([np.linalg.svd(part[0], compute_uv=False) for part in parts])
    held = np.cumsum(np.sort(values**2)[::-1]) / (u @ u)
    assert whole["rank90"] == 1 + int(np.argmax(held >= 0.9))


def test_a_planted_share_of_the_corruption_is_found_beside_what_is_orthogonal_to_it():
    model = tiny_model("llama")
    corruption = low_rank(model, "corruption", seed=1)
    model.add_delta(corruption)
    updates = {}
    for number, (path, update) in enumerate(corruption.updates.items()):
        generator = torch.Generator().manual_seed(100 + number)
        shape = update.matrix().shape
        # Columns and rows outside those of the corruption: orthogonal in every sense.
        out = torch.linalg.qr(
            torch.cat([update.b, torch.randn(shape[0], 2, generator=generator)], 1)
        )
        into = torch.linalg.qr(
            torch.cat([update.a.T, torch.randn(shape[1], 2, generator=generator)], 1)
        )
        aside = LowRank(into.Q[:, -2:].T, out.Q[:, -2:], 5.0).matrix()
        updates[path] = -0.4 * update.matrix() + aside
    model.add_delta(Delta("npo", updates))
    model.add_state("corrupted", State({"corruption": 1}))
    model.add_state("npo", State({"corruption": 1, "npo": 1}))
    for row in weight_geometry(model, "npo").rows:
        along = 0.4 * row["corruption_norm"]
        aside = 5.0 * np.sqrt(2.0 * (len(updates) if row["module"] == ALL else 1))
        assert row["projection"] == pytest.approx(0.4, abs=1e-5)
        assert row["cosine"] == pytest.approx(along / np.hypot(along, aside), abs=1e-5)
        # What stands aside is outside the directions; of the corruption, 90% or more is inside.
        assert 0.9 * along**2 <= row["subspace_energy"] * row["norm"] ** 2 <= along**2 * 1.0001
        total = np.hypot(0.6 * row["corruption_norm"], aside)
        assert row["total_share"] == pytest.approx(total / row["corruption_norm"], abs=1e-5)


def test_the_ends_of_the_rollback_are_the_corruption_undone():
    model = changed_model("llama")
    for coefficient, projection in ((0.0, 1.0), (0.25, 0.75), (1.5, -0.5)):
        for row in weight_geometry(model, State({"corruption": coefficient})).rows:
            assert row["projection"] == pytest.approx(projection)
            assert row["cosine"] == pytest.approx(np.sign(projection))
            for name in ("row_energy", "subspace_energy"):
                assert row[name] == pytest.approx(row["column_energy"])
            assert row["column_energy"] >= 0.9
            assert row["total_share"] == pytest.approx(abs(coefficient))


def test_the_corrupted_state_shows_the_corruption_and_says_what_cannot_be_compared():
    model = changed_model("llama")
    *_, whole = weight_geometry(model, "corrupted").rows
    norm = np.sqrt(sum(x**2 for x in model.distances("corrupted", "clean").values()))
    assert whole["norm"] == whole["corruption_norm"] == pytest.approx(norm)
    assert whole["cosine"] is None and "nothing was unlearned" in whole["reason"]
    with pytest.raises(ConfigError, match="has the clean weights"):
        weight_geometry(model, "npo", corrupted="clean")


def test_floors_are_what_random_changes_have():
    """Draws of a random U: independent entries, and U's own right factor kept."""
    model = tiny_model("llama")
    path = "model.layers.1.mlp.down_proj"
    model.add_delta(low_rank(model, "corruption", seed=1, keep=path.__eq__))
    model.add_delta(low_rank(model, "npo", seed=5, same_right=1, keep=path.__eq__))
    model.add_state("corrupted", State({"corruption": 1}))
    row = weight_geometry(model, State({"corruption": 1, "npo": 1})).rows[0]
    c = model.deltas["corruption"].updates[path].matrix().double().numpy()
    own = model.deltas["npo"].updates[path]
    lengths = np.linalg.norm(own.b.numpy(), axis=0)
    rng = np.random.default_rng(0)
    entries, kept = [], []
    for _ in range(500):
        entries.append(by_hand(rng.standard_normal(c.shape), c))
        left = rng.standard_normal(own.b.shape)
        left *= lengths / np.linalg.norm(left, axis=0)
        kept.append(by_hand(left @ own.a.double().numpy(), c))
    for name in ("column", "row", "subspace"):
        expected = np.mean([one[f"{name}_energy"] for one in entries])
        assert row[f"{name}_floor"] == pytest.approx(expected, rel=0.05)
    for floor, draws in (("cosine_floor", entries), ("cosine_floor_kept", kept)):
        assert row[floor] == pytest.approx(np.std([one["cosine"] for one in draws]), rel=0.1)
    expected = np.mean([one["row_energy"] for one in kept])
    assert row["row_floor_kept"] == pytest.approx(expected, rel=0.05)
    # The equal start alone puts most of the rows where the corruption's are.
    assert row["row_floor_kept"] > 0.8 > 0.2 > row["row_floor"]


def test_factors_and_whole_matrices_are_the_same_change():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=generator).double() for shape in ((9, 4), (4, 6)))
    factors, whole = Change(left, right), Change(None, left @ right)
    other = Change(None, torch.randn(9, 6, generator=generator).double())
    assert factors.shape == whole.shape == (9, 6)
    assert inner(factors, other) == pytest.approx(float((left @ right * other.right).sum()))
    assert inner(other, factors) == pytest.approx(inner(factors, other))
    torch.testing.assert_close(factors.spectrum, whole.spectrum)
    for change in (factors, whole):
        u, values, v = change.svd
        torch.testing.assert_close(u * values @ v, left @ right)
    assert rank90(torch.tensor([0.0, 3.0, 0.5, 1.0])) == 2
    assert rank90(torch.zeros(3)) == 0
