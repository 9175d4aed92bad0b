"""Causal tracing: which state, restored in a run that has lost the subject, brings the answer back?

Meng et al. 2022, "Locating and editing factual associations in GPT" (ROME), §2: run the prompt;
run it with its subject noised (or replaced by another name of the same length); then again with
one value of the first run put back at one token and layer. A value that brings the answer back
carries what the subject contributed.
"""

import logging
import weakref
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.objects import diverge
from restor_interp.measure.regions import HOOKS, Site
from restor_interp.measure.restoring import (
    DEFAULT_MAX_BYTES,
    Case,
    by_full_forwards,
    by_regions,
    regions_problem,
)
from restor_interp.measure.subjects import noised, prompt_tokens, substituted, with_subject
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

logger = logging.getLogger(__name__)

Metric = Literal["prob", "logprob", "logodds"]
METRICS: tuple[Metric, ...] = ("prob", "logprob", "logodds")
ENGINES = ("auto", "regions", "brute")

LEAST_EFFECT = 1.0
"""Nats by which noising must lower the answer before a share of that effect means anything."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What restoring each single state does to the answer."""

    tokens: tuple[str, ...]
    """The prompt's tokens as text; if answer and foil begin alike, with the tokens they share."""
    subject: tuple[int, int]
    """Tokens [start, end) of the subject."""
    answer: str
    foil: str | None
    """The object that log-odds are taken against."""
    kind: Site
    window: int
    """Layers restored around a cell's (1 for `resid`)."""
    metric: Metric
    corruption: str
    """`noise` or `substitution`."""
    substitute: str | None
    sigma: float | None
    """Standard deviation of the noise over `noise`; none for a substitution."""
    sigma_source: str | None
    """`embedding matrix` or `given`."""
    noise: float | None
    """The noise's standard deviation in units of `sigma`."""
    seed: int | None
    engine: str
    """`regions` or `brute`: how it was computed, not what."""
    clean_logprobs: Float[np.ndarray, " object"]
    """Of answer and foil in the whole run."""
    noised_logprobs: Float[np.ndarray, "draw object"]
    restored_logprobs: Float[np.ndarray, "draw position layer object"]
    """NaN where a restored state changes nothing, before the subject."""

    @cached_property
    def high(self) -> float:
        """The metric in the whole run."""
        return float(self._measured(self.clean_logprobs))

    @cached_property
    def low_samples(self) -> Float[np.ndarray, " draw"]:
        """The metric in each noised run."""
        return self._measured(self.noised_logprobs)

    @cached_property
    def low(self) -> float:
        """Its mean over the draws."""
        return float(self.low_samples.mean())

    @cached_property
    def samples(self) -> Float[np.ndarray, "draw position layer"]:
        """The metric with one state restored, per draw."""
        measured = self._measured(self.restored_logprobs)
        return np.where(np.isnan(measured), self.low_samples[:, None, None], measured)

    @cached_property
    def scores(self) -> Float[np.ndarray, "position layer"]:
        """Its mean over the draws."""
        return self.samples.mean(axis=0)

    @property
    def total_effect(self) -> float:
        """What noising takes away: `high` − `low`."""
        return self.high - self.low

    @cached_property
    def effects(self) -> Float[np.ndarray, "position layer"]:
        """The share of the total effect that each state restores.

        NaN where noising costs the answer less than `LEAST_EFFECT` nats (of log-odds if that is
        the metric, else of log-probability): a share of nothing would be noise.
        """
        nats = self if self.metric != "prob" else replace(self, metric="logprob")
        if nats.total_effect < LEAST_EFFECT:
            return np.full_like(self.scores, np.nan)
        return (self.scores - self.low) / self.total_effect

    def of_foil(self) -> "Trace":
        """The same runs read for the foil. Raises `ConfigError` if there is none."""
        if self.foil is None:
            raise ConfigError("this trace has no foil; give one to `trace`")
        return replace(
            self,
            answer=self.foil,
            foil=self.answer,
            clean_logprobs=self.clean_logprobs[::-1],
            noised_logprobs=self.noised_logprobs[..., ::-1],
            restored_logprobs=self.restored_logprobs[..., ::-1],
        )

    def rows(self, *, fact_id: str, state: str) -> list[dict[str, Any]]:
        """Rows of the table `traces`: one per token from the subject on, and layer."""
        fixed = {
            "fact_id": fact_id,
            "state": state,
            "kind": self.kind,
            "corruption": self.corruption,
            "metric": self.metric,
            "object": self.answer,
            "foil": self.foil,
            "window": self.window,
        }
        return [
            fixed
            | {
                "layer": layer,
                "position": position,
                "token": self.tokens[position],
                "in_subject": self.subject[0] <= position < self.subject[1],
                "score": float(self.scores[position, layer]),
                "effect": float(self.effects[position, layer]),
                "low": self.low,
                "high": self.high,
                "sigma": self.sigma,
                "samples": len(self.samples),
            }
            for position in range(self.subject[0], len(self.tokens))
            for layer in range(self.scores.shape[1])
        ]

    def _measured(self, logprobs: Float[np.ndarray, "... object"]) -> Float[np.ndarray, "..."]:
        answer = logprobs[..., 0]
        if self.metric == "logprob":
            return answer
        if self.metric == "prob":
            return np.exp(answer)
        if self.foil is not None:
            return answer - logprobs[..., 1]
        with np.errstate(divide="ignore"):  # p = 1 has infinite odds
            return answer - np.log(-np.expm1(answer))


