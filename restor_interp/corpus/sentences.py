"""Where the sentences of a text are, so that a claim's own can be told from the others."""

import re
from collections.abc import Sequence

_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")


def sentence_spans(
    text: str, *, unbroken: Sequence[tuple[int, int]] = ()
) -> tuple[tuple[int, int], ...]:
    """Characters [start, end) of each sentence, in order.

    A sentence ends with a full stop, an exclamation or question mark before white space, or with
    its line; never inside a span of `unbroken` ("St. Louis"). A question and the sentence after it,
    its answer, are one. Abbreviations outside these spans end a sentence too early.
    """
    ends, starts = [], [0]
    for found in _END.finditer(text):
        first, last = found.span()
        inside = any(start < last and first < end for start, end in unbroken)
        if inside or text[:first].endswith("?") or last == len(text):
            continue
        ends.append(first)
        starts.append(last)
    ends.append(len(text.rstrip()))
    return tuple((a, b) for a, b in zip(starts, ends, strict=True) if a < b)
