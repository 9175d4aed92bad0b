"""NPO without a reference, on the mean log-probability of a document."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class SimNpoSettings(Settings):
    """Where SimNPO brakes, and how hard."""

    beta: float = Field(default=4.5, gt=0)
    """Brake: the gradient is 2σ(β·(mean log-probability of the document + delta)) times GA's."""
    delta: float = 0.0
    """Nats per token at which half of the gradient's largest weight is left."""


SIMNPO = Method(
    name="simnpo",
    summary="NPO without a reference, on the mean log-probability of a document",
    citation="Fan et al. 2024 (arXiv 2410.07163); β and δ as in open-unlearning",
    hints="Brakes at delta nats per token, wherever it started: with delta 0 and beta 4.5 a "
    "document of 1 nat per token has 2% of GA's gradient left. Too little: delta near the nats "
    "per token that the documents have in the clean model, or a smaller beta. Collapses: a larger "
    "beta, then a smaller forget_weight (0.125 in open-unlearning).",
    loss="simnpo",
    settings=SimNpoSettings,
    loss_settings=("beta", "delta"),
    needs_retain=True,
)
