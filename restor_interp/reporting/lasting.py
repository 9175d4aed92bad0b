"""Does it last? Every state after every attack, methods beside their controls."""

from collections.abc import Sequence
from typing import Any

from restor_interp.reporting.formats import p_text, plural, signed
from restor_interp.reporting.parts import (
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
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.vocabulary import is_control, order_states

Rows = list[dict[str, Any]]

TRAINED = "trained"
"""The part of a split that was trained on: what it answers says nothing about lasting."""


def lasting_parts(run: RunResults) -> tuple[Part, ...]:
    """A table of answers, one of differences to shams, and lines over steps of training.

    Nothing where no attack was made.
    """
    if not run.has("lasting"):
        return ()
    rows = [row for row in records(run.table("lasting")) if row["part"] != TRAINED]
    role = _role(rows)
    chosen = [row for row in rows if row["role"] == role]
    parts: list[Part] = [_answers(chosen, role), _recovery(chosen)]
    return (*parts, *_beyond_sham(chosen), *_curves(records(run.table("lasting")), role))


def _role(rows: Rows) -> str:
    """The lost facts, where any were lost; else all with a planted falsehood."""
    lost = any(row["role"] == "lost" and row["n_facts"] for row in rows)
    return "lost" if lost else "direct"


_WHAT = {
    "lost": "facts that the clean model knew and that corruption took",
    "direct": "facts with a planted falsehood",
}


def _last(rows: Rows) -> dict[str, Any] | None:
    """The row of the hardest version of an attack."""
    return max(rows, key=lambda row: (row["step"], row["level"]), default=None)


def _attacks(rows: Rows) -> list[tuple[str, str]]:
    """(attack, part), in the order of the table."""
    return list(dict.fromkeys((row["attack"], row["part"]) for row in rows))


def _own(rows: Rows, state: str, attack: tuple[str, str], metric: str) -> Rows:
    return [
        row
        for row in rows
        if row["state"] == state
        and (row["attack"], row["part"]) == attack
        and row["metric"] == metric
    ]


def _number(row: dict[str, Any] | None, **look: Any) -> Cell:
    if row is None:
        return Missing("this attack was not made on this state")
    if row["value"] is None:
        return Missing(row["reason"] or "not measured")
    return Number(float(row["value"]), low=row["low"], high=row["high"], n=row["n_facts"], **look)


# ---- what is answered


def _answers(rows: Rows, role: str) -> Table:
    attacks = _attacks(rows)
    lines = []
    for state in order_states(row["state"] for row in rows):
        own = [row for row in rows if row["state"] == state and row["metric"] == "accuracy"]
        before = [row for row in own if row["step"] == 0]
        whole = [row for row in before if not row["part"]] or before
        cells: list[Cell] = [
            Text(state),
            _number(_last(whole), percent=True, digits=0),
        ]
        cells += [
            _number(_last(_own(rows, state, one, "accuracy")), percent=True, digits=0)
            for one in attacks
        ]
        lines.append(Row(tuple(cells)))
    return Table(
        (
            Column("State"),
            Column("Before"),
            *(
                Column(_title(one), help=_hardest(rows, one), group="Right after the attack")
                for one in attacks
            ),
        ),
        tuple(lines),
        caption=f"Answers right before and after every attack (its last step, its highest level), "
        f"of {_WHAT[role]}. What an attack does to the corrupted state and to a sham it does "
        "without any unlearning.",
    )


def _title(attack: tuple[str, str]) -> str:
    name, part = attack
    return f"{name} ({part} half)" if part else name


def _hardest(rows: Rows, attack: tuple[str, str]) -> str:
    last = _last([row for row in rows if (row["attack"], row["part"]) == attack])
    if last is None or not last["step"]:
        return ""
    if last["level"]:
        noise = f"with noise of {last['level']:g} of each matrix's deviation"
        return noise if attack[0] == "noise" else f"in {last['level']:g} bits"
    return f"after {plural(int(last['step']), 'step')}" if last["step"] > 1 else ""


# ---- how soon it is back


def _recovery(rows: Rows) -> Part:
    found = [row for row in rows if row["metric"] == "steps_to_recover"]
    attacks = _attacks(found)
    if not attacks:
        return Paragraph("No attack of this run trains, so no steps are counted.", quiet=True)
    lines = []
    for state in order_states(row["state"] for row in found):
        cells: list[Cell] = [Text(state)]
        for one in attacks:
            row = _last(_own(found, state, one, "steps_to_recover"))
            cells.append(_number(row, digits=1, detail=_late(row)))
        lines.append(Row(tuple(cells)))
    return Table(
        (Column("State"), *(Column(_title(one), group="Steps to recover") for one in attacks)),
        tuple(lines),
        caption="Training steps until the falsehood is as likely as in the corrupted state "
        "(relearn_false), or the truth as in the clean one (relearn_truth, relearn_half), within "
        "a factor of two; mean over entities. Fewer steps than the clean model needs to learn the "
        "falsehood mean that it was hidden, not removed.",
    )


def _late(row: dict[str, Any] | None) -> str:
    """How many entities did not recover, where some did not."""
    note = str((row or {}).get("note") or "").partition(";")[0]
    return note if "entities did not" in note else ""


def _beyond_sham(rows: Rows) -> tuple[Part, ...]:
    """A sentence per method and attack whose difference to the sham is known."""
    told = []
    for state in order_states(row["state"] for row in rows):
        if is_control(state):
            continue
        for one in _attacks(rows):
            row = _last(_own(rows, state, one, "accuracy_minus_sham"))
            if row is not None and row["low"] is not None and row["high"] is not None:
                told.append(
                    f"{_title(one)}: {state} answers {signed(100 * row['value'], 0)} points "
                    f"against its sham (95% interval {signed(100 * row['low'], 0)} to "
                    f"{signed(100 * row['high'], 0)}, {p_text(row['p'])})."
                )
    return tuple(Paragraph(text) for text in told)


# ---- over steps


def _curves(rows: Rows, role: str) -> tuple[Part, ...]:
    panels = []
    for attack in _attacks([row for row in rows if row["metric"] == "steps_to_recover"]):
        metric = "log_p_false" if attack[0] == "relearn_false" else "log_p_true"
        series = []
        for state in order_states(row["state"] for row in rows):
            own = [
                row
                for row in _own(rows, state, attack, metric)
                if row["role"] == role and row["value"] is not None
            ]
            own.sort(key=lambda row: row["step"])
            if own:
                series.append(_line(state, own))
        if series:
            panels.append(LinePanel(f"{_title(attack)}: {metric}", tuple(series)))
    if not panels:
        return ()
    return (
        Lines(
            title="Relearning, step by step",
            panels=tuple(panels),
            x_title="steps of training",
            y_title="log-probability, nats",
            caption=f"The object that an attack brings back, of {_WHAT[role]}; mean over entities. "
            "A state whose line starts low and rises like the clean model's has lost what it was "
            "made to forget.",
        ),
    )


def _line(state: str, rows: Sequence[dict[str, Any]]) -> Series:
    return Series(
        name=state,
        x=tuple(row["step"] for row in rows),
        y=tuple(row["value"] for row in rows),
        look=state,
        n=int(rows[0]["n_facts"]),
    )
