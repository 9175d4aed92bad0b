"""Direct logit attribution: what each head, MLP and embedding adds to one object over another.

The residual stream at the last position is a sum: the embeddings, then what every layer's
attention (a sum over its heads) and MLP add. With the scale of the final norm held at its value in
this run the logits are linear in that stream, so the difference of two logits is a sum over the
same parts (Elhage et al. 2021, "A mathematical framework for transformer circuits"). It is exact:
the parts sum to the model's own difference, which is checked.

What a part does by way of later layers is not in its number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ModelError
from restor_interp.measure.questions import ask, check_finite
from restor_interp.models.hook_points import norm_values
from restor_interp.models.hooked import HookedModel
from restor_interp.prompts import Prompt


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What every part adds to logit(answer) − logit(foil) at the last position."""

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The prompt's tokens as text; if answer and foil begin alike, with the tokens they share."""
    answer: str
    foil: str
    embed: float
    """Of the last token's embedding, with its learned position where the model has them."""
    heads: Float[np.ndarray, "layer head"]
    mlps: Float[np.ndarray, " layer"]
    """Their output biases included."""
    attention_biases: Float[np.ndarray, " layer"]
    """Of the output biases of attention, which belong to no head; 0 where a model has none."""
    bias: float
    """Of the biases of the final norm and of the unembedding; 0 where a model has none."""
    total: float
    """logit(answer) − logit(foil) in the model, before a soft cap."""
    capped_total: float | None
    """The same after the soft cap of the model's logits; None where it has none."""

    @property
    def sum(self) -> float:
        """Of all parts: `total`, up to rounding."""
        layers = self.heads.sum() + self.mlps.sum() + self.attention_biases.sum()
        return float(self.embed + layers + self.bias)

    def rows(self, *, fact_id: str, state: str) -> list[dict[str, Any]]:
        """Rows of the table `contributions`: one per part. `value` is in logits; biases of a
        layer's attention have that layer, embeddings and final biases none."""
        fixed = {
            "fact_id": fact_id,
            "state": state,
            "object": self.answer,
            "foil": self.foil,
            "total": self.total,
            "capped_total": self.capped_total,
        }

        def row(part: str, value: float, layer: int | None = None, head: int | None = None) -> Any:
            return fixed | {"part": part, "layer": layer, "head": head, "value": float(value)}

        rows = [row("embed", self.embed)]
        for layer, heads in enumerate(self.heads):
            rows += [row("head", value, layer, head) for head, value in enumerate(heads)]
            rows.append(row("mlp", self.mlps[layer], layer))
            if self.attention_biases[layer] != 0:
                rows.append(row("bias", self.attention_biases[layer], layer))
        return [*rows, row("bias", self.bias)]


