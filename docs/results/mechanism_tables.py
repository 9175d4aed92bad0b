"""The tables of `mechanisms.md`, each recounted from a tier's shards."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from mechanism_counts import (
    LEVEL,
    UNDETERMINED,
    Frame,
    Tier,
    abstentions,
    beyond,
    corrected,
    counts,
    crossed,
    flags,
    moved,
    predicted,
    share_of,
    transitions,
)
from mechanism_figures import words
from telling import Number, markdown

from restor_interp.explain.fate import FATES_OF_LOST
from restor_interp.explain.mechanism import FLAGS, MECHANISMS
from restor_interp.explain.prediction import EVENTS_PER_PREDICTOR, MIN_LOST
from restor_interp.explain.sensitivity import ALL

COMPARED = tuple(name for name in MECHANISMS if name not in ("never_lost", UNDETERMINED))
"""Classes in which a method is compared with its sham: what is never lost is not the method's."""
REASONS = 8
"""Reasons that are written out."""

Gaps = Mapping[tuple[str, str, str], tuple[Number, float]]
"""(state, its sham, mechanism) -> the difference, and its p corrected for all of them."""


def comparisons(tier: Tier) -> Gaps:
    """Every method and reference against its sham, in every compared class."""
    pairs = [
        (state, sham, name)
        for state in (*tier.methods, *tier.references)
        if (sham := tier.sham_of(state))
        for name in COMPARED
    ]
    p = corrected(tier, pairs)
    return {pair: (beyond(tier, *pair), p[pair]) for pair in pairs}


def counts_table(tier: Tier) -> str:
    """Per state, facts × runs by mechanism with the share's interval, and refuters."""
    rows = []
    for state in tier.states:
        found = {one.mechanism: one for one in counts(tier, state)}
        some = found["restored"]
        refuters = tier.of(state)["refuter"].value_counts()
        rows.append(
            [
                state,
                f"{some.of} ({some.share.n_facts}, {some.share.n_entities})",
                *(f"{c.kept}: {c.share.told()}" if c.kept else "0" for c in found.values()),
                *(str(int(refuters.get(s, 0))) for s in ("passed", "failed", "not measured")),
            ]
        )
    header = ["state", "facts × runs (facts, entities)"]
    header += [f"{words(name)}: %" for name in MECHANISMS]
    header += ["refuter passed", "failed", "not asked"]
    untouched = _untouched_words(tier)
    return markdown(header, rows) + (f"\n\n{untouched}" if untouched else "")


def _untouched_words(tier: Tier) -> str:
    """The control: what is said of facts that nothing was done to."""
    fates = tier.fates
    own = fates.loc[
        fates["role"].eq("untouched")
        & fates["known_specific"].eq(True).fillna(False).astype(bool)
        & fates["mechanism"].notna()
    ]
    named = [name for name in COMPARED if name != "restored"]
    damage = own["mechanism"].isin(named)
    told = []
    for state in ("corrupted", *tier.methods, *tier.references):
        here = own["state"].eq(state)
        if here.any():
            told.append(f"{state} {share_of(own.loc[here], damage.loc[here]).told()}%")
    if not told:
        return ""
    return (
        "Of *untouched* facts, about entities that no document is about, damage "
        f"({', '.join(map(words, named))}) is said of: {'; '.join(told)}. What unlearning broke at "
        "large is in these shares, and so are false claims."
    )


def gaps_table(gaps: Gaps) -> str:
    """Method minus sham, in points."""
    if not gaps:
        return "No state has a sham that was looked into."
    rows = []
    for state in dict.fromkeys(pair[0] for pair in gaps):
        cells = [state]
        for name in COMPARED:
            gap, p = gaps[state, f"sham_{state}", name]
            star = "*" if p <= LEVEL else ""
            cells.append(f"{gap.told(signed=True)}{star}, p {gap.p_told}" if gap.known else "–")
        rows.append(cells)
    header = ["state", *(f"{words(name)}, points" for name in COMPARED)]
    note = (
        "Classes before refuters, on both sides. p: sign-flip over entities, of this comparison "
        f"alone; \\*: p ≤ {LEVEL} corrected for all {len(gaps)}."
    )
    return f"{markdown(header, rows)}\n\n{note}"


def fates_table(tier: Tier) -> str:
    """What the model says of a lost fact, against where the fact is, over all methods."""
    rows = tier.judged.loc[tier.judged["state"].isin(tier.methods)]
    table = crossed(rows, "fate", "mechanism")
    names = [name for name in MECHANISMS if name in table.columns]
    found = [
        [words(fate), *(str(int(table.loc[fate, name])) for name in names)]
        for fate in FATES_OF_LOST
        if fate in table.index
    ]
    note = "All methods together, references left out; facts × runs × methods."
    return f"{markdown(['answer', *map(words, names)], found)}\n\n{note}"


def transitions_table(tier: Tier) -> str:
    """From the mechanism of the corrupted state to that of each method."""
    if "corrupted" not in tier.states:
        return "The corrupted state itself was not looked into."
    tables = {state: transitions(tier, state) for state in (*tier.methods, *tier.references)}
    ways = [(old, new) for old in MECHANISMS for new in MECHANISMS]

    def number(state: str, old: str, new: str) -> int:
        table = tables[state]
        return int(table.loc[old, new]) if old in table.index and new in table.columns else 0

    rows = [
        [f"{words(old)} → {words(new)}", *(str(number(state, old, new)) for state in tables)]
        for old, new in ways
        if any(number(state, old, new) for state in tables)
    ]
    return markdown(["corrupted → unlearned", *tables], rows)


