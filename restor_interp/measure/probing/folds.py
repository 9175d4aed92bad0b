"""Rows of activations split by entity; each fold is decomposed once, for every probe on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import GroupKFold

from restor_interp.errors import DataError
from restor_interp.measure.ridge import Spectrum

LEAST_ENTITIES = 3
"""With fewer, nothing is left to choose settings on once some are held out."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One way to part the rows; what is fitted sees the training rows alone."""

    x: Float[np.ndarray, "row width"]
    """All rows."""
    groups: Int[np.ndarray, " row"]
    """The entity of every row, as a number."""
    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]

    @cached_property
    def spectrum(self) -> Spectrum:
        return Spectrum.of(self.x[self.train])

    def rows(self, x: Float[np.ndarray, "row width"]) -> "Rows":
        """Any rows, as this fold sees them."""
        return Rows(spectrum=self.spectrum, x=x)

    @cached_property
    def own(self) -> "Rows":
        """The test rows."""
        return self.rows(self.x[self.test])

    @cached_property
    def learnt(self) -> "Rows":
        """The training rows."""
        return self.rows(self.x[self.train])


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of activations as a fold sees them, each form made once."""

    spectrum: Spectrum
    x: Float[np.ndarray, "row width"]

    @cached_property
    def standardised(self) -> Float[np.ndarray, "row width"]:
        """By mean and deviation of the fold's training rows."""
        return (self.x - self.spectrum.mean) / self.spectrum.scale

    @cached_property
    def coordinates(self) -> Float[np.ndarray, "row rank"]:
        """In the space that the standardised training rows span: what a linear probe with a
        quadratic penalty sees, in as few numbers as there are training rows."""
        return self.spectrum.coordinates(self.standardised)


class Folds:
    """Activations of labelled rows and their split into folds.

    Several probes on the same rows (other labels, other kinds) share one `Folds`: its
    decompositions are made on first use and kept as long as it is.
    """

    def __init__(
        self,
        activations: Float[np.ndarray, "row width"],
        *,
        entities: Sequence[str],
        split_by: Sequence[str] | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        """Split the rows.

        Args:
            entities: whom each row is about. Settings are always chosen on entities left out.
            split_by: rows of one value are never in both training and test (default: the
                entities). Templates or contexts, for what a probe says of entities that it has
                seen in other words; its shuffled labels are then a control task.

        Raises:
            DataError: lengths that differ, activations that are not finite, fewer values than
                folds, or fewer than `LEAST_ENTITIES` entities.
        """
        self.x = as_matrix("activations", activations, len(entities))
        self.entities = tuple(entities)
        self.groups = np.unique(np.asarray(entities, dtype=str), return_inverse=True)[1]
        self.seed = seed
        if split_by is not None and len(split_by) != len(entities):
            raise DataError(f"{len(split_by)} values of split_by for {len(entities)} rows")
        parted = np.unique(
            np.asarray(entities if split_by is None else split_by, dtype=str), return_inverse=True
        )[1]
        kind = "entities" if split_by is None else "values of split_by"
        found, people = len(np.unique(parted)), len(np.unique(self.groups))
        least = LEAST_ENTITIES if split_by is None else 2
        if found < max(folds, least):
            raise DataError(
                f"{found} {kind} cannot be split into {folds} folds (and {least} are the least); "
                f"give more {kind}, or fewer folds"
            )
        if people < LEAST_ENTITIES:
            raise DataError(f"{people} entities are too few: {LEAST_ENTITIES} are the least")
        self._folds = tuple(
            Fold(x=self.x, groups=self.groups, train=train, test=test)
            for train, test in split_groups(tuple(parted.tolist()), folds, seed)
        )

    def __iter__(self) -> Iterator[Fold]:
        return iter(self._folds)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.x)

    @cached_property
    def whole(self) -> Fold:
        """All rows to train on, none to test."""
        every = np.arange(len(self.x))
        return Fold(x=self.x, groups=self.groups, train=every, test=every[:0])


@lru_cache(maxsize=64)
def split_groups(
    groups: tuple[int, ...], folds: int, seed: int
) -> tuple[tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]], ...]:
    """Training and test rows of each fold: the same for every state that has the same rows."""
    splits = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return tuple(splits.split(np.empty((len(groups), 1)), groups=np.array(groups)))


def as_matrix(
    name: str, values: Float[np.ndarray, "row width"], rows: int, width: int | None = None
) -> Float[np.ndarray, "row width"]:
    """Checked activations, in double precision. Raises `DataError`."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or len(x) != rows or (width is not None and x.shape[1] != width):
        asked = f"[{rows}, {'width' if width is None else width}]"
        raise DataError(f"{name} has the shape {list(x.shape)}, and should have {asked}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise DataError(f"{name}: {len(bad)} rows are not finite, the first is row {bad[0]}")
    return x
