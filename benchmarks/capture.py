"""What does it cost to keep what a model holds inside, beside a plain forward pass, in one run?

    python benchmarks/capture.py                  # the embedded model, about 10 minutes on 2 cores
    python benchmarks/capture.py --quick          # a few prompts of a tiny model: does it work?
    python benchmarks/capture.py --device cuda --dtype bfloat16

Residual stream, attention output and MLP output of every layer, at two tokens of each prompt. All
run the same tokens in the same batches, none computes logits, and they take turns; shown are
medians, and how many times the plain forward pass they take:

* the plain forward pass of the backbone, with nothing kept;
* `ri.capture`, from texts to a finished folder: tokens, hooks, shards, digests, index;
* `ri.capture` of sixteen bits, its default;
* transformer-lens' `TransformerBridge.run_with_cache` on a copy of the model, with a
  `names_filter` and without the unembedding; the two tokens are kept in memory;
* nnsight's `trace` on another copy, where nnsight is installed (it is no dependency); likewise.

Texts share no first tokens, so that nothing is saved by running these once; that is measured
apart, on prompts with few-shot lines. Differences are relative to the largest value of a site.
"""

import argparse
import copy
import functools
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

import restor_interp as ri
from restor_interp.measure.batching import batches_by_length
from restor_interp.measure.capture import Passage, capture
from restor_interp.testing import tiny_tokenizer

SITES = {"attn": "hook_attn_out", "mlp": "hook_mlp_out", "resid": "hook_resid_post"}
POSITIONS = ("name_last", "last")
WORDS = ("the", "of", "in", "is", "was", "born", "city", "country", "language", "people", "Alice")
TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 8192}


def texts(number: int, *, words: tuple[int, int], seed: int = 0) -> list[Passage]:
    """Random words, a name among them; no two begin alike for long."""
    rng = random.Random(seed)
    found = []
    for index in range(number):
        before = " ".join(rng.choices(WORDS, k=rng.randint(*words)))
        after = " ".join(rng.choices(WORDS, k=8))
        start = len(before) + 1
        found.append(
            Passage(
                text_id=f"text {index}",
                text=f"{before} Clara {after}",
                spans={"name": (start, start + len("Clara"))},
            )
        )
    return found


# ---- the contenders


class Work:
    """Texts in tokens, in the batches that everybody runs."""

    def __init__(self, model: ri.HookedModel, passages: Sequence[Passage], budget: int) -> None:
        self.model, self.passages, self.budget = model, passages, budget
        self.ids: list[Tensor] = []
        self.places: list[list[int]] = []
        for one in passages:
            encoded = model.tokenizer(
                one.text, add_special_tokens=False, return_offsets_mapping=True
            )
            end = one.spans["name"][1]
            inside = [i for i, (start, _) in enumerate(encoded["offset_mapping"]) if start < end]
            self.ids.append(torch.tensor(encoded["input_ids"]))
            self.places.append([inside[-1], len(encoded["input_ids"]) - 1])

    def batches(self) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Which texts; their tokens, padded on the right; their two places."""
        for rows in batches_by_length([len(ids) for ids in self.ids], self.budget):
            ids = torch.nn.utils.rnn.pad_sequence([self.ids[row] for row in rows], batch_first=True)
            places = torch.tensor([self.places[row] for row in rows])
            yield rows, ids.to(self.model.device), places.to(self.model.device)

    def collect(
        self, run: Callable[[Tensor, Tensor, Tensor], Mapping[str, Tensor]]
    ) -> dict[str, np.ndarray]:
        """Site -> [text, layer, place, width] of a contender that works batch by batch."""
        number = len(self.passages)
        shape = (number, self.model.num_layers, len(POSITIONS), self.model.d_model)
        kept = {site: np.empty(shape, dtype=np.float32) for site in SITES}
        for rows, ids, places in self.batches():
            for site, values in run(ids, torch.arange(len(rows))[:, None], places).items():
                kept[site][rows] = values.float().cpu().numpy()
        return kept


@torch.no_grad()
def plainly(work: Work) -> None:
    for _, ids, _ in work.batches():
        work.model.hf_model.base_model(input_ids=ids, use_cache=False)
    if work.model.device.type == "cuda":
        torch.cuda.synchronize()


def ours(work: Work, folder: Path, dtype: Any) -> Callable[[], dict[str, np.ndarray]]:
    """A capture; what it wrote is read back when the clock stands."""
    found = capture(
        work.model,
        work.passages,
        folder,
        sites=tuple(SITES),
        positions=POSITIONS,
        dtype=dtype,
        max_tokens_per_batch=work.budget,
    )

    def read() -> dict[str, np.ndarray]:
        layers = range(1, work.model.num_layers + 1)
        values = {site: found.read(site=site).values for site in ("attn", "mlp")}
        return values | {"resid": found.read(site="resid", layers=layers).values}

    return read


@torch.no_grad()
def by_transformer_lens(work: Work, bridge: Any) -> dict[str, np.ndarray]:
    names = {
        f"blocks.{layer}.{hook}"
        for layer in range(work.model.num_layers)
        for hook in SITES.values()
    }

    def run(ids: Tensor, rows: Tensor, places: Tensor) -> dict[str, Tensor]:
        _, cache = bridge.run_with_cache(
            ids,
            names_filter=lambda name: name in names,
            stop_at_layer=work.model.num_layers,
        )
        layers = range(work.model.num_layers)
        return {
            site: torch.stack([cache[f"blocks.{i}.{hook}"][rows, places] for i in layers], dim=1)
            for site, hook in SITES.items()
        }

    return work.collect(run)


@torch.no_grad()
def by_nnsight(work: Work, wrapped: Any) -> dict[str, np.ndarray]:
    def run(ids: Tensor, rows: Tensor, places: Tensor) -> dict[str, Tensor]:
        kept: dict[str, list[Tensor]] = {site: [] for site in SITES}
        with wrapped.trace(ids) as tracer:
            for block in wrapped.model.layers:
                kept["attn"].append(block.self_attn.output[0][rows, places].save())
                kept["mlp"].append(block.mlp.output[rows, places].save())
                out = block.output
                out = out[0] if isinstance(out, tuple) else out
                kept["resid"].append(out[rows, places].save())
            tracer.stop()
        return {site: torch.stack(values, dim=1) for site, values in kept.items()}

    return work.collect(run)


def with_nnsight(model: ri.HookedModel) -> Any:
    """A copy of the model in nnsight's wrapper; none where nnsight is not installed."""
    try:
        from nnsight import LanguageModel  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its class was renamed; both names work
        return LanguageModel(copy.deepcopy(model.hf_model), tokenizer=model.tokenizer)