@torch.no_grad()
def direct_logits(
    model: HookedModel, prompt: Prompt | str, answer: str, foil: str
) -> Contributions:
    """Split logit(answer) − logit(foil) at the last position into the parts of the residual stream.

    The scale of every norm on a part's way is held at its value in this run: that of the final
    norm, and in families that norm what attention and MLP give (Gemma 2 and 3, OLMo 2) that of
    the norm after attention, so that heads sum to their layer. A LayerNorm's centring is linear
    and applied to each part. A model that caps its logits (Gemma 2) is attributed before the cap.

    Args:
        answer: the object that follows the prompt after one space; it and the foil are read at
            their first token, or the first at which they differ.

    Raises:
        PromptError: an empty object; answer and foil that no token tells apart.
        ModelError: a model whose heads cannot be told apart, or whose parts do not sum to its own
            logits.
        ConfigError: numbers in the run that are not finite.
    """
    question = ask(model, prompt, answer, foil)
    shape = model.architecture
    if shape.attention_out is None:
        raise ModelError(
            f"the linear layer after the heads of {model.name} was not found, so they cannot be "
            "told apart; ask for its family to be added to restor_interp/models/architectures.py"
        )
    layers = range(model.num_layers)
    first, last = "blocks.0.hook_resid_pre", f"blocks.{layers[-1]}.hook_resid_post"
    heads = [f"blocks.{layer}.attn.hook_z" for layer in layers]
    mlps = [f"blocks.{layer}.hook_mlp_out" for layer in layers]
    logits, cache = model.run_with_cache(
        question.ids[None], [first, last, *heads, *mlps], positions="last"
    )
    capped = logits[0, -1, question.targets].float()
    check_finite(capped, f"the run of {model.name}")

    norm: Any = model.hf_model.get_submodule(shape.final_norm)
    unembed: Any = model.hf_model.get_output_embeddings()
    final = cache[last][0, 0]
    uncapped = unembed(norm(final))[question.targets].float()
    answer_row, foil_row = unembed.weight[question.targets].float()
    direction = answer_row - foil_row
    to_logits = frozen_norm(norm, final)

    def value(parts: Float[Tensor, "*part width"]) -> Float[np.ndarray, "*part"]:
        return (to_logits(parts.float()) @ direction).cpu().numpy().astype(float)

    split = [_attention_parts(model, layer, cache[heads[layer]][0, 0]) for layer in layers]
    bias = direction @ norm.bias.float() if getattr(norm, "bias", None) is not None else 0.0
    if getattr(unembed, "bias", None) is not None:
        answer_bias, foil_bias = unembed.bias[question.targets].float()
        bias += answer_bias - foil_bias
    has_cap = getattr(model.hf_model.config.get_text_config(), "final_logit_softcapping", None)
    found = Contributions(
        tokens=question.tokens,
        answer=answer,
        foil=foil,
        embed=float(value(cache[first][0, 0])),
        heads=np.stack([value(own) for own, _ in split]),
        mlps=value(torch.stack([cache[name][0, 0] for name in mlps])),
        attention_biases=np.array([float(value(added)) for _, added in split]),
        bias=float(bias),
        total=float(uncapped[0] - uncapped[1]),
        capped_total=float(capped[0] - capped[1]) if has_cap else None,
    )
    _check_sum(model, found)
    return found


def _attention_parts(
    model: HookedModel, layer: int, z: Float[Tensor, "head d_head"]
) -> tuple[Float[Tensor, "head width"], Float[Tensor, " width"]]:
    """What each head, and the output bias, add to the residual stream of a layer."""
    shape, block = model.architecture, model.layers[layer]
    out: Any = block.get_submodule(shape.attention_out)
    # One head at a time, then none, through the layer as it is: whatever wraps its matrix counts.
    alone = torch.cat(
        [torch.diag_embed(z.T).permute(1, 2, 0).flatten(1), z.new_zeros(1, z.numel())]
    )
    given = out(alone)
    heads, bias = given[:-1] - given[-1], given[-1]
    if shape.attention_added == shape.attention:
        return heads, bias
    through = frozen_norm(block.get_submodule(shape.attention_added), out(z.flatten()[None])[0])
    return through(heads.float()), through(bias.float())


def frozen_norm(norm: Any, given: Float[Tensor, " width"]) -> Callable[[Tensor], Tensor]:
    """A norm with its scale held at that of one value: a linear map, without the norm's bias."""
    scale = norm_values(norm, given)["hook_scale"]
    if isinstance(norm, torch.nn.LayerNorm):
        gain = norm.weight.float() / scale
        return lambda parts: (parts - parts.mean(dim=-1, keepdim=True)) * gain
    # What an RMSNorm multiplies with is read off its output: families store it in various ways.
    ones = torch.ones_like(given, dtype=torch.float32)
    gain = norm(ones).float() * norm_values(norm, ones)["hook_scale"] / scale
    return lambda parts: parts * gain


def _check_sum(model: HookedModel, found: Contributions) -> None:
    """Raises `ModelError` where the parts are not all there is."""
    size = 1 + abs(found.heads).sum() + abs(found.mlps).sum() + abs(found.embed)
    allowed = size * (1e-4 if model.dtype == torch.float32 else 0.1)
    if not abs(found.sum - found.total) <= allowed:
        raise ModelError(
            f"the parts of {model.name} sum to {found.sum:.4g}, and its own logits differ by "
            f"{found.total:.4g}: it adds something to its residual stream that is not known here, "
            "so its logits cannot be attributed"
        )
