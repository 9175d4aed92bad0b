"""The files that all pages of a report share: plotly, the script, the style, the licences."""

from pathlib import Path

from restor_interp.reporting.vocabulary import CIVIDIS, FATES, OUTCOMES, RED_BLUE, ink_on

_SCRIPTS = ("report.js", "likeliest.js", "cursor.js", "explore.js", "print.js")
"""Written into one file; the others use what the first defines."""

PLOTLY = "plotly-cartesian-4.1.1.min.js"
"""The part of plotly.js that draws maps, lines and bars: a third of what the Python package holds,
so that the first plot is there in half the time. Unchanged from npm, plotly.js-cartesian-dist-min.
"""


def shared_files() -> dict[str, bytes]:
    """Path in the site -> bytes."""
    own = Path(__file__).parent / "assets"
    return {
        f"assets/{PLOTLY}": (Path(__file__).parent / "bundled" / PLOTLY).read_bytes(),
        "assets/report.css": (own / "report.css").read_bytes() + _own_styles().encode(),
        "assets/report.js": b"".join((own / name).read_bytes() for name in _SCRIPTS),
        "assets/LICENSES.txt": _licences().encode("utf-8"),
    }


def _own_styles() -> str:
    """The vocabulary's colours as classes: of outcomes and fates, and of the scales of maps."""
    signs = {
        **{f"o-{n}": s for n, s in OUTCOMES.items()},
        **{f"f-{n}": s for n, s in FATES.items()},
    }
    rules = [
        f".{name} {{ --sign: {sign.colour}; --sign-ink: {ink_on(sign.colour)} }}\n"
        for name, sign in signs.items()
    ]
    rules += [
        f".{name} {{ background: linear-gradient(to right, {', '.join(colours)}) }}\n"
        for name, colours in (("ramp", CIVIDIS), ("ramp.diverging", RED_BLUE))
    ]
    return "\n" + "".join(rules)


def _licences() -> str:
    """The licence of the plotting library that is shipped with every report."""
    text = (Path(__file__).parent / "bundled" / "plotly-LICENSE.txt").read_text(encoding="utf-8")
    return (
        f"{PLOTLY} is a part of plotly.js, https://plotly.com, taken unchanged from the npm "
        f"package plotly.js-cartesian-dist-min, under this licence:\n\n{text}"
    )
