"""Verdicts out of whole tables whose numbers were put there by hand; sentences; what moves them.

Run: python -m pytest tests/explain/test_verdicts.py
"""

import re
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from restor_interp.explain.evidence import evidence
from restor_interp.explain.mechanism import Readings, Verdict
from restor_interp.explain.readings import Places, lens_leads, look_inside, read
from restor_interp.explain.retention import Retained, retained
from restor_interp.explain.sensitivity import sensitivity_rows
from restor_interp.explain.tables import fate_rows
from restor_interp.explain.thresholds import DEFAULT, NAMES
from restor_interp.explain.transitions import transition_rows
from restor_interp.explain.verdicts import NOT_RETAINED, shares_out, verdicts

LAYERS = 6
SUBJECT, MID = 3, 3  # the layers that the effects below fix
EFFECTS = {"subject": [4, 6, 6, 5, 1, 1], "last": [0, 0, 1, 4, 6, 6]}

# fact -> (subject, mid, out) in `npo`; the corrupted state has lost all but `kept`
PLANTED = {
    "back": (0.95, 0.9, 0.9),
    "late": (0.86, 0.79, 0.05),
    "unrouted": (0.9, 0.02, 0.0),
    "gone": (0.03, 0.01, -0.1),
    "half": (0.5, 0.5, 0.5),
    "kept": (1.0, 1.0, 1.0),
}
ROLES = dict.fromkeys(PLANTED, "direct") | {f"u{n}": "untouched" for n in range(4)}
FACTS = pd.DataFrame(
    {
        "fact_id": list(ROLES),
        "entity": [f"e{n // 2}" for n in range(len(ROLES))],
        "relation": ["capital" if n % 2 else "birth" for n in range(len(ROLES))],
        "role": list(ROLES.values()),
        "true_objects": [["Rome", "Roma"]] * len(ROLES),
    }
)


def retention_rows(fact_id, state, kind, subject, mid):
    return [
        {
            "fact_id": fact_id, "state": state, "donor_kind": kind, "site": site, "layer": layer,
            "host_logp": -8.0, "clean_logp": -8.0 + effect, "clean_effect": effect,
            "logp": -8.0 + share * effect if effect >= 1 else None,
            "share": share if effect >= 1 else None,
        }
        for site, share in (("subject", subject), ("last", mid))
        for layer, effect in enumerate(EFFECTS[site])
    ]  # fmt: skip


