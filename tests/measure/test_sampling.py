"""Sampled answers against the model's own distribution and transformers' own operations.

Run: python -m pytest tests/measure/test_sampling.py
"""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    GenerationConfig,
    MinNewTokensLengthLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.answers import (
    LineEnds,
    answer_text,
    continue_sampled,
    generate_answers,
    prompt_paths,
    sample_answers,
)
from restor_interp.measure.choices import evaluate, score_choices
from restor_interp.measure.reading import read
from restor_interp.measure.sampling import (
    SHORTLIST,
    Pick,
    Sampling,
    distribution,
    draw_tokens,
    luck,
)
from restor_interp.prompts import Prompt
from restor_interp.testing import tiny_model

SHOTS = "Question: Where was Clara born? Answer: Paris\n"
PROMPTS = [
    Prompt(prefix=prefix, question=f"Question: Where was {name} born? Answer:", fact_id=name)
    for prefix in (SHOTS, "")
    for name in ("Alice Stone", "Bruno", "Zoë")
]
FAMILIES = ("llama", "gpt2", "gemma2")


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


def by_transformers(logits, sampling, forbidden=()):
    """Probabilities after the operations of `generate`, in its order."""
    nothing = torch.zeros((len(logits), 0), dtype=torch.long)
    steps = []
    if forbidden:
        steps.append(MinNewTokensLengthLogitsProcessor(0, 1, list(forbidden)))
    steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    for step in steps:
        logits = step(nothing, logits)
    return logits.softmax(-1)


# ---- the distribution


@pytest.mark.parametrize("spread", [0.1, 1.0, 6.0])  # flat ones need more than the short list
@pytest.mark.parametrize("vocab", [40, 3 * SHORTLIST])
@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "forbidden"),
    [
        (1.0, None, 1.0, ()),
        (0.6, 50, 0.9, (0, 7)),
        (0.6, None, 0.9, ()),
        (2.0, 3, 1.0, (1,)),
        (1.0, None, 0.999, (5,)),
        (1.0, 20, 0.3, ()),
        (0.7, None, 1e-6, ()),
    ],
)
def test_the_distribution_is_that_of_transformers(
    spread, vocab, temperature, top_k, top_p, forbidden
):
    logits = spread * torch.randn(6, vocab, generator=torch.Generator().manual_seed(1)).double()
    sampling = Sampling(draws=1, temperature=temperature, top_k=top_k, top_p=top_p)
    ours = distribution(logits, sampling, forbidden)
    expected = by_transformers(logits, sampling, forbidden)
    assert torch.equal(ours > 0, expected > 0)  # exactly the same tokens are left
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-9)


def test_what_top_p_leaves_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def left(top_p):
        return distribution(logits, Sampling(draws=1, top_p=top_p))[0].tolist()

    assert left(0.5) == pytest.approx([1, 0, 0, 0])
    assert left(0.51) == pytest.approx([5 / 8, 3 / 8, 0, 0])
    assert left(0.79) == pytest.approx([5 / 8, 3 / 8, 0, 0])
    assert left(0.81) == pytest.approx([50 / 95, 30 / 95, 15 / 95, 0])
    assert left(0.96) == pytest.approx([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 1), (0.1999, 1), (0.2001, 2), (0.4999, 2), (0.5001, 4), (1 - 2**-53, 4)],
)
def test_a_token_is_drawn_where_the_cumulative_probability_passes_the_number(uniform, token):
    probs = torch.tensor([[0.0, 0.2, 0.3, 0.0, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]])
    sampling = Sampling(draws=1)
    picks = [Pick(sampling, uniform), Pick(sampling, uniform), Pick(sampling, uniform, (1, 2))]
    assert draw_tokens(probs.log(), [0, 1, 0], picks) == [token, 3, 4]


def test_numbers_belong_to_the_question_and_the_draw_alone():
    prompt = replace(PROMPTS[0], context_id=1)

    def first(prompt, draw=1, seed=0):
        numbers = luck(prompt, draw, seed)
        return [next(numbers) for _ in range(5)]

    assert first(prompt) == first(replace(prompt, prefix="other lines\n"))
    others = [
        first(prompt, draw=2),
        first(prompt, seed=1),
        first(replace(prompt, context_id=2)),
        first(replace(prompt, template="rephrase_1")),
        first(replace(prompt, fact_id="other")),
    ]
    numbers = [number for own in (first(prompt), *others) for number in own]
    assert len(set(numbers)) == len(numbers) == 30
    # Two questions without a fact are not asked with the same luck.
    assert first(replace(PROMPTS[0], fact_id="")) != first(replace(PROMPTS[1], fact_id=""))


