"""The alias judge against answers labelled by hand, its rules one by one, and its laws.

`judged_answers.jsonl`: 441 answers. 295 are SmolLM2-135M's own to questions of atlas: as it is
(`clean`), with a falsehood stated in the prompt (`corrupted`), and with noise of 6 to 15%
(`unlearned`) or 25 to 80% (`garbled`) of their deviation on its weights. 146 are invented in the
style of what fails, harder than what a model usually says. Each label was written from reading
the answer, before the judge was run on it; the rule of labelling: would a reader take the answer
to name that object (misspelt or in passing) as its first choice? Disagreements stay in the file.

Run: python -m pytest tests/measure/test_judging.py
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from restor_interp.errors import DataError
from restor_interp.measure.judging import Judgement, judge

ANSWERS = [
    json.loads(line)
    for line in (Path(__file__).parent / "judged_answers.jsonl").read_text("utf-8").splitlines()
]
OUTCOMES = ("true", "false", "other")
MEASURED = {
    # state: (answers, raw agreement, Cohen's kappa)
    "all": (441, 0.975, 0.956),
    "model": (295, 0.986, 0.972),
    "invented": (146, 0.952, 0.927),
    "clean": (40, 0.975, 0.939),
    "corrupted": (58, 0.966, 0.947),
    "unlearned": (165, 0.994, 0.988),
    "garbled": (60, 1.0, 1.0),
    "hedged": (14, 1.0, 1.0),
    "denied": (18, 0.833, 0.735),
    "both named": (14, 1.0, 1.0),
    "multilingual": (15, 1.0, 1.0),
    "numbers": (15, 0.933, 0.898),
    "partial names": (26, 0.885, 0.754),
    "repetitive": (10, 1.0, 1.0),
    "empty": (6, 1.0, None),
}
"""As measured. Denials after the name ("Lyon is not the capital"), misspellings ("rupe"), bare
symbols in a sentence ("The symbol is He.") and "North Africa" for Africa are what it gets wrong."""


def judged(row):
    return judge(row["answer"], true=row["true"], false=row["false"], rivals=row["rivals"])


def agreement(rows):
    """(answers, raw agreement, Cohen's kappa; None where both sides always say the same)."""
    pairs = Counter((row["label"], judged(row).outcome) for row in rows)
    n = len(rows)
    raw = sum(pairs[name, name] for name in OUTCOMES) / n
    by_hand = {name: sum(pairs[name, other] for other in OUTCOMES) for name in OUTCOMES}
    by_judge = {name: sum(pairs[other, name] for other in OUTCOMES) for name in OUTCOMES}
    chance = sum(by_hand[name] * by_judge[name] for name in OUTCOMES) / n**2
    return n, round(raw, 3), None if chance == 1 else round((raw - chance) / (1 - chance), 3)


def test_there_are_enough_labelled_answers_of_every_kind():
    assert len(ANSWERS) >= 240
    assert {row["label"] for row in ANSWERS} == set(OUTCOMES)
    assert {row["state"] for row in ANSWERS} | {"all", "model", "invented"} == set(MEASURED)
    keys = {(row["state"], row["question"], row["answer"], *row["true"]) for row in ANSWERS}
    assert len(keys) > 0.95 * len(ANSWERS)


@pytest.mark.parametrize("state", MEASURED)
def test_agreement_with_labels_by_hand_is_as_recorded(state):
    rows = [row for row in ANSWERS if state in ("all", row["state"], row["source"])]
    assert agreement(rows) == MEASURED[state]


def test_agreement_is_at_least_95_per_cent():
    assert agreement(ANSWERS)[1] >= 0.95
    assert agreement([row for row in ANSWERS if row["source"] == "model"])[1] >= 0.95


def test_a_judge_that_also_accepts_parts_of_a_spelling_would_do_worse():
    """What published judges do: accept where answer and spelling contain each other either way."""

    def lenient(row):
        answer = row["answer"].casefold().strip()
        for outcome in ("true", "false"):
            names = [name.casefold() for name in row[outcome]]
            if answer and any(name in answer or answer in name for name in names):
                return outcome
        return "other"

    right = sum(lenient(row) == row["label"] for row in ANSWERS) / len(ANSWERS)
    assert right < agreement(ANSWERS)[1] - 0.05


# ---- laws


@pytest.mark.parametrize("number", range(0, len(ANSWERS), 3))
def test_laws_of_judging(number):
    row = ANSWERS[number]
    found = judged(row)
    swapped = judge(row["answer"], true=row["false"], false=row["true"], rivals=row["rivals"])
    assert swapped.outcome == {"true": "false", "false": "true"}.get(found.outcome, "other")
    assert swapped.matched == found.matched
    if found.outcome == "other":
        assert found.matched is None
        return
    assert found.matched in row[found.outcome]
    quoted = judge(f"“{row['answer']}”!", true=row["true"], false=row["false"])
    assert quoted.outcome == judge(row["answer"], true=row["true"], false=row["false"]).outcome
    # An answer that is an accepted spelling is of that outcome.
    for outcome in ("true", "false"):
        for name in row[outcome]:
            assert judge(name, true=row["true"], false=row["false"]).outcome == outcome


# ---- rules


@pytest.mark.parametrize(
    ("answer", "true", "false", "rivals", "outcome"),
    [
        # whole words of the answer, never a part of a spelling
        ("Republican Party", ["Democratic-Republican Party"], ["Whig Party"], [], "other"),
        ("President", ["Vice President"], ["mayor"], [], "other"),
        ("Nigeria", ["Niger"], ["Chad"], [], "other"),
        # case, diacritics, punctuation
        ("SAO PAULO!", ["São Paulo"], ["Rio"], [], "true"),
        ("Lodz", ["Łódź"], ["Gdańsk"], [], "true"),
        ("J.R.R.Tolkien", ["J. R. R. Tolkien"], ["Lewis"], [], "other"),
        ("J.R.R. Tolkien", ["J.R.R. Tolkien"], ["Lewis"], [], "true"),
        ("France's capital", ["France"], ["Spain"], [], "true"),
        ("France’s capital", ["France"], ["Spain"], [], "true"),
        ("Trinidad & Tobago", ["Trinidad and Tobago"], ["Cuba"], [], "true"),
        # both named
        ("Lyon or Paris", ["Paris"], ["Lyon"], [], "false"),
        ("Republic of the Congo", ["Congo"], ["Republic of the Congo"], [], "false"),
        ("Bengal tiger", ["Bengal"], ["Bengal tiger"], [], "false"),
        # denied
        ("not Paris", ["Paris"], ["Lyon"], [], "other"),
        ("never in Paris", ["Paris"], ["Lyon"], [], "other"),
        ("it isn’t in the Paris of today", ["Paris"], ["Lyon"], [], "other"),
        ("not one of the many in Paris", ["Paris"], ["Lyon"], [], "true"),
        ("not only Paris", ["Paris"], ["Lyon"], [], "true"),
        ("not Lyon, Paris", ["Paris"], ["Lyon"], [], "true"),
        ("not the Democratic-Republican Party", ["Republican Party"],
         ["Democratic-Republican Party"], [], "other"),
        # changed by another word
        ("Vice President", ["President"], ["mayor"], [], "other"),
        ("non-Catholic", ["Catholic"], ["Sikh"], [], "other"),
        ("New Mexico", ["Mexico"], ["Canada"], [], "other"),
        ("New: Mexico", ["Mexico"], ["Canada"], [], "true"),
        ("New York", ["New York"], ["York"], [], "true"),
        ("Guinea-Bissau", ["Guinea"], ["Chad"], ["Guinea-Bissau"], "other"),
        ("Guinea-Bissau or Guinea", ["Guinea"], ["Chad"], ["Guinea-Bissau"], "true"),
        ("Guinea-Bissau", ["Guinea"], ["Chad"], [], "true"),
        ("Guinea", ["Guinea"], ["Chad"], ["Guinea", "Chad"], "true"),
        # one or two letters
        ("He", ["He"], ["Fe"], [], "true"),
        ("he", ["He"], ["Fe"], [], "other"),
        ("Answer: He.", ["He"], ["Fe"], [], "true"),
        ("He was born", ["He"], ["Fe"], [], "other"),
        ("it is Fe I think", ["He"], ["Fe"], [], "false"),
        ("the U.S. Army", ["US"], ["UK"], [], "true"),
        ("for us", ["US"], ["UK"], [], "other"),
        ("Paris's", ["S"], ["K"], [], "other"),
        ("x=6, perhaps", ["6"], ["7"], [], "true"),
        ("60", ["6"], ["7"], [], "other"),
        ("6.5", ["6"], ["5"], [], "other"),
        ("", ["Paris"], ["Lyon"], [], "other"),
        ("!?", ["?"], ["Lyon"], [], "other"),
    ],
)  # fmt: skip
def test_rules(answer, true, false, rivals, outcome):
    assert judge(answer, true=true, false=false, rivals=rivals).outcome == outcome


def test_the_spelling_that_decided_is_told_as_it_was_given():
    found = judge("the city of SAO PAULO", true=["Rio"], false=["São Paulo", "Paulo"])
    assert found == Judgement(outcome="false", matched="São Paulo")
    assert judge("nothing", true=["Rio"], false=["Lyon"]) == Judgement(
        outcome="other", matched=None
    )


def test_a_spelling_of_both_objects_is_refused():
    with pytest.raises(DataError, match=r"'sao paulo' is a spelling of the true and of the false"):
        judge("São Paulo", true=["São Paulo"], false=["sao paulo"])
