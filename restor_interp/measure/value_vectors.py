"""Concept vectors: value vectors of MLPs that write an object, and what a state made of them.

A value vector, read through the final norm and the unembedding, promotes some words (Geva et al.
2022, "Transformer feed-forward layers build predictions by promoting concepts in the vocabulary
space"). Hong et al. 2024, "Intrinsic evaluation of unlearning using parametric knowledge traces"
(ConceptVectors), look for vectors whose most promoted words belong to a concept, and find that
unlearning barely changes them. Here the concept is an object: among the vectors of all layers of
the clean model that point most towards its token, those that promote it most are compared with
what stands in their place in another state, beside random vectors of the same layers.

A coefficient can be negative in a gated MLP, so that −v counts as well as v; `sign` says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError
from restor_interp.measure.contributions import frozen_norm
from restor_interp.measure.mlps import norm_after, value_vectors
from restor_interp.measure.questions import ask
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.prompts import Prompt

TOP_K = 200
"""Words that are compared, as in the paper."""
POOL = 128
"""Per object, so many vectors that point towards it are projected onto the vocabulary."""
VECTORS_AT_ONCE = 64
"""Projected together."""
SHOWN = 5
"""Words of a vector that are written into its row."""


@dataclass(frozen=True, kw_only=True)
class ValueVector:
    """One value vector, in the clean model and in a state."""

    object: str
    """Whose token it was looked for with."""
    kind: str
    """`concept`, or `random`: a control of the same layer."""
    layer: int
    index: int
    """Its column in the last matrix of the MLP."""
    sign: int
    clean_rank: int
    """Of the object's token among the words that sign · v promotes in the clean model; 1 first."""
    rank: int
    """The same in the state."""
    cosine: float
    """Between v in the two."""
    distance: float
    """‖v_S − v_C‖ / ‖v_C‖."""
    jaccard: float
    """Of the `top_k` words that it promotes in the two: shared ones over all."""
    clean_words: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ValueVectors:
    """What a state made of the vectors that write an object and its foil."""

    _repr_html_ = as_html

    state: str
    top_k: int
    seed: int
    """Of the control."""
    vectors: tuple[ValueVector, ...]

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `value_vectors`, one per vector. `concept` says whether the object is
        among the `top_k` words of the clean vector."""
        return [
            {
                "fact_id": fact_id,
                "state": self.state,
                **{name: value for name, value in vars(one).items() if "words" not in name},
                "clean_words": " ".join(one.clean_words),
                "words": " ".join(one.words),
                "concept": one.clean_rank <= self.top_k,
                "top_k": self.top_k,
                "control_seed": self.seed,
            }
            for one in self.vectors
        ]


@torch.no_grad()
def compare_value_vectors(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str,
    *,
    state: str,
    number: int = 8,
    top_k: int = TOP_K,
    seed: int = 1,
) -> ValueVectors:
    """Find the clean model's value vectors that write two objects, and compare them with a state's.

    Objects are looked for by the token at which they differ after the prompt. Each of them is a row
    of its own; a vector that writes both stands twice.

    Args:
        number: vectors per object, and as many random ones.
        top_k: words that a vector is said to promote.
        seed: of the random vectors.

    Raises:
        PromptError: answer and foil that no token tells apart.
        ConfigError: an unknown state; a number or top_k below 1.
        ModelError: a model whose MLPs have no known last matrix.
    """
    if number < 1 or top_k < 1:
        raise ConfigError(f"number={number} and top_k={top_k} are at least 1")
    question = ask(model, prompt, answer, foil)
    with model.at(CLEAN):
        # The clean decoder is the state's too: what is compared is the vectors.
        reader = _Reader.of(model)
        chosen: list[tuple[str, int, str, _Place]] = []
        for name, token in zip((answer, foil), question.targets.tolist(), strict=True):
            own = _towards(model, reader, token, number)
            random = _at_random(model, own, seed)
            chosen += [(name, token, "concept", place) for place in own]
            chosen += [(name, token, "random", place) for place in random]
        # Copies: switching the state writes into the matrices.
        before = torch.stack([value_vectors(model, p.layer)[p.index].float() for *_, p in chosen])
    with model.at(state):
        after = torch.stack([value_vectors(model, p.layer)[p.index].float() for *_, p in chosen])
    places = [place for *_, place in chosen]
    with model.at(CLEAN):
        read = [reader.logits(places, vectors) for vectors in (before, after)]
    found = [
        _compared(model, *chosen[n], before[n], after[n], read[0][n], read[1][n], top_k)
        for n in range(len(chosen))
    ]
    return ValueVectors(state=state, top_k=top_k, seed=seed, vectors=tuple(found))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Which value vector, and whether it is read as it is or turned round."""

    layer: int
    index: int
    sign: int


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """From value vectors to words: gains of the norms on the way, then the unembedding."""

    words: Float[Tensor, "vocab width"]
    """Rows of the unembedding."""
    mean: Float[Tensor, " width"]
    gains: Sequence[Any]
    """Per layer, a linear map; its scale is arbitrary."""

    @classmethod
    def of(cls, model: HookedModel) -> "_Reader":
        unembed: Any = model.hf_model.get_output_embeddings()
        final: Any = model.hf_model.get_submodule(model.architecture.final_norm)
        words = unembed.weight.detach()
        ones = torch.ones(model.d_model, device=model.device, dtype=model.dtype)
        # Alternating: a LayerNorm of equal numbers has nothing left to scale by.
        ones[::2] = -1
        last = frozen_norm(final, ones)

        def gain(layer: int) -> Any:
            norm = norm_after(model, layer)
            if norm is None:
                return lambda v: last(v.float())
            first = frozen_norm(norm, ones)
            return lambda v: last(first(v.float()))

        layers = range(model.num_layers)
        return cls(words=words, mean=words.float().mean(0), gains=[gain(n) for n in layers])

    def logits(
        self, places: Sequence[_Place], vectors: Float[Tensor, "vector width"]
    ) -> Float[Tensor, "vector vocab"]:
        """How much sign · v promotes every word, in arbitrary units."""
        read = torch.stack(
            [
                place.sign * self.gains[place.layer](vector)
                for place, vector in zip(places, vectors, strict=True)
            ]
        )
        return (read.to(self.words.dtype) @ self.words.T).float()


