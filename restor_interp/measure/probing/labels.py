"""Labels of a probe: what each row should say, among which candidates, and how it is shuffled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from restor_interp.errors import DataError
from restor_interp.measure.probing.folds import as_matrix


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Checked labels of every row."""

    names: tuple[str, ...]
    """Every label that can be named, in order."""
    index: Int[np.ndarray, " row"]
    """The label of each row."""
    allowed: Bool[np.ndarray, "row label"]
    """What each row is ranked among."""
    targets: Float[np.ndarray, "label target"]
    """What a regression predicts for each label."""
    strata: Int[np.ndarray, " row"]
    units: Int[np.ndarray, " row"]

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        *,
        vectors: Mapping[str, Float[np.ndarray, " target"]] | None = None,
        candidates: Sequence[Sequence[str]] | None = None,
        strata: Sequence[str] | None = None,
        units: Sequence[str] | None = None,
    ) -> "Labels":
        """Raises `DataError` for lengths that differ, a single label, a label without a vector or
        outside its row's candidates, a unit of more than one label."""
        given = {"candidates": candidates, "strata": strata, "units": units}
        for name, values in given.items():
            if values is not None and len(values) != len(labels):
                raise DataError(f"{len(values)} {name} for {len(labels)} labels; give one per row")
        names, index, targets = _targets(labels, vectors)
        rows = np.arange(len(index))
        found = cls(
            names=tuple(names),
            index=index,
            allowed=_allowed(labels, candidates, names),
            targets=targets,
            strata=np.zeros_like(rows) if strata is None else _numbered(strata),
            units=rows if units is None else _numbered(units),
        )
        first = np.unique(found.units, return_index=True)[1]
        for name, values in (("label", found.index), ("stratum", found.strata)):
            if np.any(values[first][found.units] != values):
                raise DataError(f"a unit has rows of more than one {name}; give smaller units")
        return found

    @cached_property
    def chance(self) -> float:
        """Accuracy of guessing among each row's candidates."""
        return float(np.mean(1 / self.allowed.sum(axis=1)))

    @cached_property
    def similarity(self) -> Float[np.ndarray, "label label"]:
        """Inner products of the targets; zero in the rows of labels that no row has."""
        found = np.zeros((len(self.names), len(self.names)))
        present = np.unique(self.index)
        found[present] = self.targets[present] @ self.targets.T
        return found

    def shuffles(self, times: int, rng: np.random.Generator) -> list[Int[np.ndarray, " row"]]:
        """Labels exchanged between units of one stratum."""
        first = np.unique(self.units, return_index=True)[1]
        label_of, stratum_of = self.index[first], self.strata[first]
        found = []
        for _ in range(times):
            shuffled = label_of.copy()
            for value in np.unique(stratum_of):
                members = np.flatnonzero(stratum_of == value)
                shuffled[members] = label_of[rng.permutation(members)]
            found.append(shuffled[self.units])
        return found

    def frequencies(
        self, train: Int[np.ndarray, " train"], test: Int[np.ndarray, " test"]
    ) -> Float[np.ndarray, "test label"]:
        """How often the training rows of each test row's stratum have each label."""
        counts = np.zeros((self.strata.max() + 1, len(self.names)))
        np.add.at(counts, (self.strata[train], self.index[train]), 1)
        return counts[self.strata[test]]


def _numbered(values: Sequence[str]) -> Int[np.ndarray, " row"]:
    return np.unique(np.asarray(values, dtype=str), return_inverse=True)[1]


def _targets(
    labels: Sequence[str], vectors: Mapping[str, Float[np.ndarray, " target"]] | None
) -> tuple[list[str], Int[np.ndarray, " row"], Float[np.ndarray, "label target"]]:
    """Label names, the label of each row, and each label's target."""
    names = sorted(set(labels) if vectors is None else vectors)
    lacking = sorted(set(labels) - set(names))
    if lacking:
        raise DataError(f"no vector for the labels {', '.join(lacking[:5])}; give one for each")
    if not labels:
        raise DataError("there are no rows to fit a probe on")
    if len(set(labels)) < 2:
        raise DataError(f"every row has the label {labels[0]!r}; a probe needs two or more")
    position = {name: number for number, name in enumerate(names)}
    index = np.array([position[label] for label in labels])
    if vectors is None:
        return names, index, np.eye(len(names))
    rows = as_matrix("vectors", np.stack([vectors[name] for name in names]), len(names))
    rows = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if np.any(lengths <= 1e-6 * lengths.max()):
        raise DataError("a label's vector is the mean of all vectors: it has no direction")
    return names, index, rows / lengths


def _allowed(
    labels: Sequence[str], candidates: Sequence[Sequence[str]] | None, names: Sequence[str]
) -> Bool[np.ndarray, "row label"]:
    if candidates is None:
        return np.ones((len(labels), len(names)), dtype=bool)
    position = {name: number for number, name in enumerate(names)}
    allowed = np.zeros((len(labels), len(names)), dtype=bool)
    for row, (label, own) in enumerate(zip(labels, candidates, strict=True)):
        unknown = [name for name in own if name not in position]
        if unknown:
            raise DataError(f"row {row}: the candidate {unknown[0]!r} is no label of this probe")
        if label not in own or len(set(own)) < 2:
            raise DataError(
                f"row {row}: {len(set(own))} candidates for the label {label!r}; give it and at "
                "least one other"
            )
        allowed[row, [position[name] for name in own]] = True
    return allowed
