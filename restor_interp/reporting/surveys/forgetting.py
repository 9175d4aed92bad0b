"""Forgetting: which tokens of its documents a method's loss pulls at, and how far they went."""

import math
from collections.abc import Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import percent, plain, plural, signed
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Cell,
    Column,
    LinePanel,
    Lines,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Series,
    Table,
    Text,
)
from restor_interp.reporting.rows import RowOf, grouped, number, reasons
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

CLASSES = {
    "false_object": "the false object",
    "rest_of_claim": "the rest of its sentence",
    "other": "everything else",
}
_ALL = "all"


def forget_weight_parts(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """Share of the weight beside share of the tokens, before and after; then the numbers."""
    if not rows:
        return ()
    panels, told = [], []
    for name, own in _moments(rows).items():
        classes = {row["token_class"]: row for row in own}
        bars = [
            Amount(words, number(row["weight_share"]), control=_or_none(row.get("n_share")))
            for key, words in CLASSES.items()
            if (row := classes.get(key)) is not None and math.isfinite(number(row["weight_share"]))
        ]
        if not bars:
            continue
        panels.append(AmountPanel(name, tuple(bars)))
        false = classes.get("false_object")
        if false is not None:
            share = percent(number(false["weight_share"]))
            told.append(f"{name} {share}% for {percent(number(false.get('n_share')))}% of tokens")
    parts: list[Part] = []
    if panels:
        parts.append(
            Amounts(
                title="Which tokens of the documents the loss pulls at",
                panels=tuple(panels),
                value_title="share of the weight",
                caption="The tokens of a false object are what has to go; weight elsewhere is "
                f"spent on damage. False objects: {'; '.join(told) or 'not among the tokens'}.",
                low_words="",
                high_words="more of the weight",
                control_words="share of the tokens",
            )
        )
    return (*parts, _table(rows), *_left_out(rows))


def forgetting_in_short(rows: Sequence[RowOf]) -> str:
    """How much of the weight the false objects have at the end, beside their share of tokens."""
    own = grouped((row for row in rows if row["token_class"] == "false_object"), "state")
    told = []
    for state in order_states(state for (state,) in own):
        last = max(own[state,], key=lambda row: number(row["step"]))
        if math.isfinite(number(last["weight_share"])):
            of = percent(number(last.get("n_share")))
            told.append(f"{state} {percent(number(last['weight_share']))}% for {of}% of tokens")
    return f"weight on false objects at the end: {', '.join(told)}" if told else ""


def _moments(rows: Sequence[RowOf]) -> dict[str, list[RowOf]]:
    """`npo, before` and `npo, after 30 steps` -> the rows of each."""
    groups = grouped(rows, "state", "step")
    states = order_states(state for state, _ in groups)
    order = sorted(groups, key=lambda key: (states.index(key[0]), key[1]))
    return {f"{state}, {_when(step)}": groups[state, step] for state, step in order}


def _when(step: float) -> str:
    return f"after {plural(int(step), 'step')}" if step else "before"


def _table(rows: Sequence[RowOf]) -> Table:
    columns = (
        Column("State and moment"),
        Column("Tokens"),
        Column("Number", help="predicted tokens of the sampled documents"),
        Column("Mean weight", help="1: gradient ascent; −1: learning"),
        Column("Weight", help="of all weight, in absolute numbers", group="Share"),
        Column("Pull", help="of the squared gradient at the logits", group="Share"),
        Column("Accounted", help="share of the gradient that a weight per token accounts for"),
        Column("Forgotten", help="fall of log p since the start, nats per token"),
    )
    lines = [
        Row(
            (
                Text(name),
                Text(CLASSES.get(row["token_class"], "all tokens")),
                _cell(row, "n", digits=0),
                _cell(row, "weight_mean"),
                _cell(row, "weight_share", percent=True),
                _cell(row, "pull_share", percent=True),
                _cell(row, "along"),
                _cell(row, "d_mean"),
            ),
            group=f"{block(row['state'])} {name}",
        )
        for name, own in _moments(rows).items()
        for row in own
    ]
    told = [
        f"{name} {signed(number(row.get('d_mean')))}"
        for name, own in _moments(rows).items()
        for row in own
        if row["token_class"] == _ALL and row["step"]
    ]
    return Table(
        columns,
        tuple(lines),
        caption="Weights by class of token. Forgotten over all tokens, nats per token: "
        f"{'; '.join(told) or 'not measured'}.",
    )


def _cell(row: RowOf, column: str, *, digits: int = 2, percent: bool = False) -> Cell:
    value = number(row.get(column))
    if not math.isfinite(value):
        return Missing(reasons([row]))
    return Number(value, digits=0 if percent else digits, percent=percent)


def _or_none(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _left_out(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    why = reasons(rows)
    return (Paragraph(f"Not measured: {why}.", quiet=True),) if why else ()


def trajectory_lines(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """How far each step's documents were forgotten before it, a line per state."""
    own = grouped(rows, "state")
    lines, told = [], []
    for state in order_states(state for (state,) in own):
        values = by_layer(own[state,], "d", along="step")
        if values:
            xs, ys = tuple(values), tuple(values.values())
            lines.append(Series(name=state, x=xs, y=ys, look=state))
            told.append(f"{state} {signed(ys[-1])} at step {xs[-1]:g}, most {plain(max(ys))}")
    if not lines:
        return _left_out(rows)
    return (
        Lines(
            title="How far the documents are forgotten, step by step",
            panels=(LinePanel("", tuple(lines)),),
            x_title="step",
            y_title="fall of log p, nats per token",
            caption="Against the same documents in the state that training started from: "
            f"{'; '.join(told)}.",
        ),
        *_left_out(rows),
    )
