"""A report as data: a `Document` of frozen parts, before it is HTML or plain text.

Definitions in `reports/` compose these; `html` and `text` lower them. Parts hold plain text, never
tags and never addresses: a link names an entity, a page or a key within the page, and the lowering
finds the file. Every plot carries a caption that states what is to be seen in it, computed from its
data.
"""

from restor_interp.reporting.parts.cells import (
    Cell,
    Column,
    EntityLink,
    FateBar,
    Mark,
    Missing,
    Number,
    Row,
    Share,
    Text,
)
from restor_interp.reporting.parts.documents import (
    Callout,
    Code,
    Details,
    Document,
    Empty,
    KeyValues,
    Legend,
    Paragraph,
    Part,
    Plot,
    Section,
    Table,
    floats,
    parts_in,
)
from restor_interp.reporting.parts.plots import (
    Amount,
    AmountPanel,
    Amounts,
    Bars,
    Flaws,
    Heatmaps,
    Likeliest,
    LinePanel,
    Lines,
    Panel,
    Series,
)

__all__ = [
    "Amount",
    "AmountPanel",
    "Amounts",
    "Bars",
    "Callout",
    "Cell",
    "Code",
    "Column",
    "Details",
    "Document",
    "Empty",
    "EntityLink",
    "FateBar",
    "Flaws",
    "Heatmaps",
    "KeyValues",
    "Legend",
    "Likeliest",
    "LinePanel",
    "Lines",
    "Mark",
    "Missing",
    "Number",
    "Panel",
    "Paragraph",
    "Part",
    "Plot",
    "Row",
    "Section",
    "Series",
    "Share",
    "Table",
    "Text",
    "floats",
    "parts_in",
]
