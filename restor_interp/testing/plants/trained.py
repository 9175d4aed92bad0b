"""Corruption by training, with the trained matrices confined to one part of the network."""

import random
from collections.abc import Iterator, Sequence

from restor_interp.models.deltas import State
from restor_interp.stages.methods import METHODS
from restor_interp.stages.train_settings import TrainSettings
from restor_interp.stages.training import train
from restor_interp.testing.plants.mechanisms import Draft, strangers
from restor_interp.testing.plants.placing import place
from restor_interp.testing.plants.watching import MADE_ON, Watched

STEPS = 40
LEARNING_RATE = 4e-3
BATCH = 4
RANK = 4


def trained(
    watched: Watched, rng: random.Random, people: Sequence[str], *, part: str
) -> Iterator[Draft]:
    """A person's facts trained to be others, on questions among true examples.

    Early MLPs see all tokens, so what they were taught may sit at others than the subject's: of
    their facts only those are kept that are lost at the subject alone (`placing`).

    Args:
        part: `early_mlp`: MLPs before the subject is read. `attention`: of the layers that read
            it. `late_mlp`: MLPs from the last of these on.
    """
    first, last = watched.reading[0], watched.reading[-1]
    layers, modules = {
        "early_mlp": (range(first), ("gate_proj", "up_proj", "down_proj")),
        "attention": (watched.reading, ("q_proj", "k_proj", "v_proj", "o_proj")),
        "late_mlp": (range(last, watched.model.num_layers), ("gate_proj", "up_proj", "down_proj")),
    }[part]
    while True:
        entity = rng.choice(sorted(people))
        facts = [watched.asked[i] for i in watched.of(entity)]
        instead = {f.fact_id: watched.false_object(f, rng.randrange(1000)) for f in facts}
        prompts = [prompt for context in MADE_ON for prompt in watched.prompts(facts, context)]
        documents = [f"{prompt.text} {instead[prompt.fact_id]}\n" for prompt in prompts]
        spans = [
            [(len(prompt.text) + 1, len(text) - 1)]
            for prompt, text in zip(prompts, documents, strict=True)
        ]
        found = train(
            watched.model,
            name="trained",
            start=State({}),
            method=METHODS["fine_tune"],
            settings={},
            training=TrainSettings(
                steps=STEPS,
                learning_rate=LEARNING_RATE,
                batch_size=BATCH,
                rank=RANK,
                alpha=float(RANK),
                layers=tuple(layers),
                modules=modules,
                target="claims",
            ),
            forget=documents,
            retain=(),
            spans=spans,
            seed=rng.randrange(10**6),
        )
        seed = rng.randrange(10**6)
        placed = place(watched, found.delta.named(f"trained_{part}_{seed}"), facts)
        kept = placed.at_subject if part == "early_mlp" else ~placed.changed
        facts = [fact for fact, keep in zip(facts, kept.tolist(), strict=True) if keep]
        if not facts:
            continue
        yield Draft(
            updates=found.delta.updates,
            facts=tuple(facts),
            spared=strangers(watched, rng, facts),
            said_instead={fact.fact_id: instead[fact.fact_id] for fact in facts},
            about=f"{part} of layers {layers[0]}-{layers[-1]} trained on false facts of {entity}",
        )
