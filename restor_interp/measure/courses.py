"""What is asked of the engine, and where its rows have to be computed to answer it.

A value put in at (token t, layer l) of a causal transformer changes tokens from t on in layers
above l, and nothing else. Where the value and all that stands before t are of another run, t itself
goes on as in that run, whose keys and values are there (`Patch.above`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.measure.bases import BaseRun
from restor_interp.measure.interventions import (
    Intervention,
    KeysValues,
    Patch,
    Row,
    check_row,
    parts_of,
)

Read = Callable[[Tensor], Float[Tensor, "row value"]]
"""From the residual stream after the last layer [row, width], or with `read_at` [row, token,
width], to what is wanted of it, such as log-probabilities."""


DEFAULT_MAX_BYTES = 192 * 2**20
"""Of working memory. With more, single tensors pass 32 MiB, and a CPU's memory for such is taken
from the system and given back each time."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Rows that start from one base run, and what is read of them."""

    base: BaseRun
    rows: Sequence[Row]
    read: Read
    read_at: Sequence[int] | None = None
    """Tokens whose residual stream is read, from the base run's `start` on; none: the last."""

    @property
    def tokens_read(self) -> Sequence[int]:
        return [self.base.length - 1] if self.read_at is None else self.read_at

    def reading(
        self, final: Float[Tensor, "row token width"], max_bytes: int
    ) -> Float[Tensor, "row value"]:
        """What `read` makes of rows, in slices whose logits fit the budget."""
        if self.read_at is None:
            final = final[:, 0]
        per_row = 12 * self.base.model.vocab_size * len(self.tokens_read)
        return torch.cat([self.read(part) for part in final.split(max(1, max_bytes // per_row))])


@dataclass(frozen=True, kw_only=True)
class Course:
    """Where a row has to be computed."""

    index: int
    """Of the row in its job."""
    parts: tuple[Intervention, ...]
    position: int
    """The first token that must be computed."""
    enters: int
    """The first layer that must be computed."""
    whole: bool
    """It enters with a changed residual stream, so that all its tokens change in that layer;
    otherwise those before `end` alone."""
    end: int
    reads: tuple[int, ...]
    """The tokens read that it can change; of none nothing is computed."""
    above: Sequence[KeysValues] | None
    """Per layer, keys and values that stand between the base run's start and `position`, if they
    are not the base run's."""

    @property
    def joins(self) -> int:
        """The first layer before which all its tokens are there."""
        return self.enters if self.whole else self.enters + 1

    @property
    def patches(self) -> list[Patch]:
        return [part for part in self.parts if isinstance(part, Patch)]

    def replacing(self, layer: int) -> list[Patch]:
        """The patches of the residual stream after a layer."""
        return [part for part in self.patches if part.site == "resid" and layer in part.layers]


def course_of(job: Job, index: int) -> Course:
    """Where a row of a job has to be computed. Raises `ConfigError` for a row outside the run."""
    check_row(job.base.model, job.rows[index], job.base.start, job.base.length)
    parts = parts_of(job.rows[index])
    enters = min(part.enters for part in parts)
    first = [part for part in parts if part.enters == enters]
    whole = any(isinstance(part, Patch) and part.site == "resid" for part in first)
    position = min(part.position for part in parts)
    end = max(part.end for part in first)
    above = _known_above(job, parts)
    if above is not None:
        parts, position = (), end
    last = enters + (0 if whole else 1) == job.base.model.num_layers
    reads = tuple(
        token for token in job.tokens_read if position <= token and (token < end or not last)
    )
    return Course(
        index=index,
        parts=parts,
        position=position,
        enters=enters,
        whole=whole,
        end=end,
        reads=reads,
        above=above,
    )


def _known_above(job: Job, parts: Sequence[Intervention]) -> Sequence[KeysValues] | None:
    """What a row's patch says of the layers above it, if that is all the row does, nothing of the
    base run's own stands before it, and nothing is read within it."""
    patch = parts[0]
    if len(parts) > 1 or not isinstance(patch, Patch) or patch.site != "resid":
        return None
    alone = patch.position == job.base.start and patch.end <= min(job.tokens_read)
    return patch.above if alone else None


def bytes_per_token(base: BaseRun) -> int:
    """Working memory per token of a row, about: a layer's widest tensors and its scores."""
    config = base.model.hf_model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * base.model.d_model
    floats = 8 * base.model.d_model + 4 * inner + 4 * base.model.num_heads * base.length
    return floats * base.hidden[0].element_size()


@dataclass(frozen=True, kw_only=True)
class TokenLayers:
    """How many tokens are sent through how many layers, draws and rows counted."""

    computed: int
    """Through a whole layer."""
    keys_only: int
    """In the last layer as far as their keys and values."""
    region: int
    """What can change: for every row the tokens from its first on, in the layers from its first
    on; without the base run."""
    full: int
    """Of a full forward pass per row."""


def token_layers(job: Job) -> TokenLayers:
    """What a job's sweep computes, what its regions hold, and what full forward passes take."""
    base = job.base
    layers, length = base.model.num_layers, base.length
    computed = keys_only = region = 0
    for index in range(len(job.rows)):
        course = course_of(job, index)
        first = min(part.position for part in parts_of(job.rows[index]))
        region += (length - first) * (layers - course.enters)
        held = length - course.position
        if not course.reads:
            continue
        if course.joins < layers:
            computed += held * (layers - 1 - course.joins) + len(course.reads)
            keys_only += held
            if not course.whole:
                computed += course.end - course.position
        elif not course.whole:
            computed += len(course.reads)
    draws = base.num_draws
    return TokenLayers(
        computed=draws * computed,
        keys_only=draws * keys_only,
        region=draws * region,
        full=draws * len(job.rows) * length * layers,
    )
