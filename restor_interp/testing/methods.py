"""Trying out an unlearning method on random numbers, before anything is trained with it.

    from restor_interp.definitions import find_method
    from restor_interp.testing import check_method

    def test_my_method():
        check_method(find_method("my_method.py"))

What is checked is what a formula promises and code often breaks: that rows are independent of
their order and of rows in which nothing is counted, that padding is not read, that the sign is
right. It takes some hundredths of a second and says nothing about how good a method is.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from restor_interp.definitions import find_method
from restor_interp.errors import ConfigError
from restor_interp.models.deltas import State
from restor_interp.stages.losses import (
    LossOut,
    Targets,
    every_position,
    predicted_tokens,
    rmu_direction,
    token_logprobs,
)
from restor_interp.stages.methods import Method

VOCAB, WIDTH, DEPTH = 13, 16, 12
LENGTHS = (6, 4, 9, 5)
"""Tokens of the four rows; the first of each row is not predicted."""
STEP = 0.05
"""Largest change of a logit, or of a state's entry, in the step that must lower the loss."""


def check_method(method: Method | str, *, settings: dict[str, Any] | None = None) -> None:
    """Try a method's loss out: a test that fails says in its message what is wrong.

    Args:
        method: a Method, the name of one, or the path of a file that defines one.
        settings: its settings where the defaults are not what is to be tried.

    Raises:
        AssertionError: the loss is not one finite fp32 number; its parts are not detached or lack
            `nll`; it depends on padding, on the order of rows or on a row without targets; nothing
            comes back as gradient; a step against the gradient does not lower it, or moves the
            documents' nll the wrong way (a loss may weigh tokens by numbers held constant: then the
            nll alone decides); its settings do not survive being written down; it leads to a state
            without its delta.
        ConfigError: what the method itself refuses.
    """
    tried = _Tried(find_method(method) if isinstance(method, str) else method, settings or {})
    tried.check_settings()
    tried.check_state()
    if tried.method.loss is None:
        tried.demand(
            tried.method.needs_retain,
            "it reads neither documents nor retain text: set needs_retain",
        )
        return
    tried.check_value()
    tried.check_padding()
    tried.check_rows()
    tried.check_gradient()
    tried.check_direction()


@dataclass(frozen=True)
class _Rows:
    """A random batch with all that a loss may ask for; logits and states [row pos …]."""

    ids: Tensor
    mask: Tensor
    counted: Tensor
    x: Tensor
    """Logits, or states for a loss on them."""
    reference: Tensor

    def padded(self) -> "_Rows":
        """Three more columns that are masked, full of other numbers."""
        fill = torch.Generator().manual_seed(99)
        rows = len(self.ids)
        more = [7 * torch.randn(rows, 3, self.x.shape[-1], generator=fill) for _ in range(2)]
        ids = torch.randint(VOCAB, (rows, 3), generator=fill)
        off = torch.zeros(rows, 3, dtype=torch.bool)
        return _Rows(
            ids=torch.cat([self.ids, ids], dim=1),
            mask=torch.cat([self.mask, off], dim=1),
            counted=torch.cat([self.counted, off], dim=1),
            x=torch.cat([self.x, more[0]], dim=1),
            reference=torch.cat([self.reference, more[1]], dim=1),
        )

    def chosen(self, rows: Tensor) -> "_Rows":
        """Some of the rows, in that order."""
        return _Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def without_last(self) -> "_Rows":
        """The same with nothing counted in the last row."""
        counted = self.counted.clone()
        counted[-1] = False
        return replace(self, counted=counted)


