"""The most likely tokens at the places of a plot, short enough for a page that has thousands.

Tokens repeat from place to place, so each is written once and places hold their numbers. What is
here is text for plotly, escaped as in `drawing`; the page's script joins it to lines of a hover
text, as `with_tokens` does for figures that no script looks after.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from restor_interp.reporting.characters import TICK, token_label
from restor_interp.reporting.figures.drawing import HOVERED
from restor_interp.reporting.parts import Likeliest

CELL = 8
"""Code points of a token that is written into a cell of a map."""

LEAST = 0.001
"""Probabilities below it are told to be so: as many digits as can be compared."""

INTRODUCTION = "most likely next:"


@dataclass(kw_only=True)
class TokenList:
    """Tokens by number, in the order in which they were first seen."""

    texts: list[str] = field(default_factory=list)
    """Whole, with white space shown; escaped."""
    cut: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Number -> (as a cell has room for it, as a hover text has), of those that are too long."""
    most: int = 0
    """The longest list of a place."""
    _numbers: dict[str, int] = field(default_factory=dict)

    def coded(self, one: Likeliest | None) -> list[Any]:
        """Numbers and probabilities in turns; none where nothing was measured."""
        if one is None:
            return []
        self.most = max(self.most, len(one.tokens))
        pairs = zip(one.tokens, one.probabilities, strict=True)
        return [part for token, p in pairs for part in (self._number(token), _rounded(p))]

    def _number(self, token: str) -> int:
        if token not in self._numbers:
            self._numbers[token] = number = len(self.texts)
            self.texts.append(_escaped(token, HOVERED))
            short = (_escaped(token, CELL), _escaped(token, TICK))
            if short != (self.texts[-1],) * 2:
                self.cut[f"{number}"] = short
        return self._numbers[token]

    def packed(self, at: Any) -> dict[str, Any]:
        """What the page's script reads; `at`: what was coded, by row and column, or by x."""
        return {
            "texts": self.texts,
            "cut": self.cut,
            "at": at,
            "most": self.most,
            "introduction": INTRODUCTION,
        }


def packed_map(rows: Iterable[Iterable[Likeliest | None]]) -> dict[str, Any]:
    """Of every cell of a map."""
    tokens = TokenList()
    return tokens.packed([[tokens.coded(one) for one in row] for row in rows])


def packed_line(
    places: Iterable[tuple[float, Likeliest]], written: Callable[[float], Any]
) -> dict[str, Any]:
    """Of every x of a plot of lines; `written`: how an x stands in the figure."""
    tokens = TokenList()
    return tokens.packed({f"{written(x)}": tokens.coded(one) for x, one in places})


def with_tokens(trace: dict[str, Any], packed: Mapping[str, Any]) -> dict[str, Any]:
    """A trace whose `customdata` are the names of its places, with the tokens told there."""
    at = packed["at"]
    if trace["type"] == "heatmap":
        told = [
            [[*names, _hover_lines(packed, coded)] for names, coded in zip(*row, strict=True)]
            for row in zip(trace["customdata"], at, strict=True)
        ]
        text = [[_cell_text(packed, coded) for coded in row] for row in at]
        return {**trace, "customdata": told, "text": text}
    if "customdata[1]" not in trace.get("hovertemplate", ""):
        return trace
    places = zip(trace["customdata"], trace["x"], strict=True)
    told = [[name, _hover_lines(packed, at.get(f"{x}", []))] for name, x in places]
    return {**trace, "customdata": told}


def _hover_lines(packed: Mapping[str, Any], coded: list[Any]) -> str:
    """Lines of a hover text, each a token and its probability."""
    lines = []
    for number, p in zip(coded[::2], coded[1::2], strict=True):
        text = packed["cut"].get(f"{number}", (None, packed["texts"][number]))[1]
        lines.append(f"{text} <b>{'&lt; ' if p < LEAST else ''}{max(p, LEAST)}</b>")
    return "<br>".join([packed["introduction"], *lines]) if lines else ""


def _cell_text(packed: Mapping[str, Any], coded: list[Any]) -> str:
    """The likeliest token, as a cell has room for it."""
    if not coded:
        return ""
    return packed["cut"].get(f"{coded[0]}", (packed["texts"][coded[0]], None))[0]


def _escaped(token: str, limit: int) -> str:
    return html.escape(token_label(token, limit), quote=False)


def _rounded(p: float) -> float:
    """To three decimals; of what is less, one digit."""
    if not math.isfinite(p):
        return 0
    short = round(p, 3) if p >= LEAST else float(f"{p:.1g}")
    return int(short) if short.is_integer() else short
