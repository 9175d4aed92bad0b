"""Model state arithmetic: subtract from the corrupted model what documents do to the clean one."""

from restor_interp.stages.methods.method import Method
from restor_interp.stages.methods.task_vector import TaskVectorSettings, subtracted

MSA = Method(
    name="msa",
    summary="fine-tune the clean model on the documents and subtract that from the corrupted one "
    "(uses the clean checkpoint)",
    citation="Rezaei et al., Model State History (arXiv 2506.20941), θ_D − α(θ₁ − θ₀), with β = 0",
    hints="alpha is 1 to 2 in the paper and costs no training. Trained exactly as the corruption "
    "was, alpha 1 is the clean model: no achievement, a check.",
    loss="nll",
    settings=TaskVectorSettings,
    start="clean",
    arrive=subtracted,
)
