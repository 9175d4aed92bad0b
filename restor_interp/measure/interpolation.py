"""Interpolation: what does a model know on the straight line between two of its states?

    line = interpolate(model, "clean", "npo", prompts, trues, falses, texts)
    line.truth_barrier           # nats; 0: the loss never rises above the line between its ends

Weights (1 − t)·A + t·B, and at every t how likely the true and the false object of each fact are,
and how well held-out text is predicted. The barrier of a loss is the greatest rise above the
straight line between its two ends (Frankle et al. 2020, "Linear mode connectivity and the lottery
ticket hypothesis", arXiv 1912.05671; with the line instead of the ends' mean: Entezari et al. 2022,
arXiv 2110.06296). Without a barrier the two states lie in one basin: one is the other, moved. With
one, what looks restored is another solution than what was there before.

Two adapters' sum is a straight line in weights, not in what a model says: a curve between states
that differ in one delta is that delta scaled, and says how much of it is needed. Its control is the
same line to the method's sham.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.choices import log_sum_exp, score_choices
from restor_interp.measure.margins import Candidate, spellings
from restor_interp.measure.questions import state_name
from restor_interp.measure.texts import mean_nll, score_texts
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

POINTS = tuple(step / 10 for step in range(11))


@dataclass(frozen=True, kw_only=True)
class Interpolation:
    """The line from one state to another."""

    _repr_html_ = as_html

    from_state: str
    to_state: str
    points: tuple[float, ...]
    """t, in order: 0 is the one state, 1 the other."""
    prompts: tuple[Prompt, ...]
    logprobs: Float[np.ndarray, "prompt point object"]
    """Of the true and the false object, whole and with the line end, spellings added; in nats."""
    retain: Float[np.ndarray, " point"]
    """Loss of the held-out texts, in nats per token; NaN without any."""
    distance: float
    """Frobenius norm of the whole difference of weights."""

    @property
    def truth(self) -> Float[np.ndarray, " point"]:
        """−log p(true), averaged over prompts."""
        return -self.logprobs[..., 0].mean(0)

    @cached_property
    def truth_barrier(self) -> float:
        """Of `truth`, in nats."""
        return barrier(self.points, self.truth)[0]

    @cached_property
    def retain_barrier(self) -> float:
        """Of `retain`, in nats per token; NaN without text."""
        return barrier(self.points, self.retain)[0]

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table `interpolation`.

        Per prompt and t: `logprob_true`, `logprob_false`, `logodds`, and once `truth_barrier` at
        the t where it is. With fact_id "": `truth_loss` (mean of −log p(true)) and `retain_loss`
        at every t, and their barriers.
        """
        found: list[dict[str, Any]] = []
        for number, prompt in enumerate(self.prompts):
            true, false = self.logprobs[number].T
            curves = {"logprob_true": true, "logprob_false": false, "logodds": true - false}
            own = {"fact_id": prompt.fact_id, "context_id": prompt.context_id}
            found += self._rows(own, curves, {"truth_barrier": -true})
        losses = {"truth_loss": self.truth, "retain_loss": self.retain}
        barriers = {"truth_barrier": self.truth, "retain_barrier": self.retain}
        return found + self._rows({"fact_id": "", "context_id": None}, losses, barriers)

    def _rows(
        self, own: dict[str, Any], curves: dict[str, Any], losses: dict[str, Any]
    ) -> list[dict[str, Any]]:
        values = [
            (name, t, float(value))
            for name, curve in curves.items()
            for t, value in zip(self.points, curve, strict=True)
        ]
        for name, loss in losses.items():
            height, where = barrier(self.points, loss)
            values.append((name, where, height))
        line = {"from_state": self.from_state, "to_state": self.to_state, "distance": self.distance}
        return [
            own
            | line
            | {
                "t": t,
                "metric": name,
                "value": value if math.isfinite(value) else None,
                "reason": None if math.isfinite(value) else self._reason(name),
            }
            for name, t, value in values
        ]

    def _reason(self, metric: str) -> str:
        if metric.startswith("retain") and np.isnan(self.retain).all():
            return "no held-out text of two tokens or more was given"
        return "the model's numbers are not finite there"


