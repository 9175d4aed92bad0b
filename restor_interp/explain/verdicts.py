"""The verdict on every fact and state of a run: readings, mechanism, and what is told of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restor_interp.explain.evidence import evidence
from restor_interp.explain.mechanism import Verdict, classify
from restor_interp.explain.observed import lookup, margins_by_state
from restor_interp.explain.readings import Read, look_inside, read
from restor_interp.explain.retention import Key, Retained
from restor_interp.explain.thresholds import DEFAULT, Thresholds

NOT_RETAINED = "its retention was not measured"
"""Why a fact has no mechanism at all: nobody looked inside."""

EMPTY = {
    "mechanism": None,
    "flags": "",
    "refuter": None,
    "suspected": None,
    "mechanism_reason": NOT_RETAINED,
    "rules": None,
}
"""Columns of `fates` where retention was not measured."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One fact in one state."""

    verdict: Verdict
    read: Read
    evidence: str

    def columns(self, thresholds: Thresholds = DEFAULT) -> dict[str, Any]:
        """Columns of the table `fates`."""
        return {
            "mechanism": self.verdict.mechanism,
            "flags": ", ".join(self.verdict.flags),
            "refuter": self.verdict.refuter,
            "suspected": self.verdict.suspected,
            "mechanism_reason": self.verdict.reason,
            "rules": thresholds.version,
        }


def shares_out(margins: pd.DataFrame, thresholds: Thresholds = DEFAULT) -> dict[Key, float]:
    """r_out = m_S / m_clean of every fact and state whose clean margin is large enough."""
    nats = lookup(margins_by_state(margins))
    clean = {fact_id: value for (fact_id, state), value in nats.items() if state == "clean"}
    return {
        (fact_id, state): value / clean[fact_id]
        for (fact_id, state), value in nats.items()
        if clean.get(fact_id, -math.inf) >= thresholds.least_clean_margin
    }


def verdicts(
    facts: pd.DataFrame,
    margins: pd.DataFrame,
    held: Retained,
    tables: Mapping[str, pd.DataFrame],
    thresholds: Thresholds = DEFAULT,
) -> dict[Key, Judged]:
    """(fact_id, state) -> its verdict, of all whose retention was measured; not of `clean`.

    Args:
        facts: fact_id, relation, role, and true_objects where a lens was measured.
        held: what the table `retention` says, read with the same thresholds.
        tables: of `explain.readings.TABLES`, those that the run has.
    """
    inside = look_inside(facts, tables, held)
    found = read(shares_out(margins, thresholds), held, facts, inside)
    judged = {}
    for key, own in found.items():
        if key[1] == "clean":
            continue
        verdict = classify(own.readings, held.bands, thresholds)
        told = evidence(verdict, own.readings, own.places, thresholds)
        judged[key] = Judged(verdict=verdict, read=own, evidence=told)
    return judged
