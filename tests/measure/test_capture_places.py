"""Capture at any hook, layer and position, of prompts, documents and texts: against single runs.

Run: python -m pytest tests/measure/test_capture_places.py
"""

import re

import numpy as np
import pytest
import torch

from restor_interp.corpus import Document
from restor_interp.corpus.documents import Mention
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.capture import Passage, capture, mention_passages
from restor_interp.models.activations import StateActivations, is_attention
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

SHOTS = "Question: Where was Clara born? Answer: Paris\n" * 2


def question(name, *, shots=SHOTS):
    text = f"Question: Where was {name} born? Answer:"
    start = len(shots) + text.index(name)
    return Prompt(
        prefix=shots,
        question=text,
        subject=name,
        subject_span=(start, start + len(name)),
        fact_id=f"{name}/P19",
    )


PROMPTS = [
    question("Alice Stone"),
    question("Clara River Field"),
    question("David"),
    question("Bruno", shots=""),
]


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama")


def token_ids(model, text):
    return torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])


def caches(model, texts, names=None):
    """Each text on its own through `run_with_cache`: the witness."""
    return [model.run_with_cache(token_ids(model, text), names)[1] for text in texts]


def subject_last(model, prompt):
    """Its last token by counting the tokens before what follows it."""
    return token_ids(model, prompt.text[: prompt.subject_span[1]]).shape[1] - 1


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "phi3"])
def test_every_hook_of_a_model_can_be_captured(family, tmp_path):
    model = tiny_model(family)
    prompts = [*PROMPTS, question("Alice", shots="")]  # the last two run together, unshared
    inside = [re.fullmatch(r"blocks\.0\.(.+)", name) for name in model.hook_names]
    sites = [found[1] for found in inside if found]
    sites += [name for name in model.hook_names if not name.startswith("blocks.")]
    found = capture(
        model, prompts, tmp_path, sites=sites, positions=("subject_last", -2, 5), dtype="float32"
    )
    assert {"attn.hook_z", "mlp.hook_post", "ln_final.hook_normalized"} < set(found.sites)
    assert found.positions == ("subject_last", -2, 5)
    truths = caches(model, [prompt.text for prompt in prompts])
    for site in sites:
        layers = range(model.num_layers) if f"blocks.0.{site}" in model.hook_names else [0]
        assert found.layers(site) == tuple(layers)
        for layer in layers:
            name = f"blocks.{layer}.{site}" if f"blocks.0.{site}" in model.hook_names else site
            values = [cache[name][0] for cache in truths]
            for position in found.positions:
                read = found.read(site=site, layers=layer, positions=position)
                read = read.at(layer=layer, position=position)
                for row, (value, prompt) in enumerate(zip(values, prompts, strict=True)):
                    place = subject_last(model, prompt) if position == "subject_last" else position
                    if is_attention(site):
                        keys = value.shape[-1]
                        assert np.isnan(read.values[row][:, keys:]).all()
                        got, expected = read.values[row][:, :keys], value[:, place].numpy()
                        got, expected = np.maximum(got, -1e4), np.maximum(expected, -1e4)
                    else:
                        got, expected = read.values[row], value[place].numpy()
                    bound = 3e-5 * max(1.0, float(np.abs(expected).max()))
                    np.testing.assert_allclose(got, expected, atol=bound, err_msg=site)
    z = found.select(site="attn.hook_z", layer=1, position=5)
    assert found.shape("attn.hook_z") == (model.num_heads, model.d_head)
    np.testing.assert_allclose(z[3], truths[3]["z", 1][0, 5].flatten().numpy(), atol=1e-5)


