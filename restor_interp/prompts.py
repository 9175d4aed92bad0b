"""Fact -> Prompt: the few-shot examples, the question, and where the subject stands.

Two styles of few-shot context. `paper` is RESTOR's own, character for character, which holds the
answer for 244 of its 1,051 facts. `sound` shows no entity of the experiment, and neither the true
nor the false object of the fact that is asked.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from restor_interp.corpus import names_none, names_overlap, names_within
from restor_interp.errors import PromptError, unknown_name
from restor_interp.facts import Example, Fact, FactSet

STYLES = ("sound", "paper")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A text that the model is to continue, and what it asks about.

    `text = prefix + question`: the prefix (few-shot lines, each with its line break) is equal
    for many prompts, so that engines run it once. The answer follows after one space.
    """

    prefix: str
    question: str
    subject: str | None = None
    subject_span: tuple[int, int] | None = None
    """Characters [start, end) of the subject in `text`."""
    fact_id: str = ""
    context_id: int = 0
    template: str = "question"

    @property
    def text(self) -> str:
        return self.prefix + self.question


def build_prompts(
    facts: FactSet,
    *,
    only: Sequence[Fact],
    context_ids: Sequence[int],
    style: str,
    shots: int,
    avoid_entities: frozenset[str],
    avoid_objects: Mapping[str, str],
    seed: int,
) -> list[Prompt]:
    """One prompt per fact of `only` and context, fact by fact.

    In `sound` style each relation and context has one default list of examples, and a fact gets
    another list only where the default shows one of its objects: most prompts share a prefix.

    Args:
        facts: the whole set; its facts of the same relation are the examples, and those that
            came with it as examples.
        context_ids: which few-shot contexts; contexts share no example while there are enough.
        style: `sound` or `paper`. `paper` has one context, number 0, and avoids nothing.
        shots: examples wanted; fewer where the set has fewer.
        avoid_entities: entities that no example of a `sound` context is about or names.
        avoid_objects: fact id -> false object that must not be an example's answer.

    Raises `PromptError` where no example is left, or a question does not hold its entity.
    """
    if style not in STYLES:
        raise unknown_name("prompt style", style, STYLES)
    if shots < 1:
        raise PromptError(
            f"shots is at least 1, found {shots}: without examples a subject at the "
            "start of its question stands at token 0"
        )
    if style == "paper":
        return [
            _prompt(fact, _paper_prefix(facts, fact, context_id, shots), context_id)
            for fact in only
            for context_id in context_ids
        ]
    contexts = _Contexts(facts, shots=shots, avoid_entities=avoid_entities, seed=seed)
    return [
        _prompt(
            fact, contexts.prefix(fact, context_id, avoid_objects.get(fact.fact_id)), context_id
        )
        for fact in only
        for context_id in context_ids
    ]


def build_prompt(
    facts: FactSet,
    fact: Fact,
    *,
    context_id: int = 0,
    style: str = "sound",
    shots: int = 5,
    seed: int = 0,
    avoid_entities: frozenset[str] = frozenset(),
    avoid_object: str | None = None,
) -> Prompt:
    """The prompt for one fact; equal to the one that `build_prompts` gives."""
    (prompt,) = build_prompts(
        facts,
        only=(fact,),
        context_ids=(context_id,),
        style=style,
        shots=shots,
        avoid_entities=avoid_entities,
        avoid_objects={} if avoid_object is None else {fact.fact_id: avoid_object},
        seed=seed,
    )
    return prompt


def _line(question: str, answer: str) -> str:
    return f"{question} {answer}\n"


def _prompt(fact: Fact, prefix: str, context_id: int) -> Prompt:
    found = re.search(rf"(?<!\w){re.escape(fact.entity)}(?!\w)", fact.question)
    if found is None:
        raise PromptError(
            f"the question of {fact.fact_id} does not hold its entity {fact.entity!r}: "
            f"{fact.question!r}; a question names its entity as it is spelled in the facts"
        )
    start = len(prefix) + found.start()
    return Prompt(
        prefix=prefix,
        question=fact.question,
        subject=fact.entity,
        subject_span=(start, start + len(fact.entity)),
        fact_id=fact.fact_id,
        context_id=context_id,
    )


# ---- RESTOR's own contexts


def _paper_prefix(facts: FactSet, fact: Fact, context_id: int, shots: int) -> str:
    """The first stored examples of the relation that are not about the asked entity."""
    if context_id != 0:
        raise PromptError(
            f"style 'paper' has one few-shot context, number 0; found context_id {context_id} "
            "(set questions.contexts=1, or use style 'sound')"
        )
    stored = facts.contexts.get(fact.relation, ())
    shown = [example for example in stored if example.entity != fact.entity][:shots]
    if not shown:
        raise PromptError(
            f"{facts.name!r} came with no few-shot examples for {fact.relation}, which style "
            "'paper' needs; use style 'sound', or load RESTOR's facts.json"
        )
    return "".join(_line(example.question, example.answer) for example in shown)


# ---- sound contexts


