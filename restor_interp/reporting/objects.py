"""True against false object: how likely each state makes them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from restor_interp.reporting.counts import ObjectScores, mean, object_scores
from restor_interp.reporting.formats import plural, probability
from restor_interp.reporting.parts import (
    Empty,
    Heatmaps,
    LinePanel,
    Lines,
    Panel,
    Part,
    Series,
)
from restor_interp.reporting.results import EntityResults
from restor_interp.reporting.vocabulary import order_states, state_kind


def odds_map(results: EntityResults) -> tuple[Part, ...]:
    """Log-odds of the true against the false object, facts by states, and their means."""
    scores = object_scores(results)
    if not scores:
        return (Empty("Objects have not been scored.", results.run.command("choices")),)
    states = order_states(state for _, state in scores)
    facts = [f for f in results.facts if any((f["fact_id"], state) in scores for state in states)]

    def odds(fact: Mapping[str, Any], state: str) -> float:
        score = scores.get((fact["fact_id"], state))
        return math.nan if score is None else score.odds

    leads = {state: sum(odds(fact, state) > 0 for fact in facts) for state in states}
    told = ", ".join(f"{leads[state]} in {state}" for state in states)
    plot = Heatmaps(
        title="Does the truth lead the falsehood?",
        panels=(Panel("", tuple(tuple(odds(f, s) for s in states) for f in reversed(facts))),),
        rows=tuple(short_question(fact, results.entity) for fact in reversed(facts)),
        columns=states,
        row_title="fact",
        column_title="state",
        value_title="log-odds true : false (nats)",
        caption=f"The true object leads for so many of {plural(len(facts), 'fact')}: {told}.",
        diverging=True,
        written=True,
        low_words="falsehood leads",
        high_words="truth leads",
    )
    return (plot, _probability_lines(facts, scores, states))


def _probability_lines(
    facts: Sequence[Mapping[str, Any]],
    scores: Mapping[tuple[str, str], ObjectScores],
    states: Sequence[str],
) -> Lines:
    xs = tuple(float(place) for place in range(len(states)))
    means: dict[str, list[float]] = {"true": [], "false": []}
    lows: dict[str, list[float]] = {"true": [], "false": []}
    highs: dict[str, list[float]] = {"true": [], "false": []}
    for state in states:
        found = [scores[f["fact_id"], state] for f in facts if (f["fact_id"], state) in scores]
        for name in means:
            values = sorted(v for v in (getattr(s, name) for s in found) if math.isfinite(v))
            means[name].append(math.exp(mean(values)))
            lows[name].append(math.exp(_quantile(values, 0.25)))
            highs[name].append(math.exp(_quantile(values, 0.75)))
    told = "; ".join(
        f"{state} {probability(means['true'][i])} and {probability(means['false'][i])}"
        for i, state in enumerate(states)
        if state_kind(state) in ("clean", "corrupted", "method")
    )
    return Lines(
        title="Probability of the whole true and false object",
        panels=(
            LinePanel(
                "",
                tuple(
                    Series(
                        name=f"{name} object",
                        x=xs,
                        y=tuple(means[name]),
                        low=tuple(lows[name]),
                        high=tuple(highs[name]),
                        look=name,
                        n=len(facts),
                    )
                    for name in ("true", "false")
                ),
            ),
        ),
        x_title="state",
        y_title="probability (log scale)",
        caption=(
            f"Geometric means over {plural(len(facts), 'fact')} (bands: middle half of the facts) "
            f"of the true and the false object: {told}."
        ),
        x_labels=tuple(states),
        log=True,
    )


def _quantile(ordered: Sequence[float], share_below: float) -> float:
    """A quantile of sorted numbers, by linear interpolation; NaN of none."""
    if not ordered:
        return math.nan
    place = share_below * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def short_question(fact: Mapping[str, Any], entity: str) -> str:
    """The question without the entity's name, which the whole page is about."""
    return str(fact["question"]).replace(entity, "…")