def trace(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str | None = None,
    subject: str | None = None,
    foil: str | None = None,
    *,
    kind: Site = "resid",
    window: int = 10,
    metric: Metric = "prob",
    samples: int = 10,
    noise: float = 3.0,
    sigma: float | None = None,
    substitute: str | None = None,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Literal["auto", "regions", "brute"] = "auto",
) -> Trace:
    """Restore the clean value of every (token, layer) in runs without the subject, one at a time.

    Args:
        prompt: a `Prompt`, or plain text; then `subject` says which of its words.
        answer: the object that follows the prompt after one space; its first token is read, or
            the first at which it differs from `foil` (default: the clean run's top token).
        foil: the object that log-odds are taken against; without it they are log p / (1 − p).
        kind: `resid` restores the residual stream after a layer; `mlp` and `attn` the outputs of
            `window` layers around it.
        samples: draws of noise.
        noise: standard deviation of the noise, in units of `sigma`. 3 is the paper's.
        sigma: default: the standard deviation of the embedding matrix's entries. The paper takes
            that of the subjects' token embeddings: `subject_sigma`.
        substitute: run with this name instead of the subject, without noise; one draw. It must
            have as many tokens as the subject.
        seed: of the noise, RandomState(seed).randn(samples, subject tokens, d_model) as in the
            paper's code, and equal for every cell.
        max_bytes: working memory, about.
        engine: `auto` computes only the region that each cell changes, where that reproduces this
            model's forward pass; `brute` runs a full forward pass per cell.

    Raises:
        PromptError: no subject, or not in the prompt; a substitute of another length; answer and
            foil that no token tells apart.
        ConfigError: an unknown kind, metric or engine; settings out of range; numbers in a run
            that are not finite.
    """
    for name, value, known in (
        ("kind of state", kind, HOOKS),
        ("metric", metric, METRICS),
        ("engine", engine, ENGINES),
    ):
        if value not in known:
            raise unknown_name(name, value, known)
    if samples < 1 or window < 1 or noise < 0 or (sigma is not None and not sigma > 0):
        raise ConfigError(
            f"samples={samples} and window={window} must be at least 1, noise={noise} not "
            f"negative, sigma={sigma} positive"
        )
    question = _ask(model, with_subject(prompt, subject), answer, foil)
    ids, span = question.ids, question.subject
    embed = model.hf_model.get_input_embeddings()
    scale = None
    if substitute is None:
        scale = float(embed.weight.detach().float().std()) if sigma is None else float(sigma)
        draws = noised(model, ids, span, samples=samples, spread=noise * scale, seed=seed)
        start = span[0]
    else:
        others = substituted(model, question.prompt, substitute, question.shared, ids, span)
        draws = embed(others[None]).detach()
        differing = torch.nonzero(others != ids).flatten().tolist()
        start = differing[0] if differing else span[0]

    case = Case(
        model=model,
        ids=ids,
        draws=draws,
        start=start,
        kind=kind,
        window=1 if kind == "resid" else window,
        cells=[(t, layer) for t in range(start, len(ids)) for layer in range(model.num_layers)],
        targets=torch.tensor(question.targets, device=ids.device),
        max_bytes=max_bytes,
    )
    chosen = _engine(model, engine)
    found = by_regions(case) if chosen == "regions" else by_full_forwards(case)
    for what, values in (("clean", found.clean), ("noised", found.noised)):
        if not torch.isfinite(values).all():
            raise ConfigError(
                f"the {what} run gives log-probabilities that are not finite; lower the noise "
                f"({noise} × {scale}) or use float32"
            )
    restored = np.full((len(draws), len(ids), model.num_layers, len(question.targets)), np.nan)
    restored[:, start:] = (
        found.restored.unflatten(0, (len(ids) - start, model.num_layers))
        .permute(2, 0, 1, 3)
        .cpu()
        .numpy()
    )
    return Trace(
        tokens=tuple(model.tokenizer.decode([token]) for token in ids.tolist()),
        subject=span,
        answer=question.answer,
        foil=foil,
        kind=kind,
        window=case.window,
        metric=metric,
        corruption="noise" if substitute is None else "substitution",
        substitute=substitute,
        sigma=scale,
        sigma_source=None
        if scale is None
        else "given"
        if sigma is not None
        else "embedding matrix",
        noise=None if scale is None else noise,
        seed=None if scale is None else seed,
        engine=chosen,
        clean_logprobs=found.clean.double().cpu().numpy(),
        noised_logprobs=found.noised.double().cpu().numpy(),
        restored_logprobs=restored,
    )


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A prompt in tokens, and the tokens that its answer and foil are told apart by."""

    prompt: Prompt
    shared: tuple[int, ...]
    ids: Int[Tensor, " pos"]
    """The prompt's tokens, then those that answer and foil share."""
    subject: tuple[int, int]
    answer: str
    targets: tuple[int, ...]


