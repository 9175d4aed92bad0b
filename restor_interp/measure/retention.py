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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.answers import prompt_paths
from restor_interp.measure.choices import object_paths
from restor_interp.measure.margins import Candidate, chance
from restor_interp.measure.metrics import LEAST_EFFECT
from restor_interp.measure.mlps import added_by_mlp
from restor_interp.measure.prefixes import TokenPath
from restor_interp.measure.questions import check_finite
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    BaseRun,
    Engine,
    Patch,
    run_base,
    run_patches,
)
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.models.tokens import tokenize
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
    # The clean donor is the measure of all others; it is run whether it is asked for or not.
    sites = SITES if _stands_between(model) else SITES[:2]
    asked = Donor(kind="state", state=CLEAN, prompt=prompt)
    measure = _values(model, asked, sites, depths, host_prompt)
    given = [_values(model, donor, sites, depths, host_prompt) for donor in donors]
    cells = list(np.ndindex(len(sites), len(depths)))
    with model.at(CLEAN):
        host = _Host.of(model, host_prompt, candidates, depths, engine, max_bytes)
        host_logp = host.log_p()
        clean_logps = host.log_p_given([(*cell, measure[cell]) for cell in cells])
        clean_logps = clean_logps.reshape(len(sites), len(depths))
        least = chance(len(candidates))
        clean_effects = gain(clean_logps, host_logp, least)
        logps = np.full((len(donors), *clean_logps.shape), np.nan)
        wanted = []
        for number, values in enumerate(given):
            for cell in cells:
                if torch.equal(values[cell], measure[cell]):
                    logps[number, *cell] = clean_logps[cell]
                elif clean_effects[cell] >= LEAST_EFFECT:
                    wanted.append((number, *cell))
        if wanted:
            found = host.log_p_given(
                [(*cell, given[number][tuple(cell)]) for number, *cell in wanted]
            )
            logps[tuple(np.transpose(wanted))] = found
    return Retention(
        substitute=substitute,
        donors=tuple(donors),
        layers=depths,
        chance=least,
        host_logp=host_logp,
        clean_logps=clean_logps,
        logps=logps,
    )


_Values = dict[tuple[int, ...], Float[Tensor, "span width"]]
"""(site, number of the layer) -> the residual stream there."""


def _stands_between(model: HookedModel) -> bool:
    """Whether there is a residual stream between attention and MLP."""
    return model.architecture.mlp_out is not None and not model.architecture.parallel


def _values(
    model: HookedModel, donor: Donor, sites: Sequence[Where], layers: Sequence[int], host: Prompt
) -> _Values:
    """The donor's residual stream at its subject and at its last token, after each layer.

    What stands there between attention and MLP goes on through the clean model's MLP at once: a
    token's own MLP is all that lies between the two, so that what the host makes of it is the same.
    """
    ids, span = _tokens(model, donor.prompt)
    _, fits = _tokens(model, host)
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


def _tokens(model: HookedModel, prompt: Prompt) -> tuple[Int[Tensor, " pos"], tuple[int, int]]:
    tokens = tokenize(model.tokenizer, [prompt])
    span = tokens.subject[0]
    if span is None:
        raise PromptError(f"the subject {prompt.subject!r} holds no token of its prompt")
    return tokens.ids[0].to(model.device), span


