"""How the numbers of a verdict are told: in sentences, where one may be missing."""

import itertools
import math
from collections.abc import Sequence


def measured(value: float | None) -> bool:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> str:
    """Two decimals, with a minus sign as it is printed; nothing of what was not measured."""
    return f"{value:.2f}".replace("-", "−") if value is not None and measured(value) else ""


def layer_range(layers: Sequence[int]) -> str:
    """`layer 24`, `layers 24–26`, `layers 20, 24–26`."""
    ordered = sorted(set(layers))
    runs = []
    for _, run in itertools.groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0]):
        own = [layer for _, layer in run]
        runs.append(f"{own[0]}" if len(own) == 1 else f"{own[0]}–{own[-1]}")
    return f"{'layer' if len(ordered) == 1 else 'layers'} {', '.join(runs)}"
