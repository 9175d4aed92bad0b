"""The built-in fact set: well-known facts about countries, cities, people, works and things.

Written for this project, from general knowledge, for a model of 135 million parameters: mostly
what such a model knows. Facts stand relation by relation in a module per kind; how relations are
asked and stated in `relations`; types, further objects and spellings in `objects`.
"""

import functools
from collections.abc import Iterator

from restor_interp.data.atlas import cities, countries, objects, people, things, works
from restor_interp.data.atlas.relations import RELATIONS
from restor_interp.facts import Entity, Fact, FactSet


@functools.cache
def atlas_facts() -> FactSet:
    """All facts of atlas, entity by entity."""
    entities = _entities()
    order = {name: number for number, name in enumerate(entities)}
    pools: dict[str, dict[str, None]] = {}
    facts = []
    for module in (countries, cities, people, works, things):
        for key, text in module.FACTS.items():
            relation = RELATIONS[key]
            for name, true_objects in _pairs(text):
                pools.setdefault(relation.object_type, {}).update(dict.fromkeys(true_objects))
                facts.append(
                    Fact(
                        fact_id=f"{name}/{key}",
                        entity=name,
                        relation=key,
                        question=relation.question.format(entity=name),
                        true_objects=true_objects,
                        object_type=relation.object_type,
                    )
                )
    for object_type, text in objects.MORE.items():
        pools[object_type].update(dict.fromkeys(_names(text)))
    return FactSet(
        name="atlas",
        facts=tuple(sorted(facts, key=lambda fact: order[fact.entity])),
        entities=entities,
        relations=RELATIONS,
        pools={object_type: tuple(names) for object_type, names in pools.items()},
        aliases=dict(_pairs(objects.ALIASES)),
    )


def _entities() -> dict[str, Entity]:
    kinds = {
        name: kind
        for kind, text in (
            *((module.KIND, module.ENTITIES) for module in (countries, cities, people, works)),
            *things.ENTITIES.items(),
        )
        for name in _names(text)
    }
    aliases = {
        name: spellings
        for module in (countries, cities, people, works, things)
        for name, spellings in _pairs(module.ALIASES)
    }
    return {
        name: Entity(name=name, kind=kind, aliases=aliases.get(name, ()))
        for name, kind in kinds.items()
    }


def _names(text: str, mark: str = ";") -> list[str]:
    """The parts of a text between marks; line breaks within a part are spaces."""
    return [" ".join(part.split()) for part in text.split(mark) if part.strip()]


def _pairs(text: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """`name: object / object; …` -> (name, objects)."""
    for part in _names(text):
        name, _, values = part.partition(": ")
        yield name, tuple(_names(values, " / "))
