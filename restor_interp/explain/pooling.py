"""The table `pooled`: a design's runs (seeds × rotations) as one experiment, entity by entity.

A seed repeats everything, corruption too; a rotation changes which entities are corrupted. What is
inferred about is entities: a fact's number is averaged over the runs in which it has the role (over
seeds, and over rotations where it has the role in several), then facts within their entity, and the
interval and the sign-flip test are over entity means (`restor_interp.measure.statistics`). Runs are
not independent samples of entities, so more seeds make the numbers of entities steadier but do not
add to their number. How far seeds differ is given beside it, as their standard deviation.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.measured import ALL, ROLES, Measured, estimate_row, finite
from restor_interp.explain.observed import column_of
from restor_interp.measure.statistics import Estimate, entity_mean, entity_share, missing

Runs = Mapping[tuple[int, int], Measured]
"""(seed, rotation) -> a run."""

SHARES = ("accuracy", "p_restored", "p_kept")
"""Metrics that lie between 0 and 1."""


def pooled_rows(runs: Runs) -> list[dict[str, Any]]:
    """Rows of the table `pooled`, per state and role.

      - `n_lost`, `n_survived`: facts that were chosen so in any run (`value`), `n_observations`
        counting a fact once per run;
      - `p_restored`, `p_kept` of these, `accuracy`, `log_p_false`, `log_p_true`;
      - the same minus another state (`against`), paired by fact within each run:
        `restored_minus_corrupted`, `…_sham`, `…_retain_only`, `…_rollback` (the rollback of equal
        log p(false), found in each run), `kept_minus_…`, `accuracy_minus_…`, `log_p_false_minus_…`.

    Columns beside those of `summary`: `n_seeds`, `n_runs`, `n_observations`, `seed_sd` (standard
    deviation over seeds of the same number, None with one seed). Only differences have `p`, `mde`.
    """
    rows: list[dict[str, Any]] = []
    for state in _union(run.states for run in runs.values()):
        roles = _union(run.roles for run in runs.values())
        rows += _level_rows(runs, state, ALL)
        for role in sorted(roles, key=ROLES.index):
            rows += _level_rows(runs, state, role)
            rows += _change_rows(runs, state, role)
            rows += _restored_rows(runs, state, role)
    return rows


def _union(names: Any) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


# ---- observations: one number per fact and run

Pick = Callable[[Measured], pd.Series]
"""A run -> numbers by fact_id, NaN where there is none."""


@dataclass(frozen=True)
class Observation:
    """One number of one fact in one run."""

    seed: int
    rotation: int
    entity: str
    fact_id: str
    value: float


def observe(runs: Runs, pick: Pick) -> list[Observation]:
    """What was measured, fact by fact and run by run."""
    return [
        Observation(seed, rotation, run.entity[fact_id], fact_id, value)
        for (seed, rotation), run in runs.items()
        for fact_id, value in _numbers(pick(run))
        if not math.isnan(value)
    ]


def _numbers(found: pd.Series) -> Iterator[tuple[str, float]]:
    return zip(map(str, found.index), found.to_numpy(dtype=float).tolist(), strict=True)


def pool(
    observed: Iterable[Observation], estimate: Callable[..., Estimate] = entity_mean
) -> Estimate:
    """One estimate of observations: facts over runs, then entities over facts."""
    facts: dict[tuple[str, str], list[float]] = {}
    for one in observed:
        facts.setdefault((one.entity, one.fact_id), []).append(one.value)
    if not facts:
        return missing("there are no such facts")
    means = [sum(values) / len(values) for values in facts.values()]
    return estimate(means, [entity for entity, _ in facts])


def seed_sd(observed: Iterable[Observation]) -> float | None:
    """Standard deviation over seeds of the pooled number; None with fewer than two."""
    seeds: dict[int, list[Observation]] = {}
    for one in observed:
        seeds.setdefault(one.seed, []).append(one)
    values = [pool(own).value for own in seeds.values()]
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _row(
    runs: Runs,
    state: str,
    role: str,
    metric: str,
    pick: Pick,
    *,
    against: str = "",
    tested: bool = False,
    note: str = "",
) -> dict[str, Any]:
    observed = observe(runs, pick)
    if metric in SHARES:
        found = pool(observed, entity_share)
    else:
        found = pool(observed).within(*_limits(metric))
    if not tested:
        found = replace(found, p=None, mde=None)
    inside = {(one.seed, one.rotation) for one in observed}
    if 0 < len(inside) < len(runs):
        note = "; ".join(filter(None, (note, f"in {len(inside)} of {len(runs)} runs")))
    return estimate_row(state, role, metric, found, against=against, note=note) | {
        "n_seeds": len({seed for seed, _ in inside}),
        "n_runs": len(inside),
        "n_observations": len(observed),
        "seed_sd": finite(seed_sd(observed)),
    }


def _limits(metric: str) -> tuple[float, float]:
    """Between what a level or a difference lies: of log-probabilities, or of shares."""
    if metric.startswith("log_p"):
        return -math.inf, math.inf if "_minus_" in metric else 0.0
    return -1.0, 1.0


# ---- what is picked


Chosen = Callable[[Measured], pd.Index]
_TABLES: Mapping[str, Callable[[Measured], pd.DataFrame]] = {
    "accuracy": lambda run: run.accuracy,
    "log_p_false": lambda run: run.logprobs["false"],
    "log_p_true": lambda run: run.logprobs["true"],
    # What was lost is asked for right answers that are no guesses; what survived, for right ones.
    "restored": lambda run: run.scored_restored,
    "kept": lambda run: run.scored_right,
}


def _of(name: str, state: str, chosen: Chosen, minus: str | None = None) -> Pick:
    """Numbers of a table for chosen facts, or what they exceed another state's by; runs that
    lack a state have none."""

    def pick(run: Measured) -> pd.Series:
        table, fact_ids = _TABLES[name](run), chosen(run)
        found = column_of(table, state, fact_ids)
        return found if minus is None else found - column_of(table, minus, fact_ids)

    return pick


def _in_role(role: str) -> Chosen:
    return lambda run: run.ids(role)


def _selected(role: str, *, lost: bool) -> Chosen:
    return lambda run: run.chosen(role, lost=lost)


def _level_rows(runs: Runs, state: str, role: str) -> Iterator[dict[str, Any]]:
    for metric in ("accuracy", "log_p_false", "log_p_true"):
        yield _row(runs, state, role, metric, _of(metric, state, _in_role(role)))


def _references(runs: Runs, state: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return list(
        dict.fromkeys(pair for run in runs.values() for pair in run.references(state, names))
    )


def _change_rows(runs: Runs, state: str, role: str) -> Iterator[dict[str, Any]]:
    for metric in ("accuracy", "log_p_false"):
        for name, other in _references(runs, state, ("clean", "corrupted", "sham", "retain_only")):
            pick = _of(metric, state, _in_role(role), minus=other)
            yield _row(
                runs, state, role, f"{metric}_minus_{name}", pick, against=other, tested=True
            )


def _restored_rows(runs: Runs, state: str, role: str) -> Iterator[dict[str, Any]]:
    note = "; ".join(dict.fromkeys(run.note for run in runs.values()))
    for name, counted in (("restored", "n_lost"), ("kept", "n_survived")):
        chosen = _selected(role, lost=name == "restored")
        level = _of(name, state, chosen)
        count = _row(runs, state, role, counted, level)
        yield count | {"value": count["n_facts"], "low": None, "high": None, "seed_sd": None}
        yield _row(runs, state, role, f"p_{name}", level, note=note)
        if state in ("clean", "corrupted"):
            continue
        for against, other in _references(runs, state, ("corrupted", "sham", "retain_only")):
            pick = _of(name, state, chosen, minus=other)
            metric = f"{name}_minus_{against}"
            yield _row(runs, state, role, metric, pick, against=other, tested=True, note=note)
    if role == "direct" and _off_path(runs, state):
        yield _rollback_row(runs, state, note)


def _off_path(runs: Runs, state: str) -> bool:
    return any(run.path and state in run.states and state not in run.path for run in runs.values())


def _rollback_row(runs: Runs, state: str, note: str) -> dict[str, Any]:
    """Beyond the rollback of equal log p(false), which every run has at a λ of its own."""
    points = {
        key: run.equivalent(state).point
        for key, run in runs.items()
        if run.path and state in run.states
    }
    found = {key: point for key, point in points.items() if math.isfinite(point.weight)}

    def pick(run: Measured) -> pd.Series:
        fact_ids = run.chosen("direct", lost=True)
        point = next((found[key] for key in found if runs[key] is run), None)
        if point is None:
            return pd.Series(math.nan, index=fact_ids)
        there = point.between(run.scored_restored, fact_ids)
        return column_of(run.scored_restored, state, fact_ids) - there

    weights = ", ".join(f"{point.weight:.2f}" for point in found.values())
    told = f"λ {weights}" if found else ""
    row = _row(
        runs, state, "direct", "restored_minus_rollback", pick,
        against="rollback", tested=True, note="; ".join(filter(None, (told, note))),
    )  # fmt: skip
    if not found:
        row["reason"] = "; ".join(dict.fromkeys(point.reason for point in points.values()))
    return row
