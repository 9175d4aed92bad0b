"""Which tokens of a prompt does a state listen to, for the true object and against the false one?

unPact (arXiv 2509.24675) finds unlearned models to have lost their focus on the keywords of a
question. A token's contribution is what the log-odds of true against false lose when that token is
replaced by a neutral word: exactly (occlusion, one run per token), to first order
(gradient · (embedding − neutral embedding)), and by the mean gradient on the straight way from the
neutral words to the prompt (integrated gradients, Sundararajan et al. 2017). The contributions of
the last sum to what replacing all tokens at once does, up to an error that is reported. Both
estimates come with their rank correlation to occlusion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.continuing import continue_run
from restor_interp.measure.metrics import measured
from restor_interp.measure.questions import Question, ask, check_finite, log_probs, state_name
from restor_interp.measure.regions import Engine, run_base
from restor_interp.measure.scopes import Scope, first_token
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

Kind = Literal["gradient", "integrated", "occlusion"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LEAST_SAMPLE = 3
"""Tokens below which a rank correlation says nothing."""

DRAWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class TokenAttribution:
    """What each token of a prompt adds to the log-odds of the true object against the false one.

    Contributions are in nats: the log-odds with the token minus those without it.
    """

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The prompt's tokens as text; if the two objects begin alike, with the tokens they share."""
    subject: tuple[int, int] | None
    """Tokens [start, end) of the subject."""
    positions: tuple[int, ...]
    """Tokens that were attributed."""
    states: tuple[str, ...]
    kinds: tuple[Kind, ...]
    answer: str
    foil: str
    replacement: str
    steps: int
    seed: int
    """Of the sample."""
    totals: Float[np.ndarray, " state"]
    """Log-odds of the prompt."""
    neutral: Float[np.ndarray, " state"]
    """Log-odds with all attributed tokens replaced at once."""
    values: Float[np.ndarray, "state kind position"]
    """Contributions; NaN for tokens that are not in the sample of `occlusion`."""

    def of(self, kind: Kind) -> Float[np.ndarray, "state position"]:
        """Contributions of one kind."""
        return self.values[:, self.kinds.index(kind)]

    @property
    def completeness_errors(self) -> Float[np.ndarray, "state kind"]:
        """Sum of the contributions minus what replacing all tokens at once takes away, in nats; of
        integrated gradients it goes to 0 with more steps. NaN for a sample."""
        return self.values.sum(axis=-1) - (self.totals - self.neutral)[:, None]

    def rank_correlation(self, state: int, kind: Kind) -> float:
        """Spearman's, of a kind and `occlusion` over the sample; NaN where there is no occlusion,
        or one of them is constant."""
        if "occlusion" not in self.kinds:
            return float("nan")
        exact = self.of("occlusion")[state]
        sampled = np.isfinite(exact)
        exact, approx = exact[sampled], self.of(kind)[state][sampled]
        if np.ptp(exact) == 0 or np.ptp(approx) == 0:
            return float("nan")
        found: Any = spearmanr(approx, exact)
        return float(found.statistic)

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `token_attributions`: one per state, kind and token."""
        errors = self.completeness_errors
        rows = []
        for s, state in enumerate(self.states):
            for k, kind in enumerate(self.kinds):
                correlation = self.rank_correlation(s, kind)
                fixed = {
                    "fact_id": fact_id,
                    "state": state,
                    "kind": kind,
                    "metric": "logodds",
                    "object": self.answer,
                    "foil": self.foil,
                    "replacement": self.replacement,
                    "steps": self.steps if kind == "integrated" else None,
                    "control_seed": self.seed,
                    "total": float(self.totals[s]),
                    "neutral": float(self.neutral[s]),
                    "completeness_error": _or_none(errors[s, k]),
                    "rank_correlation": _or_none(correlation),
                    "n_exact": int(np.isfinite(self.of("occlusion")[s]).sum())
                    if "occlusion" in self.kinds
                    else 0,
                }
                for p, position in enumerate(self.positions):
                    value = _or_none(self.values[s, k, p])
                    rows.append(
                        fixed
                        | {
                            "position": position,
                            "token": self.tokens[position],
                            "in_subject": self._in_subject(position),
                            "value": value,
                            "reason": "not in the sample" if value is None else None,
                        }
                    )
        return rows

    def _in_subject(self, position: int) -> bool:
        return self.subject is not None and self.subject[0] <= position < self.subject[1]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def attribute_tokens(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str,
    *,
    states: Sequence[str | State],
    subject: str | None = None,
    kinds: Sequence[Kind] = KINDS,
    steps: int = 16,
    sample: int = 32,
    replacement: str = "the",
    scope: Scope = "question",
    seed: int = 1,
    engine: Engine = "auto",
) -> TokenAttribution:
    """Attribute log p(answer) − log p(foil) to the prompt's tokens, in several states.

    Args:
        prompt: a `Prompt`, or plain text with `subject`.
        answer, foil: the true and the false object, read at the first token at which they differ.
        steps: points of the integral, in the middle of equal parts of the way.
        sample: tokens that are occluded, drawn at random where there are more; at least 3.
        replacement: a neutral word, of one token after a space.
        scope: attribute the tokens of the question, or of the few-shot examples before it too; in
            either case without the prompt's first token.

    Raises:
        PromptError: objects that no token tells apart; a replacement of several tokens.
        ConfigError: an unknown state, kind or scope; settings out of range; numbers in a run that
            are not finite.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of token attribution", kind, KINDS)
    if steps < 1 or sample < LEAST_SAMPLE:
        raise ConfigError(
            f"steps={steps} must be at least 1, and sample={sample} at least {LEAST_SAMPLE}: an "
            "estimate is only shown with its rank correlation to exact contributions"
        )
    question = ask(model, prompt, answer, foil, subject=subject)
    start = first_token(model, question, scope)
    positions = tuple(range(start, len(question.ids)))
    drawn = np.random.default_rng(seed).permutation(len(positions))[:sample]
    neutral = _neutral_ids(model, question, positions, replacement)
    found = [
        _in_state(model, state, question, neutral, start, kinds, steps, np.sort(drawn), engine)
        for state in states
    ]
    return TokenAttribution(
        tokens=question.tokens,
        subject=question.subject,
        positions=positions,
        states=tuple(map(state_name, states)),
        kinds=tuple(kinds),
        answer=answer,
        foil=foil,
        replacement=replacement,
        steps=steps,
        seed=seed,
        totals=np.array([one.total for one in found]),
        neutral=np.array([one.neutral for one in found]),
        values=np.stack([one.values for one in found]),
    )


