"""Activations on disk, read one slice at a time."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from jaxtyping import Float
from safetensors import safe_open

from restor_interp.disk import sha256_of
from restor_interp.errors import ConfigError, IntegrityError, unknown_name
from restor_interp.models.activations.choosing import Which, chosen_rows
from restor_interp.models.activations.layout import (
    ALL,
    FORMAT,
    INDEX,
    LOGPROBS,
    CapturedPrompt,
    SiteLayout,
    is_attention,
    layers_of,
)
from restor_interp.models.activations.named import NamedArray

CAPTURE_AGAIN = "run it again with explanation.capture=true: restor-interp run PRESET --out FOLDER"


class Activations:
    """What was captured of one state: rows are prompts, in the order in which they were given.

    Opening reads the index alone. A file's digest is checked when it is first read; after that a
    layer of a site costs the reading of its own bytes.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder = folder
        columns = index["prompts"]
        rows = zip(*columns.values(), strict=True)
        fields = (dict(zip(columns, row, strict=True)) for row in rows)
        self.prompts = tuple(
            CapturedPrompt(**{**row, "objects": tuple(row["objects"])}) for row in fields
        )
        self.positions: tuple[str | int, ...] = tuple(index["positions"])
        self.num_layers: int = index["num_layers"]
        self.num_heads: int = index["num_heads"]
        self.width: int = index["width"]
        """Of the residual stream."""
        self.model_name: str = index["model"]["name"]
        self.model_digest: str = index["model"]["digest"]
        """Of the clean model; empty where it is not known."""
        self._layouts = {
            site: SiteLayout(layers=tuple(own["layers"]), shape=tuple(own["shape"]))
            for site, own in index["sites"].items()
        }
        self._shards: list[dict[str, Any]] = index["shards"]
        self._checked: set[str] = set()
        """Files whose digest was found right."""

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
                f"no activations in {folder}: no capture was finished there; {CAPTURE_AGAIN}"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise IntegrityError(f"{path} is damaged ({error}); capture again") from error

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        return (
            f"Activations({str(self.folder)!r}, {len(self)} prompts, sites "
            f"{', '.join(self.sites)}, positions {', '.join(map(str, self.positions))})"
        )

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(self._layouts)

    def layers(self, site: str) -> tuple[int, ...]:
        """Captured layers of a site. `resid` has 0 (the embeddings) to `num_layers` (after the
        last). Raises `ConfigError` for a site that was not captured."""
        return self._layout(site).layers

    def shape(self, site: str) -> tuple[int, ...]:
        """Shape of one token's value at a site: [width] or [head, width]; of attention [head].
        Raises `ConfigError` for a site that was not captured."""
        return self._layout(site).shape

    def rows(self, **which: Unpack[Which]) -> list[CapturedPrompt]:
        """The prompts that match, in the order in which `select` returns their activations.

        Raises `ConfigError` for a name that no prompt has.
        """
        return [self.prompts[row] for row in chosen_rows(self.prompts, which)]

    def select(
        self, *, site: str, layer: int, position: str | int = "last", **which: Unpack[Which]
    ) -> Float[np.ndarray, "row width"]:
        """Activations at one site, layer and position, of the prompts that match; of a site with
        heads all of them side by side.

        Where all tokens were captured, any index is a position; negative ones count from a
        prompt's own end.

        Raises `ConfigError` for a site, layer, position or name that was not captured, and
        `IntegrityError` for a file that is not as it was written.
        """
        if is_attention(site):
            self._layout(site)
            raise ConfigError("attention patterns have no width: read them with patterns(layer)")
        if position == ALL:
            raise ConfigError(
                "select gives one position a row: read all of them with read(positions='all')"
            )
        chosen = chosen_rows(self.prompts, which)
        found = np.empty((len(chosen), 1, 1, *self.shape(site)), dtype=np.float32)
        self._fill(found, site, [layer], [position], chosen)
        return found.reshape(len(chosen), math.prod(self.shape(site)))

    def read(
        self,
        *,
        site: str,
        layers: Iterable[int] | int | None = None,
        positions: Iterable[str | int] | str | int | None = None,
        **which: Unpack[Which],
    ) -> NamedArray:
        """Several layers and positions of a site at once, with named axes: `row`, `layer`,
        `position`, then `width`, or `head` and `width`, or of attention `head` and `key`.

        By default every captured layer, and every position that was captured by name. Of
        `positions="all"` the coordinates are 0, 1, …: every token, NaN beyond a row's own; keys of
        attention likewise. `pattern` has no axis of positions: it is the last token's.

        Raises as `select` does.
        """
        shape = self.shape(site)
        places = self.layers(site)
        if layers is not None:
            places = (layers,) if isinstance(layers, int) else tuple(layers)
        asked = self._asked(positions)
        chosen = chosen_rows(self.prompts, which)
        longest = max((self.prompts[row].num_tokens for row in chosen), default=0)
        coordinates: dict[str, tuple[Any, ...]] = {
            "row": tuple(self.prompts[row] for row in chosen),
            "layer": places,
            "position": tuple(range(longest)) if asked == (ALL,) else asked,
        }
        inner = ("head", "width")[-len(shape) :]
        if is_attention(site):
            inner, shape = ("head", "key"), (*shape, longest)
            if site == "pattern":
                del coordinates["position"]
        coordinates |= {
            axis: tuple(range(length)) for axis, length in zip(inner, shape, strict=True)
        }
        found = np.full([len(own) for own in coordinates.values()], np.nan, dtype=np.float32)
        if is_attention(site):
            whole = found if site != "pattern" else found[:, :, None]
            self._fill_attention(whole, site, places, asked, chosen)
        elif asked == (ALL,):
            self._fill_tokens(found, site, places, chosen)
        else:
            self._fill(found, site, places, asked, chosen)
        return NamedArray(values=found, axes=tuple(coordinates), coordinates=coordinates)

    def patterns(self, layer: int, **which: Unpack[Which]) -> Float[np.ndarray, "row head key"]:
        """Attention of the last token in one layer; NaN beyond a row's own keys."""
        return self.read(site="pattern", layers=layer, **which).at(layer=layer).numpy()

    @cached_property
    def logprobs(self) -> Float[np.ndarray, "row layer object"]:
        """Log-probability of each row's objects (true, false) after every layer, last token.

        Read through the state's own final norm and unembedding, at the first token at which the
        two objects differ. Raises `ConfigError` where no objects were given.
        """
        if not self.prompts or not self.prompts[0].objects:
            raise ConfigError(f"no objects were given when {self.folder} was captured")
        layers, objects = len(layers_of(LOGPROBS, self.num_layers)), len(self.prompts[0].objects)
        found = np.empty((len(self), layers, objects), dtype=np.float32)
        for tensor, _, wanted, own in self._files_of(LOGPROBS, range(len(self))):
            found[wanted] = tensor(LOGPROBS)[:].swapaxes(0, 1)[own]
        return found

    def verify(self) -> None:
        """Read every file's bytes. Raises `IntegrityError` naming the first damaged one."""
        self._checked.clear()
        for shard in self._shards:
            for site in shard["files"]:
                self._path(shard, site)

    def require_same_model(self, other: "Activations") -> None:
        """Raise `ConfigError` where the other activations are of another model: nothing that was
        fitted on these says anything about them. States of one model share its digest."""
        digests = {self.model_digest, other.model_digest} - {""}
        if self.width != other.width or self.num_layers != other.num_layers or len(digests) > 1:
            raise ConfigError(
                f"{other.folder} holds activations of {_model(other)}, and {self.folder} of "
                f"{_model(self)}: what is fitted on one cannot be applied to the other; capture "
                "both states of the same model"
            )

    # ---- filling arrays [row, layer, position, …]

    def _fill(
        self,
        found: np.ndarray,
        site: str,
        layers: Sequence[int],
        positions: Sequence[str | int],
        chosen: Sequence[int],
    ) -> None:
        at = [self._layer(site, layer) for layer in layers]
        slots = {position: self._slot(position) for position in positions}
        for tensor, rows, wanted, own in self._files_of(site, chosen):
            ends = np.cumsum([0, *(self.prompts[row].num_tokens for row in rows)])
            for j, position in enumerate(positions):
                slot = slots[position]
                index = own
                if slot is None:
                    index = [ends[i] + self._token(rows[i], position) for i in own]
                for i, layer in enumerate(at):
                    if slot is None:
                        found[wanted, i, j] = tensor(f"{site}.{ALL}")[layer][index]
                    else:
                        found[wanted, i, j] = tensor(site)[layer, slot][index]

    def _fill_tokens(
        self, found: np.ndarray, site: str, layers: Sequence[int], chosen: Sequence[int]
    ) -> None:
        at = [self._layer(site, layer) for layer in layers]
        for tensor, rows, wanted, own in self._files_of(site, chosen):
            ends = np.cumsum([0, *(self.prompts[row].num_tokens for row in rows)])
            for i, layer in enumerate(at):
                tokens = tensor(f"{site}.{ALL}")[layer]
                for place, start, end in zip(wanted, ends[own], ends[1:][own], strict=True):
                    found[place, i, : end - start] = tokens[start:end]

    def _fill_attention(
        self,
        found: np.ndarray,
        site: str,
        layers: Sequence[int],
        positions: Sequence[str | int],
        chosen: Sequence[int],
    ) -> None:
        at = [self._layer(site, layer) for layer in layers]
        slots = [None] if site == "pattern" else [self._query(site, one) for one in positions]
        for tensor, rows, wanted, own in self._files_of(site, chosen):
            ends = np.cumsum([0, *(self.prompts[row].num_tokens for row in rows)])
            for i, layer in enumerate(at):
                for j, slot in enumerate(slots):
                    heads = tensor(site)[layer] if slot is None else tensor(site)[layer, slot]
                    for place, start, end in zip(wanted, ends[own], ends[1:][own], strict=True):
                        found[place, i, j, :, : end - start] = heads[:, start:end]

    # ---- which rows, layers and positions, in which file

    def _layout(self, site: str) -> SiteLayout:
        if site not in self._layouts:
            raise unknown_name("captured site", site, self.sites)
        return self._layouts[site]

    def _layer(self, site: str, layer: int) -> int:
        """Where a layer lies in a site's tensors."""
        layers = self._layout(site).layers
        if layer in layers:
            return layers.index(layer)
        whole = layers == tuple(range(len(layers)))
        has = f"0 to {layers[-1]}" if whole else ", ".join(map(str, layers))
        raise ConfigError(
            f"there is no layer {layer} of {site}; it has {has}"
            + (" (0 is the embeddings)" if site == "resid" else "")
        )

    def _asked(self, positions: Iterable[str | int] | str | int | None) -> tuple[str | int, ...]:
        if positions is None:
            return self._named or self.positions
        asked = (positions,) if isinstance(positions, str | int) else tuple(positions)
        if ALL in asked and (asked != (ALL,) or ALL not in self.positions):
            raise ConfigError(
                f"positions {asked} of {self.folder}: 'all' is read alone, and where all "
                f"tokens were captured; captured are {self.positions}"
            )
        return asked

    @property
    def _named(self) -> tuple[str | int, ...]:
        return tuple(position for position in self.positions if position != ALL)

    def _slot(self, position: str | int) -> int | None:
        """Where a position lies in a site's tensor; none where it is to be found among all."""
        if position in self._named:
            return self._named.index(position)
        if ALL in self.positions and (isinstance(position, int) or position == "last"):
            return None
        raise unknown_name("captured position", str(position), map(str, self.positions))

    def _query(self, site: str, position: str | int) -> int:
        if position not in self._named:
            raise unknown_name(f"captured position of {site}", str(position), map(str, self._named))
        return self._named.index(position)

    def _token(self, row: int, position: str | int) -> int:
        length = self.prompts[row].num_tokens
        index = -1 if position == "last" else int(position)
        if not -length <= index < length:
            raise ConfigError(
                f"position {index} is outside prompt {row}, which has {length} tokens"
            )
        return index % length

    def _files_of(
        self, site: str, chosen: Sequence[int]
    ) -> Iterator[tuple[Callable[[str], Any], list[int], list[int], list[int]]]:
        """Per file of a site: how to open a tensor in it; its rows; places in `chosen`; which of
        its rows go there."""
        place_of = {row: place for place, row in enumerate(chosen)}
        for shard in self._shards:
            pairs = [
                (place_of[row], own) for own, row in enumerate(shard["rows"]) if row in place_of
            ]
            if pairs:
                with safe_open(self._path(shard, site), framework="numpy") as opened:
                    places, own = (list(side) for side in zip(*pairs, strict=True))
                    yield opened.get_slice, shard["rows"], places, own

    def _path(self, shard: Mapping[str, Any], site: str) -> Path:
        """A file's path, once its bytes are known to be the ones that were written."""
        file = shard["files"][site]
        path = self.folder / file["file"]
        if file["file"] not in self._checked:
            if not path.is_file() or sha256_of(path) != file["sha256"]:
                raise IntegrityError(f"{path} is damaged or gone; capture again")
            self._checked.add(file["file"])
        return path


def _model(activations: Activations) -> str:
    name = activations.model_name or "an unnamed model"
    digest = f", digest {activations.model_digest[:12]}" if activations.model_digest else ""
    return f"{name} ({activations.num_layers} layers, width {activations.width}{digest})"
