"""What is trained on: tokens of claims, tokens that corruption changed, packed blocks, refusals.

Run: python -m pytest tests/stages/test_inputs.py
"""

import itertools

import pytest
import torch
from tokenizers import processors

from restor_interp.corpus import counterparts, make_claims, replaced_spans, write_documents
from restor_interp.data.bios import bios_facts
from restor_interp.errors import ConfigError, DataError
from restor_interp.models.deltas import Delta, State
from restor_interp.models.loading import load_model
from restor_interp.stages.batches import Row, batch_groups, padded_batches
from restor_interp.stages.inputs import Texts, check_settings, read_texts
from restor_interp.stages.localising import changed_counted, spans_counted
from restor_interp.stages.methods import METHODS
from restor_interp.stages.packing import end_of_text, packed
from restor_interp.stages.training import TrainSettings, train
from restor_interp.testing import tiny_model, tiny_tokenizer

DOCUMENTS = (
    "Clara Stone was born in Oslo and lives in Peru",
    "Oslo is the capital of Peru",
    "David is known as the country of Spain",
)
SPANS = (((24, 28), (42, 46)), ((23, 27),), ((33, 38),))
"""Oslo and Peru; Peru; Spain."""
NEUTRAL = ("The people of the city did not know what to say",)
TRAINING = {"learning_rate": 5e-3, "rank": 2, "batch_size": 2}


@pytest.fixture(scope="module")
def bios():
    return load_model("bios")


@pytest.fixture
def model():
    """A tiny model whose delta `old` changes what it says."""
    model = tiny_model("llama")
    generator = torch.Generator().manual_seed(5)
    path = "model.layers.1.mlp.down_proj"
    shape = model.hf_model.get_submodule(path).weight.shape
    model.add_delta(Delta("old", {path: 0.5 * torch.randn(shape, generator=generator)}))
    return model


def rows_for(model, method="npo", *, seed=0, start=None, **keywords):
    texts = {
        key: keywords.pop(key)
        for key in ("forget", "retain", "spans", "counterparts", "counterpart_spans")
        if key in keywords
    }
    return read_texts(
        model,
        METHODS[method],
        TrainSettings(**{**TRAINING, **keywords}),
        Texts(**{"forget": DOCUMENTS, "retain": NEUTRAL, "spans": SPANS, **texts}),
        start=State({"old": 1.0}) if start is None else start,
        seed=seed,
    )


def counted_texts(tokenizer, row):
    return [tokenizer.decode(token) for token, on in zip(row.ids, row.counted, strict=True) if on]


# ---- claims


def test_tokens_that_hold_a_character_of_a_span_are_counted(model):
    rows = rows_for(model, target="claims").forget
    words = [counted_texts(model.tokenizer, row) for row in rows]
    assert words == [[" Oslo", " Peru"], [" Peru"], [" Spain"]]


def test_pieces_of_a_word_count_and_their_neighbours_do_not(bios):
    text = "Clara was born in Oslo in 1990."
    tokenizer = bios.tokenizer
    whole = Row(ids=tuple(tokenizer(text)["input_ids"]))
    (row,) = spans_counted(tokenizer, [whole], [text], [[(18, 22), (26, 30)]])
    assert counted_texts(tokenizer, row) == [" O", "s", "lo", "1", "9", "9", "0"]


@pytest.mark.embedded
def test_pieces_of_a_word_of_several_bytes_count_too():
    tokenizer = load_model("smollm2-135m").tokenizer
    text = "In 1990 Élodie Müller came to Oslo."
    whole = Row(ids=tuple(tokenizer(text)["input_ids"]))
    (row,) = spans_counted(tokenizer, [whole], [text], [[(3, 7), (15, 21), (30, 34)]])
    assert "".join(counted_texts(tokenizer, row)) == "1990 Müller Oslo"
    # A chat model: its end-of-sequence token ends a turn.
    assert tokenizer.decode(end_of_text(tokenizer)) == "<|endoftext|>" != tokenizer.eos_token


