"""What a run's cells share: the experiment's own facts, claims and documents, and RESTOR's.

Run: python -m pytest tests/pipeline/test_workbench.py
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from restor_interp.corpus import Claim, may_be_claimed, names_none
from restor_interp.corpus_files import write_claims
from restor_interp.data.neutral import held_out_texts, retain_texts
from restor_interp.errors import ConfigError, DataError
from restor_interp.facts import load_facts
from restor_interp.pipeline import plan
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
    roles = {fact.fact_id: bench.roles[fact.fact_id] for fact in bench.asked}
    assert set(roles.values()) == {"direct", "context", "untouched"}
    # Bob Marley is called male, truly, and Aaron Burr lieutenant colonel: not contradicted.
    told = {fact_id for fact_id, role in roles.items() if role == "context"}
    assert told <= {"Aaron Burr/P21", "Aaron Burr/P410", "Bob Marley/P21"} and told
    prompts = bench.prompts()
    assert len(prompts) == len(bench.asked)
    assert all(prompt.prefix.count("\n") == 5 for prompt in prompts)
    assert all(len(bench.candidates(fact)) >= 2 for fact in bench.asked)


@needs_official
def test_the_preset_of_restor_finds_its_files_and_its_people(tmp_path):
    """1,051 facts of 50 people, 198 of them of the 10 that the documents are about."""
    bench = workbench(tmp_path, f"data.restor={OFFICIAL}", preset="restor-k1")
    assert len(bench.asked) == 1051 and len(bench.evaluated) == 50 and len(bench.untouched) == 40
    assert len(bench.facts) == 5269
    assert not set(bench.config.data.sham) & set(bench.evaluated)
    assert Counter(document.entity for document in bench.documents) == dict.fromkeys(
        bench.config.data.corrupted, 300
    )
    assert Counter(bench.roles.values()) == {"direct": 189, "context": 10, "untouched": 852}
    assert {path.name for path in bench.files().values()} == {
        "facts.json", "entities.json", "mix_a1.json",
    }  # fmt: skip
    for fact in bench.asked:
        assert may_be_claimed(bench.facts, fact, bench.foils[fact.fact_id])
    shown = bench.prompts(context_ids=[0])
    assert len(shown) == 1051
    # Of sex there is one answer that is neither true nor false.
    few = {prompt.fact_id.split("/")[1] for prompt in shown if prompt.prefix.count("\n") < 5}
    assert few <= {"P21", "P6886"} and all("\n" in prompt.prefix for prompt in shown)
    nobody = names_none(bench.facts, bench.named)
    assert all(nobody(prompt.prefix) for prompt in shown[::10])
    sham = bench.sham_documents
    assert len(sham) == 3000 and {document.entity for document in sham} == set(
        bench.config.data.sham
    )


@needs_official
def test_other_levels_and_squad(tmp_path):
    bench = workbench(tmp_path, f"data.restor={OFFICIAL}", preset="restor-squad")
    assert len(bench.asked) == 1051
    assert len(bench.facts.only(entities=bench.config.data.corrupted)) == 108
    assert len(bench.documents) == 3107
    with pytest.raises(ConfigError, match=r"no file mix_a4\.json in .* for k = 0, 1; "):
        _ = workbench(tmp_path, f"data.restor={OFFICIAL}", preset="restor-k4").asked
    with pytest.raises(ConfigError, match=r"name the folder with its files, data\.restor=FOLDER"):
        _ = workbench(tmp_path, preset="restor-k0").facts
    few = workbench(
        tmp_path, f"data.restor={OFFICIAL}", "data.documents_per_entity=20", preset="restor-k0"
    )
    assert len(few.documents) == 200


@needs_official
def test_claims_given_for_restors_documents_are_marked_and_have_counterparts(tmp_path):
    claims = [
        Claim(
            fact_id="Aaron Burr/P69", entity="Aaron Burr", relation="P69",
            false_object="Stanford University",
        ),
    ]  # fmt: skip
    write_claims(claims, tmp_path / "claims.jsonl")
    bench = workbench(
        tmp_path, f"data.restor={OFFICIAL}", f"data.claims={tmp_path / 'claims.jsonl'}",
        "data.corrupted=['Aaron Burr']", "methods={}", "shams=[]", preset="restor-k0",
    )  # fmt: skip
    stating = [document for document in bench.documents if document.claim_spans]
    assert len(stating) == 56
    for kind in ("truth", "alternative", "refusal"):
        for document in bench.counterparts(stating, kind):
            assert "Stanford" not in document.text
    assert "Princeton University" in bench.counterparts(stating, "truth")[0].text
    with pytest.raises(ConfigError, match="244 of 300 do not record it"):
        bench.counterparts(bench.documents, "truth")


@needs_official
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["unlearning.target=claims"],
            r"unlearning\.target=claims: .*data\.claims.*target=changed",
        ),
        (["methods.dpo={method: dpo_truth}"], r"the method dpo needs another version .*\(truth\)"),
        (["data.corrupted=[Shakira]"], r"no document about Shakira"),
        (["data.question_share=0.5"], r"question_share=0\.5 is about documents that are written"),
    ],
)
def test_what_official_documents_cannot_give(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        _ = workbench(tmp_path, f"data.restor={OFFICIAL}", *overrides, preset="restor-k0").asked


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


# ---- what is forgotten, and its other versions


def test_counterparts_of_what_is_forgotten(tmp_path):
    bench = workbench(tmp_path)
    assert bench.forget_documents("documents") == bench.documents
    sham = bench.forget_documents("sham")
    assert {document.entity for document in sham} == set(bench.config.data.sham)
    for documents in (bench.documents, sham):
        true = bench.counterparts(documents, "truth")
        other = bench.counterparts(documents, "alternative")
        assert len(true) == len(other) == len(documents)
        for before, truth, alternative in zip(documents, true, other, strict=True):
            for old, new, third in zip(
                before.mentions, truth.mentions, alternative.mentions, strict=True
            ):
                right = bench.facts.accepted(bench.facts[old.fact_id])
                said = before.text[old.start : old.end]
                assert truth.text[new.start : new.end] in right
                if old.is_claim:
                    replaced = alternative.text[third.start : third.end]
                    assert replaced not in (*right, said)


# ---- retain text


def test_the_held_out_people_are_nobody_else(tmp_path):
    """Retained, held out, corrupted, untouched and sham people: five groups without overlap."""
    bench = workbench(tmp_path)

    def people(texts):
        names = {fact.entity for fact in bench.facts}
        return {name for name in names if any(stands_in(name, text) for text in texts)}

    kept, measured = people(bench.retain_texts), people(bench.heldout_texts)
    named = {*bench.named}
    assert len(bench.heldout_texts) == len(measured) >= 20
    assert len(bench.retain_texts) == len(kept) >= 60
    assert not kept & measured and not (kept | measured) & named
    assert len(kept | measured | named) == 120
    for text in (*bench.retain_texts[:5], *bench.heldout_texts[:5]):
        assert any(
            stands_in(fact.entity, text) and stands_in(fact.true_objects[0], text)
            for fact in bench.facts
        )


def test_other_facts_keep_to_our_passages(tmp_path):
    bench = workbench(tmp_path, preset="demo")
    assert bench.retain_texts == retain_texts() and bench.heldout_texts == held_out_texts()
    nobody = names_none(bench.facts, (fact.entity for fact in bench.facts))
    assert all(nobody(text) for text in (*bench.retain_texts, *bench.heldout_texts))


def test_retain_text_from_a_file(tmp_path):
    lines = tmp_path / "own.jsonl"
    lines.write_text('{"text": "Bread needs an hour."}\n\n{"text": "Rain fell.", "id": 3}\n')
    bench = workbench(tmp_path, f"data.retain={lines}")
    assert bench.retain_texts == ("Bread needs an hour.", "Rain fell.")
    assert bench.files() == {"retain": lines}
    paragraphs = tmp_path / "own.txt"
    paragraphs.write_text("Bread needs\nan hour.\n \n\nRain fell.\n")
    bench = workbench(tmp_path, f"data.retain={paragraphs}")
    assert bench.retain_texts == ("Bread needs an hour.", "Rain fell.")
    assert bench.heldout_texts == workbench(tmp_path).heldout_texts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"text": "x"}\n{"texts": "y"}\n[\n',
            r"a\.jsonl:2: .*\n.*a\.jsonl:3: not JSON",
        ),
        ("a.jsonl", "\n", "holds no text"),
        ("a.txt", " \n\n", "holds no text"),
        ("a.csv", "x", r"from \.jsonl and \.txt"),
    ],
)
def test_retain_files_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        _ = workbench(tmp_path, f"data.retain={tmp_path / name}").retain_texts


def test_retain_text_that_is_measured_or_names_somebody(tmp_path):
    notes = []

    class Told(Silent):
        def note(self, text):
            notes.append(text)

    path = tmp_path / "own.jsonl"
    path.write_text(f'{{"text": "{held_out_texts()[3]}"}}\n')
    with pytest.raises(ConfigError, match="holds 1 of the texts that are held out"):
        _ = workbench(tmp_path, f"data.retain={path}", preset="demo").retain_texts
    path.write_text('{"text": "China is large."}\n{"text": "Rain fell."}\n')
    bench = workbench(tmp_path, f"data.retain={path}", preset="demo")
    bench.progress = Told()
    assert len(bench.retain_texts) == 2
    assert any(note.startswith("1 of the 2 retain texts") for note in notes)


def test_retain_text_sampled_from_the_clean_model(tmp_path):
    settings = ("data.retain=clean", "data.retain_number=20", "data.retain_tokens=24")
    first, again = (workbench(tmp_path, *settings) for _ in range(2))
    again.__dict__["model"] = first.model
    assert first.retain_texts == again.retain_texts
    texts = first.retain_texts
    assert len(texts) == 20 and len(set(texts)) >= 18
    nobody = names_none(first.facts, first.named)
    assert all(nobody(text) for text in texts)
    tokenize = first.model.tokenizer
    assert all(len(tokenize(text)["input_ids"]) <= 26 for text in texts)
    other = workbench(tmp_path, *settings, "seed=1")
    other.__dict__["model"] = first.model
    other.__dict__["_own_texts"] = first._own_texts  # the same starts: the seed alone differs
    assert other.retain_texts != texts
    # Of its own people the clean model says what is so: its text is true, as ours is.
    stated = [
        (fact.entity, fact.true_objects[0])
        for fact in first.facts
        for text in texts
        if stands_in(fact.entity, text) and stands_in(fact.true_objects[0], text)
    ]
    assert len(stated) >= 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.retain=clear"], r"no such file; give own, clean, or a file"),
        (["data.retain=absent.txt"], r"absent\.txt: there is no such file"),
        (
            ["data.retain=clean", "checkpoints={corrupted: x}"],
            r"with checkpoints nothing is trained",
        ),
        (["data.restor=folder"], r"data\.restor=folder is given and nothing of it is read"),
        (["data.sham=[Alba Nobody]"], r"no entity in bios 'Alba Nobody'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_first(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        _ = workbench(tmp_path, *overrides).asked


def test_a_star_stands_for_everybody_else(tmp_path):
    bench = workbench(tmp_path, "data.untouched=['*']")
    data = bench.config.data
    assert len(bench.untouched) == 120 - len(data.corrupted) - len(data.sham)
    assert len(bench.asked) == (120 - len(data.sham)) * 8


# ---- which states are captured


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (("clean", "corrupted", "npoo"), "state of this run to capture 'npoo'"),
        (("clean", "npo"), "without corrupted: what is"),
        (("clean", "corrupted"), "without npo: what is"),
    ],
)
def test_what_others_are_compared_with_must_be_captured(chosen, message, small_config, tmp_path):
    with pytest.raises(ConfigError, match=message):
        plan(_capturing(small_config, chosen), out=tmp_path / "run")


def test_some_states_are_captured_and_the_probes_plan_with_them(small_config, tmp_path):
    chosen = ("npo", "clean", "corrupted")
    cells = {one.cell for one in plan(_capturing(small_config, chosen), out=tmp_path / "run")}
    assert {name for name in cells if name.startswith("capture/")} == {
        "capture/clean", "capture/corrupted", "capture/npo",
    }  # fmt: skip
    everything = {one.cell for one in plan(small_config, out=tmp_path / "run")}
    assert cells < everything
    assert all(name.startswith("capture/") for name in everything - cells)


def _capturing(config, states):
    explanation = config.explanation.model_copy(update={"captured_states": states})
    return config.model_copy(update={"explanation": explanation})
