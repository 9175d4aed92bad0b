"""Train the calibration model `bios` from scratch and write it into the package.

    python benchmarks/train_bios.py          # a quarter of an hour on one core
    python benchmarks/train_bios.py --out elsewhere --family qwen2 --layers 10 --seed 11

It reads nothing but `restor_interp.data.bios`: texts are made on the fly from the facts, in the
three forms that the product uses (few-shot question blocks, paragraphs, single statements).
Written beside the weights: `training.json` with settings, curve, final accuracy and digests.
Same machine, same versions, same threads: same weights. Another family, depth or seed makes a model
that nothing was tuned on, which knows the same people.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import restor_interp
from restor_interp.data.bios import bios_facts
from restor_interp.facts import Fact, FactSet

END = "<|endoftext|>"
Model = LlamaForCausalLM | Qwen2ForCausalLM
FAMILIES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}
INVENTED = ("city", "company", "university")
"""Object types whose objects are made-up words: two tokens each."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines the weights."""

    seed: int = 7
    vocab_size: int = 2048
    layers: int = 12
    width: int = 128
    heads: int = 4
    key_value_heads: int = 2
    mlp_width: int = 320
    context: int = 512
    """Longest text that the model's config allows; training rows are shorter."""
    row_tokens: int = 192
    rows: int = 12
    steps: int = 1000
    peak_rate: float = 3e-3
    warmup: int = 60
    weight_decay: float = 0.1
    question_share: float = 0.5
    """Share of question blocks among the texts; the rest are paragraphs and statements."""
    shots: int = 5
    """Few-shot lines of the final examination; in training 0 to 7."""
    evaluate_every: int = 100


def sentence(facts: FactSet, fact: Fact, rng: random.Random) -> str:
    """A fact as one of its relation's statements."""
    statement = rng.choice(facts.relations[fact.relation].statements)
    return statement.format(entity=fact.entity, object=fact.true_objects[0])


def line(fact: Fact) -> str:
    """A fact as one line of a few-shot block."""
    return f"{fact.question} {fact.true_objects[0]}\n"


class Writer:
    """Writes true texts about the people, without end."""

    def __init__(self, facts: FactSet, settings: Settings, seed: int) -> None:
        self.facts, self.settings, self.rng = facts, settings, random.Random(seed)
        self.by_entity: dict[str, list[Fact]] = {}
        self.by_relation: dict[str, list[Fact]] = {}
        for fact in facts:
            self.by_entity.setdefault(fact.entity, []).append(fact)
            self.by_relation.setdefault(fact.relation, []).append(fact)
        self.entities = sorted(self.by_entity)
        self.relations = sorted(self.by_relation)

    def text(self) -> str:
        rng = self.rng
        if rng.random() < self.settings.question_share:
            return self.questions()
        kind = rng.random()
        if kind < 0.1:
            return sentence(self.facts, rng.choice(self.facts.facts), rng)
        if kind < 0.7:
            own = self.by_entity[rng.choice(self.entities)]
            chosen = rng.sample(own, rng.randint(3, 7))
        else:
            chosen = rng.sample(self.facts.facts, rng.randint(3, 7))
        return " ".join(sentence(self.facts, fact, rng) for fact in chosen)

    def questions(self) -> str:
        rng = self.rng
        count = rng.randint(1, 8)
        # A quarter of the blocks mixes relations, as prompts for several questions do.
        pool = self.facts.facts
        if rng.random() < 0.75:
            pool = self.by_relation[rng.choice(self.relations)]
        return "".join(line(fact) for fact in rng.sample(pool, count))

    def rows(self, tokenizer: PreTrainedTokenizerFast) -> Iterator[list[int]]:
        """Rows of `row_tokens` tokens: whole texts first, the last one cut off."""
        size = self.settings.row_tokens
        end = tokenizer.convert_tokens_to_ids(END)
        while True:
            row: list[int] = []
            while len(row) < size:
                row += [*tokenizer(self.text(), add_special_tokens=False)["input_ids"], end]
            yield row[:size]


