"""Fact -> Prompt: the few-shot examples, the question, and where the subject stands."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text that the model is to continue, and what it asks about.

    `text = prefix + question`: the prefix (few-shot lines, each with its line break) is equal
    for many prompts, so that engines run it once. The answer follows after one space.
    """

    prefix: str
    question: str
    subject: str | None = None
    subject_span: tuple[int, int] | None = None
    """Characters [start, end) of the subject in `text`."""
    fact_id: str = ""
    context_id: int = 0
    template: str = "question"

    @property
    def text(self) -> str:
        return self.prefix + self.question
