"""What is looked at of whole states, and what probes are compared with, in a run of all of it."""

import numpy as np
import pandas as pd
import pytest

from restor_interp.errors import ConfigError
from restor_interp.pipeline import plan
from restor_interp.pipeline.surveys import SURVEYS


def test_every_survey_leaves_its_tables(finished):
    assert not finished.failures
    tables = finished.store.tables()
    for name in SURVEYS:
        assert len(tables[name]), name
    for name in ("steering", "turnings", "forget_trajectory", "tuned_lens"):
        assert len(tables[name]), name
    looked = set(finished.config.explanation.traced_states) - {"clean"}
    for name in ("weights", "drift", "directions"):
        assert set(tables[name]["state"]) == looked


def test_the_corrupted_state_is_its_own_corruption(finished):
    """A closed form for each: C against itself, and no way to go between a state and itself."""
    weights = finished.table("weights")
    whole = weights.loc[weights["module"].eq("all")].set_index("state")
    assert whole.loc["corrupted", "corruption_norm"] == pytest.approx(
        whole.loc["corrupted", "total_norm"]
    )
    ways = finished.table("interpolation")
    ways = ways.loc[ways["metric"].eq("logodds") & ways["to_state"].eq("npo")]
    at = ways.set_index(["fact_id", "from_state", "t"])["value"].astype(float)
    for fact_id in ways["fact_id"].unique():
        ends = [at[fact_id, start, 1.0] for start in ("clean", "corrupted")]
        assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_what_a_method_has_done_to_its_documents_starts_at_nothing(finished):
    trajectory = finished.table("forget_trajectory")
    first = trajectory.loc[trajectory["step"].eq(1), "d"].astype(float)
    assert np.allclose(first, 0, atol=1e-4)
    weights = finished.table("forget_weights")
    every = weights.loc[weights["token_class"].eq("all")].set_index("step")["d_mean"].astype(float)
    assert every.loc[0] == pytest.approx(0, abs=1e-4)
    steps = len(finished.table("training").query("state == 'npo'"))
    assert set(weights["step"]) == {0, steps} and every.loc[steps] != 0


def test_probes_are_given_statements_other_entities_and_a_model_that_knows_nothing(finished):
    states = finished.state_activations()
    assert set(states.others) == {"statements", "wrong_entity"}
    prompts = states["clean"].prompts
    told = states.of("statements")["npo"].prompts
    assert {one.label for one in told} == {"true", "false", "random"}
    assert {one.role for one in told} <= {"direct", "sibling", "context", "untouched"}
    wrong = states.of("wrong_entity")["clean"]
    assert [one.fact_id for one in wrong.prompts] == [one.fact_id for one in prompts]
    own, other = (
        one.select(site="resid", layer=0, position="subject_last")
        for one in (states["clean"], wrong)
    )
    assert not np.allclose(own, other)
    knows_nothing = states.controls["random_weights"]
    assert [one.fact_id for one in knows_nothing.prompts] == [one.fact_id for one in prompts]
    controls = finished.table("probes").groupby("control")["control_value"].count()
    for name in ("labels shuffled", "commonest label", "subject embedding only", "random weights"):
        assert controls[name], name
    assert controls["wrong entity"]


def test_every_probe_of_the_gallery_measured_something(finished):
    probes = finished.table("probes")
    measured = probes.loc[probes["value"].notna()].groupby("probe").size()
    # Three corrupted entities cannot be split into five folds.
    assert set(measured.index) == {*finished.config.explanation.probes} - {"true_versus_false"}
    unmeasured = probes.loc[probes["value"].isna()]
    assert unmeasured["reason"].map(lambda why: isinstance(why, str) and bool(why)).all()


def test_a_survey_that_cannot_be_is_refused_before_any_work(small_config, tmp_path):
    def asked(**changes):
        explanation = small_config.explanation.model_copy(update=changes)
        return plan(
            small_config.model_copy(update={"explanation": explanation}), out=tmp_path / "run"
        )

    with pytest.raises(ConfigError, match="drift"):
        asked(surveys=("drft",))
    uncaptured = [cell.cell for cell in asked(capture=False, probes=())]
    assert "weights/npo" in uncaptured and "drift/npo" not in uncaptured
    cells = [cell.cell for cell in asked(surveys=("weights",), probe_controls=False)]
    assert "weights/npo" in cells and "weights/clean" not in cells
    assert not [name for name in cells if name.startswith(("drift", "statements", "random"))]


def test_trajectories_are_told_of_trained_states_only(finished):
    timeline = finished.table("timeline")
    assert set(timeline["state"]) <= {"npo"}
    steps = sorted(timeline["step"].unique())
    total = len(finished.table("training").query("state == 'npo'"))
    assert steps[0] == 0 and steps[-1] == total and len(steps) == 3
    assert isinstance(timeline, pd.DataFrame)
