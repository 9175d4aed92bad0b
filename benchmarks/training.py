"""What do unlearning and LoRA training cost beside the usual ways, in one run?

    python benchmarks/training.py                 # the embedded model, about 8 minutes on 2 cores
    python benchmarks/training.py --quick         # the calibration model: does it work?
    python benchmarks/training.py --only steps    # a part: steps, memory, lora
    python benchmarks/training.py --profile       # where an NPO step's time goes

Three comparisons, both sides with the same adapter (rank 8 on every linear module of the decoder,
from the same start), the same documents in the same batches, and the same number of threads:

* an unlearning step against the usual one with a live reference: a second frozen model, plain
  forward passes with all logits, the retain batch in a pass of its own. Ours has its reference
  from the same model with the adapter off, once per batch: the first visit to a batch pays for it,
  later visits do not. Both are shown, and the mean over five passes;
* the peak memory of a process that does nothing else, and above that of one loaded model. Ours
  keeps a copy of the matrices that corruption changed, to come back to the clean state;
* documents per second of LoRA training against transformers' `Trainer` with PEFT, whose batches
  come in random order and ours by length. Beside it the bound: the matrix products of the same
  batches, forwards and backwards, with nothing around them.

Sides take turns; times are medians, of steps the processor's and the wall's. That both compute the
same is shown by their losses.
"""

import argparse
import contextlib
import copy
import functools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

import restor_interp as ri
from restor_interp.models.adapters import attach_adapter
from restor_interp.models.deltas import Delta, LowRank, State
from restor_interp.pipeline.workbench import Silent, Workbench
from restor_interp.presets import resolve
from restor_interp.stages.loop import Loop
from restor_interp.stages.methods import METHODS
from restor_interp.stages.training import Trained, TrainSettings, learning_rate_at, train
from restor_interp.store import Store

RANK, ALPHA, RATE = 8, 16.0, 1e-3
PASSES = 5
METHOD_NAMES = ("npo", "kl_restor", "kl")
START = State({"corruption": 1.0})
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is trained on."""

    forget: Sequence[str]
    retain: Sequence[str]

    def batch(self, number: int, size: int) -> "Texts":
        """So many documents and as many retain texts, as they come."""
        places = range(number * size, (number + 1) * size)
        return Texts(
            forget=[self.forget[place % len(self.forget)] for place in places],
            retain=[self.retain[place % len(self.retain)] for place in places],
        )


@functools.cache
def texts_of(model: str) -> Texts:
    """Documents and retain texts of the demo, or of the calibration model's preset."""
    with tempfile.TemporaryDirectory() as folder:
        preset = "bios" if model == "bios" else "demo"
        bench = Workbench(resolve(preset, [f"model={model}"]), Store(folder), Silent())
        return Texts(
            forget=[document.text for document in bench.documents], retain=bench.retain_texts
        )


def corrupted_model(name: str) -> ri.HookedModel:
    """A model with a small random low-rank change of every matrix: what it is does not matter."""
    model = ri.load_model(name)
    generator = torch.Generator().manual_seed(0)
    updates = {}
    for where, module in model.hf_model.named_modules():
        if isinstance(module, nn.Linear) and ".layers." in where:
            out, inner = module.weight.shape
            a = torch.randn(RANK, inner, generator=generator) / inner**0.5
            b = torch.randn(out, RANK, generator=generator) / out**0.5
            updates[where] = LowRank(a=a, b=b, scale=0.02 * inner**0.5)
    model.add_delta(Delta("corruption", updates))
    model.add_state("corrupted", START)
    return model


# ---- our side


def settings_for(size: int, **changes: Any) -> TrainSettings:
    sizes = {"batch_size": size, "retain_batch_size": size}
    return TrainSettings(rank=RANK, alpha=ALPHA, learning_rate=RATE, **sizes, **changes)


def our_steps(
    model: ri.HookedModel, texts: Texts, method: str, *, retain: bool, steps: int
) -> Trained:
    """Steps on one batch."""
    training = settings_for(len(texts.forget), steps=steps, retain_weight=float(retain))
    return train(
        model, name="benchmark", start=START, method=METHODS[method], settings={},
        training=training, forget=texts.forget, retain=texts.retain, seed=0,
    )  # fmt: skip


# ---- the usual side


