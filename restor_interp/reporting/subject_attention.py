"""Attention from the last token to the subject, per layer and head, beside that to another name."""

import math
from collections.abc import Sequence

from restor_interp.reporting.formats import plain, plural, signed
from restor_interp.reporting.parts import Heatmaps, Panel, Paragraph, Part
from restor_interp.reporting.reasons import not_measured
from restor_interp.reporting.rows import Axes, Cells, RowOf, finite, grouped, placed, reasons
from restor_interp.reporting.vocabulary import order_states

CONTROLS = {
    "example": "the subject of the last example",
    "substitute": "somebody else in the subject's place",
}


def attention_maps(rows: Sequence[RowOf], fact: RowOf) -> tuple[Part, ...]:
    """Layers by heads, a map per state and one of its control on one scale; then what differs from
    the clean model, of both."""
    if not placed(rows, "head"):
        return not_measured(rows)
    rows = placed(rows, "head")
    axes = Axes.of(rows, fact["entity"], "head")
    own = grouped(rows, "state")
    states = order_states(state for (state,) in own)
    values = {state: axes.cells(own[state,], "value") for state in states}
    controls = {state: axes.cells(own[state,], "control_value") for state in states}
    panels, told = [], []
    for state in states:
        panels.append(Panel(state, values[state]))
        beside = "no control"
        if finite(controls[state]):
            panels.append(Panel(f"{state}, control", controls[state]))
            beside = f"the control at most {plain(max(finite(controls[state])))}"
        told.append(
            f"{state} {axes.peak(values[state])}, heads together "
            f"{plain(sum(finite(values[state])))} ({beside})"
        )
    kinds = [kind for (kind,) in grouped(rows, "control") if kind is not None]
    what = " and ".join(CONTROLS.get(kind, str(kind)) for kind in kinds)
    parts: list[Part] = [
        Heatmaps(
            title="How much the last token looks at the subject",
            panels=tuple(panels),
            value_title="share of a head's attention",
            caption=f"Most of n = {len(axes.layers)} × {len(axes.places)} heads: "
            f"{'; '.join(told)}." + (f" Control: {what}." if what else ""),
            low=0.0,
            high=1.0,
            low_words="not at all",
            high_words="at nothing else",
            **axes.fields(),
        )
    ]
    parts += _difference(axes, values, controls)
    left = reasons(rows)
    if left:
        parts.append(Paragraph(f"No control: {left}.", quiet=True))
    return tuple(parts)


def _difference(
    axes: Axes, values: dict[str, Cells], controls: dict[str, Cells]
) -> tuple[Part, ...]:
    if "clean" not in values or len(values) < 2:
        return ()
    panels, told = [], []
    for state in values:
        if state == "clean":
            continue
        cells = _minus(values[state], values["clean"])
        panels.append(Panel(f"{state} − clean", cells))
        beside = "no control"
        control = _minus(controls[state], controls["clean"])
        if finite(control):
            panels.append(Panel(f"{state} − clean, control", control))
            beside = f"control {signed(sum(finite(control)))}"
        lost = [value for value in finite(cells) if value < -0.1]
        told.append(
            f"{state} {axes.peak(cells, by=abs)}; "
            f"{plural(len(lost), 'head')} {'looks' if len(lost) == 1 else 'look'} away by 0.1 or "
            "more; "
            f"all together {signed(sum(finite(cells)))} ({beside})"
        )
    return (
        Heatmaps(
            title="Looking at the subject: difference from the clean model",
            panels=tuple(panels),
            value_title="difference in the share of attention",
            caption=f"Largest difference of n = {len(axes.layers)} × {len(axes.places)} heads: "
            f"{'; '.join(told)}.",
            diverging=True,
            low_words="looks less",
            high_words="looks more",
            **axes.fields(),
        ),
    )


def _minus(cells: Cells, base: Cells) -> Cells:
    return tuple(
        tuple(a - b if math.isfinite(a - b) else math.nan for a, b in zip(one, other, strict=True))
        for one, other in zip(cells, base, strict=True)
    )
