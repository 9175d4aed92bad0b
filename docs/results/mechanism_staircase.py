"""The second figure of `mechanisms.md`: how much of a fact is left on the way to the answer."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from mechanism_counts import Tier
from mechanism_figures import FONT, GREY, Drawn, plain
from plotly.graph_objects import Scatter
from plotly.subplots import make_subplots

from restor_interp.explain.retention import CONTROLS, Controls
from restor_interp.reporting.vocabulary import Look, look_of

SITES = ("subject", "last")
ACROSS = 5
"""Panels in a row."""
FEWEST = 3
"""Facts that a median needs."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Medians of shares along the way to the answer, a number per tick."""

    values: tuple[float, ...]
    n_facts: tuple[int, ...]


def way(tier: Tier) -> list[tuple[str, int]]:
    """(site, layer) along the way: the subject's layers, then the last token's."""
    layers = sorted({int(layer) for layer in tier.table("retention")["layer"]})
    return [(site, layer) for site in SITES for layer in layers]


def medians(tier: Tier) -> dict[str, Steps]:
    """State -> median share over lost facts at every tick of the way, and of the answer (r_out);
    each fact's mean over its runs. NaN of fewer than `FEWEST` facts."""
    retention = tier.table("retention")
    own = retention.loc[retention["donor_kind"].eq("state") & retention["share"].notna()]
    lost = tier.judged[["run", "fact_id"]].drop_duplicates()
    own = own.merge(lost, on=["run", "fact_id"])
    facts = own.groupby(["state", "site", "layer", "fact_id"])["share"].mean()
    along = facts.groupby(level=["state", "site", "layer"]).agg(["median", "size"])
    out = tier.judged.groupby(["state", "fact_id"])["r_out"].mean().dropna()
    ends = out.groupby(level="state").agg(["median", "size"])
    found = {}
    for state in tier.states:
        ticks = [(state, *place) for place in way(tier)]
        rows = along.reindex(pd.MultiIndex.from_tuples(ticks))
        rows = [*rows.itertuples(index=False), *ends.reindex([state]).itertuples(index=False)]
        sizes = [0 if math.isnan(row[1]) else int(row[1]) for row in rows]
        values = [
            float(row[0]) if size >= FEWEST else math.nan
            for row, size in zip(rows, sizes, strict=True)
        ]
        found[state] = Steps(values=tuple(values), n_facts=tuple(sizes))
    return found


def bands(tier: Tier) -> dict[str, tuple[float, ...]]:
    """`intact` and `lost` -> the edge of its band at every tick of the way (the answer has that of
    the last layer), from the controls of all runs."""
    rows = tier.table("retention")
    rows = rows.loc[rows["donor_kind"].ne("state") & rows["share"].notna()]
    found = {}
    for name, kind in CONTROLS.items():
        edges = []
        for site, layer in way(tier):
            own = rows.loc[
                rows["donor_kind"].eq(kind) & rows["site"].eq(site) & rows["layer"].eq(layer)
            ]
            controls = Controls(
                shares=own["share"].to_numpy(float), facts=own["fact_id"].to_numpy()
            )
            edges.append(controls.edge(upwards=name == "lost"))
        found[name] = (*edges, edges[-1])
    return found


