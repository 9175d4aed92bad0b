"""The same question in other words.

Template 0 is a fact's own question; template 1, 2, … are its relation's rephrasings.
"""

from restor_interp.errors import ConfigError
from restor_interp.facts import Example, Fact, FactSet


def rephrasings(facts: FactSet, relation: str) -> tuple[str, ...]:
    """The other wordings of a relation's question, with `{entity}`; none where the set has none."""
    return facts.relations[relation].rephrasings


def rephrased(facts: FactSet, asked: Fact | Example, template: int, *, relation: str = "") -> str:
    """The question of a fact, or of an example of `relation`, in the words of a template.

    Raises `ConfigError` for a template that the relation does not have.
    """
    if template == 0:
        return asked.question
    relation = asked.relation if isinstance(asked, Fact) else relation
    known = rephrasings(facts, relation)
    if not 1 <= template <= len(known):
        raise ConfigError(
            f"template {template} of {relation} in {facts.name!r} was asked for, which has "
            f"{len(known)} rephrasings: templates are 0 (the question itself) to {len(known)}; "
            "a relation record of a .jsonl file brings its own as `rephrasings`"
        )
    return known[template - 1].format(entity=asked.entity)


def template_name(template: int) -> str:
    """What `Prompt.template` and the tables call it."""
    return f"rephrase_{template}" if template else "question"
