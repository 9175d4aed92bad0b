"""Changes of single matrices as parts of a delta."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.models.deltas import LowRank, Update
from restor_interp.models.hooked import HookedModel


def path_of(model: HookedModel, layer: int, part: str | None) -> str:
    """Full name of a module of a layer."""
    assert part is not None
    return f"{model.architecture.blocks}.{layer}.{part}"


def rank_one(keys: Float[Tensor, "rank in"], values: Float[Tensor, "out rank"]) -> LowRank:
    return LowRank(keys.detach().contiguous().clone(), values.detach().contiguous().clone(), 1.0)


def together(parts: Sequence[Mapping[str, Update]]) -> dict[str, Update]:
    """The sum of several changes; low-rank ones of one matrix stand side by side."""
    found: dict[str, Update] = {}
    for part in parts:
        for path, update in part.items():
            other = found.get(path)
            if other is None:
                found[path] = update
            elif isinstance(other, LowRank) and isinstance(update, LowRank):
                found[path] = LowRank(
                    torch.cat([other.a, update.a]),
                    torch.cat([other.b * other.scale, update.b * update.scale], dim=1),
                    1.0,
                )
            else:
                found[path] = _whole(other) + _whole(update)
    return found


def norms(updates: Mapping[str, Update]) -> dict[str, float]:
    """Frobenius norm of each change."""
    return {path: float(_whole(update).norm()) for path, update in updates.items()}


def _whole(update: Update) -> Tensor:
    return update.matrix() if isinstance(update, LowRank) else update.float()
