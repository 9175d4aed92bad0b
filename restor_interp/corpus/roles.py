"""Which part a fact plays in an experiment."""

from collections.abc import Sequence

from restor_interp.corpus.claims import Claim
from restor_interp.corpus.documents import Document
from restor_interp.facts import Fact, FactSet


def roles(asked: FactSet, claims: Sequence[Claim], documents: Sequence[Document]) -> dict[str, str]:
    """Fact id -> its role: `direct`, `sibling`, `context` or `untouched` (design §2).

    A fact about an entity that merely is the object of some claim counts as untouched. A fact
    about a corrupted entity that the documents of others state truthfully, such as RESTOR's of
    most people's sex, is not contradicted and counts as context.
    """
    claimed = {claim.fact_id for claim in claims}
    corrupted = {claim.entity for claim in claims} | {document.entity for document in documents}
    told = {
        mention.fact_id
        for document in documents
        for mention in document.mentions
        if not mention.is_claim
    }

    def role(fact: Fact) -> str:
        if fact.fact_id in claimed:
            return "direct"
        if fact.fact_id in told:
            return "context"
        return "sibling" if fact.entity in corrupted else "untouched"

    return {fact.fact_id: role(fact) for fact in asked}
