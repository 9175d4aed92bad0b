"""Cross-state patching: what one state knows, put into another, place by place.

A donor run gives its value at one token and layer to a host run: the clean model's to an unlearned
one ("what brings the fact back?"), or the unlearned model's to the clean one ("what takes it
away?"). Within one model and two prompts this is activation patching (Vig et al. 2020; Meng et al.
2022); between two states of a model cross-model activation patching (Prakash et al. 2024).
The donor may be asked about another entity: what its values bring as well, is not about this one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.metrics import LEAST_EFFECT, METRICS, Metric, measured_array
from restor_interp.measure.questions import ask, check_finite, log_probs, state_name
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    BaseRun,
    Engine,
    Patch,
    choose_engine,
    run_base,
    run_patches,
)
from restor_interp.measure.subjects import with_subject
from restor_interp.models.deltas import State
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import Tokens, resolve_position
from restor_interp.prompts import Prompt

Kind = Literal["resid", "attn", "mlp", "head", "subject"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HEAD_POSITIONS = ("subject_last", "last")
"""Where heads are patched if no positions are given."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a donor's value at each single place does to the answer of a host."""

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The host's prompt as text; if answer and foil begin alike, with the tokens they share."""
    subject: tuple[int, int]
    """Tokens [start, end) of the subject."""
    positions: tuple[int, ...]
    layers: tuple[int, ...]
    heads: tuple[int, ...] | None
    """Of `head`; none for the other kinds."""
    donor: str
    host: str
    donor_prompt: str | None
    """What the donor was asked, where that is not what the host was."""
    kind: Kind
    window: int
    """Layers patched around a cell's, of `attn` and `mlp`."""
    metric: Metric
    answer: str
    foil: str | None
    """The object that log-odds are taken against; without it they are log p / (1 − p)."""
    engine: str
    """`regions` or `brute`: how it was computed, not what."""
    host_logprobs: Float[np.ndarray, " object"]
    """Of answer and foil in the host's own run."""
    donor_logprobs: Float[np.ndarray, " object"]
    """In the donor's own run."""
    patched_logprobs: Float[np.ndarray, "position layer *head object"]

    @cached_property
    def host_value(self) -> float:
        """The metric in the host's own run."""
        return float(self._measured(self.host_logprobs))

    @cached_property
    def donor_value(self) -> float:
        """The metric in the donor's own run."""
        return float(self._measured(self.donor_logprobs))

    @cached_property
    def scores(self) -> Float[np.ndarray, "position layer *head"]:
        """The metric in the host with one value of the donor's."""
        return self._measured(self.patched_logprobs)

    @cached_property
    def effects(self) -> Float[np.ndarray, "position layer *head"]:
        """(score − host) / (donor − host): 0 leaves the host as it is, 1 makes it say what the
        donor says, below 0 is further away. NaN as `shares_of` says."""
        return self.shares_of(self)

    def shares_of(self, other: "Grid") -> Float[np.ndarray, "position layer *head"]:
        """What these values move, as a share of another grid's gap between donor and host.

        So a null (a donor asked about another entity) has the scale of the grid it is the null of.
        NaN where the gap is below `LEAST_EFFECT` nats (of log-odds if that is the metric, else of
        log-probability), in either direction: a share of nothing would be noise.
        """
        nats = other if other.metric != "prob" else replace(other, metric="logprob")
        if abs(nats.donor_value - nats.host_value) < LEAST_EFFECT:
            return np.full_like(self.scores, np.nan)
        return (self.scores - self.host_value) / (other.donor_value - other.host_value)

    def of_foil(self) -> "Grid":
        """The same runs read for the foil. Raises `ConfigError` if there is none."""
        if self.foil is None:
            raise ConfigError("this grid has no foil; give one to `patch_states`")
        return replace(
            self,
            answer=self.foil,
            foil=self.answer,
            host_logprobs=self.host_logprobs[::-1],
            donor_logprobs=self.donor_logprobs[::-1],
            patched_logprobs=self.patched_logprobs[..., ::-1],
        )

    def rows(self, *, fact_id: str, null_of: "Grid | None" = None) -> list[dict[str, Any]]:
        """Rows of the table `patches`, one per position, layer and head.

        `null_of`: the grid that this one is a null of; its gap is the measure of `effect` then.
        """
        measure = self if null_of is None else null_of
        effects = self.shares_of(measure)
        blank = bool(np.isnan(effects).all())
        gap = f"the states differ by less than {LEAST_EFFECT:g} nat"
        fixed = {
            "fact_id": fact_id,
            "donor": self.donor,
            "host": self.host,
            "kind": self.kind,
            "window": self.window,
            "metric": self.metric,
            "object": self.answer,
            "foil": self.foil,
            "host_value": self.host_value,
            "donor_value": measure.donor_value,
            "null": "none" if null_of is None else "wrong_entity",
            "reason": gap if blank else None,
        }
        return [
            fixed
            | {
                "layer": self.layers[index[1]],
                "position": self.positions[index[0]],
                "head": None if self.heads is None else self.heads[index[2]],
                "token": self._token(self.positions[index[0]]),
                "in_subject": self.subject[0] <= self.positions[index[0]] < self.subject[1],
                "score": float(self.scores[index]),
                "effect": None if blank else float(effects[index]),
            }
            for index in np.ndindex(self.scores.shape)
        ]

    def _token(self, position: int) -> str:
        if self.kind == "subject":
            return "".join(self.tokens[slice(*self.subject)])
        return self.tokens[position]

    def _measured(self, logprobs: Float[np.ndarray, "*any object"]) -> Float[np.ndarray, "*any"]:
        return measured_array(logprobs, self.metric)


