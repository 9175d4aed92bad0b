"""Why a fact is where it is in a state: the mechanism, out of readings on the way to the answer.

    mechanism         subject   mid      out      its refuter: it is not so where …
    restored          intact    intact   intact   its sham brings back as much
    late_override     intact    intact   lost     clean late layers do no better than random ones
    not_routed        intact    lost     lost     clean attention output does not restore
    lost_at_subject   lost      lost     lost     clean states of the subject do not restore
    never_lost        intact    intact   intact   (corruption left it, so nothing was restored)
    undetermined      anything else, anything not measured, anything refuted

`intact` and `lost` are what bands from controls say of a share (`explain.retention.Band`); in the
answer, of two of them: lost is what either calls lost, intact what both call intact. The other
numbers are those of `explain.thresholds`. A class is a claim; where its refuter was measured and
speaks against it, the claim is withdrawn, and the reason says why.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from restor_interp.explain.retention import Band, Bands
from restor_interp.explain.thresholds import DEFAULT, Thresholds
from restor_interp.explain.wording import measured, number

Mechanism = Literal[
    "restored", "late_override", "not_routed", "lost_at_subject", "never_lost", "undetermined"
]
Refuter = Literal["passed", "failed", "not measured"]

Said = tuple[str | None, str | None, str | None]
"""`intact`, `lost` or `between` at subject, mid and out; None where nothing can be said."""

SIGNATURES: Mapping[Said, Mechanism] = {
    ("intact", "intact", "intact"): "restored",
    ("intact", "intact", "lost"): "late_override",
    ("intact", "lost", "lost"): "not_routed",
    ("lost", "lost", "lost"): "lost_at_subject",
}
"""What is said at subject, mid and out -> the mechanism that it speaks for."""

MECHANISMS: tuple[Mechanism, ...] = (*SIGNATURES.values(), "never_lost", "undetermined")
FLAGS = ("same_route", "new_route", "false_active", "general_damage")
SITES = ("subject", "mid", "out")


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What was measured of one fact in one state. None or NaN: it was not measured."""

    r_subject: float | None
    """Share of clean's knowledge at the subject."""
    r_mid: float | None
    """The same at the last token, where clean's knowledge arrives."""
    r_out: float | None
    """m_S / m_clean: the margin, as a share of the clean model's."""
    answer: float | None = None
    """Share of clean's knowledge in the whole answer, from chance on. Lost in the answer is what is
    lost by either of the two, intact what is intact by both."""
    corrupted_r_out: float | None = None
    """The same in the corrupted state (in that state itself: its own). Where this is intact, there
    was nothing to restore."""
    sham_r_out: float | None = None
    """The same in the state's sham."""
    late_effect: float | None = None
    """Share of the gap to clean that clean weights (or values) of late layers close in the state:
    the best layer's, or that of all of them together."""
    late_control: float | None = None
    """The same of norm-matched random modules: the best of as many."""
    attention_effect: float | None = None
    """Share of the gap that clean attention output at the last token closes: the best layer's."""
    attention_control: float | None = None
    """The same of values from a run about another entity."""
    subject_effect: float | None = None
    """Share of the gap that clean states of the subject close."""
    subject_control: float | None = None
    """The same of states of another entity."""
    subject_whole: bool = True
    """Whether all tokens of the subject were put in at once. One token alone that restores says
    enough; one alone that does not restore says nothing about the subject."""
    route_similarity: float | None = None
    """Cosine of what the answer depends on inside, in this state and in the clean one."""
    false_lead: float | None = None
    """Nats by which the false object leads inside, from where the fact arrives on, beyond what it
    does in the clean model; below 0: the true object leads."""
    untouched_r_out: float | None = None
    """Mean r_out over untouched facts of the same relation in this state."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The mechanism of a fact in a state, and what it rests on."""

    mechanism: Mechanism
    flags: tuple[str, ...] = ()
    """Some of `FLAGS`, in that order."""
    said: Said = (None, None, None)
    suspected: Mechanism = "undetermined"
    """What the three shares speak for, before its refuter was asked."""
    refuter: Refuter | None = None
    """None where no class that has a refuter was suspected."""
    reason: str | None = None
    """Why it is undetermined, or why the refuter was not measured."""


def classify(readings: Readings, bands: Bands, thresholds: Thresholds = DEFAULT) -> Verdict:
    """The mechanism that these readings speak for. A pure function of its arguments.

    Never raises: what is missing or speaks against itself is `undetermined`, with the reason.
    """
    said = _said(readings, bands, thresholds)
    flags = _flags(readings, said, thresholds)
    unsaid = [name for name, word in zip(SITES, said, strict=True) if word is None]
    if unsaid:
        why = "; ".join(_why_unsaid(readings, bands, name) for name in unsaid)
        return Verdict(mechanism="undetermined", flags=flags, said=said, reason=why)
    suspected = SIGNATURES.get(said, "undetermined")
    if suspected == "undetermined":
        told = ", ".join(f"{name} {word}" for name, word in zip(SITES, said, strict=True))
        why = f"{told}: no mechanism has this pattern"
        return Verdict(mechanism="undetermined", flags=flags, said=said, reason=why)
    if suspected == "restored" and _says(bands.out, readings.corrupted_r_out, thresholds) == (
        "intact"
    ):
        return Verdict(mechanism="never_lost", suspected="never_lost", flags=flags, said=said)
    refuter, why = _REFUTERS[suspected](readings, bands, thresholds)
    if suspected == "restored" and refuter != "failed":
        flags = (*_route(readings, thresholds), *flags)
    return Verdict(
        mechanism="undetermined" if refuter == "failed" else suspected,
        flags=flags,
        said=said,
        suspected=suspected,
        refuter=refuter,
        reason=f"it would be {suspected}, but {why}" if refuter == "failed" else why,
    )


