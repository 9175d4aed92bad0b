"""Sections of thin tables: a survey or analysis that gave reasons alone, or fixed columns alone.

Run: python -m pytest tests/reporting/test_thin_tables.py
"""

import math

import pandas as pd
import pytest

from restor_interp.reporting.figures import draw
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.mechanisms import mechanism_parts
from restor_interp.reporting.parts import Plot, parts_in
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.text import to_text
from restor_interp.reporting.whole_states import whole_states
from restor_interp.store import TABLES

WHY = "nothing could be measured here"
NAMED = ("fact_id", "state", "from_state", "to_state")
"""What even a row that was not measured names."""
CHECKED = (
    *("lens", "traces", "knockouts", "attributions", "contributions", "patches", "retention"),
    *("grafts", "weights", "drift", "directions", "steering", "interpolation", "forget_weights"),
    *("gradients", "forget_trajectory", "leading_layers", "timeline", "tuned_lens", "mlp_changes"),
    *("token_attributions", "attention", "descriptions", "value_vectors", "features"),
    "sensitivity",
)


@pytest.fixture(scope="module")
def full(surveyed, run_results):
    return surveyed(run_results)


def thin(full, table, frame):
    tables = {"facts": full.table("facts"), table: frame}
    return RunResults(name="thin", config={}, manifest={}, tables=tables)


def unmeasured(frame):
    """The same rows with a reason in place of every value."""
    return frame.assign(**{c: None for c in frame if c not in NAMED}).assign(reason=WHY)


def shown(run):
    """Every part that the tables of a run make, each plot drawn."""
    parts = [
        *whole_states(run),
        *mechanism_parts(run),
        *inside_by_fact(run.entity(run.entities[0])),
    ]
    for part in parts_in(parts):
        if isinstance(part, Plot):
            draw(part)
    return parts


@pytest.mark.parametrize("table", CHECKED)
def test_rows_that_are_not_measured_are_told(full, table):
    frame = full.table(table)
    shown(thin(full, table, unmeasured(frame).head(20)))
    fixed = frame[[column for column in frame if column in TABLES[table]]]
    shown(thin(full, table, fixed.tail(1)))
    parts = shown(thin(full, table, fixed))
    assert parts


@pytest.mark.parametrize(
    "table", ["traces", "patches", "attributions", "attention", "token_attributions", "directions"]
)
def test_a_figure_that_cannot_be_drawn_says_why(full, table):
    frame = full.table(table)
    parts = shown(thin(full, table, unmeasured(frame)))
    text = "\n".join(map(to_text, parts))
    assert WHY in text
    assert not any(isinstance(part, Plot) for part in parts_in(parts))


def test_a_column_that_is_missing_is_told_and_is_no_number(full):
    old = full.table("retention").drop(columns="clean_effect")
    run = thin(full, "retention", old)
    assert run.problems == ("the table retention has no column clean_effect",)
    assert all(math.isnan(value) for value in run.table("retention")["clean_effect"])
    assert isinstance(run.retained.by_fact, dict) and isinstance(old, pd.DataFrame)
