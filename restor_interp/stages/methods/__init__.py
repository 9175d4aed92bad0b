"""The methods by name; a new one is a file beside these and a line here.

All share one convention (`restor_interp.stages.losses`): `total = forget_weight · forget +
retain_weight · retain` is minimised. A user's own method is a file with one decorated function
(`restor_interp.method`), found by its path (`restor_interp.definitions.find_method`).
"""

from collections.abc import Mapping

from restor_interp.stages.methods.ceu import CEU
from restor_interp.stages.methods.dpo_alternative import DPO_ALTERNATIVE
from restor_interp.stages.methods.dpo_refusal import DPO_REFUSAL
from restor_interp.stages.methods.dpo_truth import DPO_TRUTH
from restor_interp.stages.methods.fine_tune import FINE_TUNE
from restor_interp.stages.methods.ga import GA
from restor_interp.stages.methods.grad_diff import GRAD_DIFF
from restor_interp.stages.methods.kl import KL
from restor_interp.stages.methods.kl_restor import KL_RESTOR
from restor_interp.stages.methods.method import Counterpart, Method, OwnLoss
from restor_interp.stages.methods.msa import MSA
from restor_interp.stages.methods.npo import NPO
from restor_interp.stages.methods.retain_only import RETAIN_ONLY
from restor_interp.stages.methods.rmu import RMU
from restor_interp.stages.methods.satimp import SATIMP
from restor_interp.stages.methods.simnpo import SIMNPO
from restor_interp.stages.methods.task_vector import TASK_VECTOR
from restor_interp.stages.methods.tnpo import TNPO
from restor_interp.stages.methods.truth_fine_tune import TRUTH_FINE_TUNE
from restor_interp.stages.methods.undial import UNDIAL
from restor_interp.stages.methods.wga import WGA

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        FINE_TUNE,
        GA,
        GRAD_DIFF,
        KL_RESTOR,
        KL,
        NPO,
        SIMNPO,
        WGA,
        SATIMP,
        TNPO,
        DPO_REFUSAL,
        DPO_ALTERNATIVE,
        UNDIAL,
        CEU,
        RMU,
        TASK_VECTOR,
        MSA,
        RETAIN_ONLY,
        TRUTH_FINE_TUNE,
        DPO_TRUTH,
    )
}

__all__ = ["METHODS", "Counterpart", "Method", "OwnLoss"]