# ---- bands


def _says(band: Band | None, share: float | None, thresholds: Thresholds) -> str | None:
    if band is None or share is None:
        return None
    return band.verdict(share, thresholds)


def _said(readings: Readings, bands: Bands, thresholds: Thresholds) -> Said:
    return (
        _says(bands.subject, readings.r_subject, thresholds),
        _says(bands.mid, readings.r_mid, thresholds),
        _in_answer(readings, bands, thresholds),
    )


def _in_answer(readings: Readings, bands: Bands, thresholds: Thresholds) -> str | None:
    words = {
        _says(bands.out, readings.r_out, thresholds),
        _says(bands.answer, readings.answer, thresholds),
    } - {None}
    if "lost" in words:
        return "lost"
    return "between" if "between" in words else next(iter(words), None)


def _why_unsaid(readings: Readings, bands: Bands, site: str) -> str:
    if not measured(getattr(readings, f"r_{site}")):
        return f"r_{site} was not measured"
    return f"there are no controls for r_{site}"


# ---- refuters: each returns whether the class passed, and why not

_Told = tuple[Refuter, str | None]
_Refute = Callable[[Readings, Bands, Thresholds], _Told]


def _sham(readings: Readings, bands: Bands, thresholds: Thresholds) -> _Told:
    said = _says(bands.out, readings.sham_r_out, thresholds)
    if said is None:
        return "not measured", "its sham was not measured"
    if said == "intact":
        return (
            "failed",
            f"its sham restores as much ({number(readings.sham_r_out)} of clean's margin)",
        )
    return "passed", None


def _late(readings: Readings, bands: Bands, thresholds: Thresholds) -> _Told:
    del bands
    if not measured(readings.late_effect) or not measured(readings.late_control):
        return "not measured", "clean late layers were not put in beside random ones"
    assert readings.late_effect is not None and readings.late_control is not None
    if readings.late_effect - readings.late_control < thresholds.beyond_control:
        return "failed", (
            f"clean late layers close {number(readings.late_effect)} of the gap and random modules "
            f"of equal norm {number(readings.late_control)}"
        )
    return "passed", None


def _attention(readings: Readings, bands: Bands, thresholds: Thresholds) -> _Told:
    del bands
    what = "clean attention output at the last token"
    if not measured(readings.attention_effect):
        return "not measured", f"{what} was not put in"
    return _restoring(what, readings.attention_effect, readings.attention_control, thresholds)


def _subject(readings: Readings, bands: Bands, thresholds: Thresholds) -> _Told:
    del bands
    what = "clean states of the subject"
    if not measured(readings.subject_effect):
        return "not measured", f"{what} were not put in"
    told = _restoring(what, readings.subject_effect, readings.subject_control, thresholds)
    if told[0] == "failed" and not readings.subject_whole:
        return "not measured", f"{what} were put in one token at a time, never together"
    return told


def _restoring(
    what: str, effect: float | None, control: float | None, thresholds: Thresholds
) -> _Told:
    assert effect is not None
    if effect < thresholds.restores:
        return "failed", f"{what} close only {number(effect)} of the gap"
    beyond = effect - control if control is not None and math.isfinite(control) else math.inf
    if beyond < thresholds.beyond_control:
        return (
            "failed",
            f"{what} close {number(effect)} of the gap, another entity's {number(control)}",
        )
    return "passed", None


_REFUTERS: Mapping[str, _Refute] = {
    "restored": _sham,
    "late_override": _late,
    "not_routed": _attention,
    "lost_at_subject": _subject,
}


# ---- flags


def _route(readings: Readings, thresholds: Thresholds) -> tuple[str, ...]:
    if not measured(readings.route_similarity):
        return ()
    assert readings.route_similarity is not None
    return ("same_route" if readings.route_similarity >= thresholds.same_route else "new_route",)


def _flags(readings: Readings, said: Said, thresholds: Thresholds) -> tuple[str, ...]:
    flags = []
    if measured(readings.false_lead):
        assert readings.false_lead is not None
        if readings.false_lead >= thresholds.false_lead:
            flags.append("false_active")
    if measured(readings.r_out) and measured(readings.untouched_r_out) and said[2] != "intact":
        assert readings.r_out is not None and readings.untouched_r_out is not None
        fall, elsewhere = 1 - readings.r_out, 1 - readings.untouched_r_out
        if fall >= thresholds.least_fall and elsewhere >= thresholds.as_much * fall:
            flags.append("general_damage")
    return tuple(flags)
