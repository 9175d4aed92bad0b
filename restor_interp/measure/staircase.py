"""Rows with interventions carried up through the layers together, each from its own layer on.

A row

- joins when its layer comes, holds only tokens from its first change on, and attends to its base
  run before that;
- in the layer of its first change is computed at the tokens that are changed, and nowhere else;
- in the last layer gives keys and values for all its tokens, and goes on at those that are read;
- is not computed at all where what is read lies outside of what it changes.

Rows of several base runs, starting at several tokens, lie packed in one batch.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.bases import BaseRun
from restor_interp.measure.courses import Course, Job, bytes_per_token, course_of
from restor_interp.measure.interventions import HOOKS, Cut, KeysValues, Site
from restor_interp.measure.packed import Rows, packed_attention, run_keys, run_layer


@torch.no_grad()
def sweep(jobs: Sequence[Job], *, max_bytes: int) -> list[Float[Tensor, "row draw value"]]:
    """What is read of every row of every job, whose base runs are those of one model and state.

    Raises `ConfigError` for a row outside its run, and for a budget that a single row exceeds.
    """
    results: list[dict[int, list[Tensor]]] = [
        {index: [] for index in range(len(job.rows))} for job in jobs
    ]
    with packed_attention(jobs[0].base.model):
        for groups in _chunks(jobs, max_bytes):
            _climb_stairs(groups)
            for number, own in itertools.groupby(groups, key=lambda group: group.job):
                for index, value in _read(jobs[number], list(own), max_bytes):
                    results[number][index].append(value)
    return [_gathered(job, found, max_bytes) for job, found in zip(jobs, results, strict=True)]


def _read(
    job: Job, groups: Sequence["_Group"], max_bytes: int
) -> Iterator[tuple[int, Float[Tensor, "draw value"]]]:
    """Row and what is read of it; of all groups at once, since logits are cheaper in one piece."""
    finals = [group.final.flatten(0, 1) for group in groups]
    parts = job.reading(torch.cat(finals), max_bytes).split([len(final) for final in finals])
    for group, values in zip(groups, parts, strict=True):
        values = values.unflatten(0, group.final.shape[:2])
        yield from zip((c.index for c in group.courses), values.unbind(1), strict=True)


def _gathered(
    job: Job, found: dict[int, list[Tensor]], max_bytes: int
) -> Float[Tensor, "row draw value"]:
    """The values of all rows; where nothing was computed, those of the base run."""
    unchanged: list[Tensor] = []
    if not all(found.values()):
        places = [token - job.base.start for token in job.tokens_read]
        unchanged = [job.reading(job.base.hidden[-1][:, places], max_bytes)]
    return torch.stack([torch.cat(values or unchanged) for values in found.values()])


def _chunks(jobs: Sequence[Job], max_bytes: int) -> Iterator[list["_Group"]]:
    """Groups of rows that fit the budget together."""
    chunk: list[_Group] = []
    used = 0
    for number, job in enumerate(jobs):
        base, per_token = job.base, bytes_per_token(job.base)
        courses = [course for i in range(len(job.rows)) if (course := course_of(job, i)).reads]
        if not courses:
            continue
        longest = base.length - min(course.position for course in courses)
        if max_bytes < longest * per_token:
            raise ConfigError(
                f"max_bytes={max_bytes} is too little for one row of {longest} tokens; it needs "
                f"{longest * per_token}"
            )
        num_draws = min(base.num_draws, max_bytes // (longest * per_token))
        courses.sort(key=lambda course: (*_start(course), course.joins))
        for first in range(0, base.num_draws, num_draws):
            draws = base.draws(first, first + num_draws)
            for (position, _), same in itertools.groupby(courses, key=_start):
                cost = draws.num_draws * (base.length - position) * per_token
                rest = list(same)
                while rest:
                    count = (max_bytes - used) // cost
                    if count:
                        chunk.append(_Group(number, draws, rest[:count], job.tokens_read))
                        used += len(rest[:count]) * cost
                        rest = rest[count:]
                    if rest:
                        yield chunk
                        chunk, used = [], 0
    if chunk:
        yield chunk


def _start(course: Course) -> tuple[int, int]:
    """What the rows of a group have in common."""
    return course.position, id(course.above)


class _Group:
    """Rows of one base run that start at one token, in the order in which they join."""

    def __init__(
        self, job: int, base: BaseRun, courses: Sequence[Course], read: Sequence[int]
    ) -> None:
        self.job = job
        self.base = base
        self.courses = sorted(courses, key=lambda course: (course.joins, course.whole))
        self.position, self.above = courses[0].position, courses[0].above
        self.read = read
        self.held: Float[Tensor, "draw row token width"] = self.common(0, 0, self.position)
        """The residual stream of rows that have joined."""
        places = [token - base.start for token in read]
        common = base.hidden[-1][:, None, places]
        self.final: Float[Tensor, "draw row token width"] = common.repeat(1, len(courses), 1, 1)
        """After the last layer, at the tokens that are read; at first the base run's."""

    def common(self, layer: int, count: int, token: int) -> Float[Tensor, "draw row token width"]:
        """The base run's residual stream before a layer, from a token on."""
        hidden = self.base.hidden[layer][:, None, token - self.base.start :]
        return hidden.expand(-1, count, -1, -1)

    def before(self, layer: int) -> list[KeysValues]:
        """What rows attend to beside themselves."""
        if self.above is None:
            return self.base.before(layer, self.position)
        return [*self.base.before(layer, self.base.start), self.above[layer]]

    def entering(self, layer: int, *, whole: bool) -> list[Course]:
        return [c for c in self.courses if c.enters == layer and c.whole == whole]

    def join(self, rows: Float[Tensor, "draw row token width"]) -> None:
        self.held = torch.cat([self.held, rows], dim=1)

    def replace_stream(self, layer: int) -> None:
        """Put in what rows want of the residual stream before a layer."""
        for row, course in enumerate(self.courses[: self.held.shape[1]]):
            for part in course.replacing(layer - 1):
                span = slice(part.position - self.position, part.end - self.position)
                self.held[:, row, span] = part.values[layer - 1 - part.layers.start]

    def replace_final(self) -> None:
        """The same after the last layer."""
        top = self.base.model.num_layers - 1
        for row, course in enumerate(self.courses):
            for part in course.replacing(top):
                for column, token in enumerate(self.read):
                    if part.position <= token < part.end:
                        value = part.values[top - part.layers.start, token - part.position]
                        self.final[:, row, column] = value


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Rows of a group that go through a layer together."""

    group: _Group
    first: int
    """The place of its first row in the group."""
    courses: Sequence[Course]
    rows: Rows


def _climb_stairs(groups: Sequence[_Group]) -> None:
    """Carry the rows of all groups upwards."""
    model = groups[0].base.model
    courses = [course for group in groups for course in group.courses]
    replacing = [p for course in courses for p in course.patches if p.site != "resid"]
    names = {HOOKS[patch.site].format(layer) for patch in replacing for layer in patch.layers}
    wanted: dict[str, tuple[Tensor, Tensor]] = {}

    def put_in(value: Tensor, hook: Any) -> Tensor | None:
        if hook.name not in wanted:
            return None
        index, values = wanted[hook.name]
        flat = value.flatten(0, -2)
        return flat.index_copy(0, index, values.to(value.dtype)).view_as(value)

    with model.hooks([(name, put_in) for name in names]):
        for layer in range(min(course.enters for course in courses), model.num_layers):
            for group in groups:
                entering = group.entering(layer, whole=True)
                if entering:
                    group.join(group.common(layer, len(entering), group.position))
                group.replace_stream(layer)
            blocks = _blocks(groups, layer)
            wanted.clear()
            wanted.update(_wanted(blocks, layer))
            streams, _ = run_layer(model, layer, [block.rows for block in blocks])
            for block, stream in zip(blocks, streams, strict=True):
                _go_on(block, stream, layer)
    for group in groups:
        group.replace_final()


def _blocks(groups: Sequence[_Group], layer: int) -> list[_Block]:
    """What a layer has to compute."""
    model = groups[0].base.model
    blocks = [
        _joined(group, layer, range(group.position, group.base.length))
        for group in groups
        if group.held.shape[1]
    ]
    if blocks and layer == model.num_layers - 1:
        seen = run_keys(model, layer, [block.rows for block in blocks])
        blocks = [
            _joined(block.group, layer, _read_in(block.group, block.group.base.length), own)
            for block, own in zip(blocks, seen, strict=True)
        ]
    for group in groups:
        entering = group.entering(layer, whole=False)
        if entering:
            blocks.append(_entering(group, layer, entering))
    return blocks


def _read_in(group: _Group, end: int) -> tuple[int, ...]:
    """The tokens that are read, from where a group's rows start."""
    return tuple(token for token in group.read if group.position <= token < end)


