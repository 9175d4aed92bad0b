"""The first and the third figure of `mechanisms.md`, with their text alternatives.

Colours follow Okabe and Ito's colour-blind safe set, as everywhere; none carries meaning alone: a
class has a pattern and a place of its own, a line a dash and a marker.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mechanism_counts import UNDETERMINED, Count, Tier, counts, places
from plotly.graph_objects import Bar, Figure, Scatter
from telling import Number

from restor_interp.explain.mechanism import MECHANISMS
from restor_interp.explain.rollback import rollback_path
from restor_interp.reporting.vocabulary import CONTROL_LOOK, Look, ink_on, look_of, state_kind

FONT = {"family": "sans-serif", "size": 11}
GREY = CONTROL_LOOK.colour
_LOOKS = {
    "never_lost": ("#0072b2", "."),
    "restored": ("#009e73", ""),
    "late_override": ("#d55e00", "/"),
    "not_routed": ("#c58800", "x"),
    "lost_at_subject": ("#cc79a7", "-"),
    "undetermined": ("#c9ced6", ""),
}
"""Colour and pattern of each class, in the order of the parts of a bar: what was never lost, what
came back, then damage from late to early."""
_OTHER = ("#8a6d5a", "+")


@dataclass(frozen=True)
class Drawn:
    """A figure and what it says in words."""

    figure: Figure
    words: str


def words(name: str) -> str:
    """`late_override` as words."""
    return name.replace("_", " ")


def plain(value: float) -> str:
    """Two digits, or a dash for what is missing."""
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


# ---- mechanisms per state


def counts_figure(tier: Tier) -> Drawn:
    """A bar per state, each method above its sham; hollow: withdrawn, its refuter spoke against
    it."""
    rows = [s for s in ("corrupted", "retain_only") if s in tier.states]
    for state in (*tier.methods, *(r for r in tier.references if r not in rows)):
        rows += [name for name in (state, tier.sham_of(state)) if name]
    found = {state: {one.mechanism: one for one in counts(tier, state)} for state in rows}
    labels = [_bar_label(tier, state, found[state]) for state in rows]
    figure = Figure()
    for name in (*(n for n in _LOOKS if n in MECHANISMS), *(set(MECHANISMS) - set(_LOOKS))):
        colour, pattern = _LOOKS.get(name, _OTHER)
        withdrawn = [found[state][name].withdrawn for state in rows]
        kept = [found[state][name].kept for state in rows]
        if name == UNDETERMINED:  # those withdrawn have a part of their own
            all_withdrawn = [sum(one.withdrawn for one in found[s].values()) for s in rows]
            kept = [k - w for k, w in zip(kept, all_withdrawn, strict=True)]
        figure.add_trace(_bars(words(name), labels, kept, colour, pattern))
        if any(withdrawn):
            figure.add_trace(_bars(f"{words(name)}, withdrawn", labels, withdrawn, colour, None))
    figure.update_layout(
        barmode="stack",
        template="plotly_white",
        font=FONT,
        width=1000,
        height=130 + 21 * len(rows),
        margin={"l": 10, "r": 10, "t": 10, "b": 110},
        legend={"orientation": "h", "y": -40 / (21 * len(rows) + 10), "traceorder": "normal"},
        bargap=0.15,
    )
    figure.update_yaxes(autorange="reversed", automargin=True, tickfont={"size": 10})
    figure.update_xaxes(title_text="lost facts with a planted falsehood, over all runs")
    told = "; ".join(f"{state} {_course(found[state])}" for state in rows)
    return Drawn(
        figure, f"Stacked bars of mechanisms per state, each method above its sham: {told}."
    )


def _bar_label(tier: Tier, state: str, own: Mapping[str, Count]) -> str:
    some = next(iter(own.values())).share
    size = f"n = {some.n_facts}, {some.n_entities} entities"
    return (
        f"its sham ({state.removeprefix('sham_')}), {size}"
        if _is_sham(state)
        else (f"<b>{state}</b>, {size}")
    )


def _is_sham(state: str) -> bool:
    return state_kind(state) == "sham"


def _bars(
    name: str, labels: Sequence[str], values: Sequence[int], colour: str, pattern: str | None
) -> Bar:
    """Filled with a colour and its pattern; without a pattern hollow."""
    marker: dict[str, Any] = {"line": {"color": colour, "width": 1.5}, "color": colour}
    if pattern is None:
        marker["color"] = "#ffffff"
    elif pattern:
        marker["pattern"] = {"shape": pattern, "fgcolor": "#ffffff", "size": 6, "solidity": 0.25}
    return Bar(
        name=name,
        y=list(labels),
        x=list(values),
        orientation="h",
        marker=marker,
        text=[str(value) if value else "" for value in values],
        textposition="inside",
        insidetextanchor="middle",
        textfont={"size": 10, "color": "#000000" if pattern is None else ink_on(colour)},
        textangle=0,
    )


def _course(own: Mapping[str, Count]) -> str:
    told = [f"{one.kept} {words(one.mechanism)}" for one in own.values() if one.kept]
    return f"of {next(iter(own.values())).of}: {', '.join(told)}"


# ---- the plane


def plane_figure(tier: Tier) -> Drawn | None:
    """States on the restoration plane; None where no lost fact has both numbers."""
    found = places(tier)
    path = [state for state in rollback_path(found) if state in found]
    shams = [s for s in found if _is_sham(s)]
    methods = [s for s in (*tier.methods, *tier.references) if s in found]
    if not methods:
        return None
    figure = Figure()
    figure.add_trace(
        Scatter(
            x=[found[s].fall.value for s in path], y=[found[s].gain.value for s in path],
            mode="lines+markers", name="corruption rolled back, clean to corrupted",
            line={"color": GREY, "dash": "dash"}, marker={"symbol": "diamond-open", "size": 8},
        )
    )  # fmt: skip
    figure.add_trace(_cloud([found[s].fall for s in shams], [found[s].gain for s in shams]))
    for number, state in enumerate(methods):
        look = look_of(state)
        figure.add_trace(
            Scatter(
                x=[found[state].fall.value], y=[found[state].gain.value], name=state,
                mode="markers+text", text=[state], textfont={"size": 10},
                textposition=("top center", "bottom center", "middle right")[number % 3],
                marker={"color": look.colour, "symbol": look.symbol, "size": 9},
                error_y=_bar(found[state].gain, look),
                showlegend=False,
            )
        )  # fmt: skip
    figure.update_layout(
        template="plotly_white",
        font=FONT,
        width=1000,
        height=560,
        margin={"l": 60, "r": 20, "t": 10, "b": 90},
        legend={"orientation": "h", "y": -0.14},
    )
    figure.update_xaxes(title_text="log p(false) fell by, nats")
    figure.update_yaxes(title_text="margin of the truth rose by, nats")
    told = "; ".join(
        f"{s} fell {plain(found[s].fall.value)}, rose {plain(found[s].gain.value)}" for s in methods
    )
    gains = [found[s].gain.value for s in shams]
    cloud = f" Shams rose {plain(min(gains))} to {plain(max(gains))}." if gains else ""
    rolled = f" Clean rose {plain(found['clean'].gain.value)}." if "clean" in found else ""
    return Drawn(
        figure,
        f"Fall of the false object against return of the true margin since corruption, nats: "
        f"{told}.{cloud}{rolled}",
    )


def _cloud(falls: Sequence[Number], gains: Sequence[Number]) -> Scatter:
    return Scatter(
        x=[one.value for one in falls],
        y=[one.value for one in gains],
        mode="markers",
        name="shams: the same methods, other entities' documents",
        marker={"symbol": "square-open", "size": 8, "color": GREY},
    )


def _bar(number: Number, look: Look) -> dict[str, Any]:
    up, down = number.high - number.value, number.value - number.low
    known = math.isfinite(up + down)
    return {
        "type": "data",
        "symmetric": False,
        "array": [up if known else 0.0],
        "arrayminus": [down if known else 0.0],
        "color": look.colour,
        "thickness": 1,
        "width": 0,
    }
