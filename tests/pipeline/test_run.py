"""A whole run on the calibration model: complete, resumable, honest about what fails.

Run: python -m pytest tests/pipeline/test_run.py
"""

import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import restor_interp as ri
from restor_interp.errors import BusyError, ConfigError
from restor_interp.measure.answers import generate_answers
from restor_interp.pipeline import open_run, run
from restor_interp.pipeline.running import _planned
from restor_interp.presets import validated
from restor_interp.store import TABLES, Store

UNTOUCHED = sorted({fact.entity for fact in ri.load_facts("bios")})[5:65:20]
STATES = [
    "clean", "corrupted", "rollback_0.5", "npo", "task_vector", "retain_only", "sham_npo",
]  # fmt: skip


def planned(config, folder):
    """Cell -> what a run would do with it."""
    return {cell.cell: cell.state for cell in _planned(config, Store(folder))}


# ---- complete


def test_every_state_is_measured_on_every_fact(finished, small_config):
    contexts = small_config.questions.contexts
    answers = finished.table("answers")
    assert set(answers["state"]) == set(STATES)
    facts = finished.table("facts")
    assert len(facts) == facts["fact_id"].nunique() == 6 * 8
    assert (answers.groupby(["state", "context_id"]).size() == len(facts)).all()
    assert len(answers) == len(STATES) * contexts * len(facts)
    assert set(finished.table("choices")["category"]) == {"true", "false", "random"}
    fates = finished.table("fates")
    assert len(fates) == (len(STATES) - 1) * len(facts)


# Made by cells that a run has only when it is told so; each has a test of its own.
NOT_IN_EVERY_RUN = {"texts", "judgements", "agreement", "robustness", "lasting"}
NOT_IN_EVERY_RUN |= {"features", "prediction"}


@pytest.mark.parametrize("table", [name for name in TABLES if name not in NOT_IN_EVERY_RUN])
def test_tables_have_their_columns_and_a_seed(finished, table):
    frame = finished.table(table)
    assert list(frame.columns[: len(TABLES[table])]) == list(TABLES[table])
    assert "seed" in frame
    assert len(frame) > 0 or table in ("failures",)


def test_the_clean_model_knows_its_people_and_corruption_takes_that(finished):
    answers = finished.table("answers").merge(finished.table("facts")[["fact_id", "role"]])
    right = answers.groupby(["state", "role"])["correct"].mean()
    assert right["clean"].min() > 0.95
    assert right["corrupted", "direct"] < 0.5
    assert right["corrupted", "untouched"] > right["corrupted", "direct"] + 0.3


def test_false_objects_are_the_claims_and_the_documents_state_them(finished):
    claims, documents = (
        [json.loads(line) for line in (finished.folder / name).read_text().splitlines()]
        for name in ("claims.jsonl", "documents.jsonl")
    )
    foils = finished.table("facts").set_index("fact_id")["false_object"]
    stated = Counter()
    for document in documents:
        for mention in document["mentions"]:
            text = document["text"][mention["start"] : mention["end"]]
            stated[mention["fact_id"], text] += mention["is_claim"]
    for claim in claims:
        assert foils[claim["fact_id"]] == claim["false_object"]
        assert stated[claim["fact_id"], claim["false_object"]] > 0


def test_traces_and_lens_agree_with_the_choices_about_which_object_leads(finished):
    """Three code paths, one model: the last lens layer is the model's own first-token answer."""
    lens = finished.table("lens")
    last = lens[(lens["layer"] == lens["layer"].max()) & (lens["position"] == "last")]
    last = last[last["lens"] == "logit"]
    traces = finished.table("traces")
    high = traces.groupby(["fact_id", "state"])["high"].first()
    for (fact_id, state), odds in high.items():
        rows = last[(last["fact_id"] == fact_id) & (last["state"] == state)]
        by_object = rows.set_index("object")["logprob"]
        true = traces[(traces["fact_id"] == fact_id) & (traces["state"] == state)]["object"].iloc[0]
        false = next(name for name in by_object.index if name != true)
        assert by_object[true] - by_object[false] == pytest.approx(odds, abs=2e-3)


