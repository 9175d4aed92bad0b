"""Few-shot contexts: which examples stand before a question.

Two styles. `paper` is RESTOR's own, character for character, which holds the answer for 244 of its
1,051 facts. `sound` shows no entity of the experiment, and neither the true nor the false object of
the fact that is asked.
"""

import random
from collections.abc import Mapping, Sequence

from restor_interp.corpus import names_none, names_overlap, names_within
from restor_interp.errors import PromptError, unknown_name
from restor_interp.facts import Example, Fact, FactSet
from restor_interp.prompts.prompt import Prompt, prompt_about
from restor_interp.prompts.templates import rephrased, template_name

STYLES = ("sound", "paper")


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
    template: int = 0,
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
        template: wording of the question (0: the fact's own; 1, …: its relation's rephrasings). The
            examples are the same ones, in the same words as the question: a change of the answer
            is then one of wording, and not of a break between examples and question.

    Raises `PromptError` where no example is left, or a question does not hold its entity, and
    `ConfigError` for a template that a relation does not have.
    """
    if style not in STYLES:
        raise unknown_name("prompt style", style, STYLES)
    if shots < 1:
        raise PromptError(
            f"shots is at least 1, found {shots}: without examples a subject at the "
            "start of its question stands at token 0"
        )
    contexts = Contexts(facts, shots=shots, avoid_entities=avoid_entities, seed=seed)
    prompts = []
    for fact in only:
        question = rephrased(facts, fact, template)
        for context_id in context_ids:
            if style == "paper":
                prefix = _paper_prefix(facts, fact, context_id, shots, template)
            else:
                foil = avoid_objects.get(fact.fact_id)
                prefix = contexts.prefix(fact, context_id, foil, template)
            name = template_name(template)
            prompts.append(prompt_about(fact, question, prefix, context_id, template=name))
    return prompts


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
    template: int = 0,
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
        template=template,
    )
    return prompt


def _lines(facts: FactSet, relation: str, shown: Sequence[Example], template: int) -> str:
    """Answered questions, one a line, in the words of a template."""
    questions = [rephrased(facts, example, template, relation=relation) for example in shown]
    pairs = zip(questions, shown, strict=True)
    return "".join(f"{question} {example.answer}\n" for question, example in pairs)


# ---- RESTOR's own contexts


def _paper_prefix(facts: FactSet, fact: Fact, context_id: int, shots: int, template: int) -> str:
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
    return _lines(facts, fact.relation, shown, template)


# ---- sound contexts


class Contexts:
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

    def prefix(self, fact: Fact, context_id: int, avoid_object: str | None, template: int) -> str:
        """The example lines before a fact's question. Raises `PromptError` where none is left."""
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
        return _lines(self.facts, fact.relation, shown, template)

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