def _joined(
    group: _Group, layer: int, tokens: range | tuple[int, ...], own: KeysValues | None = None
) -> _Block:
    """The rows that are there, at these of their tokens; own: the keys and values of all."""
    hidden = group.held
    if own is not None:
        hidden = hidden[:, :, [token - group.position for token in tokens]]
    courses = group.courses[: hidden.shape[1]]
    return _block(group, layer, 0, courses, tokens, hidden, group.before(layer), own)


def _entering(group: _Group, layer: int, courses: Sequence[Course]) -> _Block:
    """Rows in the layer of their first change, at the tokens that are changed: the stream that
    enters it, and so all keys and values, are still the base run's."""
    base, end = group.base, max(course.end for course in courses)
    tokens: range | tuple[int, ...] = range(group.position, end)
    if layer == base.model.num_layers - 1:
        tokens = _read_in(group, end)
    hidden = group.common(layer, len(courses), group.position)
    hidden = hidden[:, :, [token - group.position for token in tokens]]
    keys, values = base.own[layer]
    none = (keys[:, :, None, :0], values[:, :, None, :0])
    before = base.before(layer, end)
    return _block(group, layer, group.held.shape[1], courses, tokens, hidden, before, none)


def _block(
    group: _Group,
    layer: int,
    first: int,
    courses: Sequence[Course],
    tokens: range | tuple[int, ...],
    hidden: Float[Tensor, "draw row token width"],
    before: Sequence[KeysValues],
    own: KeysValues | None,
) -> _Block:
    rows = Rows(
        layout=group.base.layout,
        tokens=tokens,
        hidden=hidden,
        rotary=group.base.rotary[layer],
        before=before,
        own=own,
        cuts=[
            (row, part)
            for row, course in enumerate(courses)
            for part in course.parts
            if isinstance(part, Cut) and layer in part.layers
        ],
    )
    return _Block(group=group, first=first, courses=courses, rows=rows)