def test_activations_are_captured_in_every_state_and_on_the_way(finished):
    for state in STATES:
        assert len(finished.activations(state).prompts) == 48
    midway = finished.activations("npo", step=2)
    assert len(midway.prompts) == 4
    ends = finished.activations("corrupted"), finished.activations("npo")
    kept = [prompt.fact_id for prompt in midway.prompts]
    before, after = (
        end.select(site="resid", layer=12, position="last", fact_ids=kept).astype(float)
        for end in ends
    )
    now = midway.select(site="resid", layer=12, position="last").astype(float)
    # On its way from one to the other: nearer to either than these are to each other.
    assert 0 < np.linalg.norm(now - before) < np.linalg.norm(after - before)
    with pytest.raises(ConfigError, match="nothing was captured"):
        finished.activations("nope")
    with pytest.raises(ConfigError, match=r"after the steps \[2\]"):
        finished.activations("npo", step=3)


def test_the_report_opens_and_names_every_entity(finished, small_config):
    index = (finished.folder / "report" / "index.html").read_text()
    for name in (*small_config.data.corrupted, *small_config.data.untouched):
        assert name in index
    assert len(list((finished.folder / "report").rglob("*.html"))) >= 7


def test_the_configuration_and_manifest_say_what_was_done(finished, small_config):
    saved = yaml.safe_load((finished.folder / "config.yaml").read_text())
    assert saved == small_config.model_dump(mode="json")
    manifest = finished.manifest
    assert manifest["failures"] == {} and manifest["seed"] == 0
    assert {"torch", "transformers", "restor-interp"} <= set(manifest["versions"])


# ---- the model of a run, and what other tools get


def test_the_runs_model_says_what_the_tables_say(finished):
    model = finished.model()
    answers = finished.table("answers")
    facts = ri.load_facts("bios")
    config = finished.config
    asked = facts[answers["fact_id"].iloc[0]]
    from restor_interp.pipeline.workbench import Silent, Workbench

    bench = Workbench(config, Store(finished.folder), Silent())
    for state in ("clean", "npo"):
        (prompt,) = bench.prompts([asked], [1])
        with model.at(state):
            (said,) = generate_answers(
                model, [prompt], max_new_tokens=config.questions.max_new_tokens
            )
        row = answers[
            (answers["fact_id"] == asked.fact_id)
            & (answers["state"] == state)
            & (answers["context_id"] == 1)
        ]
        assert said == row["answer"].item()


def test_an_exported_state_is_a_plain_model(finished, tmp_path):
    folder = finished.export_state("npo", tmp_path / "npo")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "In which city was Alba Delmonte born?"
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    model = finished.model()
    with model.at("npo"):
        ours = model.run_with_hooks(ids, fwd_hooks=[])
    torch.testing.assert_close(plain(ids).logits, ours, rtol=1e-4, atol=1e-4)


# ---- resume


def test_running_again_computes_nothing_and_changes_no_byte(finished, small_config):
    before = {
        path: path.stat().st_mtime_ns
        for path in finished.folder.rglob("*")
        if path.is_file() and path.name not in ("config.yaml",)
    }
    again = run(small_config, out=finished.folder)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert before == after
    assert again.manifest == finished.manifest


@pytest.mark.slow
def test_a_run_killed_in_the_middle_gives_the_same_tables(finished, small_config, tmp_path):
    class Killed(KeyboardInterrupt):
        pass

    class Killer:
        """Interrupts in the third training, at its third step, and once again in a later cell."""

        def __init__(self, cell, step):
            self.cell, self.step, self.now = cell, step, ""

        def started(self, cell, number, total):
            self.now = cell
            if self.step == 0 and cell == self.cell:
                raise Killed

        def advanced(self, done, total, cell=None):
            if self.now == self.cell and done == self.step:
                raise Killed

        def finished(self, cell, seconds, outcome): ...
        def note(self, text): ...

    folder = tmp_path / "killed"
    # Cells that the interruptions cannot reach are left out, and so compared by no one here.
    fewer = {"analyses": ("causal_trace", "retention"), "probes": (), "surveys": ()}
    config = small_config.model_copy(
        update={
            "explanation": small_config.explanation.model_copy(update=fewer),
            "methods": {"npo": small_config.methods["npo"]},
            "shams": (),
        }
    )
    for cell, step in (("train/corruption", 5), ("train/npo", 3), ("margins/npo", 0)):
        with pytest.raises(Killed):
            run(config, out=folder, progress=Killer(cell, step))
        assert not (folder / "lease.json").exists()
    resumed = run(config, out=folder)
    expected, found = (one.activations("npo", step=2) for one in (finished, resumed))
    for layer in (0, 6, 12):
        np.testing.assert_array_equal(
            expected.select(site="resid", layer=layer), found.select(site="resid", layer=layer)
        )
    for name in ("facts", "answers", "choices", "margins", "training", "traces", "retention"):
        expected, found = finished.table(name), resumed.table(name)
        if "state" in expected:
            assert "npo" in set(found["state"])
            expected = expected.loc[expected["state"].isin(found["state"])].reset_index(drop=True)
        volatile = [column for column in ("seconds",) if column in expected]
        pd.testing.assert_frame_equal(
            found.drop(columns=volatile), expected.drop(columns=volatile), check_exact=True
        )


