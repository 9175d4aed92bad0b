"""A causal trace told: what it found in sentences, as a map for a terminal, and as a page.

Where a state brings the answer back is read from the shares of the total effect (`Trace.effects`).
At the last token, the residual stream after the last layer brings everything back by itself, so
the largest cell of that map says nothing: its readings are the best place at the subject, and from
which layer on the last token alone suffices.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from restor_interp.reporting.characters import one_line, shorten, token_label
from restor_interp.reporting.formats import percent, plain, plural, probability
from restor_interp.reporting.interventions import TRACES
from restor_interp.reporting.parts import (
    Callout,
    Code,
    Details,
    Document,
    Heatmaps,
    KeyValues,
    Panel,
    Paragraph,
    Part,
    Section,
)
from restor_interp.reporting.rows import KINDS, UNITS

if TYPE_CHECKING:
    from restor_interp.measure.traces import Trace

HALF = 0.5
"""The share of the total effect from which on a place is said to bring the answer back."""
LABEL = 16
"""Code points of a token beside a map."""
CAUTION = (
    "Where an answer can be brought back is not by itself where it is stored (Hase et al. 2023)."
)
SINK = (
    "The subject holds the first token, at which attention rests whatever it says: what is done "
    "there is partly not about the subject. Compare with a word before it."
)


@dataclass(frozen=True, kw_only=True)
class TraceMap:
    """A trace's shares for a screen: a row per token from the subject on, a column per group of
    neighbouring layers."""

    title: str
    labels: tuple[str, ...]
    in_subject: tuple[bool, ...]
    layers: tuple[tuple[int, int], ...]
    """(first, last) layer of every column."""
    cells: tuple[tuple[float, ...], ...]
    """`[token][column]`: the largest share in the column's layers; NaN: not measured."""

    @property
    def group(self) -> int:
        """Layers per column."""
        return self.layers[0][1] - self.layers[0][0] + 1


def trace_map(trace: "Trace", *, columns: int) -> TraceMap:
    """The shares of a trace in at most so many columns."""
    start, count = trace.subject[0], trace.effects.shape[1]
    size = max(1, math.ceil(count / max(1, columns)))
    groups = tuple((at, min(at + size, count) - 1) for at in range(0, count, size))
    effects = trace.effects[start:]
    cells = tuple(
        tuple(_largest(row[first : last + 1]) for first, last in groups) for row in effects
    )
    return TraceMap(
        title=f"{KINDS[trace.kind]}{_windowed(trace)}, put back at one token",
        labels=tuple(shorten(token_label(token), LABEL) for token in trace.tokens[start:]),
        in_subject=tuple(at < trace.subject[1] for at in range(start, len(trace.tokens))),
        layers=groups,
        cells=cells,
    )


def _largest(values: np.ndarray) -> float:
    found = values[np.isfinite(values)]
    return float(found.max()) if found.size else math.nan


def _windowed(trace: "Trace") -> str:
    return "" if trace.kind == "resid" else f" of {trace.window} layers"


# ---- in sentences


def effect_sentence(trace: "Trace") -> str:
    """What the run without the subject takes from the answer."""
    subject = "".join(trace.tokens[slice(*trace.subject)]).strip()
    how = (
        f"“{trace.substitute}” in the place of “{subject}”"
        if trace.substitute is not None
        else f"Noise on “{subject}”"
    )
    write = probability if trace.metric == "prob" else plain
    unit = "" if trace.metric == "prob" else " nats"
    return one_line(
        f"{how} takes the {_measure(trace)} from {write(trace.high)} to {write(trace.low)}{unit}"
        f" (total effect {write(trace.total_effect)}{unit}"
        f"{'' if trace.substitute is not None else ', mean of ' + _draws(trace)})."
    )


def _draws(trace: "Trace") -> str:
    return plural(len(trace.low_samples), "draw")


def _measure(trace: "Trace") -> str:
    answer = f"“{trace.answer.strip()}”"
    match trace.metric:
        case "prob":
            return f"probability of {answer}"
        case "logprob":
            return f"log-probability of {answer}"
        case _:
            against = f" against “{trace.foil.strip()}”" if trace.foil else ""
            return f"log-odds of {answer}{against}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One cell of a trace."""

    layer: int
    token: str
    position: int
    share: float


def best_place(trace: "Trace", *, subject_only: bool = False) -> Place | None:
    """The cell that brings most back, from the subject on; None where shares were not measured.

    Of equal ones the earliest layer, then the earliest token.
    """
    start, end = trace.subject if subject_only else (trace.subject[0], len(trace.tokens))
    effects = trace.effects[start:end]
    if not np.isfinite(effects).any():
        return None
    layer, row = np.unravel_index(np.nanargmax(effects.T), effects.T.shape)
    return Place(
        layer=int(layer),
        token=trace.tokens[start + row],
        position=int(start + row),
        share=float(effects[row, layer]),
    )


def last_token_since(trace: "Trace") -> int | None:
    """The layer from which on the last token alone brings back at least half; None: never."""
    since = None
    for layer in reversed(range(trace.effects.shape[1])):
        if not trace.effects[-1, layer] >= HALF:
            break
        since = layer
    return since


def subject_until(trace: "Trace") -> int | None:
    """The last layer after which one token of the subject still brings back at least half."""
    reached = np.flatnonzero((trace.effects[slice(*trace.subject)] >= HALF).any(axis=0))
    return int(reached[-1]) if reached.size else None


