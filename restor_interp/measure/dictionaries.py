"""Dictionaries of features, such as sparse autoencoders, at any site of a model.

    with attached(model, dictionary):                    # nothing changes: reconstruction + error
    with attached(model, dictionary, error=False):       # the model runs on reconstructions
    with attached(model, dictionary, change=fn):         # fn(features) -> features to go on with

A dictionary is anything with the five members of `Dictionary`; nothing has to be inherited.
`saelens` reads those that are saved in SAELens' format.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.models.hook_points import READ_ONLY
from restor_interp.models.hooked import HookedModel

NOT_REPLACED = (*READ_ONLY, "hook_pattern", "hook_attn_scores")
"""Ends of hook names at which no dictionary can stand."""

ChangeFeatures = Callable[[Tensor], Tensor]
"""Features [row pos feature] -> those that the model goes on with."""


@runtime_checkable
class Dictionary(Protocol):
    """Activations of one site as sums of features, and back."""

    @property
    def site(self) -> str:
        """The hook name of the activations, such as `blocks.5.hook_resid_post`."""
        ...

    @property
    def width(self) -> int:
        """Numbers in an activation; of `attn.hook_z`, of all heads together."""
        ...

    @property
    def n_features(self) -> int: ...

    def encode(self, x: Float[Tensor, "*row width"]) -> Float[Tensor, "*row feature"]:
        """Activations, in fp32, to features."""
        ...

    def decode(self, features: Float[Tensor, "*row feature"]) -> Float[Tensor, "*row width"]:
        """Features to activations."""
        ...


def check_fits(model: HookedModel, dictionary: Dictionary) -> None:
    """Raises `ConfigError` where a dictionary lacks a member, or its site or width is not the
    model's."""
    if not isinstance(dictionary, Dictionary):
        lacking = [name for name in _MEMBERS if not hasattr(dictionary, name)]
        raise ConfigError(
            f"{type(dictionary).__name__} is no dictionary: it lacks {', '.join(lacking)}; see "
            "restor_interp.Dictionary"
        )
    site = dictionary.site
    if site.endswith(NOT_REPLACED):
        raise ConfigError(
            f"a dictionary cannot stand at {site}: patterns, scores and the inside of norms are "
            "seen and not replaced; give one of a residual stream, an output, or attn.hook_z"
        )
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    _, cache = model.run_with_cache(ids, names_filter=site)
    width = math.prod(cache[site].shape[2:])
    if width != dictionary.width:
        raise ConfigError(
            f"the dictionary has a width of {dictionary.width}, and {site} of {model.name} has "
            f"{width}: it was made for another model or site"
        )


_MEMBERS = ("site", "width", "n_features", "encode", "decode")


@contextlib.contextmanager
def attached(
    model: HookedModel,
    dictionary: Dictionary,
    *,
    error: bool = True,
    change: ChangeFeatures | None = None,
) -> Iterator[None]:
    """Within this, the model's activations at the dictionary's site go through the dictionary.

    In every forward pass of `model`, in whatever state it is. With `error`, what the dictionary
    does not reconstruct is kept: only what `change` does to the features changes the run, and
    without a change the run is the plain one, bit by bit.

    Raises `ConfigError` for a dictionary that does not fit, at once; and in the run for a change
    that returns features of another shape.
    """
    check_fits(model, dictionary)

    def through(value: Tensor, hook: Any) -> Tensor | None:
        del hook
        x = value.flatten(2).float()
        features = dictionary.encode(x)
        wanted = features if change is None else change(features)
        if wanted.shape != features.shape:
            raise ConfigError(
                f"a change of features returned {list(wanted.shape)} in place of "
                f"{list(features.shape)}"
            )
        if error:
            if wanted is features:
                return None
            new = x + (dictionary.decode(wanted) - dictionary.decode(features))
        else:
            new = dictionary.decode(wanted)
        return new.to(value.dtype).view_as(value)

    with model.hooks([(dictionary.site, through)]):
        yield
