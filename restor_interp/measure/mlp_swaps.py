"""Do the clean model's coefficients bring a fact back, or its value vectors?

In a run of a state S the MLPs of a window of layers are made to write, at every token from the
subject on, Σ a_C v_S (clean coefficients), Σ a_S v_C (clean vectors) or Σ a_C v_C (both), with
coefficients a and vectors v as in `mlp_changes`. Hong et al. 2024, "Dissecting fine-tuning
unlearning in large language models", find that the clean coefficients of late layers bring
knowledge back and clean vectors hardly do: it is suppressed, and not erased. They let a window's
later layers answer to its earlier ones; here all coefficients are those of whole runs, so that both
kinds of swap are of the same kind, and exact.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError
from restor_interp.measure.metrics import LEAST_EFFECT
from restor_interp.measure.mlp_changes import blank_row, mlp_places
from restor_interp.measure.mlps import coefficients_at, to_residual, value_bias, value_vectors
from restor_interp.measure.questions import Question, ask, check_finite, log_probs
from restor_interp.measure.regions import DEFAULT_MAX_BYTES, Patch, run_base, run_patches
from restor_interp.measure.subjects import with_subject
from restor_interp.models.hooked import CLEAN, HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt, with_substitute

Mode = Literal["clean_coefficients", "clean_vectors", "clean_both", "wrong_coefficients"]
MODES: tuple[Mode, ...] = get_args(Mode)
"""What the MLPs of a window are made to write; the last is a control: the coefficients of the
clean model asked about another entity."""

SHARE_OF_LAYERS = 5 / 32
"""Width of a window: the paper's, 5 of the 32 layers of Llama 2 7B."""


