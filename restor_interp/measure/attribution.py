"""Attribution patching: what patching every place would do, estimated by one backward pass.

Putting a donor's value at one token and layer into a host run changes the metric, to first order,
by (donor value − host value) · the gradient of the metric at the host's value (Nanda 2023,
"Attribution patching"; Syed et al. 2023; Kramár et al. 2024, AtP). One backward pass gives the
gradients of every token, layer and head: a screen of all places at the cost of one.

It is an approximation, and a poor one where the metric bends on the way (saturated attention, a
norm, the residual stream of early layers). So it never stands alone: a random sample of its cells
is patched exactly, and the rank correlation over that sample comes with it.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.metrics import METRICS, Metric, measured
from restor_interp.measure.questions import (
    Question,
    ask,
    check_finite,
    last_logits,
    log_probs,
    state_name,
)
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    HOOKS,
    Engine,
    Patch,
    choose_engine,
    run_base,
    run_patches,
)
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import Tokens, resolve_position
from restor_interp.prompts import Prompt

Kind = Literal["resid", "attn", "mlp", "head"]
KINDS: tuple[Kind, ...] = get_args(Kind)

LEAST_SAMPLE = 3
"""Cells below which a rank correlation says nothing."""

STEPS_PER_PASS = 16
"""Steps of an integral that are run in one batch."""


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What patching each single place would do to the answer, by its gradient, and what it does."""

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The host's prompt as text; if answer and foil begin alike, with the tokens they share."""
    subject: tuple[int, int] | None
    """Tokens [start, end) of the subject."""
    positions: tuple[int, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...] | None
    """Of `head`; none for the other kinds."""
    donor: str
    host: str
    donor_subject: str | None
    """What the donor was asked about, where that is not the host's prompt."""
    kind: Kind
    metric: Metric
    answer: str
    foil: str | None
    """The object that log-odds are taken against; without it they are log p / (1 − p)."""
    steps: int
    """Of the integral of the gradient; 0 is the gradient at the host's own values."""
    seed: int
    """Of the sample."""
    host_value: float
    """The metric in the host's own run."""
    donor_value: float
    """In the donor's own run."""
    approx: Float[np.ndarray, "position layer *head"]
    """Estimated change of the metric, in its units."""
    exact: Float[np.ndarray, "position layer *head"]
    """What patching changes it by; NaN outside the sample."""

    @property
    def n_exact(self) -> int:
        """Cells of the sample."""
        return int(np.isfinite(self.exact).sum())

    @property
    def rank_correlation(self) -> float:
        """Spearman's, of `approx` and `exact` over the sample; NaN where one of them is constant,
        such as in two equal states."""
        sampled = np.isfinite(self.exact)
        approx, exact = self.approx[sampled], self.exact[sampled]
        if np.ptp(approx) == 0 or np.ptp(exact) == 0:
            return float("nan")
        found: Any = spearmanr(approx, exact)
        return float(found.statistic)

    def rows(self, *, fact_id: str) -> list[dict[str, Any]]:
        """Rows of the table `attributions`, one per position, layer and head. `approx` and `exact`
        are changes of the metric, in its units; `exact` is None outside the sample."""
        correlation = self.rank_correlation
        undefined = "no rank correlation: all cells of the sample are equal"
        fixed = {
            "fact_id": fact_id,
            "donor": self.donor,
            "host": self.host,
            "kind": self.kind,
            "metric": self.metric,
            "object": self.answer,
            "foil": self.foil,
            "steps": self.steps,
            "control_seed": self.seed,
            "host_value": self.host_value,
            "donor_value": self.donor_value,
            "rank_correlation": None if np.isnan(correlation) else correlation,
            "n_exact": self.n_exact,
            "reason": undefined if np.isnan(correlation) else None,
        }
        return [
            fixed
            | {
                "layer": self.layers[index[1]],
                "position": self.positions[index[0]],
                "head": None if self.heads is None else self.heads[index[2]],
                "token": self.tokens[self.positions[index[0]]],
                "in_subject": self._in_subject(self.positions[index[0]]),
                "approx": float(self.approx[index]),
                "exact": None if np.isnan(self.exact[index]) else float(self.exact[index]),
            }
            for index in np.ndindex(self.approx.shape)
        ]

    def _in_subject(self, position: int) -> bool:
        return self.subject is not None and self.subject[0] <= position < self.subject[1]


