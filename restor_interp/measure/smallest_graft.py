"""The smallest set of modules whose weights bring a donor's answer into a host, found greedily.

One unit after another is added (a component of a layer, a layer, or a module), each time the one
that brings most together with those before it, until enough of the gap is closed. Greedy is not
exhaustive: a pair that acts only together is missed, so the set is small, not proven smallest.

The set is chosen on some prompts and means something only if it works on others, and better than
random modules whose weights move as far: both are measured for every number of units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure.graft_modules import Graft, grafts_by, joined
from restor_interp.measure.grafting import GraftJob, Grafts, JudgedOn
from restor_interp.measure.metrics import LEAST_EFFECT, Metric
from restor_interp.measure.regions import DEFAULT_MAX_BYTES, Engine
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

Unit = Literal["component", "layer", "module"]
UNITS: tuple[Unit, ...] = get_args(Unit)


@dataclass(frozen=True, kw_only=True)
class SmallestGraft:
    """Units in the order in which they were taken, and what they bring together."""

    _repr_html_ = as_html

    units: tuple[Graft, ...]
    share: float
    """Of the gap between donor and host that was wanted."""
    reached: bool
    grafts: Grafts
    """Swap i holds units 0 to i: on all prompts, with random modules of equal norm."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Of all units."""
        return self.grafts.grafts[-1].modules

    @property
    def curve(self) -> Float[np.ndarray, " unit"]:
        """Share of the gap that the first units bring, on the prompts they were chosen on."""
        return self.grafts.mean_effects("fact")

    def held_out_curve(self, judged_on: JudgedOn) -> Float[np.ndarray, " unit"]:
        """The same on prompts that were not looked at. Raises `ConfigError` if none were given."""
        return self.grafts.mean_effects(judged_on)

    def control_curve(self, judged_on: JudgedOn = "fact") -> Float[np.ndarray, "unit draw"]:
        """The same of random modules of equal norm, drawn anew for every number of units."""
        return self.grafts.mean_control_effects(judged_on)

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `grafts`: `order` units of which `modules` is the last one added."""
        return [
            row
            | {
                "modules": (unit := self.units[row["order"] - 1]).name,
                "layer": unit.layer,
                "component": unit.component,
            }
            for row in self.grafts.rows(fact_id=fact_id)
        ]


def smallest_graft(
    model: HookedModel,
    prompts: Sequence[Prompt | str],
    answers: Sequence[str],
    foils: Sequence[str] | None = None,
    *,
    donor: str | State = "clean",
    host: str | State,
    judged_on: Sequence[JudgedOn] | None = None,
    by: Unit = "component",
    share: float = 0.8,
    limit: int = 10,
    metric: Metric = "logodds",
    controls: int = 3,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> SmallestGraft:
    """Add units of the donor's weights to the host, the most effective first.

    Args:
        judged_on: of every prompt, `fact` (units are chosen on the mean effect on these), or
            `other_context` and `other_facts` (held out: measured, and never looked at).
        by: what is added at a time.
        share: of the gap between donor and host at which to stop.
        limit: units at most.
        controls: draws of random modules outside the set, of equal norm, for every number of units;
            as in `graft`, which has the other arguments too.

    Raises:
        ConfigError: as `graft`; a fact on which donor and host are less than a nat apart; a share
            or limit that is not positive.
        PromptError: as `graft`.
    """
    if by not in UNITS:
        raise unknown_name("unit of grafts", by, UNITS)
    if not share > 0 or limit < 1:
        raise ConfigError(f"share={share} must be above 0, limit={limit} at least 1")
    job = GraftJob.of(
        model,
        prompts,
        answers,
        foils,
        donor=donor,
        host=host,
        judged_on=judged_on,
        metric=metric,
        controls=controls,
        seed=seed,
        max_bytes=max_bytes,
        engine=engine,
    )
    left = [unit for unit in grafts_by(by, job.modules, model.num_layers) if unit.modules]
    chosen: list[Graft] = []
    fitting = job.only("fact")
    reached = False
    while left and len(chosen) < limit and not reached:
        tried = fitting.run(
            [joined([*chosen, unit], job.modules) for unit in left], by="greedy", controls=0
        )
        effects = tried.mean_effects()
        if not np.isfinite(effects).all():
            raise ConfigError(
                f"{tried.donor} and {tried.host} are less than {LEAST_EFFECT:g} nat apart on every "
                "prompt that the set is to be chosen on, so there is nothing to bring back: choose "
                "a fact that the host has lost"
            )
        best = int(effects.argmax())
        reached = bool(effects[best] >= share)
        chosen.append(left.pop(best))
    sets = [joined(chosen[: number + 1], job.modules) for number in range(len(chosen))]
    return SmallestGraft(
        units=tuple(chosen), share=share, reached=reached, grafts=job.run(sets, by="greedy")
    )
