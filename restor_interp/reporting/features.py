"""Features of a dictionary that a state changed for one fact, each beside its control."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plain, plural, signed
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Cell,
    Column,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.rows import RowOf, grouped, number, reasons
from restor_interp.reporting.vocabulary import order_states


def feature_parts(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """What setting each feature back to its clean value does, beside other features moved as far;
    then their values."""
    del fact
    parts: list[Part] = []
    for (site, position), chosen in grouped(rows, "site", "position").items():
        known = [row for row in chosen if math.isfinite(number(row["effect"]))]
        parts += _bars(known, f"{site or 'a dictionary'}, at {position or 'a token'}")
        parts += _table(known)
        left = reasons(row for row in chosen if row not in known)
        if left:
            parts.append(Paragraph(f"Not measured: {left}.", quiet=True))
    return tuple(parts)


def _bars(rows: Sequence[RowOf], where: str) -> tuple[Part, ...]:
    own = grouped(rows, "state")
    panels, told = [], []
    for state in order_states(state for (state,) in own):
        bars = tuple(
            Amount(
                f"feature {int(row['feature'])}",
                number(row["effect"]),
                control=None
                if row.get("control_effect") is None
                else number(row["control_effect"]),
            )
            for row in own[state,]
        )
        panels.append(AmountPanel(state, bars))
        best = max(bars, key=lambda bar: abs(bar.value))
        beside = "no control" if best.control is None else f"control {signed(best.control)}"
        gap = number(own[state,][0].get("base_logodds")) - number(own[state,][0].get("logodds"))
        of = f" of a gap of {signed(gap)}" if math.isfinite(gap) else ""
        told.append(f"{state} {best.name} {signed(best.value)}{of} ({beside})")
    if not panels:
        return ()
    lost = [number(row["unexplained"]) for row in rows if row.get("unexplained") is not None]
    left = f" The dictionary leaves out up to {plain(100 * max(lost), 0)}%." if lost else ""
    return (
        Amounts(
            title=f"Features set back to their clean value: {where}",
            panels=tuple(panels),
            value_title="gain in log-odds true : false, nats",
            caption=f"The features that changed most, one at a time (n = {len(rows)}): "
            f"{'; '.join(told)}.{left}",
            low_words="towards the false object",
            high_words="towards the true object",
            control_words="other features, moved as far",
        ),
    )


def _table(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    if not rows:
        return ()
    own = grouped(rows, "state")
    lines = [
        Row(
            (
                Text(state),
                Text(str(int(row["feature"]))),
                *(_cell(row, c) for c in ("base_value", "value", "effect", "control_effect")),
                _cell(row, "share"),
            ),
            group=state,
        )
        for state in order_states(state for (state,) in own)
        for row in own[state,]
    ]
    value, effect = "Value", "Effect, nats"
    return (
        Table(
            (
                Column("State"),
                Column("Feature"),
                Column("clean", group=value),
                Column("state", group=value),
                Column("set back", group=effect),
                Column("control", group=effect),
                Column("Share", help="of the gap between the clean model and the state"),
            ),
            tuple(lines),
            caption=f"{plural(len(rows), 'feature')} that changed most, by state.",
        ),
    )


def _cell(row: RowOf, column: str) -> Cell:
    value = number(row.get(column))
    return Number(value, digits=2) if math.isfinite(value) else Missing(reasons([row]))
