"""What does it cost to intervene on every state of a prompt, beside the usual ways, in one run?

    python benchmarks/tracing.py                  # the embedded model, about 6 minutes on 2 cores
    python benchmarks/tracing.py --quick          # a few cells of each: does it work?
    python benchmarks/tracing.py --plot docs/tracing-cost.svg        # how cost grows, as a plot
    python benchmarks/tracing.py --device cuda --dtype bfloat16 --shape llama-8b

Everything restores the same cells (token, layer) in the same noised runs. The baselines:

* the ROME loop: one forward pass per cell, its clean and noised runs batched, all logits (the
  procedure of Meng et al. 2022);
* a batched loop: up to 60 rows (cells × noised runs) per forward pass, with all logits, and with
  those of the last position alone, which is the honest baseline;
* transformer-lens' `get_act_patch_*`: one row per cell, since it knows no noise; in its place the
  subject of another prompt stands;
* the bare matrix products of the region that the cells can change (every token from a cell's on,
  in every layer above it, and the base runs), with nothing around them. Of this region we compute
  less: the first lost token goes on as in the clean run once it is restored.

A baseline marked * was timed on an even sample of the cells, and its seconds are scaled to all of
them. Ours, the honest baseline and the bare products take turns, so that what else the machine does
falls on all three. Differences are to the honest baseline, on the cells that both computed. The
first call of everything (a model's self-check, torch's own preparations) is not timed.

A `--shape` has random weights and words of one token each: weights do not change the cost.
"""

import argparse
import itertools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import restor_interp as ri
from restor_interp.measure.regions import (
    DEFAULT_MAX_BYTES,
    Job,
    Patch,
    bytes_per_token,
    run_base,
    run_many,
    token_layers,
)
from restor_interp.measure.restoring import regions_problem
from restor_interp.models.deltas import Delta, LowRank
from restor_interp.reporting.svg import write_svg
from restor_interp.testing import tiny_tokenizer

ROWS = 60
"""Rows of a batched forward pass."""
DRAWS = 10
WINDOW = 10

SHAPES: Mapping[str, Mapping[str, int]] = {
    "llama-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "smollm2-135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
    },
    "tiny": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
    },
}