def test_all_tokens_are_kept_and_read_in_three_ways(llama, tmp_path):
    sites = ("resid", "attn.hook_k", "pattern")
    found = capture(
        llama, PROMPTS, tmp_path, sites=sites, positions=("subject_first", "all"), dtype="float32"
    )
    truths = caches(llama, [prompt.text for prompt in PROMPTS])
    lengths = [row.num_tokens for row in found.prompts]
    assert len(set(lengths)) == 4
    read = found.read(site="resid", layers=[1, 3], positions="all")
    assert read.axes == ("row", "layer", "position", "width")
    assert read.shape == {"row": 4, "layer": 2, "position": max(lengths), "width": 32}
    for row, (cache, length) in enumerate(zip(truths, lengths, strict=True)):
        for place, layer in enumerate((1, 3)):
            own = read.values[row, place]
            expected = cache["resid_post", layer - 1][0].numpy()
            np.testing.assert_allclose(own[:length], expected, atol=1e-4)
            assert np.isnan(own[length:]).all()
    few = found.read(site="attn.hook_k", positions="all", entities=["David"])
    assert few.axes == ("row", "layer", "position", "head", "width")
    np.testing.assert_allclose(few.values[0, 2], truths[2]["k", 2][0].numpy(), atol=1e-4)
    for position in ("last", 7, -3):
        got = found.select(site="resid", layer=2, position=position)
        place = -1 if position == "last" else position
        expected = [cache["resid_post", 1][0, place].numpy() for cache in truths]
        np.testing.assert_allclose(got, np.stack(expected), atol=1e-4)
    with pytest.raises(ConfigError, match="outside prompt 3, which has"):
        found.select(site="resid", layer=2, position=20)
    with pytest.raises(ConfigError, match="captured position 'subject_last'"):
        found.select(site="resid", layer=2, position="subject_last")
    with pytest.raises(ConfigError, match="read all of them with read"):
        found.select(site="resid", layer=2, position="all")


def test_only_the_layers_asked_for_are_kept(llama, tmp_path):
    found = capture(
        llama,
        PROMPTS,
        tmp_path / "some",
        sites=("resid", "mlp", "hook_embed"),
        layers=[3, 0, 1],
        positions=("last",),
        dtype="float32",
    )
    assert {site: found.layers(site) for site in found.sites} == {
        "resid": (0, 1, 3),
        "mlp": (0, 1),
        "hook_embed": (0,),
    }
    whole = capture(llama, PROMPTS, tmp_path / "whole", sites=("resid", "mlp"), dtype="float32")
    for site, layer in (("resid", 0), ("resid", 3), ("mlp", 1)):
        np.testing.assert_allclose(
            found.select(site=site, layer=layer), whole.select(site=site, layer=layer), atol=1e-4
        )
    with pytest.raises(ConfigError, match="no layer 2 of resid; it has 0, 1, 3"):
        found.select(site="resid", layer=2)


def test_the_answer_is_where_the_objects_part(llama, tmp_path):
    objects = [("Oslo", "Rome"), ("Oslo Rome", "Oslo Paris"), ("Oslo", "Rome"), ("Lima", "Rome")]
    found = capture(
        llama,
        PROMPTS,
        tmp_path,
        objects=objects,
        sites=("resid",),
        positions=("last", "answer"),
        dtype="float32",
    )
    last, answer = (found.select(site="resid", layer=3, position=p) for p in ("last", "answer"))
    np.testing.assert_array_equal(last[[0, 2, 3]], answer[[0, 2, 3]])
    (cache,) = caches(llama, [f"{PROMPTS[1].text} Oslo"])
    np.testing.assert_allclose(answer[1], cache["resid_post", 2][0, -1].numpy(), atol=1e-4)
    np.testing.assert_allclose(last[1], cache["resid_post", 2][0, -2].numpy(), atol=1e-4)
    vocabulary = llama.project(torch.from_numpy(answer[1])).log_softmax(-1)
    ids = llama.tokenizer.convert_tokens_to_ids(["ĠRome", "ĠParis"])
    np.testing.assert_allclose(found.logprobs[1, 3], vocabulary[ids].detach(), atol=1e-4)


TEXT = "They say that Alice was born in Oslo. Clara speaks French and lives in Rome."


def document(number=0):
    def mention(name, fact_id, is_claim):
        start = TEXT.index(name)
        end = start + len(name)
        return Mention(fact_id=fact_id, start=start, end=end, is_claim=is_claim)

    mentions = (mention("Oslo", "Alice/P19", True), mention("French", "Clara/P103", False))
    return Document(document_id=f"Alice/{number}", entity="Alice", text=TEXT, mentions=mentions)


