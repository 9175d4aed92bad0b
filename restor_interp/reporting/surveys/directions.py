"""Directions: what a state adds whatever it reads, in words, and what taking it out does."""

import math
from collections.abc import Sequence

import numpy as np

from restor_interp.reporting.characters import token_label
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
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.rows import RowOf, grouped, number, placed, reasons
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

SHOWN = 8
"""Tokens of each end that are written out."""
MODES = {
    "ablate": "taken out",
    "subtract": "taken away once",
    "add": "put into base",
}
METRICS = {
    "logodds": "of log-odds true : false",
    "lead": "of the lead over every other word",
}


def directions_in_short(rows: Sequence[RowOf]) -> str:
    """How long each state's direction is where it is longest."""
    own = grouped(rows, "state")
    told = []
    for state in order_states(state for (state,) in own):
        most = max(_known(row, "relative_norm") for row in own[state,])
        if math.isfinite(most):
            told.append(f"{state} {plain(100 * most, 1)}%")
    return f"longest, as a share of the stream: {', '.join(told)}" if told else ""


# ---- in words


def direction_table(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """A row per state and layer: how long the direction is, and which tokens it speaks for."""
    layers = grouped(placed(rows), "state", "layer")
    if not layers:
        return not_measured(rows)
    states = order_states(state for state, _ in layers)
    lines, told = [], []
    for state in states:
        own = {layer: some for (of, layer), some in layers.items() if of == state}
        lines += [Row(_cells(state, at, own[at]), group=block(state)) for at in sorted(own)]
        longest = max(own, key=lambda layer: _known(own[layer][0], "relative_norm"))
        first = own[longest][0]
        if math.isfinite(_known(first, "relative_norm")):
            told.append(
                f"{state} at most {plain(100 * number(first['relative_norm']), 1)}% of the "
                f"stream's length (layer {longest}; halves of the texts agree by "
                f"{plain(number(first.get('agreement')))})"
            )
    of = max((int(row["n_texts"]) for row in rows if row.get("n_texts") is not None), default=0)
    columns = (
        Column("State"),
        Column("Layer"),
        Column("Length", help="mean difference to the base, as a share of the stream's length"),
        Column("Same in all", help="‖mean difference‖² / mean ‖difference‖²"),
        Column("Halves agree", help="cosine between halves of the texts; near 0 it is noise"),
        Column("Tokens it speaks for", wide=True),
        Column("Tokens it speaks against", wide=True),
    )
    caption = f"What each state adds on {plural(of, 'neutral text')}, whatever it reads"
    return (
        Table(
            columns,
            tuple(lines),
            caption=f"{caption}: {'; '.join(told) or 'nothing was measured'}.",
        ),
    )


def _known(row: RowOf, column: str) -> float:
    value = number(row.get(column))
    return value if math.isfinite(value) else -math.inf


def _cells(state: str, layer: int, rows: Sequence[RowOf]) -> tuple[Cell, ...]:
    first = rows[0]

    def share(column: str, digits: int, per_cent: bool) -> Cell:
        value = number(first.get(column))
        if not math.isfinite(value):
            return Missing(reasons(rows))
        return Number(value, digits=digits, percent=per_cent)

    def words(end: str) -> Cell:
        own = sorted((row for row in rows if row.get("end") == end), key=lambda row: row["rank"])
        tokens = [token_label(str(row["token"])) for row in own if row["token"] is not None]
        return Text("  ".join(tokens[:SHOWN]), mono=True) if tokens else Missing()

    return (
        Text(state),
        Number(int(layer), digits=0),
        share("relative_norm", 1, True),
        share("share", 0, True),
        share("agreement", 2, False),
        words("promoted"),
        words("demoted"),
    )


# ---- taken out and put in


def steering_bars(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Recovered shares, means over facts, each beside its control; a panel per state and metric."""
    shares = [row for row in rows if math.isfinite(number(row.get("share")))]
    panels, told = [], []
    groups = grouped(shares, "state", "metric")
    for state in order_states(state for state, _ in groups):
        for metric in METRICS:
            chosen = groups.get((state, metric), [])
            bars = [
                _bar(key, own) for key, own in grouped(chosen, "layer", "mode", "control").items()
            ]
            if bars:
                panels.append(AmountPanel(f"{state}: share {METRICS[metric]}", tuple(bars)))
                best = max(bars, key=lambda bar: bar.value - (bar.control or 0.0))
                told.append(f"{panels[-1].name} {_beyond(best)}")
    facts = len({row["fact_id"] for row in shares})
    left = [row for row in rows if not math.isfinite(number(row.get("share")))]
    parts: list[Part] = []
    if panels:
        parts.append(
            Amounts(
                title="What the direction does: taken out of the state, put into the base",
                panels=tuple(panels),
                value_title="share of the gap between state and base",
                caption=f"Means over {plural(facts, 'fact')}; 1: the direction alone makes the "
                "difference. After vs: whose direction of equal length is its control. "
                f"{'; '.join(told)}.",
                low_words="away from it",
                high_words="closes the gap",
                control_words="another direction of equal length; the line: lowest to highest fact",
            )
        )
    if left:
        why = reasons(left) or "no share was recorded"
        parts.append(Paragraph(f"Left out: {plural(len(left), 'row')} ({why}).", quiet=True))
    return tuple(parts)


def _beyond(best: Amount) -> str:
    """The bar that is furthest above its control, if any is."""
    if best.control is not None and best.value <= best.control:
        return "nothing does more than its control"
    return f"most beyond its control {best.name}: {signed(best.value)} " + (
        "(no control)" if best.control is None else f"(control {signed(best.control)})"
    )


def _bar(key: tuple[int, str, str], rows: Sequence[RowOf]) -> Amount:
    layer, mode, control = key
    beside = [number(row.get("control_share")) for row in rows]
    known = [value for value in beside if math.isfinite(value)]
    return Amount(
        f"L{int(layer)} {MODES.get(mode, mode)}, vs {str(control).removeprefix('direction of ')}",
        float(np.mean([number(row["share"]) for row in rows])),
        control=float(np.mean(known)) if known else None,
        low=min(known) if known else None,
        high=max(known) if known else None,
    )
