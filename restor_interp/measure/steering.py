"""What a direction does: taken out of a state, put into the clean one, in units of the answer.

A direction found on neutral texts matters for a fact if taking it out of the state brings the true
object back. It is compared with random directions of equal length and with the directions of other
states, which any real effect must exceed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.bases import BaseRun
from restor_interp.measure.continuing import continue_run
from restor_interp.measure.directions import Directions, checked_layers
from restor_interp.measure.metrics import LEAST_EFFECT
from restor_interp.measure.questions import Question, ask, check_finite
from restor_interp.measure.regions import Engine, Prefix, run_base
from restor_interp.measure.scopes import Scope, first_token
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

Mode = Literal["ablate", "add", "subtract"]
MODES: tuple[Mode, ...] = get_args(Mode)

METRICS = ("logodds", "lead")
"""`logodds`: log p(true) − log p(false). `lead`: log p(true) − log p of the likeliest other token;
above 0 the true object is what the state says."""

RANDOM = "random"


def steering_rows(
    model: HookedModel,
    prompts: Sequence[Prompt],
    objects: Sequence[tuple[str, str]],
    directions: Directions,
    *,
    controls: Sequence[Directions] = (),
    layers: Sequence[int] | None = None,
    modes: Sequence[Mode] = MODES,
    random: int = 3,
    scale: float = 1.0,
    scope: Scope = "question",
    seed: int = 1,
    engine: Engine = "auto",
) -> list[dict[str, Any]]:
    """Rows of the table `steering`: one per fact, layer, mode, metric and kind of control.

    Modes, at every token of the question, from the residual stream after `layer` layers on:

    - `ablate`, in the state: its component along the direction becomes the mean that the base has
      there on neutral texts, in this layer and all later ones.
    - `subtract`, in the state: the direction is taken away once, in this layer.
    - `add`, in the base: the direction is added once.

    `value` is the metric then, `before` without the change, `target` the metric of the base (of the
    state, for `add`); `share` = (value − before) / (target − before), the recovered share, is None
    where target and before are less than 1 nat apart. The controls: `random` directions of equal
    length (their mean, lowest and highest), and each of `controls` scaled to equal length.

    Args:
        objects: per prompt, (true, false), read at the first token at which they differ.
        directions: of one state; `model` must know it and its base by name.
        controls: directions of other states, such as the method's sham.
        layers: default: the middle one.
        scale: how many times the direction is added or subtracted.
        scope: change the tokens of the question, or of the few-shot examples before it too (all but
            the prompt's first).

    Raises:
        ConfigError: an unknown state, mode or scope, a layer that does not exist, no control.
        PromptError: as many prompts as objects are needed; objects that no token tells apart.
    """
    for mode in modes:
        if mode not in MODES:
            raise unknown_name("way of steering", mode, MODES)
    if len(prompts) != len(objects):
        raise PromptError(f"{len(prompts)} prompts need as many (true, false): {len(objects)}")
    if random < 1:
        raise ConfigError(f"random={random}: an effect without a random control says nothing")
    chosen = checked_layers(directions, [model.num_layers // 2] if layers is None else layers)
    questions = [ask(model, prompt, *own) for prompt, own in zip(prompts, objects, strict=True)]
    bundles = {layer: _bundle(model, directions, controls, layer, random, seed) for layer in chosen}
    plain: dict[str, list[_Read]] = {}
    changed: dict[tuple[int, str], list[_Read]] = {}
    for host, wanted in (
        (directions.base, [mode for mode in modes if mode == "add"]),
        (directions.state, [mode for mode in modes if mode != "add"]),
    ):
        with model.at(host):
            own = plain[host] = []
            for question, base in _bases(model, questions, scope, engine):
                own.append(_read(model, question, base.final))
                for layer, bundle in bundles.items():
                    for mode in wanted:
                        final = _steered(base, directions, bundle, layer, mode, scale)
                        changed.setdefault((layer, mode), []).append(_read(model, question, final))
    rows = []
    for layer, bundle in bundles.items():
        for mode in modes:
            ends = (directions.base, directions.state)
            host, target = ends if mode == "add" else ends[::-1]
            for number, question in enumerate(questions):
                fixed = {
                    "fact_id": question.prompt.fact_id,
                    "context_id": question.prompt.context_id,
                    "state": directions.state,
                    "base": directions.base,
                    "layer": layer,
                    "mode": mode,
                    "scale": None if mode == "ablate" else scale,
                    "control_seed": seed,
                    "reason": bundle.problem,
                }
                values = [plain[host][number], plain[target][number], changed[layer, mode][number]]
                for metric in METRICS:
                    before, goal, after = (one.of(metric) for one in values)
                    rows += _rows(fixed, metric, before[0], goal[0], after, bundle)
    return rows


# ---- what is put in


@dataclass(frozen=True, kw_only=True)
class _Bundle:
    """A direction of one layer with its controls, all of the direction's length."""

    vectors: Float[Tensor, "draw width"]
    names: tuple[str, ...]
    """Of the controls, in their order; the direction itself comes first."""
    problem: str | None


def _bundle(
    model: HookedModel,
    directions: Directions,
    controls: Sequence[Directions],
    layer: int,
    random: int,
    seed: int,
) -> _Bundle:
    own = directions.vectors[layer]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(random, len(own), generator=generator).to(own.device)
    others = [one.vectors[layer] for one in controls]
    vectors = torch.stack([own, *drawn, *others])
    lengths = vectors.norm(dim=-1, keepdim=True)
    scaled = vectors / lengths.clamp(min=1e-30) * own.norm()
    return _Bundle(
        vectors=scaled.to(model.device),
        names=(RANDOM,) * random + tuple(f"direction of {one.state}" for one in controls),
        problem=None if own.norm() > 0 else "the states do not differ here: no direction",
    )


@torch.no_grad()
def _steered(
    base: BaseRun, directions: Directions, bundle: _Bundle, layer: int, mode: str, scale: float
) -> Float[Tensor, "draw width"]:
    """The end of the run with the direction, and with each control."""
    own = base.hidden[layer].expand(len(bundle.vectors), -1, -1)
    vectors = bundle.vectors[:, None]
    if mode != "ablate":
        step = (scale if mode == "add" else -scale) * vectors
        return continue_run(base, (own.float() + step).to(own.dtype), layer=layer)
    units = vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    means = directions.base_means.to(units.device)

    def centre(number: int, value: Tensor) -> Tensor:
        along = ((value.float() - means[number]) * units).sum(dim=-1, keepdim=True)
        return (value.float() - along * units).to(value.dtype)

    return continue_run(base, centre(layer, own), layer=layer, change=centre)


# ---- runs and what is read of them


@torch.no_grad()
def _bases(
    model: HookedModel, questions: Sequence[Question], scope: Scope, engine: Engine
) -> Iterator[tuple[Question, BaseRun]]:
    """The plain run of each question in the present state; shared examples are run once."""
    embed = model.hf_model.get_input_embeddings()
    prefixes: dict[tuple[int, ...], Prefix] = {}
    for question in questions:
        start = first_token(model, question, scope)
        before = tuple(question.ids[:start].tolist())
        base = run_base(
            model,
            embed(question.ids)[None],
            start=start,
            prefix=prefixes.get(before),
            engine=engine,
        )
        known = [layer for layer in base.shared if layer is not None]
        if len(known) == model.num_layers:
            prefixes[before] = known
        yield question, base


@dataclass(frozen=True, kw_only=True)
class _Read:
    """The metrics of some runs of one question."""

    logodds: Float[np.ndarray, " draw"]
    lead: Float[np.ndarray, " draw"]

    def of(self, metric: str) -> Float[np.ndarray, " draw"]:
        return self.logodds if metric == "logodds" else self.lead


@torch.no_grad()
def _read(model: HookedModel, question: Question, final: Float[Tensor, "draw width"]) -> _Read:
    logits = model.project(final).float()
    check_finite(logits, f"a run of {model.name}")
    true, false = question.targets.tolist()
    others = logits.clone()
    others[:, true] = float("-inf")
    found = torch.stack([logits[:, false], others.amax(dim=-1)])
    logodds, lead = (logits[:, true] - found).double().cpu().numpy()
    return _Read(logodds=logodds, lead=lead)


def _rows(
    fixed: dict[str, Any],
    metric: str,
    before: float,
    target: float,
    after: Float[np.ndarray, " draw"],
    bundle: _Bundle,
) -> list[dict[str, Any]]:
    gap = target - before
    reason = fixed["reason"]
    if reason is None and abs(gap) < LEAST_EFFECT:
        reason = f"no share: before and target are {abs(gap):.2f} nats apart"

    def share(value: float) -> float | None:
        return None if reason is not None else float((value - before) / gap)

    value = None if bundle.problem is not None else float(after[0])
    rows = []
    for control in dict.fromkeys(bundle.names):
        own = after[1:][[name == control for name in bundle.names]]
        mean = float(own.mean())
        rows.append(
            fixed
            | {
                "metric": metric,
                "before": float(before),
                "target": float(target),
                "value": value,
                "share": share(after[0]),
                "control": control,
                "control_value": mean,
                "control_low": float(own.min()),
                "control_high": float(own.max()),
                "control_share": share(mean),
                "n_controls": len(own),
                "reason": reason,
            }
        )
    return rows
