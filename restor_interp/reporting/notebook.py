"""Results as short HTML for a notebook: no script, no address, everything escaped.

A notebook keeps what it shows, so a display is small: sentences, maps as coloured tables, the first
rows of tables. Whoever wants to hover and zoom takes `ri.figures(result)`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2

from restor_interp.reporting.characters import one_line, shorten, token_label, visible
from restor_interp.reporting.displays import parts_of
from restor_interp.reporting.formats import cell_text, plain, plural
from restor_interp.reporting.parts import (
    Amounts,
    Bars,
    Callout,
    Details,
    Document,
    Heatmaps,
    KeyValues,
    Lines,
    Panel,
    Paragraph,
    Part,
    Section,
    Table,
)
from restor_interp.reporting.text import to_text
from restor_interp.reporting.vocabulary import CIVIDIS, RED_BLUE, ink_on

MOST_ROWS, MOST_COLUMNS, MOST_MAPS = 12, 48, 3
"""Rows of a table, columns of a map, and maps, that a display shows."""


@dataclass(frozen=True, kw_only=True)
class Square:
    """One cell of a map."""

    colour: str
    ink: str
    text: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of text or of coloured squares."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Any, ...]], ...]
    """(name, cells), from top to bottom."""
    note: str = ""


def html_of(result: Any) -> str:
    """A result, or a document, as a piece of HTML."""
    sentences: list[str] = []
    grids: list[Grid] = []
    pairs: list[tuple[str, str]] = []
    for part in _flat(parts_of(result)):
        match part:
            case Paragraph() | Callout():
                sentences.append(part.text)
            case KeyValues():
                pairs += part.items
            case Heatmaps():
                grids += [_map(part, panel) for panel in part.panels]
            case Table():
                grids.append(_table(part))
            case Lines() | Bars() | Amounts():
                grids.append(_numbers(part))
            case _:
                pass
    more = len(grids) - MOST_MAPS
    return _template().render(
        title=result.title if isinstance(result, Document) else type(result).__name__,
        sentences=sentences[:4],
        grids=grids[:MOST_MAPS],
        pairs=pairs[:24],
        more=f"{plural(more, 'further table')}: ri.figures(result)" if more > 0 else "",
    )


def _flat(parts: Iterable[Part]) -> Iterable[Part]:
    """The parts that stand open, those inside sections too; what is folded stays away."""
    for part in parts:
        if isinstance(part, Section):
            yield from _flat(part.parts)
        elif not isinstance(part, Details) or part.open:
            yield from _flat(part.parts) if isinstance(part, Details) else (part,)


def _map(plot: Heatmaps, panel: Panel) -> Grid:
    """Layers upwards, as in the report."""
    low, high = plot.limits()
    colours = RED_BLUE if plot.diverging else CIVIDIS
    label = token_label if plot.tokens else one_line
    shown = range(min(len(plot.columns), MOST_COLUMNS))
    rows = [
        (
            one_line(name),
            tuple(
                _square(values[at], low, high, colours, f"{name}, {label(plot.columns[at])}")
                for at in shown
            ),
        )
        for name, values in zip(plot.rows, panel.values, strict=True)
    ]
    return Grid(
        caption=f"{plot.title}{': ' + panel.name if panel.name else ''}. {plot.caption}",
        heads=(plot.row_title, *(label(plot.columns[at]) for at in shown)),
        rows=tuple(reversed(rows)),
        note=f"from {plain(low)} (dark) to {plain(high)} (light): {plot.value_title}"
        if not plot.diverging
        else f"from {plain(low)} (red) to {plain(high)} (blue): {plot.value_title}",
    )


def _square(value: float, low: float, high: float, colours: tuple[str, ...], place: str) -> Square:
    if not math.isfinite(value):
        return Square(colour="#ffffff", ink="#76808c", text="×", title=f"{place}: not measured")
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    colour = colours[round(share * (len(colours) - 1))]
    return Square(colour=colour, ink=ink_on(colour), text="", title=f"{place}: {plain(value, 3)}")


def _table(table: Table) -> Grid:
    rows = [tuple(shorten(cell_text(cell), 80) for cell in row.cells) for row in table.rows]
    rest = len(rows) - MOST_ROWS
    return Grid(
        caption=table.caption,
        heads=tuple(column.title for column in table.columns),
        rows=tuple((row[0], row[1:]) for row in rows[:MOST_ROWS]),
        note=f"and {plural(rest, 'further row')}" if rest > 0 else "",
    )


def _numbers(plot: Lines | Bars | Amounts) -> Grid:
    """The numbers of a plot as lines of text: a display draws no lines."""
    lines = to_text(plot, width=100).splitlines()
    rest = len(lines) - 1 - 2 * MOST_ROWS
    return Grid(
        caption=plot.title,
        heads=(),
        rows=(("\n".join(lines[1 : 1 + 2 * MOST_ROWS]), ()),),
        note=f"and {plural(rest, 'further line')}" if rest > 0 else "",
    )


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("restor_interp.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    return environment.get_template("notebook.html")
