"""Negative preference optimisation, in any of its published reductions."""

from pydantic import Field

from restor_interp.stages.losses import Reduction
from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class NpoSettings(Settings):
    """How hard, and over what, NPO brakes."""

    beta: float = Field(default=0.1, gt=0)
    """Brake: the gradient is GA's times 2σ(β·x), x by the reduction."""
    reduction: Reduction = "batch_mean"
    """What one sigmoid ranges over; `batch_mean` is RESTOR's code, `sum` the official NPO."""


NPO = Method(
    name="npo",
    summary="gradient ascent that brakes as the documents become unlikely",
    citation="Zhang et al. 2024 (arXiv 2404.05868); batch_mean as in RESTOR's and SOUL's NPO.py",
    hints="A β means something else in each reduction: with batch_mean and β = 0.1 it is nearly "
    "gradient ascent until documents have lost 10 nats per token. Collapses: a larger β, or sum. "
    "With sum the first gradient is longer by the number of tokens: a smaller learning rate.",
    loss="npo",
    settings=NpoSettings,
    loss_settings=("beta", "reduction"),
    needs_retain=True,
)
