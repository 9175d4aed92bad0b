"""What is said of a trace is what stands in its numbers.

Run: python -m pytest tests/reporting/test_tracepage.py
"""

import numpy as np
import pytest

from restor_interp.measure.traces import Trace
from restor_interp.reporting.text import to_text
from restor_interp.reporting.tracepage import (
    best_place,
    last_token_since,
    sentences,
    subject_until,
    trace_document,
    trace_map,
)

LAYERS = 10


def made(shares, **changes):
    """A trace whose shares of the effect are these, `[token, layer]` from the subject on."""
    high, low = -0.5, -4.5
    restored = np.full((1, 5, LAYERS, 1), np.nan)
    restored[0, 1:, :, 0] = low + np.asarray(shares) * (high - low)
    fields = {
        "tokens": ("In", " Par", "is", " they", " speak"), "subject": (1, 3), "answer": " French",
        "foil": None, "whole": False, "kind": "resid", "window": 1, "metric": "logprob",
        "corruption": "noise", "substitute": None, "sigma": 0.1, "sigma_source": "given",
        "noise": 3.0, "seed": 1, "engine": "regions",
        "clean_logprobs": np.array([high]), "noised_logprobs": np.array([[low]]),
        "restored_logprobs": restored,
    }  # fmt: skip
    return Trace(**{**fields, **changes})


@pytest.fixture
def two_sites():
    """The subject's last token up to layer 5, the last token from layer 6 on."""
    shares = np.zeros((4, LAYERS))
    shares[1, :6], shares[1, 3], shares[3, 6:] = 0.7, 0.8, 0.9
    shares[3, 9] = 1.0
    return made(shares)


def test_the_sites_are_found_where_they_were_planted(two_sites):
    best = best_place(two_sites, subject_only=True)
    assert (best.layer, best.position, best.token) == (3, 2, "is")
    assert best.share == pytest.approx(0.8)
    assert (subject_until(two_sites), last_token_since(two_sites)) == (5, 6)
    assert best_place(two_sites).layer == 9  # the whole map's: true of every model
    told = " ".join(sentences(two_sites))
    assert "log-probability of “French” from −0.50 to −4.50 nats (total effect 4.00 nats" in told
    assert "layer 3 at “is” brings back most: 80%" in told
    assert "until layer 5, and the last token does from layer 6 on." in told


def test_shares_below_half_are_not_said_to_suffice():
    shares = np.zeros((4, LAYERS))
    shares[0, 2] = 0.3
    told = " ".join(sentences(made(shares)))
    assert "No single token of the subject brings half" in told
    assert "no layer of the last token does" in told
    told = " ".join(sentences(made(shares, kind="mlp", window=4)))
    assert "The MLP outputs of 4 layers around layer 2 at “·Par” bring back most: 30%" in told
    assert "is less than half of what the answer needs" in told


def test_too_small_an_effect_has_no_map_and_says_why():
    trace = made(np.ones((4, LAYERS)), noised_logprobs=np.array([[-1.2]]))
    assert best_place(trace) is None and best_place(trace, subject_only=True) is None
    assert "less than 1 nat" in " ".join(sentences(trace))
    document = trace_document("In Paris they speak", {"resid": trace}, model="tiny")
    assert "Share of the effect" not in to_text(document)
    assert "itself" in to_text(document)  # the metric still has its map


def test_a_subject_at_the_first_token_is_told_of(two_sites):
    assert not any("first token" in text for text in sentences(two_sites))
    first = made(np.zeros((4, LAYERS)), subject=(0, 3))
    assert any("first token" in text for text in sentences(first))


def test_a_map_keeps_the_largest_of_its_groups(two_sites):
    drawn = trace_map(two_sites, columns=4)
    assert drawn.group == 3 and drawn.layers == ((0, 2), (3, 5), (6, 8), (9, 9))
    brute = [
        [max(two_sites.effects[token, layer] for layer in range(first, last + 1))
         for first, last in drawn.layers]
        for token in range(1, 5)
    ]  # fmt: skip
    assert np.allclose(drawn.cells, brute)
    assert trace_map(two_sites, columns=50).group == 1


def test_a_page_holds_every_kind_on_one_scale_and_its_command(two_sites):
    other = made(two_sites.effects[1:], kind="attn", window=3)
    document = trace_document(
        "In Paris they speak", {"resid": two_sites, "attn": other}, model="tiny", command="a --b"
    )
    text = to_text(document)
    assert "[residual stream]" in text and "[attention output of 3 layers]" in text
    assert "a --b" in text and "Hase et al. 2023" in text
