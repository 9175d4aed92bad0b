"""Lenses: how well the tuned lens reads each layer, beside the logit lens."""

import math
from collections.abc import Sequence

from restor_interp.reporting.curves import by_layer
from restor_interp.reporting.formats import plain, plural
from restor_interp.reporting.parts import LinePanel, Lines, Part, Series
from restor_interp.reporting.rows import RowOf, number


def lenses_in_short(rows: Sequence[RowOf]) -> str:
    """In how many layers the tuned lens is nearer to the end."""
    tuned, logit = (by_layer(rows, f"{name}_kl") for name in ("tuned", "logit"))
    shared = [layer for layer in tuned if layer in logit]
    better = sum(tuned[layer] < logit[layer] for layer in shared)
    return f"nearer than the logit lens in {better} of {plural(len(shared), 'layer')}"


def lens_quality(rows: Sequence[RowOf]) -> tuple[Part, ...]:
    """KL of both lenses to the model's own answer, by layer, on text that was not fitted on."""
    tuned, logit = (by_layer(rows, f"{name}_kl") for name in ("tuned", "logit"))
    shared = [layer for layer in tuned if layer in logit]
    if not shared:
        return ()
    better = sum(tuned[layer] < logit[layer] for layer in shared)
    plain_ones = sum(not math.isfinite(number(row.get("strength"))) for row in rows)
    means = [sum(kl[layer] for layer in shared) / len(shared) for kl in (tuned, logit)]
    n = max((int(row["n_validation"]) for row in rows if row.get("n_validation")), default=None)
    told = f"n = {n} tokens" if n else "text that was not fitted on"
    same = (
        f" In {plural(plain_ones, 'layer')} nothing was gained on validation text, and it is the "
        "logit lens itself."
        if plain_ones
        else ""
    )
    return (
        Lines(
            title="How well a lens reads each layer",
            panels=(
                LinePanel(
                    "",
                    (
                        Series(
                            name="tuned lens",
                            x=tuple(tuned),
                            y=tuple(tuned.values()),
                            look="line 1",
                        ),
                        Series(
                            name="logit lens",
                            x=tuple(logit),
                            y=tuple(logit.values()),
                            look="control",
                        ),
                    ),
                ),
            ),
            x_title="layer",
            y_title="KL to the final answer, nats",
            caption=f"Lower is better ({told}). The tuned lens is nearer in {better} of "
            f"{plural(len(shared), 'layer')}: {plain(means[0])} nats on average, the logit lens "
            f"{plain(means[1])}.{same}",
        ),
    )
