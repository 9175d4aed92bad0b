"""Text that nobody vouches for, made fit to be shown: visible, short, and never a name of a file.

Questions, answers, tokens, entity names and settings come from models and from other people's
files. Escaping for HTML is done where the tags are (`html`), for plotly in `figures`; here the
characters themselves are made harmless.
"""

import hashlib
import re
import unicodedata

SHOWN = 200
"""Code points of a text that are shown at first; the rest stands behind "show all"."""

TICK = 24
"""Code points of a label in a plot."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = {" ": "·", "\n": "↵", "\t": "→"}


def visible(text: str) -> str:
    """The text with control, zero-width and direction characters written out, as `⟨U+202E⟩`.

    Line ends and tabs stay. Doing it twice changes nothing more. The result can always be
    encoded as UTF-8.
    """
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def shorten(text: str, limit: int = SHOWN) -> str:
    """At most `limit` code points, the last one an ellipsis when something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(text: str) -> str:
    """Visible, with line ends and tabs shown as signs, for a table cell or a label."""
    return visible(text).replace("\n", "↵").replace("\t", "→")


def token_label(token: str, limit: int = TICK) -> str:
    """A token as a label: white space shown (`·` space, `↵` line end, `→` tab), cut."""
    return shorten("".join(_SPACES.get(sign, sign) for sign in visible(token)) or "∅", limit)


def short_hash(text: str) -> str:
    """Eight hexadecimal digits that stand for a text (sha256 of its NFC form)."""
    normal = unicodedata.normalize("NFC", text)
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def file_stem(name: str) -> str:
    """A safe and stable file name for an entity: an ASCII slug of at most 40 signs and a hash."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_only.lower()).strip("-")[:40].rstrip("-")
    return f"{slug or 'entity'}-{short_hash(name)}"
