"""What methods compare with, computed once: log-probabilities and states of the start state.

The methods of a run, and the trials of a sweep, start from the same state with the same texts in
the same batches. What they ask of the reference is then the same numbers, to the bit.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor


class ReferenceCache:
    """Tensors by what determines them. The ones asked for longest ago give way to new ones."""

    def __init__(self, max_bytes: int = 256 * 2**20) -> None:
        """`max_bytes`: room for all tensors; the log-probabilities of a million tokens need 4 MB,
        the states that a full-vocabulary reference is made from need d_model times as much."""
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    def get(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor of a key, computed if it is not kept. It must not be written to."""
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        tensor = compute()
        if tensor.nbytes <= self.max_bytes:
            self._kept[key] = tensor
            room = self.max_bytes - self.nbytes
            while room < 0:
                room += self._kept.popitem(last=False)[1].nbytes
        return tensor


def reference_key(start: str, kind: str, *tensors: Tensor) -> str:
    """A key: the digest of a start state with its numerics, what is asked, and of what tokens."""
    found = hashlib.sha256(f"{start}\n{kind}\n".encode())
    for tensor in tensors:
        found.update(f"{tuple(tensor.shape)} {tensor.dtype}\n".encode())
        found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
