"""The training loop: one step after another, from any of which it can be continued.

A step takes a batch of the documents, their counterparts where a loss compares pairs, and a batch
of the retain text. What is of like length goes through the model in one pass, and all that needs
logits is unembedded at once; what is compared with a reference gets it from the same model with the
delta off, once per batch.
"""

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from restor_interp.models.adapters import Adapter
from restor_interp.models.dense import Dense
from restor_interp.models.hooked import HookedModel
from restor_interp.stages import resume
from restor_interp.stages.batches import Batch, companion, epoch_order, joined, sharing_a_pass
from restor_interp.stages.forward import Forward, forward_for, picked
from restor_interp.stages.losses import (
    LOSSES,
    ON_STATES,
    REFERENCES,
    WEIGHED,
    Logits,
    LossOut,
    Reference,
    Targets,
    every_position,
    rmu_direction,
    token_logprobs,
)
from restor_interp.stages.methods import Method, OwnLoss
from restor_interp.stages.references import ReferenceCache, reference_key
from restor_interp.stages.settings import Settings
from restor_interp.stages.train_settings import TrainSettings

Side = Literal["forget", "chosen", "retain"]
_PARTS = ("forget_loss", "retain_loss", "forget_nll", "retain_nll", *WEIGHED)


@dataclass(frozen=True, kw_only=True)
class Batches:
    """What a training goes through, again and again."""

    forget: Sequence[Batch]
    retain: Sequence[Batch]
    chosen: Sequence[Batch] = ()
    """Of a paired method: batch i belongs to batch i of `forget`, row by row."""

    @property
    def number(self) -> int:
        """Steps of an epoch."""
        return len(self.forget or self.retain)

    def of_step(self, step: int, *, seed: int) -> dict[Side, Batch]:
        """The batches of a step, counted from 0."""
        epoch, place = divmod(step, self.number)
        index = epoch_order(self.number, seed=seed, epoch=epoch)[place]
        if not self.forget:
            return {"retain": self.retain[index]}
        found: dict[Side, Batch] = {"forget": self.forget[index]}
        if self.chosen:
            found["chosen"] = self.chosen[index]
        if self.retain:
            partner = companion(index, self.number, len(self.retain), epoch=epoch)
            found["retain"] = self.retain[partner]
        return found


