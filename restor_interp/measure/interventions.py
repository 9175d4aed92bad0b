"""What can be changed in a run: a value put in, or edges of attention taken out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.models.hooked import HookedModel

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each [key head, draw, token, head width], after their position is applied."""

Site = Literal["resid", "mlp", "attn", "head"]
"""What is replaced: the residual stream after a layer, the output of its MLP or its attention, or
what one head of it gives before heads are mixed (TransformerLens' `attn.hook_z`)."""

HOOKS: Mapping[Site, str] = {
    "resid": "blocks.{}.hook_resid_post",
    "mlp": "blocks.{}.hook_mlp_out",
    "attn": "blocks.{}.hook_attn_out",
    "head": "blocks.{}.attn.hook_z",
}


@dataclass(frozen=True, kw_only=True)
class Patch:
    """Values put in for a span of tokens, in one or several layers."""

    site: Site
    layers: range
    """The layers whose site is replaced."""
    position: int
    """First token of the span, as an index into the row."""
    values: Float[Tensor, "layer span width"]
    """For a head, as wide as a head."""
    head: int | None = None
    above: Sequence[KeysValues] | None = None
    """Per layer, the span's keys and values, of one draw, in the run that the values are of, if all
    that stands before the span is that run's too. The span is then that run's in every layer
    above, and need not be computed again."""

    @property
    def enters(self) -> int:
        """The first layer in which anything differs."""
        return self.layers.start + 1 if self.site == "resid" else self.layers.start

    @property
    def end(self) -> int:
        """The token after the span."""
        return self.position + self.values.shape[1]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Attention edges from queries to keys taken out: their scores are −inf before the softmax
    (Geva et al. 2023, "Dissecting recall of factual associations", attention knockout)."""

    layers: range
    queries: tuple[int, ...]
    """Tokens that no longer see the keys."""
    keys: tuple[int, ...]
    heads: tuple[int, ...] | None = None
    """Query heads; none: all."""

    @property
    def enters(self) -> int:
        return self.layers.start

    @property
    def position(self) -> int:
        return min(self.queries)

    @property
    def end(self) -> int:
        return max(self.queries) + 1


Intervention = Patch | Cut
Row = Intervention | tuple[Intervention, ...]
"""What happens in one run: one intervention, or several; of two values for one place the later."""


def parts_of(row: Row) -> tuple[Intervention, ...]:
    """The interventions of a row."""
    return row if isinstance(row, tuple) else (row,)


def check_row(model: HookedModel, row: Row, start: int, length: int) -> None:
    """Raises `ConfigError` for what does not lie in a run of these tokens, or has wrong shapes."""
    if not parts_of(row):
        raise ConfigError("a row without interventions is the base run itself: leave it out")
    for part in parts_of(row):
        what = _problem(model, part, start, length)
        if what is not None:
            raise ConfigError(
                f"{what}; the run has tokens {start} to {length - 1}, layers 0 to "
                f"{model.num_layers - 1}, heads 0 to {model.num_heads - 1}, width {model.d_model} "
                f"({model.d_head} of a head)"
            )


def _problem(model: HookedModel, part: Intervention, start: int, length: int) -> str | None:
    layers = part.layers
    in_model = 0 <= layers.start < layers.stop <= model.num_layers and layers.step == 1
    where = f"in layers {layers.start} to {layers.stop - 1}"
    if isinstance(part, Cut):
        heads = part.heads
        inside = (
            bool(part.queries and part.keys)
            and all(start <= query < length for query in part.queries)
            and all(0 <= key < length for key in part.keys)
            and (heads is None or (heads and all(0 <= head < model.num_heads for head in heads)))
        )
        if inside and in_model:
            return None
        return f"a cut of queries {part.queries} from keys {part.keys}, heads {heads}, {where}"
    shape = list(part.values.shape)
    width, heads = (
        (model.d_head, range(model.num_heads))
        if part.site == "head"
        else (
            model.d_model,
            (None,),
        )
    )
    fits = len(shape) == 3 and shape[0] == len(layers) and shape[1] > 0 and shape[2] == width
    if fits and in_model and start <= part.position and part.end <= length and part.head in heads:
        return None
    return (
        f"a patch of {part.site} (head {part.head}) from token {part.position} on {where} with "
        f"values of shape {shape} [layer, span, width]"
    )
