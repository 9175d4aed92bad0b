"""The joined tables, on made-up runs whose truth is known.

Run: python -m pytest tests/explain/test_tables.py
"""

import math
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from restor_interp.explain.rollback import equivalent_rollback, rollback_path
from restor_interp.explain.summary import HELD_OUT, SAME_CONTEXT, TOO_FEW
from restor_interp.explain.tables import facts_with_knowledge, fate_rows, summary_rows
from restor_interp.reporting.counts import answers_by_fact, fate_counts, object_scores
from restor_interp.reporting.results import RunResults
from restor_interp.reporting.states import summary_number
from restor_interp.store import table_frame

WORDS = {"t": "true", "f": "false", "o": "other", "-": None}
STATES = ("clean", "corrupted", "rollback_0.5", "npo", "sham_npo", "retain_only")


class MadeUp:
    """Tables built fact by fact: outcomes per context ("tfo"), margins, log p(false)."""

    def __init__(self):
        self.facts, self.answers, self.choices, self.margins = [], [], [], []

    def add(self, fact_id, entity, outcomes, *, role="direct", margins=None, led=0, false=None):
        """`outcomes`: state -> one letter per context; `false`: state -> log p(false)."""
        self.facts.append(
            {
                "fact_id": fact_id, "entity": entity, "relation": "P1", "question": "?",
                "true_objects": ["T"], "false_object": "F", "role": role, "split": "score",
            }
        )  # fmt: skip
        for state, letters in outcomes.items():
            for context, letter in enumerate(letters):
                self.answers.append(
                    {
                        "fact_id": fact_id, "context_id": context, "template": "question",
                        "draw": 0, "state": state, "answer": letter, "outcome": WORDS[letter],
                        "correct": letter == "t", "judge": "alias",
                        "reason": "too long" if letter == "-" else None,
                    }
                )  # fmt: skip
                level = (false or {}).get(state, -1.0)
                for category, logprob in (("true", -2.0), ("false", level), ("random", -9.0)):
                    self.choices.append(
                        {
                            "fact_id": fact_id, "context_id": context, "state": state,
                            "category": category, "object": category, "mean_logprob": logprob,
                            "sum_logprob": logprob, "n_tokens": 1, "first_divergence": 0,
                        }
                    )  # fmt: skip
        for state, margin in (margins or {"clean": 3.0}).items():
            blank = margin is None
            self.margins.append(
                {
                    "fact_id": fact_id, "context_id": 0, "state": state, "margin": margin,
                    "own_logprob": None if blank else -1.0,
                    "substitute_logprob": None if blank else -1.0 - margin,
                    "n_substitutes": None if blank else 5,
                    "n_substitutes_led": None if blank else led,
                    "reason": "no substitute" if blank else None,
                }
            )  # fmt: skip

    def tables(self, training=()):
        answers, choices, margins = map(pd.DataFrame, (self.answers, self.choices, self.margins))
        facts = facts_with_knowledge(pd.DataFrame(self.facts), answers, margins)
        fates = pd.DataFrame(fate_rows(facts, answers, margins, choices))
        columns = ["state", "step", "forget_nll", "retain_nll"]
        return {
            "facts": facts, "answers": answers, "choices": choices, "margins": margins,
            "fates": fates, "training": pd.DataFrame(list(training), columns=columns),
        }  # fmt: skip


def summary(tables):
    names = ("facts", "answers", "choices", "margins", "fates", "training")
    return pd.DataFrame(summary_rows(*(tables[name] for name in names)))


def the_row(frame, state, metric, role="direct"):
    rows = frame[(frame.state == state) & (frame.metric == metric) & (frame.role == role)]
    assert len(rows) == 1, (state, metric, role)
    return rows.iloc[0]


