"""Neutral English of our own: what a model is kept at, and what a damaged one is repaired with.

Everyday matters only (cooking, weather, tools, sleep, …): no person, place, work or organisation
is named, so that nothing here says anything about an entity that is evaluated
(`tests/test_neutral.py` checks it against every built-in fact set).

    retain_texts()    passages of 30 to 60 words, for the retain side of unlearning
    held_out_texts()  more such passages on other topics: never trained on, for drift and utility
    repair_texts()    questions and answers, for the repair step
"""

import functools
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True, kw_only=True)
class Example:
    """An everyday question and its answer."""

    question: str
    answer: str

    @property
    def text(self) -> str:
        """As it is trained on: the shape of the prompts, `Question? Answer`."""
        return f"{self.question} {self.answer}"


@functools.cache
def retain_texts() -> tuple[str, ...]:
    """Passages to keep the model at, topic by topic."""
    return _lines("retain.txt")


@functools.cache
def held_out_texts() -> tuple[str, ...]:
    """Passages on topics that `retain_texts` leaves out."""
    return _lines("held_out.txt")


@functools.cache
def repair_texts() -> tuple[Example, ...]:
    """Questions and answers, most of them a few words long, some of a few sentences."""
    examples = []
    for line in _lines("repair.txt"):
        question, mark, answer = line.partition("? ")
        examples.append(Example(question=question + mark.strip(), answer=answer))
    return tuple(examples)


def _lines(name: str) -> tuple[str, ...]:
    """The lines of a file of this folder, without empty ones and `#` headings."""
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))
