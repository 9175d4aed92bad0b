"""The fate of a fact: what its outcomes in the clean, corrupted and unlearned state say.

    clean   corrupted   unlearned     fate
    true    true        true          kept
    true    true        else          collateral
    true    else        true          restored, or guessed where m < ½ m_clean
    true    false       false         still_false
    true    false       other         forgotten
    true    other       else          still_lost
    else    any         true          gained
    else    any         else          unknown

The corrupted state has fates too, as its own "unlearned" state: of what was lost, `still_false`
or `still_lost`.
"""

import math
from collections import Counter
from collections.abc import Sequence

from restor_interp.measure.judging import Outcome

FATES_OF_LOST = ("restored", "guessed", "still_false", "forgotten", "still_lost")
"""Of a fact that corruption took away."""
FATES_OF_SURVIVED = ("kept", "collateral")
"""Of a fact that corruption left."""
FATES = (*FATES_OF_LOST, *FATES_OF_SURVIVED, "gained", "unknown")

GUESSED_BELOW = 0.5
"""Share of the clean margin below which a right answer counts as a guess (design §2)."""

_OUTCOMES = ("true", "false", "other")


def fate_of(
    clean: Outcome | str,
    corrupted: Outcome | str,
    unlearned: Outcome | str,
    *,
    margin: float | None,
    margin_clean: float | None,
) -> str:
    """What became of a fact, from its outcome in each state: one of `FATES`.

    `margin`, `margin_clean`: entity-specific knowledge in nats, in the unlearned and in the clean
    state. Where one of them was not measured (None or NaN), a right answer counts as restored: a
    guess is only claimed where it was seen.

    Raises `ValueError` for anything that is not an outcome.
    """
    for outcome in (clean, corrupted, unlearned):
        if outcome not in _OUTCOMES:
            raise ValueError(f"{outcome!r} is no outcome; there are {', '.join(_OUTCOMES)}")
    right = unlearned == "true"
    if clean != "true":
        return "gained" if right else "unknown"
    if corrupted == "true":
        return "kept" if right else "collateral"
    if right:
        return "guessed" if is_guess(margin, margin_clean) else "restored"
    if corrupted == "false":
        return "still_false" if unlearned == "false" else "forgotten"
    return "still_lost"


def is_guess(margin: float | None, margin_clean: float | None) -> bool:
    """Whether a right answer rests on less than half of the clean model's knowledge."""
    if margin is None or margin_clean is None or math.isnan(margin) or math.isnan(margin_clean):
        return False
    return margin < GUESSED_BELOW * margin_clean


def majority(outcomes: Sequence[str]) -> str | None:
    """The most frequent outcome over contexts; a tie goes to the earliest; None of nothing."""
    # most_common keeps the order of first appearance among equals
    return Counter(outcomes).most_common(1)[0][0] if outcomes else None
