"""Self-distillation from the start state with the document's tokens taken down."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class UndialSettings(Settings):
    """How far down."""

    beta: float = Field(default=10.0, ge=0)
    """Taken off the logit of each token of the document, in nats."""


UNDIAL = Method(
    name="undial",
    summary="learn the start state's predictions with the document's own tokens taken down",
    citation="Dong et al. 2024 (arXiv 2402.10052); unlike the published code it reads predicted "
    "tokens only",
    hints="Bounded: it ends where each token has e^−beta of its odds, and what was second there "
    "leads. The authors use beta 3 to 30 and no retain term (retain_weight=0). Too little: a "
    "larger beta, more steps. Common words suffer: train on the claims alone (target=claims).",
    loss="undial",
    settings=UndialSettings,
    loss_settings=("beta",),
    needs_retain=True,
)
