"""Runs of a model with some modules' weights from another state, computed once where they agree.

A swap is a set of modules whose weights go from the host state's to the donor state's. In a layer
below all modules of a swap, its run is the host's; two swaps that are the same so far run as one.
So all swaps are carried up through the layers together, and a row splits where its swaps part
(the staircase): by single layers it is half of the full passes, and the modules of one layer are
switched once for all rows that want them so. Every token takes part, the examples' too, since
their keys and values come from the swapped weights.

Prompts that begin alike lie in one row: their common tokens, then each one's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.measure.graft_modules import ENTRY, EXIT, Module, Swap
from restor_interp.measure.packed import Layout, Rows, entrance, packed_attention, run_layer
from restor_interp.measure.questions import Question, log_probs
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel

_T = TypeVar("_T")

_Change = tuple[tuple[str, float], ...]
"""The part of a swap that lies in one stage of the model."""


@dataclass(frozen=True, kw_only=True)
class SwapCase:
    """Which swaps are run on which questions."""

    model: HookedModel
    questions: Sequence[Question]
    """All with as many targets."""
    modules: Sequence[Module]
    donor: State
    host: State
    swaps: Sequence[Swap]
    max_bytes: int

    def states(self, change: Swap | _Change) -> dict[str, State]:
        """Module -> the state that a swap puts it in."""
        return {path: self._between(share) for path, share in dict(change).items()}

    def _between(self, share: float) -> State:
        if share == 1:
            return self.donor
        donor, host = self.donor.coefficients, self.host.coefficients
        return State(
            {
                name: (1 - share) * host.get(name, 0.0) + share * donor.get(name, 0.0)
                for name in sorted({*donor, *host})
            }
        )


@torch.no_grad()
def by_full_forwards(case: SwapCase) -> Float[Tensor, "question swap object"]:
    """The reference: the whole model in every swapped state, a full forward pass per question."""
    model = case.model
    found: list[Tensor] = []
    with model.at(case.host):
        for swap in case.swaps:
            with model.grafted(case.states(swap)):
                ends = [
                    log_probs(model.run_with_hooks(question.ids[None])[:, -1], question.targets)
                    for question in case.questions
                ]
            found.append(torch.cat(ends))
    return torch.stack(found, dim=1)


@torch.no_grad()
def by_staircase(case: SwapCase) -> Float[Tensor, "question swap object"]:
    """The same numbers, with every layer run once for all swaps that agree up to it.

    Raises `ConfigError` for a budget that a single row exceeds.
    """
    bundles = _bundles(case.questions)
    with case.model.at(case.host), packed_attention(case.model):
        climb = _Climb(case, bundles)
        parts = [climb.run(swaps) for swaps in _slices(case.swaps, climb.num_swaps)]
    return torch.cat(parts, dim=1)


# ---- prompts that begin alike


@dataclass(frozen=True, kw_only=True)
class _Bundle:
    """Questions in one row of tokens."""

    layout: Layout
    ids: Int[Tensor, " token"]
    ends: Mapping[int, int]
    """Question -> the token at which it is read."""


def _bundles(questions: Sequence[Question]) -> list[_Bundle]:
    by_prefix: dict[str, list[int]] = {}
    for index, question in enumerate(questions):
        prefix = question.prompt.prefix
        by_prefix.setdefault(prefix or question.prompt.text, []).append(index)
    return [_bundle(questions, members) for members in by_prefix.values()]


def _bundle(questions: Sequence[Question], members: Sequence[int]) -> _Bundle:
    rows = [questions[index].ids for index in members]
    if len(rows) == 1:
        ends = {members[0]: len(rows[0]) - 1}
        return _Bundle(layout=Layout(len(rows[0])), ids=rows[0], ends=ends)
    # Each has at least its last token for itself, also where two are equal.
    shortest = min(map(len, rows)) - 1
    differs = [i for i in range(shortest) if len({int(row[i]) for row in rows}) > 1]
    trunk = differs[0] if differs else shortest
    own = [row[trunk:] for row in rows]
    ids = torch.cat([rows[0][:trunk], *own])
    layout = Layout(len(ids), tuple(map(len, own)))
    ends = [branch.stop - 1 for branch in layout.branch_tokens]
    return _Bundle(layout=layout, ids=ids, ends=dict(zip(members, ends, strict=True)))


# ---- the staircase


class _Climb:
    """Carries rows up; the model is in the host's state meanwhile."""

    def __init__(self, case: SwapCase, bundles: Sequence[_Bundle]) -> None:
        self.case, self.bundles = case, bundles
        self.stage_of = {
            module.path: module.component if module.layer is None else module.layer
            for module in case.modules
        }
        model = case.model
        config: Any = model.hf_model.config
        size = torch.empty((), dtype=model.dtype).element_size()
        num_tokens = sum(len(bundle.ids) for bundle in bundles)
        longest = max(len(bundle.ids) for bundle in bundles)
        inner = getattr(config, "intermediate_size", None) or 4 * model.d_model
        # Half of the budget for the rows between two layers, half for what goes on in one.
        kept = 2 * num_tokens * model.d_model * size
        inside = num_tokens * (8 * model.d_model + 4 * inner + 4 * model.num_heads * longest) * size
        self.num_swaps = case.max_bytes // 2 // kept
        self.rows_at_once = case.max_bytes // 2 // inside
        if not self.num_swaps or not self.rows_at_once:
            raise ConfigError(
                f"max_bytes={case.max_bytes} is too little for one row of {num_tokens} tokens; it "
                f"needs {2 * max(kept, inside)}"
            )

    def run(self, swaps: Sequence[Swap]) -> Float[Tensor, "question swap object"]:
        """Log-probabilities of the questions' targets after every swap."""
        model, num_layers = self.case.model, self.case.model.num_layers
        rows = [0] * len(swaps)  # of every swap
        rotary: list[Any] = []
        hidden: list[Tensor] = []
        for stage in (ENTRY, *range(num_layers), EXIT):
            goes_on, rows = _split(rows, [self._change(swap, stage) for swap in swaps])
            parts: list[list[Tensor]] = []
            for change, parents in goes_on.items():
                with model.grafted(self.case.states(change)):
                    if stage == ENTRY:
                        entered = [self._enter(bundle) for bundle in self.bundles]
                        parts.append([states for states, _ in entered])
                        rotary = [tables for _, tables in entered]
                    elif stage == EXIT:
                        parts.append(self._read(hidden, parents))
                    else:
                        tables = [of_layers[stage] for of_layers in rotary]
                        for some in _slices(parents, self.rows_at_once):
                            parts.append(self._layer(stage, hidden, some, tables))
            hidden = [torch.cat(part, dim=1) for part in zip(*parts, strict=True)]
        return torch.stack([logprobs[0, rows] for logprobs in hidden])

    def _change(self, swap: Swap, stage: str | int) -> _Change:
        """What a swap changes in a stage. At the exit tied embeddings come again."""
        stages = (ENTRY, EXIT) if stage == EXIT else (stage,)
        return tuple(sorted((p, s) for p, s in swap.items() if self.stage_of[p] in stages))

    def _enter(self, bundle: _Bundle) -> tuple[Float[Tensor, "1 1 token width"], Any]:
        embeddings = self.case.model.hf_model.get_input_embeddings()(bundle.ids)
        states, rotary = entrance(self.case.model, embeddings[None], bundle.layout)
        return states[:, None], rotary

    def _layer(
        self, layer: int, hidden: Sequence[Tensor], some: Sequence[int], rotary: Sequence[Any]
    ) -> list[Float[Tensor, "1 row token width"]]:
        present = [
            Rows(
                layout=bundle.layout,
                tokens=range(bundle.layout.length),
                hidden=states[:, some],
                rotary=tables,
                before=[],
            )
            for bundle, states, tables in zip(self.bundles, hidden, rotary, strict=True)
        ]
        return run_layer(self.case.model, layer, present)[0]

    def _read(
        self, hidden: Sequence[Tensor], some: Sequence[int]
    ) -> list[Float[Tensor, "1 row object"]]:
        """Of every question, in their order."""
        found: dict[int, Tensor] = {}
        at_once = max(1, self.case.max_bytes // (12 * self.case.model.vocab_size))
        for bundle, states in zip(self.bundles, hidden, strict=True):
            for index, end in bundle.ends.items():
                targets = self.case.questions[index].targets
                parts = states[0, some, end].split(at_once)
                found[index] = torch.cat(
                    [log_probs(self.case.model.project(part), targets) for part in parts]
                )[None]
        return [found[index] for index in range(len(self.case.questions))]


def _split(
    rows: Sequence[int], changes: Sequence[_Change]
) -> tuple[dict[_Change, list[int]], list[int]]:
    """Which rows go on with which weights, each pair once; and every swap's new row."""
    goes_on: dict[_Change, list[int]] = {}
    for row, change in zip(rows, changes, strict=True):
        parents = goes_on.setdefault(change, [])
        if row not in parents:
            parents.append(row)
    pairs = [(row, change) for change, parents in goes_on.items() for row in parents]
    number = {pair: index for index, pair in enumerate(pairs)}
    return goes_on, [number[pair] for pair in zip(rows, changes, strict=True)]


def _slices(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
