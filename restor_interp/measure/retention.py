"""Retention: at which depth does a state still hold a fact, and for how long on the way out?

The clean model is asked about somebody else (the host), so nothing in its run knows the fact.
Then the residual stream of another run (the donor), which is asked about the right entity, is put
in: at all tokens of the subject at once, or at the last token, after one layer; and there between
its attention and its MLP. What the host then says of the fact, it has from the donor:

    R(S) = [T(host ← S) − T(host)] / [T(host ← clean) − T(host)],    T = log p_C(true)

where p_C is the model's distribution over the fact's typed candidates alone, whole objects with
the line end, and spellings added, as in `margins`. R = 1: the state S gives as much as the clean
model itself; 0: it gives nothing. The reading half is the clean model's, so a state that merely
says something else at the end (a late override) keeps its R, and one that lost the fact does not.

A T below chance, log 1/n of n candidates, counts as chance in R. A host that is sure of its own
person's answer says the true object with far less, so a donor that knows nothing, and only takes
this certainty away, would look as if it held the greater part of the fact.

Patching one model's states into another to see what survived: UDS ("Measuring the depth of LLM
unlearning via activation patching", arXiv 2605.24614), whose host is asked the same question.
"""

import functools
import hashlib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.hosts import Host, subject_tokens
from restor_interp.measure.margins import Candidate, chance
from restor_interp.measure.metrics import LEAST_EFFECT
from restor_interp.measure.mlps import added_by_mlp
from restor_interp.measure.regions import DEFAULT_MAX_BYTES, Engine, run_base
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.prompts import Prompt, with_substitute

DonorKind = Literal["state", "other_context", "wrong_entity"]
"""A state asked the fact's question; the controls: the clean model asked it after other examples,
and the clean model asked about a third entity."""

Where = Literal["subject", "last", "attended"]
SITES: tuple[Where, ...] = get_args(Where)
"""Where the donor's residual stream is put in: all tokens of the subject, or the last token, after
a layer; or the last token between a layer's attention and its MLP, so that what attention has
brought there is read before the donor's own MLP says anything to it. The last one is left out
where attention and MLP work side by side."""


@dataclass(frozen=True, kw_only=True)
class Donor:
    """A run whose states are put into the host's."""

    kind: DonorKind
    state: str
    prompt: Prompt


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What a host that does not know the fact says of it, given the states of donors."""

    substitute: str
    """Whom the host is asked about."""
    donors: tuple[Donor, ...]
    layers: tuple[int, ...]
    chance: float
    """log 1/n of n candidates: the least that T counts as in effects and shares."""
    host_logp: float
    """T of the host's own run, in nats."""
    clean_logps: Float[np.ndarray, "site layer"]
    """T with the states of the clean model, asked the same question; as many of `SITES` as the
    model has, in their order."""
    logps: Float[np.ndarray, "donor site layer"]
    """T with the states of each donor, put in after each layer. Not measured (NaN) where the clean
    model adds less than `LEAST_EFFECT`, unless the donor's states are those of the clean model."""

    @cached_property
    def effects(self) -> Float[np.ndarray, "donor site layer"]:
        """What each donor adds to T beyond chance, in nats."""
        return gain(self.logps, self.host_logp, self.chance)

    @cached_property
    def clean_effects(self) -> Float[np.ndarray, "site layer"]:
        """What the clean model's own states add, in nats."""
        return gain(self.clean_logps, self.host_logp, self.chance)

    @cached_property
    def shares(self) -> Float[np.ndarray, "donor site layer"]:
        """R: its share of what the clean model adds; NaN where that is below `LEAST_EFFECT`."""
        clean = self.clean_effects
        return self.effects / np.where(clean >= LEAST_EFFECT, clean, np.nan)

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `retention`, one per donor, site and layer."""
        rows = []
        for index in np.ndindex(self.logps.shape):
            donor, site, layer = index
            giver, share = self.donors[donor], float(self.shares[index])
            clean = float(self.clean_effects[site, layer])
            rows.append(
                {
                    "fact_id": fact_id,
                    "state": giver.state,
                    "donor_kind": giver.kind,
                    "site": SITES[site],
                    "layer": self.layers[layer],
                    "logp": None if np.isnan(self.logps[index]) else float(self.logps[index]),
                    "host_logp": self.host_logp,
                    "clean_logp": float(self.clean_logps[site, layer]),
                    "clean_effect": clean,
                    "share": None if np.isnan(share) else share,
                    "donor_subject": giver.prompt.subject,
                    "donor_context": giver.prompt.context_id,
                    "substitute": self.substitute,
                    "reason": (
                        f"the clean model adds {clean:.2f} nats there, less than {LEAST_EFFECT:g}"
                        if np.isnan(share)
                        else None
                    ),
                }
            )
        return rows


def gain(
    logps: Float[np.ndarray, "*any"], host_logp: float, chance: float
) -> Float[np.ndarray, "*any"]:
    """What T gains over the host's own, both no less than chance."""
    return np.maximum(logps, chance) - max(host_logp, chance)