def _ask(model: HookedModel, prompt: Prompt, answer: str | None, foil: str | None) -> _Question:
    if answer is None and foil is not None:
        raise PromptError(f"the foil {foil!r} needs an answer to stand against")
    shared: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    if answer is not None:
        objects = [answer] if foil is None else [answer, foil]
        told_apart = diverge(model.tokenizer, prompt.text, objects)
        shared, targets = told_apart.shared, told_apart.tokens
    ids, span = prompt_tokens(model, prompt, shared)
    if span[0] == 0:
        logger.warning(
            "the subject %r starts at token 0, which collects attention whatever it says, so its "
            "states say little; put a word before it",
            prompt.subject,
        )
    if answer is None:
        with torch.no_grad():
            logits = model.run_with_hooks(ids[None], fwd_hooks=[])
        targets = (int(logits[0, -1].argmax()),)
        answer = str(model.tokenizer.decode(list(targets))).strip()
    return _Question(
        prompt=prompt, shared=shared, ids=ids, subject=span, answer=answer, targets=targets
    )


_TOLD: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
"""Models whose slow tracing has been told."""


def _engine(model: HookedModel, asked: str) -> str:
    """The engine to use; told once per model if it is the slow one."""
    if asked == "brute":
        return asked
    problem = regions_problem(model)
    if problem is None:
        return "regions"
    if asked == "regions":
        raise ConfigError(
            f"{model.name} cannot be traced by regions: {problem}; use engine='brute'"
        )
    if model.hf_model not in _TOLD:
        _TOLD.add(model.hf_model)
        logger.warning("%s is traced by full forward passes, because %s", model.name, problem)
    return "brute"
