"""The page on methods: every word, state and instrument of a run, and a link from all pages.

Run: python -m pytest tests/reporting/test_methods_page.py
"""

import math
import re
from dataclasses import replace

import pytest

from restor_interp.errors import DataError
from restor_interp.explain.mechanism import MECHANISMS
from restor_interp.measure.specific import SpecificRule
from restor_interp.reporting import glossary
from restor_interp.reporting.entities import entity_table
from restor_interp.reporting.html import site_files
from restor_interp.reporting.methods_page import instrument_table, methods_page
from restor_interp.reporting.parts import Document, Paragraph, Table, parts_in
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.single_page import single_page
from restor_interp.reporting.text import to_text
from restor_interp.reporting.vocabulary import FATES, OUTCOMES, ROLES, STATE_KINDS


@pytest.fixture(scope="module")
def told(run_results):
    """All that the page says, uncut."""
    page = methods_page(run_results)
    tables = [part for part in parts_in(page.parts) if isinstance(part, Table)]
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    words = [getattr(cell, "text", "") for cell in cells]
    return "\n".join([to_text(page, width=2000), *words])


def test_every_word_of_the_vocabulary_is_explained(told):
    meanings = [sign.meaning for sign in (*FATES.values(), *OUTCOMES.values())]
    missing = [one for one in (*meanings, *ROLES.values()) if one not in told]
    assert missing == []
    assert set(glossary.STATES) == set(STATE_KINDS)
    assert set(glossary.MECHANISMS) == set(MECHANISMS)


def test_what_is_said_of_guessing_is_the_rule(told):
    rule = SpecificRule()
    text = glossary.FACTS["guessable"]
    shares = [int(number) for number in re.findall(r"(\d+)%", text)]
    assert shares == [round(100 * rule.min_right), round(100 * rule.max_guessed)]
    assert text in told


def test_states_and_settings_are_those_of_the_run(run_results, told):
    for state in run_results.states:
        assert state in told
    assert run_results.config["model"] in told
    assert f"{len(run_results.facts)} facts about {len(run_results.entities)} entities" in told


def test_what_sampled_answers_are_cut_at_is_told_also_where_the_style_says_it(run_results):
    def told(**asked):
        config = {**run_results.config, "questions": asked}
        return to_text(methods_page(replace(run_results, config=config)), width=2000)

    whole = {"draws": 3, "temperature": 0.6, "top_p": 0.9}
    assert (
        "3 per question beside the greedy one · temperature 0.6 · top p 0.9 · top k 50 · "
        "min new tokens 2 · max length 200"
    ) in told(**whole, style="paper")
    assert "top k 7 · min new tokens 2 · max length no limit" in told(
        **whole, style="paper", top_k=7, max_length=0
    )
    assert "top k all · min new tokens 0 · max length no limit" in told(**whole, style="sound")
    assert "every answer is the greedy one" in told(style="paper", draws=0)


def test_instruments_say_how_much_they_were_used(run_results):
    rows = {row.cells[0].text: row.cells[2:] for row in instrument_table(run_results).rows}
    traces = run_results.tables["traces"]
    facts, states = rows["Causal tracing"]
    assert facts.value == len(set(traces["fact_id"])) > 0
    assert states.value == len(set(traces["state"])) > 0
    tables = {name: frame for name, frame in run_results.tables.items() if name != "traces"}
    bare = RunResults(name="demo", config={}, manifest={}, tables=tables)
    rows = {row.cells[0].text: row.cells[2:] for row in instrument_table(bare).rows}
    assert not any(hasattr(cell, "value") for cell in rows["Causal tracing"])


def test_all_pages_lead_to_the_methods(make_documents, run_results):
    index, pages = make_documents(run_results, ("Kaká",))
    files = site_files(index, pages)
    for name, data in files.items():
        if name.endswith(".html"):
            root = "../" * name.count("/")
            assert f'<a class="further" href="{root}methods.html"' in data.decode(), name
    assert b'aria-current="page">Methods</a>' in files["methods.html"]
    assert b"aria-current" not in files["index.html"]
    entity = next(data for name, data in files.items() if name.startswith("e/")).decode()
    assert '<p><a href="../index.html">' in entity and '<p><a href="../methods.html">' in entity


def test_a_page_alone_leads_nowhere():
    document = Document("Run", (Paragraph("how", page="methods"), Paragraph("all", page="index")))
    both = replace(document, further=(("methods", Document("Methods")),))
    assert single_page(both) == single_page(document)
    assert b"methods.html" not in single_page(document)


@pytest.mark.parametrize("name", ["index", "../x", "", "Methods", "e/x"])
def test_a_further_page_needs_a_safe_name(name):
    with pytest.raises(DataError, match="further page"):
        site_files(Document("Run", further=((name, Document("x")),)), {})


def test_entities_have_an_accuracy_with_its_interval_and_a_depth(run_results):
    fates = run_results.tables["fates"].copy()
    chosen = (fates["state"] == "npo") & fates["fact_id"].str.startswith("Aaron Burr")
    fates["rds"] = math.nan
    fates.loc[chosen, "rds"] = [0.2, 0.6, *[math.nan] * (chosen.sum() - 2)]
    run = replace(run_results, tables={**run_results.tables, "fates": fates})
    table = entity_table(run)
    titles = [column.title for column in table.columns]
    groups = [column.group for column in table.columns]
    row = next(r.cells for r in table.rows if getattr(r.cells[0], "entity", "") == "Aaron Burr")

    answers = run.tables["answers"].merge(run.tables["facts"][["fact_id", "entity"]])
    own = answers[(answers["entity"] == "Aaron Burr") & (answers["state"] == "corrupted")]
    own = own[own["outcome"].notna()]
    n, share = len(own), float((own["outcome"] == "true").mean())
    cell = row[groups.index("Answers right") + 1]
    middle = (share + 1.96**2 / (2 * n)) / (1 + 1.96**2 / n)  # Wilson (1927), z = 1.96
    half = 1.96 * math.sqrt(share * (1 - share) / n + 1.96**2 / (4 * n * n)) / (1 + 1.96**2 / n)
    assert cell.value == share
    assert (cell.low, cell.high) == pytest.approx((middle - half, middle + half), abs=1e-4)
    shown = cell.n or int(row[titles.index("Facts")].detail.removesuffix(" answers"))
    assert shown == n

    depth = row[groups.index("RDS")]
    assert depth.value == pytest.approx(0.4) and depth.detail == "n=2"
    assert "RDS" not in [column.group for column in entity_table(run_results).columns] or (
        run_results.tables["fates"]["rds"].notna().any()
    )
