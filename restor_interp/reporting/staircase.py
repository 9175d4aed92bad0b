"""The retention staircase of a run: what facts retain at the subject, in the middle, at the end."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.explain.retention import Band, Retained
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, grouped, number
from restor_interp.reporting.vocabulary import order_states

STEPS = {
    "r_subject": "subject",
    "r_mid": "last token",
    "answer": "answer",
    "r_out": "margin",
}
"""Where a share is read, from the inside out. The answer is read twice: as the share of what is
said of it beyond chance, and as the ratio of margins (`explain.retention`)."""
NEEDED = ("r_subject", "r_mid")
TITLE = "Retention staircase"


def staircase(run: RunResults) -> tuple[Part, ...]:
    """Mean shares at the subject, in the middle and in the answer, a line per state, with the
    bands; lost facts and untouched ones beside each other."""
    rows = [
        row
        for row in map(_with_answer(run.retained), records(run.table("fates")))
        if all(math.isfinite(number(row[name])) for name in NEEDED)
        and any(math.isfinite(number(row[name])) for name in STEPS if name not in NEEDED)
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
        return (Paragraph("No lost and no untouched fact has its shares.", quiet=True),)
    return (
        Lines(
            title=TITLE,
            panels=tuple(panels),
            x_title="",
            y_title="share of clean",
            x_labels=_labels(run.retained),
            caption=f"Means over facts; bands: lowest to highest fact. {' '.join(told)} "
            f"{_edges(run.retained)}",
        ),
    )


def _with_answer(held: Retained) -> Callable[[RowOf], RowOf]:
    """A verdict with the share of the answer, which verdicts read beside the margin."""

    def told(row: RowOf) -> RowOf:
        own = held.by_fact.get((row["fact_id"], row["state"]), {})
        return {**row, "answer": own.get("answer")}

    return told


def _lines(rows: Sequence[RowOf]) -> tuple[Series, ...]:
    own = grouped(rows, "state")
    lines = []
    for state in order_states(state for (state,) in own):
        shares = np.array([[number(row[name]) for name in STEPS] for row in own[state,]])
        columns = [column[np.isfinite(column)] for column in shares.T]
        mean, low, high = (
            tuple(float(of(column)) if len(column) else math.nan for column in columns)
            for of in (np.mean, np.min, np.max)
        )
        several = len(shares) > 1
        lines.append(
            Series(
                name=state,
                x=tuple(range(len(STEPS))),
                y=mean,
                low=low if several else (),
                high=high if several else (),
                look=state,
                n=len(shares),
            )
        )
    return tuple(lines)


def _bands(held: Retained) -> tuple[Series, ...]:
    bands = [(math.nan, math.nan) if b is None else b.edges() for b in _judging(held)]
    intact, lost = zip(*bands, strict=True)
    edges = {"intact above": ("control", intact), "lost below": ("control 2", lost)}
    return tuple(
        Series(name=name, x=tuple(range(len(STEPS))), y=tuple(values), look=look)
        for name, (look, values) in edges.items()
        if any(map(math.isfinite, values))
    )


def _judging(held: Retained) -> tuple[Band | None, ...]:
    """The band of every step."""
    bands = held.bands
    return (bands.subject, bands.mid, bands.answer, bands.out)


def _labels(held: Retained) -> tuple[str, ...]:
    labels = []
    for (column, where), band in zip(STEPS.items(), _judging(held), strict=True):
        at = "" if band is None or column not in NEEDED else f", layer {band.layer}"
        labels.append(f"{where}{at}")
    return tuple(labels)


def _course(line: Series) -> str:
    return f"{line.name} {' → '.join(plain(y) for y in line.y)} (n = {line.n})"


def _edges(held: Retained) -> str:
    bands = [band for band in _judging(held) if band is not None]
    if not bands:
        return "Without controls there are no bands."
    return (
        f"Grey: from where a share is intact (n = {bands[0].n_intact} clean donors in another "
        f"context) and below which it is lost (n = {bands[0].n_lost} wrong entities). Answer: "
        "share of what is said of it beyond chance; margin: the ratio of margins."
    )
