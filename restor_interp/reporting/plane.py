"""The restoration plane of a run: every state between forgetting and restoring."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from restor_interp.explain.measured import Measured
from restor_interp.explain.plane import Point, plane_points, trajectories
from restor_interp.explain.rollback import rollback_path
from restor_interp.reporting.formats import plain, plural, signed
from restor_interp.reporting.parts import Empty, LinePanel, Lines, Part, Series
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.vocabulary import order_states, state_kind

TITLE = "Restoration plane"


def restoration_plane(run: RunResults) -> tuple[Part, ...]:
    """States as points over the curve of rollbacks and the cloud of shams; where trainings were
    captured on their way, their trajectories beside it."""
    if not run.has("margins") or not run.has("choices"):
        return (Empty("Margins or choices were not measured.", run.command("margins")),)
    measured = Measured(*(run.table(name) for name in ("facts", "answers", "choices", "margins")))
    points = plane_points(measured)
    lost = measured.chosen("direct", lost=True)
    if not points:
        return (Empty("No lost fact has both a margin and a log p(false) in any state."),)
    panels = [LinePanel("states", _states(points))]
    told = [_told(points)]
    timeline = run.tables.get("timeline")
    ways = {} if timeline is None else trajectories(timeline, list(lost))
    if ways:
        panels.append(
            LinePanel(
                "on the way, log p(true) of the first token",
                tuple(
                    Series(
                        name=state,
                        x=tuple(fall for _, fall, _ in ways[state]),
                        y=tuple(gain for _, _, gain in ways[state]),
                        look=state,
                    )
                    for state in order_states(ways)
                    if ways[state]
                ),
            )
        )
        told.append(_ways(ways))
    return (
        Lines(
            title=TITLE,
            panels=tuple(panels),
            x_title="log p(false) fell by, nats",
            y_title="truth came back, nats",
            caption=" ".join(told),
        ),
    )


def _states(points: Mapping[str, Point]) -> tuple[Series, ...]:
    path = [state for state in rollback_path(points) if state in points]
    series = []
    if path:
        series.append(_series("rollback: clean to corrupted", path, points, "control", True))
    shams = [state for state in points if state_kind(state) == "sham"]
    if shams:
        series.append(_series("shams", shams, points, "control 3", False))
    others = [s for s in order_states(points) if s not in path and s not in shams]
    series += [_series(state, [state], points, state, False) for state in others]
    drawn = [points[state] for state in (*others, *shams)]
    series.append(_intervals(drawn))
    return tuple(series)


def _series(
    name: str, states: Sequence[str], points: Mapping[str, Point], look: str, joined: bool
) -> Series:
    return Series(
        name=name,
        x=tuple(points[state].fall.value for state in states),
        y=tuple(points[state].gain.value for state in states),
        look=look,
        joined=joined,
    )


def _intervals(points: Sequence[Point]) -> Series:
    """All intervals of gains as one broken line: an x that is no number ends each."""
    known = [point for point in points if math.isfinite(point.gain.low + point.gain.high)]
    return Series(
        name="95% intervals",
        x=tuple(x for p in known for x in (p.fall.value, p.fall.value, math.nan)),
        y=tuple(y for p in known for y in (p.gain.low, p.gain.high, p.gain.high)),
        look="control 4",
        thin=True,
    )


def _told(points: Mapping[str, Point]) -> str:
    facts = _range(point.gain.n_facts for point in points.values())
    entities = _range(point.gain.n_entities for point in points.values())
    path = [points[state] for state in rollback_path(points) if state in points]
    methods = [state for state in order_states(points) if state_kind(state) == "method"]
    told = []
    for state in methods:
        own, sham = points[state], points.get(f"sham_{state}")
        text = (
            f"{state} {signed(own.gain.value)} where log p(false) fell by {plain(own.fall.value)}"
        )
        if sham is not None:
            text += f" (its sham {signed(sham.gain.value)})"
        told.append(text)
    above = [state for state in methods if _is_above(points[state], path)]
    curve = ""
    if len(path) > 2 and methods:
        curve = (
            " Above the curve of rollbacks by more than its interval: "
            f"{', '.join(above) or 'no method'}."
        )
    return (
        f"Margin of the true object beyond the corrupted state's, nats, over "
        f"n = {facts} lost facts, {entities} entities: "
        f"{'; '.join(told) or 'no method was run'}.{curve}"
    )


def _range(numbers: Iterable[int]) -> str:
    """`2`, or `2 to 5` where states differ."""
    found = sorted(set(numbers))
    return f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _is_above(point: Point, path: Sequence[Point]) -> bool:
    """Whether more came back, even at the lower end of the interval, than on the straight line
    between rollbacks of the same fall; without an interval nothing is above."""
    fall, gain = point.fall.value, point.gain.low
    for one, other in itertools.pairwise(path):
        (x0, y0), (x1, y1) = sorted((p.fall.value, p.gain.value) for p in (one, other))
        if x0 <= fall <= x1 and x1 > x0:
            return gain > y0 + (fall - x0) / (x1 - x0) * (y1 - y0)
    return False


def _ways(ways: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    ends = [
        f"{state} {signed(way[-1][2])} after {plural(way[-1][0], 'step')}"
        for state, way in ((state, ways[state]) for state in order_states(ways))
        if way
    ]
    return f"During training, log p(true) since its start: {'; '.join(ends)}."
