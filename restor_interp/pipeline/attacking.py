"""Carrying out an attack (`restor_interp.stages.attacks`) on one state of a run."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restor_interp.corpus import Document
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.perturbations import noised, quantised
from restor_interp.pipeline.asking import AFTER, Asking
from restor_interp.pipeline.workbench import Workbench
from restor_interp.prompts import Prompt, rephrasings, reverse_prompts
from restor_interp.stages.attacks import (
    ATTACKS,
    Attack,
    AttackSettings,
    HalfRelearning,
    Noise,
    Quantisation,
    Relearning,
    Rephrasing,
    halves,
    truth_about,
)
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import TrainSettings, train
from restor_interp.store import CellWriter

_OWN_LENGTH = ("epochs", "steps", "checkpoints")
"""Training settings of the corruption that an attack has in its own way."""
_OF_A_LOSS = ("target", "changed_above")
"""And those that choose tokens: an attack trains on whole texts."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """An attack with its settings, checked."""

    attack: Attack
    settings: AttackSettings
    training: TrainSettings | None
    """Of an attack that trains."""
    contexts: tuple[int, ...]

    def ingredients(self, bench: Workbench) -> dict[str, Any]:
        """What determines its rows, beside the state, the data and how facts are asked."""
        found: dict[str, Any] = {
            "settings": self.settings.model_dump(mode="json"),
            "contexts": list(self.contexts),
            "seed": bench.config.seed,
        }
        if self.training is not None:
            found["training"] = self.training.model_dump(mode="json")
        return found


def job_of(bench: Workbench, name: str) -> Job:
    """An attack of the configuration. Raises `ConfigError` for what cannot be done."""
    if name not in ATTACKS:
        raise unknown_name("attack", name, ATTACKS)
    attack, config = ATTACKS[name], bench.config
    settings = attack.settings.read(config.robustness.settings.get(name, {}), f"the attack {name}")
    number = 1 if config.questions.style == "paper" else config.questions.contexts
    for context in settings.contexts or ():
        if not 0 <= context < number:
            raise ConfigError(
                f"the attack {name} is to ask in context {context}, and the states are asked in "
                f"contexts 0 to {number - 1} (questions.contexts)"
            )
    data = config.data
    if (
        name in ("relearn_false", "relearn_truth")
        and config.checkpoints
        and not (data.documents or data.claims)
    ):
        raise ConfigError(
            f"the attack {name} needs {attack.needs}, and a run on given checkpoints has none: "
            "name them in data.documents or data.claims"
        )
    return Job(
        attack=attack,
        settings=settings,
        training=_training_of(bench, name, settings) if isinstance(settings, Relearning) else None,
        contexts=settings.contexts or ((1,) if number > 1 else (0,)),
    )


def _training_of(bench: Workbench, name: str, settings: Relearning) -> TrainSettings:
    """The corruption's own training, but for its length and what the attack sets."""
    for key in _OWN_LENGTH:
        if key in settings.training:
            raise ConfigError(
                f"the attack {name} trains for as long as its setting `steps` says: leave {key} "
                "out of its training"
            )
    base = {
        key: value
        for key, value in bench.config.corruption.items()
        if key not in (*_OWN_LENGTH, *_OF_A_LOSS)
    }
    return TrainSettings.read(
        {**base, **settings.training, "steps": settings.steps[-1]},
        f"the training of the attack {name}",
    )


def carry_out(bench: Workbench, job: Job, state: str, writer: CellWriter) -> None:
    """One attack on one state: the facts asked before it, and after every step or level of it."""
    facts = [fact for fact in bench.asked if bench.roles[fact.fact_id] in job.settings.roles]
    if not facts:
        raise ConfigError(
            f"no asked fact is {' or '.join(job.settings.roles)}: choose other roles for the "
            f"attack {job.attack.name}"
        )
    asking = Asking(bench, job.attack.name, state, facts, job.contexts)
    _OF_KIND[job.attack.kind](bench, job, asking, writer)
    writer.rows("robustness", asking.rows)


# ---- more training


def _relearn(bench: Workbench, job: Job, asking: Asking, writer: CellWriter) -> None:
    assert isinstance(job.settings, Relearning) and job.training is not None
    texts = _texts(bench, job, asking)
    asking.before()
    steps = [step for step in job.settings.steps if step > 0]
    cell = f"robustness/{job.attack.name}/{asking.state}"
    # Other questions are another folder: what was asked on the way is not asked again.
    work = bench.checkpoint_folder(cell) / asking.mark()
    trained = train(
        bench.model,
        name=f"{job.attack.name}_{asking.state}",
        start=bench.model.resolve_state(asking.state),
        method=METHODS["fine_tune"],
        settings={},
        training=job.training,
        forget=texts,
        retain=(),
        seed=bench.config.seed,
        work=work,
        on_step=bench.progress.advanced,
        on_checkpoint=lambda step: asking.keep(step, work),
        checkpoints_at=steps,
    )
    last = len(trained.rows)
    for step in steps:
        if step <= last:
            asking.kept(step, work)
    if trained.diverged:
        writer.notes["diverged"] = trained.diverged
        left = [step for step in steps if step > last]
        asking.left_out(asking.facts, left, trained.diverged)
    writer.notes["texts"] = len(texts)
    fixed = {"attack": job.attack.name, "state": asking.state}
    writer.rows("attack_training", [{**fixed, **row} for row in trained.rows])