@dataclass(frozen=True, kw_only=True)
class _Host:
    """The run that does not know the fact, and what it says of it when it is given something."""

    base: BaseRun
    objects: "_Objects"
    places: tuple[int, int, int]
    """Per site: the first token of the subject, and the last token of the prompt."""
    layers: Sequence[int]
    max_bytes: int

    @classmethod
    def of(
        cls,
        model: HookedModel,
        prompt: Prompt,
        candidates: Sequence[Candidate],
        layers: Sequence[int],
        engine: Engine,
        max_bytes: int,
    ) -> "_Host":
        objects = _Objects.of(model, prompt, candidates)
        ids, span = _tokens(model, prompt)
        embeddings = model.hf_model.get_input_embeddings()(torch.cat([ids, objects.branch_ids]))
        base = run_base(
            model, embeddings[None], start=span[0], branches=objects.branches, engine=engine
        )
        return cls(
            base=base,
            objects=objects,
            places=(span[0], len(ids) - 1, len(ids) - 1),
            layers=layers,
            max_bytes=max_bytes,
        )

    def log_p(self) -> float:
        """T of its own run."""
        final = self.base.hidden[-1][:, self.places[1] - self.base.start :]
        logprobs = self.objects.read(self.base.model, final)
        check_finite(logprobs, "the host's run")
        return float(self.objects.log_p(logprobs)[0])

    def log_p_given(
        self, given: Sequence[tuple[int, int, Float[Tensor, "span width"]]]
    ) -> Float[np.ndarray, " given"]:
        """T after each of these values alone: its site, the number of its layer, itself."""
        found = run_patches(
            self.base,
            [
                Patch(
                    site="resid",
                    layers=range(self.layers[number], self.layers[number] + 1),
                    position=self.places[site],
                    values=values[None],
                )
                for site, number, values in given
            ],
            functools.partial(self.objects.read, self.base.model),
            max_bytes=self.max_bytes,
            read_at=range(self.places[1], self.base.length),
        )
        check_finite(found, "a donor's state")
        return self.objects.log_p(found[:, 0]).cpu().numpy()


# ---- log p_C of whole objects, out of one run with branches


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """All spellings of all candidates behind one prompt, and how they are read out of a run.

    Read are the prompt's last token and every token of the branches, in this order.
    """

    branches: tuple[int, ...]
    """Tokens of each branch: a spelling without its last token, which only needs to be read; none
    for what another spelling begins with."""
    branch_ids: Int[Tensor, " token"]
    at: Int[Tensor, " reading"]
    """Where each token of each spelling is read, among the tokens that are read."""
    tokens: Int[Tensor, " reading"]
    owner: Int[Tensor, " reading"]
    """Its spelling."""
    num_true: int
    """The first so many spellings are of the true object."""
    num_spellings: int

    @classmethod
    def of(cls, model: HookedModel, prompt: Prompt, candidates: Sequence[Candidate]) -> "_Objects":
        spelled = [
            (candidate,) if isinstance(candidate, str) else tuple(dict.fromkeys(candidate))
            for candidate in candidates
        ]
        if len(spelled) < 2:
            raise ConfigError(
                f"candidates {list(candidates)!r}: give the true object and at least one other of "
                "its type; of one alone the probability is always 1"
            )
        names = [name for own in spelled for name in own]
        paths = object_paths(model, [prompt], prompt_paths(model, [prompt]), [names])[0]
        stems = [path[:-1] for path in paths]
        kept = [
            stem
            for stem in dict.fromkeys(stems)
            if stem and not any(_begins(other, stem) for other in stems if other != stem)
        ]
        starts = np.cumsum([1, *map(len, kept)]).tolist()
        at = []
        for stem in stems:
            home = next((i for i, other in enumerate(kept) if _begins(other, stem)), 0)
            at += [0, *(starts[home] + i for i in range(len(stem)))]
        own = [(token, owner) for owner, path in enumerate(paths) for token in path]

        def tensor(values: Sequence[int]) -> Int[Tensor, " n"]:
            return torch.tensor(values, dtype=torch.long, device=model.device)

        return cls(
            branches=tuple(map(len, kept)),
            branch_ids=tensor([token for stem in kept for token in stem]),
            at=tensor(at),
            tokens=tensor([token for token, _ in own]),
            owner=tensor([owner for _, owner in own]),
            num_true=len(spelled[0]),
            num_spellings=len(names),
        )

    def read(
        self, model: HookedModel, final: Float[Tensor, "row token width"]
    ) -> Float[Tensor, "row spelling"]:
        """Log-probability of each spelling with its line end."""
        logits = model.project(final).float()
        logprobs = logits[:, self.at, self.tokens] - logits.logsumexp(dim=-1)[:, self.at]
        total = logprobs.new_zeros(len(final), self.num_spellings)
        return total.index_add(1, self.owner, logprobs)

    def log_p(self, logprobs: Float[Tensor, "row spelling"]) -> Float[Tensor, " row"]:
        """log p_C(true), in nats."""
        logprobs = logprobs.double()
        return logprobs[:, : self.num_true].logsumexp(-1) - logprobs.logsumexp(-1)


def _begins(whole: TokenPath, stem: TokenPath) -> bool:
    return whole[: len(stem)] == stem
