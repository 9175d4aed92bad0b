"""Documents as text: whole expected texts, so that a change is read before it is accepted."""

import math

import pandas as pd
import pytest

from restor_interp.errors import DataError
from restor_interp.reporting.formats import share
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Bars,
    Callout,
    Code,
    Column,
    Details,
    Document,
    Empty,
    Heatmaps,
    KeyValues,
    Legend,
    LinePanel,
    Lines,
    Mark,
    Number,
    Panel,
    Paragraph,
    Row,
    Section,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.text import summary_text, to_text

DOCUMENT = Document(
    "Aaron Burr",
    (
        Callout("Corruption took 4 of 5 facts.", tone="verdict"),
        Section(
            "Facts",
            (
                Table(
                    (Column("Question"), Column("npo"), Column("Restored"), Column("p")),
                    (
                        Row((Text("Born?"), Mark("true", "Newark"), share(1, 2), Number(0.5, n=3))),
                        Row(
                            (Text("Died?\x1b[2J"), Mark("false", "Rome"), share(0, 0), Number(None))
                        ),
                    ),
                    caption="Two facts.",
                ),
                Legend(("true",)),
                Empty("No probe was fitted.", "restor-interp run demo"),
            ),
            intro="Click.",
        ),
        Details("Inside", (Paragraph("Deep."), KeyValues((("seed", "0"),)))),
        Code("a\nb"),
    ),
    subtitle="2 facts",
)


def test_a_document_as_text():
    assert to_text(DOCUMENT) == "\n".join(
        [
            "Aaron Burr",
            "==========",
            "2 facts",
            "",
            "Corruption took 4 of 5 facts.",
            "",
            "Facts",
            "-----",
            "Click.",
            "",
            "Two facts.",
            "Question          npo       Restored     p",
            "----------------  --------  -----------  --------",
            "Born?             ✓ Newark  1/2 [9–91%]  0.50 n=3",
            "Died?⟨U+001B⟩[2J  ✗ Rome    0/0          ×",
            "",
            "✓ true: the answer is right",
            "",
            "No probe was fitted. Add it with: restor-interp run demo",
            "",
            "",
            "▸ Inside",
            "  Deep.",
            "  seed: 0",
            "",
            "    a",
            "    b",
        ]
    )


def test_plots_become_tables_of_their_numbers():
    heat = Heatmaps(
        title="Tracing", panels=(Panel("clean", ((0.125, math.nan), (1.0, 2.0))),),
        rows=("0", "1"), columns=(" the", " the"), row_title="layer", column_title="token",
        value_title="p", caption="Largest at layer 1.",
    )  # fmt: skip
    assert to_text(heat).splitlines() == [
        "Tracing", "Largest at layer 1.", "[clean]",
        "layer   the   the", "-----  ----  ----",
        "1      1.00  2.00", "0      0.12  ×",
        "Cells: 1 not measured (marked ×).",
    ]  # fmt: skip
    lines = Lines(
        title="States", x_title="state", y_title="p", caption="True leads.",
        x_labels=("clean", "npo"),
        panels=(LinePanel("", (Series(name="true", x=(0, 1), y=(0.5, 0.25)),
                               Series(name="false", x=(1,), y=(0.125,)))),),
    )  # fmt: skip
    assert to_text(lines).splitlines() == [
        "States", "True leads.", "[p]",
        "state  true  false", "-----  ----  -----", "clean  0.5", "npo    0.25  0.125",
    ]  # fmt: skip
    bars = Bars(title="Fates", categories=("npo",), segments=(("restored", (3,)),),
                value_title="facts", caption="Three.")  # fmt: skip
    assert to_text(bars).splitlines() == [
        "Fates", "Three.", "     restored", "---  --------", "npo  3",
    ]  # fmt: skip


def test_tables_refuse_ragged_rows():
    with pytest.raises(DataError, match="2 columns got a row of 1"):
        Table((Column("a"), Column("b")), (Row((Text("x"),)),))


def test_the_summary_of_a_run_is_one_narrow_table_and_a_verdict(run_results):
    text = summary_text(run_results)
    table, note, verdict = text.split("\n\n")
    lines = table.splitlines()
    assert lines[1].split() == [
        "state", "p(false)", "direct", "untouched", "[95%]", "guessed", "false", "forgotten",
        "lost", "[95%]",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[3:]] == list(run_results.states)
    assert max(map(len, text.splitlines())) <= 110
    npo = next(line for line in lines if line.startswith("npo "))
    assert npo.split() == [
        "npo", "0.020", "75%", "76%", "28", "68%", "[53–80]", "5", "3", "5", "0", "+34",
    ]  # fmt: skip
    assert note.startswith("restored … still lost: of 41 facts")
    said = verdict.replace("\n", " ")
    assert said.startswith("Corruption took 41 facts") and "its sham: +34 points" in said


def test_a_summary_stays_narrow_with_long_names_and_shows_no_control_characters(make_run):
    run = make_run()
    longest = {"npo": "a_method_with_a_very_long_name\x1b[2J", "sham_npo": "sham_npo"}
    tables = {
        name: frame.assign(state=frame["state"].replace(longest)) if "state" in frame else frame
        for name, frame in run.tables.items()
    }
    summary = pd.DataFrame(
        [{"state": "grad_diff", "role": "direct", "metric": "restored_minus_sham", "value": -1.0,
          "low": -1.0, "high": 1.0, "n_facts": 41, "n_entities": 8, "mde": 1.0, "p": 0.0001}]
    )  # fmt: skip
    named = RunResults(name="r", config={}, manifest={}, tables={**tables, "summary": summary})
    text = summary_text(named)
    assert max(map(len, text.splitlines())) <= 110
    assert "\x1b" not in text and "−100 [−100, 100]" in text
    assert "grad_diff p < 0.001, mde 100" in text.replace("\n", " ")


def test_a_run_without_answers_or_fates_still_has_a_summary(run_results):
    bare = {"facts": run_results.table("facts"), "choices": run_results.table("choices")}
    text = summary_text(RunResults(name="r", config={}, manifest={}, tables=bare))
    assert "No method has been judged." in text and "0.202" in text


def test_bars_with_controls_and_points_are_tables_without_loss():
    bars = Amounts(
        title="Grafts",
        panels=(
            AmountPanel(
                "npo", (Amount("mlp", 0.5, control=0.1, low=0.0, high=0.3), Amount("x", -1))
            ),
        ),
        value_title="share",
        caption="Most: mlp.",
        low_words="away",
        high_words="towards",
        control_words="random",
    )
    assert to_text(bars).splitlines() == [
        "Grafts", "Most: mlp.", "[npo]",
        "     share  random", "---  -----  ------  --------",
        "mlp  0.5    0.1     0 to 0.3", "x    −1",
    ]  # fmt: skip
    sample = Series(name="cell", x=(0.5, 0.5), y=(1.0, 2.0), joined=False)
    points = Lines(
        title="T", panels=(LinePanel("", (sample,)),), x_title="x", y_title="y", caption="C."
    )
    assert to_text(points).splitlines()[-2:] == ["cell  0.5  1", "cell  0.5  2"]
