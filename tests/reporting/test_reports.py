"""The two gallery reports say what the tables say: counts, captions and empty states."""

import re

import pandas as pd
import pytest

from restor_interp.explain.tables import summary_rows
from restor_interp.reporting.inside import inside_by_fact, lens_lines, trace_maps
from restor_interp.reporting.objects import odds_map
from restor_interp.reporting.parts import (
    Details,
    Empty,
    Heatmaps,
    Lines,
    Plot,
    Section,
    Table,
    parts_in,
)
from restor_interp.reporting.probes import probe_parts
from restor_interp.reporting.results import ANALYSES, RunResults
from restor_interp.reporting.rows import subject_columns
from restor_interp.reporting.run_sections import not_found, provenance
from restor_interp.reporting.states import run_verdict, state_table, verdict_on_run
from restor_interp.reporting.text import summary_text, to_text
from restor_interp.reporting.verdicts import facts_table, verdict


def with_tables(run, **changes):
    tables = {**run.tables, **changes}
    tables = {name: frame for name, frame in tables.items() if frame is not None}
    return RunResults(name=run.name, config=run.config, manifest=run.manifest, tables=tables)


def facts(*rows):
    columns = ["fact_id", "role", "known", "known_specific"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(
        entity="Paris", relation="P17", question="Where is Paris?", split="score",
        true_objects=[["France"]] * len(frame), false_object="Spain",
    )  # fmt: skip


def fates(**by_state):
    rows = [
        {"fact_id": f"f{number}", "state": state, "fate": fate}
        for state, given in by_state.items()
        for number, fate in enumerate(given)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def small():
    return RunResults(
        name="small",
        config={"preset": "demo"},
        manifest={},
        tables={
            "facts": facts(*((f"f{n}", "direct", True, n < 5) for n in range(6))),
            "fates": fates(
                npo=["restored", "guessed", "still_false", "kept", "unknown", "restored"],
                sham_npo=["restored", "still_false", "still_false", "kept", "unknown", "kept"],
                grad_diff=["forgotten", "forgotten", "forgotten", "collateral", "gained", "kept"],
            ),
        },
    )


def test_the_verdict_counts_known_facts_that_cannot_be_guessed(small):
    text = to_text(verdict(small.entity("Paris"))[0])
    assert text.replace("\n", " ") == (
        "Corruption took 3 of 4 facts that the clean model knew. Restored: npo 1 of 3, 1 guessed "
        "(33%, 95% interval 6 to 79%); grad_diff 0 of 3. For comparison: sham_npo 1 of 3."
    )
    assert "Left out of these counts: 1 fact of this entity" in to_text(
        verdict(small.entity("Paris"))[2]
    )
    assert to_text(run_verdict(small)[0]).replace("\n", " ") == (
        "Corruption took 3 facts with a planted falsehood that the clean model knew. npo "
        "restored 1 (33%, 95% interval 6 to 79%); its sham, which never saw the "
        "false documents, restored 1. npo minus its sham: 0 points (without a test)."
    )
    assert "npo is not shown to restore more than its sham: 0 points" in to_text(
        not_found(small)[0]
    )


def test_the_verdict_on_an_entity_that_nobody_corrupted(small):
    untouched = with_tables(small, facts=small.tables["facts"].assign(role="untouched"))
    assert to_text(verdict(untouched.entity("Paris"))[0]).replace("\n", " ") == (
        "No document mentions Paris. Of 4 facts that the clean model knew, corruption took 3 of "
        "them all the same. Kept of the rest: npo 1 of 1; grad_diff 0 of 1."
    )


def test_a_verdict_when_nothing_was_known_or_lost(small):
    unknown = with_tables(small, fates=fates(npo=["unknown"] * 5))
    assert "knew none of the 6 facts" in to_text(verdict(unknown.entity("Paris"))[0])
    kept = with_tables(small, fates=fates(npo=["kept"] * 5))
    assert "took 0 of 5 facts" in to_text(verdict(kept.entity("Paris"))[0])


def test_the_facts_table_shows_the_answer_in_every_state(run_results):
    results = run_results.entity("Marie Curie")
    table = facts_table(results)[0]
    assert isinstance(table, Table)
    titles = [column.title for column in table.columns]
    assert titles == ["Question", "True object", "False object", *run_results.states]
    assert len(table.rows) == 8 and {row.key for row in table.rows} == {
        fact["fact_id"] for fact in results.facts
    }
    text = to_text(table)
    assert "8 facts, each asked with 3 few-shot contexts" in text
    assert "(true 3/3, ✓ restored)" in text and "(false 3/3, ✗ still false)" in text


def test_an_answer_that_could_not_be_measured_is_a_cell_with_its_reason(run_results):
    answers = run_results.table("answers")
    first = answers["fact_id"].iloc[0]
    gone = (answers["fact_id"] == first) & (answers["state"] == "npo")
    broken = answers.assign(
        outcome=answers["outcome"].mask(gone), reason=answers["reason"].mask(gone, "no subject")
    )
    entity = with_tables(run_results, answers=broken).entity("Aaron Burr")
    assert "— (no subject)" in to_text(facts_table(entity)[0])
    assert "no subject" in to_text(not_found(with_tables(run_results, answers=broken))[-1])


def test_odds_and_probabilities_follow_the_planted_scores(run_results):
    heat, lines = odds_map(run_results.entity("Kaká"))
    assert isinstance(heat, Heatmaps) and isinstance(lines, Lines)
    assert heat.columns == run_results.states and heat.diverging
    leads = {
        state: sum(row[place] > 0 for row in heat.panels[0].values)
        for place, state in enumerate(heat.columns)
    }
    assert heat.caption == "The true object leads for so many of 8 facts: " + ", ".join(
        f"{leads[state]} in {state}" for state in heat.columns
    ) + "."  # fmt: skip
    assert leads["clean"] > leads["corrupted"]
    true, false = lines.panels[0].series
    choices = run_results.entity("Kaká").table("choices")
    for series, category in ((true, "true"), (false, "false")):
        mine = choices[(choices["category"] == category) & (choices["state"] == "npo")]
        expected = mine["sum_logprob"].mean()
        place = heat.columns.index("npo")
        assert series.y[place] == pytest.approx(2.718281828459045**expected)
        assert series.low[place] <= series.y[place] <= series.high[place]


def test_tracing_keeps_tokens_apart_and_says_where_the_peak_is(run_results):
    results = run_results.entity("Aaron Burr")
    inside = inside_by_fact(results)
    *folds, absent = inside
    assert isinstance(absent, Empty) and "Not used in this run: what mlps" in absent.what
    assert len(folds) == 8 and all(isinstance(part, Details) for part in folds)
    first = folds[0]
    assert isinstance(first, Details) and first.open
    maps, difference, lens = (part for part in first.parts if isinstance(part, Heatmaps | Lines))
    assert isinstance(maps, Heatmaps) and isinstance(difference, Heatmaps)
    assert [panel.name for panel in maps.panels] == ["clean", "corrupted", "npo"]
    assert maps.columns[-3:] == (" the", " the", " the")
    assert [maps.columns[place] for place in maps.subject] == [" Aaron", " Burr"]
    assert "clean: layer 0, token “·Burr”" in maps.caption
    assert maps.flaws().not_finite == 2 and difference.flaws().not_finite == 2
    assert [panel.name for panel in difference.panels] == ["npo − clean"]
    assert "costs too little there: corrupted." in difference.caption
    # in shares of what each model loses with its subject: 0.59 and 0.31 of probability
    shares = [(maps.panels[at].values[5][3] - 0.03) / size for at, size in ((0, 0.59), (2, 0.31))]
    assert difference.panels[0].values[5][3] == pytest.approx(shares[1] - shares[0])
    assert isinstance(lens, Lines) and len(lens.panels) == 9


def test_the_lens_says_who_leads_and_since_when():
    def row(layer, name, logprob):
        return {"state": "npo", "lens": "logit", "position": "last", "layer": layer,
                "object": name, "logprob": logprob}  # fmt: skip

    fact = {"false_object": "Lyon", "true_objects": ["Paris"]}
    rows = [row(0, "Paris", -1), row(0, "Lyon", -2), row(1, "true", -3), row(1, "false", -2),
            row(2, "Paris", -3), row(2, "Lyon", -1), row(2, "Rome", 0)]  # fmt: skip
    (plot,) = lens_lines(rows, fact)
    assert isinstance(plot, Lines)
    assert plot.caption == "Which object leads: npo: false from layer 1."
    assert plot.panels[0].series[0].y == (-1, -3, -3)


def test_traces_of_several_kinds_are_several_plots():
    def row(kind, score):
        return {"state": "clean", "kind": kind, "corruption": "noise", "metric": "logodds",
                "object": "true", "window": 1, "layer": 0, "position": 3, "token": " x",
                "score": score, "low": 0.0, "high": 1.0}  # fmt: skip

    rows = [row("resid", 0.5), row("mlp", -0.5), row("mlp", None) | {"layer": 1}]
    plots = trace_maps(rows, {"entity": "x"})
    titles = [plot.title for plot in plots if isinstance(plot, Heatmaps)]
    assert titles == ["Causal tracing: residual stream, true object",
                      "Causal tracing: MLP output, true object"]  # fmt: skip


@pytest.mark.parametrize(
    ("tokens", "columns"),
    [
        ([" of", " Aaron", " Burr", "?"], (1, 2)),
        (["Aar", "on", " Burr", " is", " Aar", "on", " Burr"], (4, 5, 6)),
        ([" of", " him"], ()),
    ],
)
def test_the_subject_is_found_among_the_tokens(tokens, columns):
    assert subject_columns(tokens, "Aaron Burr") == columns


def test_probes_stand_beside_their_controls_and_chance(run_results):
    limits, fold = probe_parts(run_results)
    assert "that the model uses it is not shown" in to_text(limits) and isinstance(fold, Details)
    table, plot = fold.parts
    assert isinstance(table, Table) and isinstance(plot, Lines)
    top = max(value for line in plot.panels[0].series[:1] for value in line.y)
    assert table.rows[0].cells[3].value == pytest.approx(top)
    assert "clean " + f"{top:.2f}" in fold.told and "controls at most 0.40" in fold.told
    names = [series.name for series in plot.panels[0].series]
    assert names == ["clean", "corrupted", "npo", "control: subject embedding only",
                     "control: random weights", "chance"]  # fmt: skip
    assert "control subject embedding only at most 0.40" in plot.caption
    assert "chance 0.25" in plot.caption and "n = 96" in plot.caption


def row_of(state, role, metric, value, low=None, high=None, **more):
    row = {"state": state, "role": role, "metric": metric, "value": value, "low": low}
    row |= {"high": high, "n_facts": 41, "n_entities": 8, "mde": None, "p": None}
    return {**row, **more}


SUMMARY = (
    row_of("npo", "direct", "restored", 28 / 41, 0.3, 0.7),
    row_of("sham_npo", "direct", "restored", 14 / 41, 0.1, 0.6, n_facts=40),  # of other facts
    row_of("npo", "untouched", "accuracy", 0.71, 0.6, 0.8, n_facts=64),
    row_of("npo", "direct", "p_false", 0.0201, 0.0102, 0.0303, n_facts=48),
    row_of("npo", "direct", "p_restored", 0.63, 0.44, 0.81, note="picked first, scored later"),
    row_of("npo", "direct", "restored_minus_sham", 0.212, -0.05, 0.47, mde=0.36, p=0.125),
    row_of("grad_diff", "direct", "restored_minus_sham", None, reason="one entity alone"),
)


def test_the_state_table_takes_intervals_and_tests_from_the_summary(run_results):
    table = state_table(with_tables(run_results, summary=pd.DataFrame(SUMMARY)))
    assert [row.cells[0].text for row in table.rows] == list(run_results.states)
    lines = {line.split()[0]: line for line in to_text(table).splitlines() if line.strip()}
    npo = lines["npo"]
    assert "28/41 [30–70%]" in npo and "71% [60–80%] n=64" in npo
    assert "0.020 [0.010–0.030] n=48" in npo
    assert "63% [44–81%] n=41" in npo and "+21 [−5 to +47] (p = 0.12)" in npo
    assert npo.split("(p = 0.12)")[1].split()[0] == "36"
    assert "14/41 [22–49%]" in lines["sham_npo"]  # Wilson's: the summary counted other facts
    assert "41/41 [91–100%]" in lines["corrupted"]
    assert table.caption.count("facts picked first, scored later") == 1


def test_a_difference_whose_interval_holds_zero_is_not_shown(run_results):
    run = with_tables(run_results, summary=pd.DataFrame(SUMMARY))
    told = (
        "+21 points (95% interval −5 to +47, p = 0.12, less than 36 would not be found in such a "
        "run)"
    )
    assert verdict_on_run(run).endswith(f"npo is not shown to restore more: {told}.")
    assert f"npo is not shown to restore more than its sham: {told}." in to_text(
        Section("s", not_found(run)), width=500
    )
    better = [{**row, "low": 0.02} if row["metric"].endswith("sham") else row for row in SUMMARY]
    run = with_tables(run_results, summary=pd.DataFrame(better))
    assert verdict_on_run(run).endswith(
        "npo restores more than its sham: +21 points (95% interval +2 to +47, p = 0.12)."
    )
    assert not any("npo is not" in to_text(part) for part in not_found(run))


def test_a_run_in_which_nothing_was_lost_or_came_back_says_so(small):
    kept = with_tables(small, fates=fates(npo=["kept"] * 5))
    assert "took 0 facts" in verdict_on_run(kept) and "nothing to restore" in verdict_on_run(kept)
    lost = with_tables(small, fates=fates(npo=["forgotten"] * 5))
    assert verdict_on_run(lost).endswith("No method restored any of them.")
    shammed = with_tables(
        small, fates=fates(npo=["forgotten"] * 5, sham_npo=["restored", *["forgotten"] * 4])
    )
    assert verdict_on_run(shammed).endswith(
        "No method restored any of them, while without the false documents sham_npo restored 1."
    )
    alone = with_tables(small, fates=fates(npo=["restored"] * 5))
    assert "the method's own effect is not known" in verdict_on_run(alone)


def test_the_real_summary_fits_the_table(run_results):
    facts, states = run_results.table("facts"), run_results.states
    margins = pd.DataFrame(
        [{"fact_id": fact, "state": state, "context_id": 0, "margin": 2.0, "own_logprob": -1.0,
          "substitute_logprob": -3.0, "n_substitutes": 5, "n_substitutes_led": 0, "reason": None}
         for fact in facts["fact_id"] for state in states]
    )  # fmt: skip
    others = (run_results.table(name) for name in ("answers", "choices"))
    rows = summary_rows(
        facts, *others, margins, run_results.table("fates"), run_results.table("training")
    )
    run = with_tables(run_results, summary=pd.DataFrame(rows))
    by = {(r["state"], r["metric"]): r for r in rows if r["role"] == "direct"}
    gap = by["npo", "restored_minus_sham"]
    assert gap["p"] < 0.05 and gap["n_entities"] == 8
    text = summary_text(run)
    assert f"[{100 * gap['low']:.0f}, {100 * gap['high']:.0f}]" in text
    share = by["npo", "restored"]
    assert f"[{100 * share['low']:.0f}–{100 * share['high']:.0f}]" in text
    assert f"mde {100 * gap['mde']:.0f}" in text
    assert len(state_table(run).columns) == len(state_table(run_results).columns) + 2


def test_every_plot_of_both_reports_has_a_caption_with_numbers(run_results, make_documents):
    index, pages = make_documents(run_results, run_results.entities[:1])
    plots = [
        part
        for document in (index, *pages.values())
        for part in parts_in(document.parts)
        if isinstance(part, Plot)
    ]
    assert len(plots) > 20
    for plot in plots:
        assert any(sign.isdigit() for sign in plot.caption) or "every layer" in plot.caption, plot


@pytest.mark.parametrize(
    "table", ["answers", "choices", "fates", "lens", "traces", "probes", "training", *ANALYSES]
)
def test_a_run_without_a_table_says_which_command_adds_it(run_results, reports, table):
    run = with_tables(run_results, **{table: None})
    text = to_text(reports["entity"].run(run.entity("France")))
    text += to_text(reports["overview"].run(run))
    if table in ANALYSES:
        added = re.findall(r"explanation\.analyses=\[([\w,]*)\]", text)
        assert any(ANALYSES[table] in names.split(",") for names in added)
    elif table == "training":
        assert "Nothing was trained" in text
    else:
        assert f"The table {table} is empty or missing. Add it with: {run.command(table)}" in text


def test_a_run_with_facts_alone_has_pages(run_results, reports):
    bare = RunResults(
        name="bare", config={}, manifest={}, tables={"facts": run_results.table("facts")}
    )
    assert "Fates have not been determined" in to_text(reports["entity"].run(bare.entity("Oslo")))
    assert "No method has been judged" in to_text(reports["overview"].run(bare))


def test_provenance_repeats_the_settings_and_the_manifest(run_results):
    text = "\n".join(to_text(part) for part in provenance(run_results))
    assert "beta: 0.1" in text and "versions · torch: 2.13.0" in text


def test_nothing_is_called_planted_where_the_claims_are_unknown(run_results, reports):
    data = {**run_results.config["data"], "documents": "docs.jsonl"}
    given = RunResults(name="restor", config={"data": data}, manifest={}, tables=run_results.tables)
    assert not given.knows_claims and run_results.knows_claims
    entity = given.entity("Aaron Burr")
    parts = reports["entity"].run(entity).parts
    assert "planted" in to_text(reports["entity"].run(run_results.entity("Aaron Burr")))
    text = "\n".join(to_text(part, width=500) for part in parts)
    assert text.count("planted") == text.count("not known whether planted") == 8
    assert "(true: Rome, false: Madrid)" in text
    with_claims = RunResults(
        name="restor", config={"data": {**data, "claims": "claims.jsonl"}}, manifest={},
        tables=run_results.tables,
    )  # fmt: skip
    assert with_claims.knows_claims
    models = RunResults(
        name="x", config={"checkpoints": {"corrupted": "m"}}, manifest={}, tables=run_results.tables
    )
    assert not models.knows_claims
