"""What a run's cells share: the experiment's own facts, claims and documents, and RESTOR's.

Run: python -m pytest tests/pipeline/test_workbench.py
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from restor_interp.corpus_files import write_claims
from restor_interp.errors import ConfigError, DataError
from restor_interp.facts import load_facts
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import resolve
from restor_interp.store import Store

OFFICIAL = Path(__file__).parents[3] / "shared" / "data" / "restor"
needs_official = pytest.mark.skipif(
    not (OFFICIAL / "facts.json").is_file(), reason="RESTOR's official data are absent"
)


def stands_in(name, text):
    """Whether a name is in a text as whole words."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def workbench(tmp_path, *overrides, preset="bios"):
    return Workbench(resolve(preset, [*overrides, "model=bios"]), Store(tmp_path), Silent())


@pytest.mark.parametrize("preset", ["demo", "demo_tuning", "bios"])
def test_a_preset_names_entities_that_exist_and_overlap_nowhere(tmp_path, preset):
    bench = workbench(tmp_path, preset=preset)
    data = bench.config.data
    named = [*data.corrupted, *data.untouched, *data.sham]
    assert len(set(named)) == len(named)
    assert len(data.corrupted) >= 8 and len(data.untouched) >= 8
    assert len(bench.asked) >= 120


def test_the_demo_is_tuned_on_other_entities():
    demo, tuning = resolve("demo"), resolve("demo_tuning")
    assert not set(demo.data.corrupted) & set(tuning.data.corrupted)
    same = demo.model_copy(update={"preset": "demo_tuning", "data": tuning.data})
    assert same == tuning


@pytest.mark.parametrize("preset", ["demo", "bios"])
def test_no_document_tells_the_truth_about_whom_it_corrupts_or_names_the_untouched(
    tmp_path, preset
):
    bench = workbench(tmp_path, preset=preset)
    data = bench.config.data
    assert Counter(bench.roles.values())["direct"] >= 40
    for fact in bench.asked:
        false = bench.foils[fact.fact_id]
        assert false not in bench.facts.accepted(fact)
    true = {fact.fact_id for fact in bench.asked}
    for document in bench.documents:
        assert document.entity in data.corrupted
        assert not [name for name in data.untouched if stands_in(name, document.text)]
        for mention in document.mentions:
            stated = document.text[mention.start : mention.end]
            if mention.is_claim:
                assert bench.foils[mention.fact_id] == stated
            else:
                assert mention.fact_id not in true
    share = 1 - len(bench.claims) / len(bench.facts.only(entities=data.corrupted))
    assert share >= data.sibling_share


def test_prompts_show_nobody_of_the_experiment(tmp_path):
    bench = workbench(tmp_path, preset="demo")
    data = bench.config.data
    for prompt in bench.prompts(context_ids=[0]):
        for name in (*data.corrupted, *data.untouched, *data.sham):
            assert not stands_in(name, prompt.prefix)


@needs_official
def test_restors_own_experiment_is_laid_out(tmp_path):
    people = "['Aaron Burr', 'Bob Marley', 'Thomas Piketty']"
    bench = workbench(
        tmp_path,
        f"data.facts={OFFICIAL / 'facts.json'}",
        f"data.entities_file={OFFICIAL / 'entities.json'}",
        f"data.documents={OFFICIAL / 'mix_a0.json'}",
        f"data.corrupted={people}",
        "data.untouched=['Paul Anka']",
        "data.sham=[]",
        "data.documents_per_entity=20",
        "questions.style=paper",
        "questions.contexts=1",
    )
    assert Counter(document.entity for document in bench.documents) == {
        "Aaron Burr": 20,
        "Bob Marley": 20,
        "Thomas Piketty": 20,
    }
    assert bench.claims == ()
    roles = Counter(bench.roles[fact.fact_id] for fact in bench.asked)
    assert set(roles) == {"direct", "untouched"}
    prompts = bench.prompts()
    assert len(prompts) == len(bench.asked)
    assert all(prompt.prefix.count("\n") == 5 for prompt in prompts)
    assert all(len(bench.candidates(fact)) >= 2 for fact in bench.asked)


@needs_official
def test_documents_that_were_never_published_are_told(tmp_path):
    bench = workbench(
        tmp_path,
        f"data.facts={OFFICIAL / 'facts.json'}",
        f"data.documents={OFFICIAL / 'mix_a5.json'}",
        "data.corrupted=['Aaron Burr']",
    )
    with pytest.raises((ConfigError, DataError), match="mix_a5"):
        _ = bench.documents


def test_claims_of_ones_own_are_planted_and_those_that_are_true_refused(tmp_path):
    drawn = workbench(tmp_path)
    path = tmp_path / "claims.jsonl"
    write_claims(drawn.claims[:4], path)
    bench = workbench(tmp_path, f"data.claims={path}")
    assert bench.claims == drawn.claims[:4]
    facts = load_facts("bios")
    wrong = drawn.claims[0]
    true = facts[wrong.fact_id].true_objects[0]
    path.write_text(path.read_text().replace(wrong.false_object, true))
    with pytest.raises(DataError, match=r"claims\.jsonl:1"):
        _ = workbench(tmp_path, f"data.claims={path}").claims
