"""The weights of one model in any state: pristine copies, and switching between states.

Subtracting a delta does not give the bits back, so a matrix is always built anew: pristine copy
plus deltas, in the order of their names. The same state then has the same bits, whatever came
before it.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from restor_interp.errors import ConfigError, ModelError, unknown_name
from restor_interp.models.architectures import is_transposed
from restor_interp.models.deltas import Delta, LowRank, State, Update

Parts = tuple[tuple[str, float], ...]
"""(delta, coefficient), in the order in which they are added."""

_EXACT = (torch.float32, torch.float64)
"""Number types in which sums are kept as they are; others are summed in fp32 and rounded."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A parameter, by the module that has it: wrappers rename modules and keep the objects."""

    module: torch.nn.Module
    attribute: str
    transposed: bool

    @property
    def parameter(self) -> Tensor:
        return getattr(self.module, self.attribute).data


class Weights:
    """Applies states to a model's parameters, in place."""

    def __init__(self, hf_model: torch.nn.Module) -> None:
        self._modules = dict(hf_model.named_modules())
        self.names = [name for name, _ in hf_model.named_parameters(remove_duplicate=False)]
        first: dict[int, str] = {}
        self.tied: dict[str, str] = {}
        """Parameter -> the one with which it shares its numbers, and which comes before it."""
        for name, parameter in hf_model.named_parameters(remove_duplicate=False):
            if (same := first.setdefault(id(parameter), name)) != name:
                self.tied[name] = same
        self.deltas: dict[str, Delta] = {}
        self._places: dict[str, _Place] = {}
        self._pristine: dict[str, Tensor] = {}
        self._applied: dict[str, Parts | None] = {}
        """Parts in each touched parameter now; None while it is being written."""
        self._room = torch.empty(0)

    def add(self, delta: Delta) -> None:
        """Take a delta in; copies the clean numbers of what no delta touched before.

        Raises `ConfigError` for a name that is taken, `ModelError` where it does not fit.
        """
        if delta.name in self.deltas:
            if _same(delta, self.deltas[delta.name]):
                return
            raise ConfigError(
                f"this model already has another delta {delta.name!r}: add yours under another "
                f"name, delta.named('{delta.name}_2')"
            )
        places = {path: self._place(delta.name, path) for path in delta.updates}
        for path, update in delta.updates.items():
            _check(delta.name, path, update, places[path])
        for path, place in places.items():
            if path not in self._places:
                self._places[path] = place
                self._pristine[path] = place.parameter.clone()
                self._applied[path] = ()
        device = next(iter(places.values())).parameter.device if places else "cpu"
        self.deltas[delta.name] = delta.to(device)

    def switch(self, state: State) -> None:
        """Write a state into the parameters that differ from it."""
        for name in state.coefficients:
            if name not in self.deltas:
                raise unknown_name("delta", name, self.deltas)
        for path in self._places:
            self._put(path, self._parts(path, state))

    @contextlib.contextmanager
    def grafted(self, states: Mapping[str, State]) -> Iterator[None]:
        """Within this, single parameters are those of other states.

        Raises `ConfigError` for a module that no delta touches.
        """
        for path in states:
            if path not in self._places:
                raise unknown_name("module that a delta changes", path, self._places)
        before = {path: self._applied[path] or () for path in states}
        try:
            for path, state in states.items():
                self._put(path, self._parts(path, state))
            yield
        finally:
            for path, parts in before.items():
                self._put(path, parts)

    def distances(self, one: State, other: State) -> dict[str, float]:
        """Module -> norm of the difference that two states make to its weight, where they make
        one; in the model's order. Of the exact sums, before any rounding."""
        moved = {
            name: one.coefficients.get(name, 0.0) - other.coefficients.get(name, 0.0)
            for name in sorted({*one.coefficients, *other.coefficients})
        }
        state = State({name: moved[name] for name in moved if moved[name]})
        order = {name.removesuffix(".weight"): place for place, name in enumerate(self.names)}
        paths = sorted(self._places, key=order.__getitem__)
        found = {path: self._norm(path, self._parts(path, state)) for path in paths}
        return {path: norm for path, norm in found.items() if norm}

    def _parts(self, path: str, state: State) -> Parts:
        return tuple(
            (name, coefficient)
            for name, coefficient in sorted(state.coefficients.items())
            if coefficient and path in self.deltas[name].updates
        )

    def _put(self, path: str, parts: Parts) -> None:
        """Write a sum into a parameter, unless it is there."""
        if self._applied[path] != parts:
            self._applied[path] = None
            with torch.no_grad():
                self._write(path, parts)
            self._applied[path] = parts

    def _norm(self, path: str, parts: Parts) -> float:
        """Frobenius norm of a sum of updates, in fp64; of low-rank ones from their factors:
        ‖Σ bᵢaᵢ‖² = Σᵢⱼ ⟨bᵢᵀbⱼ, aᵢaⱼᵀ⟩."""
        updates = [(self.deltas[name].updates[path], coefficient) for name, coefficient in parts]
        low_rank = [(u, c * u.scale) for u, c in updates if isinstance(u, LowRank)]
        if len(low_rank) == len(updates):
            if not updates:
                return 0.0
            b = torch.cat([c * u.b.double() for u, c in low_rank], dim=1)
            a = torch.cat([u.a.double() for u, _ in low_rank])
            return math.sqrt(max(0.0, float(((b.T @ b) * (a @ a.T)).sum())))
        place = self._places[path]
        total = torch.zeros_like(place.parameter, dtype=torch.float64)
        for update, coefficient in updates:
            _add(update, coefficient, place.transposed, total)
        return float(total.norm())

    @property
    def rounding_error(self) -> float:
        """Norm of what rounding took from the present change, relative to it; 0 in fp32."""
        lost = change = 0.0
        for path, parts in self._applied.items():
            weight = self._places[path].parameter
            if parts and weight.dtype not in _EXACT:
                exact = self._sum(path, parts, torch.empty_like(weight, dtype=torch.float32))
                lost += float((exact - weight).norm()) ** 2
                change += float((exact - self._pristine[path]).norm()) ** 2
        return math.sqrt(lost / change) if change else 0.0

    def clean(self, name: str) -> Tensor:
        """The clean numbers of a parameter, called as in `named_parameters()`."""
        path = name.removesuffix(".weight")
        for known in (path, name):
            if known in self._pristine:
                return self._pristine[known]
        module, _, attribute = name.rpartition(".")
        return getattr(self._modules[module], attribute).data

    def _write(self, path: str, parts: Parts) -> None:
        weight = self._places[path].parameter
        if not parts:
            weight.copy_(self._pristine[path])
        elif weight.dtype in _EXACT:
            self._sum(path, parts, weight)
        else:
            weight.copy_(self._sum(path, parts, self._sums(weight)))  # rounds, once

    def _sum(self, path: str, parts: Parts, total: Tensor) -> Tensor:
        """`total`, filled with the clean numbers plus the parts, unrounded."""
        total.copy_(self._pristine[path])
        for name, coefficient in parts:
            _add(self.deltas[name].updates[path], coefficient, self._places[path].transposed, total)
        return total

    def _sums(self, weight: Tensor) -> Tensor:
        """Room for the sums of a matrix of 16 bits, used again: fresh memory costs more time than
        the sums."""
        if self._room.numel() < weight.numel() or self._room.device != weight.device:
            self._room = torch.empty(weight.numel(), device=weight.device)
        return self._room[: weight.numel()].view(weight.shape)

    def _place(self, delta: str, path: str) -> _Place:
        module, attribute = self._modules.get(path), "weight"
        if module is None:
            above, _, attribute = path.rpartition(".")
            module = self._modules.get(above)
        if module is None or not isinstance(getattr(module, attribute, None), torch.nn.Parameter):
            candidates = [name.removesuffix(".weight") for name in self.names]
            error = unknown_name("module with a weight", path, candidates[-40:])
            raise ModelError(f"delta {delta!r} does not belong to this model: {error}")
        full = f"{path}.weight" if module is self._modules.get(path) else path
        if full in self.tied:
            raise ModelError(
                f"delta {delta!r} changes {path}, which in this model is the same matrix as "
                f"{self.tied[full]}: reading and writing words would change together. If that is "
                f"meant, change {self.tied[full].removesuffix('.weight')}"
            )
        return _Place(module=module, attribute=attribute, transposed=is_transposed(module))


