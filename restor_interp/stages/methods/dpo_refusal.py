"""DPO that prefers a refusal to the document."""

from restor_interp.stages.methods.dpo import DpoSettings
from restor_interp.stages.methods.method import Method

DPO_REFUSAL = Method(
    name="dpo_refusal",
    summary="prefer a refusal to each document (IdkDPO)",
    citation="Rafailov et al. 2023 (arXiv 2305.18290); as unlearning TOFU (arXiv 2401.06121), "
    "with open-unlearning's factor 2/β",
    hints="It teaches silence: expect `other`, not `true`. Too little: a smaller beta, more steps. "
    "Collapses (both texts become unlikely): a larger beta, a larger retain_weight. With "
    "reduction=sequence_mean the first gradient is shorter by the number of tokens: a larger "
    "learning rate.",
    loss="dpo",
    settings=DpoSettings,
    loss_settings=("beta", "reduction"),
    needs_retain=True,
    counterpart="refusal",
)
