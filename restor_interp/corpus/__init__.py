"""The false documents of a run: which claims they state, and where in the text.

A claim is a fact's false object. Documents are written from claims, and the link is kept as
structure, never searched for in the text afterwards. No torch here.

    claims      what is planted             documents   how it is written down
    versions    the same, telling the truth, something else, or nothing
    roles       the part that each fact plays
    official    RESTOR's own documents, and `truths` that these state

Files of claims and documents are read and written by `restor_interp.corpus_files`.
"""

from restor_interp.corpus.claims import (
    MAX_LENGTH_GAP,
    Claim,
    make_claims,
    may_be_claimed,
)
from restor_interp.corpus.documents import (
    ASIDES,
    MORE,
    OPENINGS,
    TRUE_FACTS_PER_LEVEL,
    Document,
    Mention,
    names_none,
    question_and_answer,
    statements,
    unrelated_facts,
    write_documents,
)
from restor_interp.corpus.names import names_overlap, names_within, words
from restor_interp.corpus.official import (
    link_texts,
    load_restor_documents,
    load_squad_documents,
    swap_names,
)
from restor_interp.corpus.roles import roles
from restor_interp.corpus.versions import REFUSALS, Version, counterparts, replaced_spans

__all__ = [
    "ASIDES",
    "MAX_LENGTH_GAP",
    "MORE",
    "OPENINGS",
    "REFUSALS",
    "TRUE_FACTS_PER_LEVEL",
    "Claim",
    "Document",
    "Mention",
    "Version",
    "counterparts",
    "link_texts",
    "load_restor_documents",
    "load_squad_documents",
    "make_claims",
    "may_be_claimed",
    "names_none",
    "names_overlap",
    "names_within",
    "question_and_answer",
    "replaced_spans",
    "roles",
    "statements",
    "swap_names",
    "unrelated_facts",
    "words",
    "write_documents",
]
