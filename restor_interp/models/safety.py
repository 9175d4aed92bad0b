"""What is refused before a model file is opened.

Weights come from safetensors and GGUF alone: neither can hold code. Everything else that a model
folder may contain is either never opened (pickles that training scripts leave behind) or checked
here first, by content and not by name only.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restor_interp.errors import IntegrityError, ModelError, RefusedError

_UNOPENED = """
.bin .pt .pth .ckpt .pkl .pickle .dill .joblib .npy .npz .nemo .mar .msgpack .h5 .keras .pb
.onnx .ot .tflite .mlmodel .zip .tar .gz .7z .py .pyc .so .dll .dylib .sh
"""
NEVER_OPENED = frozenset(_UNOPENED.split())
"""File types that can hold code, or that no loader of ours reads."""

CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "_attn_implementation_internal"})
"""Settings by which a model's JSON names code to be run (the last: CVE-2026-4372)."""

ATTENTION_KEYS = frozenset({"attn_implementation", "_attn_implementation"})
"""Settings that may name a kernel on a hub; a plain word such as `sdpa` is harmless."""

MAX_HEADER_BYTES = 100_000_000
"""The safetensors format's own bound."""
MAX_JSON_BYTES = 200_000_000

_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (what torch.save writes)",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-zip archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUM": "a numpy file",
    b"\x7fELF": "a program",
}


def check_folder(folder: Path, *, root: Path | None = None) -> list[Path]:
    """Refuse an unsafe model folder; otherwise its safetensors files, sorted.

    Nothing is loaded. `root` is the folder that links may point into (a hub cache keeps its files
    beside the snapshot); default: `folder` itself. Raises `RefusedError` for links that lead out,
    for archives and pickles under a harmless name, for settings that name code, and for a folder
    whose only weights are of a type that can hold code; `ModelError` where there are no weights
    at all; `IntegrityError` for a truncated safetensors file.
    """
    inside = (root or folder).resolve()
    files = sorted(path for path in folder.iterdir() if not path.is_dir() or path.is_symlink())
    for path in files:
        if not path.resolve().is_relative_to(inside):
            raise RefusedError(
                f"{path} is a link to {path.resolve()}, outside of {inside}. Copy the file into "
                "the folder if you trust it"
            )
        if path.suffix.lower() not in NEVER_OPENED and path.is_file():
            check_magic(path)
    for path in files:
        if path.suffix == ".json":
            _check_json(path, folder)
    weights = [path for path in files if path.suffix == ".safetensors"]
    for path in weights:
        check_safetensors(path)
    if not weights:
        _raise_no_weights(folder, files)
    return weights


def _raise_no_weights(folder: Path, files: list[Path]) -> None:
    unsafe = [path.name for path in files if path.suffix.lower() in NEVER_OPENED]
    if unsafe:
        raise RefusedError(
            f"{folder} has no safetensors weights, only {', '.join(unsafe[:5])}: such files can "
            "run code when they are opened. Ask for a safetensors version of the model, or "
            "convert it (`model.save_pretrained(folder)` writes safetensors) where you trust it"
        )
    raise ModelError(
        f"{folder} has no weights: a model folder holds config.json, tokenizer.json and "
        f"*.safetensors; found {', '.join(path.name for path in files[:10]) or 'nothing'}"
    )


def check_magic(path: Path) -> None:
    """Raise `RefusedError` where a file begins like an archive, a program or a pickle."""
    with path.open("rb") as stream:
        head = stream.read(8)
    for magic, what in _ARCHIVES.items():
        if head.startswith(magic):
            raise RefusedError(
                f"{path} is {what}, whatever its name says. Weights are read from safetensors "
                "and GGUF files only"
            )
    # Byte 0x80 and a protocol number open every pickle since protocol 2. A safetensors header
    # of such a length begins the same way, but then the JSON follows.
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and not _has_header(path):
        raise RefusedError(
            f"{path} is a pickle, whatever its name says: opening it could run code. Weights "
            "are read from safetensors and GGUF files only"
        )


def _header_bytes(path: Path) -> int:
    with path.open("rb") as stream:
        return int.from_bytes(stream.read(8), "little")


def _has_header(path: Path) -> bool:
    """Whether a file begins as safetensors do: a plausible length, then a JSON object."""
    with path.open("rb") as stream:
        head = stream.read(9)
    return (
        len(head) == 9
        and head[8:] == b"{"
        and int.from_bytes(head[:8], "little") <= MAX_HEADER_BYTES
    )


def check_safetensors(path: Path) -> None:
    """Raise where a file is not safetensors (`RefusedError`) or is truncated (`IntegrityError`)."""
    check_magic(path)
    if path.stat().st_size < 1024 and path.read_bytes().startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a git-lfs pointer, not the weights: run `git lfs pull`")
    if not _has_header(path):
        raise RefusedError(
            f"{path} is not a safetensors file: it has no header. It is not opened; fetch the "
            "model again, or look where the file came from"
        )
    size, header_bytes = path.stat().st_size, _header_bytes(path)
    try:
        if size < 8 + header_bytes:
            raise ValueError("the file ends within its header")
        with path.open("rb") as stream:
            stream.seek(8)
            header = json.loads(stream.read(header_bytes))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"))
        if size != 8 + header_bytes + end:
            raise ValueError(f"{8 + header_bytes + end} bytes expected, {size} found")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            f"{path} is damaged ({error}). Fetch or copy the model again"
        ) from error


def check_gguf(path: Path) -> None:
    """Raise `RefusedError` where a file named .gguf is not one."""
    check_magic(path)
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise RefusedError(
                f"{path} is not a GGUF file: it does not begin with the letters GGUF. It is not "
                "opened; fetch it again, or look where it came from"
            )


def _check_json(path: Path, folder: Path) -> None:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise RefusedError(f"{path} is larger than {MAX_JSON_BYTES} bytes: not a model's JSON")
    try:
        value = json.loads(path.read_bytes())
        found = sorted(_code_settings(value))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not readable JSON ({error}). Fetch the model again") from error
    if found:
        raise RefusedError(
            f"{path} names code to be run ({', '.join(found)}). Models that bring their own code "
            "are never loaded; use a model of an architecture that transformers has, or build it "
            "yourself and pass the object to load_model"
        )
    if path.name.endswith(".index.json"):
        _check_index(path, value, folder)


def _code_settings(value: Any, key: str = "") -> Iterator[str]:
    """Names of settings, at any depth, that would make a loader run or fetch code."""
    if isinstance(value, dict):
        for name, inner in value.items():
            # A token may be called anything: vocabularies map text to numbers.
            if name in CODE_KEYS and inner and not isinstance(inner, int):
                yield name
            elif name != "vocab":
                yield from _code_settings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _code_settings(inner, key)
    elif key in ATTENTION_KEYS and isinstance(value, str) and "/" in value:
        yield f"{key}: {value}"


def _check_index(path: Path, index: Any, folder: Path) -> None:
    if not path.name.endswith(".safetensors.index.json"):
        return
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise ModelError(f"{path} has no weight_map. Fetch the model again")
    for name in sorted(set(map(str, shards.values()))):
        if "/" in name or "\\" in name or not name.endswith(".safetensors"):
            raise RefusedError(
                f"{path} points at {name!r}: shards are *.safetensors files in the same folder"
            )
        if not (folder / name).is_file():
            raise ModelError(f"{path} names the shard {name}, which is not in {folder}")
