"""Hooks are the values they are called after; peer: TransformerLens' TransformerBridge.

Run: python -m pytest tests/models/test_hooked.py
"""

import copy
import gc
import re

import peft
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from restor_interp.errors import ConfigError, ModelError, PromptError
from restor_interp.models.architectures import linear_modules
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model, tiny_tokenizer

TEXT = "They say that Alice Stone was born in the city of"
LONG = torch.randint(700, (2, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models():
    return {family: tiny_model(family) for family in FAMILIES}


def module_hooks(model):
    """How many hooks of ours are on the model's modules; transformers sets some too."""
    return sum(
        hook.__module__ == "restor_interp.models.hooked"
        for module in model.hf_model.modules()
        for hook in [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    )


# ---- against TransformerLens


@pytest.mark.filterwarnings("ignore")  # TransformerLens' own
@pytest.mark.parametrize("family", FAMILIES)
def test_names_shapes_and_values_are_those_of_transformer_lens(models, family):
    """Sequences are longer than the sliding windows."""
    model = models[family]
    bridge = model.to_bridge()
    with torch.no_grad():
        expected_logits, expected = bridge.run_with_cache(LONG)
    logits, cache = model.run_with_cache(LONG)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=1e-5)
    assert set(cache.cache_dict) == set(model.hook_names)
    for name, value in cache.cache_dict.items():
        theirs = expected.cache_dict[name]
        assert value.shape == theirs.shape, name
        torch.testing.assert_close(value, theirs, rtol=1e-4, atol=1e-5)
    needed = {
        "resid_pre",
        "resid_post",
        "attn_out",
        "mlp_out",
        "attn.hook_pattern",
        "mlp.hook_post",
    }
    for part in needed:
        assert any(part in name for name in cache.cache_dict)
    for incl_mid in {False, not model.architecture.parallel}:
        for apply_ln in (False, True):
            asked = {"layer": -1, "incl_mid": incl_mid, "apply_ln": apply_ln}
            torch.testing.assert_close(
                cache.accumulated_resid(**asked), expected.accumulated_resid(**asked)
            )
    for apply_ln in (False, True):
        mine = cache.decompose_resid(layer=-1, apply_ln=apply_ln)
        torch.testing.assert_close(mine, expected.decompose_resid(layer=-1, apply_ln=apply_ln))
    total = cache.decompose_resid(layer=-1).sum(dim=0)
    torch.testing.assert_close(total, cache["resid_post", 2], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_replacing_a_value_does_what_it_does_in_transformer_lens(models, family):
    model = models[family]
    bridge = model.to_bridge()
    generator = torch.Generator().manual_seed(1)
    names = [n for n in model.hook_names if re.match(r"blocks\.1\.", n) or n == "hook_embed"]
    names = [n for n in names if "ln" not in n]
    _, cache = model.run_with_cache(LONG)
    clean = model.run_with_hooks(LONG)
    assert len(names) > 12
    for name in names:
        if name.endswith(("hook_attn_scores", "hook_resid_mid")):
            continue  # theirs cannot be replaced in every family; see the tests below
        noise = 0.3 * torch.randn(cache[name].shape, generator=generator)

        def add(value, hook, noise=noise, name=name):
            assert hook.name == name
            assert name == "hook_embed" or hook.layer() == 1
            return value + noise

        with torch.no_grad():
            mine = model.run_with_hooks(LONG, fwd_hooks=[(name, add)])
            theirs = bridge.run_with_hooks(
                LONG, fwd_hooks=[(name, lambda value, hook, noise=noise: value + noise)]
            )
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
        assert (mine - clean).abs().max() > 1e-3, name


@pytest.mark.filterwarnings("ignore")
def test_a_bridge_is_a_copy_in_the_current_state_and_puts_no_token_first(models):
    from restor_interp.models.deltas import Delta, State

    model = tiny_model("llama")
    path = "model.layers.1.mlp.up_proj"
    model.add_delta(Delta("a", {path: 0.1 * torch.ones(48, 32)}))
    names = list(model.hf_model.state_dict())
    with torch.no_grad(), model.at(State({"a": 1})):
        bridge = model.to_bridge()
        expected = model.hf_model(LONG).logits
        torch.testing.assert_close(bridge(LONG), expected, rtol=0, atol=1e-5)
    assert list(model.hf_model.state_dict()) == names
    assert model.hf_model.config._attn_implementation == "sdpa"
    with torch.no_grad():
        clean = model.hf_model(LONG).logits
        torch.testing.assert_close(bridge(LONG), expected, rtol=0, atol=1e-5)
    assert (clean - expected).abs().max() > 1e-3
    ids = model.tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    assert bridge.to_tokens(TEXT).tolist() == [ids]


# ---- by hand


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_add_up(models, family):
    """What attn and mlp hooks show is what is added to the stream, also after post-norms."""
    model = models[family]
    logits, cache = model.run_with_cache(LONG)
    for layer in range(model.num_layers):
        before, after = cache["resid_pre", layer], cache["resid_post", layer]
        attn, mlp = cache["attn_out", layer], cache["mlp_out", layer]
        torch.testing.assert_close(before + attn + mlp, after, rtol=1e-4, atol=1e-5)
        if not model.architecture.parallel:
            assert torch.equal(before + attn, cache["resid_mid", layer])
        if layer:
            assert torch.equal(before, cache["resid_post", layer - 1])
        pattern = cache["pattern", layer]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        assert torch.equal(pattern, pattern.tril())
    with torch.no_grad():
        states = model.hf_model(LONG, output_hidden_states=True).hidden_states
        plain = model.hf_model(LONG).logits
    for layer in range(model.num_layers):
        torch.testing.assert_close(cache["resid_pre", layer], states[layer], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.project(cache["resid_post", 2]), plain, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, plain, rtol=1e-4, atol=1e-4)
    if model.hf_model.config.model_type == "gemma2":
        assert plain.abs().max() < 4  # its soft cap
        assert model.hf_model.lm_head(model._norm(states[-2])).abs().max() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_replaced_stream_is_what_the_rest_of_the_model_sees(models, family):
    """Also resid_mid, which no module gives: witness, the last block by hand."""
    model = models[family]
    last = model.num_layers - 1
    _, cache = model.run_with_cache(LONG)
    wanted = torch.randn(cache["resid_post", 0].shape, generator=torch.Generator().manual_seed(2))
    post = model.run_with_hooks(
        LONG, fwd_hooks=[(f"blocks.{last}.hook_resid_post", lambda value, hook: wanted)]
    )
    torch.testing.assert_close(post, model.project(wanted))
    names = [f"blocks.{last}.hook_resid_pre", f"blocks.{last - 1}.hook_resid_post"]
    one, other = (
        model.run_with_hooks(LONG, fwd_hooks=[(name, lambda value, hook: wanted)]) for name in names
    )
    assert torch.equal(one, other)
    if model.architecture.parallel:
        with pytest.raises(ConfigError, match="hook_resid_mid"):
            model.run_with_cache(LONG, f"blocks.{last}.hook_resid_mid")
        return
    mid = model.run_with_hooks(
        LONG, fwd_hooks=[(f"blocks.{last}.hook_resid_mid", lambda value, hook: wanted)]
    )
    block = model.layers[last]
    with torch.no_grad():
        if (norm := model.architecture.ln2) is not None:
            mlp = block.mlp(block.get_submodule(norm)(wanted))
        else:
            mlp = block.mlp(wanted)
        if model.architecture.mlp_added != "mlp":
            mlp = block.get_submodule(model.architecture.mlp_added)(mlp)
        torch.testing.assert_close(mid, model.project(wanted + mlp), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_knocking_out_attention_hides_a_token(models, family):
    """Nothing of token 0 remains where no one attends to it: changing it then changes nothing."""
    model = models[family]
    other = LONG.clone()
    other[:, 0] = (other[:, 0] + 1) % model.vocab_size
    scores = [f"blocks.{layer}.attn.hook_attn_scores" for layer in range(model.num_layers)]
    pattern = [name.replace("attn_scores", "pattern") for name in scores]

    def hide(value, hook):
        value = value.clone()
        if "scores" in hook.name:
            value[:, :, 1:, 0] = float("-inf")
            return value
        value[:, :, 1:, 0] = 0.0
        return value / value.sum(dim=-1, keepdim=True)

    for names in (scores, pattern):
        hooks = [(name, hide) for name in names]
        one, two = (model.run_with_hooks(ids, fwd_hooks=hooks)[:, 1:] for ids in (LONG, other))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    plain = [model.run_with_hooks(ids)[:, 1:] for ids in (LONG, other)]
    assert (plain[0] - plain[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_where_their_names_say(models, family):
    """Witness: attention of one head from q, k and v alone, where nothing comes between."""
    model = models[family]
    _, cache = model.run_with_cache(LONG)
    z = torch.einsum(
        "rhqk,rkhd->rqhd",
        cache["pattern", 1],
        cache["v", 1].repeat_interleave(model.num_heads // model.num_key_heads, dim=2),
    )
    torch.testing.assert_close(z, cache["z", 1], rtol=1e-4, atol=1e-5)
    assert cache["q", 1].shape == (2, 16, model.num_heads, model.d_head)
    if family == "gpt2":
        scores = torch.einsum("rqhd,rkhd->rhqk", cache["q", 1], cache["k", 1]) / model.d_head**0.5
        pattern = scores.masked_fill(torch.ones(16, 16).triu(1).bool(), -torch.inf).softmax(-1)
        torch.testing.assert_close(pattern, cache["pattern", 1], rtol=1e-4, atol=1e-5)


# ---- what may be asked


def test_positions_are_those_of_each_prompt(models):
    model = models["llama"]
    prompts = [
        Prompt(prefix="", question=TEXT, subject="Alice Stone", subject_span=(14, 25)),
        Prompt(prefix="", question="The city of Oslo is", subject="Oslo", subject_span=(12, 16)),
    ]
    names = ["blocks.1.hook_resid_post", "blocks.1.attn.hook_pattern", "hook_embed"]
    logits, whole = model.run_with_cache(prompts, names)
    assert logits.shape[:2] == (2, 11)
    places = {
        "subject_first": [3, 3],
        "subject_last": [4, 3],
        "last": [10, 4],
        2: [2, 2],
        -2: [9, 3],
    }
    for position, indices in places.items():
        _, cache = model.run_with_cache(prompts, names, position)
        for row, index in enumerate(indices):
            for name in (names[0], names[2]):
                assert cache[name].shape[1] == 1
                assert torch.equal(cache[name][row, 0], whole[name][row, index])
            assert torch.equal(cache[names[1]][row, :, 0], whole[names[1]][row, :, index])
    _, several = model.run_with_cache(prompts, names, ["subject_last", "last"])
    assert torch.equal(several[names[0]][1], whole[names[0]][1, [3, 4]])
    # A prompt in a padded batch is the prompt alone.
    alone, _ = model.run_with_cache(prompts[1], names)
    torch.testing.assert_close(alone[0], logits[1, :5])
    assert torch.equal(
        model.run_with_hooks(["The city of Oslo is"]), model.run_with_hooks(prompts[1])
    )
    with pytest.raises(PromptError, match="no subject"):
        model.run_with_cache(TEXT, names, "subject_last")
    with pytest.raises(ConfigError, match="no position 'first'"):
        model.run_with_cache(TEXT, names, "first")


def test_names_may_be_one_several_or_a_test(models):
    model = models["gpt2"]
    one = "blocks.0.hook_mlp_out"
    for asked in (one, [one], lambda name: name == one):
        assert list(model.run_with_cache(LONG, asked)[1].cache_dict) == [one]
    before = model.hf_model.config._attn_implementation
    assert not model.run_with_cache(LONG, [])[1].cache_dict
    assert model.hf_model.config._attn_implementation == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.1.hook_resid_pst", "Did you mean blocks.0.hook_resid_post"),
        ("blocks.9.hook_resid_post", "layers 0 to 2"),
        ("hook_embedding", "Did you mean hook_embed"),
        ("resid_post", "there is no hook"),
    ],
)
def test_unknown_hooks_are_refused(models, name, message):
    model = models["llama"]
    for run in (
        lambda: model.run_with_cache(LONG, [name]),
        lambda: model.run_with_hooks(LONG, fwd_hooks=[(name, lambda value, hook: None)]),
    ):
        with pytest.raises(ConfigError, match=message):
            run()
    assert module_hooks(model) == 0


def test_other_input_is_refused(models):
    model = models["llama"]
    for ids in (torch.arange(3), torch.zeros(1, 3), torch.zeros(1, 0, dtype=torch.long)):
        with pytest.raises(ConfigError, match="whole numbers"):
            model.run_with_hooks(ids)
    with pytest.raises(ConfigError, match=r"returned \[2\] in place of"):
        model.run_with_hooks(LONG, [("hook_embed", lambda value, hook: torch.zeros(2))])
    with pytest.raises(ConfigError, match="seen and not replaced"):
        model.run_with_hooks(LONG, [("ln_final.hook_scale", lambda value, hook: 2 * value)])


def test_hooks_are_gone_afterwards_also_after_an_error(models):
    model = models["mistral"]
    before = model.hf_model.config._attn_implementation
    plain = model.run_with_hooks(LONG)

    def fail(value, hook):
        raise ZeroDivisionError

    for name in ("blocks.1.attn.hook_pattern", "blocks.1.hook_resid_mid"):
        with pytest.raises(ZeroDivisionError):
            model.run_with_hooks(LONG, fwd_hooks=[(name, fail)])
    model.run_with_cache(LONG)
    assert module_hooks(model) == 0
    assert model.hf_model.config._attn_implementation == before
    assert torch.equal(model.run_with_hooks(LONG), plain)


def test_hooks_may_be_nested_and_each_sees_what_those_before_it_made(models):
    model = models["llama"]
    seen = []

    def double(value, hook):
        return 2 * value

    def see(value, hook):
        seen.append(value)

    name = "blocks.0.hook_resid_mid"
    _, clean = model.run_with_cache(LONG, [name])
    with model.hooks([(name, double)]):
        with model.hooks([(name, see), (name, double), (name, see)]):
            assert module_hooks(model) == 2  # the block's input, and what attention adds
            model.hf_model(LONG)
        _, cache = model.run_with_cache(LONG, [name])
    torch.testing.assert_close(seen[0], 2 * clean[name])
    torch.testing.assert_close(seen[1], 4 * clean[name])
    torch.testing.assert_close(cache[name], 2 * clean[name])
    assert module_hooks(model) == 0


def test_gradients_flow_through_hooks(models):
    model = models["llama"]
    leaf = torch.zeros(model.d_model, requires_grad=True)
    hooks = [("blocks.0.attn.hook_z", lambda value, hook: value + leaf.view(4, 8))]
    model.run_with_hooks(LONG, hooks)[:, -1, 3].sum().backward()
    assert leaf.grad.abs().max() > 1e-4
    step = torch.zeros_like(leaf)
    step[5] = 1e-2
    ends = []
    for sign in (1, -1):
        moved = [("blocks.0.attn.hook_z", lambda v, hook, s=sign: v + s * step.view(4, 8))]
        with torch.no_grad():
            ends.append(model.run_with_hooks(LONG, moved)[:, -1, 3].double().sum().item())
    assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(leaf.grad[5].item(), rel=2e-2, abs=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_attached_inside_changes_no_hook(family):
    model = tiny_model(family)
    merged = tiny_model(family)
    config = peft.LoraConfig(
        r=4,
        target_modules=list(linear_modules(model.hf_model)),
        init_lora_weights=False,
        fan_in_fan_out=family == "gpt2",
    )
    adapted = peft.get_peft_model(model.hf_model, config).eval()
    merged = HookedModel(
        copy.deepcopy(adapted).merge_and_unload(), merged.tokenizer, name="merged", digest=""
    )
    _, expected = merged.run_with_cache(LONG)
    _, cache = model.run_with_cache(LONG)
    assert set(cache.cache_dict) == set(expected.cache_dict)
    for name, value in expected.cache_dict.items():
        torch.testing.assert_close(cache[name], value, rtol=1e-3, atol=1e-4)
    hook = [("blocks.1.attn.hook_z", lambda value, hook: 0.5 * value)]
    with torch.no_grad():
        torch.testing.assert_close(
            model.run_with_hooks(LONG, hook),
            merged.run_with_hooks(LONG, hook),
            rtol=1e-3,
            atol=1e-4,
        )


def test_a_model_can_be_freed():
    import weakref

    model = tiny_model("llama")
    model.run_with_cache(LONG)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


# ---- families


SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": None,
}


def other_family(kind, **settings):
    config = AutoConfig.for_model(kind, **SMALL, **settings)
    return AutoModelForCausalLM.from_config(config).eval()


def test_a_family_of_usual_names_is_found_and_checked():
    for kind in ("olmo", "stablelm"):
        model = HookedModel(other_family(kind), tiny_tokenizer(), name=kind, digest="")
        assert model.architecture.searched
        ids = LONG % 64
        _, cache = model.run_with_cache(ids)
        with torch.no_grad():
            expected = model.hf_model(ids).logits
        torch.testing.assert_close(model.project(cache["resid_post", 1]), expected)


def test_a_family_that_adds_up_otherwise_is_refused():
    scaled = other_family("granite", residual_multiplier=0.3)
    with pytest.raises(ModelError, match="do not add up"):
        HookedModel(scaled, tiny_tokenizer(), name="granite", digest="")


def test_a_model_without_the_usual_parts_is_refused():
    config = AutoConfig.for_model(
        "bloom", vocab_size=64, hidden_size=16, n_layer=2, n_head=2, pad_token_id=None
    )
    with torch.random.fork_rng():
        bloom = AutoModelForCausalLM.from_config(config).eval()
    bloom.transformer.h = torch.nn.Sequential(*bloom.transformer.h)
    with pytest.raises(ModelError, match="Known families: llama"):
        HookedModel(bloom, tiny_tokenizer(), name="bloom", digest="")
