"""The sweep as a whole: every trial between forgetting and restoring, not only the winner."""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from restor_interp.disk import publish, storage_errors
from restor_interp.explain.rollback import rollback_path
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.html import site_files
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Document,
    LinePanel,
    Lines,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Section,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.states import accuracy
from restor_interp.reporting.summary import summary_number

PAGE = "sweep.html"
_WINNERS = {"oracle": "line 4", "blind": "line 2"}


def has_sweep(run: RunResults) -> bool:
    """Whether a run holds several trials of a method."""
    return run.has("selection") and run.has("trials")


def frontier(run: RunResults) -> tuple[Part, ...]:
    """Every trial, the rollback path, and what was chosen; nothing where there is no sweep."""
    if not has_sweep(run):
        return ()
    trials = records(run.table("trials"))
    choices = records(run.table("selection"))
    parts: list[Part] = [
        _plot(run, trials, choices),
        _choices(choices),
        _trials(run, trials, choices),
    ]
    equal = _equal(run)
    return (*parts, *equal)


# ---- the plot

Point = tuple[float, float, float, float]
"""log p(false), share restored, and the ends of its interval (NaN where there is none)."""


def _point(run: RunResults, state: str) -> Point | None:
    false = summary_number(run, state, "direct", "log_p_false")
    back = summary_number(run, state, "direct", "p_restored")
    if false is None or back is None or false.value is None or back.value is None:
        return None
    ends = [math.nan if end is None else end for end in (back.low, back.high)]
    return false.value, back.value, ends[0], ends[1]


def _points(name: str, points: Sequence[Point], look: str, *, joined: bool = False) -> Series:
    return Series(
        name=name,
        x=tuple(point[0] for point in points),
        y=tuple(point[1] for point in points),
        look=look,
        joined=joined,
    )


def _intervals(points: Sequence[Point]) -> Series:
    """All intervals as one broken line: an x that is no number ends each."""
    drawn = [point for point in points if math.isfinite(point[2] + point[3])]
    return Series(
        name="95% intervals",
        x=tuple(x for point in drawn for x in (point[0], point[0], math.nan)),
        y=tuple(y for point in drawn for y in (point[2], point[3], point[3])),
        look="chance",
    )


def _plot(
    run: RunResults, trials: Sequence[dict[str, Any]], choices: Sequence[dict[str, Any]]
) -> Lines:
    found = {row["state"]: _point(run, row["state"]) for row in trials}
    points = {state: point for state, point in found.items() if point is not None}
    series = []
    path = rollback_path(run.states)
    on_path = [point for point in (_point(run, state) for state in path) if point is not None]
    if on_path:
        series.append(_points("rollback: clean to corrupted", on_path, "control", joined=True))
    for method in dict.fromkeys(row["method"] for row in trials):
        own = [points[r["state"]] for r in trials if r["method"] == method and r["state"] in points]
        if own:
            series.append(_points(f"{method}: a trial each", own, method))
    shams = [point for state in points if (point := _point(run, f"sham_{state}")) is not None]
    if shams:
        series.append(_points("shams of the trials", shams, "control 3"))
    for label, look in _WINNERS.items():
        names = {state for row in choices if row["label"] == label for state in _chosen(row)}
        won = [points[state] for state in points if state in names]
        if won:
            series.append(_points(f"chosen ({label})", won, look))
    series.append(_intervals(list(points.values())))
    missing = len(trials) - len(points)
    return Lines(
        title="Forgetting and restoring, trial by trial",
        panels=(LinePanel("", tuple(series)),),
        x_title="log p(false), nats: forgotten to the left",
        y_title="share of lost facts restored",
        caption=_caption(points, on_path, missing),
    )


def _caption(points: dict[str, Point], path: Sequence[Point], missing: int) -> str:
    if not points:
        return "No trial has both numbers: nothing was lost, or nothing was measured."
    best = max(points, key=lambda state: points[state][1])
    if not points[best][1] > 0:
        return f"None of {plural(len(points), 'trial')} restores any of the lost facts."
    above = [state for state in points if _above(points[state], path)]
    told = (
        f"Of {plural(len(points), 'trial')}, {best} restores most ({plain(points[best][1])} at "
        f"log p(false) {plain(points[best][0])}); {len(above)} lie above the rollback path, which "
        "is what undoing a share of the corruption restores."
    )
    return told + (f" {plural(missing, 'trial')} could not be placed." if missing else "")


def _above(point: Point, path: Sequence[Point]) -> bool:
    """Whether a trial restores more than the rollback with its log p(false)."""
    for one, other in itertools.pairwise(path):
        low, high = sorted((one, other))
        if low[0] <= point[0] <= high[0] and high[0] > low[0]:
            share = (point[0] - low[0]) / (high[0] - low[0])
            return point[1] > low[1] + share * (high[1] - low[1])
    return False


