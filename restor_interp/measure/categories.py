"""RESTOR's scores of answer categories, as in its code.

For every object of a category (true, false, random) the log-probability of its tokens after the
prompt and a space, averaged over the tokens; then averaged over the objects of the category. The
mean over tokens favours objects whose later tokens follow from their first ones, and nothing is
normalised over objects: this is for comparison with the paper. Margins and `sum_logprob` are what
conclusions rest on.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from restor_interp.measure.choices import ChoiceScore


def category_scores(categories: Sequence[str], scores: Sequence[ChoiceScore]) -> dict[str, float]:
    """Category -> the mean of its objects' `mean_logprob`, in nats per token.

    `categories` names the category of each score; they come in the order in which they first stand.
    """
    found: dict[str, list[float]] = {}
    for category, score in zip(categories, scores, strict=True):
        found.setdefault(category, []).append(score.mean_logprob)
    return {category: _mean(own) for category, own in found.items()}


def paper_scores(choices: pd.DataFrame) -> list[dict[str, Any]]:
    """The table `choices` as the paper's scores: rows of `state`, `fact_id`, `category`, `score`.

    Objects of a category are averaged, an object's spellings among them, then contexts. Rows
    without a `mean_logprob` were not measured and count for nothing; a category in which nothing
    was measured has a score of None.
    """
    found: dict[tuple[str, str, str], dict[int, list[float]]] = {}
    columns = [choices[name] for name in ("state", "fact_id", "category", "context_id")]
    for state, fact_id, category, context_id, logprob in zip(
        *columns, choices["mean_logprob"].astype(float), strict=True
    ):
        own = found.setdefault((state, fact_id, category), {})
        if not math.isnan(logprob):
            own.setdefault(context_id, []).append(logprob)
    return [
        {
            "state": state,
            "fact_id": fact_id,
            "category": category,
            "score": _mean([_mean(own) for own in contexts.values()]) if contexts else None,
        }
        for (state, fact_id, category), contexts in found.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
