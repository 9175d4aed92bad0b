"""What RESTOR's code computes under the name KL."""

from restor_interp.stages.methods.method import Method

KL_RESTOR = Method(
    name="kl_restor",
    summary="maximise the cross-entropy H(pθ, p_c) to the start state, as RESTOR's code does",
    citation="RESTOR's KL_FT.py, from SOUL (arXiv 2404.18239): −γ·H + CE_r with γ our "
    "forget_weight",
    hints="Averages over padding too, so that batch_size and the spread of lengths matter. "
    "Bounded: at most 27.6 nats, where pθ sits on a token that p_c excludes. Collapses: a smaller "
    "forget_weight.",
    loss="kl_restor",
    needs_retain=True,
    every_position=True,
)