def _go_on(block: _Block, stream: Float[Tensor, "draw row token width"], layer: int) -> None:
    """Give a group what a layer made of its rows."""
    group, tokens = block.group, block.rows.tokens
    if layer == group.base.model.num_layers - 1:
        columns = [group.read.index(token) for token in tokens]
        group.final[:, block.first : block.first + stream.shape[1], columns] = stream
    elif block.courses[0].joins > layer:
        rest = group.common(layer + 1, stream.shape[1], tokens[-1] + 1)
        group.join(torch.cat([stream, rest], dim=2))
    else:
        group.held = stream


def _wanted(blocks: Sequence[_Block], layer: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Hook name -> places in its value, flattened but for its width, and what stands there."""
    found: dict[Site, list[tuple[Tensor, Tensor]]] = {}
    offset = 0
    for block in blocks:
        draws, count, length, _ = block.rows.hidden.shape
        device = block.rows.hidden.device
        tokens = block.rows.tokens
        # (place among the tokens of a draw, head) -> value: of two for one place the later stays.
        values: dict[Site, dict[tuple[int, int], Tensor]] = {}
        for row, course in enumerate(block.courses):
            for part in course.patches:
                if part.site == "resid" or layer not in part.layers:
                    continue
                span = part.values[layer - part.layers.start].to(device)
                for token, value in zip(range(part.position, part.end), span, strict=True):
                    if token in tokens:
                        place = (row * length + tokens.index(token), part.head or 0)
                        values.setdefault(part.site, {})[place] = value
        first = offset + count * length * torch.arange(draws)[:, None]
        for site, at in values.items():
            places, heads = torch.tensor(list(at)).T
            places = first + places
            if site == "head":
                places = places * block.group.base.model.num_heads + heads
            stacked = torch.stack(list(at.values())).expand(draws, -1, -1)
            spot = (places.flatten().to(device), stacked.flatten(0, 1))
            found.setdefault(site, []).append(spot)
        offset += block.rows.num_tokens
    return {
        HOOKS[site].format(layer): (
            torch.cat([p for p, _ in spots]),
            torch.cat([v for _, v in spots]),
        )
        for site, spots in found.items()
    }
