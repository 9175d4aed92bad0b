"""The table `prediction`: could one have told before unlearning which lost facts come back?

A logistic model per state, scored on entities that it has never seen: the entities are divided into
folds; in the training folds of each the penalty is chosen by a second division of their entities;
the fold that was left out is predicted. The AUC compares only facts of the same fold, because
predictions of different folds come from different models, whose levels differ by chance (pooled
over folds, pure noise would score below 0.5). Its interval is a bootstrap over entities (2.5th to
97.5th percentile). Predictions stay as they are in it, although a fold's model, too, would be
another one with other entities: that alone would make the interval too narrow, see `WIDER`.

What looking inside adds is the difference to a baseline that sees the relation, its guess floor and
margins alone. The sham's facts are predicted in the same way: what foretells its "restorations" too
is no property of unlearning.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from restor_interp.explain.predictors import BASELINE, INSIDE

MIN_LOST = 80
"""Lost facts that a model needs."""
EVENTS_PER_PREDICTOR = 10
"""Facts of the rarer outcome that each predictor needs (Peduzzi et al. 1996)."""
FOLDS = 5
REPEATS = 3
"""Divisions into folds; their AUCs are averaged."""
DRAWS = 1000
WIDER = math.sqrt(FOLDS / (FOLDS - 1))
"""What the bootstrap's deviations are multiplied with, because its models are not fitted anew. On
made-up noise (25 times 200 facts of 40 alike entities) the AUC's deviation was 1.13 times the
bootstrap's, and 89% of plain intervals held 0.5 (58 of 65); this is 1.12."""
INNER_FOLDS = 3
PENALTIES = (0.01, 0.1, 1.0)
"""Inverse penalties C among which the inner division chooses, by log loss."""
RELATION = "relation"
SHRINKAGE = 5.0
"""Facts' worth of the overall rate that a relation's rate is drawn towards."""
MOSTLY_MISSING = 0.5
"""A predictor that more than this share of facts lacks is left out."""


