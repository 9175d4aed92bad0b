"""Forward passes over the tree that many token paths form: shared tokens are run once.

All prompts of a relation begin with the same few-shot lines and the same words of the question,
and all objects that are scored begin with the same prompt. The nodes of that tree are run as one
packed sequence in which every token sees its own ancestors only, at the position that it has in
its own path: that is each path's forward pass, without padding and without a second copy of
anything. Keys and values of nodes that may still be continued are kept.

A model that cannot be run this way (attention over a window shorter than the paths, positions
that cannot be given from outside, recurrence) is run plainly, path by path. `engine_for` decides
by running the longest path both ways.
"""

import inspect
import logging
import weakref
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from restor_interp.errors import PromptError
from restor_interp.measure.batching import batches_by_length
from restor_interp.measure.sampling import Pick, draw_tokens
from restor_interp.models.hooked import HookedModel

logger = logging.getLogger(__name__)

TokenPath = tuple[int, ...]
"""Token ids from the first token of a prompt on."""

ROUNDING: Mapping[torch.dtype, float] = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Number type -> the largest difference in log-probability that rounding explains."""
ROUNDING_OF_16_BITS = 0.3

_PACKED_ARGUMENTS = {"attention_mask", "position_ids", "past_key_values", "logits_to_keep"}
_WINDOWS = ("sliding_window", "window_size", "attention_chunk_size", "attention_window_size")
_VERIFIED: MutableMapping[PreTrainedModel, dict[int, bool]] = weakref.WeakKeyDictionary()
"""Model -> length of a path -> whether the packed run reproduced the plain one."""


class Ask(NamedTuple):
    """What is to be read after the last token of a path."""

    path: TokenPath
    tokens: TokenPath = ()
    """Next tokens whose log-probability is wanted."""
    pick: Pick | None = None
    """A next token that is to be drawn."""


class Reading(NamedTuple):
    """What was read after a path."""

    greedy: int
    """The most likely next token."""
    logprobs: tuple[float, ...]
    """Of the tokens that were asked for, in their order."""
    drawn: int | None = None
    """The next token that was drawn, where one was to be."""


class Engine(Protocol):
    """Runs paths through a model in its current state."""

    def cost(self, paths: Iterable[TokenPath], *, beside: TokenPath = ()) -> int:
        """Tokens that reading these paths takes, in a batch that reads `beside` as well."""
        ...

    def run(self, asks: Sequence[Ask]) -> list[Reading]:
        """A reading per ask, all in one batch."""
        ...

    def keep(self, paths: Iterable[TokenPath]) -> None:
        """Forget what these paths do not share."""
        ...


def engine_for(model: HookedModel, longest: TokenPath, *, max_tokens: int) -> Engine:
    """The packed engine if it reproduces the plain forward pass of `longest`, else the plain one.

    Raises `PromptError` for a path that is longer than the model can read.
    """
    config = model.hf_model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and len(longest) > limit:
        raise PromptError(
            f"a prompt with its answer has {len(longest)} tokens, and {model.name} reads at most "
            f"{limit}: use fewer or shorter few-shot examples"
        )
    verified = _VERIFIED.setdefault(model.hf_model, {})
    known = [
        agrees
        for length, agrees in verified.items()
        if (length >= len(longest) if agrees else length <= len(longest))
    ]
    agrees = known[0] if known else _packing_reproduces(model, longest, max_tokens)
    verified[len(longest)] = agrees
    return PackedEngine(model) if agrees else PlainEngine(model, max_tokens=max_tokens)


def _packing_reproduces(model: HookedModel, path: TokenPath, max_tokens: int) -> bool:
    """Whether a path gets the log-probabilities of a plain run beside a branch of its own."""
    hf_model = model.hf_model
    config = hf_model.config.get_text_config()
    windows = [window for name in _WINDOWS if (window := getattr(config, name, None))]
    arguments = inspect.signature(hf_model.forward).parameters
    reason = ""
    if not set(arguments) >= _PACKED_ARGUMENTS:
        reason = "its forward pass takes no positions or no cache"
    elif config._attn_implementation not in ("sdpa", "eager"):
        reason = f"its attention is {config._attn_implementation}, which takes no mask of ours"
    elif windows and min(windows) < len(path):
        reason = f"it attends over {min(windows)} tokens, and prompts have up to {len(path)}"
    else:
        half = max(1, len(path) // 2)
        tokens = path[:8]
        engine = PackedEngine(model)
        engine.run([Ask((*path[:half], *path[:half:-1])), Ask(path[:half])])
        packed = engine.run([Ask(path, tokens)])[0].logprobs
        plain = PlainEngine(model, max_tokens=max_tokens).run([Ask(path, tokens)])[0].logprobs
        difference = np.abs(np.subtract(packed, plain)).max()
        if not difference <= ROUNDING.get(model.dtype, ROUNDING_OF_16_BITS):
            reason = f"packed log-probabilities differ by {difference:.2g}"
    if reason:
        logger.warning("%s: every prompt is run on its own, because %s", model.name, reason)
    return not reason


class _Node:
    """A token that has been run."""

    __slots__ = ("children", "depth", "parent", "slot", "token")

    def __init__(self, token: int, parent: "_Node | None") -> None:
        self.token = token
        self.parent = parent
        self.depth = -1 if parent is None else parent.depth + 1
        self.children: dict[int, _Node] = {}
        self.slot = -1
        """Where its keys and values stand in the cache."""


class PackedEngine:
    """Runs the nodes of the tree as one sequence of mutually invisible branches."""

    def __init__(self, model: HookedModel) -> None:
        self._model = model
        self._cache = DynamicCache()
        self._root = _Node(-1, None)
        self._nodes: list[_Node] = []
        """Node in each slot of the cache."""
        self._sees = np.zeros((256, 256), dtype=bool)
        """[slot, slot]: whether the token of the first attends to that of the second."""

    def cost(self, paths: Iterable[TokenPath], *, beside: TokenPath = ()) -> int:
        total, previous = 0, beside
        for path in sorted(paths):
            known = max(self._deepest(path).depth + 1, _num_shared(path, previous))
            # Also a path that has been run: its last token is run again for its logits.
            total += max(1, len(path) - known)
            previous = path
        return total

    def _deepest(self, path: TokenPath) -> _Node:
        """The last node on a path that has been run."""
        node = self._root
        for token in path:
            below = node.children.get(token)
            if below is None:
                return node
            node = below
        return node

    def run(self, asks: Sequence[Ask]) -> list[Reading]:
        new: list[_Node] = []
        ends = [self._grow(ask.path, new) for ask in asks]
        row_of = {end: row for row, end in enumerate(dict.fromkeys(ends))}
        first = len(self._nodes) - len(new)
        logits = self._forward(new, [end.slot - first for end in row_of])
        return _readings(logits, [row_of[end] for end in ends], asks)

    def _grow(self, path: TokenPath, new: list[_Node]) -> _Node:
        """The node at the end of a path, which is among `new` in any case."""
        node = self._deepest(path)
        first = len(self._nodes) - len(new)
        again = {}
        if node.depth == len(path) - 1 and node.slot < first:
            # Its logits are gone: the last token is run again, beside itself.
            again = node.children
            node = node.parent or self._root
        for token in path[node.depth + 1 :]:
            below = _Node(token, node)
            below.children = again
            again = {}
            node.children[token] = below
            below.slot = len(self._nodes)
            self._nodes.append(below)
            new.append(below)
            self._look(below)
            node = below
        return node

    def _look(self, node: _Node) -> None:
        """A node sees what its parent sees, and itself."""
        size = len(self._sees)
        if node.slot >= size:
            self._sees = np.pad(self._sees, (0, size))
        above = node.parent
        assert above is not None
        self._sees[node.slot] = False if above.slot < 0 else self._sees[above.slot]
        self._sees[node.slot, node.slot] = True

    def _forward(self, new: Sequence[_Node], rows: Sequence[int]) -> Tensor:
        """Logits [row, vocab] after some of the new nodes."""
        device, dtype = self._model.device, self._model.dtype
        total = len(self._nodes)
        sees = torch.from_numpy(self._sees[total - len(new) : total, :total]).to(device)
        unseen = torch.zeros(sees.shape, dtype=dtype, device=device)
        unseen.masked_fill_(~sees, torch.finfo(dtype).min)
        with torch.inference_mode():
            output: Any = self._model.hf_model(
                input_ids=torch.tensor([[node.token for node in new]], device=device),
                position_ids=torch.tensor([[node.depth for node in new]], device=device),
                attention_mask=unseen[None, None],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=torch.tensor(rows, dtype=torch.long, device=device),
            )
        return output.logits[0]

    def keep(self, paths: Iterable[TokenPath]) -> None:
        kept: set[_Node] = set()
        for path in paths:
            node: _Node | None = self._deepest(path)
            while node is not None and node not in kept:
                kept.add(node)
                node = node.parent
        nodes = [node for node in self._nodes if node in kept]
        # Copying the cache costs more than a few columns that no one sees.
        if 4 * len(nodes) > 3 * len(self._nodes):
            return
        slots = [node.slot for node in nodes]
        self._sees[: len(slots), : len(slots)] = self._sees[np.ix_(slots, slots)]
        self._sees[len(slots) :] = False
        self._sees[:, len(slots) :] = False
        index = torch.tensor(slots, dtype=torch.long, device=self._model.device)
        layers: list[Any] = self._cache.layers
        for layer in layers:
            layer.keys = layer.keys.index_select(-2, index)
            layer.values = layer.values.index_select(-2, index)
        for slot, node in enumerate(nodes):
            node.slot = slot
            node.children = {
                token: below for token, below in node.children.items() if below in kept
            }
        self._root.children = {
            token: below for token, below in self._root.children.items() if below in kept
        }
        self._nodes = nodes


class PlainEngine:
    """Runs every path on its own, padded to the longest of its batch; nothing is kept."""

    def __init__(self, model: HookedModel, *, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def cost(self, paths: Iterable[TokenPath], *, beside: TokenPath = ()) -> int:
        del beside
        return sum(len(path) for path in paths)

    def keep(self, paths: Iterable[TokenPath]) -> None:
        del paths

    def run(self, asks: Sequence[Ask]) -> list[Reading]:
        readings: dict[int, Reading] = {}
        for batch in batches_by_length([len(ask.path) for ask in asks], self._max_tokens):
            paths = [asks[index].path for index in batch]
            width = max(map(len, paths))
            ids = torch.tensor([[*path, *[0] * (width - len(path))] for path in paths])
            mask = torch.tensor([[1] * len(path) + [0] * (width - len(path)) for path in paths])
            device = self._model.device
            with torch.inference_mode():
                output: Any = self._model.hf_model(
                    input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
                )
            ends = torch.tensor([len(path) - 1 for path in paths], device=device)
            logits = output.logits[torch.arange(len(paths), device=device), ends]
            found = _readings(logits, range(len(paths)), [asks[index] for index in batch])
            readings |= dict(zip(batch, found, strict=True))
        return [readings[index] for index in range(len(asks))]


def _num_shared(first: TokenPath, second: TokenPath) -> int:
    """How many tokens two paths have in common from their start."""
    pairs = enumerate(zip(first, second, strict=False))
    shorter = min(len(first), len(second))
    return next((index for index, (one, other) in pairs if one != other), shorter)


def _readings(logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> list[Reading]:
    """What each ask wants of its row of logits [row, vocab]."""
    logits = logits.float()
    greedy = logits.argmax(-1).tolist()
    wanted_rows = [row for row, ask in zip(rows, asks, strict=True) for _ in ask.tokens]
    wanted_tokens = [token for ask in asks for token in ask.tokens]
    wanted = logits[wanted_rows, wanted_tokens] - logits.logsumexp(-1)[wanted_rows]
    logprobs = iter(wanted.tolist())
    picks = [(row, ask.pick) for row, ask in zip(rows, asks, strict=True) if ask.pick is not None]
    drawn = iter(draw_tokens(logits, [row for row, _ in picks], [pick for _, pick in picks]))
    return [
        Reading(
            greedy[row],
            tuple(next(logprobs) for _ in ask.tokens),
            None if ask.pick is None else next(drawn),
        )
        for row, ask in zip(rows, asks, strict=True)
    ]
