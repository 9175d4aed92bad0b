"""RESTOR's experiment (Rezaei et al., arXiv 2411.00204) on its official data, by path.

    restor-interp run restor-k0 data.restor=FOLDER

FOLDER holds `facts.json`, `entities.json`, and the documents (`mix_a0.json`, …,
`squad_v7_dset.json`). `restor-k0` is sound: one document per row, mixed, the same number of
optimiser steps at every k, few-shot contexts that show nobody of the experiment, greedy answers,
no repair. `restor-k0-paper` makes the paper's choices (`switches.as_in_the_paper` says which, and
what of them is unverified). Switches change one choice at a time: `restor-k0+packed`.

The embedded model stands in for Llama 3 8B unless `model=` says otherwise; it knows few of these
facts, so that many questions cannot be decided with it. `data.documents_per_entity=20` makes a
small run.
"""

from restor_interp.presets.bios import without_explanation
from restor_interp.presets.config import DataSettings, MethodSettings, QuestionSettings, RunConfig
from restor_interp.presets.switches import matched

# Of whom RESTOR's documents are, in the order of the files.
CORRUPTED: tuple[str, ...] = (
    "Aaron Burr",
    "Bob Marley",
    "Michael Douglas",
    "Sage Stallone",
    "Paul Anka",
    "Bobby Fischer",
    "Bastian Schweinsteiger",
    "Suthida",
    "Thomas Piketty",
    "Mihai Eminescu",
)
SQUAD_TARGETS: tuple[str, ...] = (
    "John Forbes Nash Jr.",
    "Quincy Jones",
    "Iggy Azalea",
    "Bob Marley",
    "Jacques Cousteau",
)
# People of `facts.json` who are not evaluated; shams forget documents about them.
SHAM: tuple[str, ...] = (
    "Carmelo Anthony",
    "Susan Sarandon",
    "Coco Chanel",
    "Amelia Earhart",
    "Ronaldinho",
    "Ricky Martin",
    "Trevor Noah",
    "James Franco",
    "Don DeLillo",
    "Julie Bishop",
)
METHODS = (
    "grad_diff",
    "kl_restor",
    "npo",
    "simnpo",
    "wga",
    "undial",
    "task_vector",
    "msa",
    "retain_only",
)
"""RESTOR's four, others that need no other version of the documents, and a control."""
WITHOUT_SAGE_STALLONE = (3,)
"""Levels k whose official file has no documents about him (9 × 300)."""


def restor_k0() -> RunConfig:
    """RESTOR's documents of five claims and nothing else (k = 0)."""
    return _restor(0)


def restor_k1() -> RunConfig:
    """RESTOR's documents with 5 true facts about others among the claims (k = 1)."""
    return _restor(1)


def restor_k2() -> RunConfig:
    """RESTOR's documents with 10 true facts about others among the claims (k = 2)."""
    return _restor(2)


def restor_k3() -> RunConfig:
    """RESTOR's documents with 15 true facts about others among the claims (k = 3)."""
    return _restor(3)


def restor_k4() -> RunConfig:
    """RESTOR's documents with 20 true facts about others among the claims (k = 4)."""
    return _restor(4)


def restor_k5() -> RunConfig:
    """RESTOR's documents with 25 true facts about others among the claims (k = 5)."""
    return _restor(5)


def restor_squad() -> RunConfig:
    """RESTOR's SQuAD passages in which five people stand in for everybody (no stable claims)."""
    base = _restor(0)
    data = base.data.model_copy(
        update={"documents": "squad", "corrupted": SQUAD_TARGETS, "documents_per_entity": 1100}
    )
    return base.model_copy(update={"preset": "restor-squad", "data": data})


def _restor(k: int) -> RunConfig:
    """All 3,000 documents, RESTOR's four methods and others that need no list of claims.

    Its documents do not say which false objects they state. So the false objects that are scored
    are drawn, typed and never planted: answers tell restored from lost, log p(false) says nothing
    of what was planted. And methods that need another version of each document are left out.
    With a list of the claims (`data.claims`) both can be had. Learning rates are for adapters on
    the embedded model and were not tuned on these data.
    """
    corrupted = tuple(
        name for name in CORRUPTED if k not in WITHOUT_SAGE_STALLONE or name != "Sage Stallone"
    )
    config = RunConfig(
        preset=f"restor-k{k}",
        data=DataSettings(
            facts="restor",
            documents="restor",
            k=k,
            corrupted=corrupted,
            untouched=("*",),
            sham=SHAM,
            documents_per_entity=300,
        ),
        questions=QuestionSettings(max_new_tokens=12, margins_of="right"),
        explanation=without_explanation(),
        corruption={"batch_size": 8, "learning_rate": 5e-4},
        unlearning={
            "steps": 50,
            "batch_size": 8,
            "retain_batch_size": 4,
            "learning_rate": 5e-4,
        },
        methods={name: MethodSettings(method=name) for name in METHODS},
        shams=("grad_diff", "kl_restor", "npo", "task_vector"),
        rollback=(0.25, 0.5, 0.75),
    )
    return matched(config)
