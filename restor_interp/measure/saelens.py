"""Sparse autoencoders in SAELens' files, read without the package.

A folder holds `cfg.json` and `sae_weights.safetensors`. Names of settings changed with SAELens 6
(`hook_point`, `activation_fn_str` and metadata at the top level before it); both are read. With
x' = x − b_dec where `apply_b_dec_to_input` is set, and x without it, features are

    standard   ReLU(x' W_enc + b_enc)
    topk       ReLU of the k largest of x' W_enc + b_enc; with `rescale_acts_by_decoder_norm`, of
               these times the length of each feature's decoder row (divided off again to decode)
    jumprelu   ReLU(p) where p = x' W_enc + b_enc exceeds `threshold`, else 0
    gated      ReLU(x' (W_enc · exp(r_mag)) + b_mag) where x' W_enc + b_gate > 0, else 0

and activations are features W_dec + b_dec. What is not reproduced is refused: activations that are
normalised first (decoding then needs the input, which a dictionary does not keep), transcoders,
and sites whose activations are reshaped other than by joining heads.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, IntegrityError, ModelError
from restor_interp.measure.dictionaries import Dictionary

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"

_COMMON = {"W_enc": "width feature", "W_dec": "feature width", "b_dec": "width"}
_PARTS: Mapping[str, Mapping[str, str]] = {
    "standard": {**_COMMON, "b_enc": "feature"},
    "topk": {**_COMMON, "b_enc": "feature"},
    "jumprelu": {**_COMMON, "b_enc": "feature", "threshold": "feature"},
    "gated": {**_COMMON, "b_gate": "feature", "b_mag": "feature", "r_mag": "feature"},
}
"""Architecture -> its tensors and their shapes."""
ARCHITECTURES = tuple(_PARTS)


@dataclass(frozen=True, kw_only=True)
class SparseAutoencoder:
    """One autoencoder of SAELens; it is a `Dictionary`."""

    site: str
    width: int
    n_features: int
    architecture: str
    model_name: str
    """What it was trained on, as its files say; may be empty."""
    subtract_bias: bool
    """Whether b_dec is taken off the input."""
    k: int
    """Features that `topk` keeps."""
    by_decoder_norm: bool
    weights: Mapping[str, Tensor]
    """In fp32."""

    def encode(self, x: Float[Tensor, "*row width"]) -> Float[Tensor, "*row feature"]:
        """Features of activations, in fp32."""
        w = self._on(x.device)
        x = x.float() - w["b_dec"] if self.subtract_bias else x.float()
        return _ENCODERS[self.architecture](self, w, x)

    def decode(self, features: Float[Tensor, "*row feature"]) -> Float[Tensor, "*row width"]:
        """Activations that features stand for."""
        w = self._on(features.device)
        if self.by_decoder_norm:
            features = features / w["W_dec"].norm(dim=-1)
        return features @ w["W_dec"] + w["b_dec"]

    def _on(self, device: torch.device) -> Mapping[str, Tensor]:
        return {name: weight.to(device) for name, weight in self.weights.items()}


Encoder = Callable[[SparseAutoencoder, Mapping[str, Tensor], Tensor], Tensor]


def _standard(own: SparseAutoencoder, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    del own
    return (x @ w["W_enc"] + w["b_enc"]).relu()


def _topk(own: SparseAutoencoder, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    before = x @ w["W_enc"] + w["b_enc"]
    if own.by_decoder_norm:
        before = before * w["W_dec"].norm(dim=-1)
    best = before.topk(own.k, dim=-1)
    return torch.zeros_like(before).scatter(-1, best.indices, best.values.relu())


def _jumprelu(own: SparseAutoencoder, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    del own
    before = x @ w["W_enc"] + w["b_enc"]
    return before.relu() * (before > w["threshold"])


def _gated(own: SparseAutoencoder, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
    del own
    open_gate = x @ w["W_enc"] + w["b_gate"] > 0
    return (x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu() * open_gate


_ENCODERS: Mapping[str, Encoder] = {
    "standard": _standard,
    "topk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
}


def read_saelens(folder: str | Path) -> Dictionary:
    """The sparse autoencoder in a folder of SAELens' files, on the CPU and in fp32.

    Raises:
        ModelError: no such files.
        ConfigError: an architecture, normalisation or site that is not reproduced here.
        IntegrityError: files that contradict each other or cannot be read.
    """
    path = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise ModelError(
                f"there is no {name} in {path}: give a folder that SAELens' save_model wrote, with "
                f"{CONFIG} and {WEIGHTS}"
            )
    config = _config(path / CONFIG)
    try:
        found = safetensors.torch.load_file(path / WEIGHTS)
    except Exception as error:  # safetensors raises its own kind, which is no OSError
        raise IntegrityError(f"{path / WEIGHTS} cannot be read ({error})") from error
    found = {name: tensor.float() for name, tensor in found.items()}
    scaling = found.pop("scaling_factor", None)
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise ConfigError(
            f"{path} scales its features after training (scaling_factor), which is not read here; "
            "fold the factors into W_dec first"
        )
    sizes = {"width": config.width, "feature": config.n_features}
    parts = _PARTS[config.architecture]
    for name, axes in parts.items():
        shape = tuple(sizes[axis] for axis in axes.split())
        own = tuple(found[name].shape) if name in found else None
        if own != shape:
            raise IntegrityError(
                f"{path / WEIGHTS} has {name} of shape {own}, and {CONFIG} says "
                f"{config.architecture} with {shape}"
            )
    return SparseAutoencoder(
        site=config.site,
        width=config.width,
        n_features=config.n_features,
        architecture=config.architecture,
        model_name=config.model_name,
        subtract_bias=config.subtract_bias,
        k=config.k,
        by_decoder_norm=config.by_decoder_norm,
        weights={name: found[name] for name in parts},
    )


@dataclass(frozen=True, kw_only=True)
class _Config:
    site: str
    width: int
    n_features: int
    architecture: str
    model_name: str
    subtract_bias: bool
    k: int
    by_decoder_norm: bool


def _config(path: Path) -> _Config:
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        metadata = {**raw, **(raw.get("metadata") or {})}
        width, n_features = int(raw["d_in"]), int(raw["d_sae"])
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path} is not SAELens' ({type(error).__name__}: {error})") from error
    site = metadata.get("hook_name") or metadata.get("hook_point")
    activation = raw.get("activation_fn") or raw.get("activation_fn_str") or "relu"
    architecture = raw.get("architecture") or "standard"
    k = raw.get("k") or (raw.get("activation_fn_kwargs") or {}).get("k") or 0
    if activation == "topk":  # before SAELens 6 it was an activation of `standard`
        architecture = "topk"
    if architecture not in _PARTS:
        raise ConfigError(
            f"{path} describes a {architecture!r} autoencoder; {', '.join(ARCHITECTURES)} are read"
        )
    if activation not in ("relu", "topk"):
        raise ConfigError(f"{path} asks for the activation {activation!r}; relu and topk are read")
    normalised = raw.get("normalize_activations")
    if normalised not in (None, False, "none"):
        raise ConfigError(
            f"{path} normalises activations ({normalised!r}), which is not reproduced here; fold "
            "the factor into the weights (SAELens: fold_activation_norm_scaling_factor), or take "
            "an autoencoder without it"
        )
    head = metadata.get("hook_head_index", metadata.get("hook_point_head_index"))
    if head is not None:
        raise ConfigError(
            f"{path} reads one head alone ({head}); dictionaries stand at whole sites"
        )
    reshaped = raw.get("reshape_activations")
    if reshaped not in (None, "none", "hook_z"):
        raise ConfigError(f"{path} reshapes activations ({reshaped!r}); hook_z and none are read")
    if not isinstance(site, str):
        raise ConfigError(f"{path} does not say where it stands: it needs hook_name")
    if architecture == "topk" and not 1 <= int(k) <= n_features:
        raise IntegrityError(f"{path} keeps k={k} of {n_features} features")
    return _Config(
        site=site,
        width=width,
        n_features=n_features,
        architecture=architecture,
        model_name=str(metadata.get("model_name") or ""),
        subtract_bias=bool(raw.get("apply_b_dec_to_input", True)),
        k=int(k),
        by_decoder_norm=architecture == "topk" and bool(raw.get("rescale_acts_by_decoder_norm")),
    )