@pytest.fixture(scope="module")
def retention():
    rows = []
    for fact_id in ROLES:
        was = (1.0, 1.0) if fact_id == "kept" else (0.1, 0.1)
        is_direct = fact_id in PLANTED
        rows += retention_rows(fact_id, "corrupted", "state", *(was if is_direct else (1, 1)))
        rows += retention_rows(fact_id, "npo", "state", *PLANTED.get(fact_id, (1, 1))[:2])
        for number in range(2):
            wiggle = 0.04 * number
            rows += retention_rows(fact_id, "clean", "other_context", 0.86 + wiggle, 0.8 + wiggle)
            rows += retention_rows(fact_id, "clean", "wrong_entity", 0.1 - wiggle, 0.1 - wiggle)
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def margins():
    rows = []
    for fact_id in ROLES:
        is_direct = fact_id in PLANTED
        out = {
            "clean": 1.0,
            "corrupted": 1.0 if not is_direct or fact_id == "kept" else -0.2,
            "npo": PLANTED[fact_id][2] if is_direct else 0.1,
            "sham_npo": 0.9 if fact_id == "kept" else 0.05,
        }
        rows += [
            {"fact_id": fact_id, "context_id": c, "state": state, "margin": 4.0 * share}
            for state, share in out.items()
            for c in range(2)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def graft(fact_id, layer, effect, control, *, by="layer", judged_on="fact", donor="clean"):
    name = f"layers.{layer}" if by == "layer" else f"layers.{layer}-{LAYERS - 1}"
    return {
        "fact_id": fact_id, "donor": donor, "host": "npo", "by": by, "judged_on": judged_on,
        "layer": layer, "modules": name, "effect": effect, "control_high": control,
    }  # fmt: skip


def patch(fact_id, kind, layer, position, effect, *, null="none", donor="clean"):
    return {
        "fact_id": fact_id, "donor": donor, "host": "npo", "kind": kind, "layer": layer,
        "position": position, "in_subject": position < 3, "effect": effect, "null": null,
    }  # fmt: skip


def lens(fact_id, state, leads):
    """`leads`: nats by which the false object leads, per layer of the lens."""
    return [
        {"fact_id": fact_id, "state": state, "lens": "logit", "position": "last", "layer": layer,
         "object": name, "logprob": -5.0 + (lead if name == "Oslo" else 0.0)}
        for layer, lead in enumerate(leads)
        for name in ("Rome", "Oslo")
    ]  # fmt: skip


def contribution(fact_id, state, per_layer):
    return [
        {"fact_id": fact_id, "state": state, "part": "mlp", "layer": layer, "head": None,
         "value": value}
        for layer, value in enumerate(per_layer)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tables():
    return {
        "grafts": pd.DataFrame(
            [
                graft("late", 1, 0.99, 0.0),  # not a late layer
                graft("late", 4, 0.2, 0.08),
                graft("late", 5, 0.71, 0.05),
                graft("late", 5, 0.99, 0.0, donor="corrupted"),
                graft("late", 4, 0.99, 0.0, judged_on="other_facts"),
            ]
        ),
        "patches": pd.DataFrame(
            [
                patch("unrouted", "attn", 2, 7, 0.3),
                patch("unrouted", "attn", 4, 7, 0.8),
                patch("unrouted", "attn", 4, 7, 0.1, null="wrong_entity"),
                patch("unrouted", "attn", 4, 6, 0.99),  # not the last token
                patch("unrouted", "resid", 5, 7, 1.0),
                patch("gone", "resid", 2, 2, 0.9),
                patch("gone", "resid", 2, 2, 0.2, null="wrong_entity"),
                patch("gone", "resid", 2, 7, 0.1),
                patch("gone", "resid", 1, 2, 0.99, donor="corrupted"),
            ]
        ),
        "lens": pd.DataFrame(
            [
                *lens("late", "clean", [0, 9, 0, 0, -1, -2, -3]),
                *lens("late", "npo", [0, 9, 0, 0, 2.5, 1, 4]),
                *lens("gone", "clean", [0, 0, 0, 0, 3, 0, 0]),
                *lens("gone", "npo", [0, 0, 0, 0, 3.2, 0, 5]),
            ]
        ),
        "contributions": pd.DataFrame(
            [
                *contribution("late", "clean", [0, 0, 0, 1, 2, 2]),
                *contribution("late", "npo", [-9, 0, 0, 1, -1.5, -2]),
                *contribution("back", "clean", [0, 0, 3, 4, 0, 0]),
                *contribution("back", "npo", [0, 0, 4, 3, 0, 0]),
            ]
        ),
    }


@pytest.fixture(scope="module")
def judged(retention, margins, tables):
    return verdicts(FACTS, margins, retained(retention, ROLES), tables)


def read_all(retention, margins, tables):
    held = retained(retention, ROLES)
    return read(shares_out(margins), held, FACTS, look_inside(FACTS, tables, held))


# ---- readings


def test_readings_are_the_numbers_that_were_put_there(retention, margins, tables):
    held = retained(retention, ROLES)
    assert (held.subject.layer, held.mid.layer, held.out.layer) == (SUBJECT, MID, LAYERS - 1)
    found = read_all(retention, margins, tables)
    late = found["late", "npo"]
    assert late.readings == Readings(
        r_subject=0.86, r_mid=0.79, r_out=pytest.approx(0.05), answer=0.79, corrupted_r_out=-0.2,
        sham_r_out=pytest.approx(0.05), late_effect=0.71, late_control=0.08,
        route_similarity=pytest.approx(late.readings.route_similarity),
        false_lead=2.5, untouched_r_out=pytest.approx(0.1),
    )  # fmt: skip
    # against 3.5 and 4 of the true object's two last layers: half is in the last one
    assert (late.places.writers, late.places.written) == ((5,), 4.0)
    assert (late.places.late, late.places.false, late.places.mid) == ("layers.5", 4, MID)
    gone = found["gone", "npo"].readings
    assert (gone.subject_effect, gone.subject_control, gone.subject_whole) == (0.9, 0.2, True)
    assert gone.false_lead == pytest.approx(0.2)  # the clean model leads by 3 there, too
    attention = found["unrouted", "npo"].readings
    assert (attention.attention_effect, attention.attention_control) == (0.8, 0.1)
    assert found["back", "npo"].readings.route_similarity == pytest.approx(24 / 25)
    assert found["back", "npo"].readings.late_effect is None


def test_all_late_layers_at_once_are_preferred_to_the_best_one(retention, margins, tables):
    more = pd.concat(
        [
            tables["grafts"],
            pd.DataFrame(
                [
                    graft("late", 3, 1.0, 0.0, by="late"),  # not all of it comes after mid
                    graft("late", 4, 0.6, 0.3, by="late"),
                    graft("late", 5, 0.9, 0.1, by="late"),
                    graft("late", 4, 1.0, 1.0, by="top_down"),
                ]
            ),
        ]
    )
    found = read_all(retention, margins, {"grafts": more})
    own = found["late", "npo"]
    assert (own.readings.late_effect, own.readings.late_control) == (0.6, 0.3)
    assert (own.places.late, own.places.late_wide) == ("layers.4-5", True)


def test_one_token_of_a_longer_subject_is_not_the_whole(retention, margins, tables):
    more = pd.concat(
        [tables["patches"], pd.DataFrame([patch("gone", "resid", 2, 1, 0.95)])], ignore_index=True
    )
    found = read_all(retention, margins, {"patches": more})
    own = found["gone", "npo"].readings
    assert (own.subject_effect, own.subject_whole) == (0.95, False)
    whole = [
        patch("gone", "subject", 2, 0, 0.7),
        patch("gone", "subject", 2, 0, 0.3, null="wrong_entity"),
    ]
    more = pd.concat([pd.DataFrame(whole), more], ignore_index=True)
    own = read_all(retention, margins, {"patches": more})["gone", "npo"].readings
    assert (own.subject_effect, own.subject_control, own.subject_whole) == (0.7, 0.3, True)


def test_late_is_after_the_own_mid_of_each_fact(tables):
    def inside(mids, site="last"):
        held = Retained(subject=None, mid=None, n_untouched=0, mid_layers=mids, mid_site=site)
        return look_inside(FACTS, tables, held)["late", "npo"]

    early = inside({"late": 0})
    assert early["late_effect"] == 0.99  # of layer 1
    assert early["false"] == 4 and early["writers"] == (5,)
    assert "late_effect" not in inside({"late": LAYERS - 1})
    assert "false_lead" not in inside({})
    # Read before the MLP of a layer, this MLP is late, and the lens before the layer is too early.
    assert inside({"late": LAYERS - 1}, "attended")["late_effect"] == 0.71
    assert "false_lead" not in inside({"late": LAYERS - 1}, "attended")
    assert inside({"late": 4}, "attended")["false"] == 5


def test_where_no_margin_was_measured_the_share_of_the_answer_stands_in(retention, margins):
    some = margins.loc[margins["fact_id"].ne("back")]
    judged = verdicts(FACTS, some, retained(retention, ROLES), {})
    own = judged["back", "npo"]
    assert own.read.readings.r_out == 0.9 and own.read.places.out_is_share
    assert own.read.readings.corrupted_r_out == 0.1 and own.read.readings.sham_r_out is None
    assert own.verdict.mechanism == "restored"
    assert "the model says it (0.90 of what clean says)" in own.evidence
    assert judged["late", "npo"].read.readings.r_out == pytest.approx(0.05)


def test_a_clean_margin_below_a_nat_gives_no_share():
    rows = [
        {"fact_id": name, "context_id": 0, "state": state, "margin": margin}
        for name, nats in (("a", (0.99, 3)), ("b", (2.0, 1.0)))
        for state, margin in zip(("clean", "npo"), nats, strict=True)
    ]
    assert shares_out(pd.DataFrame(rows)) == {("b", "clean"): 1.0, ("b", "npo"): 0.5}


def test_the_tuned_lens_is_preferred_and_aliases_are_true(tables):
    plain = tables["lens"]
    tuned = plain.assign(lens="tuned", logprob=2 * plain["logprob"])
    both = pd.concat([plain, tuned.replace({"object": {"Rome": "Roma"}})])
    assert lens_leads(plain, FACTS).loc[("late", "npo"), 4] == 2.5
    assert lens_leads(both, FACTS).loc[("late", "npo"), 4] == 5.0


# ---- verdicts


def test_planted_mechanisms_are_found(judged):
    found = {name: judged[name, "npo"].verdict for name in PLANTED}
    assert {name: one.mechanism for name, one in found.items()} == {
        "back": "restored", "late": "late_override", "unrouted": "not_routed",
        "gone": "lost_at_subject", "half": "undetermined", "kept": "never_lost",
    }  # fmt: skip
    assert {one.refuter for name, one in found.items() if name not in ("half", "kept")} == {
        "passed"
    }
    assert found["back"].flags == ("same_route",)
    assert set(found["late"].flags) == {"false_active", "general_damage"}
    assert judged["late", "corrupted"].verdict.mechanism == "lost_at_subject"
    assert judged["kept", "corrupted"].verdict.mechanism == "never_lost"
    assert not any(state == "clean" for _, state in judged)


def test_fates_have_verdicts_with_their_version(retention, margins, judged):
    answers = pd.DataFrame(
        [
            {"fact_id": fact, "context_id": 0, "state": state, "outcome": "true", "reason": None}
            for fact in ROLES
            for state in ("clean", "corrupted", "npo", "ga")
        ]
    )
    choices = pd.DataFrame(
        columns=["fact_id", "context_id", "state", "category", "sum_logprob"], dtype=float
    )
    held = retained(retention, ROLES)
    frame = pd.DataFrame(fate_rows(FACTS, answers, margins, choices, held, judged))
    fates = frame.set_index(["fact_id", "state"])
    late = fates.loc[("late", "npo")]
    assert late["mechanism"] == "late_override" and late["refuter"] == "passed"
    assert late["flags"] == "false_active, general_damage"
    assert late["rules"] == DEFAULT.version
    assert late["suspected"] == "late_override"
    assert fates.loc[("half", "npo"), "suspected"] == "undetermined"
    assert late["evidence"].startswith("The subject still carries the answer (0.86 of clean at")
    assert late["evidence"].endswith("margin 0.20 of 4.00 nats.")
    assert fates.loc[("half", "npo"), "mechanism_reason"].startswith("subject between")
    other = fates.loc[("late", "ga")]
    assert pd.isna(other["mechanism"]) and other["mechanism_reason"] == NOT_RETAINED
    assert frame["mechanism"].isna().equals(frame["mechanism_reason"].eq(NOT_RETAINED))
    assert frame["suspected"].isna().equals(frame["mechanism"].isna())

    rows = transition_rows(FACTS, frame)
    counts = {(row["from"], row["to"]): row["n_facts"] for row in rows if row["role"] == "direct"}
    assert {row["state"] for row in rows} == {"npo"}
    assert counts == {
        ("lost_at_subject", "restored"): 1, ("lost_at_subject", "late_override"): 1,
        ("lost_at_subject", "not_routed"): 1, ("lost_at_subject", "lost_at_subject"): 1,
        ("lost_at_subject", "undetermined"): 1, ("never_lost", "never_lost"): 1,
    }  # fmt: skip
    assert sum(row["n_facts"] for row in rows) == len(ROLES)


def test_transitions_count_facts_and_entities():
    facts = pd.DataFrame({"fact_id": list("abcd"), "entity": list("xxyz"), "role": ["direct"] * 4})
    fates = pd.DataFrame(
        [
            {"fact_id": fact, "state": state, "mechanism": mechanism}
            for fact, *both in (
                ("a", "lost_at_subject", "restored"), ("b", "lost_at_subject", "restored"),
                ("c", "lost_at_subject", "restored"), ("d", None, "restored"),
            )
            for state, mechanism in zip(("corrupted", "npo"), both, strict=True)
        ]
    )  # fmt: skip
    rows = transition_rows(facts, fates)
    assert [(r["from"], r["to"], r["n_facts"], r["n_entities"]) for r in rows] == [
        ("lost_at_subject", "restored", 3, 2), ("unmeasured", "restored", 1, 1),
    ]  # fmt: skip
    assert transition_rows(facts, fates.assign(mechanism=None)) == []


# ---- sensitivity


def test_moved_thresholds_change_what_hangs_on_them(retention, margins, tables):
    rows = pd.DataFrame(sensitivity_rows(FACTS, margins, retention, tables))
    assert set(rows["threshold"]) == {*NAMES, "all"}
    assert set(rows["change"]) == {-0.25, 0.25}
    npo = rows.loc[rows["state"].eq("npo")]
    assert set(npo["n_facts"]) == {len(ROLES)}
    # 0.71 beyond 0.08, 0.8 and 0.9 beyond their controls: no quarter of anything changes these
    still = npo.loc[npo["threshold"].isin(["beyond_control", "restores", "false_lead"])]
    assert (still["n_changed"] == 0).all() and still["from"].isna().all()
    totals = npo.groupby(["threshold", "change"])["n_changed"].sum()
    # a subject must keep all of the greatest effect: read at layer 2 now, where it is the same
    assert totals["subject_share", 0.25] == 0
    assert totals["mid_share", 0.25] == 0  # 5/8 of 6 nats: layer 3 has 4


def test_a_class_on_the_edge_is_counted_with_where_it_went(retention, margins, tables):
    close = pd.concat([tables["patches"]]).assign(
        effect=lambda t: t["effect"].where(t["effect"].ne(0.9), 0.55)
    )
    rows = pd.DataFrame(sensitivity_rows(FACTS, margins, retention, {**tables, "patches": close}))
    own = rows.query("threshold == 'restores' and state == 'npo'").set_index("change")
    assert own.loc[-0.25, "n_changed"] == 0
    assert own.loc[0.25, ["from", "to", "n_changed"]].tolist() == [
        "lost_at_subject", "undetermined", 1,
    ]  # fmt: skip
    # the corrupted state's own subject was never put in: nothing there hangs on it
    assert (rows.query("threshold == 'restores' and state == 'corrupted'")["n_changed"] == 0).all()


def test_without_retention_there_is_nothing_to_move(retention, margins):
    assert sensitivity_rows(FACTS, margins, retention.iloc[:0], {}) == []
    assert verdicts(FACTS, margins, retained(retention.iloc[:0], ROLES), {}) == {}


# ---- sentences


@pytest.mark.parametrize(
    ("fact", "sentence"),
    [
        (
            "back",
            "The subject still carries the answer (0.95 of clean at layer 3), it reaches the last "
            "token (0.90 at layer 3) and the model says it (margin 0.90 of clean's): restored, "
            "which its sham does not do (0.05); by the clean model's route (cosine 0.96).",
        ),
        (
            "late",
            "The subject still carries the answer (0.86 of clean at layer 3) and it reaches the "
            "last token (0.79 at layer 3), but layer 5 writes 4.00 logits for the false object "
            "that the clean model does not (margin 0.05 of clean's): late override; putting clean "
            "weights of layer 5 back restores it (0.71 of the gap), random ones of equal norm do "
            "not (0.08); inside, the false object leads by 2.50 nats at layer 4 of the lens; "
            "untouched facts of its relation fell as much (margin 0.10 of clean's).",
        ),
        (
            "unrouted",
            "The subject still carries the answer (0.90 of clean at layer 3), but it does not "
            "reach the last token (0.02 at layer 3) and it is lost in the answer (margin 0.00 of "
            "clean's): not routed; clean attention output at the last token, layer 4, restores it "
            "(0.80 of the gap), another entity's does less (0.10); untouched facts of its relation "
            "fell as much (margin 0.10 of clean's).",
        ),
        (
            "gone",
            "The subject no longer carries the answer (0.03 of clean at layer 3), it does not "
            "reach the last token (0.01 at layer 3) and it is lost in the answer (margin −0.10 of "
            "clean's): lost at the subject; clean states of the subject, layer 2, restore it "
            "(0.90 of the gap), another entity's do less (0.20); untouched facts of its relation "
            "fell as much (margin 0.10 of clean's).",
        ),
        (
            "half",
            "The subject carries part of the answer (0.50 of clean at layer 3), some of it reaches "
            "the last token (0.50 at layer 3), the model says part of it (margin 0.50 of "
            "clean's): undetermined, because subject between, mid between, out between: "
            "no mechanism has this pattern; untouched facts of its relation fell as much (margin "
            "0.10 of clean's).",
        ),
        (
            "kept",
            "The subject still carries the answer (1.00 of clean at layer 3), it reaches the last "
            "token (1.00 at layer 3) and the model says it (margin 1.00 of clean's): never lost, "
            "the corrupted state has it too (1.00).",
        ),
    ],
)
def test_a_sentence_for_each_class(judged, fact, sentence):
    assert judged[fact, "npo"].evidence == sentence


def test_only_what_was_measured_is_said(retention, margins):
    bare = verdicts(FACTS, margins, retained(retention, ROLES), {})
    told = bare["late", "npo"].evidence
    assert told.startswith(
        "The subject still carries the answer (0.86 of clean at layer 3) and it reaches the last "
        "token (0.79 at layer 3), but it is lost on the way from there to the answer (margin 0.05 "
        "of clean's): late override; clean late layers were not put in beside random ones"
    )
    for word in ("restores", "writes", "random ones of equal norm", "lens"):
        assert word not in told
    nothing = evidence(
        Verdict(mechanism="undetermined", reason="r_mid was not measured"),
        Readings(r_subject=0.4, r_mid=None, r_out=None),
        Places(),
    )
    assert nothing == (
        "The subject has a share of the answer (0.40 of clean): undetermined, because r_mid was "
        "not measured."
    )


def test_an_answer_no_better_than_chance_is_told_beside_its_margin(retention, margins):
    held = retained(retention, ROLES)
    own = {**held.by_fact["unrouted", "npo"], "answer": 0.02}
    key = margins["fact_id"].eq("unrouted") & margins["state"].eq("npo")
    more = margins.assign(margin=margins["margin"].where(~key, 2.4))
    only = replace(held, by_fact={("unrouted", "npo"): own})
    told = verdicts(FACTS, more, only, {})["unrouted", "npo"]
    assert told.verdict.said[2] == "lost"
    assert "(margin 0.60 of clean's, 0.02 of what clean says beyond chance)" in told.evidence


def test_a_failed_refuter_is_told(retention, margins, tables):
    grafts = tables["grafts"].assign(control_high=0.69)
    judged = verdicts(FACTS, margins, retained(retention, ROLES), {"grafts": grafts})
    own = judged["late", "npo"]
    assert own.verdict.mechanism == "undetermined"
    assert (
        "undetermined, because it would be late_override, but clean late layers close 0.71 of the "
        "gap and random modules of equal norm 0.69"
    ) in own.evidence
    columns = own.columns()
    assert (columns["mechanism"], columns["suspected"]) == ("undetermined", "late_override")


def test_sentences_hold_no_text_of_the_data(judged):
    text = " ".join(one.evidence for one in judged.values())
    assert not re.search(r"Rome|Roma|Oslo|capital|birth|\be\d\b", text)
    assert Counter(one.evidence.count(". ") for one in judged.values()) == {0: len(judged)}


def test_no_retention_no_layers():
    held = Retained(subject=None, mid=None, n_untouched=0, reason="nothing")
    assert read({}, held, FACTS, {}) == {}
