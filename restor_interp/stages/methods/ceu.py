"""Self-distillation from the present model without the document's tokens."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class CeuSettings(Settings):
    """Which tokens are spared."""

    ignore_first: int = Field(default=1, ge=0)
    """So many predicted tokens of a row are left out, from its first one on; 1 in the source."""


CEU = Method(
    name="ceu",
    summary="learn the model's own predictions without the document's token, renormalised",
    citation="Yang 2025, CE-U (arXiv 2503.01224)",
    hints="No knob for how hard: steps, learning rate and forget_weight. Collapses: fewer steps; "
    "its goal moves with the model, so that it does not stop by itself. Common words suffer: "
    "train on the claims alone (target=claims, ignore_first=0).",
    loss="ceu",
    settings=CeuSettings,
    loss_settings=("ignore_first",),
    needs_retain=True,
)
