"""What a probe gives back: how well held-out rows are read, and the same for its controls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from restor_interp.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well held-out rows are read."""

    ranks: Float[np.ndarray, " row"]
    """Place of the row's label among its candidates, 1 for the first; a tie counts half."""

    @classmethod
    def of(
        cls,
        scores: Float[np.ndarray, "row label"],
        index: Int[np.ndarray, " row"],
        allowed: Bool[np.ndarray, "row label"],
    ) -> "Score":
        """Rank each row's own label among the labels that it is allowed."""
        bad = np.flatnonzero(np.isnan(scores).any(axis=1))
        if len(bad):
            raise DataError(f"a probe gave {len(bad)} rows values that are not numbers")
        own = np.take_along_axis(scores, index[:, None], axis=1)
        rivals = allowed.copy()
        np.put_along_axis(rivals, index[:, None], False, axis=1)
        above = ((scores > own) & rivals).sum(axis=1)
        level = ((scores == own) & rivals).sum(axis=1)
        return cls(ranks=1.0 + above + 0.5 * level)

    def only(self, rows: Bool[np.ndarray, " row"]) -> "Score":
        """The score of some of the rows."""
        return Score(ranks=self.ranks[rows])

    @cached_property
    def accuracy(self) -> float:
        """Share of rows whose label comes first, ties not counted."""
        return float(np.mean(self.ranks == 1))

    @cached_property
    def reciprocal_rank(self) -> float:
        """Mean of 1 / rank."""
        return float(np.mean(1 / self.ranks))


class Reader(Protocol):
    """Something fitted that scores every label on rows of activations."""

    def scores(self, x: Float[np.ndarray, "row width"], /) -> Float[np.ndarray, "row label"]: ...


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear reader, in the units of the activations."""

    weights: Float[np.ndarray, "width label"]
    intercept: Float[np.ndarray, " label"]

    def scores(self, x: Float[np.ndarray, "row width"]) -> Float[np.ndarray, "row label"]:
        return x @ self.weights + self.intercept


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A fit on all rows, and the strength that was chosen for it, if it has one."""

    reader: Reader
    setting: float | None


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A read-out, its scores on entities it was not fitted on, and its controls."""

    labels: tuple[str, ...]
    """Every label that it can name."""
    fit_whole: Callable[[], "Whole"] = field(repr=False)
    """Makes the fit on all rows, which the scores do not need."""
    score: Score
    """Every row read by the fit that has not seen its entity."""
    chance: float
    """Accuracy of guessing among each row's candidates."""
    prior: Score
    """Every row answered with the commonest label of its stratum in the training rows."""
    shuffled: tuple[Score, ...]
    """The same probe with labels shuffled: what the frequencies of labels alone give. Where rows
    were split by template and units are kept together, this is a control task."""
    transfer: Mapping[str, Score]
    """The same fits reading other activations of the same rows, such as another state's."""
    transfer_shuffled: Mapping[str, tuple[Score, ...]]
    """The fits on shuffled labels reading them."""

    @cached_property
    def whole(self) -> "Whole":
        """The fit on all rows."""
        return self.fit_whole()

    @property
    def setting(self) -> float | None:
        """Strength of the regularisation chosen on all rows, in units of `RIDGES`; none where the
        kind has none (difference of means) or an estimator keeps its own settings."""
        return self.whole.setting

    def predict(self, activations: Float[np.ndarray, "row width"]) -> list[str]:
        """The best label of each row, among all labels, by the fit on all rows."""
        scores = self.whole.reader.scores(np.asarray(activations, dtype=np.float64))
        return [self.labels[index] for index in scores.argmax(axis=1)]

    @property
    def weights(self) -> Float[np.ndarray, "width label"]:
        """Fitted on all rows, in the units of the activations."""
        return self._linear().weights

    @property
    def intercept(self) -> Float[np.ndarray, " label"]:
        return self._linear().intercept

    @property
    def direction(self) -> Float[np.ndarray, " width"]:
        """From the first of two labels to the second, in the units of the activations."""
        if len(self.labels) != 2:
            raise ConfigError(
                f"a probe of {len(self.labels)} labels has no one direction: see `weights`"
            )
        return self.weights[:, 1] - self.weights[:, 0]

    @property
    def p_value(self) -> float:
        """One-sided permutation p-value of the mean reciprocal rank."""
        return permutation_p(self.score, self.shuffled)

    def _linear(self) -> Linear:
        if not isinstance(self.whole.reader, Linear):
            raise ConfigError("only a linear probe has weights; this one is an estimator's")
        return self.whole.reader


def permutation_p(score: Score, shuffled: Sequence[Score]) -> float:
    """Share of scores, this one among them, whose mean reciprocal rank is as high."""
    as_high = sum(one.reciprocal_rank >= score.reciprocal_rank for one in shuffled)
    return (1 + as_high) / (1 + len(shuffled))


def mean_accuracy(scores: Sequence[Score]) -> float:
    """NaN without any."""
    return float(np.mean([score.accuracy for score in scores])) if scores else float("nan")
