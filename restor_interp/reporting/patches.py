"""Patching between states as maps: what one value of one state does to the answer of another."""

from collections.abc import Sequence

from restor_interp.reporting.characters import token_label
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import Heatmaps, Panel, Paragraph, Part
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.rows import (
    KINDS,
    Axes,
    Cells,
    RowOf,
    by_direction,
    finite,
    grouped,
    object_words,
    placed,
    reasons,
)

MOST = 1.5
"""Effects beyond this are marked, not coloured: a few of them would bleach all the others."""


def patch_maps(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """A map per direction with its wrong-entity null beside it, a figure per kind of state.

    Tokens are columns, layers rows; of single heads, heads are columns, a figure per token.
    """
    here = placed(rows, "position")
    parts: list[Part] = [] if here else [*not_measured(rows)]
    for (kind, window, metric, target), chosen in grouped(
        here, "kind", "window", "metric", "object"
    ).items():
        what = f"{KINDS.get(kind, kind)}, {object_words(target, fact)}"
        moved = f"share of the gap in {metric}"
        if kind != "head":
            wide = f" Windows of {window} layers." if window and window > 1 else ""
            parts += _figure(chosen, Axes.of(chosen, fact["entity"]), what, moved, wide)
            continue
        for (position,), here in grouped(chosen, "position").items():
            token = str(here[0].get("token", position))
            parts += _figure(
                here,
                Axes.of(here, fact["entity"], "head"),
                f"{what}, at {_place(here[0], chosen)}",
                moved,
                f" Heads of the token “{token_label(token)}”.",
            )
    return tuple(parts)


def _place(row: RowOf, rows: Sequence[RowOf]) -> str:
    """A token of a head map, by its part in the prompt."""
    if row.get("in_subject"):
        return "the subject"
    last = max(int(other["position"]) for other in rows)
    return "the last token" if row["position"] == last else f"token {row['position']}"


def _figure(rows: Sequence[RowOf], axes: Axes, what: str, moved: str, more: str) -> list[Part]:
    kind = str(rows[0]["kind"])
    panels: dict[str, Cells] = {}
    told, absent = [], []
    for direction, chosen in by_direction(rows).items():
        own = [row for row in chosen if row.get("null") in (None, "none")]
        null = [row for row in chosen if row.get("null") not in (None, "none")]
        cells, null_cells = axes.cells(own, "effect"), axes.cells(null, "effect")
        if not finite(cells):
            absent.append(f"{direction}: {reasons(chosen) or 'nothing was measured'}")
            continue
        panels[direction] = cells
        control = "no wrong-entity control"
        if finite(null_cells):
            panels[f"{direction}, wrong entity"] = null_cells
            control = f"with a wrong entity's values at most {plain(max(finite(null_cells)))}"
        told.append(f"{direction} {_finding(axes, cells, kind)} ({control})")
    parts: list[Part] = []
    if panels:
        most = max(abs(value) for cells in panels.values() for value in finite(cells))
        dotted = " Dotted: the subject." if axes.subject else ""
        parts.append(
            Heatmaps(
                title=f"Patching between states: {what}",
                panels=tuple(Panel(name, cells) for name, cells in panels.items()),
                value_title=f"{moved} between donor and host (0 the host's, 1 the donor's)",
                caption=(
                    f"Which single value moves the answer most, donor → host: {'; '.join(told)}. "
                    f"{_cells(axes)} per map, one prompt.{more}{dotted}"
                ),
                diverging=True,
                high=min(most, MOST),
                low=-min(most, MOST),
                low_words="away from the donor",
                high_words="towards the donor",
                **axes.fields(),
            )
        )
    parts += [Paragraph(f"{what}, {text}.", quiet=True) for text in absent]
    return parts


def _finding(axes: Axes, cells: Cells, kind: str) -> str:
    """Where a map is highest. The last token's stream has all of the answer at the end, whatever
    the model: of streams it is told where it is highest before, and since when it is there."""
    if kind != "resid":
        return axes.peak(cells)
    return f"{axes.peak(axes.before_last(cells))}, at the last token {axes.half_since(cells)}"


def _cells(axes: Axes) -> str:
    columns = "heads" if axes.across == "head" else "tokens"
    return (
        f"n = {len(axes.layers) * len(axes.places)} cells "
        f"({len(axes.layers)} layers × {len(axes.places)} {columns})"
    )
