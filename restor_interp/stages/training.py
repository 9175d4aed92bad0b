"""Training a delta: documents in, a change of weights out.

    trained = train(model, name="npo", start=State({"corruption": 1.0}), method=METHODS["npo"],
                    settings={"beta": 0.1}, training=TrainSettings(steps=30), forget=documents,
                    retain=neutral, seed=0)
    model.add_delta(trained.delta)

Every method is trained by one loop (`loop`), on what `inputs` makes of the texts. What is minimised
is `forget_weight · forget + retain_weight · retain`. The model is in its start state underneath, so
that "the reference" is the same model with the delta switched off. Nothing is dropped out, and
nothing reads a global random generator.

The delta is low-rank (an adapter beside the matrices), or with `full=True` whole matrices that
were trained themselves.

accelerate's `Accelerator` is not used: on one device it adds nothing to torch's own autocast and
clipping, and it keeps a precision per process that two trainings could not differ in.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from restor_interp.errors import ConfigError
from restor_interp.models.adapters import Adapter, attach_adapter, chosen_layers
from restor_interp.models.deltas import Delta, State
from restor_interp.models.dense import Dense, attach_dense
from restor_interp.models.hooked import HookedModel
from restor_interp.stages import resume
from restor_interp.stages.batches import batch_groups, make_batches, padded_batches
from restor_interp.stages.inputs import Rows, Texts, read_texts, without_unused
from restor_interp.stages.localising import Span
from restor_interp.stages.loop import Batches, Loop, learning_rate_at
from restor_interp.stages.methods import Method
from restor_interp.stages.references import ReferenceCache
from restor_interp.stages.settings import Settings
from restor_interp.stages.train_settings import TrainSettings

__all__ = [
    "ReferenceCache",
    "TrainSettings",
    "Trained",
    "checkpoint_steps",
    "learning_rate_at",
    "train",
    "train_rows",
]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained delta and the record of its training."""

    delta: Delta
    rows: list[dict[str, Any]]
    """One per step, with the columns of the table `training`. In nats (losses on states: mean
    squares); None: no such term, or a loss that sees no logits."""
    diverged: str | None = None
    """Why it was stopped; the delta is then the last with which the loss was within its bound."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know, such as texts that were cut."""


def train(
    model: HookedModel,
    *,
    name: str,
    start: State,
    method: Method,
    settings: Mapping[str, Any],
    training: TrainSettings,
    forget: Sequence[str],
    retain: Sequence[str],
    seed: int,
    spans: Sequence[Sequence[Span]] | None = None,
    counterparts: Sequence[str] | None = None,
    counterpart_spans: Sequence[Sequence[Span]] | None = None,
    references: ReferenceCache | None = None,
    work: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
    checkpoints_at: Sequence[int] | None = None,
) -> Trained:
    """Train the delta `name` on top of the state `start`; the model comes back as it was.

    `forget` are the documents that the method is about, also where it learns them; `spans`,
    `counterparts` and `counterpart_spans` belong to them one by one (`inputs.Texts`). With `work`,
    the training state is kept there every `save_every` steps and at the end, and a second call with
    the same arguments continues to the same bits; `on_step(done, total)` and `on_checkpoint(step)`
    are then called for the remaining steps only. `on_checkpoint` may run the model: it finds it
    with the unfinished delta on. It is called before the state of its step is kept, so that no
    training goes on from a step that it missed; `checkpoints_at` are the steps to call it after, in
    place of those that `training` says. Trainings that share `references` compute what they compare
    with once, to the same bits.

    Raises `ConfigError` for settings that do not exist or make no sense together and for text that
    the method needs and did not get, `DataError` for texts in which nothing is predicted.
    """
    checked = method.settings.read(settings, f"the method {method.name}")
    training = without_unused(method, training)
    texts = Texts(
        forget=forget,
        retain=retain,
        spans=spans,
        counterparts=counterparts,
        counterpart_spans=counterpart_spans,
    )
    rows = read_texts(model, method, training, texts, start=start, seed=seed)
    return train_rows(
        model,
        name=name,
        start=start,
        method=method,
        settings=checked,
        training=training,
        rows=rows,
        seed=seed,
        references=references,
        work=work,
        on_step=on_step,
        on_checkpoint=on_checkpoint,
        checkpoints_at=checkpoints_at,
    )