@dataclass(frozen=True, kw_only=True)
class MlpSwaps:
    """What a state says when some of its MLPs write by the clean model's parts."""

    _repr_html_ = as_html

    state: str
    answer: str
    foil: str
    windows: tuple[range, ...]
    """Layers that are changed together; the last is all of them."""
    modes: tuple[Mode, ...]
    logodds: Float[np.ndarray, "mode window"]
    """log p(answer) − log p(foil), in nats."""
    krs: Float[np.ndarray, "mode window"]
    """1 − MSE(clean logits, logits so changed) / MSE(clean logits, logits of the state), at the
    last token over the vocabulary (Hong et al.'s knowledge recovery score): 1, as the clean model;
    NaN where the state's logits are the clean model's."""
    base: float
    """Log-odds of the state."""
    clean: float
    """Log-odds of the clean model."""

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `mlp_changes` with mode `swap`: one per window and `part` (of `MODES`).
        `value` is the change of the log-odds; `share` that of what the clean model says more. A
        control that could not be had is one row with the reason."""
        rows = []
        gap = self.clean - self.base
        for m, w in np.ndindex(self.logodds.shape):
            effect = float(self.logodds[m, w]) - self.base
            reason = None
            if abs(gap) < LEAST_EFFECT:
                reason = f"clean and {self.state} are {abs(gap):.2f} nats apart, and a share takes "
                reason += f"{LEAST_EFFECT:g}"
            rows.append(
                blank_row(fact_id, self.state, self.answer, self.foil)
                | {
                    "mode": "swap",
                    "layer": self.windows[w].start,
                    "window": len(self.windows[w]),
                    "position": "from_subject",
                    "part": self.modes[m],
                    "value": effect,
                    "share": None if reason else effect / gap,
                    "krs": None if np.isnan(self.krs[m, w]) else float(self.krs[m, w]),
                    "base": self.base,
                    "clean": self.clean,
                    "reason": reason,
                }
            )
        if "wrong_coefficients" not in self.modes:
            reason = "no other entity was given whose coefficients could be the control"
            control = {"mode": "swap", "layer": None, "position": "from_subject"}
            control |= {"part": "wrong_coefficients", "value": None, "reason": reason}
            rows.append(blank_row(fact_id, self.state, self.answer, self.foil) | control)
        return rows


@torch.no_grad()
def swap_mlps(
    model: HookedModel,
    prompt: Prompt,
    answer: str,
    foil: str,
    *,
    state: str,
    wrong_entity: str | None = None,
    window: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> MlpSwaps:
    """Let the MLPs of a state write by the clean model's coefficients, or by its vectors.

    Their outputs are replaced at every token from the subject's first one on, in windows of layers
    that lie side by side, and in all layers. Coefficients of the state are those of its own
    unchanged run, so that a window's later layers do not answer to its earlier ones.

    Args:
        wrong_entity: another name of as many tokens: the clean model's coefficients when it is
            asked about that one are the control.
        window: layers changed together (default: 5 of 32, and at least one).

    Raises as `mlp_changes`; also `PromptError` for a wrong entity of another token length.
    """
    question = ask(model, with_subject(prompt, None), answer, foil)
    last = mlp_places(question)[1]
    assert question.subject is not None
    span = range(question.subject[0], last + 1)
    size = max(1, round(SHARE_OF_LAYERS * model.num_layers)) if window is None else window
    if size < 1:
        raise ConfigError(f"window={size}: at least one layer must be changed")
    layers = range(model.num_layers)
    windows = [layers[first : first + size] for first in range(0, len(layers), size)]
    windows = list(dict.fromkeys([*windows, layers]))
    others = {}
    if wrong_entity is not None:
        others["wrong_coefficients"] = _of_other(model, question, wrong_entity)
    with model.at(CLEAN):
        a_clean, _, final = coefficients_at(model, question.ids, span)
        clean_logits = model.project(final[-1:]).float()
        a_other = {mode: coefficients_at(model, ids, span)[0] for mode, ids in others.items()}
    with model.at(state):
        a_state, _, final = coefficients_at(model, question.ids, span)
        base_logits = model.project(final[-1:]).float()
        check_finite(base_logits, f"the run of {state}")
        written: dict[Mode, Tensor] = {
            "clean_coefficients": _written(model, a_clean, clean=False),
            "clean_vectors": _written(model, a_state, clean=True),
            "clean_both": _written(model, a_clean, clean=True),
        }
        written |= {mode: _written(model, a, clean=False) for mode, a in a_other.items()}

        def read(end: Float[Tensor, "row width"]) -> Float[Tensor, "row value"]:
            logits = model.project(end).float()
            error = (logits - clean_logits).pow(2).mean(-1, keepdim=True)
            return torch.cat([log_probs(logits, question.targets), error], dim=-1)

        embeddings = model.hf_model.get_input_embeddings()(question.ids[None])
        base = run_base(model, embeddings, start=span.start)
        rows = [
            Patch(
                site="mlp",
                layers=own,
                position=span.start,
                values=values[own.start : own.stop].to(model.dtype),
            )
            for values in written.values()
            for own in windows
        ]
        found = run_patches(base, rows, read, max_bytes=max_bytes)[:, 0].double().cpu()
    check_finite(found, f"a run of {state} with other MLPs")
    found = found.unflatten(0, (len(written), len(windows))).numpy()
    apart = float((base_logits - clean_logits).double().pow(2).mean())
    ends = [log_probs(logits, question.targets)[0] for logits in (base_logits, clean_logits)]
    return MlpSwaps(
        state=state,
        answer=answer,
        foil=foil,
        windows=tuple(windows),
        modes=tuple(written),
        logodds=found[..., 0] - found[..., 1],
        krs=1 - found[..., 2] / apart if apart else np.full(found.shape[:2], np.nan),
        base=float(ends[0][0] - ends[0][1]),
        clean=float(ends[1][0] - ends[1][1]),
    )


def _of_other(model: HookedModel, question: Question, name: str) -> Tensor:
    """The tokens of the same question about another entity."""
    other = tokenize(model.tokenizer, [with_substitute(question.prompt, name)])
    shared = question.ids[len(question.ids) - question.num_shared :]
    ids = torch.cat([other.ids[0].to(shared.device), shared])
    if len(ids) != len(question.ids) or other.subject[0] != question.subject:
        raise PromptError(
            f"{name!r} has another number of tokens than {question.prompt.subject!r}; choose a "
            "name of the same token length (`restor_interp.prompts.substitutes`)"
        )
    return ids


def _written(
    model: HookedModel, a: Float[Tensor, "layer pos coefficient"], *, clean: bool
) -> Float[Tensor, "layer pos width"]:
    """What MLPs with these coefficients add, by the vectors of the present state or the clean ones;
    biases and a norm after them are the state's."""
    found = []
    for layer, own in enumerate(a):
        given = own.float() @ value_vectors(model, layer, clean=clean).float()
        bias = value_bias(model, layer)
        given = given if bias is None else given + bias.float()
        found.append(to_residual(model, layer)(given).float())
    return torch.stack(found)
