"""`docs/results/mechanisms.py`: what the page says is a plain recount of its shards.

Run: python -m pytest tests/pipeline/test_mechanism_results.py
"""

import importlib
import itertools
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from restor_interp.explain.mechanism import Readings, classify
from restor_interp.explain.plane import plane_points
from restor_interp.explain.predictors import lost_facts
from restor_interp.explain.retention import Band, Bands

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results"
NAMES = (
    *("mechanisms", "mechanism_counts", "mechanism_figures", "mechanism_staircase"),
    *("mechanism_tables", "mechanism_page"),
    *("shards", "telling", "restor", "page"),
)
STATES = ("corrupted", "rollback_0.5", "npo", "ga", "msa", "sham_npo", "sham_ga")
ENTITIES = [f"person {number}" for number in range(8)]
LAYERS = (1, 3, 5)
CLASSES = ("restored", "late_override", "not_routed", "lost_at_subject", "never_lost")
WITHDRAWN = "it would be restored, but its sham restores as much (0.97 of clean's margin)"


@pytest.fixture(scope="module")
def scripts():
    """The scripts by name, as they import each other."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path.remove(str(FOLDER))


def frames(seed: int) -> dict[str, pd.DataFrame]:
    """The tables of a made-up run: what each fact is, drawn; npo restores, its sham does not."""
    rng = random.Random(seed)
    facts, fates, retention, answers, choices, margins = [], [], [], [], [], []
    for entity, number in itertools.product(ENTITIES, range(4)):
        untouched = ENTITIES.index(entity) >= 6
        fact_id = f"{entity}/{number}"
        role = "untouched" if untouched else "sibling" if number == 3 else "direct"
        facts.append(
            {"fact_id": fact_id, "entity": entity, "relation": f"r{number}", "role": role,
             "known": True, "known_specific": number != 2 or entity != ENTITIES[0], "margin": 3.0,
             "true_objects": ["this"]}
        )  # fmt: skip
        for state in ("clean", *STATES):
            right = (
                state == "clean" or untouched or (state in ("npo", "msa") and rng.random() < 0.8)
            )
            outcome = "true" if right else rng.choice(["false", "other"])
            fixed = {"fact_id": fact_id, "state": state, "context_id": 0}
            answers += [fixed | {"context_id": c, "draw": 0, "outcome": outcome} for c in (0, 1)]
            for category in ("true", "false", "random"):
                logp = -rng.uniform(0, 8)
                choices.append(
                    fixed | {"category": category, "mean_logprob": logp, "sum_logprob": logp}
                )
            margins.append(fixed | {"margin": 3.0 if right else rng.uniform(0, 2)})
            for site, layer in itertools.product(("subject", "last"), LAYERS):
                here = {"fact_id": fact_id, "state": state, "site": site, "layer": layer}
                retention.append(here | {"donor_kind": "state", "share": rng.uniform(0, 1)})
                if state == "clean":
                    for kind, share in (("other_context", 0.95), ("wrong_entity", 0.1)):
                        near = share + rng.uniform(-0.04, 0.04)
                        retention.append(here | {"donor_kind": kind, "share": near})
            if state == "clean":
                continue
            said = rng.choice([*CLASSES, "undetermined"])
            if state == "npo":
                said = "restored" if rng.random() < 0.8 else said
            if state == "sham_npo":
                said = "lost_at_subject" if rng.random() < 0.8 else said
            refuter = rng.choice(["passed", "not measured"]) if said in CLASSES[:4] else None
            reason = None if said != "undetermined" else f"out {rng.random():.2f}: no such pattern"
            if state == "npo" and number == 1:
                said, refuter, reason = "undetermined", "failed", WITHDRAWN
            fate = "kept" if untouched else "restored" if right else "forgotten"
            fates.append(
                {"fact_id": fact_id, "state": state, "fate": fate, "mechanism": said,
                 "flags": rng.choice(["", "false_active", "false_active, general_damage"]),
                 "refuter": refuter, "mechanism_reason": reason, "rules": "abc", "evidence": "So.",
                 "r_subject": rng.random(), "r_mid": rng.random(), "r_out": rng.random()}
            )  # fmt: skip
    tables = {
        "facts": facts, "fates": fates, "retention": retention, "answers": answers,
        "choices": choices, "margins": margins,
        "sensitivity": [
            {"threshold": name, "change": change, "state": state, "n_facts": 30,
             "from": old, "to": "undetermined", "n_changed": n}
            for name in ("restores", "all") for change in (-0.25, 0.25) for state in STATES
            for old, n in (("restored", 2 if name == "all" else 0), ("not_routed", 1))
        ],
    }  # fmt: skip
    found = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    found["predictors"] = lost_facts(found, run=f"seed{seed}-rot0")
    return found


@pytest.fixture(scope="module")
def made_up(scripts, tmp_path_factory):
    """The folder with the shards of two made-up runs of `bios`, and their tables."""
    folder = tmp_path_factory.mktemp("made-up")
    runs = {}
    for seed in (0, 1):
        place = folder / "bios" / f"seed{seed}-rot0"
        place.mkdir(parents=True)
        runs[place.name] = frames(seed)
        for name, table in runs[place.name].items():
            table.to_parquet(place / f"{name}.parquet")
        told = {
            "seed": seed,
            "rotation": 0,
            "seconds": 60,
            "failures": {},
            "config": "",
            "version": "",
        }
        (place / "shard.json").write_text(json.dumps(told))
    return folder, runs


@pytest.fixture(scope="module")
def tier(scripts, made_up):
    return scripts["mechanism_counts"].Tier(made_up[0] / "bios")


@pytest.fixture(scope="module")
def written(scripts, made_up, tmp_path_factory):
    """The page of these shards, its figures not drawn but kept: file -> figure."""
    here, drawn = tmp_path_factory.mktemp("page"), {}
    (here / "mechanisms.head.md").write_text("# Head\n")
    page = scripts["mechanism_page"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "write_svg", lambda figure, path: drawn.update({path.name: figure}))
        page.write_page(here, made_up[0])
    return (here / "mechanisms.md").read_text(), drawn


def lost_rows(runs):
    """(run, entity, row of fates) of every lost direct fact that was known, row by row."""
    for run, tables in runs.items():
        facts = {row["fact_id"]: row for row in tables["facts"].to_dict("records")}
        for row in tables["fates"].to_dict("records"):
            fact = facts[row["fact_id"]]
            if fact["role"] == "direct" and fact["known_specific"]:
                yield run, fact["entity"], row


def cells_of(text: str, heading: str, first: str) -> list[str]:
    """The cells of the row of a section's table that begins with some text."""
    section = text.partition(f"### {heading}\n")[2].partition("\n#")[0]
    (line,) = [one for one in section.splitlines() if one.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# ---- a recount


def test_counts_on_the_page_are_a_recount_of_the_tables(made_up, written):
    text, _ = written
    for state in STATES:
        own = [row for _, _, row in lost_rows(made_up[1]) if row["state"] == state]
        said = Counter(row["mechanism"] for row in own)
        refuters = Counter(row["refuter"] for row in own)
        cells = cells_of(text, "How many facts, by state", state)
        assert cells[1] == f"{len(own)} ({len({row['fact_id'] for row in own})}, 6)"
        assert len(own) == 34
        for cell, name in zip(cells[2:8], (*CLASSES, "undetermined"), strict=True):
            number, _, share = cell.partition(": ")
            assert int(number) == said[name]
            if said[name]:
                assert int(share.split()[0]) == round(100 * said[name] / len(own))
        assert cells[8:] == [str(refuters[s]) for s in ("passed", "failed", "not measured")]


def test_the_gap_to_the_sham_is_a_mean_over_entities_before_refuters(scripts, made_up, tier):
    gaps: dict[str, dict[str, list[float]]] = {}
    rows = {(run, row["fact_id"], row["state"]): (entity, row) for run, entity, row in
            lost_rows(made_up[1])}  # fmt: skip

    def is_restored(row):
        return row["mechanism"] == "restored" or row["mechanism_reason"] == WITHDRAWN

    for (run, fact_id, state), (entity, row) in rows.items():
        if state == "npo":
            sham = rows[run, fact_id, "sham_npo"][1]
            gap = float(is_restored(row)) - float(is_restored(sham))
            gaps.setdefault(entity, {}).setdefault(fact_id, []).append(gap)
    means = [np.mean([np.mean(runs) for runs in own.values()]) for own in gaps.values()]
    found = scripts["mechanism_counts"].beyond(tier, "npo", "sham_npo", "restored")
    assert found.value == pytest.approx(np.mean(means))
    flipped = [abs(np.dot(signs, means)) for signs in itertools.product((1, -1), repeat=6)]
    assert found.p == pytest.approx(np.mean(np.array(flipped) >= abs(sum(means)) - 1e-9))
    assert (found.n_facts, found.n_entities) == (17, 6)


def test_correcting_for_many_comparisons_only_raises_p(scripts, tier):
    counts = scripts["mechanism_counts"]
    pairs = [
        (state, f"sham_{state}", name)
        for state in ("npo", "ga")
        for name in ("restored", "late_override", "lost_at_subject")
    ]
    p = counts.corrected(tier, pairs)
    assert set(p) == set(pairs)
    for pair in pairs:
        assert p[pair] >= counts.beyond(tier, *pair).p - 1e-9
    alone = counts.corrected(tier, pairs[:1])[pairs[0]]
    assert alone == pytest.approx(counts.beyond(tier, *pairs[0]).p)


def test_the_class_before_its_refuter_is_what_the_rules_name(scripts):
    band = Band(layer=1, intact_above=0.8, lost_below=0.3, n_intact=9, n_lost=9)
    bands = Bands(subject=band, mid=band, out=band)
    rows = []
    for shares, more in (
        ((0.9, 0.9, 0.9), {"sham_r_out": 0.95}),
        ((0.9, 0.9, 0.1), {"late_effect": 0.2, "late_control": 0.2}),
        ((0.9, 0.1, 0.1), {"attention_effect": 0.1}),
        ((0.1, 0.1, 0.1), {"subject_effect": 0.1}),
        ((0.9, 0.9, 0.9), {"sham_r_out": 0.1}),
        ((0.5, 0.9, 0.9), {}),
    ):
        r_subject, r_mid, r_out = shares
        said = classify(Readings(r_subject=r_subject, r_mid=r_mid, r_out=r_out, **more), bands)
        rows.append(
            {"mechanism": said.mechanism, "refuter": said.refuter, "mechanism_reason": said.reason,
             "want": said.suspected}
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    assert list(frame["refuter"][:4]) == ["failed"] * 4
    found = scripts["mechanism_counts"].suspected(frame)
    assert list(found) == [*CLASSES[:4], "restored", "undetermined"] == list(frame["want"])


def test_transitions_fates_flags_and_reasons_are_recounted(made_up, written):
    text, _ = written
    rows = list(lost_rows(made_up[1]))
    before = {
        (run, r["fact_id"]): r["mechanism"] for run, _, r in rows if r["state"] == "corrupted"
    }
    ways = Counter(
        (before[run, row["fact_id"]], row["mechanism"]) for run, _, row in rows
        if row["state"] == "npo"
    )  # fmt: skip
    for (old, new), number in ways.items():
        way = f"{old} → {new}".replace("_", " ")
        cells = cells_of(text, "From corrupted to unlearned", way)
        assert cells[1] == str(number)  # npo comes first among the states
    methods = [row for _, _, row in rows if row["state"] in ("npo", "ga")]
    fates = Counter((row["fate"], row["mechanism"]) for row in methods)
    cells = cells_of(
        text, "Where a lost fact is, by what the method made of the answer", "forgotten"
    )
    assert cells[1:] == [str(fates["forgotten", name]) for name in (*CLASSES, "undetermined")]
    flagged = sum("general_damage" in row["flags"] for _, _, row in rows if row["state"] == "ga")
    assert cells_of(text, "Flags", "ga")[-1] == str(flagged)
    withdrawn = sum(row["refuter"] == "failed" for row in methods)
    assert cells_of(text, "No verdict", WITHDRAWN)[2] == str(withdrawn)
    assert cells_of(text, "No verdict", "out …: no such pattern")[2] == str(
        sum(row["mechanism"] == "undetermined" for row in methods) - withdrawn
    )


def test_moved_thresholds_are_added_up_over_runs_and_states(written):
    text, _ = written
    cells = cells_of(text, "What hangs on a threshold", "all at once")
    # (2 + 1) of 30 facts, in seven states and two runs
    assert cells[1] == cells[2] == "42 (10.0%)"
    assert cells[3] == "restored → undetermined"
    assert cells_of(text, "What hangs on a threshold", "restores")[1] == "14 (3.3%)"


def test_too_few_facts_for_prediction_are_told(made_up, written):
    text, _ = written
    cells = cells_of(text, "Foretelling restoration", "npo")
    number = sum(len(t["predictors"].query("state == 'npo'")) for t in made_up[1].values())
    assert cells[1].startswith(f"{number} (")
    assert cells[2] == f"not run, n = {number} lost facts: 80 are needed"


# ---- figures


def test_bars_hold_all_facts_once(written):
    _, drawn = written
    figure = drawn["mechanisms-bios-counts.svg"]
    totals = np.sum([bar.x for bar in figure.data], axis=0)
    assert set(totals.tolist()) == {34}
    hollow = {bar.name: bar for bar in figure.data if bar.name.endswith("withdrawn")}
    assert set(hollow) == {"restored, withdrawn"}
    labels = hollow["restored, withdrawn"].y
    own = labels.index(next(label for label in labels if label.startswith("<b>npo</b>")))
    assert labels[own + 1].startswith("its sham (npo)")
    assert sum(hollow["restored, withdrawn"].x) == hollow["restored, withdrawn"].x[own] == 12
    looks = {(bar.marker.color, bar.marker.pattern.shape) for bar in figure.data}
    assert len(looks) == len(figure.data)


def test_medians_are_of_lost_facts_over_runs(scripts, made_up, tier):
    steps = scripts["mechanism_staircase"].medians(tier)["npo"]
    lost = {(run, row["fact_id"]) for run, _, row in lost_rows(made_up[1])}
    shares: dict[str, list[float]] = {}
    for run, tables in made_up[1].items():
        for row in tables["retention"].to_dict("records"):
            place = (row["state"], row["site"], row["layer"], row["donor_kind"])
            if place == ("npo", "last", 3, "state") and (run, row["fact_id"]) in lost:
                shares.setdefault(row["fact_id"], []).append(row["share"])
    want = np.median([np.mean(own) for own in shares.values()])
    where = scripts["mechanism_staircase"].way(tier).index(("last", 3))
    assert steps.values[where] == pytest.approx(want)
    assert steps.n_facts[where] == 17
    edges = scripts["mechanism_staircase"].bands(tier)
    assert all(0.88 < value < 0.95 for value in edges["intact"])
    assert all(0.1 < value < 0.17 for value in edges["lost"])


def test_places_of_one_run_are_those_of_the_library(scripts, made_up, tmp_path):
    counts = scripts["mechanism_counts"]
    (tmp_path / "one").symlink_to(made_up[0] / "bios" / "seed0-rot0")
    alone = counts.Tier(tmp_path)
    want = plane_points(alone.measured[0, 0])
    found = counts.places(alone)
    assert set(found) == set(want) == {"clean", *STATES}
    for state, point in want.items():
        assert found[state].fall.value == pytest.approx(point.fall.value)
        assert found[state].gain.value == pytest.approx(point.gain.value)
        assert found[state].gain.n_facts == point.gain.n_facts


def test_every_figure_has_words_and_they_have_its_numbers(written):
    text, drawn = written
    shown = {file: words for words, file in re.findall(r"!\[(.*?)\]\((\S+?)\)", text)}
    kinds = ("counts", "staircase", "plane")
    assert set(shown) == set(drawn) == {f"mechanisms-bios-{kind}.svg" for kind in kinds}
    assert "npo of 34: " in shown["mechanisms-bios-counts.svg"]
    npo = next(trace for trace in drawn["mechanisms-bios-plane.svg"].data if trace.name == "npo")
    told = f"npo fell {npo.x[0]:.2f}, rose {npo.y[0]:.2f}".replace("-", "−")
    assert told in shown["mechanisms-bios-plane.svg"]


# ---- words


def test_sentences_follow_the_numbers(scripts, tier, written):
    text, _ = written
    page = scripts["mechanism_page"]
    (line,) = [one for one in text.splitlines() if one.startswith("**Beyond their shams**")]
    gaps = page.comparisons(tier)
    sure = [pair for pair, (_, p) in gaps.items() if p <= 0.05]
    assert ("npo", "sham_npo", "restored") in sure
    assert ("npo", "sham_npo", "lost_at_subject") in sure
    more, _, fewer = line.partition("fewer *lost at subject*")
    assert "more *restored*: npo (+" in more
    assert "npo (−" in fewer
    assert not any(pair[0] == "ga" for pair in sure)
    found = text.partition("### Looked for and not found\n")[2]
    assert "not shown to differ from the sham: ga" in found
    assert "Flags that no unlearned state has: same route, new route." in found


def test_absent_tiers_and_numbers_are_told(written):
    text, _ = written
    demo = text.partition("## `demo`")[2]
    assert "**This tier is absent.**" in demo
    assert "mechanisms.py add runs/demo --name demo" in demo
    planted = text.partition("planted damage\n")[2].partition("\n## ")[0]
    assert "Not told yet" in planted


def test_the_score_on_planted_damage_has_its_place(scripts, tmp_path):
    (tmp_path / "mechanisms.head.md").write_text("# Head\n")
    (tmp_path / "mechanisms.planted.md").write_text("Balanced accuracy 0.5.\n")
    scripts["mechanism_page"].write_page(tmp_path, tmp_path / "tables")
    text = (tmp_path / "mechanisms.md").read_text()
    assert "Balanced accuracy 0.5." in text
    assert "Not told yet" not in text
    assert text.count("**This tier is absent.**") == 2


# ---- shards of runs


def test_a_shard_has_the_numbers_of_its_run(scripts, finished, tmp_path, monkeypatch):
    script = scripts["mechanisms"]
    monkeypatch.setattr(script, "SHARDS", tmp_path)
    script.add(finished.folder, "demo")
    place = tmp_path / "demo" / finished.folder.name
    assert json.loads((place / "shard.json").read_text())["seed"] == finished.config.seed
    for name in ("fates", "retention", "summary", "transitions", "sensitivity"):
        mine, whole = pd.read_parquet(place / f"{name}.parquet"), finished.table(name)
        assert len(mine) == len(whole) > 0
        whole = whole[list(mine.columns)]
        pd.testing.assert_frame_equal(
            mine, whole, check_dtype=False, atol=6e-4, rtol=1e-4
        )  # kept to three decimals
    evidence = pd.read_parquet(place / "fates.parquet")["evidence"]
    assert evidence.tolist() == finished.table("fates")["evidence"].tolist()


def test_runs_of_bios_are_those_of_restor_with_a_look_inside(scripts):
    config = scripts["mechanisms"].bios_config()
    other = scripts["restor"].bios_config(scripts["restor"].Job("bios", Path(), 1, None))
    for name in ("data", "questions", "corruption", "unlearning", "shams", "rollback", "seed"):
        assert getattr(config, name) == getattr(other, name)
    # what one of the two has trained the other need not train
    assert {name: other.methods[name] for name in config.methods} == config.methods
    assert {"npo", "task_vector", "msa", "retain_only", "truth_fine_tune"} <= set(config.methods)
    assert set(config.methods) - {"retain_only"} == set(config.shams)
    looked = set(config.explanation.traced_states)
    assert {"clean", "corrupted", "npo", "sham_npo", "msa", "retain_only"} <= looked
    assert not {"sham_msa", "rollback_0.2"} & looked
    facts = {name: own.facts for name, own in config.explanation.per_analysis.items()}
    assert facts["retention"] == scripts["mechanisms"].FACTS
    assert scripts["mechanisms"].bios_config(120).explanation.per_analysis["retention"].facts == 120


def test_an_empty_tier_says_that_nothing_was_looked_into(scripts, made_up, tmp_path):
    place = tmp_path / "tables" / "demo" / "run"
    place.mkdir(parents=True)
    source = made_up[0] / "bios" / "seed0-rot0"
    for file in source.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    fates = pd.read_parquet(place / "fates.parquet").assign(mechanism=None, refuter=None)
    fates.to_parquet(place / "fates.parquet")
    (tmp_path / "mechanisms.head.md").write_text("# Head\n")
    scripts["mechanism_page"].write_page(tmp_path, tmp_path / "tables")
    demo = (tmp_path / "mechanisms.md").read_text().partition("## `demo`")[2]
    assert "no lost fact was looked into" in demo