def train_rows(
    model: HookedModel,
    *,
    name: str,
    start: State,
    method: Method,
    settings: Settings,
    training: TrainSettings,
    rows: Rows,
    seed: int,
    references: ReferenceCache | None = None,
    work: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
    checkpoints_at: Sequence[int] | None = None,
) -> Trained:
    """`train` for texts that are tokens already."""
    layers = _layers(model, method, settings, training)
    batches = training_batches(model, training, rows, seed)
    total = training.steps or max(1, round((training.epochs or 1.0) * batches.number))
    origin = "" if work is None and references is None else _origin(model, start)
    mark = _fingerprint(origin, method, settings, training, rows, seed, total) if work else ""
    wanted = checkpoints_at
    if wanted is None:
        wanted = checkpoint_steps(total, training.checkpoints)
    with (
        model.at(start),
        torch.enable_grad(),
        _attached(model, training, layers, seed) as trained,
    ):
        loop = Loop(
            model,
            trained,
            method,
            settings,
            training,
            batches,
            total,
            seed,
            shared=references,
            start_digest=origin,
        )
        if work is not None and (saved := resume.load(work, fingerprint=mark)) is not None:
            loop.restore(saved)
        for step in range(loop.step, total):
            if loop.diverged is not None:
                break
            loop.advance()
            if step + 1 in wanted and on_checkpoint:
                on_checkpoint(step + 1)
            at_end = step + 1 == total or loop.diverged is not None
            if work is not None and (at_end or (step + 1) % training.save_every == 0):
                resume.save(work, loop.saved(), fingerprint=mark)
            if on_step is not None:
                on_step(step + 1, total)
        delta = trained.to_delta(name)
    return Trained(delta=delta, rows=loop.rows, diverged=loop.diverged, notes=rows.notes)


def checkpoint_steps(total: int, number: int) -> tuple[int, ...]:
    """`number` counts of finished steps that cut a training into equal parts, without its end."""
    steps = {round(total * part / (number + 1)) for part in range(1, number + 1)}
    return tuple(sorted(steps - {0, total}))


def training_batches(model: HookedModel, training: TrainSettings, rows: Rows, seed: int) -> Batches:
    """What a training goes through: fixed batches of rows of like length."""
    size, device = training.batch_size, model.device
    # Blocks are all of one length, and what was packed from the file's order is mixed as blocks.
    mixed = training.shuffle or training.packing is not None
    groups = batch_groups(rows.forget, batch_size=size, seed=seed, mixed=mixed)
    return Batches(
        forget=padded_batches(rows.forget, groups, device),
        chosen=padded_batches(rows.chosen, groups if rows.chosen else (), device),
        retain=make_batches(
            rows.retain, batch_size=training.retain_batch_size, seed=seed, device=device
        ),
    )


def _layers(
    model: HookedModel, method: Method, settings: Settings, training: TrainSettings
) -> str | tuple[int, ...] | None:
    """Which layers are trained. Raises `ConfigError` for some that the loss would never move."""
    depth = model.num_layers
    layer = method.layer(settings, depth)
    if layer is None or not method.on_states:
        return training.layers
    if training.layers is None:
        return method.trained_layers(settings, depth) or tuple(range(layer + 1))
    above = [number for number in chosen_layers(model, training.layers) if number > layer]
    if above:
        raise ConfigError(
            f"{method.name} looks at the states after layer {layer}, which the layers "
            f"{', '.join(map(str, sorted(above)))} do not change: train layers up to {layer}, or "
            f"raise {method.on_layer}"
        )
    return training.layers


def _attached(
    model: HookedModel,
    training: TrainSettings,
    layers: str | tuple[int, ...] | None,
    seed: int,
) -> contextlib.AbstractContextManager[Adapter | Dense]:
    """What is trained, on the model as it is now."""
    if training.full:
        return attach_dense(model, modules=training.modules, layers=layers)
    return attach_adapter(
        model,
        rank=training.rank,
        alpha=training.alpha,
        modules=training.modules,
        layers=layers,
        seed=seed,
    )


def _origin(model: HookedModel, start: State) -> str:
    """Everything that decides the bits of the start state and of what is computed with it."""
    return resume.fingerprint(
        {
            "model": str(model.digest),
            "start": dict(start.coefficients),
            "deltas": {name: model.deltas[name].digest() for name in start.coefficients},
            "numerics": [torch.__version__, str(model.device), str(model.dtype)],
            "threads": torch.get_num_threads(),
        }
    )


def _fingerprint(
    origin: str,
    method: Method,
    settings: Settings,
    training: TrainSettings,
    rows: Rows,
    seed: int,
    total: int,
) -> str:
    """Everything that decides the bits, so that another training's state is never continued."""
    return resume.fingerprint(
        {
            "origin": origin,
            "method": [method.name, method.source_hash],
            "settings": settings.model_dump(mode="json"),
            "training": training.model_dump(mode="json", exclude={"save_every"}),
            "texts": [
                [(row.ids, row.counted) for row in some]
                for some in (rows.forget, rows.chosen, rows.retain)
            ],
            "seed": seed,
            "total": total,
        }
    )
