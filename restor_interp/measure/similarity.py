"""How alike are two sets of activations of the same rows? Pure numpy, in float64.

What looks at the geometry of the rows as a whole takes centred Gram matrices [row row], because
there are far fewer rows than dimensions. All of these ignore a rotation, a shift and a scale of
either side; with few rows and many dimensions they are far from 0 for rows that have nothing to
do with each other, which is why each needs a floor.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

LEAST_ROWS = 5
"""Rows below which the debiased estimator divides by almost nothing, and no geometry is left."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Activations of some rows, with what every comparison of them needs."""

    mean: Float[np.ndarray, " width"]
    gram: Float[np.ndarray, "row row"]
    """Of the rows after their mean is taken off, with trace 1."""
    u_centred: Float[np.ndarray, "row row"]
    """The Gram matrix without its diagonal, its rows and columns freed of their means (Székely and
    Rizzo 2014), with Frobenius norm 1."""
    root: Float[np.ndarray, "row rank"]
    """R with R Rᵀ = `gram`."""
    components: Float[np.ndarray, "2 width"]
    """The first two principal components, each of length 1."""
    spreads: Float[np.ndarray, " 2"]
    """Standard deviations of the rows along them."""

    @classmethod
    def of(cls, rows: Float[np.ndarray, "row width"]) -> "Cloud":
        """Raises `ValueError` for fewer than `LEAST_ROWS` rows, and for rows that are all equal."""
        if len(rows) < LEAST_ROWS:
            raise ValueError(f"only {len(rows)} rows; {LEAST_ROWS} are needed")
        rows = np.asarray(rows, dtype=np.float64)
        mean = rows.mean(axis=0)
        x = rows - mean
        gram = x @ x.T
        size = np.trace(gram)
        # Equal rows leave rounding alone behind, whose geometry means nothing.
        if not size > 1e-20 * len(rows) * max(float(mean @ mean), 1e-300):
            raise ValueError("all rows are equal, so they have no geometry to compare")
        gram = gram / size
        values, vectors = scipy.linalg.eigh(gram, check_finite=False, driver="evd")
        values = np.maximum(values, 0)
        components = vectors[:, :-3:-1].T @ x
        lengths = np.sqrt(np.sum(components**2, axis=1, keepdims=True))
        return cls(
            mean=mean,
            gram=gram,
            u_centred=_u_centred(gram),
            root=vectors * np.sqrt(values),
            components=components / np.maximum(lengths, 1e-300),
            spreads=np.sqrt(values[:-3:-1] * size / len(rows)),
        )

    def permuted(self, order: Int[np.ndarray, " row"]) -> "Cloud":
        """The same rows in another order."""
        return replace(
            self,
            gram=self.gram[np.ix_(order, order)],
            u_centred=self.u_centred[np.ix_(order, order)],
            root=self.root[order],
        )


def _u_centred(gram: Float[np.ndarray, "row row"]) -> Float[np.ndarray, "row row"]:
    n = len(gram)
    found = gram - np.diag(np.diag(gram))
    sums = found.sum(axis=0)
    found = found - (sums[:, None] + sums[None, :]) / (n - 2) + sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(found, 0.0)
    return found / max(float(np.linalg.norm(found)), 1e-300)


# ---- the geometry of all rows


def cka(one: Cloud, other: Cloud) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019, equation 2): 1 for rows that are the
    same up to rotation, shift and scale; biased upwards by dimensions that outnumber rows."""
    size = np.sqrt(np.vdot(one.gram, one.gram) * np.vdot(other.gram, other.gram))
    return float(np.vdot(one.gram, other.gram) / size)


def debiased_cka(one: Cloud, other: Cloud) -> float:
    """The same with unbiased estimates of HSIC (Song et al. 2012, equation 5; Murphy et al. 2024,
    "Correcting biased centered kernel alignment measures"): about 0 for unrelated rows, whatever
    their number; it may be negative."""
    return float(np.vdot(one.u_centred, other.u_centred))


def procrustes(one: Cloud, other: Cloud) -> float:
    """Squared distance that no rotation removes, both sides centred and of Frobenius norm 1:
    2 − 2 ‖XᵀY‖_* (Ding, Denain and Steinhardt 2021, equation 4). 0: the same up to rotation; at
    most 2."""
    alignment = np.linalg.svd(one.root.T @ other.root, compute_uv=False).sum()
    return float(max(0.0, 2.0 - 2.0 * alignment))


def pc1_cosine(one: Cloud, other: Cloud) -> float:
    """|cosine| of the two first principal components (Xu et al. 2025, "Unlearning isn't deletion",
    whose sign, which is arbitrary, is left out)."""
    return float(abs(one.components[0] @ other.components[0]))


def pca_shift(one: Cloud, other: Cloud) -> float:
    """How far the mean row moves along the first principal component of `one`, in standard
    deviations of `one` along it (Xu et al. 2025 give it in units of the activations)."""
    return float(abs((other.mean - one.mean) @ one.components[0]) / one.spreads[0])


def pca_distance(one: Cloud, other: Cloud) -> float:
    """How far the mean row moves in the plane of the first two principal components of `one`, in
    root mean square distances of its rows from their mean in that plane."""
    moved = one.components @ (other.mean - one.mean)
    return float(np.sqrt(np.vdot(moved, moved) / np.vdot(one.spreads, one.spreads)))


# ---- row by row


def mean_cosine(x: Float[np.ndarray, "row width"], y: Float[np.ndarray, "row width"]) -> float:
    """Mean cosine of each row with its counterpart; rows that are 0 are left out."""
    sizes = np.sqrt(np.sum(x * x, axis=1) * np.sum(y * y, axis=1))
    here = sizes > 0
    return float(np.mean(np.sum(x * y, axis=1)[here] / sizes[here]))


def mean_distance(x: Float[np.ndarray, "row width"], y: Float[np.ndarray, "row width"]) -> float:
    """Mean of ‖y − x‖ / ‖x‖ over rows; rows of x that are 0 are left out."""
    sizes, moved = np.sum(x * x, axis=1), np.sum((y - x) ** 2, axis=1)
    here = sizes > 0
    return float(np.mean(np.sqrt(moved[here] / sizes[here])))
