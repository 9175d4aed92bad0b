"""What each layer would say of one fact: its two objects as lines, its first choices as a map."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from restor_interp.reporting.characters import token_label
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import (
    Heatmaps,
    Likeliest,
    LinePanel,
    Lines,
    Panel,
    Part,
    Series,
)
from restor_interp.reporting.rows import Axes, RowOf, grouped, object_role, placed
from restor_interp.reporting.vocabulary import PLACES, order_states

FROM_SUBJECT = "from_subject"
"""Position of rows that are read at every token from the subject on."""
POINT = " Pointing at a line tells the most likely next tokens there."


def lens_lines(
    rows: Sequence[Mapping[str, Any]], fact: Mapping[str, Any], tops: Sequence[RowOf] = ()
) -> tuple[Part, ...]:
    """Log-probability of the true and the false object after each layer, a panel per state.

    `tops`: rows of `lens_top`, whose tokens are told where one points at a line.
    """
    named = placed(row for row in tops if row["position"] != FROM_SUBJECT)
    likeliest = grouped(named, "lens", "position", "state")
    plots = []
    for lens, position in dict.fromkeys((row["lens"], row["position"]) for row in rows):
        chosen = [row for row in rows if (row["lens"], row["position"]) == (lens, position)]
        place = PLACES.get(position, position)
        states = order_states(row["state"] for row in chosen)
        panels, led = [], []
        for state in states:
            series = []
            for name in ("true", "false"):
                points = sorted(
                    (row["layer"], row["logprob"])
                    for row in chosen
                    if row["state"] == state
                    and object_role(row["object"], fact) == name
                    and row["logprob"] is not None
                )
                if points:
                    xs, ys = zip(*points, strict=True)
                    series.append(Series(name=f"{name} object", x=xs, y=ys, look=name))
            layers = grouped(likeliest.get((lens, position, state), ()), "layer")
            told = ((float(layer), _likeliest(own)) for (layer,), own in layers.items())
            said = tuple((layer, one) for layer, one in told if one is not None)
            panels.append(LinePanel(state, tuple(series), likeliest=said))
            led.append(f"{state}: {_leader(series)}")
        plots.append(
            Lines(
                title=f"What each layer would answer ({lens} lens at {place})",
                panels=tuple(panels),
                x_title="layer",
                y_title="log-probability (nats)",
                caption=f"Which object leads: {'; '.join(led)}."
                + (POINT if any(panel.likeliest for panel in panels) else ""),
            )
        )
    return tuple(plots)


def _leader(series: Sequence[Series]) -> str:
    """Who leads after the last layer, and since when."""
    if len(series) < 2:
        return "only one object was measured"
    shared = sorted(set(series[0].x) & set(series[1].x))
    if not shared:
        return "no layer in common"
    first, second = (dict(zip(line.x, line.y, strict=True)) for line in series)
    ahead = [first[layer] > second[layer] for layer in shared]
    since = _since(ahead)
    winner = "true" if ahead[-1] else "false"
    return f"{winner} at every layer" if since == 0 else f"{winner} from layer {shared[since]:g}"


def _since(said: Sequence[object]) -> int:
    """The place from which on all are as the last one."""
    since = len(said) - 1
    while since and said[since - 1] == said[-1]:
        since -= 1
    return since


def lens_map(tops: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """The token that each layer would say first at each token of the question, a map per state;
    its probability as the colour. Nothing where no row is about every token."""
    mapped = placed(row for row in tops if row["position"] == FROM_SUBJECT)
    plots = []
    for (lens,), chosen in grouped(mapped, "lens").items():
        first = (row for row in chosen if row["k"] == 1)
        rows = [
            {**row, "position": row["token_position"], "token": row.get("read_token")}
            for row in first
        ]
        axes = Axes.of(rows, fact["entity"])
        cells = {
            key: _likeliest(own)
            for key, own in grouped(chosen, "state", "layer", "token_position").items()
        }
        panels, told = [], []
        for state in order_states(row["state"] for row in chosen):
            grid = tuple(
                tuple(cells.get((state, layer, place)) for place in axes.places)
                for layer in axes.layers
            )
            values = tuple(
                tuple(math.nan if one is None else one.probabilities[0] for one in row)
                for row in grid
            )
            panels.append(Panel(state, values, grid))
            told.append(f"{state}: {_said(axes, grid)}")
        plots.append(
            Heatmaps(
                title=f"What each layer would say next, at each token ({lens} lens)",
                panels=tuple(panels),
                value_title="probability of the token that is written",
                caption="Written: the most likely next token; · is a space. Said after the last "
                f"token, and since which layer: {'; '.join(told)}. Dotted: the subject.",
                low=0.0,
                high=1.0,
                low_words="anything else as well",
                high_words="certain",
                **axes.fields(),
            )
        )
    return tuple(plots)


def _likeliest(rows: Sequence[RowOf]) -> Likeliest | None:
    """The tokens of one place, the likeliest first; None where none was measured."""
    known = sorted(
        (int(row["k"]), str(row["token"]), math.exp(row["logprob"]))
        for row in rows
        if row["token"] is not None and row["logprob"] is not None
    )
    if not known:
        return None
    _, tokens, shares = zip(*known, strict=True)
    return Likeliest(tokens, shares)


def _said(axes: Axes, grid: Sequence[Sequence[Likeliest | None]]) -> str:
    """What stands first at the last token after the last layer, and since when."""
    column = [row[-1] for row in grid]
    last = column[-1]
    if last is None:
        return "not measured"
    since = _since([None if one is None else one.tokens[0] for one in column])
    told = f"“{token_label(last.tokens[0])}” ({plain(last.probabilities[0])})"
    return f"{told} from layer {axes.layers[since]} on"