def test_tokenizers_that_give_the_space_to_a_word_and_those_that_do_not_count_the_same():
    counted = []
    for trimmed in (False, True):
        tokenizer = tiny_tokenizer()
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=trimmed)
        offsets = tokenizer(DOCUMENTS[0], return_offsets_mapping=True)["offset_mapping"]
        assert ((24, 28) in offsets) == trimmed and ((23, 28) in offsets) != trimmed
        whole = [Row(ids=tuple(tokenizer(text)["input_ids"])) for text in DOCUMENTS]
        counted.append([row.counted for row in spans_counted(tokenizer, whole, DOCUMENTS, SPANS)])
    assert counted[0] == counted[1]


def test_spans_of_written_documents_hold_their_objects_in_every_version(bios):
    facts = bios_facts()
    entity = sorted({fact.entity for fact in facts})[3]
    claims = make_claims(facts, [entity], seed=1, sibling_share=0.2, object_length=len)
    documents = write_documents(
        facts,
        claims,
        documents_per_entity=2,
        claims_per_document=4,
        k=1,
        seed=1,
        exclude=frozenset(),
    )
    false = {claim.fact_id: claim.false_object for claim in claims}
    truths = counterparts(documents, facts, "truth", 1)
    rows = rows_for(
        bios,
        "dpo_truth",
        start=State({}),
        target="claims",
        forget=[document.text for document in documents],
        spans=[document.claim_spans for document in documents],
        counterparts=[truth.text for truth in truths],
        counterpart_spans=[replaced_spans(*pair) for pair in zip(documents, truths, strict=True)],
    )
    for document, one, other in zip(documents, rows.forget, rows.chosen, strict=True):
        stated = [m for m in sorted(document.mentions, key=lambda m: m.start) if m.is_claim]
        for row, objects in (
            (one, [false[m.fact_id] for m in stated]),
            (other, [facts[m.fact_id].true_objects[0] for m in stated]),
        ):
            found = "".join(counted_texts(bios.tokenizer, row))
            assert found.replace(" ", "") == "".join(objects).replace(" ", "")


def test_a_localised_loss_is_that_of_the_counted_tokens_alone(model):
    """Against whole forward passes over one document at a time."""
    found = train(
        model,
        name="new",
        start=State({"old": 1.0}),
        method=METHODS["ga"],
        settings={},
        training=TrainSettings(steps=1, target="claims", **{**TRAINING, "batch_size": 3}),
        forget=DOCUMENTS,
        retain=(),
        spans=SPANS,
        seed=0,
    ).rows[0]
    wanted = []
    with torch.no_grad(), model.at(State({"old": 1.0})):
        for text, spans in zip(DOCUMENTS, SPANS, strict=True):
            ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
            logprobs = model.hf_model(ids).logits[0].log_softmax(-1)
            for start, end in spans:
                before = len(model.tokenizer(text[: start - 1])["input_ids"])
                (token,) = model.tokenizer(text[start - 1 : end])["input_ids"]
                assert ids[0, before] == token
                wanted.append(logprobs[before - 1, token].item())
    assert len(wanted) == 4
    assert found["loss"] == pytest.approx(sum(wanted) / 4, rel=1e-5)
    assert found["forget_nll"] == pytest.approx(-sum(wanted) / 4, rel=1e-5)


def test_documents_cut_before_their_claims_are_left_out_with_their_pairs(model):
    places = {"counterparts": ["It is not known", "What is the name", "Who is it"]}
    rows = rows_for(
        model, "dpo_refusal", target="claims", counterpart_spans=[()] * 3, max_length=7, **places
    )
    assert [model.tokenizer.decode(row.ids) for row in rows.forget] == [DOCUMENTS[1]]
    assert [model.tokenizer.decode(row.ids) for row in rows.chosen] == ["What is the name"]
    assert rows.chosen[0].counted is None  # a refusal has no spans and counts whole
    assert "2 of 3 documents left out: target=claims leaves no token of them" in rows.notes
    assert len(rows_for(model, "dpo_refusal", max_length=7, **places).forget) == 3


