"""The control without unlearning: the same steps on neutral text alone."""

from restor_interp.stages.methods.method import Method

RETAIN_ONLY = Method(
    name="retain_only",
    summary="a control: the same steps on neutral text alone",
    citation="control state of this package: what training as such brings back",
    hints="Give it the steps, the learning rate and the retain_batch_size of the methods that it "
    "is compared with.",
    loss=None,
    needs_forget=False,
    needs_retain=True,
)
