"""Figures as SVG files.

Run: python -m pytest tests/reporting/test_svg.py
"""

import asyncio
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor

import pytest
from plotly.graph_objects import Bar, Figure

from restor_interp.reporting.svg import same_names, write_svg


def test_names_that_plotly_draws_by_chance_are_replaced_everywhere():
    drawn = '<svg><defs id="defs-86a4bc"/><g id="clip86a4bcx" href="url(#clip86a4bcx)"/></svg>'
    other = drawn.replace("86a4bc", "0f0f0f")
    assert same_names(drawn) == same_names(other)
    assert "86a4bc" not in same_names(drawn)
    assert same_names("<svg/>") == "<svg/>"


@pytest.mark.browser
def test_a_figure_is_drawn_where_a_loop_runs_already(tmp_path):
    async def notebook():
        write_svg(Figure(Bar(x=["kept"], y=[3])), tmp_path / "bar.svg")

    # In a thread: a browser of other tests may keep a loop of its own in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(notebook())).result()
    assert "kept" in (tmp_path / "bar.svg").read_text()


@pytest.mark.browser
def test_a_figure_is_drawn_the_same_twice(tmp_path):
    figure = Figure(Bar(x=["kept", "lost"], y=[3, 1]), {"width": 400, "height": 300})
    paths = [tmp_path / name / "bars.svg" for name in ("one", "two")]
    for path in paths:
        write_svg(figure, path)
    first, second = (path.read_text() for path in paths)
    assert first == second
    drawn = ET.fromstring(first)
    assert (drawn.get("width"), drawn.get("height")) == ("400", "300")
    assert {"kept", "lost"} <= {
        text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")
    }
