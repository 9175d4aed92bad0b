"""The cells of a trace: which clean value is put back where, in which runs, and what is read."""

import functools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.answers import prompt_paths
from restor_interp.measure.choices import object_paths
from restor_interp.measure.endings import Endings
from restor_interp.measure.metrics import Metric
from restor_interp.measure.objects import diverge
from restor_interp.measure.regions import (
    BaseRun,
    Engine,
    Job,
    Patch,
    Row,
    Site,
    run_base,
    run_many,
)
from restor_interp.measure.subjects import noised, prompt_tokens, substituted
from restor_interp.measure.traces import Trace
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Question:
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


def ask(
    model: HookedModel, prompt: Prompt, answer: str | None, foil: str | None, whole: bool
) -> Question:
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
    return Question(
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
class Corruption:
    """How the subject is lost, where no substitute stands in its place."""

    model: HookedModel
    samples: int
    noise: float
    sigma: float | None
    """As it was given."""
    seed: int

    @functools.cached_property
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
class Case:
    """A question with its clean and its noised or substituted runs."""

    question: Question
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
        corruption: Corruption,
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
def make_case(
    question: Question,
    corruption: Corruption,
    kinds: Sequence[Site],
    window: int,
    substitute: str | None,
    engine: Engine,
) -> Case:
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
    # Before the first lost token all is as in the clean run, so that this token is too, restored.
    above = base.above(start + 1)
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
                above=above if kind == "resid" and token == start else None,
            )
            for token in range(start, len(ids))
            for layer in range(model.num_layers)
        ]
    return Case(
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


def restore(
    cases: Sequence[Case], max_bytes: int
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
