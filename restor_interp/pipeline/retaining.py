"""The neutral text that unlearning keeps a model at, from each of its sources.

    own     our passages; for invented people, true paragraphs about those of no interest
    clean   what the clean model itself says, sampled once
    a file  a user's own

None of it may tell the truth about whom the run corrupts: a method would then be taught what it is
to bring back. What is sampled is checked for names, what a user gives is theirs to answer for, and
the run says how much of it names somebody.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from restor_interp.corpus.reading import read_text
from restor_interp.errors import ConfigError, DataError
from restor_interp.facts import Fact, FactSet
from restor_interp.models.hooked import HookedModel

SOURCES = ("own", "clean")
START_TOKENS = 3
"""Of a sampled text: so many are given, the rest is the model's."""
BATCH = 16
ROUNDS = 8
"""Times the wanted number that is sampled at most, to find texts that name nobody of the run."""
HELD_OUT_EVERY = 4
"""Of the paragraphs about invented people, one in so many is kept for measuring alone."""


def paragraphs(
    facts: FactSet, *, leave_out: Iterable[str], seed: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """True paragraphs of five facts about each entity that is not left out: to train on, and held
    out. No entity has a paragraph in both."""
    left_out = set(leave_out)
    by_entity: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.entity not in left_out:
            by_entity.setdefault(fact.entity, []).append(fact)
    written = [_paragraph(facts, own, seed) for own in by_entity.values()]
    held_out = written[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return tuple(text for text in written if text not in held_out), tuple(held_out)


def _paragraph(facts: FactSet, own: Sequence[Fact], seed: int) -> str:
    order = random.Random(f"{seed}/{own[0].entity}")
    chosen = order.sample(list(own), min(5, len(own)))
    return " ".join(
        order.choice(facts.relations[fact.relation].statements).format(
            entity=fact.entity, object=fact.true_objects[0]
        )
        for fact in chosen
    )


# ---- a user's file


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts of a `.jsonl` (key `text`) or a `.txt` (an empty line between two texts).

    Raises `DataError`, as `file:line: problem`.
    """
    text = read_text(path)
    if path.suffix.lower() == ".jsonl":
        texts = _jsonl_texts(path, text)
    elif path.suffix.lower() == ".txt":
        blocks = [" ".join(block.split()) for block in _blocks(text)]
        texts = [block for block in blocks if block]
    else:
        raise DataError(f"{path}: texts are read from .jsonl and .txt files")
    if not texts:
        raise DataError(f"{path} holds no text")
    return tuple(texts)


def _blocks(text: str) -> list[str]:
    blocks = [""]
    for line in text.splitlines():
        if line.strip():
            blocks[-1] += f"{line}\n"
        else:
            blocks.append("")
    return blocks


def _jsonl_texts(path: Path, text: str) -> list[str]:
    texts, problems = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append(f"{path}:{number}: not JSON: {error.msg} at character {error.pos + 1}")
            continue
        found = value.get("text") if isinstance(value, dict) else None
        if isinstance(found, str) and found.strip():
            texts.append(found)
        else:
            problems.append(
                f"{path}:{number}: an object with a non-empty 'text' is needed, found {value!r:.60}"
            )
    if problems:
        raise DataError.from_problems(f"{path} cannot be used", problems)
    return texts


# ---- sampled from the clean model


def sampled_texts(
    model: HookedModel,
    starts: Sequence[str],
    *,
    number: int,
    tokens: int,
    seed: int,
    suits: Callable[[str], bool],
) -> tuple[str, ...]:
    """Texts of the clean model, at temperature 1, from the first tokens of neutral texts.

    Each text is `tokens` long, shorter where the model ends it. Those that do not suit are drawn
    anew. The model is set to its clean state for it. The same seed gives the same texts on the same
    machine. Raises `ConfigError` where too few suit.
    """
    rows = [
        model.tokenizer(text, add_special_tokens=False)["input_ids"][:START_TOKENS]
        for text in starts
    ]
    rows = [row for row in rows if len(row) == START_TOKENS]
    if not rows:
        raise ConfigError(f"no start of {START_TOKENS} tokens to sample retain texts from")
    generator = torch.Generator(device=model.device).manual_seed(seed)
    kept: list[str] = []
    with model.at("clean"), torch.no_grad():
        for turn in range(-(-ROUNDS * number // BATCH)):
            batch = [rows[(turn * BATCH + place) % len(rows)] for place in range(BATCH)]
            drawn = _continued(model, batch, tokens, generator)
            kept += [text for text in drawn if text and suits(text)]
            if len(kept) >= number:
                return tuple(kept[:number])
    raise ConfigError(
        f"data.retain=clean: of {ROUNDS * number} sampled texts only {len(kept)} name no entity "
        f"of the run, {number} are wanted: lower data.retain_number, or use data.retain=own"
    )


def _continued(
    model: HookedModel, rows: Sequence[Sequence[int]], tokens: int, generator: torch.Generator
) -> list[str]:
    """Rows of equally many tokens, continued by sampling up to `tokens` or the end of text."""
    ids = torch.tensor(rows, device=model.device)
    end = model.tokenizer.eos_token_id
    past, given = None, ids
    for _ in range(tokens - ids.shape[1]):
        out = model.hf_model(input_ids=given, past_key_values=past, use_cache=True)
        past = out.past_key_values
        shares = torch.softmax(out.logits[:, -1].float(), dim=-1)
        given = torch.multinomial(shares, 1, generator=generator)
        ids = torch.cat([ids, given], dim=1)
    texts = []
    for row in ids.tolist():
        length = row.index(end, START_TOKENS) if end in row[START_TOKENS:] else len(row)
        texts.append(model.tokenizer.decode(row[:length], skip_special_tokens=True).strip())
    return texts