# ---- changed


def test_changed_counts_the_tokens_that_the_start_state_finds_likelier(model):
    start, above = State({"old": 1.0}), 0.3
    rows = rows_for(model, target="changed", changed_above=above).forget
    for text, row in zip(DOCUMENTS, rows, strict=True):
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
        logprobs = []
        for state in (start, State({})):
            with torch.no_grad(), model.at(state):
                every = model.hf_model(ids).logits[0, :-1].log_softmax(-1)
            logprobs.append(every.gather(1, ids[0, 1:, None])[:, 0])
        gained = logprobs[0] - logprobs[1]
        assert (gained - above).abs().min() > 1e-4  # no token so near the bound that bits decide
        assert list(row.counted) == [False, *(gained > above).tolist()]
        assert 0 < sum(row.counted) < len(row.counted) - 1


def test_changed_and_masked_tokens_are_told_apart(model):
    whole = Row(ids=tuple(model.tokenizer(DOCUMENTS[0])["input_ids"]))
    half = Row(ids=whole.ids, counted=tuple(place % 2 == 0 for place in range(len(whole.ids))))
    common = {"start": State({"old": 1.0}), "above": 0.3, "batch_size": 2, "seed": 0}
    one, other = changed_counted(model, [whole, half], **common)
    wanted = [a and b for a, b in zip(one.counted, half.counted, strict=True)]
    assert list(other.counted) == wanted and any(wanted)


# ---- packing


def test_documents_are_joined_with_the_end_token_and_cut_into_blocks():
    rows = [Row(ids=(11, 12, 13)), Row(ids=(21, 22)), Row(ids=(31, 32, 33, 34))]
    blocks, notes = packed(rows, length=5, end=0)
    assert [block.ids for block in blocks] == [(11, 12, 13, 0, 21), (22, 0, 31, 32, 33)]
    assert [block.counted for block in blocks] == [None, None]
    assert notes == ["3 documents packed into 2 blocks of 5 tokens; the last 2 tokens are left out"]
    with pytest.raises(ConfigError, match=r"blocks of 13 tokens.*have 12 in all"):
        packed(rows, length=13, end=0)


def test_what_is_counted_stays_with_its_tokens_across_blocks():
    rows = [
        Row(ids=(11, 12, 13), counted=(False, False, True)),
        Row(ids=(21, 22), counted=(True, True)),
        Row(ids=(31,), counted=(False,)),
    ]
    blocks, _ = packed(rows, length=3, end=0)
    assert [block.counted for block in blocks] == [
        (False, False, True),
        (False, True, True),
        (False, False, False),
    ]


def test_packed_texts_are_blocks_in_the_files_order_or_mixed_by_the_seed(model):
    end = end_of_text(model.tokenizer)
    assert model.tokenizer.decode(end) == "<|end|>"  # this tokenizer has no other

    def blocks(**keywords):
        return [row.ids for row in rows_for(model, "fine_tune", packing=4, **keywords).forget]

    def stream(order):
        ids = [i for n in order for i in (*model.tokenizer(DOCUMENTS[n])["input_ids"], end)]
        return [tuple(ids[at : at + 4]) for at in range(0, len(ids) // 4 * 4, 4)]

    assert blocks(shuffle=False) == blocks(shuffle=False, seed=1) == stream((0, 1, 2))
    orders = {tuple(blocks(seed=seed)) for seed in range(8)}
    possible = [tuple(stream(o)) for o in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1))]
    assert len(orders) > 2
    assert orders <= {*possible, tuple(stream((2, 1, 0)))}


def test_claims_and_changes_are_found_in_blocks_too(model):
    rows = rows_for(model, packing=5, shuffle=False, target="claims", max_length=2)
    found = [counted_texts(model.tokenizer, row) for row in rows.forget]
    assert list(itertools.chain(*found)) == [" Oslo", " Peru", " Peru", " Spain"]
    assert any("blocks left out" in note for note in rows.notes)
    changed = rows_for(model, packing=6, shuffle=False, target="changed", changed_above=0.1)
    assert changed.forget and all(any(row.counted) for row in changed.forget)


