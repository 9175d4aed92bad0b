"""`restor-interp trace`: the map, the sentences, the page, and what it refuses.

Run: python -m pytest tests/cli/test_trace.py
"""

import io
import json

import numpy as np
import pytest
from rich.console import Console

import restor_interp as ri
from restor_interp.cli.maps import columns_of, draw_map
from restor_interp.measure.traces import Trace
from restor_interp.reporting.tracepage import trace_map


@pytest.fixture(scope="module")
def asked():
    """A question about a person whom the calibration model knows, with its examples."""
    facts = ri.load_facts("bios")
    return ri.build_prompt(facts, next(iter(facts)))


@pytest.fixture
def trace_one(cli, tmp_path, asked):
    def call(*arguments):
        page = tmp_path / "page.html"
        given = ("trace", asked.text, "--subject", asked.subject, "--model", "bios", "--out", page)
        return (*cli(*given, "--samples", 2, *arguments), page)

    return call


def test_a_trace_is_a_map_sentences_and_a_page(trace_one, asked):
    code, out, err, page = trace_one("--kind", "resid", "--kind", "mlp")
    assert code == 0, err
    lines = out.splitlines()
    assert max(map(len, lines[1:])) <= 200 and "residual stream, put back at one token" in lines
    assert "MLP output of 10 layers, put back at one token" in lines
    assert any(line.startswith("▸ ") for line in lines)
    assert f"Noise on “{asked.subject}” takes the probability of" in out
    assert lines[-1] == f"Open the map in a browser: {page}"
    text = page.read_text()
    assert "Share of the effect that comes back" in text and "http-equiv" in text


def test_json_says_what_python_measures(trace_one, asked):
    code, out, _, page = trace_one("--json", "--kind", "attn", "--window", 3)
    found = json.loads(out)
    model = ri.load_model("bios")
    own = ri.trace(model, asked, kind="attn", window=3, samples=2)
    assert code == 0 and found["page"] == str(page) and found["answer"] == own.answer
    told = found["traces"]["attn"]
    assert told["high"] == pytest.approx(own.high) and told["low"] == pytest.approx(own.low)
    scores = {(row["position"], row["layer"]): row["score"] for row in told["rows"]}
    assert len(scores) == (len(own.tokens) - own.subject[0]) * own.scores.shape[1]
    for (position, layer), score in scores.items():
        assert score == pytest.approx(own.scores[position, layer], abs=1e-6)
    best = told["best"]
    assert best["share"] == pytest.approx(np.nanmax(own.effects[own.subject[0] :]), abs=1e-6)


def test_against_another_answer_it_is_log_odds(trace_one):
    code, out, _, _ = trace_one("--object", "Berlin", "--against", "Paris", "--json")
    (told,) = json.loads(out)["traces"].values()
    assert code == 0 and told["metric"] == "logodds"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "rezid"], "Did you mean resid"),
        (["--metric", "odds"], "logodds"),
        (["--substitute", "A B C D E F G H"], "tokens"),
        (["--out", "page.txt"], "ends in .html"),
    ],
)
def test_what_makes_no_sense_is_one_message(trace_one, arguments, message):
    code, out, err, _ = trace_one(*arguments)
    assert code == 2 and message in err.replace("\n", " ") and "Traceback" not in out + err


def test_a_subject_that_is_not_in_the_prompt_is_refused(cli):
    code, _, err = cli("trace", "The capital of France is", "--subject", "Spain", "--model", "bios")
    assert code == 2 and "occurs 0 times" in err


# ---- the map in a terminal


def planted(layers, cell, value=-0.1):
    """A trace of five tokens, subject [1, 3), in which one state alone brings the answer back."""
    restored = np.full((1, 5, layers, 1), -6.0)
    restored[0, cell[0], cell[1]] = value
    restored[0, 0] = np.nan
    return Trace(
        tokens=("In", " Par", "is", " they", " speak"), subject=(1, 3), answer=" French",
        foil=None, whole=False, kind="resid", window=1, metric="logprob", corruption="noise",
        substitute=None, sigma=0.1, sigma_source="given", noise=3.0, seed=1, engine="regions",
        clean_logprobs=np.array([-0.1]), noised_logprobs=np.array([[-6.0]]),
        restored_logprobs=restored,
    )  # fmt: skip


def screen(width, *, encoding="utf-8", colours=None):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(
        file=file, width=width, force_terminal=colours is not None, color_system=colours,
        legacy_windows=False,
    )  # fmt: skip


@pytest.mark.parametrize("width", [40, 80, 100, 300])
def test_a_map_of_many_layers_fits_and_loses_no_peak(width):
    trace = planted(80, (2, 41))
    console = screen(width)
    lines = [
        line.plain for line in draw_map(trace_map(trace, columns=columns_of(console)), console)
    ]
    assert max(map(len, lines[:-1])) <= min(width, 100)
    rows = lines[2:-1]
    assert len(rows) == 4 and [row.count("█") for row in rows] == [0, 2, 0, 0]
    assert [row[0] for row in rows] == ["▸", "▸", " ", " "]
    assert "a column is" in lines[-1]


def test_without_utf8_it_is_ascii_and_with_colours_it_has_no_blocks():
    trace = planted(12, (2, 4))
    console = screen(80, encoding="ascii")
    drawn = trace_map(trace, columns=columns_of(console))
    text = "\n".join(line.plain for line in draw_map(drawn, console))
    assert text.isascii() and "##" in text
    console = screen(80, colours="truecolor")
    coloured = draw_map(drawn, console)
    assert "█" not in "".join(line.plain for line in coloured)
    assert any(span.style == "on #fee838" for line in coloured for span in line.spans)
