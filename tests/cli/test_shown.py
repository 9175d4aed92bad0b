"""The time that is left, and JSON that every reader accepts.

Run: python -m pytest tests/cli/test_shown.py
"""

import json
import math

import pytest

from restor_interp.cli.shown import Drawn, Left, show, show_json


def test_what_is_left_is_what_was_expected_corrected_by_what_was_seen():
    left = Left({"a": 10.0, "b": 20.0, "c": 30.0})
    assert left.seconds() == pytest.approx(60)
    left.finished("a", 10.0)  # as expected
    assert left.seconds() == pytest.approx(50)
    assert left.seconds({"b": 5}) == pytest.approx(45)
    left.finished("b", 50.0)
    # (10 + 50 + 10) spent and supposed for (10 + 20 + 10) that were expected
    assert left.seconds() == pytest.approx(30 * 70 / 40)
    assert left.seconds({"c": 1000}) == 0  # never negative
    left.finished("c", 1.0)
    assert left.seconds() is None


def test_a_correction_has_bounds_and_an_unexpected_cell_changes_nothing():
    left = Left({"a": 100.0, "b": 100.0})
    left.finished("unheard of", 1e6)
    assert left.seconds() == pytest.approx(200)
    left.finished("a", 1e6)
    assert left.seconds() == pytest.approx(300)


def test_what_is_left_is_shared_by_workers_but_not_a_single_cell():
    left = Left({"long": 100.0, "a": 10.0, "b": 10.0}, workers=2)
    assert left.seconds() == pytest.approx(100)  # the others fit beside it
    left.finished("long", 100.0)
    assert left.seconds({"a": 4}) == pytest.approx(10)
    assert Left({"a": 10.0, "b": 10.0, "c": 10.0}, workers=2).seconds() == pytest.approx(15)


def test_cells_side_by_side_have_lines_of_their_own(capsys):
    with Drawn() as drawn:
        drawn.last_line = -1e9
        drawn.started("one", 1, 2)
        drawn.started("two", 2, 2)
        drawn.advanced(3, 9, "one")
        drawn.finished("one", 5.0, "done")
        drawn.finished("two", 6.0, "done")
    lines = [line.strip().split("  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["[1/2] one: 3/9", "[1/2] one: done in 5.0 s", "[2/2] two: done in 6.0 s"]


def test_lines_tell_what_is_left_only_where_something_is_expected(capsys):
    with Drawn({"one": 5.0, "two": 600.0}) as drawn:
        drawn.started("one", 1, 2)
        drawn.finished("one", 5.0, "done")
        drawn.started("two", 2, 2)
        drawn.finished("two", 600.0, "done")
    err = capsys.readouterr().err.splitlines()
    assert err[0].endswith("[1/2] one: done in 5.0 s, about 10 min left")
    assert err[1].endswith("[2/2] two: done in 600.0 s")
    with Drawn() as drawn:
        drawn.started("one", 1, 1)
        drawn.finished("one", 5.0, "done")
    assert "left" not in capsys.readouterr().err


def test_json_has_no_numbers_that_json_does_not_know(capsys):
    show_json({"a": [math.nan, 1.5, (math.inf,)], "b": None})

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert found == {"a": [None, 1.5, [None]], "b": None}


def test_what_was_not_measured_is_an_empty_cell(capsys):
    rows = [{"cell": f"c{width}", "seconds": None, "zero": 0} for width in range(2)]
    show(rows, as_json=False)
    wide = [{**row, "a": 1, "b": 2} for row in rows]
    show(wide, as_json=False)  # blocks
    out = capsys.readouterr().out
    assert "None" not in out and out.count("zero: 0") == 2
