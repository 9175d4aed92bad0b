"""What a method is: a loss with its settings, what it needs, and the state that it leads to."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.deltas import State
from restor_interp.stages.losses import (
    LOSSES,
    ON_STATES,
    PAIRED,
    REFERENCES,
    LossOut,
    Reference,
)
from restor_interp.stages.settings import Settings

Counterpart = Literal["truth", "alternative", "refusal"]


class NoSettings(Settings):
    """A method without settings of its own."""


def added(start: State, name: str, settings: Mapping[str, Any]) -> State:
    """The state that most methods lead to: the delta on top of where it was trained."""
    del settings
    return State({**start.coefficients, name: 1.0})


@dataclass(frozen=True, kw_only=True)
class OwnLoss:
    """A loss that is not in `LOSSES`: a user's function, and what it asks for."""

    function: Callable[..., LossOut]
    """`f(logits or states, targets, **keywords) -> LossOut`."""
    reference: Reference | None = None
    paired: bool = False
    on_states: bool = False


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to train a delta. Everything is said here: there is no other code per method.

    Raises `ConfigError` where it contradicts itself: a paired loss without a counterpart, a loss
    on states without a setting that says after which layer.
    """

    name: str
    summary: str
    citation: str
    hints: str
    """What to change where it does too little, or too much."""
    loss: str | OwnLoss | None
    """What is minimised on the documents: a name in `losses.LOSSES`, or one's own; none: they are
    not read. Read it through `loss_function`, `reference`, `paired` and `on_states`."""
    settings: type[Settings] = NoSettings
    loss_settings: tuple[str, ...] = ()
    """Those of the settings that are keywords of the loss."""
    start: Literal["corrupted", "clean"] = "corrupted"
    """The state that training starts from."""
    needs_forget: bool = True
    needs_retain: bool = False
    """Has a retain term, `retain_weight` times the loss on neutral text."""
    retain_loss: str | None = None
    """The retain loss of this method, whatever the training says; none: as the training says."""
    counterpart: Counterpart | None = None
    """Another version of each document: the chosen side of a paired loss, else what is trained on
    *instead* of the document."""
    ceiling: bool = False
    """Uses the truth that it is meant to bring back: an upper bound, no unlearning."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """TrainSettings that the method needs. They replace those of the run, and are replaced by those
    that are given with the method."""
    on_layer: str | None = None
    """The setting with the index of the layer (from 0) after which a loss on states looks."""
    layers_up_to: int | None = None
    """Where the training does not say which layers: that many are trained, the last of them the
    one that is looked at."""
    every_position: bool = False
    """The loss ranges over padding and last positions too (RESTOR's KL)."""
    source_hash: str = ""
    """Hash of the text of a user's file, 16 hex characters: a changed file is another method."""
    arrive: Callable[[State, str, Mapping[str, Any]], State] = added
    """`arrive(corrupted, delta name, settings)`: the unlearned state. Its first argument is the
    state that was to be unlearned, also where training started from the clean one."""

    def __post_init__(self):
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            raise unknown_name("loss", self.loss, LOSSES)
        if self.paired and self.counterpart is None:
            raise ConfigError(
                f"the method {self.name} compares each document with another text and does not "
                "say which: give counterpart='truth', 'alternative' or 'refusal'"
            )
        if self.on_states and self.on_layer is None:
            raise ConfigError(
                f"the loss of the method {self.name} looks at the states after a layer: name the "
                "setting that says which in on_layer"
            )

    @property
    def loss_function(self) -> Callable[..., LossOut]:
        """`f(logits or states, targets, **keywords) -> LossOut`, to be minimised on the documents.

        Raises `ConfigError` for a method that reads no documents.
        """
        if self.loss is None:
            raise ConfigError(f"the method {self.name} has no loss on documents: it reads none")
        return LOSSES[self.loss] if isinstance(self.loss, str) else self.loss.function

    @property
    def reference(self) -> Reference | None:
        """What the loss asks of the model with the delta off, as `reference_<this>`."""
        if isinstance(self.loss, OwnLoss):
            return self.loss.reference
        return REFERENCES.get(self.loss) if self.loss else None

    @property
    def paired(self) -> bool:
        """The loss also takes `chosen_logits`, `chosen_targets` and `chosen_reference_…`."""
        return self.loss.paired if isinstance(self.loss, OwnLoss) else self.loss in PAIRED

    @property
    def on_states(self) -> bool:
        """The loss takes the residual stream after a layer in place of logits."""
        return self.loss.on_states if isinstance(self.loss, OwnLoss) else self.loss in ON_STATES

    @property
    def takes_direction(self) -> bool:
        """The loss takes the keyword `direction`, a fixed unit vector (`losses.rmu_direction`)."""
        if self.loss is None:
            return False
        return "direction" in inspect.signature(self.loss_function).parameters

    def layer(self, settings: Settings, depth: int) -> int | None:
        """The layer after which the loss looks, in a model of `depth` layers; none: it does not.

        A third of the depth where the settings leave it open. Raises `ConfigError` for a layer
        that the model does not have.
        """
        if self.on_layer is None:
            return None
        wanted = getattr(settings, self.on_layer)
        layer = depth // 3 if wanted is None else wanted
        if not -depth <= layer < depth:
            raise ConfigError(
                f"the method {self.name} looks after layer {wanted}, and the model has the layers "
                f"0 to {depth - 1}: set {self.on_layer}"
            )
        return layer % depth

    def trained_layers(self, settings: Settings, depth: int) -> tuple[int, ...] | None:
        """The layers to train where the training does not say; none: all of them."""
        layer = self.layer(settings, depth)
        if layer is None or self.layers_up_to is None:
            return None
        return tuple(range(max(0, layer - self.layers_up_to + 1), layer + 1))