def peak_sentence(trace: "Trace") -> str:
    """Where most comes back."""
    best = best_place(trace, subject_only=trace.kind == "resid")
    if best is None:
        return (
            "That is less than 1 nat: too little to say which part of it a state brings back, so "
            "there is no map. Take a prompt whose answer depends on its subject, or more noise."
        )
    where = f"layer {best.layer} at “{token_label(best.token)}”"
    what = {
        "resid": f"Of the subject's tokens, the residual stream after {where}",
        "mlp": f"The MLP outputs of {trace.window} layers around {where}",
        "attn": f"The attention outputs of {trace.window} layers around {where}",
    }[trace.kind]
    verb = "brings" if trace.kind == "resid" else "bring"
    return one_line(f"{what} {verb} back most: {percent(best.share)}% of it.")


def meaning_sentence(trace: "Trace") -> str:
    """What that means, in one sentence; empty where nothing was located."""
    best = best_place(trace, subject_only=trace.kind == "resid")
    if best is None:
        return ""
    if trace.kind != "resid":
        enough = "is enough for" if best.share >= HALF else "is less than half of"
        part = "MLP" if trace.kind == "mlp" else "attention"
        return (
            f"What these {part} layers write there {enough} what the answer needs of the subject."
        )
    until, since = subject_until(trace), last_token_since(trace)
    if until is None:
        first = "No single token of the subject brings half of it back"
    else:
        first = f"One token of the subject brings half of it back until layer {until}"
    if since is None:
        return f"{first}, and no layer of the last token does."
    told = f"{first}, and the last token does from layer {since} on"
    between = until is not None and since > until + 1
    return f"{told}; between them no single token does." if between else f"{told}."


def sentences(trace: "Trace") -> tuple[str, ...]:
    """Effect, place, meaning, caution; and what to be wary of in this prompt."""
    told = [effect_sentence(trace), peak_sentence(trace), meaning_sentence(trace)]
    if best_place(trace) is not None:
        told.append(CAUTION)
    if trace.subject[0] == 0:
        told.append(SINK)
    return tuple(filter(None, told))


# ---- as a page


def trace_document(
    prompt: str, traces: Mapping[str, "Trace"], *, model: str, command: str = ""
) -> Document:
    """The page of one prompt: a map per kind of state (kind -> its trace), and how it was made."""
    first = next(iter(traces.values()))
    parts: list[Part] = [Callout(effect_sentence(first), tone="verdict")]
    for trace in traces.values():
        parts += [Paragraph(text) for text in sentences(trace)[1:]]
    parts.append(Section("Where the answer comes back", trace_maps_of(traces), intro=TRACES))
    parts.append(Section("How it was measured", _how(first, prompt, model, command)))
    return Document(
        shorten(one_line(prompt), 120),
        tuple(dict.fromkeys(parts)),
        subtitle=f"causal trace · {model} · answer “{first.answer.strip()}”",
    )


def trace_maps_of(traces: Mapping[str, "Trace"]) -> tuple[Part, ...]:
    """Shares of the effect on one scale, then the metric itself, a map per kind of state."""
    parts: list[Part] = []
    shares = [trace for trace in traces.values() if best_place(trace) is not None]
    if shares:
        parts.append(
            Heatmaps(
                title="Share of the effect that comes back",
                panels=tuple(_panel(trace, trace.effects) for trace in shares),
                value_title="share of the total effect",
                low=min(0.0, *(float(np.nanmin(trace.effects)) for trace in shares)),
                high=max(1.0, *(float(np.nanmax(trace.effects)) for trace in shares)),
                low_words="nothing",
                high_words="all of it",
                caption=f"{' '.join(map(peak_sentence, shares))} Dotted: the subject.",
                **_fields(shares[0]),
            )
        )
    first = next(iter(traces.values()))
    scores = Heatmaps(
        title=f"The {_measure(first)} itself",
        panels=tuple(_panel(trace, trace.scores) for trace in traces.values()),
        value_title=UNITS[first.metric],
        caption=effect_sentence(first),
        **_fields(first),
    )
    parts.append(Details("The same in the metric's own unit", (scores,), open=not shares))
    return tuple(parts)


def _panel(trace: "Trace", values: np.ndarray) -> Panel:
    """Values of `[position, layer]` as a map of layers, tokens from the subject on."""
    shown = values[trace.subject[0] :].T
    return Panel(
        f"{KINDS[trace.kind]}{_windowed(trace)}",
        tuple(tuple(float(value) for value in row) for row in shown),
    )


def _fields(trace: "Trace") -> dict:
    start, end = trace.subject
    return {
        "rows": tuple(str(layer) for layer in range(trace.effects.shape[1])),
        "columns": tuple(trace.tokens[start:]),
        "row_title": "layer",
        "column_title": "token",
        "tokens": True,
        "subject": tuple(range(end - start)),
    }


def _how(trace: "Trace", prompt: str, model: str, command: str) -> tuple[Part, ...]:
    if trace.substitute is not None:
        without = f"“{trace.substitute}” in the subject's place"
    else:
        sigma = 0.0 if trace.sigma is None else trace.sigma
        without = (
            f"{trace.noise:g} × {sigma:.3g} ({trace.sigma_source}) on the subject's embeddings, "
            f"{_draws(trace)}, seed {trace.seed}"
        )
    items: Sequence[tuple[str, str]] = (
        ("prompt", prompt),
        ("subject", "".join(trace.tokens[slice(*trace.subject)]).strip()),
        ("answer", trace.answer.strip()),
        ("against", trace.foil.strip() if trace.foil else "nothing"),
        ("model", model),
        ("metric", UNITS[trace.metric]),
        ("without the subject", without),
        ("objects are read", "whole" if trace.whole else "at the first token where they differ"),
        ("computed by", trace.engine),
        ("source", "Meng et al. 2022, Locating and editing factual associations in GPT, §2"),
    )
    return (KeyValues(tuple(items)), *((Code(command),) if command else ()))
