"""What is known of a lost fact before anything is unlearned, and whether it came back: the rows
that `explain.prediction` learns from.

Lost facts are chosen on their first few-shot context and what became of them is scored on the
others (`explain.measured`), so that a slip of the corrupted state is not taken for a restoration.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from restor_interp.explain.measured import ALL, Measured
from restor_interp.explain.observed import column_of, margins_by_state
from restor_interp.explain.readings import lens_leads

BASELINE = ("floor", "clean_margin", "corruption_margin")
"""Numbers of the baseline, which has the relation too."""
INSIDE = ("resolve_depth", "trace_concentration")
"""What looking inside the clean model adds."""

_NEEDED = ("facts", "answers", "choices", "margins")


def lost_facts(tables: Mapping[str, pd.DataFrame], *, run: str = "") -> pd.DataFrame:
    """A row per lost fact and unlearned state of a run.

    Columns: run, fact_id, entity, relation, state; `restored` (right in most contexts that it is
    scored on, and not a guess); and the predictors, NaN where they were not measured:

      - `floor`: share of the relation's facts that its most common object would answer;
      - `clean_margin`: nats, in the clean state;
      - `corruption_margin`: log p(false) − log p(true) in the corrupted state, nats;
      - `resolve_depth`: share of the layers of the clean model after which the true object leads
        the false one for good (1: only at the end, or never);
      - `trace_concentration`: of the clean model's causal trace, 1 where one place has all of the
        effect, 0 where all places have as much.

    `tables`: facts (as `facts_with_knowledge` returns them), answers, choices, margins; lens and
    traces where the run has them.
    """
    measured = Measured(*(tables[name] for name in _NEEDED))
    lost = measured.chosen(ALL, lost=True)
    facts = measured.facts.drop_duplicates("fact_id").set_index("fact_id")
    known = pd.DataFrame(
        {
            "run": run,
            "entity": measured.entities(lost),
            "relation": facts["relation"].reindex(lost),
            "floor": _floors(facts).reindex(lost),
            "clean_margin": column_of(margins_by_state(measured.margins), "clean", lost),
            "corruption_margin": column_of(measured.logprobs["false"], "corrupted", lost)
            - column_of(measured.logprobs["true"], "corrupted", lost),
            "resolve_depth": _resolve_depths(tables.get("lens"), measured.facts).reindex(lost),
            "trace_concentration": _concentrations(tables.get("traces")).reindex(lost),
        },
        index=lost,
    ).rename_axis("fact_id")
    parts = []
    for state in measured.states:
        if state in ("clean", "corrupted"):
            continue
        scored = column_of(measured.scored_restored, state, lost)
        own = known.assign(state=state, restored=(scored > 0.5).to_numpy())
        parts.append(own.loc[scored.notna().to_numpy()].reset_index())
    columns = ["run", "fact_id", "entity", "relation", "state", "restored", *BASELINE, *INSIDE]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def pooled_lost(runs: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """The lost facts of several runs in one frame; `runs`: name -> its tables."""
    found = [lost_facts(tables, run=name) for name, tables in runs.items()]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _floors(facts: pd.DataFrame) -> pd.Series:
    """fact_id -> how often the relation's most common true object is right."""
    if "true_objects" not in facts.columns:
        return pd.Series(math.nan, index=facts.index)
    first = [next(iter(names), "") for names in facts["true_objects"]]
    named = pd.Series(first, index=facts.index).groupby(facts["relation"])
    return named.transform(lambda own: own.value_counts(normalize=True).iloc[0]).astype(float)


def _resolve_depths(lens: pd.DataFrame | None, facts: pd.DataFrame) -> pd.Series:
    if lens is None or lens.empty:
        return pd.Series(dtype=float)
    leads = lens_leads(lens.loc[lens["state"].eq("clean")], facts)
    if leads.empty:
        return pd.Series(dtype=float)
    layers = np.array(leads.columns, dtype=float)
    behind = leads.to_numpy(float) >= 0  # of NaN nothing is claimed: it counts as resolved
    after = np.where(behind.any(1), behind.shape[1] - behind[:, ::-1].argmax(1), 0)
    reached = layers[np.minimum(after, len(layers) - 1)] / layers[-1]
    return pd.Series(reached, index=leads.index.get_level_values("fact_id"))


def _concentrations(traces: pd.DataFrame | None) -> pd.Series:
    if traces is None or traces.empty:
        return pd.Series(dtype=float)
    rows = traces.loc[traces["state"].eq("clean") & traces["kind"].eq("resid")]
    if rows.empty or "effect" not in rows.columns:
        return pd.Series(dtype=float)
    found = {
        str(fact_id): concentration(own["effect"].dropna().to_numpy(float))
        for fact_id, own in rows.groupby("fact_id", sort=False)
    }
    return pd.Series(found, dtype=float)


def concentration(effects: Iterable[float]) -> float:
    """1 − the entropy of effects above 0, as a share of that of equal effects; NaN of nothing."""
    values = np.clip(np.asarray(list(effects), dtype=float), 0, None)
    total = values.sum()
    if len(values) < 2 or not total > 0:
        return math.nan
    shares = values[values > 0] / total
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(values)))
