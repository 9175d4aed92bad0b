"""What a layer would say beside the objects that it is asked for: its most likely tokens.

Read through the same end as the lens reads its objects (`measure.lens`), in the same pass: of the
logits that are there, the largest few are kept with the tokens that they belong to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.models.tokens import Tokens, resolve_position, token_text

FROM_SUBJECT = "from_subject"
"""Position of what is read at every token from the subject on; which, `token_position` says."""

NOT_FINITE = "the logits after this layer are not finite"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A token of a prompt at which layers are read."""

    position: str
    """The name by which it was asked for, or `FROM_SUBJECT`."""
    index: int
    """Among the prompt's tokens."""
    in_subject: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of the residual streams of one prompt in one state."""

    logprobs: Float[np.ndarray, "layer place target"]
    """Of tokens that were asked for, in nats."""
    ranks: Float[np.ndarray, "layer place target"]
    """Their places in the whole vocabulary; 1 is the likeliest."""
    top_tokens: Int[np.ndarray, "layer place k"]
    """Ids of the most likely tokens, the likeliest first."""
    top_logprobs: Float[np.ndarray, "layer place k"]


@dataclass(frozen=True, kw_only=True)
class Likeliest:
    """The most likely next tokens after every layer, at some tokens of one prompt, per state."""

    places: tuple[Place, ...]
    tokens: Int[np.ndarray, "state layer place k"]
    """Ids, the likeliest first."""
    logprobs: Float[np.ndarray, "state layer place k"]
    """Nats."""
    texts: Mapping[int, str]
    """Every id that occurs, and those of the places themselves, decoded alone."""
    read: tuple[int, ...]
    """Per place, the id of the token that stands there."""

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        ids: Int[Tensor, " pos"],
        places: tuple[Place, ...],
        readings: Sequence[Reading],
    ) -> Self:
        """What was read of a prompt with these tokens, a reading per state."""
        tokens = np.stack([one.top_tokens for one in readings])
        read = tuple(int(ids[place.index]) for place in places)
        occurring = sorted({*tokens.ravel().tolist(), *read})
        return cls(
            places=places,
            tokens=tokens,
            logprobs=np.stack([one.top_logprobs for one in readings]),
            texts={token: token_text(tokenizer, token) for token in occurring},
            read=read,
        )

    def rows(self, states: Sequence[str], **fixed: Any) -> list[dict[str, Any]]:
        """Rows of the table `lens_top`; `fixed`: columns with one value for all of them."""
        ids, logprobs = self.tokens.tolist(), self.logprobs.tolist()
        finite = np.isfinite(self.logprobs).tolist()
        return [
            {
                **fixed,
                "state": state,
                "layer": layer,
                "position": place.position,
                "token_position": place.index,
                "read_token": self.texts[self.read[p]],
                "in_subject": place.in_subject,
                "k": k + 1,
                "token": self.texts[token] if known else None,
                "token_id": token if known else None,
                "logprob": logprobs[s][layer][p][k] if known else None,
                "reason": None if known else NOT_FINITE,
            }
            for s, state in enumerate(states)
            for p, place in enumerate(self.places)
            for layer in range(self.tokens.shape[1])
            for k, (token, known) in enumerate(
                zip(ids[s][layer][p], finite[s][layer][p], strict=True)
            )
        ]


def places_of(
    tokens: Tokens, row: int, positions: Sequence[str], *, from_subject: bool
) -> tuple[Place, ...]:
    """The places of one prompt: those asked for by name, then every token from the subject on.

    Raises `PromptError` where the prompt has no subject and one is needed.
    """
    first, end = tokens.subject[row] or (0, 0)
    asked = [(position, resolve_position(tokens, row, position)) for position in positions]
    if from_subject:
        start = resolve_position(tokens, row, "subject_first")
        asked += [(FROM_SUBJECT, index) for index in range(start, len(tokens.ids[row]))]
    return tuple(
        Place(position=position, index=index, in_subject=first <= index < end)
        for position, index in asked
    )


def rectangle(places: Sequence[Sequence[Place]]) -> Int[Tensor, "row place"]:
    """The indices of every row's places; a shorter row repeats its last one."""
    width = max(map(len, places))
    padded = [[*own, *[own[-1]] * (width - len(own))] for own in places]
    return torch.tensor([[place.index for place in own] for own in padded])
