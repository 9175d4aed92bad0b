"""Texts to capture that ask nothing: documents, statements, pages of free text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from restor_interp.corpus import Document


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A text, and places in it by name."""

    text_id: str
    text: str
    spans: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Name -> characters [start, end). A span `object` gives the positions `object_first` and
    `object_last`."""
    fact_id: str = ""
    """The fact that it is about, if it is about one."""
    context_id: int = 0
    entity: str = ""
    relation: str = ""
    label: str = ""
    """What it states: `true`, `false`, `random`."""


def mention_passages(documents: Iterable[Document]) -> list[Passage]:
    """A passage per fact that a document states: the whole text, with the span `object`.

    Claims have the label `false`, other mentions `true`. Of a document as a whole give
    `Passage(text_id=document.document_id, text=document.text, entity=document.entity)`.
    """
    return [
        Passage(
            text_id=document.document_id,
            text=document.text,
            spans={"object": (mention.start, mention.end)},
            fact_id=mention.fact_id,
            entity=document.entity if mention.is_claim else "",
            label="false" if mention.is_claim else "true",
        )
        for document in documents
        for mention in document.mentions
    ]
