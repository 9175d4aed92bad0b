"""Probes of a user's own: any scikit-learn estimator, or a torch module trained by a small loop."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_regressor
from sklearn.model_selection import GridSearchCV, GroupKFold

from restor_interp.errors import ConfigError, DataError
from restor_interp.measure.probing.folds import Fold, Rows
from restor_interp.measure.probing.labels import Labels

INNER_FOLDS = 3
"""Into which the training rows' entities are split for choosing settings."""

MakeModule = Callable[[int, int], Any]
"""(width, number of labels) -> a torch module from [row, width] to [row, label]."""


class TorchProbe(ClassifierMixin, BaseEstimator):
    """A torch module as a scikit-learn classifier.

    It is trained for `steps` steps of AdamW on the cross-entropy of all training rows at once, on
    the CPU and in 32 bits. The seed governs how `make` draws its first weights and any dropout.
    """

    def __init__(
        self,
        make: MakeModule,
        *,
        steps: int = 200,
        learning_rate: float = 1e-2,
        weight_decay: float = 1e-2,
        seed: int = 0,
    ) -> None:
        self.make = make
        self.steps = steps
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.seed = seed

    def fit(self, X: Float[np.ndarray, "row width"], y: np.ndarray) -> Self:
        """Raises `DataError` for a module whose output is no [row, label], or that diverges."""
        import torch
        import torch.nn.functional as F

        self.classes_, index = np.unique(y, return_inverse=True)
        x = torch.as_tensor(X, dtype=torch.float32)
        targets = torch.as_tensor(index)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(self.seed)
            module = self.make(x.shape[1], len(self.classes_)).float().train()
            optimiser = torch.optim.AdamW(
                module.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
            )
            for _ in range(self.steps):
                optimiser.zero_grad()
                logits = module(x)
                if tuple(logits.shape) != (len(x), len(self.classes_)):
                    raise DataError(
                        f"a torch probe gave the shape {list(logits.shape)}, and should give "
                        f"[{len(x)}, {len(self.classes_)}]: a column per label"
                    )
                loss = F.cross_entropy(logits, targets)
                if not torch.isfinite(loss):
                    raise DataError("a torch probe's loss is not finite; lower its learning rate")
                loss.backward()
                optimiser.step()
        self.module_ = module.eval()
        return self

    def predict_proba(self, X: Float[np.ndarray, "row width"]) -> Float[np.ndarray, "row label"]:
        import torch

        with torch.no_grad():
            logits = self.module_(torch.as_tensor(X, dtype=torch.float32))
            return logits.double().softmax(dim=1).numpy()

    def predict(self, X: Float[np.ndarray, "row width"]) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def as_estimator(given: Any, *, seed: int) -> Any:
    """A scikit-learn estimator; a torch module, or what makes one, is wrapped in `TorchProbe`.

    Raises `ConfigError` for anything that cannot be fitted.
    """
    if not isinstance(given, type) and callable(getattr(given, "fit", None)):
        if not callable(getattr(given, "predict", None)):
            raise ConfigError(
                f"the estimator {type(given).__name__} has no `predict`: a probe has to say "
                "something of rows that it has not seen"
            )
        return given
    if not isinstance(given, type) and callable(getattr(given, "state_dict", None)):
        return TorchProbe(lambda width, labels: copy.deepcopy(given), seed=seed)
    if callable(given) and not isinstance(given, type):
        return TorchProbe(given, seed=seed)
    raise ConfigError(
        f"{given!r} is no estimator: give an instance with `fit` and `predict`, a torch module, "
        "or a function (width, number of labels) that makes one"
    )


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """The learner that an estimator is."""

    estimator: Any
    labels: Labels
    settings: Mapping[str, Sequence[Any]] | None
    has_vectors: bool

    def __post_init__(self) -> None:
        if self.has_vectors and not self._regresses:
            raise ConfigError(
                f"{type(self.estimator).__name__} learns labels, and has no use for `vectors`; "
                "leave them out, or give a regressor"
            )

    @property
    def _regresses(self) -> bool:
        try:
            return is_regressor(self.estimator)
        except AttributeError:  # has fit and predict, and none of scikit-learn's tags
            return False

    def _y(self, index: Int[np.ndarray, " train"]) -> np.ndarray:
        return self.labels.targets[index] if self._regresses else np.array(self.labels.names)[index]

    def choose(self, fold: Fold, index: Int[np.ndarray, " train"]) -> Any:
        """The estimator with its best settings, not fitted."""
        if self.settings is None:
            return self.estimator
        groups = fold.groups[fold.train]
        splits = GroupKFold(n_splits=min(INNER_FOLDS, len(np.unique(groups))))
        raising: Any = "raise"  # typed as a number in scikit-learn's stubs
        search = GridSearchCV(
            self.estimator, dict(self.settings), cv=splits, refit=False, error_score=raising
        )
        try:
            search.fit(fold.learnt.standardised, self._y(index), groups=groups)
        except ValueError as problem:
            raise ConfigError(
                f"the settings of {type(self.estimator).__name__} cannot be chosen: {problem}"
            ) from problem
        return _fresh(self.estimator).set_params(**search.best_params_)

    def fit(self, fold: Fold, index: Int[np.ndarray, " train"], setting: Any) -> "Fitted":
        fitted = _fresh(setting)
        fitted.fit(fold.learnt.standardised, self._y(index))
        return Fitted(
            estimator=fitted,
            names=self.labels.names,
            targets=self.labels.targets if self._regresses else None,
        )


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A fitted estimator that reads standardised rows."""

    estimator: Any
    names: tuple[str, ...]
    targets: Float[np.ndarray, "label target"] | None
    """What a regressor has learnt to predict."""
    mean: Float[np.ndarray, " width"] | float = 0.0
    scale: Float[np.ndarray, " width"] | float = 1.0

    def scores(
        self, rows: Rows | Float[np.ndarray, "row width"], /
    ) -> Float[np.ndarray, "row label"]:
        """A label that the training rows did not have comes last."""
        x = rows.standardised if isinstance(rows, Rows) else (rows - self.mean) / self.scale
        if self.targets is not None:
            return np.asarray(self.estimator.predict(x)).reshape(len(x), -1) @ self.targets.T
        classes = [str(name) for name in getattr(self.estimator, "classes_", self.names)]
        found = np.full((len(x), len(self.names)), -np.inf)
        for way in ("predict_proba", "decision_function"):
            if hasattr(self.estimator, way):
                values = np.asarray(getattr(self.estimator, way)(x), dtype=float)
                if values.ndim == 1:  # of two classes, in favour of the second
                    values = values[:, None] * [-0.5, 0.5]
                if values.shape[1] == len(classes):
                    found[:, [self.names.index(name) for name in classes]] = values
                    return found
        said = np.asarray(self.estimator.predict(x)).astype(str)
        return (said[:, None] == np.array(self.names)).astype(float)

    def kept(self, fold: Fold) -> "Fitted":
        return Fitted(
            estimator=self.estimator,
            names=self.names,
            targets=self.targets,
            mean=fold.spectrum.mean,
            scale=fold.spectrum.scale,
        )


def _fresh(estimator: Any) -> Any:
    """The same settings, not fitted; a copy of what is no estimator of scikit-learn's."""
    return clone(estimator, safe=False)
