"""The command `trace`: where in a model an own sentence's answer comes from."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from restor_interp.cli.shown import AsJson, err_console, out_console, say, show_json

PAGE = Path("trace.html")


def trace(
    prompt: Annotated[str, typer.Argument(help="The text that the model is to continue.")],
    subject: Annotated[
        str, typer.Option("--subject", help="Those of its words that the answer is about.")
    ],
    answer: Annotated[
        str | None,
        typer.Option("--object", help="The answer that is traced; none: the model's own."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Another answer: log-odds are measured against it."),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Built-in name, hub id, folder or .gguf file.")
    ] = "smollm2-135m",
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="resid, mlp or attn: what is put back; may be repeated."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="prob, logprob or logodds; none: prob, and logodds with --against."),
    ] = None,
    substitute: Annotated[
        str | None,
        typer.Option(help="A name of as many tokens that takes the subject's place; none: noise."),
    ] = None,
    window: Annotated[int, typer.Option(help="Layers put back at once, for mlp and attn.")] = 10,
    samples: Annotated[int, typer.Option(help="Draws of noise.")] = 10,
    noise: Annotated[float, typer.Option(help="Its size, in deviations of the embeddings.")] = 3.0,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, mps, …")] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="The page: a file .html.")] = PAGE,
    as_json: AsJson = False,
) -> None:
    """Trace an answer: which state, put back where the subject was lost, brings it back?

    A map in the terminal, and a page of its own with the same map to hover over.
    """
    from restor_interp.reporting.single_page import write_single_page
    from restor_interp.reporting.tracepage import trace_document

    traces, name = _measured(
        prompt, subject, answer, against, model=model, kinds=tuple(kinds or ("resid",)),
        metric=metric or ("prob" if against is None else "logodds"), substitute=substitute,
        window=window, samples=samples, noise=noise, seed=seed, device=device,
    )  # fmt: skip
    command = shlex.join(["restor-interp", *sys.argv[1:]])
    document = trace_document(prompt, traces, model=name, command=command)
    page = write_single_page(document, out)
    if as_json:
        show_json(_as_values(prompt, traces, name, page))
        return
    _draw(prompt, traces, name)
    if out == PAGE:
        err_console.print("Name another page with --out to keep this one.", style="dim")
    say(f"\nOpen the map in a browser: {page}")


def _measured(
    prompt: str, subject: str, answer: str | None, against: str | None, *, model: str,
    kinds: Any, device: str, substitute: str | None, **settings: Any,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """kind -> its trace, and the model's name."""
    from restor_interp.measure.subjects import with_subject
    from restor_interp.measure.tracing import trace_many
    from restor_interp.models.loading import load_model

    asked = with_subject(prompt, subject)
    loaded = load_model(model, device=device)
    (found,) = trace_many(
        loaded, [asked], [answer], [against], kinds=kinds, substitutes=[substitute], **settings
    )
    return {str(kind): trace for kind, trace in found.items()}, loaded.name


def _draw(prompt: str, traces: dict[str, Any], model: str) -> None:
    from restor_interp.cli.maps import columns_of, draw_map
    from restor_interp.reporting.characters import one_line
    from restor_interp.reporting.tracepage import (
        SINK,
        best_place,
        effect_sentence,
        sentences,
        trace_map,
    )

    say(f"{one_line(prompt)} → {one_line(next(iter(traces.values())).answer.strip())}   ({model})")
    say(f"{effect_sentence(next(iter(traces.values())))}\n")
    told: list[str] = []
    for trace in traces.values():
        if best_place(trace) is not None:
            for line in draw_map(trace_map(trace, columns=columns_of(out_console)), out_console):
                out_console.print(line, soft_wrap=True)
            say("")
        told += sentences(trace)[1:]
    for text in dict.fromkeys(text for text in told if text != SINK):  # `trace` has warned of it
        out_console.print(text, markup=False, width=min(out_console.width, 100))


def _as_values(prompt: str, traces: dict[str, Any], model: str, page: Path) -> dict[str, Any]:
    from restor_interp.reporting.tracepage import best_place, sentences

    found = {}
    for kind, trace in traces.items():
        best = best_place(trace, subject_only=kind == "resid")
        found[kind] = {
            "metric": trace.metric,
            "high": trace.high,
            "low": trace.low,
            "total_effect": trace.total_effect,
            "best": None
            if best is None
            else {
                "layer": best.layer,
                "position": best.position,
                "token": best.token,
                "share": best.share,
            },
            "told": list(sentences(trace)),
            "rows": trace.rows(fact_id="", state=model),
        }
    first = next(iter(traces.values()))
    return {
        "prompt": prompt,
        "model": model,
        "tokens": list(first.tokens),
        "subject": list(first.subject),
        "answer": first.answer,
        "against": first.foil,
        "page": str(page),
        "traces": found,
    }
