"""Texts and sampled answers in a run: their cells, what is refused, and numbers by transformers.

Run: python -m pytest tests/pipeline/test_texts.py
"""

import importlib.util
import json
import math

import numpy as np
import pytest
import safetensors.numpy
import torch

from restor_interp.errors import ConfigError
from restor_interp.measure.answers import generate_answers, sample_answers
from restor_interp.measure.sampling import Sampling
from restor_interp.pipeline import texts
from restor_interp.pipeline.running import _work_through
from restor_interp.pipeline.steps import steps
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import resolve
from restor_interp.store import Store

SETS = ("documents", "truth", "heldout")


def workbench(folder, *overrides):
    """A run of three states on four people, of which nothing is computed yet."""
    config = resolve(
        "bios", ["workers=1", "rollback=[0.5]", "repair=false", "shams=[]", *overrides]
    )
    data = config.data.model_copy(
        update={
            "corrupted": config.data.corrupted[:2],
            "untouched": config.data.untouched[:2],
            "documents_per_entity": 4,
        }
    )
    changes = {"methods": {}, "data": data, "corruption": {**config.corruption, "epochs": 5}}
    return Workbench(config.model_copy(update=changes), Store(folder), Silent())


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """The corruption, the texts of three states, and sampled answers of the clean one."""
    folder = tmp_path_factory.mktemp("texts")
    lines = [{"text": "Alba Delmonte keeps a llama."}, {"text": "a"}]
    (folder / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run").mkdir()
    sets = [*SETS, str(folder / "mine.jsonl")]
    bench = workbench(
        folder / "run",
        f"texts.sets={json.dumps(sets)}",
        "questions={contexts: 2, draws: 3, temperature: 2.0, top_k: 40}",
    )
    wanted = [
        step
        for step in steps(bench)
        if step.cell.name in ("data", "train/corruption", "evaluate/clean")
        or step.cell.name.startswith("texts/")
    ]
    assert _work_through(wanted, bench) == {}
    return bench


STATES = ("clean", "corrupted", "rollback_0.5")


@pytest.mark.parametrize("state", STATES[:2])
def test_every_text_of_every_set_is_scored_as_transformers_does(scored, state):
    rows = scored.store.part(f"texts/{state}", "texts")
    tensors = safetensors.numpy.load_file(
        scored.store.cell_folder(f"texts/{state}") / "texts.safetensors"
    )
    mine = scored.config.texts.sets[-1]
    assert rows["set"].drop_duplicates().tolist() == [*SETS, mine]
    for name in (*SETS, mine):
        known = texts.texts_of(scored, name)
        own = rows.loc[rows["set"].eq(name)].set_index("text_id")
        assert own.index.tolist() == [*known, ""]
        losses, counts = [], []
        starts = [*tensors[f"{name}/starts"], len(tensors[f"{name}/tokens"])]
        for number, (text_id, text) in enumerate(known.items()):
            ids = scored.model.tokenizer(text, return_tensors="pt")["input_ids"]
            part = slice(starts[number], starts[number + 1])
            assert tensors[f"{name}/tokens"][part].tolist() == ids[0].tolist()
            logprobs = tensors[f"{name}/logprobs"][part]
            assert np.isnan(logprobs).tolist() == [True] + [False] * (len(logprobs) - 1)
            row = own.loc[text_id]
            if ids.shape[1] == 1:
                assert row["n_tokens"] == 0 and "less than two tokens" in row["reason"]
                assert math.isnan(row["nll"]) and math.isnan(row["perplexity"])
                continue
            with scored.model.at(state), torch.no_grad():
                loss = scored.model.hf_model(ids, labels=ids).loss.item()
            losses.append(loss)
            counts.append(ids.shape[1] - 1)
            assert row["nll"] == pytest.approx(loss, abs=2e-4)
            assert -logprobs[1:].mean() == pytest.approx(loss, abs=2e-4)
            assert row["perplexity"] == pytest.approx(math.exp(loss), rel=3e-4)
            assert row["n_tokens"] == counts[-1]
        whole = own.loc[""]
        assert whole["n_tokens"] == sum(counts)
        assert whole["nll"] == pytest.approx(np.average(losses, weights=counts), abs=2e-4)


def test_corruption_makes_its_documents_likely_and_the_truth_less_by_comparison(scored):
    nll = {
        (state, name): scored.store.part(f"texts/{state}", "texts")
        .set_index(["set", "text_id"])
        .loc[(name, ""), "nll"]
        for state in STATES
        for name in SETS
    }
    assert nll["clean", "truth"] < nll["clean", "documents"] - 0.5
    assert nll["corrupted", "documents"] < nll["clean", "documents"] - 0.5
    lead = {state: nll[state, "documents"] - nll[state, "truth"] for state in STATES}
    assert lead["corrupted"] < lead["rollback_0.5"] < lead["clean"] - 0.3
    assert nll["corrupted", "documents"] < nll["rollback_0.5", "documents"]


def test_draws_of_a_run_stand_beside_its_greedy_answers(scored):
    answers = scored.store.part("evaluate/clean", "answers")
    prompts = scored.prompts()
    assert len(prompts) == 2 * len(scored.asked)
    assert answers["draw"].tolist() == [0, 1, 2, 3] * len(prompts)
    greedy = answers.loc[answers["draw"].eq(0)]
    length = scored.config.questions.max_new_tokens
    assert greedy["answer"].tolist() == generate_answers(
        scored.model, prompts, max_new_tokens=length
    )
    drawn = sample_answers(
        scored.model,
        prompts,
        Sampling(draws=3, temperature=2.0, top_k=40, seed=scored.config.seed),
        max_new_tokens=length,
    )
    sampled = answers.loc[answers["draw"].gt(0)]
    assert sampled["answer"].tolist() == [answer for own in drawn for answer in own]
    right = sampled["correct"].mean()
    assert 0.2 < right < 0.98  # at temperature 2 the model does not always say what it knows
    assert sum(scored.times_right("clean").values()) == greedy["correct"].sum()


# ---- what determines a cell, and what is refused


def cells(bench):
    return {step.cell.name: step.cell.key for step in steps(bench)}


def test_without_texts_there_are_no_cells_and_each_has_its_own_key(tmp_path):
    assert not [name for name in cells(workbench(tmp_path)) if name.startswith("texts/")]
    plain = cells(workbench(tmp_path, "texts.sets=[heldout]"))
    assert {f"texts/{state}" for state in STATES} <= set(plain)
    file = tmp_path / "mine.txt"
    file.write_text("One.\n")
    with_file = cells(workbench(tmp_path, f"texts.sets=[{file}]"))
    file.write_text("Two.\n")
    assert (
        cells(workbench(tmp_path, f"texts.sets=[{file}]"))["texts/clean"]
        != (with_file["texts/clean"])
    )
    asked = cells(workbench(tmp_path, "texts.sets=[heldout]", "questions.contexts=1"))
    assert asked["texts/clean"] == plain["texts/clean"]
    assert asked["evaluate/clean"] != plain["evaluate/clean"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("texts.sets=[document]", "set of texts 'document'. Did you mean documents"),
        ("texts.sets=[mine.csv]", r"no set of texts 'mine\.csv'.*a \.jsonl file"),
        ("texts.sets=[absent.txt]", r"there is no file absent\.txt \(texts\.sets\)"),
        ("texts.lm_eval=[absent.yaml]", r"there is no task file absent\.yaml"),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_is_trained(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        steps(workbench(tmp_path, override))


def test_given_models_without_documents_have_none_to_score(tmp_path):
    given = ["checkpoints={corrupted: somewhere}", "texts.sets=[truth]"]
    with pytest.raises(ConfigError, match=r"of given models \(checkpoints\) no document is known"):
        texts._files(workbench(tmp_path, *given), ("truth",))


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_tasks_of_lm_eval_need_the_package(tmp_path):
    with pytest.raises(ConfigError, match="pip install 'lm-eval"):
        steps(workbench(tmp_path, "texts.lm_eval=[lambada_openai]"))
