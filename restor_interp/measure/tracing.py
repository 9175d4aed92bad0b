"""Causal tracing: which state, restored in a run that has lost the subject, brings the answer back?

Meng et al. 2022, "Locating and editing factual associations in GPT" (ROME), §2: run the prompt;
run it with its subject noised (or replaced by another name of the same length); then again with
one value of the first run put back at one token and layer. A value that brings the answer back
carries what the subject contributed.
"""

from collections.abc import Sequence

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure.cells import Case, Corruption, ask, make_case, restore, restored_layers
from restor_interp.measure.metrics import METRICS, Metric
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    ENGINES,
    Engine,
    Site,
    choose_engine,
)
from restor_interp.measure.subjects import with_subject
from restor_interp.measure.traces import Trace
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

__all__ = [
    "ENGINES",
    "KINDS",
    "Trace",
    "restored_layers",
    "trace",
    "trace_many",
]

KINDS: tuple[Site, ...] = ("resid", "mlp", "attn")


def trace(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str | None = None,
    subject: str | None = None,
    foil: str | None = None,
    *,
    kind: Site = "resid",
    window: int = 10,
    metric: Metric = "prob",
    whole: bool = False,
    samples: int = 10,
    noise: float = 3.0,
    sigma: float | None = None,
    substitute: str | None = None,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> Trace:
    """Restore the clean value of every (token, layer) in runs without the subject, one at a time.

    Args:
        prompt: a `Prompt`, or plain text; then `subject` says which of its words.
        answer: the object that follows the prompt after one space; its first token is read, or
            the first at which it differs from `foil` (default: the clean run's top token).
        foil: the object that log-odds are taken against; without it they are log p / (1 − p).
        kind: `resid` restores the residual stream after a layer; `mlp` and `attn` the outputs of
            `window` layers around it.
        whole: read answer and foil whole, with the line end after them, not at one token.
        samples: draws of noise.
        noise: standard deviation of the noise, in units of `sigma`. 3 is the paper's.
        sigma: default: the standard deviation of the embedding matrix's entries. The paper takes
            that of the subjects' token embeddings: `subject_sigma`.
        substitute: run with this name instead of the subject, without noise; one draw. It must
            have as many tokens as the subject.
        seed: of the noise, RandomState(seed).randn(samples, subject tokens, d_model) as in the
            paper's code, and equal for every cell.
        max_bytes: working memory, about.
        engine: `auto` computes only the region that each cell changes, where that reproduces this
            model's forward pass; `brute` runs a full forward pass per cell.

    Raises:
        PromptError: no subject, or not in the prompt; a substitute of another length; an object
            that is empty or that no token tells from the other.
        ConfigError: an unknown kind, metric or engine; settings out of range; too little memory;
            numbers in a run that are not finite.
    """
    [found] = trace_many(
        model,
        [prompt if subject is None else with_subject(prompt, subject)],
        [answer],
        [foil],
        kinds=(kind,),
        window=window,
        metric=metric,
        whole=whole,
        samples=samples,
        noise=noise,
        sigma=sigma,
        substitutes=[substitute],
        seed=seed,
        max_bytes=max_bytes,
        engine=engine,
    )
    return found[kind]


def trace_many(
    model: HookedModel,
    prompts: Sequence[Prompt | str],
    answers: Sequence[str | None],
    foils: Sequence[str | None] | None = None,
    *,
    kinds: Sequence[Site] = ("resid",),
    window: int = 10,
    metric: Metric = "prob",
    whole: bool = False,
    samples: int = 10,
    noise: float = 3.0,
    sigma: float | None = None,
    substitutes: Sequence[str | None] | None = None,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> list[dict[Site, Trace]]:
    """`trace` of several prompts, which have a subject each, and of several kinds.

    The rows of all go through the layers together, and the clean and noised runs of a prompt are
    shared by its kinds. Returns per prompt kind -> trace.
    """
    for name, values, known in (
        ("kind of state", kinds, KINDS),
        ("metric", [metric], METRICS),
        ("engine", [engine], ENGINES),
    ):
        for value in values:
            if value not in known:
                raise unknown_name(name, value, known)
    if samples < 1 or window < 1 or noise < 0 or (sigma is not None and not sigma > 0):
        raise ConfigError(
            f"samples={samples} and window={window} must be at least 1, noise={noise} not "
            f"negative, sigma={sigma} positive"
        )
    foils = [None] * len(prompts) if foils is None else foils
    substitutes = [None] * len(prompts) if substitutes is None else substitutes
    if not len(prompts) == len(answers) == len(foils) == len(substitutes):
        raise ConfigError(
            f"{len(prompts)} prompts, {len(answers)} answers, {len(foils)} foils and "
            f"{len(substitutes)} substitutes: there must be one of each per prompt"
        )
    corruption = Corruption(model=model, samples=samples, noise=noise, sigma=sigma, seed=seed)
    chosen = choose_engine(model, engine)
    cases: list[Case] = []
    traces: list[dict[Site, Trace]] = []

    def finish() -> None:
        for case, restored in zip(cases, restore(cases, max_bytes), strict=True):
            traces.append(
                {
                    kind: case.trace(kind, values, metric, corruption)
                    for kind, values in restored.items()
                }
            )
        cases.clear()

    for prompt, answer, foil, substitute in zip(prompts, answers, foils, substitutes, strict=True):
        question = ask(model, with_subject(prompt, None), answer, foil, whole)
        case = make_case(question, corruption, kinds, window, substitute, chosen)
        case.check_finite()
        cases.append(case)
        # The base runs of a sweep are in memory together.
        if sum(case.num_bytes for case in cases) > max_bytes // 2:
            finish()
    finish()
    return traces
