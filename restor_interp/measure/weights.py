"""Weight geometry: is an unlearning delta the corruption undone, or something else?

    found = weight_geometry(model, "npo")
    found.rows          # one per matrix, and `all`

In weight space, corruption goes from the clean to the corrupted state (C), unlearning from there
on (U). Undoing would be U = −C. So: how long is U, on how many directions does it lie, how far does
it go along −C, does it stay in the directions that corruption used, and is the state that it
leads to nearer to the clean one? Task arithmetic (Ilharco et al. 2023, arXiv 2212.04089) subtracts
such vectors; "Tracing and reversing edits" (arXiv 2505.20819) reads edits from singular vectors.

Every number stands beside what a random change would give. Adapters of one run begin with equal
right factors A (they are drawn from the run's seed), which alone makes the rows of two deltas lie
in like directions: the floors `…_kept` keep U's right factor and draw the left one at random. The
sham of a method has the same start, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from restor_interp.errors import ConfigError
from restor_interp.measure.changes import Change, differences, inner, rank90
from restor_interp.measure.graft_modules import module_at
from restor_interp.measure.questions import state_name
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel

ALL = "all"
"""In place of a module: all of them as one."""


@dataclass(frozen=True, kw_only=True)
class WeightGeometry:
    """The weights of one state against those of the corrupted and the clean one."""

    rows: list[dict[str, Any]]
    """Of the table `weights`; see `weight_geometry`."""
    spectra: Mapping[str, Float[np.ndarray, " k"]]
    """Module -> the singular values of its change, the greatest first."""


def weight_geometry(
    model: HookedModel, state: str | State, *, corrupted: str | State = "corrupted"
) -> WeightGeometry:
    """One row per matrix that corruption or unlearning changed, and one of all as a whole.

    Columns, with U = state − corrupted and C = corrupted − clean in one matrix; of the row `all`,
    U and C are all matrices side by side, so that squares, products and spectra add up exactly:

    `norm`, `norm_relative` of U, in units of the weight and of the clean matrix's own norm;
    `rank90` how many singular values of U hold 90% of Σσ², `rank` how many there are, `top_value`
    the greatest; `cosine` of U and −C; `projection` ⟨U, −C⟩ / ⟨C, C⟩: 1 where the corruption is
    exactly undone along itself; `column_energy`, `row_energy`, `subspace_energy` the shares of
    ‖U‖² in the span of those left, right or both singular vectors of C that hold 90% of *its*
    energy; `corruption_norm`, `corruption_rank90`; `total_norm` of state − clean and `total_share`,
    that by ‖C‖: below 1 the state is nearer to the clean one than the corrupted state is.

    `cosine_floor` is the standard deviation of the cosine, and `column_floor`, `row_floor`,
    `subspace_floor` the expected shares, of a U whose entries are independent; `cosine_floor_kept`,
    `row_floor_kept` those of a U with its own right factor and left vectors of the same lengths in
    random directions (None for whole matrices).

    Of the corrupted state itself, C stands in the place of U, and what compares the two is None
    with a `reason`.

    Raises `ConfigError` where the corrupted state has the clean weights, or the state is unknown.
    """
    start, end = model.resolve_state(corrupted), model.resolve_state(state)
    corruption = differences(model, start, State({}))
    if not corruption:
        raise ConfigError(
            f"the state {state_name(corrupted)} has the clean weights, so nothing can be undone: "
            "name the corrupted state of this model"
        )
    unlearning, total = differences(model, end, start), differences(model, end, State({}))
    itself = not unlearning
    if itself:
        unlearning = corruption
    clean = model.clean_parameters()
    order = [name.removesuffix(".weight") for name in clean]
    found = {
        path: _Matrix(
            unlearning=unlearning.get(path),
            corruption=corruption.get(path),
            total=total.get(path),
            weight=float(weight.double().square().sum()),
        )
        for path, weight in zip(order, clean.values(), strict=True)
        if path in corruption or path in unlearning
    }
    reason = f"this is the state {state_name(corrupted)} itself: nothing was unlearned"
    fixed = {"state": state_name(state), "corrupted": state_name(corrupted)}
    rows = []
    for path, one in found.items():
        place = module_at(model, path, 0.0)
        about = fixed | {"module": path, "layer": place.layer, "component": place.component}
        rows.append(about | _row([one], reason if itself else one.why_not))
    about = fixed | {"module": ALL, "layer": None, "component": ALL}
    rows.append(about | _row(list(found.values()), reason if itself else None))
    return WeightGeometry(
        rows=rows,
        spectra={path: one.spectrum.numpy() for path, one in found.items() if len(one.spectrum)},
    )


@dataclass(frozen=True, kw_only=True)
class _Matrix:
    """One matrix: how it was changed, and the squares and products that numbers are made of."""

    unlearning: Change | None
    corruption: Change | None
    total: Change | None
    weight: float
    """Squared norm of the clean matrix."""

    @cached_property
    def spectrum(self) -> Float[torch.Tensor, " k"]:
        return torch.zeros(0) if self.unlearning is None else self.unlearning.spectrum

    @cached_property
    def undone(self) -> float:
        """⟨U, −C⟩"""
        if self.unlearning is None or self.corruption is None:
            return 0.0
        return -inner(self.unlearning, self.corruption)

    @cached_property
    def energies(self) -> Mapping[str, float]:
        """Of U inside C's directions, and what they are at random; none without either."""
        if self.unlearning is None or self.corruption is None:
            return {}
        return _energies(self.unlearning, self.corruption)

    @property
    def why_not(self) -> str | None:
        """Why U and C cannot be compared here."""
        if self.corruption is None:
            return "corruption left this matrix as it was"
        return "unlearning left this matrix as it was" if self.unlearning is None else None