def _add(update: Update, coefficient: float, transposed: bool, total: Tensor) -> None:
    """total += coefficient · update"""
    if isinstance(update, Tensor):
        total.add_(update.to(total.dtype), alpha=coefficient)
        return
    a, b = update.a.to(total.dtype), update.b.to(total.dtype)
    left, right = (a.T, b.T) if transposed else (b, a)
    total.addmm_(left, right, alpha=coefficient * update.scale)


def _check(delta: str, path: str, update: Update, place: _Place) -> None:
    wanted = tuple(place.parameter.shape)
    if isinstance(update, Tensor):
        shape, tensors = tuple(update.shape), [update]
    else:
        shape, tensors = (update.b.shape[0], update.a.shape[1]), [update.a, update.b]
        if isinstance(place.module, torch.nn.Embedding):
            raise ModelError(
                f"delta {delta!r} changes the embeddings {path} by a low-rank product; give the "
                "change as a whole matrix"
            )
        shape = shape[::-1] if place.transposed else shape
    if shape != wanted:
        raise ModelError(
            f"delta {delta!r} changes {path} by a matrix of {list(shape)}, and its weight has "
            f"{list(wanted)}: it belongs to another model"
        )
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise ModelError(f"delta {delta!r} holds infinite or undefined numbers in {path}")


def _same(one: Delta, other: Delta) -> bool:
    """Whether two deltas hold the same numbers."""
    return one.updates.keys() == other.updates.keys() and all(
        _same_update(update, other.updates[path]) for path, update in one.updates.items()
    )


def _same_update(one: Update, other: Update) -> bool:
    if isinstance(one, LowRank) and isinstance(other, LowRank):
        factors = ((one.a, other.a), (one.b, other.b))
        return one.scale == other.scale and all(
            x.shape == y.shape and torch.equal(x.to(y), y) for x, y in factors
        )
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one.to(other), other)
    return False
