"""What a report says of attacks: the hardest version, beside its controls, and what is missing.

Run: python -m pytest tests/reporting/test_lasting_parts.py
"""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from restor_interp.reporting.lasting import lasting_parts
from restor_interp.reporting.parts import Missing, Number, Paragraph


def row(state, attack, metric, value, **changes):
    return {
        "state": state,
        "attack": attack,
        "step": 1,
        "level": 0.0,
        "part": "",
        "role": "lost",
        "metric": metric,
        "value": value,
        "low": None,
        "high": None,
        "n_facts": 12,
        "n_entities": 6,
        "p": None,
        "mde": None,
        "against": "",
        "reason": "" if value is not None else "there are no such facts",
        "note": "",
        **changes,
    }


@pytest.fixture
def parts_of(run_results):
    def parts(rows):
        tables = {**run_results.tables, "lasting": pd.DataFrame(rows)}
        found: Any = lasting_parts(replace(run_results, tables=tables))
        return found

    return parts


ROWS = (
    row("corrupted", "noise", "accuracy", 0.0, step=0),
    row("corrupted", "noise", "accuracy", 0.125, level=0.1),
    row("corrupted", "noise", "accuracy", 0.25, level=0.2, low=0.1, high=0.6),
    row("npo", "noise", "accuracy", 0.5, step=0),
    row("npo", "noise", "accuracy", 0.75, level=0.1),
    row("npo", "noise", "accuracy", None, level=0.2),
    row("npo", "noise", "accuracy_minus_sham", 0.25, level=0.2, low=-0.05, high=0.55, p=0.125),
    row("npo", "noise", "accuracy", 0.9, level=0.2, role="direct"),
)


def test_the_table_shows_the_hardest_version_of_the_lost_facts(parts_of):
    answers, *rest = parts_of(ROWS)
    corrupted, npo = answers.rows
    assert [cell.value for cell in corrupted.cells[1:]] == [0.0, 0.25]
    assert (corrupted.cells[2].low, corrupted.cells[2].high, corrupted.cells[2].n) == (0.1, 0.6, 12)
    assert npo.cells[1] == Number(0.5, percent=True, digits=0, n=12)
    assert npo.cells[2] == Missing("there are no such facts")
    assert answers.columns[2].help == "with noise of 0.2 of each matrix's deviation"
    told = [part.text for part in rest if isinstance(part, Paragraph)]
    assert told == [
        "No attack of this run trains, so no steps are counted.",
        "noise: npo answers +25 points against its sham (95% interval −5 to +55, p = 0.12).",
    ]


def test_an_attack_that_was_not_made_on_a_state_is_said(parts_of):
    answers, *_ = parts_of([*ROWS, row("npo", "quantise_4", "accuracy", 0.4, level=4.0)])
    corrupted, npo = answers.rows
    assert corrupted.cells[3] == Missing("this attack was not made on this state")
    assert npo.cells[3].value == 0.4
    assert answers.columns[3].help == "in 4 bits"


def test_the_trained_half_is_left_out_of_answers_and_shown_as_a_line(parts_of):
    late = "2 of 6 entities did not within 5 steps; selected on the first context"
    rows = [
        one
        for part, value in (("trained", 0.9), ("tested", 0.2))
        for one in (
            row("npo", "relearn_half", "accuracy", value, step=5, part=part),
            row("npo", "relearn_half", "log_p_true", -9.0, step=0, part=part),
            row("npo", "relearn_half", "log_p_true", -1.0, step=5, part=part),
            row("npo", "relearn_half", "steps_to_recover", 4.5, step=5, part=part, note=late),
        )
    ]
    answers, recovery, lines = parts_of(rows)
    assert [column.title for column in answers.columns] == [
        "State", "Before", "relearn_half (tested half)",
    ]  # fmt: skip
    assert answers.rows[0].cells[2].value == 0.2
    steps = recovery.rows[0].cells[1]
    assert (steps.value, steps.detail) == (4.5, "2 of 6 entities did not within 5 steps")
    assert [panel.name for panel in lines.panels] == [
        "relearn_half (trained half): log_p_true",
        "relearn_half (tested half): log_p_true",
    ]
    (line,) = lines.panels[1].series
    assert (line.x, line.y, line.n) == ((0.0, 5.0), (-9.0, -1.0), 12)


def test_where_nothing_was_lost_all_planted_facts_are_shown(parts_of):
    rows = [
        row("npo", "noise", "accuracy", None, level=0.2, n_facts=0),
        row("npo", "noise", "accuracy", 0.9, level=0.2, role="direct"),
    ]
    answers, *_ = parts_of(rows)
    assert answers.rows[0].cells[2].value == 0.9
    assert "facts with a planted falsehood" in answers.caption


def test_a_run_without_attacks_says_nothing(run_results, reports):
    assert lasting_parts(run_results) == ()
    titles = [section.title for section in _sections(reports["overview"].run(run_results))]
    assert "Does it last?" not in titles


def test_the_first_page_has_the_section(run_results, reports):
    run = replace(run_results, tables={**run_results.tables, "lasting": pd.DataFrame(ROWS)})
    titles = [section.title for section in _sections(reports["overview"].run(run))]
    assert "Does it last?" in titles


def _sections(document):
    return [part for part in document.parts if hasattr(part, "title") and hasattr(part, "parts")]