@pytest.fixture(scope="module")
def planted():
    """Eight entities, each with 3 lost and 1 surviving specific fact, 1 guessable, 1 unknown.

    npo restores two of the three in even entities and one in odd ones; of the others it guesses
    one (even) or still says the falsehood (odd). Its sham restores one in entity 0 alone.
    """
    made = MadeUp()
    margins = {"clean": 4.0, "corrupted": 0.0, "npo": 3.0, "sham_npo": 3.0, "retain_only": 3.0}
    false = {"clean": -8.0, "rollback_0.5": -4.0, "corrupted": -1.0, "npo": -3.0,
             "sham_npo": -1.5, "retain_only": -1.5}  # fmt: skip
    for number in range(8):
        name, even = f"e{number}", number % 2 == 0
        lost = {"clean": "ttt", "corrupted": "fff", "rollback_0.5": "too",
                "sham_npo": "fff", "retain_only": "fff"}  # fmt: skip
        made.add(f"{name}/a", name, lost | {"npo": "ttt"}, margins=margins, false=false)
        b = {"npo": "ttt" if even else "fff", "sham_npo": "ttt" if number == 0 else "fff"}
        made.add(f"{name}/b", name, lost | b, margins=margins, false=false)
        low = margins | {"npo": 1.0}
        c = {"npo": "ttt" if even else "fof"}
        made.add(f"{name}/c", name, lost | c, margins=low, false=false)
        stays = dict.fromkeys(STATES, "ttt") | {"npo": "oot" if number < 2 else "ttt"}
        made.add(f"{name}/d", name, stays, margins={"clean": 4.0}, false=false)
        made.add(f"{name}/guess", name, lost | {"npo": "ttt"}, margins=margins, led=4, false=false)
        never = dict.fromkeys(STATES, "ooo") | {"npo": "ttt" if number == 7 else "ooo"}
        made.add(f"{name}/never", name, never, margins={"clean": None}, false=false)
        other = dict.fromkeys(STATES, "ttt") | {"npo": "too" if number < 4 else "ttt"}
        made.add(f"u{number}/a", f"u{number}", other, role="untouched", false=false)
    training = [
        {"state": "npo", "step": step, "forget_nll": step / 10, "retain_nll": 2.0}
        for step in (1, 30, 9)
    ]
    return made.tables(training)


@pytest.fixture(scope="module")
def told(planted):
    return summary(planted)


# ---- what the clean model knows


def test_known_and_specific_are_found(planted):
    facts = planted["facts"].set_index("fact_id")
    for number in range(8):
        assert facts.loc[[f"e{number}/{x}" for x in "abcd"], "known_specific"].all()
        assert facts.loc[f"e{number}/guess", "known"]
        assert not facts.loc[f"e{number}/guess", "known_specific"]
        assert not facts.loc[f"e{number}/never", "known"]
        assert not facts.loc[f"e{number}/never", "known_specific"]
    assert facts.loc["e0/a", "margin"] == 4.0
    assert math.isnan(facts.loc["e0/never", "margin"])


@pytest.mark.parametrize(
    ("clean", "margin", "led", "known", "specific"),
    [
        ("ttt", 1.0, 1, True, True),
        ("tto", 1.0, 1, True, True),
        ("ttt", 0.99, 1, True, False),
        ("ttt", 9.0, 2, True, False),
        ("too", 9.0, 0, False, False),
        ("ttt", None, 0, True, False),  # no substitute: not known to be specific
        ("---", 9.0, 0, None, None),
        ("t", 1.0, 0, True, True),
    ],
)
def test_the_rule_of_specific_knowledge(clean, margin, led, known, specific):
    made = MadeUp()
    made.add("f", "e", {"clean": clean, "corrupted": "fff"}, margins={"clean": margin}, led=led)
    row = made.tables()["facts"].iloc[0]
    found = [
        None if pd.isna(row[name]) else bool(row[name]) for name in ("known", "known_specific")
    ]
    assert found == [known, specific]


def test_margins_of_several_contexts_are_pooled_and_a_missing_one_is_unknown():
    made = MadeUp()
    made.add("f", "e", {"clean": "ttt", "corrupted": "fff"}, margins={"clean": 0.4}, led=0)
    facts, answers = pd.DataFrame(made.facts), pd.DataFrame(made.answers)
    one = pd.DataFrame(made.margins)
    two = pd.concat([one, one.assign(context_id=1, margin=2.0, substitute_logprob=-3.0)])
    assert facts_with_knowledge(facts, answers, two)["margin"].item() == pytest.approx(1.2)
    assert facts_with_knowledge(facts, answers, two)["known_specific"].item()
    assert not facts_with_knowledge(facts, answers, one)["known_specific"].item()
    assert pd.isna(facts_with_knowledge(facts, answers, one[:0])["known_specific"].item())


# ---- fates


