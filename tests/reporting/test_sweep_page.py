"""The page of a sweep: what a choice is worth, every trial, two methods at equal forgetting.

Run: python -m pytest tests/reporting/test_sweep_page.py
"""

import json
from dataclasses import replace

import pandas as pd
import pytest

from restor_interp.reporting.frontier import frontier
from restor_interp.reporting.html import site_files
from restor_interp.reporting.parts import Document, Lines, Paragraph, Table, parts_in
from restor_interp.reporting.sweep_page import sweep_page, sweep_pages
from restor_interp.reporting.text import to_text


@pytest.fixture(scope="module")
def swept(run_results):
    """Two methods of the synthetic run as if they were trials of a sweep, with planted choices."""
    trials = [
        {"state": state, "method": method, "number": number, "settings": settings,
         "training": json.dumps({"steps": 9, "epochs": None})}
        for method, state, number, settings in (
            ("npo", "npo", 1, '{"beta": 0.2}'), ("ga", "grad_diff", 1, "{}"),
        )
    ]  # fmt: skip
    chosen = [
        {"method": method, "label": label, "half": half, "chosen": state, "reason": reason,
         "value_selected": -0.4, "value_scored": -0.7, "low": -1.0, "high": -0.5,
         "restored_scored": share, "log_p_false": -3.0, "utility": 0.9, "n_entities": 6}
        for method, label, state, share, reason in (
            ("npo", "blind", "npo", 0.25, "the lowest is taken"),
            ("npo", "oracle", "npo", 0.5, ""),
            ("ga", "blind", None, None, "no trial keeps untouched facts within the bound"),
        )
        for half in ("A", "both")
    ]  # fmt: skip
    equal = [
        {"first": "npo", "second": "ga", "by": "log_p_false", "level": -2.0, "metric": "accuracy",
         "value": 0.125, "low": 0.05, "high": 0.2, "p": 0.03, "n_facts": 12, "reason": ""},
        {"first": "npo", "second": "ga", "by": "forget_nll", "level": None, "metric": None,
         "value": None, "low": None, "high": None, "p": None, "n_facts": 0,
         "reason": "the trials of npo and ga share no level of forget_nll"},
    ]  # fmt: skip
    frames = {"trials": trials, "selection": chosen, "equal_forgetting": equal}
    tables = {name: pd.DataFrame(rows) for name, rows in frames.items()}
    return replace(run_results, tables={**run_results.tables, **tables})


def test_what_a_choice_is_worth_stands_first_and_is_that_of_both_halves(swept):
    told = to_text(sweep_page(swept), width=400)
    assert "npo 25% by the trial chosen without the truth, 50% by the trial chosen with the" in told
    assert "ga (blind): no trial keeps untouched facts within the bound." in told
    assert "beta=0.2" in told and "steps=9" in told and "epochs" not in told
    assert "+12%" in told and "the trials of npo and ga share no" in told
    assert "loss on the false documents" in told and "forget_nll" not in told


def test_every_column_says_what_it_is_and_the_page_leads_on(swept):
    parts = list(parts_in(sweep_page(swept).parts))
    tables = [part for part in parts if isinstance(part, Table)]
    assert len(tables) == 3
    assert [c.title for t in tables for c in t.columns if not c.help and c.title != "Method"] == []
    first = frontier(swept)
    assert [type(part) for part in first] == [Lines, Paragraph] and first[1].page == "sweep"
    files = site_files(Document("Run", first, further=sweep_pages(swept)), {})
    assert b'href="sweep.html"' in files["index.html"] and b"<h1><bdi>Sweep" in files["sweep.html"]


def test_a_run_without_trials_has_no_such_page(run_results):
    assert sweep_pages(run_results) == () and frontier(run_results) == ()