def _neutral_ids(
    model: HookedModel, question: Question, positions: Sequence[int], replacement: str
) -> Tensor:
    """The prompt with the attributed tokens replaced."""
    with_a, alone = (
        model.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (f"a {replacement}", "a")
    )
    if len(with_a) != len(alone) + 1:
        raise PromptError(
            f"the replacement {replacement!r} has {len(with_a) - len(alone)} tokens in "
            f"{model.name}; give a word of one"
        )
    ids = question.ids.clone()
    ids[list(positions)] = with_a[-1]
    return ids


@dataclass(frozen=True, kw_only=True)
class _Found:
    total: float
    neutral: float
    values: Float[np.ndarray, "kind position"]


def _in_state(
    model: HookedModel,
    state: str | State,
    question: Question,
    neutral: Tensor,
    start: int,
    kinds: Sequence[Kind],
    steps: int,
    drawn: np.ndarray,
    engine: Engine,
) -> _Found:
    with model.at(state):
        embed = model.hf_model.get_input_embeddings()
        with torch.no_grad():
            ends = embed(torch.stack([question.ids, neutral]))
            both = run_base(model, ends, start=start, engine=engine)
        base = both.draws(0, 1)

        def read(final: Float[Tensor, "draw width"]) -> Float[Tensor, " draw"]:
            found = log_probs(model.project(final), question.targets)
            check_finite(found.detach(), f"the run of {state_name(state)}")
            return measured(found, "logodds")

        def run(inputs: Float[Tensor, "draw token width"]) -> Float[Tensor, " draw"]:
            return read(continue_run(base, inputs, layer=0))

        own, away = both.hidden[0]
        with torch.no_grad():
            total, gone = read(both.final).tolist()
        values = []
        for kind in kinds:
            if kind == "occlusion":
                values.append(_occlusion(run, own, away, drawn, total))
            else:
                shares = [1.0] if kind == "gradient" else (np.arange(steps) + 0.5) / steps
                values.append(_mean_gradient(run, own, away, shares))
    return _Found(total=total, neutral=gone, values=np.stack(values))


Run = Callable[[Tensor], Tensor]


def _mean_gradient(
    run: Run,
    own: Float[Tensor, "token width"],
    away: Float[Tensor, "token width"],
    shares: Sequence[float] | np.ndarray,
) -> Float[np.ndarray, " token"]:
    """(own − away) · the mean gradient at away + share (own − away)."""
    total = torch.zeros_like(own, dtype=torch.float32)
    for part in torch.as_tensor(np.asarray(shares), device=own.device).split(DRAWS_AT_ONCE):
        between = away + part.to(own.dtype)[:, None, None] * (own - away)
        with torch.enable_grad():
            between.requires_grad_()
            (gradient,) = torch.autograd.grad(run(between).sum(), between)
        total += gradient.float().sum(dim=0)
    return ((own - away).float() * total / len(shares)).sum(dim=-1).double().cpu().numpy()


@torch.no_grad()
def _occlusion(
    run: Run,
    own: Float[Tensor, "token width"],
    away: Float[Tensor, "token width"],
    drawn: np.ndarray,
    total: float,
) -> Float[np.ndarray, " token"]:
    """The metric minus what is left of it when one token is replaced; NaN where none was."""
    values = np.full(len(own), np.nan)
    for first in range(0, len(drawn), DRAWS_AT_ONCE):
        places = torch.as_tensor(drawn[first : first + DRAWS_AT_ONCE], device=own.device)
        inputs = own.repeat(len(places), 1, 1)
        inputs[torch.arange(len(places)), places] = away[places]
        values[places.cpu().numpy()] = total - run(inputs).double().cpu().numpy()
    return values