def moved_table(tier: Tier) -> str:
    """How many verdicts change class when a threshold moves by a quarter."""
    found = moved(tier)
    if not found:
        return "Not measured in these runs."
    by_name: dict[str, dict[float, Any]] = {}
    for one in found:
        by_name.setdefault(one.threshold, {})[one.change] = one
    rows = []
    for name, own in by_name.items():
        if any(one.changed for one in own.values()) or name == ALL:
            most = max(own.values(), key=lambda one: one.changed).most
            cells = [
                f"{one.changed} ({one.changed / one.of:.1%})" for _, one in sorted(own.items())
            ]
            rows.append(["all at once" if name == ALL else words(name), *cells, words(most)])
    changes = sorted(by_name[ALL])
    still = [
        words(name)
        for name, own in by_name.items()
        if name != ALL and not any(one.changed for one in own.values())
    ]
    note = f"Of {found[0].of} verdicts (every state, roles of all kinds)." + (
        f" Nothing hangs on: {', '.join(still)}." if still else ""
    )
    header = ["threshold", *(f"{change:+.0%}".replace("-", "−") for change in changes)]
    return f"{markdown([*header, 'commonest change'], rows)}\n\n{note}"


def flags_table(tier: Tier) -> str:
    """Facts × runs with each flag."""
    rows = [
        [state, str(len(tier.of(state))), *(str(n) for n in flags(tier, state).values())]
        for state in tier.states
        if any(flags(tier, state).values())
    ]
    if not rows:
        return "No fact has a flag in any state."
    return markdown(["state", "facts × runs", *map(words, FLAGS)], rows)


def abstention_parts(tier: Tier) -> list[str]:
    """Why verdicts are missing: methods beside their shams."""
    shams = [sham for state in tier.methods if (sham := tier.sham_of(state))]
    groups = {"corrupted": ("corrupted",), "methods": tier.methods, "shams": tuple(shams)}
    found = {name: dict(abstentions(tier, states)) for name, states in groups.items()}
    totals: dict[str, int] = {}
    for own in found.values():
        for reason, number in own.items():
            totals[reason] = totals.get(reason, 0) + number
    judged = {n: int(tier.judged["state"].isin(states).sum()) for n, states in groups.items()}
    told = "; ".join(
        f"{name} {sum(found[name].values())} of {judged[name]}" for name in groups if judged[name]
    )
    ranked = sorted(totals, key=lambda reason: -totals[reason])
    rows = [
        [reason, *(str(found[g].get(reason, 0)) for g in groups)] for reason in ranked[:REASONS]
    ]
    rest = ranked[REASONS:]
    if rest:
        rows.append(["others", *(str(sum(found[g].get(r, 0) for r in rest)) for g in groups)])
    parts = [f"Undetermined: {told}."]
    return [*parts, markdown(["why", *groups], rows)] if rows else parts


def prediction_parts(tier: Tier) -> list[str]:
    """AUC of foretelling restoration, beside the baseline and the sham."""
    found = predicted(tier)
    if found.empty:
        return [f"Not run, n = 0: {MIN_LOST} lost facts are needed."]
    rows = [
        [state, *_prediction_cells(found, state), *_prediction_cells(found, f"sham_{state}")]
        for state in tier.methods
        if found["state"].eq(state).any()
    ]
    header = [
        "state",
        "n (restored or not, the rarer)",
        "baseline AUC",
        "full AUC",
        "full − baseline",
    ]
    header += ["sham: n (rarer)", "baseline AUC", "full AUC", "full − baseline"]
    fitted = found.loc[found["metric"].eq("auc_minus_baseline")]
    better = fitted.loc[fitted["low"].gt(0), "state"].tolist()
    told = (
        f"Looking inside foretells more than the baseline for: {', '.join(better)}."
        if better
        else "For no state is looking inside shown to foretell more than the baseline."
        if len(fitted)
        else f"No model could be fitted: {MIN_LOST} lost facts and {EVENTS_PER_PREDICTOR} of the "
        "rarer outcome per predictor are needed."
    )
    told += " Lost facts of all roles are foretold, not only those with a planted falsehood."
    return [told, markdown(header, rows)]


def _prediction_cells(found: Frame, state: str) -> list[str]:
    own = found.loc[found["state"].eq(state)]
    if own.empty:
        return ["–"] * 4
    first = own.iloc[0]
    cells = [f"{first['n_facts']} ({first['n_events']})"]
    for model, metric in (("baseline", "auc"), ("full", "auc"), ("full", "auc_minus_baseline")):
        row = own.loc[own["model"].eq(model) & own["metric"].eq(metric)]
        if row.empty:
            cells.append("–")
        elif pd.isna(row.iloc[0]["value"]):
            cells.append(str(row.iloc[0]["reason"]))
        else:
            value, low, high = (float(row.iloc[0][key]) for key in ("value", "low", "high"))
            cells.append(Number(value, low, high).told("", signed=metric != "auc"))
    return cells
