"""Reasons for missing values, counted: those that differ only in their numbers are one."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from restor_interp.reporting.rows import RowOf

_NUMBER = re.compile(r"[+\-−]?\d+(?:\.\d+)?(?:e[+\-]?\d+)?", re.IGNORECASE)
MOST = 4
"""Reasons that are written out."""


def without_numbers(reason: str) -> str:
    """The text with every number replaced by `…`."""
    return _NUMBER.sub("…", reason)


def counted_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """(reason, how often), the most frequent first; the same but for numbers is one reason.

    A reason whose numbers never differ keeps them.
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
