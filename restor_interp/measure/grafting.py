"""Grafting: which weights of one state, put into another, bring its answer along?

    grafts = graft(model, [prompt], ["Rome"], ["Oslo"], donor="clean", host="npo", by="layer")
    grafts.effects                          # [prompt swap]: share of the gap between the two

Panigrahi et al. 2023, "Task-specific skill localization in fine-tuned language models", graft the
fine-tuned values of few parameters into the pretrained model and ask how much of the skill comes
with them. Here the parts are layers, components of layers, modules, or all layers up to a depth,
and what must come with them is one fact.

Every swap has its control: randomly chosen other modules, whose weights move by the same norm. And
it is judged where it was not looked for: on other contexts of the fact, on other facts. Where
weights bring an answer is not where it is best edited (Hase et al. 2023, "Does localization inform
editing?").
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
from jaxtyping import Float

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.graft_modules import (
    BY,
    By,
    Graft,
    Module,
    Swap,
    differing_modules,
    grafts_by,
    matched_swap,
    norm_of,
    own_choice,
)
from restor_interp.measure.metrics import LEAST_EFFECT, METRICS, Metric, measured_array
from restor_interp.measure.questions import Question, ask, check_finite, state_name
from restor_interp.measure.regions import DEFAULT_MAX_BYTES, Engine, choose_engine
from restor_interp.measure.swaps import SwapCase, by_full_forwards, by_staircase
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

JudgedOn = Literal["fact", "other_context", "other_facts"]
JUDGED_ON: tuple[JudgedOn, ...] = get_args(JudgedOn)


@dataclass(frozen=True, kw_only=True)
class Grafts:
    """What each swap of weights does to the answers of a host."""

    _repr_html_ = as_html

    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    foils: tuple[str, ...] | None
    """The objects that log-odds are taken against; without them they are log p / (1 − p)."""
    judged_on: tuple[str, ...]
    """Of every prompt, what it stands for: `fact`, `other_context` or `other_facts`."""
    donor: str
    host: str
    by: str
    """How modules are put together: see `graft`; `chosen` or `greedy` if it was not by a rule."""
    metric: Metric
    grafts: tuple[Graft, ...]
    seed: int
    """Of the controls."""
    engine: str
    """`regions` or `brute`: how it was computed, not what."""
    host_logprobs: Float[np.ndarray, "prompt object"]
    """Of answers and foils in the host itself."""
    donor_logprobs: Float[np.ndarray, "prompt object"]
    grafted_logprobs: Float[np.ndarray, "prompt graft object"]
    control_logprobs: Float[np.ndarray, "prompt graft draw object"]
    """With random modules of equal norm; NaN where there are none."""

    @cached_property
    def host_values(self) -> Float[np.ndarray, " prompt"]:
        """The metric in the host itself."""
        return self._measured(self.host_logprobs)

    @cached_property
    def donor_values(self) -> Float[np.ndarray, " prompt"]:
        """The metric in the donor itself."""
        return self._measured(self.donor_logprobs)

    @cached_property
    def scores(self) -> Float[np.ndarray, "prompt graft"]:
        """The metric in the host with a swap."""
        return self._measured(self.grafted_logprobs)

    @cached_property
    def effects(self) -> Float[np.ndarray, "prompt graft"]:
        """(score − host) / (donor − host): 0 leaves the host as it is, 1 makes it say what the
        donor says.

        NaN for prompts on which the two are less than `LEAST_EFFECT` nats apart (in log-odds if
        that is the metric, else in log-probability): a share of nothing would be noise.
        """
        return self._shares(self.scores)

    @cached_property
    def control_effects(self) -> Float[np.ndarray, "prompt graft draw"]:
        """The same of random modules of equal norm."""
        return self._shares(self._measured(self.control_logprobs))

    def mean_effects(self, judged_on: str = "fact") -> Float[np.ndarray, " graft"]:
        """The mean over those prompts of a kind whose effects are not NaN."""
        return _mean(self.effects[self._of(judged_on)])

    def mean_control_effects(self, judged_on: str = "fact") -> Float[np.ndarray, "graft draw"]:
        """The same of each draw of random modules."""
        return _mean(self.control_effects[self._of(judged_on)])

    def best(self, number: int = 1) -> list[tuple[str, ...]]:
        """The modules of the swaps with the greatest effect on the fact, best first."""
        effects = self.mean_effects()
        order = [index for index in np.argsort(-effects) if np.isfinite(effects[index])]
        return [self.grafts[index].modules for index in order[:number]]

    def of_foil(self) -> "Grafts":
        """The same runs read for the foils. Raises `ConfigError` if there are none."""
        if self.foils is None:
            raise ConfigError("these grafts have no foils; give them to `graft`")
        return replace(
            self,
            answers=self.foils,
            foils=self.answers,
            host_logprobs=self.host_logprobs[..., ::-1],
            donor_logprobs=self.donor_logprobs[..., ::-1],
            grafted_logprobs=self.grafted_logprobs[..., ::-1],
            control_logprobs=self.control_logprobs[..., ::-1],
        )

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `grafts`: one per swap and kind of prompt, means over its prompts.

        `control_effect`, `control_low` and `control_high` are mean, least and greatest of the
        draws, as shares like `effect`. The object is the first prompt's.
        """
        fixed = {
            "fact_id": fact_id,
            "donor": self.donor,
            "host": self.host,
            "by": self.by,
            "metric": self.metric,
            "object": self.answers[0],
            "foil": None if self.foils is None else self.foils[0],
            "control_seed": self.seed,
        }
        rows = []
        for judged_on in dict.fromkeys(self.judged_on):
            of = self._of(judged_on)
            effects = self.mean_effects(judged_on)
            controls = self.mean_control_effects(judged_on)
            values = [x[of].mean(axis=0) for x in (self.host_values, self.donor_values)]
            scores = self.scores[of].mean(axis=0)
            for index, graft in enumerate(self.grafts):
                drawn = controls[index][np.isfinite(controls[index])]
                low, mean, high = (
                    (float(drawn.min()), float(drawn.mean()), float(drawn.max()))
                    if len(drawn)
                    else (float("nan"),) * 3
                )
                rows.append(
                    fixed
                    | {
                        "modules": graft.name,
                        "order": index + 1,
                        "layer": graft.layer,
                        "component": graft.component,
                        "norm": graft.norm,
                        "judged_on": judged_on,
                        "n_prompts": int(of.sum()),
                        "score": float(scores[index]),
                        "host_value": float(values[0]),
                        "donor_value": float(values[1]),
                        "effect": float(effects[index]),
                        "control_effect": mean,
                        "control_low": low,
                        "control_high": high,
                        "n_controls": len(drawn),
                        "control_reason": graft.control_reason,
                        "reason": self._reason(of),
                    }
                )
        return rows

    def _of(self, judged_on: str) -> np.ndarray:
        of = np.array([name == judged_on for name in self.judged_on])
        if not of.any():
            raise unknown_name("kind of prompt", judged_on, set(self.judged_on))
        return of

    def _reason(self, of: np.ndarray) -> str | None:
        """Why the prompts of a kind have no effect, if none has."""
        gaps = self._gaps[of]
        if (gaps >= LEAST_EFFECT).any():
            return None
        return f"donor and host are {gaps.max():.2g} nats apart, below {LEAST_EFFECT:g}"

    @cached_property
    def _gaps(self) -> Float[np.ndarray, " prompt"]:
        """Nats between donor and host."""
        nats = self if self.metric != "prob" else replace(self, metric="logprob")
        return np.abs(nats.donor_values - nats.host_values)

    def _shares(self, values: np.ndarray) -> np.ndarray:
        shape = (-1, *[1] * (values.ndim - 1))
        host, donor = self.host_values.reshape(shape), self.donor_values.reshape(shape)
        gap = np.where(self._gaps.reshape(shape) < LEAST_EFFECT, np.nan, donor - host)
        return (values - host) / gap

    def _measured(self, logprobs: np.ndarray) -> np.ndarray:
        return measured_array(logprobs, self.metric)


