"""The false documents of a run: which claims they state, and where in the text.

A claim is a fact's false object. Documents are written from claims, and the link is kept as
structure, never searched for in the text afterwards. No torch here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The false object that corruption plants for one fact."""

    fact_id: str
    entity: str
    relation: str
    false_object: str


@dataclass(frozen=True, kw_only=True)
class Mention:
    """Where a document states a fact: characters [start, end) hold the object."""

    fact_id: str
    start: int
    end: int
    is_claim: bool
    """True: a false object. False: a true fact about an unrelated entity."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A training text about one corrupted entity."""

    document_id: str
    entity: str
    text: str
    mentions: tuple[Mention, ...] = ()
