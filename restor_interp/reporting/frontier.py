"""The sweep in one plot: every trial between forgetting and restoring, not only the winner."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from restor_interp.explain.rollback import rollback_path
from restor_interp.reporting.formats import percent, plain, plural
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.summary import summary_number

PAGE = "sweep"
"""The name of the sweep's own page in a site."""
RULES = {"oracle": "with the truth", "blind": "without the truth"}
"""Rule of choosing a trial -> what it may look at."""
_WINNERS = {"oracle": "line 4", "blind": "line 2"}


def has_sweep(run: RunResults) -> bool:
    """Whether a run holds several trials of a method."""
    return run.has("selection") and run.has("trials")


def frontier(run: RunResults) -> tuple[Part, ...]:
    """The plot, and the way to the page with all trials; nothing where there is no sweep."""
    if not has_sweep(run):
        return ()
    trials = len(records(run.table("trials")))
    more = f"All {plural(trials, 'trial')} with their settings, and which of them would be chosen"
    return (frontier_plot(run), Paragraph(more, page=PAGE))


def chosen_trials(row: dict[str, Any]) -> list[str]:
    """The trials that a row of the table `selection` names: one, or one per half."""
    return str(row["chosen"]).split(", ") if row["chosen"] else []


Point = tuple[float, float, float, float]
"""log p(false), share restored, and the ends of its interval (NaN where there is none)."""


def frontier_plot(run: RunResults) -> Lines:
    """Every trial by log p(false) and the share of lost facts that it restores, beside the
    rollback, the shams, and the trials that were chosen."""
    trials, choices = (records(run.table(name)) for name in ("trials", "selection"))
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
        names = {state for row in choices if row["label"] == label for state in chosen_trials(row)}
        won = [points[state] for state in points if state in names]
        if won:
            series.append(_points(f"chosen {RULES[label]} ({label})", won, look))
    series.append(_intervals(list(points.values())))
    return Lines(
        title="Forgetting and restoring, trial by trial",
        panels=(LinePanel("", tuple(series)),),
        x_title="log p(false), nats: forgotten to the left",
        y_title="share of lost facts restored",
        caption=_caption(points, on_path, len(trials) - len(points)),
    )


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
        name="95% intervals over entities",
        x=tuple(x for point in drawn for x in (point[0], point[0], math.nan)),
        y=tuple(y for point in drawn for y in (point[2], point[3], point[3])),
        look="control 4",
        thin=True,
    )


def _caption(points: dict[str, Point], path: Sequence[Point], missing: int) -> str:
    if not points:
        return "No trial has both numbers: nothing was lost, or nothing was measured."
    best = max(points, key=lambda state: points[state][1])
    if not points[best][1] > 0:
        return f"None of {plural(len(points), 'trial')} restores any of the lost facts."
    above = [state for state in points if _above(points[state], path)]
    told = (
        f"Of {plural(len(points), 'trial')}, {best} restores most: {percent(points[best][1])}% of "
        f"the lost facts, at log p(false) {plain(points[best][0])}. Above the rollback, which only "
        f"undoes a part of the corruption: {', '.join(above) or 'none'}."
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
