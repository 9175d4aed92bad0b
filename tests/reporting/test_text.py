"""Documents as text: whole expected texts, so that a change is read before it is accepted."""

import math

import pytest

from restor_interp.errors import DataError
from restor_interp.reporting.formats import share
from restor_interp.reporting.parts import (
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
from restor_interp.reporting.text import to_text

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
        "Cells or points: 1 not measured (marked ×).",
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