def staircase_figure(tier: Tier) -> Drawn:
    """A panel per method: medians from the subject's first layer to the answer, its sham and the
    corrupted state beside it, and between which edges nothing is claimed."""
    steps, edges, ticks = medians(tier), bands(tier), way(tier)
    methods = [*tier.methods, *tier.references]
    down = max(1, math.ceil(len(methods) / ACROSS))
    figure = make_subplots(
        rows=down, cols=ACROSS, shared_xaxes=True, shared_yaxes=True, subplot_titles=methods,
        horizontal_spacing=0.015, vertical_spacing=min(0.1, 0.3 / down),
    )  # fmt: skip
    for place, state in enumerate(methods):
        row, column = place // ACROSS + 1, place % ACROSS + 1
        figure.add_trace(_band(edges, shown=place == 0), row=row, col=column)
        for name, label, look in (
            ("corrupted", "corrupted", look_of("corrupted")),
            (f"sham_{state}", "the method's sham", look_of("control")),
            (state, "the method", Look(colour="#000000", dash="solid", symbol="circle")),
        ):
            if name in steps:
                line = _line(steps[name].values, label, look)
                figure.add_trace(line.update(showlegend=place == 0), row=row, col=column)
    half = len(ticks) // 2
    layers = f"{ticks[0][1]}–{ticks[-1][1]}"
    figure.update_xaxes(
        tickvals=[(half - 1) / 2, half + 1 + (half - 1) / 2, 2 * half + 2],
        ticktext=[f"subject {layers}", f"last {layers}", "answer"],
        showticklabels=True,
        showgrid=False,
        tickangle=0,
        tickfont={"size": 9},
        range=[-0.5, 2 * half + 3.5],
    )
    figure.update_yaxes(range=[-0.15, 1.3], tickvals=[0, 0.5, 1])
    figure.update_annotations(font={"size": 11})
    figure.update_layout(
        template="plotly_white",
        font=FONT,
        width=1000,
        height=90 + 150 * down,
        margin={"l": 40, "r": 10, "t": 30, "b": 60},
        legend={"orientation": "h", "y": -40 / (150 * down)},
    )
    return Drawn(figure, _staircase_words(methods, steps, edges, ticks))


def _parted(values: Sequence[float]) -> list[float | None]:
    """Numbers of the way with a gap before the last token and one before the answer."""
    half = len(values) // 2
    parts = (*values[:half], math.nan, *values[half:-1], math.nan, values[-1])
    return [None if math.isnan(value) else float(value) for value in parts]


def _band(edges: Mapping[str, Sequence[float]], *, shown: bool) -> Scatter:
    """The strip between the two edges, in which nothing is claimed: a closed line per part of the
    way, half a tick wider on both sides."""
    low, high = (np.array(edges[name]) for name in ("lost", "intact"))
    low, high = (_parted(pick(low, high).tolist()) for pick in (np.minimum, np.maximum))
    x: list[float | None] = []
    y: list[float | None] = []
    for is_known, run in itertools.groupby(range(len(low)), lambda place: low[place] is not None):
        if is_known:
            places = list(run)
            around = [places[0] - 0.5, *places[1:-1], places[-1] + 0.5]
            around = around if len(places) > 1 else [places[0] - 0.5, places[0] + 0.5]
            ends = places if len(places) > 1 else places * 2
            x += [*around, *reversed(around), None]
            y += [*(low[place] for place in ends), *(high[place] for place in reversed(ends)), None]
    return Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": GREY, "width": 0.5, "dash": "dot"},
        fill="toself",
        fillcolor="rgba(118,128,140,0.2)",
        name="between the bands of intact and lost",
        showlegend=shown,
    )


def _line(values: Sequence[float], name: str, look: Look) -> Scatter:
    y = _parted(values)
    return Scatter(
        x=list(range(len(y))),
        y=y,
        name=name,
        mode="lines+markers",
        line={"color": look.colour, "dash": look.dash, "width": 1.5},
        marker={"symbol": look.symbol, "size": 4},
        legendgroup=name,
    )


def _staircase_words(
    methods: Sequence[str],
    steps: Mapping[str, Steps],
    edges: Mapping[str, Sequence[float]],
    ticks: Sequence[tuple[str, int]],
) -> str:
    half = len(ticks) // 2
    at = (half // 2, half + 3 * half // 4, 2 * half)
    named = [f"{site} layer {layer}" for site, layer in (ticks[at[0]], ticks[at[1]])]
    told = [
        f"{state} {' → '.join(plain(steps[state].values[place]) for place in at)}"
        for state in ("corrupted", *methods)
        if state in steps
    ]
    intact = ", ".join(plain(edges["intact"][place]) for place in at)
    lost = ", ".join(plain(edges["lost"][place]) for place in at)
    return (
        f"Median shares of the clean model's knowledge, {named[0]} → {named[1]} → answer: "
        f"{'; '.join(told)}. Intact above {intact}; lost below {lost}."
    )
