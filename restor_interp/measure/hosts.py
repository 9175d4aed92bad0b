"""A run that does not know a fact, and what it says of the fact's object when it is given states.

    host = Host.of(model, prompt, candidates, layers=range(4))       # in the state it is run in
    host.log_p()                                                     # of its own run
    host.log_p_given([(0, 2, values)])                               # site, number of layer, values

The number is log p_C(true), p_C the distribution over the typed candidates alone: whole objects
with the line end, spellings added, as in `margins`, all out of one run with branches.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.answers import prompt_paths
from restor_interp.measure.choices import object_paths
from restor_interp.measure.margins import Candidate, spellings
from restor_interp.measure.prefixes import TokenPath
from restor_interp.measure.questions import check_finite
from restor_interp.measure.regions import BaseRun, Engine, Patch, run_base, run_patches
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt


def subject_tokens(
    model: HookedModel, prompt: Prompt
) -> tuple[Int[Tensor, " pos"], tuple[int, int]]:
    """The prompt's tokens, and which of them are its subject's: from the first to before the
    second. Raises `PromptError` where no token is."""
    tokens = tokenize(model.tokenizer, [prompt])
    span = tokens.subject[0]
    if span is None:
        raise PromptError(f"the subject {prompt.subject!r} holds no token of its prompt")
    return tokens.ids[0].to(model.device), span


@dataclass(frozen=True, kw_only=True)
class Host:
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
    ) -> "Host":
        objects = _Objects.of(model, prompt, candidates)
        ids, span = subject_tokens(model, prompt)
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
        spelled = [spellings(candidate) for candidate in candidates]
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
