"""Direct logit attribution as bars: which parts push to the true, which to the false object."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plural, signed
from restor_interp.reporting.parts import Amount, AmountPanel, Amounts, Part
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.vocabulary import order_states

MOST = 6
"""Parts shown in each direction."""

TOTAL = "total: the model's own"
_NAMES = {"embed": "embeddings", "bias": "biases"}


def contribution_bars(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """The parts that push hardest in any state, the rest summed, and the total; a panel a state.

    All panels have the same parts, so that they can be compared across states.
    """
    return tuple(
        _plot(chosen, str(target), str(foil))
        for (target, foil), chosen in grouped(rows, "object", "foil").items()
    )


def _plot(rows: Sequence[RowOf], target: str, foil: str) -> Part:
    values: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = {}
    for row in rows:
        own = values.setdefault(row["state"], {})
        own[part_name(row)] = own.get(part_name(row), 0.0) + number(row["value"])
        if row.get("total") is not None:
            totals[row["state"]] = float(row["total"])
    states = order_states(values)
    names = list(dict.fromkeys(name for state in states for name in values[state]))
    highest = {name: max(values[state].get(name, 0.0) for state in states) for name in names}
    lowest = {name: min(values[state].get(name, 0.0) for state in states) for name in names}
    first = sorted((n for n in names if highest[n] > 0), key=lambda n: -highest[n])[:MOST]
    last = sorted((n for n in names if lowest[n] < 0), key=lambda n: lowest[n])[:MOST]
    shown = sorted({*first, *last}, key=lambda n: -values[states[0]].get(n, 0.0))
    rest = f"the other {plural(len(names) - len(shown), 'part')}"
    panels, told = [], []
    for state in states:
        own = values[state]
        summed = sum(own.values())
        total = totals.get(state, summed)
        bars = [Amount(name, own.get(name, math.nan)) for name in shown]
        bars.append(Amount(rest, sum(v for name, v in own.items() if name not in shown)))
        bars.append(Amount(TOTAL, total))
        panels.append(AmountPanel(state, tuple(bars)))
        most, least = (pick(own, key=lambda name: own[name]) for pick in (max, min))
        told.append(
            f"{state}: towards true {most} ({signed(own[most])}), towards false {least} "
            f"({signed(own[least])}), total {signed(total)} (the parts sum to {signed(summed)})"
        )
    return Amounts(
        title=f"Direct contributions to “{target}” over “{foil}”",
        panels=tuple(panels),
        value_title="logits, true − false",
        caption=(
            f"The strongest parts in each direction. {'; '.join(told)}. n = {len(names)} parts, "
            "one prompt. That they sum to the model's own total is the check."
        ),
        low_words="towards the false object",
        high_words="towards the true object",
    )


def part_name(row: RowOf) -> str:
    """`layer 14, head 3`, `layer 21, MLP`, `embeddings`."""
    part, layer = str(row["part"]), row.get("layer")
    if layer is None:
        return _NAMES.get(part, part)
    named = f"head {int(row['head'])}" if part == "head" else {"mlp": "MLP"}.get(part, part)
    return f"layer {int(layer)}, {named}"