def _towards(model: HookedModel, reader: _Reader, token: int, number: int) -> list[_Place]:
    """The vectors that promote a token most, of those that point most towards its word.

    To project all of them onto the vocabulary would cost a forward pass of as many tokens as there
    are vectors. Words are taken from their mean, which all vectors promote or none.
    """
    word = reader.words[token].float() - reader.mean
    scores = []
    for layer in range(model.num_layers):
        read = reader.gains[layer](value_vectors(model, layer))
        scores.append(read @ word / (read.norm(dim=-1) + 1e-12))
    flat = torch.cat(scores)
    starts = np.cumsum([0, *map(len, scores)])
    pool = []
    for place in flat.abs().topk(min(max(POOL, number), len(flat))).indices.tolist():
        layer = int(np.searchsorted(starts, place, side="right")) - 1
        sign = 1 if flat[place] >= 0 else -1
        pool.append(_Place(layer=layer, index=place - int(starts[layer]), sign=sign))
    vectors = torch.stack([value_vectors(model, own.layer)[own.index] for own in pool])
    ranks = []
    for first in range(0, len(pool), VECTORS_AT_ONCE):
        batch = slice(first, first + VECTORS_AT_ONCE)
        logits = reader.logits(pool[batch], vectors[batch])
        ranks += (logits > logits[:, [token]]).sum(-1).tolist()
    # Equal ranks stay in the order in which the vectors point towards the word.
    order = sorted(range(len(pool)), key=lambda one: ranks[one])
    return [pool[one] for one in order[:number]]


def _at_random(model: HookedModel, own: Sequence[_Place], seed: int) -> list[_Place]:
    """As many other vectors of the same layers, with the same signs."""
    rng = np.random.default_rng(seed)
    taken = {(place.layer, place.index) for place in own}
    found = []
    for place in own:
        lengths = value_vectors(model, place.layer).norm(dim=-1).tolist()
        free = [n for n, size in enumerate(lengths) if size and (place.layer, n) not in taken]
        if free:
            index = int(rng.choice(free))
            taken.add((place.layer, index))
            found.append(_Place(layer=place.layer, index=index, sign=place.sign))
    return found


def _compared(
    model: HookedModel,
    name: str,
    token: int,
    kind: str,
    place: _Place,
    clean: Float[Tensor, " width"],
    own: Float[Tensor, " width"],
    before: Float[Tensor, " vocab"],
    after: Float[Tensor, " vocab"],
    top_k: int,
) -> ValueVector:
    k = min(top_k, len(before))
    top_before, top_after = (logits.topk(k).indices.tolist() for logits in (before, after))
    shared = len(set(top_before) & set(top_after))
    return ValueVector(
        object=name,
        kind=kind,
        layer=place.layer,
        index=place.index,
        sign=place.sign,
        clean_rank=1 + int((before > before[token]).sum()),
        rank=1 + int((after > after[token]).sum()),
        cosine=float(torch.cosine_similarity(clean, own, dim=0)),
        distance=float((own - clean).norm() / clean.norm()),
        jaccard=shared / (2 * k - shared),
        clean_words=_words(model, top_before),
        words=_words(model, top_after),
    )


def _words(model: HookedModel, tokens: Sequence[int]) -> tuple[str, ...]:
    return tuple(model.tokenizer.decode([token]).strip() for token in tokens[:SHOWN])
