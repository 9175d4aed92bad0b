"""Which tokens of a prompt an instrument looks at or changes: of its question, or nearly all."""

from typing import Literal, get_args

from restor_interp.errors import unknown_name
from restor_interp.measure.questions import Question
from restor_interp.models.hooked import HookedModel

Scope = Literal["question", "all"]
"""The question alone, or the few-shot examples before it too; never the prompt's first token, on
which models park attention."""
SCOPES: tuple[Scope, ...] = get_args(Scope)


def first_token(model: HookedModel, question: Question, scope: Scope) -> int:
    """The first token of a scope; the others reach from it to the prompt's end.

    Raises `ConfigError` for an unknown scope.
    """
    if scope not in SCOPES:
        raise unknown_name("scope", scope, SCOPES)
    prefix = question.prompt.prefix
    before = 0
    if scope == "question" and prefix:
        before = len(model.tokenizer(prefix, add_special_tokens=False)["input_ids"])
    return min(max(1, before), len(question.ids) - 1)
