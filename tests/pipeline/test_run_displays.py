"""A run in a notebook: its table of states, and the plots of its report as plotly figures.

Run: python -m pytest tests/pipeline/test_run_displays.py
"""

import plotly.graph_objects as go

from restor_interp.reporting.parts import Plot, parts_in


def test_a_run_shows_its_states_and_its_verdict(finished):
    text = finished._repr_html_()
    assert all(state in text for state in finished.states())
    assert "<script" not in text and len(text) < 100_000


def test_the_figures_of_a_run_are_those_of_its_report(finished):
    found = finished.figures()
    assert all(isinstance(figure, go.Figure) for figure in found.values())
    plots = [part for part in parts_in(finished.document().parts) if isinstance(part, Plot)]
    titles = {plot.title for plot in plots}
    assert titles and all(any(name.startswith(title) for name in found) for title in titles)
    bars = next(figure for name, figure in found.items() if "became of the facts" in name)
    assert sum(sum(trace.x) for trace in bars.data) > 0
    entity = finished.results().corrupted_entities[0]
    assert finished.figures(entity).keys() != found.keys()
