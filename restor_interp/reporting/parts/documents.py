"""Texts, tables and folds, and the document that they make."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from restor_interp.errors import DataError
from restor_interp.reporting.parts.cells import Column, Row
from restor_interp.reporting.parts.plots import Amounts, Bars, Heatmaps, Lines


@dataclass(frozen=True)
class Paragraph:
    text: str
    _: KW_ONLY
    quiet: bool = False
    """A remark, in smaller type."""
    page: str = ""
    """The page of the site that it leads to: a name in `Document.further`, or `index`."""


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
    further: tuple[tuple[str, "Document"], ...] = ()
    """(name, page) of a site's pages beside the first one, whose document this is. All pages of
    the site lead there."""


def floats(values: Iterable[float | None]) -> tuple[float, ...]:
    """Numbers, with None as not-a-number."""
    return tuple(math.nan if value is None else float(value) for value in values)


def parts_in(parts: Sequence[Part]) -> Iterable[Part]:
    """Every part, those inside sections and details too."""
    for part in parts:
        yield part
        if isinstance(part, Details | Section):
            yield from parts_in(part.parts)
