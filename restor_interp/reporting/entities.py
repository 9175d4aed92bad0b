"""The table of a run's entities: the way to their pages."""

import math

from restor_interp.reporting.counts import fate_counts, mean, right_answers, states_with_fates
from restor_interp.reporting.formats import plural, wilson
from restor_interp.reporting.parts import (
    Cell,
    Column,
    EntityLink,
    FateBar,
    Missing,
    Number,
    Row,
    Table,
    Text,
)
from restor_interp.reporting.results import EntityResults, RunResults
from restor_interp.reporting.vocabulary import ROLES, order_states, state_kind


def entity_table(run: RunResults) -> Table:
    """A row per entity, linked to its page: accuracy with its interval, the depth at which its
    facts are held (RDS, where the run has it), and a small bar of fates per method."""
    states = [state for state in states_with_fates(run) if state_kind(state) in ("method", "sham")]
    shown = [state for state in ("clean", "corrupted") if state in run.states]
    deep = order_states(row["state"] for row in run.rows("fates") if row["rds"] is not None)
    right, depth = "Answers right", "RDS"
    columns = [
        Column("Entity"),
        Column("Corrupted", help="whether falsehoods about it were planted"),
        Column("Facts", help="below: measured answers to them in a state, over contexts"),
        Column("Lost", help="known, not guessable, right when clean, wrong when corrupted"),
        *(
            Column(state, help="share of all answers, over facts and contexts", group=right)
            for state in shown
        ),
        *(
            Column(state, help="1: the subject holds its facts as when clean; 0: gone", group=depth)
            for state in deep
        ),
        *(Column(state, group="Fates; sorted by share restored") for state in states),
    ]
    rows = []
    for name in run.entities:
        results = run.entity(name)
        counts = {s: fate_counts(results, s, roles=tuple(ROLES)) for s in states}
        asked = max((right_answers(results, s, tuple(ROLES))[1] for s in shown), default=0)
        cells: list[Cell] = [
            EntityLink(name),
            Text("yes" if results.is_corrupted else "no"),
            Number(len(results.facts), digits=0, detail=plural(asked, "answer") if asked else ""),
            Number(counts[states[0]].lost, digits=0) if states else Missing(),
            *(_accuracy(results, state, asked) for state in shown),
            *(_depth(results, state) for state in deep),
            *(FateBar(counts[state].in_order()) for state in states),
        ]
        rows.append(Row(tuple(cells)))
    caption = (
        f"Entities: {len(run.corrupted_entities)} corrupted and "
        f"{len(run.entities) - len(run.corrupted_entities)} that no document is about. Below a "
        "share: its 95% interval (Wilson, over the answers to its facts)."
    )
    if deep:
        caption += " RDS: how much of its facts the subject still carries, over n facts."
    return Table(tuple(columns), tuple(rows), caption=caption, filterable=True)


def _accuracy(results: EntityResults, state: str, usual: int) -> Cell:
    """The share of right answers; its n where it is not that of the column of facts."""
    right, asked = right_answers(results, state, tuple(ROLES))
    if not asked:
        return Missing()
    low, high = wilson(right, asked)
    n = None if asked == usual else asked
    return Number(right / asked, percent=True, digits=0, low=low, high=high, n=n)


def _depth(results: EntityResults, state: str) -> Cell:
    """The mean RDS of the facts whose retention was measured."""
    own = [r["rds"] for r in results.rows("fates") if r["state"] == state and r["rds"] is not None]
    value = mean(map(float, own))
    return Number(value, detail=f"n={len(own)}") if math.isfinite(value) else Missing()
