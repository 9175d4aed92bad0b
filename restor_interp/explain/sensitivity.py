"""The table `sensitivity`: how many verdicts hang on the choice of a threshold.

Every threshold is moved by a quarter of its value, up and down, one at a time and all together, and
everything is read again from the tables: layers, bands, classes. A class that changes with that was
decided by the threshold, not by the fact.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from restor_interp.explain.mechanism import classify
from restor_interp.explain.readings import Inside, Read, look_inside, read
from restor_interp.explain.retention import Key, Retained, Shares
from restor_interp.explain.thresholds import DEFAULT, NAMES, Thresholds
from restor_interp.explain.verdicts import shares_out

CHANGES = (-0.25, 0.25)
ALL = "all"
"""In place of a threshold: all of them at once."""

_OF_READINGS = {"subject_share", "mid_share", "least_effect", "least_clean_margin"}
"""Thresholds that change what is read; the others change only what is made of it."""
_OF_BANDS = {"intact_tail", "lost_tail", "noise_widths", "least_tolerance", "least_controls"}


def sensitivity_rows(
    facts: pd.DataFrame,
    margins: pd.DataFrame,
    retention: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    thresholds: Thresholds = DEFAULT,
) -> list[dict[str, Any]]:
    """Rows of the table `sensitivity`, for every threshold, change and state.

    `facts`: fact_id, relation, role. `change` is the relative move (−0.25, 0.25), `n_facts` the
    facts that have a verdict in the state, and `n_changed` those of them that went `from` one class
    `to` another: a row per such pair, or one row with 0 where no class changed.
    """
    judge = _Judge(facts, margins, retention, tables, thresholds)
    before = judge(thresholds)
    sizes = Counter(state for _, state in before)
    rows = []
    for name in (*NAMES, ALL):
        for change in CHANGES:
            after = judge(thresholds.moved(1 + change, None if name == ALL else (name,)))
            pairs = Counter(
                (key[1], old, after.get(key, old))
                for key, old in before.items()
                if after.get(key, old) != old
            )
            for state, n_facts in sizes.items():
                fixed = {"threshold": name, "change": change, "state": state, "n_facts": n_facts}
                own = [(old, new, n) for (where, old, new), n in pairs.items() if where == state]
                for old, new, number in sorted(own) or [(None, None, 0)]:
                    rows.append(fixed | {"from": old, "to": new, "n_changed": number})
    return rows


class _Judge:
    """Verdicts by thresholds; reads again only what these change."""

    def __init__(
        self,
        facts: pd.DataFrame,
        margins: pd.DataFrame,
        retention: pd.DataFrame,
        tables: Mapping[str, pd.DataFrame],
        base: Thresholds,
    ) -> None:
        self.facts, self.margins, self.tables, self.base = facts, margins, tables, base
        self.shares = Shares.of(retention, dict(zip(facts["fact_id"], facts["role"], strict=True)))
        self.inside: dict[tuple[tuple[str, int], ...], Inside] = {}
        self.held = self.shares.read(base)
        self.found = self._read(base, self.held)

    def __call__(self, thresholds: Thresholds) -> dict[Key, str]:
        changed = {n for n in NAMES if getattr(thresholds, n) != getattr(self.base, n)}
        held, found = self.held, self.found
        if changed & (_OF_READINGS | _OF_BANDS):
            held = self.shares.read(thresholds)
        if changed & _OF_READINGS:
            found = self._read(thresholds, held)
        return {
            key: classify(own.readings, held.bands, thresholds).mechanism
            for key, own in found.items()
            if key[1] != "clean"
        }

    def _read(self, thresholds: Thresholds, held: Retained) -> dict[Key, Read]:
        mids = tuple(held.mid_layers.items())
        if mids not in self.inside:
            self.inside[mids] = look_inside(self.facts, self.tables, held)
        return read(shares_out(self.margins, thresholds), held, self.facts, self.inside[mids])
