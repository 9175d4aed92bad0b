"""Signs, words and colours: one look for each outcome, fate, object and state, used everywhere.

Colours follow Okabe and Ito's colour-blind safe set (two of them darkened, so that each has a
contrast of at least 3:1 on white and on #121212); none carries meaning alone: a mark has a sign
and a word, a line a dash and a marker.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from restor_interp.reporting.characters import short_hash


@dataclass(frozen=True, kw_only=True)
class Sign:
    """How a verdict on one fact is shown."""

    glyph: str
    word: str
    colour: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a line is drawn."""

    colour: str
    dash: str
    """`solid`, `dash`, `dot`, `dashdot`, `longdash` or `longdashdot`."""
    symbol: str
    """Marker, by plotly's name."""


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2)."""
    shares = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def ink_on(colour: str) -> str:
    """Black or white, whichever is easier to read on a colour."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))


OUTCOMES: Mapping[str, Sign] = {
    "true": Sign(glyph="✓", word="true", colour="#0072b2", meaning="the answer is right"),
    "false": Sign(
        glyph="✗", word="false", colour="#d55e00", meaning="the answer is the false object"
    ),
    "other": Sign(glyph="○", word="other", colour="#76808c", meaning="neither of the two"),
}

FATES: Mapping[str, Sign] = {
    "restored": Sign(
        glyph="✓", word="restored", colour="#009e73", meaning="lost to corruption, right again"
    ),
    "guessed": Sign(
        glyph="◐",
        word="guessed",
        colour="#3a94cc",
        meaning="right again, but with less than half of the clean model's knowledge of the entity",
    ),
    "still_false": Sign(
        glyph="✗", word="still false", colour="#d55e00", meaning="still says the false object"
    ),
    "forgotten": Sign(
        glyph="○",
        word="forgotten",
        colour="#c58800",
        meaning="said the falsehood, now says neither",
    ),
    "still_lost": Sign(
        glyph="–", word="still lost", colour="#8a6d5a", meaning="wrong when corrupted, wrong now"
    ),
    "kept": Sign(
        glyph="●",
        word="kept",
        colour="#0072b2",
        meaning="right when clean, when corrupted and now",
    ),
    "collateral": Sign(
        glyph="▼", word="collateral", colour="#cc79a7", meaning="right when corrupted, wrong now"
    ),
    "gained": Sign(
        glyph="▲", word="gained", colour="#7f7fd0", meaning="the clean model was wrong, now right"
    ),
    "unknown": Sign(
        glyph="?", word="unknown", colour="#76808c", meaning="the clean model never knew it"
    ),
}

ROLES: Mapping[str, str] = {
    "direct": "has a planted falsehood",
    "sibling": "about a corrupted entity, no falsehood planted",
    "context": "stated truthfully in the documents",
    "untouched": "about an entity that no document mentions",
}

TRUE_LOOK = Look(colour="#0072b2", dash="solid", symbol="circle")
FALSE_LOOK = Look(colour="#d55e00", dash="dash", symbol="x")
CONTROL_LOOK = Look(colour="#76808c", dash="dot", symbol="diamond-open")
SECOND_CONTROL_LOOK = Look(colour="#76808c", dash="dashdot", symbol="triangle-up-open")
THIRD_CONTROL_LOOK = Look(colour="#76808c", dash="dash", symbol="square-open")
CHANCE_LOOK = Look(colour="#76808c", dash="longdash", symbol="line-ew-open")
_NAMED_LOOKS = {
    "true": TRUE_LOOK,
    "false": FALSE_LOOK,
    "control": CONTROL_LOOK,
    "control 2": SECOND_CONTROL_LOOK,
    "control 3": THIRD_CONTROL_LOOK,
    "control 4": Look(colour="#76808c", dash="solid", symbol="cross-open"),
    "control 5": Look(colour="#76808c", dash="longdashdot", symbol="hexagon-open"),
    "chance": CHANCE_LOOK,
    "line 1": Look(colour="#009e73", dash="solid", symbol="square"),
    "line 2": Look(colour="#cc79a7", dash="longdash", symbol="diamond"),
    "line 3": Look(colour="#c58800", dash="dashdot", symbol="triangle-up"),
    "line 4": Look(colour="#3a94cc", dash="longdashdot", symbol="star"),
}

