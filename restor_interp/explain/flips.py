"""The table `flips`: how answers moved from the clean over the corrupted to an unlearned state.

Every fact that was asked stands in exactly one cell of a state's matrix, also the one that was not
measured, so that counts add up. Fates name the cells (`restor_interp.explain.fate`); the matrix
also shows those that fates put together, such as right → other → false.
"""

from collections import Counter
from typing import Any

import pandas as pd

from restor_interp.explain.measured import greedy
from restor_interp.explain.observed import NOT_ASKED, answered, states_of

UNMEASURED = "unmeasured"
"""In place of an outcome that was not measured."""
OUTCOMES = ("true", "false", "other", UNMEASURED)


def flip_rows(facts: pd.DataFrame, answers: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table `flips`: per state and role, how many facts went which way.

    Outcomes are those of most contexts of the greedy answers, a tie goes to the earliest. Cells
    without facts have no row.
    """
    asked = answered(greedy(answers))
    states = [s for s in states_of(answers) if s not in ("clean", "corrupted")]
    rows = []
    for state in states:
        counts: Counter[tuple[str, ...]] = Counter()
        entities: dict[tuple[str, ...], set[str]] = {}
        for fact_id, entity, role in zip(
            facts["fact_id"], facts["entity"], facts["role"], strict=True
        ):
            outcomes = (
                asked.get((fact_id, name), NOT_ASKED).outcome or UNMEASURED
                for name in ("clean", "corrupted", state)
            )
            cell = (role, *outcomes)
            counts[cell] += 1
            entities.setdefault(cell, set()).add(entity)
        rows += [
            {
                "state": state,
                "role": role,
                "clean": clean,
                "corrupted": corrupted,
                "unlearned": unlearned,
                "n_facts": counts[role, clean, corrupted, unlearned],
                "n_entities": len(entities[role, clean, corrupted, unlearned]),
            }
            for role, clean, corrupted, unlearned in sorted(counts, key=_in_order)
        ]
    return rows


def _in_order(cell: tuple[str, ...]) -> tuple[Any, ...]:
    role, *outcomes = cell
    return (role, *(OUTCOMES.index(outcome) for outcome in outcomes))
