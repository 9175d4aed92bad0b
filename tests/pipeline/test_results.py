"""`docs/results`: the page's numbers survive the way through shards, and are computed once."""

import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from restor_interp.explain.measured import Measured
from restor_interp.explain.pooling import pooled_rows
from restor_interp.pipeline.designs import parts

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"


@pytest.fixture(scope="module")
def results():
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("restor"), importlib.import_module("page")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture
def job(results, tmp_path, monkeypatch):
    restor, _ = results
    monkeypatch.setattr(restor, "TABLES", tmp_path / "tables")
    return restor.Job(tier="bios", runs=tmp_path / "runs", seeds=1, restor=None)


def save(job, part, made):
    shards = sys.modules["shards"]
    shards.write_shard(
        job.tables / part.name,
        shards.measured_tables(made),
        made,
        part.config,
        seed=part.seed,
        rotation=part.rotation,
        seconds=60.0,
    )


@pytest.fixture
def part(results, job, small_config, finished):
    """The finished run as the one shard of a tier, pooled."""
    restor, _ = results
    (found,) = parts(small_config, seeds=1, rotations=1)
    save(job, found, finished)
    restor.pool(job)
    return found


@pytest.mark.usefixtures("part")
def test_numbers_from_a_shard_are_those_of_the_run(job, finished):
    found = pd.read_csv(job.tables / "pooled.csv").set_index(["state", "role", "metric"])["value"]
    frames = (finished.table(name) for name in ("facts", "answers", "choices", "margins"))
    whole = pd.DataFrame(pooled_rows({(0, 0): Measured(*frames)}))
    whole = whole.set_index(["state", "role", "metric"])["value"]
    assert len(found) == len(whole) > 50
    # kept to three decimals
    pd.testing.assert_series_equal(found, whole.astype(float), atol=2e-3, rtol=1e-3)
    flips = finished.table("flips").groupby("state")["n_facts"].sum()
    mine = pd.read_csv(job.tables / "flips.csv").groupby("state")["n_facts"].sum()
    pd.testing.assert_series_equal(mine, flips)


def test_a_run_that_has_a_shard_is_not_computed_again(
    results, job, small_config, finished, monkeypatch
):
    restor, _ = results
    (part,) = parts(small_config, seeds=1, rotations=1)
    computed = []

    def counted(config, out):
        computed.append(config)
        return finished

    monkeypatch.setattr(sys.modules["shards"], "run", counted)
    restor.design(job, small_config)
    restor.design(job, small_config)
    assert computed == [part.config]
    changed = small_config.model_copy(update={"unlearning": {"steps": 5}})
    restor.design(job, changed)
    assert len(computed) == 2


def test_a_shard_is_marked_by_what_is_set(results, small_config):
    del results
    mark = sys.modules["shards"].mark

    def changed(section, **values):
        own = getattr(small_config, section).model_copy(update=values)
        return small_config.model_copy(update={section: own})

    assert mark(changed("data", restor="elsewhere")) == mark(small_config)
    assert mark(changed("questions", top_k=5)) != mark(small_config)

    class Later(type(small_config)):
        a_new_setting: int | None = None

    later = Later(**dict(small_config))
    assert mark(later) == mark(small_config)
    assert mark(later.model_copy(update={"a_new_setting": 1})) != mark(small_config)


@pytest.mark.usefixtures("part")
def test_the_page_is_written_from_the_tables(results, job, tmp_path):
    _, page = results
    (tmp_path / "restor.head.md").write_text("# Head\n")
    page.write_page(tmp_path)
    text = (tmp_path / "restor.md").read_text()
    assert "1 seed × 1 choice of" in text
    assert all(f"**H{number}." in text for number in range(1, 11))
    npo = next(line for line in text.splitlines() if line.startswith("| npo |"))
    pooled = pd.read_csv(job.tables / "pooled.csv").set_index(["state", "role", "metric"])
    right = pooled.loc[("npo", "direct", "accuracy"), "value"]
    assert npo.split("|")[3].strip().startswith(f"{100 * right:.0f}")


@pytest.mark.usefixtures("part")
def test_what_the_clean_margin_foretells_counts_the_lost_facts(job, finished):
    found = pd.read_csv(job.tables / "confidence.csv").set_index("state")
    frames = (finished.table(name) for name in ("facts", "answers", "choices", "margins"))
    measured = Measured(*frames)
    lost = measured.chosen("direct", lost=True)
    assert set(found.index) == {*measured.states} - {"clean", "corrupted"}
    assert set(found["n_facts"]) == {len(lost)} and len(lost) > 0
    back = (measured.scored_restored.loc[lost, "npo"] > 0.5).sum()
    assert found.loc["npo", "n_events"] == min(back, len(lost) - back)