def _energies(u: Change, c: Change) -> dict[str, float]:
    """Energies of U inside the leading directions of C, and of random changes as long as U."""
    columns, rows = c.leading()
    of_columns, of_rows = columns.shape[1] / c.shape[0], len(rows) / c.shape[1]
    found = {
        "column_energy": u.inside(columns, None),
        "row_energy": u.inside(None, rows),
        "subspace_energy": u.inside(columns, rows),
        "column_floor": of_columns * u.energy,
        "row_floor": of_rows * u.energy,
        "subspace_floor": of_columns * of_rows * u.energy,
        # Variances of ⟨U, C⟩; divided by squared norms later.
        "cosine_floor": u.energy * c.energy / math.prod(u.shape),
    }
    if u.left is not None:
        lengths = u.left.square().sum(0)
        expected = float(lengths @ u.right.square().sum(1))
        inside = float(lengths @ (u.right @ rows.T).square().sum(1))
        seen = c.right @ u.right.T
        seen = seen if c.left is None else _upper(c.left) @ seen
        variance = float(lengths @ seen.square().sum(0)) / u.shape[0]
        if expected:
            found["row_floor_kept"] = inside / expected * u.energy
            found["cosine_floor_kept"] = variance / expected * u.energy
    return found


def _upper(left: torch.Tensor) -> torch.Tensor:
    """A small matrix that makes vectors as long as `left` does."""
    return torch.linalg.qr(left, mode="r").R


_SHARES = (
    *("column_energy", "row_energy", "subspace_energy"),
    *("column_floor", "row_floor", "subspace_floor", "row_floor_kept"),
)
_DEVIATIONS = ("cosine_floor", "cosine_floor_kept")


def _row(parts: Sequence[_Matrix], reason: str | None) -> dict[str, Any]:
    """The numbers of some matrices side by side; of one, its own."""
    u, c, t = (
        math.fsum(change.energy for change in changes if change is not None)
        for changes in zip(*((p.unlearning, p.corruption, p.total) for p in parts), strict=True)
    )
    spectrum = torch.cat([part.spectrum for part in parts])
    corruption = [part.corruption.spectrum for part in parts if part.corruption is not None]
    weight = math.fsum(part.weight for part in parts)
    undone = math.fsum(part.undone for part in parts)
    found: dict[str, Any] = {
        "norm": math.sqrt(u),
        "norm_relative": math.sqrt(u / weight) if weight else None,
        "rank90": rank90(spectrum),
        "rank": len(spectrum),
        "top_value": float(spectrum.max()) if len(spectrum) else 0.0,
        "corruption_norm": math.sqrt(c),
        "corruption_rank90": rank90(torch.cat(corruption)) if corruption else 0,
        "total_norm": math.sqrt(t),
        "total_share": math.sqrt(t / c) if c else None,
        "reason": reason,
    }
    if reason is not None or not u or not c:
        return found | dict.fromkeys(("cosine", "projection", *_SHARES, *_DEVIATIONS))
    found |= {"cosine": undone / math.sqrt(u * c), "projection": undone / c}
    both = [part.energies for part in parts if part.energies]
    for names, value in ((_SHARES, lambda x: x / u), (_DEVIATIONS, lambda x: math.sqrt(x / u / c))):
        for name in names:
            known = all(name in energies for energies in both)
            found[name] = value(math.fsum(e[name] for e in both)) if known else None
    return found
