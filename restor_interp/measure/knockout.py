"""Attention knockout: which tokens must be seen, and in which layers, for the answer to be given?

Geva et al. 2023, "Dissecting recall of factual associations in auto-regressive language models",
§4: the attention edges from some tokens to others are taken out (their scores are −inf before the
softmax) in a window of layers around every layer, one window at a time. Where the answer falls,
something went along these edges in these layers that it needs.

Every edge has a control: as many randomly chosen other tokens of the prompt, taken out of the same
tokens' sight.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.displays import as_html
from restor_interp.errors import ConfigError, PromptError, unknown_name
from restor_interp.measure.metrics import METRICS, Metric, measured_array
from restor_interp.measure.questions import (
    Question,
    ask,
    check_finite,
    log_probs,
)
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    Cut,
    Engine,
    choose_engine,
    run_base,
    run_patches,
)
from restor_interp.models.hooked import HookedModel
from restor_interp.models.tokens import tokenize
from restor_interp.prompts import Prompt

Edge = str | tuple[Sequence[int], Sequence[int]]
"""`subject->last` and the like (who is seen -> who sees it), or token indices (queries, keys)."""

SHARE_OF_LAYERS = 9 / 48
"""Depth of the default window: the paper's, 9 of the 48 layers of GPT-2 XL."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """Which edges are taken out."""

    edge: str
    """Its name; of token indices `keys->queries`, such as `3,4->9`."""
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    control: bool = False
    """Whether the keys were drawn at random, as a control of the edge."""


@dataclass(frozen=True, kw_only=True)
class Knockouts:
    """What taking out each edge, around each layer, does to the answer."""

    _repr_html_ = as_html

    tokens: tuple[str, ...]
    """The prompt's tokens as text; if answer and foil begin alike, with the tokens they share."""
    subject: tuple[int, int] | None
    """Tokens [start, end) of the subject."""
    cuttings: tuple[Cutting, ...]
    """Every edge, followed by its control where the prompt has tokens enough for one."""
    layers: tuple[int, ...]
    """The windows' centres."""
    window: int
    """Layers in which an edge is taken out at a time."""
    metric: Metric
    answer: str
    foil: str | None
    """The object that log-odds are taken against; without it they are log p / (1 − p)."""
    seed: int
    """Of the controls."""
    engine: str
    """`regions` or `brute`: how it was computed, not what."""
    base_logprobs: Float[np.ndarray, " object"]
    """Of answer and foil in the whole run."""
    cut_logprobs: Float[np.ndarray, "cutting layer object"]

    @cached_property
    def base(self) -> float:
        """The metric in the whole run."""
        return float(self._measured(self.base_logprobs))

    @cached_property
    def scores(self) -> Float[np.ndarray, "cutting layer"]:
        """The metric with edges taken out."""
        return self._measured(self.cut_logprobs)

    @property
    def effects(self) -> Float[np.ndarray, "cutting layer"]:
        """`scores` − `base`, in the metric's units: below 0 where the answer needed the edge."""
        return self.scores - self.base

    def of_foil(self) -> "Knockouts":
        """The same runs read for the foil. Raises `ConfigError` if there is none."""
        if self.foil is None:
            raise ConfigError("these knockouts have no foil; give one to `knock_out`")
        return replace(
            self,
            answer=self.foil,
            foil=self.answer,
            base_logprobs=self.base_logprobs[::-1],
            cut_logprobs=self.cut_logprobs[..., ::-1],
        )

    def rows(self, *, fact_id: str, state: str) -> list[dict[str, Any]]:
        """Rows of the table `knockouts`: one per edge or control, and layer. The control that an
        edge could not have is one row without a layer, with the reason."""
        fixed = {
            "fact_id": fact_id,
            "state": state,
            "window": self.window,
            "metric": self.metric,
            "object": self.answer,
            "foil": self.foil,
            "base": self.base,
            "control_seed": self.seed,
        }
        controlled = {cutting.edge for cutting in self.cuttings if cutting.control}
        rows = []
        for cutting, scores, effects in zip(self.cuttings, self.scores, self.effects, strict=True):
            own = fixed | _described(cutting)
            rows += [
                own
                | {"layer": layer, "score": float(score), "effect": float(effect), "reason": None}
                for layer, score, effect in zip(self.layers, scores, effects, strict=True)
            ]
            if cutting.edge not in controlled:
                reason = f"fewer than {len(cutting.keys)} other tokens to draw a control from"
                nothing = dict.fromkeys(("layer", "score", "effect"))
                without = {"key_positions": "", "control": True, "reason": reason}
                rows.append(own | nothing | without)
        return rows

    def _measured(self, logprobs: Float[np.ndarray, "*any object"]) -> Float[np.ndarray, "*any"]:
        return measured_array(logprobs, self.metric)


