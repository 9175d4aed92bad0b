"""What was observed of each fact in each state, out of the tables of a run.

Every function takes a table (`restor_interp.store.TABLES`) and returns one row per fact (or per
fact and context), one column per state; NaN or None where nothing was measured.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.fate import majority


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The outcomes of a fact in one state."""

    outcomes: tuple[str, ...]
    """Those that were measured, in the order of contexts."""
    reason: str
    """Why there is none."""

    @property
    def outcome(self) -> str | None:
        """The outcome of most contexts; a tie goes to the earliest."""
        return majority(self.outcomes)

    def count(self, outcome: str) -> int:
        return self.outcomes.count(outcome)

    def __len__(self) -> int:
        return len(self.outcomes)


NOT_ASKED = Answered(outcomes=(), reason="it was not asked")


def answered(answers: pd.DataFrame) -> dict[tuple[str, str], Answered]:
    """(fact_id, state) -> its outcomes."""
    outcomes: dict[tuple[str, str], list[str]] = {}
    why: dict[tuple[str, str], str] = {}
    table = answers.sort_values("context_id", kind="stable")
    if "reason" not in table.columns:
        table = table.assign(reason=None)
    for fact_id, state, outcome, reason in zip(
        table["fact_id"], table["state"], table["outcome"], table["reason"], strict=True
    ):
        found = outcomes.setdefault((fact_id, state), [])
        if _is_missing(outcome):
            why.setdefault((fact_id, state), "" if _is_missing(reason) else str(reason))
        else:
            found.append(str(outcome))
    return {
        key: Answered(outcomes=tuple(found), reason=why.get(key) or "no answer was recorded")
        for key, found in outcomes.items()
    }


def states_of(answers: pd.DataFrame) -> tuple[str, ...]:
    """The states that were asked, in the order of the table."""
    return tuple(str(state) for state in answers["state"].dropna().unique())


def right_shares(answers: pd.DataFrame) -> pd.DataFrame:
    """[fact_id, context_id] × state: the share of right answers (templates and draws averaged)."""
    measured = answers.loc[answers["outcome"].notna()]
    right = measured.assign(right=measured["outcome"].eq("true").astype(float))
    return _by_state(right, ["fact_id", "context_id"], "right")


def object_logprobs(choices: pd.DataFrame, category: str) -> pd.DataFrame:
    """fact_id × state: log p of the true or false object (`category`), in nats.

    Summed over its tokens, over its spellings by log-sum-exp, then averaged over contexts.
    """
    keys = ["fact_id", "context_id", "state"]
    chosen = choices["category"].eq(category) & choices["sum_logprob"].notna()
    rows = choices.loc[chosen, [*keys, "sum_logprob"]].astype({"sum_logprob": float})
    # relative to the likeliest spelling, so that no exponential underflows
    rows["top"] = rows.groupby(keys)["sum_logprob"].transform("max")
    rows["weight"] = np.exp((rows["sum_logprob"] - rows["top"]).to_numpy())
    spelled = rows.groupby(keys, as_index=False).agg({"top": "first", "weight": "sum"})
    spelled["logprob"] = spelled["top"] + np.log(spelled["weight"].to_numpy())
    return _by_state(spelled, ["fact_id"], "logprob")


def margins_by_state(margins: pd.DataFrame) -> pd.DataFrame:
    """fact_id × state: margin in nats, averaged over the contexts that have one."""
    rows = margins.loc[margins["margin"].notna()]
    return _by_state(rows.assign(margin=rows["margin"].astype(float)), ["fact_id"], "margin")


def _by_state(rows: pd.DataFrame, index: list[str], value: str) -> pd.DataFrame:
    return rows.pivot_table(index=index, columns="state", values=value, aggfunc="mean", sort=False)


def lookup(table: pd.DataFrame) -> dict[tuple[str, str], float]:
    """(fact_id, state) -> number, of a fact × state table; what is missing is left out."""
    return {
        (fact_id, state): value
        for state, column in table.items()
        for fact_id, value in column.dropna().items()
    }  # pyright: ignore


def column_of(table: pd.DataFrame, state: str, fact_ids: pd.Index) -> pd.Series:
    """A state's numbers for these facts, NaN where there is none."""
    numbers = table.reindex(index=fact_ids, columns=pd.Index([state]))
    return pd.Series(numbers.to_numpy(dtype=float)[:, 0], index=fact_ids)


def _is_missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
