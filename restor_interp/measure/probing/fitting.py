"""Fit a probe, score it on entities that it has not seen, and its controls with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from restor_interp.errors import ConfigError, DataError, unknown_name
from restor_interp.measure.probing.estimators import Estimated, as_estimator
from restor_interp.measure.probing.folds import Folds, as_matrix
from restor_interp.measure.probing.labels import Labels
from restor_interp.measure.probing.learners import (
    LOGISTIC_RIDGES,
    RIDGES,
    Discriminant,
    Kind,
    Learner,
    Logistic,
    MeanDifference,
    Ridge,
)
from restor_interp.measure.probing.scores import Probe, Score, Whole


def fit_probe(
    activations: Float[np.ndarray, "row width"] | Folds,
    labels: Sequence[str],
    *,
    entities: Sequence[str] | None = None,
    vectors: Mapping[str, Float[np.ndarray, " target"]] | None = None,
    candidates: Sequence[Sequence[str]] | None = None,
    strata: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    transfer: Mapping[str, Float[np.ndarray, "row width"]] | None = None,
    estimator: Any = None,
    settings: Mapping[str, Sequence[Any]] | None = None,
    split_by: Sequence[str] | None = None,
    folds: int = 5,
    permutations: int = 20,
    ridges: Sequence[float] = RIDGES,
    seed: int = 0,
) -> Probe:
    """Fit a probe (by default a linear one) and score it on entities that it has not seen.

    Args:
        activations: one row per example, or `Folds` of them, which several probes share: their
            decompositions are then made once. Features are standardised on the training rows,
            since a few directions of a residual stream are hundreds of times larger than others.
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
        estimator: in place of ridge regression, any scikit-learn classifier (it learns labels) or
            regressor (it learns the targets), or a torch module, or a function (width, number
            of labels) that makes one, trained as `TorchProbe` says. It sees standardised rows.
        settings: a grid of the estimator's parameters, such as `{"C": [0.01, 1]}`: the best on
            training entities left out is taken, and kept for the shuffled labels.
        split_by: as in `Folds`: templates or contexts in place of entities.
        ridges: strengths to choose from. Shuffled labels use the strength of the real ones.

    Raises:
        DataError: lengths that differ, activations that are not finite or of another width, a
            single label, fewer entities than folds, a label without a vector or outside its row's
            candidates.
        ConfigError: an estimator without `fit` and `predict`, or a setting that it has not.

    Ridge in its dual form, with leave-one-group-out residuals in closed form: Hastie, Tibshirani
    and Friedman, The Elements of Statistical Learning, 2nd ed., §3.4.1 and eq. 5.26 (there for
    one row; here for the rows of a group). Entity splits and shuffled labels: Hewitt and Liang
    2019, whose control task is vacuous under such splits; with `split_by` and `units` the
    shuffled labels are that task.
    """
    checked = Labels.of(labels, vectors=vectors, candidates=candidates, strata=strata, units=units)
    split = _split(activations, labels, entities, split_by, folds, seed)
    shuffles = checked.shuffles(permutations, np.random.default_rng(seed))
    learner: Learner = Ridge(labels=checked, ridges=ridges, seed=seed)
    if estimator is not None:
        learner = Estimated(
            estimator=as_estimator(estimator, seed=seed),
            labels=checked,
            settings=settings,
            has_vectors=vectors is not None,
        )
    elif settings is not None:
        raise ConfigError("`settings` are those of an `estimator`; a ridge has `ridges`")
    return _held_out(split, checked, learner, shuffles, transfer or {})


def fit_direction(
    activations: Float[np.ndarray, "row width"] | Folds,
    labels: Sequence[str],
    *,
    kind: Kind = "lda",
    entities: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    transfer: Mapping[str, Float[np.ndarray, "row width"]] | None = None,
    split_by: Sequence[str] | None = None,
    folds: int = 5,
    permutations: int = 20,
    ridges: Sequence[float] | None = None,
    seed: int = 0,
) -> Probe:
    """Fit the direction that separates two labels, and score it on entities it has not seen.

    Args:
        kind: `mean_difference`, from one class mean to the other, cut half-way (Marks and Tegmark
            2023 call it mass-mean); `lda`, Fisher's discriminant with a regularised covariance
            and the classes' frequencies; `logistic`, by scikit-learn. Of the three only the
            difference of means does not depend on how activations vary within a class.
        ridges: strengths to choose from, on training entities left out.

    The other arguments are those of `fit_probe`. The probe's `direction` points from the first of
    the two labels to the second, in alphabetical order.

    Raises:
        DataError: as `fit_probe`; more than two labels; a fold whose training rows have only one.
        ConfigError: a kind that does not exist.
    """
    kinds: dict[str, Learner] = {
        "mean_difference": MeanDifference(),
        "lda": Discriminant(ridges=ridges or RIDGES),
        "logistic": Logistic(ridges=ridges or LOGISTIC_RIDGES, seed=seed),
    }
    if kind not in kinds:
        raise unknown_name("kind of direction", kind, kinds)
    checked = Labels.of(labels, strata=strata, units=units)
    if len(checked.names) != 2:
        raise DataError(
            f"a direction separates two labels, found {len(checked.names)}: "
            f"{', '.join(checked.names[:5])}; use fit_probe, or leave rows out"
        )
    split = _split(activations, labels, entities, split_by, folds, seed)
    shuffles = checked.shuffles(permutations, np.random.default_rng(seed))
    return _held_out(split, checked, kinds[kind], shuffles, transfer or {})


def _split(
    activations: Float[np.ndarray, "row width"] | Folds,
    labels: Sequence[str],
    entities: Sequence[str] | None,
    split_by: Sequence[str] | None,
    folds: int,
    seed: int,
) -> Folds:
    if isinstance(activations, Folds):
        if entities is not None or split_by is not None:
            raise ConfigError("`Folds` are split already: leave `entities` and `split_by` out")
        if len(activations) != len(labels):
            raise DataError(f"{len(labels)} labels for {len(activations)} rows; give one per row")
        return activations
    if entities is None:
        raise ConfigError("say whom each row is about (`entities`): a probe is scored on others")
    x = as_matrix("activations", activations, len(labels))
    if len(entities) != len(labels):
        raise DataError(f"{len(entities)} entities for {len(labels)} labels; give one per row")
    return Folds(x, entities=entities, split_by=split_by, folds=folds, seed=seed)


def _held_out(
    folds: Folds,
    labels: Labels,
    learner: Learner,
    shuffles: Sequence[np.ndarray],
    transfer: Mapping[str, Float[np.ndarray, "row width"]],
) -> Probe:
    """Every row read by the fit of the fold in which it is a test row."""
    number, width = folds.x.shape
    others = {
        name: as_matrix(f"transfer[{name!r}]", other, number, width)
        for name, other in transfer.items()
    }
    shape = (number, len(labels.names))
    asked = [labels.index, *shuffles]  # the real labels first
    own = np.empty((len(asked), *shape))
    read = {name: np.empty((len(asked), *shape)) for name in others}
    prior = np.empty(shape)
    for fold in folds:
        train, test = fold.train, fold.test
        setting = learner.choose(fold, labels.index[train])
        rows = {name: fold.rows(other[test]) for name, other in others.items()}
        for place, index in enumerate(asked):
            fitted = learner.fit(fold, index[train], setting)
            own[place, test] = fitted.scores(fold.own)
            for name in others:
                read[name][place, test] = fitted.scores(rows[name])
        prior[test] = labels.frequencies(train, test)

    def score(scores: Float[np.ndarray, "time row label"]) -> tuple[Score, ...]:
        return tuple(
            Score.of(one, index, labels.allowed) for one, index in zip(scores, asked, strict=True)
        )

    def whole() -> Whole:
        fold = folds.whole
        setting = learner.choose(fold, labels.index)
        return Whole(
            reader=learner.fit(fold, labels.index, setting).kept(fold),
            setting=setting if isinstance(setting, float) else None,
        )

    real, *shuffled = score(own)
    other_scores = {name: score(scores) for name, scores in read.items()}
    return Probe(
        labels=labels.names,
        fit_whole=whole,
        score=real,
        chance=labels.chance,
        prior=Score.of(prior, labels.index, labels.allowed),
        shuffled=tuple(shuffled),
        transfer={name: scores[0] for name, scores in other_scores.items()},
        transfer_shuffled={name: scores[1:] for name, scores in other_scores.items()},
    )