def test_there_is_one_fate_per_fact_and_state_but_clean(planted):
    fates = planted["fates"]
    assert len(fates) == 56 * 5
    assert not fates.duplicated(["fact_id", "state"]).any()
    assert set(fates["state"]) == set(STATES) - {"clean"}
    table_frame("fates", fates)
    table_frame("facts", planted["facts"])


def test_planted_fates_are_counted_right(planted):
    npo = planted["fates"].query("state == 'npo'").set_index("fact_id")["fate"]
    direct = npo[[name for name in npo.index if name[0] == "e"]]
    assert Counter(direct) == {
        "restored": 8 + 4 + 8,  # a; b in even; the guessable ones
        "guessed": 4,
        "still_false": 4 + 4,  # b and c in odd entities
        "kept": 6,
        "collateral": 2,
        "gained": 1,
        "unknown": 7,
    }
    corrupted = planted["fates"].query("state == 'corrupted'").set_index("fact_id")["fate"]
    assert Counter(corrupted[direct.index]) == {"still_false": 32, "kept": 8, "unknown": 8}


def test_evidence_is_a_sentence_with_the_numbers(planted):
    row = planted["fates"].query("state == 'npo' and fact_id == 'e0/c'").iloc[0]
    assert row["evidence"] == (
        "Right: clean 3 of 3, corrupted 0 of 3 (3 false), npo 3 of 3; margin 1.00 of 4.00 nats; "
        "log p(true) −2.00 → −2.00 → −2.00; log p(false) −8.00 → −1.00 → −3.00."
    )
    assert (row["margin"], row["r_out"]) == (1.0, 0.25)
    assert (row["mechanism"], row["flags"]) == (None, "")


def test_r_out_needs_a_nat_of_clean_margin():
    made = MadeUp()
    outcomes = {"clean": "t", "corrupted": "f", "npo": "t"}
    made.add("f", "e", outcomes, margins={"clean": 0.9, "npo": 0.8})
    row = made.tables()["fates"].query("state == 'npo'").iloc[0]
    assert row["margin"] == 0.8
    assert pd.isna(row["r_out"])


def test_a_fact_that_was_not_measured_is_a_row_with_a_reason():
    made = MadeUp()
    made.add("f", "e", {"clean": "ttt", "corrupted": "f-f", "npo": "---", "ga": "-tt"})
    made.add("g", "e", {"clean": "ttt", "corrupted": "fff", "ga": "ttt"})
    fates = made.tables()["fates"].set_index(["fact_id", "state"])
    assert fates.loc[("f", "npo"), "reason"] == "npo: too long"
    assert pd.isna(fates.loc[("f", "npo"), "fate"])
    assert fates.loc[("g", "npo"), "reason"] == "npo: it was not asked"
    assert fates.loc[("f", "ga"), "fate"] == "restored"
    assert len(fates) == 6


# ---- the summary: planted numbers


def test_the_summary_counts_what_was_planted(told):
    table_frame("summary", told)
    npo = {
        row.metric: row for row in told.query("state == 'npo' and role == 'direct'").itertuples()
    }
    counts = {name: npo[f"n_{name}"].value for name in ("known_specific", "lost", "survived")}
    assert counts == {"known_specific": 32, "lost": 24, "survived": 8}
    for fate, number in (("restored", 12), ("guessed", 4), ("still_false", 8), ("forgotten", 0)):
        assert npo[f"n_{fate}"].value == number
        assert npo[fate].value == pytest.approx(number / 24)
    assert (npo["n_kept"].value, npo["kept"].value) == (6, 0.75)
    assert (npo["n_gained"].value, npo["n_unknown"].value) == (1, 7)
    # 8 × (a, d, guess) + b, c in even, minus two wrong contexts of d twice, plus one gained
    right = 8 + 4 + 4 + (6 + 2 / 3) + 8 + 1
    assert npo["accuracy"].value == pytest.approx(right / 48)
    assert npo["p_false"].value == pytest.approx(math.exp(-3.0))
    assert npo["log_p_false"].value == -3.0


def test_no_interval_of_a_probability_goes_beyond_one():
    """Student's interval of two entities is wide: e^(12.7 · 100) would not even be a number."""
    made = MadeUp()
    for name, level in (("a", -0.1), ("b", -200.1)):
        made.add(f"{name}/f", name, {"clean": "ttt", "corrupted": "fff"}, false={"clean": level})
    found = summary(made.tables())
    log_p, p = (the_row(found, "clean", name) for name in ("log_p_false", "p_false"))
    assert log_p["value"] == pytest.approx(-100.1) and log_p["low"] < -1300
    assert (log_p["high"], p["low"], p["high"]) == (0, 0, 1)


