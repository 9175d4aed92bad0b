"""Value vectors of one fact: the memories that write its objects, and what a state made of them."""

import math
from collections.abc import Sequence

import numpy as np

from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Details,
    Missing,
    Number,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.rows import RowOf, grouped, number, object_words
from restor_interp.reporting.vocabulary import order_states

SHOWN = 4
"""Vectors of an object and state whose words are written out."""
KINDS = {"concept": "writes it", "random": "random, same layers"}


def value_vector_tables(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Means per state, object and kind, beside random vectors; the words of a few, folded. The
    clean model's own vectors are equal to themselves and left out."""
    groups = grouped(rows, "object", "state", "kind")
    states = order_states(state for _, state, _ in groups if state != "clean")
    if not states:
        return ()
    objects = dict.fromkeys(name for name, _, _ in groups)
    lines, told = [], []
    for name in objects:
        for state in states:
            for kind, words in KINDS.items():
                own = groups.get((name, state, kind), [])
                if own:
                    cells = (Text(object_words(name, fact)), Text(state), Text(words))
                    lines.append(Row((*cells, *_means(own)), group=str(name)))
            told += _told(
                groups.get((name, state, "concept"), []),
                groups.get((name, state, "random"), []),
                f"{object_words(name, fact)}, {state}",
            )
    table = Table(
        (
            Column("Object"),
            Column("State"),
            Column("Vectors"),
            Column("Number", help="how many vectors those are"),
            Column("Concepts", help="that have the object among the words they promote most"),
            Column("Cosine", help="between the vector in the clean model and in the state; mean"),
            Column("Distance", help="‖v_S − v_C‖ / ‖v_C‖; mean"),
            Column("Shared words", help="of those promoted most, shared ones over all; mean"),
        ),
        tuple(lines),
        caption="Single value vectors of MLPs that write an object, in the clean model and in the "
        f"state, beside random ones of the same layers. Mean cosine: {'; '.join(told)}; n = "
        f"{max(map(len, groups.values()))} vectors each.",
    )
    return (table, Details("The words that they promote", (_words(groups, states, fact),)))


def _means(rows: Sequence[RowOf]) -> tuple[Cell, ...]:
    concepts = sum(bool(row.get("concept")) for row in rows)
    return (
        Number(len(rows), digits=0),
        Number(concepts, digits=0),
        *(_mean(rows, column) for column in ("cosine", "distance", "jaccard")),
    )


def _mean(rows: Sequence[RowOf], column: str) -> Cell:
    values = _finite(rows, column)
    if not values:
        return Missing()
    low, high = min(values), max(values)
    return Number(float(np.mean(values)), digits=3, detail=f"{plain(low)} to {plain(high)}")


def _finite(rows: Sequence[RowOf], column: str) -> list[float]:
    return [value for row in rows if math.isfinite(value := number(row.get(column)))]


def _told(concept: Sequence[RowOf], random: Sequence[RowOf], name: str) -> list[str]:
    own, beside = _finite(concept, "cosine"), _finite(random, "cosine")
    if not own:
        return []
    control = plain(float(np.mean(beside)), 3) if beside else "not measured"
    return [f"{name} {plain(float(np.mean(own)), 3)} (random {control})"]


def _words(
    groups: dict[tuple[str, str, str], list[RowOf]], states: Sequence[str], fact: RowOf
) -> Table:
    lines = []
    for name in dict.fromkeys(name for name, _, _ in groups):
        for state in states:
            own = groups.get((name, state, "concept"), [])
            for row in sorted(own, key=lambda r: number(r["clean_rank"]))[:SHOWN]:
                lines.append(
                    Row(
                        (
                            Text(object_words(name, fact)),
                            Text(state),
                            Text(_vector(row)),
                            Number(number(row["clean_rank"]), digits=0),
                            Number(number(row["rank"]), digits=0),
                            Text(str(row["clean_words"]), mono=True),
                            Text(str(row["words"]), mono=True),
                        ),
                        group=f"{name} {state}",
                    )
                )
    rank = "Rank of the object"
    return Table(
        (
            Column("Object"),
            Column("State"),
            Column("Vector", help="layer, sign and number of the value vector"),
            Column("clean", group=rank),
            Column("state", group=rank),
            Column("Words, clean", wide=True),
            Column("Words, state", wide=True),
        ),
        tuple(lines),
        caption=f"The {plural(SHOWN, 'vector')} of each object that promote it most.",
    )


def _vector(row: RowOf) -> str:
    sign = "−" if row["sign"] < 0 else ""
    return f"layer {row['layer']}, {sign}v{row['index']}"
