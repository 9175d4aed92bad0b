"""How long does it take to ask a model all of RESTOR's facts, and are the answers the same?

    python benchmarks/evaluation.py FOLDER                # with facts.json and entities.json
    python benchmarks/evaluation.py FOLDER --limit 160    # a sample; minutes less

In one process, one after the other: transformers' `generate`, on 32 prompts at a time, sorted by
length, padded on the left, each row ending at its line end; and `evaluate`, which runs the tokens
that prompts share once. Both answer greedily. Where two answers differ, the gap between the two
likeliest tokens at which they part is told: rounding may turn a gap of 1e-3, and nothing more.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import restor_interp as ri
from restor_interp.measure.answers import LineEnds, answer_text
from restor_interp.measure.choices import evaluate
from restor_interp.prompts import Prompt, build_prompts

ROWS = 32
NEAR_TIE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Answers and what they took: on a busy machine, compare the seconds of the processor."""

    answers: list[str]
    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, answer: Callable[[], list[str]]) -> "Timed":
        started, cpu = time.perf_counter(), time.process_time()
        answers = answer()
        return cls(
            answers=answers,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
        )

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s (processor {self.cpu_seconds:.1f} s)"

    def faster_than(self, other: "Timed") -> str:
        return (
            f"{other.seconds / self.seconds:.2f} × faster "
            f"(processor {other.cpu_seconds / self.cpu_seconds:.2f} ×)"
        )


def by_padded_generation(
    model: ri.HookedModel, prompts: Sequence[Prompt], max_new_tokens: int, stops: Sequence[int]
) -> list[str]:
    """One `generate` per 32 prompts of similar length: the usual way."""
    tokenizer = model.tokenizer
    answers = [""] * len(prompts)
    lengths = [len(ids) for ids in tokenizer([p.text for p in prompts])["input_ids"]]
    order = sorted(range(len(prompts)), key=lambda row: lengths[row])
    for first in range(0, len(order), ROWS):
        rows = order[first : first + ROWS]
        batch = tokenizer(
            [prompts[row].text for row in rows],
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        ).to(model.device)
        with torch.inference_mode():
            said = model.hf_model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(stops),
                pad_token_id=tokenizer.pad_token_id,
            )
        for row, tokens in zip(rows, said[:, batch["input_ids"].shape[1] :].tolist(), strict=True):
            answers[row] = answer_text(model, tokens)
    return answers


def gap_where_they_part(model: ri.HookedModel, prompt: Prompt, one: str, other: str) -> float:
    """Logit gap of the two likeliest tokens at the first step that only one answer takes.

    Walks the plain greedy path, one forward pass of its own per token.
    """
    ids = model.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
    said: list[int] = []
    while True:
        with torch.inference_mode():
            logits = model.hf_model(torch.tensor([[*ids, *said]], device=model.device)).logits
        top = logits[0, -1].float().topk(2)
        said.append(int(top.indices[0]))
        text = model.tokenizer.decode(said, skip_special_tokens=True)
        shown = text.partition("\n")[0].strip()
        ended = "\n" in text or said[-1] == model.tokenizer.eos_token_id or len(said) > 64
        if ended or not (one.startswith(shown) and other.startswith(shown)):
            return float(top.values[0] - top.values[1])


def first_relations(facts: ri.FactSet, number: int) -> tuple[ri.Fact, ...]:
    """About so many facts, whole relations: what prompts share is then as in the whole set."""
    found: list[ri.Fact] = []
    for relation in dict.fromkeys(fact.relation for fact in facts):
        own = facts.only(relations=(relation,)).facts
        if found and len(found) + len(own) > number:
            break
        found += own
    return tuple(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="holds RESTOR's facts.json and entities.json")
    parser.add_argument("--limit", type=int, help="ask about so many facts, whole relations")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--max-new-tokens", type=int, default=16)
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--scores", action="store_true", help="also time it with scored objects")
    options = parser.parse_args()

    facts = ri.load_facts(options.folder / "facts.json", entities=options.folder / "entities.json")
    asked = first_relations(facts, options.limit) if options.limit else facts.facts
    prompts = build_prompts(
        facts,
        only=asked,
        context_ids=(0,),
        style="paper",
        shots=options.shots,
        avoid_entities=frozenset(),
        avoid_objects={},
        seed=0,
    )
    model = ri.load_model(options.model)
    print(f"{len(prompts)} prompts, {options.model}, {torch.get_num_threads()} threads, in a row:")
    number = options.max_new_tokens
    nothing: list[tuple[str, ...]] = [()] * len(prompts)
    evaluate(model, prompts[:2], nothing[:2], max_new_tokens=2)  # what is done once per model
    ends = LineEnds(model)
    stops = [token for token in range(model.vocab_size) if ends(token)]
    padded = Timed.of(lambda: by_padded_generation(model, prompts, number, stops))
    print(f"  padded generate, {ROWS} sorted prompts a call: {padded}", flush=True)
    ours = Timed.of(lambda: evaluate(model, prompts, nothing, max_new_tokens=number).answers)
    print(f"  evaluate, answers alone:                   {ours}: {ours.faster_than(padded)}")
    if options.scores:
        true = [fact.true_objects[:1] for fact in asked]
        scored = Timed.of(lambda: evaluate(model, prompts, true, max_new_tokens=number).answers)
        print(
            f"  evaluate, with the true object scored:     {scored}: {scored.faster_than(padded)}"
        )
    pairs = zip(prompts, padded.answers, ours.answers, strict=True)
    differing = [(prompt, one, other) for prompt, one, other in pairs if one != other]
    print(f"  answers that differ: {len(differing)}")
    for prompt, one, other in differing:
        gap = gap_where_they_part(model, prompt, one, other)
        told = "a near tie" if gap <= NEAR_TIE else "MORE THAN ROUNDING"
        print(f"    {prompt.fact_id}: {one!r} | {other!r}: top-2 gap {gap:.1e}, {told}")


if __name__ == "__main__":
    main()
