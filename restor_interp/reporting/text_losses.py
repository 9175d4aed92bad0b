"""How well every state still predicts sets of texts: perplexity beside the clean and the corrupted
state's."""

import math

from restor_interp.reporting.formats import plain, signed
from restor_interp.reporting.parts import Cell, Column, Missing, Number, Part, Row, Table, Text
from restor_interp.reporting.reasons import common_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import RowOf, number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

LIMITS = "Texts that are predicted as well as before do not say that the facts in them are known."


def text_table(run: RunResults) -> tuple[Part, ...]:
    """A row per state, a column per set: perplexity, below it how the loss changed since clean."""
    rows = records(run.table("texts"), text_id="")
    if not rows:
        return ()
    own = {(row["set"], row["state"]): row for row in rows}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    states = order_states(row["state"] for row in rows)
    lines = [
        Row(
            (
                Text(state),
                *(_cell(own.get((name, state)), own.get((name, "clean"))) for name in sets),
            ),
            group=block(state),
        )
        for state in states
    ]
    told = []
    for name in sets:
        known = {s: number(own[name, s]["perplexity"]) for s in states if (name, s) in own}
        known = {state: value for state, value in known.items() if math.isfinite(value)}
        if known:
            worst = max(known, key=lambda state: known[state])
            told.append(f"{name} at most {plain(known[worst], 1)} ({worst})")
    return (
        Table(
            (Column("State"), *(Column(str(name), group="Perplexity") for name in sets)),
            tuple(lines),
            caption=f"Perplexity of whole sets of texts: {'; '.join(told) or 'not measured'}. "
            f"Below: nats per token since the clean state. {LIMITS}",
        ),
    )


def _cell(row: RowOf | None, clean: RowOf | None) -> Cell:
    if row is None:
        return Missing("not scored")
    value = number(row["perplexity"])
    if not math.isfinite(value):
        return Missing(common_reasons([row]))
    since = number(row["nll"]) - (math.nan if clean is None else number(clean["nll"]))
    detail = signed(since, 3) if clean is not row and math.isfinite(since) else ""
    n = None if row["n_tokens"] is None else int(row["n_tokens"])
    return Number(value, digits=1, n=n, detail=detail)
