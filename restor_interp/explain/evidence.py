"""A verdict in one sentence: numbers, layers and the control, and only what was measured.

No text of the data stands in it, such as names of objects or entities: nothing that a stranger
wrote can change what it says.
"""

from restor_interp.explain.mechanism import Readings, Verdict
from restor_interp.explain.readings import Places
from restor_interp.explain.thresholds import DEFAULT, Thresholds
from restor_interp.explain.wording import layer_range, measured, number


def evidence(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds = DEFAULT
) -> str:
    """Why this verdict, as one sentence that ends with a full stop."""
    told = _SENTENCES[verdict.mechanism](verdict, readings, places, thresholds)
    more = [
        text for text in (_route(verdict, readings), *_flags(verdict, readings, places)) if text
    ]
    sentence = "; ".join((told, *more))
    return f"{sentence[:1].upper()}{sentence[1:]}."


# ---- the way to the answer


_CARRIES = {
    "intact": "the subject still carries the answer",
    "between": "the subject carries part of the answer",
    "lost": "the subject no longer carries the answer",
}
_REACHES = {
    "intact": "it reaches the last token",
    "between": "some of it reaches the last token",
    "lost": "it does not reach the last token",
}
APART = 0.2
"""A share of the answer that is lower than that of the margin by as much is told as well."""

_SAYS = {
    "intact": "the model says it",
    "between": "the model says part of it",
    "lost": "it is lost in the answer",
}


def _subject(verdict: Verdict, readings: Readings, places: Places) -> str:
    share = number(readings.r_subject)
    where = "" if places.subject is None else f" at layer {places.subject}"
    if not share:
        return "whether the subject carries the answer was not measured"
    words = _CARRIES.get(verdict.said[0] or "", "the subject has a share of the answer")
    return f"{words} ({share} of clean{where})"


def _mid(verdict: Verdict, readings: Readings, places: Places) -> str:
    share = number(readings.r_mid)
    where = "" if places.mid is None else f" at layer {places.mid}"
    if not share:
        return "whether it reaches the last token was not measured"
    words = _REACHES.get(verdict.said[1] or "", "the last token has a share of it")
    if verdict.said[0] == "lost" and verdict.said[1] != "lost":
        words = words.replace("it ", "the answer ").replace("some of it", "some of the answer")
    return f"{words} ({share}{where})"


def _out(verdict: Verdict, readings: Readings, places: Places) -> str:
    if not number(readings.r_out):
        return "the margin of the answer was not measured"
    words = _SAYS.get(verdict.said[2] or "", "the answer has a share")
    return f"{words} ({_margin(readings, places)})"


def _margin(readings: Readings, places: Places) -> str:
    """The shares that the answer is judged by; the second one where it is what decides."""
    share, answer = number(readings.r_out), number(readings.answer)
    if places.out_is_share:
        return f"{share} of what clean says"
    told = f"margin {share} of clean's"
    assert readings.r_out is not None
    decides = bool(answer) and readings.r_out - (readings.answer or 0) >= APART
    return f"{told}, {answer} of what clean says beyond chance" if decides else told


# ---- a sentence per mechanism


def _restored(verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds) -> str:
    del thresholds
    told = (
        f"{_subject(verdict, readings, places)}, {_mid(verdict, readings, places)} and "
        f"{_out(verdict, readings, places)}: restored"
    )
    if verdict.refuter == "passed":
        return f"{told}, which its sham does not do ({number(readings.sham_r_out)})"
    return f"{told}; {verdict.reason}"


def _never_lost(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds
) -> str:
    del thresholds
    return (
        f"{_subject(verdict, readings, places)}, {_mid(verdict, readings, places)} and "
        f"{_out(verdict, readings, places)}: never lost, the corrupted state has it too "
        f"({number(readings.corrupted_r_out)})"
    )


