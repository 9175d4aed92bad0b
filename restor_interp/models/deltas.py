"""Changes of weights as values, and states as weighted sums of them.

    state = clean weights + Σ coefficient · delta

A delta changes some matrices, each by a low-rank product or by a whole matrix. `save` writes
low-rank ones in PEFT's own format, so that other tools can load them; `load_delta` reads these and
adapters made elsewhere. Whole matrices are a format of ours: `delta.json` beside
`delta.safetensors`. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from restor_interp.errors import ConfigError, ModelError, StorageError
from restor_interp.models.safety import check_folder

if TYPE_CHECKING:
    from restor_interp.models.hooked import HookedModel

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
OUR_CONFIG, OUR_WEIGHTS = "delta.json", "delta.safetensors"
_OUR_FORMAT = "restor-interp delta 1"
_PEFT_KEY = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight")


@dataclass(frozen=True)
class State:
    """A point in weight space: how much of each delta is added to the clean weights."""

    coefficients: Mapping[str, float]
    """Delta -> coefficient. `{}` is the clean state."""

    def __post_init__(self) -> None:
        coefficients = {str(name): float(value) for name, value in self.coefficients.items()}
        for name, value in coefficients.items():
            if not math.isfinite(value):
                raise ConfigError(f"the coefficient of {name!r} is {value}; it must be finite")
        object.__setattr__(self, "coefficients", coefficients)

    def __hash__(self) -> int:
        return hash(frozenset(self.coefficients.items()))


@dataclass(frozen=True, eq=False)
class LowRank:
    """The change scale · b @ a of a matrix that maps `in` to `out`."""

    a: Float[Tensor, "rank in"]
    b: Float[Tensor, "out rank"]
    scale: float

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.b.ndim != 2 or self.a.shape[0] != self.b.shape[1]:
            raise ConfigError(
                f"a low-rank change needs a [rank, in] and b [out, rank]; it got "
                f"{list(self.a.shape)} and {list(self.b.shape)}"
            )

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def matrix(self) -> Float[Tensor, "out in"]:
        """The change as a whole matrix, in fp32."""
        return self.scale * (self.b.float() @ self.a.float())


Update = LowRank | Tensor


@dataclass(frozen=True, eq=False)
class Delta:
    """A named change of weights."""

    name: str
    updates: Mapping[str, Update]
    """Module -> what is added to its weight. Modules are called as in `hf_model.named_modules()`.
    A whole matrix has the weight's own shape. A parameter that is not called `weight`, such as a
    bias, stands under its own full name."""
    base_model: str = field(default="", kw_only=True)
    """Name of the model that it changes; for the reader of a saved file."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a delta needs a name")

    def restricted(self, keep: Callable[[str], bool]) -> "Delta":
        """The same change in those modules alone whose names `keep` accepts."""
        kept = {path: update for path, update in self.updates.items() if keep(path)}
        return replace(self, updates=kept)

    def named(self, name: str) -> "Delta":
        """The same change under another name."""
        return replace(self, name=name)

    def digest(self) -> str:
        """Of the numbers and where they belong; the name does not count."""
        found = hashlib.sha256()
        for path, update in sorted(self.updates.items()):
            low_rank = isinstance(update, LowRank)
            tensors = (update.a, update.b) if low_rank else (update,)
            found.update(f"{path} {update.scale if low_rank else 1.0!r}".encode())
            for tensor in tensors:
                found.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def to(self, device: torch.device | str) -> "Delta":
        """The same change with its tensors on a device."""

        def moved(update: Update) -> Update:
            if isinstance(update, LowRank):
                return replace(update, a=update.a.to(device), b=update.b.to(device))
            return update.to(device)

        return replace(self, updates={path: moved(u) for path, u in self.updates.items()})

    def save(self, folder: str | Path) -> Path:
        """Write it: in PEFT's format if all of it is low-rank, else in ours.

        Raises `StorageError` where the folder cannot be written.
        """
        folder = Path(folder)
        low_rank = {p: u for p, u in self.updates.items() if isinstance(u, LowRank)}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if low_rank and len(low_rank) == len(self.updates):
                self._save_peft(folder, low_rank)
            else:
                self._save_ours(folder)
        except (OSError, SafetensorError) as error:
            raise StorageError(
                f"delta {self.name!r} cannot be written to {folder}: {error}"
            ) from error
        return folder

    def _save_peft(self, folder: Path, updates: Mapping[str, LowRank]) -> None:
        from peft import LoraConfig, TaskType

        first = next(iter(updates.values()))
        ranks = {path: update.rank for path, update in updates.items()}
        alphas = {path: _alpha(update) for path, update in updates.items()}
        rank, alpha = first.rank, _alpha(first)
        config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            base_model_name_or_path=self.base_model,
            r=rank,
            lora_alpha=alpha,  # pyright: ignore[reportArgumentType]
            target_modules=sorted(updates),
            rank_pattern={_exactly(p): r for p, r in ranks.items() if r != rank},
            alpha_pattern={_exactly(p): a for p, a in alphas.items() if a != alpha},
            lora_dropout=0.0,
            fan_in_fan_out=_is_conv1d(next(iter(updates))),
            inference_mode=True,
        ).to_dict()
        config["target_modules"] = sorted(updates)
        _write_json(folder / PEFT_CONFIG, config)
        tensors = {}
        for path, update in updates.items():
            tensors[f"base_model.model.{path}.lora_A.weight"] = update.a
            tensors[f"base_model.model.{path}.lora_B.weight"] = update.b
        self._write_tensors(folder / PEFT_WEIGHTS, tensors)

    def _save_ours(self, folder: Path) -> None:
        tensors: dict[str, Tensor] = {}
        scales: dict[str, float] = {}
        for path, update in self.updates.items():
            if isinstance(update, LowRank):
                tensors[f"{path}|a"], tensors[f"{path}|b"] = update.a, update.b
                scales[path] = update.scale
            else:
                tensors[path] = update
        about = {"format": _OUR_FORMAT, "name": self.name, "base_model": self.base_model}
        _write_json(folder / OUR_CONFIG, about | {"scales": scales})
        self._write_tensors(folder / OUR_WEIGHTS, tensors)

    def _write_tensors(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        # clone: safetensors refuses tensors that share memory, such as slices of one matrix.
        own = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        save_file(own, path, metadata={"format": "pt", "name": self.name})


def load_delta(folder: str | Path, name: str | None = None) -> Delta:
    """Read a delta that was saved here, or a LoRA adapter in PEFT's format.

    `name`: default: the one it was saved under, else the folder's.

    Raises `ModelError` for a folder that holds none, or an adapter that is more than a sum of
    low-rank products (DoRA, trained biases, …); `RefusedError` for pickles.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}: give one with {PEFT_CONFIG}")
    if (folder / OUR_CONFIG).is_file():
        return _load_ours(folder, name)
    if (folder / PEFT_CONFIG).is_file():
        return _load_peft(folder, name)
    raise ModelError(
        f"{folder} holds neither {PEFT_CONFIG} (a LoRA adapter) nor {OUR_CONFIG} (a delta of "
        "restor-interp). A whole fine-tuned model becomes a delta with dense_delta(name, model, "
        "folder)"
    )


def dense_delta(
    name: str, model: "HookedModel", checkpoint: "str | Path | PreTrainedModel"
) -> Delta:
    """What turns the model's clean weights into those of a checkpoint of the same shape.

    Args:
        checkpoint: a folder with safetensors, or a transformers model.

    Raises:
        ModelError: its weights have other names or shapes.
    """
    if isinstance(checkpoint, PreTrainedModel):
        other, called = checkpoint, type(checkpoint).__name__
    else:
        from restor_interp.models.loading import load_model

        other, called = load_model(checkpoint, tokenizer=model.tokenizer).hf_model, str(checkpoint)
    theirs = dict(other.named_parameters(remove_duplicate=False))
    updates: dict[str, Update] = {}
    ours = model.clean_parameters()
    problems = [f"{path} is missing" for path in ours if path not in theirs]
    problems += [f"{path} is not in {model.name}" for path in theirs if path not in ours]
    problems += [
        f"{path} is {list(theirs[path].shape)} and not {list(weight.shape)}"
        for path, weight in ours.items()
        if path in theirs and theirs[path].shape != weight.shape
    ]
    if problems:
        raise ModelError(f"{called} is no checkpoint of {model.name}: {'; '.join(problems[:8])}")
    tied = model.tied_parameters()
    for path, clean in ours.items():
        weight = theirs[path].detach()
        if path in tied:
            if not torch.equal(weight, theirs[tied[path]].detach()):
                raise ModelError(
                    f"{called} has {path} apart from {tied[path]}, and {model.name} has one matrix "
                    "for both: no delta of it can give that checkpoint"
                )
            continue
        if not torch.equal(weight.to(clean), clean):
            updates[path.removesuffix(".weight")] = weight.to(clean.device).float() - clean.float()
    return Delta(name, updates, base_model=model.name)


def _load_ours(folder: Path, name: str | None) -> Delta:
    about = _read_json(folder / OUR_CONFIG)
    if about.get("format") != _OUR_FORMAT:
        raise ModelError(
            f"{folder / OUR_CONFIG} is of format {about.get('format')!r}; this version reads "
            f"{_OUR_FORMAT!r}"
        )
    tensors, _ = _read_tensors(folder, OUR_WEIGHTS)
    scales: Mapping[str, float] = about.get("scales", {})
    updates: dict[str, Update] = {p: t for p, t in tensors.items() if "|" not in p}
    for path, scale in scales.items():
        updates[path] = LowRank(tensors[f"{path}|a"], tensors[f"{path}|b"], scale)
    return Delta(name or about["name"], updates, base_model=about.get("base_model", ""))


def _load_peft(folder: Path, name: str | None) -> Delta:
    config = _read_json(folder / PEFT_CONFIG)
    wrong = [
        f"{key}={config.get(key)!r}"
        for key, fine in _FINE.items()
        if config.get(key, fine[0]) not in fine
    ]
    if wrong:
        raise ModelError(
            f"the adapter in {folder} is more than low-rank products ({', '.join(wrong)}); merge "
            "it into its model and take dense_delta of that"
        )
    tensors, metadata = _read_tensors(folder, PEFT_WEIGHTS)
    halves: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        found = _PEFT_KEY.fullmatch(key)
        if found is None:
            raise ModelError(
                f"{folder / PEFT_WEIGHTS} holds {key!r}, which is no part of a low-rank product of "
                "a linear layer; merge the adapter into its model and take dense_delta of that"
            )
        halves.setdefault(found[1], {})[found[2]] = tensor
    updates: dict[str, Update] = {}
    for path, half in halves.items():
        if len(half) < 2:
            raise ModelError(f"{folder / PEFT_WEIGHTS} lacks one factor of {path}")
        rank = half["A"].shape[0]
        alpha = _by_pattern(config.get("alpha_pattern") or {}, path, config["lora_alpha"])
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        updates[path] = LowRank(half["A"], half["B"], scale)
    base = config.get("base_model_name_or_path") or ""
    return Delta(name or metadata.get("name") or folder.resolve().name, updates, base_model=base)


_FINE: Mapping[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
}
"""What an adapter's configuration may say if it is nothing but low-rank products."""


def _by_pattern(patterns: Mapping[str, float], path: str, default: float) -> float:
    """PEFT's rule: the first pattern that matches the whole path or its end after a dot."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return default


def _exactly(path: str) -> str:
    return "^" + re.escape(path)


def _alpha(update: LowRank) -> float:
    """PEFT writes alpha = scale · rank, mostly a whole number."""
    alpha = update.scale * update.rank
    return round(alpha) if round(alpha) / update.rank == update.scale else alpha


def _is_conv1d(path: str) -> bool:
    """GPT-2's matrices lie transposed; PEFT wants to be told."""
    return path.rpartition(".")[2] in {"c_attn", "c_proj", "c_fc", "q_attn"}


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds {type(found).__name__} and not a mapping")
    return found


def _read_tensors(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not (folder / name).is_file():
        check_folder(folder)  # says what is wrong where there are pickles instead
        raise ModelError(f"{folder} lacks {name}")
    try:
        with safe_open(folder / name, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{folder / name} cannot be read as safetensors: {error}") from error