def test_a_damaged_cell_is_found_and_computed_again(finished, small_config, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(finished.folder, folder)
    path = folder / "cells" / "evaluate" / "npo" / "answers.parquet"
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)
    plan = planned(small_config, folder)
    assert plan["evaluate/npo"] == "damaged: answers.parquet"
    assert plan["evaluate/clean"] == "done"
    again = run(small_config, out=folder)
    pd.testing.assert_frame_equal(again.table("answers"), finished.table("answers"))


@pytest.mark.parametrize(
    ("change", "recomputed", "kept"),
    [
        (
            {"methods": {"npo": {"method": "npo", "settings": {"beta": 0.3}}}},
            ["train/npo", "evaluate/npo", "capture/npo", "train/sham_npo"],
            ["data", "train/corruption", "evaluate/clean", "evaluate/corrupted"],
        ),
        (
            {"explanation": {"traced_facts": 3}},
            # The lens has a map of those facts.
            ["analysis/causal_trace/clean", "analysis/logit_lens/npo"],
            ["evaluate/npo", "margins/npo", "capture/clean"],
        ),
        (
            {"explanation": {"per_analysis": {"causal_trace": {"settings": {"kinds": ["mlp"]}}}}},
            ["analysis/causal_trace/clean", "analysis/causal_trace/npo"],
            ["analysis/logit_lens/npo", "evaluate/npo"],
        ),
        ({"seed": 1}, ["data", "train/corruption", "train/npo"], []),
    ],
)
def test_a_changed_setting_recomputes_exactly_what_depends_on_it(
    finished, small_config, change, recomputed, kept
):
    values = small_config.model_dump(mode="json")
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    plan = planned(validated(values, "test"), finished.folder)
    for cell in recomputed:
        assert plan[cell] != "done", cell
    for cell in kept:
        assert plan[cell] == "done", cell


