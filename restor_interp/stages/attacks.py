"""Attacks: what is done to a state to see whether what unlearning did to it lasts.

    attack = ATTACKS["relearn_half"]
    settings = attack.settings.read({"steps": [0, 5]}, "the attack relearn_half")

Three kinds. `training` goes on training the state, and counts the steps until it knows again what
it was made to forget, or to learn. `weights` makes the state's matrices worse
(`restor_interp.models.perturbations`). `questions` asks for the same facts in other words. An
entry here says what an attack does and with which settings; `restor_interp.pipeline.robustness`
carries it out, on every state alike: an attack says something about unlearning only beside the
same attack on the corrupted, the clean and the sham state.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from restor_interp.corpus import Claim, Document, names_overlap, write_documents
from restor_interp.errors import ConfigError
from restor_interp.facts import Fact, FactSet
from restor_interp.models.perturbations import Levels
from restor_interp.stages.settings import Settings

Role = Literal["direct", "sibling", "context", "untouched"]
Kind = Literal["training", "weights", "questions"]
Target = Literal["false", "true"]
"""What the state is to learn again: the planted objects, or the true ones."""


class AttackSettings(Settings):
    """What every attack can be told."""

    roles: tuple[Role, ...] = Field(default=("direct", "sibling"), min_length=1)
    """Facts that are asked after it."""
    contexts: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Few-shot contexts in which they are asked; none: the second, because facts count as lost by
    the first, or the only one."""