def test_a_localised_target_is_compared_with_the_whole_method_fact_by_fact(results, job, part):
    """What is called so here is retain_only under another name: npo minus that is in `pooled`."""
    restor, page = results
    assert not (job.tables / "localised.csv").exists()
    for name in ("answers", "choices", "margins"):
        path = job.tables / part.name / f"{name}.parquet"
        table = pd.read_parquet(path)
        other = table.loc[table["state"].eq("retain_only")].assign(state="npo-claims")
        pd.concat([table, other]).to_parquet(path)
    restor.pool(job)
    (found,) = pd.read_csv(job.tables / "localised.csv").to_dict("records")
    pooled = pd.read_csv(job.tables / "pooled.csv").set_index(["state", "role", "metric"])
    known = pooled.loc[("npo", "direct", "restored_minus_retain_only")]
    assert (found["state"], found["against"]) == ("npo-claims", "npo")
    assert found["value"] == pytest.approx(-known["value"])
    assert found["n_facts"] == known["n_facts"] > 0
    (judge,) = (judge for key, _, judge in page.CLAIMS if key == "H6")
    assert judge(page.Tier(job.tables)).why.startswith("npo-claims minus all tokens ")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ({"npo": (0.7, 0.6, 0.8), "ga": (0.6, 0.51, 0.7), "sham_npo": (0.5, 0.4, 0.6)}, "held"),
        ({"npo": (0.7, 0.6, 0.8), "ga": (0.6, 0.45, 0.7)}, "not decided"),
        ({"npo": (0.4, 0.3, 0.45)}, "failed"),
        ({"npo": (None, None, None), "sham_npo": (0.9, 0.8, 1.0)}, "not testable here"),
        ({"npo": ()}, "not testable here"),
    ],
)
def test_confidence_foretells_where_all_methods_say_so(results, tmp_path, rows, word):
    _, page = results
    table = [
        {"state": state, "n_facts": 90}
        | dict(zip(("value", "low", "high"), numbers, strict=bool(numbers)))
        for state, numbers in rows.items()
    ]
    pd.DataFrame(table).to_csv(tmp_path / "confidence.csv", index=False)
    (judge,) = (judge for key, _, judge in page.CLAIMS if key == "H7")
    assert judge(page.Tier(tmp_path)).word == word


def test_outcomes_are_words_where_a_column_holds_nothing_else(results, tmp_path):
    _, page = results
    columns = ["state", "role", "clean", "corrupted", "unlearned", "n_facts"]
    rows = [("npo", "direct", "true", "false", then, n) for then, n in (("true", 2), ("other", 9))]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "flips.csv", index=False)
    table = page.flips_table(page.Tier(tmp_path))
    assert "| npo | 0 | 0 | 0 | 2 | 0 | 9 | 0 | 0 | 0 |" in table


@pytest.mark.parametrize(
    ("value", "p", "told", "p_told"),
    [(-0.001, 0.0001, "+0 [−5, +5]", "< 0.001"), (-0.2, 0.03, "−20 [−5, +5]", "0.030")],
)
def test_numbers_are_told_without_negative_zeros(results, value, p, told, p_told):
    del results
    number = sys.modules["telling"].Number(value, -0.05, 0.05, p)
    assert number.told(signed=True) == told
    assert number.p_told == p_told
    assert number.p_in_words in (f"p {p_told}", f"p = {p_told}") and "= <" not in number.p_in_words


def test_the_gentler_of_two_choices_is_taken(results, job):
    restor, _ = results
    trials = {
        f"npo-{place:02d}": {"learning_rate": rate, "steps": steps}
        for place, (rate, steps) in enumerate([(1e-3, 30), (1e-3, 120), (4e-3, 30)], 1)
    }
    job.write(
        trials=pd.DataFrame(
            [
                {"state": state, "method": "npo", "training": json.dumps(training)}
                for state, training in trials.items()
            ]
        ),
        selection=pd.DataFrame(
            [
                {"method": "npo", "label": "blind", "half": "A", "chosen": "npo-02"},
                {"method": "npo", "label": "blind", "half": "B", "chosen": "npo-03"},
                {"method": "npo", "label": "oracle", "half": "A", "chosen": "npo-01"},
            ]
        ),
    )
    # 120 steps at 1e-3 and 30 at 4e-3 are equally far: the first of the two halves stands.
    assert restor.chosen_settings("bios")["npo"] == trials["npo-02"]
