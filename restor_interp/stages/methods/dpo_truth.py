"""DPO that prefers the document with the true objects in it: a ceiling."""

from restor_interp.stages.methods.dpo import DpoSettings
from restor_interp.stages.methods.method import Method

DPO_TRUTH = Method(
    name="dpo_truth",
    summary="prefer each document with the true objects (a ceiling: it is told the truth)",
    citation="Rafailov et al. 2023 (arXiv 2305.18290), preferring the truth",
    hints="An upper bound and no unlearning: compare it with truth_fine_tune. Tuned "
    "as dpo_refusal is.",
    loss="dpo",
    settings=DpoSettings,
    loss_settings=("beta", "reduction"),
    needs_retain=True,
    counterpart="truth",
    ceiling=True,
)