def test_the_restored_share_and_its_differences_over_entities(told):
    restored = the_row(told, "npo", "p_restored")
    assert restored["value"] == pytest.approx(12 / 24)
    assert restored["note"] == HELD_OUT
    assert (restored["n_facts"], restored["n_entities"]) == (24, 8)
    assert restored["low"] < 0.5 < restored["high"]
    assert the_row(told, "clean", "p_restored")["value"] == 1.0
    assert the_row(told, "corrupted", "p_restored")["value"] == 0.0
    assert the_row(told, "npo", "p_kept")["value"] == pytest.approx((6 + 2 * 0.5) / 8)
    # Entity means: npo 2/3, 1/3, …; sham 1/3 in entity 0.
    gaps = [1 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3]
    peer = stats.ttest_1samp(gaps, 0).confidence_interval()
    sham = the_row(told, "npo", "restored_minus_sham")
    assert (sham["value"], sham["against"]) == (pytest.approx(np.mean(gaps)), "sham_npo")
    assert (sham["low"], sham["high"]) == pytest.approx((peer.low, peer.high))
    assert sham["p"] == 2 / 2**8
    assert sham["mde"] > 0
    for other in ("corrupted", "retain_only"):
        row = the_row(told, "npo", f"restored_minus_{other}")
        assert (row["value"], row["against"]) == (pytest.approx(0.5), other)


def test_damage_to_untouched_facts_is_a_paired_change(told):
    row = the_row(told, "npo", "accuracy_minus_clean", role="untouched")
    assert row["value"] == pytest.approx(-(2 / 3) / 2)
    assert (row["n_facts"], row["n_entities"]) == (8, 8)
    assert the_row(told, "npo", "accuracy_minus_sham", role="untouched")["value"] == row["value"]


def test_recovered_fraction_of_accuracy(told):
    row = the_row(told, "npo", "recovered_fraction")
    before, after = 40 / 48, 8 / 48
    now = (8 + 4 + 4 + (6 + 2 / 3) + 8 + 1) / 48
    assert row["value"] == pytest.approx((now - after) / (before - after))
    assert row["low"] < row["value"] < row["high"]
    untouched = the_row(told, "npo", "recovered_fraction", role="untouched")
    assert pd.isna(untouched["value"])
    assert "only 0 facts were lost" in untouched["reason"]


def test_the_equivalent_rollback_is_interpolated(told):
    row = the_row(told, "npo", "equivalent_rollback")
    # log p(false) -3 lies a third of the way from -4 (λ = ½) to -1 (λ = 1).
    assert row["value"] == pytest.approx(0.5 + 0.5 / 3)
    assert row["note"].startswith("interpolated between rollback_0.5 and corrupted")
    # rollback_0.5 says "too" on lost facts: nothing on the contexts that are scored.
    beyond = the_row(told, "npo", "restored_minus_rollback")
    assert beyond["value"] == pytest.approx(0.5)
    assert beyond["against"] == "rollback_0.67"


def test_training_ends_with_its_last_step(told):
    assert the_row(told, "npo", "forget_nll", role="all")["value"] == 3.0
    assert the_row(told, "npo", "retain_nll", role="all")["value"] == 2.0
    assert the_row(told, "npo", "retain_nll", role="all")["note"] == "at step 30"


def test_the_report_reads_the_same_numbers(planted, told):
    tables = {**planted, "summary": told}
    run = RunResults(name="x", config={}, manifest={}, tables=tables)
    assert all("table training" in problem for problem in run.problems)
    for state in STATES[1:]:
        counts = fate_counts(run, state)
        number = summary_number(run, state, "direct", "restored", percent=True)
        assert number.value == pytest.approx(counts.of("restored") / counts.lost)
        assert number.n == counts.lost == 24
    for (fact_id, state), one in answers_by_fact(run).items():
        if state == "corrupted" and fact_id.endswith("/a") and fact_id[0] == "e":
            assert one.outcome == "false"
    assert object_scores(run)["e0/a", "npo"].false == -3.0
    assert summary_number(run, "npo", "direct", "restored_minus_sham").value > 0
    assert summary_number(run, "npo", "direct", "p_false").value == pytest.approx(math.exp(-3))


