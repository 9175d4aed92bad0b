"""A report as data: a `Document` of frozen parts, before it is HTML or plain text.

Definitions in `reports/` compose these; `html` and `text` lower them. Parts hold plain text, never
tags and never addresses: a link names an entity or a key within the page, and the lowering finds
the file. Every plot carries a caption that states what is to be seen in it, computed from its data.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from restor_interp.errors import DataError

# ---- cells of a table


@dataclass(frozen=True)
class Text:
    """Words; long ones are cut and can be unfolded."""

    text: str
    _: KW_ONLY
    detail: str = ""
    """A second, smaller line."""
    mono: bool = False


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


# ---- parts


@dataclass(frozen=True)
class Paragraph:
    text: str
    _: KW_ONLY
    quiet: bool = False
    """A remark, in smaller type."""


@dataclass(frozen=True)
class Callout:
    """One sentence that matters."""

    text: str
    _: KW_ONLY
    tone: str = "plain"
    """`plain`, `verdict` or `warning`."""


@dataclass(frozen=True)
class Empty:
    """A section without data: what is missing and the command that adds it."""

    what: str
    command: str = ""


@dataclass(frozen=True)
class Code:
    """Text in a fixed-width face, line by line."""

    text: str


@dataclass(frozen=True)
class KeyValues:
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Legend:
    """The signs of outcomes or fates with their meanings."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of typed cells that sort by value, not by what is written."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    _: KW_ONLY
    caption: str = ""
    filterable: bool = False

    def __post_init__(self):
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise DataError(
                    f"a table of {len(self.columns)} columns got a row of {len(row.cells)} cells: "
                    f"{row.cells[:2]}"
                )


@dataclass(frozen=True)
class Panel:
    """One map of several that share rows, columns and scale."""

    name: str
    values: tuple[tuple[float, ...], ...]
    """`[row][column]`; not finite: not measured."""

    def __post_init__(self):
        rows = tuple(tuple(float(value) for value in row) for row in self.values)
        object.__setattr__(self, "values", rows)


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """How many cells of a plot do not show their value."""

    not_finite: int
    below: int
    above: int


