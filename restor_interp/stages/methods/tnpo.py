"""NPO token by token, written as weighted gradient ascent."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class TnpoSettings(Settings):
    """How hard each token brakes."""

    beta: float = Field(default=4.0, gt=0)
    """Tokens weigh by 2 p^beta / (p^beta + p'^beta), p' under the start state."""


TNPO = Method(
    name="tnpo",
    summary="NPO with a brake for each token, written as weighted gradient ascent",
    citation="Wang et al. 2025 (arXiv 2502.19301); β = 4 as in the authors' code",
    hints="Its gradient is that of npo with reduction=token and the same beta: what it adds is "
    "the larger beta. Half of the brake after 0.25 nats with beta 4. Too little: a smaller beta. "
    "Collapses: a larger beta.",
    loss="tnpo",
    settings=TnpoSettings,
    loss_settings=("beta",),
    needs_retain=True,
)
