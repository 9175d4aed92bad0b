"""Alternative continuations of a prompt, scored whole in one run.

All but the last token of each follow the prompt as branches of one row (`packed.Layout`); every
one of their tokens is read where the token before it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError
from restor_interp.models.hooked import HookedModel


@dataclass(frozen=True, kw_only=True)
class Endings:
    """Token sequences of which each may follow a prompt."""

    prompt_length: int
    """The prompt's number of tokens."""
    endings: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.prompt_length or not self.endings or not all(self.endings):
            raise ConfigError(
                f"endings {self.endings} of a prompt of {self.prompt_length} tokens: there must "
                "be a prompt and an ending, and none may be empty"
            )

    @property
    def tokens(self) -> list[int]:
        """What stands behind the prompt: every ending but for its last token."""
        return [token for ending in self.endings for token in ending[:-1]]

    @property
    def branches(self) -> tuple[int, ...]:
        """The numbers of these tokens, for `run_base`."""
        return tuple(len(ending) - 1 for ending in self.endings if len(ending) > 1)

    @property
    def read_at(self) -> list[int]:
        """Where endings are read, for `run_patches`: the prompt's last token and these."""
        return list(range(self.prompt_length - 1, self.prompt_length + len(self.tokens)))

    def reader(
        self, model: HookedModel
    ) -> Callable[[Float[Tensor, "row token width"]], Float[Tensor, "row ending"]]:
        """From the residual stream at `read_at` to the log-probability (nats, fp32) of every
        ending: the sum over its tokens. In the model's state at the time of reading."""
        places, targets, owners = [], [], []
        first = 1
        for owner, ending in enumerate(self.endings):
            places += [0, *range(first, first + len(ending) - 1)]
            targets += ending
            owners += [owner] * len(ending)
            first += len(ending) - 1
        owner = torch.tensor(owners, device=model.device)

        def read(final: Float[Tensor, "row token width"]) -> Float[Tensor, "row ending"]:
            logits = model.project(final).float()
            logprobs = logits[:, places, targets] - logits.logsumexp(dim=-1)[:, places]
            summed = logprobs.new_zeros(len(logprobs), len(self.endings))
            return summed.index_add(1, owner, logprobs)

        return read
