"""Grafting: which weights of one state, put into another, bring its answer along."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Cell,
    Column,
    Heatmaps,
    LinePanel,
    Lines,
    Missing,
    Number,
    Panel,
    Paragraph,
    Part,
    Row,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.rows import (
    RowOf,
    by_direction,
    grouped,
    number,
    object_words,
    reasons,
)

TITLES = {
    "layer": "one layer at a time",
    "component": "one component of a layer at a time",
    "module": "one module at a time",
    "chosen": "sets of modules",
    "bottom_up": "from the first layer up to this one",
    "top_down": "from the last layer down to this one",
    "late": "all layers from this one on, with what follows them",
    "greedy": "the smallest set, module by module",
}
"""How weights are chosen -> in words."""

JUDGED = {
    "fact": "this prompt",
    "other_context": "this fact, another context",
    "other_facts": "other facts",
}
"""What an effect is judged on; the choice of modules saw the first alone."""

RANDOM = "random modules, equal norm"


def graft_parts(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Lines over layers, bars over components, a map of modules, and the greedy list."""
    parts: list[Part] = []
    for (by, metric, target), chosen in grouped(rows, "by", "metric", "object").items():
        title = f"Grafting, {TITLES.get(by, by)}: {object_words(target, fact)}"
        measured: dict[str, list[RowOf]] = {}
        for direction, some in by_direction(chosen).items():
            if any(math.isfinite(number(row["effect"])) for row in some):
                measured[direction] = some
            else:
                why = reasons(some) or "nothing was measured"
                parts.append(Paragraph(f"{title}, {direction}: {why}.", quiet=True))
        if not measured:
            continue
        gap = f"share of the gap in {metric}"
        if by == "greedy":
            parts += [_list(title, way, some) for way, some in measured.items()]
        elif by in ("component", "module"):
            parts.append(_map(title, gap, measured))
        elif by in ("layer", "bottom_up", "top_down", "late"):
            parts.append(_lines(title, gap, measured, by))
        else:
            parts.append(_bars(title, gap, measured))
    return tuple(parts)


def _judged(rows: Iterable[RowOf]) -> dict[str, list[RowOf]]:
    """Rows by what they are judged on, in words; the prompt itself first."""
    groups = {str(key or "fact"): some for (key,), some in grouped(rows, "judged_on").items()}
    known = [name for name in JUDGED if name in groups]
    names = dict.fromkeys([*known, *groups])
    return {JUDGED.get(name, name): groups[name] for name in names}


def _draws(rows: Iterable[RowOf]) -> str:
    """`n = 20 draws of random modules`, or that there were none."""
    drawn = {int(row["n_controls"]) for row in rows if row.get("n_controls")}
    return f"n = {plural(max(drawn), 'draw')} of {RANDOM}" if drawn else "no control was drawn"


def _control(row: RowOf) -> str:
    """`random 0.03, −0.02 to 0.08`."""
    if not math.isfinite(number(row.get("control_effect"))):
        return "no control"
    text = f"random {plain(number(row['control_effect']))}"
    low, high = number(row.get("control_low")), number(row.get("control_high"))
    return text + (f", {plain(low)} to {plain(high)}" if math.isfinite(low + high) else "")


def _best(rows: Iterable[RowOf]) -> RowOf:
    finite = [row for row in rows if math.isfinite(number(row["effect"]))]
    return max(finite, key=lambda row: row["effect"])


def _inside(rows: Iterable[RowOf]) -> list[RowOf]:
    """Rows about layers; the others are about embeddings and unembedding."""
    return [row for row in rows if row.get("layer") is not None]


def _outside(measured: dict[str, list[RowOf]]) -> str:
    """What has no layer, as a sentence."""
    told = [
        f"{direction} {_modules(row)} {plain(number(row['effect']))}"
        for direction, rows in measured.items()
        for row in next(iter(_judged(rows).values()))
        if row.get("layer") is None
    ]
    return f" Outside the layers: {'; '.join(told)}." if told else ""


def _lines(title: str, gap: str, measured: dict[str, list[RowOf]], by: str) -> Part:
    looks = ("line 1", "line 3", "line 4", "line 2")
    panels, told = [], []
    for direction, rows in measured.items():
        judged = _judged(_inside(rows))
        series = [
            _series(name, some, looks[at % 4]) for at, (name, some) in enumerate(judged.items())
        ]
        own = next(iter(judged.values()))
        control = _control_series(own)
        panels.append(LinePanel(direction, (*series, *control)))
        told.append(f"{direction} {_finding(own, by)}")
    return Lines(
        title=title,
        panels=tuple(panels),
        x_title="layer",
        y_title=gap,
        caption=(
            f"How far the grafted weights bring the donor's answer (0 the host's, 1 the donor's): "
            f"{'; '.join(told)}. {_draws(r for rows in measured.values() for r in rows)}."
            f"{_outside(measured)}"
        ),
    )


def _finding(rows: Sequence[RowOf], by: str) -> str:
    """The best layer; of cumulative depth, which has everything in the end, where it is half."""
    if by == "layer":
        best = _best(rows)
        return f"at most {plain(best['effect'])}, at layer {best['layer']:.0f} ({_control(best)})"
    half = [row for row in rows if number(row["effect"]) >= 0.5]
    if not half:
        best = _best(rows)
        return f"never half, at most {plain(best['effect'])} ({_control(best)})"
    at = (min if by == "bottom_up" else max)(half, key=lambda row: row["layer"])
    return f"half at layer {at['layer']:.0f} ({_control(at)})"


