"""The table `lasting`: each state after each attack, beside other states after the same one.

A state that unlearned and one that merely hides the falsehood answer alike; an attack tells them
apart only where the same attack on the corrupted, the clean and the sham state is known. So every
accuracy after an attack comes with its difference to theirs, paired by fact, with inference over
entities (`restor_interp.measure.statistics`).

Steps to recover: of each entity, the first measured step of a training at which log p of the object
that it brings back (mean over the entity's facts) is within a tolerance of the level of the state
that knows it untouched: the corrupted one's for the falsehood, the clean one's for the truth. An
entity that does not come so far counts with the last step, and `note` says how many these are: the
mean is then too low.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from restor_interp.explain.measured import greedy
from restor_interp.explain.observed import column_of, right_shares
from restor_interp.explain.summary import HELD_OUT, SAME_CONTEXT, TOO_FEW
from restor_interp.measure.statistics import (
    Estimate,
    difference,
    entity_mean,
    missing,
    share,
    share_difference,
)

LOST = "lost"
"""Direct facts that are specific knowledge of the clean model and that corruption took: chosen by
their first context, as in the table `summary`."""

TOLERANCE = math.log(2)
"""Nats below the level that count as recovered: within a factor of two of its probability."""

LEVEL_OF: Mapping[str, str] = {"false": "corrupted", "true": "clean"}
"""Object that an attack brings back -> the state whose level it is to reach."""

_ROLES = ("direct", LOST, "sibling", "context", "untouched")
_MEASURES = {
    "accuracy": "right",
    "said_false": "said_false",
    "log_p_true": "log_p_true",
    "log_p_false": "log_p_false",
}
"""Metric -> column of the rows."""


def lasting_rows(
    facts: pd.DataFrame,
    answers: pd.DataFrame,
    robustness: pd.DataFrame,
    *,
    targets: Mapping[str, str],
    tolerance: float = TOLERANCE,
) -> list[dict[str, Any]]:
    """Rows of the table `lasting`.

    Per state, attack, part of a split, level, step and role (`lost` beside the roles of facts):
      - `accuracy`, `said_false` (shares), `log_p_true`, `log_p_false` (nats; means over entities);
      - each minus its value before the attack (`…_minus_before`);
      - `accuracy_minus_clean`, `…_corrupted`, `…_sham`: minus that state after the same attack;
      - of attacks that train, at the last step, `steps_to_recover`, and minus that of the same
        states (`steps_to_recover_minus_…`).
    Wordings, draws and contexts are averaged within facts. A missing number is None with a
    `reason`.

    Args:
        facts: as `facts_with_knowledge` returns them.
        answers: of the clean and the corrupted state as they were, in all contexts.
        robustness: rows of the table of this name, of any attacks and states.
        targets: attack -> `false` or `true`, the object that it brings back; of those that train.
        tolerance: nats.
    """
    rows: list[dict[str, Any]] = []
    if not len(robustness):
        return rows
    for attack, own in robustness.groupby("attack", sort=False):
        found = _Attacked(str(attack), own, facts, _lost(facts, answers), _first(answers))
        for state in found.states:
            for part in found.parts:
                for role in found.roles(part):
                    rows += _rows_of(found, state, part, role)
                    if attack in targets:
                        rows += _recovery(found, state, part, role, targets[str(attack)], tolerance)
    return rows


def _first(answers: pd.DataFrame) -> int:
    """The context that facts are chosen by."""
    return min(map(int, answers["context_id"]), default=0)


def _lost(facts: pd.DataFrame, answers: pd.DataFrame) -> frozenset[str]:
    """Specific knowledge that corruption took, by the first context."""
    specific = facts["known_specific"].eq(True).fillna(False).to_numpy(bool)
    chosen = pd.Index(facts["fact_id"].to_numpy()[specific & facts["role"].eq("direct").to_numpy()])
    if not len(chosen) or not len(answers):
        return frozenset()
    right: Any = right_shares(greedy(answers)).xs(_first(answers), level="context_id")
    clean, corrupted = (column_of(right, state, chosen) for state in ("clean", "corrupted"))
    return frozenset(chosen[(clean > 0.5) & (corrupted <= 0.5)])


@dataclass(frozen=True)
class _Point:
    """A time of an attack at which facts were asked."""

    step: int
    level: float


@dataclass(frozen=True)
class _Attacked:
    """One attack on all states."""

    attack: str
    rows: pd.DataFrame
    facts: pd.DataFrame
    lost: frozenset[str]
    first_context: int

    @cached_property
    def states(self) -> tuple[str, ...]:
        return tuple(str(state) for state in self.rows["state"].unique())

    @cached_property
    def parts(self) -> tuple[str, ...]:
        return tuple(str(part) for part in self.rows["part"].unique())

    @cached_property
    def entity(self) -> dict[str, str]:
        return dict(zip(self.facts["fact_id"], self.facts["entity"], strict=True))

    @cached_property
    def measured(self) -> dict[tuple[str, str, int, float], dict[tuple[str, str], float]]:
        """(measure, state, step, level) -> (part, fact_id) -> the mean over wordings, draws and
        contexts; what was not measured is left out."""
        rows = self.rows.assign(
            right=_matches(self.rows["outcome"], "true"),
            said_false=_matches(self.rows["outcome"], "false"),
            log_p_true=self.rows["log_p_true"].astype(float),
            log_p_false=self.rows["log_p_false"].astype(float),
        )
        keys = ["state", "step", "level", "part", "fact_id"]
        means: Any = rows.groupby(keys, sort=False)[list(_MEASURES.values())].mean()
        found: dict[tuple[str, str, int, float], dict[tuple[str, str], float]] = {}
        for measure, column in means.items():
            for (state, step, level, part, fact_id), value in column.dropna().items():
                own = found.setdefault((str(measure), state, step, level), {})
                own[part, fact_id] = value
        return found

    @property
    def note(self) -> str:
        held_out = self.first_context not in set(self.rows["context_id"])
        return HELD_OUT if held_out else SAME_CONTEXT

    def points(self, state: str) -> list[_Point]:
        """In the order of the attack."""
        own = self.rows.loc[self.rows["state"].eq(state), ["step", "level"]].drop_duplicates()
        ordered = own.sort_values(["step", "level"], kind="stable")
        return [
            _Point(step=int(step), level=float(level))
            for step, level in zip(ordered["step"], ordered["level"], strict=True)
        ]

    @cached_property
    def _role(self) -> dict[str, str]:
        return dict(zip(self.facts["fact_id"], self.facts["role"], strict=True))

    @cached_property
    def _asked(self) -> dict[str, list[str]]:
        """Part -> its facts, in the order of the rows."""
        pairs = self.rows[["part", "fact_id"]].drop_duplicates()
        return {str(part): list(own["fact_id"]) for part, own in pairs.groupby("part", sort=False)}

    def ids(self, part: str, role: str) -> pd.Index:
        """The facts of a part and a role, in the order of the rows."""
        own = self._asked[part]
        if role == LOST:
            return pd.Index([name for name in own if name in self.lost], dtype=object)
        return pd.Index([name for name in own if self._role[name] == role], dtype=object)

    def roles(self, part: str) -> list[str]:
        """Those that a part has facts of; `lost` wherever it has direct ones."""
        return [role for role in _ROLES if len(self.ids(part, "direct" if role == LOST else role))]

    def values(
        self, measure: str, state: str, point: _Point, part: str, fact_ids: pd.Index
    ) -> pd.Series:
        """A number per fact; NaN where it was not measured."""
        own = self.measured.get((measure, state, point.step, point.level), {})
        numbers = [own.get((part, fact_id), math.nan) for fact_id in fact_ids]
        return pd.Series(numbers, index=fact_ids, dtype=float)

    def entities(self, fact_ids: pd.Index) -> list[str]:
        return [self.entity[fact_id] for fact_id in fact_ids]

    def others(self, state: str) -> list[tuple[str, str]]:
        """(name in the metric, state) that a state is compared with, where it was attacked too."""
        pairs = (("clean", "clean"), ("corrupted", "corrupted"), ("sham", f"sham_{state}"))
        return [(name, other) for name, other in pairs if other in self.states and other != state]


def _matches(outcomes: Any, wanted: str) -> pd.Series:
    """1 or 0; NaN where there is no outcome."""
    return outcomes.eq(wanted).astype(float).mask(outcomes.isna())


# ---- rows


def _rows_of(found: _Attacked, state: str, part: str, role: str) -> Iterator[dict[str, Any]]:
    fact_ids = found.ids(part, role)
    entities = found.entities(fact_ids)
    points = found.points(state)
    before = points[0] if points and points[0].step == 0 else None
    for point in points:

        def row(metric: str, estimate: Estimate, against: str = "", at: _Point = point) -> Any:
            return _row(found, state, part, role, at, metric, estimate, against=against)

        for metric, measure in _MEASURES.items():
            values = found.values(measure, state, point, part, fact_ids)
            yield row(metric, _level(metric, values, entities))
            if before is not None and point.step > 0:
                earlier = found.values(measure, state, before, part, fact_ids)
                minus = difference if metric.startswith("log_p") else share_difference
                yield row(f"{metric}_minus_before", minus(values, earlier, entities), against=state)
        right = found.values("right", state, point, part, fact_ids)
        for name, other in found.others(state):
            theirs = found.values("right", other, point, part, fact_ids)
            estimate = share_difference(right, theirs, entities)
            yield row(f"accuracy_minus_{name}", estimate, against=other)


def _level(metric: str, values: pd.Series, entities: Sequence[str]) -> Estimate:
    if metric in ("accuracy", "said_false"):
        here = values.notna().to_numpy()
        names = [name for name, kept in zip(entities, here, strict=True) if kept]
        return share(values.to_numpy(dtype=float)[here], names)
    # A level of log p is not tested against 0.
    return replace(entity_mean(values, entities), p=None, mde=None)


def _row(
    found: _Attacked,
    state: str,
    part: str,
    role: str,
    point: _Point,
    metric: str,
    estimate: Estimate,
    *,
    against: str = "",
    note: str = "",
) -> dict[str, Any]:
    too_few = TOO_FEW if estimate.mde == math.inf else ""
    chosen = found.note if role == LOST else ""
    return {
        "state": state,
        "attack": found.attack,
        "step": point.step,
        "level": point.level,
        "part": part,
        "role": role,
        "metric": metric,
        "value": _finite(estimate.value),
        "low": _finite(estimate.low),
        "high": _finite(estimate.high),
        "n_facts": estimate.n_facts,
        "n_entities": estimate.n_entities,
        "p": _finite(estimate.p),
        "mde": _finite(estimate.mde),
        "against": against,
        "reason": estimate.reason,
        "note": "; ".join(filter(None, (note, chosen, too_few))),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# ---- steps to recover


@dataclass(frozen=True)
class _Recovered:
    """Entity -> the first step at which it is there, or the last one."""

    steps: pd.Series
    late: int
    """Entities that are not there at the last step."""
    reason: str = ""


def _recovery(
    found: _Attacked, state: str, part: str, role: str, target: str, tolerance: float
) -> Iterator[dict[str, Any]]:
    points = found.points(state)
    if not points or not len(found.ids(part, role)):
        return
    last = points[-1]
    own = _recovered(found, state, part, role, target, tolerance)
    number = len(found.ids(part, role))
    note = f"{own.late} of {len(own.steps)} entities did not within {last.step} steps"
    estimate = missing(own.reason) if own.reason else entity_mean(own.steps, list(own.steps.index))
    estimate = replace(estimate, n_facts=number, p=None, mde=None)
    shown = note if own.late else ""
    yield _row(found, state, part, role, last, "steps_to_recover", estimate, note=shown)
    for name, other in found.others(state):
        theirs = _recovered(found, other, part, role, target, tolerance)
        if own.reason or theirs.reason:
            estimate = missing(own.reason or theirs.reason)
        else:
            estimate = difference(
                own.steps, theirs.steps.reindex(own.steps.index), list(own.steps.index)
            )
        yield _row(
            found,
            state,
            part,
            role,
            last,
            f"steps_to_recover_minus_{name}",
            replace(estimate, n_facts=number),
            against=other,
        )


def _recovered(
    found: _Attacked, state: str, part: str, role: str, target: str, tolerance: float
) -> _Recovered:
    fact_ids = found.ids(part, role)
    known, measure = LEVEL_OF[target], f"log_p_{target}"
    start = _Point(step=0, level=0.0)
    level = _by_entity(found, found.values(measure, known, start, part, fact_ids))
    if level.isna().all():
        return _Recovered(
            steps=pd.Series(dtype=float), late=0,
            reason=f"the state {known}, whose level is to be reached, was not attacked",
        )  # fmt: skip
    points = found.points(state)
    curve = pd.DataFrame(
        {
            point.step: _by_entity(found, found.values(measure, state, point, part, fact_ids))
            for point in points
        }
    ).reindex(level.index)
    there = curve.ge(level - tolerance, axis=0)
    reached: Any = there.any(axis=1)
    first: Any = there.idxmax(axis=1).where(reached, points[-1].step).astype(float)
    return _Recovered(steps=first.loc[level.notna()], late=int((~reached)[level.notna()].sum()))


def _by_entity(found: _Attacked, values: pd.Series) -> pd.Series:
    means: Any = values.groupby(found.entities(values.index), sort=False).mean()
    return means
