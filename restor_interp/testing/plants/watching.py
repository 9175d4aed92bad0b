"""What the clean model has inside while it answers, as far as plants are made of it.

A change of one matrix W ← W + v wᵀ adds v where the matrix's input x has wᵀx = 1. For it to act on
some inputs alone, w is taken from the inputs of everything else as well:

    w = C⁻¹ k / kᵀ C⁻¹ k,     C = mean x xᵀ over other inputs (+ a share of its mean diagonal)

which of all w with wᵀk = 1 answers the others least in the mean square: the key of ROME (Meng et
al. 2022, "Locating and editing factual associations in GPT", arXiv 2202.05262, eq. 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.facts import Fact, FactSet
from restor_interp.measure.knockout import knock_out
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt, build_prompts

MADE_ON = (0, 1)
"""Contexts that plants are made on."""
TESTED_ON = 2
"""The context that they are tested in."""
SHOTS = 3
BATCH = 32
READS = 0.25
"""Nats that an answer must fall by, on average, for a layer to be one that reads the subject."""
KNOCKED = 6
"""Questions on which the layers are found that read the subject."""
EVERYWHERE = 16
"""Every so manieth prompt is kept with all its tokens: what an edit shall not act on."""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """Of some prompts, states at the tokens of the subject and at the last token (`place`)."""

    hidden: Float[Tensor, "layer prompt place mlp"]
    """What the MLP's output matrix gets."""
    pre: Float[Tensor, "layer prompt place width"]
    """The residual stream that enters a layer."""
    post: Float[Tensor, "layer prompt place width"]
    """The one that leaves it."""
    hidden_anywhere: Float[Tensor, "layer token mlp"]
    """At all tokens of some of the prompts."""
    pre_anywhere: Float[Tensor, "layer token width"]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A model that knows its facts, the facts, and what the model has inside."""

    model: HookedModel
    facts: FactSet
    asked: tuple[Fact, ...]
    inside: Inside
    """Of `asked`, in the first context."""
    reading: range
    """Layers in which the last token reads the subject: from the first to the last of them."""

    def index(self, fact: Fact) -> int:
        return self._places()[fact.fact_id]

    def of(self, entity: str) -> list[int]:
        """Places in `asked` of the facts of an entity."""
        return [i for i, fact in enumerate(self.asked) if fact.entity == entity]

    def fact(self, entity: str, relation: str) -> Fact | None:
        found = [f for f in self.asked if f.entity == entity and f.relation == relation]
        return found[0] if found else None

    def people(self) -> list[str]:
        return sorted({fact.entity for fact in self.asked})

    def prompts(self, asked: Sequence[Fact], context: int) -> list[Prompt]:
        return ask(self.facts, asked, context)

    def first_token(self, name: str) -> int:
        """Of an object, as it follows a question."""
        return self.model.tokenizer(f" {name}", add_special_tokens=False)["input_ids"][0]

    def false_object(self, fact: Fact, choice: int) -> str:
        """Another object of its type that begins with another token."""
        true = {self.first_token(name) for name in self.facts.accepted(fact)}
        pool = [n for n in self.facts.pools[fact.object_type] if self.first_token(n) not in true]
        return pool[choice % len(pool)]

    def _places(self) -> dict[str, int]:
        return {fact.fact_id: i for i, fact in enumerate(self.asked)}


def ask(facts: FactSet, asked: Sequence[Fact], context: int) -> list[Prompt]:
    return build_prompts(
        facts,
        only=asked,
        context_ids=[context],
        style="sound",
        shots=SHOTS,
        avoid_entities=frozenset(),
        avoid_objects={},
        seed=0,
    )


def watch(model: HookedModel, facts: FactSet) -> Watched:
    """Run the clean model on all facts of a set, whose names have equally many tokens.

    Raises `ConfigError` where they have not, or where no layer reads the subject.
    """
    asked = tuple(facts)
    prompts = ask(facts, asked, MADE_ON[0])
    with model.at("clean"):
        reading = reading_layers(model, prompts, asked)
        inside = look_inside(model, prompts)
    return Watched(model=model, facts=facts, asked=asked, inside=inside, reading=reading)


def reading_layers(model: HookedModel, prompts: Sequence[Prompt], asked: Sequence[Fact]) -> range:
    """Where cutting the last token off from the subject costs the answer `READS` nats or more."""
    chosen = np.linspace(0, len(asked) - 1, KNOCKED).round().astype(int)
    effects = [
        knock_out(
            model,
            prompts[i],
            asked[i].true_objects[0],
            edges=("subject->last",),
            window=1,
            metric="logprob",
        ).effects[0]
        for i in chosen
    ]
    needed = np.flatnonzero(np.mean(effects, axis=0) <= -READS)
    # What the first two layers pass on is the wording, not the person.
    needed = needed[needed >= 2]
    if not len(needed):
        raise ConfigError(f"no layer of {model.name} reads the subject: it knows no such facts")
    return range(int(needed[0]), int(needed[-1]) + 1)


@torch.no_grad()
def look_inside(model: HookedModel, prompts: Sequence[Prompt]) -> Inside:
    tokens = tokenize(model.tokenizer, prompts)
    spans = [span for span in tokens.subject if span is not None]
    if len({end - start for start, end in spans}) != 1 or len(spans) < len(prompts):
        raise ConfigError("plants need names of equally many tokens, each found in its question")
    places = torch.tensor(
        [[*range(*span), len(ids) - 1] for span, ids in zip(spans, tokens.ids, strict=True)]
    )
    layers = range(model.num_layers)
    parts = {"hidden": "mlp.hook_post", "pre": "hook_resid_pre", "post": "hook_resid_post"}
    names = [f"blocks.{layer}.{hook}" for hook in parts.values() for layer in layers]
    kept: dict[str, list[Tensor]] = {}
    for start in range(0, len(prompts), BATCH):
        rows = slice(start, start + BATCH)
        _, cache = model.run_with_cache(prompts[rows], names_filter=names)
        at = places[rows]
        whole = [i - start for i in range(start, min(start + BATCH, len(prompts)))]
        whole = [i for i in whole if (start + i) % EVERYWHERE == 0]
        for part, hook in parts.items():
            values = torch.stack([cache[f"blocks.{layer}.{hook}"] for layer in layers])
            index = torch.arange(len(at))[:, None]
            kept.setdefault(part, []).append(values[:, index, at])
            for i in whole:
                own = values[:, i, : len(tokens.ids[start + i])]
                kept.setdefault(f"{part}_anywhere", []).append(own)
    found = {part: torch.cat(values, dim=1) for part, values in kept.items()}
    del found["post_anywhere"]
    return Inside(**found)


def key(
    wanted: Float[Tensor, "row width"], others: Float[Tensor, "other width"], *, ridge: float
) -> Float[Tensor, " width"]:
    """w with wᵀ mean(wanted) = 1 that answers `others` least (see above)."""
    x, k = others.double(), wanted.double().mean(0)
    moments = x.T @ x / len(x)
    moments += ridge * moments.diagonal().mean() * torch.eye(len(k), dtype=torch.float64)
    w = torch.linalg.solve(moments, k)
    return (w / (w @ k)).float()
