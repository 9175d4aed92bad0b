"""How fast and how large a model is on this machine: measured once, kept in the cache folder."""

import contextlib
import json
import os
import struct
import time
from pathlib import Path

import torch

from restor_interp.disk import publish
from restor_interp.errors import RestorError, StorageError
from restor_interp.models.cache import cache_home
from restor_interp.models.hooked import HookedModel
from restor_interp.models.loading import load_model, model_digest, model_status
from restor_interp.presets import RunConfig

FILE = "speed.json"
_BATCH, _LENGTH, _TIMES = 4, 64, 3


def model_speed(config: RunConfig, *, measure: bool = True) -> float | None:
    """Tokens per second of a forward pass (4 rows of 64 tokens) of a run's model.

    None where the model is not on this machine, since nothing is fetched for an estimate, and
    where it is not known and `measure` is False.
    """
    if model_folder(config.model) is None:
        return None
    key, kept = speed_key(config), _kept()
    if key in kept:
        return kept[key]
    if not measure:
        return None
    try:
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        model = load_model(config.model, dtype=config.dtype, device=config.device)
    except RestorError:
        return None
    speed = measured_speed(model)
    with contextlib.suppress(OSError, StorageError):
        cache_home().mkdir(parents=True, exist_ok=True)
        publish(cache_home() / FILE, json.dumps({**kept, key: speed}, indent=1).encode())
    return speed


def speed_key(config: RunConfig) -> str:
    """What a speed depends on."""
    threads = config.threads or torch.get_num_threads()
    parts = (model_digest(config.model)[:16], config.dtype, config.device, str(threads))
    return " ".join((*parts, torch.__version__, os.uname().machine if hasattr(os, "uname") else ""))


def measured_speed(model: HookedModel) -> float:
    """Tokens per second, the best of three passes after one that does not count."""
    ids = torch.arange(_BATCH * _LENGTH, device=model.device).reshape(_BATCH, _LENGTH)
    ids = ids % model.hf_model.get_input_embeddings().weight.shape[0]  # pyright: ignore
    best = float("inf")
    with torch.no_grad():
        for _ in range(_TIMES + 1):
            began = time.perf_counter()
            model.hf_model(ids, use_cache=False)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            best = min(best, time.perf_counter() - began)
    return _BATCH * _LENGTH / best


def model_folder(source: str) -> Path | None:
    """The folder of a model that is on this machine; None for any other."""
    for status in model_status():
        if status.name == source:
            return status.folder if status.present else None
    path = Path(source).expanduser()
    return path if path.is_dir() else None


def parameters(folder: Path) -> int | None:
    """How many numbers a model's safetensors hold, read from their headers; None: not known."""
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, 100_000_000)))
            for name, entry in header.items():
                if name != "__metadata__":
                    count = 1
                    for side in entry["shape"]:
                        count *= side
                    total += count
        except (OSError, ValueError, KeyError, struct.error):
            return None
    return total or None


def _kept() -> dict[str, float]:
    try:
        found = json.loads((cache_home() / FILE).read_text())
    except (OSError, ValueError):
        return {}
    return {str(key): float(value) for key, value in found.items()}