def with_adapter(hf_model: nn.Module, start: Mapping[str, Tensor]) -> Any:
    """A PEFT model around (and in) this one, its factors set to `start` (`<module>.a`, `.b`)."""
    config = peft.LoraConfig(
        r=RANK, lora_alpha=int(ALPHA), target_modules="all-linear", lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    wrapped: Any = peft.get_peft_model(hf_model, config)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for name, parameter in factors(wrapped).items():
            parameter.copy_(start[name])
    return wrapped.train()


def factors(wrapped: nn.Module) -> dict[str, nn.Parameter]:
    """`<module>.a` and `.b` of a PEFT model, by the names of the model without it."""
    found = {}
    for name, parameter in wrapped.named_parameters():
        if ".lora_" in name:
            where, _, which = name.removeprefix("base_model.model.").partition(".lora_")
            found[f"{where}.{which[0].lower()}"] = parameter
    return found


def our_start(model: ri.HookedModel) -> dict[str, Tensor]:
    """The factors that our training begins with."""
    with attach_adapter(model, rank=RANK, alpha=ALPHA, seed=0) as adapter:
        return {name: tensor.detach().clone() for name, tensor in adapter.tensors().items()}


def padded(tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """A batch as a data collator makes it: padded on the right, labels -100 there."""
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


class TwoModels:
    """The usual unlearning: a model with an adapter, and a frozen one that is asked every time."""

    def __init__(
        self, hf_model: nn.Module, start: Mapping[str, Tensor], method: str, *, total: int
    ) -> None:
        """`hf_model` is rewritten."""
        self.reference = copy.deepcopy(hf_model).eval().requires_grad_(False)
        self.model = with_adapter(hf_model, start)
        self.loss, self.total, self.done = USUAL[method], total, 0
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=RATE, weight_decay=0.0, fused=True)

    def step(self, forget: Mapping[str, Tensor], retain: Mapping[str, Tensor] | None) -> float:
        """One step; returns the loss before it."""
        self.optimiser.zero_grad()
        output = self.model(**forget)
        with torch.no_grad():
            reference = self.reference(**forget)
        loss = self.loss(output, reference, forget["labels"])
        if retain is not None:
            loss = loss + self.model(**retain).loss
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate_at(self.done, self.total, peak=RATE, warmup=0.1)
        self.optimiser.step()
        self.done += 1
        return loss.item()


def usual_npo(output: Any, reference: Any, labels: Tensor, beta: float = 0.1) -> Tensor:
    """Of two mean negative log-likelihoods, as the models themselves give them."""
    del labels
    return -F.logsigmoid(beta * (output.loss - reference.loss)) * 2 / beta


def usual_kl_restor(output: Any, reference: Any, labels: Tensor) -> Tensor:
    """Minus the cross-entropy of two softmaxes, over all positions."""
    del labels
    p, q = output.logits.softmax(dim=-1), reference.logits.softmax(dim=-1)
    return (p * (q + 1e-12).log()).sum(dim=-1).mean()


def usual_kl(output: Any, reference: Any, labels: Tensor) -> Tensor:
    """Minus the divergence where a token is predicted."""
    ours, theirs = output.logits.log_softmax(dim=-1), reference.logits.log_softmax(dim=-1)
    divergence = F.kl_div(theirs, ours, log_target=True, reduction="none").sum(dim=-1)
    counted = labels[:, 1:] != -100
    return -(divergence[:, :-1] * counted).sum() / counted.sum()


USUAL: Mapping[str, Callable[[Any, Any, Tensor], Tensor]] = {
    "npo": usual_npo,
    "kl_restor": usual_kl_restor,
    "kl": usual_kl,
}


# ---- steps


Time = tuple[float, float]
"""Seconds of the processor (of all threads), and of the wall."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Unlearning steps of either side, and how far their losses are apart."""

    first: Time
    later: Time
    usual: Time
    gap: float
    """Greatest difference of a loss, relative to it."""

    @property
    def five(self) -> Time:
        """Of a step, over five passes through the documents."""
        first, later = self.first, self.later
        return tuple((first[k] + (PASSES - 1) * later[k]) / PASSES for k in (0, 1))  # pyright: ignore


def now() -> Time:
    return time.process_time(), time.perf_counter()


def since(began: Time) -> Time:
    processor, wall = now()
    return processor - began[0], wall - began[1]


@contextlib.contextmanager
def timed_steps() -> Iterator[list[Time]]:
    """The times of the steps that our trainings take within."""
    times: list[Time] = []
    plain = Loop.advance

    def advance(self: Loop) -> None:
        began = now()
        plain(self)
        times.append(since(began))

    Loop.advance = advance
    try:
        yield times
    finally:
        Loop.advance = plain


def compare_steps(
    model: ri.HookedModel, texts: Texts, method: str, *, retain: bool, size: int, repeats: int
) -> Steps:
    """Another batch in every repetition; both sides take two steps on it. The first repetition
    warms up and is not counted."""
    start = our_start(model)
    first, later, usual, gaps = [], [], [], []
    for number in range(repeats + 1):
        batch = texts.batch(number, size)
        with timed_steps() as ours:
            rows = our_steps(model, batch, method, retain=retain, steps=2).rows
        with model.at("corrupted"):
            two = TwoModels(copy.deepcopy(model.hf_model), start, method, total=2)
        sides = padded(model.tokenizer, batch.forget), padded(model.tokenizer, batch.retain)
        losses, theirs = [], []
        for _ in range(2):
            began = now()
            losses.append(two.step(sides[0], sides[1] if retain else None))
            theirs.append(since(began))
        gaps += [
            abs(row["loss"] - loss) / max(abs(loss), 1e-3)
            for row, loss in zip(rows, losses, strict=True)
        ]
        if number:
            first.append(ours[0])
            later.append(ours[1])
            usual += theirs
    return Steps(first=median(first), later=median(later), usual=median(usual), gap=max(gaps))


def median(times: Sequence[Time]) -> Time:
    processor, wall = (statistics.median(column) for column in zip(*times, strict=True))
    return processor, wall


def steps_table(model: ri.HookedModel, texts: Texts, size: int, repeats: int) -> None:
    print(f"\nan NPO step on {size} documents, seconds (the usual one's, as a multiple of ours)")
    for retain, goal in ((False, 1.5), (True, 1.25)):
        found = compare_steps(model, texts, "npo", retain=retain, size=size, repeats=repeats)
        title = f"{size} retain texts beside" if retain else "no retain text"
        print(f"  {title}, goal {goal}×, losses differ by {found.gap:.0e}")
        for place, clock in enumerate(("processor", "wall")):
            usual, first, later, five = (
                side[place] for side in (found.usual, found.first, found.later, found.five)
            )
            print(
                f"    {clock:10} two models {usual:6.2f}   ours, first visit {first:6.2f} "
                f"({usual / first:.2f}×), later {later:6.2f} ({usual / later:.2f}×), mean of "
                f"{PASSES} passes {usual / five:.2f}×",
                flush=True,
            )


# ---- memory


def memory_table(options: argparse.Namespace, texts: Texts) -> None:
    print("\npeak memory of two steps in a process of its own, MiB (and above one loaded model)")
    for method in ("npo",) if options.quick else METHOD_NAMES:
        ours, usual = (measured_elsewhere(options, texts, method, side) for side in SIDES)
        above = [side["peak"] - side["loaded"] for side in (ours, usual)]
        print(
            f"  {method:10} two models {usual['peak']:6.0f} ({above[1]:6.0f})   ours "
            f"{ours['peak']:6.0f} ({above[0]:6.0f})   {ours['peak'] / usual['peak']:.2f} of it "
            f"({above[0] / above[1]:.2f}), goal 0.70   losses differ by "
            f"{abs(ours['loss'] - usual['loss']) / max(abs(usual['loss']), 1e-3):.0e}",
            flush=True,
        )


SIDES = ("ours", "usual")


def measured_elsewhere(
    options: argparse.Namespace, texts: Texts, method: str, side: str
) -> dict[str, float]:
    """`memory_of` in a process that gives back what it frees, so that tensors are counted and not
    what the C library keeps for later."""
    batch = texts.batch(0, options.size)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "texts.json"
        place.write_text(json.dumps({"forget": batch.forget, "retain": batch.retain}))
        command = [sys.executable, str(Path(__file__).resolve()), "--model", options.model]
        command += ["--threads", str(torch.get_num_threads())]
        command += ["--memory-of", method, side, str(place)]
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
        told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(told.stdout.strip().splitlines()[-1])


def memory_of(model: ri.HookedModel, texts: Texts, method: str, side: str) -> dict[str, float]:
    """MiB in use after loading and at most since then, and the loss of the second step.

    One model is loaded on either side. Ours then goes to the corrupted state and keeps a copy of
    what that changes; the usual side has the corrupted weights alone, and copies the whole model.
    (The second loss of `kl` is rounding on both: where it starts, its gradient is zero.)
    """
    start = our_start(model)
    loaded = _status("VmRSS") / MIB
    if side == "ours":
        forget_peak()
        rows = our_steps(model, texts, method, retain=False, steps=2).rows
        loss = rows[1]["loss"]
    else:
        corrupt_for_good(model)
        forget_peak()
        two = TwoModels(model.hf_model, start, method, total=2)
        forget = padded(model.tokenizer, texts.forget)
        loss = [two.step(forget, None) for _ in range(2)][1]
    return {"loaded": loaded, "peak": peak() / MIB, "loss": loss}


@torch.no_grad()
def corrupt_for_good(model: ri.HookedModel) -> None:
    """The corrupted weights, as a checkpoint would hold them: without a copy of the clean ones."""
    modules = dict(model.hf_model.named_modules())
    for name, update in model.deltas["corruption"].updates.items():
        assert isinstance(update, LowRank)
        weight: Any = modules[name].weight
        weight.addmm_(update.b.to(weight), update.a.to(weight), alpha=update.scale)


def forget_peak() -> None:
    """Count the most in use from here on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """The most bytes in use since `forget_peak`."""
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


# ---- LoRA training


def our_lora(
    model: ri.HookedModel, texts: Texts, size: int, epochs: int
) -> tuple[float, list[float]]:
    """(seconds of the whole call, loss of each step)."""
    began = time.perf_counter()
    trained = train(
        model, name="benchmark", start=START, method=METHODS["fine_tune"], settings={},
        training=settings_for(size, epochs=epochs), forget=texts.forget, retain=(), seed=0,
    )  # fmt: skip
    return time.perf_counter() - began, [row["loss"] for row in trained.rows]


def trainer_lora(
    hf_model: nn.Module, tokenizer: Any, start: Mapping[str, Tensor], texts: Texts, size: int,
    epochs: int,
) -> tuple[float, list[float]]:  # fmt: skip
    """The same by `Trainer` with PEFT; `hf_model` is rewritten. Same rates, same clipping."""
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": ids}
        for ids in (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts.forget)
    ]
    steps = epochs * math.ceil(len(rows) / size)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, use_cpu=True, report_to="none", disable_tqdm=True,
            save_strategy="no", logging_strategy="steps", logging_steps=1,
            per_device_train_batch_size=size, num_train_epochs=epochs, learning_rate=RATE,
            weight_decay=0.0, max_grad_norm=1.0, dataloader_pin_memory=False, seed=0,
        )  # fmt: skip
        began = time.perf_counter()
        model = with_adapter(hf_model, start)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)

        def relative(step: int) -> float:
            return learning_rate_at(min(step, steps - 1), steps, peak=1, warmup=0.1)

        rate = torch.optim.lr_scheduler.LambdaLR(optimiser, relative)
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=rows,  # pyright: ignore[reportArgumentType]
            data_collator=collate, optimizers=(optimiser, rate),
        )  # fmt: skip
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()
        seconds = time.perf_counter() - began
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def collate(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Tensor]:
    """Rows padded to the longest."""
    width = max(len(row["input_ids"]) for row in rows)
    blank = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        key: torch.tensor([[*row[key], *[fill] * (width - len(row[key]))] for row in rows])
        for key, fill in blank.items()
    }


def lora_table(model: ri.HookedModel, texts: Texts, options: argparse.Namespace) -> None:
    """Documents per second, loss curves, and the bound."""
    epochs, size = options.epochs, options.size
    start = our_start(model)
    ours, usual = [], []
    for _ in range(options.lora_repeats):
        ours.append(our_lora(model, texts, size, epochs))
        with model.at("corrupted"):
            hf_model = copy.deepcopy(model.hf_model)
        usual.append(trainer_lora(hf_model, model.tokenizer, start, texts, size, epochs))
    seen = epochs * len(texts.forget)
    rates = [seen / statistics.median(took for took, _ in side) for side in (ours, usual)]
    bound = seen / (epochs * bare_seconds(model, texts, size))
    print(f"\nLoRA training, {len(texts.forget)} documents × {epochs} epochs, {size} at a time")
    print(f"  Trainer with PEFT   {rates[1]:6.2f} documents per second")
    print(f"  ours                {rates[0]:6.2f}   {rates[0] / rates[1]:.2f}×, goal 1.15×")
    print(
        f"  the matrix products alone, in our batches {bound:6.2f}   {bound / rates[0]:.2f}× ours"
    )
    curves = [per_epoch(side[0][1], epochs) for side in (ours, usual)]
    for name, curve in zip(("ours", "Trainer"), curves, strict=True):
        print(f"  loss per epoch, {name:8} " + "  ".join(f"{value:.3f}" for value in curve))


def per_epoch(losses: Sequence[float], epochs: int) -> list[float]:
    """Mean loss of each pass over the documents."""
    steps = len(losses) // epochs
    return [statistics.mean(losses[e * steps : (e + 1) * steps]) for e in range(epochs)]


# ---- the bound


def bare_seconds(model: ri.HookedModel, texts: Texts, size: int) -> float:
    """Seconds of the matrix products of one pass over the documents, in our batches.

    Forwards: every linear module and its adapter, the two products of attention, the unembedding.
    Backwards: as many again for the inputs' gradients (twice as many in attention), and the
    factors' own. No norm, no activation, no softmax, no loss, no optimiser.
    """
    lengths = sorted(
        len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts.forget
    )
    batches = [lengths[at : at + size] for at in range(0, len(lengths), size)]
    shapes = [(len(batch), batch[-1], sum(batch) - len(batch)) for batch in batches]
    products_of_a_batch(model, *shapes[0])
    return sum(products_of_a_batch(model, *shape) for shape in shapes)


@torch.no_grad()
def products_of_a_batch(model: ri.HookedModel, rows: int, width: int, predicted: int) -> float:
    """Seconds of a batch's products, of which `predicted` tokens are unembedded."""
    config = model.hf_model.config.get_text_config()
    tokens, heads = rows * width, config.num_attention_heads
    linear = [
        module.weight
        for name, module in model.hf_model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in name
    ]
    sizes = {size for weight in linear for size in weight.shape}
    inputs = {size: torch.randn(tokens, size) for size in sizes}
    down, up = torch.randn(RANK, max(inputs)), torch.randn(max(inputs), RANK)
    q = torch.randn(rows * heads, width, model.d_model // heads)
    scores = torch.randn(rows * heads, width, width)
    last = torch.randn(predicted, model.d_model)
    unembedding = model.hf_model.get_output_embeddings().weight
    began = time.perf_counter()
    for weight in linear:
        out, inner = weight.shape
        x, gradient, a, b = inputs[inner], inputs[out], down[:, :inner], up[:out]
        low, back = torch.mm(x, a.T), torch.mm(gradient, b)
        torch.mm(x, weight.T)  # forwards
        torch.mm(low, b.T)
        torch.mm(gradient, weight)  # backwards, to the input
        torch.mm(back, a)
        torch.mm(gradient.T, low)  # and to the factors
        torch.mm(back.T, x)
    for _ in range(model.num_layers * 3):
        torch.bmm(q, q.mT)
        torch.bmm(scores, q)
    logits = torch.mm(last, unembedding.T)
    torch.mm(logits, unembedding)
    return time.perf_counter() - began


# ---- where the time goes


def profile(model: ri.HookedModel, texts: Texts, size: int) -> None:
    """The operations of one NPO step, those that take most first."""
    batch = texts.batch(0, size)
    our_steps(model, batch, "npo", retain=True, steps=1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        our_steps(model, batch, "npo", retain=True, steps=2)
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=18))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=None, help="smollm2-135m, or bios where --quick")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--quick", action="store_true", help="small model, few documents")
    parser.add_argument("--size", type=int, default=None, help="documents per step; 8")
    parser.add_argument("--repeats", type=int, default=None, help="of steps; 3")
    parser.add_argument("--lora-repeats", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2, help="of LoRA training")
    parser.add_argument("--documents", type=int, default=None, help="of LoRA training; 48")
    parser.add_argument("--only", nargs="+", default=("steps", "memory", "lora"))
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--memory-of", nargs=3, metavar=("METHOD", "SIDE", "FILE"))
    options = parser.parse_args(arguments)
    options.model = options.model or ("bios" if options.quick else "smollm2-135m")
    options.size = options.size or (2 if options.quick else 8)
    options.repeats = options.repeats or (1 if options.quick else 3)
    options.documents = options.documents or (6 if options.quick else 48)
    if options.threads:
        torch.set_num_threads(options.threads)
    # PEFT announces its next version, and a CPU has no pinned memory.
    warnings.filterwarnings("ignore", category=FutureWarning)
    model = corrupted_model(options.model)
    if options.memory_of:
        method, side, place = options.memory_of
        texts = Texts(**json.loads(Path(place).read_text()))
        print(json.dumps(memory_of(model, texts, method, side)))
        return
    started = time.perf_counter()
    texts = texts_of(options.model)
    if options.profile:
        profile(model, texts, options.size)
        return
    print(
        f"{model.name}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, PEFT {peft.__version__}, Python {platform.python_version()}"
    )
    if "steps" in options.only:
        steps_table(model, texts, options.size, options.repeats)
    if "memory" in options.only and Path("/proc/self/clear_refs").exists():
        memory_table(options, texts)
    if "lora" in options.only:
        every = max(1, len(texts.forget) // options.documents)
        some = Texts(forget=texts.forget[::every][: options.documents], retain=())
        lora_table(model, some, options)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
