"""Numbers of the table `summary`, and what a method restores beyond its sham.

Intervals, tests and whatever is scored on other contexts than facts were chosen on are computed
there (`explain.summary`), never in a report; where a run has no such row there is no such number.
"""

import math
from dataclasses import dataclass
from typing import Any

from restor_interp.reporting.counts import fate_counts, states_with_fates
from restor_interp.reporting.formats import p_text, plain, signed
from restor_interp.reporting.parts import Number
from restor_interp.reporting.results import RunResults, records

HELD_OUT = "p_restored"
"""Metric of `summary`: the share restored, scored on other contexts than facts were chosen on."""


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How much more of the lost facts a method restores than its sham; shares of 1."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    mde: float | None = None
    """Smallest true difference that such a run would find in 4 of 5 cases."""

    @property
    def is_shown(self) -> bool:
        """Whether its interval lies above 0; without an interval nothing is shown."""
        return self.low is not None and self.low > 0

    def text(self) -> str:
        """`+33 points (95% interval +5 to +61, p = 0.031; …)`."""
        told = []
        if self.low is None:
            told.append("without a test")
        if self.low is not None and self.high is not None:
            told.append(f"95% interval {signed(100 * self.low, 0)} to {signed(100 * self.high, 0)}")
        if self.p is not None:
            told.append(p_text(self.p))
        if self.mde is not None and not self.is_shown:
            told.append(f"less than {plain(100 * self.mde, 0)} would not be found in such a run")
        return f"{signed(100 * self.value, 0)} points" + (f" ({', '.join(told)})" if told else "")


def summary_row(run: RunResults, state: str, role: str, metric: str) -> dict[str, Any] | None:
    """A row of the table `summary`; None where there is none."""
    asked = (state, role, metric)
    rows = run.rows("summary")
    return next((r for r in rows if (r["state"], r["role"], r["metric"]) == asked), None)


def summary_number(
    run: RunResults, state: str, role: str, metric: str, **look: Any
) -> Number | None:
    """A number of the table `summary` with its interval; None where the table has none."""
    row = summary_row(run, state, role, metric)
    if row is None or row["value"] is None:
        return None
    return Number(
        float(row["value"]),
        low=number_or_none(row["low"]),
        high=number_or_none(row["high"]),
        n=None if row["n_facts"] is None else int(row["n_facts"]),
        **look,
    )


def gap_to_sham(run: RunResults, state: str) -> Gap | None:
    """What a method restores beyond its sham; None where one of them is missing."""
    row = summary_row(run, state, "direct", "restored_minus_sham")
    if row is not None and row["value"] is not None:
        numbers = {name: number_or_none(row.get(name)) for name in ("low", "high", "p", "mde")}
        return Gap(value=float(row["value"]), **numbers)
    with_fates = states_with_fates(run)
    if state not in with_fates or f"sham_{state}" not in with_fates:
        return None
    mine, sham = fate_counts(run, state), fate_counts(run, f"sham_{state}")
    if not mine.lost or not sham.lost:
        return None
    return Gap(value=mine.of("restored") / mine.lost - sham.of("restored") / sham.lost)


def number_or_none(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def held_out_rows(run: RunResults) -> list[dict[str, Any]]:
    return records(run.table("summary"), role="direct", metric=HELD_OUT)
