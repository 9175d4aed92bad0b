"""The retention staircase of a run: what facts retain at the subject, in the middle, at the end."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.explain.mechanism import SITES
from restor_interp.explain.retention import Retained
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped, number
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
