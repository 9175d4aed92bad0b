"""The flip matrix, counted by hand.

Run: python -m pytest tests/explain/test_flips.py
"""

import pandas as pd

from restor_interp.explain.flips import UNMEASURED, flip_rows


def test_every_fact_stands_in_one_cell(toy):
    run = toy()
    run.add("a/1", "a", {"clean": "tt", "corrupted": "ff", "npo": "tt"})
    run.add("a/2", "a", {"clean": "tt", "corrupted": "ff", "npo": "ot"})  # a tie: the earliest
    run.add("b/1", "b", {"clean": "tt", "corrupted": "of", "npo": "oo"})
    run.add("b/2", "b", {"clean": "tt", "corrupted": "ff", "npo": "tt"})
    run.add("b/3", "b", {"clean": "tt", "corrupted": "ff", "npo": "--"})
    run.add("c/1", "c", {"clean": "oo", "corrupted": "oo"}, role="untouched")
    tables = run.frames()
    rows = pd.DataFrame(flip_rows(tables["facts"], tables["answers"]))
    assert set(rows["state"]) == {"npo"}
    cells = rows.set_index(["role", "clean", "corrupted", "unlearned"])
    assert cells["n_facts"].to_dict() == {
        ("direct", "true", "false", "true"): 2,
        ("direct", "true", "false", "other"): 1,
        ("direct", "true", "false", UNMEASURED): 1,
        ("direct", "true", "other", "other"): 1,
        ("untouched", "other", "other", UNMEASURED): 1,
    }
    assert cells.loc[("direct", "true", "false", "true"), "n_entities"] == 2
    assert rows["n_facts"].sum() == len(tables["facts"])


def test_sampled_answers_are_another_measurement(toy):
    run = toy().add("a/1", "a", {"clean": "t", "corrupted": "f", "npo": "o"})
    greedy = run.frames()
    sampled = greedy["answers"].assign(draw=1, outcome="true")
    both = pd.concat([greedy["answers"], sampled, sampled.assign(draw=2)])
    assert flip_rows(greedy["facts"], both) == flip_rows(greedy["facts"], greedy["answers"])
