"""What a method would do next: its loss at a state, without taking the step.

    objective = Objective(model, METHODS["npo"], settings, training, Texts(forget=documents,
                          retain=neutral), start=State({"corruption": 1.0}), seed=0)
    with model.at("npo"):
        loss = sum(objective.parts())

The batches, the reference and the weights of the terms are those of the training that would start
from `start` with the same texts and seed.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.stages.batches import Batch
from restor_interp.stages.inputs import Texts, read_texts, without_unused
from restor_interp.stages.loop import Loop, Side
from restor_interp.stages.losses import Targets
from restor_interp.stages.methods import Method
from restor_interp.stages.train_settings import TrainSettings
from restor_interp.stages.training import training_batches


class _Untrained:
    """In place of an adapter: nothing is trained, and the reference is the start state."""

    def __init__(self, model: HookedModel, start: State) -> None:
        self._model, self._start = model, start

    def tensors(self) -> dict[str, nn.Parameter]:
        return {}

    def parameters(self) -> list[nn.Parameter]:
        # An optimiser wants one; it never takes a step.
        return [nn.Parameter(torch.zeros(1))]

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        with self._model.at(self._start):
            yield


class Objective(Loop):
    """A training that stands still: what it would minimise in whatever state the model is in."""

    def __init__(
        self,
        model: HookedModel,
        method: Method,
        settings: Mapping[str, Any],
        training: TrainSettings,
        texts: Texts,
        *,
        start: State,
        seed: int,
    ) -> None:
        """Raises as `train` does, for the same reasons."""
        checked = method.settings.read(settings, f"the method {method.name}")
        training = without_unused(method, training)
        rows = read_texts(model, method, training, texts, start=start, seed=seed)
        batches = training_batches(model, training, rows, seed)
        super().__init__(
            model,
            cast(Any, _Untrained(model, start)),
            method,
            checked,
            training,
            batches,
            batches.number,
            seed,
        )
        arrived = method.arrive(start, "new", checked.model_dump(mode="json"))
        self.sign = -1.0 if arrived.coefficients.get("new", 1.0) < 0 else 1.0
        """−1 where the state that the method leads to subtracts what was trained."""
        self._start_logprobs: dict[int, Tensor] = {}

    def parts(self) -> Iterator[Float[Tensor, ""]]:
        """The loss of each batch of the first epoch, over their number: they add up to the mean."""
        for step in range(self.batches.number):
            loss, _ = self._losses(self.batches.of_step(step, seed=self.seed))
            yield loss / self.batches.number

    def forget_batches(self) -> Iterator[dict[Side, Batch]]:
        """Each batch of documents, with their counterparts where the loss compares pairs."""
        for index, batch in enumerate(self.batches.forget):
            pair: dict[Side, Batch] = {"forget": batch}
            if self.batches.chosen:
                pair["chosen"] = self.batches.chosen[index]
            yield pair

    def forget_gradient(
        self, batches: Mapping[Side, Batch]
    ) -> tuple[Targets, Float[Tensor, "token vocab"], Float[Tensor, "token vocab"]]:
        """The forget term of one of `forget_batches` as the logits have it: at which tokens they
        are read, the logits, and its gradient with respect to them. Nothing goes into the weights.

        Raises `ConfigError` for a method whose loss sees no logits.
        """
        if self.method.loss is None or self.method.on_states:
            what = "reads no documents" if self.method.loss is None else "looks at states"
            raise ConfigError(
                f"the loss of {self.method.name} {what}, so that no token has a weight in it"
            )
        targets: dict[Side, Targets] = {
            side: self._targets(side, batch) for side, batch in batches.items()
        }
        kept: dict[Side, Tensor | None] = {
            side: self._reference(side, batch, targets[side]) for side, batch in batches.items()
        }
        with torch.no_grad():
            seen = self._seen(batches, targets)
        logits = seen["forget"].float().detach().requires_grad_(True)
        seen["forget"] = logits
        with torch.enable_grad():
            loss = self._forget_loss(seen, targets, kept).loss
        (gradient,) = torch.autograd.grad(loss, logits)
        return targets["forget"], logits.detach(), gradient

    def reference_logprobs(self, batch: Batch) -> Float[Tensor, " token"]:
        """Log-probability of each token of `forget_batches` in the start state; 0 where nothing is
        predicted."""
        if batch.index not in self._start_logprobs:
            targets = self._targets("forget", batch)
            found = self._computed("logprobs", None, batch, targets)
            self._start_logprobs[batch.index] = found
        return self._start_logprobs[batch.index]
