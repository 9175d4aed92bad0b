"""Carry one state's activations over to another's: shift the mean, then rotate (Procrustes).

Both are fitted on anchor rows, whose knowledge did not change, so that what they carry over on
other rows is a change of the code and not of the knowledge. With fewer anchors than dimensions
the best rotation is not unique: a strength pulls it towards no rotation at all, and it turns
nothing outside the span of the anchors. The strength is chosen on anchor entities left out; no
rotation is among the choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sklearn.model_selection import GroupKFold

from restor_interp.errors import DataError
from restor_interp.measure.probing.folds import as_matrix

STRENGTHS = (0.1, 1.0, np.inf)
"""Strengths that are tried, in units of the mean squared norm of a standardised anchor row."""

LEAST_ANCHORS = 3
"""Entities: with fewer, nothing says whether a rotation holds for others."""


class Carried(NamedTuple):
    """One state's activations in the place of another's."""

    recentred: Float[np.ndarray, "row width"]
    """With the other state's mean over the anchors."""
    aligned: Float[np.ndarray, "row width"]
    """Rotated as well."""


def carry_over(
    source: Float[np.ndarray, "row width"],
    target: Float[np.ndarray, "row width"],
    *,
    anchors: Sequence[bool] | Bool[np.ndarray, " row"],
    entities: Sequence[str],
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 3,
) -> Carried:
    """Bring `source` to where `target` has the anchors.

    Rows that are no anchors are carried by maps that are fitted on all anchors; each anchor by
    maps fitted on anchors of other entities.

    Raises:
        DataError: shapes that differ, activations that are not finite, anchors of fewer than
            `LEAST_ANCHORS` entities.

    Orthogonal Procrustes: Schönemann 1966, here the orthogonal matrix nearest to SᵀT + λI.
    """
    number = len(entities)
    mask = np.asarray(anchors, dtype=bool)
    x = as_matrix("source", source, number)
    y = as_matrix("target", target, number, x.shape[1])
    people = np.asarray(entities, dtype=str)[mask] if len(mask) == number else np.array([])
    if len(mask) != number or len(np.unique(people)) < LEAST_ANCHORS:
        raise DataError(
            f"{len(np.unique(people))} untouched entities for an alignment of {number} rows; "
            f"{LEAST_ANCHORS} are the least, and a mark per row is needed"
        )
    whole = _Anchors.of(x[mask], y[mask])
    parts = GroupKFold(n_splits=min(folds, len(np.unique(people))))
    splits = list(parts.split(x[mask], groups=people))
    maps = [whole.maps(train, strengths) for train, _ in splits]
    errors = sum(
        np.array([whole.error(one, test) for one in own])
        for own, (_, test) in zip(maps, splits, strict=True)
    )
    best = int(np.argmin(errors))
    (final,) = whole.maps(np.arange(int(mask.sum())), strengths[best : best + 1])
    recentred, aligned = whole.carry(final, x)
    inside = np.flatnonzero(mask)
    for own, (_, test) in zip(maps, splits, strict=True):
        recentred[inside[test]], aligned[inside[test]] = whole.carry(own[best], x[inside[test]])
    return Carried(recentred=recentred, aligned=aligned)


class _Map(NamedTuple):
    """A shift of means and a rotation, in the anchors' coordinates and standardised units."""

    source: Float[np.ndarray, " width"]
    target: Float[np.ndarray, " width"]
    turn: Float[np.ndarray, "rank rank"]


@dataclass(frozen=True, kw_only=True)
class _Anchors:
    """Both states' anchor rows in units of the target's deviations, and the span of the two."""

    scale: Float[np.ndarray, " width"]
    basis: Float[np.ndarray, "width rank"]
    source: Float[np.ndarray, "anchor width"]
    target: Float[np.ndarray, "anchor width"]
    source_in_basis: Float[np.ndarray, "anchor rank"]
    target_in_basis: Float[np.ndarray, "anchor rank"]

    @classmethod
    def of(
        cls, x: Float[np.ndarray, "anchor width"], y: Float[np.ndarray, "anchor width"]
    ) -> "_Anchors":
        scale = y.std(axis=0)
        scale = np.where(scale > 1e-8 * scale.max(), scale, 1.0)
        x, y = x / scale, y / scale
        basis = np.linalg.qr(np.concatenate([x - x.mean(axis=0), y - y.mean(axis=0)]).T)[0]
        return cls(
            scale=scale,
            basis=basis,
            source=x,
            target=y,
            source_in_basis=(x - x.mean(axis=0)) @ basis,
            target_in_basis=(y - y.mean(axis=0)) @ basis,
        )

    def maps(self, rows: np.ndarray, strengths: Sequence[float]) -> list[_Map]:
        """One map per strength, fitted on some of the anchors."""
        s, t = self.source_in_basis[rows], self.target_in_basis[rows]
        s, t = s - s.mean(axis=0), t - t.mean(axis=0)
        unit = np.sum(t**2) / max(len(t), 1)
        same = np.eye(s.shape[1])
        found = []
        for strength in strengths:
            turn = same
            if np.isfinite(strength) and unit > 0:
                left, _, right = np.linalg.svd(s.T @ t + strength * unit * same)
                turn = left @ right
            found.append(
                _Map(
                    source=self.source[rows].mean(axis=0),
                    target=self.target[rows].mean(axis=0),
                    turn=turn,
                )
            )
        return found

    def error(self, one: _Map, rows: np.ndarray) -> float:
        """Squared distance of carried anchors to where they should be."""
        moved = self._turned(one, self.source[rows] - one.source) + one.target
        return float(np.sum((moved - self.target[rows]) ** 2))

    def carry(self, one: _Map, x: Float[np.ndarray, "row width"]) -> Carried:
        centred = x / self.scale - one.source
        return Carried(
            recentred=(centred + one.target) * self.scale,
            aligned=(self._turned(one, centred) + one.target) * self.scale,
        )

    def _turned(self, one: _Map, z: Float[np.ndarray, "row width"]) -> np.ndarray:
        """Rotated inside the span, as it was outside of it."""
        return z + z @ self.basis @ (one.turn - np.eye(len(one.turn))) @ self.basis.T
