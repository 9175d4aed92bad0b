"""Two methods at equal forgetting: the comparison that a single setting of each cannot make.

NPO is gradient ascent with a brake, so it may restore more only because it forgets less (RESTOR,
hypothesis M4). Between the trials of a sweep each fact's number is interpolated linearly to a level
of forgetting that both methods pass, and the two methods are compared there, paired by fact.
Nothing is extrapolated, and the corrupted state is no trial: below the mildest trial of a method
nothing is known of it.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from restor_interp.explain.measured import Measured, estimate_row, finite, last_losses
from restor_interp.explain.observed import column_of
from restor_interp.explain.rollback import Equivalent, equivalent_rollback
from restor_interp.explain.selection import Trials
from restor_interp.measure.statistics import difference, entity_mean, missing

SHARES_OF_OVERLAP = (0.25, 0.5, 0.75)
"""Where in the range that both methods pass they are compared."""


def false_levels(run: Measured) -> dict[str, float]:
    """State -> mean log p(false) over direct facts, entity by entity: less is more forgotten."""
    fact_ids = run.ids("direct")
    entities = run.entities(fact_ids)
    table = run.logprobs["false"]
    return {
        state: entity_mean(column_of(table, state, fact_ids), entities).value
        for state in run.states
    }


def forget_levels(training: pd.DataFrame) -> dict[str, float]:
    """State -> loss on the forgotten documents at the last step of its training, nats per token."""
    return {
        state: float(last["forget_nll"])
        for state, last in last_losses(training).items()
        if last["forget_nll"] is not None and not pd.isna(last["forget_nll"])
    }


def overlap(
    levels: Mapping[str, float], first: Sequence[str], second: Sequence[str]
) -> tuple[float, float] | None:
    """The range of levels that the trials of both methods pass; None where there is none."""
    own = [
        [levels[s] for s in states if math.isfinite(levels.get(s, math.nan))]
        for states in (first, second)
    ]
    if not all(own):
        return None
    low, high = max(map(min, own)), min(map(max, own))
    return (low, high) if low <= high else None


def between_trials(levels: Mapping[str, float], states: Sequence[str], level: float) -> Equivalent:
    """The point on the line through a method's trials, ordered by level, that has this level."""
    measured = [s for s in states if math.isfinite(levels.get(s, math.nan))]
    ordered = sorted(measured, key=lambda state: levels[state])
    if len(ordered) == 1 and levels[ordered[0]] == level:
        return Equivalent(weight=0.0, below=ordered[0], above=ordered[0], share=0.0)
    places = {state: float(place) for place, state in enumerate(ordered)}
    found = equivalent_rollback(places, [levels[state] for state in ordered], level)
    if math.isnan(found.weight):
        return Equivalent(weight=math.nan, reason="no two trials have this level between them")
    return found


def at_equal(
    values: pd.DataFrame,
    fact_ids: pd.Index,
    entities: Sequence[str],
    *,
    levels: Mapping[str, float],
    level: float,
    first: Sequence[str],
    second: Sequence[str],
) -> dict[str, Any]:
    """First minus second method where both have the same level of forgetting.

    `values`: fact × state; `levels`: state -> level of forgetting, such as `false_levels` gives;
    `first`, `second`: the trials of each method. Returns value, low, high, p, mde, n_facts,
    n_entities, the values of each side, and between which trials they lie; numbers are None, with
    a `reason`, where a method does not pass the level.
    """
    points = [between_trials(levels, states, level) for states in (first, second)]
    if any(math.isnan(point.weight) for point in points):
        reasons = dict.fromkeys(point.reason for point in points if point.reason)
        found, sides = missing("; ".join(reasons)), [math.nan, math.nan]
    else:
        one, other = (point.between(values, fact_ids) for point in points)
        found = difference(one, other, entities)
        both = (one + other).notna().to_numpy()
        named = [name for name, kept in zip(entities, both, strict=True) if kept]
        sides = [entity_mean(side[both], named).value for side in (one, other)]
    row = estimate_row("", "", "", found)
    kept = ("value", "low", "high", "p", "mde", "n_facts", "n_entities", "reason", "note")
    return {
        **{name: row[name] for name in kept},
        "value_first": finite(sides[0]),
        "value_second": finite(sides[1]),
        "between_first": _told(points[0]),
        "between_second": _told(points[1]),
    }


def _told(point: Equivalent) -> str:
    names = dict.fromkeys(name for name in (point.below, point.above) if name)
    return " and ".join(names)


def equal_rows(run: Measured, trials: Trials, training: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `equal_forgetting`: every two methods of a sweep, at three levels of
    log p(false) and of the loss on the forgotten documents, on direct facts.

    Metrics: `accuracy`; `p_restored` of the lost facts; `candidate_logprob`
    (`Measured.candidate_logprob`, nats) of the facts that the clean model knows.
    """
    kinds = {"log_p_false": false_levels(run), "forget_nll": forget_levels(training)}
    rows: list[dict[str, Any]] = []
    for (first, own), (second, others) in itertools.combinations(trials.items(), 2):
        for kind, levels in kinds.items():
            fixed = {"first": first, "second": second, "by": kind}
            shared = overlap(levels, own, others)
            if shared is None:
                nothing = at_equal(
                    run.accuracy, run.ids("direct")[:0], [],
                    levels={}, level=math.nan, first=own, second=others,
                )  # fmt: skip
                why = f"the trials of {first} and {second} share no level of {kind}"
                rows.append({**fixed, "level": None, "metric": None, **nothing, "reason": why})
                continue
            for share in SHARES_OF_OVERLAP:
                level = shared[0] + share * (shared[1] - shared[0])
                for metric, values, fact_ids in _metrics(run):
                    found = at_equal(
                        values, fact_ids, run.entities(fact_ids),
                        levels=levels, level=level, first=own, second=others,
                    )  # fmt: skip
                    rows.append({**fixed, "level": level, "metric": metric, **found})
    return rows


def _metrics(run: Measured) -> Iterator[tuple[str, pd.DataFrame, pd.Index]]:
    yield "accuracy", run.accuracy, run.ids("direct")
    yield "p_restored", run.scored_restored, run.chosen("direct", lost=True)
    yield "candidate_logprob", run.candidate_logprob, run.ids("direct", known=True)
