"""Causal tracing: which state, restored in a run that has lost the subject, brings the answer back?

Meng et al. 2022, "Locating and editing factual associations in GPT" (ROME), §2: run the prompt;
run it with its subject noised (or replaced by another name of the same length); then again with
one value of the first run put back at one token and layer. A value that brings the answer back
carries what the subject contributed.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.answers import prompt_paths
from restor_interp.measure.choices import object_paths
from restor_interp.measure.endings import Endings
from restor_interp.measure.objects import diverge
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    ENGINES,
    BaseRun,
    Engine,
    Job,
    Patch,
    Row,
    Site,
    choose_engine,
    run_base,
    run_many,
)
from restor_interp.measure.subjects import noised, prompt_tokens, substituted, with_subject
from restor_interp.measure.traces import LEAST_EFFECT, METRICS, Metric, Trace
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

__all__ = [
    "ENGINES",
    "KINDS",
    "LEAST_EFFECT",
    "METRICS",
    "Metric",
    "Trace",
    "restored_layers",
    "trace",
    "trace_many",
]

logger = logging.getLogger(__name__)

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
    corruption = _Corruption(model=model, samples=samples, noise=noise, sigma=sigma, seed=seed)
    chosen = choose_engine(model, engine)
    cases: list[_Case] = []
    traces: list[dict[Site, Trace]] = []

    def finish() -> None:
        for case, restored in zip(cases, _restore(cases, max_bytes), strict=True):
            traces.append(
                {
                    kind: case.trace(kind, values, metric, corruption)
                    for kind, values in restored.items()
                }
            )
        cases.clear()

    for prompt, answer, foil, substitute in zip(prompts, answers, foils, substitutes, strict=True):
        question = _ask(model, with_subject(prompt, None), answer, foil, whole)
        case = _case(question, corruption, kinds, window, substitute, chosen)
        case.check_finite()
        cases.append(case)
        # The base runs of a sweep are in memory together.
        if sum(case.num_bytes for case in cases) > max_bytes // 2:
            finish()
    finish()
    return traces


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A prompt in tokens, and the endings by which its answer and foil are told apart."""

    prompt: Prompt
    shared: tuple[int, ...]
    ids: Int[Tensor, " token"]
    """The prompt's tokens, then those that answer and foil share."""
    subject: tuple[int, int]
    answer: str
    foil: str | None
    whole: bool
    endings: Endings


def _ask(
    model: HookedModel, prompt: Prompt, answer: str | None, foil: str | None, whole: bool
) -> _Question:
    if answer is None and (foil is not None or whole):
        raise PromptError(
            f"the foil {foil!r} needs an answer to stand against, and so does whole={whole}"
        )
    shared: tuple[int, ...] = ()
    endings: list[tuple[int, ...]] = []
    objects = [name for name in (answer, foil) if name is not None]
    if whole:
        text = prompt_paths(model, [prompt])
        [endings] = object_paths(model, [prompt], text, [objects])
    elif answer is not None:
        apart = diverge(model.tokenizer, prompt.text, objects)
        shared, endings = apart.shared, [(token,) for token in apart.tokens]
    ids, span = prompt_tokens(model, prompt, shared)
    if span[0] == 0:
        logger.warning(
            "the subject %r starts at token 0, which collects attention whatever it says, so its "
            "states say little; put a word before it",
            prompt.subject,
        )
    if answer is None:
        with torch.no_grad():
            logits = model.run_with_hooks(ids[None], fwd_hooks=[])
        endings = [(int(logits[0, -1].argmax()),)]
        answer = str(model.tokenizer.decode(list(endings[0]))).strip()
    return _Question(
        prompt=prompt,
        shared=shared,
        ids=ids,
        subject=span,
        answer=answer,
        foil=foil,
        whole=whole,
        endings=Endings(prompt_length=len(ids), endings=tuple(endings)),
    )