def _late_override(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds
) -> str:
    told = f"{_subject(verdict, readings, places)} and {_mid(verdict, readings, places)}, but "
    margin = _margin(readings, places)
    if places.writers and places.written is not None:
        verb = "writes" if len(places.writers) == 1 else "write"
        told += (
            f"{layer_range(places.writers)} {verb} {number(places.written)} logits for the false "
            f"object that the clean model does not ({margin})"
        )
    else:
        told += f"it is lost on the way from there to the answer ({margin})"
    told += ": late override"
    if verdict.refuter != "passed":
        return f"{told}; {verdict.reason}"
    what = (places.late or "late layers").replace("layers.", "layer ").replace("-", "–")
    if places.late_wide:
        what = what.replace("layer ", "layers ")
    return (
        f"{told}; putting clean weights of {what} back "
        f"{_closes(readings.late_effect, thresholds)}, random ones of equal norm "
        f"{_closes_not(readings.late_control, thresholds)}"
    )


def _not_routed(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds
) -> str:
    told = (
        f"{_subject(verdict, readings, places)}, but {_mid(verdict, readings, places)} and "
        f"{_out(verdict, readings, places)}: not routed"
    )
    if verdict.refuter != "passed":
        return f"{told}; {verdict.reason}"
    return (
        f"{told}; clean attention output at the last token{_at(places.attention)} "
        f"{_closes(readings.attention_effect, thresholds)}"
        f"{_stranger(readings.attention_control, thresholds)}"
    )


def _lost_at_subject(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds
) -> str:
    told = (
        f"{_subject(verdict, readings, places)}, {_mid(verdict, readings, places)} and "
        f"{_out(verdict, readings, places)}: lost at the subject"
    )
    if verdict.refuter != "passed":
        return f"{told}; {verdict.reason}"
    return (
        f"{told}; clean states of the subject{_at(places.subject_in)} "
        f"{_closes(readings.subject_effect, thresholds, many=True)}"
        f"{_stranger(readings.subject_control, thresholds, many=True)}"
    )


def _undetermined(
    verdict: Verdict, readings: Readings, places: Places, thresholds: Thresholds
) -> str:
    del thresholds
    told = [
        _subject(verdict, readings, places) if measured(readings.r_subject) else "",
        _mid(verdict, readings, places) if measured(readings.r_mid) else "",
        _out(verdict, readings, places) if measured(readings.r_out) else "",
    ]
    shares = ", ".join(text for text in told if text)
    return f"{shares}{': ' if shares else ''}undetermined, because {verdict.reason}"


_SENTENCES = {
    "restored": _restored,
    "never_lost": _never_lost,
    "late_override": _late_override,
    "not_routed": _not_routed,
    "lost_at_subject": _lost_at_subject,
    "undetermined": _undetermined,
}


def _at(layer: int | None) -> str:
    return "" if layer is None else f", layer {layer},"


def _closes(effect: float | None, thresholds: Thresholds, *, many: bool = False) -> str:
    """`restores it (0.71 of the gap)`, or how much it closes where that is less than restoring."""
    share, ending = number(effect), "" if many else "s"
    if effect is not None and effect >= thresholds.restores:
        return f"restore{ending} it ({share} of the gap)"
    return f"close{ending} {share} of the gap"


def _closes_not(control: float | None, thresholds: Thresholds, *, many: bool = True) -> str:
    share, verb = number(control), "do" if many else "does"
    if control is not None and control < thresholds.beyond_control:
        return f"{verb} not ({share})"
    return f"{verb} less ({share})"


def _stranger(control: float | None, thresholds: Thresholds, *, many: bool = False) -> str:
    if not measured(control):
        return ""
    return f", another entity's {_closes_not(control, thresholds, many=many)}"


# ---- flags


def _route(verdict: Verdict, readings: Readings) -> str:
    share = number(readings.route_similarity)
    if "same_route" in verdict.flags:
        return f"by the clean model's route (cosine {share})"
    if "new_route" in verdict.flags:
        return f"by another route than the clean model's (cosine {share})"
    return ""


def _flags(verdict: Verdict, readings: Readings, places: Places) -> list[str]:
    told = []
    if "false_active" in verdict.flags:
        where = "" if places.false is None else f" at layer {places.false} of the lens"
        told.append(f"inside, the false object leads by {number(readings.false_lead)} nats{where}")
    if "general_damage" in verdict.flags:
        told.append(
            "untouched facts of its relation fell as much (margin "
            f"{number(readings.untouched_r_out)} of clean's)"
        )
    return told
