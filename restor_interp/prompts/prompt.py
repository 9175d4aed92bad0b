"""What a prompt is, and how one is made of a question about a fact."""

import re
from dataclasses import dataclass

from restor_interp.errors import PromptError
from restor_interp.facts import Fact


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
    """How it is worded: `question`, `rephrase_1`, …, `reverse`."""

    @property
    def text(self) -> str:
        return self.prefix + self.question


def prompt_about(
    fact: Fact, question: str, prefix: str, context_id: int, *, template: str = "question"
) -> Prompt:
    """The prompt that asks a fact's question, with its subject found in it.

    Raises `PromptError` for a question that does not hold the fact's entity.
    """
    found = re.search(rf"(?<!\w){re.escape(fact.entity)}(?!\w)", question)
    if found is None:
        raise PromptError(
            f"the question of {fact.fact_id} does not hold its entity {fact.entity!r}: "
            f"{question!r}; a question names its entity as it is spelled in the facts"
        )
    start = len(prefix) + found.start()
    return Prompt(
        prefix=prefix,
        question=question,
        subject=fact.entity,
        subject_span=(start, start + len(fact.entity)),
        fact_id=fact.fact_id,
        context_id=context_id,
        template=template,
    )
