"""Moving away from the start state's predictions by the true Kullback–Leibler divergence."""

from restor_interp.stages.methods.method import Method

KL = Method(
    name="kl",
    summary="maximise the true KL(pθ ‖ p_c) to the start state on the documents",
    citation="the formula that RESTOR's README prints (arXiv 2411.00204); its code is kl_restor",
    hints="Its gradient is zero where training starts, so that the retain term makes the first "
    "move; with retain_weight 0 it stays where it is. Unbounded above: stop early.",
    loss="kl",
    needs_retain=True,
)
