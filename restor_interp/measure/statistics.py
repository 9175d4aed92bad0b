"""Intervals and tests for counts of facts and for differences between states.

Facts about one entity are not independent of each other: an entity's documents are learned, and
forgotten, together. Counts are of facts, but inference is over entities: differences are taken as
entity means and tested by flipping their signs, and the interval of a share is widened by what
the entities have in common. Pure numpy and scipy; probabilities are fractions, not per cent.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike
from scipy import optimize, stats

MAX_ENUMERATED = 16
"""Entities up to which all 2^n sign patterns are tried; beyond, as many are drawn."""
MIN_LOST = 20
MIN_GAP = 0.05
"""A recovered fraction is a ratio: it is given only where at least this many facts were lost, and
the lower bound of clean minus corrupted exceeds this share."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval and what it rests on."""

    value: float
    low: float
    high: float
    n_facts: int
    n_entities: int
    p: float | None = None
    """Two-sided p-value against no difference, where one is tested."""
    mde: float | None = None
    """Minimum detectable effect: the true difference that would be found in 80% of such
    experiments at the 5% level; infinite where there are too few entities to find any."""
    reason: str = ""
    """Why a number is missing (NaN)."""

    def within(self, least: float, most: float) -> "Estimate":
        """The interval cut to the values that such a number can have: it covers as often."""
        return replace(self, low=max(self.low, least), high=min(self.high, most))


def missing(reason: str, *, n_facts: int = 0, n_entities: int = 0) -> Estimate:
    """An estimate that could not be made, with the reason why."""
    nan = float("nan")
    return Estimate(
        value=nan, low=nan, high=nan, n_facts=n_facts, n_entities=n_entities, reason=reason
    )


# ---- shares


def wilson(successes: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share; (0, 1) where nothing was counted.

    Wilson 1927, without continuity correction.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    return _score_interval(successes / n, n, float(stats.norm.ppf(0.5 + level / 2)))


def _score_interval(share: float, n: float, quantile: float) -> tuple[float, float]:
    spread = quantile**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def share(successes: ArrayLike, entities: Sequence[Any], *, level: float = 0.95) -> Estimate:
    """The share of facts with a property, its interval allowing for clusters of facts.

    `successes`: per fact, whether it has the property (or, where it was asked several times, how
    often, as a fraction). `entities`: per fact, whom it is about. Wilson's interval with the
    effective number of facts n / d: the design effect d ≥ 1 is the variance of the ratio
    estimator over entities relative to that of independent facts, and the quantile is
    Student's with one degree of freedom less than entities (Korn and
    Graubard 1998; Dean and Pagano 2015).
    """
    values = np.asarray(successes, dtype=float)
    n, groups = len(values), _groups(entities)
    if n != len(entities):
        raise ValueError(f"{n} facts, but {len(entities)} entities")
    if n == 0:
        return missing("there are no such facts")
    value = float(values.mean())
    g = len(groups)
    binomial = value * (1 - value) / n
    design = 1.0
    if g > 1 and binomial > 0:
        residuals = np.array([(values[rows] - value).sum() for rows in groups])
        design = max(1.0, float(g / (g - 1) * (residuals**2).sum() / n**2 / binomial))
    quantile = float(stats.t.ppf(0.5 + level / 2, g - 1)) if g > 1 else np.inf
    low, high = _score_interval(value, n / design, quantile) if g > 1 else (0.0, 1.0)
    return Estimate(value=value, low=low, high=high, n_facts=n, n_entities=g)


def entity_share(successes: ArrayLike, entities: Sequence[Any], *, level: float = 0.95) -> Estimate:
    """The mean over entities of a share per fact; the interval is made as in `share`.

    `successes`: per fact, 0, 1 or a fraction; facts with NaN are left out. With as many facts of
    every entity this is `share`.
    """
    measured, names = _measured(np.asarray(successes, dtype=float), entities)
    if not len(measured):
        return missing("there are no such facts")
    means = _entity_means(measured, names)
    n, g, value = len(measured), len(means), float(means.mean())
    variance = float(means.var(ddof=1)) / g if g > 1 else 0.0
    effective = min(n, value * (1 - value) / variance) if variance > 0 else n
    quantile = float(stats.t.ppf(0.5 + level / 2, g - 1)) if g > 1 else np.inf
    low, high = _score_interval(value, effective, quantile) if g > 1 else (0.0, 1.0)
    return Estimate(value=value, low=low, high=high, n_facts=n, n_entities=g)


# ---- means and differences


def entity_mean(
    values: ArrayLike, entities: Sequence[Any], *, level: float = 0.95, seed: int = 0
) -> Estimate:
    """The mean over entities of a number per fact: first within entities, then over them.

    `values`: per fact; facts with NaN are left out. The interval is Student's over entity means,
    p the sign-flip test of a mean of zero. With one entity, or where all have the same mean, the
    spread is unknown: low and high are NaN and `reason` says so, but the value stands.
    """
    measured, names = _measured(np.asarray(values, dtype=float), entities)
    if not len(measured):
        return missing("there are no such facts")
    means = _entity_means(measured, names)
    g = len(means)
    value, spread = float(means.mean()), float(means.std(ddof=1)) if g > 1 else 0.0
    p = sign_flip(means, seed=seed)
    if spread <= 1e-12 * max(1.0, abs(value)):
        nan = float("nan")
        reason = "a single entity" if g == 1 else "the same in every entity"
        return Estimate(
            value=value, low=nan, high=nan, n_facts=len(measured), n_entities=g, p=p,
            reason=f"no interval: {reason}",
        )  # fmt: skip
    error = spread / np.sqrt(g)
    half = float(stats.t.ppf(0.5 + level / 2, g - 1) * error)
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n_facts=len(measured),
        n_entities=g,
        p=p,
        mde=minimum_detectable(spread, g),
    )


