"""Two sides beside each other: differences and their intervals against a second computation.

Run: python -m pytest tests/reporting/test_comparing.py
"""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from restor_interp.errors import ConfigError
from restor_interp.reporting.comparing import compare_methods, compare_runs
from restor_interp.reporting.comparison_parts import (
    changed_fates,
    compared_numbers,
    difference_cell,
    is_apart,
    side_cell,
)
from restor_interp.reporting.counts import fate_counts
from restor_interp.reporting.formats import cell_text
from restor_interp.reporting.parts import Mark
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.text import to_text


def with_summary(run):
    """A made-up run with the numbers of accuracy in its table `summary`."""
    rows = []
    facts = run.table("facts").set_index("fact_id")
    answers = run.table("answers").join(facts["role"], on="fact_id")
    for (state, role), own in answers.groupby(["state", "role"]):
        value = own.groupby("fact_id")["outcome"].apply(lambda o: o.eq("true").mean()).mean()
        blank = {"low": None, "high": None, "n_facts": 1, "n_entities": 1, "mde": None}
        rows.append({"state": state, "role": role, "metric": "accuracy", "value": value, **blank})
        rows.append(
            {"state": state, "role": role, "metric": "recovered_fraction", "value": 0.5, **blank}
        )
    return RunResults(
        name=run.name, config=run.config, manifest=run.manifest,
        tables={**run.tables, "summary": pd.DataFrame(rows)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def sides(make_run):
    return with_summary(make_run(seed=0, name="one")), with_summary(make_run(seed=1, name="two"))


def per_entity(run, state, role):
    facts = run.table("facts")
    chosen = facts.loc[facts["role"].eq(role)].set_index("fact_id")["entity"]
    answers = run.table("answers")
    own = answers.loc[answers["state"].eq(state) & answers["fact_id"].isin(chosen.index)]
    right = own.groupby("fact_id")["outcome"].apply(lambda o: o.eq("true").mean())
    return right, chosen


def test_a_difference_is_paired_by_fact_and_its_interval_over_entities(sides):
    found = compare_runs(*sides, states=["npo"])
    (difference,) = [
        d for d in found.differences if (d.role, d.metric) == ("untouched", "accuracy")
    ]
    (first, entities), (second, _) = (per_entity(run, "npo", "untouched") for run in sides)
    shared = first.index.intersection(second.index)
    means = (second[shared] - first[shared]).groupby(entities[shared]).mean()
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert difference.value == pytest.approx(means.mean())
    assert (difference.paired.low, difference.paired.high) == pytest.approx(tuple(interval))
    assert difference.paired.n_entities == len(means)


def test_what_is_no_mean_over_facts_has_no_interval_and_says_so(sides):
    found = compare_runs(*sides)
    (difference,) = [
        d for d in found.differences
        if (d.label, d.role, d.metric) == ("npo", "direct", "recovered_fraction")
    ]  # fmt: skip
    assert difference.paired is None and difference.value == 0
    assert "no interval" in difference.reason


def test_a_run_against_itself_differs_in_nothing(sides):
    found = compare_runs(sides[0], dataclasses.replace(sides[0]))
    assert not found.fate_changes and not found.settings
    assert all(d.value == 0 for d in found.differences)
    assert "0 of" in to_text(found_document(found))


def found_document(found):
    from restor_interp.definitions import find_definition

    return find_definition("report", "compare").run(found)


def test_changed_fates_are_those_of_the_two_tables(sides):
    found = compare_runs(*sides, states=["npo"])
    own, other = (
        run.table("fates").query("state == 'npo'").set_index("fact_id")["fate"].dropna()
        for run in sides
    )
    shared = own.index.intersection(other.index)
    expected = {key for key in shared if own[key] != other[key]}
    assert expected and {c.fact["fact_id"] for c in found.fate_changes} == expected
    assert found.shared_fates("npo") == len(shared)
    text = to_text(found_document(found))
    assert f"npo {len(expected)} of {len(shared)} facts" in text


def test_settings_that_differ_are_listed(sides):
    found = compare_runs(*sides)
    assert ("seed", "0", "1") in found.settings
    assert not any(key.startswith("data.") for key, _, _ in found.settings)
    bare, set_ = (
        dataclasses.replace(sides[0], config={**sides[0].config, "judge": judge})
        for judge in ({}, {"model": "x"})
    )
    assert compare_runs(bare, set_).settings == (("judge.model", "—", "x"),)


def test_two_methods_are_compared_within_one_run(sides):
    run = sides[0]
    found = compare_methods(run, "npo", "grad_diff")
    assert [pair.label for pair in found.pairs] == ["npo, grad_diff"]  # it has one sham alone
    (difference,) = [d for d in found.differences if (d.role, d.metric) == ("direct", "accuracy")]
    (first, entities), (second, _) = (
        per_entity(run, state, "direct") for state in ("npo", "grad_diff")
    )
    means = (second - first).groupby(entities).mean()
    assert difference.value == pytest.approx(means.mean())
    assert math.isfinite(difference.paired.low) and np.sign(difference.value) in (-1, 0, 1)


def test_what_cannot_be_compared_is_refused(sides):
    with pytest.raises(ConfigError, match="Did you mean npo"):
        compare_runs(*sides, states=["nqo"])
    with pytest.raises(ConfigError, match="there is no state of one"):
        compare_methods(sides[0], "npo", "gradient")


def test_a_small_difference_is_not_written_as_none(sides):
    (found,) = [
        d for d in compare_runs(*sides, states=["npo"]).differences
        if (d.role, d.metric) == ("untouched", "accuracy")
    ]  # fmt: skip
    paired = dataclasses.replace(found.paired, value=0.00123, low=0.0004, high=0.0021)
    small = dataclasses.replace(found, paired=paired)
    assert is_apart(small) and cell_text(difference_cell(small)) == "+0.0012 [+0.0004 to +0.0021]"
    none = dataclasses.replace(paired, value=0.0, low=math.nan, high=math.nan)
    assert cell_text(difference_cell(dataclasses.replace(found, paired=none))) == "0.00"
    rounding = dataclasses.replace(paired, value=2e-7, low=-3e-7, high=4e-7)
    assert "0.000" not in cell_text(difference_cell(dataclasses.replace(found, paired=rounding)))


def test_no_probability_is_above_1():
    row = {"value": 0.5, "low": 0.1, "high": 31.2}
    assert side_cell({**row, "metric": "p_false"}).high == 1.0
    assert side_cell({**row, "metric": "n_lost"}).high == 31.2


def test_a_single_pair_needs_no_column_and_the_fates_that_differ_have_a_legend(sides):
    within, both = compare_methods(sides[0], "npo", "grad_diff"), compare_runs(*sides)
    for found, states in ((within, []), (both, ["State"])):
        (numbers,) = compared_numbers(found)
        table, legend = changed_fates(found)
        for one in (numbers, table):
            assert [c.title for c in one.columns if c.title in ("State", "States")] == states
        met = {cell.name for row in table.rows for cell in row.cells if isinstance(cell, Mark)}
        assert set(legend.names) == met != set()


def test_the_facts_of_a_fate_are_those_that_the_report_counts(sides):
    found = compare_runs(sides[0], dataclasses.replace(sides[0]), states=["npo"])
    own = found._per_fact(0, "npo", "direct", "restored")
    counts = fate_counts(sides[0], "npo")
    assert len(own) == counts.lost and sum(own.values()) == counts.of("restored")