# ---- the summary: selection bias, few entities, one context


def test_slips_of_the_corrupted_state_are_not_counted_as_restored():
    """Corruption and method do nothing: each answer slips with 30%. Nothing is restored."""
    random = np.random.default_rng(0)
    made = MadeUp()

    def slipping():
        return "".join("o" if slip < 0.3 else "t" for slip in random.random(3))

    for number in range(900):
        outcomes = {"clean": "ttt", "corrupted": slipping(), "npo": slipping()}
        made.add(f"f{number}", f"e{number % 30}", outcomes, margins={"clean": 3.0, "npo": 3.0})
    tables = made.tables()
    frame = summary(tables)
    npo = tables["fates"].query("state == 'npo'")["fate"].value_counts()
    naive = npo["restored"] / (npo["restored"] + npo["still_lost"])
    assert naive > 0.7  # what a count of fates would claim
    row = the_row(frame, "npo", "restored_minus_corrupted")
    assert abs(row["value"]) < 0.05
    assert row["low"] < 0 < row["high"]
    assert the_row(frame, "npo", "p_restored")["value"] == pytest.approx(0.7, abs=0.05)


def test_one_context_is_said_to_be_one():
    made = MadeUp()
    for number in range(7):
        made.add(f"f{number}", f"e{number}", {"clean": "t", "corrupted": "f", "npo": "t"})
    row = the_row(summary(made.tables()), "npo", "p_restored")
    assert (row["value"], row["note"]) == (1.0, SAME_CONTEXT)


def test_few_entities_are_said_to_be_few_and_nothing_lost_has_a_reason():
    made = MadeUp()
    for number in range(4):
        npo = "ttt" if number % 2 else "fff"
        made.add(f"f{number}", f"e{number}", {"clean": "ttt", "corrupted": "fff", "npo": npo})
    made.add("u", "x", dict.fromkeys(("clean", "corrupted", "npo"), "ttt"), role="untouched")
    frame = summary(made.tables())
    row = the_row(frame, "npo", "restored_minus_corrupted")
    assert row["value"] == 0.5
    assert pd.isna(row["mde"])
    assert TOO_FEW in row["note"]
    none = the_row(frame, "npo", "p_restored", role="untouched")
    assert pd.isna(none["value"])
    assert none["reason"] == "there are no such facts"
    numbers = frame[["value", "low", "high", "mde", "p"]].astype(float)
    assert not np.isinf(numbers.to_numpy()).any()


def test_a_run_without_margins_choices_or_training_has_reasons_in_their_place():
    made = MadeUp()
    outcomes = {"clean": "ttt", "corrupted": "fff", "rollback_0.5": "tff", "npo": "ttf"}
    for number in range(3):
        made.add(f"f{number}", f"e{number}", outcomes)
    facts, answers = pd.DataFrame(made.facts), pd.DataFrame(made.answers)
    choices, margins = table_frame("choices", []), table_frame("margins", [])
    training = table_frame("training", [])
    facts = facts_with_knowledge(facts, answers, margins.assign(n_substitutes_led=None))
    assert facts["known"].all()
    assert facts["known_specific"].isna().all()
    fates = pd.DataFrame(fate_rows(facts, answers, margins, choices))
    assert set(fates.query("state == 'npo'")["fate"]) == {"restored"}
    assert "margin not measured" in fates["evidence"][0]
    frame = pd.DataFrame(summary_rows(facts, answers, choices, margins, fates, training))
    assert the_row(frame, "npo", "accuracy")["value"] == pytest.approx(2 / 3)
    for metric in ("p_false", "p_restored", "equivalent_rollback", "recovered_fraction"):
        row = the_row(frame, "npo", metric)
        assert pd.isna(row["value"])
        assert row["reason"]


def test_tables_survive_a_file(planted, told, tmp_path):
    """Booleans, None and NaN come back from parquet as something that gives the same numbers."""
    back = {}
    for name, frame in planted.items():
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False)
        back[name] = pd.read_parquet(tmp_path / f"{name}.parquet")
    pd.testing.assert_frame_equal(summary(back), told)