def knock_out(
    model: HookedModel,
    prompt: Prompt | str,
    answer: str,
    foil: str | None = None,
    *,
    edges: Sequence[Edge] = ("subject->last", "relation->last"),
    subject: str | None = None,
    window: int | None = None,
    layers: Sequence[int] | None = None,
    metric: Metric = "logodds",
    seed: int = 1,
    max_bytes: int = DEFAULT_MAX_BYTES,
    engine: Engine = "auto",
) -> Knockouts:
    """Take each edge out in a window of layers around every layer, one at a time, in the model's
    current state.

    Args:
        prompt: a `Prompt`, or plain text; then `subject` says which of its words.
        answer, foil: objects that follow the prompt after one space, read at their first token,
            or the first at which they differ.
        edges: `from->to`, where both are one of: `subject`, `subject_last`, `relation` (the
            question's other tokens, but for the last), `prefix` (what stands before the question:
            examples), `first` (token 0), `last`. Or a pair of token indices (queries, keys): these
            queries no longer see these keys. Token 0 collects attention whatever it says: give a
            question a prefix, or the relation holds it.
        window: layers [l − w//2, l + ceil(w/2)) around layer l, as far as there are any (default:
            the paper's share of all layers, 9 of 48, and at least one).
        layers: centres of windows (default: all).
        seed: of the controls: as many other tokens, neither token 0 nor one of the edge's own,
            that the edge's queries see.
        max_bytes: working memory, about.
        engine: `auto` computes only the region that each cut changes, where that reproduces this
            model's forward pass; `brute` runs a full forward pass per cut.

    Raises:
        PromptError: an edge of the subject and no subject; an edge without tokens; answer and foil
            that no token tells apart.
        ConfigError: an unknown edge, metric or engine; a token or layer that does not exist; a cut
            that leaves a token nothing to see; numbers in the run that are not finite.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    chosen = choose_engine(model, engine)
    if window is None:
        window = max(1, round(SHARE_OF_LAYERS * model.num_layers))
    if window < 1 or not edges:
        raise ConfigError(f"window={window} must be at least 1, and edges={edges} hold one")
    centres = tuple(range(model.num_layers) if layers is None else layers)
    outside = [layer for layer in centres if not 0 <= layer < model.num_layers]
    if outside or not centres:
        raise ConfigError(
            f"layers {list(centres)} were asked for; {model.name} has layers 0 to "
            f"{model.num_layers - 1}"
        )
    question = ask(model, prompt, answer, foil, subject=subject)
    groups = _groups(model, question)
    cuttings: list[Cutting] = []
    for edge in edges:
        cutting = _cutting(edge, groups, question)
        _check(model, cutting, question)
        control = _control(cutting, seed)
        cuttings += [cutting] if control is None else [cutting, control]
    windows = [
        range(max(0, layer - window // 2), min(model.num_layers, layer + (window + 1) // 2))
        for layer in centres
    ]
    base, cut = _run(model, question, cuttings, windows, chosen, max_bytes)
    check_finite(base, f"the run of {model.name}")
    check_finite(cut, f"a run of {model.name} without some edges")
    return Knockouts(
        tokens=question.tokens,
        subject=question.subject,
        cuttings=tuple(cuttings),
        layers=centres,
        window=window,
        metric=metric,
        answer=answer,
        foil=foil,
        seed=seed,
        engine=chosen,
        base_logprobs=base.double().cpu().numpy(),
        cut_logprobs=cut.double().cpu().numpy(),
    )


@torch.no_grad()
def _run(
    model: HookedModel,
    question: Question,
    cuttings: Sequence[Cutting],
    windows: Sequence[range],
    engine: Engine,
    max_bytes: int,
) -> tuple[Float[Tensor, " object"], Float[Tensor, "cutting layer object"]]:
    """Log-probabilities of the objects in the whole run, and without each edge in each window."""

    def read(final: Float[Tensor, "row width"]) -> Float[Tensor, "row object"]:
        return log_probs(model.project(final), question.targets)

    first = min(min(cutting.queries) for cutting in cuttings)
    embeddings = model.hf_model.get_input_embeddings()(question.ids[None])
    base = run_base(model, embeddings, start=first, engine=engine)
    rows = [
        Cut(layers=layers, queries=cutting.queries, keys=cutting.keys)
        for cutting in cuttings
        for layers in windows
    ]
    cut = run_patches(base, rows, read, max_bytes=max_bytes)[:, 0]
    return read(base.final)[0], cut.unflatten(0, (len(cuttings), len(windows)))


# ---- edges


def _groups(model: HookedModel, question: Question) -> dict[str, tuple[int, ...]]:
    """Names of tokens -> their indices."""
    prompt, last = question.prompt, len(question.ids) - 1
    prefix_and_rest = replace(
        prompt, subject=None, subject_span=(len(prompt.prefix), len(prompt.text))
    )
    asked = tokenize(model.tokenizer, [prefix_and_rest]).subject[0]
    start = last if asked is None else asked[0]
    own = () if question.subject is None else tuple(range(*question.subject))
    question_tokens = range(start, len(question.ids) - question.num_shared)
    return {
        "subject": own,
        "subject_last": own[-1:],
        "relation": tuple(t for t in question_tokens if t not in own and t != last),
        "prefix": tuple(range(start)),
        "first": (0,),
        "last": (last,),
    }


def _cutting(edge: Edge, groups: Mapping[str, tuple[int, ...]], question: Question) -> Cutting:
    if not isinstance(edge, str):
        queries, keys = (tuple(dict.fromkeys(int(t) for t in tokens)) for tokens in edge)
        name = "->".join(",".join(map(str, tokens)) for tokens in (keys, queries))
        return Cutting(edge=name, queries=queries, keys=keys)
    source, arrow, target = edge.partition("->")
    for name in (source, target):
        if not arrow or name not in groups:
            known = [f"{source}->last" for source in groups]
            raise unknown_name("edge", edge, known)
        if not groups[name]:
            raise PromptError(
                f"the edge {edge} has no tokens: {question.prompt.text[-80:]!r} has no {name}"
                + ("; give subject='…', or a Prompt with its span" if "subject" in name else "")
            )
    return Cutting(edge=edge, queries=groups[target], keys=groups[source])


def _check(model: HookedModel, cutting: Cutting, question: Question) -> None:
    length = len(question.ids)
    tokens = cutting.queries + cutting.keys
    if not cutting.queries or not cutting.keys or not all(0 <= t < length for t in tokens):
        raise ConfigError(
            f"the edge from keys {list(cutting.keys)} to queries {list(cutting.queries)}; the "
            f"prompt has tokens 0 to {length - 1}, and an edge at least one of each"
        )
    if min(cutting.keys) > max(cutting.queries):
        raise ConfigError(
            f"the edge {cutting.edge} does not exist: tokens {list(cutting.queries)} see none of "
            f"the later tokens {list(cutting.keys)}; an edge is (queries, keys)"
        )
    reach = getattr(model.hf_model.config.get_text_config(), "sliding_window", None) or length
    for query in cutting.queries:
        if not set(range(max(0, query - reach + 1), query + 1)) - set(cutting.keys):
            raise ConfigError(
                f"the edge {cutting.edge} leaves token {query} nothing to see: leave it a key"
            )


def _control(cutting: Cutting, seed: int) -> Cutting | None:
    """As many other tokens that the same queries see; none where there are fewer."""
    others = [token for token in range(1, min(cutting.queries)) if token not in cutting.keys]
    if len(others) < len(cutting.keys):
        return None
    drawn = random.Random(f"{seed} {cutting.edge}").sample(others, len(cutting.keys))
    return replace(cutting, keys=tuple(sorted(drawn)), control=True)


def _described(cutting: Cutting) -> dict[str, Any]:
    return {
        "edge": cutting.edge,
        "query_positions": ",".join(map(str, cutting.queries)),
        "key_positions": ",".join(map(str, cutting.keys)),
        "control": cutting.control,
    }
