"""How well restoration can be foretold from what is known before unlearning."""

from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import (
    Cell,
    Column,
    Missing,
    Number,
    Paragraph,
    Part,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.reasons import counted_reasons
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.rows import number
from restor_interp.reporting.verdicts import block
from restor_interp.reporting.vocabulary import order_states

METRICS = {"auc": "AUC", "auc_minus_baseline": "beyond the baseline"}
LIMITS = (
    "AUC over entities that the model did not see; 0.5 is chance. What foretells restoration need "
    "not cause it: a sham that is foretold as well was foretold by the fact, not by the method."
)


def prediction_table(run: RunResults) -> tuple[Part, ...]:
    """A row per state and model, or in a sentence why no model was fitted."""
    rows = records(run.table("prediction"))
    if not rows:
        return ()
    fitted = [row for row in rows if row["value"] is not None]
    if not fitted:
        why = counted_reasons(str(row["reason"]) for row in rows if row["reason"])
        told = "; ".join(f"{reason} ({plural(n, 'model')})" for reason, n in why)
        return (Paragraph(f"Whether restoration can be foretold: {told or 'no reason given'}."),)
    own = {(row["state"], row["model"], row["metric"]): row for row in rows}
    states = order_states(row["state"] for row in rows)
    lines = []
    for state in states:
        for model in dict.fromkeys(row["model"] for row in rows if row["state"] == state):
            cells: list[Cell] = [Text(state), Text(str(model))]
            for metric in METRICS:
                row = own.get((state, model, metric))
                if row is None or row["value"] is None:
                    cells.append(Missing("" if row is None else str(row["reason"] or "")))
                else:
                    cells.append(Number(row["value"], low=row["low"], high=row["high"]))
            one = next(r for r in rows if (r["state"], r["model"]) == (state, model))
            counts = (one["n_facts"], one["n_events"], one["n_entities"])
            cells += [Missing() if n is None else Number(n, digits=0) for n in counts]
            lines.append(Row(tuple(cells), group=block(state)))
    told = [
        f"{row['state']} {row['model']} {plain(number(row['value']))} "
        f"[{plain(number(row['low']))}, {plain(number(row['high']))}]"
        for row in fitted
        if row["metric"] == "auc"
    ]
    return (
        Table(
            (
                Column("State"),
                Column("Model", help="baseline: relation and margins; full: with readings inside"),
                *(Column(title) for title in METRICS.values()),
                Column("Facts"),
                Column("Events", help="facts of the rarer outcome"),
                Column("Entities"),
            ),
            tuple(lines),
            caption=f"Can restoration be foretold? AUC: {'; '.join(told)}. {LIMITS}",
        ),
    )
