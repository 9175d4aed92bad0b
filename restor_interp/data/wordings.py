"""How the built-in wordings of questions are written down: a block of lines per relation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from restor_interp.facts import Relation

_REVERSE = "reverse: "


@dataclass(frozen=True, kw_only=True)
class Wordings:
    """Other ways to ask about a relation."""

    rephrasings: tuple[str, ...]
    """Templates with `{entity}`."""
    reverse: str | None
    """Template with `{object}` that asks for the entity."""


def read_wordings(text: str) -> dict[str, Wordings]:
    """Relation -> its wordings.

    A block per relation, with an empty line between blocks: the relation's id, then one question
    a line; a line that begins with `reverse: ` asks for the entity.
    """
    found = {}
    for block in text.strip().split("\n\n"):
        key, *lines = block.split("\n")
        reverse = [line.removeprefix(_REVERSE) for line in lines if line.startswith(_REVERSE)]
        found[key] = Wordings(
            rephrasings=tuple(line for line in lines if not line.startswith(_REVERSE)),
            reverse=reverse[0] if reverse else None,
        )
    return found


def worded(relation: Relation, wordings: Mapping[str, Wordings]) -> Relation:
    """The relation with its wordings, where there are any."""
    if relation.relation not in wordings:
        return relation
    own = wordings[relation.relation]
    return replace(relation, rephrasings=own.rephrasings, reverse=own.reverse)