def _series(name: str, rows: Iterable[RowOf], look: str) -> Series:
    points = sorted((int(row["layer"]), number(row["effect"])) for row in rows)
    xs, ys = zip(*points, strict=True)
    return Series(name=name, x=xs, y=ys, look=look)


def _control_series(rows: Iterable[RowOf]) -> list[Series]:
    columns = ("layer", "control_effect", "control_low", "control_high")
    drawn = sorted(tuple(number(row.get(column)) for column in columns) for row in rows)
    drawn = [values for values in drawn if math.isfinite(values[1])]
    if not drawn:
        return []
    xs, ys, low, high = zip(*drawn, strict=True)
    return [Series(name=RANDOM, x=xs, y=ys, low=low, high=high, look="control")]


def _bars(title: str, gap: str, measured: dict[str, list[RowOf]]) -> Part:
    panels, told = [], []
    for direction, rows in measured.items():
        judged = _judged(rows)
        for name, some in judged.items():
            bars = tuple(
                Amount(
                    _modules(row),
                    number(row["effect"]),
                    control=row.get("control_effect"),
                    low=row.get("control_low"),
                    high=row.get("control_high"),
                )
                for row in some
            )
            panels.append(
                AmountPanel(f"{direction}, {name}" if len(judged) > 1 else direction, bars)
            )
        best = _best(next(iter(judged.values())))
        told.append(f"{direction} {_modules(best)} {plain(best['effect'])} ({_control(best)})")
    return Amounts(
        title=title,
        panels=tuple(panels),
        value_title=gap,
        caption=(
            f"What brings most of the donor's answer (0 the host's, 1 the donor's): "
            f"{'; '.join(told)}. {_draws(r for rows in measured.values() for r in rows)}."
        ),
        low_words="away from the donor",
        high_words="towards the donor",
        control_words=RANDOM,
    )


def _map(title: str, gap: str, measured: dict[str, list[RowOf]]) -> Part:
    everything = [row for rows in measured.values() for row in _inside(rows)]
    layers = sorted({int(row["layer"]) for row in everything})
    columns = list(dict.fromkeys(map(_within_layer, everything)))
    panels, told = [], []
    for direction, rows in measured.items():
        judged = _judged(_inside(rows))
        for name, some in judged.items():
            found = {(row["layer"], _within_layer(row)): number(row["effect"]) for row in some}
            cells = tuple(tuple(found.get((at, c), math.nan) for c in columns) for at in layers)
            panels.append(Panel(f"{direction}, {name}" if len(judged) > 1 else direction, cells))
        best = _best(next(iter(judged.values())))
        told.append(f"{direction} {_modules(best)} {plain(best['effect'])} ({_control(best)})")
    return Heatmaps(
        title=title,
        panels=tuple(panels),
        rows=tuple(map(str, layers)),
        columns=tuple(columns),
        row_title="layer",
        column_title="module",
        value_title=gap,
        caption=(
            f"What brings most of the donor's answer (0 the host's, 1 the donor's): "
            f"{'; '.join(told)}. n = {len(layers) * len(columns)} places; {_draws(everything)}."
            f"{_outside(measured)}"
        ),
        diverging=True,
        low_words="away from the donor",
        high_words="towards the donor",
    )


def _within_layer(row: RowOf) -> str:
    """A module's name without its layer: `mlp` of `layers.3.mlp`."""
    return re.sub(r"^layers\.\d+\.", "", _modules(row))


def _list(title: str, direction: str, rows: Sequence[RowOf]) -> Table:
    """The modules in the order in which they were taken, with what all up to there bring."""
    judged = _judged(rows)
    own = sorted(next(iter(judged.values())), key=lambda row: number(row["order"]))
    others = {name: {r["order"]: r for r in some} for name, some in list(judged.items())[1:]}
    columns = [
        Column("Module"),
        Column("up to here", help="share of the gap; 1: the donor's answer"),
        Column("random", help=f"{RANDOM}: middle and range of the draws"),
        *(Column(name, help="the modules were not chosen on these") for name in others),
    ]
    lines = []
    for row in own:
        cells: list[Cell] = [Text(f"{number(row['order']):.0f}. {_modules(row)}")]
        cells += [_number(row["effect"])]
        cells += [
            _number(row.get("control_effect"), row.get("control_low"), row.get("control_high"))
        ]
        cells += [_number(some.get(row["order"], {}).get("effect")) for some in others.values()]
        lines.append(Row(tuple(cells)))
    last = own[-1]
    return Table(
        tuple(columns),
        tuple(lines),
        caption=(
            f"{title}, {direction}: n = {len(own)} modules bring {plain(number(last['effect']))} "
            f"of the gap ({_control(last)}; {_draws(rows)})."
        ),
    )


def _number(value: Any, low: Any = None, high: Any = None) -> Cell:
    if not math.isfinite(number(value)):
        return Missing()
    return Number(float(value), low=low, high=high)


def _modules(row: RowOf) -> str:
    """The grafted modules in one line; a table holds a list or a text."""
    names = row["modules"]
    if isinstance(names, str):
        return names
    return ", ".join(map(str, names)) if names is not None else str(row.get("component"))