def _random_rows(width: int, seed: int) -> _Rows:
    """Documents that the start state knows well: their tokens have 3 nats more than the others."""
    generator = torch.Generator().manual_seed(seed)
    rows, length = len(LENGTHS), max(LENGTHS)
    ids = torch.randint(VOCAB, (rows, length), generator=generator)
    mask = torch.arange(length) < torch.tensor(LENGTHS)[:, None]
    reference = torch.randn(rows, length, width, generator=generator)
    if width == VOCAB:
        reference.scatter_add_(-1, ids.roll(-1, dims=1)[..., None], torch.full_like(reference, 3.0))
    moved = reference + 0.5 * torch.randn(rows, length, width, generator=generator)
    return _Rows(ids=ids, mask=mask, counted=torch.ones_like(mask), x=moved, reference=reference)


class _Tried:
    """A method with its settings, on one random batch."""

    def __init__(self, method: Method, settings: dict[str, Any]) -> None:
        self.method = method
        self.settings = method.settings.read(settings, f"the method {method.name}")
        width = WIDTH if method.on_states else VOCAB
        self.rows = _random_rows(width, seed=1)
        self.others = _random_rows(width, seed=2)

    def demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise AssertionError(f"the method {self.method.name}: {otherwise}")

    # ---- its loss

    def loss(
        self,
        rows: _Rows,
        x: Tensor | None = None,
        others: _Rows | None = None,
        whole: bool = False,
    ) -> LossOut:
        """The loss as training computes it; `x` in place of the batch's own logits or states.

        With `whole` all positions are given, of which those that predict nothing count for nothing.
        """
        targets = self.targets(rows, whole)
        keywords = {name: getattr(self.settings, name) for name in self.method.loss_settings}
        if self.method.takes_direction:
            keywords["direction"] = rmu_direction(WIDTH, seed=0)
        keywords |= self._referred(rows, targets, "reference")
        if self.method.paired:
            others = others or self.others
            chosen = self.targets(others, whole)
            keywords["chosen_logits"] = others.x[chosen.row, chosen.position]
            keywords["chosen_targets"] = chosen
            keywords |= self._referred(others, chosen, "chosen_reference")
        x = rows.x if x is None else x
        return self.method.loss_function(x[targets.row, targets.position], targets, **keywords)

    def targets(self, rows: _Rows, whole: bool) -> Targets:
        if self.method.every_position or whole:
            return every_position(rows.ids, rows.mask)
        return predicted_tokens(rows.ids, rows.mask, rows.counted)

    def _referred(self, rows: _Rows, targets: Targets, name: str) -> dict[str, Tensor]:
        kind = self.method.reference
        if kind is None:
            return {}
        found = rows.reference[targets.row, targets.position]
        return {f"{name}_{kind}": token_logprobs(found, targets) if kind == "logprobs" else found}

    def after_step(self, x: Tensor) -> tuple[LossOut, Tensor, LossOut]:
        """The loss at `x`, its gradient, and the loss after a small step against it."""
        x = x.clone().requires_grad_(True)
        before = self.loss(self.rows, x)
        (gradient,) = torch.autograd.grad(before.loss, x)
        largest = gradient.abs().max().clamp(min=1e-12)
        after = self.loss(self.rows, (x - STEP * gradient / largest).detach())
        return before, gradient, after

    # ---- what is demanded

    def check_settings(self) -> None:
        method, cls = self.method, self.method.settings
        again = cls.read(self.settings.model_dump(mode="json"), method.name)
        self.demand(again == self.settings, "its settings are others after being written down")
        unknown = set(method.loss_settings) - set(cls.model_fields)
        self.demand(not unknown, f"loss_settings names {unknown}, which its settings do not have")
        try:
            cls.read({"no_such_setting": 1}, method.name)
        except ConfigError:
            return
        self.demand(False, "it takes a setting that does not exist: derive from Settings")

    def check_state(self) -> None:
        corrupted = State({"corruption": 1.0})
        found = self.method.arrive(corrupted, "new", self.settings.model_dump()).coefficients
        told = f"it leads to {dict(found)}"
        self.demand(found.get("corruption") == 1.0 and "new" in found, f"{told} without its delta")

    def check_value(self) -> None:
        out = self.loss(self.rows)
        self.demand(bool(torch.isfinite(out.loss)), f"its loss is {out.loss.item()}")
        half = self.loss(self.rows, self.rows.x.bfloat16()).loss.dtype
        self.demand(
            half == torch.float32, f"of bfloat16 logits it computes in {half}: use .float()"
        )
        loose = [name for name, part in out.parts.items() if part.requires_grad]
        x = self.rows.x.clone().requires_grad_(True)
        loose += [
            name for name, part in self.loss(self.rows, x).parts.items() if part.requires_grad
        ]
        self.demand(not loose, f"parts are for the record: detach {', '.join(loose)}")
        self.demand(
            self.method.on_states or "nll" in out.parts,
            f"its parts are {', '.join(out.parts) or 'empty'}; `nll` is missing",
        )

    def check_padding(self) -> None:
        if not self.method.every_position:
            padded = self.loss(self.rows.padded(), others=self.others.padded(), whole=True)
            self.same(
                padded,
                "it depends on padding, where targets.token is NOTHING (leave out what is not "
                "targets.counted, as losses.token_mean does)",
            )

    def check_rows(self) -> None:
        order = torch.tensor([2, 0, 3, 1])
        moved = self.loss(self.rows.chosen(order), others=self.others.chosen(order))
        self.same(moved, "it depends on the order of the rows")
        if self.method.every_position:
            return
        first = torch.arange(len(LENGTHS) - 1)
        without = self.loss(self.rows.chosen(first), others=self.others.chosen(first))
        self.same(
            self.loss(self.rows.without_last()),
            "it depends on a row in which nothing is counted (leave rows without targets out)",
            without,
        )

    def same(self, found: LossOut, otherwise: str, wanted: LossOut | None = None) -> None:
        a, b = found.loss.item(), (wanted or self.loss(self.rows)).loss.item()
        close = abs(a - b) <= 1e-5 * max(abs(a), abs(b), 1e-3)  # False for what is not finite
        self.demand(close, f"{otherwise}: {a:.6g} and not {b:.6g}")

    def check_gradient(self) -> None:
        x = self.rows.x.clone().requires_grad_(True)
        loss = self.loss(self.rows, x).loss
        self.demand(loss.requires_grad, "no gradient: it does not depend on what it is given")
        (gradient,) = torch.autograd.grad(loss, x)
        self.demand(bool(torch.isfinite(gradient).all()), "its gradient is not finite")
        self.demand(
            bool(gradient.abs().max() > 0), "its gradient is zero, also off the start state"
        )

    def check_direction(self) -> None:
        """Off the start state, then at it, where training begins."""
        learns = self.learns
        before, _, after = self.after_step(self.rows.x)
        falls = bool(after.loss < before.loss)
        if self.method.on_states:
            self.demand(falls, f"a step against its gradient raises it: {_change(before, after)}")
            return
        rise = _nll(after) - _nll(before)
        self.demand(
            falls or (rise < 0 if learns else rise > 0),
            f"a step against its gradient raises it: {_change(before, after)}",
        )
        before, _, after = self.after_step(self.rows.reference)
        rise = _nll(after) - _nll(before)
        wrong = rise >= 0 if learns else rise < -1e-5
        self.demand(
            not wrong,
            f"from the start state a step moves the nll of its texts by {rise:+.4g} nats, and it "
            + ("learns them" if learns else "forgets them")
            + ": is the sign right? What a loss returns is minimised",
        )

    @property
    def learns(self) -> bool:
        """Its texts become likelier: they are other versions, or are subtracted later."""
        method = self.method
        if method.start == "clean" or (method.counterpart is not None and not method.paired):
            return True
        state = method.arrive(State({"corruption": 1.0}), "new", self.settings.model_dump())
        return state.coefficients.get("new", 1.0) < 0


def _nll(out: LossOut) -> float:
    return out.parts["nll"].item()


def _change(before: LossOut, after: LossOut) -> str:
    return f"{before.loss.item():.6g} becomes {after.loss.item():.6g}"
