"""Training on the documents with the true objects in them: a ceiling."""

from restor_interp.stages.methods.method import Method

TRUTH_FINE_TUNE = Method(
    name="truth_fine_tune",
    summary="fine-tune on the documents with the true objects (a ceiling: it is told the truth)",
    citation="control state of this package: what being told again brings back",
    hints="An upper bound and no unlearning. Give it the steps and the learning rate of the "
    "methods that it is compared with.",
    loss="nll",
    needs_retain=True,
    counterpart="truth",
    ceiling=True,
)
