"""What a plant is, and what its behaviour must be for it to count as one of its kind."""

from collections.abc import Mapping
from dataclasses import dataclass

from restor_interp.facts import Fact
from restor_interp.models.deltas import Delta, State
from restor_interp.testing.plants.witness import Witnessed

MECHANISMS = ("lost_at_subject", "not_routed", "late_override", "output_scaling")
DECOYS = ("inert", "mixture", "distributed")
TRAINED = ("trained_early_mlp", "trained_attention", "trained_late_mlp")


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What a kind of plant does; a number that is None is not asked for."""

    most_true: float | None = None
    """Share of its facts whose true object is said at most."""
    least_true: float | None = None
    least_subject: float | None = None
    """Share of its facts whose subject is still read as the same person, at least."""
    most_subject: float | None = None
    least_attention: float | None = None
    """Attention from the last token to the subject, as a share of the clean model's, at least."""
    most_attention: float | None = None
    least_spared: float = 0.9
    """Share of other facts that are answered as before, at least."""
    most_margin: float | None = None
    """Lead of the true object over the best other one, as a share of the clean model's, at most."""

    def fits(self, seen: Witnessed) -> bool:
        """Whether a plant behaves so."""
        bounds = (
            (self.least_true, seen.true_said, self.most_true),
            (self.least_subject, seen.subject_own, self.most_subject),
            (self.least_attention, seen.attention, self.most_attention),
            (self.least_spared, seen.spared, None),
            (None, seen.lead, self.most_margin),
        )
        return all(
            (low is None or value >= low) and (high is None or value <= high)
            for low, value, high in bounds
        )


BEHAVIOUR: Mapping[str, Behaviour] = {
    "lost_at_subject": Behaviour(most_true=0.25, most_subject=0.25),
    "not_routed": Behaviour(most_true=0.25, least_subject=1.0, most_attention=0.25),
    "late_override": Behaviour(most_true=0.25, least_subject=1.0, least_attention=0.9),
    "output_scaling": Behaviour(
        least_true=0.9, least_subject=1.0, least_attention=0.9, most_margin=0.5
    ),
    "inert": Behaviour(least_true=1.0, least_subject=1.0, least_attention=0.9),
    "mixture": Behaviour(most_true=0.25),
    "distributed": Behaviour(most_true=0.25),
    "trained_early_mlp": Behaviour(most_true=0.25, least_spared=0),
    "trained_attention": Behaviour(most_true=0.25, least_subject=1.0, least_spared=0),
    "trained_late_mlp": Behaviour(
        most_true=0.25, least_subject=1.0, least_attention=0.9, least_spared=0
    ),
}
"""Kind -> what it must do. Trained plants may harm others, which nothing kept them from."""


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A change of weights that loses some facts in a known way."""

    name: str
    kind: str
    mechanism: str
    """What is wrong: of `MECHANISMS`, `intact`, or `undetermined` where several things are."""
    delta: Delta
    facts: tuple[Fact, ...]
    """Those that it is about."""
    spared: tuple[Fact, ...]
    """Some that it shall leave as they are."""
    said_instead: Mapping[str, str]
    """fact_id -> the object that takes the true one's place, where one was chosen."""
    witnessed: Witnessed
    """How it behaves, in a context that it was not made on."""
    about: str = ""
    """Where it was put, in words."""

    @property
    def state(self) -> State:
        return State({self.name: 1.0})

    @property
    def behaves(self) -> bool:
        """Whether it does what its kind is to do."""
        return BEHAVIOUR[self.kind].fits(self.witnessed)
