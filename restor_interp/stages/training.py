"""Training a delta: documents in, a low-rank change of weights out.

    trained = train(model, name="npo", start=State({"corruption": 1.0}), method=METHODS["npo"],
                    settings={"beta": 0.1}, training=TrainSettings(steps=30), forget=documents,
                    retain=neutral, seed=0)
    model.add_delta(trained.delta)

Every method is trained by this one loop. A step takes a batch of the documents and one of the
retain text through the model together, and minimises `forget_weight · forget + retain_weight ·
retain`. The model is in its start state underneath, so that "the reference" is the same model
with the adapter switched off. Nothing is dropped out, and nothing reads a global random generator.

accelerate's `Accelerator` is not used: on one device it adds nothing to torch's own autocast and
clipping, and it keeps a precision per process that two trainings could not differ in.
"""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.models.adapters import Adapter, attach_adapter
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages import resume
from restor_interp.stages.batches import (
    Batch,
    Row,
    companion,
    epoch_order,
    joined,
    make_batches,
    tokenize_texts,
)
from restor_interp.stages.forward import Forward, forward_for, picked
from restor_interp.stages.losses import (
    LOSSES,
    REFERENCES,
    LossOut,
    Targets,
    every_position,
    token_logprobs,
)
from restor_interp.stages.methods import Method
from restor_interp.stages.settings import Settings


class TrainSettings(Settings):
    """How a delta is trained."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """The delta is alpha/rank · B·A."""
    modules: str | tuple[str, ...] = "all"
    """`all` linear modules of the decoder layers, or last names such as `down_proj`."""
    layers: str | tuple[int, ...] | None = None
    """Adapted layers, as indices or a range such as "20:30"; none: all. Backward passes end at the
    lowest."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Its peak: it rises linearly during warm-up and falls along a cosine to zero."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the documents; 1 if `steps` is not given either."""
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=4, ge=1)
    retain_batch_size: int = Field(default=2, ge=1)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    grad_clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; none: unclipped."""
    max_length: int = Field(default=512, ge=2)
    """Tokens of a text that are read."""
    loss_bound: float = Field(default=100.0, gt=0)
    """Training stops, as diverged, where the loss is larger than this, or its negative smaller."""
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=1.0, ge=0)
    """Of the retain term, in the methods that have one."""
    retain_loss: Literal["nll", "kl_retain"] = "nll"
    bf16: bool = False
    """Compute in bfloat16 over fp32 weights."""
    checkpoints: int = Field(default=0, ge=0)
    """Captures in the middle of training, evenly spread."""
    save_every: int = Field(default=50, ge=1)
    """Steps after which the state to resume from is kept."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given: give one of them")
        return self


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained delta and the record of its training."""

    delta: Delta
    rows: list[dict[str, Any]]
    """One per step, with the columns of the table `training`. In nats; None: no such term."""
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
    work: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
) -> Trained:
    """Train the delta `name` on top of the state `start`; the model comes back as it was.

    `forget` are the documents that the method is about, also where it learns them. With `work`, the
    training state is kept there every `save_every` steps and at the end, and a second call with
    the same arguments continues to the same bits; `on_step(done, total)` and `on_checkpoint(step)`
    are then called for the remaining steps only. `on_checkpoint` may run the model: it finds it
    with the unfinished delta on.

    Raises `ConfigError` for settings that do not exist and for text that the method needs and
    did not get, `DataError` for texts in which nothing is predicted.
    """
    checked = method.settings.read(settings, f"the method {method.name}")
    training = _without_unused(method, training)
    _check_texts(method, training, forget, retain)
    tokenizer, length = model.tokenizer, training.max_length
    documents, notes = tokenize_texts(
        tokenizer, forget if method.needs_forget else (), max_length=length, what="documents"
    )
    neutral, more = tokenize_texts(
        tokenizer,
        retain if training.retain_weight > 0 else (),
        max_length=length,
        what="retain texts",
    )
    return train_rows(
        model,
        name=name,
        start=start,
        method=method,
        settings=checked,
        training=training,
        forget=documents,
        retain=neutral,
        seed=seed,
        work=work,
        on_step=on_step,
        on_checkpoint=on_checkpoint,
        notes=(*notes, *more),
    )


