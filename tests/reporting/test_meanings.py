"""Every heading and every state of a report's tables is explained below its own table.

Run: python -m pytest tests/reporting/test_meanings.py
"""

import pytest

from restor_interp.reporting import glossary
from restor_interp.reporting.html import site_files
from restor_interp.reporting.meanings import meaning_of, table_words, unexplained
from restor_interp.reporting.parts import Column, Document, Number, Row, Table, Text, parts_in
from restor_interp.reporting.vocabulary import FATES, OUTCOMES, ROLES


@pytest.fixture(scope="module")
def tables(surveyed, run_results, make_documents):
    """Every table of the first page and of the entity that all instruments looked at."""
    index, pages = make_documents(surveyed(run_results), ("Aaron Burr",))
    documents = (index, *pages.values(), *(page for _, page in index.further))
    return [p for one in documents for p in parts_in(one.parts) if isinstance(p, Table)]


def test_no_heading_of_a_report_is_left_unexplained(tables):
    assert len(tables) > 20
    missing = {title for table in tables for title in unexplained(table)}
    assert missing == set()


def test_every_state_mechanism_and_role_in_a_cell_is_explained(tables, run_results):
    checked = 0
    for table in tables:
        heads = [column.title for column in table.columns]
        if "State" not in heads or "What it is" in heads:
            continue
        told = ", ".join(words for words, _ in table_words(table)).split(", ")
        at = heads.index("State")
        states = {row.cells[at].text for row in table.rows} & set(run_results.states)
        assert states <= set(told), heads
        checked += len(states)
    assert checked > 20


def test_words_with_one_meaning_share_a_line_and_help_comes_first():
    columns = (
        Column("State"), Column("restored", help="only here", group="Of lost"), Column("mde"),
        Column("mine"), Column("npo", help="a share", group="Right"),
        Column("ga", help="a share", group="Right"),
    )  # fmt: skip
    rows = tuple(
        Row((Text(state), *(Number(1.0) for _ in columns[1:])))
        for state in ("sham_npo", "sham_ga", "npo")
    )
    assert table_words(Table(columns, rows)) == (
        ("State", glossary.HEADS["state"]),
        ("Of lost: restored", "only here"),
        ("mde", glossary.NUMBERS["mde"]),
        ("Right: npo, ga", "a share"),
        ("sham_npo, sham_ga", glossary.STATES["sham"]),
        ("npo", glossary.STATES["method"]),
    )
    assert unexplained(Table(columns, rows)) == ["mine"]


def test_the_vocabulary_is_found_by_its_words():
    for sign in (*OUTCOMES.values(), *FATES.values()):
        assert meaning_of(sign.word.upper()) == sign.meaning
    assert meaning_of("p(true)") == glossary.NUMBERS["p(false), p(true)"]
    assert meaning_of("rollback_0.5") == glossary.STATES["rollback"]
    assert meaning_of("sibling") == ROLES["sibling"]
    assert meaning_of("a word of one's own") == "" == meaning_of("")


def test_a_glossary_has_no_glossary_and_words_are_escaped():
    word = "<img src=x onerror=alert(1)>"
    table = Table((Column(word, help=word),), (Row((Text(word),)),))
    page = site_files(Document("One", (table,)), {})["index.html"].decode()
    assert "What the words mean" in page and "<img" not in page
    assert table_words(Table((Column("State"), Column("What it is")), ())) == ()


def test_words_that_stand_on_the_page_already_are_linked():
    tables = tuple(
        Table((Column(title),), (Row((Text("x"),)),)) for title in ("mde", "mde", "mine", "nat")
    )
    page = site_files(Document("One", tables), {})["index.html"].decode()
    assert page.count('<details class="words"') == 2 and page.count('<a href="#w1">') == 1
    assert 'id="w1"' in page and 'id="w2"' in page and 'id="w3"' not in page
