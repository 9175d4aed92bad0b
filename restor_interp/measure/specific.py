"""What counts as knowing a fact about one entity, and not only about entities like it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SpecificRule:
    """When the clean model knows a fact about this very entity (design §8)."""

    min_right: float = 2 / 3
    """Share of contexts in which it answers the fact; 2 of 3."""
    max_guessed: float = 1 / 5
    """Share of substitutes for which the true object leads as well; 1 of 5."""
    min_margin: float = 1.0
    """Margin in nats."""
