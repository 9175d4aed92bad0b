"""The retention staircase of a run, and how many facts took which way: the table of mechanisms."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.explain.mechanism import MECHANISMS, SITES
from restor_interp.explain.retention import Retained
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Empty,
    LinePanel,
    Lines,
    Number,
    Paragraph,
    Part,
    Row,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

COLUMNS = tuple(f"r_{site}" for site in SITES)
TITLE = "Retention staircase"


def staircase(run: RunResults) -> tuple[Part, ...]:
    """Mean shares at the subject, in the middle and at the end, a line per state, with the bands;
    lost facts and untouched ones beside each other."""
    rows = [
        row
        for row in map(_with_answer(run.retained), records(run.table("fates")))
        if all(math.isfinite(number(row[name])) for name in COLUMNS)
    ]
    if not rows:
        return (Empty("Retention was not measured.", run.command("retention")),)
    role = {fact["fact_id"]: fact["role"] for fact in run.facts}
    groups = {
        "facts that corruption took": [row for row in rows if row["fate"] in FATES_OF_LOST],
        "untouched facts": [row for row in rows if role.get(row["fact_id"]) == "untouched"],
    }
    panels, told = [], []
    for name, chosen in groups.items():
        lines = _lines(chosen)
        if lines:
            panels.append(LinePanel(name, (*lines, *_bands(run.retained))))
            told.append(f"{name.capitalize()}: {'; '.join(map(_course, lines))}.")
    if not panels:
        return (Paragraph("No lost and no untouched fact has all three shares.", quiet=True),)
    return (
        Lines(
            title=TITLE,
            panels=tuple(panels),
            x_title="",
            y_title="share of clean",
            x_labels=_labels(run.retained),
            caption=f"Means over facts. {' '.join(told)} {_edges(run.retained)}",
        ),
    )


def _with_answer(held: Retained) -> Callable[[RowOf], RowOf]:
    """As verdicts do: where no margin was measured, the share of the answer stands in for it."""

    def told(row: RowOf) -> RowOf:
        own = held.by_fact.get((row["fact_id"], row["state"]), {})
        return row if row["r_out"] is not None else {**row, "r_out": own.get("answer")}

    return told


def _lines(rows: Sequence[RowOf]) -> tuple[Series, ...]:
    own = grouped(rows, "state")
    lines = []
    for state in order_states(state for (state,) in own):
        shares = np.array([[float(row[name]) for name in COLUMNS] for row in own[state,]])
        means = tuple(shares.mean(0))
        lines.append(Series(name=state, x=(0, 1, 2), y=means, look=state, n=len(shares)))
    return tuple(lines)


def _bands(held: Retained) -> tuple[Series, ...]:
    bands = [getattr(held.bands, site) for site in SITES]
    edges = {
        "intact above": ("control", [math.nan if b is None else b.intact_above for b in bands]),
        "lost below": ("control 2", [math.nan if b is None else b.lost_below for b in bands]),
    }
    return tuple(
        Series(name=name, x=(0, 1, 2), y=tuple(values), look=look)
        for name, (look, values) in edges.items()
        if any(map(math.isfinite, values))
    )


def _labels(held: Retained) -> tuple[str, ...]:
    where = {"subject": "subject", "mid": "last token", "out": "answer"}
    labels = []
    for site in SITES:
        band = getattr(held.bands, site)
        at = "" if band is None or site == "out" else f", layer {band.layer}"
        labels.append(f"{where[site]}{at}")
    return tuple(labels)


def _course(line: Series) -> str:
    return f"{line.name} {' → '.join(plain(y) for y in line.y)} (n = {line.n})"


def _edges(held: Retained) -> str:
    bands = [band for site in SITES if (band := getattr(held.bands, site)) is not None]
    if not bands:
        return "Without controls there are no bands."
    return (
        f"Grey: from where a share is intact (n = {bands[0].n_intact} clean donors in another "
        f"context) and below which it is lost (n = {bands[0].n_lost} wrong entities)."
    )


# ---- mechanisms

_WORDS: Mapping[str, str] = {
    "restored": "the answer is intact from the subject to the end, and was lost when corrupted",
    "late_override": "it arrives at the last token, and is overwritten in the last layers",
    "not_routed": "the subject carries it, and it does not arrive at the last token",
    "lost_at_subject": "the subject no longer carries it",
    "never_lost": "corruption left it",
    "undetermined": "no pattern that speaks for one mechanism, or its refuter spoke against it",
}


def mechanisms(run: RunResults) -> tuple[Part, ...]:
    """Counts of mechanisms per state, how many had their refuter asked, and how many of them hang
    on a threshold."""
    rows = [row for row in records(run.table("fates")) if row["mechanism"] is not None]
    if not rows:
        return (Empty("No mechanism was determined.", run.command("retention")),)
    own = grouped(rows, "state")
    lines = []
    for state in order_states(state for (state,) in own):
        chosen = own[state,]
        counts = Counter(row["mechanism"] for row in chosen)
        refuters = Counter(row.get("refuter") for row in chosen)
        cells: list[Cell] = [Text(state), Number(len(chosen), digits=0)]
        cells += [Number(counts[name], digits=0) for name in MECHANISMS]
        cells += [Number(refuters[name], digits=0) for name in ("passed", "failed", "not measured")]
        lines.append(Row(tuple(cells), group=block(state)))
    table = Table(
        (
            Column("State"),
            Column("Facts", help="whose retention was measured"),
            *(
                Column(name.replace("_", " "), help=_WORDS[name], group="Mechanism")
                for name in MECHANISMS
            ),
            Column("passed", group="Its refuter"),
            Column("failed", help="these are undetermined", group="Its refuter"),
            Column("not measured", group="Its refuter"),
        ),
        tuple(lines),
        caption="Why each fact is where it is, by state; a refuter is what would speak against it.",
    )
    return (table, *_sensitivity(run), *_transitions(run))


def _sensitivity(run: RunResults) -> tuple[Part, ...]:
    rows = records(run.tables["sensitivity"]) if run.has("sensitivity") else []
    if not rows:
        return ()
    changed: Counter[tuple[str, float]] = Counter()
    sizes: dict[str, int] = {}
    for row in rows:
        changed[row["threshold"], row["change"]] += int(row["n_changed"])
        sizes[row["state"]] = int(row["n_facts"])
    total = sum(sizes.values())
    alone = {key: n for key, n in changed.items() if key[0] != "all"}
    most = max(alone, key=lambda key: alone[key])
    together = max(n for (name, _), n in changed.items() if name == "all")
    return (
        Paragraph(
            f"Moving one threshold by a quarter changes at most {alone[most]} of "
            f"{plural(total, 'verdict')} ({most[0].replace('_', ' ')}), moving all of them at once "
            f"{together}.",
            quiet=True,
        ),
    )


def _transitions(run: RunResults) -> tuple[Part, ...]:
    rows = records(run.tables["transitions"]) if run.has("transitions") else []
    moved: dict[tuple[Any, ...], list[RowOf]] = grouped(rows, "from", "to")
    if not moved:
        return ()
    states = order_states(row["state"] for row in rows)
    lines = []
    for (old, new), own in moved.items():
        counts = Counter[str]()
        for row in own:
            counts[row["state"]] += int(row["n_facts"])
        cells: list[Cell] = [Text(str(old).replace("_", " ")), Text(str(new).replace("_", " "))]
        cells += [Number(counts[state], digits=0) for state in states]
        lines.append(Row(tuple(cells)))
    return (
        Table(
            (
                Column("When corrupted"),
                Column("Then"),
                *(Column(state, group="Facts") for state in states),
            ),
            tuple(lines),
            caption="From the mechanism of the corrupted state to that of each other one.",
        ),
    )
