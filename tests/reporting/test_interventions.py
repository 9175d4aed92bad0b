"""The figures of every intervention say what its rows say, in captions too.

Run: python -m pytest tests/reporting/test_interventions.py
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import restor_interp as ri
from restor_interp.explain.retention import Band, Retained
from restor_interp.reporting.attributions import attribution_maps
from restor_interp.reporting.contributions import contribution_bars
from restor_interp.reporting.grafts import graft_parts
from restor_interp.reporting.inside import inside_by_fact
from restor_interp.reporting.interventions import instruments
from restor_interp.reporting.knockouts import knockout_lines
from restor_interp.reporting.parts import (
    Amounts,
    Details,
    Empty,
    Heatmaps,
    Lines,
    Paragraph,
    Table,
    parts_in,
)
from restor_interp.reporting.patches import MOST, patch_maps
from restor_interp.reporting.results import ANALYSES, RunResults, records
from restor_interp.reporting.retention import retention_lines
from restor_interp.reporting.rows import Axes, by_direction
from restor_interp.reporting.text import to_text
from restor_interp.reporting.verdicts import true_object
from restor_interp.testing import tiny_model

FACT = {
    "fact_id": "f", "entity": "Aaron Burr", "question": "Where?", "true_objects": ["Rome"],
    "false_object": "Oslo", "role": "direct",
}  # fmt: skip


def patch(layer, position, effect, **more):
    row = {
        "fact_id": "f", "donor": "clean", "host": "npo", "kind": "resid", "window": 1,
        "metric": "logodds", "object": "Rome", "foil": "Oslo", "layer": layer, "position": position,
        "head": None, "token": " the", "in_subject": position == 3, "effect": effect,
        "null": "none", "reason": None,
    }  # fmt: skip
    return row | more


def grid_of(effects, **more):
    """Rows of a map `[layer][position]`, positions from 3 on."""
    return [
        patch(layer, position, effect, **more)
        for layer, line in enumerate(effects)
        for position, effect in enumerate(line, 3)
    ]


# ---- patches


def test_patches_keep_repeated_tokens_apart_and_the_null_stands_beside():
    own, null = [[0.1, 0.0, 0.2], [0.7, 0.0, 0.6]], [[0.0, 0.05, 0.0], [0.01, 0.0, -0.1]]
    (plot,) = patch_maps(grid_of(own) + grid_of(null, null="wrong_entity"), FACT)
    assert isinstance(plot, Heatmaps)
    assert plot.columns == (" the", " the", " the") and plot.subject == (0,)
    assert plot.rows == ("0", "1") and plot.diverging
    assert [panel.name for panel in plot.panels] == ["clean → npo", "clean → npo, wrong entity"]
    assert [list(map(list, panel.values)) for panel in plot.panels] == [own, null]
    assert plot.caption == (
        "Which single value moves the answer most, donor → host: clean → npo layer 1, token "
        "“·the”, 0.70, at the last token half from layer 1 (with a wrong entity's values at most "
        "0.05). n = 6 cells (2 layers × 3 tokens) per map, one prompt. Dotted: the subject."
    )


def test_the_last_tokens_stream_is_no_finding():
    """At the last layer it has all of the answer whatever the model, so it is told apart."""
    (plot,) = patch_maps(grid_of([[0.3, 0.0, 0.1], [0.2, 0.0, 1.0]]), FACT)
    assert "layer 0, token “·the”, 0.30, at the last token half from layer 1" in plot.caption
    assert "no wrong-entity control" in plot.caption
    (never,) = patch_maps(grid_of([[0.3, 0.0, 0.9], [0.2, 0.0, 0.4]]), FACT)
    assert "at the last token never half" in never.caption
    (mlp,) = patch_maps(grid_of([[0.3, 0.0, 0.1], [0.2, 0.0, 0.9]], kind="mlp", window=5), FACT)
    assert "layer 1, token “·the”, 0.90 (" in mlp.caption and "Windows of 5 layers" in mlp.caption


def test_both_directions_share_a_figure_and_what_clean_gives_comes_first():
    back = grid_of([[0.5]], donor="npo", host="clean")
    corrupted = grid_of([[0.4]], host="corrupted")
    (plot,) = patch_maps([*back, *grid_of([[0.6]]), *corrupted], FACT)
    names = ["clean → corrupted", "clean → npo", "npo → clean"]
    assert [panel.name for panel in plot.panels] == names
    assert list(by_direction([*back, *corrupted])) == ["clean → corrupted", "npo → clean"]


def test_states_that_hardly_differ_have_a_reason_and_no_map():
    blank = {"host": "kl_restor", "reason": "the states differ by less than 1 nat"}
    plot, remark = patch_maps(grid_of([[0.6, 0.5]]) + grid_of([[None, None]], **blank), FACT)
    assert [panel.name for panel in plot.panels] == ["clean → npo"]
    assert isinstance(remark, Paragraph) and remark.quiet
    assert remark.text == (
        "residual stream, true object, clean → kl_restor: the states differ by less than 1 nat."
    )
    (alone,) = patch_maps(grid_of([[None, None]], **blank), FACT)
    assert isinstance(alone, Paragraph)


def test_heads_are_a_map_of_layers_and_heads_per_token():
    rows = [
        patch(layer, position, 0.1 * layer + 0.01 * head, kind="head", head=float(head))
        for position in (3, 5)
        for layer in range(2)
        for head in range(3)
    ]
    subject, last = patch_maps(rows, FACT)
    assert subject.title.endswith("attention heads, true object, at the subject")
    assert last.title.endswith("at the last token")
    assert (last.rows, last.columns, last.column_title) == (("0", "1"), ("0", "1", "2"), "head")
    assert last.panels[0].values[1] == pytest.approx((0.1, 0.11, 0.12)) and not last.subject
    assert "layer 1, head 2, 0.12" in last.caption and "n = 6 cells (2 layers × 3 heads)" in (
        last.caption
    )


def test_effects_far_beyond_the_donor_are_marked_and_do_not_bleach_the_scale():
    (plot,) = patch_maps(grid_of([[0.4, 40.0, 0.2]]), FACT)
    assert plot.limits() == (-MOST, MOST) and plot.flaws().above == 1
    (small,) = patch_maps(grid_of([[0.4, -0.1, 0.2]]), FACT)
    assert small.limits() == (-0.4, 0.4)


# ---- retention


def held(state, layer, share, kind="state", site="subject", fact="f"):
    reason = "too little" if share is None else None
    return {"fact_id": fact, "state": state, "donor_kind": kind, "site": site, "layer": layer,
            "share": share, "reason": reason}  # fmt: skip


NOT_READ = Retained(subject=None, mid=None, n_untouched=0, reason="nothing untouched")


def test_retention_falls_where_the_damage_is_between_bands_over_all_facts():
    own = [held("npo", layer, share) for layer, share in enumerate((1.0, 0.9, 0.4, None, 0.5))]
    own += [held("npo", 4, 0.6, site="last"), held("clean", 0, 1.0)]
    controls = [
        held("clean", layer, middle + 0.01 * number, kind, fact=f"f{number}")
        for kind, middle in (("other_context", 0.9), ("wrong_entity", 0.0))
        for layer in range(5)
        for number in range(5)
    ]
    band = Band(layer=2, intact_above=0.9, lost_below=0.04, n_intact=5, n_lost=6)
    by_fact = {("f", "npo"): {"r_subject": 0.4, "subject": "between", "r_mid": None, "mid": None}}
    read = Retained(subject=band, mid=None, n_untouched=3, by_fact=by_fact)
    (plot,) = retention_lines(own, FACT, controls, read)
    assert isinstance(plot, Lines)
    assert [panel.name for panel in plot.panels] == ["at the subject", "at the last token"]
    line, intact, lost = plot.panels[0].series  # clean is 1 by definition, and not drawn
    assert line.name == "npo" and line.y[:3] == (1.0, 0.9, 0.4) and math.isnan(line.y[3])
    assert (intact.look, lost.look) == ("control", "control 2")
    assert intact.low[2] == pytest.approx(np.percentile([0.9, 0.91, 0.92, 0.93, 0.94], 5))
    assert lost.high[2] == pytest.approx(np.percentile([0, 0.01, 0.02, 0.03, 0.04], 95))
    assert (
        "At the subject: npo from 1.00 (layer 0) down to 0.40 (layer 2); read at layer 2: npo 0.40 "
        "(between); intact above 0.90 (n = 5), lost below 0.04 (n = 6). At the last token: npo "
        "from 0.60 (layer 4) down to 0.60 (layer 4). Grey: controls, 5th to 95th percentile over "
        "n = 5 facts."
    ) in plot.caption


def test_retention_is_read_as_the_run_reads_it(run_results):
    """The layer, the bands and the verdict of a caption are those of `explain.retention`."""
    read = run_results.retained
    assert read.subject is not None and read.n_untouched == 4
    parts = parts_in(inside_by_fact(run_results.entity("Aaron Burr")))
    plot = next(p for p in parts if isinstance(p, Lines) and p.title.startswith("Retention"))
    own = read.by_fact[run_results.facts[0]["fact_id"], "npo"]
    assert own["subject"] == "between"
    assert f"read at layer {read.subject.layer}: corrupted" in plot.caption
    assert f"npo {own['r_subject']:.2f} (between)" in plot.caption


def test_retention_without_controls_or_numbers_says_so():
    rows = [held("npo", 0, 0.5), held("ga", 0, None)]
    plot, remark = retention_lines(rows, FACT, [], NOT_READ)
    assert "No control was measured." in plot.caption and "read at" not in plot.caption
    assert remark.text == "ga at the subject: too little."


# ---- grafts


def graft(by, effect, **more):
    row = {
        "fact_id": "f", "donor": "clean", "host": "npo", "by": by, "metric": "logodds",
        "object": "Rome", "foil": "Oslo", "modules": "layers.0", "order": 1, "layer": 0,
        "component": None, "effect": effect, "control_effect": 0.02, "control_low": -0.01,
        "control_high": 0.05, "n_controls": 8, "judged_on": "fact", "reason": None,
    }  # fmt: skip
    return row | more


def test_grafts_of_layers_are_lines_with_the_band_of_random_modules():
    rows = [graft("layer", effect, layer=at) for at, effect in enumerate((0.1, 0.4, 0.2))]
    rows += [graft("layer", 0.0, layer=None, component="embed", modules="embed")]
    (plot,) = graft_parts(rows, FACT)
    own, control = plot.panels[0].series
    assert own.y == (0.1, 0.4, 0.2) and control.look == "control"
    assert (control.low, control.high) == ((-0.01,) * 3, (0.05,) * 3)
    assert plot.caption == (
        "How far the grafted weights bring the donor's answer (0 the host's, 1 the donor's): "
        "clean → npo at most 0.40, at layer 1 (random 0.02, −0.01 to 0.05). n = 8 draws of random "
        "modules, equal norm. Outside the layers: clean → npo embed 0.00."
    )


@pytest.mark.parametrize(
    ("by", "effects", "told"),
    [
        ("bottom_up", (0.1, 0.6, 1.0), "half at layer 1 (random"),
        ("top_down", (1.0, 0.6, 0.1), "half at layer 1 (random"),
        ("bottom_up", (0.0, 0.1, 0.3), "never half, at most 0.30 (random"),
    ],
)
def test_cumulative_depth_tells_where_half_is_reached(by, effects, told):
    """All layers together bring everything, so the greatest effect is no finding."""
    (plot,) = graft_parts([graft(by, y, layer=at) for at, y in enumerate(effects)], FACT)
    assert f"clean → npo {told}" in plot.caption


def test_grafts_of_components_and_modules_are_maps():
    rows = [
        graft("module", 0.1 * at + size, layer=at, component=name.split(".")[0],
              modules=f"layers.{at}.{name}")
        for at in range(2)
        for name, size in (("attn.q_proj", 0.0), ("attn.k_proj", 0.03), ("mlp.up_proj", 0.05))
    ]  # fmt: skip
    (plot,) = graft_parts(rows, FACT)
    assert isinstance(plot, Heatmaps)
    assert plot.columns == ("attn.q_proj", "attn.k_proj", "mlp.up_proj")
    assert plot.panels[0].values[1] == pytest.approx((0.1, 0.13, 0.15))
    assert "clean → npo layers.1.mlp.up_proj 0.15 (random" in plot.caption


def test_the_greedy_set_is_a_list_in_its_order_judged_elsewhere_too():
    rows = [
        graft("greedy", effect, order=order, modules=f"layers.{5 - order}.mlp", judged_on=on)
        for order, here in ((2, 0.8), (1, 0.5))
        for on, effect in (("fact", here), ("other_context", here - 0.2))
    ]
    (table,) = graft_parts(rows, FACT)
    assert isinstance(table, Table)
    titles = [column.title for column in table.columns]
    assert titles == ["Module", "up to here", "random", "this fact, another context"]
    assert [row.cells[0].text for row in table.rows] == ["1. layers.4.mlp", "2. layers.3.mlp"]
    assert [row.cells[3].value for row in table.rows] == pytest.approx([0.3, 0.6])
    assert "n = 2 modules bring 0.80 of the gap (random 0.02, −0.01 to 0.05; n = 8" in table.caption


def test_sets_of_ones_own_are_bars_and_a_missing_control_is_told():
    none = {"control_effect": None, "control_low": None, "control_high": None, "n_controls": 0}
    rows = [graft("chosen", 0.7, modules=["a", "b"]), graft("chosen", 0.9, modules="c", **none)]
    (plot,) = graft_parts(rows, FACT)
    assert isinstance(plot, Amounts)
    first, second = plot.panels[0].amounts
    assert (first.name, first.control, first.low) == ("a, b", 0.02, -0.01)
    assert second.control is None and "c 0.90 (no control)" in plot.caption


def test_grafts_between_states_that_hardly_differ_have_a_reason():
    (remark,) = graft_parts([graft("layer", None, reason="0.2 nats apart")], FACT)
    assert remark.text.endswith("clean → npo: 0.2 nats apart.")


# ---- knockouts


def cut(state, layer, effect, edge="subject->last", control=False):
    return {"fact_id": "f", "state": state, "edge": edge, "layer": layer, "window": 5,
            "metric": "logodds", "object": "Rome", "effect": effect, "control": control,
            "reason": "too few tokens" if layer is None else None}  # fmt: skip


def test_knockouts_have_a_line_per_edge_and_a_grey_one_per_control():
    rows = [
        cut(state, layer, scale * effect * (0.1 if control else 1), control=control)
        for state, scale in (("npo", 0.5), ("clean", 1.0))
        for control in (False, True)
        for layer, effect in ((2, 0.0), (4, -2.0), (3, -1.0))
    ]
    rows += [cut("clean", 2, -0.3, "relation->last")]
    rows += [cut("clean", None, None, "relation->last", control=True)]
    plot, remark = knockout_lines(rows, FACT)
    assert [panel.name for panel in plot.panels] == ["clean", "npo"]
    names = [line.name for line in plot.panels[0].series]
    assert names == ["subject → last", "control: subject → last", "relation → last"]
    assert [line.look for line in plot.panels[0].series] == ["line 1", "control", "line 2"]
    assert plot.panels[0].series[0].x == (2, 3, 4)
    assert "clean: subject → last −2.00 at layer 4 (control −0.20)" in plot.caption
    assert "relation → last −0.30 at layer 2 (no control)" in plot.caption
    assert "npo: subject → last −1.00 at layer 4 (control −0.10)" in plot.caption
    assert "n = 3 windows of 5 layers" in plot.caption
    assert plot.y_title == "change, nats of log-odds"
    assert remark.text == "control: relation → last: too few tokens."


# ---- attributions


def estimate(layer, approx, exact, **more):
    row = {"approx": approx, "exact": exact, "rank_correlation": 0.83, "n_exact": 2, "steps": 0}
    return patch(layer, 3, 0.0) | row | more


def test_attributions_always_tell_their_rank_correlation():
    rows = [estimate(0, 0.5, 0.4), estimate(1, 0.5, 0.3), estimate(2, -1.0, None)]
    heat, points = attribution_maps(rows, FACT)
    assert isinstance(heat, Heatmaps) and isinstance(points, Lines)
    assert heat.panels[0].values == ((0.5,), (0.5,), (-1.0,))
    for plot in (heat, points):
        assert "clean → npo ρ = 0.83 (n = 2 cells)" in plot.caption
    sample, equal = points.panels[0].series
    assert (sample.x, sample.y, sample.joined) == ((0.5, 0.5), (0.4, 0.3), False)
    assert equal.x == equal.y == (0.3, 0.5) and equal.look == "chance"
    text = to_text(points)
    assert text.count("cells of the sample") == 2  # both of the two points with x = 0.5


def test_attributions_without_an_exact_sample_say_so():
    unknown = {"rank_correlation": None, "n_exact": 0}
    (heat,) = attribution_maps([estimate(0, 0.5, None, **unknown)], FACT)
    assert "clean → npo not known (no cell was computed exactly)" in heat.caption
    flat = unknown | {"reason": "no rank correlation: all cells of the sample are equal"}
    heat, _ = attribution_maps([estimate(0, 0.5, 0.1, **flat)], FACT)
    assert "not known (no rank correlation: all cells" in heat.caption


# ---- contributions


def test_contributions_show_the_same_parts_in_every_state_and_sum_to_the_total():
    heads = {(layer, head): 0.01 for layer in range(5) for head in range(4)} | {(3, 1): 2.0}
    rows = []
    for state, scale in (("npo", -0.5), ("clean", 1.0)):
        parts = [("embed", None, None, 0.1), ("bias", None, None, 0.02)]
        parts += [("head", *place, scale * value) for place, value in heads.items()]
        parts += [
            ("mlp", layer, None, scale * (-1.5 if layer == 4 else 0.02)) for layer in range(5)
        ]
        total = sum(part[3] for part in parts)
        rows += [
            {"fact_id": "f", "state": state, "part": part, "layer": layer, "head": head,
             "value": value, "object": "Rome", "foil": "Oslo", "total": total}
            for part, layer, head, value in parts
        ]  # fmt: skip
    # through a frame, in which the layers and heads of a column with blanks are floats
    (plot,) = contribution_bars(records(pd.DataFrame(rows)), FACT)
    assert [panel.name for panel in plot.panels] == ["clean", "npo"]
    clean, npo = ({bar.name: bar.value for bar in panel.amounts} for panel in plot.panels)
    assert list(clean) == list(npo) and next(iter(clean)) == "layer 3, head 1"
    assert clean["layer 3, head 1"] == 2.0 and npo["layer 4, MLP"] == 0.75
    for bars in (clean, npo):
        *shown, rest, total = bars.values()
        assert sum(shown) + rest == pytest.approx(total)
        assert f"the other {27 - len(shown)} parts" in bars
    assert "clean: towards true layer 3, head 1 (+2.00), towards false layer 4, MLP (−1.50)" in (
        plot.caption
    )
    assert "n = 27 parts" in plot.caption


# ---- what the library writes


@pytest.fixture(scope="module")
def model():
    """A tiny model with a second state, whose last layers differ."""
    made = tiny_model("llama")
    generator = torch.Generator().manual_seed(0)
    updates = {
        path: 0.5
        * module.weight.std().item()
        * torch.randn(module.weight.shape, generator=generator)
        for path, module in made.hf_model.named_modules()
        if ".layers." in path and getattr(module, "weight", torch.zeros(1)).ndim == 2
    }
    made.add_delta(ri.Delta("npo", updates))
    made.add_state("npo", ri.State({"npo": 1}))
    return made


def test_rows_that_the_library_writes_become_figures(model):
    prompt, asked = "They say that Alice Stone was born in the city of", {"subject": "Alice Stone"}
    states = {"donor": "clean", "host": "npo"}
    known = {"fact_id": "f"}
    fact = FACT | {"entity": "Alice Stone"}
    tables = {
        "patches": [
            row
            for kind in ("resid", "mlp", "head")
            for row in ri.patch_states(
                model, prompt, "Rome", "Oslo", kind=kind, **states, **asked
            ).rows(**known)
        ],
        "grafts": [
            *(
                row
                for by in ("layer", "component", "module", "bottom_up", "top_down")
                for row in ri.graft(model, [prompt], ["Rome"], ["Oslo"], by=by, **states).rows(
                    **known
                )
            ),
            *ri.smallest_graft(
                model, [prompt], ["Rome"], ["Oslo"], limit=2, **states
            ).rows(**known),
        ],
        "attributions": ri.attribute_patches(
            model, prompt, "Rome", "Oslo", **states, **asked
        ).rows(**known),
        "knockouts": ri.knock_out(model, prompt, "Rome", "Oslo", **asked).rows(state="x", **known),
        "contributions": ri.direct_logits(model, prompt, "Rome", "Oslo").rows(state="x", **known),
    }  # fmt: skip
    draw = {
        "patches": patch_maps, "grafts": graft_parts, "attributions": attribution_maps,
        "knockouts": knockout_lines, "contributions": contribution_bars,
    }  # fmt: skip
    drawn = {
        table: [type(part).__name__ for part in draw[table](records(pd.DataFrame(rows)), fact)]
        for table, rows in tables.items()
    }
    assert drawn == {
        "patches": ["Heatmaps"] * 4,
        "grafts": ["Lines", "Heatmaps", "Heatmaps", "Lines", "Lines", "Table"],
        "attributions": ["Heatmaps", "Lines"],
        "knockouts": ["Lines", "Paragraph"],  # a sentence is too short for one of the controls
        "contributions": ["Amounts"],
    }


# ---- the page


def test_every_instrument_has_its_fold_its_limits_and_captions_with_n(run_results):
    results = run_results.entity("Aaron Burr")
    used = [tool.title for table, tool in instruments(results).items() if results.has(table)]
    for part in inside_by_fact(results)[:-1]:
        assert isinstance(part, Details)
        said, best, *folds = (inner for inner in part.parts if isinstance(inner, Details))
        assert said.summary == "What each layer would say at each token"
        assert best.summary == "Best swaps" and isinstance(best.parts[0], Paragraph)
        assert [fold.summary for fold in folds] == used
        assert not any(fold.open for fold in folds)
        for fold in folds:
            assert isinstance(fold.parts[0], Paragraph) and fold.parts[0].quiet
            plots = [p for p in fold.parts if isinstance(p, Heatmaps | Lines | Amounts | Table)]
            assert plots
            for plot in plots:
                assert "n = " in plot.caption, plot.caption


def test_localisation_is_never_shown_without_its_limit(run_results):
    text = "\n".join(tool.text for tool in instruments(run_results.entity("Aaron Burr")).values())
    assert "localisation alone does not say what to edit" in text
    for words in ("not that the state itself uses it", "another set may do so too",
                  "not what they are", "only as good as its rank correlation",
                  "direct effects alone"):  # fmt: skip
        assert words in text


def test_a_run_without_the_new_tables_has_one_line_about_them(run_results):
    config = {**run_results.config, "explanation": {"analyses": ["logit_lens", "mine.py"]}}
    tables = {
        name: frame
        for name, frame in run_results.tables.items()
        if name not in (*ANALYSES, "lens_top")
    }
    old = RunResults(name="old", config=config, manifest={}, tables=tables)
    (line,) = (p for p in inside_by_fact(old.entity("Aaron Burr")) if isinstance(p, Empty))
    assert line.what.startswith("Not used in this run: patching between states, retention, ")
    assert line.command.endswith(
        "explanation.analyses=[logit_lens,mine.py,cross_state_patching,retention,grafting,"
        "attention_knockout,attribution,direct_logits,mlp_changes,value_vectors,"
        "subject_attention,subject_description,token_attribution]"
    )
    assert not any(
        isinstance(inner, Details)
        for part in inside_by_fact(old.entity("Aaron Burr"))
        if isinstance(part, Details)
        for inner in part.parts
    )


def test_old_tables_without_a_column_make_a_page_all_the_same(run_results):
    """Only the columns that the store fixes can be counted on."""
    thin = {
        "patches": "fact_id donor host kind metric object layer position head effect",
        "grafts": "fact_id donor host modules order effect control_effect",
        "knockouts": "fact_id state edge layer window metric object effect",
        "attributions": "fact_id donor host kind metric object layer position approx exact",
        "contributions": "fact_id state part layer head value",
    }
    tables = dict(run_results.tables)
    for name, columns in thin.items():
        tables[name] = tables[name][columns.split()]
    run = RunResults(name="thin", config={}, manifest={}, tables=tables)
    parts = inside_by_fact(run.entity("Aaron Burr"))
    assert sum(isinstance(part, Amounts) for part in parts_in(parts)) >= 8
    assert all(true_object(fact) for fact in run.facts)


def test_axes_put_tokens_in_order_and_leave_out_what_is_not_there():
    rows = [patch(1, 4, 0.5, token="b"), patch(0, 3, 0.2, token="a")]
    axes = Axes.of(rows, "x")
    assert (axes.layers, axes.places, axes.labels) == ((0, 1), (3, 4), ("a", "b"))
    cells = axes.cells(rows, "effect")
    assert cells[0][0] == 0.2 and math.isnan(cells[0][1]) and cells[1][1] == 0.5
    assert axes.peak(cells) == "layer 1, token “b”, 0.50"
    assert axes.peak(((-0.9, 0.1), (0.2, 0.3)), by=abs) == "layer 0, token “a”, −0.90"
