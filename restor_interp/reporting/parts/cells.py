"""Cells of a table, with its columns and rows."""

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True)
class Text:
    """Words; long ones are cut and can be unfolded."""

    text: str
    _: KW_ONLY
    detail: str = ""
    """A second, smaller line."""
    mono: bool = False
    """In a fixed-width face: settings, tokens."""
    whole: bool = False
    """Never cut: a text of the report's own."""


@dataclass(frozen=True)
class Number:
    """A number with its interval and its n."""

    value: float | None
    _: KW_ONLY
    digits: int = 2
    percent: bool = False
    """The value is a share of 1 and is written in per cent."""
    signed: bool = False
    """A plus sign is written before positive values."""
    small: bool = False
    """A probability that may be very small."""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Share:
    """`k` of `n`, with the interval of the share."""

    k: int
    n: int
    _: KW_ONLY
    low: float
    high: float


@dataclass(frozen=True)
class Mark:
    """An outcome or a fate: sign, word and colour."""

    name: str
    """A key of `vocabulary.OUTCOMES` or `vocabulary.FATES`."""
    text: str = ""
    """What is written beside the sign; empty: the word for it."""
    _: KW_ONLY
    detail: str = ""
    fate: str = ""
    """A key of `vocabulary.FATES`, shown on a line of its own."""


@dataclass(frozen=True)
class EntityLink:
    """The page of an entity."""

    entity: str
    text: str = ""


@dataclass(frozen=True)
class FateBar:
    """How many facts met which fate, as a small bar."""

    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Missing:
    """Nothing was measured here, and why."""

    reason: str = ""


Cell = Text | Number | Share | Mark | EntityLink | FateBar | Missing


@dataclass(frozen=True)
class Column:
    """A column's heading."""

    title: str
    _: KW_ONLY
    help: str = ""
    """Longer explanation, shown on demand."""
    group: str = ""
    """Neighbouring columns of one group share a heading above theirs."""
    wide: bool = False
    """Holds sentences."""


@dataclass(frozen=True)
class Row:
    """Cells; where a `Details` of the page has the same `key`, the first cell links to it."""

    cells: tuple[Cell, ...]
    _: KW_ONLY
    key: str = ""
    group: str = ""
    """A row under another heading than the one before starts a new block."""
