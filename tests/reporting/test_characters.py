import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restor_interp.reporting.characters import (
    SHOWN,
    TICK,
    file_stem,
    one_line,
    short_hash,
    shorten,
    token_label,
    visible,
)


def test_of_all_characters_none_stays_hidden():
    everything = "".join(map(chr, range(0x110000)))
    shown = visible(everything)
    # Format characters of single scripts and the soft hyphen neither reorder nor hide other text.
    harmless = {0x00AD, *range(0x0600, 0x0900), *range(0x10000, 0xE0000)}
    assert not [
        f"{ord(sign):04X}"
        for sign in set(shown)
        if unicodedata.category(sign) in ("Cc", "Cf", "Cs")
        and sign not in "\n\t"
        and ord(sign) not in harmless
    ]
    assert visible(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u200bzero\ufeff", "⟨U+200B⟩zero⟨U+FEFF⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("ä\tß\nend", "ä\tß\nend"),
    ],
)
def test_hidden_characters_are_written_out(text, shown):
    assert visible(text) == shown


def test_tokens_show_their_white_space():
    assert [token_label(token) for token in (" the", "\n", "\t", "", "x y")] == [
        "·the", "↵", "→", "∅", "x·y",
    ]  # fmt: skip
    assert len(token_label("a" * 100)) == TICK
    assert one_line("two\nlines") == "two↵lines"


def test_only_too_long_texts_are_cut():
    assert shorten("a" * SHOWN) == "a" * SHOWN
    assert shorten("a" * (SHOWN + 1)) == "a" * (SHOWN - 1) + "…"


@given(st.text(max_size=80))
def test_file_names_are_ascii_short_and_depend_on_the_whole_name(name):
    stem = file_stem(name)
    assert stem.isascii() and len(stem) <= 49
    assert set(stem) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert file_stem(unicodedata.normalize("NFD", name)) == file_stem(
        unicodedata.normalize("NFC", name)
    )


def test_file_names_read_like_the_entity():
    assert file_stem("Kaká").startswith("kaka-")
    assert file_stem("../../etc/passwd").startswith("etc-passwd-")
    assert file_stem("東京").startswith("entity-")
    assert file_stem("a/b") != file_stem("a-b")
    assert short_hash("Aaron Burr") == short_hash("Aaron Burr") != short_hash("Aaron burr")
