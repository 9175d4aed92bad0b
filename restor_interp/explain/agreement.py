"""How far two judges agree: Cohen's kappa over the three outcomes.

    κ = (p_o − p_e) / (1 − p_e)

with p_o the share of answers on which both say the same, and p_e what two judges would agree on by
chance who only share these two's habits (Cohen 1960). The interval: answers about one entity are
not independent, so that the variance is that of sums over entities of κ's influence function

    ψ(a, b) = [ (1{a = b} − p_o)(1 − p_e) − (1 − p_o)(c_a + r_b − 2 p_e) ] / (1 − p_e)²
    var κ   = G/(G − 1) · Σ_g (Σ_{i in g} ψ_i)² / n²

for outcomes a, b of the first and second judge with shares r and c, G entities and n answers; the
quantile is Student's with G − 1 degrees of freedom. With one answer per entity this is the variance
of Fleiss, Cohen and Everitt 1969, times n/(n − 1).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from restor_interp.measure.statistics import wilson

OUTCOMES = ("true", "false", "other")
ANSWER = ["fact_id", "context_id", "template", "draw"]
"""Which answer of a state was judged."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Kappa with its interval and what it rests on."""

    kappa: float
    low: float
    high: float
    agreed: float
    """Share of answers on which both say the same."""
    n: int
    """Answers that both judged."""
    n_entities: int
    reason: str = ""
    """Why a number is missing (NaN)."""


def cohen_kappa(
    first: Sequence[str], second: Sequence[str], entities: Sequence[Any], *, level: float = 0.95
) -> Agreement:
    """Agreement of two judges on the same answers, each answer about one of `entities`.

    NaN, with the reason, where chance alone explains everything: no answers, or both judges with
    one and the same outcome throughout. Where they agree on every answer the variance is 0 and
    tells nothing: the lower bound is then the kappa of Wilson's lower bound of p_o, entities
    counted as answers, at the same p_e.
    """
    one, other = _numbers(first), _numbers(second)
    n, groups = len(one), len(set(entities))
    if not n == len(other) == len(entities):
        raise ValueError(f"{n} and {len(other)} outcomes of answers about {len(entities)} entities")
    nan = float("nan")
    none = Agreement(kappa=nan, low=nan, high=nan, agreed=nan, n=n, n_entities=groups)
    if n == 0:
        return _because(none, "no answer was judged by both")
    size = len(OUTCOMES)
    table = np.bincount(one * size + other, minlength=size**2).reshape(size, size) / n
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    agreed, chance = float(np.trace(table)), float(rows @ columns)
    none = Agreement(kappa=nan, low=nan, high=nan, agreed=agreed, n=n, n_entities=groups)
    if chance > 1 - 1e-12:
        outcome = OUTCOMES[int(rows.argmax())]
        return _because(none, f"both judges say {outcome!r} of every answer, as chance would")
    kappa = (agreed - chance) / (1 - chance)
    low = high = nan
    reason = ""
    if groups == 1:
        reason = "no interval: a single entity"
    elif agreed > 1 - 1e-12:
        low, high = (wilson(groups, groups, level=level)[0] - chance) / (1 - chance), 1.0
    else:
        influence = _influence(one, other, rows, columns, agreed, chance)
        codes = pd.factorize(np.asarray(entities, dtype=object))[0]
        sums = np.bincount(codes, weights=influence)
        error = float(np.sqrt(groups / (groups - 1) * (sums**2).sum())) / n
        half = float(stats.t.ppf(0.5 + level / 2, groups - 1)) * error
        low, high = max(-1.0, kappa - half), min(1.0, kappa + half)
    return Agreement(
        kappa=kappa, low=low, high=high, agreed=agreed, n=n, n_entities=groups, reason=reason
    )


def _influence(
    one: Int[np.ndarray, " answer"],
    other: Int[np.ndarray, " answer"],
    rows: Float[np.ndarray, " outcome"],
    columns: Float[np.ndarray, " outcome"],
    agreed: float,
    chance: float,
) -> Float[np.ndarray, " answer"]:
    same = (one == other) - agreed
    expected = columns[one] + rows[other] - 2 * chance
    return (same * (1 - chance) - (1 - agreed) * expected) / (1 - chance) ** 2


def _numbers(outcomes: Sequence[str]) -> Int[np.ndarray, " answer"]:
    return np.array([OUTCOMES.index(outcome) for outcome in outcomes], dtype=int)


def _because(agreement: Agreement, reason: str) -> Agreement:
    return Agreement(**{**agreement.__dict__, "reason": reason})


def agreement_rows(judged: pd.DataFrame, entities: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of the table `agreement`: every pair of judges in every state.

    `judged`: one row per answer and judge, with the columns of the table `judgements`; `entities`:
    fact_id -> whom it is about. `failed` counts the answers of the state that one or both of the
    two could not judge.
    """
    rows = []
    for state, own in judged.groupby("state", sort=False):
        outcomes = {
            judge: part.set_index(ANSWER)["outcome"]
            for judge, part in own.groupby("judge", sort=False)
        }
        for a, b in itertools.combinations(outcomes, 2):
            both = pd.concat({"a": outcomes[a], "b": outcomes[b]}, axis=1)
            measured = both.dropna()
            names = [entities[fact_id] for fact_id in measured.index.get_level_values("fact_id")]
            found = cohen_kappa(measured["a"].tolist(), measured["b"].tolist(), names)
            rows.append(
                {
                    "state": state,
                    "judge_a": a,
                    "judge_b": b,
                    "kappa": found.kappa,
                    "low": found.low,
                    "high": found.high,
                    "n": found.n,
                    "failed": len(both) - found.n,
                    "agreed": found.agreed,
                    "n_entities": found.n_entities,
                    "reason": found.reason or None,
                }
            )
    return rows
