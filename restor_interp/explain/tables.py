"""The tables that join all measurements: what the clean model knows, fates, and the summary."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from restor_interp.explain.fate import fate_of
from restor_interp.explain.measured import greedy
from restor_interp.explain.observed import (
    NOT_ASKED,
    Answered,
    answered,
    lookup,
    margins_by_state,
    object_logprobs,
    states_of,
)
from restor_interp.explain.retention import Retained
from restor_interp.explain.summary import summary_rows
from restor_interp.explain.thresholds import DEFAULT, Thresholds
from restor_interp.explain.verdicts import EMPTY, Judged, shares_out
from restor_interp.explain.wording import number
from restor_interp.measure.margins import Margin, is_known, is_known_specific
from restor_interp.measure.specific import SpecificRule

__all__ = ["facts_with_knowledge", "fate_rows", "summary_rows"]


def facts_with_knowledge(
    facts: pd.DataFrame,
    answers: pd.DataFrame,
    margins: pd.DataFrame,
    *,
    rule: SpecificRule | None = None,
) -> pd.DataFrame:
    """The table of facts with `known`, `known_specific` and the clean `margin` (nats).

    `known`: the clean model answers it in most contexts; NA where it was not asked.
    `known_specific`: and knows it about this very entity (`SpecificRule`; margins of several
    contexts are pooled). A fact without substitutes is not known to be specific; NA where a known
    fact has no margin row at all.
    """
    asked = answered(greedy(answers.loc[answers["state"].eq("clean")]))
    clean = margins.loc[margins["state"].eq("clean")]
    pooled = _pooled_margins(clean)
    known, specific, nats = [], [], []
    for fact_id in facts["fact_id"]:
        outcomes = asked.get((fact_id, "clean"), NOT_ASKED).outcomes
        margin = pooled.get(fact_id)
        is_it = is_known(outcomes) if outcomes else None
        known.append(is_it)
        if margin is None:
            specific.append(None if is_it else is_it)
        else:
            specific.append(is_known_specific(outcomes, margin, rule=rule) if outcomes else None)
        nats.append(math.nan if margin is None else margin.margin)
    return facts.assign(
        known=pd.array(known, dtype="boolean"),
        known_specific=pd.array(specific, dtype="boolean"),
        margin=np.array(nats, dtype=float),
    )


def _pooled_margins(margins: pd.DataFrame) -> dict[str, Margin]:
    """One margin per fact out of those of its contexts: means of log-probabilities, counts added.

    Without a measured one, it is a margin without substitutes.
    """
    columns = ("own_logprob", "substitute_logprob", "n_substitutes", "n_substitutes_led")
    measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in margins["fact_id"]}
    rows = margins.loc[margins["margin"].notna()]
    for fact_id, *numbers in zip(
        rows["fact_id"], *(rows[name].astype(float) for name in columns), strict=True
    ):
        measured[fact_id].append(tuple(numbers))
    return {fact_id: _pooled(found) for fact_id, found in measured.items()}


def _pooled(found: list[tuple[float, ...]]) -> Margin:
    if not found:
        return Margin(
            own_logprob=math.nan, substitute_logprobs=(), own_leads=False, n_substitutes_led=0
        )
    own, substitute, number, led = np.array(found).T
    return Margin(
        own_logprob=float(own.mean()),
        substitute_logprobs=(float(substitute.mean()),) * int(number.sum()),
        own_leads=True,
        n_substitutes_led=int(led.sum()),
    )


# ---- fates


def fate_rows(
    facts: pd.DataFrame,
    answers: pd.DataFrame,
    margins: pd.DataFrame,
    choices: pd.DataFrame,
    retention: Retained | None = None,
    judged: Mapping[tuple[str, str], Judged] | None = None,
    thresholds: Thresholds = DEFAULT,
) -> list[dict[str, Any]]:
    """One row per fact and state, except the clean one, for the table `fates`.

    Outcomes are those of most contexts (greedy answers), a tie goes to the earliest. `r_subject`,
    `r_mid`, `rds` and `mechanism` are None of facts and states whose retention was not measured;
    `mechanism_reason` says why a mechanism is missing, undetermined, or was not put to its refuter.
    `suspected` is the mechanism that the shares speak for, before its refuter was asked: what an
    undetermined one would be, unless they speak for none. `rules` is the version of the thresholds.
    Where a fact was not asked, `fate` is None and `reason` says why.

    `judged`: what `explain.verdicts.verdicts` found, with the same retention and thresholds.
    """
    retains = {} if retention is None else retention.by_fact
    verdicts = {} if judged is None else judged
    out = shares_out(margins, thresholds)
    asked = answered(greedy(answers))
    nats = lookup(margins_by_state(margins))
    objects = {name: lookup(object_logprobs(choices, name)) for name in ("true", "false")}
    states = [state for state in states_of(answers) if state != "clean"]
    rows = []
    for fact_id in facts["fact_id"]:
        for state in states:
            own = retains.get((fact_id, state), {})
            row = _fate_row(fact_id, state, asked, nats, objects, own)
            row["r_out"] = out.get((fact_id, state))
            verdict = verdicts.get((fact_id, state))
            if verdict is None:
                told = _told_retention(own)
                row |= EMPTY
            else:
                told = verdict.evidence
                row |= verdict.columns(thresholds)
            row["evidence"] = " ".join(text for text in (told, row["evidence"]) if text)
            rows.append(row)
    return rows


def _fate_row(
    fact_id: str,
    state: str,
    asked: Mapping[tuple[str, str], Answered],
    nats: Mapping[tuple[str, str], float],
    objects: Mapping[str, Mapping[tuple[str, str], float]],
    retains: Mapping[str, Any],
) -> dict[str, Any]:
    names = ("clean", "corrupted", state)
    found = [asked.get((fact_id, name), NOT_ASKED) for name in names]
    margin, margin_clean = (nats.get((fact_id, name), math.nan) for name in (state, "clean"))
    row: dict[str, Any] = {
        "fact_id": fact_id,
        "state": state,
        "fate": None,
        "mechanism": None,
        "flags": "",
        "margin": _or_none(margin),
        "r_subject": retains.get("r_subject"),
        "r_mid": retains.get("r_mid"),
        "r_out": None,
        "rds": retains.get("rds"),
        "evidence": "",
        "reason": None,
    }
    clean, corrupted, now = (one.outcome for one in found)
    if clean is None or corrupted is None or now is None:
        name, one = next(pair for pair in zip(names, found, strict=True) if not len(pair[1]))
        return row | {"reason": f"{name}: {one.reason}"}
    fate = fate_of(clean, corrupted, now, margin=margin, margin_clean=margin_clean)
    told = [
        _told_answers(dict(zip(names, found, strict=True))),
        _told_margin(margin, margin_clean),
        *(
            _told_object(
                category, [found.get((fact_id, name), math.nan) for name in dict.fromkeys(names)]
            )
            for category, found in objects.items()
        ),
    ]
    return row | {"fate": fate, "evidence": "; ".join(text for text in told if text) + "."}


def _told_answers(found: Mapping[str, Answered]) -> str:
    told = []
    for name, one in found.items():
        false = f" ({one.count('false')} false)" if one.count("false") else ""
        told.append(f"{name} {one.count('true')} of {len(one)}{false}")
    return f"Right: {', '.join(told)}"


def _told_margin(margin: float, margin_clean: float) -> str:
    if math.isnan(margin_clean):
        return "margin not measured"
    if math.isnan(margin):
        return f"margin {number(margin_clean)} nats when clean, not measured here"
    return f"margin {number(margin)} of {number(margin_clean)} nats"


def _told_object(category: str, logprobs: list[float]) -> str:
    if any(math.isnan(value) for value in logprobs):
        return ""
    return f"log p({category}) {' → '.join(map(number, logprobs))}"


def _told_retention(retains: Mapping[str, Any]) -> str:
    """Shares with their verdicts, such as `Retains 0.93 at the subject (intact).`"""
    told = [
        f"{number(retains[share])} {where}" + (f" ({retains[verdict]})" if retains[verdict] else "")
        for share, verdict, where in (
            ("r_subject", "subject", "at the subject"),
            ("r_mid", "mid", "on the way out"),
        )
        if retains.get(share) is not None
    ]
    return f"Retains {', '.join(told)}." if told else ""


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