class Loop:
    """A training between two steps."""

    def __init__(
        self,
        model: HookedModel,
        trained: Adapter | Dense,
        method: Method,
        settings: Settings,
        training: TrainSettings,
        batches: Batches,
        total: int,
        seed: int,
        *,
        shared: ReferenceCache | None = None,
        start_digest: str = "",
    ) -> None:
        """`shared` holds references of all trainings from states with a `start_digest`."""
        self.trained, self.method, self.training = trained, method, training
        self.batches, self.total, self.seed = batches, total, seed
        self.keywords = {key: getattr(settings, key) for key in method.loss_settings}
        if method.takes_direction:
            self.keywords["direction"] = rmu_direction(model.d_model, seed).to(model.device)
        self.retain_loss = method.retain_loss or training.retain_loss
        layer = method.layer(settings, model.num_layers)
        self.layers: dict[Side, int | None] = {
            "forget": layer if method.on_states else None,
            "chosen": layer if method.on_states else None,
            "retain": layer if self.retain_loss in ON_STATES else None,
        }
        """Side -> the layer after which its states are read; none: logits."""
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        self.diverged: str | None = None
        self.parameters = trained.parameters()
        self.good = {name: tensor.clone() for name, tensor in self._now().items()}
        self.shared, self.start_digest = shared, start_digest
        self.references: dict[tuple[Side, int], Tensor] = {}
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )
        sample = (batches.forget or batches.retain)[0]
        self.forward: Forward = forward_for(
            model, sample.ids[:1, :8], sample.mask[:1, :8], bf16=training.bf16
        )

    # ---- one step

    def advance(self) -> None:
        """One step: the losses, their gradient, and unless something is wrong the update."""
        started = time.perf_counter()
        batches = self.batches.of_step(self.step, seed=self.seed)
        loss, parts = self._losses(batches)
        row: dict[str, Any] = {"step": self.step + 1, "loss": loss.item(), **parts}
        row["grad_norm"] = None
        self.diverged = self._beyond(row["loss"])
        if self.diverged is None:
            for name, tensor in self._now().items():
                self.good[name].copy_(tensor)
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
            self.trained.copy_(self.good)
        # Now and not before the next gradient: of whole matrices it is large, and the next forward
        # pass has better use for the room.
        self.optimiser.zero_grad(set_to_none=True)
        row["tokens"] = sum(batch.num_tokens for batch in batches.values())
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

    def _losses(self, batches: Mapping[Side, Batch]) -> tuple[Tensor, dict[str, float | None]]:
        """What is minimised, and the record of its terms."""
        targets: dict[Side, Targets] = {
            side: self._targets(side, batch) for side, batch in batches.items()
        }
        # First, so that the passes for them end before the one whose activations are kept.
        kept: dict[Side, Tensor | None] = {
            side: self._reference(side, batch, targets[side]) for side, batch in batches.items()
        }
        seen = self._seen(batches, targets)
        total = torch.zeros((), device=next(iter(batches.values())).ids.device)
        parts: dict[str, float | None] = dict.fromkeys(_PARTS)
        if "forget" in batches:
            out = self._forget_loss(seen, targets, kept)
            total = total + self.training.forget_weight * out.loss
            parts |= _record("forget", out) | out.weighed()
        if "retain" in batches:
            own = self._compared("retain", kept["retain"])
            out = LOSSES[self.retain_loss](seen["retain"], targets["retain"], **own)
            total = total + self.training.retain_weight * out.loss
            parts |= _record("retain", out)
        return total, parts

    def _forget_loss(
        self,
        seen: Mapping[Side, Logits],
        targets: Mapping[Side, Targets],
        kept: Mapping[Side, Tensor | None],
    ) -> LossOut:
        keywords = self.keywords | self._compared("forget", kept["forget"])
        if "chosen" in seen:
            what = "states" if self.method.on_states else "logits"
            keywords |= {f"chosen_{what}": seen["chosen"], "chosen_targets": targets["chosen"]}
            other = self._compared("chosen", kept["chosen"])
            keywords |= {f"chosen_{name}": value for name, value in other.items()}
        return self.method.loss_function(seen["forget"], targets["forget"], **keywords)

    def _targets(self, side: Side, batch: Batch) -> Targets:
        if side != "retain" and self.method.every_position:
            return every_position(batch.ids, batch.mask)
        return batch.targets()

    def _seen(
        self, batches: Mapping[Side, Batch], targets: Mapping[Side, Targets]
    ) -> dict[Side, Any]:
        """What each side's loss looks at, states or logits: one forward pass for all sides that are
        read at the same place and are of like length."""
        found: dict[Side, Any] = {}
        for layer in dict.fromkeys(self.layers[side] for side in batches):
            sides: dict[Side, Batch] = {
                side: batch for side, batch in batches.items() if self.layers[side] == layer
            }
            for group in sharing_a_pass(sides):
                states = self._states(*joined(*(sides[side] for side in group)), layer)
                first = 0
                for side in group:
                    found[side] = picked(states, targets[side], first_row=first)
                    first += len(sides[side].ids)
            if layer is None:
                found |= {side: self._logits(side, found[side]) for side in sides}
        return found

    def _logits(self, side: Side, states: Tensor) -> Logits:
        """A user's own loss may do with them what it likes, and ours take a few at a time."""
        if side != "retain" and isinstance(self.method.loss, OwnLoss):
            return self.forward.logits(states)
        return self.forward.deferred(states)

    def _states(self, ids: Tensor, mask: Tensor, layer: int | None) -> Tensor:
        if layer is None:
            return self.forward.states(ids, mask)
        return self.forward.residuals(ids, mask, layer)

    # ---- references

    def _wanted(self, side: Side) -> Reference | None:
        return REFERENCES.get(self.retain_loss) if side == "retain" else self.method.reference

    def _reference(self, side: Side, batch: Batch, targets: Targets) -> Tensor | None:
        """What is constant of a batch: log-probabilities, or the states whose logits are needed."""
        wanted, layer = self._wanted(side), self.layers[side]
        if wanted is None:
            return None
        key = (side, batch.index)
        if key not in self.references:
            kind = "logprobs" if wanted == "logprobs" else "states"
            compute = functools.partial(self._computed, kind, layer, batch, targets)
            if self.shared is None:
                self.references[key] = compute()
            else:
                what = f"{kind} {layer} {self.training.bf16} {self.forward.plain}"
                read = (batch.ids, batch.mask, targets.row, targets.position, targets.token)
                mark = reference_key(self.start_digest, what, *read)
                self.references[key] = self.shared.get(mark, compute)
        return self.references[key]

    @torch.no_grad()
    def _computed(self, kind: str, layer: int | None, batch: Batch, targets: Targets) -> Tensor:
        with self.trained.disabled():
            states = picked(self._states(batch.ids, batch.mask, layer), targets)
            if kind == "states":
                return states
            return token_logprobs(self.forward.deferred(states), targets)

    def _compared(self, side: Side, kept: Tensor | None) -> dict[str, Logits]:
        """The keyword with which a loss is given its reference."""
        wanted = self._wanted(side)
        if wanted is None or kept is None:
            return {}
        if wanted == "logits":
            with torch.no_grad():
                return {"reference_logits": self._logits(side, kept)}
        return {f"reference_{wanted}": kept}

    # ---- what a training continues from

    def _now(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.trained.tensors().items()}

    def saved(self) -> resume.Saved:
        """To be written before the next step: the tensors are those that are trained."""
        tensors = {f"adapter.{name}": tensor for name, tensor in self._now().items()}
        tensors |= {f"good.{name}": tensor for name, tensor in self.good.items()}
        for index, entries in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in entries.items()}
        return resume.Saved(
            step=self.step, tensors=tensors, rows=list(self.rows), diverged=self.diverged
        )

    def restore(self, saved: resume.Saved) -> None:
        """Stand where a training stood when it was saved."""

        def own(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in saved.tensors.items()
                if name.startswith(prefix)
            }

        self.step, self.rows, self.diverged = saved.step, list(saved.rows), saved.diverged
        self.trained.copy_(own("adapter."))
        for name, tensor in own("good.").items():
            self.good[name].copy_(tensor)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in own("optimiser.").items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})


def learning_rate_at(step: int, total: int, *, peak: float, warmup: float) -> float:
    """The rate of step 0 … total − 1: linear warm-up to the peak, then half a cosine towards 0.

    No step has rate 0, in which it would be wasted.
    """
    rising = math.ceil(warmup * total)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))


def _record(side: Literal["forget", "retain"], out: LossOut) -> dict[str, float | None]:
    """Losses on states know no `nll`."""
    nll = out.parts.get("nll")
    return {f"{side}_loss": out.loss.item(), f"{side}_nll": None if nll is None else nll.item()}
