"""DPO that prefers the document with yet other objects in it."""

from restor_interp.stages.methods.dpo import DpoSettings
from restor_interp.stages.methods.method import Method

DPO_ALTERNATIVE = Method(
    name="dpo_alternative",
    summary="prefer each document with a third object, neither true nor claimed (AltPO)",
    citation="Mekala et al. 2024 (arXiv 2409.13474), whose alternatives the model writes itself; "
    "ours are the documents with other objects of the same type",
    hints="It plants a new falsehood in place of the old one: expect `other`. Tuned "
    "as dpo_refusal is.",
    loss="dpo",
    settings=DpoSettings,
    loss_settings=("beta", "reduction"),
    needs_retain=True,
    counterpart="alternative",
)