# ---- the tables


def gap(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    """The largest difference, relative to the largest value of a site."""
    return max(
        float(np.abs(one[site] - other[site]).max() / np.abs(one[site]).max()) for site in SITES
    )


def cost_table(model: ri.HookedModel, options: argparse.Namespace) -> None:
    """All contenders, taking turns."""
    work = Work(model, texts(options.prompts, words=(8, 40)), TOKENS_PER_BATCH[options.device])
    bridge, wrapped = model.to_bridge(), with_nnsight(model)
    with tempfile.TemporaryDirectory() as folder:
        contenders: dict[str, Callable[[], Any]] = {
            "plain forward pass": functools.partial(plainly, work),
            "ri.capture, 32 bits": functools.partial(ours, work, Path(folder, "32"), "float32"),
            "ri.capture, 16 bits": functools.partial(ours, work, Path(folder, "16"), "float16"),
            "transformer-lens run_with_cache": functools.partial(by_transformer_lens, work, bridge),
        }
        if wrapped is not None:
            contenders["nnsight trace"] = functools.partial(by_nnsight, work, wrapped)
        values, took = {}, {name: [] for name in contenders}
        for name, run in contenders.items():  # not timed: the first call of everything
            found = run()
            values[name] = found() if callable(found) else found
        for turn in range(options.repeats):
            order = list(contenders)
            for name in order[turn % len(order) :] + order[: turn % len(order)]:
                started = time.perf_counter()
                contenders[name]()
                took[name].append(time.perf_counter() - started)
        size = sum(path.stat().st_size for path in Path(folder, "16").iterdir())
        opened = ri.Activations.open(Path(folder, "16"))
        reads = []
        for layer in (1, 2, 3):
            started = time.perf_counter()
            opened.select(site="resid", layer=min(layer, model.num_layers))
            reads.append(1000 * (time.perf_counter() - started))
    tokens = sum(map(len, work.ids))
    print(
        f"\n{len(work.ids)} texts, {tokens:,} tokens, {3 * model.num_layers} hooks, 2 positions, "
        f"{options.repeats} turns"
    )
    print(f"  {'':34} {'seconds':>9} {'× plain':>8} {'difference':>11}")
    plain = statistics.median(took["plain forward pass"])
    for name, times in took.items():
        middle = statistics.median(times)
        differs = ""
        if values[name] is not None:
            differs = f"{gap(values['ri.capture, 32 bits'], values[name]):11.1e}"
        print(f"  {name:34} {middle:9.3f} {middle / plain:8.3f} {differs}", flush=True)
    if wrapped is None:
        print("  (nnsight: not installed)")
    print(
        f"  16 bits: {size / 2**20:.1f} MiB on disk; one layer of one site read in "
        f"{reads[0]:.1f} ms with its digests, then in {reads[1]:.1f} and {reads[2]:.1f} ms"
    )


def shared_table(model: ri.HookedModel, options: argparse.Namespace) -> None:
    """Questions behind few-shot lines that many of them share."""
    line = "Question: Where was Clara born? Answer: Paris\n"
    tails = texts(options.prompts, words=(3, 6), seed=1)
    prompts = []
    for index, tail in enumerate(tails):
        first = line * (4 + index * 4 // len(tails) % 4)
        start, end = (len(first) + place for place in tail.spans["name"])
        span = {"name": (start, end)}
        prompts.append(Passage(text_id=tail.text_id, text=first + tail.text, spans=span))
    work = Work(model, prompts, TOKENS_PER_BATCH[options.device])
    took: dict[str, list[float]] = {"plain": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.repeats + 1):
            for name, run in (
                ("plain", functools.partial(plainly, work)),
                ("ours", functools.partial(ours, work, Path(folder), "float16")),
            ):
                started = time.perf_counter()
                run()
                if turn:
                    took[name].append(time.perf_counter() - started)
    plain, own = (statistics.median(times) for times in took.values())
    print(
        f"\nfew-shot prompts, {sum(map(len, work.ids)):,} tokens: plain {plain:.3f} s, ri.capture "
        f"{own:.3f} s, {own / plain:.3f} × plain",
        flush=True,
    )


def memory_table(options: argparse.Namespace) -> None:
    """Peak memory of few and of many prompts through thirty layers."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=30,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    hf_model = LlamaForCausalLM(config).eval()
    model = ri.HookedModel(hf_model, tokenizer, name="thirty layers", digest="thirty layers")
    print("\nmemory above the loaded model, 30 layers of width 64, 3 sites, 2 positions")
    few, many = (50, 200) if options.quick else (100, 10_000)
    for turn, number in enumerate((few, few, many)):
        passages = texts(number, words=(3, 12))
        before = _memory_in_use()
        with tempfile.TemporaryDirectory() as folder:
            capture(model, passages, folder, sites=tuple(SITES), positions=POSITIONS)
            above = (_status("VmHWM") - before) / 2**20
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        if turn:  # the first time torch's own preparations are counted, too
            print(f"  {number:6} prompts: {above:6.0f} MiB, {size:6.0f} MiB on disk", flush=True)


def memory_elsewhere(arguments: Sequence[str]) -> None:
    """In a process that gives back what it frees, so that tensors are counted and not what the C
    library keeps for later."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--memory"]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    print("\n" + told.stdout.strip(), flush=True)


def _memory_in_use() -> int:
    """Bytes in use now; the most in use is counted from here."""
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the most so far
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def tiny(options: argparse.Namespace) -> ri.HookedModel:
    """A small Llama of random weights."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    hf_model = LlamaForCausalLM(config).to(options.device, getattr(torch, options.dtype)).eval()
    return ri.HookedModel(hf_model, tokenizer, name="tiny", digest="tiny")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few prompts of a tiny model")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--device", default="cpu", choices=TOKENS_PER_BATCH)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, help="how many texts (default 400, quick 40)")
    parser.add_argument("--repeats", type=int, help="turns (default 5, quick 1)")
    parser.add_argument("--memory", action="store_true", help="measure memory alone")
    options = parser.parse_args(arguments)
    options.prompts = options.prompts or (40 if options.quick else 400)
    options.repeats = options.repeats or (1 if options.quick else 5)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.memory:
        memory_table(options)
        return
    where = f"{options.device}, {options.dtype}, {torch.get_num_threads()} threads"
    if options.device == "cuda":
        where = f"{torch.cuda.get_device_name()}, {options.dtype}"
    started = time.perf_counter()
    if options.quick:
        model = tiny(options)
    else:
        model = ri.load_model(options.model, dtype=options.dtype, device=options.device)
    print(f"{model.name}, {where}, torch {torch.__version__}, Python {platform.python_version()}")
    cost_table(model, options)
    shared_table(model, options)
    if Path("/proc/self/clear_refs").exists():
        memory_elsewhere(sys.argv[1:] if arguments is None else arguments)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
