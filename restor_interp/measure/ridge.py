"""Ridge regression from one eigendecomposition, whatever the strength and the targets.

With the standardised training rows Z = L √Λ Bᵀ, a ridge of penalty α predicts, for a new row z,
the mean target plus z B √Λ / (Λ + α) Lᵀ Y. L, Λ and B do not depend on α or on the targets Y, so
one decomposition serves every strength, label and shuffled control.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The eigendecomposition of one training set: every ridge on it is a few products away."""

    mean: Float[np.ndarray, " width"]
    scale: Float[np.ndarray, " width"]
    rows: Float[np.ndarray, "row width"]
    """The standardised rows Z."""
    left: Float[np.ndarray, "row rank"]
    values: Float[np.ndarray, " rank"]
    """Squared singular values of the standardised rows."""

    @classmethod
    def of(cls, x: Float[np.ndarray, "row width"]) -> "Spectrum":
        """Standardise the rows and decompose the smaller of their two Gram matrices."""
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-8 * scale.max(), scale, 1.0)
        z = (x - mean) / scale
        wide = len(z) <= z.shape[1]
        values, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
        kept = values > 1e-10 * max(values.max(), 1e-30)
        values, vectors = values[kept], vectors[:, kept]
        left = vectors if wide else z @ vectors / np.sqrt(values)
        return cls(mean=mean, scale=scale, rows=z, left=left, values=values)

    @cached_property
    def basis(self) -> Float[np.ndarray, "width rank"]:
        return self.rows.T @ self.left / np.sqrt(self.values)

    @cached_property
    def own_coordinates(self) -> Float[np.ndarray, "row rank"]:
        """Z B of the training rows."""
        return self.left * np.sqrt(self.values)

    def coordinates(self, z: Float[np.ndarray, "new width"]) -> Float[np.ndarray, "new rank"]:
        """z B of standardised rows; where these are few, without making B."""
        if len(self.rows) > self.rows.shape[1]:
            return z @ self.basis
        return z @ self.rows.T @ self.left / np.sqrt(self.values)

    def penalty(self, strength: float) -> float:
        """The ridge penalty of a strength."""
        return strength * self.values.sum() / len(self.left)

    def smoother(self, strength: float) -> Float[np.ndarray, "rank row"]:
        """How much each training row's target, taken from their mean, adds to a prediction, by
        coordinate z B of the new row."""
        gain = np.sqrt(self.values) / (self.values + self.penalty(strength))
        return gain[:, None] * self.left.T

    def coefficients(
        self, y: Float[np.ndarray, "row target"], strength: float
    ) -> Float[np.ndarray, "rank target"]:
        """What each coordinate of a new row adds to its prediction beyond the mean target."""
        return self.smoother(strength) @ (y - y.mean(axis=0))

    def in_units(
        self,
        coefficients: Float[np.ndarray, "rank target"],
        intercept: Float[np.ndarray, " target"],
    ) -> tuple[Float[np.ndarray, "width target"], Float[np.ndarray, " target"]]:
        """Weights and intercept in the units of the activations, of those on coordinates."""
        weights = (self.basis @ coefficients) / self.scale[:, None]
        return weights, intercept - self.mean @ weights

    def left_out(
        self,
        y: Float[np.ndarray, "row target"],
        groups: Int[np.ndarray, " row"],
        strengths: Sequence[float],
    ) -> Float[np.ndarray, " strength"]:
        """Sum of squared errors of each group's rows, by the ridge fitted on the others."""
        penalties = np.array([self.penalty(strength) for strength in strengths])
        shrink = self.values / (self.values + penalties[:, None])
        projected = self.left.T @ y
        residual = (y - y.mean(axis=0)) - self.left @ (shrink[:, :, None] * projected)
        sizes = np.bincount(np.unique(groups, return_inverse=True)[1])
        ordered = np.argsort(groups, kind="stable")
        starts = np.cumsum(sizes) - sizes
        total = np.zeros(len(strengths))
        for size in np.unique(sizes):  # groups of one size are solved together
            rows = ordered[starts[sizes == size][:, None] + np.arange(size)]
            own = self.left[rows]
            hat = (shrink[:, None, None, :] * own) @ own.swapaxes(1, 2) + 1 / len(y)
            errors = np.linalg.solve(np.eye(size) - hat, residual[:, rows])
            total += np.sum(errors**2, axis=(1, 2, 3))
        return total
