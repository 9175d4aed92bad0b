"""Gradient ascent alone."""

from restor_interp.stages.methods.method import Method

GA = Method(
    name="ga",
    summary="gradient ascent on the documents, without a retain term",
    citation="Jang et al. 2023 (arXiv 2210.01504); the forget half of RESTOR's row GA",
    hints="Unbounded below: it ends in noise if it is not stopped. Few steps, a small learning "
    "rate, gradient clipping; use grad_diff to stay a usable model.",
    loss="ga",
)
