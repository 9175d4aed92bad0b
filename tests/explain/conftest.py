"""A run's tables, made up row by row, for everything that is computed from tables alone."""

import pandas as pd
import pytest

from restor_interp.explain.measured import Measured

WORDS = {"t": "true", "f": "false", "o": "other", "-": None}


class Toy:
    """Facts with outcomes per state and context, and log-probabilities of their objects."""

    def __init__(self):
        self.facts, self.answers, self.choices, self.margins = [], [], [], []

    def add(self, fact_id, entity, outcomes, *, role="direct", specific=True, logp=None):
        """`outcomes`: state -> a letter per context; `logp`: state -> (true, false, random)."""
        self.facts.append(
            {"fact_id": fact_id, "entity": entity, "role": role,
             "known": True, "known_specific": specific}
        )  # fmt: skip
        for state, letters in outcomes.items():
            for context, letter in enumerate(letters):
                key = {"fact_id": fact_id, "context_id": context, "state": state}
                self.answers.append(key | {"draw": 0, "outcome": WORDS[letter], "reason": None})
                numbers = (logp or {}).get(state, (-2.0, -4.0, -9.0))
                for category, value in zip(("true", "false", "random"), numbers, strict=True):
                    self.choices.append(
                        key | {"category": category, "sum_logprob": value,
                               "mean_logprob": value / 2, "object": category}
                    )  # fmt: skip
        self.margins.append({"fact_id": fact_id, "context_id": 0, "state": "clean", "margin": 3.0})
        return self

    def frames(self):
        return {
            name: pd.DataFrame(getattr(self, name))
            for name in ("facts", "answers", "choices", "margins")
        }

    def measured(self):
        return Measured(**self.frames())


@pytest.fixture(scope="session")
def toy():
    """The class: `toy()` is an empty run."""
    return Toy