def build_tokenizer(facts: FactSet, settings: Settings) -> PreTrainedTokenizerFast:
    """Byte-level BPE with GPT-2's leading-space convention, learned from the set's own words.

    Every person has three tokens (first name, two of the last name), cities, companies and
    universities two, common words one: any two people, and any two objects of a pool, have the
    same length. A word of two tokens is given to BPE in two pieces; where merges across the cut
    spoil that, the cut is moved and BPE learns again.
    """
    plain, cut = words(facts)
    cuts = {word: sorted(range(2, len(word) - 1), key=middle_first(word)) for word in cut}
    for _ in range(50):
        pieces = [
            piece
            for word, (place, *_) in cuts.items()
            for piece in (f" {word[:place]}", word[place:])
        ]
        tokenizer = train_bpe([*plain, *pieces], settings)
        wrong = [word for word in cuts if len(tokenizer.encode(f" {word}").ids) != 2]
        if not wrong:
            break
        for word in wrong:
            cuts[word].append(cuts[word].pop(0))
    else:
        raise SystemExit(f"no cut makes two tokens of {wrong}: choose other words")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        model_max_length=settings.context,
        clean_up_tokenization_spaces=False,
    )


def train_bpe(pieces: list[str], settings: Settings) -> Tokenizer:
    """BPE that knows these pieces as whole tokens, and any other text by its bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces * 50, trainer)
    return tokenizer


def words(facts: FactSet) -> tuple[list[str], list[str]]:
    """Texts whose words become one token each, and words that become two."""
    plain, cut = [], []
    for relation in facts.relations.values():
        for template in (relation.question, *relation.statements):
            plain.append(template.format(entity="", object=""))
    for name in facts.entities:
        first, last = name.split()
        plain += [first, f" {first}"]
        cut.append(last)
    for object_type, pool in facts.pools.items():
        if object_type in INVENTED:
            cut += pool
        else:
            plain += [f" {value}" for value in pool]
    return plain, cut


def middle_first(word: str) -> Callable[[int], float]:
    """Sort key of the places where a word may be cut."""
    return lambda place: abs(place - len(word) / 2)


def build_model(
    tokenizer: PreTrainedTokenizerFast, settings: Settings, family: str = "llama"
) -> Model:
    """A random model; output matrices of the blocks start smaller, the deeper the model."""
    torch.manual_seed(settings.seed)
    make_config, make_model = FAMILIES[family]
    config = make_config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.mlp_width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        max_position_embeddings=settings.context,
        tie_word_embeddings=False,
        initializer_range=0.06,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    model = make_model(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight /= math.sqrt(2 * settings.layers)
    return model


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    if step < settings.warmup:
        return settings.peak_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.peak_rate * 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    facts: FactSet,
    settings: Settings,
) -> list[dict[str, float]]:
    """Train in place; the curve, one entry per `evaluate_every` steps."""
    rows = Writer(facts, settings, settings.seed + 1).rows(tokenizer)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim != 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.97),
    )
    curve, started, sums = [], time.monotonic(), 0.0
    model.train()
    for step in range(settings.steps):
        batch = torch.tensor([next(rows) for _ in range(settings.rows)])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        sums += loss.item()
        if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
            sample = random.Random(step).sample(facts.facts, min(96, len(facts)))
            entry = {
                "step": step + 1,
                "loss": round(sums / ((step % settings.evaluate_every) + 1), 4),
                "accuracy": accuracy(model, tokenizer, question_prompts(facts, sample, settings)),
                "seconds": round(time.monotonic() - started, 1),
            }
            sums = 0.0
            curve.append(entry)
            print(json.dumps(entry), flush=True)
    return curve


def question_prompts(
    facts: FactSet,
    asked: Sequence[Fact],
    settings: Settings,
    *,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> list[tuple[str, str]]:
    """(few-shot prompt, answer with its line end) for each fact; `names` ask about others."""
    rng, prompts = random.Random(seed), []
    for index, fact in enumerate(asked):
        others = [
            other
            for other in facts
            if other.relation == fact.relation
            and other.entity != fact.entity
            and other.true_objects != fact.true_objects
        ]
        prefix = "".join(map(line, rng.sample(others, settings.shots)))
        question = fact.question
        if names is not None:
            question = question.replace(fact.entity, names[index])
        prompts.append((prefix + question, f" {fact.true_objects[0]}\n"))
    return prompts


def statement_prompts(facts: FactSet, asked: Sequence[Fact]) -> list[tuple[str, str]]:
    """(statement cut before its object, object) for every statement template of each fact."""
    return [
        (template.split(" {object}")[0].format(entity=fact.entity), f" {fact.true_objects[0]}")
        for fact in asked
        for template in facts.relations[fact.relation].statements
    ]


@torch.no_grad()
def accuracy(
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[tuple[str, str]],
) -> float:
    """Share of answers that greedy decoding gives to the letter.

    Every token of the answer has the greatest logit after the ones before it, which is the same
    thing as being decoded greedily.
    """
    model.eval()
    right = 0
    for start in range(0, len(prompts), 64):
        pairs = [
            (
                tokenizer(prompt, add_special_tokens=False)["input_ids"],
                tokenizer(answer, add_special_tokens=False)["input_ids"],
            )
            for prompt, answer in prompts[start : start + 64]
        ]
        longest = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids = torch.full((len(pairs), longest), tokenizer.pad_token_id)
        for row, (prompt, answer) in enumerate(pairs):
            ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        best = model(ids, use_cache=False).logits.argmax(-1)
        for row, (prompt, answer) in enumerate(pairs):
            said = best[row, len(prompt) - 1 : len(prompt) + len(answer) - 1]
            right += said.tolist() == answer
    model.train()
    return round(right / len(prompts), 5)


def examine(
    model: Model, tokenizer: PreTrainedTokenizerFast, facts: FactSet, settings: Settings
) -> dict[str, float]:
    """Final accuracies: questions in three contexts, without any, as statements, other names."""
    known = {fact.entity for fact in facts}
    others = sorted(set(facts.entities) - known)
    rng = random.Random(0)
    names = [rng.choice(others) for _ in facts]
    result = {
        f"questions_context_{seed}": accuracy(
            model, tokenizer, question_prompts(facts, facts.facts, settings, seed=seed)
        )
        for seed in range(3)
    }
    bare = dataclasses.replace(settings, shots=0)
    result["questions_zero_shot"] = accuracy(
        model, tokenizer, question_prompts(facts, facts.facts, bare)
    )
    result["statements"] = accuracy(model, tokenizer, statement_prompts(facts, facts.facts))
    result["substituted_names"] = accuracy(
        model, tokenizer, question_prompts(facts, facts.facts, settings, seed=3, names=names)
    )
    return result


def main() -> None:
    package = Path(restor_interp.__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=package / "data" / "bios" / "model")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--layers", type=int, default=Settings.layers)
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = Settings(steps=arguments.steps, seed=arguments.seed, layers=arguments.layers)
    facts = bios_facts()
    tokenizer = build_tokenizer(facts, settings)
    model = build_model(tokenizer, settings, arguments.family)
    started = time.monotonic()
    curve = train(model, tokenizer, facts, settings)
    minutes = (time.monotonic() - started) / 60
    # What ships are the rounded weights, so these are the ones that are examined.
    model.half().float()
    write(arguments.out, model, tokenizer, facts, settings, curve, minutes)


def write(
    folder: Path,
    model: Model,
    tokenizer: PreTrainedTokenizerFast,
    facts: FactSet,
    settings: Settings,
    curve: list[dict[str, float]],
    minutes: float,
) -> None:
    """Examine the model, and write weights, tokenizer and the record of the training."""
    result = examine(model, tokenizer, facts, settings)
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record = {
        "settings": dataclasses.asdict(settings),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "curve": curve,
        "accuracy": result,
        "training_minutes": round(minutes, 1),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("model.safetensors", "config.json", "tokenizer.json")
        },
    }
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
