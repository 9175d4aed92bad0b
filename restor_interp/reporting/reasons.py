"""Reasons for missing values, counted: those that differ only in numbers and names are one."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from restor_interp.reporting.parts import Paragraph, Part
from restor_interp.reporting.rows import RowOf

_NUMBER = re.compile(r"[+\-−]?\d+(?:\.\d+)?(?:e[+\-]?\d+)?", re.IGNORECASE)
_NAME = re.compile(r"(?<!\w)'[^']{1,60}'(?!\w)")
MOST = 4
"""Reasons that are written out."""


def without_numbers(reason: str) -> str:
    """The text with every number, and every name in quotes, replaced by `…`."""
    return _NUMBER.sub("…", _NAME.sub("…", reason))


def counted_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """(reason, how often), the most frequent first; what differs only in numbers and quoted names
    is one reason.

    A reason whose numbers and names never differ keeps them.
    """
    kinds: dict[str, Counter[str]] = {}
    for reason in reasons:
        kinds.setdefault(without_numbers(reason), Counter())[reason] += 1
    found = [
        (next(iter(own)) if len(own) == 1 else kind, own.total()) for kind, own in kinds.items()
    ]
    return sorted(found, key=lambda pair: -pair[1])


def common_reasons(rows: Sequence[RowOf], column: str = "reason") -> str:
    """The most frequent reasons of some rows in one line, each with its count."""
    counted = counted_reasons(str(row[column]) for row in rows if row.get(column))
    told = [f"{reason} ({count})" for reason, count in counted[:MOST]]
    rest = sum(count for _, count in counted[MOST:])
    return "; ".join([*told, *([f"others ({rest})"] if rest else [])])


def not_measured(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """A line in place of a figure: why there is none."""
    why = common_reasons(rows) or "no row says why"
    return (Paragraph(f"Not measured: {why}.", quiet=True),)