def attribute_patches(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str | None = None,
    *,
    donor: str | State = "clean",
    host: str | State,
    subject: str | None = None,
    kind: Kind = "resid",
    positions: Sequence[int | str] | None = None,
    layers: Sequence[int] | None = None,
    donor_prompt: Prompt | str | None = None,
    metric: Metric = "logodds",
    steps: int = 0,
    sample: int = 64,
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> Attribution:
    """Estimate, for every token and layer, what a donor state's value would change in a host state.

    With `steps` = m > 0 the gradient is not taken at the host's values but averaged along the
    straight line from host to donor (integrated gradients; per layer as in Marks et al. 2024 and
    in EAP-IG's activation variant, Hanna et al. 2024): the values of one layer's site, at all
    tokens (and heads) at once, are host + α (donor − host) for α = (k + ½)/m, k = 0 … m − 1, while
    layers below stay the host's and those above follow; each cell's part is (donor − host) · the
    mean gradient there. The parts of a layer then sum to what patching that whole layer does, the
    better the more steps. It costs m · layers passes instead of one.

    Args:
        prompt: what the host is asked; a `Prompt`, or plain text with `subject`.
        answer, foil: objects that follow the prompt after one space, read at their first token,
            or the first at which they differ.
        donor, host: states of this model. With one state for both, give a `donor_prompt`.
        kind: `resid` is the residual stream after a layer, `attn` and `mlp` are outputs, `head`
            what one attention head adds, before the output projection.
        positions: indices, `subject_first`, `subject_last` or `last` (default: from the subject
            on; without a subject all).
        layers: default: all.
        donor_prompt: what the donor is asked instead, of as many tokens.
        metric: its change is estimated, in its own units.
        sample: cells that are patched exactly too, drawn at random; at least 3.
        max_bytes, engine: as in `patch_states`, of the exact cells.

    Raises:
        PromptError: a donor's prompt of another length; answer and foil that no token tells apart.
        ConfigError: an unknown state, kind or metric; a position or layer that does not exist;
            settings out of range; numbers in a run that are not finite.
    """
    for name, value, known in (("kind of state", kind, KINDS), ("metric", metric, METRICS)):
        if value not in known:
            raise unknown_name(name, value, known)
    if steps < 0 or sample < LEAST_SAMPLE:
        raise ConfigError(
            f"steps={steps} must not be negative, and sample={sample} at least {LEAST_SAMPLE}: an "
            "estimate is only shown with its rank correlation to exact cells"
        )
    question = ask(model, prompt, answer, foil, subject=subject)
    case = _Case(
        model=model,
        question=question,
        donor_ids=_donor_ids(model, question, donor_prompt, answer, foil),
        kind=kind,
        metric=metric,
        positions=_positions(question, positions),
        layers=_layers(model, layers),
        engine=choose_engine(model, engine),
        max_bytes=max_bytes,
    )
    with model.at(donor), _no_weight_gradients(model):
        donor_value, values = _donor_run(case)
    with model.at(host), _no_weight_gradients(model):
        host_value, own, gradients = _host_run(case)
        differences = {name: values[name] - own[name] for name in values}
        if steps:
            gradients = _mean_gradients(case, own, differences, steps)
        approx = _on_cells(case, differences, gradients)
        if not np.isfinite(approx).all():
            raise ConfigError(
                f"the gradient of {metric} in {state_name(host)} is not finite: its value is "
                f"{host_value:.4g}; use metric='logprob', or log-odds against a foil"
            )
        cells = list(np.ndindex(approx.shape))
        drawn = np.random.default_rng(seed).permutation(len(cells))[:sample]
        chosen = [cells[index] for index in drawn]
        exact = np.full(approx.shape, np.nan)
        exact[tuple(zip(*chosen, strict=True))] = _patched(case, chosen, values) - host_value
    return Attribution(
        tokens=question.tokens,
        subject=question.subject,
        positions=case.positions,
        layers=case.layers,
        heads=tuple(range(model.num_heads)) if kind == "head" else None,
        donor=state_name(donor),
        host=state_name(host),
        donor_subject=_subject_of(donor_prompt),
        kind=kind,
        metric=metric,
        answer=answer,
        foil=foil,
        steps=steps,
        seed=seed,
        host_value=host_value,
        donor_value=donor_value,
        approx=approx,
        exact=exact,
    )


@dataclass(frozen=True, kw_only=True)
class _Case:
    model: HookedModel
    question: Question
    donor_ids: Tensor
    kind: Kind
    metric: Metric
    positions: tuple[int, ...]
    layers: tuple[int, ...]
    engine: Engine
    max_bytes: int

    @property
    def names(self) -> list[str]:
        """Hook names of the layers' sites."""
        return [HOOKS[self.kind].format(layer) for layer in self.layers]

    def read(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """The metric of every row."""
        found = log_probs(logits, self.question.targets)
        check_finite(found.detach(), f"a run of {self.model.name}")
        return measured(found, self.metric)


def _donor_run(case: _Case) -> tuple[float, dict[str, Tensor]]:
    logits, cache = case.model.run_with_cache(case.donor_ids[None], names_filter=case.names)
    return case.read(logits[:, -1]).item(), {name: cache[name][0] for name in case.names}


def _host_run(case: _Case) -> tuple[float, dict[str, Tensor], dict[str, Tensor]]:
    """The metric, the sites' values [pos, …], and its gradient there: one backward pass."""
    kept: dict[str, Tensor] = {}

    def start_graph(value: Tensor, hook: Any) -> Tensor:
        del hook
        return value.detach().requires_grad_()

    def keep(value: Tensor, hook: Any) -> Tensor:
        # A copy is part of the graph even where the value itself is a view of what goes on.
        kept[hook.name] = value.clone()
        return kept[hook.name]

    hooks = [("hook_embed", start_graph), *((name, keep) for name in case.names)]
    with torch.enable_grad():
        metric = case.read(last_logits(case.model, case.question.ids[None], hooks))
        found = torch.autograd.grad(metric.sum(), [kept[name] for name in case.names])
    values = {name: kept[name][0].detach() for name in case.names}
    gradients = {name: own[0] for name, own in zip(case.names, found, strict=True)}
    return metric.item(), values, gradients


def _mean_gradients(
    case: _Case, own: dict[str, Tensor], differences: dict[str, Tensor], steps: int
) -> dict[str, Tensor]:
    """The mean gradient between the host's values and the donor's, one layer at a time."""
    means = {}
    for name in case.names:
        total = torch.zeros_like(own[name], dtype=torch.float32)
        for first in range(0, steps, STEPS_PER_PASS):
            numbers = torch.arange(first, min(steps, first + STEPS_PER_PASS), device=total.device)
            share = ((numbers + 0.5) / steps).to(own[name].dtype)
            share = share.view(-1, *[1] * own[name].ndim)
            between = (own[name] + share * differences[name]).requires_grad_()
            hooks = [(name, _put(between))]
            with torch.enable_grad():
                ids = case.question.ids.expand(len(numbers), -1)
                metric = case.read(last_logits(case.model, ids, hooks))
                (gradient,) = torch.autograd.grad(metric.sum(), between)
            total += gradient.float().sum(dim=0)
        means[name] = total / steps
    return means


def _on_cells(
    case: _Case, differences: dict[str, Tensor], gradients: dict[str, Tensor]
) -> Float[np.ndarray, "position layer *head"]:
    """Difference times gradient, summed over the width of each cell."""
    products = [
        (differences[name].float() * gradients[name].float()).sum(dim=-1)[list(case.positions)]
        for name in case.names
    ]
    return torch.stack(products, dim=1).double().cpu().numpy()


@torch.no_grad()
def _patched(
    case: _Case, cells: Sequence[tuple[int, ...]], values: dict[str, Tensor]
) -> Float[np.ndarray, " cell"]:
    """The host's metric with single cells patched."""
    model, start = case.model, min(case.positions)
    embeddings = model.hf_model.get_input_embeddings()(case.question.ids[None])
    base = run_base(model, embeddings, start=start, engine=case.engine)
    rows = []
    for position, layer, *head in cells:
        place = (case.positions[position], *head)
        number = case.layers[layer]
        rows.append(
            Patch(
                site=case.kind,
                layers=range(number, number + 1),
                position=place[0],
                values=values[case.names[layer]][place][None, None],
                head=head[0] if head else None,
            )
        )

    def read(final: Float[Tensor, "row width"]) -> Float[Tensor, "row 1"]:
        return case.read(model.project(final))[:, None]

    return run_patches(base, rows, read, max_bytes=case.max_bytes)[:, 0, 0].double().cpu().numpy()


def _put(new: Tensor) -> Callable[..., Tensor]:
    def put_in(value: Tensor, hook: Any) -> Tensor:
        del value, hook
        return new

    return put_in


@contextlib.contextmanager
def _no_weight_gradients(model: HookedModel) -> Iterator[None]:
    """Within this, weights are constants: a backward pass keeps no memory for them."""
    wanted = [p for p in model.hf_model.parameters() if p.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


# ---- what is asked


def _donor_ids(
    model: HookedModel,
    question: Question,
    donor_prompt: Prompt | str | None,
    answer: str,
    foil: str | None,
) -> Tensor:
    if donor_prompt is None:
        return question.ids
    other = ask(model, donor_prompt, answer, foil)
    if len(other.ids) != len(question.ids):
        raise PromptError(
            f"the donor's prompt {other.prompt.text[-60:]!r} has {len(other.ids)} tokens where the "
            f"host's {question.prompt.text[-60:]!r} has {len(question.ids)}; give one of the same "
            "length, such as with a name from `restor_interp.prompts.substitutes`"
        )
    return other.ids


def _positions(question: Question, asked: Sequence[int | str] | None) -> tuple[int, ...]:
    length = len(question.ids)
    if asked is None:
        return tuple(range(0 if question.subject is None else question.subject[0], length))
    if not asked:
        raise ConfigError(f"no positions were asked for; the prompt has tokens 0 to {length - 1}")
    tokens = Tokens(ids=[question.ids.cpu()], subject=[question.subject])
    return tuple(dict.fromkeys(resolve_position(tokens, 0, position) for position in asked))


def _layers(model: HookedModel, asked: Sequence[int] | None) -> tuple[int, ...]:
    if asked is None:
        return tuple(range(model.num_layers))
    if not asked or not all(0 <= layer < model.num_layers for layer in asked):
        raise ConfigError(
            f"layers {list(asked)} were asked for; {model.name} has layers 0 to "
            f"{model.num_layers - 1}"
        )
    return tuple(dict.fromkeys(asked))


def _subject_of(prompt: Prompt | str | None) -> str | None:
    if prompt is None or isinstance(prompt, str):
        return prompt
    return prompt.subject or prompt.question
