"""The timeline of a training: how likely true and false objects are, layer by layer, on its way.

A training with `checkpoints` above 0 captures some facts after several steps; the states before and
after it are captured too. Their logit lens (nostalgebraist 2020: every layer read through the
state's own final norm and unembedding) says at which step, and in which layer first, a true object
comes back and a false one goes; `explain.timeline` reads these moments off.
"""

from collections.abc import Mapping
from typing import Any

from restor_interp.errors import ConfigError
from restor_interp.models.activations import Activations

CATEGORIES = ("true", "false")
"""Of the objects that a capture reads, in their order."""


def timeline_rows(captures: Mapping[int, Activations], *, state: str) -> list[dict[str, Any]]:
    """Rows of the table `timeline`: `state`, `step`, `layer` (0: the embeddings), `fact_id`,
    `context_id`, `category`, `object`, `logprob` in nats.

    Args:
        captures: finished steps -> what was captured then. The state that training started from
            is step 0, the one that it led to the last step.
        state: the one that is trained.

    Only prompts that were captured at every step are followed; the log-probability is of the first
    token at which the two objects differ.

    Raises `ConfigError` for fewer than two steps, captures of other models, without objects, or
    with no prompt in common.
    """
    steps = sorted(captures)
    if len(steps) < 2:
        raise ConfigError(
            f"a timeline of {state} needs at least two steps, found {steps}: train it with "
            "`checkpoints` of its training settings above 0, or give the state before and after it"
        )
    first = captures[steps[0]]
    places: list[dict[tuple[Any, ...], int]] = []
    for step in steps:
        first.require_same_model(captures[step])
        places.append(
            {
                (one.fact_id, one.context_id, one.objects): row
                for row, one in enumerate(captures[step].prompts)
            }
        )
    followed = [key for key in places[0] if all(key in own for own in places)]
    if not followed:
        raise ConfigError(
            f"no prompt was captured at all of the steps {steps} of {state}: capture the same "
            "facts with the same objects"
        )
    rows = []
    for step, own in zip(steps, places, strict=True):
        logprobs = captures[step].logprobs
        rows += [
            {
                "state": state,
                "step": step,
                "layer": layer,
                "fact_id": fact_id,
                "context_id": context_id,
                "category": category,
                "object": name,
                "logprob": float(logprobs[own[fact_id, context_id, objects], layer, number]),
            }
            for fact_id, context_id, objects in followed
            for layer in range(logprobs.shape[1])
            for number, (category, name) in enumerate(zip(CATEGORIES, objects, strict=True))
        ]
    return rows
