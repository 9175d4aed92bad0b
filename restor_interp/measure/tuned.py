"""The tuned lens: the logit lens, after each layer was carried to the end by a map of its own.

What stands after a layer is written in that layer's own terms; read through the final norm and the
unembedding as it is, it can look empty where it is only written otherwise. The tuned lens
(Belrose et al. 2023, "Eliciting latent predictions from transformers with the tuned lens") first
applies an affine translator, fitted so that the reading comes close to the model's own answer. It
is fitted on neutral text in one state, by default the clean model, and reads all states.

Belrose et al. train translators on the KL divergence to the final answer. Here they are in closed
form: ridge regression of h_L − h_l, the rest of the model's work, on h_l. A stronger ridge
leads back to h_l itself, so the logit lens is what is shrunk to. A token counts by the inverse
mean square of its h_L: the final norm divides by the root of it, so that errors are compared as the
unembedding sees them. Texts that are not fitted on choose the strength, by that error; and by KL,
whether a layer has a translator at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.disk import publish, sha256_of, storage_errors
from restor_interp.errors import ConfigError, IntegrityError, ModelError
from restor_interp.measure.lens import Decoder, Lens, read_lens
from restor_interp.measure.translators import fit_translators
from restor_interp.models.deltas import State
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.prompts import Prompt

INDEX, WEIGHTS = "tuned_lens.json", "tuned_lens.safetensors"
FORMAT = 1

MAX_TOKENS = 2560
"""Fitted on by default; 124 neutral passages of this package are about 4,700 tokens of SmolLM2."""


@dataclass(frozen=True, kw_only=True)
class TunedLens:
    """Translators of the residual stream after every layer but the last to that after the last."""

    model: str
    digest: str
    """Of the model that it belongs to."""
    state: Mapping[str, float]
    """Delta -> its coefficient, in the state that it was fitted in; empty: the clean model."""
    weights: Float[Tensor, "layer width width"]
    """To be added to the identity: h_l becomes h_l + h_l · weights[l] + biases[l]."""
    biases: Float[Tensor, "layer width"]
    strengths: tuple[float | None, ...]
    """Ridge of each layer, as a share of the mean eigenvalue of its Gram matrix; None: the layer
    has no translator, and is read as by the logit lens."""
    logit_kl: tuple[float, ...]
    """KL(final ‖ logit lens) on the validation texts, in nats per token."""
    tuned_kl: tuple[float, ...]
    """KL(final ‖ this lens), at most `logit_kl`."""
    n_tokens: int
    """Fitted on."""
    n_validation: int
    """Tokens of the validation texts that KL was taken on."""

    @torch.no_grad()
    def translate(
        self, hidden: Float[Tensor, "layer *any width"]
    ) -> Float[Tensor, "layer *any width"]:
        """The residual stream after every layer, 0 to L, as it is read: that after the last one
        stays. In fp32."""
        whole = hidden.float()
        own = whole[:-1].flatten(1, -2) if whole.ndim > 2 else whole[:-1, None]
        weights, biases = self.weights.to(own.device), self.biases.to(own.device)
        moved = own + torch.baddbmm(biases[:, None], own, weights)
        return torch.cat([moved.reshape(whole[:-1].shape), whole[-1:]])

    def check(self, model: HookedModel) -> None:
        """Raises `ModelError` if it was fitted on another model."""
        if self.digest != model.digest:
            raise ModelError(
                f"this tuned lens was fitted on {self.model} ({self.digest[:12]}…), and "
                f"{model.name} is {model.digest[:12]}…: fit one with fit_tuned_lens"
            )

    def rows(self) -> list[dict[str, Any]]:
        """How well it reads, one row per layer: `layer`, `strength`, `logit_kl`, `tuned_kl` (nats
        per token), `n_tokens`, `n_validation`."""
        return [
            {
                "layer": layer,
                "strength": self.strengths[layer],
                "logit_kl": self.logit_kl[layer],
                "tuned_kl": self.tuned_kl[layer],
                "n_tokens": self.n_tokens,
                "n_validation": self.n_validation,
            }
            for layer in range(len(self.strengths))
        ]

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder: the translators, then a small JSON that makes it complete.

        Raises `StorageError` where the disk is full or refuses.
        """
        place = Path(folder)
        with storage_errors(place, elsewhere="another folder"):
            place.mkdir(parents=True, exist_ok=True)
            (place / INDEX).unlink(missing_ok=True)
            tensors = {"weights": self.weights.contiguous(), "biases": self.biases.contiguous()}
            publish(place / WEIGHTS, safetensors.torch.save(tensors))
            index = {
                "format": FORMAT,
                "model": self.model,
                "digest": self.digest,
                "state": dict(self.state),
                "strengths": self.strengths,
                "logit_kl": self.logit_kl,
                "tuned_kl": self.tuned_kl,
                "n_tokens": self.n_tokens,
                "n_validation": self.n_validation,
                "sha256": sha256_of(place / WEIGHTS),
            }
            publish(place / INDEX, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
        return place

    @classmethod
    def load(cls, folder: str | Path, model: HookedModel) -> "TunedLens":
        """A lens that was saved, for the model that it was fitted on.

        Raises:
            ConfigError: a folder without a lens.
            ModelError: a lens of another model.
            IntegrityError: files that are not those that were saved.
        """
        place = Path(folder)
        try:
            index = json.loads((place / INDEX).read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"there is no {INDEX} in {place}: fit a lens with fit_tuned_lens and save it there"
            ) from None
        except ValueError as error:
            raise IntegrityError(f"{place / INDEX} is damaged ({error}): fit it anew") from error
        weights = place / WEIGHTS
        if index.get("format") != FORMAT or not weights.is_file():
            raise IntegrityError(f"{place} holds no whole tuned lens of format {FORMAT}: fit anew")
        if sha256_of(weights) != index["sha256"]:
            raise IntegrityError(f"{weights} is not the file that was saved: fit the lens anew")
        found = cls(
            model=index["model"],
            digest=index["digest"],
            state=index["state"],
            strengths=tuple(index["strengths"]),
            logit_kl=tuple(index["logit_kl"]),
            tuned_kl=tuple(index["tuned_kl"]),
            n_tokens=index["n_tokens"],
            n_validation=index["n_validation"],
            **safetensors.torch.load_file(weights),
        )
        found.check(model)
        return found


def fit_tuned_lens(
    model: HookedModel,
    texts: Sequence[str],
    *,
    state: str | State = CLEAN,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    max_bytes: int = 2**30,
) -> TunedLens:
    """Fit a translator per layer on texts that say nothing about what is evaluated.

    Every fifth text is for validation. Memory does not grow with the texts: of those fitted on,
    sums are kept (in fp64).

    Args:
        texts: such as `restor_interp.data.neutral.retain_texts()`; drawn from by `seed`.
        max_tokens: of these, at most so many are fitted on.
        max_bytes: of the sums, about; a model of which not all layers fit reads the texts several
            times. The translators themselves are width² numbers per layer.

    Raises:
        ConfigError: an unknown state; fewer than two texts with at least two tokens each; numbers
            in the run that are not finite.
    """
    with model.at(state):
        fitted = fit_translators(
            model, texts, max_tokens=max_tokens, seed=seed, max_bytes=max_bytes
        )
        coefficients = dict(model.state.coefficients)
    return TunedLens(model=model.name, digest=model.digest, state=coefficients, **vars(fitted))


def tuned_lens(
    model: HookedModel,
    prompts: Prompt | Sequence[Prompt],
    objects: Sequence[str] | Sequence[Sequence[str]],
    *,
    states: Sequence[str | State],
    lens: TunedLens | None,
    positions: Sequence[str] = ("last",),
    decoder: Decoder = "own",
    top: int = 0,
    from_subject: bool = False,
) -> Lens:
    """Read every layer of several states through one tuned lens; otherwise as `logit_lens`.

    The translators are those that the lens was fitted with, whatever the state: what changes
    between states is what is read, not how.

    Raises, besides what `logit_lens` raises:
        ConfigError: no lens.
        ModelError: a lens of another model.
    """
    if lens is None:
        raise ConfigError(
            "no tuned lens was given: fit one with fit_tuned_lens(model, texts), or load one with "
            "TunedLens.load"
        )
    lens.check(model)
    return read_lens(
        model,
        prompts,
        objects,
        states=states,
        positions=positions,
        decoder=decoder,
        lens="tuned",
        translate=lens.translate,
        top=top,
        from_subject=from_subject,
    )
