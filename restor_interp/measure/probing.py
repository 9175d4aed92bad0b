"""Linear probes: what can be read from activations about entities that the probe has not seen?

A probe is a ridge regression from activations onto one target vector per label: its one-hot
vector (a classifier), or a vector of its own such as the object's unembedding row (a read-out,
which can name labels that it was never trained on). A row's labels are ranked by the inner
product of the prediction with their targets, among the row's own candidates.

Rows are split by entity, because a probe that has seen the entity can simply remember it. The
strength of the ridge is chosen inside the training rows, leaving out one group of entities at a
time in closed form. One eigendecomposition per fold serves every strength, every shuffled
control and every other set of activations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.model_selection import GroupKFold

from restor_interp.errors import DataError
from restor_interp.measure.ridge import Spectrum

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2)
"""Strengths that are tried, in units of the mean squared norm of a standardised row."""

SKETCH = 32
"""Targets of more dimensions than this are projected to so many for choosing the strength."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well held-out rows are read."""

    ranks: Float[np.ndarray, " row"]
    """Place of the row's label among its candidates, 1 for the first; a tie counts half."""

    @cached_property
    def accuracy(self) -> float:
        """Share of rows whose label comes first, ties not counted."""
        return float(np.mean(self.ranks == 1))

    @cached_property
    def reciprocal_rank(self) -> float:
        """Mean of 1 / rank."""
        return float(np.mean(1 / self.ranks))


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A linear read-out, its scores on entities it was not fitted on, and its controls."""

    labels: tuple[str, ...]
    """Every label that it can name."""
    weights: Float[np.ndarray, "width label"]
    """Fitted on all rows, in the units of the activations; a binary probe's direction is
    `weights[:, 1] - weights[:, 0]`."""
    intercept: Float[np.ndarray, " label"]
    ridge: float
    """Strength chosen on all rows, in units of `RIDGES`."""
    score: Score
    """Every row read by the fit that has not seen its entity."""
    chance: float
    """Accuracy of guessing among each row's candidates."""
    shuffled: tuple[Score, ...]
    """The same with labels shuffled: what the frequencies of labels alone give."""
    transfer: Mapping[str, Score]
    """The same fits reading other activations of the same rows, such as another state's."""

    def predict(self, activations: Float[np.ndarray, "row width"]) -> list[str]:
        """The best label of each row, among all labels, by the fit on all rows."""
        scores = np.asarray(activations, dtype=np.float64) @ self.weights + self.intercept
        return [self.labels[index] for index in scores.argmax(axis=1)]

    @property
    def p_value(self) -> float:
        """One-sided permutation p-value of the mean reciprocal rank."""
        beaten_by = sum(
            shuffled.reciprocal_rank >= self.score.reciprocal_rank for shuffled in self.shuffled
        )
        return (1 + beaten_by) / (1 + len(self.shuffled))


