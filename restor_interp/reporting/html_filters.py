"""What templates ask of values: legends of plots, groups of columns, which cells are numbers."""

from typing import Any

from restor_interp.reporting.characters import short_hash
from restor_interp.reporting.figures import line_names
from restor_interp.reporting.parts import Amounts, Lines, Number, Share, Table
from restor_interp.reporting.vocabulary import (
    CONTROL_LOOK,
    FALSE_LOOK,
    TRUE_LOOK,
    ink_on,
    look_of,
)

_DASHES = {
    "solid": "none", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3",
    "longdash": "11 4", "longdashdot": "11 3 2 3",
}  # fmt: skip


_SHAPES = {
    "circle": "M13 5a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "square": "M13.5 1.5h7v7h-7z",
    "diamond": "M17 0l4 5-4 5-4-5z",
    "diamond-tall": "M17 0l3 5-3 5-3-5z",
    "triangle-up": "M17 1l4.5 8h-9z",
    "triangle-down": "M17 9l4.5-8h-9z",
    "x": "M13 2l1-1 3 3 3-3 1 1-3 3 3 3-1 1-3-3-3 3-1-1 3-3z",
    "star": "M17 0l1.3 3.4 3.7.2-2.9 2.3 1 3.6-3.1-2-3.1 2 1-3.6-2.9-2.3 3.7-.2z",
    "pentagon": "M17 .5l4.5 3.3-1.7 5.4h-5.6l-1.7-5.4z",
    "cross": "M15 .5h4v2.5h2.5v4h-2.5v2.5h-4v-2.5h-2.5v-4h2.5z",
    "hexagon": "M17 .5l4 2.2v4.6l-4 2.2-4-2.2v-4.6z",
}
"""Markers of lines as SVG paths around (17, 5), for the legend; rare ones are left out."""


def samples(plot: Lines) -> list[dict[str, str]]:
    """The legend of a line plot: each line once, with its number, name and look, and `sign`: the
    id of its sign, the same for lines that look alike."""
    lines = {line.name: line for panel in plot.panels for line in panel.series}
    found = []
    for number, name in enumerate(line_names(plot)):
        look, n = look_of(lines[name].look), lines[name].n
        marked = not lines[name].thin and lines[name].look != "chance"
        sign = {
            "colour": look.colour,
            "dash": _DASHES[look.dash] if lines[name].joined else "",
            "shape": _SHAPES.get(look.symbol.removesuffix("-open"), "") if marked else "",
            "fill": "none" if look.symbol.endswith("-open") else look.colour,
        }
        found.append(
            {
                "id": f"l{number}",
                "name": f"{name} (n={n})" if n is not None else name,
                "sign": f"i{short_hash(str(sign))}",
                **sign,
            }
        )
    return found


def swatches(plot: Amounts) -> list[tuple[str, str, str, str]]:
    """(sign, words, colour, ink) of the two directions of bars, and of their control."""
    meanings = [("→", plot.high_words, TRUE_LOOK)]
    meanings += [("←", plot.low_words, FALSE_LOOK)] if plot.low_words else []
    if any(bar.control is not None for panel in plot.panels for bar in panel.amounts):
        meanings.append(("◇", plot.control_words, CONTROL_LOOK))
    return [(sign, words, look.colour, ink_on(look.colour)) for sign, words, look in meanings]


def column_groups(columns: Any) -> list[tuple[str, int]]:
    """(group, number of columns) of neighbouring columns with one heading; empty: no groups."""
    groups: list[tuple[str, int]] = []
    for column in columns:
        if groups and groups[-1][0] == column.group:
            groups[-1] = (column.group, groups[-1][1] + 1)
        else:
            groups.append((column.group, 1))
    return groups if any(name for name, _ in groups) else []


def numeric_columns(table: Table) -> set[int]:
    """Places of the columns that hold numbers; they are set flush right."""
    return {
        place
        for row in table.rows
        for place, cell in enumerate(row.cells)
        if isinstance(cell, Number | Share)
    }
