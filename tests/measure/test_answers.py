"""Greedy answers against transformers' own `generate`, prompt by prompt.

Run: python -m pytest tests/measure/test_answers.py
"""

import pytest
import torch

from restor_interp.errors import PromptError
from restor_interp.measure.answers import LineEnds, generate_answers
from restor_interp.prompts import Prompt
from restor_interp.testing import FAMILIES, tiny_model

SHOTS = (
    "Question: Where was Clara born? Answer: Paris\nQuestion: Where was David born? Answer: Rome\n",
    "Question: What language does Bruno speak? Answer: Italian\n",
)
QUESTIONS = [
    (shots, f"Question: Where {verb} {name}{rest} Answer:")
    for shots in (*SHOTS, "")
    for verb in ("was", "did")
    for name in ("Alice Stone", "Bruno", "Zoë", "Alice")
    for rest in ("?", " live?")
]
PROMPTS = [Prompt(prefix=prefix, question=question) for prefix, question in QUESTIONS]


def talkative(family):
    """A tiny model that ends its lines after a few tokens, as trained ones do."""
    model = tiny_model(family)
    newline = model.tokenizer.convert_tokens_to_ids("Ċ")
    with torch.no_grad():
        model.hf_model.get_output_embeddings().weight[newline] *= 3
    return model


@pytest.fixture(scope="module")
def models():
    return {family: talkative(family) for family in FAMILIES}


def generated(model, prompt, max_new_tokens):
    ids = model.tokenizer(prompt.text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        whole = model.hf_model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=0,
        )
    said = model.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    return said.split("\n")[0].strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_plain_generation(models, family):
    model = models[family]
    expected = [generated(model, prompt, 8) for prompt in PROMPTS]
    assert generate_answers(model, PROMPTS, max_new_tokens=8) == expected
    assert len(set(expected)) > 4  # a model that always says the same would prove nothing


@pytest.mark.parametrize("budget", [1, 50])
def test_small_batches_and_any_order_give_the_same_answers(models, budget):
    model = models["llama"]
    whole = generate_answers(model, PROMPTS, max_new_tokens=6)
    assert generate_answers(model, PROMPTS, max_new_tokens=6, max_tokens_per_batch=budget) == whole
    mixed = PROMPTS[::-3] + PROMPTS[::2]
    expected = [whole[PROMPTS.index(prompt)] for prompt in mixed]
    assert generate_answers(model, mixed, max_new_tokens=6) == expected


def scripted(model, monkeypatch, said):
    """The model says these tokens, whatever it is asked."""
    ids = [model.tokenizer.convert_tokens_to_ids(token) for token in said]
    assert None not in ids
    prompt = PROMPTS[0]
    start = len(model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"])
    forward = model.hf_model.forward

    def forced(*arguments, **keywords):
        output = forward(*arguments, **keywords)
        places = keywords["position_ids"][0][keywords["logits_to_keep"]]
        for row, place in enumerate(places.tolist()):
            output.logits[0, row, ids[min(max(place - start + 1, 0), len(ids) - 1)]] = 1e4
        return output

    return prompt, forced


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (["ĠOslo", "Ċ", "ĠRome"], "Oslo"),
        (["ĠOslo", "ĠRome", "<|end|>", "ĠLima"], "Oslo Rome"),
        (["Ċ", "ĠOslo"], ""),
        (["Ġ", "ĠOslo", "Ġ", "Ċ"], "Oslo"),
        (["ĠOslo"], "Oslo Oslo Oslo Oslo"),
        (["<|end|>"], ""),
    ],
)
def test_an_answer_ends_at_the_line_end_the_end_of_text_or_the_limit(monkeypatch, said, answer):
    model = tiny_model("llama")
    prompt, forced = scripted(model, monkeypatch, said)
    generate_answers(model, [prompt], max_new_tokens=4)  # the engine is verified unforced
    monkeypatch.setattr(type(model.hf_model), "forward", lambda self, *a, **k: forced(*a, **k))
    assert generate_answers(model, [prompt], max_new_tokens=4) == [answer]


def test_line_ends_are_tokens_with_a_line_break_and_those_that_end_the_text():
    model = tiny_model("llama")
    ends = LineEnds(model)
    newline, stop, word = (
        model.tokenizer.convert_tokens_to_ids(token) for token in ("Ċ", "<|end|>", "ĠOslo")
    )
    assert (ends(newline), ends(stop), ends(word)) == (True, True, False)
    assert (ends.is_bare(newline), ends.is_bare(stop), ends.is_bare(word)) == (True, False, False)
    model.hf_model.generation_config.eos_token_id = [word, 7]
    assert LineEnds(model)(word)


def test_no_prompts_give_no_answers_and_empty_ones_are_refused(models):
    model = models["llama"]
    assert generate_answers(model, []) == []
    with pytest.raises(PromptError, match="the prompt of Alice/P19 has no tokens"):
        generate_answers(model, [PROMPTS[0], Prompt(prefix="", question="", fact_id="Alice/P19")])


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(models):
    model = models["llama"]
    long = Prompt(prefix="Rome " * 250, question="Oslo")
    with pytest.raises(PromptError, match=r"reads at most 256.*few-shot"):
        generate_answers(model, [PROMPTS[0], long])
