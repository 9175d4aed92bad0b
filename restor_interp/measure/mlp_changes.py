"""Did unlearning change which memories an MLP opens, or what is written in them?

Against the clean model C, a state S writes  Σ a_S v_S − Σ a_C v_C  more at a token. That splits
without rest into

    coefficients   Σ (a_S − a_C) v_C          what is looked up
    vectors        Σ a_C (v_S − v_C)          what is written there
    interaction    Σ (a_S − a_C) (v_S − v_C)

and, where a family has them, the change of the last matrix's bias and of the norm after it. Each
is read along the true over the false object by direct attribution: through the clean model's final
norm, its scale held as in the clean run, and its unembedding (log-odds; `contributions`).

Which part matters to the answer is another question: `mlp_swaps`.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ModelError, PromptError
from restor_interp.measure.contributions import frozen_norm
from restor_interp.measure.mlps import (
    coefficients_at,
    last_matrix,
    norm_after,
    to_residual,
    value_bias,
    value_vectors,
)
from restor_interp.measure.questions import Question, ask, check_finite
from restor_interp.measure.subjects import with_subject
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.prompts import Prompt

Part = Literal["coefficients", "vectors", "interaction", "bias", "norm", "total"]
PARTS: tuple[Part, ...] = get_args(Part)
"""What a change is split into; `total` is their sum, which the run itself gives."""

POSITIONS = ("subject_last", "last")

_NOT_ALWAYS = ("window", "norm", "clean_norm", "relative_change", "share", "krs", "base", "clean")
_NOT_ALWAYS += ("reason",)


@dataclass(frozen=True, kw_only=True)
class MlpChanges:
    """What a state's MLPs write otherwise than the clean model's, split by cause."""

    _repr_html_ = as_html

    state: str
    answer: str
    foil: str
    values: Float[np.ndarray, "layer position part"]
    """Along answer over foil, in log-odds (nats); positions as `POSITIONS`, parts as `PARTS`."""
    norms: Float[np.ndarray, "layer position part"]
    """Length of each part in the residual stream."""
    clean_norms: Float[np.ndarray, "layer position"]
    """Length of what the clean model's MLP writes."""
    coefficients_changed: Float[np.ndarray, "layer position"]
    """‖a_S − a_C‖ / ‖a_C‖."""
    vectors_changed: Float[np.ndarray, " layer"]
    """‖V_S − V_C‖ / ‖V_C‖, of the whole matrix (Frobenius)."""

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `mlp_changes` with mode `direct`: one per layer, position and part.
        `relative_change` is that of the coefficients or of the vectors, and None for others."""
        rows = []
        for layer, position, part in np.ndindex(self.values.shape):
            changed = {
                "coefficients": self.coefficients_changed[layer, position],
                "vectors": self.vectors_changed[layer],
            }.get(PARTS[part])
            rows.append(
                blank_row(fact_id, self.state, self.answer, self.foil)
                | {
                    "mode": "direct",
                    "layer": layer,
                    "position": POSITIONS[position],
                    "part": PARTS[part],
                    "value": float(self.values[layer, position, part]),
                    "norm": float(self.norms[layer, position, part]),
                    "clean_norm": float(self.clean_norms[layer, position]),
                    "relative_change": None if changed is None else float(changed),
                }
            )
        return rows


def blank_row(fact_id: str, state: str, answer: str, foil: str) -> dict[str, Any]:
    """The columns of the table, those that not every mode has being empty."""
    known = {"fact_id": fact_id, "state": state, "object": answer, "foil": foil}
    return {**known, **dict.fromkeys(_NOT_ALWAYS)}


@torch.no_grad()
def mlp_changes(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str,
    *,
    state: str,
    subject: str | None = None,
) -> MlpChanges:
    """Split what a state's MLPs write otherwise than the clean model's.

    At the last token the value is what the change adds to the answer by itself, later layers left
    out; at the subject's last token nothing is read, so it says in the same units how far the
    change is one towards the answer.

    Args:
        prompt: a `Prompt`, or plain text; then `subject` says which of its words.
        answer, foil: objects that follow the prompt after one space, told apart at the first token
            at which they differ.

    Raises:
        PromptError: no subject; answer and foil that no token tells apart.
        ConfigError: an unknown state; numbers in the run that are not finite.
        ModelError: a model whose MLPs have no known last matrix, or give something besides it.
    """
    question = ask(model, with_subject(prompt, subject), answer, foil)
    places = mlp_places(question)
    with model.at(CLEAN):
        a_clean, out_clean, final = coefficients_at(model, question.ids, places)
        check_finite(final, f"the run of {model.name}")
        read = [_readout(model, question, at) for at in final]
        biases = [value_bias(model, layer) for layer in range(model.num_layers)]
        maps = [
            [to_residual(model, layer, _given(model, layer, own)) for own in a_clean[layer]]
            for layer in range(model.num_layers)
        ]
    shape = (model.num_layers, len(places))
    values, norms = np.zeros((*shape, len(PARTS))), np.zeros((*shape, len(PARTS)))
    coefficients_changed, vectors_changed = np.zeros(shape), np.zeros(model.num_layers)
    with model.at(state):
        a_state, out_state, final = coefficients_at(model, question.ids, places)
        check_finite(final, f"the run of {state}")
        for layer in range(model.num_layers):
            clean = value_vectors(model, layer, clean=True).double()
            moved = value_vectors(model, layer).double() - clean
            vectors_changed[layer] = float(moved.norm() / clean.norm())
            bias = value_bias(model, layer)
            for place in range(len(places)):
                a, own = a_clean[layer, place].double(), a_state[layer, place].double()
                coefficients_changed[layer, place] = float((own - a).norm() / a.norm())
                total = (out_state - out_clean)[layer, place].double()
                parts = _split(a, own - a, clean, moved, biases[layer], bias)
                parts = [maps[layer][place](part.float()).double() for part in parts]
                rest = total - torch.stack(parts).sum(0)
                if norm_after(model, layer) is None:
                    _check_rest(model, layer, rest, out_clean[layer, place])
                    rest = torch.zeros_like(rest)
                for number, part in enumerate([*parts, rest, total]):
                    values[layer, place, number] = float(part @ read[place])
                    norms[layer, place, number] = float(part.norm())
    return MlpChanges(
        state=state,
        answer=answer,
        foil=foil,
        values=values,
        norms=norms,
        clean_norms=out_clean.double().norm(dim=-1).cpu().numpy(),
        coefficients_changed=coefficients_changed,
        vectors_changed=vectors_changed,
    )


def mlp_places(question: Question) -> tuple[int, int]:
    """The tokens of `POSITIONS`."""
    if question.subject is None:
        raise PromptError(f"the subject {question.prompt.subject!r} holds no token of its prompt")
    return question.subject[1] - 1, len(question.ids) - 1


def _split(
    a: Tensor,
    more: Tensor,
    vectors: Tensor,
    moved: Tensor,
    clean_bias: Tensor | None,
    bias: Tensor | None,
) -> list[Float[Tensor, " width"]]:
    """Coefficients, vectors, interaction, bias: before a norm that may follow."""
    added = torch.zeros_like(vectors[0])
    if bias is not None and clean_bias is not None:
        added = bias.double() - clean_bias.double()
    return [more @ vectors, a @ moved, more @ moved, added]


def _given(model: HookedModel, layer: int, a: Float[Tensor, " coefficient"]) -> Tensor:
    """What the last matrix of a layer gives."""
    return last_matrix(model, layer)(a[None].to(model.dtype))[0]


def _readout(
    model: HookedModel, question: Question, final: Float[Tensor, " width"]
) -> Float[Tensor, " width"]:
    """The direction along which a part of the residual stream is read, final norm included."""
    norm: Any = model.hf_model.get_submodule(model.architecture.final_norm)
    unembed: Any = model.hf_model.get_output_embeddings()
    answer, foil = unembed.weight[question.targets].float()
    eye = torch.eye(len(final), device=final.device)
    return (frozen_norm(norm, final)(eye) @ (answer - foil)).double()


def _check_rest(model: HookedModel, layer: int, rest: Tensor, whole: Tensor) -> None:
    """Raises `ModelError` where an MLP gives something besides its last matrix."""
    allowed = (1 + float(whole.norm())) * (1e-3 if model.dtype == torch.float32 else 0.1)
    if not float(rest.norm()) <= allowed:
        raise ModelError(
            f"the MLP of layer {layer} of {model.name} changed by {float(rest.norm()):.3g} more "
            "than its coefficients and value vectors say: it adds something that is not known here"
        )
