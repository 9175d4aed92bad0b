"""Drift: how far activations moved from the clean ones, by layer and by role of the fact."""

import math
from collections.abc import Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import LinePanel, Lines, Part, Series
from restor_interp.reporting.rows import RowOf, grouped
from restor_interp.reporting.vocabulary import PLACES, ROLES, order_states

METRICS = {
    "cosine": ("Cosine to the clean activations", "cosine, mean over facts"),
    "cka_debiased": ("Similarity of geometry to the clean activations", "CKA, debiased"),
}
"""Metric -> title and unit; the others stand in the table alone."""
_ALL = "all"
_LOOKS = {"direct": "false", "sibling": "line 3", "context": "line 4", "untouched": "line 1"}


def drift_parts(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """A figure per metric and position: a panel per state, a line per role over the floor."""
    kinds = grouped((row for row in rows if row["metric"] in METRICS), "metric", "position")
    order = sorted(kinds, key=lambda kind: list(METRICS).index(kind[0]))
    return tuple(part for kind in order for part in _figure(kinds[kind], *kind))


def drift_in_short(rows: Sequence[RowOf]) -> str:
    """The lowest cosine of every state, facts with a falsehood beside untouched ones."""
    chosen = [row for row in rows if row["metric"] == "cosine" and row["value"] is not None]
    own = grouped(chosen, "state", "role")
    told = []
    for state in order_states(state for state, _ in own):
        shown = [role for role in ("direct", "untouched") if (state, role) in own] or [_ALL]
        least = [
            f"{plain(min(float(row['value']) for row in own[state, role]))} {role}"
            for role in shown
            if (state, role) in own
        ]
        told.append(f"{state} {', '.join(least)}")
    return f"lowest cosine to clean: {'; '.join(told)}" if told else ""


def _figure(rows: Sequence[RowOf], metric: str, position: str) -> tuple[Part, ...]:
    own = grouped(rows, "state")
    panels, told = [], []
    for state in order_states(state for (state,) in own):
        roles = grouped(own[state,], "role")
        lines = _roles(roles)
        if not lines:
            continue
        panels.append(LinePanel(state, (*lines, *_beside(roles.get((_ALL,), own[state,])))))
        told.append(f"{state} {', '.join(map(_lowest, lines))}{_floor(panels[-1])}")
    if not panels:
        return ()
    title, unit = METRICS[metric]
    return (
        Lines(
            title=f"{title}, at {PLACES.get(position, position)}",
            panels=tuple(panels),
            x_title="layer",
            y_title=unit,
            caption=f"1: as in the clean state. Lowest: {'; '.join(told)}.",
        ),
    )


def _roles(roles: dict[tuple[str], list[RowOf]]) -> list[Series]:
    """A line per role of facts; of all together where roles are not told apart."""
    known = [role for role in (*ROLES, _ALL) if (role,) in roles]
    shown = [role for role in known if role != _ALL] or known
    lines = []
    for role in shown:
        values = by_layer(roles[role,], "value")
        if values:
            n = max((int(r["n"]) for r in roles[role,] if r.get("n") is not None), default=None)
            look = _LOOKS.get(role, "line 2")
            xs, ys = tuple(values), tuple(values.values())
            lines.append(Series(name=role, x=xs, y=ys, look=look, n=n))
    return lines


def _beside(rows: Sequence[RowOf]) -> list[Series]:
    names = {
        "floor": ("other facts' rows (floor)", "control"),
        "other_context": ("clean in another context", "control 2"),
    }
    found = []
    for column, (name, look) in names.items():
        values = by_layer((row for row in rows if row.get(column) is not None), column)
        if values:
            found.append(Series(name=name, x=tuple(values), y=tuple(values.values()), look=look))
    return found


def _lowest(line: Series) -> str:
    least, layer = min((y, x) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y))
    return f"{line.name} {plain(least)} (layer {layer:g})"


def _floor(panel: LinePanel) -> str:
    told = [
        f"{line.name} at most {plain(max(line.y))}"
        for line in panel.series
        if line.look.startswith("control")
    ]
    return f" ({'; '.join(told)})" if told else " (no floor)"
