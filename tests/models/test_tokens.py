"""Tokens of prompts: ids, the subject's span, positions by name.

Run: python -m pytest tests/models/test_tokens.py
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from restor_interp.errors import ConfigError, PromptError
from restor_interp.models.tokens import resolve_position, tokenize
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def prompt(before, subject, after=""):
    text = before + subject + after
    return Prompt(
        prefix="",
        question=text,
        subject=subject,
        subject_span=(len(before), len(before) + len(subject)),
    )


def test_ids_are_the_tokenizers_and_nothing_is_added():
    tokens = tokenize(TOKENIZER, [prompt("They say that ", "Alice Stone", " was"), prompt("", "A")])
    assert TOKENIZER.convert_ids_to_tokens(tokens.ids[0].tolist()) == [
        "They",
        "Ġsay",
        "Ġthat",
        "ĠAlice",
        "ĠStone",
        "Ġwas",
    ]
    assert tokens.subject == [(3, 5), (0, 1)]


@given(before=st.text(max_size=12), subject=st.text(min_size=1, max_size=12), after=st.text())
def test_the_span_is_the_smallest_that_holds_the_subject(before, subject, after):
    """Witness: bytes. Every token of this tokenizer is a run of the text's bytes."""
    asked = prompt(before, subject, after)
    tokens = tokenize(TOKENIZER, [asked])
    # A byte-level token is written with one sign per byte.
    lengths = list(map(len, TOKENIZER.convert_ids_to_tokens(tokens.ids[0].tolist())))
    ends = torch.tensor(lengths).cumsum(0).tolist()
    first, last = len(before.encode()), len((before + subject).encode())
    held = [i for i, end in enumerate(ends) if end > first and end - lengths[i] < last]
    assert list(range(*tokens.subject[0])) == held


def test_padding_is_on_the_right_and_masked():
    tokens = tokenize(TOKENIZER, [prompt("They say that ", "Alice"), prompt("", "Oslo")])
    ids, mask = tokens.padded(pad_id=7)
    assert ids.shape == mask.shape == (2, 4)
    assert ids[1].tolist() == [*tokens.ids[1].tolist(), 7, 7, 7]
    assert mask.tolist() == [[True] * 4, [True, False, False, False]]


def test_positions_by_name_and_by_index():
    tokens = tokenize(
        TOKENIZER,
        [prompt("They say that ", "Alice Stone", " was"), Prompt(prefix="", question="They say")],
    )
    wanted = {"subject_first": 3, "subject_last": 4, "last": 5, 0: 0, -1: 5, -6: 0}
    assert {p: resolve_position(tokens, 0, p) for p in wanted} == wanted
    assert resolve_position(tokens, 1, "last") == 1
    with pytest.raises(PromptError, match="has no subject"):
        resolve_position(tokens, 1, "subject_last")
    with pytest.raises(ConfigError, match="Did you mean subject_last"):
        resolve_position(tokens, 0, "subject_lst")
    for outside in (6, -7):
        with pytest.raises(ConfigError, match="has 6 tokens"):
            resolve_position(tokens, 0, outside)


def test_nothing_to_read_is_refused():
    with pytest.raises(PromptError, match="no prompt"):
        tokenize(TOKENIZER, [])
    with pytest.raises(PromptError, match="no token"):
        tokenize(TOKENIZER, [Prompt(prefix="", question="")])
