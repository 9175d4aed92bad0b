"""Tasks of lm-eval: what is asked for is checked first; a local task's numbers by hand.

Run: python -m pytest tests/measure/test_harness.py
"""

import importlib.util
import json

import pytest
import torch
import yaml

from restor_interp.errors import ConfigError
from restor_interp.measure import harness
from restor_interp.measure.harness import _name, _rows, run_tasks, task_files
from restor_interp.models.loading import load_model

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed"
)


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(harness.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"pip install 'lm-eval\[hf\]', or set texts.lm_eval=\[\]"
    ):
        run_tasks(load_model("bios"), ["lambada"])


def test_a_task_file_must_exist_and_name_its_task(tmp_path):
    file = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"there is no task file .*mine\.yaml"):
        task_files(["lambada", str(file)])
    file.write_text("task: pets\nprocess: !function utils.process\n")
    assert task_files(["lambada", str(file)]) == [file]
    assert _name(file) == "pets"  # and nothing was run to find it
    for text, message in (("- a", "needs the key `task`"), ("a: [", "is not YAML")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            _name(file)


def test_rows_hold_each_metric_with_its_standard_error():
    results = {
        "alias": "pets",
        "acc,none": 0.5,
        "acc_stderr,none": 0.25,
        "exact,strict": 1,
        "exact_stderr,strict": "N/A",
    }
    common = {"task": "pets", "n": 4}
    assert _rows("pets", results, 4) == [
        common | {"metric": "acc", "filter": "none", "value": 0.5, "stderr": 0.25},
        common | {"metric": "exact", "filter": "strict", "value": 1.0, "stderr": None},
    ]


@needs_harness
@pytest.mark.filterwarnings("default")  # those of the package and its data sets
def test_a_local_task_is_scored_on_the_models_current_state(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    model = load_model("bios")
    animals = ["llama", "parrot", "rabbit", "hamster"]
    names = ["Alba Delmonte", "Bruno Corrigo", "Celia Abendal", "Dario Bramwick"]
    rows = [
        {"question": f"The pet of {name} is a", "choices": animals, "label": index}
        for index, name in enumerate(names)
    ]
    (tmp_path / "pets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "pets_here",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "pets.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "question",
        "doc_to_choice": "choices",
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump(task))
    found = run_tasks(model, [str(tmp_path / "pets.yaml")])
    right = 0
    for row in rows:
        scores = []
        for animal in animals:
            before = model.tokenizer(row["question"])["input_ids"]
            ids = model.tokenizer(f"{row['question']} {animal}")["input_ids"]
            with torch.no_grad():
                logprobs = model.hf_model(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(sum(logprobs[at - 1, ids[at]] for at in range(len(before), len(ids))))
        right += scores.index(max(scores)) == row["label"]
    [accuracy] = [row for row in found if row["metric"] == "acc"]
    assert accuracy["value"] == right / 4
    assert (accuracy["task"], accuracy["n"]) == ("pets_here", 4)
    with pytest.raises(ConfigError, match="knows no task pets_there"):
        run_tasks(model, ["pets_there"])