def _texts(bench: Workbench, job: Job, asking: Asking) -> list[str]:
    """What the state is trained on; of a split, tells which part each fact belongs to."""
    documents: Sequence[Document] = bench.documents
    if job.attack.name == "relearn_truth":
        documents = bench.counterparts(documents, "truth")
    elif isinstance(job.settings, HalfRelearning):
        split = split_facts(bench)
        documents = half_documents(bench, split, job.settings)
        asking.part = split
    if not documents:
        raise ConfigError(
            f"the attack {job.attack.name} needs {job.attack.needs}, and this run has none"
        )
    return [document.text for document in documents]


def split_facts(bench: Workbench) -> dict[str, str]:
    """fact_id -> `trained` or `tested`, of all direct facts."""
    direct = [fact for fact in bench.asked if bench.roles[fact.fact_id] == "direct"]
    accepted = {fact.fact_id: bench.facts.accepted(fact) for fact in direct}
    trained = halves(direct, accepted, seed=bench.config.seed)
    return {fact.fact_id: "trained" if fact.fact_id in trained else "tested" for fact in direct}


def half_documents(
    bench: Workbench, split: Mapping[str, str], settings: HalfRelearning
) -> tuple[Document, ...]:
    """Documents that state the truth of the trained half."""
    data = bench.config.data
    return truth_about(
        bench.facts,
        [bench.asked_by_id[fact_id] for fact_id, part in split.items() if part == "trained"],
        documents_per_entity=settings.documents_per_entity,
        claims_per_document=data.claims_per_document,
        k=data.k,
        question_share=data.question_share,
        seed=bench.config.seed,
        exclude=frozenset(bench.named),
    )


# ---- worse weights


@dataclass(frozen=True, kw_only=True)
class _Version:
    """One way in which a model's weights are made worse."""

    within: Callable[[], contextlib.AbstractContextManager[Any]]
    level: float = 0.0
    draw: int = 0


def _weaken(bench: Workbench, job: Job, asking: Asking, writer: CellWriter) -> None:
    del writer
    asking.before()
    versions = list(_versions(bench, job.settings))
    for done, version in enumerate(versions, 1):
        with bench.model.at(asking.state), version.within():
            asking.now(AFTER, level=version.level, draw=version.draw)
        bench.progress.advanced(done, len(versions))


def _versions(bench: Workbench, settings: AttackSettings) -> Iterator[_Version]:
    model, seed = bench.model, bench.config.seed
    if isinstance(settings, Quantisation):
        yield _Version(
            within=lambda: quantised(
                model, bits=settings.bits, group=settings.group, levels=settings.levels
            ),
            level=float(settings.bits),
        )
    elif isinstance(settings, Noise):
        for scale in settings.scales:
            for draw in range(settings.draws):
                # The same draws at every level, so that levels differ in size alone.
                drawn = seed * settings.draws + draw
                yield _Version(
                    within=functools.partial(noised, model, scale=scale, seed=drawn),
                    level=scale,
                    draw=draw,
                )


# ---- other questions


def _ask_otherwise(bench: Workbench, job: Job, asking: Asking, writer: CellWriter) -> None:
    del writer
    if isinstance(job.settings, Rephrasing):
        asking.before()
        questions = _reworded(bench, job.settings, asking)
    else:
        questions = reverse_prompts(
            bench.facts,
            only=asking.facts,
            context_ids=job.contexts,
            shots=bench.config.questions.shots,
            avoid_entities=frozenset(bench.named),
            seed=bench.config.seed,
        )
    with bench.model.at(asking.state):
        asking.ask(questions, AFTER)
    asked = {prompt.fact_id for prompt in questions}
    asking.left_out(
        [fact for fact in asking.facts if fact.fact_id not in asked],
        [AFTER],
        _NOT_ASKED[job.attack.name],
    )


_NOT_ASKED: Mapping[str, str] = {
    "rephrase": "its relation has no other wording",
    "reverse": "its relation has no reverse question, or other entities have its object too",
}


def _reworded(bench: Workbench, settings: Rephrasing, asking: Asking) -> list[Prompt]:
    """Every fact's question in each of its relation's other wordings, as far as they are wanted."""
    found: list[Prompt] = []
    for template in range(1, settings.wordings + 1):
        worded = [
            fact
            for fact in asking.facts
            if template <= len(rephrasings(bench.facts, fact.relation))
        ]
        found += bench.prompts(worded, asking.contexts, template=template)
    return found


_OF_KIND: Mapping[str, Callable[[Workbench, Job, Asking, CellWriter], None]] = {
    "training": _relearn,
    "weights": _weaken,
    "questions": _ask_otherwise,
}
