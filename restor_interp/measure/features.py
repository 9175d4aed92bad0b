"""Which features of a dictionary did a state change for a fact, and does one of them decide it?

Features are read in the state and in the base at the same tokens. Setting one of them back to what
it is in the base, with the dictionary's error kept, says how much of the answer hangs on it: single
latents recover much of what fine-tuning on new facts had hidden (MoRFI, arXiv 2604.26866). Its
control is other features of the dictionary, moved by as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure.dictionaries import Dictionary, attached, check_fits
from restor_interp.measure.metrics import LEAST_EFFECT, measured
from restor_interp.measure.questions import (
    Question,
    ask,
    check_finite,
    last_logits,
    log_probs,
    state_name,
)
from restor_interp.measure.scopes import Scope, first_token
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

NAMED = ("subject_last", "last")
"""Positions at which features may be ranked."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A dictionary's features of one prompt in one state."""

    features: Float[Tensor, "pos feature"]
    unexplained: float
    """Share of the variance that the dictionary does not reconstruct, over the prompt's tokens but
    the first."""
    logodds: float


def feature_rows(
    model: HookedModel,
    prompt: Prompt,
    answer: str,
    foil: str,
    dictionary: Dictionary,
    *,
    states: Sequence[str | State],
    base: str | State = "clean",
    position: str = "last",
    top: int = 5,
    controls: int = 3,
    scope: Scope = "question",
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Rows of the table `features`: per state, the features that changed most at a position.

    A feature counts by |change| times the length of its decoder row, which is how far it moves the
    activation. `effect` is what the log-odds of answer against foil gain when the feature alone
    gets the value that it has in the base, at every token of the scope; `control_effect` the mean
    of as many of the other features as `controls`, each moved so that the activation moves as far
    at every token, with a random sign; `share` = effect / (base − state). `unexplained` is the
    share of the variance that the dictionary leaves out in the state: near 1, it says nothing.

    Args:
        position: `subject_last` or `last`, where features are ranked.
        top: so many features.

    Raises:
        ConfigError: a dictionary that does not fit, an unknown state, position or scope, settings
            out of range, numbers that are not finite.
        PromptError: objects that no token tells apart; a prompt without a subject.
    """
    if position not in NAMED:
        raise unknown_name("position of features", position, NAMED)
    if controls < 1 or not 1 <= top < dictionary.n_features - controls:
        raise ConfigError(
            f"top={top} and controls={controls} must be at least 1, and together below the "
            f"dictionary's {dictionary.n_features} features"
        )
    check_fits(model, dictionary)
    question = ask(model, prompt, answer, foil)
    place = _place(question, position)
    with model.at(base):
        goal = _read(model, question, dictionary)
    rows = []
    for state in states:
        with model.at(state):
            own = _read(model, question, dictionary)
            change = goal.features - own.features
            moved = (change[place].abs() * _lengths(dictionary, change)).topk(top)
            change[: first_token(model, question, scope)] = 0
            fixed = {
                "fact_id": prompt.fact_id,
                "context_id": prompt.context_id,
                "state": state_name(state),
                "base": state_name(base),
                "site": dictionary.site,
                "position": position,
                "unexplained": own.unexplained,
                "logodds": own.logodds,
                "base_logodds": goal.logodds,
                "n_controls": controls,
                "control_seed": seed,
            }
            chosen = [f for f, size in zip(*map(Tensor.tolist, moved[::-1]), strict=True) if size]
            for rank, feature in enumerate(chosen, start=1):
                steered, *others = _steered(
                    model, question, dictionary, feature, change[:, feature], controls, seed
                )
                row = {
                    "rank": rank,
                    "feature": feature,
                    "value": own.features[place, feature].item(),
                    "base_value": goal.features[place, feature].item(),
                    "effect": steered - own.logodds,
                    "control_effect": sum(others) / len(others) - own.logodds,
                }
                rows.append(fixed | row | _share(row["effect"], goal.logodds - own.logodds))
            if not chosen:
                empty = ("rank", "feature", "value", "base_value", "effect", "control_effect")
                reason = {"share": None, "reason": "no feature differs here"}
                rows.append(fixed | dict.fromkeys(empty) | reason)
    return rows


def _share(effect: float, gap: float) -> dict[str, Any]:
    if abs(gap) < LEAST_EFFECT:
        return {"share": None, "reason": f"no share: the states are {abs(gap):.2f} nats apart"}
    return {"share": effect / gap, "reason": None}


def _place(question: Question, position: str) -> int:
    if position == "last":
        return len(question.ids) - 1
    if question.subject is None:
        raise ConfigError("position 'subject_last' was asked for, and the prompt has no subject")
    return question.subject[1] - 1


@torch.no_grad()
def _read(model: HookedModel, question: Question, dictionary: Dictionary) -> _Read:
    logits, cache = model.run_with_cache(question.ids[None], names_filter=dictionary.site)
    x = cache[dictionary.site][0].flatten(1).float()
    features = dictionary.encode(x)
    check_finite(features, f"the dictionary at {dictionary.site}")
    rest = x[1:] if len(x) > 2 else x
    missing = rest - dictionary.decode(features[-len(rest) :])
    spread = (rest - rest.mean(dim=0)).pow(2).sum()
    return _Read(
        features=features,
        unexplained=(missing.pow(2).sum() / spread).item(),
        logodds=_logodds(question, logits[:, -1]).item(),
    )


def _logodds(question: Question, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
    found = log_probs(logits, question.targets)
    check_finite(found, "a run")
    return measured(found, "logodds")


def _lengths(dictionary: Dictionary, beside: Tensor) -> Float[Tensor, " feature"]:
    """How far one unit of each feature moves an activation; on the device of a tensor."""
    nothing = torch.zeros(1, dictionary.n_features, device=beside.device)
    origin = dictionary.decode(nothing)
    found = []
    for first in range(0, dictionary.n_features, 1024):
        number = min(1024, dictionary.n_features - first)
        units = nothing.repeat(number, 1)
        units[torch.arange(number), first + torch.arange(number)] = 1
        found.append((dictionary.decode(units) - origin).norm(dim=-1))
    return torch.cat(found)


@torch.no_grad()
def _steered(
    model: HookedModel,
    question: Question,
    dictionary: Dictionary,
    feature: int,
    change: Float[Tensor, " pos"],
    controls: int,
    seed: int,
) -> list[float]:
    """Log-odds with the feature changed, then with each control changed instead."""
    draw = torch.Generator().manual_seed(seed)
    lengths = _lengths(dictionary, change)
    usable = (lengths > 0).cpu()
    usable[feature] = False
    others = usable.nonzero().flatten()
    chosen = others[torch.randperm(len(others), generator=draw)[:controls]]
    signs = 2.0 * torch.randint(0, 2, (len(chosen),), generator=draw) - 1
    moved: Int[Tensor, " row"] = torch.cat([torch.tensor([feature]), chosen]).to(change.device)
    factors = (
        torch.cat([torch.ones(1), signs]).to(change.device) * lengths[feature] / lengths[moved]
    )

    def set_one(features: Tensor) -> Tensor:
        features = features.clone()
        rows = torch.arange(len(moved), device=features.device)
        features[rows, :, moved] += factors[:, None] * change
        return features

    ids = question.ids.expand(len(moved), -1)
    with attached(model, dictionary, change=set_one):
        logits = last_logits(model, ids)
    return _logodds(question, logits).tolist()
