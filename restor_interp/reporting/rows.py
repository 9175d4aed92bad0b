"""What the figures of one fact need of its rows: groups, cells of a map, where a map is highest."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from restor_interp.reporting.characters import token_label
from restor_interp.reporting.formats import plain
from restor_interp.reporting.vocabulary import order_states

RowOf = Mapping[str, Any]
Cells = tuple[tuple[float, ...], ...]
"""`[row][column]`; not finite: not measured."""

UNITS = {"logodds": "nats of log-odds", "logprob": "nats", "prob": "probability"}
"""Metric -> its unit."""
KINDS = {
    "resid": "residual stream",
    "mlp": "MLP output",
    "attn": "attention output",
    "head": "attention heads",
    "subject": "residual stream, whole subject",
}
"""What of a layer is replaced, in words."""


def number(value: Any) -> float:
    """A number; NaN for None."""
    return math.nan if value is None else float(value)


def grouped(rows: Iterable[RowOf], *columns: str) -> dict[tuple[Any, ...], list[RowOf]]:
    """Rows by their values in these columns, in the order in which those first occur."""
    groups: dict[tuple[Any, ...], list[RowOf]] = defaultdict(list)
    for row in rows:
        groups[tuple(row.get(column) for column in columns)].append(row)
    return dict(groups)


def by_direction(rows: Iterable[RowOf]) -> dict[str, list[RowOf]]:
    """Rows by `donor → host`; what the clean state gives comes first."""
    groups = grouped(
        (row for row in rows if None not in (row["donor"], row["host"])), "donor", "host"
    )
    states = order_states(state for pair in groups for state in pair)
    places = {state: place for place, state in enumerate(states)}
    order = sorted(groups, key=lambda pair: (pair[0] != "clean", *map(places.__getitem__, pair)))
    return {f"{donor} → {host}": groups[donor, host] for donor, host in order}


def object_role(name: str, fact: RowOf) -> str | None:
    """`true` or `false`, whether a table names the object by its role or by its text."""
    if name in ("true", "false"):
        return name
    if name == fact["false_object"]:
        return "false"
    return "true" if name in {str(n) for n in fact["true_objects"]} else None


def object_words(name: Any, fact: RowOf) -> str:
    """`true object`, or the object itself where it is neither of the two."""
    role = object_role(str(name), fact)
    return f"{role} object" if role else f"object “{name}”"


def placed(rows: Iterable[RowOf], *columns: str) -> list[RowOf]:
    """Those rows that say where they are: whose layer, and these columns, are given."""
    needed = ("layer", *columns)
    return [row for row in rows if None not in [row.get(name) for name in needed]]


def reasons(rows: Iterable[RowOf]) -> str:
    """Why there are no numbers, each reason once."""
    return "; ".join(dict.fromkeys(str(row["reason"]) for row in rows if row.get("reason")))


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Layers upwards, tokens or heads to the right: what the maps of one figure share."""

    across: str
    """The column that goes to the right: `position` or `head`."""
    layers: tuple[int, ...]
    places: tuple[int, ...]
    labels: tuple[str, ...]
    """A label per place; tokens may repeat."""
    subject: tuple[int, ...] = ()
    """Columns of the map that belong to the subject."""

    @classmethod
    def of(cls, rows: Sequence[RowOf], entity: str, across: str = "position") -> Self:
        """Everything that occurs in the rows, in order; a row without a place is left out."""
        rows = placed(rows, across)
        labels = {int(row[across]): f"{int(row[across])}" for row in rows}
        if across == "position":
            told = {int(row["position"]): row.get("token") for row in rows}
            labels |= {place: str(token) for place, token in told.items() if token is not None}
        places = tuple(sorted(labels))
        tokens = tuple(labels[place] for place in places)
        inside = {int(row["position"]) for row in rows if row.get("in_subject")}
        subject = tuple(column for column, place in enumerate(places) if place in inside)
        if across == "position" and not inside:
            subject = subject_columns(tokens, entity)
        return cls(
            across=across,
            layers=tuple(sorted({int(row["layer"]) for row in rows})),
            places=places,
            labels=tokens,
            subject=subject if across == "position" else (),
        )

    def cells(self, rows: Iterable[RowOf], column: str) -> Cells:
        """A column as a map; NaN where there is no row."""
        found = {
            (int(row["layer"]), int(row[self.across])): row.get(column)
            for row in rows
            if row["layer"] is not None and row.get(self.across) is not None
        }
        return tuple(
            tuple(number(found.get((layer, place))) for place in self.places)
            for layer in self.layers
        )

    def peak(self, cells: Cells, *, by: Callable[[float], float] = float) -> str:
        """Where the largest finite cell is, in words, with its value; `by`: the largest what."""
        found = [
            (by(value), row, column)
            for row, line in enumerate(cells)
            for column, value in enumerate(line)
            if math.isfinite(value)
        ]
        if not found:
            return "nothing measured"
        _, row, column = max(found)
        label = self.labels[column]
        place = f"head {label}" if self.across == "head" else f"token “{token_label(label)}”"
        return f"layer {self.layers[row]}, {place}, {plain(cells[row][column])}"

    def before_last(self, cells: Cells) -> Cells:
        """The same map, without the last column's values."""
        return tuple((*line[:-1], math.nan) for line in cells)

    def half_since(self, cells: Cells) -> str:
        """From which layer on the last column is at least ½, in words."""
        layers = dict(zip(self.layers, (line[-1] for line in cells), strict=True))
        since = None
        for layer, value in reversed(layers.items()):
            if not value >= 0.5:
                break
            since = layer
        return "never half" if since is None else f"half from layer {since}"

    def fields(self) -> dict[str, Any]:
        """Fields of `Heatmaps` that follow from the axes."""
        return {
            "rows": tuple(map(str, self.layers)),
            "columns": self.labels,
            "row_title": "layer",
            "column_title": "head" if self.across == "head" else "token",
            "tokens": self.across == "position",
            "subject": self.subject,
        }


def finite(cells: Cells) -> list[float]:
    """Every finite value of a map."""
    return [value for line in cells for value in line if math.isfinite(value)]


def subject_columns(tokens: Sequence[str], entity: str) -> tuple[int, ...]:
    """The tokens that spell the entity's name, the last time it occurs; none if it does not."""
    text = "".join(tokens)
    start = text.rfind(entity)
    if start < 0:
        return ()
    found, place = [], 0
    for column, token in enumerate(tokens):
        if place < start + len(entity) and place + len(token) > start and token.strip():
            found.append(column)
        place += len(token)
    return tuple(found)
