"""The paper's category scores against its procedure, done plainly.

Run: python -m pytest tests/measure/test_categories.py
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from restor_interp.facts import load_facts
from restor_interp.measure.categories import category_scores, paper_scores
from restor_interp.measure.choices import ChoiceScore, score_choices
from restor_interp.models.loading import load_model
from restor_interp.prompts import build_prompts

RESTOR = Path(__file__).parents[3] / "shared" / "data" / "restor"


def scored(*logprobs, line_end=-9.0):
    return ChoiceScore(
        object="x",
        tokens=tuple(range(len(logprobs))),
        token_logprobs=logprobs,
        line_end_logprob=line_end,
        first_divergence=None,
    )


def test_means_over_tokens_then_over_objects_by_hand():
    scores = [scored(-1.0, -3.0), scored(-4.0), scored(-6.0, -0.5, -0.5), scored(-2.0)]
    found = category_scores(["true", "false", "false", "random"], scores)
    # true: -4/2. false: (-4 + -7/3)/2, and not -11/4 as over tokens. The line end is not in it.
    assert found == {
        "true": pytest.approx(-2.0),
        "false": pytest.approx(-19 / 6),
        "random": pytest.approx(-2.0),
    }
    assert list(found) == ["true", "false", "random"]


def test_a_table_is_averaged_over_objects_and_contexts():
    rows = [
        ("clean", "a", 0, "true", -1.0),
        ("clean", "a", 0, "true", -3.0),
        ("clean", "a", 1, "true", -6.0),
        ("clean", "a", 0, "false", -5.0),
        ("npo", "a", 0, "true", -7.0),
        ("npo", "a", 1, "true", None),
        ("npo", "b", 0, "true", None),
    ]
    columns = ["state", "fact_id", "context_id", "category", "mean_logprob"]
    found = paper_scores(pd.DataFrame(rows, columns=columns))
    expected = [
        ("clean", "a", "true", -4.0),  # (-2 + -6) / 2, and not -10 / 3
        ("clean", "a", "false", -5.0),
        ("npo", "a", "true", -7.0),
        ("npo", "b", "true", None),
    ]
    assert [tuple(row.values()) for row in found] == expected
    assert set(found[0]) == {"state", "fact_id", "category", "score"}


def test_official_prompts_are_scored_as_in_the_official_procedure():
    """Five stored examples, the question, a space and the option; softmax over the vocabulary,
    mean over the option's tokens, mean over the options: all from the file itself."""
    if not RESTOR.is_dir():
        pytest.skip("RESTOR's official data is not beside this checkout")
    model = load_model("bios")
    raw = json.loads((RESTOR / "facts.json").read_text())
    people = json.loads((RESTOR / "entities.json").read_text())
    facts = load_facts(RESTOR / "facts.json", entities=RESTOR / "entities.json")
    asked = [("Suthida", "P21"), ("Bob Marley", "P140"), ("Aaron Burr", "P106")]
    assert {name for name, _ in asked} <= set(people)
    options = [
        {"true": ["male"], "false": ["female", "a man"], "random": ["Oslo", "Rome", "Lima"]},
        {"true": ["Rastafari", "Christianity"], "false": ["Islam"], "random": ["Paris"]},
        {"true": ["lawyer"], "false": ["tennis player", "miner"], "random": ["Oslo", "harp"]},
    ]
    prompts = build_prompts(
        facts,
        only=[facts[f"{name}/{relation}"] for name, relation in asked],
        context_ids=[0],
        style="paper",
        shots=5,
        avoid_entities=frozenset(),
        avoid_objects={},
        seed=0,
    )
    found = score_choices(
        model, prompts, [[one for names in own.values() for one in names] for own in options]
    )
    for (name, relation), own, scores in zip(asked, options, found, strict=True):
        shown = [entry for entry in raw["context"][relation] if entry["entity"] != name][:5]
        text = "".join(f"{entry['question']} {entry['answer']}\n" for entry in shown)
        text += raw["dset"][name][relation]["question"]
        before = len(model.tokenizer(text)["input_ids"])
        expected = {}
        for category, names in own.items():
            means = []
            for option in names:
                ids = model.tokenizer(text + " " + option, return_tensors="pt")["input_ids"]
                with torch.no_grad():
                    logprobs = model.hf_model(ids).logits[0].double().log_softmax(-1)
                tokens = range(before, ids.shape[1])
                means.append(np.mean([logprobs[at - 1, ids[0, at]].item() for at in tokens]))
            expected[category] = np.mean(means)
        categories = [category for category, names in own.items() for _ in names]
        assert category_scores(categories, scores) == pytest.approx(expected, abs=3e-4)
