"""Steering a layer's states of the documents to one random point."""

from pydantic import Field

from restor_interp.stages.methods.method import Method
from restor_interp.stages.settings import Settings


class RmuSettings(Settings):
    """Where to, and in which layer."""

    coefficient: float = Field(default=20.0, gt=0)
    """Length of the point that the states are steered to, in the model's own units."""
    layer: int | None = None
    """Index of the decoder layer after which states are steered; none: a third of the depth."""
    first_position: int = Field(default=0, ge=0)
    """States of a row are steered from this token on; 1 spares an attention sink."""


RMU = Method(
    name="rmu",
    summary="steer the states of the documents after one layer to a random point",
    citation="Li et al. 2024 (arXiv 2403.03218): layer 7 of 32, down_proj of layers 5 to 7",
    hints="The coefficient has the unit of the residual stream: take a few times the norm of its "
    "states after that layer (20 for a 7B model; 2 in open-unlearning). Its retain term is in the "
    "same unit, so that retain_weight is large in the paper (100 to 1200). Too little: a larger "
    "coefficient, a later layer. Neutral text suffers: a larger retain_weight. From some layer on "
    "a model's first token is a sink of enormous norm, and nothing else is trained: an earlier "
    "layer, or first_position=1. A model whose MLP has no down_proj needs `modules`.",
    loss="rmu",
    settings=RmuSettings,
    loss_settings=("coefficient", "first_position"),
    needs_retain=True,
    retain_loss="embed_diff",
    # Mean squares and not nats: a bound for nats would stop it before its first step.
    training={"modules": ("down_proj",), "loss_bound": 1e6},
    on_layer="layer",
    layers_up_to=3,
)