def test_random_tables_agree_with_a_plain_loop():
    """p_restored and its difference to the sham, from the definitions, without pandas."""
    random = np.random.default_rng(3)
    made = MadeUp()
    for number in range(160):
        outcomes = {
            state: "".join(random.choice(list("tfo"), 3, p=p))
            for state, p in (
                ("clean", (0.8, 0.1, 0.1)), ("corrupted", (0.3, 0.5, 0.2)),
                ("npo", (0.5, 0.2, 0.3)), ("sham_npo", (0.4, 0.4, 0.2)),
            )
        }  # fmt: skip
        margins = {"clean": random.uniform(0, 4), "npo": random.uniform(0, 4), "sham_npo": 2.0}
        led = int(random.integers(0, 3))
        made.add(f"f{number}", f"e{number % 11}", outcomes, margins=margins, led=led)
    frame = summary(made.tables())
    said = {(r["fact_id"], r["state"], r["context_id"]): r["answer"] for r in made.answers}
    margin = {(r["fact_id"], r["state"]): r["margin"] for r in made.margins}
    led = {r["fact_id"]: r["n_substitutes_led"] for r in made.margins}
    scores = {"npo": [], "sham_npo": []}
    names = []
    for fact in made.facts:
        one = fact["fact_id"]
        clean = [said[one, "clean", context] for context in range(3)]
        specific = clean.count("t") >= 2 and led[one] <= 1 and margin[one, "clean"] >= 1
        if not specific or clean[0] != "t" or said[one, "corrupted", 0] == "t":
            continue
        names.append(fact["entity"])
        for state, found in scores.items():
            right = [said[one, state, context] == "t" for context in (1, 2)]
            guess = margin[one, state] < margin[one, "clean"] / 2
            found.append(0.0 if guess else sum(right) / 2)
    assert len(names) > 25
    for state, found in scores.items():
        row = the_row(frame, state, "p_restored")
        assert row["value"] == pytest.approx(np.mean(found))
        assert row["n_facts"] == len(names)
    means = [
        np.mean([a - b for a, b, n in zip(*scores.values(), names, strict=True) if n == name])
        for name in dict.fromkeys(names)
    ]
    row = the_row(frame, "npo", "restored_minus_sham")
    assert row["value"] == pytest.approx(np.mean(means))
    peer = stats.ttest_1samp(means, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((peer.low, peer.high))


# ---- rollback


def test_the_path_is_ordered_and_needs_both_ends():
    states = ("corrupted", "rollback_0.75", "npo", "rollback_0.25", "clean", "rollback_x")
    assert list(rollback_path(states).items()) == [
        ("clean", 0.0), ("rollback_0.25", 0.25), ("rollback_0.75", 0.75), ("corrupted", 1.0),
    ]  # fmt: skip
    assert rollback_path(("corrupted", "rollback_0.5")) == {}


@pytest.mark.parametrize(
    ("levels", "level", "weight"),
    [
        ((-8, -4, -2), -4, 0.5),
        ((-8, -4, -2), -3, 0.75),
        ((-8, -4, -2), -5, 0.375),
        ((-8, -4, -2), -8, 0.0),
        ((-8, -4, -2), -2, 1.0),
        ((-4, -8, -2), -5, 0.75),  # two points: the one nearest to corrupted
    ],
)
def test_equivalent_rollback_by_hand(levels, level, weight):
    path = {"clean": 0.0, "rollback_0.5": 0.5, "corrupted": 1.0}
    assert equivalent_rollback(path, levels, level).weight == pytest.approx(weight)


def test_a_level_off_the_path_has_no_equivalent():
    path = {"clean": 0.0, "corrupted": 1.0}
    low, high = equivalent_rollback(path, (-8, -1), -9), equivalent_rollback(path, (-8, -1), 0)
    assert math.isnan(low.weight)
    assert "lower than anywhere" in low.reason
    assert "higher than anywhere" in high.reason
    assert "not measured" in equivalent_rollback(path, (-8, -1), math.nan).reason


# ---- speed


def test_hundreds_of_facts_in_twelve_states_take_seconds():
    made = MadeUp()
    states = ("clean", "corrupted", *(f"m{number}" for number in range(10)))
    random = np.random.default_rng(5)
    for number in range(300):
        outcomes = {state: "".join(random.choice(list("tfo"), 3)) for state in states}
        made.add(f"f{number}", f"e{number % 50}", outcomes)
    started = time.process_time()
    summary(made.tables())
    assert time.process_time() - started < 8
