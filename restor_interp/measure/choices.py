"""How likely a state makes given objects: whole objects, teacher-forced, up to the line end."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from restor_interp.errors import PromptError
from restor_interp.measure.answers import (
    LineEnds,
    answer_text,
    continue_greedily,
    continue_sampled,
    prompt_paths,
    tokenise,
)
from restor_interp.measure.prefixes import Ask, Reading, TokenPath
from restor_interp.measure.reading import read
from restor_interp.measure.sampling import Sampling
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class ChoiceScore:
    """Log-probability (nats) of one object as the answer to one prompt."""

    object: str
    tokens: TokenPath
    """The object's tokens as they follow the prompt, without the line end."""
    token_logprobs: tuple[float, ...]
    """Of each of these tokens, given the ones before."""
    line_end_logprob: float
    """Of the line end after the object; 0 where the last token already holds it."""
    first_divergence: int | None
    """Index of the first token at which this object differs from the first of its list (the
    first: from the second). None where there is no other."""

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    @property
    def sum_logprob(self) -> float:
        """Of the whole object and the line end: that the answer is this object, and no more."""
        return sum(self.token_logprobs) + self.line_end_logprob

    @property
    def mean_logprob(self) -> float:
        """Per token of the object, without the line end: RESTOR's normalised score."""
        return sum(self.token_logprobs) / len(self.token_logprobs)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a state says to each prompt, and how likely it makes the objects."""

    answers: list[str]
    """Greedy ones."""
    drawn: list[list[str]]
    """Sampled ones per prompt, one per draw; none without `sampling`."""
    scores: list[list[ChoiceScore]]
    """Per prompt, one per object."""


def score_choices(
    model: HookedModel,
    prompts: Sequence[Prompt],
    objects: Sequence[Sequence[str]],
    *,
    max_tokens_per_batch: int | None = None,
) -> list[list[ChoiceScore]]:
    """Log-probabilities of objects as answers, in the model's current state.

    Each object follows its prompt after one space and is followed by the line end. By convention
    the first object of a prompt is the true one and the second the false one, so that their
    `first_divergence` is where they part. Tokens that prompts or objects share are run once.

    Raises `PromptError` for an empty prompt or object, or one that is too long for the model, and
    where an object's first token swallows the end of the prompt (a prompt that ends in a space).
    """
    return _evaluate(model, prompts, objects, 0, None, max_tokens_per_batch).scores


def evaluate(
    model: HookedModel,
    prompts: Sequence[Prompt],
    objects: Sequence[Sequence[str]],
    *,
    max_new_tokens: int = 16,
    sampling: Sampling | None = None,
    max_tokens_per_batch: int | None = None,
) -> Evaluation:
    """`generate_answers` and `score_choices` in one pass: prompts are run once for both.

    A greedy answer that is one of the objects costs nothing beyond its score. With `sampling`,
    answers are drawn as well, as `sample_answers` draws them.
    """
    return _evaluate(model, prompts, objects, max_new_tokens, sampling, max_tokens_per_batch)


def _evaluate(
    model: HookedModel,
    prompts: Sequence[Prompt],
    objects: Sequence[Sequence[str]],
    max_new_tokens: int,
    sampling: Sampling | None,
    max_tokens_per_batch: int | None,
) -> Evaluation:
    paths = prompt_paths(model, prompts)
    continuations = object_paths(model, prompts, paths, objects)
    ends = LineEnds(model)
    longest = max(map(len, paths), default=0) + max(
        max_new_tokens, *(len(tokens) for own in continuations for tokens in own), 0
    )
    found = read(
        model,
        [
            _score_and_say(path, own, prompt, sampling, ends, max_new_tokens)
            for path, own, prompt in zip(paths, continuations, prompts, strict=True)
        ],
        longest=longest,
        max_tokens_per_batch=max_tokens_per_batch,
    )
    scores = [
        [
            _choice_score(index, names, own, logprobs, ends)
            for index, logprobs in enumerate(each.logprobs)
        ]
        for names, own, each in zip(objects, continuations, found, strict=True)
    ]
    drawn = [[answer_text(model, tokens) for tokens in each.drawn] for each in found]
    return Evaluation(
        answers=[answer_text(model, each.greedy) for each in found],
        drawn=[] if sampling is None else drawn,
        scores=scores,
    )


def object_paths(
    model: HookedModel,
    prompts: Sequence[Prompt],
    paths: Sequence[TokenPath],
    objects: Sequence[Sequence[str]],
) -> list[list[TokenPath]]:
    """Each object's tokens behind its prompt, up to the line end, as the tokenizer splits them
    when they stand there."""
    for prompt, names in zip(prompts, objects, strict=True):
        for name in names:
            if not name.strip() or "\n" in name:
                raise PromptError(f"{name!r} is no object: {prompt.question!r} was to be scored")
    texts = [
        f"{prompt.text} {name}\n"
        for prompt, names in zip(prompts, objects, strict=True)
        for name in names
    ]
    whole = iter(tokenise(model, texts))
    found = []
    for prompt, path, names in zip(prompts, paths, objects, strict=True):
        own = [next(whole) for _ in names]
        for name, tokens in zip(names, own, strict=True):
            if tokens[: len(path)] != path or len(tokens) == len(path):
                raise PromptError(
                    f"the tokens of {prompt.question!r} change when {name!r} follows after a space:"
                    " end the prompt with a word or a punctuation mark, not with a space"
                )
        found.append([tokens[len(path) :] for tokens in own])
    return found


@dataclass(frozen=True, kw_only=True)
class _Found:
    logprobs: list[tuple[float, ...]]
    """Per object, of each of its tokens and the line end."""
    greedy: TokenPath
    drawn: list[TokenPath]


def _score_and_say(
    path: TokenPath,
    continuations: Sequence[TokenPath],
    prompt: Prompt,
    sampling: Sampling | None,
    ends: LineEnds,
    max_new_tokens: int,
) -> Generator[list[Ask], list[Reading], _Found]:
    logprobs, greedy = yield from read_continuations(path, continuations)
    said = yield from continue_greedily(path, greedy, ends, max_new_tokens)
    drawn: list[TokenPath] = []
    if sampling is not None:
        drawn = yield from continue_sampled(path, prompt, sampling, ends, max_new_tokens)
    return _Found(logprobs=logprobs, greedy=said, drawn=drawn)


def read_continuations(
    path: TokenPath, continuations: Sequence[TokenPath]
) -> Generator[list[Ask], list[Reading], tuple[list[tuple[float, ...]], dict[TokenPath, int]]]:
    """Log-probability of every token of the continuations of a path, each node read once.

    Also returns the most likely next token at every node.
    """
    wanted: dict[TokenPath, dict[int, int]] = {path: {}}
    for tokens in continuations:
        for index, token in enumerate(tokens):
            at = wanted.setdefault(path + tokens[:index], {})
            at.setdefault(token, len(at))
    readings = yield [Ask(node, tuple(tokens)) for node, tokens in wanted.items()]
    at_node = dict(zip(wanted, readings, strict=True))
    logprobs = [
        tuple(
            at_node[node].logprobs[wanted[node][token]]
            for index, token in enumerate(tokens)
            for node in [path + tokens[:index]]
        )
        for tokens in continuations
    ]
    return logprobs, {node: reading.greedy for node, reading in at_node.items()}


def _choice_score(
    index: int,
    names: Sequence[str],
    continuations: Sequence[TokenPath],
    logprobs: tuple[float, ...],
    ends: LineEnds,
) -> ChoiceScore:
    tokens = continuations[index]
    apart = len(tokens) - ends.is_bare(tokens[-1])
    other = 0 if index else 1
    return ChoiceScore(
        object=names[index],
        tokens=tokens[:apart],
        token_logprobs=logprobs[:apart],
        line_end_logprob=sum(logprobs[apart:]),
        first_divergence=(
            first_divergence(tokens, continuations[other]) if other < len(names) else None
        ),
    )


def first_divergence(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Index of the first token at which two objects differ; None for equal ones."""
    pairs = enumerate(zip(one, other, strict=False))
    shorter = None if len(one) == len(other) else min(len(one), len(other))
    return next((index for index, (first, second) in pairs if first != second), shorter)


def log_sum_exp(logprobs: Sequence[float]) -> float:
    """Log-probability that any of several answers is given, such as an object's spellings."""
    return float(np.logaddexp.reduce(np.asarray(logprobs, dtype=float), initial=-np.inf))
