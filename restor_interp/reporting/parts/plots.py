"""Plots: maps, lines, bars. Each has a caption that states what is to be seen in it."""

import math
from dataclasses import KW_ONLY, dataclass

from restor_interp.errors import DataError


@dataclass(frozen=True)
class Likeliest:
    """The most likely next tokens at one place of a plot."""

    tokens: tuple[str, ...]
    """The likeliest first."""
    probabilities: tuple[float, ...]

    def __post_init__(self):
        if not self.tokens or len(self.tokens) != len(self.probabilities):
            raise DataError(
                f"{len(self.tokens)} most likely tokens have {len(self.probabilities)} "
                "probabilities; give at least one, and one for each"
            )


@dataclass(frozen=True)
class Panel:
    """One map of several that share rows, columns and scale."""

    name: str
    values: tuple[tuple[float, ...], ...]
    """`[row][column]`; not finite: not measured."""
    likeliest: tuple[tuple[Likeliest | None, ...], ...] = ()
    """`[row][column]`, or nothing: the first of the tokens is written into the cell, the others
    are told where one points at it."""

    def __post_init__(self):
        rows = tuple(tuple(float(value) for value in row) for row in self.values)
        object.__setattr__(self, "values", rows)
        if self.likeliest and [*map(len, self.likeliest)] != [*map(len, rows)]:
            raise DataError(f"the map {self.name!r} has not as many lists of tokens as cells")


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
    likeliest: tuple[tuple[float, Likeliest], ...] = ()
    """(x, tokens): what is told where one points at a line there."""


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


def _check_caption(title: str, caption: str) -> None:
    if not caption.strip():
        raise DataError(f"the plot {title!r} has no caption: say in a sentence what it shows")
