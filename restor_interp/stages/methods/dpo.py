"""What the three members of the DPO family share; they differ in the text that is preferred."""

from pydantic import Field

from restor_interp.stages.losses import PairReduction
from restor_interp.stages.settings import Settings


class DpoSettings(Settings):
    """How hard, and over what, DPO compares."""

    beta: float = Field(default=0.1, gt=0)
    """The gradient weighs by 2σ(−β·margin)."""
    reduction: PairReduction = "sum"
    """`sum` over a text's tokens as published, in which the longer text weighs more;
    `sequence_mean` compares nats per token."""