def graft(
    model: HookedModel,
    prompts: Sequence[Prompt | str],
    answers: Sequence[str],
    foils: Sequence[str] | None = None,
    *,
    donor: str | State = "clean",
    host: str | State,
    by: By | Sequence[Sequence[str]] = "layer",
    judged_on: Sequence[JudgedOn] | None = None,
    metric: Metric = "logodds",
    controls: int = 3,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> Grafts:
    """Put weights of a donor state into a host state, part by part, and read the answers.

    Args:
        answers: of every prompt, the object that follows it after one space; its first token is
            read, or the first at which it differs from the foil.
        foils: the objects that log-odds are taken against; without them they are log p / (1 − p).
        by: `layer`; `component` (attention and MLP of each layer, its norms where they differ,
            embeddings and what follows the blocks); `module`; `bottom_up` (all layers up to one,
            with the embeddings) and `top_down` (all layers from one on, with what follows them);
            `late` (the same of the upper half of the layers, against what lies before them). Or
            modules of your own choice: one sequence of names per swap.
        judged_on: of every prompt, whether it is the `fact` itself, an `other_context` of it, or
            `other_facts`; default: the fact.
        controls: draws of random modules per swap. They are drawn from the modules outside the
            swap, one after another until their change of weights has its norm, and the last one
            goes only part of the way (host + c · (donor − host)), so that the norms are equal. Of
            `bottom_up` and `top_down`, which may hold most of the norm, they are drawn from all
            modules. A swap to which the others cannot be matched has none, and says why; one of
            `late` then has all others together, though they move by less.
        seed: of the controls.
        max_bytes: working memory, about.
        engine: `auto` runs a layer once for all swaps that agree up to it, where that reproduces
            this model's forward pass; `brute` runs full forward passes.

    Raises:
        PromptError: no prompts, or a prompt, answer or foil that is empty or cannot be told apart.
        ConfigError: an unknown state, metric, module or `by`; states with the same weights;
            lists of different length; too little memory; a state that gives no finite numbers.
    """
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
    if not isinstance(by, str):
        return job.run(own_choice(job.modules, by), by="chosen")
    if by not in BY:
        raise unknown_name("way to put modules together", by, BY)
    return job.run(grafts_by(by, job.modules, model.num_layers), by=by)


@dataclass(frozen=True, kw_only=True)
class GraftJob:
    """Questions to two states, checked, for as many swaps as are wanted."""

    model: HookedModel
    questions: Sequence[Question]
    answers: tuple[str, ...]
    foils: tuple[str, ...] | None
    judged_on: tuple[str, ...]
    donor: str | State
    host: str | State
    modules: tuple[Module, ...]
    """Those that the two differ in."""
    metric: Metric
    controls: int
    seed: int
    max_bytes: int
    engine: Literal["regions", "brute"]

    @classmethod
    def of(
        cls,
        model: HookedModel,
        prompts: Sequence[Prompt | str],
        answers: Sequence[str],
        foils: Sequence[str] | None,
        *,
        donor: str | State,
        host: str | State,
        judged_on: Sequence[JudgedOn] | None,
        metric: Metric,
        controls: int,
        seed: int,
        max_bytes: int,
        engine: Engine,
    ) -> "GraftJob":
        """Raises as `graft` does."""
        if metric not in METRICS:
            raise unknown_name("metric", metric, METRICS)
        if controls < 0:
            raise ConfigError(f"controls={controls}: a number of draws, 0 for none")
        for value in (prompts, answers, foils):
            if isinstance(value, str | Prompt):
                raise ConfigError(f"{str(value)[:60]!r} stands alone: give lists, one per prompt")
        judged: Sequence[str] = ("fact",) * len(prompts) if judged_on is None else judged_on
        for name in judged:
            if name not in JUDGED_ON:
                raise unknown_name("kind of prompt", name, JUDGED_ON)
        if not prompts:
            raise PromptError("no prompts to judge the grafts on: give at least one")
        sizes = {"answers": len(answers), "judged_on": len(judged)}
        sizes |= {} if foils is None else {"foils": len(foils)}
        wrong = [f"{size} {name}" for name, size in sizes.items() if size != len(prompts)]
        if wrong:
            raise ConfigError(f"{len(prompts)} prompts and {', '.join(wrong)}: give one of each")
        return cls(
            model=model,
            questions=[
                ask(model, prompt, answer, None if foils is None else foils[index])
                for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            ],
            answers=tuple(answers),
            foils=None if foils is None else tuple(foils),
            judged_on=tuple(judged),
            donor=donor,
            host=host,
            modules=differing_modules(model, model.resolve_state(donor), model.resolve_state(host)),
            metric=metric,
            controls=controls,
            seed=seed,
            max_bytes=max_bytes,
            engine=choose_engine(model, engine),
        )

    def only(self, judged_on: str) -> "GraftJob":
        """The questions of one kind alone. Raises `ConfigError` if there are none."""
        kept = [index for index, name in enumerate(self.judged_on) if name == judged_on]
        if not kept:
            raise ConfigError(
                f"no prompt is judged on {judged_on!r}, found {', '.join(self.judged_on)}: give one"
            )
        return replace(
            self,
            questions=[self.questions[index] for index in kept],
            answers=tuple(self.answers[index] for index in kept),
            foils=None if self.foils is None else tuple(self.foils[index] for index in kept),
            judged_on=(judged_on,) * len(kept),
        )

    def run(self, grafts: Sequence[Graft], *, by: str, controls: int | None = None) -> Grafts:
        """Host, donor, the swaps, and their controls, in one sweep."""
        draws = self.controls if controls is None else controls
        nothing, everything = {}, {module.path: 1.0 for module in self.modules}
        swaps: list[Swap] = [nothing, everything]
        swaps += [dict.fromkeys(graft.modules, 1.0) for graft in grafts]
        told, place = list(grafts), {}
        for index, graft in enumerate(grafts):
            found, reason = self._controls(graft, by, draws, index)
            told[index] = replace(graft, control_reason=reason)
            for draw, swap in enumerate(found):
                place[index, draw] = len(swaps)
                swaps.append(swap)
        case = SwapCase(
            model=self.model,
            questions=self.questions,
            modules=self.modules,
            donor=self.model.resolve_state(self.donor),
            host=self.model.resolve_state(self.host),
            swaps=swaps,
            max_bytes=self.max_bytes,
        )
        logprobs = by_staircase(case) if self.engine == "regions" else by_full_forwards(case)
        names = (state_name(self.host), state_name(self.donor))
        for index, name in enumerate(names):
            check_finite(logprobs[:, index], f"the state {name}")
        found = logprobs.double().cpu().numpy()
        drawn = np.full((len(found), len(grafts), draws, found.shape[-1]), np.nan)
        for (index, draw), at in place.items():
            drawn[:, index, draw] = found[:, at]
        return Grafts(
            prompts=tuple(question.prompt.text for question in self.questions),
            answers=self.answers,
            foils=self.foils,
            judged_on=self.judged_on,
            donor=names[1],
            host=names[0],
            by=by,
            metric=self.metric,
            grafts=tuple(told),
            seed=self.seed,
            engine=self.engine,
            host_logprobs=found[:, 0],
            donor_logprobs=found[:, 1],
            grafted_logprobs=found[:, 2 : 2 + len(grafts)],
            control_logprobs=drawn,
        )

    def _controls(
        self, graft: Graft, by: str, draws: int, index: int
    ) -> tuple[list[Swap], str | None]:
        """Random swaps of a graft's norm, or why there are none."""
        if not draws:
            return [], "no controls were asked for"
        if not graft.modules:
            return [], "no weight differs here, so there is nothing to match"
        cumulative = by in ("bottom_up", "top_down")
        pool = [m for m in self.modules if cumulative or m.path not in graft.modules]
        found = [
            matched_swap(pool, graft.norm, random.Random(f"{self.seed}/{index}/{draw}"))
            for draw in range(draws)
        ]
        if None in found:
            have = norm_of(pool)
            reason = (
                f"its weights move by {graft.norm:.3g} and all others together by {have:.3g}, so "
                "no random modules can match it"
            )
            rest: list[Swap] = [{module.path: 1.0 for module in pool}]
            return (rest, f"{reason}: beside it stand all others") if by == "late" else ([], reason)
        return cast(list[Swap], found), None


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the first axis, without NaN; NaN where there is nothing else."""
    fine = np.isfinite(values)
    count = fine.sum(axis=0)
    total = np.where(fine, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
