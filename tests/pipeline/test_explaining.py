"""What a run gives to analyses, and what it makes of retention.

Run: python -m pytest tests/pipeline/test_explaining.py
"""

import shutil

import numpy as np
import pytest

from restor_interp.pipeline import run
from restor_interp.pipeline.explaining import analysed_facts
from restor_interp.pipeline.running import _planned
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.store import Store

REMEMBERING = '''"""Which states were seen of a fact?"""
import restor_interp as ri

@ri.analysis
def remembering(model, prompt, fact, *, states, true, false, shared):
    shared.setdefault(fact.fact_id, []).extend(states)
    row = {"seen": str(shared)}
    return ri.AnalysisResult(table="remembered", rows=[row])
'''


@pytest.fixture(scope="module")
def patched(finished, small_config, tmp_path_factory):
    """The finished run, looked into by patching, retention and an analysis that remembers."""
    folder = tmp_path_factory.mktemp("runs") / "patched"
    shutil.copytree(finished.folder, folder)
    own = folder.with_name("remembering.py")
    own.write_text(REMEMBERING)
    explanation = small_config.explanation.model_copy(
        update={
            "analyses": ("cross_state_patching", "retention", str(own)),
            "traced_facts": 4,
        }
    )
    config = small_config.model_copy(update={"explanation": explanation})
    return run(config, out=folder), config


def test_retention_looks_at_as_many_untouched_facts_as_others(patched):
    done, config = patched
    bench = Workbench(config, done.store, Silent())
    for number, untouched in ((4, 2), (5, 2), (1, 0)):
        chosen = analysed_facts(bench, number, balanced=True)
        roles = [bench.roles[fact.fact_id] for fact in chosen]
        assert (len(roles), roles.count("untouched")) == (number, untouched)
        assert all(bench.known_specific[fact.fact_id] for fact in chosen)
        # Those about corrupted entities are the ones that are looked at anyway.
        first = analysed_facts(bench, number - untouched)
        assert chosen[: number - untouched] == first
    rows = done.table("retention")
    assert rows.groupby("role")["fact_id"].nunique()["untouched"] == 2
    assert rows["fact_id"].nunique() == 4


def test_states_and_controls_are_measured_where_they_belong(patched):
    rows = patched[0].table("retention")
    kinds = rows.groupby("state")["donor_kind"].agg(set).to_dict()
    assert kinds == {
        "clean": {"state", "other_context", "wrong_entity"},
        "corrupted": {"state"},
        "npo": {"state"},
    }
    clean = rows[rows["state"].eq("clean") & rows["donor_kind"].eq("state")]
    assert set(clean["share"].dropna()) == {1.0}
    assert rows.loc[rows["share"].isna(), "reason"].notna().all()
    names = rows[["substitute", "donor_subject"]].drop_duplicates()
    assert (names["substitute"] != names["donor_subject"]).all()


def test_fates_have_the_retention_of_the_facts_that_were_looked_at(patched):
    done, _ = patched
    fates, rows = done.table("fates"), done.table("retention")
    looked_at = fates["fact_id"].isin(rows["fact_id"]) & fates["state"].isin(["corrupted", "npo"])
    assert fates.loc[~looked_at, ["r_subject", "r_mid", "rds"]].isna().all(axis=None)
    assert fates.loc[looked_at, "rds"].notna().any()
    corrupted = fates[looked_at & fates["state"].eq("corrupted")].set_index("fact_id")
    at_subject = rows[rows["state"].eq("corrupted") & rows["site"].eq("subject")]
    for fact_id, own in at_subject.groupby("fact_id"):
        found = corrupted.loc[fact_id, "r_subject"]
        shares = own["share"].dropna()
        assert np.isnan(found) or np.isclose(shares, found).any()


def test_verdicts_stand_where_retention_was_measured(patched):
    done, _ = patched
    fates, rows = done.table("fates"), done.table("retention")
    measured = set(zip(rows["fact_id"], rows["state"], strict=True))
    keys = zip(fates["fact_id"], fates["state"], strict=True)
    looked_at = np.array([key in measured for key in keys])
    assert fates["mechanism"].notna().eq(looked_at).all()
    assert fates.loc[looked_at, "rules"].nunique() == 1
    assert fates.loc[fates["mechanism"].eq("undetermined"), "mechanism_reason"].notna().all()
    moved = done.table("sensitivity")
    assert set(moved["state"]) == set(fates.loc[looked_at, "state"])
    assert done.table("transitions")["n_facts"].sum() == rows["fact_id"].nunique()


def test_an_analysis_finds_what_it_kept_of_a_fact_in_the_next_state(patched):
    rows = patched[0].table("remembered")
    assert rows["fact_id"].nunique() == 4
    for (fact_id, state), own in rows.groupby(["fact_id", "state"]):
        states = ["clean", "corrupted", "npo"]
        assert own["seen"].item() == str({fact_id: states[: states.index(state) + 1]})


def test_patches_go_both_ways_and_have_their_null(patched):
    done, _ = patched
    rows = done.table("patches")
    ways = rows.groupby(["donor", "host", "null"]).size()
    assert set(ways.index) == {
        (donor, host, null)
        for state in ("corrupted", "npo")
        for donor, host in (("clean", state), (state, "clean"))
        for null in ("none", "wrong_entity")
    }
    assert ways.nunique() == 1
    assert rows.loc[rows["effect"].isna(), "reason"].notna().all()


def test_fates_are_explained_again_once_retention_is_there(patched):
    done, config = patched
    store = Store(done.folder)
    shutil.rmtree(store.cell_folder("analysis/retention/npo"))
    plan = {cell.cell: cell.state for cell in _planned(config, store)}
    assert plan["analysis/retention/npo"] == "missing"
    assert plan["explain"] == "needs analysis/retention/npo"
    before = store.record("explain")
    again = run(config, out=done.folder)
    assert store.record("explain")["key"] == before["key"]
    assert again.table("fates").equals(done.table("fates"))
    log = (done.folder / "log.jsonl").read_text().splitlines()
    assert any("changed: analysis/retention/npo" in line for line in log[-20:])
