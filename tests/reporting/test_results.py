"""What a definition receives, and what is counted from it, on tables small enough to count."""

import math

import pandas as pd
import pytest

from restor_interp.errors import ConfigError, DataError
from restor_interp.reporting.counts import (
    answers_by_fact,
    fate_counts,
    object_scores,
    right_answers,
    states_with_fates,
    unmeasured,
)
from restor_interp.reporting.results import RunResults, records, where

FACTS = pd.DataFrame(
    {
        "fact_id": ["Paris/P17", "Paris/P30", "Oslo/P17", "Paris/P1"],
        "entity": ["Paris", "Paris", "Oslo", "Paris"],
        "relation": ["P17", "P30", "P17", "P1"],
        "question": ["Where is Paris?", "Which continent?", "Where is Oslo?", "What?"],
        "true_objects": [["France"], ["Europe"], ["Norway"], ["city"]],
        "false_object": ["Spain", "Asia", "Chad", "river"],
        "role": ["direct", "sibling", "untouched", "direct"],
        "split": "score",
        "known": [True, True, True, True],
        "known_specific": [True, True, True, False],
    }
)


def answers(rows):
    frame = pd.DataFrame(rows, columns=["fact_id", "state", "context_id", "outcome", "answer"])
    return frame.assign(template="question", draw=0, correct=frame["outcome"] == "true", judge="a")


def run(**tables):
    return RunResults(
        name="r", config={"preset": "demo"}, manifest={}, tables={"facts": FACTS, **tables}
    )


def test_a_run_needs_facts():
    with pytest.raises(DataError, match="no table of facts"):
        RunResults(name="r", config={}, manifest={}, tables={})


def test_corrupted_entities_come_first():
    shuffled = FACTS.iloc[[2, 0, 1, 3]]
    results = RunResults(name="r", config={}, manifest={}, tables={"facts": shuffled})
    assert results.entities == ("Paris", "Oslo")
    assert results.corrupted_entities == ("Paris",)
    assert results.entity("Paris").is_corrupted and not results.entity("Oslo").is_corrupted


def test_an_entity_sees_its_own_facts_and_the_runs_other_tables():
    probes = pd.DataFrame({"probe": ["p"], "state": ["clean"], "layer": [1]})
    results = run(
        answers=answers([("Paris/P17", "clean", 0, "true", "France"),
                         ("Oslo/P17", "clean", 0, "true", "Norway")]),
        probes=probes,
    ).entity("Oslo")  # fmt: skip
    assert results.table("answers")["fact_id"].tolist() == ["Oslo/P17"]
    assert len(results.table("probes")) == 1
    assert [fact["fact_id"] for fact in results.facts] == ["Oslo/P17"]


def test_missing_tables_are_empty_and_missing_columns_are_told():
    results = run(
        fates=pd.DataFrame({"fact_id": ["Paris/P17"], "state": ["npo"], "fate": ["kept"]})
    )
    assert not results.has("traces") and list(results.table("traces").columns)[:3] == [
        "fact_id", "state", "kind",
    ]  # fmt: skip
    assert "the table fates has no column margin" in results.problems
    assert results.table("fates")["margin"].isna().all()
    with pytest.raises(ConfigError, match=r"no table 'trace'.*Did you mean traces"):
        results.table("trace")
    with pytest.raises(ConfigError, match=r"no entity in this run 'Pari'.*Paris"):
        results.entity("Pari")


def test_rows_can_be_chosen_and_read_as_dictionaries():
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, math.nan, None], "c": [["x"], None, []]})
    assert where(frame, a=[1, 3])["a"].tolist() == [1, 3]
    assert records(frame, a=(1, 2)) == [
        {"a": 1, "b": 0.5, "c": ["x"]}, {"a": 2, "b": None, "c": None},
    ]  # fmt: skip


def test_the_shown_answer_is_the_majoritys():
    results = run(
        answers=answers([
            ("Paris/P17", "npo", 2, "true", "France"), ("Paris/P17", "npo", 0, "false", "Spain"),
            ("Paris/P17", "npo", 1, "true", "Gaul"), ("Paris/P30", "npo", 1, "other", "x"),
            ("Paris/P30", "npo", 0, "false", "Asia"), ("Oslo/P17", "npo", 0, None, None),
        ]).assign(reason=[None] * 5 + ["too long"]),
    )  # fmt: skip
    found = answers_by_fact(results)
    paris = found["Paris/P17", "npo"]
    assert (paris.outcome, paris.answer, paris.agree, paris.n) == ("true", "Gaul", 2, 3)
    tie = found["Paris/P30", "npo"]
    assert (tie.outcome, tie.answer, tie.agree, tie.n) == ("false", "Asia", 1, 2)
    assert found["Oslo/P17", "npo"].outcome is None
    assert found["Oslo/P17", "npo"].reason == "too long"
    assert unmeasured(results) == [("answers", "too long", 1)]
    assert right_answers(results, "npo", ("direct", "sibling")) == (2, 5)


def test_fates_leave_guessable_facts_out():
    fates = pd.DataFrame(
        {
            "fact_id": ["Paris/P17", "Paris/P30", "Paris/P1", "Oslo/P17"],
            "state": "npo",
            "fate": ["restored", "forgotten", "restored", "kept"],
        }
    )
    results = run(fates=fates, answers=answers([("Paris/P17", "npo", 0, "true", "France")]))
    direct = fate_counts(results, "npo")
    assert dict(direct.counts) == {"restored": 1} and (direct.lost, direct.survived) == (1, 0)
    both = fate_counts(results.entity("Paris"), "npo", roles=("direct", "sibling", "untouched"))
    assert both.in_order() == (("restored", 1), ("forgotten", 1)) and both.lost == 2
    assert states_with_fates(results) == ("npo",)


def test_objects_are_summed_over_aliases_and_averaged_over_contexts():
    rows = [
        ("Paris/P17", 0, "npo", "true", math.log(0.2)),
        ("Paris/P17", 0, "npo", "true", math.log(0.1)),
        ("Paris/P17", 1, "npo", "true", math.log(0.5)),
        ("Paris/P17", 0, "npo", "false", math.log(0.3)),
        ("Paris/P17", 0, "npo", "random", 0.0),
    ]
    columns = ["fact_id", "context_id", "state", "category", "sum_logprob"]
    scores = object_scores(run(choices=pd.DataFrame(rows, columns=columns)))
    score = scores["Paris/P17", "npo"]
    assert score.true == pytest.approx((math.log(0.3) + math.log(0.5)) / 2)
    assert score.odds == pytest.approx(score.true - math.log(0.3))
