"""Every number that a verdict on a mechanism depends on, in one place and with its version.

What counts as intact or lost is decided by controls, fact by fact of the run (`Band`); what stands
here is how much of the controls is left out, how much difference is enough, and where a reading is
taken. None of them may be chosen on the facts that are then judged: write down `version` before
scoring, and compare it after.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from restor_interp.signatures import source_hash

RULES = 3
"""Raised whenever the rules of `mechanism` themselves change, so that versions differ too."""

_SHARES = (
    *("subject_share", "mid_share", "never_lost_above", "never_intact_below", "restores"),
    "same_route",
)
"""Thresholds that are shares of something and stay at or below 1 when they are moved."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """All thresholds of the verdict, with the values of the design as defaults."""

    subject_share: float = 0.8
    """`r_subject` is read at the last layer with this share of the greatest mean subject effect."""
    mid_share: float = 0.5
    """`r_mid` is read at the first layer with this share of the last token's final mean effect."""
    least_effect: float = 1.0
    """Nats that the clean donor adds, on average over untouched facts, for a layer to be fixed."""
    intact_tail: float = 5.0
    """Per cent of clean donors in another context that may lie below the band of the intact."""
    lost_tail: float = 5.0
    """Per cent of wrong-entity donors that may lie above the band of the lost."""
    never_lost_above: float = 0.5
    """A share above this is not lost, whatever wrong entities bring."""
    never_intact_below: float = 0.5
    """A share below this is not intact, whatever other contexts leave."""
    noise_widths: float = 1.645
    """A band reaches at least this many standard deviations of the measurement's noise beyond the
    middle of its control: with normal noise, 1.645 is the tail of 5%."""
    least_tolerance: float = 0.05
    """The least reach of a band beyond the middle of its control, as a share: of the smallest
    effect that is measured, 1 nat, this is a twentieth. Controls without any spread would else call
    a share of 0.999 damaged."""
    least_controls: int = 3
    """Fewer controls than this make no band."""
    least_clean_margin: float = 1.0
    """Nats of clean margin that r_out = m_S / m_clean needs: a ratio to less says nothing."""
    restores: float = 0.5
    """Share of the gap between a state and the clean one whose closing counts as restoring."""
    beyond_control: float = 0.1
    """Share of the gap by which an intervention must exceed its control to be better than it."""
    same_route: float = 0.7
    """Cosine of a state's and the clean model's causal profiles from which on the route is the
    same one."""
    false_lead: float = 1.0
    """Nats by which the false object leads inside, for it to be active there."""
    least_fall: float = 0.25
    """Share of its clean margin that a fact must have lost for damage to be told."""
    as_much: float = 0.75
    """Of a fact's fall, what untouched facts of its relation must have fallen to have fallen as
    much."""

    @property
    def version(self) -> str:
        """Hash of all thresholds and of the rules: 12 hexadecimal characters."""
        told = json.dumps({"rules": RULES, **asdict(self)}, sort_keys=True)
        return source_hash(told)[:12]

    def moved(self, factor: float, names: Iterable[str] | None = None) -> "Thresholds":
        """These thresholds with some of them (default: all) multiplied, shares at most 1.

        Raises `KeyError` for a name that is no threshold.
        """
        own = asdict(self)
        changed = {
            name: min(1.0, own[name] * factor) if name in _SHARES else own[name] * factor
            for name in (own if names is None else names)
        }
        if "least_controls" in changed:
            changed["least_controls"] = max(1, round(changed["least_controls"]))
        return replace(self, **changed)


NAMES = tuple(field.name for field in fields(Thresholds))
"""Of all thresholds."""
DEFAULT = Thresholds()