@torch.no_grad()
def measure_retention(
    model: HookedModel,
    prompt: Prompt,
    candidates: Sequence[Candidate],
    *,
    states: Sequence[str],
    substitute: str | None,
    other_contexts: Sequence[Prompt] = (),
    wrong_entities: Sequence[str] = (),
    layers: Sequence[int] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
    shared: MutableMapping[Any, Any] | None = None,
) -> Retention:
    """Put the states of each donor into the clean model's run about a substitute.

    Args:
        prompt: the question about the fact's entity, whose words are known (`subject_span`).
        candidates: the true object first, then others of its type; each a string or its
            spellings, whose probabilities are added.
        states: donors, asked `prompt`; `clean` among them has share 1 by definition.
        substitute: whom the host is asked about: another entity's name of as many tokens, for
            which the true object is not true. None is an error that says so: without such a name
            nothing can be measured.
        other_contexts: the same question after other examples; donors of the clean model that
            show how much of R the examples decide.
        wrong_entities: further such names; donors of the clean model that know nothing of the
            fact, so what they bring is no knowledge.
        layers: default: all.
        max_bytes: working memory, about.
        engine: as in `trace`.
        shared: a dict, empty at first, for calls that ask one question of state after state: what
            the clean model's own states give the host is then measured by the first call alone.
            Another model, question, substitute, choice of candidates or layers is measured anew.

    Raises:
        PromptError: no subject, no substitute, a name of another token length, an object that is
            empty or changes the prompt's tokens.
        ConfigError: an unknown state or engine, a layer that does not exist, no candidate but the
            true one, numbers that are not finite.
    """
    depths = tuple(range(model.num_layers)) if layers is None else tuple(layers)
    if not depths or not set(depths) <= set(range(model.num_layers)):
        raise ConfigError(
            f"layers {list(depths)} were asked for; {model.name} has layers 0 to "
            f"{model.num_layers - 1}"
        )
    if substitute is None:
        raise PromptError(
            f"no other entity stands in for {prompt.subject!r}: retention needs a name of as many "
            "tokens, of an entity for which the true object is not true"
        )
    host_prompt = with_substitute(prompt, substitute)
    donors = [
        *(Donor(kind="state", state=state, prompt=prompt) for state in states),
        *(Donor(kind="other_context", state=CLEAN, prompt=other) for other in other_contexts),
        *(
            Donor(kind="wrong_entity", state=CLEAN, prompt=with_substitute(prompt, name))
            for name in wrong_entities
        ),
    ]
    is_clean = {state: _is_clean(model, state) for state in states}
    sites = SITES if _stands_between(model) else SITES[:2]
    cells = list(np.ndindex(len(sites), len(depths)))
    values_of = functools.partial(_values, model, sites=sites, layers=depths, host=host_prompt)

    @functools.cache
    def host() -> Host:
        return Host.of(model, host_prompt, candidates, depths, engine, max_bytes)

    # The clean donor is the measure of all others; it is run whether it is asked for or not.
    kept = {} if shared is None else shared
    key = (model, prompt, host_prompt, tuple(map(_spelled, candidates)), depths, engine)
    if key not in kept:
        values = values_of(Donor(kind="state", state=CLEAN, prompt=prompt))
        with model.at(CLEAN):
            logps = host().log_p_given([(*cell, values[cell]) for cell in cells])
            kept[key] = _Measure(
                marks={cell: _mark(values[cell]) for cell in cells},
                host_logp=host().log_p(),
                logps=logps.reshape(len(sites), len(depths)),
            )
    measure: _Measure = kept[key]

    least = chance(len(candidates))
    enough = gain(measure.logps, measure.host_logp, least) >= LEAST_EFFECT
    logps = np.full((len(donors), *measure.logps.shape), np.nan)
    wanted, given = [], []
    for number, donor in enumerate(donors):
        if donor.kind == "state" and is_clean[donor.state]:
            logps[number] = measure.logps
            continue
        values = values_of(donor)
        for cell in cells:
            if _mark(values[cell]) == measure.marks[cell]:
                logps[number, *cell] = measure.logps[cell]
            elif enough[cell]:
                wanted.append((number, *cell))
                given.append((*cell, values[cell]))
    if wanted:
        with model.at(CLEAN):
            logps[tuple(np.transpose(wanted))] = host().log_p_given(given)
    return Retention(
        substitute=substitute,
        donors=tuple(donors),
        layers=depths,
        chance=least,
        host_logp=measure.host_logp,
        clean_logps=measure.logps,
        logps=logps,
    )