class _Contexts:
    """Few-shot examples by relation and context, chosen once and shared by all facts they suit."""

    def __init__(
        self, facts: FactSet, *, shots: int, avoid_entities: frozenset[str], seed: int
    ) -> None:
        self.facts = facts
        self.shots = shots
        self.seed = seed
        self._is_clear = names_none(facts, avoid_entities)
        self._examples: dict[str, list[Example]] = {}
        self._orders: dict[tuple[str, int], tuple[list[Example], list[Example]]] = {}

    def prefix(self, fact: Fact, context_id: int, avoid_object: str | None) -> str:
        default, rest = self._order(fact.relation, context_id)
        forbidden = list(self.facts.accepted(fact))
        if avoid_object is not None:
            forbidden += self.facts.spellings(avoid_object)
        shown = [example for example in default if self._suits(example, fact, forbidden)]
        if len(shown) < len(default):
            spare = [example for example in rest if self._suits(example, fact, forbidden)]
            shown = _distinct_first(shown, spare, self.shots)
        if not shown:
            raise PromptError(
                f"no few-shot example for {fact.fact_id}: {self.shots} wanted, "
                f"{len(default) + len(rest)} found for {fact.relation} in {self.facts.name!r} that "
                "name no entity of the experiment, 0 of them with an answer other than the fact's "
                "true and false objects; use fewer entities, style 'paper', or leave the relation "
                "out"
            )
        return "".join(_line(example.question, example.answer) for example in shown)

    def _examples_of(self, relation: str) -> list[Example]:
        """Every example of a relation that names no avoided entity, each question once."""
        if relation not in self._examples:
            found = [
                Example(entity=fact.entity, question=fact.question, answer=fact.true_objects[0])
                for fact in self.facts
                if fact.relation == relation
            ]
            found += self.facts.contexts.get(relation, ())
            by_question = {example.question: example for example in reversed(found)}
            self._examples[relation] = [
                example
                for example in reversed(by_question.values())
                if all(map(self._is_clear, (example.entity, example.question, example.answer)))
            ]
        return self._examples[relation]

    def _order(self, relation: str, context_id: int) -> tuple[list[Example], list[Example]]:
        """The default examples of a context, and all others in the order they may step in."""
        key = (relation, context_id)
        if key not in self._orders:
            examples = self._examples_of(relation)
            unused = self._shuffled(examples, relation, 0)
            chosen: list[Example] = []
            for number in range(context_id + 1):
                if len(unused) < min(self.shots, len(examples)):
                    unused = self._shuffled(examples, relation, number)
                chosen = _distinct_first([], unused, self.shots)
                unused = [example for example in unused if example not in chosen]
            # Later contexts take from the front: stand-ins come from the end, each context's own.
            spare = unused[::-1]
            start = context_id * self.shots % len(spare) if spare else 0
            again = [one for one in examples if one not in chosen and one not in unused]
            self._orders[key] = (chosen, spare[start:] + spare[:start] + again)
        return self._orders[key]

    def _shuffled(self, examples: list[Example], relation: str, context_id: int) -> list[Example]:
        shuffled = list(examples)
        random.Random(f"contexts/{self.seed}/{relation}/{context_id}").shuffle(shuffled)
        return shuffled

    def _suits(self, example: Example, fact: Fact, forbidden: Sequence[str]) -> bool:
        """Whether an example shows neither the asked entity nor one of the fact's objects."""
        if example.entity == fact.entity or names_within(example.question, fact.entity):
            return False
        return not any(
            names_overlap(spelling, name)
            for spelling in self.facts.spellings(example.answer)
            for name in forbidden
        )


def _distinct_first(shown: list[Example], spare: Sequence[Example], number: int) -> list[Example]:
    """Up to `number` examples: those shown, then spare ones with new answers, then any."""
    shown = list(shown)
    for example in spare:
        answers = {one.answer for one in shown}
        if len(shown) < number and example.answer not in answers:
            shown.append(example)
    for example in spare:
        if len(shown) < number and example not in shown:
            shown.append(example)
    return shown


# ---- other names in the subject's place


def substitutes(
    facts: FactSet,
    entity: str,
    *,
    number: int,
    length: Callable[[str], int],
    exclude: frozenset[str] = frozenset(),
    seed: int,
) -> tuple[str, ...]:
    """Up to `number` other entities of the same kind whose names have the same length.

    Drawn by `seed` and `entity`; fewer, or none, where the set has fewer. Names that hold the
    entity's name, are held by it or share a capitalised word with it are left out: half a name
    can bring the answer back (on `bios` for 56 of 240 facts, against 9 of 240 without).

    Args:
        length: tokens of a name as it stands in the question.
        exclude: entities that must not step in.
    """
    if entity not in facts.entities:
        raise unknown_name(f"entity in {facts.name!r}", entity, facts.entities)
    asked = facts.entities[entity]
    own_names, own_length = (entity, *asked.aliases), length(entity)
    fitting = [
        other.name
        for other in facts.entities.values()
        if other.kind == asked.kind
        and other.name not in exclude
        and not any(names_overlap(other.name, name) for name in own_names)
        and not _name_words(own_names) & _name_words((other.name, *other.aliases))
        and length(other.name) == own_length
    ]
    rng = random.Random(f"substitutes/{seed}/{entity}")
    return tuple(rng.sample(sorted(fitting), min(number, len(fitting))))


def _name_words(names: Iterable[str]) -> set[str]:
    """The capitalised words of names, articles left out."""
    words = {word for name in names for word in re.findall(r"\w+", name) if word[0].isupper()}
    return words - {"The", "A", "An"}


def with_substitute(prompt: Prompt, name: str) -> Prompt:
    """The same prompt asking about another name; examples, fact id and context stay.

    Raises `PromptError` where the prompt has no subject, or not in its question.
    """
    if prompt.subject_span is None or prompt.subject_span[0] < len(prompt.prefix):
        raise PromptError(
            f"which words of the question {prompt.question!r} are the subject? A substitute "
            "needs a Prompt whose subject_span lies in its question"
        )
    start, end = (place - len(prompt.prefix) for place in prompt.subject_span)
    return replace(
        prompt,
        question=prompt.question[:start] + name + prompt.question[end:],
        subject=name,
        subject_span=(prompt.subject_span[0], prompt.subject_span[0] + len(name)),
    )