def patch_states(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str | None = None,
    *,
    donor: str | State | HookedModel = "clean",
    host: str | State,
    subject: str | None = None,
    kind: Kind = "resid",
    window: int = 1,
    positions: Sequence[int | str] | None = None,
    layers: Sequence[int] | None = None,
    donor_prompt: Prompt | str | None = None,
    metric: Metric = "logodds",
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> Grid:
    """Put each single value of a donor state into a host state, one at a time.

    Where the donor's value is the host's own, bit for bit, the score is the host's: two equal
    states give the host's value everywhere, and layers below the first difference cost nothing.

    Args:
        prompt: what the host is asked; a `Prompt`, or plain text with `subject`.
        answer, foil: as in `trace`: read at the first token at which they differ.
        donor: a state of this model, or another model of its shape and tokens, in the state that
            it is in. Swap donor and host for the other direction.
        kind: `resid` is the residual stream after a layer, and `subject` the same at all tokens of
            the subject at once; `attn` and `mlp` the outputs of `window` layers around it; `head`
            what one attention head adds, before the output projection (TransformerLens' `hook_z`).
        positions: indices, `subject_first`, `subject_last` or `last` (default: from the subject
            on; of heads `subject_last` and `last`; a whole subject has one, where it begins).
        layers: default: all.
        donor_prompt: what the donor is asked instead, of as many tokens: such as the same question
            about another entity, the null of a claim about this one.
        max_bytes: working memory, about.
        engine: `auto` computes only the region that each cell changes, where that reproduces this
            model's forward pass; `brute` runs a full forward pass per cell.

    Raises:
        PromptError: no subject, or not in the prompt; a donor's prompt of another length; answer
            and foil that no token tells apart.
        ConfigError: an unknown state, kind, metric or engine; a position or layer that does not
            exist; positions of a whole subject; a donor of another shape; numbers in a run that are
            not finite.
    """
    for name, value, known in (
        ("kind of state", kind, KINDS),
        ("metric", metric, METRICS),
    ):
        if value not in known:
            raise unknown_name(name, value, known)
    if window < 1:
        raise ConfigError(f"window={window}; it must be at least 1")
    model.resolve_state(host)
    giver = _giver(model, donor)
    question = ask(model, with_subject(prompt, subject), answer, foil)
    span = question.subject
    if span is None:
        raise PromptError(f"the subject {question.prompt.subject!r} holds no token of its prompt")
    if kind == "subject" and positions is not None:
        raise ConfigError(
            f"positions={list(positions)} with kind='subject': all tokens of the subject are put "
            "in at once; leave positions out, or ask for kind='resid'"
        )
    shared = question.ids[len(question.ids) - question.num_shared :].tolist()
    case = _Case(
        host=model,
        host_state=host,
        donor=giver,
        donor_state=giver.state if isinstance(donor, HookedModel) else donor,
        ids=question.ids,
        subject=span,
        donor_ids=_donor_ids(model, donor_prompt, shared, question.ids),
        kind=kind,
        window=window if kind in ("attn", "mlp") else 1,
        positions=_positions(question.ids, span, positions, kind),
        layers=_layers(model, layers),
        targets=question.targets,
        max_bytes=max_bytes,
        engine=choose_engine(model, engine),
    )
    found = _patch(case)
    check_finite(found.host, "the host's run")
    check_finite(found.donor, "the donor's run")
    shape = (len(case.positions), len(case.layers), *([model.num_heads] if kind == "head" else []))
    return Grid(
        tokens=question.tokens,
        subject=span,
        positions=case.positions,
        layers=case.layers,
        heads=tuple(range(model.num_heads)) if kind == "head" else None,
        donor=donor.name if isinstance(donor, HookedModel) else state_name(donor),
        host=state_name(host),
        donor_prompt=donor_prompt.text if isinstance(donor_prompt, Prompt) else donor_prompt,
        kind=kind,
        window=case.window,
        metric=metric,
        answer=answer,
        foil=foil,
        engine=case.engine,
        host_logprobs=found.host.double().cpu().numpy(),
        donor_logprobs=found.donor.double().cpu().numpy(),
        patched_logprobs=found.patched.double().cpu().numpy().reshape(*shape, -1),
    )


def _giver(model: HookedModel, donor: str | State | HookedModel) -> HookedModel:
    """The model whose values are taken; they must fit where they are put."""
    if not isinstance(donor, HookedModel):
        model.resolve_state(donor)
        return model
    sizes = ("num_layers", "d_model", "num_heads", "d_head", "vocab_size")
    differ = [
        f"{name} {getattr(donor, name)} and not {getattr(model, name)}"
        for name in sizes
        if getattr(donor, name) != getattr(model, name)
    ]
    if differ:
        raise ConfigError(
            f"the donor {donor.name} has {', '.join(differ)} of {model.name}: values can be put "
            "only into a model of the same shape"
        )
    return donor


def _donor_ids(
    model: HookedModel,
    donor_prompt: Prompt | str | None,
    shared: Sequence[int],
    ids: Int[Tensor, " pos"],
) -> Int[Tensor, " pos"]:
    if donor_prompt is None:
        return ids
    text = donor_prompt.text if isinstance(donor_prompt, Prompt) else donor_prompt
    own = [*model.tokenizer(text, add_special_tokens=False)["input_ids"], *shared]
    if len(own) != len(ids):
        raise PromptError(
            f"the donor's prompt has {len(own) - len(shared)} tokens and the host's "
            f"{len(ids) - len(shared)}, so their places do not match: choose a name of the same "
            "token length (`restor_interp.prompts.substitutes`)"
        )
    return torch.tensor(own, device=ids.device)


def _positions(
    ids: Int[Tensor, " pos"],
    span: tuple[int, int],
    asked: Sequence[int | str] | None,
    kind: Kind,
) -> tuple[int, ...]:
    if kind == "subject":
        return (span[0],)
    if asked is None and kind != "head":
        return tuple(range(span[0], len(ids)))
    names = HEAD_POSITIONS if asked is None else asked
    if not names:
        raise ConfigError("no position to patch: give indices or names, or leave positions out")
    tokens = Tokens(ids=[ids], subject=[span])
    return tuple(dict.fromkeys(resolve_position(tokens, 0, name) for name in names))


def _layers(model: HookedModel, asked: Sequence[int] | None) -> tuple[int, ...]:
    layers = tuple(range(model.num_layers)) if asked is None else tuple(asked)
    if not layers or not set(layers) <= set(range(model.num_layers)):
        raise ConfigError(
            f"layers {list(layers)} were asked for; {model.name} has layers 0 to "
            f"{model.num_layers - 1}"
        )
    return layers


# ---- the runs


@dataclass(frozen=True, kw_only=True)
class _Case:
    """Which values of which run are put where, and what is read."""

    host: HookedModel
    host_state: str | State
    donor: HookedModel
    donor_state: str | State
    ids: Int[Tensor, " pos"]
    donor_ids: Int[Tensor, " pos"]
    subject: tuple[int, int]
    kind: Kind
    window: int
    positions: tuple[int, ...]
    layers: tuple[int, ...]
    targets: Int[Tensor, " object"]
    """Tokens whose log-probability at the last position is wanted."""
    max_bytes: int
    engine: Literal["regions", "brute"]

    @property
    def start(self) -> int:
        return min(self.positions)

    @property
    def site(self) -> Literal["resid", "attn", "mlp", "head"]:
        """Where in a layer the values stand."""
        return "resid" if self.kind == "subject" else self.kind

    @property
    def width(self) -> int:
        """Tokens that a cell puts in at once."""
        return self.subject[1] - self.subject[0] if self.kind == "subject" else 1

    def cells(self) -> Iterator[tuple[int, range, int | None]]:
        """(position, layers, head) in the order of the grid."""
        heads = range(self.host.num_heads) if self.kind == "head" else (None,)
        for position in self.positions:
            for layer in self.layers:
                around = window_around(layer, self.window, self.host.num_layers)
                for head in heads:
                    yield position, around, head

    def run(self, model: HookedModel, ids: Int[Tensor, " pos"]) -> BaseRun:
        """A prompt in the state that the model is in."""
        return run_base(
            model,
            model.hf_model.get_input_embeddings()(ids[None]),
            start=self.start,
            outputs=() if self.site == "resid" else (self.site,),
            engine=self.engine,
        )

    def values(self, base: BaseRun) -> Float[Tensor, "layer pos *head width"]:
        """What a run has at the patched places, from `start` on."""
        layers = range(self.host.num_layers)
        return torch.stack([base.at(self.site, layer)[0] for layer in layers])

    def read(self, model: HookedModel) -> Callable[[Tensor], Tensor]:
        """From final residual streams to log-probabilities of the objects."""
        return lambda final: log_probs(model.project(final), self.targets)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Log-probabilities of the targets at the last position, in fp32."""

    host: Float[Tensor, " object"]
    donor: Float[Tensor, " object"]
    patched: Float[Tensor, "cell object"]


@torch.no_grad()
def _patch(case: _Case) -> _Found:
    with case.donor.at(case.donor_state):
        base = case.run(case.donor, case.donor_ids)
        given, donor = case.values(base), case.read(case.donor)(base.final)[0]
    with case.host.at(case.host_state):
        base, read = case.run(case.host, case.ids), case.read(case.host)
        host = read(base.final)[0]
        differs = (given != case.values(base)).any(dim=-1)
        cells = list(case.cells())
        patched = host.repeat(len(cells), 1)
        patches: dict[int, Patch] = {}
        for number, (position, layers, head) in enumerate(cells):
            place = slice(position - case.start, position - case.start + case.width)
            where = (slice(layers.start, layers.stop), place, *([] if head is None else [head]))
            # The host's own value changes nothing; the reference is not to rely on that.
            if case.engine == "brute" or differs[where].any():
                patches[number] = Patch(
                    site=case.site,
                    layers=layers,
                    position=position,
                    values=given[where],
                    head=head,
                )
        if patches:
            changed = run_patches(base, list(patches.values()), read, max_bytes=case.max_bytes)
            patched[list(patches)] = changed[:, 0]
    return _Found(host=host, donor=donor, patched=patched)


def window_around(layer: int, window: int, num_layers: int) -> range:
    """[max(0, l − w//2), min(L, l + ceil(w/2))): the layers around l, as Meng et al. 2022 take
    them."""
    return range(max(0, layer - window // 2), min(num_layers, layer + (window + 1) // 2))
