"""Arrays whose axes have names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from restor_interp.errors import ConfigError, unknown_name


@dataclass(frozen=True, kw_only=True)
class NamedArray:
    """Values, the names of their axes in order, and what stands where along each axis.

    >>> read = activations.read(site="resid", layers=[4, 8])
    >>> read.axes
    ('row', 'layer', 'position', 'width')
    >>> read.at(layer=8, position="last").numpy().shape
    (1051, 576)
    """

    values: np.ndarray
    axes: tuple[str, ...]
    coordinates: Mapping[str, tuple[Any, ...]]
    """Axis -> its coordinates; of `row` they are the `CapturedPrompt`s."""

    def __post_init__(self) -> None:
        """Raises `ConfigError` where names, coordinates and values do not fit each other."""
        lengths = tuple(len(self.coordinates.get(axis, ())) for axis in self.axes)
        if len(set(self.axes)) != len(self.axes) or set(self.axes) != set(self.coordinates):
            raise ConfigError(
                f"axes {self.axes} need one name each and as many coordinates, found those of "
                f"{tuple(self.coordinates)}"
            )
        if lengths != self.values.shape:
            raise ConfigError(
                f"values of shape {self.values.shape} have coordinates of the lengths {lengths} "
                f"for {self.axes}"
            )

    @property
    def shape(self) -> dict[str, int]:
        """Axis -> its length."""
        return dict(zip(self.axes, self.values.shape, strict=True))

    def at(self, **coordinates: Any) -> "NamedArray":
        """What stands at one coordinate of some axes, without these axes; a view.

        Raises `ConfigError` for an unknown axis or coordinate.
        """
        index: list[Any] = [slice(None)] * len(self.axes)
        for axis, wanted in coordinates.items():
            place = self._axis(axis)
            index[place] = self._index(axis, wanted)
        kept = tuple(axis for axis in self.axes if axis not in coordinates)
        return NamedArray(
            values=self.values[tuple(index)],
            axes=kept,
            coordinates={axis: self.coordinates[axis] for axis in kept},
        )

    def numpy(self, *axes: str) -> np.ndarray:
        """The values, their axes in the order asked for (default: as they are); a view.

        Raises `ConfigError` unless every axis is named once.
        """
        if not axes:
            return self.values
        if sorted(axes) != sorted(self.axes):
            raise ConfigError(f"name each of the axes {self.axes} once, found {axes}")
        return self.values.transpose([self._axis(axis) for axis in axes])

    def torch(self, *axes: str) -> torch.Tensor:
        """The same as a tensor, which shares its memory."""
        return torch.from_numpy(self.numpy(*axes))

    def _axis(self, name: str) -> int:
        if name not in self.axes:
            raise unknown_name("axis", name, self.axes)
        return self.axes.index(name)

    def _index(self, axis: str, wanted: Any) -> int:
        known = self.coordinates[axis]
        if wanted not in known:
            raise unknown_name(f"coordinate on the axis {axis}", str(wanted), map(str, known))
        return known.index(wanted)
