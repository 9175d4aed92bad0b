"""Tables beside the verdict: judges, texts, attacks, predictions, and those of a user's own.

Run: python -m pytest tests/reporting/test_further_tables.py
"""

import pandas as pd
import pytest

from restor_interp.reporting.attacks import attack_table
from restor_interp.reporting.curves import training_curves
from restor_interp.reporting.fact_timeline import fact_timeline, turning_lines
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.judges import agreement_table, judgement_table
from restor_interp.reporting.own_tables import names_of_own_tables, own_table, own_tables
from restor_interp.reporting.parts import (
    Details,
    Heatmaps,
    Lines,
    Missing,
    Paragraph,
    Table,
    parts_in,
)
from restor_interp.reporting.predictions import prediction_table
from restor_interp.reporting.results import RunResults, records
from restor_interp.reporting.text import to_text
from restor_interp.reporting.text_losses import text_table


def with_rows(run, **tables):
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return RunResults(
        name=run.name, config=run.config, manifest=run.manifest, tables={**run.tables, **frames}
    )


def of(rows):
    """Rows as a page gets them: what is missing is None."""
    return records(pd.DataFrame(rows))


# ---- judges and texts


def agreement(state, kappa, **more):
    row = {"state": state, "judge_a": "alias", "judge_b": "mine", "kappa": kappa, "low": 0.5,
           "high": 0.9, "n": 40, "failed": 2, "reason": None}  # fmt: skip
    return {**row, **more}


def test_agreement_has_a_row_per_state_and_its_failures(run_results):
    rows = [agreement("npo", 0.75), agreement("clean", None, n=0, reason="one outcome alone")]
    (table,) = agreement_table(with_rows(run_results, agreement=rows))
    clean, npo = table.rows
    assert clean.cells[1] == Missing("one outcome alone")
    assert (npo.cells[1].value, npo.cells[1].n, npo.cells[2].value) == (0.75, 40, 2)
    assert "alias and mine 0.75 to 0.75" in table.caption and "wrong together" in table.caption
    assert agreement_table(run_results) == ()


def test_judgements_of_a_fact_are_counted_by_judge(run_results):
    rows = [
        {"state": "npo", "judge": judge, "outcome": outcome, "reason": why}
        for judge, outcome, why in (
            ("mine", "true", None), ("mine", "true", None), ("mine", "false", None),
            ("other", None, "no reply"),
        )
    ]  # fmt: skip
    (table,) = judgement_table(of(rows), {})
    mark, missing = table.rows[0].cells[1:]
    assert (mark.name, mark.detail) == ("true", "2/3") and missing == Missing("no reply (1)")
    assert "n = 3 judgements" in table.caption


def test_texts_stand_beside_the_clean_state(run_results):
    rows = [
        {"set": "heldout", "text_id": text_id, "state": state, "n_tokens": 100, "nll": nll,
         "perplexity": 2.718281828**nll}
        for state, nll in (("clean", 2.0), ("npo", 2.5))
        for text_id in ("", "one")
    ]  # fmt: skip
    (table,) = text_table(with_rows(run_results, texts=rows))
    clean, npo = (row.cells[1] for row in table.rows)
    assert clean.detail == "" and npo.detail == "+0.500"
    assert npo.value == pytest.approx(12.1825, abs=1e-3)
    assert "heldout at most 12.2 (npo)" in table.caption
    assert "do not say that the facts in them are known" in table.caption


# ---- attacks, training of one fact, prediction


def test_attacks_are_a_row_per_step(run_results):
    rows = [
        {"state": state, "attack": "relearn", "step": step, "outcome": outcome, "reason": None}
        for state, step, outcome in (
            ("npo", 0, "true"), ("npo", 0, "true"), ("npo", 0, "other"), ("npo", 5, "false"),
            ("sham_npo", 0, "true"), ("sham_npo", 5, None),
        )
    ]  # fmt: skip
    (table,) = attack_table(of(rows), {})
    assert [row.cells[1].text for row in table.rows] == ["0", "5"]
    assert table.rows[0].cells[2].detail == "2/3" and isinstance(table.rows[1].cells[3], Missing)
    assert table.caption == "Right in so many of n = 2 moments: npo 1; sham_npo 1."


def test_a_fact_in_training_has_a_map_and_turning_layers():
    rows = [
        {"state": "npo", "step": step, "layer": layer, "fact_id": "f", "context_id": 0,
         "category": category, "object": category,
         "logprob": -2.0 + (step / 5 if category == "true" and layer else 0)}
        for step in (0, 10) for layer in (0, 1) for category in ("true", "false")
    ]  # fmt: skip
    (heat,) = fact_timeline(of(rows), {})
    assert isinstance(heat, Heatmaps) and heat.panels[0].values[1] == (0.0, 2.0)
    turned = [
        {"state": "npo", "layer": layer, "of": what, "change": 2.0, "half_step": step,
         "reason": None if step else "it changes by 0.1 nats"}
        for what in ("logodds", "true") for layer, step in ((0, None), (1, 5.0), (2, 4.0))
    ]  # fmt: skip
    plot, left = turning_lines(of(turned), {})
    assert isinstance(plot, Lines) and plot.panels[0].series[0].y == (5.0, 4.0)
    assert "npo first in layer 2, at step 4 (2 of 3 layers turn)" in plot.caption
    assert left.text == "Layers that do not turn: it changes by 0.1 nats (1)."


