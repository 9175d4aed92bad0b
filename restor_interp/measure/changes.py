"""How one state's matrix differs from another's, and exact linear algebra on that difference.

A difference of low-rank deltas stays a product left @ right; all numbers are taken from the two
factors, in float64 and on the CPU, and the whole matrix is never built. Whole-matrix deltas obey
the same interface.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.models.architectures import is_transposed
from restor_interp.models.deltas import LowRank, State, Update
from restor_interp.models.hooked import HookedModel

ENERGY = 0.9
"""Share of the squared singular values that `rank90` and the leading directions hold."""
_NOTHING = 1e-12
"""Singular values below this part of the largest one are rounding."""


@dataclass(frozen=True, eq=False)
class Change:
    """left @ right, or where `left` is none the whole matrix `right`; it maps `in` to `out`."""

    left: Float[Tensor, "out inner"] | None
    right: Float[Tensor, "inner in"]

    @property
    def shape(self) -> tuple[int, int]:
        """(out, in)"""
        rows = self.right if self.left is None else self.left
        return rows.shape[0], self.right.shape[1]

    @cached_property
    def energy(self) -> float:
        """Squared Frobenius norm."""
        return max(0.0, inner(self, self))

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return math.sqrt(self.energy)

    @cached_property
    def svd(self) -> tuple[Float[Tensor, "out k"], Float[Tensor, " k"], Float[Tensor, "k in"]]:
        """Singular vectors and values, the greatest first; those that are rounding are left out."""
        if self.left is None:
            found = _svd_by_gram(self.right)
        else:
            columns, upper = torch.linalg.qr(self.left)
            rows, lower = torch.linalg.qr(self.right.T)
            u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
            found = columns @ u, values, v @ rows.T
        u, values, v = found
        real = values > _NOTHING * values.max() if len(values) else values > 0
        return u[:, real], values[real], v[real]

    @property
    def spectrum(self) -> Float[Tensor, " k"]:
        """Singular values, the greatest first."""
        return self.svd[1]

    def leading(self) -> tuple[Float[Tensor, "out k"], Float[Tensor, "k in"]]:
        """The fewest singular vectors that hold `ENERGY` of it: of its columns and of its rows."""
        u, values, v = self.svd
        number = rank90(values)
        return u[:, :number], v[:number]

    def inside(
        self, columns: Float[Tensor, "out k"] | None, rows: Float[Tensor, "k in"] | None
    ) -> float:
        """Energy of its part in the span of orthonormal columns, of rows, or of both."""
        left, right = self.left, self.right
        if rows is not None:
            right = right @ rows.T
        if left is None:
            return float((right if columns is None else columns.T @ right).square().sum())
        if columns is not None:
            left = columns.T @ left
        return max(0.0, inner(Change(left, right), Change(left, right)))


def inner(one: Change, other: Change) -> float:
    """⟨one, other⟩ = tr(oneᵀ · other), without building a product of factors."""
    if one.left is None:
        if other.left is None:
            return float((one.right * other.right).sum())
        return float(((other.left.T @ one.right) * other.right).sum())
    if other.left is None:
        return inner(other, one)
    return float(((one.left.T @ other.left) * (one.right @ other.right.T)).sum())


def rank90(spectrum: Float[Tensor, " k"]) -> int:
    """How many of the greatest singular values hold `ENERGY` of the sum of their squares."""
    energy = spectrum.square().sort(descending=True).values
    if not float(energy.sum()):
        return 0
    held = energy.cumsum(0) / energy.sum()
    # The last one holds everything, whatever rounding says.
    return min(int((held < ENERGY - 1e-12).sum()) + 1, len(energy))


def differences(model: HookedModel, one: State, other: State) -> dict[str, Change]:
    """Module -> its weight in `one` less its weight in `other`, where deltas make a difference; in
    the model's order. Of the exact sums, before any rounding."""
    names = sorted({*one.coefficients, *other.coefficients})
    moved = {n: one.coefficients.get(n, 0.0) - other.coefficients.get(n, 0.0) for n in names}
    found: dict[str, list[tuple[float, Update]]] = {}
    for name, coefficient in moved.items():
        for path, update in model.deltas[name].updates.items():
            if coefficient:
                found.setdefault(path, []).append((coefficient, update))
    order = {n.removesuffix(".weight"): place for place, n in enumerate(model.clean_parameters())}
    paths = sorted(found, key=order.__getitem__)
    return {path: _summed(model, path, found[path]) for path in paths}


def _oriented(model: HookedModel, path: str, matrix: Tensor) -> Float[Tensor, "out in"]:
    """A parameter's numbers as the matrix that maps `in` to `out`, in float64; vectors as one
    column."""
    matrix = matrix.detach().cpu().double()
    if matrix.ndim < 2:
        return matrix.reshape(-1, 1)
    return matrix.T if _transposed(model, path) else matrix


def _summed(model: HookedModel, path: str, parts: Sequence[tuple[float, Update]]) -> Change:
    products = [(c, u) for c, u in parts if isinstance(u, LowRank)]
    left = [c * u.scale * u.b.detach().cpu().double() for c, u in products]
    right = [u.a.detach().cpu().double() for _, u in products]
    if len(products) == len(parts):
        return Change(torch.cat(left, dim=1), torch.cat(right))
    whole = [c * _oriented(model, path, u) for c, u in parts if isinstance(u, Tensor)]
    whole += [b @ a for b, a in zip(left, right, strict=True)]
    return Change(None, torch.stack(whole).sum(0) if len(whole) > 1 else whole[0])


def _transposed(model: HookedModel, path: str) -> bool:
    try:
        module: Any = model.hf_model.get_submodule(path)
    except AttributeError:  # a parameter that is not called `weight`
        return False
    return is_transposed(module)


def _svd_by_gram(matrix: Float[Tensor, "out in"]) -> tuple[Tensor, Tensor, Tensor]:
    """By the eigenvectors of the smaller of M·Mᵀ and Mᵀ·M: a fraction of the work, and exact to
    about 1e-8 of the greatest value, which is far more than 90% of the energy asks for."""
    if matrix.shape[0] > matrix.shape[1]:
        u, values, v = _svd_by_gram(matrix.T)
        return v.T, values, u.T
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    values, u = squares.flip(0).clamp(min=0).sqrt(), vectors.flip(1)
    real = values > max(1e-7 * float(values.max()), 1e-300)
    u, values = u[:, real], values[real]
    return u, values, (u.T @ matrix) / values[:, None]