def prediction_rows(pooled: pd.DataFrame, *, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of the table `prediction`, per state and model.

    `pooled`: as `predictors.pooled_lost` returns it, of one run or of many; an entity is one group
    in all of them. Models are `baseline` and `full`; metrics `auc` of both and `auc_minus_baseline`
    of `full`. `n_events` counts facts of the rarer outcome; `predictors` names what the model saw,
    `left_out` what most facts lack. A model that cannot be fitted has one row with a `reason` that
    begins with "not run, n = ".
    """
    if pooled.empty:
        return []
    rows: list[dict[str, Any]] = []
    for state, own in pooled.groupby("state", sort=False):
        rows += _state_rows(str(state), own.reset_index(drop=True), seed)
    return rows


def _state_rows(state: str, own: pd.DataFrame, seed: int) -> list[dict[str, Any]]:
    usable = [name for name in (*BASELINE, *INSIDE) if _is_usable(own[name].to_numpy(float))]
    left_out = [name for name in (*BASELINE, *INSIDE) if name not in usable]
    models = {
        "baseline": [RELATION, *(name for name in usable if name in BASELINE)],
        "full": [RELATION, *usable],
    }
    fixed = {"state": state, **_counts(own), "left_out": ", ".join(left_out)}
    rows, scored = [], {}
    for model, names in models.items():
        about = fixed | {"model": model, "predictors": ", ".join(names)}
        reason = _why_not(own, names)
        if model == "full" and reason is None and not set(names) & set(INSIDE):
            reason = f"not run, n = {len(own)}: nothing inside was measured of most facts"
        if reason is not None:
            rows.append(about | _nothing(reason) | {"metric": "auc"})
            continue
        scored[model] = score(own, names, seed=seed)
        rows.append(about | _told(scored[model].draws, scored[model].auc) | {"metric": "auc"})
        if model == "full":
            gain = scored["full"].draws - scored["baseline"].draws
            value = scored["full"].auc - scored["baseline"].auc
            rows.append(about | _told(gain, value) | {"metric": "auc_minus_baseline"})
    return rows


def _counts(own: pd.DataFrame) -> dict[str, int]:
    """How many facts and entities there are, and how many facts of the rarer outcome."""
    restored = int(own["restored"].to_numpy(bool).sum())
    return {
        "n_facts": len(own),
        "n_entities": len(set(own["entity"])),
        "n_events": min(restored, len(own) - restored),
    }


def _is_usable(values: Float[np.ndarray, " fact"]) -> bool:
    """Measured of most facts, and not the same for all."""
    measured = values[np.isfinite(values)]
    enough = len(measured) >= (1 - MOSTLY_MISSING) * len(values)
    return bool(enough and len(np.unique(measured)) > 1)


def _why_not(own: pd.DataFrame, names: Sequence[str]) -> str | None:
    """Why these facts are too few to learn from these predictors; None where they are enough."""
    n, entities, events = _counts(own).values()
    needed = EVENTS_PER_PREDICTOR * len(names)
    if n < MIN_LOST:
        return f"not run, n = {n} lost facts: {MIN_LOST} are needed"
    if events < needed:
        return (
            f"not run, n = {n}: {events} facts of the rarer outcome, and {len(names)} predictors "
            f"need {needed}"
        )
    if entities < 2 * FOLDS:
        return f"not run, n = {n} of {entities} entities: {2 * FOLDS} are needed"
    return None


def _told(draws: Float[np.ndarray, " draw"], value: float) -> dict[str, Any]:
    low, high = np.nanpercentile(draws, (2.5, 97.5))
    return {"value": value, "low": float(low), "high": float(high), "reason": None}


def _nothing(reason: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "reason": reason}


def foretold_by(own: pd.DataFrame, name: str, *, seed: int = 0) -> dict[str, Any]:
    """How well one number ranks some facts as it is, larger for restored ones, with nothing fitted:
    the AUC as value, low and high (bootstrap over entities), or `reason`, why it is not given; and
    n_facts, n_entities, n_events. `own`: restored, entity and that column, without NaN."""
    if reason := _why_not(own, [name]):
        return _counts(own) | _nothing(reason)
    _, entity = np.unique(own["entity"].astype(str), return_inverse=True)
    outcome, values = own["restored"].to_numpy(bool), own[name].to_numpy(dtype=float)
    together = np.zeros(len(own), dtype=int)
    found = within_folds_auc(values, outcome, together, _resampled(entity, DRAWS, seed))
    return _counts(own) | _told(found[1:], float(found[0]))


# ---- one model, scored on entities that it has not seen


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well facts of unseen entities are ranked."""

    auc: float
    draws: Float[np.ndarray, " draw"]
    """The same over resampled entities; draw by draw the same ones for equal seeds and rows."""


def score(
    own: pd.DataFrame,
    names: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Score:
    """Predict every fact's `restored` from others' entities, and rank.

    `own`: restored, entity, relation and the predictors `names` (NaN: replaced by the median of the
    training facts). Raises `ValueError` (scikit-learn's) for an outcome with one class.
    """
    outcome = own["restored"].to_numpy(bool)
    _, entity = np.unique(own["entity"].astype(str), return_inverse=True)
    weights = _resampled(entity, draws, seed)
    found = []
    # hundreds of small fits of checked numbers: checking them again would be most of the time
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for repeat in range(REPEATS):
            fold = _folds(outcome, entity, FOLDS, seed + repeat)
            logits = np.empty(len(own))
            for number in range(FOLDS):
                here = fold == number
                model = _fit(own.loc[~here], names, outcome[~here], entity[~here], seed + repeat)
                logits[here] = model.logits(own.loc[here])
            found.append(within_folds_auc(logits, outcome, fold, weights))
    values = np.mean(found, axis=0)
    spread = values[0] + WIDER * (values[1:] - values[0])
    return Score(auc=float(values[0]), draws=np.clip(spread, 0, 1))


def _resampled(entity: Int[np.ndarray, " fact"], draws: int, seed: int) -> np.ndarray:
    """[1 + draw, fact]: how often each fact counts; in the first row once, then as often as its
    entity was drawn with replacement."""
    rng = np.random.default_rng(seed)
    number = entity.max() + 1
    drawn = rng.multinomial(number, np.full(number, 1 / number), size=draws)
    return np.concatenate([np.ones((1, len(entity))), drawn[:, entity]])


def _folds(
    outcome: Bool[np.ndarray, " fact"], entity: Int[np.ndarray, " fact"], number: int, seed: int
) -> Int[np.ndarray, " fact"]:
    """The fold of each fact: entities stay whole, outcomes about as frequent in each."""
    folds = np.empty(len(outcome), dtype=int)
    divide = StratifiedGroupKFold(number, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a rare outcome may be absent from a fold, which then ranks
        warnings.simplefilter("ignore", UserWarning)  # nothing: no pair of facts is in it
        for place, (_, held) in enumerate(divide.split(outcome, outcome, entity)):
            folds[held] = place
    return folds


def within_folds_auc(
    scores: Float[np.ndarray, " fact"],
    outcome: Bool[np.ndarray, " fact"],
    fold: Int[np.ndarray, " fact"],
    weights: Float[np.ndarray, "draw fact"],
) -> Float[np.ndarray, " draw"]:
    """Weighted share of pairs (restored, not restored) of a fold that are in the right order; ties
    count half. NaN where no fold has a pair."""
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for number in np.unique(fold):
        up = np.flatnonzero((fold == number) & outcome)
        down = np.flatnonzero((fold == number) & ~outcome)
        gap = scores[up][:, None] - scores[down]
        order = (gap > 0) + 0.5 * (gap == 0)
        right += ((weights[:, up] @ order) * weights[:, down]).sum(1)
        pairs += weights[:, up].sum(1) * weights[:, down].sum(1)
    return np.divide(right, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """A fitted logistic model with the preparation of its predictors."""

    names: Sequence[str]
    rates: dict[str, float]
    """Relation -> its shrunken rate among the training facts."""
    overall: float
    medians: Float[np.ndarray, " predictor"]
    centre: Float[np.ndarray, " predictor"]
    scale: Float[np.ndarray, " predictor"]
    weights: Float[np.ndarray, " predictor"]
    intercept: float

    def logits(self, rows: pd.DataFrame) -> Float[np.ndarray, " fact"]:
        rates = np.array(
            [self.rates.get(name, self.overall) for name in rows[RELATION].astype(str)]
        )
        values = _columns(rows, self.names, rates)
        filled = np.where(np.isnan(values), self.medians, values)
        return ((filled - self.centre) / self.scale) @ self.weights + self.intercept


def _columns(
    rows: pd.DataFrame, names: Sequence[str], rates: Float[np.ndarray, " fact"]
) -> Float[np.ndarray, "fact predictor"]:
    return np.stack(
        [rates if name == RELATION else rows[name].to_numpy(dtype=float) for name in names], axis=1
    )


def _fit(
    rows: pd.DataFrame,
    names: Sequence[str],
    outcome: Bool[np.ndarray, " fact"],
    entity: Int[np.ndarray, " fact"],
    seed: int,
) -> _Model:
    """Choose the penalty by a division of these entities, then fit on all of them."""
    relation = rows[RELATION].astype(str).to_numpy()
    fold = _folds(outcome, entity, INNER_FOLDS, seed)
    rates = _rates_of_others(relation, outcome, fold)
    values = _columns(rows, names, rates)
    medians = np.array([np.nanmedian(c) if np.isfinite(c).any() else 0.0 for c in values.T])
    filled = np.where(np.isnan(values), medians, values)
    centre, scale = filled.mean(0), filled.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    x = (filled - centre) / scale
    losses = [_log_loss(x, outcome, fold, penalty) for penalty in PENALTIES]
    chosen = _logistic(PENALTIES[int(np.argmin(losses))]).fit(x, outcome)
    return _Model(
        names=names,
        rates=_rates(relation, outcome),
        overall=float(outcome.mean()),
        medians=medians,
        centre=centre,
        scale=scale,
        weights=chosen.coef_[0],
        intercept=float(chosen.intercept_[0]),
    )


def _logistic(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, solver="newton-cholesky")


def _log_loss(x: np.ndarray, outcome: np.ndarray, fold: np.ndarray, penalty: float) -> float:
    total = 0.0
    for number in np.unique(fold):
        here = fold == number
        if len(np.unique(outcome[~here])) < 2:
            continue
        model = _logistic(penalty).fit(x[~here], outcome[~here])
        sign = np.where(outcome[here], 1.0, -1.0)
        total += np.logaddexp(0.0, -sign * model.decision_function(x[here])).sum()
    return float(total)


def _rates(relation: np.ndarray, outcome: np.ndarray) -> dict[str, float]:
    """Relation -> share restored, drawn towards the overall share."""
    overall = float(outcome.mean())
    return {
        str(name): float(
            (outcome[relation == name].sum() + SHRINKAGE * overall)
            / ((relation == name).sum() + SHRINKAGE)
        )
        for name in np.unique(relation)
    }


def _rates_of_others(
    relation: np.ndarray, outcome: np.ndarray, fold: np.ndarray
) -> Float[np.ndarray, " fact"]:
    """Each fact's relation's rate in the other folds, as it will be for an unseen entity: with its
    own outcome in it, the model would learn to trust a number that knows the answer."""
    found = np.empty(len(relation))
    for number in np.unique(fold):
        here = fold == number
        rates, overall = _rates(relation[~here], outcome[~here]), float(outcome[~here].mean())
        found[here] = [rates.get(str(name), overall) for name in relation[here]]
    return found
