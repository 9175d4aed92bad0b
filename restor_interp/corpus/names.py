"""Names in texts: compared word by word, never letter by letter."""

import functools
import re
from collections.abc import Iterable


@functools.lru_cache(maxsize=100_000)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, without case and punctuation; a name of signs alone is one word."""
    return tuple(re.findall(r"\w+", name.casefold())) or (name.casefold().strip(),)


def names_within(longer: str, shorter: str) -> bool:
    """Whether the words of `shorter` stand in `longer` one after the other.

    "Republic of Ireland" holds "Ireland"; "Nigeria" does not hold "Niger".
    """
    whole, part = words(longer), words(shorter)
    return part[0] in whole and any(
        whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1)
    )


def names_overlap(one: str, other: str) -> bool:
    """Whether one of two names holds all words of the other."""
    return names_within(one, other) or names_within(other, one)


def starts_alike(one: str, other: str) -> bool:
    """Whether one of two names is a prefix of the other: a reader of "Niger" is not done yet."""
    one, other = one.casefold(), other.casefold()
    return one.startswith(other) or other.startswith(one)


def any_name(names: Iterable[str], *, ignore_case: bool = False) -> re.Pattern[str]:
    """Matches one of these names as whole words; the longest where several begin."""
    ordered = sorted(dict.fromkeys(names), key=len, reverse=True)
    # No word sign may follow a name that ends in one; after "Jr." a letter may.
    parts = (
        rf"(?<!\w){re.escape(name)}" + (r"(?!\w)" if re.search(r"\w$", name) else "")
        for name in ordered
    )
    return re.compile("|".join(parts), re.IGNORECASE if ignore_case else 0)
