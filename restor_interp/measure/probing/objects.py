"""Labels of an object read-out: which object each captured question asks for, and its rivals."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from restor_interp.errors import DataError
from restor_interp.facts import Fact, FactSet
from restor_interp.models.activations import CapturedPrompt, StateActivations


@dataclass(frozen=True, kw_only=True)
class ObjectLabels:
    """The captured questions that can be asked for their object, row by row."""

    rows: Int[np.ndarray, " row"]
    """Places of these questions among all captured prompts."""
    prompts: tuple[CapturedPrompt, ...]
    labels: tuple[str, ...]
    """The true object."""
    candidates: tuple[tuple[str, ...], ...]
    """The true object first, then others of its type that begin with another token."""
    vectors: Mapping[str, Float[np.ndarray, " width"]]
    """The unembedding row of every candidate's first token."""

    @property
    def relations(self) -> tuple[str, ...]:
        return tuple(prompt.relation for prompt in self.prompts)

    @property
    def fact_ids(self) -> tuple[str, ...]:
        return tuple(prompt.fact_id for prompt in self.prompts)

    @property
    def entities(self) -> tuple[str, ...]:
        return tuple(prompt.entity for prompt in self.prompts)

    @property
    def untouched(self) -> Bool[np.ndarray, " row"]:
        """Whether no document mentions the row's entity."""
        return np.array([prompt.role == "untouched" for prompt in self.prompts])


def object_labels(
    activations: StateActivations, facts: FactSet, *, candidates: int = 20, seed: int = 0
) -> ObjectLabels:
    """Which of the captured questions can be asked for their object, and among which candidates.

    A question is left out whose true object has no vector, or no rival with another first token.
    So many candidates are drawn per fact, the same for every state.

    Raises:
        DataError: no question can be asked.
    """
    base = "clean" if "clean" in activations else activations.states[0]
    vectors = activations.object_vectors
    known = {fact.fact_id: fact for fact in facts}
    pools = {
        name: _candidates(fact, facts, vectors, candidates, seed) for name, fact in known.items()
    }
    prompts = activations[base].prompts
    rows = [row for row, prompt in enumerate(prompts) if len(pools.get(prompt.fact_id, ())) > 1]
    if not rows:
        raise DataError(
            f"none of the {len(prompts)} captured questions has an object with a vector and a "
            "rival: capture with this run's facts"
        )
    asked = [prompts[row] for row in rows]
    named = sorted({name for prompt in asked for name in pools[prompt.fact_id]})
    return ObjectLabels(
        rows=np.array(rows),
        prompts=tuple(asked),
        labels=tuple(known[prompt.fact_id].true_objects[0] for prompt in asked),
        candidates=tuple(pools[prompt.fact_id] for prompt in asked),
        vectors={name: vectors[name] for name in named},
    )


def _candidates(
    fact: Fact,
    facts: FactSet,
    vectors: Mapping[str, Float[np.ndarray, " width"]],
    number: int,
    seed: int,
) -> tuple[str, ...]:
    true = fact.true_objects[0]
    if true not in vectors:
        return ()
    accepted = set(facts.accepted(fact))
    others = [
        name
        for name in facts.pools.get(fact.object_type, ())
        if name not in accepted
        and name in vectors
        and not np.array_equal(vectors[name], vectors[true])
    ]
    draw = random.Random(f"{seed}/{fact.fact_id}")
    return (true, *draw.sample(others, min(len(others), number - 1)))
