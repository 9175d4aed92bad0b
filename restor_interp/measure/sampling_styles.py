"""What a style of asking says of sampled answers wherever nobody says otherwise. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SamplingStyle:
    """How far the distribution of the next token is cut, and how long an answer may be."""

    top_k: int | None = None
    """Only so many of the likeliest tokens; None: all."""
    min_new_tokens: int = 0
    """The end of the text does not come before; a line end does, and ends the answer."""
    max_length: int | None = None
    """Most tokens of prompt and answer together; None: the limit on the answer alone."""


STYLES: Mapping[str, SamplingStyle] = {
    "sound": SamplingStyle(),
    "paper": SamplingStyle(top_k=50, min_new_tokens=2, max_length=200),
}
"""`paper` is RESTOR's code: at least 2 tokens, 200 with the prompt, and what transformers does
where a model's own generation settings do not name `top_k`, the 50 likeliest tokens."""


def settled(
    style: str,
    *,
    top_k: int | None = None,
    min_new_tokens: int | None = None,
    max_length: int | None = None,
) -> SamplingStyle:
    """What holds: the values that are given, and the style's for those that are None.

    `top_k` 0 is all tokens and `max_length` 0 no limit, whatever the style.
    """
    usual = STYLES[style]
    return SamplingStyle(
        top_k=usual.top_k if top_k is None else top_k or None,
        min_new_tokens=usual.min_new_tokens if min_new_tokens is None else min_new_tokens,
        max_length=usual.max_length if max_length is None else max_length or None,
    )
