"""Gradient ascent in which what is forgotten already weighs nothing."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class WgaSettings(Settings):
    """How quickly a token that is being forgotten loses its weight."""

    beta: float = Field(default=1.0, ge=0)
    """Tokens weigh by p^beta."""


WGA = Method(
    name="wga",
    summary="gradient ascent whose tokens weigh by their probability to the power beta",
    citation="Wang et al. 2025 (arXiv 2502.19301); β = 1 as in open-unlearning, 5 in the "
    "authors' code",
    hints="Reads nothing but the present model, and stops by itself. Too little: a smaller beta "
    "(0 is gradient ascent), more steps. Collapses: a larger beta.",
    loss="wga",
    settings=WgaSettings,
    loss_settings=("beta",),
    needs_retain=True,
)
