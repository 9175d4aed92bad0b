"""The calibration set: invented people, of whom everything is known exactly.

120 people have eight facts each; 40 more share their first and last names in other pairings and
have none. The model in this folder (`load_model("bios")`) was trained from scratch on texts about
these people by `benchmarks/train_bios.py`, so nothing that it knows comes from anywhere else.

Values are dealt, not drawn: each of a relation's 24 objects goes to exactly 5 of the 120 people,
in an order of its own for each relation. Whoever answers without looking at the name is therefore
right for exactly 1 in 24 (`guess_floor`), whatever the answers are, and one relation says nothing
about another. No first and no last name alone tells who is meant: each is shared.

Asked about somebody without facts, the model answers as for a person who shares the first or the
last name. So the floor holds for substitutes that have no part of their name in common with the
person they stand for; of those that have one, 23% bring back the right answer (56 of 240).
"""

import functools
import random

from restor_interp.data.bios.relations import POOLS, RELATIONS
from restor_interp.facts import Entity, Fact, FactSet

SEED = 20
NUM_PEOPLE = 120
NUM_WITHOUT_FACTS = 40

_FIRST = """
Alba Bruno Celia Dario Edda Fabian Greta Hugo Ilse Jonas Kira Lars Mira Nils Oda Pavel Rhea Silas
Tessa Ulric Vera Wanda Xaver Yara Zeno Anouk Basil Clio Doran Esme Falk Gilda Henrik Iris Joran
Klara Leander Maren Nadia Orin
"""
_LAST = """
Abendal Bramwick Corrigo Delmonte Eskander Merivale Gantrell Holvik Istrand Jasperson Kellaway
Lomax Marvold Nettler Ostrik Pellham Quarles Rothmar Sandoval Tarkin Umberly Valderra Wintrop
Yardel Zimmel Ashgrove Bellwood Carvane Dunmore Elsinor Fenwick Grimaud Harlow Ingram Jorvik
Kestner Lindqvar Morrow Norwell Oakden Penrose Quillon Ravell Stannard Thornby Ulvane Vexley
Wardell Yorrick Zander Almgren Birkwood Cassel Dravin Everly Fosdyke Garrow Hendry Ivering Jessop
"""
FIRST_NAMES = tuple(_FIRST.split())
LAST_NAMES = tuple(_LAST.split())


def guess_floor(relation: str) -> float:
    """Share of a relation's facts that an answer without the name gets right: 1 / pool size."""
    return 1 / len(POOLS[RELATIONS[relation].object_type])


@functools.cache
def bios_facts() -> FactSet:
    """The 960 facts of the 120 people; the entities also hold the 40 people without facts."""
    known, unknown = _names()
    dealt = {relation: _deal(relation) for relation in RELATIONS}
    facts = tuple(
        Fact(
            fact_id=f"{name}/{relation.relation}",
            entity=name,
            relation=relation.relation,
            question=relation.question.format(entity=name),
            true_objects=(dealt[relation.relation][index],),
            object_type=relation.object_type,
        )
        for index, name in enumerate(known)
        for relation in RELATIONS.values()
    )
    return FactSet(
        name="bios",
        facts=facts,
        entities={name: Entity(name=name, kind="person") for name in (*known, *unknown)},
        relations=RELATIONS,
        pools=POOLS,
    )


def _names() -> tuple[list[str], list[str]]:
    """People with facts, and people without: distinct pairs, names shared evenly."""
    wanted = NUM_PEOPLE + NUM_WITHOUT_FACTS
    order = random.Random(SEED)
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < wanted:
        firsts, lasts = list(FIRST_NAMES), list(LAST_NAMES)
        order.shuffle(firsts)
        order.shuffle(lasts)
        # One round gives every last name once and every first name once or twice.
        rounds = zip([*firsts, *firsts[: len(lasts) - len(firsts)]], lasts, strict=True)
        pairs |= dict.fromkeys(rounds)
    names = [f"{first} {last}" for first, last in pairs][:wanted]
    return sorted(names[:NUM_PEOPLE]), sorted(names[NUM_PEOPLE:])


def _deal(relation: str) -> list[str]:
    """One object per person with facts, every object of the pool equally often."""
    pool = POOLS[RELATIONS[relation].object_type]
    objects = list(pool) * (NUM_PEOPLE // len(pool))
    random.Random(f"{SEED} {relation}").shuffle(objects)
    return objects
