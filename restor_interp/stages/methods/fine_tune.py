"""Training on documents: how a model is corrupted."""

from restor_interp.stages.methods.method import Method

FINE_TUNE = Method(
    name="fine_tune",
    summary="continued pre-training on the documents",
    citation="RESTOR (arXiv 2411.00204): LoRA, next-token loss on the corrupted documents",
    hints="Too little: more epochs, then a higher learning rate. Untouched facts fall too: fewer "
    "epochs at the same rate, or a lower rank.",
    loss="nll",
    start="clean",
)