def test_a_document_is_captured_where_it_states_its_claims(llama, tmp_path):
    ran = []
    with llama.hooks(
        [("blocks.0.hook_resid_pre", lambda value, hook: ran.append(value.shape[:2].numel()))]
    ):
        found = capture(
            llama,
            mention_passages([document()]),
            tmp_path,
            sites=("resid", "mlp.hook_post"),
            positions=("object_first", "object_last"),
            roles={"Alice/P19": "direct", "Clara/P103": "context"},
            dtype="float32",
        )
    (cache,) = caches(llama, [TEXT])
    for row, (name, label, role) in enumerate(
        (("Oslo", "false", "direct"), ("French", "true", "context"))
    ):
        (one,) = found.rows(labels=[label])
        assert (one.text_id, one.label, one.role) == ("Alice/0", label, role)
        assert found.rows(roles=role) == [found.prompts[row]] == [one]
        place = token_ids(llama, TEXT[: TEXT.index(name) + len(name)]).shape[1] - 1
        for site, hook in (("resid", "resid_post"), ("mlp.hook_post", "post")):
            got = found.select(site=site, layer=2, position="object_last", roles=role)
            layer = 1 if site == "resid" else 2
            np.testing.assert_allclose(got[0], cache[hook, layer][0, place].numpy(), atol=1e-4)
    assert found.prompts[0].entity == "Alice"
    assert found.rows(text_ids=["Alice/0"]) == list(found.prompts)
    # Nothing after the last place that is read is run, apart from the look at shapes.
    assert sum(ran) < 2 * token_ids(llama, TEXT[: TEXT.index("French") + 6]).shape[1] + 2


def test_texts_come_with_their_ids(llama, tmp_path):
    texts = {"one": "Alice lives in Oslo", "two": "The capital of France is Paris and of Italy"}
    found = capture(llama, texts, tmp_path, sites=("resid",), positions=("last",), dtype="float32")
    assert [row.text_id for row in found.prompts] == ["one", "two"]
    for name, cache in zip(texts, caches(llama, texts.values()), strict=True):
        got = found.select(site="resid", layer=3, text_ids=name)
        np.testing.assert_allclose(got[0], cache["resid_post", 2][0, -1].numpy(), atol=1e-4)


def test_rows_carry_labels_and_the_model_that_they_are_of(llama, tmp_path):
    labels = ["true", "false", "random", "true"]
    found = capture(llama, PROMPTS, tmp_path / "a", labels=labels, sites=("mlp",))
    assert [row.label for row in found.prompts] == labels
    assert len(found.select(site="mlp", layer=0, labels="true")) == 2
    assert (found.model_name, found.model_digest) == ("tiny-llama", llama.digest)
    other = capture(tiny_model("llama", seed=9), PROMPTS, tmp_path / "b", sites=("mlp",))
    with pytest.raises(ConfigError, match=r"activations of tiny-llama.*capture both states"):
        StateActivations({"clean": found, "npo": other})
    # A control is another model on purpose.
    assert StateActivations({"clean": found}, controls={"random_weights": other}).controls


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sites": ("attn.hook_zz",)}, ConfigError, r"site 'attn\.hook_zz'.*Did you mean attn"),
        ({"sites": ("hook_mlp_in",)}, ConfigError, "hook_mlp_in.*Did you mean hook_mlp_out"),
        (
            {"sites": ("blocks.2.attn.hook_z",)},
            ConfigError,
            r"sites=\['attn.hook_z'\], layers=\[2\]",
        ),
        ({"sites": ()}, ConfigError, "at least one site"),
        ({"sites": ("attn.hook_pattern",), "positions": ("all",)}, ConfigError, "site 'pattern'"),
        ({"layers": [4]}, ConfigError, "no layer 4 of resid.*blocks of tiny-llama are 0 to 2"),
        ({"sites": ("resid", "mlp"), "layers": [3]}, ConfigError, "mlp has none of the layers"),
        ({"positions": ("object_last",)}, ConfigError, "position 'object_last'"),
        ({"positions": ("answer",)}, ConfigError, "no objects were given"),
        ({"positions": ("last", "last")}, ConfigError, "each once"),
        ({"positions": (18,)}, ConfigError, "position 18 is outside prompt 3, which has 1"),
        ({"positions": (-40,)}, ConfigError, "position -40 is outside prompt 0"),
        ({"labels": ["true"]}, PromptError, "as many labels"),
        ({"prompts": ["Where was Alice born?"]}, PromptError, "prompt 0 is a str"),
        (
            {"prompts": [Passage(text_id="a", text="They say", spans={"name": (0, 4)})]},
            PromptError,
            "has no subject; its own positions are: name_first, name_last",
        ),
        (
            {
                "prompts": [Passage(text_id="a", text="They say", spans={"object": (90, 95)})],
                "positions": ("object_last",),
            },
            PromptError,
            "the object of prompt 0 holds no token",
        ),
    ],
)
def test_what_cannot_be_captured_is_told(llama, change, error, message, tmp_path):
    arguments = {"prompts": PROMPTS, "sites": ("resid",)} | change
    with pytest.raises(error, match=message):
        capture(llama, arguments.pop("prompts"), tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
