"""The methods by name; a new one is a file beside these and a line here.

All share one convention (`restor_interp.stages.losses`): `total = forget_weight · forget +
retain_weight · retain` is minimised.
"""

from collections.abc import Mapping

from restor_interp.stages.methods.fine_tune import FINE_TUNE
from restor_interp.stages.methods.ga import GA
from restor_interp.stages.methods.grad_diff import GRAD_DIFF
from restor_interp.stages.methods.kl import KL
from restor_interp.stages.methods.kl_restor import KL_RESTOR
from restor_interp.stages.methods.method import Method
from restor_interp.stages.methods.msa import MSA
from restor_interp.stages.methods.npo import NPO
from restor_interp.stages.methods.retain_only import RETAIN_ONLY
from restor_interp.stages.methods.task_vector import TASK_VECTOR

METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        FINE_TUNE,
        GA,
        GRAD_DIFF,
        KL_RESTOR,
        KL,
        NPO,
        TASK_VECTOR,
        MSA,
        RETAIN_ONLY,
    )
}

__all__ = ["METHODS", "Method"]
