"""What causal tracing found for one prompt: `Trace`."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError
from restor_interp.measure.interventions import Site
from restor_interp.measure.metrics import LEAST_EFFECT, Metric, measured_array


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What restoring each single state does to the answer."""

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The prompt's tokens as text; if answer and foil begin alike, with the tokens they share."""
    subject: tuple[int, int]
    """Tokens [start, end) of the subject."""
    answer: str
    foil: str | None
    """The object that log-odds are taken against."""
    whole: bool
    """Objects are read whole, with the line end after them; else at the first token where they
    differ."""
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
        return measured_array(logprobs, self.metric)