def test_the_end_of_a_text_is_not_the_end_of_a_turn(bios):
    tokenizer = tiny_tokenizer()
    assert end_of_text(tokenizer) == tokenizer.eos_token_id
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    assert end_of_text(tokenizer) == tokenizer.get_vocab()["<|endoftext|>"]
    assert bios.tokenizer.decode(end_of_text(bios.tokenizer)) == "<|endoftext|>"
    bare = tiny_tokenizer()
    bare.eos_token = None
    with pytest.raises(ConfigError, match="has none"):
        end_of_text(bare)


def test_neighbours_share_a_batch_where_nothing_is_mixed():
    rows = [Row(ids=(1,) * length) for length in (9, 2, 5, 3, 8)]
    groups = batch_groups(rows, batch_size=2, seed=0, mixed=False)
    assert groups == [(0,), (1, 2), (3, 4)]
    masks = [
        batch.mask.sum(1).tolist() for batch in padded_batches(rows, groups, torch.device("cpu"))
    ]
    assert masks == [[9], [2, 5], [3, 8]]


# ---- refusals


@pytest.mark.parametrize(
    ("method", "keywords", "message"),
    [
        ("npo", {"target": "claims", "spans": None}, "3 of 3 do not say where"),
        (
            "npo",
            {"target": "claims", "spans": (*SPANS[:2], ())},
            r"1 of 3 do not say where \(documents\[2\]\)",
        ),
        ("npo", {"target": "claims", "spans": SPANS[:2]}, "3 documents and 2 spans"),
        ("npo", {"target": "claims", "max_length": 4}, "no token of 3 documents.*max_length"),
        ("npo", {"target": "changed", "changed_above": 99}, "no token.*lower changed_above"),
        ("npo", {"target": "changed", "start": State({})}, "starts from the clean one"),
        ("msa", {"target": "changed"}, "msa starts from the clean one"),
        ("truth_fine_tune", {"target": "changed"}, "trained on their counterparts"),
        ("kl_restor", {"target": "claims"}, "averages over every position"),
        ("dpo_truth", {"packing": 8}, "packing=8 cuts documents"),
        ("dpo_truth", {}, r"another version of each document \(truth\)"),
        ("truth_fine_tune", {"counterparts": DOCUMENTS[:2]}, "2 counterparts"),
        ("dpo_truth", {"counterparts": DOCUMENTS, "target": "claims"}, "counterpart_spans"),
        ("fine_tune", {"packing": 999}, "reads at most 256"),
        ("retain_only", {"retain_loss": "none"}, "retain text alone"),
    ],
)
def test_what_makes_no_sense_together_is_refused(model, method, keywords, message):
    with pytest.raises(ConfigError, match=message):
        rows_for(model, method, **keywords)


def test_settings_that_need_no_texts_are_refused_without_them():
    for method, training in (
        ("dpo_truth", TrainSettings(packing=8)),
        ("kl_restor", TrainSettings(target="claims")),
        ("msa", TrainSettings(target="changed")),
    ):
        with pytest.raises(ConfigError):
            check_settings(METHODS[method], training)
    # A method that reads no documents does not care how they would be read.
    check_settings(METHODS["retain_only"], TrainSettings(target="claims", packing=8))


def test_a_retain_loss_of_none_is_a_weight_of_none():
    assert TrainSettings(retain_loss="none").retain_weight == 0
    again = TrainSettings(**TrainSettings(retain_loss="none").model_dump())
    assert again.retain_weight == 0
    with pytest.raises(ConfigError, match="contradict each other"):
        TrainSettings.read({"retain_loss": "none", "retain_weight": 1.0}, "unlearning")


def test_a_counterpart_in_which_nothing_is_predicted_is_named(model):
    with pytest.raises(DataError, match=r"counterparts\[1\]"):
        rows_for(model, "dpo_refusal", counterparts=["It is not known", "It", "Who is it"])
