"""Facts: what the model is asked, what counts as right, and where false objects come from.

A `FactSet` is a list of facts with everything that belongs to them: entities, relations with
their question and statement templates, typed pools of objects, and aliases. No torch here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from restor_interp.errors import unknown_name

BUILT_IN = ("atlas", "bios")
"""Names that `load_facts` knows besides files."""


@dataclass(frozen=True, kw_only=True)
class Entity:
    """Something that facts are about."""

    name: str
    kind: str
    """`person`, `country`, `city`, `work`, …"""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A kind of fact: how it is asked, how it is stated, of which type its objects are."""

    relation: str
    """Wikidata property id, such as `P36`."""
    name: str
    question: str
    """Template with `{entity}`, ending in a question mark."""
    object_type: str
    """Name of the pool that false, random and candidate objects are drawn from."""
    statements: tuple[str, ...] = ()
    """Templates with `{entity}` and `{object}`, each one sentence with its full stop."""
    rephrasings: tuple[str, ...] = ()
    """The question in other words: templates like `question`."""
    reverse: str | None = None
    """Template with `{object}` that asks for the entity. None where an object may belong to many
    entities, in this set or outside of it: such a question has no one right answer."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One (entity, relation, true objects): one question that the model should answer."""

    fact_id: str
    """Unique: `Paris/P17`."""
    entity: str
    relation: str
    question: str
    true_objects: tuple[str, ...]
    """Every object that is right, the usual one first; aliases are kept in the `FactSet`."""
    object_type: str


@dataclass(frozen=True, kw_only=True)
class Example:
    """One few-shot example that came with the data (RESTOR's own contexts)."""

    entity: str
    question: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class FactSet:
    """Facts and what belongs to them. Iterates over its facts, in file order."""

    name: str
    facts: tuple[Fact, ...]
    entities: Mapping[str, Entity]
    relations: Mapping[str, Relation]
    pools: Mapping[str, tuple[str, ...]]
    """Object type -> the objects of that type."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Object -> other accepted spellings of the same object."""
    contexts: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    """Relation -> few-shot examples that came with the data, in their order."""
    false_objects: Mapping[str, str] = field(default_factory=dict)
    """Fact id -> the false object to plant, where the data names one; else it is drawn."""

    def __iter__(self) -> Iterator[Fact]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def __getitem__(self, fact_id: str) -> Fact:
        return self._by_id[fact_id]

    @cached_property
    def _by_id(self) -> dict[str, Fact]:
        return {fact.fact_id: fact for fact in self.facts}

    def only(
        self,
        *,
        entities: Iterable[str] | None = None,
        relations: Iterable[str] | None = None,
        fact_ids: Iterable[str] | None = None,
    ) -> "FactSet":
        """The same set with fewer facts; pools, aliases and contexts stay whole."""
        wanted = [
            None if names is None else set(names) for names in (entities, relations, fact_ids)
        ]
        facts = tuple(
            fact
            for fact in self.facts
            if all(
                names is None or value in names
                for names, value in zip(
                    wanted, (fact.entity, fact.relation, fact.fact_id), strict=True
                )
            )
        )
        return replace(self, facts=facts)

    def spellings(self, name: str) -> tuple[str, ...]:
        """The object and its aliases, the usual spelling first."""
        return (name, *self.aliases.get(name, ()))

    def accepted(self, fact: Fact) -> tuple[str, ...]:
        """Every string that counts as a right answer to a fact, without repeats."""
        names = (spelling for name in fact.true_objects for spelling in self.spellings(name))
        return tuple(dict.fromkeys(names))


def load_facts(source: str | Path, *, entities: str | Path | None = None) -> FactSet:
    """A fact set by name or from a file.

    `source` is `atlas`, `bios`, a `.jsonl` file (its format: `restor_interp.fact_files`), or
    RESTOR's `facts.json`. `entities` is a JSON list of names, such as RESTOR's `entities.json`:
    only their facts are asked; the other entities stay, so that names can be drawn from them.

    Raises `DataError` that lists the first problems as `file:line: problem`, and `ConfigError`
    for a name that does not exist.
    """
    from restor_interp import fact_files

    suffix = Path(source).suffix.lower()
    if suffix == ".jsonl":
        facts = fact_files.read_jsonl(Path(source))
    elif suffix == ".json":
        facts = fact_files.read_restor(Path(source))
    else:
        facts = _built_in(str(source))
    if entities is None:
        return facts
    return facts.only(entities=fact_files.read_names(Path(entities), facts))


def _built_in(name: str) -> FactSet:
    if name == "atlas":
        from restor_interp.data.atlas import atlas_facts

        return atlas_facts()
    if name == "bios":
        from restor_interp.data.bios import bios_facts

        return bios_facts()
    raise unknown_name("fact set", name, (*BUILT_IN, "a .jsonl file", "RESTOR's facts.json"))
