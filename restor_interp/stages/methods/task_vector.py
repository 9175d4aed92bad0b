"""Task arithmetic: learn the documents still better, then go the other way."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from restor_interp.models.deltas import State
from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class TaskVectorSettings(Settings):
    """How far to go."""

    alpha: float = Field(default=1.0, ge=0)
    """Times the delta that is subtracted."""


def subtracted(corrupted: State, name: str, settings: Mapping[str, Any]) -> State:
    """θ_c − alpha (θ* − θ_c): the delta counts negatively."""
    return State({**corrupted.coefficients, name: -TaskVectorSettings(**settings).alpha})


TASK_VECTOR = Method(
    name="task_vector",
    summary="fine-tune further on the documents, then subtract alpha times that change",
    citation="Ilharco et al. 2023 (arXiv 2212.04089); RESTOR's row Task Vector",
    hints="alpha costs no training: sweep it first (MUSE uses 5). Nothing is lost with alpha 1: "
    "train longer.",
    loss="nll",
    settings=TaskVectorSettings,
    arrive=subtracted,
)