def fit_probe(
    activations: Float[np.ndarray, "row width"],
    labels: Sequence[str],
    *,
    entities: Sequence[str],
    vectors: Mapping[str, Float[np.ndarray, " target"]] | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    strata: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    transfer: Mapping[str, Float[np.ndarray, "row width"]] | None = None,
    folds: int = 5,
    permutations: int = 20,
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> Probe:
    """Fit a linear probe and score it on entities that it has not seen.

    Args:
        activations: one row per example. Features are standardised on the training rows, since
            a few directions of a residual stream are hundreds of times larger than the others.
        labels: what each row should say.
        entities: whom each row is about; an entity's rows are never in both training and test.
        vectors: target vector of every label and candidate (centred and scaled to length 1
            here); without them the targets are one-hot.
        candidates: labels that each row is ranked among, its own included (default: all).
        strata: labels are shuffled within these, for example within a relation, so that the
            shuffled control keeps the relation's frequencies of answers (default: one stratum).
        units: rows of one unit, for example of one fact, keep one label when labels are shuffled
            (default: every row is its own).
        transfer: other activations of the same rows, read by the same fits.
        ridges: strengths to choose from. Shuffled labels use the strength of the real ones.

    Raises:
        DataError: lengths that differ, activations that are not finite, a single label, fewer
            entities than folds, a label without a vector or outside its row's candidates.

    Ridge in its dual form, with leave-one-group-out residuals in closed form: Hastie, Tibshirani
    and Friedman, The Elements of Statistical Learning, 2nd ed., §3.4.1 and eq. 5.26 (there for
    one row; here for the rows of a group). Entity splits and shuffled labels: Hewitt and Liang
    2019 (whose control task is vacuous under such splits).
    """
    x = _matrix("activations", activations, len(labels))
    others = {
        name: _matrix(f"transfer[{name!r}]", other, len(labels), x.shape[1])
        for name, other in (transfer or {}).items()
    }
    for name, values in (
        ("entities", entities),
        ("candidates", candidates),
        ("strata", strata),
        ("units", units),
    ):
        if values is not None and len(values) != len(labels):
            raise DataError(f"{len(values)} {name} for {len(labels)} labels; give one per row")
    names, index, targets = _targets(labels, vectors)
    allowed = _allowed(labels, candidates, names)
    groups = np.unique(np.asarray(entities, dtype=str), return_inverse=True)[1]
    if groups.max() + 1 < max(folds, 3):
        raise DataError(
            f"{groups.max() + 1} entities cannot be split into {folds} folds (and 3 are the least);"
            " give more entities, or fewer folds"
        )

    rng = np.random.default_rng(seed)
    shuffles = _shuffles(index, units, strata, permutations, rng)
    read = {name: np.empty((len(index), len(names))) for name in ("own", *others)}
    shuffled = np.empty((permutations, len(index), len(names)))
    splits = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    for train, test in splits.split(x, groups=groups):
        fit = Spectrum.of(x[train])
        strength = _choose(fit, targets[index[train]], groups[train], ridges, rng)
        for name, rows in (("own", x), *others.items()):
            smoother = fit.smoother(rows[test], strength)
            read[name][test] = _scores(smoother, index[train], targets)
        smoother = fit.smoother(x[test], strength)
        for number, shuffle in enumerate(shuffles):
            shuffled[number, test] = _scores(smoother, shuffle[train], targets)

    whole = Spectrum.of(x)
    strength = _choose(whole, targets[index], groups, ridges, rng)
    weights, intercept = whole.weights(targets[index], strength)
    return Probe(
        labels=tuple(names),
        weights=weights @ targets.T,
        intercept=intercept @ targets.T,
        ridge=strength,
        score=_score(read["own"], index, allowed),
        chance=float(np.mean(1 / allowed.sum(axis=1))),
        shuffled=tuple(
            _score(scores, shuffle, allowed)
            for scores, shuffle in zip(shuffled, shuffles, strict=True)
        ),
        transfer={name: _score(read[name], index, allowed) for name in others},
    )


def _choose(
    fit: Spectrum,
    y: Float[np.ndarray, "row target"],
    groups: Int[np.ndarray, " row"],
    ridges: Sequence[float],
    rng: np.random.Generator,
) -> float:
    """The strength with the least error on entities left out."""
    if y.shape[1] > SKETCH:
        y = y @ rng.standard_normal((y.shape[1], SKETCH))
    return min(ridges, key=lambda strength: fit.left_out(y, groups, strength))


def _scores(
    smoother: Float[np.ndarray, "test row"],
    index: Int[np.ndarray, " row"],
    targets: Float[np.ndarray, "label target"],
) -> Float[np.ndarray, "test label"]:
    """Inner product of each prediction with every label's target."""
    y = targets[index]
    prediction = y.mean(axis=0) + smoother @ (y - y.mean(axis=0))
    return prediction @ targets.T


def _score(
    scores: Float[np.ndarray, "row label"],
    index: Int[np.ndarray, " row"],
    allowed: Bool[np.ndarray, "row label"],
) -> Score:
    own = np.take_along_axis(scores, index[:, None], axis=1)
    rivals = allowed.copy()
    np.put_along_axis(rivals, index[:, None], False, axis=1)
    above = ((scores > own) & rivals).sum(axis=1)
    level = ((scores == own) & rivals).sum(axis=1)
    return Score(ranks=1.0 + above + 0.5 * level)


def _shuffles(
    index: Int[np.ndarray, " row"],
    units: Sequence[str] | None,
    strata: Sequence[str] | None,
    permutations: int,
    rng: np.random.Generator,
) -> list[Int[np.ndarray, " row"]]:
    """Labels exchanged between units of one stratum."""
    rows = np.arange(len(index))
    unit = rows if units is None else np.unique(np.asarray(units, str), return_inverse=True)[1]
    stratum = np.zeros_like(rows)
    if strata is not None:
        stratum = np.unique(np.asarray(strata, str), return_inverse=True)[1]
    first = np.unique(unit, return_index=True)[1]
    for name, values in (("label", index), ("stratum", stratum)):
        if np.any(values[first][unit] != values):
            raise DataError(f"a unit has rows of more than one {name}; give smaller units")
    label_of, stratum_of = index[first], stratum[first]
    found = []
    for _ in range(permutations):
        shuffled = label_of.copy()
        for value in np.unique(stratum_of):
            members = np.flatnonzero(stratum_of == value)
            shuffled[members] = label_of[rng.permutation(members)]
        found.append(shuffled[unit])
    return found


def _targets(
    labels: Sequence[str], vectors: Mapping[str, Float[np.ndarray, " target"]] | None
) -> tuple[list[str], Int[np.ndarray, " row"], Float[np.ndarray, "label target"]]:
    """Label names, the label of each row, and each label's target."""
    names = sorted(set(labels) if vectors is None else vectors)
    lacking = sorted(set(labels) - set(names))
    if lacking:
        raise DataError(f"no vector for the labels {', '.join(lacking[:5])}; give one for each")
    if len(set(labels)) < 2:
        raise DataError(f"every row has the label {labels[0]!r}; a probe needs two or more")
    position = {name: number for number, name in enumerate(names)}
    index = np.array([position[label] for label in labels])
    if vectors is None:
        return names, index, np.eye(len(names))
    rows = _matrix("vectors", np.stack([vectors[name] for name in names]), len(names))
    rows = rows - rows.mean(axis=0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if np.any(lengths <= 1e-6 * lengths.max()):
        raise DataError("a label's vector is the mean of all vectors: it has no direction")
    # The same inner products in as few dimensions as there are labels.
    left, singular, _ = np.linalg.svd(rows / lengths, full_matrices=False)
    return names, index, left * singular


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


def _matrix(
    name: str, values: Float[np.ndarray, "row width"], rows: int, width: int | None = None
) -> Float[np.ndarray, "row width"]:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or len(x) != rows or (width is not None and x.shape[1] != width):
        asked = f"[{rows}, {'width' if width is None else width}]"
        raise DataError(f"{name} has the shape {list(x.shape)}, and should have {asked}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise DataError(f"{name}: {len(bad)} rows are not finite, the first is row {bad[0]}")
    return x
