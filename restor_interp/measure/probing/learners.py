"""Kinds of linear probes: each chooses its strength and fits, in the coordinates of a fold.

    ridge             regression onto each label's target; labels are ranked by inner product
    mean_difference   which of two class means is nearer, along the line that joins them
    lda               Fisher's discriminant with a within-class covariance to which the ridge's
                      penalty is added
    logistic          logistic regression with a quadratic penalty

The features are standardised on the training rows. All four see the same coordinates: a quadratic
penalty keeps the weights inside the span of the training rows, so that nothing is lost there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from jaxtyping import Float, Int
from sklearn import config_context
from sklearn.linear_model import LogisticRegression

from restor_interp.errors import DataError
from restor_interp.measure.probing.folds import Fold, Rows, split_groups
from restor_interp.measure.probing.labels import Labels
from restor_interp.measure.probing.scores import Linear, Reader

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Strengths that are tried, in units of the mean squared norm of a standardised row."""

LOGISTIC_RIDGES = (1e-2, 1e-1, 1.0)
"""The same for logistic regression, which is fitted anew for each."""

SKETCH = 32
"""Targets of more dimensions than this are projected to so many for choosing the strength."""

Kind = Literal["mean_difference", "lda", "logistic"]


class FoldReader(Protocol):
    """Something fitted on a fold's training rows."""

    def scores(self, rows: Rows, /) -> Float[np.ndarray, "row label"]: ...

    def kept(self, fold: Fold) -> Reader:
        """What reads activations without the fold, to be kept."""
        ...


class Learner(Protocol):
    """A way to fit a probe."""

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> Any:
        """Settings, chosen within the training rows on entities left out."""
        ...

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: Any) -> FoldReader: ...


@dataclass(frozen=True, kw_only=True)
class InCoordinates:
    """A linear reader of a fold's coordinates."""

    weights: Float[np.ndarray, "rank label"]
    intercept: Float[np.ndarray, " label"]

    @classmethod
    def of_two(cls, weights: Float[np.ndarray, " rank"], intercept: float) -> "InCoordinates":
        """Of two labels, from their difference: the second is right where it is positive."""
        signs = np.array([-0.5, 0.5])
        return cls(weights=weights[:, None] * signs, intercept=intercept * signs)

    def scores(self, rows: Rows) -> Float[np.ndarray, "row label"]:
        return rows.coordinates @ self.weights + self.intercept

    def kept(self, fold: Fold) -> Linear:
        weights, intercept = fold.spectrum.in_units(self.weights, self.intercept)
        return Linear(weights=weights, intercept=intercept)