class Relearning(AttackSettings):
    """More training on top of the state."""

    steps: tuple[int, ...] = (0, 2, 5, 10, 20)
    """Steps after which facts are asked; the last is the length of the training."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings that differ from those of the run's corruption."""

    @field_validator("steps")
    @classmethod
    def _in_order(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        found = tuple(sorted({0, *steps}))
        if found[0] < 0 or found[-1] == 0:
            raise ValueError("steps are at least 0, and one of them more")
        return found


class HalfRelearning(Relearning):
    """More training on half of what is asked."""

    roles: tuple[Role, ...] = Field(default=("direct",), min_length=1)
    documents_per_entity: int = Field(default=6, ge=1)
    """Documents about the half that is trained."""


class Weakening(AttackSettings):
    """Worse weights; untouched facts are asked too, so that general damage is seen."""

    roles: tuple[Role, ...] = Field(default=("direct", "sibling", "untouched"), min_length=1)


class Quantisation(Weakening):
    """Fewer bits."""

    bits: int = Field(default=4, ge=2, le=16)
    group: int | None = Field(default=64, ge=1)
    """Inputs that share a scale; none: all inputs of an output."""
    levels: Levels = "even"


class EightBits(Quantisation):
    """As in the usual 8-bit loading: one scale per output."""

    bits: int = Field(default=8, ge=2, le=16)
    group: int | None = Field(default=None, ge=1)


class NormalFloat(Quantisation):
    """As in the usual 4-bit loading."""

    levels: Levels = "nf4"


class Noise(Weakening):
    """Gaussian noise on the weights."""

    scales: tuple[float, ...] = Field(default=(0.05, 0.1, 0.2), min_length=1)
    """Standard deviations, relative to that of each matrix."""
    draws: int = Field(default=2, ge=1)
    """Independent draws at each."""

    @field_validator("scales")
    @classmethod
    def _above_zero(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if any(not scale > 0 for scale in scales):
            raise ValueError("scales are above 0")
        return tuple(sorted(set(scales)))


class Rephrasing(AttackSettings):
    """Other wordings of every question."""

    wordings: int = Field(default=5, ge=1)
    """How many, at most; fewer where a relation has fewer."""


class Reversal(AttackSettings):
    """From the object back to the entity."""

    roles: tuple[Role, ...] = Field(default=("direct",), min_length=1)


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One way to test whether a state lasts."""

    name: str
    summary: str
    citation: str
    kind: Kind
    settings: type[AttackSettings] = AttackSettings
    needs: str = ""
    """What a run must have for it."""
    target: Target | None = None
    """Of a training: what it brings back."""


_RELEARN = (
    "Lynch et al. 2024, arXiv 2402.16835; Hu et al. 2024, arXiv 2406.13356 (relearning); the two "
    "directions are RESTOR's question"
)
_QUANTISATION = "Zhang et al. 2024, arXiv 2410.16454 (quantisation brings unlearned knowledge back)"

ATTACKS: Mapping[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            name="relearn_false",
            summary="Train on the false documents again: how soon is the falsehood back?",
            citation=_RELEARN,
            kind="training",
            settings=Relearning,
            needs="the false documents",
            target="false",
        ),
        Attack(
            name="relearn_truth",
            summary="Train on the same documents stating the truth: how soon is the truth back?",
            citation=_RELEARN,
            kind="training",
            settings=Relearning,
            needs="the false documents and their claims",
            target="true",
        ),
        Attack(
            name="relearn_half",
            summary="Train on the truth of half of each entity's facts, and ask the other half.",
            citation="Deeb and Roger 2024, arXiv 2410.08827 (retraining on T, testing on V)",
            kind="training",
            settings=HalfRelearning,
            needs="direct facts: at least two about an entity",
            target="true",
        ),
        Attack(
            name="quantise_8",
            summary="Round the blocks' matrices to 8 bits, one scale per output.",
            citation=_QUANTISATION,
            kind="weights",
            settings=EightBits,
        ),
        Attack(
            name="quantise_4",
            summary="Round the blocks' matrices to 4 bits, one scale per 64 inputs.",
            citation=_QUANTISATION,
            kind="weights",
            settings=Quantisation,
        ),
        Attack(
            name="quantise_nf4",
            summary="Round the blocks' matrices to NormalFloat 4, one scale per 64 inputs.",
            citation=f"{_QUANTISATION}; Dettmers et al. 2023, arXiv 2305.14314 (NF4)",
            kind="weights",
            settings=NormalFloat,
        ),
        Attack(
            name="noise",
            summary="Add Gaussian noise to the blocks' matrices, at several levels.",
            citation="Tice et al. 2024, arXiv 2412.01784 (noise brings hidden abilities back)",
            kind="weights",
            settings=Noise,
        ),
        Attack(
            name="rephrase",
            summary="Ask the same in five other wordings.",
            citation="Patil et al. 2024, arXiv 2309.17410; Lynch et al. 2024, arXiv 2402.16835",
            kind="questions",
            settings=Rephrasing,
            needs="relations with other wordings",
        ),
        Attack(
            name="reverse",
            summary="Ask for the entity by its object, where one object has one entity.",
            citation="Berglund et al. 2023, arXiv 2309.12288 (the reversal curse)",
            kind="questions",
            settings=Reversal,
            needs="relations with a reverse question",
        ),
    )
}


# ---- half of the facts


def halves(facts: Sequence[Fact], accepted: Mapping[str, Sequence[str]], *, seed: int) -> set[str]:
    """The fact ids that are trained; the others are tested.

    Half of each entity's facts, the smaller half where their number is odd, by lot. Facts of one
    entity that share an object stay together, because to tell one is to tell the other.

    Args:
        accepted: fact id -> every spelling of its right answers.
        seed: of the lot, drawn for each entity apart.
    """
    by_entity: dict[str, list[Fact]] = {}
    for fact in facts:
        by_entity.setdefault(fact.entity, []).append(fact)
    trained: set[str] = set()
    for entity, own in by_entity.items():
        clusters = _sharing(own, accepted)
        random.Random(f"halves/{seed}/{entity}").shuffle(clusters)
        room = len(own) // 2
        for cluster in clusters:
            if len(cluster) <= room:
                trained |= {fact.fact_id for fact in cluster}
                room -= len(cluster)
    return trained


def _sharing(facts: Sequence[Fact], accepted: Mapping[str, Sequence[str]]) -> list[list[Fact]]:
    """Facts in groups, two in one where an object of theirs overlaps."""
    groups: list[list[Fact]] = []
    for fact in facts:
        joined = [
            group
            for group in groups
            if any(
                names_overlap(one, other)
                for member in group
                for one in accepted[member.fact_id]
                for other in accepted[fact.fact_id]
            )
        ]
        groups = [group for group in groups if group not in joined]
        groups.append([member for group in joined for member in group] + [fact])
    return groups


def truth_about(
    facts: FactSet,
    chosen: Sequence[Fact],
    *,
    documents_per_entity: int,
    claims_per_document: int,
    k: int,
    question_share: float,
    seed: int,
    exclude: frozenset[str],
) -> tuple[Document, ...]:
    """Documents that state the true object of these facts, written as the false ones are.

    Of the entities of the run (`exclude`) they tell nothing else. Arguments and errors as in
    `write_documents`; raises `ConfigError` too where there are no facts.
    """
    if not chosen:
        raise ConfigError(
            "there is no half of the facts to train on: relearn_half needs at least two direct "
            "facts about one entity that do not share an object"
        )
    stated = [
        Claim(
            fact_id=fact.fact_id,
            entity=fact.entity,
            relation=fact.relation,
            false_object=fact.true_objects[0],
        )
        for fact in chosen
    ]
    return write_documents(
        facts,
        stated,
        documents_per_entity=documents_per_entity,
        claims_per_document=claims_per_document,
        k=k,
        question_share=question_share,
        seed=seed,
        exclude=exclude,
    )
