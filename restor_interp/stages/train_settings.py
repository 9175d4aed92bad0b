"""How a delta is trained: the settings that all methods share."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from restor_interp.stages.settings import Settings


class TrainSettings(Settings):
    """How a delta is trained."""

    full: bool = False
    """Train the matrices themselves instead of low-rank factors: the delta is dense, `rank` and
    `alpha` are not used. Its learning rate is a tenth or less of an adapter's (1e-5 to 5e-5 for
    billions of parameters), and memory is six times the trained matrices in fp32: what they were,
    what they are, the last good ones, the gradient, and Adam's two moments."""
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """The delta is alpha/rank · B·A."""
    modules: str | tuple[str, ...] = "all"
    """`all` linear modules of the decoder layers, or last names such as `down_proj`."""
    layers: str | tuple[int, ...] | None = None
    """Trained layers, as indices or a range such as "20:30"; none: all, or all up to the one that
    a loss on states reads. Backward passes end at the lowest."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Its peak: it rises linearly during warm-up and falls along a cosine to zero."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the documents; 1 if `steps` is not given either."""
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=4, ge=1)
    """Documents per step; blocks, where they are packed."""
    retain_batch_size: int = Field(default=2, ge=1)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Of what is trained: an adapter shrinks towards no change, matrices (`full`) towards zero."""
    grad_clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; none: unclipped."""
    max_length: int = Field(default=512, ge=2)
    """Tokens of a text that are read; packed documents are read whole."""
    packing: int | None = Field(default=None, ge=2)
    """Tokens per block: documents are joined with the end-of-text token and cut into blocks, as
    RESTOR's corruption does with 1024. None: one document per row."""
    shuffle: bool = True
    """Documents are mixed by the seed before they are packed, or put in batches of like length.
    No: neighbours stay together, in a block if there are blocks, else in a batch (RESTOR's files
    are sorted by person). The order of batches follows from the seed in any case."""
    target: Literal["all", "claims", "changed"] = "all"
    """Tokens of the documents that the loss looks at: all; those of the false objects; or those
    that the start state finds likelier than the clean one by more than `changed_above`."""
    changed_above: float = 1.0
    """Nats, for the target `changed`."""
    loss_bound: float = Field(default=100.0, gt=0)
    """Training stops, as diverged, where the loss is larger than this, or its negative smaller."""
    forget_weight: float = Field(default=1.0, ge=0)
    retain_weight: float = Field(default=1.0, ge=0)
    """Of the retain term, in the methods that have one."""
    retain_loss: Literal["nll", "kl_retain", "none"] = "nll"
    """`none` is a `retain_weight` of 0. A method with a retain loss of its own keeps it."""
    bf16: bool = False
    """Compute in bfloat16 over fp32 weights."""
    checkpoints: int = Field(default=0, ge=0)
    """Captures in the middle of training, evenly spread."""
    save_every: int = Field(default=50, ge=1)
    """Steps after which the state to resume from is kept."""

    @model_validator(mode="before")
    @classmethod
    def _no_retain_loss(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("retain_loss") != "none":
            return values
        if values.get("retain_weight"):
            raise ValueError(
                f"retain_loss none and a retain_weight of {values['retain_weight']} contradict "
                "each other: leave retain_weight out, or choose a retain_loss"
            )
        return {**values, "retain_weight": 0.0}

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps are both given: give one of them")
        return self
