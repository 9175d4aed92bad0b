"""Numbers as text: one way to write a share, an interval, a small probability, a missing value."""

import math

from scipy.stats import binomtest

from restor_interp.reporting.parts import (
    Cell,
    EntityLink,
    FateBar,
    Mark,
    Missing,
    Number,
    Share,
    Text,
)
from restor_interp.reporting.vocabulary import FATES, OUTCOMES

NOT_A_NUMBER = "×"
"""Stands where a number should be and is not finite."""


def plain(value: float, digits: int = 2) -> str:
    """A number with so many decimals, a true minus sign, and `×` where it is not finite."""
    if not math.isfinite(value):
        return NOT_A_NUMBER
    # a value that is rounded to zero has no sign: −0.0 + 0.0 is 0.0
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def short(value: float) -> str:
    """Two significant digits; powers of ten below 0.001."""
    if not math.isfinite(value) or value == 0 or abs(value) >= 0.1:
        return plain(value, 2)
    if abs(value) < 0.001:
        digit, exponent = f"{value:.0e}".split("e")
        return f"{digit}e{int(exponent)}".replace("-", "−")
    return plain(value, 1 - math.floor(math.log10(abs(value))))


def signed(value: float, digits: int = 2) -> str:
    """The same with a plus sign before what is positive."""
    return ("+" if math.isfinite(value) and round(value, digits) > 0 else "") + plain(value, digits)


def plural(number: int, noun: str) -> str:
    """`1 fact`, `2 facts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(share: float) -> str:
    """A share of 1 in whole per cent, without the sign %."""
    return plain(100 * share, 0)


def probability(value: float) -> str:
    """A probability; very small ones in powers of ten."""
    if not math.isfinite(value):
        return NOT_A_NUMBER
    if value == 0 or value >= 0.001:
        return plain(value, 3)
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit}e−{-int(exponent)}"


def p_text(value: float) -> str:
    """`p = 0.031`, two significant digits; `p < 0.001` below that."""
    if not math.isfinite(value):
        return f"p = {NOT_A_NUMBER}"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share after Wilson (1927); (nan, nan) for n = 0."""
    if n == 0:
        return (math.nan, math.nan)
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return (float(interval.low), float(interval.high))


def share(k: int, n: int) -> Share:
    """`k` of `n` with its Wilson interval."""
    low, high = wilson(k, n)
    return Share(k, n, low=low, high=high)


def share_text(value: Share) -> str:
    """`43%, 95% interval 16 to 75%`; `none to count` for n = 0."""
    if value.n == 0:
        return "none to count"
    interval = f"95% interval {percent(value.low)} to {percent(value.high)}%"
    return f"{percent(value.k / value.n)}%, {interval}"


def number_text(value: Number) -> str:
    """The value itself, without its interval."""
    if value.value is None or not math.isfinite(value.value):
        return NOT_A_NUMBER
    scaled = 100 * value.value if value.percent else value.value
    if value.small:
        return probability(scaled)
    return (signed if value.signed else plain)(scaled, value.digits) + (
        "%" if value.percent else ""
    )


def interval_text(value: Number | Share) -> str:
    """`16–75`, in the value's own unit, or nothing where there is no interval."""
    if value.low is None or value.high is None or not math.isfinite(value.low + value.high):
        return ""
    if isinstance(value, Share):
        return f"{percent(value.low)}–{percent(value.high)}%"
    if value.small:
        return f"{probability(value.low)}–{probability(value.high)}"
    if value.percent and not value.signed:
        return f"{plain(100 * value.low, value.digits)}–{plain(100 * value.high, value.digits)}%"
    factor = 100 if value.percent else 1
    write = signed if value.signed else plain
    return (
        f"{write(factor * value.low, value.digits)} to {write(factor * value.high, value.digits)}"
    )


def mark_sign(name: str):
    """The sign of an outcome or a fate. Raises `KeyError` for a name that is neither."""
    return OUTCOMES[name] if name in OUTCOMES else FATES[name]


def cell_text(cell: Cell) -> str:
    """One cell in one line of plain text, as terminals show it and filters search it."""
    match cell:
        case Text():
            text = cell.text
        case Number():
            text = number_text(cell)
            interval = interval_text(cell)
            text += f" [{interval}]" if interval else ""
            text += f" n={cell.n}" if cell.n is not None else ""
        case Share():
            interval = interval_text(cell)
            text = f"{cell.k}/{cell.n}" + (f" [{interval}]" if interval else "")
        case Mark():
            sign = mark_sign(cell.name)
            text = f"{sign.glyph} {cell.text or sign.word}"
            fate = f"{mark_sign(cell.fate).glyph} {mark_sign(cell.fate).word}" if cell.fate else ""
            told = ", ".join(filter(None, (cell.detail, fate)))
            return f"{text} ({told})" if told else text
        case EntityLink():
            text = cell.text or cell.entity
        case FateBar():
            text = ", ".join(f"{n} {FATES[name].word}" for name, n in cell.counts if n) or "none"
        case Missing():
            text = f"— ({cell.reason})" if cell.reason else "—"
    detail = getattr(cell, "detail", "")
    return f"{text} ({detail})" if detail else text


def sort_key(cell: Cell) -> float | str | None:
    """What a column is sorted by; None (a missing value) comes last whatever the direction."""
    match cell:
        case Number():
            known = cell.value is not None and math.isfinite(cell.value)
            return cell.value if known else None
        case Share():
            return cell.k / cell.n if cell.n else None
        case FateBar():
            total = sum(n for _, n in cell.counts)
            return dict(cell.counts).get("restored", 0) / total if total else None
        case Missing():
            return None
        case _:
            return cell_text(cell).casefold()
