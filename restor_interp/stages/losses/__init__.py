"""What training minimises: pure functions of logits or states, each importable alone.

    targets = predicted_tokens(ids, mask)                     # the one shift and the one mask
    logits = model(ids, mask)[targets.row, targets.position]
    out = LOSSES["npo"](logits, targets, reference_logprobs=reference, beta=0.1)

One convention for all methods: every function here returns what is *minimised*, and

    total = forget_weight · forget + retain_weight · retain

Symbols below: l = log pθ(token), l' = the same under the reference c (the start state), D = l − l',
p = exp l, z the logits, h the states, d their width, z' and h' the reference's; T_i the number of
predicted tokens of row i, N their number in the batch; sums run over them; [·] is held constant (no
gradient goes through); s(x) = log(1 + exp x).

| name            | value                                       | papers and code                  |
| --------------- | ------------------------------------------- | -------------------------------- |
| `nll`           | −(1/N) Σ l                                  | fine-tuning; every method's L_r  |
| `ga`            | +(1/N) Σ l                                  | GA; −CE_f in RESTOR's code       |
| `kl_restor`     | −mean over ALL positions of H(pθ, p_c)      | RESTOR's and SOUL's `KL.py`, its |
|                 |                                             | γ is our forget_weight           |
| `kl`            | −(1/N) Σ KL(pθ ‖ p_c)                       | "KL" in RESTOR's README          |
| `npo`           | by `reduction`:                             | Zhang et al. 2024 (2404.05868)   |
| · sum           | (2/β) mean_i s(β Σ_t D_it)                  | official NPO, open-unlearning    |
| · sequence_mean | (2/β) mean_i s(β/T_i Σ_t D_it)              | unlearning-taxonomy              |
| · batch_mean    | (2/β) s(β/N Σ D)                            | RESTOR's and SOUL's `NPO.py`     |
| · token         | (2/β) (1/N) Σ s(β D)                        | "NPO" in RESTOR's README         |
| `simnpo`        | (2/β) mean_i s(β (1/T_i Σ_t l_it + δ))      | Fan et al. 2024 (2410.07163)     |
| `wga`           | (1/N) Σ [p^β] l                             | Wang et al. 2025 (2502.19301)    |
| `tnpo`          | (1/N) Σ [2 p^β / (p^β + p'^β)] l            | the same                         |
| `satimp`        | (1/N) Σ [p^β1 (1 − p)^β2] l                 | Yang et al. 2025 (2505.11953)    |
| `dpo`           | (2/β) mean_i s(−β (Σ D_chosen − Σ D))       | Rafailov et al. 2023 (2305.18290)|
| `undial`        | (1/N) Σ H([softmax(z' − β·1_token)], pθ)    | Dong et al. 2024 (2402.10052)    |
| `ceu`           | (1/N) Σ H([softmax(z, −∞ at token)], pθ)    | Yang 2025 (2503.01224)           |
| `rmu`           | mean_i 1/T_i Σ_t (1/d) ‖h − c·u‖²           | Li et al. 2024 (2403.03218)      |
| `kl_retain`     | +(1/N) Σ KL(p_c ‖ pθ)                       | TOFU, open-unlearning            |
| `embed_diff`    | mean_i 1/T_i Σ_t (1/d) ‖h − h'‖²            | RMU's retain term                |

In GA and NPO RESTOR's γ weighs the retain term (our retain_weight); in KL the forget term.

Traps. True `kl` has zero gradient where θ = c, so alone it does not move at the first step:
only the retain term, or noise, does. `kl_restor` is a cross-entropy and not a divergence: its
extremes are one-hot distributions, and it depends on how the batch was padded. A β means
something else in each reduction of NPO: the gradient is GA's times 2σ(βx) with x the mean or the
*sum* of D, so that at one nat per token over 100 tokens β = 0.1 leaves 0.95 of it (`token`,
`batch_mean`, `sequence_mean`) or nothing (`sum`). The value of a loss with held weights may rise
while it does what it should.
"""

from collections.abc import Callable, Mapping
from typing import Literal

from restor_interp.stages.losses.deferred import Deferred, Logits
from restor_interp.stages.losses.distributions import (
    ceu,
    cross_entropy_to_reference,
    kl_divergence,
    kl_from_reference,
    undial,
)
from restor_interp.stages.losses.likelihood import gradient_ascent, nll, satimp, tnpo, wga
from restor_interp.stages.losses.preference import PairReduction, Reduction, dpo, npo, simnpo
from restor_interp.stages.losses.states import embed_diff, rmu, rmu_direction
from restor_interp.stages.losses.targets import (
    NOTHING,
    WEIGHED,
    LossOut,
    Targets,
    every_position,
    predicted_tokens,
    row_means,
    row_sums,
    token_logprobs,
    token_mean,
)

Reference = Literal["logprobs", "logits", "states"]

LOSSES: Mapping[str, Callable[..., LossOut]] = {
    "nll": nll,
    "ga": gradient_ascent,
    "kl_restor": cross_entropy_to_reference,
    "kl": kl_divergence,
    "npo": npo,
    "simnpo": simnpo,
    "wga": wga,
    "tnpo": tnpo,
    "satimp": satimp,
    "dpo": dpo,
    "undial": undial,
    "ceu": ceu,
    "rmu": rmu,
    "kl_retain": kl_from_reference,
    "embed_diff": embed_diff,
}
"""Every loss by name: `LOSSES[name](logits or states, targets, **its own keywords) -> LossOut`."""

REFERENCES: Mapping[str, Reference] = {
    "kl_restor": "logits",
    "kl": "logits",
    "npo": "logprobs",
    "tnpo": "logprobs",
    "dpo": "logprobs",
    "undial": "logits",
    "kl_retain": "logits",
    "embed_diff": "states",
}
"""What a loss asks of the reference, as the keyword `reference_logprobs` (one number per token),
`reference_logits` (the whole vocabulary) or `reference_states`."""

ON_STATES: frozenset[str] = frozenset({"rmu", "embed_diff"})
"""Losses of the residual stream after one decoder layer, in place of logits."""

PAIRED: frozenset[str] = frozenset({"dpo"})
"""Losses of two batches, row by row: they also take `chosen_logits`, `chosen_targets` and, with a
reference, `chosen_reference_logprobs` (or `_logits`)."""

__all__ = [
    "LOSSES",
    "NOTHING",
    "ON_STATES",
    "PAIRED",
    "REFERENCES",
    "WEIGHED",
    "Deferred",
    "Logits",
    "LossOut",
    "PairReduction",
    "Reduction",
    "Reference",
    "Targets",
    "ceu",
    "cross_entropy_to_reference",
    "dpo",
    "embed_diff",
    "every_position",
    "gradient_ascent",
    "kl_divergence",
    "kl_from_reference",
    "nll",
    "npo",
    "predicted_tokens",
    "rmu",
    "rmu_direction",
    "row_means",
    "row_sums",
    "satimp",
    "simnpo",
    "tnpo",
    "token_logprobs",
    "token_mean",
    "undial",
    "wga",
]