def _chosen(row: dict[str, Any]) -> list[str]:
    return str(row["chosen"]).split(", ") if row["chosen"] else []


# ---- the tables


def _number(value: Any, **look: Any) -> Cell:
    return Missing() if value is None else Number(float(value), **look)


def _choices(choices: Sequence[dict[str, Any]]) -> Table:
    rows = [
        Row(
            (
                Text(row["method"]),
                Text(row["label"]),
                Text(row["chosen"] or "none", detail=row["reason"] or ""),
                _number(row["value_selected"]),
                _number(row["value_scored"], low=row["low"], high=row["high"]),
                _number(row["restored_scored"], percent=True, digits=0),
                _number(row["log_p_false"]),
                _number(row["utility"], percent=True, digits=0),
                Number(float(row["n_entities"]), digits=0),
            )
        )
        for row in choices
        if row["half"] == "both"
    ]
    return Table(
        (
            Column("Method"),
            Column("Rule", help="blind: without the truth about corrupted entities; oracle: with"),
            Column("Chosen", help="on either half of the entities"),
            Column("Where chosen", help="log p_C(true), nats, on the half that chose"),
            Column("Elsewhere", help="the same on the half that did not"),
            Column("Restored", help="share of lost facts, on the half that did not choose"),
            Column("log p(false)"),
            Column("Untouched", help="share of untouched questions answered right"),
            Column("Entities"),
        ),
        tuple(rows),
        caption="What choosing a trial is worth on entities that did not choose it. The oracle "
        "rows are upper bounds: nobody who unlearns has the truth.",
    )


def _trials(
    run: RunResults, trials: Sequence[dict[str, Any]], choices: Sequence[dict[str, Any]]
) -> Table:
    winners = {
        state: [row["label"] for row in choices if row["half"] != "both" and state in _chosen(row)]
        for state in (row["state"] for row in trials)
    }
    rows = [
        Row(
            (
                Text(row["state"]),
                Text(_settings(row), mono=True),
                summary_number(run, row["state"], "direct", "log_p_false") or Missing(),
                summary_number(run, row["state"], "direct", "p_restored", percent=True, digits=0)
                or Missing(),
                accuracy(run, row["state"], "untouched") or Missing(),
                Text(", ".join(dict.fromkeys(winners[row["state"]]))),
            ),
            group=row["method"],
        )
        for row in trials
    ]
    columns = ("Trial", "Settings", "log p(false)", "Restored", "Untouched right", "Chosen by")
    return Table(
        tuple(Column(title) for title in columns),
        tuple(rows),
        caption="Every trial with its settings; intervals over entities.",
        filterable=True,
    )


def _settings(row: dict[str, Any]) -> str:
    both = {**json.loads(row["training"]), **json.loads(row["settings"])}
    return " ".join(f"{key}={value}" for key, value in both.items() if value is not None)


def _equal(run: RunResults) -> tuple[Part, ...]:
    """Two methods at equal forgetting, where a sweep has two."""
    if not run.has("equal_forgetting"):
        return ()
    rows = []
    for row in records(run.table("equal_forgetting")):
        gap: Cell = Missing(str(row["reason"] or ""))
        if row["value"] is not None:
            gap = Number(
                float(row["value"]), signed=True, low=row["low"], high=row["high"],
                n=int(row["n_facts"]),
                detail="" if row["p"] is None else f"p = {row['p']:.3g}",
            )  # fmt: skip
        names = f"{row['first']} minus {row['second']}"
        cells = (
            Text(names),
            Text(row["by"]),
            _number(row["level"]),
            Text(row["metric"] or ""),
            gap,
        )
        rows.append(Row(cells, group=names))
    columns = ("Methods", "Equal in", "At", "Metric", "Difference")
    return (
        Table(
            tuple(Column(title) for title in columns),
            tuple(rows),
            caption="Methods at equal forgetting, interpolated between trials; direct facts.",
        ),
    )


# ---- the page


def frontier_page(run: RunResults) -> Document:
    """The sweep on a page of its own."""
    return Document(
        f"Sweep {run.name}",
        (
            Section("The sweep", frontier(run)),
            Section(
                "How it is read",
                (
                    Paragraph(
                        "A trial is worth something where it restores more than the rollback with "
                        "the same log p(false), and more than its sham. The best of many trials is "
                        "partly luck: the column Elsewhere tells what is left of it."
                    ),
                ),
            ),
        ),
    )


def write_frontier(run: RunResults, folder: Path) -> Path | None:
    """Add `sweep.html` to a report that is there; None where the run holds no sweep."""
    if not has_sweep(run):
        return None
    files = site_files(frontier_page(run), {})
    page = files["index.html"].replace(b'"data/index.js"', b'"data/sweep.js"')
    with storage_errors(folder):
        publish(folder / "data" / "sweep.js", files["data/index.js"])
        publish(folder / PAGE, page)
    return folder / PAGE