@dataclass(frozen=True, kw_only=True)
class _Corruption:
    """How the subject is lost, where no substitute stands in its place."""

    model: HookedModel
    samples: int
    noise: float
    sigma: float | None
    """As it was given."""
    seed: int

    @property
    def scale(self) -> float:
        """What `noise` is in units of."""
        if self.sigma is not None:
            return float(self.sigma)
        weight = self.model.hf_model.get_input_embeddings().weight
        return float(weight.detach().float().std())

    @property
    def source(self) -> str:
        return "embedding matrix" if self.sigma is None else "given"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A question with its clean and its noised or substituted runs."""

    question: _Question
    substitute: str | None
    base: BaseRun
    """Draw 0 is clean."""
    rows: dict[Site, list[Row]]
    """One per token from the base's start on, and layer."""
    window: int
    clean: Float[Tensor, " object"]
    noised: Float[Tensor, "draw object"]

    @property
    def num_bytes(self) -> int:
        tensors = [*self.base.hidden, *(part for pair in self.base.own for part in pair)]
        tensors += [output for outputs in self.base.outputs.values() for output in outputs]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def check_finite(self) -> None:
        for what, values in (("clean", self.clean), ("noised", self.noised)):
            if not torch.isfinite(values).all():
                raise ConfigError(
                    f"the {what} run gives log-probabilities that are not finite; lower the noise "
                    "or use float32"
                )

    def trace(
        self,
        kind: Site,
        values: Float[Tensor, "cell draw object"],
        metric: Metric,
        corruption: _Corruption,
    ) -> Trace:
        question, base, model = self.question, self.base, self.base.model
        length, layers = len(question.ids), model.num_layers
        noise = None if self.substitute is not None else corruption
        restored = np.full((base.num_draws - 1, length, layers, values.shape[-1]), np.nan)
        cells = values.unflatten(0, (length - base.start, layers)).permute(2, 0, 1, 3)
        restored[:, base.start :] = cells.cpu().numpy()
        return Trace(
            tokens=tuple(model.tokenizer.decode([token]) for token in question.ids.tolist()),
            subject=question.subject,
            answer=question.answer,
            foil=question.foil,
            whole=question.whole,
            kind=kind,
            window=1 if kind == "resid" else self.window,
            metric=metric,
            corruption="substitution" if noise is None else "noise",
            substitute=self.substitute,
            sigma=None if noise is None else noise.scale,
            sigma_source=None if noise is None else noise.source,
            noise=None if noise is None else noise.noise,
            seed=None if noise is None else noise.seed,
            engine=base.engine,
            clean_logprobs=self.clean.double().cpu().numpy(),
            noised_logprobs=self.noised.double().cpu().numpy(),
            restored_logprobs=restored,
        )


@torch.no_grad()
def _case(
    question: _Question,
    corruption: _Corruption,
    kinds: Sequence[Site],
    window: int,
    substitute: str | None,
    engine: Engine,
) -> _Case:
    """Run a question, clean and without its subject."""
    model, ids, span = corruption.model, question.ids, question.subject
    embed = model.hf_model.get_input_embeddings()
    if substitute is None:
        spread = corruption.noise * corruption.scale
        draws = noised(
            model, ids, span, samples=corruption.samples, spread=spread, seed=corruption.seed
        )
        start = span[0]
    else:
        others = substituted(model, question.prompt, substitute, question.shared, ids, span)
        draws = embed(others[None])
        differing = torch.nonzero(others != ids).flatten().tolist()
        start = differing[0] if differing else span[0]
    embeddings = torch.cat([embed(ids)[None], draws])
    if question.endings.tokens:
        after = embed(torch.tensor(question.endings.tokens, device=ids.device))
        embeddings = torch.cat([embeddings, after.expand(len(embeddings), -1, -1)], dim=1)
    base = run_base(
        model,
        embeddings,
        start=start,
        outputs=[kind for kind in kinds if kind != "resid"],
        branches=question.endings.branches,
        engine=engine,
    )
    places = [token - start for token in question.endings.read_at]
    ends = question.endings.reader(model)(base.hidden[-1][:, places])
    rows: dict[Site, list[Row]] = {}
    for kind in kinds:
        size = 1 if kind == "resid" else window
        clean = torch.stack([base.at(kind, layer)[0] for layer in range(model.num_layers)])
        rows[kind] = [
            Patch(
                site=kind,
                layers=(layers := restored_layers(layer, size, model.num_layers)),
                position=token,
                values=clean[layers.start : layers.stop, token - start : token - start + 1],
            )
            for token in range(start, len(ids))
            for layer in range(model.num_layers)
        ]
    return _Case(
        question=question,
        substitute=substitute,
        base=base,
        rows=rows,
        window=window,
        clean=ends[0],
        noised=ends[1:],
    )


def restored_layers(layer: int, window: int, num_layers: int) -> range:
    """The layers that a cell restores: [max(0, l − w//2), min(L, l + ceil(w/2))), as in
    `causal_trace.py` of Meng et al. 2022; with a window of 1 its own."""
    return range(max(0, layer - window // 2), min(num_layers, layer + (window + 1) // 2))


def _restore(
    cases: Sequence[_Case], max_bytes: int
) -> Iterator[dict[Site, Float[Tensor, "cell draw object"]]]:
    """Per case, what is read with each state restored, all in one sweep."""
    jobs = [
        Job(
            base=case.base.draws(1, case.base.num_draws),
            rows=[row for rows in case.rows.values() for row in rows],
            read=case.question.endings.reader(case.base.model),
            read_at=case.question.endings.read_at,
        )
        for case in cases
    ]
    for case, values in zip(cases, run_many(jobs, max_bytes=max_bytes), strict=True):
        parts = values.split([len(rows) for rows in case.rows.values()])
        yield dict(zip(case.rows, parts, strict=True))
