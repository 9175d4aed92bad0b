"""Interpolation: what is known on the straight line in weights from one state to another."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain, plural, signed
from restor_interp.reporting.parts import (
    Cell,
    Column,
    LinePanel,
    Lines,
    Missing,
    Number,
    Part,
    Row,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.rows import RowOf, grouped, number, reasons
from restor_interp.reporting.vocabulary import order_states

Ways = Mapping[tuple[str, str], Sequence[RowOf]]


def interpolation_parts(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Log-odds on the way, facts thin and their mean thick; the loss of held-out text; barriers."""
    ways = _in_order(grouped(rows, "from_state", "to_state"))
    if not ways:
        return ()
    return (*_odds(ways), *_retain(ways), _barriers(ways))


def interpolation_in_short(rows: Sequence[RowOf]) -> str:
    """The barrier of −log p(true) on every way."""
    barriers = {
        (row["from_state"], row["to_state"]): row["value"]
        for row in rows
        if row["metric"] == "truth_barrier" and row["value"] is not None
    }
    told = [
        f"{start} → {end} {plain(float(barriers[start, end]))}" for start, end in _ordered(barriers)
    ]
    return f"barrier of −log p(true), nats: {', '.join(told)}" if told else ""


def _ordered(ways: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    given = list(ways)
    states = order_states(state for way in given for state in way)
    return sorted(given, key=lambda way: tuple(map(states.index, way)))


def _in_order(ways: Ways) -> Ways:
    return {way: ways[way] for way in _ordered(ways)}


def _odds(ways: Ways) -> tuple[Part, ...]:
    panels, told = [], []
    for (start, end), rows in ways.items():
        own = [row for row in rows if row["metric"] == "logodds" and row["fact_id"]]
        facts = [_by_t(some) for some in grouped(own, "fact_id").values()]
        mean = _by_t(own)
        if not mean:
            continue
        way = f"{start} → {end}"
        panels.append(
            LinePanel(
                way,
                (
                    Series(
                        name="single facts",
                        # an x that is no number ends a fact's line
                        x=tuple(t for fact in facts for t in (*fact, math.nan)),
                        y=tuple(y for fact in facts for y in (*fact.values(), math.nan)),
                        look="control",
                        thin=True,
                    ),
                    Series(
                        name=f"mean of facts, to {end}",
                        x=tuple(mean),
                        y=tuple(mean.values()),
                        look=end,
                        n=len(facts),
                    ),
                ),
            )
        )
        told.append(f"{way} {signed(_at(mean, 0))} to {signed(_at(mean, 1))}{_crossing(mean)}")
    if not panels:
        return ()
    return (
        Lines(
            title="On the straight line between two states: does the truth lead?",
            panels=tuple(panels),
            x_title="t (0: the first state's weights, 1: the second's)",
            y_title="log-odds true : false, nats",
            caption=f"Means over {plural(_facts(ways), 'fact')}: {'; '.join(told)}.",
        ),
    )


def _retain(ways: Ways) -> tuple[Part, ...]:
    panels, told = [], []
    for start in dict.fromkeys(start for start, _ in ways):
        lines = []
        for (begin, end), rows in ways.items():
            losses = _by_t(row for row in rows if row["metric"] == "retain_loss")
            if begin == start and losses:
                xs, ys = tuple(losses), tuple(losses.values())
                lines.append(Series(name=f"to {end}", x=xs, y=ys, look=end))
                told.append(f"{start} → {end} at most {plain(max(ys))}")
        if lines:
            panels.append(LinePanel(f"from {start}", tuple(lines)))
    if not panels:
        return ()
    return (
        Lines(
            title="On the same lines: loss on held-out text",
            panels=tuple(panels),
            x_title="t",
            y_title="nats per token",
            caption=f"A rise between the ends is a barrier. {'; '.join(told)}.",
        ),
    )


def _barriers(ways: Ways) -> Table:
    lines, told = [], []
    for (start, end), rows in ways.items():
        whole = {row["metric"]: row for row in rows if not row["fact_id"]}
        truth = whole.get("truth_barrier")
        lines.append(
            Row(
                (
                    Text(f"{start} → {end}"),
                    _cell(next(iter(rows), None), "distance"),
                    _barrier(truth),
                    _barrier(whole.get("retain_barrier")),
                )
            )
        )
        if truth is not None and math.isfinite(number(truth["value"])):
            told.append(f"{start} → {end} {plain(number(truth['value']))} nats")
    return Table(
        (
            Column("From → to"),
            Column("Distance", help="length of the line, in units of the weights"),
            Column("Of −log p(true)", help="nats, mean over facts", group="Barrier"),
            Column("Of held-out text", help="nats per token", group="Barrier"),
        ),
        tuple(lines),
        caption="Barrier: the greatest rise above the straight line between the ends; near 0, one "
        f"state is the other, moved. Of −log p(true): {'; '.join(told) or 'not measured'}.",
    )


def _barrier(row: RowOf | None) -> Cell:
    cell = _cell(row, "value")
    if row is None or not isinstance(cell, Number) or row["t"] is None:
        return cell
    at = f"at t = {plain(number(row['t']), 1)}" if number(row["value"]) >= 0.0005 else ""
    return Number(cell.value, digits=3, detail=at)


def _cell(row: RowOf | None, column: str) -> Cell:
    value = math.nan if row is None else number(row.get(column))
    if row is None or not math.isfinite(value):
        return Missing("" if row is None else reasons([row]))
    return Number(value, digits=2)


def _by_t(rows: Iterable[RowOf]) -> dict[float, float]:
    """t -> mean of the finite values there."""
    return by_layer(rows, "value", along="t")


def _at(values: Mapping[float, float], t: float) -> float:
    return values.get(float(t), math.nan)


def _crossing(values: Mapping[float, float]) -> str:
    """Where the sign changes for the last time."""
    points = list(values.items())
    for (t0, y0), (t1, y1) in reversed(list(itertools.pairwise(points))):
        if y0 * y1 < 0:
            return f" (0 at t = {plain(t0 + (t1 - t0) * y0 / (y0 - y1))})"
    return ""


def _facts(ways: Ways) -> int:
    return len({row["fact_id"] for rows in ways.values() for row in rows if row["fact_id"]})
