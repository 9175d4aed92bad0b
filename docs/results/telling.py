"""Numbers and tables as the pages tell them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from restor_interp.measure.statistics import Estimate


@dataclass(frozen=True)
class Number:
    """A number with its interval and what it rests on."""

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    mde: float = math.nan
    n_facts: int = 0
    n_entities: int = 0

    @classmethod
    def of(cls, found: Estimate) -> "Number":
        p, mde = (math.nan if own is None else own for own in (found.p, found.mde))
        return cls(found.value, found.low, found.high, p, mde, found.n_facts, found.n_entities)

    @property
    def known(self) -> bool:
        return not math.isnan(self.value)

    def above(self, bound: float = 0.0) -> bool:
        return self.low > bound

    def below(self, bound: float = 0.0) -> bool:
        return self.high < bound

    def told(self, unit: str = "%", *, signed: bool = False) -> str:
        """Value and interval, shares in per cent."""
        if not self.known:
            return "–"
        times, digits = (100, 0) if unit == "%" else (1, 2)
        sign = "+" if signed else ""

        def one(number: float) -> str:
            # Rounded first, and 0 added, so that there is no negative zero.
            return f"{round(times * number, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")

        span = "" if math.isnan(self.low) else f" [{one(self.low)}, {one(self.high)}]"
        return f"{one(self.value)}{span}"

    @property
    def p_told(self) -> str:
        """As in a column that is headed p."""
        return "< 0.001" if self.p < 0.0005 else f"{self.p:.3f}"

    @property
    def p_in_words(self) -> str:
        return f"p {self.p_told}" if self.p_told.startswith("<") else f"p = {self.p_told}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
