"""Gradient ascent on the tokens that are neither forgotten yet nor certain."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class SatImpSettings(Settings):
    """What a token weighs: p^beta1 · (1 − p)^beta2."""

    beta1: float = Field(default=5.0, ge=0)
    """Saturation: how little is left for what is unlikely already."""
    beta2: float = Field(default=1.0, ge=0)
    """Importance: how little goes to what any text would have there."""


SATIMP = Method(
    name="satimp",
    summary="gradient ascent whose tokens weigh by p^beta1 · (1 − p)^beta2",
    citation="Yang et al. 2025 (arXiv 2505.11953); β1 = 5, β2 = 1 as in open-unlearning",
    hints="The largest weight is small (0.067 with 5 and 1, at p = 0.83), so that it wants a "
    "larger forget_weight or a smaller retain_weight (0.1 in its authors' text) than the others. "
    "Too little: a smaller beta1. Collapses: a larger beta1.",
    loss="satimp",
    settings=SatImpSettings,
    loss_settings=("beta1", "beta2"),
    needs_retain=True,
)
