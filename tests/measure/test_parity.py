"""Tracing and patching give the numbers of transformer-lens' own patching functions.

Its `resid_pre` at layer l is our residual stream after layer l − 1; it knows no noise, so that the
other run is one of another name. The bridge is a copy of the model (`HookedModel.to_bridge`).

Run: python -m pytest tests/measure/test_parity.py
"""

import numpy as np
import pytest
import torch
from transformer_lens import patching

import restor_interp as ri
from restor_interp.testing import tiny_model

SENTENCE = "They say that {} was born in the city of"
NAME, OTHER = "Alice Stone", "Clara Field"
TRUE, FALSE = "Oslo", "Rome"
LENS = {
    "resid": patching.get_act_patch_resid_pre,
    "attn": patching.get_act_patch_attn_out,
    "mlp": patching.get_act_patch_mlp_out,
    "head": patching.get_act_patch_attn_head_out_by_pos,
}
KINDS = ("resid", "attn", "mlp")


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request):
    model = tiny_model(request.param)
    generator = torch.Generator().manual_seed(0)
    change = {
        path: 0.3 * torch.randn(module.weight.shape, generator=generator) * module.weight.std()
        for path, module in model.hf_model.named_modules()
        if path.endswith(("o_proj", "down_proj", "q_proj", "c_proj", "c_attn"))
    }
    model.add_delta(ri.Delta("change", change))
    model.add_state("changed", ri.State({"change": 1.0}))
    return model


@pytest.fixture(scope="module")
def bridges(model):
    """State -> its bridge; each is a copy, so that none sees another's weights."""
    found = {}
    for state in ("clean", "changed"):
        with model.at(state):
            found[state] = model.to_bridge()
    return found


def tokens(model, name: str) -> torch.Tensor:
    ids = model.tokenizer(SENTENCE.format(name), add_special_tokens=False)["input_ids"]
    return torch.tensor([ids])


def by_transformer_lens(model, donor, host, given, asked, kind: str) -> np.ndarray:
    """[position, layer, …] of log p(true) − log p(false), every value of the donor's put in."""
    true, false = (
        model.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0]
        for word in (TRUE, FALSE)
    )

    def measured(logits: torch.Tensor) -> torch.Tensor:
        return logits[0, -1, true] - logits[0, -1, false]

    with torch.no_grad():
        # Its hooks write into the activations that they are given: the cache holds copies.
        _, cache = donor.run_with_cache(given)
        cache.cache_dict = {name: value.clone() for name, value in cache.cache_dict.items()}
        grid = LENS[kind](host, asked, cache, measured)
    return grid.transpose(0, 1).numpy()  # it has layers first


def check_equal(ours: np.ndarray, theirs: np.ndarray, kind: str, last: float) -> None:
    """Ours after layer l − 1 is theirs before layer l; before layer 0 only the tokens differ."""
    if kind == "resid":
        ours, theirs = ours[:, :-1], theirs[:, 1:]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.abs(theirs - last).max() > 0.05  # there was something to be equal in


@pytest.mark.parametrize("kind", KINDS)
def test_substitution_tracing_is_their_patching(model, bridges, kind):
    found = ri.trace(
        model,
        SENTENCE.format(NAME),
        TRUE,
        NAME,
        FALSE,
        kind=kind,
        window=1,
        metric="logodds",
        substitute=OTHER,
    )
    bridge = bridges["clean"]
    theirs = by_transformer_lens(
        model, bridge, bridge, tokens(model, NAME), tokens(model, OTHER), kind
    )
    check_equal(found.scores, theirs, kind, found.low)


@pytest.mark.parametrize("kind", [*KINDS, "head"])
@pytest.mark.parametrize(("donor", "host"), [("clean", "changed"), ("changed", "clean")])
def test_patching_between_states_is_their_patching_between_models(
    model, bridges, kind, donor, host
):
    asked = tokens(model, NAME)
    found = ri.patch_states(
        model,
        SENTENCE.format(NAME),
        TRUE,
        FALSE,
        donor=donor,
        host=host,
        subject=NAME,
        kind=kind,
        positions=range(asked.shape[1]),
    )
    theirs = by_transformer_lens(model, bridges[donor], bridges[host], asked, asked, kind)
    check_equal(found.scores, theirs, kind, found.host_value)


@pytest.mark.parametrize("kind", KINDS)
def test_patching_from_another_prompt_and_state(model, bridges, kind):
    given, asked = tokens(model, OTHER), tokens(model, NAME)
    found = ri.patch_states(
        model,
        SENTENCE.format(NAME),
        TRUE,
        FALSE,
        donor="clean",
        host="changed",
        subject=NAME,
        kind=kind,
        positions=range(asked.shape[1]),
        donor_prompt=SENTENCE.format(OTHER),
    )
    theirs = by_transformer_lens(model, bridges["clean"], bridges["changed"], given, asked, kind)
    check_equal(found.scores, theirs, kind, found.host_value)
