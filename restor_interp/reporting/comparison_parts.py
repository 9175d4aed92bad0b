"""Two sides of a comparison as parts of a page."""

import math
from collections.abc import Mapping
from typing import Any

from restor_interp.reporting.comparing import HEADLINE, Comparison, Difference
from restor_interp.reporting.formats import plural
from restor_interp.reporting.parts import (
    Callout,
    Cell,
    Column,
    Legend,
    Mark,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.vocabulary import FATES

LIMITS = (
    "Differences are second minus first, paired by the facts that both sides asked, their 95% "
    "intervals over entities. Each side is one run: what another seed would change they do not say."
)


def comparison_verdict(results: Comparison) -> tuple[Part, ...]:
    """How many facts met another fate, and what intervals mean."""
    return (
        Callout(comparison_sentence(results), tone="verdict"),
        Paragraph(LIMITS, quiet=True),
    )


def comparison_sentence(results: Comparison) -> str:
    """How many facts met another fate, pair by pair."""
    told = []
    for pair in results.pairs:
        changed = sum(change.label == pair.label for change in results.fate_changes)
        shared = results.shared_fates(pair.label)
        if shared:
            told.append(f"{pair.label} {changed} of {plural(shared, 'fact')}")
    if not told:
        return "No fact has a fate on both sides."
    return f"Facts whose fate differs: {'; '.join(told)}."


def compared_settings(results: Comparison) -> tuple[Part, ...]:
    """A row per setting that differs."""
    if not results.settings:
        return (Paragraph("None: both sides were made with the same settings."),)
    first, second = results.names
    rows = tuple(Row((Text(key), Text(own), Text(other))) for key, own, other in results.settings)
    columns = (Column("Setting"), Column(first, wide=True), Column(second, wide=True))
    return (Table(columns, rows, caption=f"Settings that differ: {len(rows)}."),)


def compared_numbers(results: Comparison, *, every: bool = False) -> tuple[Part, ...]:
    """The summaries beside each other; without `every`, the metrics of `HEADLINE` alone."""
    chosen = [d for d in results.differences if every or d.metric in HEADLINE]
    if not chosen:
        return (Paragraph("The two summaries have no number in common."),)
    first, second = results.names
    pairs = _pair_columns(results)
    columns = (
        *pairs,
        Column("Facts", help="their role"),
        Column("Number", help="what was measured"),
        Column(first, help="with its own 95% interval"),
        Column(second, help="with its own 95% interval"),
        Column("Second − first", help="with its 95% interval over entities"),
        Column("Facts paired"),
        Column("Interval", wide=True),
    )
    rows = tuple(
        Row(
            (
                *(Text(found.label) for _ in pairs), Text(found.role), Text(found.metric),
                side_cell(found.first), side_cell(found.second), difference_cell(found),
                Missing() if found.paired is None else Number(found.paired.n_facts, digits=0),
                Text(found.reason or "over entities"),
            ),
            group=found.label,
        )
        for found in chosen
    )  # fmt: skip
    apart = [found for found in chosen if is_apart(found)]
    caption = (
        f"{plural(len(chosen), 'number')}; of {len(apart)} the difference's interval leaves out 0 "
        f"(of those with an interval, 1 in 20 would by chance)."
    )
    return (Table(columns, rows, caption=caption, filterable=True),)


def _pair_columns(results: Comparison) -> tuple[Column, ...]:
    """The column with the states that are compared; none where all rows would say the same."""
    if len(results.pairs) < 2:
        return ()
    return (Column("States" if results.is_within else "State"),)


def is_apart(found: Difference) -> bool:
    """Whether the interval of a difference leaves out 0."""
    if found.paired is None or not math.isfinite(found.paired.low + found.paired.high):
        return False
    return found.paired.low > 0 or found.paired.high < 0


def side_cell(row: Mapping[str, Any]) -> Cell:
    """One side's number with its own interval."""
    value, high = float(row["value"]), row["high"]
    is_probability = str(row["metric"]).startswith("p_")
    if is_probability and high is not None:
        high = min(high, 1.0)  # a geometric mean's interval is one of logarithms
    return Number(value, low=row["low"], high=high, small=is_probability and 0 < value < 0.01)


def difference_cell(found: Difference) -> Cell:
    """The difference with its interval, where it has one."""
    if not math.isfinite(found.value):
        return Missing("a side has no number")
    paired = found.paired
    has_interval = paired is not None and math.isfinite(paired.low + paired.high)
    ends = [found.value] + ([paired.low, paired.high] if paired is not None else [])
    largest = max((abs(end) for end in ends if math.isfinite(end)), default=0.0)
    # Two digits of what is small: 0.00 [0.00 to 0.00] would say nothing.
    digits = 2 if not 5e-7 <= largest < 0.1 else min(6, 1 - math.floor(math.log10(largest)))
    return Number(
        found.value,
        digits=digits,
        signed=True,
        low=paired.low if paired is not None and has_interval else None,
        high=paired.high if paired is not None and has_interval else None,
    )


def changed_fates(results: Comparison) -> tuple[Part, ...]:
    """A row per fact and pair of states whose fates differ."""
    if not results.fate_changes:
        return (Paragraph("None."),)
    first, second = results.names
    pairs = _pair_columns(results)
    rows = tuple(
        Row(
            (
                *(Text(change.label) for _ in pairs),
                Text(change.fact["question"], detail=str(change.fact["entity"])),
                Text(str(change.fact["role"])),
                Mark(change.first),
                Mark(change.second),
            ),
            group=change.label,
        )
        for change in results.fate_changes
    )
    columns = (
        *pairs, Column("Question", wide=True), Column("Role"),
        Column(first, help="what became of the fact there"),
        Column(second, help="what became of the fact there"),
    )  # fmt: skip
    caption = f"{plural(len(rows), 'fact')} with another fate, every state counted."
    table = Table(columns, rows, caption=caption, filterable=True)
    met = {fate for change in results.fate_changes for fate in (change.first, change.second)}
    return (table, Legend(tuple(fate for fate in FATES if fate in met)))