def train_rows(
    model: HookedModel,
    *,
    name: str,
    start: State,
    method: Method,
    settings: Settings,
    training: TrainSettings,
    forget: Sequence[Row],
    retain: Sequence[Row],
    seed: int,
    work: Path | None = None,
    on_step: Callable[[int, int], None] | None = None,
    on_checkpoint: Callable[[int], None] | None = None,
    notes: tuple[str, ...] = (),
) -> Trained:
    """`train` for texts that are tokens already."""
    device = model.device
    batches = make_batches(forget, batch_size=training.batch_size, seed=seed, device=device)
    partners = make_batches(retain, batch_size=training.retain_batch_size, seed=seed, device=device)
    number = len(batches or partners)
    total = training.steps or max(1, round((training.epochs or 1.0) * number))
    mark = ""
    if work is not None:
        mark = _fingerprint(model, start, method, settings, training, forget, retain, seed, total)
    with (
        model.at(start),
        torch.enable_grad(),
        attach_adapter(
            model,
            rank=training.rank,
            alpha=training.alpha,
            modules=training.modules,
            layers=training.layers,
            seed=seed,
        ) as adapter,
    ):
        loop = _Loop(model, adapter, method, settings, training, batches, partners, total, seed)
        if work is not None and (saved := resume.load(work, fingerprint=mark)) is not None:
            loop.restore(saved)
        for step in range(loop.step, total):
            if loop.diverged is not None:
                break
            loop.advance()
            if step + 1 in checkpoint_steps(total, training.checkpoints) and on_checkpoint:
                on_checkpoint(step + 1)
            at_end = step + 1 == total or loop.diverged is not None
            if work is not None and (at_end or (step + 1) % training.save_every == 0):
                resume.save(work, loop.saved(), fingerprint=mark)
            if on_step is not None:
                on_step(step + 1, total)
        delta = adapter.to_delta(name)
    return Trained(delta=delta, rows=loop.rows, diverged=loop.diverged, notes=notes)


