"""Rollback: how far simply undoing the corruption would have to go to say the falsehood as rarely.

The states {corruption: λ} are a path from clean (λ = 0) to corrupted (λ = 1). A method is compared
with the point of this path at which the planted falsehoods are, on average, as likely as in its
own state: what it restores beyond that point, plain undoing would not have restored.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from restor_interp.explain.observed import column_of

_PREFIX = "rollback_"


def rollback_path(states: Iterable[str]) -> dict[str, float]:
    """State -> λ for clean, the rollbacks between, and corrupted, in the order of λ."""
    known = set(states)
    path = {"clean": 0.0, "corrupted": 1.0} if {"clean", "corrupted"} <= known else {}
    for state in known:
        if path and state.startswith(_PREFIX):
            weight = _weight(state)
            if 0 < weight < 1:
                path[state] = weight
    return dict(sorted(path.items(), key=lambda item: item[1]))


def _weight(state: str) -> float:
    try:
        return float(state.removeprefix(_PREFIX))
    except ValueError:
        return math.nan


@dataclass(frozen=True, kw_only=True)
class Equivalent:
    """The point of the path where log p(false) is that of a state."""

    weight: float
    """λ; NaN where the path has no such point."""
    below: str = ""
    """The state of the path at or under λ."""
    above: str = ""
    share: float = math.nan
    """Position between them: 0 at `below`, 1 at `above`."""
    reason: str = ""

    def between(self, table: pd.DataFrame, fact_ids: pd.Index) -> pd.Series:
        """Facts' numbers at this point, by linear interpolation between its neighbours."""
        low, high = (column_of(table, name, fact_ids) for name in (self.below, self.above))
        return low + self.share * (high - low)


def equivalent_rollback(
    path: Mapping[str, float], levels: Sequence[float], level: float
) -> Equivalent:
    """Where a path's level (mean log p(false), per state of `path`) equals a given one.

    Linear between neighbours. Of several such points the one nearest to the corrupted state is
    taken: the least undoing that says the falsehood as rarely.
    """
    names, weights = list(path), list(path.values())
    steps = zip(names, names[1:], weights, weights[1:], levels, levels[1:], strict=False)
    for below, above, start, end, low, high in reversed(list(steps)):
        if min(low, high) <= level <= max(low, high):
            share = (level - low) / (high - low) if high != low else 1.0
            return Equivalent(
                weight=start + share * (end - start), below=below, above=above, share=share
            )
    return Equivalent(weight=math.nan, reason=_why_not(levels, level))


def _why_not(levels: Sequence[float], level: float) -> str:
    if not len(levels) or not np.isfinite([*levels, level]).all():
        return "log p(false) was not measured along the rollbacks"
    side = "lower" if level < min(levels) else "higher"
    return f"log p(false) is {side} than anywhere between clean and corrupted"
