"""What the model says: greedy and sampled answers up to the line end."""

from collections.abc import Generator, Sequence

from restor_interp.errors import PromptError
from restor_interp.measure.prefixes import Ask, Reading, TokenPath
from restor_interp.measure.reading import read
from restor_interp.measure.sampling import Pick, Sampling, luck
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt


def generate_answers(
    model: HookedModel,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int = 16,
    max_tokens_per_batch: int | None = None,
) -> list[str]:
    """The model's greedy answer to each prompt in its current state: one line, stripped.

    Tokens that several prompts begin with are run once. Equal to one plain greedy generation per
    prompt, except where two tokens are equally likely up to rounding. `max_tokens_per_batch`
    bounds the memory (default: what suits the device).

    Raises `PromptError` for an empty prompt, or one longer than the model can read.
    """
    paths = prompt_paths(model, prompts)
    ends = LineEnds(model)
    said = read(
        model,
        [_say(path, ends, max_new_tokens) for path in paths],
        longest=max(map(len, paths), default=0) + max_new_tokens,
        max_tokens_per_batch=max_tokens_per_batch,
    )
    return [answer_text(model, tokens) for tokens in said]


def sample_answers(
    model: HookedModel,
    prompts: Sequence[Prompt],
    sampling: Sampling | None = None,
    *,
    draws: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    max_new_tokens: int = 16,
    max_tokens_per_batch: int | None = None,
) -> list[list[str]]:
    """Sampled answers to each prompt in the model's current state: one line each, stripped.

    Tokens that prompts and draws begin with are run once. Answers depend on the prompt and the
    `seed` alone, not on the batch they are drawn in (up to rounding: a uniform number must fall
    between two sums that differ in their last bits). `sampling` instead of the single settings
    brings the others (`top_k`, the length at least, …); `Sampling.of_restor` is RESTOR's.

    Raises `PromptError` as `generate_answers` does, and `ConfigError` for settings out of range.
    """
    if sampling is None:
        sampling = Sampling(draws=draws, temperature=temperature, top_p=top_p, seed=seed)
    paths = prompt_paths(model, prompts)
    ends = LineEnds(model)
    said = read(
        model,
        [
            continue_sampled(path, prompt, sampling, ends, max_new_tokens)
            for path, prompt in zip(paths, prompts, strict=True)
        ],
        longest=max(map(len, paths), default=0) + max_new_tokens,
        max_tokens_per_batch=max_tokens_per_batch,
    )
    return [[answer_text(model, tokens) for tokens in own] for own in said]


def prompt_paths(model: HookedModel, prompts: Sequence[Prompt]) -> list[TokenPath]:
    """Each prompt's tokens; no special tokens are added. Raises `PromptError` for an empty one."""
    paths = tokenise(model, [prompt.text for prompt in prompts])
    for prompt, path in zip(prompts, paths, strict=True):
        if not path:
            raise PromptError(f"the prompt of {prompt.fact_id or 'a fact'} has no tokens")
    return paths


def tokenise(model: HookedModel, texts: Sequence[str]) -> list[TokenPath]:
    """Token ids of texts, no special tokens added."""
    if not texts:
        return []
    ids = model.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [tuple(row) for row in ids]


class LineEnds:
    """Which tokens end an answer: those that hold a line break, and those that end the text."""

    def __init__(self, model: HookedModel) -> None:
        self._tokenizer = model.tokenizer
        configured = model.hf_model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        self.stops = tuple(sorted({self._tokenizer.eos_token_id, *several} - {None}))
        """Tokens that end the text."""
        self._texts: dict[int, str] = {}

    def __call__(self, token: int) -> bool:
        return token in self.stops or "\n" in self._text(token)

    def is_bare(self, token: int) -> bool:
        """Whether a token is a line break and nothing else."""
        return "\n" in self._text(token) and not self._text(token).strip()

    def _text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = self._tokenizer.decode([token])
        return self._texts[token]


def answer_text(model: HookedModel, tokens: Sequence[int]) -> str:
    """The first line of what the model said."""
    text = model.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text.partition("\n")[0].strip()


def _say(
    path: TokenPath, ends: LineEnds, max_new_tokens: int
) -> Generator[list[Ask], list[Reading], TokenPath]:
    return (yield from continue_greedily(path, {}, ends, max_new_tokens))


def continue_greedily(
    path: TokenPath,
    known: dict[TokenPath, int],
    ends: LineEnds,
    max_new_tokens: int,
) -> Generator[list[Ask], list[Reading], TokenPath]:
    """The most likely tokens after a path, up to the one that ends the answer.

    `known`: paths whose most likely next token has been read for another purpose.
    """
    said: TokenPath = ()
    while len(said) < max_new_tokens:
        here = path + said
        if here not in known:
            [reading] = yield [Ask(here)]
            known[here] = reading.greedy
        said += (known[here],)
        if ends(said[-1]):
            break
    return said


def continue_sampled(
    path: TokenPath, prompt: Prompt, sampling: Sampling, ends: LineEnds, max_new_tokens: int
) -> Generator[list[Ask], list[Reading], list[TokenPath]]:
    """Drawn tokens after a path, one answer per draw, each up to the token that ends it."""
    said: list[TokenPath] = [()] * sampling.draws
    numbers = [luck(prompt, draw, sampling.seed) for draw in range(1, sampling.draws + 1)]
    if sampling.max_length is not None:
        max_new_tokens = min(max_new_tokens, max(1, sampling.max_length - len(path)))
    going = range(sampling.draws)
    for step in range(max_new_tokens):
        forbidden = ends.stops if step < sampling.min_new_tokens else ()
        readings = yield [
            Ask(path + said[draw], pick=Pick(sampling, next(numbers[draw]), forbidden))
            for draw in going
        ]
        for draw, reading in zip(going, readings, strict=True):
            assert reading.drawn is not None
            said[draw] += (reading.drawn,)
        going = [draw for draw in going if not ends(said[draw][-1])]
        if not going:
            break
    return said