def difference(
    first: ArrayLike,
    second: ArrayLike,
    entities: Sequence[Any],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """First minus second, paired by fact, with inference over entities as in `entity_mean`.

    `first`, `second`: a number per fact in either state (for a share: 0, 1, or the fraction of
    contexts). A fact that is NaN in one of them is left out of both.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} against {other.shape} facts: they are paired by fact")
    return entity_mean(one - other, entities, level=level, seed=seed)


def share_difference(
    first: ArrayLike, second: ArrayLike, entities: Sequence[Any], *, level: float = 0.95
) -> Estimate:
    """`difference` of two shares: it lies between −1 and 1."""
    return difference(first, second, entities, level=level).within(-1, 1)


def sign_flip(effects: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p-value of the sign-flip test that effects (one per entity) centre on zero.

    Exact over all 2^n patterns up to `MAX_ENUMERATED` effects, else over as many drawn ones, the
    observed one counted among them (Fisher 1935; Phipson and Smyth 2010).
    """
    found = np.asarray(effects, dtype=float)
    if not len(found):
        return float("nan")
    signs = _signs(len(found), seed)
    sums = np.abs(signs @ found)
    return float(np.mean(sums >= abs(found.sum()) - 1e-9 * np.abs(found).sum()))


@lru_cache(maxsize=8)
def _signs(n: int, seed: int) -> Float[np.ndarray, "pattern entity"]:
    """Patterns of +1 and -1, the first all +1; every one up to `MAX_ENUMERATED`, else drawn."""
    if n <= MAX_ENUMERATED:
        numbers = np.arange(2**n)[:, None]
        return 1.0 - 2.0 * ((numbers >> np.arange(n)) & 1)
    drawn = np.random.default_rng(seed).integers(0, 2, (2**MAX_ENUMERATED, n))
    drawn[0] = 0
    return 1.0 - 2.0 * drawn


def minimum_detectable(spread: float, n: int, *, power: float = 0.8, level: float = 0.05) -> float:
    """The true mean that a two-sided test of n entity means finds with this power.

    `spread`: standard deviation of entity means. From the noncentral t distribution; infinite
    where even n equal signs do not reach the level in a sign-flip test (n ≤ 5 at 5%).
    """
    if 2.0 ** (1 - n) > level:
        return float("inf")
    return spread / float(np.sqrt(n)) * _noncentrality(n - 1, power, level)


@lru_cache(maxsize=256)
def _noncentrality(freedom: int, power: float, level: float) -> float:
    critical = stats.t.ppf(1 - level / 2, freedom)

    def lacking(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - power

    return float(optimize.brentq(lacking, 0.0, critical + 10.0))  # pyright: ignore


# ---- the recovered fraction


def recovered_fraction(
    clean: ArrayLike,
    corrupted: ArrayLike,
    unlearned: ArrayLike,
    entities: Sequence[Any],
    *,
    n_lost: int,
    level: float = 0.95,
) -> Estimate:
    """(unlearned − corrupted) / (clean − corrupted): 0 nothing came back, 1 all of it.

    `clean`, `corrupted`, `unlearned`: how right each state is, per fact. Missing, with the reason,
    where fewer than `MIN_LOST` facts were lost or the gap is not surely above `MIN_GAP`. A ratio of
    means over entities with Fieller's interval (Fieller 1954), which is not symmetric.
    """
    before, after, now = (
        np.asarray(values, dtype=float) for values in (clean, corrupted, unlearned)
    )
    complete = ~np.isnan(before + after + now)
    names = [name for name, kept in zip(entities, complete, strict=True) if kept]
    n, groups = len(names), len(set(names))
    if n_lost < MIN_LOST:
        return missing(
            f"only {n_lost} facts were lost; {MIN_LOST} are needed", n_facts=n, n_entities=groups
        )
    gap = entity_mean((before - after)[complete], names, level=level)
    # without any spread over entities the gap is its own lower bound
    lower = gap.value if np.isnan(gap.low) and groups > 1 else gap.low
    if not lower > MIN_GAP:
        return missing(
            f"clean minus corrupted is {gap.value:.3f}, its lower bound {lower:.3f} not above "
            f"{MIN_GAP}",
            n_facts=n,
            n_entities=groups,
        )
    gains = _entity_means((now - after)[complete], names)
    gaps = _entity_means((before - after)[complete], names)
    low, high = _fieller(gains, gaps, float(stats.t.ppf(0.5 + level / 2, groups - 1)))
    value = float(gains.mean() / gaps.mean())
    return Estimate(value=value, low=low, high=high, n_facts=n, n_entities=groups)


def _fieller(
    gains: Float[np.ndarray, " entity"], gaps: Float[np.ndarray, " entity"], quantile: float
) -> tuple[float, float]:
    """All ratios r at which the mean of gains − r·gaps is not surely different from zero."""
    variance = np.cov(gains, gaps) / len(gains)
    a = gaps.mean() ** 2 - quantile**2 * variance[1, 1]
    b = gains.mean() * gaps.mean() - quantile**2 * variance[0, 1]
    c = gains.mean() ** 2 - quantile**2 * variance[0, 0]
    # a > 0, because the gap's interval, of the same quantile, lies above MIN_GAP
    root = float(np.sqrt(max(0.0, b**2 - a * c)))
    return float((b - root) / a), float((b + root) / a)


# ---- maps


@dataclass(frozen=True, kw_only=True)
class MapTest:
    """Which cells of a map differ from zero, all cells considered together."""

    effect: Float[np.ndarray, "*cell"]
    """Mean over entities; NaN where no entity has a value."""
    p: Float[np.ndarray, "*cell"]
    """Two-sided p-value, corrected for the number of cells; NaN where `effect` is."""
    n_facts: int
    n_entities: int

    def significant(self, level: float = 0.05) -> Bool[np.ndarray, "*cell"]:
        """Cells that differ; the chance that any of them is wrongly named is at most `level`."""
        return self.p <= level


def max_statistic(
    maps: Float[np.ndarray, " fact *cell"], entities: Sequence[Any], *, seed: int = 0
) -> MapTest:
    """Max-statistic permutation test over maps (such as layer × position), one map per fact.

    Maps are averaged within entities, NaN cells left out. Each cell is measured against the
    greatest statistic that any cell has when entities' signs are flipped as a whole (Nichols and
    Holmes 2002). The statistic is Σx / √(n Σx²): a monotone function of Student's t, whose
    denominator does not change with the signs.

    Fewer than six entities can never reach p ≤ 0.05: p is at least 2^(1 − n).
    """
    values = np.asarray(maps, dtype=float)
    groups = _groups(entities)
    if len(values) != len(entities):
        raise ValueError(f"{len(values)} maps, but {len(entities)} entities")
    cells = values.shape[1:]
    flat = values.reshape(len(values), -1)
    means = np.array([_mean_of_measured(flat[rows]) for rows in groups])
    means = means.reshape(len(groups), flat.shape[1])
    here = ~np.isnan(means)
    filled = np.where(here, means, 0.0)
    size = np.sqrt(here.sum(0) * (filled**2).sum(0))
    scaled = np.divide(filled, size, out=np.zeros_like(filled), where=size > 0)
    p = _corrected(scaled, _signs(len(groups), seed)) if len(groups) else np.full(cells, np.nan)
    p = np.where(here.any(0), p, np.nan) if len(groups) else p
    return MapTest(
        effect=_mean_of_measured(means).reshape(cells),
        p=p.reshape(cells),
        n_facts=len(values),
        n_entities=len(groups),
    )


def _corrected(
    scaled: Float[np.ndarray, "entity cell"], signs: Float[np.ndarray, "pattern entity"]
) -> Float[np.ndarray, " cell"]:
    chunks = np.array_split(signs, max(1, len(signs) // 4096))
    greatest = np.concatenate([np.abs(chunk @ scaled).max(1, initial=0.0) for chunk in chunks])
    greatest.sort()
    observed = np.abs(scaled.sum(0))
    below = np.searchsorted(greatest, observed - 1e-9, side="left")
    return 1 - below / len(greatest)


def _mean_of_measured(values: Float[np.ndarray, "row cell"]) -> Float[np.ndarray, " cell"]:
    here = ~np.isnan(values)
    number = here.sum(0)
    totals = np.where(here, values, 0.0).sum(0)
    return np.divide(totals, number, out=np.full(values.shape[1], np.nan), where=number > 0)


# ---- entities


def _groups(entities: Sequence[Hashable]) -> list[np.ndarray]:
    """Row numbers per entity, in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for number, name in enumerate(entities):
        rows.setdefault(name, []).append(number)
    return [np.array(numbers) for numbers in rows.values()]


def _measured(
    values: Float[np.ndarray, " fact"], entities: Sequence[Any]
) -> tuple[Float[np.ndarray, " kept"], list[Any]]:
    here = ~np.isnan(values)
    return values[here], [name for name, kept in zip(entities, here, strict=True) if kept]


def _entity_means(
    values: Float[np.ndarray, " fact"], entities: Sequence[Any]
) -> Float[np.ndarray, " entity"]:
    return np.array([values[rows].mean() for rows in _groups(entities)])
