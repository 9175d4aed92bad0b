"""What a method is: a loss with its settings, what it needs, and the state that it leads to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from restor_interp.models.deltas import State
from restor_interp.stages.losses import REFERENCES, Reference
from restor_interp.stages.settings import Settings


class NoSettings(Settings):
    """A method without settings of its own."""


def added(start: State, name: str, settings: Mapping[str, Any]) -> State:
    """The state that most methods lead to: the delta on top of where it was trained."""
    del settings
    return State({**start.coefficients, name: 1.0})


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to train a delta. Everything is said here: there is no other code per method."""

    name: str
    summary: str
    citation: str
    hints: str
    """What to change where it does too little, or too much."""
    loss: str | None
    """Name in `losses.LOSSES` of what is minimised on the documents; none: they are not read."""
    settings: type[Settings] = NoSettings
    loss_settings: tuple[str, ...] = ()
    """Those of the settings that are keywords of the loss."""
    start: Literal["corrupted", "clean"] = "corrupted"
    """The state that training starts from."""
    needs_forget: bool = True
    needs_retain: bool = False
    """Has a retain term, `retain_weight` times the loss on neutral text."""
    every_position: bool = False
    """The loss ranges over padding and last positions too (RESTOR's KL)."""
    arrive: Callable[[State, str, Mapping[str, Any]], State] = added
    """`arrive(corrupted, delta name, settings)`: the unlearned state. Its first argument is the
    state that was to be unlearned, also where training started from the clean one."""

    @property
    def reference(self) -> Reference | None:
        """What the loss asks of the model with the delta off."""
        return REFERENCES.get(self.loss) if self.loss else None