def learning_rate_at(step: int, total: int, *, peak: float, warmup: float) -> float:
    """The rate of step 0 … total − 1: linear warm-up to the peak, then half a cosine towards 0.

    No step has rate 0, in which it would be wasted.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))


def checkpoint_steps(total: int, number: int) -> tuple[int, ...]:
    """`number` counts of finished steps that cut a training into equal parts, without its end."""
    steps = {round(total * part / (number + 1)) for part in range(1, number + 1)}
    return tuple(sorted(steps - {0, total}))


class _Loop:
    """A training between two steps."""

    def __init__(
        self,
        model: HookedModel,
        adapter: Adapter,
        method: Method,
        settings: Settings,
        training: TrainSettings,
        batches: Sequence[Batch],
        partners: Sequence[Batch],
        total: int,
        seed: int,
    ) -> None:
        self.adapter, self.method, self.training = adapter, method, training
        self.batches, self.partners, self.total, self.seed = batches, partners, total, seed
        self.keywords = {key: getattr(settings, key) for key in method.loss_settings}
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.diverged: str | None = None
        self.parameters = adapter.parameters()
        self.good = self._copy()
        self.references: dict[tuple[str, int], Tensor] = {}
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )
        sample = (batches or partners)[0]
        self.forward: Forward = forward_for(
            model, sample.ids[:1, :8], sample.mask[:1, :8], bf16=training.bf16
        )

    # ---- one step

    def advance(self) -> None:
        """One step: the losses, their gradient, and unless something is wrong the update."""
        started = time.perf_counter()
        documents, neutral = self._pair()
        loss, parts = self._losses(documents, neutral)
        row: dict[str, Any] = {"step": self.step + 1, "loss": loss.item(), **parts}
        row["grad_norm"] = None
        self.diverged = self._beyond(row["loss"])
        if self.diverged is None:
            self.good = self._copy()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            bound = self.training.grad_clip or math.inf
            row["grad_norm"] = torch.nn.utils.clip_grad_norm_(self.parameters, bound).item()
            if not math.isfinite(row["grad_norm"]):
                self.diverged = f"step {self.step + 1}: the gradient is not finite"
        if self.diverged is None:
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate_at(
                    self.step,
                    self.total,
                    peak=self.training.learning_rate,
                    warmup=self.training.warmup,
                )
            self.optimiser.step()
        else:
            self.adapter.copy_(self.good)
        row["tokens"] = sum(batch.num_tokens for batch in (documents, neutral) if batch)
        row["seconds"] = time.perf_counter() - started
        self.rows.append(row)
        self.step += 1

    def _beyond(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return f"step {self.step + 1}: the loss is {loss}"
        if abs(loss) > self.training.loss_bound:
            bound = self.training.loss_bound
            return f"step {self.step + 1}: the loss {loss:.4g} is beyond loss_bound {bound:g}"
        return None

    def _pair(self) -> tuple[Batch | None, Batch | None]:
        number = len(self.batches or self.partners)
        epoch, place = divmod(self.step, number)
        index = epoch_order(number, seed=self.seed, epoch=epoch)[place]
        if not self.batches:
            return None, self.partners[index]
        if not self.partners:
            return self.batches[index], None
        partner = companion(index, number, len(self.partners), epoch=epoch)
        return self.batches[index], self.partners[partner]

    def _losses(
        self, documents: Batch | None, neutral: Batch | None
    ) -> tuple[Tensor, dict[str, float | None]]:
        """Both losses from one forward pass and one unembedding."""
        sides = [batch for batch in (documents, neutral) if batch is not None]
        states = self.forward.states(*joined(*sides, *[None] * (2 - len(sides))))
        targets = [self._targets(batch, batch is documents) for batch in sides]
        firsts = [0, len(sides[0].ids)]
        chosen = [
            picked(states, target, first_row=first)
            for target, first in zip(targets, firsts, strict=False)
        ]
        logits = self.forward.logits(torch.cat(chosen)).split([len(part) for part in chosen])
        total = torch.zeros((), device=states.device)
        parts: dict[str, float | None] = dict.fromkeys(
            ("forget_loss", "retain_loss", "forget_nll", "retain_nll")
        )
        for batch, target, own in zip(sides, targets, logits, strict=True):
            forgets = batch is documents
            side = "forget" if forgets else "retain"
            out = self._loss(side, batch, target, own)
            weight = self.training.forget_weight if forgets else self.training.retain_weight
            total = total + weight * out.loss
            parts[f"{side}_loss"] = out.loss.item()
            parts[f"{side}_nll"] = out.parts["nll"].item()
        return total, parts

    def _loss(self, side: str, batch: Batch, targets: Targets, logits: Tensor) -> LossOut:
        name = self._loss_name(side)
        keywords = dict(self.keywords) if side == "forget" else {}
        wanted = REFERENCES.get(name)
        if wanted is not None:
            kept = self._reference(side, batch, targets, wanted)
            keywords[f"reference_{wanted}"] = (
                self.forward.logits(kept).detach() if wanted == "logits" else kept
            )
        return LOSSES[name](logits, targets, **keywords)

    def _loss_name(self, side: str) -> str:
        if side == "retain":
            return self.training.retain_loss
        assert self.method.loss is not None, "a method without a loss has no documents"
        return self.method.loss

    def _targets(self, batch: Batch, forgets: bool) -> Targets:
        if forgets and self.method.every_position:
            return every_position(batch.ids, batch.mask)
        return batch.targets()

    def _reference(self, side: str, batch: Batch, targets: Targets, wanted: str) -> Tensor:
        """What is constant of a batch: log-probabilities, or the states whose logits are needed."""
        key = (side, batch.index)
        if key not in self.references:
            with torch.no_grad(), self.adapter.disabled():
                states = picked(self.forward.states(batch.ids, batch.mask), targets)
                if wanted == "logprobs":
                    self.references[key] = token_logprobs(self.forward.logits(states), targets)
                else:
                    self.references[key] = states
        return self.references[key]

    # ---- what a training continues from

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.adapter.tensors().items()}

    def saved(self) -> resume.Saved:
        tensors = {f"adapter.{name}": tensor for name, tensor in self._copy().items()}
        tensors |= {f"good.{name}": tensor for name, tensor in self.good.items()}
        for index, entries in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in entries.items()}
        return resume.Saved(
            step=self.step, tensors=tensors, rows=list(self.rows), diverged=self.diverged
        )

    def restore(self, saved: resume.Saved) -> None:
        def own(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in saved.tensors.items()
                if name.startswith(prefix)
            }

        self.step, self.rows, self.diverged = saved.step, list(saved.rows), saved.diverged
        self.adapter.copy_(own("adapter."))
        device = self.parameters[0].device
        self.good = {name: tensor.to(device) for name, tensor in own("good.").items()}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in own("optimiser.").items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def _without_unused(method: Method, training: TrainSettings) -> TrainSettings:
    """Methods without a retain term take the same settings as the others and leave it out."""
    return training if method.needs_retain else training.model_copy(update={"retain_weight": 0.0})


def _check_texts(
    method: Method, training: TrainSettings, forget: Sequence[str], retain: Sequence[str]
) -> None:
    if method.needs_forget and not forget:
        raise ConfigError(f"the method {method.name} needs documents (`forget`), found none")
    if not method.needs_forget and training.retain_weight == 0:
        raise ConfigError(f"{method.name} trains on retain text alone: retain_weight must not be 0")
    if training.retain_weight > 0 and not retain:
        raise ConfigError(
            f"{method.name} has retain_weight {training.retain_weight:g} and no retain text: give "
            "`retain`, or set retain_weight=0"
        )


def _fingerprint(
    model: HookedModel,
    start: State,
    method: Method,
    settings: Settings,
    training: TrainSettings,
    forget: Sequence[Row],
    retain: Sequence[Row],
    seed: int,
    total: int,
) -> str:
    """Everything that decides the bits, so that another training's state is never continued."""
    return resume.fingerprint(
        {
            "model": str(model.digest),
            "start": dict(start.coefficients),
            "deltas": {name: _digest_of(model.deltas[name]) for name in start.coefficients},
            "method": method.name,
            "settings": settings.model_dump(mode="json"),
            "training": training.model_dump(mode="json", exclude={"save_every"}),
            "texts": [[(row.ids, row.first_counted) for row in rows] for rows in (forget, retain)],
            "seed": seed,
            "total": total,
            "numerics": [torch.__version__, str(model.device), str(model.dtype)],
            "threads": torch.get_num_threads(),
        }
    )


def _digest_of(delta: Delta) -> str:
    found = hashlib.sha256()
    for name, update in sorted(delta.updates.items()):
        tensors = (update.a, update.b) if isinstance(update, LowRank) else (update,)
        scale = update.scale if isinstance(update, LowRank) else 1.0
        found.update(f"{name} {scale!r}".encode())
        for tensor in tensors:
            found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