def interpolate(
    model: HookedModel,
    from_state: str | State,
    to_state: str | State,
    prompts: Sequence[Prompt],
    true: Sequence[Candidate],
    false: Sequence[Candidate],
    texts: Sequence[str] = (),
    *,
    points: Sequence[float] = POINTS,
) -> Interpolation:
    """Read facts and held-out text along the straight line between two states.

    Args:
        true, false: of each prompt, an object or its spellings.
        texts: of which the retain loss is measured; none of them trained on.
        points: values of t; 0 and 1 among them. Others may lie beyond.

    Raises:
        ConfigError: an unknown state, two equal ones, or points without the ends.
        PromptError: as `score_choices`; not one true and one false object per prompt.
    """
    start, end = model.resolve_state(from_state), model.resolve_state(to_state)
    names = state_name(from_state), state_name(to_state)
    line = tuple(sorted({float(t) for t in points}))
    if not {0.0, 1.0} <= set(line) or not np.isfinite(line).all():
        raise ConfigError(f"a line needs its ends, t = 0 and t = 1; found points={list(points)}")
    distances = model.distances(start, end)
    if not distances:
        raise ConfigError(
            f"the states {names[0]} and {names[1]} have the same weights: there is no line between "
            "them"
        )
    if not len(prompts) == len(true) == len(false):
        raise PromptError(
            f"{len(prompts)} prompts need one true and one false object each; found {len(true)} "
            f"and {len(false)}"
        )
    spelled = [[spellings(own) for own in pair] for pair in zip(true, false, strict=True)]
    logprobs = np.full((len(prompts), len(line), 2), np.nan)
    retain = np.full(len(line), np.nan)
    for place, t in enumerate(line):
        with model.at(between(start, end, t)):
            logprobs[:, place] = _logprobs(model, prompts, spelled)
            if texts:
                retain[place] = mean_nll(score_texts(model, texts))
    return Interpolation(
        from_state=names[0],
        to_state=names[1],
        points=line,
        prompts=tuple(prompts),
        logprobs=logprobs,
        retain=retain,
        distance=math.sqrt(math.fsum(norm**2 for norm in distances.values())),
    )


def between(start: State, end: State, t: float) -> State:
    """(1 − t)·start + t·end; beyond the ends too. At 0 and 1 the states themselves."""
    names = dict.fromkeys((*start.coefficients, *end.coefficients))
    pairs = {n: (start.coefficients.get(n, 0.0), end.coefficients.get(n, 0.0)) for n in names}
    # What both have keeps its bits at every t.
    return State({n: a if a == b else (1 - t) * a + t * b for n, (a, b) in pairs.items()})


def barrier(points: Sequence[float], losses: Float[np.ndarray, " point"]) -> tuple[float, float]:
    """How far a loss rises above the line between its values at 0 and 1, and at which t; points
    beyond the ends do not count. NaN where a loss within is not finite."""
    t, loss = np.asarray(points, dtype=float), np.asarray(losses, dtype=float)
    within = (t >= 0) & (t <= 1)
    t, loss = t[within], loss[within]
    if not np.isfinite(loss).all():
        return math.nan, math.nan
    first, last = loss[np.argmin(t)], loss[np.argmax(t)]
    # (b − a)·t + a gives b − a + a at 1, which need not be b to the bit.
    above = np.where((t == 0) | (t == 1), 0.0, loss - ((1 - t) * first + t * last))
    where = int(np.argmax(above))
    return float(above[where]), float(t[where])


def _logprobs(
    model: HookedModel, prompts: Sequence[Prompt], spelled: Sequence[Sequence[tuple[str, ...]]]
) -> Float[np.ndarray, "prompt object"]:
    objects = [[name for names in own for name in names] for own in spelled]
    found = np.empty((len(prompts), 2))
    for row, scores in enumerate(score_choices(model, prompts, objects)):
        values = iter(score.sum_logprob for score in scores)
        found[row] = [log_sum_exp([next(values) for _ in names]) for names in spelled[row]]
    return found