def predicted(model, value, metric="auc", **more):
    row = {"state": "npo", "model": model, "metric": metric, "value": value, "low": 0.5,
           "high": 0.9, "n_facts": 100, "n_entities": 20, "n_events": 40,
           "reason": None}  # fmt: skip
    return {**row, **more}


def test_prediction_is_a_table_or_a_sentence_that_says_why_not(run_results):
    rows = [
        predicted("baseline", 0.7),
        predicted("full", 0.8),
        predicted("full", 0.1, "auc_minus_baseline"),
    ]
    (table,) = prediction_table(with_rows(run_results, prediction=rows))
    assert [row.cells[2].value for row in table.rows] == [0.7, 0.8]
    assert table.rows[1].cells[3].value == 0.1 and "npo full 0.80 [0.50, 0.90]" in table.caption
    none = [predicted(m, None, reason="not run, n = 18 lost facts: 80 are needed") for m in "ab"]
    (said,) = prediction_table(with_rows(run_results, prediction=none))
    assert isinstance(said, Paragraph)
    assert "not run, n = 18 lost facts: 80 are needed (2 models)" in said.text


# ---- a user's own


def certainty(run, layers):
    return [
        {"fact_id": fact["fact_id"], "state": state, "layer": layer,
         "certainty": value + 0.1 * layer, "seed": 0, "reason": None}
        for fact in run.facts[:3] for state, value in (("clean", 0.8), ("npo", 0.4))
        for layer in layers
    ]  # fmt: skip


def test_a_users_table_is_drawn_by_layer_and_state(run_results, make_documents):
    run = with_rows(run_results, certainty=certainty(run_results, range(8)))
    assert names_of_own_tables(run) == ("certainty",)
    (fold,) = own_tables(run)
    assert isinstance(fold, Details) and fold.summary == "Table certainty"
    _, plot, table = fold.parts
    assert isinstance(plot, Lines) and isinstance(table, Table)
    lines = {line.name: line.y for line in plot.panels[0].series}
    assert lines["npo"] == pytest.approx([0.4 + 0.1 * layer for layer in range(8)])
    assert [row.cells[2].value for row in table.rows] == pytest.approx([1.15, 0.75])
    entity = run.entity(run.facts[0]["entity"])
    folds = [part for part in parts_in(inside_by_fact(entity)) if isinstance(part, Details)]
    assert "Table certainty" in {part.summary for part in folds}
    index, pages = make_documents(run, (entity.entity,))
    assert "Table certainty" in to_text(index) and "Table certainty" in to_text(
        pages[entity.entity]
    )


def test_short_tables_are_written_out_and_words_stay_words():
    rows = [{"task": "hella", "state": "npo", "metric": "acc", "value": 0.25, "note": "<b>x</b>"},
            {"task": "arc", "state": None, "metric": "acc", "value": None, "note": None,
             "reason": "no net"}]  # fmt: skip
    table, why = own_table("lm_eval", of(rows))
    assert isinstance(table, Table) and [column.title for column in table.columns] == [
        "task", "state", "metric", "value", "note", "reason"
    ]  # fmt: skip
    assert table.rows[0].cells[3].value == 0.25 and table.rows[0].cells[4].text == "<b>x</b>"
    assert why.text == "Rows with a reason: no net (1)."


def test_a_long_table_without_states_has_its_means():
    rows = [{"size": n, "right": n % 2 == 0} for n in range(100)]
    (table,) = own_table("mine", of(rows))
    assert [cell.value for cell in table.rows[0].cells[1:]] == pytest.approx([100, 49.5, 0.5])


# ---- training


def test_training_is_drawn_with_the_weights_of_what_is_forgotten(run_results):
    training = run_results.table("training")
    assert [plot.y_title for plot in training_curves(run_results)] == ["nats per token"] * 2
    falling = training["state"].eq("npo").map({True: 1.0, False: None}) - 0.1 * training["step"]
    weighed = training.assign(
        weight_mean=falling, weight_low=falling - 0.2, weight_high=falling + 0.1
    )
    *_, plot = training_curves(with_rows(run_results, training=weighed))
    ((line,),) = (panel.series for panel in plot.panels)
    own = weighed.loc[weighed["state"].eq("npo")].sort_values("step")
    assert line.name == line.look == "npo"
    assert line.x == tuple(own["step"]) and line.y == tuple(own["weight_mean"])
    assert line.low == tuple(own["weight_low"]) and line.high == tuple(own["weight_high"])
    assert "middle 80%" in plot.caption and "npo" in plot.caption
