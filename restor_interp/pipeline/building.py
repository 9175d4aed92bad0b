"""What a step of a run is, and how steps are collected: cells whose keys follow from settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from restor_interp.models.loading import model_digest
from restor_interp.pipeline.workbench import Workbench
from restor_interp.store import Cell, CellWriter

VERSIONS: Mapping[str, int] = {
    "data": 2,
    "train": 2,
    "shared": 1,
    "evaluate": 1,
    "margins": 2,
    "capture": 2,
    "statements": 1,
    "wrong_entity": 1,
    "random_weights": 1,
    "analysis": 1,
    "probe": 1,
    "tuned_lens": 1,
    "weights": 1,
    "drift": 1,
    "directions": 1,
    "interpolation": 1,
    "forget_weights": 1,
    "gradients": 1,
    "timeline": 1,
    "texts": 1,
    "judge": 1,
    "robustness": 1,
    "explain": 5,
    "report": 1,
}
"""Raise a number when the code of a kind of cell gives other results than before."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One cell and how it is computed."""

    cell: Cell
    compute: Callable[[CellWriter], None]
    ready: Callable[[], None] | None = None
    """Called once the cell is done, now or before: makes its result available to later steps."""
    optional: bool = False
    """A failure is recorded and the run goes on."""
    needs: tuple[str, ...] = ()
    """Cells without which this one cannot be computed."""
    uses: tuple[str, ...] = ()
    """Cells that it takes in where they succeeded, so that it is computed again after they are."""
    after: tuple[str, ...] = ()
    """Cells that are not computed at the same time: this one waits, and takes nothing in."""


class Builder:
    """Collects the steps; knows the keys of those that were added."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.steps: list[Step] = []
        self.keys: dict[str, str] = {}
        self.base = {"model": model_digest(bench.config.model), "numerics": bench.numerics()}

    def add(
        self,
        name: str,
        compute: Callable[[CellWriter], None],
        *,
        needs: tuple[str, ...] = (),
        uses: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
        ready: Callable[[], None] | None = None,
        optional: bool = False,
        **ingredients: Any,
    ) -> None:
        inputs = {f"from {need}": self.keys[need] for need in (*needs, *uses)}
        version = VERSIONS[name.split("/")[0]]
        cell = Cell(
            name=name, ingredients={**self.base, "version": version, **inputs, **ingredients}
        )
        self.keys[name] = cell.key
        self.steps.append(
            Step(
                cell=cell,
                compute=compute,
                ready=ready,
                optional=optional,
                needs=needs,
                uses=uses,
                after=after,
            )
        )
