"""Ridge regression from one eigendecomposition, whatever the strength and the targets.

With the standardised training rows Z = L √Λ Bᵀ, a ridge of penalty α predicts, for a new row z,
the mean target plus z B √Λ / (Λ + α) Lᵀ Y. L, Λ and B do not depend on α or on the targets Y, so
one decomposition serves every strength, label and shuffled control.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The eigendecomposition of one training set: every ridge on it is a few products away."""

    mean: Float[np.ndarray, " width"]
    scale: Float[np.ndarray, " width"]
    basis: Float[np.ndarray, "width rank"]
    left: Float[np.ndarray, "row rank"]
    values: Float[np.ndarray, " rank"]
    """Squared singular values of the standardised rows."""

    @classmethod
    def of(cls, x: Float[np.ndarray, "row width"]) -> "Spectrum":
        """Standardise the rows and decompose the smaller of their two Gram matrices."""
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-8 * scale.max(), scale, 1.0)
        z = (x - mean) / scale
        rows, width = z.shape
        wide = rows <= width
        values, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
        kept = values > 1e-10 * max(values.max(), 1e-30)
        values, vectors = values[kept], vectors[:, kept]
        other = (z.T if wide else z) @ vectors / np.sqrt(values)
        basis, left = (other, vectors) if wide else (vectors, other)
        return cls(mean=mean, scale=scale, basis=basis, left=left, values=values)

    def penalty(self, strength: float) -> float:
        """The ridge penalty of a strength."""
        return strength * self.values.sum() / len(self.left)

    def smoother(
        self, x: Float[np.ndarray, "test width"], strength: float
    ) -> Float[np.ndarray, "test row"]:
        """How much each training row's target, taken from their mean, adds to a prediction."""
        gain = np.sqrt(self.values) / (self.values + self.penalty(strength))
        return ((x - self.mean) / self.scale @ self.basis * gain) @ self.left.T

    def weights(
        self, y: Float[np.ndarray, "row target"], strength: float
    ) -> tuple[Float[np.ndarray, "width target"], Float[np.ndarray, " target"]]:
        """Weights and intercept in the units of the activations."""
        gain = np.sqrt(self.values) / (self.values + self.penalty(strength))
        weights = (self.basis * gain) @ (self.left.T @ (y - y.mean(axis=0)))
        weights = weights / self.scale[:, None]
        return weights, y.mean(axis=0) - self.mean @ weights

    def left_out(
        self, y: Float[np.ndarray, "row target"], groups: Int[np.ndarray, " row"], strength: float
    ) -> float:
        """Sum of squared errors of each group's rows, by the ridge fitted on the others."""
        shrunk = self.left * (self.values / (self.values + self.penalty(strength)))
        residual = y - y.mean(axis=0) - shrunk @ (self.left.T @ y)
        total = 0.0
        for group in np.unique(groups):
            rows = groups == group
            hat = shrunk[rows] @ self.left[rows].T + 1 / len(y)
            total += np.sum(np.linalg.solve(np.eye(len(hat)) - hat, residual[rows]) ** 2)
        return total
