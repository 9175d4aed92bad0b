"""Weights: how far each layer moved, and whether it moved back along the corruption."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from restor_interp.reporting.formats import plain, short, signed
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
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

COMPONENTS = {"attn": "attention", "mlp": "MLP"}


def weight_parts(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """A table over all matrices, then four figures by layer, a line per state."""
    if not rows:
        return ()
    layers = {
        (component, state): _by_layer(own)
        for (component, state), own in grouped(rows, "component", "state").items()
        if component not in (None, "all")
    }
    return (_table([row for row in rows if row["module"] == "all"]), *_figures(layers))


def weights_in_short(rows: Sequence[RowOf]) -> str:
    """The cosine of all matrices with the way back, beside a random change's."""
    whole = {row["state"]: row for row in rows if row["module"] == "all"}
    told = [
        f"{state} {signed(number(whole[state]['cosine']), 3)}"
        f" (random ±{short(2 * number(whole[state].get('cosine_floor')))})"
        for state in order_states(whole)
        if math.isfinite(number(whole[state]["cosine"]))
    ]
    return f"cosine with −corruption: {', '.join(told)}" if told else ""


# ---- one layer's matrices as one


@dataclass(frozen=True, kw_only=True)
class _Moved:
    """What the matrices of one layer did, taken side by side: squares and products add up.

    Floors as in `measure.weights`: a random change's cosine has mean 0 and this deviation, its
    energy is the share that is expected.
    """

    relative: float
    cosine: float
    cosine_floor: float
    cosine_kept: float
    projection: float
    energy: float
    energy_floor: float


def _by_layer(rows: Sequence[RowOf]) -> dict[int, _Moved]:
    layers = grouped((row for row in rows if row.get("layer") is not None), "layer")
    return {int(layer): _together(layers[layer,]) for (layer,) in sorted(layers)}


def _together(rows: Sequence[RowOf]) -> _Moved:
    def of(column: str) -> np.ndarray:
        return np.array([number(row.get(column)) for row in rows])

    norms, before = of("norm"), of("corruption_norm")
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = norms / of("norm_relative")
        own, corruption = np.linalg.norm(norms), np.linalg.norm(before)
        both = own * corruption
        inner = float((of("cosine") * norms * before).sum())
        return _Moved(
            relative=float(own / np.linalg.norm(whole)),
            cosine=float(inner / both),
            cosine_floor=float(np.linalg.norm(of("cosine_floor") * norms * before) / both),
            cosine_kept=float(np.linalg.norm(of("cosine_floor_kept") * norms * before) / both),
            projection=float(inner / corruption**2),
            energy=float((of("subspace_energy") * norms**2).sum() / own**2),
            energy_floor=float((of("subspace_floor") * norms**2).sum() / own**2),
        )


# ---- figures

_Layers = Mapping[tuple[str, str], Mapping[int, _Moved]]


def _figures(layers: _Layers) -> tuple[Part, ...]:
    def of(name: str) -> Callable[[_Moved], float]:
        return lambda moved: getattr(moved, name)

    kinds = (
        (
            "How far each layer's weights moved",
            "‖change‖ / ‖clean weights‖",
            "Length of the change since the corrupted state (of the corrupted state: since the "
            "clean one), as a share of the clean weights'",
            of("relative"),
            (),
        ),
        (
            "Does each layer move back along the corruption?",
            "cosine with −corruption",
            "1: straight back; 0: another way. Grey: where 95% of random changes lie, of any kind "
            "and of those that read what this one reads",
            of("cosine"),
            (
                ("random change", "control", of("cosine_floor"), True),
                ("random, its own inputs", "control 2", of("cosine_kept"), True),
            ),
        ),
        (
            "How much of each layer's corruption is taken back",
            "projection on −corruption",
            "1: all of it, along itself; 0: none",
            of("projection"),
            (),
        ),
        (
            "Does the change stay among the corruption's directions?",
            "share of ‖change‖²",
            "Share of the change inside the directions that hold 90% of the corruption. Grey: what "
            "a random change has there",
            of("energy"),
            (("random change", "control", of("energy_floor"), False),),
        ),
    )
    return tuple(part for kind in kinds for part in _figure(layers, *kind))


_Control = tuple[str, str, Callable[[_Moved], float], bool]
"""Name, look, its value, and whether it is a deviation around 0."""