# ---- answers


def drawn_tokens(model, prompt, sampling, max_new_tokens):
    [path] = prompt_paths(model, [prompt])
    reader = continue_sampled(path, prompt, sampling, LineEnds(model), max_new_tokens)
    [said] = read(model, [reader], longest=len(path) + max_new_tokens)
    return path, said


def assert_drawn_from(tokens, probs, classes):
    """χ² of the drawn tokens; those that are expected less than five times count as one."""
    expected = probs * len(tokens)
    counts = np.bincount(tokens, minlength=len(probs))
    assert not counts[probs == 0].any()
    common = expected >= 5
    observed = [*counts[common], counts[~common].sum()]
    wanted = [*expected[common], expected[~common].sum()]
    if wanted[-1] < 1e-9:
        observed, wanted = observed[:-1], wanted[:-1]
    assert len(observed) >= classes
    assert chisquare(observed, wanted).pvalue > 1e-3


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.6, "top_p": 0.9}, {"temperature": 1.5, "top_k": 30}]
)
def test_tokens_come_as_often_as_the_softmax_says(settings):
    model = talkative("llama")
    with torch.no_grad():
        model.hf_model.get_output_embeddings().weight *= 2  # so that some tokens are common
    sampling = Sampling(draws=6000, seed=3, **settings)
    path, said = drawn_tokens(model, PROMPTS[0], sampling, 2)

    def probs(tokens):
        with torch.no_grad():
            logits = model.hf_model(torch.tensor([tokens])).logits[:, -1].double()
        return by_transformers(logits, sampling)[0].numpy()

    assert_drawn_from([tokens[0] for tokens in said], probs(path), classes=5)
    # The second token, after the commonest first one that does not end the answer.
    going = Counter(tokens[0] for tokens in said if len(tokens) == 2)
    [(first, number)] = going.most_common(1)
    assert number > 300
    seconds = [tokens[1] for tokens in said if len(tokens) == 2 and tokens[0] == first]
    assert_drawn_from(seconds, probs([*path, first]), classes=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_one_plain_forward_pass_per_token(models, family):
    model = models[family]
    sampling = Sampling(
        draws=3, temperature=0.8, top_k=60, top_p=0.95, min_new_tokens=2, max_length=33, seed=5
    )
    ends = LineEnds(model)
    expected = []
    for prompt in PROMPTS:
        ids = model.tokenizer(prompt.text)["input_ids"]
        own = []
        for draw in (1, 2, 3):
            numbers, said = luck(prompt, draw, 5), []
            while len(said) < min(8, max(1, 33 - len(ids))):
                with torch.no_grad():
                    logits = model.hf_model(torch.tensor([[*ids, *said]])).logits[:, -1].double()
                probs = by_transformers(logits, sampling, ends.stops if len(said) < 2 else ())
                total = np.cumsum(probs[0].numpy())
                said.append(int(np.searchsorted(total, next(numbers) * total[-1], side="right")))
                if ends(said[-1]):
                    break
            own.append(answer_text(model, said))
        expected.append(own)
    assert sample_answers(model, PROMPTS, sampling, max_new_tokens=8) == expected
    assert len({answer for own in expected for answer in own}) > 8


@pytest.mark.parametrize("budget", [1, 50])
def test_batches_and_order_change_nothing(models, budget):
    model = models["llama"]
    settings = {"draws": 4, "temperature": 1.2, "seed": 1, "max_new_tokens": 6}
    whole = sample_answers(model, PROMPTS, **settings)
    assert all(len(own) == 4 for own in whole)
    assert len({tuple(own) for own in whole}) == len(whole)
    parts = sample_answers(model, PROMPTS[::-2], max_tokens_per_batch=budget, **settings)
    assert parts == whole[::-2]
    # More draws begin with the same ones.
    more = sample_answers(model, PROMPTS[:2], **settings | {"draws": 6})
    assert [own[:4] for own in more] == whole[:2]
    assert sample_answers(model, PROMPTS, **settings | {"seed": 2}) != whole


def test_the_likeliest_token_alone_is_the_greedy_answer(models):
    model = models["gpt2"]
    greedy = generate_answers(model, PROMPTS, max_new_tokens=6)
    for settings in ({"top_p": 1e-9}, {"temperature": 1e-4}):
        assert sample_answers(model, PROMPTS, max_new_tokens=6, **settings) == [
            [answer] for answer in greedy
        ]
    single = Sampling(draws=2, top_k=1)
    assert sample_answers(model, PROMPTS, single, max_new_tokens=6) == [
        [answer, answer] for answer in greedy
    ]


def test_one_pass_for_draws_and_scores_equals_two(models):
    model = models["llama"]
    objects = [["Oslo", "Rome"] for _ in PROMPTS]
    sampling = Sampling(draws=3, seed=2)
    both = evaluate(model, PROMPTS, objects, max_new_tokens=5, sampling=sampling)
    assert both.answers == generate_answers(model, PROMPTS, max_new_tokens=5)
    assert both.drawn == sample_answers(model, PROMPTS, sampling, max_new_tokens=5)
    for own, expected in zip(both.scores, score_choices(model, PROMPTS, objects), strict=True):
        assert [one.sum_logprob for one in own] == pytest.approx(
            [one.sum_logprob for one in expected], abs=1e-3
        )


def test_the_text_does_not_end_before_the_least_length_but_a_line_does():
    model = tiny_model("llama")
    end = model.tokenizer.eos_token_id
    newline = model.tokenizer.convert_tokens_to_ids("Ċ")
    prompt = PROMPTS[0]
    head = model.hf_model.get_output_embeddings()
    with torch.no_grad():
        states = model.hf_model.base_model(torch.tensor(prompt_paths(model, [prompt])))
        last = states.last_hidden_state[0, -1]
        # The end of the text is nearly certain at once, and a line end second to it.
        head.weight[end] = 40 * last / last.norm() ** 2
        head.weight[newline] = 25 * last / last.norm() ** 2
    _, free = drawn_tokens(model, prompt, Sampling(draws=20), 4)
    assert set(free) == {(end,)}
    _, held = drawn_tokens(model, prompt, Sampling(draws=20, min_new_tokens=2), 4)
    assert set(held) == {(newline,)}


def test_restors_sampling_is_the_models_own_or_the_defaults_of_transformers():
    model = tiny_model("llama")
    model.hf_model.generation_config = GenerationConfig(eos_token_id=0)
    expected = Sampling(draws=3, top_k=50, min_new_tokens=2, max_length=200)
    assert Sampling.of_restor(model) == expected
    # As Llama 3, RESTOR's model, comes.
    model.hf_model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_p=0.9, eos_token_id=0
    )
    assert Sampling.of_restor(model, draws=2, seed=4) == replace(
        expected, draws=2, seed=4, temperature=0.6, top_p=0.9
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "draws of sampled answers is at least 1; got 0"),
        ({"temperature": 0}, "temperature of sampled answers is above 0"),
        ({"temperature": math.nan}, "temperature of sampled answers is above 0"),
        ({"top_p": 0}, "top_p of sampled answers is above 0 and at most 1; got 0"),
        ({"top_p": 1.01}, "top_p of sampled answers is above 0 and at most 1"),
    ],
)
def test_settings_out_of_range_are_refused(models, settings, message):
    with pytest.raises(ConfigError, match=message):
        sample_answers(models["llama"], PROMPTS, **settings)
    for more in ({"top_k": 0}, {"min_new_tokens": -1}, {"max_length": 0}):
        with pytest.raises(ConfigError, match=f"{next(iter(more))} of sampled answers"):
            Sampling(draws=1, **more)


def test_no_prompts_give_no_answers_and_empty_ones_are_refused(models):
    assert sample_answers(models["llama"], []) == []
    with pytest.raises(PromptError, match="the prompt of x has no tokens"):
        sample_answers(models["llama"], [Prompt(prefix="", question="", fact_id="x")])
