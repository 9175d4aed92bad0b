"""Retention by layer: what a state's values let the clean model say, as a share of its own values.

Below the first changed layer a state is the clean model, so its share is 1 there, whatever became
of the fact: the finding is where the share falls, and to what.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from restor_interp.explain.retention import (
    INTACT_PERCENTILE,
    LOST_PERCENTILE,
    Band,
    Retained,
)
from restor_interp.reporting.formats import plain
from restor_interp.reporting.parts import LinePanel, Lines, Paragraph, Part, Series, floats
from restor_interp.reporting.rows import RowOf, grouped, number, reasons
from restor_interp.reporting.vocabulary import order_states

SITES = {
    "subject": "at the subject",
    "attended": "at the last token, between attention and MLP",
    "last": "at the last token",
}
_CONTROLS = {
    "other_context": ("clean in another context", "control"),
    "wrong_entity": ("clean on a wrong entity", "control 2"),
}
"""Kind of donor -> its name and look."""


def retention_lines(
    rows: Sequence[RowOf], fact: RowOf, controls: Sequence[RowOf], read: Retained
) -> tuple[Part, ...]:
    """A panel per site: a line per state, between the bands of what is intact and what is lost.

    `controls`: their rows about every fact of the run; bands are percentiles over them.
    `read`: what the run concludes of its rows: the layer at which a site is read, bands there.
    """
    bands = {key: _by_layer(some) for key, some in grouped(controls, "donor_kind", "site").items()}
    panels, told, absent = [], [], []
    for site in sorted({row["site"] for row in rows}, key=lambda name: (name != "subject", name)):
        here = [row for row in rows if row["site"] == site]
        lines = _states(here, site, absent)
        if not lines:
            continue
        around = [
            _control(bands[kind, site], *_CONTROLS[kind])
            for kind in _CONTROLS
            if bands.get((kind, site))
        ]
        panels.append(LinePanel(SITES.get(site, str(site)), (*lines, *around)))
        name = panels[-1].name
        told.append(f"{name[:1].upper()}{name[1:]}: {_course(lines)}")
        told[-1] += _reading(fact, lines, read, site)
    plots: list[Part] = []
    if panels:
        facts = len({row["fact_id"] for row in controls})
        plots.append(
            Lines(
                title="Retention, layer by layer",
                panels=tuple(panels),
                x_title="layer",
                y_title="share of clean's effect",
                caption=(
                    "What a state's values let the clean model say of the fact, as a share of what "
                    f"the clean model's own do. {'. '.join(told)}. "
                    + (
                        f"Grey: controls, {INTACT_PERCENTILE}th to {LOST_PERCENTILE}th percentile "
                        f"over n = {facts} facts."
                        if facts
                        else "No control was measured."
                    )
                ),
            )
        )
    return (*plots, *(Paragraph(text, quiet=True) for text in absent))


def _states(rows: Sequence[RowOf], site: str, absent: list[str]) -> list[Series]:
    own = grouped((row for row in rows if row["donor_kind"] == "state"), "state")
    lines = []
    for state in order_states(state for (state,) in own):
        if state == "clean":
            continue  # its share is 1 by definition
        values = {layer: float(np.mean(v)) for layer, v in _by_layer(own[state,]).items()}
        if values:
            # Measured layers without a share leave a gap; layers not looked at do not.
            layers = sorted({int(r["layer"]) for r in own[state,] if r["layer"] is not None})
            shares = floats(values.get(layer) for layer in layers)
            lines.append(Series(name=state, x=tuple(layers), y=shares, look=state))
        else:
            why = reasons(own[state,]) or "nothing was measured"
            absent.append(f"{state} {SITES.get(site, site)}: {why}.")
    return lines


def _by_layer(rows: Sequence[RowOf]) -> dict[int, list[float]]:
    """Layer -> the finite shares there, layers in order."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["layer"] is not None and math.isfinite(number(row["share"])):
            found.setdefault(int(row["layer"]), []).append(float(row["share"]))
    return dict(sorted(found.items()))


def _control(values: Mapping[int, list[float]], name: str, look: str) -> Series:
    low, middle, high = (
        tuple(float(np.percentile(values[layer], at)) for layer in values)
        for at in (INTACT_PERCENTILE, 50, LOST_PERCENTILE)
    )
    return Series(name=name, x=tuple(values), y=middle, low=low, high=high, look=look)


def _course(lines: Sequence[Series]) -> str:
    """How every state's share begins, and how low it gets."""
    told = []
    for line in lines:
        points = [(y, x) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        least, layer = min(points)
        told.append(
            f"{line.name} from {plain(points[0][0])} (layer {plain(points[0][1], 0)}) down to "
            f"{plain(least)} (layer {plain(layer, 0)})"
        )
    return "; ".join(told)


def _reading(fact: RowOf, lines: Sequence[Series], read: Retained, site: str) -> str:
    """The shares at the layer where this site is read, with what they are called there."""
    where: dict[str, tuple[Band | None, str, str]] = {
        "subject": (read.subject, "r_subject", "subject"),
        read.mid_site: (read.mid, "r_mid", "mid"),
    }
    band, column, verdict = where.get(site, (None, "", ""))
    if band is None:
        return ""
    layer = band.layer if site == "subject" else read.mid_layers.get(fact["fact_id"], band.layer)
    told = []
    for line in lines:
        own = read.by_fact.get((fact["fact_id"], line.name), {})
        if own.get(column) is not None:
            told.append(f"{line.name} {plain(own[column])} ({own[verdict] or 'no verdict'})")
    intact, lost = band.edges()
    return (
        f"; read at layer {layer}: {', '.join(told) or 'nothing measured'}; intact above "
        f"{plain(intact)} (n = {band.n_intact}), lost below {plain(lost)} "
        f"(n = {band.n_lost})"
    )