EXAMPLES = "".join(
    f"What is the capital of {country}? {city}\n"
    for country, city in (
        ("France", "Paris"),
        ("Germany", "Berlin"),
        ("Spain", "Madrid"),
        ("Italy", "Rome"),
        ("Egypt", "Cairo"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt to trace."""

    title: str
    text: str
    subject: str
    other: str
    """A subject of as many tokens."""
    answer: str
    foil: str


def questions(*, real: bool) -> list[Question]:
    """Real ones for a real model; for random weights, words of its tokenizer."""
    if real:
        sentence = Question(
            title="one sentence",
            text="The Eiffel Tower is located in the city of",
            subject="Eiffel Tower",
            other="Empire State Building",
            answer="Paris",
            foil="Rome",
        )
    else:
        sentence = Question(
            title="one sentence",
            text="The Alice Stone River was born in the city of",
            subject="Alice Stone River",
            other="Clara Stone Field",
            answer="Paris",
            foil="Rome",
        )
    return [
        sentence,
        Question(
            title="five shots, two tokens from the subject on",
            text=EXAMPLES + "What is the capital of Peru?",
            subject="Peru",
            other="London",
            answer="Lima",
            foil="Oslo",
        ),
        Question(
            title="five shots, four tokens from the subject on",
            text=EXAMPLES + "What is the capital of Peru or Oslo?",
            subject="Peru or Oslo",
            other="Lima or Rome",
            answer="Lima",
            foil="London",
        ),
    ]


# ---- the work


@dataclass(frozen=True, kw_only=True)
class Work:
    """Cells to restore, in runs whose subject is noised."""

    model: ri.HookedModel
    question: Question
    ids: Int[Tensor, " pos"]
    span: tuple[int, int]
    """Tokens of the subject."""
    draws: Float[Tensor, "draw pos width"]
    kind: str
    cells: Sequence[tuple[int, int]]
    """(position, layer), all from the subject on."""
    target: int

    @property
    def num_layers(self) -> int:
        return self.model.num_layers

    def layers(self, layer: int) -> range:
        """The layers that a cell restores, as in the published code."""
        if self.kind == "resid":
            return range(layer, layer + 1)
        return range(max(0, layer - WINDOW // 2), min(self.num_layers, layer + (WINDOW + 1) // 2))

    def enters(self, layer: int) -> int:
        """The first layer whose work a cell changes."""
        return layer + 1 if self.kind == "resid" else self.layers(layer).start

    # Token-layers: one token carried through one layer.

    @property
    def full(self) -> int:
        """Token-layers of a forward pass per cell and draw, and of the clean and noised runs."""
        rows = len(self.cells) * len(self.draws) + 1 + len(self.draws)
        return rows * len(self.ids) * self.num_layers

    @property
    def base(self) -> list[int]:
        """Per layer: tokens of the clean and noised runs, which share what precedes the subject."""
        own = (1 + len(self.draws)) * (len(self.ids) - self.span[0])
        return [self.span[0] + own] * self.num_layers

    @property
    def region(self) -> list[int]:
        """Per layer: tokens that the cells can change, and those of the base runs."""
        tokens = self.base
        for position, layer in self.cells:
            for above in range(self.enters(layer), self.num_layers):
                tokens[above] += len(self.draws) * (len(self.ids) - position)
        return tokens


def make_work(model: ri.HookedModel, question: Question, kind: str, *, quick: bool) -> Work:
    """The question in tokens, noised as `trace` does it: RandomState(1), 3 standard deviations."""
    encoded = model.tokenizer(question.text, add_special_tokens=False, return_offsets_mapping=True)
    first = question.text.index(question.subject)
    inside = [
        index
        for index, (start, end) in enumerate(encoded["offset_mapping"])
        if start < first + len(question.subject) and end > first
    ]
    span = (inside[0], inside[-1] + 1)
    ids = torch.tensor(encoded["input_ids"], device=model.device)
    embed = model.hf_model.get_input_embeddings()
    embeddings = embed(ids).detach()
    draws = 2 if quick else DRAWS
    noise = np.random.RandomState(1).randn(draws, span[1] - span[0], model.d_model)
    noised = embeddings.repeat(draws, 1, 1)
    spread = 3 * float(embed.weight.detach().float().std())
    added = spread * torch.from_numpy(noise)
    noised[:, slice(*span)] += added.to(noised)
    answered = model.tokenizer(f"{question.text} {question.answer}", add_special_tokens=False)
    cells = [(t, layer) for t in range(span[0], len(ids)) for layer in range(model.num_layers)]
    return Work(
        model=model,
        question=question,
        ids=ids,
        span=span,
        draws=noised,
        kind=kind,
        cells=cells,
        target=answered["input_ids"][len(ids)],
    )


def sampled(work: Work, every: int) -> Work:
    """Every so-manieth cell, from the middle of the first such stretch on."""
    every = min(every, len(work.cells))
    return replace(work, cells=[work.cells[i] for i in range(every // 2, len(work.cells), every)])


def in_turns(work: Work, turns: int) -> list[Work]:
    """The cells in as many shares, each of whole batches."""
    size = max(1, ROWS // len(work.draws))
    batches = [work.cells[first : first + size] for first in range(0, len(work.cells), size)]
    shares = [[*itertools.chain(*batches[turn::turns])] for turn in range(turns)]
    return [replace(work, cells=cells) for cells in shares if cells]


# ---- baselines


@torch.no_grad()
def loop(
    work: Work, *, rows: int, last_logits: bool, clean_row: bool = False
) -> Float[Tensor, "cell draw"]:
    """Log-probabilities of the answer: forward passes with plain hooks, some cells in each."""
    model, draws = work.model, work.draws
    clean = model.hf_model.get_input_embeddings()(work.ids)[None]
    stored = _outputs(work, clean)
    per_cell = torch.cat([clean, draws]) if clean_row else draws
    at_once = max(1, rows // len(per_cell))
    found = []
    for first in range(0, len(work.cells), at_once):
        cells = work.cells[first : first + at_once]
        handles = [
            module.register_forward_hook(_restoring(work, cells, layer, stored[layer], clean_row))
            for layer, module in enumerate(_modules(work))
        ]
        logits = model.hf_model(
            inputs_embeds=per_cell.repeat(len(cells), 1, 1),
            use_cache=False,
            logits_to_keep=1 if last_logits else 0,
        ).logits[:, -1]
        for handle in handles:
            handle.remove()
        read = logits.float().log_softmax(-1)[:, work.target]
        found.append(read.unflatten(0, (len(cells), -1))[:, int(clean_row) :])
    return torch.cat(found)


def _modules(work: Work) -> list[torch.nn.Module]:
    part = {"resid": "", "mlp": "mlp", "attn": "self_attn"}[work.kind]
    return [layer.get_submodule(part) for layer in work.model.layers]


def _outputs(work: Work, clean: Tensor) -> list[Float[Tensor, "pos width"]]:
    """What the restored modules give in the clean run."""
    stored: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        stored.append((output[0] if isinstance(output, tuple) else output)[0])

    handles = [module.register_forward_hook(keep) for module in _modules(work)]
    work.model.hf_model(inputs_embeds=clean, use_cache=False)
    for handle in handles:
        handle.remove()
    return stored


def _restoring(
    work: Work, cells: Sequence[tuple[int, int]], here: int, stored: Tensor, clean_row: bool
) -> Callable[..., Any]:
    per_cell = len(work.draws) + clean_row

    def restore(module: Any, inputs: Any, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        for index, (position, layer) in enumerate(cells):
            if here in work.layers(layer):
                # In place: nothing else holds this output, and a copy would be unfair.
                value[index * per_cell : (index + 1) * per_cell, position] = stored[position]
        return output

    return restore


def transformer_lens(work: Work, bridge: Any) -> Callable[[], Float[Tensor, " cell"]]:
    """Its patching of the same cells, one row each, as a function to be timed.

    Its stream is that before a layer: a cell of ours is its cell one layer up. The last layer has
    none, and is left out.
    """
    from transformer_lens import patching

    patch = {
        "resid": patching.get_act_patch_resid_pre,
        "attn": patching.get_act_patch_attn_out,
        "mlp": patching.get_act_patch_mlp_out,
    }[work.kind]
    shift = int(work.kind == "resid")
    cells = [(layer + shift, position) for position, layer in work.cells]
    index = pd.DataFrame(cells, columns=["layer", "pos"])
    name = {"resid": "resid_pre", "attn": "attn_out", "mlp": "mlp_out"}[work.kind]
    others = _tokens(
        work.model, work.question.text.replace(work.question.subject, work.question.other)
    )

    def measured(logits: Tensor) -> Tensor:
        return logits[0, -1].float().log_softmax(-1)[work.target]

    def run() -> Tensor:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(
                work.ids[None], names_filter=lambda hook: hook.endswith(name)
            )
            return patch(
                bridge, others[None], cache, measured, index_axis_names=None, index_df=index
            )

    return run


def _tokens(model: ri.HookedModel, text: str) -> Tensor:
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return torch.tensor(ids, device=model.device)


@torch.no_grad()
def bare_products(work: Work, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
    """Nothing but the matrix products of the region, with as many tokens in each as ours.

    Attention's own products are not counted: on short prompts they are a percent.
    """
    model = work.model
    base = run_base(model, work.draws[:1], start=work.span[0])
    at_once = max_bytes // bytes_per_token(base)
    matrices = [
        [module.weight.T for module in layer.modules() if isinstance(module, torch.nn.Linear)]
        for layer in model.layers
    ]
    unembed = model.hf_model.get_output_embeddings().weight.T
    rows = (len(work.cells) + 1) * len(work.draws) + 1
    inputs = {
        width: torch.ones(min(at_once, max(*work.region, rows)), width).to(unembed)
        for width in {matrix.shape[0] for matrix in [*matrices[0], unembed]}
    }
    for layer, tokens in enumerate(work.region):
        for count in _parts(tokens, at_once):
            for matrix in matrices[layer]:
                torch.matmul(inputs[matrix.shape[0]][:count], matrix)
    for count in _parts(rows, min(at_once, max_bytes // (12 * model.vocab_size))):
        torch.matmul(inputs[unembed.shape[0]][:count], unembed)


@torch.no_grad()
def region_job(work: Work) -> Job:
    """The cells as rows of the engine, after its base run."""
    model, start = work.model, work.span[0]
    clean = model.hf_model.get_input_embeddings()(work.ids)[None]
    base = run_base(model, torch.cat([clean, work.draws]), start=start)
    above = base.above(start + 1)
    rows = [
        Patch(
            site="resid",
            layers=range(layer, layer + 1),
            position=position,
            values=base.at("resid", layer)[:1, position - start, None],
            above=above if position == start else None,
        )
        for position, layer in work.cells
    ]

    def read(final: Tensor) -> Tensor:
        return model.project(final).float().log_softmax(-1)[:, [work.target]]

    return Job(base=base.draws(1, base.num_draws), rows=rows, read=read)


def _parts(number: int, at_once: int) -> Iterator[int]:
    for first in range(0, number, at_once):
        yield min(at_once, number - first)


# ---- timing


def seconds(call: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Wall-clock seconds of a call, and what it gives."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    value = call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, value


def best(call: Callable[[], Any], device: torch.device, times: int) -> tuple[float, Any]:
    """The median of some timings, and what the last call gave."""
    found = [seconds(call, device) for _ in range(times)]
    return sorted(took for took, _ in found)[times // 2], found[-1][1]


def gap(one: Tensor, other: Tensor) -> str:
    """Largest difference in probability and in log-probability."""
    one, other = one.double().cpu(), other.double().cpu()
    in_p = (one.exp() - other.exp()).abs().max().item()
    return f"{in_p:9.1e}  {(one - other).abs().max().item():9.1e}"


HEAD = f"  {'':44} {'seconds':>9} {'× ours':>8} {'cells':>7} {'max |Δp|':>9}  {'|Δ log p|':>9}"


def line(name: str, took: float, ours: float, cells: int, gaps: str = "", mark: str = "") -> None:
    """One line of a table."""
    print(f"  {name:44} {took:8.2f}{mark or ' '} {took / ours:8.2f} {cells:7} {gaps}", flush=True)


# ---- the tables


def trace_table(
    model: ri.HookedModel, question: Question, options: argparse.Namespace, bridge: Any
) -> None:
    """All ways to restore the residual stream, side by side."""
    quick, device = options.quick, model.device
    work = make_work(model, question, "resid", quick=quick)
    number = len(work.cells)
    print(
        f"\n{question.title}: {len(work.ids)} tokens, the subject from token {work.span[0]} on, "
        f"{number} cells × {len(work.draws)} draws, resid"
    )
    print(HEAD)
    # The last prompt's loop would take a third of the whole time.
    thin = 29 if quick else 2 if number > 100 and work.span[0] > 10 else 1
    honest_work = sampled(work, thin)
    turns = 1 if quick else options.repeats
    shares = in_turns(honest_work, turns)
    timed: list[list[tuple[float, Any]]] = []
    for share in shares:
        calls = (
            lambda: ours(work),
            lambda: bare_products(work),
            lambda s=share: loop(s, rows=ROWS, last_logits=True),
        )
        timed.append([seconds(call, device) for call in calls])
    took, bare, _ = (float(np.mean([turn[i][0] for turn in timed])) for i in range(3))
    honest = sum(turn[2][0] for turn in timed) * number / len(honest_work.cells)
    traced = timed[-1][0][1]
    found = torch.from_numpy(traced.restored_logprobs[..., 0])[:, work.span[0] :]
    found = found.flatten(1).T  # cell draw

    kept = {
        cell: value
        for share, turn in zip(shares, timed, strict=True)
        for cell, value in zip(share.cells, turn[2][1], strict=True)
    }

    def against(cells: Sequence[tuple[int, int]], values: Tensor) -> str:
        both = [i for i, cell in enumerate(cells) if cell in kept]
        return gap(values[both], torch.stack([kept[cells[i]] for i in both])) if both else ""

    mark = "*" if thin > 1 else " "
    line("ri.trace, base runs included", took, took, number, against(work.cells, found))
    line("batched loop, last logits (honest)", honest, took, len(honest_work.cells), "", mark)
    for name, every, keywords in (
        ("batched loop, all logits", 6, {"rows": ROWS, "last_logits": False}),
        ("ROME loop, all logits", 7, {"rows": 1, "last_logits": False, "clean_row": True}),
    ):
        part = sampled(work, thin if quick else every)
        spent, values = seconds(lambda p=part, k=keywords: loop(p, **k), device)
        spent *= number / len(part.cells)
        line(name, spent, took, len(part.cells), against(part.cells, values), "*")
    lens_rows(work, bridge, took, every=29 if quick else 7)
    line("bare matrix products of the region", bare, took, number)

    region, job = sum(work.region), token_layers(region_job(work))
    assert region == job.region + sum(work.base), "two counts of the same region"
    computed = job.computed + sum(work.base)
    allowed, reached = work.full / region, honest / took
    print(
        f"  token-layers: {work.full:,} by full forward passes, {region:,} in the region, "
        f"{computed:,} computed\n"
        f"  the region allows {allowed:.1f} ×, reached are {reached:.2f} ×: a share of "
        f"{reached / allowed:.2f}; {took / bare:.2f} × the bare products"
    )


def ours(work: Work, **keywords: Any) -> ri.Trace:
    """`ri.trace` of the question."""
    asked = work.question
    settings = {"kind": work.kind, "window": WINDOW, "samples": len(work.draws), "seed": 1}
    return ri.trace(work.model, asked.text, asked.answer, asked.subject, **{**settings, **keywords})


def lens_rows(work: Work, bridge: Any, took: float, *, every: int) -> None:
    """transformer-lens on single rows, and `ri.trace` on the same rows."""
    if bridge is None:
        print("  (transformer-lens: left out, for want of memory for a second model)")
        return
    for kind in ("resid", "attn", "mlp"):
        top = work.num_layers - (kind == "resid")
        known = replace(work, kind=kind, cells=[c for c in work.cells if c[1] < top])
        part = sampled(known, every * (1 if kind == "resid" else 3))
        cells = part.cells
        spent, values = seconds(transformer_lens(part, bridge), work.model.device)
        single = ours(part, substitute=work.question.other, window=1)
        own = torch.from_numpy(single.restored_logprobs[0, :, :, 0])
        own = torch.stack([own[position, layer] for position, layer in cells])
        scaled = spent * len(work.cells) / len(cells)
        name = {"resid": "resid_pre", "attn": "attn_out", "mlp": "mlp_out"}[kind]
        line(
            f"transformer-lens {name}, 1 row per cell",
            scaled,
            took,
            len(cells),
            gap(own, values),
            "*",
        )


def window_table(model: ri.HookedModel, question: Question, options: argparse.Namespace) -> None:
    """Windowed mlp and attn against the honest loop."""
    for kind in ("mlp", "attn"):
        work = make_work(model, question, kind, quick=options.quick)
        took, traced = seconds(lambda w=work: ours(w), model.device)
        part = sampled(work, 29 if options.quick else 15)
        honest, reference = seconds(
            lambda p=part: loop(p, rows=ROWS, last_logits=True), model.device
        )
        honest *= len(work.cells) / len(part.cells)
        found = torch.from_numpy(traced.restored_logprobs[..., 0])
        found = torch.stack([found[:, position, layer] for position, layer in part.cells])
        line(f"ri.trace, {kind} of {WINDOW} layers", took, took, len(work.cells))
        line(
            f"batched loop, last logits, {kind}",
            honest,
            took,
            len(part.cells),
            gap(found, reference),
            "*",
        )


def memory_table(model: ri.HookedModel, question: Question, options: argparse.Namespace) -> None:
    """Peak memory of the same cells once and twice: it is a matter of `max_bytes` alone."""
    work = make_work(model, question, "resid", quick=options.quick)
    max_bytes = DEFAULT_MAX_BYTES // (8 if options.quick else 1)  # less than all rows need
    print(f"\nmemory above the loaded model, max_bytes = {max_bytes / 2**20:.0f} MiB")
    run_many([region_job(replace(work, cells=work.cells[:9]))], max_bytes=max_bytes)
    before = memory_in_use(model.device)
    for times in (1, 2):
        cells = list(work.cells) * times
        run_many([region_job(replace(work, cells=cells))], max_bytes=max_bytes)
        above = (most_memory(model.device) - before) / 2**20
        print(f"  {len(cells):6} cells × {len(work.draws)} draws: {above:8.0f} MiB", flush=True)


def memory_elsewhere(arguments: Sequence[str]) -> None:
    """The same in a process that gives back what it frees, so that tensors are counted and not
    what the C library keeps for later."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--memory"]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    print("\n" + told.stdout.partition("\n\n")[2].rstrip(), flush=True)


def memory_in_use(device: torch.device) -> int:
    """Bytes in use now; the most in use is counted from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the most so far
    return _status("VmRSS")


def most_memory(device: torch.device) -> int:
    """The most bytes in use since `memory_in_use`."""
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def patching_table(model: ri.HookedModel, question: Question, options: argparse.Namespace) -> None:
    """One five-shot fact, states of the clean model in a changed one."""
    changed = random_change(model)
    model.add_delta(changed)
    model.add_state("changed", ri.State({changed.name: 1.0}))
    print(f"\ncross-state patching, {question.title}, every layer")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("resid, every token from the subject on", {"kind": "resid"}),
        ("all heads, subject_last and last", {"kind": "head"}),
    ]
    for name, keywords in calls:

        def patch(k: dict[str, Any] = keywords) -> Any:
            return ri.patch_states(
                model,
                question.text,
                question.answer,
                question.foil,
                subject=question.subject,
                donor="clean",
                host="changed",
                **k,
            )

        took, grid = best(patch, model.device, 1 if options.quick else options.repeats)
        print(f"  {name:44} {took:8.2f} s   {grid.scores.size:6} cells", flush=True)


def random_change(model: ri.HookedModel) -> Delta:
    """A small random low-rank change of every layer."""
    generator = torch.Generator().manual_seed(0)
    updates = {}
    for name, module in model.hf_model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            out, inner = module.weight.shape
            a = torch.randn(4, inner, generator=generator) / inner**0.5
            b = torch.randn(out, 4, generator=generator) / out**0.5
            updates[name] = LowRank(a=a, b=b, scale=0.05 * inner**0.5)
    return Delta("random", updates)


# ---- how cost grows


def growth(options: argparse.Namespace) -> list[tuple[str, list[int], list[float], list[float]]]:
    """(axis, its values, seconds of ours, seconds of the honest loop), one thing grown at a time.

    Width and vocabulary are those of the shape (default: the embedded model's); the rest is 12
    layers, a prompt of 16 tokens, 4 of them from the subject on, 10 draws, one fact.
    """
    shape = options.shape or ("tiny" if options.quick else "smollm2-135m")
    steps: dict[str, list[int]] = {
        "layers": [6, 12, 18, 24, 30],
        "tokens of the prompt, 4 from the subject on": [8, 16, 32, 64, 128],
        "draws of noise": [1, 2, 5, 10, 20],
        "facts": [1, 2, 4, 8],
    }
    found = []
    for axis, values in steps.items():
        times: list[tuple[float, float]] = []
        for value in values[:2] if options.quick else values:
            layers = value if axis == "layers" else 12
            tokens = value if axis.startswith("tokens") else 16
            model = shaped_model(shape, options, num_hidden_layers=layers)
            padding = "the " * (tokens - 5) + "city "
            asked = Question(
                title="", text=f"{padding}Alice Stone is in", subject="Alice Stone",
                other="Clara Stone", answer="Paris", foil="Rome",
            )  # fmt: skip
            work = make_work(model, asked, "resid", quick=False)
            draws = value if axis.startswith("draws") else DRAWS
            facts = value if axis == "facts" else 1
            repeat = replace(work, draws=work.draws[:1].repeat(draws, 1, 1))
            ours(repeat, samples=1)
            own, _ = seconds(lambda w=repeat, f=facts: [ours(w) for _ in range(f)], model.device)
            part = sampled(repeat, max(1, len(work.cells) * draws // (2 * ROWS)))
            spent, _ = seconds(lambda p=part: loop(p, rows=ROWS, last_logits=True), model.device)
            times.append((own, facts * spent * len(work.cells) / len(part.cells)))
            print(f"  {axis} {value}: {times[-1][0]:.2f} s, loop {times[-1][1]:.2f} s", flush=True)
        found.append((axis, values[: len(times)], [t[0] for t in times], [t[1] for t in times]))
    return found


def plot(found: Sequence[tuple[str, list[int], list[float], list[float]]], about: str) -> Any:
    """Four panels, seconds on a logarithmic axis."""
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1,
        cols=len(found),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[axis.partition(",")[0] for axis, *_ in found],
    )
    for column, (axis, values, own, honest) in enumerate(found, start=1):
        for name, took, colour in (
            ("batched loop, last logits", honest, "#8a8f98"),
            ("ri.trace", own, "#2a6fdb"),
        ):
            figure.add_trace(
                Scatter(
                    x=values,
                    y=took,
                    name=name,
                    mode="lines+markers",
                    line={"color": colour},
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=axis, title_font_size=11, row=1, col=column)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title_text="seconds", row=1, col=1)
    figure.update_layout(
        title={"text": about, "font": {"size": 13}},
        template="plotly_white",
        font={"family": "sans-serif", "size": 11},
        legend={"orientation": "h", "y": -0.28},
        width=1100,
        height=380,
    )
    return figure


# ---- models


def shaped_model(shape: str, options: argparse.Namespace, **changes: int) -> ri.HookedModel:
    """A Llama of some shape with random weights, and a tokenizer of whole words."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        **{**SHAPES[shape], **changes},  # pyright: ignore[reportArgumentType]
        bos_token_id=None,
        eos_token_id=0,
        tie_word_embeddings=False,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, options.dtype))
    try:
        with torch.device(options.device):
            torch.manual_seed(0)
            hf_model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    return ri.HookedModel(hf_model.eval(), tokenizer, name=f"random {shape}", digest=shape)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few cells, two draws")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--shape", choices=SHAPES, help="random weights in place of a model")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median is shown")
    parser.add_argument("--memory", action="store_true", help="measure memory alone")
    parser.add_argument("--plot", type=Path, help="measure how cost grows instead; an .svg")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    where = f"{options.device}, {options.dtype}, {torch.get_num_threads()} threads"
    if options.device == "cuda":
        where = f"{torch.cuda.get_device_name()}, {options.dtype}"
    where += f", torch {torch.__version__}, Python {platform.python_version()}"
    if options.plot is not None:
        print(where)
        shape = options.shape or "smollm2-135m"
        about = (
            f"Tracing resid, width of {shape}; 12 layers, 16 tokens, 10 draws, one fact, except "
            "for what grows"
        )
        write_svg(plot(growth(options), about), options.plot)
        print(f"{options.plot}  {options.plot.stat().st_size / 1000:.0f} kB")
        return

    started = time.perf_counter()
    if options.shape:
        model = shaped_model(options.shape, options)
    else:
        model = ri.load_model(options.model, dtype=options.dtype, device=options.device)
    print(f"{model.name}, {where}; * timed on a sample of the cells and scaled")
    asked = questions(real=not options.shape)
    regions_problem(model)
    if options.memory or options.device == "cuda":
        memory_table(model, asked[0], options)
    elif Path("/proc/self/clear_refs").exists():
        memory_elsewhere(sys.argv[1:] if arguments is None else arguments)
    if options.memory:
        return
    warm = make_work(model, asked[0], "resid", quick=True)
    loop(replace(warm, cells=warm.cells[:2]), rows=ROWS, last_logits=True)
    ours(warm, samples=1)
    bridge = None if options.shape == "llama-8b" else model.to_bridge()
    for question in asked:
        trace_table(model, question, options, bridge)
        window_table(model, question, options)
    patching_table(model, asked[2], options)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
