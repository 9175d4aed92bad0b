"""Activations of several states side by side, with what a probe needs beside them."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np
import safetensors.numpy
from jaxtyping import Float

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.models.activations.choosing import Which
from restor_interp.models.activations.named import NamedArray
from restor_interp.models.activations.reading import CAPTURE_AGAIN, Activations


class StateActivations:
    """What a probe receives: the activations of every captured state, and the objects' vectors.

    `of(name)` is the same of other prompts (statements, questions about another entity);
    `controls` holds what no knowledge can be in, by name: `random_weights`.
    """

    def __init__(
        self,
        activations: Mapping[str, Activations],
        *,
        object_vectors: Mapping[str, Float[np.ndarray, " width"]] | str | Path | None = None,
        others: Mapping[str, "StateActivations"] | None = None,
        controls: Mapping[str, Activations] | None = None,
    ) -> None:
        """`object_vectors`: as they are, or a safetensors file that holds them by name.

        Raises `ConfigError` where two states, or those of other prompts, are of different models,
        or a control has another width or number of layers.
        """
        self._activations = dict(activations)
        self._object_vectors = object_vectors
        self._others = dict(others or {})
        self.controls: Mapping[str, Activations] = dict(controls or {})
        """The same prompts in models that cannot know anything."""
        of_others = (one for other in self._others.values() for one in other._activations.values())
        first = next(iter(self._activations.values()), None)
        for one in (*self._activations.values(), *of_others):
            if first is not None:
                first.require_same_model(one)
        for name, control in self.controls.items():
            if first is not None and (control.width, control.num_layers) != (
                first.width,
                first.num_layers,
            ):
                raise ConfigError(
                    f"the control {name!r} has {control.num_layers} layers of width "
                    f"{control.width}, and the states have {first.num_layers} of width "
                    f"{first.width}: capture it in a model of the same architecture"
                )

    @cached_property
    def object_vectors(self) -> Mapping[str, Float[np.ndarray, " width"]]:
        """Object -> the clean model's unembedding row of its first token."""
        if isinstance(self._object_vectors, Mapping):
            return self._object_vectors
        if self._object_vectors is None or not Path(self._object_vectors).is_file():
            raise ConfigError(
                f"there are no object vectors ({self._object_vectors}): write those that "
                "restor_interp.measure.capture.object_vectors gives"
            )
        return safetensors.numpy.load_file(self._object_vectors)

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self._activations)

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the other prompts that were captured."""
        return tuple(self._others)

    def of(self, name: str) -> "StateActivations":
        """Other prompts, captured in the same states. Raises `ConfigError` for an unknown name."""
        if name not in self._others:
            there = ", ".join(self._others) or "none"
            raise ConfigError(
                f"no prompts named {name!r} were captured (captured are: {there}); {CAPTURE_AGAIN}"
            )
        return self._others[name]

    def read(
        self,
        *,
        site: str,
        states: Iterable[str] | None = None,
        layers: Iterable[int] | int | None = None,
        positions: Iterable[str | int] | str | int | None = None,
        **which: Unpack[Which],
    ) -> NamedArray:
        """Several states at once: the axes of `Activations.read` behind an axis `state`.

        Raises `ConfigError` besides where two states hold other rows.
        """
        names = self.states if states is None else tuple(states)
        read = [
            self[name].read(site=site, layers=layers, positions=positions, **which)
            for name in names
        ]
        if not read:
            raise ConfigError("no state was asked for")
        for name, one in zip(names, read, strict=True):
            if one.coordinates != read[0].coordinates:
                raise ConfigError(
                    f"{name!r} was captured of other prompts, layers or positions than "
                    f"{names[0]!r}: read it alone, or choose rows that both have"
                )
        return NamedArray(
            values=np.stack([one.values for one in read]),
            axes=("state", *read[0].axes),
            coordinates={"state": names, **read[0].coordinates},
        )

    def __getitem__(self, state: str) -> Activations:
        if state not in self._activations:
            raise unknown_name("captured state", state, self.states)
        return self._activations[state]

    def __contains__(self, state: object) -> bool:
        return state in self._activations

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)
