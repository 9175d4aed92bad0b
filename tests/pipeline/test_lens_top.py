"""The most likely tokens in the tables of a run: of every fact and state that the lens looks at.

Run: python -m pytest tests/pipeline/test_lens_top.py
"""

import numpy as np
import pytest
import torch

from restor_interp.pipeline.explaining import is_traced
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.store import Store

KEYS = ["fact_id", "state", "lens", "layer", "position"]


@pytest.fixture(scope="module")
def tops(finished):
    return finished.table("lens_top")


def test_they_stand_wherever_an_object_was_read(finished, tops):
    lens = finished.table("lens")
    named = tops[tops["position"] != "from_subject"]
    assert set(named.groupby(KEYS).groups) == set(lens.groupby(KEYS).groups)
    assert (named.groupby(KEYS)["k"].apply(list) == [[1, 2, 3, 4, 5]] * named.groupby(KEYS).ngroups
            ).all()  # fmt: skip
    assert tops["reason"].isna().all() and (tops["logprob"] <= 0).all()


def test_an_object_of_some_rank_is_the_token_of_that_rank(finished, tops):
    lens = finished.table("lens")
    both = lens[lens["rank"] <= 5].merge(tops, left_on=[*KEYS, "rank"], right_on=[*KEYS, "k"])
    assert len(both) == (lens["rank"] <= 5).sum() > 50
    np.testing.assert_allclose(both["logprob_x"], both["logprob_y"], atol=1e-4)


def test_every_token_is_read_of_traced_facts_in_traced_states(finished, tops):
    mapped = tops[tops["position"] == "from_subject"]
    traces = finished.table("traces")
    assert set(mapped["fact_id"]) == set(traces["fact_id"])
    assert set(mapped["state"]) == {"clean", "corrupted", "npo"} == set(traces["state"])
    assert set(mapped["lens"]) == {"logit"} and len(tops["lens"].unique()) == 2
    for fact_id, rows in mapped.groupby("fact_id"):
        own = traces[traces["fact_id"] == fact_id]
        places = dict(zip(rows["token_position"], rows["read_token"], strict=True))
        told = dict(zip(own["position"], own["token"], strict=True))
        assert places == {place: told[place] for place in places} and max(places) == max(told)


def test_after_the_last_layer_they_are_the_states_own_answer(finished, tops):
    model = finished.model()
    chosen = tops[(tops["lens"] == "logit") & (tops["position"] == "last")]
    last = chosen[(chosen["layer"] == model.num_layers) & (chosen["state"] == "npo")]
    bench = Workbench(finished.config, Store(finished.folder), Silent())
    asked = [fact for fact in bench.asked if fact.fact_id in set(last["fact_id"])]
    compared = 0
    for fact, prompt in zip(asked, bench.prompts(asked, [0]), strict=True):
        own = last[last["fact_id"] == fact.fact_id].sort_values("k")
        ids = model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        if own["token_position"].iloc[0] + 1 != len(ids):
            continue  # both objects begin alike, so that the prompt was extended
        with model.at("npo"), torch.no_grad():
            best = model.hf_model(torch.tensor([ids])).logits[0, -1].log_softmax(-1).topk(5)
        np.testing.assert_allclose(own["logprob"], best.values.numpy(), atol=1e-4)
        texts = [model.tokenizer.decode([token]) for token in best.indices.tolist()]
        assert own["token"].tolist() == texts
        compared += 1
    assert compared >= 2


def test_what_was_there_before_any_method_always_counts_as_traced(small_config):
    class Bench:
        config = small_config.model_copy(
            update={
                "explanation": small_config.explanation.model_copy(
                    update={"traced_states": ("ga",)}
                )
            }
        )

    assert [is_traced(Bench(), state) for state in ("clean", "corrupted", "ga", "npo")] == [  # pyright: ignore[reportArgumentType]
        *(True, True, True, False),
    ]
