"""Activations on disk: written shard by shard while a model runs, read lazily one slice at a time.

    index.json              what was captured of which prompts; written last: without it nothing is
    shard-00000.safetensors a few dozen prompts each:
        resid               [layer, position, row, width]  layer 0 is the embeddings, L the last
        attn, mlp           [layer, position, row, width]  what layer l adds to the residual stream
        pattern             [layer, head, key]             attention of the last token, row after
                                                           row, as many keys as the row has tokens
        logprobs            [layer, row, object]           logit lens of the true and false object

Neither side holds more than one shard, so memory does not grow with the number of prompts.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import safetensors.numpy
from jaxtyping import Float
from safetensors import safe_open

from restor_interp.disk import publish
from restor_interp.errors import ConfigError, DataError, IntegrityError, unknown_name
from restor_interp.models.cache import file_sha256

SITES = ("resid", "attn", "mlp", "pattern")
"""What can be captured; `pattern` is the attention of the last token."""
LOGPROBS = "logprobs"

INDEX = "index.json"
FORMAT = 1
SHARD_BYTES = 32 * 2**20

Dtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class CapturedPrompt:
    """One row of the activations: which prompt it was."""

    fact_id: str
    context_id: int
    entity: str
    relation: str
    num_tokens: int
    """Tokens of the prompt, so many keys its attention pattern has."""
    objects: tuple[str, ...] = ()
    """The objects whose log-probabilities were read: true, false."""


def num_layers_at(site: str, num_layers: int) -> int:
    """Layers that a site has: the residual stream one more, for the embeddings."""
    return num_layers + 1 if site in ("resid", LOGPROBS) else num_layers


class ActivationWriter:
    """Streams rows of activations into a folder; the index is written when its `with` ends well.

    Rows come in any order, each once. It holds at most `shard_bytes` of them (and their bytes in
    the file once more while a shard is written).
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        prompts: Sequence[CapturedPrompt],
        sites: Sequence[str],
        positions: Sequence[str],
        num_layers: int,
        num_heads: int,
        width: int,
        dtype: Dtype = "float32",
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        for site in sites:
            if site not in SITES:
                raise unknown_name("site", site, SITES)
        if dtype not in ("float32", "float16"):
            raise unknown_name("number type of activations", dtype, ("float32", "float16"))
        if len({len(prompt.objects) for prompt in prompts}) > 1:
            raise DataError("every prompt needs the same number of objects: true and false")
        self.folder = Path(folder)
        self.held_bytes = 0
        """Bytes of rows that wait for their shard to be full."""
        self._prompts = tuple(prompts)
        self._sites, self._positions = tuple(sites), tuple(positions)
        self._num_layers, self._num_heads, self._width = num_layers, num_heads, width
        self._dtype = np.dtype(dtype)
        self._shard_bytes = shard_bytes
        self._waiting: list[tuple[int, dict[str, np.ndarray]]] = []
        self._written: set[int] = set()
        self._shards: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        for old in self.folder.glob("shard-*.safetensors"):
            old.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._close()

    def add(self, row: int, values: Mapping[str, np.ndarray]) -> None:
        """Activations of one prompt: per site [layer, position, width], `pattern` [layer, head,
        key], `logprobs` [layer, object].

        Raises `DataError` for a row that was added before, or an array of another shape.
        """
        if row in self._written:
            raise DataError(f"activations of prompt {row} were added twice")
        arrays = {}
        for name, shape in self._shapes(self._prompts[row]).items():
            found = np.shape(values[name]) if name in values else None
            if found != shape:
                raise DataError(
                    f"{name} of prompt {row} has the shape {found}, and should have {shape}"
                )
            # Log-probabilities keep their digits; a 16-bit overflow is kept as infinity and seen.
            dtype = np.float32 if name == LOGPROBS else self._dtype
            with np.errstate(over="ignore"):
                arrays[name] = np.array(values[name], dtype=dtype)
        self._waiting.append((row, arrays))
        self._written.add(row)
        self.held_bytes += sum(array.nbytes for array in arrays.values())
        if self.held_bytes >= self._shard_bytes:
            self._flush()

    def _shapes(self, prompt: CapturedPrompt) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for site in self._sites:
            rest = (len(self._positions), self._width)
            if site == "pattern":
                rest = (self._num_heads, prompt.num_tokens)
            shapes[site] = (num_layers_at(site, self._num_layers), *rest)
        if prompt.objects:
            shapes[LOGPROBS] = (num_layers_at(LOGPROBS, self._num_layers), len(prompt.objects))
        return shapes

    def _flush(self) -> None:
        rows = [row for row, _ in self._waiting]
        held = [arrays for _, arrays in self._waiting]
        self._waiting, self.held_bytes = [], 0
        tensors = {}
        for name in list(held[0]):
            # A shard's tensor is what one row has, with the rows side by side before the width.
            own = [arrays.pop(name) for arrays in held]
            tensors[name] = (
                np.concatenate(own, axis=-1) if name == "pattern" else np.stack(own, axis=-2)
            )
        name = f"shard-{len(self._shards):05}.safetensors"
        data = safetensors.numpy.save(tensors)
        publish(self.folder / name, data)
        self._shards.append(
            {
                "file": name,
                "rows": rows,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )

    def _close(self) -> None:
        missing = len(self._prompts) - len(self._written)
        if missing:
            raise DataError(f"{missing} of {len(self._prompts)} prompts were never captured")
        if self._waiting:
            self._flush()
        index = {
            "format": FORMAT,
            "sites": self._sites,
            "positions": self._positions,
            "num_layers": self._num_layers,
            "num_heads": self._num_heads,
            "width": self._width,
            "dtype": self._dtype.name,
            "prompts": [dataclasses.asdict(prompt) for prompt in self._prompts],
            "shards": self._shards,
        }
        publish(self.folder / INDEX, (json.dumps(index, ensure_ascii=False) + "\n").encode())


class Activations:
    """What was captured of one state: rows are prompts, in the order in which they were given."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder = folder
        self.prompts = tuple(
            CapturedPrompt(**{**row, "objects": tuple(row["objects"])}) for row in index["prompts"]
        )
        self.sites: tuple[str, ...] = tuple(index["sites"])
        self.positions: tuple[str, ...] = tuple(index["positions"])
        self.num_layers: int = index["num_layers"]
        self.num_heads: int = index["num_heads"]
        self.width: int = index["width"]
        self._shards: list[dict[str, Any]] = index["shards"]

    @classmethod
    def open(cls, folder: str | Path) -> "Activations":
        """Read the index of a folder; the rest is read when it is asked for.

        Raises `ConfigError` where no capture was finished, `IntegrityError` for a damaged index.
        """
        path = Path(folder) / INDEX
        try:
            index = json.loads(path.read_text("utf-8"))
            if index["format"] != FORMAT:
                raise ConfigError(
                    f"{path} has the format {index['format']}, and this version reads {FORMAT}: "
                    "capture again"
                )
            return cls(Path(folder), index)
        except FileNotFoundError:
            raise ConfigError(
                f"no activations in {folder}: no capture was finished there; run it again with "
                "explanation.capture=true"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise IntegrityError(f"{path} is damaged ({error}); capture again") from error

    def __len__(self) -> int:
        return len(self.prompts)

    def layers(self, site: str) -> range:
        """Layers of a site. `resid` has 0 (the embeddings) to `num_layers` (after the last)."""
        self._check_site(site)
        return range(num_layers_at(site, self.num_layers))

    def rows(
        self,
        *,
        fact_ids: Iterable[str] | None = None,
        entities: Iterable[str] | None = None,
        relations: Iterable[str] | None = None,
        context_ids: Iterable[int] | None = None,
    ) -> list[CapturedPrompt]:
        """The prompts that match, in the order in which `select` returns their activations.

        Raises `ConfigError` for a name that no prompt has.
        """
        chosen = self._chosen(fact_ids, entities, relations, context_ids)
        return [self.prompts[row] for row in chosen]

    def select(
        self,
        *,
        site: str,
        layer: int,
        position: str = "last",
        fact_ids: Iterable[str] | None = None,
        entities: Iterable[str] | None = None,
        relations: Iterable[str] | None = None,
        context_ids: Iterable[int] | None = None,
    ) -> Float[np.ndarray, "row width"]:
        """Activations at one site, layer and position, of the prompts that match.

        Raises `ConfigError` for a site, layer, position or name that was not captured, and
        `IntegrityError` for a shard that is not as it was written.
        """
        self._check_layer(site, layer)
        if site == "pattern":
            raise ConfigError("attention patterns have no width: read them with patterns(layer)")
        if position not in self.positions:
            raise unknown_name("captured position", position, self.positions)
        chosen = self._chosen(fact_ids, entities, relations, context_ids)
        place = self.positions.index(position)
        found = np.empty((len(chosen), self.width), dtype=np.float32)
        for shard, _, wanted, own in self._shards_of(chosen):
            found[wanted] = shard.get_slice(site)[layer, place][own]
        return found

    def patterns(
        self,
        layer: int,
        *,
        fact_ids: Iterable[str] | None = None,
        entities: Iterable[str] | None = None,
        relations: Iterable[str] | None = None,
        context_ids: Iterable[int] | None = None,
    ) -> Float[np.ndarray, "row head key"]:
        """Attention of the last token in one layer; NaN beyond a row's own keys."""
        self._check_layer("pattern", layer)
        chosen = self._chosen(fact_ids, entities, relations, context_ids)
        longest = max((self.prompts[row].num_tokens for row in chosen), default=0)
        found = np.full((len(chosen), self.num_heads, longest), np.nan, dtype=np.float32)
        for shard, rows, wanted, own in self._shards_of(chosen):
            heads = shard.get_slice("pattern")[layer]
            ends = np.cumsum([0, *(self.prompts[row].num_tokens for row in rows)])
            for place, start, end in zip(wanted, ends[own], ends[1:][own], strict=True):
                found[place, :, : end - start] = heads[:, start:end]
        return found

    @cached_property
    def logprobs(self) -> Float[np.ndarray, "row layer object"]:
        """Log-probability of each row's objects (true, false) after every layer, last token.

        Read through the state's own final norm and unembedding, at the first token at which the
        two objects differ. Raises `ConfigError` where no objects were given.
        """
        if not self.prompts or not self.prompts[0].objects:
            raise ConfigError(f"no objects were given when {self.folder} was captured")
        layers, objects = num_layers_at(LOGPROBS, self.num_layers), len(self.prompts[0].objects)
        found = np.empty((len(self), layers, objects), dtype=np.float32)
        for shard, _, wanted, own in self._shards_of(range(len(self))):
            found[wanted] = shard.get_tensor(LOGPROBS).swapaxes(0, 1)[own]
        return found

    def verify(self) -> None:
        """Read every shard's bytes. Raises `IntegrityError` naming the first damaged one."""
        for shard in self._shards:
            self._checked(shard)

    # ---- which rows, in which shard

    def _chosen(
        self,
        fact_ids: Iterable[str] | None,
        entities: Iterable[str] | None,
        relations: Iterable[str] | None,
        context_ids: Iterable[int] | None,
    ) -> list[int]:
        chosen = list(range(len(self)))
        for column, kind, asked in (
            ("fact_id", "captured fact", fact_ids),
            ("entity", "captured entity", entities),
            ("relation", "captured relation", relations),
            ("context_id", "captured context", context_ids),
        ):
            if asked is None:
                continue
            names = {asked} if isinstance(asked, str) else set(asked)
            known = {getattr(prompt, column) for prompt in self.prompts}
            for name in sorted(names - known, key=str):
                raise unknown_name(kind, str(name), map(str, known))
            chosen = [row for row in chosen if getattr(self.prompts[row], column) in names]
        return chosen

    def _check_site(self, site: str) -> None:
        if site not in self.sites:
            raise unknown_name("captured site", site, self.sites)

    def _check_layer(self, site: str, layer: int) -> None:
        self._check_site(site)
        layers = range(num_layers_at(site, self.num_layers))
        if layer not in layers:
            raise ConfigError(
                f"there is no layer {layer} of {site}; it has 0 to {layers[-1]}"
                + (" (0 is the embeddings)" if site == "resid" else "")
            )

    def _shards_of(
        self, chosen: Sequence[int]
    ) -> Iterator[tuple[Any, list[int], list[int], list[int]]]:
        """Per shard: it, open; its rows; places in `chosen`; which of its rows go there."""
        place_of = {row: place for place, row in enumerate(chosen)}
        for shard in self._shards:
            pairs = [
                (place_of[row], own) for own, row in enumerate(shard["rows"]) if row in place_of
            ]
            if pairs:
                with safe_open(self._checked(shard), framework="numpy") as opened:
                    places, own = (list(side) for side in zip(*pairs, strict=True))
                    yield opened, shard["rows"], places, own

    def _checked(self, shard: Mapping[str, Any]) -> Path:
        """The shard's path, once its bytes are known to be the ones that were written."""
        path = self.folder / shard["file"]
        if not path.is_file() or file_sha256(path) != shard["sha256"]:
            raise IntegrityError(f"{path} is damaged or gone; capture again")
        return path


class StateActivations:
    """What a probe receives: the activations of every captured state, and the objects' vectors."""

    def __init__(
        self,
        activations: Mapping[str, Activations],
        *,
        object_vectors: Mapping[str, Float[np.ndarray, " width"]] | str | Path | None = None,
    ) -> None:
        """`object_vectors`: as they are, or a safetensors file that holds them by name."""
        self._activations = dict(activations)
        self._object_vectors = object_vectors

    @cached_property
    def object_vectors(self) -> Mapping[str, Float[np.ndarray, " width"]]:
        """Object -> the clean model's unembedding row of its first token."""
        if isinstance(self._object_vectors, Mapping):
            return self._object_vectors
        if self._object_vectors is None or not Path(self._object_vectors).is_file():
            raise ConfigError(
                f"there are no object vectors ({self._object_vectors}): write those that "
                "restor_interp.measure.capture.object_vectors gives"
            )
        return safetensors.numpy.load_file(self._object_vectors)

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self._activations)

    def __getitem__(self, state: str) -> Activations:
        if state not in self._activations:
            raise unknown_name("captured state", state, self.states)
        return self._activations[state]

    def __contains__(self, state: object) -> bool:
        return state in self._activations

    def __iter__(self) -> Iterator[str]:
        return iter(self._activations)

    def __len__(self) -> int:
        return len(self._activations)
