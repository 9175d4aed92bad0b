"""Results of measurements as parts and as plotly figures, for notebooks and scripts.

What a result of `ri.trace`, `ri.patch_states`, … shows is what the report shows of its rows: each
kind of result is drawn by the same function as its table.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from restor_interp.errors import ConfigError
from restor_interp.reporting.attributions import attribution_maps
from restor_interp.reporting.contributions import contribution_bars
from restor_interp.reporting.descriptions import description_lines
from restor_interp.reporting.figures import Drawing, draw, escaped, with_tokens
from restor_interp.reporting.grafts import graft_parts
from restor_interp.reporting.knockouts import knockout_lines
from restor_interp.reporting.lens import lens_lines, lens_map
from restor_interp.reporting.mlp_changes import mlp_change_parts
from restor_interp.reporting.own_tables import own_table
from restor_interp.reporting.parts import (
    Document,
    Heatmaps,
    KeyValues,
    Paragraph,
    Part,
    Plot,
    parts_in,
)
from restor_interp.reporting.patches import patch_maps
from restor_interp.reporting.rows import RowOf
from restor_interp.reporting.subject_attention import attention_maps
from restor_interp.reporting.token_attributions import token_strips
from restor_interp.reporting.tracepage import sentences, trace_maps_of
from restor_interp.reporting.value_vectors import value_vector_tables

if TYPE_CHECKING:
    import plotly.graph_objects

Draw = Callable[[Sequence[RowOf], RowOf], tuple[Part, ...]]

DRAWN: Mapping[str, Draw] = {
    "Attribution": attribution_maps,
    "Contributions": contribution_bars,
    "Descriptions": description_lines,
    "Grafts": graft_parts,
    "Grid": patch_maps,
    "Knockouts": knockout_lines,
    "Lens": lens_lines,
    "MlpChanges": mlp_change_parts,
    "SubjectAttention": attention_maps,
    "TokenAttribution": token_strips,
    "ValueVectors": value_vector_tables,
}
"""Class of a result -> what draws the rows of its table."""

STATE = "this state"
"""Stands for the state of a result that does not know its name."""


def parts_of(result: Any) -> tuple[Part, ...]:
    """What a result says: sentences, plots, or the rows of its table; of anything else its
    fields."""
    kind = type(result).__name__
    if callable(getattr(result, "document", None)):  # a run
        result = result.document()
    if isinstance(result, Document):
        return result.parts
    if kind == "Trace":
        told = tuple(Paragraph(text) for text in sentences(result))
        return (*told, *trace_maps_of({result.kind: result}))
    if not callable(getattr(result, "rows", None)):
        return (KeyValues(fields_of(result)),)
    rows = rows_of(result)
    if kind == "Lens" and rows:
        fact, tops = _fact(result), result.top_rows()
        return (*lens_lines(rows, fact, tops), *lens_map(tops, fact))
    if kind in DRAWN and rows:
        return DRAWN[kind](rows, _fact(result))
    return own_table(kind, rows)


def figures(result: Any) -> dict[str, "plotly.graph_objects.Figure"]:
    """The plots of a result, of a report's document, or of a run, as plotly figures by title.

    They are plain `plotly.graph_objects.Figure`s: `update_layout`, `update_traces`, `write_html`.
    Panels of one plot share their scale and are told apart by name: `title: panel`. Raises
    `ConfigError` for a result that has no plot.
    """
    found: dict[str, plotly.graph_objects.Figure] = {}
    for plot in parts_in(parts_of(result)):
        if isinstance(plot, Plot):
            for drawing in draw(plot):
                name = f"{plot.title}: {drawing.name}" if drawing.name else plot.title
                found[name] = plotly_figure(plot, drawing, name)
    if not found:
        raise ConfigError(
            f"a {type(result).__name__} has no plot; results with plots: Trace, "
            f"{', '.join(DRAWN)}, a Run and the documents of reports"
        )
    return found


def figure(result: Any) -> "plotly.graph_objects.Figure":
    """The first of `figures(result)`."""
    return next(iter(figures(result).values()))


def plotly_figure(plot: Plot, drawing: Drawing, title: str) -> "plotly.graph_objects.Figure":
    """One drawing with its title, its scale, and the names that its hover texts show."""
    import plotly.graph_objects

    layout = drawing.figure["layout"]
    height, top = layout["height"] + 60, {"l": 8, "r": 8, "t": 60, "b": 8}
    made = plotly.graph_objects.Figure(
        data=[_labelled(trace, drawing) for trace in drawing.figure["data"]],
        layout={**layout, "title": {"text": escaped(title, 120)}, "height": height, "margin": top},
    )
    if isinstance(plot, Heatmaps):
        scale = {"showscale": True, "colorbar": {"title": {"text": escaped(plot.value_title, 60)}}}
        made.update_traces(scale, selector={"type": "heatmap"})
    else:
        made.update_layout(showlegend=True)
    return made


def _labelled(trace: Mapping[str, Any], drawing: Drawing) -> dict[str, Any]:
    """A trace with what its hover text reads: names of its places, as the page's script sets."""
    x, y = drawing.labels.get("x"), drawing.labels.get("y")
    if trace["type"] == "heatmap":
        names = [
            [[(x or [])[column], (y or [])[row]] for column in range(len(values))]
            for row, values in enumerate(trace["z"])
        ]
    elif y and not x:
        names = [y[place] for place in trace["y"]]
    elif x and trace["type"] == "scatter":
        names = [x[int(place)] if place is not None else "" for place in trace["x"]]
    else:
        names = [f"{place}" for place in trace["x"]]
    made = {**trace, "customdata": names}
    return with_tokens(made, drawing.likeliest) if drawing.likeliest else made


def rows_of(result: Any) -> list[dict[str, Any]]:
    """A result's rows, with stand-ins for the fact and the state that it does not know."""
    stand_ins = {"fact_id": "", "state": STATE}
    wanted = inspect.signature(result.rows).parameters
    return list(result.rows(**{name: stand_ins[name] for name in wanted if name in stand_ins}))


def _fact(result: Any) -> dict[str, Any]:
    """What of a fact the drawing functions read: its entity and its two objects."""
    tokens, subject = getattr(result, "tokens", ()), getattr(result, "subject", None)
    answer, foil = (_first(getattr(result, name, None)) for name in ("answer", "foil"))
    if answer is None:
        answer, foil = _answers(result)
    entity = "".join(tokens[slice(*subject)]).strip() if tokens and subject else ""
    return {
        "fact_id": "",
        "entity": entity,
        "question": "".join(tokens),
        "true_objects": [] if answer is None else [answer],
        "false_object": foil,
        "role": "",
    }


def _answers(result: Any) -> tuple[str | None, str | None]:
    """Answer and foil of a result about several prompts: those of the first."""
    objects = getattr(result, "objects", None)
    if objects:
        first = objects[0]
        return first[0], first[1] if len(first) > 1 else None
    answers, foils = getattr(result, "answers", None), getattr(result, "foils", None)
    return (answers[0] if answers else None), (foils[0] if foils else None)


def _first(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def fields_of(result: Any) -> tuple[tuple[str, str], ...]:
    """Name and short value of every public field: an array by its shape."""
    named = getattr(result, "__dict__", {})
    return tuple((name, _short(value)) for name, value in named.items() if name[:1] != "_")


def _short(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} {list(shape)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple | set | frozenset | dict) and len(value) > 6:
        return f"{len(value)} values"
    return str(value)[:200]


__all__ = ["DRAWN", "fields_of", "figure", "figures", "parts_of", "plotly_figure", "rows_of"]