@dataclass(frozen=True, kw_only=True)
class Heatmaps:
    """Maps side by side on one shared scale."""

    title: str
    panels: tuple[Panel, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_title: str
    column_title: str
    value_title: str
    """The quantity and its unit."""
    caption: str
    diverging: bool = False
    """Centred on 0, red below and blue above; otherwise from dark (low) to light (high)."""
    low: float | None = None
    """Ends of the scale; none: the extremes over all panels."""
    high: float | None = None
    tokens: bool = False
    """Columns are tokens: their white space is shown."""
    subject: tuple[int, ...] = ()
    """Columns that belong to the subject."""
    written: bool = False
    """The numbers are written into the cells."""
    low_words: str = ""
    """What the lower end of the scale means."""
    high_words: str = ""

    def __post_init__(self):
        _check_caption(self.title, self.caption)
        for panel in self.panels:
            widths = {len(row) for row in panel.values}
            if len(panel.values) != len(self.rows) or widths - {len(self.columns)}:
                raise DataError(
                    f"{self.title}: the map {panel.name!r} has {len(panel.values)} rows of "
                    f"{sorted(widths)} cells, its labels say {len(self.rows)} × {len(self.columns)}"
                )

    def limits(self) -> tuple[float, float]:
        """The ends of the one scale of all panels."""
        values = [v for p in self.panels for row in p.values for v in row if math.isfinite(v)]
        low = min(values, default=0.0) if self.low is None else self.low
        high = max(values, default=1.0) if self.high is None else self.high
        if self.diverging:
            high = max(abs(low), abs(high)) or 1.0
            low = -high
        return (low, high) if high > low else (low, low + 1.0)

    def flaws(self) -> Flaws:
        """How many cells are not measured, or beyond the ends of the scale."""
        low, high = self.limits()
        values = [value for panel in self.panels for row in panel.values for value in row]
        return Flaws(
            not_finite=sum(not math.isfinite(value) for value in values),
            below=sum(math.isfinite(value) and value < low for value in values),
            above=sum(math.isfinite(value) and value > high for value in values),
        )


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line, with a band if it has one."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    look: str = "method"
    """`true`, `false`, `control` and `chance`, a state's name, and more: `vocabulary.look_of`."""
    n: int | None = None
    joined: bool = True
    """Neighbouring points are joined by a line."""
    thin: bool = False
    """One of many behind the line that matters: thin, without markers."""

    def __post_init__(self):
        for name in ("x", "y", "low", "high"):
            values = tuple(float(value) for value in getattr(self, name))
            object.__setattr__(self, name, values)
        lengths = {len(self.x), len(self.y), len(self.low) or len(self.x)}
        if len(lengths | {len(self.high) or len(self.x)}) > 1:
            raise DataError(f"the line {self.name!r} has x, y and bands of different lengths")


@dataclass(frozen=True)
class LinePanel:
    """One plot of several that share both axes."""

    name: str
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines over numbers or named places."""

    title: str
    panels: tuple[LinePanel, ...]
    x_title: str
    y_title: str
    caption: str
    x_labels: tuple[str, ...] = ()
    """Names of x = 0, 1, 2, …"""
    log: bool = False
    """The y axis is logarithmic."""

    def __post_init__(self):
        _check_caption(self.title, self.caption)

    def flaws(self) -> Flaws:
        """How many points are not measured (on a log axis also those that are not positive)."""
        values = [
            y
            for panel in self.panels
            for line in panel.series
            for x, y in zip(line.x, line.y, strict=True)
            if math.isfinite(x)  # other points only end a line
        ]
        hidden = [y for y in values if not math.isfinite(y) or (self.log and y <= 0)]
        return Flaws(not_finite=len(hidden), below=0, above=0)


@dataclass(frozen=True, kw_only=True)
class Bars:
    """Stacked counts of fates, one bar per category."""

    title: str
    categories: tuple[str, ...]
    segments: tuple[tuple[str, tuple[int, ...]], ...]
    """(fate, its count in every category)."""
    value_title: str
    caption: str

    def __post_init__(self):
        _check_caption(self.title, self.caption)
        for name, counts in self.segments:
            if len(counts) != len(self.categories):
                raise DataError(f"{self.title}: {name!r} has {len(counts)} counts")


@dataclass(frozen=True)
class Amount:
    """A signed number as a bar, beside what its control gave."""

    name: str
    value: float
    _: KW_ONLY
    control: float | None = None
    low: float | None = None
    """Range of the control's draws."""
    high: float | None = None


@dataclass(frozen=True)
class AmountPanel:
    """One plot of several that share their scale."""

    name: str
    amounts: tuple[Amount, ...]


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Signed numbers as bars to both sides of 0."""

    title: str
    panels: tuple[AmountPanel, ...]
    value_title: str
    """The quantity and its unit."""
    caption: str
    low_words: str
    """What a bar below 0 means."""
    high_words: str
    control_words: str = ""
    """What the controls are."""

    def __post_init__(self):
        _check_caption(self.title, self.caption)

    def flaws(self) -> Flaws:
        """How many bars have no length."""
        values = [bar.value for panel in self.panels for bar in panel.amounts]
        return Flaws(not_finite=sum(not math.isfinite(v) for v in values), below=0, above=0)


@dataclass(frozen=True)
class Details:
    """Parts that stay folded until someone opens them."""

    summary: str
    parts: tuple["Part", ...]
    _: KW_ONLY
    key: str = ""
    mark: str = ""
    """An outcome or fate shown before the summary."""
    told: str = ""
    """What is found inside, in a line that stands there while the rest is folded."""
    open: bool = False


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; the sections of a document make its table of contents."""

    title: str
    parts: tuple["Part", ...]
    _: KW_ONLY
    intro: str = ""


Plot = Heatmaps | Lines | Bars | Amounts
Part = (
    Paragraph | Callout | Empty | Code | KeyValues | Legend | Table | Plot | Details | Section
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    """One page."""

    title: str
    parts: tuple[Part, ...] = field(default=())
    _: KW_ONLY
    subtitle: str = ""


def floats(values: Iterable[float | None]) -> tuple[float, ...]:
    """Numbers, with None as not-a-number."""
    return tuple(math.nan if value is None else float(value) for value in values)


def parts_in(parts: Sequence[Part]) -> Iterable[Part]:
    """Every part, those inside sections and details too."""
    for part in parts:
        yield part
        if isinstance(part, Details | Section):
            yield from parts_in(part.parts)


def _check_caption(title: str, caption: str) -> None:
    if not caption.strip():
        raise DataError(f"the plot {title!r} has no caption: say in a sentence what it shows")