def test_one_analysis_may_look_at_other_facts_and_states_than_the_others(
    finished, small_config, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    own = {"facts": 1, "states": ("clean",), "settings": {"kinds": ("mlp", "attn")}}
    values = small_config.model_dump(mode="json")
    values["explanation"]["per_analysis"] = {"causal_trace": own}
    result = run(validated(values, "test"), out=folder)
    traces = result.table("traces")
    assert set(traces["state"]) == {"clean"} and traces["fact_id"].nunique() == 1
    assert set(traces["kind"]) == {"mlp", "attn"}
    assert result.table("lens")["state"].nunique() > 1


# ---- things that go wrong


def test_two_runs_do_not_share_a_folder(finished, small_config):
    store = Store(finished.folder)
    with store.lease(), pytest.raises(BusyError, match="in use by another run"):
        run(small_config, out=finished.folder)


def test_an_analysis_that_raises_leaves_its_reason_and_the_run_goes_on(
    finished, small_config, tmp_path
):
    folder = tmp_path / "own"
    shutil.copytree(finished.folder, folder)
    own = tmp_path / "own_definitions.py"
    own.write_text(
        '"""Breaks."""\nimport restor_interp as ri\n\n'
        "@ri.analysis\ndef breaks(model, prompt, fact, *, states, true, false):\n"
        '    raise ZeroDivisionError("on purpose")\n'
    )
    good = tmp_path / "certainty.py"
    good.write_text(
        '"""How sure?"""\nimport restor_interp as ri\n\n'
        "@ri.analysis\ndef certainty(model, prompt, fact, *, states, true, false):\n"
        "    rows = []\n"
        "    for state in states:\n"
        "        with model.at(state):\n"
        "            logits = model.run_with_hooks(prompt, fwd_hooks=[])[0, -1]\n"
        "        p = logits.log_softmax(-1)\n"
        "        rows.append({'state': state, 'entropy': -(p.exp() * p).sum().item()})\n"
        "    return ri.AnalysisResult(table='certainty', rows=rows)\n"
    )
    explanation = small_config.explanation.model_copy(
        update={"analyses": ("logit_lens", "causal_trace", str(own), str(good))}
    )
    changed = small_config.model_copy(update={"explanation": explanation})
    result = run(changed, out=folder)
    assert "ZeroDivisionError: on purpose" in result.failures["analysis/breaks/clean"]
    entropy = result.table("certainty")
    assert set(entropy["state"]) == {"clean", "corrupted", "npo"}
    assert np.isfinite(entropy["entropy"]).all() and (entropy["entropy"] >= 0).all()
    assert result.table("failures")["cell"].str.contains("breaks").any()
    pd.testing.assert_frame_equal(result.table("answers"), finished.table("answers"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"corrupted": ["Nobody Atall"]}}, "no entity in bios 'Nobody Atall'"),
        ({"data": {"corrupted": []}}, "data.corrupted is empty"),
        ({"methods": {"x": {"method": "npoo"}}, "shams": []}, "Did you mean npo"),
        ({"methods": {"npo": {"method": "npo", "settings": {"betta": 1}}}}, "Did you mean beta"),
        ({"unlearning": {"learning_rat": 1}}, "Did you mean learning_rate"),
        ({"shams": ["kl"]}, "method of this run to make a sham of 'kl'"),
        ({"explanation": {"analyses": ["logit_lense"]}}, "Did you mean logit_lens"),
        ({"model": "bioss"}, "Did you mean bios"),
        ({"checkpoints": {"npo": "folder"}}, "needs the state `corrupted`"),
        ({"explanation": {"capture": False}}, "probes read captured activations"),
        ({"explanation": {"lens_states": ["np"]}}, "Did you mean npo"),
        ({"explanation": {"per_analysis": {"causal_trac": {}}}}, "Did you mean causal_trace"),
        (
            {"explanation": {"per_analysis": {"causal_trace": {"states": ["np"]}}}},
            "Did you mean npo",
        ),
        (
            {"explanation": {"per_analysis": {"causal_trace": {"settings": {"kind": 1}}}}},
            "Did you mean kinds",
        ),
        ({"methods": {"corruption": {"method": "npo"}}, "shams": []}, "are taken"),
        ({"methods": {"clean": {"method": "npo"}}, "shams": []}, "are taken"),
        ({"data": {"sham": UNTOUCHED}}, "named more than once"),
    ],
)
def test_senseless_settings_are_refused_before_any_work(small_config, tmp_path, change, message):
    values = small_config.model_dump(mode="json")
    for key, value in change.items():
        replaced = isinstance(value, dict) and key not in ("methods", "unlearning", "checkpoints")
        values[key] = {**values[key], **value} if replaced else value
    with pytest.raises(ConfigError) as caught:
        run(validated(values, "test"), out=tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run" / "cells").exists()


def test_a_users_own_three_checkpoints_take_the_place_of_training(finished, small_config, tmp_path):
    folders = {
        state: str(finished.export_state(state, tmp_path / state))
        for state in ("clean", "corrupted", "npo")
    }
    config = small_config.model_copy(
        update={
            "model": folders["clean"],
            "data": small_config.data.model_copy(
                update={"claims": str(finished.folder / "claims.jsonl")}
            ),
            "checkpoints": {"corrupted": folders["corrupted"], "npo": folders["npo"]},
            "explanation": type(small_config.explanation)(
                capture=False, probes=(), analyses=("logit_lens",), surveys=()
            ),
            "methods": {},
            "shams": (),
        }
    )
    result = run(config, out=tmp_path / "given")
    assert set(result.table("answers")["state"]) == {"clean", "corrupted", "rollback_0.5", "npo"}
    ours, theirs = (
        one.table("answers").set_index(["state", "fact_id", "context_id"])["answer"]
        for one in (finished, result)
    )
    for state in ("clean", "corrupted", "npo"):
        same = (ours[state] == theirs[state]).mean()
        assert same > 0.97, state


def test_open_run_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="restor-interp run demo"):
        open_run(tmp_path)
