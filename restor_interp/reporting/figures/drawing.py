"""What all figures have in common: their room, their labels, and how numbers are rounded."""

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from restor_interp.reporting.characters import one_line, shorten

LABEL = 36
"""Code points of a row's or category's name in a plot."""

HOVERED = 300
"""Code points of a name in a hover text, which has room for what the label has not."""

_HOVER_LINE = 60
"""Code points of a hover text's line: plotly breaks none by itself."""

_LABEL_LINE = 14
"""Code points of a line of a label that may have several."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One plotly figure and the room it needs."""

    name: str
    """The panel's name, shown above it."""
    figure: dict[str, Any]
    """`data` and `layout`, of JSON values."""
    names: dict[str, list[str]]
    """Names of x = 0, 1, … and y = 0, 1, … where these have names: uncut, not escaped."""
    labels: dict[str, list[str]]
    """The same as a hover text shows them, escaped. The page's script copies them into each
    point's `customdata`; writing them out here would triple the size of a page."""
    height: int
    """Pixels."""
    width: int
    """Least width in pixels at which labels do not collide."""
    most: int
    """Width in pixels beyond which the plot would only be stretched."""
    likeliest: dict[str, Any] | None = None
    """The most likely tokens at its places, where it has them: `figures.likeliest`."""

    @property
    def extra(self) -> dict[str, Any]:
        """What only some plots have."""
        return {"likeliest": self.likeliest} if self.likeliest else {}


def escaped(text: str, limit: int = LABEL) -> str:
    """Any text as plotly shows it literally: one visible line, cut, `<`, `>` and `&` escaped."""
    return html.escape(shorten(one_line(text), limit), quote=False)


def hover_text(text: str) -> str:
    """The same for a hover text: as good as whole, in several lines where it is long."""
    lines = textwrap.wrap(shorten(one_line(text), HOVERED), _HOVER_LINE) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def label_lines(text: str) -> str:
    """A label below an axis, broken between words, as three short lines stand upright where one
    long one would be slanted."""
    lines = textwrap.wrap(shorten(one_line(text), LABEL), _LABEL_LINE) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def layout_of(height: int) -> dict[str, Any]:
    """A layout without anything that depends on the kind of plot."""
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": _FONT, "size": 12},
        "hoverlabel": {"align": "left", "font": {"family": _FONT, "size": 12}, "namelength": -1},
        "showlegend": False,
        "xaxis": {"automargin": True, "ticks": "", "zeroline": False},
        "yaxis": {"automargin": True, "ticks": "", "zeroline": False},
    }


def title_of(text: str) -> dict[str, Any]:
    """The title of an axis."""
    return {"text": escaped(text, 80), "standoff": 6, "font": {"size": 12}}


def rounded(value: float, scale: float = 0.0) -> float | None:
    """Four significant digits, an integer where it is one; None where it is not finite.

    With a `scale`, to the fourth digit of that: more of a small value cannot be seen on a scale
    that holds large ones, and digits of noise are most of the size of a page.
    """
    if not math.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    if scale > 0:
        short = round(short, 3 - math.floor(math.log10(scale)))
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def with_room(values: Sequence[float]) -> list[float]:
    """The ends of an axis on which all of these can be seen."""
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.5
    return [float(f"{end:.4g}") for end in (low - room, high + room)]
