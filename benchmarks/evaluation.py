"""How long does it take to ask a model all of RESTOR's facts, and are the answers the same?

    python benchmarks/evaluation.py FOLDER                # with facts.json and entities.json
    python benchmarks/evaluation.py FOLDER --limit 160    # a sample; minutes less
    python benchmarks/evaluation.py FOLDER --draws 3      # also sampled answers, as RESTOR has them
    python benchmarks/evaluation.py FOLDER --texts 200    # also whole texts

In one process, one after the other: transformers' `generate`, on 32 prompts at a time, sorted by
length, padded on the left, each row ending at its line end; and `evaluate`, which runs the tokens
that prompts share once. Both answer greedily. Where two answers differ, the gap between the two
likeliest tokens at which they part is told: rounding may turn a gap of 1e-3, and nothing more.

Sampled answers: `generate` with as many sequences per prompt, and `sample_answers`, both with
temperature 1 and all tokens; their luck differs, so the shares of right answers are compared. Whole
texts (RESTOR's documents where the folder holds `mix_a1.json`, else our neutral passages):
batches of 16 in their order, padded, with a log-softmax of all logits, and `score_texts`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

import restor_interp as ri
from restor_interp.data.neutral import held_out_texts, retain_texts
from restor_interp.measure.answers import LineEnds, answer_text, sample_answers
from restor_interp.measure.choices import evaluate
from restor_interp.measure.judging import judge
from restor_interp.measure.texts import score_texts
from restor_interp.prompts import Prompt, build_prompts

ROWS = 32
TEXT_ROWS = 16
NEAR_TIE = 1e-3


Answers = TypeVar("Answers")


@dataclass(frozen=True, kw_only=True)
class Timed(Generic[Answers]):
    """Answers and what they took: on a busy machine, compare the seconds of the processor."""

    answers: Answers
    seconds: float
    cpu_seconds: float

    @classmethod
    def of(cls, answer: Callable[[], Answers]) -> "Timed[Answers]":
        started, cpu = time.perf_counter(), time.process_time()
        answers = answer()
        return cls(
            answers=answers,
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu,
        )

    def __str__(self) -> str:
        return f"{self.seconds:6.1f} s (processor {self.cpu_seconds:.1f} s)"

    def faster_than(self, other: "Timed[Any]") -> str:
        return (
            f"{other.seconds / self.seconds:.2f} × faster "
            f"(processor {other.cpu_seconds / self.cpu_seconds:.2f} ×)"
        )


def by_padded_generation(
    model: ri.HookedModel,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    stops: Sequence[int],
    draws: int = 0,
) -> list[list[str]]:
    """One `generate` per 32 prompts of similar length: the usual way. Greedy without draws."""
    tokenizer = model.tokenizer
    answers: list[list[str]] = [[] for _ in prompts]
    how: dict[str, Any] = {"do_sample": False}
    if draws:
        how = {"do_sample": True, "num_return_sequences": draws, "temperature": 1.0, "top_k": 0}
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
                **how,
                max_new_tokens=max_new_tokens,
                eos_token_id=list(stops),
                pad_token_id=tokenizer.pad_token_id,
            )
        said = said[:, batch["input_ids"].shape[1] :].reshape(len(rows), max(1, draws), -1)
        for row, own in zip(rows, said.tolist(), strict=True):
            answers[row] = [answer_text(model, tokens) for tokens in own]
    return answers


def by_padded_batches(model: ri.HookedModel, texts: Sequence[str]) -> list[float]:
    """Mean negative log-probability of each text: padded batches in their order."""
    found: list[float] = []
    for first in range(0, len(texts), TEXT_ROWS):
        batch = model.tokenizer(
            list(texts[first : first + TEXT_ROWS]),
            return_tensors="pt",
            padding=True,
            padding_side="right",
            add_special_tokens=False,
        ).to(model.device)
        with torch.inference_mode():
            logits = model.hf_model(**batch).logits
            logprobs = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])
            mask = batch["attention_mask"][:, 1:]
            found += (-(logprobs[..., 0] * mask).sum(-1) / mask.sum(-1)).tolist()
    return found


def compare_draws(
    model: ri.HookedModel,
    facts: ri.FactSet,
    prompts: Sequence[Prompt],
    number: int,
    stops: Sequence[int],
    draws: int,
) -> None:
    """Sampled answers, side by side."""

    def right(answers: list[list[str]]) -> float:
        judged = [
            judge(answer, true=facts.accepted(facts[prompt.fact_id]), false=()).outcome == "true"
            for prompt, own in zip(prompts, answers, strict=True)
            for answer in own
        ]
        return sum(judged) / len(judged)

    padded = Timed.of(lambda: by_padded_generation(model, prompts, number, stops, draws))
    print(f"  padded generate, {draws} draws a prompt:         {padded}", flush=True)
    ours = Timed.of(
        lambda: sample_answers(model, prompts, draws=draws, max_new_tokens=number, seed=0)
    )
    print(f"  sample_answers:                            {ours}: {ours.faster_than(padded)}")
    print(f"  right: {right(padded.answers):.1%} | {right(ours.answers):.1%}")


def compare_texts(model: ri.HookedModel, texts: Sequence[str]) -> None:
    """Whole texts, side by side."""
    score_texts(model, texts[:2])
    padded = Timed.of(lambda: by_padded_batches(model, texts))
    print(f"  padded batches of {TEXT_ROWS}, {len(texts)} texts:          {padded}", flush=True)
    ours = Timed.of(lambda: score_texts(model, texts))
    print(f"  score_texts:                               {ours}: {ours.faster_than(padded)}")
    difference = np.abs(np.subtract(padded.answers, [score.nll for score in ours.answers])).max()
    tokens = sum(score.n_tokens for score in ours.answers)
    print(f"  {tokens} tokens; nll of a text differs by at most {difference:.1e} nats")


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
    parser.add_argument("--draws", type=int, default=0, help="also sample so many answers")
    parser.add_argument("--texts", type=int, default=0, help="also score so many whole texts")
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
    padded = Timed.of(
        lambda: [answer for [answer] in by_padded_generation(model, prompts, number, stops)]
    )
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
    if options.draws:
        compare_draws(model, facts, prompts, number, stops, options.draws)
    if options.texts:
        file = options.folder / "mix_a1.json"
        told = (
            [entry["text"] for entry in json.loads(file.read_text())]
            if file.is_file()
            else [*held_out_texts(), *retain_texts()]
        )
        compare_texts(model, told[:: max(1, len(told) // options.texts)][: options.texts])


if __name__ == "__main__":
    main()
