"""Timeline: at which step of a training, and in which layer first, the truth comes back."""

import math
from collections.abc import Sequence

import numpy as np

from restor_interp.reporting.formats import plain, plural, signed
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Heatmaps,
    Missing,
    Number,
    Panel,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states


def timeline_maps(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Log-odds of the true against the false object, layers by steps, means over facts.

    A figure per state, because trainings have different steps; all figures share one scale.
    """
    own = grouped(rows, "state")
    maps = {state: _map(own[state,]) for state in order_states(state for (state,) in own)}
    values = [
        v for _, _, cells in maps.values() for line in cells for v in line if math.isfinite(v)
    ]
    most = max(map(abs, values), default=0.0)
    parts = []
    for state, (layers, steps, cells) in maps.items():
        facts = len({row["fact_id"] for row in own[state,]})
        last = list(cells[-1]) if cells else []
        if not any(map(math.isfinite, last)):
            continue
        parts.append(
            Heatmaps(
                title=f"Training of {state}: when does the truth lead, in which layer?",
                panels=(Panel("", cells),),
                rows=tuple(map(str, layers)),
                columns=tuple(map(str, steps)),
                row_title="layer",
                column_title="step",
                value_title="log-odds true : false, nats",
                caption=f"Means over {plural(facts, 'fact')}. In the last layer from "
                f"{signed(last[0])} at step {steps[0]} to {signed(last[-1])} at step {steps[-1]}; "
                f"{_moved(layers, cells)}.",
                diverging=True,
                low=-most,
                high=most,
                low_words="falsehood leads",
                high_words="truth leads",
            )
        )
    return tuple(parts)


def timeline_in_short(rows: Sequence[RowOf]) -> str:
    """The mean log-odds of the last layer at the start and at the end."""
    own = grouped(rows, "state")
    told = []
    for state in order_states(state for (state,) in own):
        _, _, cells = _map(own[state,])
        if cells and math.isfinite(cells[-1][0] + cells[-1][-1]):
            told.append(f"{state} {signed(cells[-1][0])} → {signed(cells[-1][-1])}")
    return f"log-odds true : false of the last layer: {', '.join(told)}" if told else ""


def _map(rows: Sequence[RowOf]) -> tuple[list[int], list[int], tuple[tuple[float, ...], ...]]:
    """Layers, steps, and the mean log-odds there."""
    odds: dict[tuple[int, int], list[float]] = {}
    placed = (row for row in rows if None not in (row["layer"], row["step"]))
    for (layer, step, _, _), pair in grouped(
        placed, "layer", "step", "fact_id", "context_id"
    ).items():
        found = {row["category"]: number(row["logprob"]) for row in pair}
        odds.setdefault((int(layer), int(step)), []).append(
            found.get("true", math.nan) - found.get("false", math.nan)
        )
    layers = sorted({layer for layer, _ in odds})
    steps = sorted({step for _, step in odds})
    cells = tuple(
        tuple(float(np.mean(odds.get((layer, step), [math.nan]))) for step in steps)
        for layer in layers
    )
    return layers, steps, cells


def _moved(layers: Sequence[int], cells: Sequence[Sequence[float]]) -> str:
    changes = [(line[-1] - line[0], layer) for layer, line in zip(layers, cells, strict=True)]
    known = [pair for pair in changes if math.isfinite(pair[0])]
    change, layer = max(known)
    return f"most is gained in layer {layer} ({signed(change)})"


def leading_table(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Per state, in which layer log-odds turn first, and how long before the last layer's do."""
    own = grouped(rows, "state")
    if not own:
        return ()
    lines, told = [], []
    for state in order_states(state for (state,) in own):
        turned = [row for row in own[state,] if math.isfinite(number(row["half_step"]))]
        cells = [_median(turned, name) for name in ("layer", "half_step", "last_layer_step")]
        still = [row for row in own[state,] if row not in turned]
        why: Cell = Text(common_reasons(still)) if still else Text("")
        counts = (Number(len(turned), digits=0), Number(len(still), digits=0, detail=""))
        lines.append(Row((Text(state), counts[0], *cells, counts[1], why), group=block(state)))
        told.append(f"{state} {len(turned)} of {plural(len(own[state,]), 'answer')}")
    first, last = "First to turn", "Last layer"
    return (
        Table(
            (
                Column("State"),
                Column("Turned", help="log-odds changed by a nat or more, for good"),
                Column("Layer", help="median over facts", group=first),
                Column("Step", help="half of the change is there for good; median", group=first),
                Column("Step of the answer", help="median", group=last),
                Column("Not turned"),
                Column("Why", wide=True),
            ),
            tuple(lines),
            caption=f"Layers whose log-odds turn early lead the change. Turned: {'; '.join(told)}.",
        ),
    )


def _median(rows: Sequence[RowOf], column: str) -> Cell:
    values = [value for row in rows if math.isfinite(value := number(row.get(column)))]
    if not values:
        return Missing()
    low, middle, high = (float(np.percentile(values, at)) for at in (0, 50, 100))
    return Number(middle, digits=1, detail=f"{plain(low, 1)} to {plain(high, 1)}")
