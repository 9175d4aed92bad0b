"""Which swap brings a fact back, and which takes it away: maps beyond a wrong entity's values, and
the best swap of weights beside random ones of equal norm."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Amount, AmountPanel, Amounts, Heatmaps, Panel, Part
from restor_interp.reporting.patches import MOST
from restor_interp.reporting.rows import (
    Axes,
    Cells,
    RowOf,
    by_direction,
    finite,
    grouped,
    number,
    placed,
)

RANDOM = "random modules, equal norm"


def swaps_map(patches: Sequence[RowOf], grafts: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """The third figure of a fact: clean → S and S → clean, and what the best swap is worth.

    `patches`, `grafts`: its rows of these tables, of which single streams and swaps chosen on this
    prompt are shown. A map without a wrong-entity control is not drawn here: `patch_maps` has it.
    """
    return (*_maps(patches, fact), *_best(grafts))


def _maps(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    rows = [row for row in placed(rows, "position") if row["kind"] == "resid"]
    if not rows:
        return ()
    axes = Axes.of(rows, fact["entity"])
    panels: dict[str, Cells] = {}
    told = []
    for direction, chosen in by_direction(rows).items():
        null = [row for row in chosen if row.get("null") not in (None, "none")]
        own = [row for row in chosen if row.get("null") in (None, "none")]
        cells = _beyond(axes.cells(own, "effect"), axes.cells(null, "effect"))
        if finite(cells):
            panels[direction] = cells
            told.append(f"{direction} {axes.peak(axes.before_last(cells))}")
    if not panels:
        return ()
    most = min(max(abs(v) for cells in panels.values() for v in finite(cells)), MOST)
    return (
        Heatmaps(
            title="Swaps of one value, beyond a wrong entity's",
            panels=tuple(Panel(name, cells) for name, cells in panels.items()),
            value_title="share of the gap, minus what the same value of another entity moves",
            caption=(
                "What the value of this fact moves, and that of another entity does not; highest "
                f"before the last token: {'; '.join(told)}."
            ),
            diverging=True,
            low=-most,
            high=most,
            low_words="the other entity's moves more",
            high_words="towards the donor",
            **axes.fields(),
        ),
    )


def _beyond(cells: Cells, null: Cells) -> Cells:
    return tuple(
        tuple(a - b for a, b in zip(own, other, strict=True))
        for own, other in zip(cells, null, strict=True)
    )


def _best(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Per direction, the swap that moves most, beside the draws of its own control."""
    panels, told = [], []
    own = [row for row in rows if (row.get("judged_on") or "fact") == "fact"]
    own = [row for row in own if math.isfinite(number(row["effect"]))]
    for direction, chosen in by_direction(own).items():
        bars = []
        for (by,), some in grouped(chosen, "by").items():
            best = max(some, key=lambda row: number(row["effect"]))
            control = number(best.get("control_effect"))
            known = math.isfinite(control)
            bars.append(
                Amount(
                    f"{best['modules']} (best of {len(some)}, {str(by).replace('_', ' ')})",
                    number(best["effect"]),
                    control=control if known else None,
                    low=best.get("control_low") if known else None,
                    high=best.get("control_high") if known else None,
                )
            )
        panels.append(AmountPanel(direction, tuple(bars)))
        top = max(bars, key=lambda bar: bar.value)
        beside = "no control" if top.control is None else f"{RANDOM} {plain(top.control)}"
        told.append(f"{direction} {top.name} {plain(top.value)} ({beside})")
    if not panels:
        return ()
    return (
        Amounts(
            title="The best swap of weights against random ones",
            panels=tuple(panels),
            value_title="share of the gap (0 the host's, 1 the donor's)",
            caption=f"The best of several has luck in it; its control was drawn once for each. "
            f"{'; '.join(told)}.",
            low_words="away from the donor",
            high_words="towards the donor",
            control_words=RANDOM,
        ),
    )
