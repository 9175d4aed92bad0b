"""A map of shares in a terminal: coloured cells where it has colours, blocks or ASCII elsewhere."""

import math

from rich.console import Console
from rich.text import Text

from restor_interp.reporting.tracepage import LABEL, TraceMap
from restor_interp.reporting.vocabulary import CIVIDIS

WIDTH = 100
"""Columns that a map takes at most."""
_EDGES = (0.1, 0.3, 0.5, 0.8)
_BLOCKS, _ASCII = " ░▒▓█", " .:+#"
_MARGIN = LABEL + 3
_CELL = 2


def columns_of(console: Console) -> int:
    """How many columns of layers fit beside the tokens' names."""
    return max(1, (min(console.width, WIDTH) - _MARGIN) // _CELL)


def draw_map(drawn: TraceMap, console: Console) -> list[Text]:
    """The map's lines: a title, layers above, a line per token, and what the cells mean."""
    coloured = console.color_system is not None and not console.no_color
    signs = _signs(console)
    star, cross = ("▸", "×") if signs is _BLOCKS else (">", "x")
    lines = [Text(drawn.title, style="bold"), Text(_ruler(drawn), style="dim")]
    for label, inside, values in zip(drawn.labels, drawn.in_subject, drawn.cells, strict=True):
        mark = star if inside else " "
        line = Text(f"{mark} {_fitting(label, console):<{LABEL}} ", style="bold" if inside else "")
        for value in values:
            if not math.isfinite(value):
                line.append(cross * _CELL, style="dim")
            elif coloured:
                line.append(" " * _CELL, style=f"on {_colour(value)}")
            else:
                line.append(signs[sum(value >= edge for edge in _EDGES)] * _CELL)
        lines.append(line)
    lines.append(_legend(drawn, coloured, signs, star))
    return lines


def _signs(console: Console) -> str:
    return _BLOCKS if "utf" in console.encoding.lower() else _ASCII


def _fitting(label: str, console: Console) -> str:
    if _signs(console) is _BLOCKS:
        return label
    return label.replace("·", "_").encode("ascii", "replace").decode()


def _ruler(drawn: TraceMap) -> str:
    """The first layer of every fifth column."""
    text = f"{'layer':>{_MARGIN - 1}} "
    for number, (first, _) in enumerate(drawn.layers):
        if number % 5 == 0:
            text = text.ljust(_MARGIN + _CELL * number) + str(first)
    return text


def _colour(value: float) -> str:
    return CIVIDIS[round(min(1.0, max(0.0, value)) * (len(CIVIDIS) - 1))]


def _legend(drawn: TraceMap, coloured: bool, signs: str, star: str) -> Text:
    legend = Text(f"{star} subject; share of the effect that comes back: ", style="dim")
    if coloured:
        legend.append("0% ")
        for colour in CIVIDIS:
            legend.append(" ", style=f"on {colour}")
        legend.append(" 100%")
    else:
        for sign, edge in zip(signs[1:], _EDGES, strict=True):
            legend.append(f"{sign} {round(100 * edge)}%+ ")
    if drawn.group > 1:
        legend.append(f"; a column is {drawn.group} layers, the largest of them")
    return legend