@dataclass(frozen=True, kw_only=True)
class RidgeReader:
    """A ridge's inner products with every label's target, kept as two factors."""

    smoother: Float[np.ndarray, "rank train"]
    """How much each training row adds to a prediction, by coordinate."""
    products: Float[np.ndarray, "train label"]
    """Each training row's target times every label's, less their mean."""
    mean: Float[np.ndarray, " label"]

    def scores(self, rows: Rows, /) -> Float[np.ndarray, "row label"]:
        return rows.coordinates @ self.smoother @ self.products + self.mean

    def kept(self, fold: Fold) -> Linear:
        return InCoordinates(weights=self.smoother @ self.products, intercept=self.mean).kept(fold)


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Regression onto the targets of labels."""

    labels: Labels
    ridges: Sequence[float]
    seed: int

    @cached_property
    def _sketched(self) -> Float[np.ndarray, "label target"]:
        """Fewer dimensions in which errors are about what they are in all of them."""
        targets = self.labels.targets
        if targets.shape[1] <= SKETCH:
            return targets
        drawn = np.random.default_rng(self.seed).standard_normal((targets.shape[1], SKETCH))
        return targets @ drawn

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> float:
        """The strength with the least error on entities left out, in closed form."""
        groups = fold.groups[fold.train]
        errors = fold.spectrum.left_out(self._sketched[index], groups, self.ridges)
        return self.ridges[int(np.argmin(errors))]

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: float) -> RidgeReader:
        products = self.labels.similarity[index]
        mean = products.mean(axis=0)
        return RidgeReader(
            smoother=fold.spectrum.smoother(setting), products=products - mean, mean=mean
        )


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """Which of two class means is nearer, along the line that joins them."""

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> None:
        del fold, index

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: None) -> InCoordinates:
        del setting
        first, second = _means(fold, index)
        apart = second - first
        return InCoordinates.of_two(apart, -float(apart @ (first + second)) / 2)


@dataclass(frozen=True, kw_only=True)
class Discriminant:
    """Fisher's linear discriminant of two classes, from the ridge regression onto them.

    With S the within-class scatter, d the difference of means and k = n₀ n₁ / n, the ridge of
    penalty α onto the labels 0 and 1 has the weights w = (S + αI + k d dᵀ)⁻¹ k d. By Sherman and
    Morrison these are (S + αI)⁻¹ k d (1 − dᵀw): the direction of the discriminant whose
    within-class covariance is (S + αI) / n, and its length once dᵀw is known.
    """

    ridges: Sequence[float]

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> float:
        errors = fold.spectrum.left_out(
            index[:, None].astype(float), fold.groups[fold.train], self.ridges
        )
        return self.ridges[int(np.argmin(errors))]

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: float) -> InCoordinates:
        first, second = _means(fold, index)
        weights = fold.spectrum.coefficients(index[:, None].astype(float), setting)[:, 0]
        number, ones = len(index), int(index.sum())
        explained = float((second - first) @ weights)
        length = number**2 / (ones * (number - ones)) / max(1 - explained, 1e-12)
        weights = length * weights
        prior = np.log(ones / (number - ones))
        return InCoordinates.of_two(weights, prior - float(weights @ (first + second)) / 2)


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Logistic regression between two classes, by scikit-learn."""

    ridges: Sequence[float]
    seed: int
    folds: int = 3
    """Into which the training rows' entities are split for choosing the strength."""

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> float:
        """The strength with the least log loss on entities left out."""
        groups = tuple(fold.groups[fold.train].tolist())
        x, loss = fold.spectrum.own_coordinates, np.zeros(len(self.ridges))
        for train, test in split_groups(groups, min(self.folds, len(set(groups))), self.seed):
            if len(np.unique(index[train])) < 2:
                continue
            signs = 2 * index[test] - 1
            for number, strength in enumerate(self.ridges):
                fitted = _logistic(fold, x[train], index[train], strength)
                loss[number] += np.logaddexp(0, -signs * fitted.decision_function(x[test])).sum()
        return self.ridges[int(np.argmin(loss))]

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: float) -> InCoordinates:
        _means(fold, index)  # tells that a class is missing
        fitted = _logistic(fold, fold.spectrum.own_coordinates, index, setting)
        return InCoordinates.of_two(fitted.coef_[0], float(np.ravel(fitted.intercept_)[0]))


def _logistic(
    fold: Fold,
    x: Float[np.ndarray, "train rank"],
    index: Int[np.ndarray, " train"],
    strength: float,
) -> LogisticRegression:
    if not x.shape[1]:
        raise DataError(
            "the activations of all training rows are the same, so that there is nothing to fit: "
            "the embedding of a token that all prompts share, perhaps; choose a later layer"
        )
    penalty = max(fold.spectrum.penalty(strength), 1e-12)
    # Fitted hundreds of times on checked arrays: checking them again takes as long as the fit.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        return LogisticRegression(
            C=1 / penalty, solver="newton-cholesky", max_iter=1000, tol=1e-3
        ).fit(x, index)


def _means(
    fold: Fold, index: Int[np.ndarray, " train"]
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, " rank"]]:
    counts = np.bincount(index, minlength=2)
    if counts.min() == 0:
        people = len(np.unique(fold.groups[fold.train]))
        raise DataError(
            f"a fold's training rows ({len(index)}, about {people} entities) have one label alone; "
            "give both labels to more entities, or fewer folds"
        )
    sides = np.stack([index == 0, index == 1]) / counts[:, None]
    first, second = sides @ fold.spectrum.own_coordinates
    return first, second
