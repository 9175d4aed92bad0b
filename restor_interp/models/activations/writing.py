"""Rows of activations on their way to disk, shard by shard."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import safetensors.numpy

from restor_interp.disk import publish
from restor_interp.errors import DataError, unknown_name
from restor_interp.models.activations.layout import (
    ALL,
    FORMAT,
    INDEX,
    LOGPROBS,
    SHARD_BYTES,
    SITES,
    CapturedPrompt,
    Dtype,
    SiteLayout,
    is_attention,
    layers_of,
)


class ActivationWriter:
    """Streams rows of activations into a folder; the index is written when its `with` ends well.

    Rows come in any order, each once. It holds at most `shard_bytes` of them (and the bytes of one
    site's file once more while a shard is written).
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        prompts: Sequence[CapturedPrompt],
        sites: Sequence[str],
        positions: Sequence[str | int],
        num_layers: int,
        num_heads: int,
        width: int,
        layouts: Mapping[str, SiteLayout] | None = None,
        model_name: str = "",
        model_digest: str = "",
        dtype: Dtype = "float32",
        shard_bytes: int | None = None,
    ) -> None:
        """`layouts`: of sites that have no short name, and of those of which not every layer is
        written.

        Raises `ConfigError` for an unknown site or number type.
        """
        known = dict(layouts or {})
        for site in sites:
            if site not in SITES and site not in known:
                raise unknown_name("site", site, SITES)
        if dtype not in ("float32", "float16"):
            raise unknown_name("number type of activations", dtype, ("float32", "float16"))
        if len({len(prompt.objects) for prompt in prompts}) > 1:
            raise DataError("every prompt needs the same number of objects: true and false")
        self.folder = Path(folder)
        self.held_bytes = 0
        """Bytes of rows that wait for their shard to be full."""
        self._prompts = tuple(prompts)
        self._positions = tuple(positions)
        self._num_layers, self._num_heads, self._width = num_layers, num_heads, width
        self._sites = {
            site: known.get(site)
            or SiteLayout(
                layers=tuple(layers_of(site, num_layers)),
                shape=(num_heads if is_attention(site) else width,),
            )
            for site in sites
        }
        self._model = {"name": model_name, "digest": model_digest}
        self._dtype = np.dtype(dtype)
        self._shard_bytes = SHARD_BYTES if shard_bytes is None else shard_bytes
        self._waiting: list[tuple[int, dict[str, np.ndarray]]] = []
        self._written: set[int] = set()
        self._shards: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        for old in self.folder.glob("*-?????.safetensors"):
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
        """Activations of one prompt: per site [layer, position, …shape], where all tokens are
        captured `<site>.all` [layer, token, …shape], `pattern` [layer, head, key], other attention
        [layer, position, head, key], `logprobs` [layer, object].

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
        named = len([position for position in self._positions if position != ALL])
        for site, layout in self._sites.items():
            layers, own = len(layout.layers), layout.shape
            if site == "pattern":
                shapes[site] = (layers, *own, prompt.num_tokens)
            elif is_attention(site):
                shapes[site] = (layers, named, *own, prompt.num_tokens)
            else:
                if named:
                    shapes[site] = (layers, named, *own)
                if ALL in self._positions:
                    shapes[f"{site}.{ALL}"] = (layers, prompt.num_tokens, *own)
        if prompt.objects:
            layers = len(layers_of(LOGPROBS, self._num_layers))
            shapes[LOGPROBS] = (layers, len(prompt.objects))
        return shapes

    def _flush(self) -> None:
        rows = [row for row, _ in self._waiting]
        held = [arrays for _, arrays in self._waiting]
        self._waiting, self.held_bytes = [], 0
        files = {}
        for site in [*self._sites, *([LOGPROBS] if LOGPROBS in held[0] else [])]:
            tensors = {}
            for name in (site, f"{site}.{ALL}"):
                if name in held[0]:
                    # The arrays go as they are joined: a shard is not held twice.
                    tensors[name] = _joined(site, name, [arrays.pop(name) for arrays in held])
            file = f"{site}-{len(self._shards):05}.safetensors"
            data = safetensors.numpy.save(tensors)
            publish(self.folder / file, data)
            digest = hashlib.sha256(data).hexdigest()
            files[site] = {"file": file, "bytes": len(data), "sha256": digest}
        self._shards.append({"rows": rows, "files": files})

    def _close(self) -> None:
        missing = len(self._prompts) - len(self._written)
        if missing:
            raise DataError(f"{missing} of {len(self._prompts)} prompts were never captured")
        if self._waiting:
            self._flush()
        index = {
            "format": FORMAT,
            "model": self._model,
            "sites": {
                site: {"layers": layout.layers, "shape": layout.shape}
                for site, layout in self._sites.items()
            },
            "positions": self._positions,
            "num_layers": self._num_layers,
            "num_heads": self._num_heads,
            "width": self._width,
            "dtype": self._dtype.name,
            # By column: each name stands there once, however many prompts there are.
            "prompts": {
                field.name: [getattr(prompt, field.name) for prompt in self._prompts]
                for field in fields(CapturedPrompt)
            },
            "shards": self._shards,
        }
        publish(self.folder / INDEX, (json.dumps(index, ensure_ascii=False) + "\n").encode())


def _joined(site: str, name: str, rows: list[np.ndarray]) -> np.ndarray:
    """Rows of one tensor side by side: before what a token has, or after each other."""
    if is_attention(site):
        return np.concatenate(rows, axis=-1)
    if name != site:
        return np.concatenate(rows, axis=1)
    return np.stack(rows, axis=1 if site == LOGPROBS else 2)