_GREY = "#76808c"
_METHODS = {
    "npo": Look(colour="#009e73", dash="solid", symbol="square"),
    "grad_diff": Look(colour="#cc79a7", dash="dashdot", symbol="diamond"),
    "kl_restor": Look(colour="#c58800", dash="longdash", symbol="triangle-up"),
    "task_vector": Look(colour="#3a94cc", dash="longdashdot", symbol="star"),
    "ga": Look(colour="#cc79a7", dash="dot", symbol="diamond-tall"),
    "kl": Look(colour="#c58800", dash="dot", symbol="triangle-down"),
    "msa": Look(colour="#8a6d5a", dash="dashdot", symbol="pentagon"),
}
_OTHER_METHODS = (
    Look(colour="#7f7fd0", dash="dash", symbol="hexagon"),
    Look(colour="#8a6d5a", dash="longdash", symbol="hourglass"),
    Look(colour="#009e73", dash="dot", symbol="cross"),
    Look(colour="#3a94cc", dash="dashdot", symbol="bowtie"),
)

CIVIDIS = (
    *("#00224e", "#123570", "#3b496c", "#575d6d", "#707173"),
    *("#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"),
)
"""Sequential: lightness rises evenly, for every kind of colour vision."""

RED_BLUE = (
    *("#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7"),
    *("#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"),
)
"""Diverging, centred on 0: red below (the falsehood leads), blue above (the truth leads)."""

PLACES: Mapping[str, str] = {
    "last": "the last token",
    "subject_last": "the subject's last token",
}
"""Named position -> words for it."""

STATE_KINDS = ("clean", "corrupted", "method", "sham", "retain_only", "rollback", "repair")


def state_kind(state: str) -> str:
    """What a state is for, by its name: one of `STATE_KINDS`."""
    if state in ("clean", "corrupted", "retain_only"):
        return state
    if state.endswith("repair"):
        return "repair"
    prefix = state.partition("_")[0]
    return prefix if prefix in ("sham", "rollback") else "method"


def is_control(state: str) -> bool:
    """Whether a state only stands beside the methods to be compared with."""
    return state_kind(state) in ("sham", "retain_only", "rollback", "repair")


def order_states(states: Iterable[str]) -> tuple[str, ...]:
    """Clean, corrupted, then the methods, then their controls; each state once."""
    given = list(dict.fromkeys(states))
    return tuple(sorted(given, key=lambda state: STATE_KINDS.index(state_kind(state))))


def state_look(state: str) -> Look:
    """The look of a state, equal in all plots. Controls are grey; a sham has its method's sign."""
    match state_kind(state):
        case "clean":
            return TRUE_LOOK
        case "corrupted":
            return FALSE_LOOK
        case "retain_only":
            return Look(colour=_GREY, dash="longdash", symbol="circle-open")
        case "rollback":
            return Look(colour=_GREY, dash="dash", symbol="x-open")
        case "repair":
            return Look(colour=_GREY, dash="solid", symbol="star-open")
        case "sham":
            method = state_look(state.removeprefix("sham_"))
            return Look(colour=_GREY, dash="dot", symbol=f"{method.symbol}-open")
        case _:
            number = int(short_hash(state), 16) % len(_OTHER_METHODS)
            return _METHODS.get(state, _OTHER_METHODS[number])


def look_of(name: str) -> Look:
    """The look of a line: `true`, `false`, `control` (to `control 5`), `chance`,
    `line 1` to `line 4` for kinds of their own, or a state's name."""
    return _NAMED_LOOKS.get(name) or state_look(name)