def _figure(
    layers: _Layers,
    title: str,
    unit: str,
    says: str,
    value: Callable[[_Moved], float],
    controls: Sequence[_Control],
) -> tuple[Part, ...]:
    panels, told = [], []
    for component in dict.fromkeys(component for component, _ in layers):
        name = COMPONENTS.get(component, component)
        own = {state: some for (of, state), some in layers.items() if of == component}
        lines = []
        for state in order_states(own):
            ys = tuple(map(value, own[state].values()))
            if any(map(math.isfinite, ys)):
                lines.append(Series(name=state, x=tuple(own[state]), y=ys, look=state))
                told.append(f"{name}, {state}: {_course(lines[-1])}")
        bands = [band for one in controls if (band := _band(own, *one)) is not None]
        if lines:
            panels.append(LinePanel(name, (*lines, *bands)))
    if not panels:
        return ()
    return (
        Lines(
            title=title,
            panels=tuple(panels),
            x_title="layer",
            y_title=unit,
            caption=f"{says}. {'; '.join(told)}.",
        ),
    )


def _band(
    own: Mapping[str, Mapping[int, _Moved]],
    name: str,
    look: str,
    value: Callable[[_Moved], float],
    around: bool,
) -> Series | None:
    """The widest of the states' floors, layer by layer: twice a deviation to both sides, or the
    number itself."""
    widest: dict[int, float] = {}
    for layers in own.values():
        for layer, moved in layers.items():
            if math.isfinite(value(moved)):
                widest[layer] = max(widest.get(layer, 0.0), value(moved))
    if not widest:
        return None
    xs = tuple(sorted(widest))
    floor = tuple(widest[x] for x in xs)
    if not around:
        return Series(name=name, x=xs, y=floor, look=look)
    return Series(
        name=name,
        x=xs,
        y=(0.0,) * len(xs),
        low=tuple(-2 * size for size in floor),
        high=tuple(2 * size for size in floor),
        look=look,
    )


def _course(line: Series) -> str:
    """The mean of a line, and where it is highest."""
    points = [(y, x) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    most, layer = max(points)
    mean = sum(y for y, _ in points) / len(points)
    return f"{plain(mean, 3)} on average, most in layer {layer:g} ({plain(most, 3)})"


# ---- all matrices together


def _table(rows: Sequence[RowOf]) -> Table:
    own = {row["state"]: row for row in rows}
    states = order_states(own)
    told = [
        f"{state} {signed(number(own[state]['cosine']), 3)}"
        f" (a random change: ±{short(2 * number(own[state].get('cosine_floor')))})"
        for state in states
        if math.isfinite(number(own[state]["cosine"]))
    ]
    against = "back along the corruption"
    columns = (
        Column("State"),
        Column("Length", help="‖change‖ / ‖clean weights‖"),
        Column("Rank", help="directions that hold 90% of the change, in all matrices"),
        Column("Cosine", help="with −corruption; below: twice the deviation", group=against),
        Column("Projection", help="1: the corruption is undone along itself", group=against),
        Column("Energy", help="share inside the corruption's directions", group=against),
        Column("Left", help="length of what is left, to the clean weights, by the corruption's"),
    )
    lines = tuple(Row(_cells(state, own[state]), group=block(state)) for state in states)
    told_all = "; ".join(told) or "no state was unlearned"
    return Table(
        columns,
        lines,
        caption=f"All matrices side by side. Cosine with −corruption: {told_all}. Below 1 left, "
        "the state is nearer to the clean weights than the corrupted one is.",
    )


def _cells(state: str, row: RowOf) -> tuple[Cell, ...]:
    def cell(column: str, floor: str = "", scale: float = 1.0, sign: str = "") -> Cell:
        value, beside = number(row.get(column)), number(row.get(floor))
        if not math.isfinite(value):
            return Missing(str(row.get("reason") or ""))
        known = math.isfinite(beside)
        detail = f"random: {sign}{short(scale * beside)}" if known else ""
        return Number(value, digits=3, detail=detail)

    return (
        Text(state),
        cell("norm_relative"),
        _rank(row),
        cell("cosine", "cosine_floor", 2, "±"),
        cell("projection"),
        cell("subspace_energy", "subspace_floor"),
        cell("total_share"),
    )


def _rank(row: RowOf) -> Cell:
    rank, of = row.get("rank90"), row.get("rank")
    if rank is None:
        return Missing()
    return Number(rank, digits=0, detail="" if of is None else f"of {int(of)}")
