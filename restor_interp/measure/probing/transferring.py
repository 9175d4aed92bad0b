"""What became of what a probe reads in one state: is it gone from another, or written otherwise?

    loss        native in the base state − native in the other: no probe finds it there any more
    rotation    native in the other − the base state's probe on it: it is there in another code
    rotation_recentred, rotation_aligned
                what is left of the rotation once the other state's activations are shifted, and
                then also rotated, to where the base state has the untouched entities

All in accuracy. The maps are fitted on untouched entities alone and read on the others, which are
scored; the untouched ones are scored beside them as a control (`alignment`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from restor_interp.errors import DataError, RestorError, unknown_name
from restor_interp.measure.probing.alignment import carry_over
from restor_interp.measure.probing.folds import Folds
from restor_interp.measure.probing.scores import Probe, Score

Fit = Callable[[Folds, Mapping[str, Float[np.ndarray, "row width"]]], Probe]
"""(folds, other activations that the probe also reads) -> a probe: `fit_probe` with its labels."""


def fit_or_reason(
    fit: Fit,
    x: Folds | Float[np.ndarray, "row width"] | str,
    others: Mapping[str, Float[np.ndarray, "row width"]],
    *,
    entities: Sequence[str] = (),
    folds: int = 5,
    seed: int = 0,
) -> Probe | str:
    """A probe, or why there is none: what `x` says, or what the fit cannot do (too few entities,
    a single label, …). Activations that are not split yet are split by `entities`."""
    if isinstance(x, str):
        return x
    try:
        if not isinstance(x, Folds):
            x = Folds(x, entities=entities, folds=folds, seed=seed)
        return fit(x, others)
    except RestorError as problem:
        return str(problem)


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """Accuracies of one kind of rows, and what follows from them."""

    native_base: float
    """In the base state, of a probe fitted there."""
    native: float
    """In this state, of a probe fitted here."""
    transfer: float
    """In this state, of the base state's probe."""
    recentred: float
    aligned: float
    n: int
    """Rows."""

    @property
    def loss(self) -> float:
        return self.native_base - self.native

    @property
    def rotation(self) -> float:
        return self.native - self.transfer

    @property
    def rotation_recentred(self) -> float:
        return self.native - self.recentred

    @property
    def rotation_aligned(self) -> float:
        return self.native - self.aligned


@dataclass(frozen=True, kw_only=True)
class StateTransfer:
    """One state beside the base state."""

    touched: Transferred
    """Rows that no map was fitted on."""
    untouched: Transferred
    """The control: each read through maps fitted on other untouched entities."""


def compare_states(
    activations: Mapping[str, Float[np.ndarray, "row width"]],
    fit: Fit,
    *,
    entities: Sequence[str],
    untouched: Sequence[bool] | Bool[np.ndarray, " row"],
    base: str = "clean",
    folds: int = 5,
    seed: int = 0,
) -> dict[str, StateTransfer]:
    """Loss and rotation of what `fit` reads, for every state but the base.

    Args:
        activations: state -> activations of the same rows, the base state's among them.
        fit: fits a probe on the folds that it is given, and reads the activations that it is given
            beside them: `lambda folds, others: fit_probe(folds, labels, transfer=others)`.
        untouched: marks the rows about entities that no document mentions.

    Raises:
        ConfigError: a base state that is not there.
        DataError: as `fit_probe` and `carry_over`; no row that is not untouched.
    """
    if base not in activations:
        raise unknown_name("state", base, activations)
    marks = np.asarray(untouched, dtype=bool)
    if len(marks) == len(entities) and marks.all():
        raise DataError("every row is about an untouched entity: nothing is left to score")
    others = {state: x for state, x in activations.items() if state != base}
    read: dict[str, Float[np.ndarray, "row width"]] = {}
    for state, x in others.items():
        carried = carry_over(x, activations[base], anchors=marks, entities=entities)
        read |= {
            f"transfer {state}": x,
            f"recentred {state}": carried.recentred,
            f"aligned {state}": carried.aligned,
        }

    def split(x: Float[np.ndarray, "row width"]) -> Folds:
        return Folds(x, entities=entities, folds=folds, seed=seed)

    of_base = fit(split(activations[base]), read)
    found = {}
    for state, x in others.items():
        scores = {"native_base": of_base.score, "native": fit(split(x), {}).score}
        for way in ("transfer", "recentred", "aligned"):
            scores[way] = of_base.transfer[f"{way} {state}"]
        found[state] = StateTransfer(
            touched=_accuracies(scores, ~marks), untouched=_accuracies(scores, marks)
        )
    return found


def _accuracies(scores: Mapping[str, Score], rows: Bool[np.ndarray, " row"]) -> Transferred:
    return Transferred(
        **{name: score.only(rows).accuracy for name, score in scores.items()}, n=int(rows.sum())
    )