# ---- the clean model's own states, the same whatever state is measured by them


@dataclass(frozen=True, kw_only=True)
class _Measure:
    """What a host says of its own, and what it says given the clean model's states."""

    marks: dict[tuple[int, ...], bytes]
    """Which states these were: a state of the same bits need not be put in again."""
    host_logp: float
    logps: Float[np.ndarray, "site layer"]


def _mark(values: Tensor) -> bytes:
    return hashlib.blake2b(values.contiguous().view(torch.uint8).cpu().numpy().tobytes()).digest()


def _spelled(candidate: Candidate) -> Candidate:
    return candidate if isinstance(candidate, str) else tuple(candidate)


def _is_clean(model: HookedModel, state: str) -> bool:
    return model.resolve_state(state) == model.resolve_state(CLEAN)


# ---- the states of a donor


_Values = dict[tuple[int, ...], Float[Tensor, "span width"]]
"""(site, number of the layer) -> the residual stream there."""


def _stands_between(model: HookedModel) -> bool:
    """Whether there is a residual stream between attention and MLP."""
    return model.architecture.mlp_out is not None and not model.architecture.parallel


def _values(
    model: HookedModel, donor: Donor, *, sites: Sequence[Where], layers: Sequence[int], host: Prompt
) -> _Values:
    """The donor's residual stream at its subject and at its last token, after each layer.

    What stands there between attention and MLP goes on through the clean model's MLP at once: a
    token's own MLP is all that lies between the two, so that what the host makes of it is the same.
    """
    ids, span = subject_tokens(model, donor.prompt)
    _, fits = subject_tokens(model, host)
    if span[1] - span[0] != fits[1] - fits[0]:
        raise PromptError(
            f"{donor.prompt.subject!r} has {span[1] - span[0]} tokens and {host.subject!r} has "
            f"{fits[1] - fits[0]}, so the states of one do not fit the other; choose a name of the "
            "same token length (`restor_interp.prompts.substitutes`)"
        )
    between = "attended" in sites
    with model.at(donor.state):
        base = run_base(
            model,
            model.hf_model.get_input_embeddings()(ids[None]),
            start=span[0],
            outputs=("attn",) if between else (),
        )
    values: _Values = {}
    with model.at(CLEAN):
        for number, layer in enumerate(layers):
            hidden = base.at("resid", layer)[0]
            values[0, number] = hidden[: span[1] - span[0]]
            values[1, number] = hidden[-1:]
            if between:
                attended = base.hidden[layer][0, -1:] + base.at("attn", layer)[0, -1:]
                values[2, number] = attended + added_by_mlp(model, layer, attended)
    return values
