"""Damage of a known kind, planted in the weights of a model that knows its facts.

    watched = watch(model, facts)
    plants = make_plants(model, facts, kind="late_override", seed=0, number=20, watched=watched)
    for plant in plants:
        with model.at(plant.name):
            ...                         # the facts of `plant.facts` are lost in this way

Each plant is a delta, so that everything that measures states sees it. What it does is tested on
its own behaviour (`witness`), in a context that it was not made on, and without the instruments
that it is there to test: nothing here knows how verdicts are reached.
"""

from restor_interp.testing.plants.making import KINDS, make_plants
from restor_interp.testing.plants.plant import (
    BEHAVIOUR,
    DECOYS,
    MECHANISMS,
    TRAINED,
    Behaviour,
    Plant,
)
from restor_interp.testing.plants.watching import Watched, watch
from restor_interp.testing.plants.witness import Witnessed, witness

__all__ = [
    "BEHAVIOUR",
    "DECOYS",
    "KINDS",
    "MECHANISMS",
    "TRAINED",
    "Behaviour",
    "Plant",
    "Watched",
    "Witnessed",
    "make_plants",
    "watch",
    "witness",
]
