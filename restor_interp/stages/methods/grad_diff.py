"""Gradient ascent on the documents, descent on neutral text: RESTOR's row "GA"."""

from restor_interp.stages.methods.method import Method

GRAD_DIFF = Method(
    name="grad_diff",
    summary="gradient ascent on the documents, descent on neutral text (RESTOR's row GA)",
    citation="Liu et al. 2022 (arXiv 2203.12817); RESTOR's GA_FT.py, −CE_f + γ·CE_r with γ our "
    "retain_weight",
    hints="Collapses: fewer steps, a smaller learning rate, a larger retain_weight. Forgets too "
    "little: more steps before a higher rate.",
    loss="ga",
    needs_retain=True,
)
