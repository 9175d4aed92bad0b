"""The cells that measure a state: its answers and its margins."""

from typing import Any

from restor_interp.corpus_files import write_claims, write_documents_file
from restor_interp.fact_files import write_jsonl
from restor_interp.facts import Fact
from restor_interp.measure.choices import evaluate
from restor_interp.measure.judging import judge
from restor_interp.measure.margins import measure_margins as margins_of
from restor_interp.measure.sampling import Sampling
from restor_interp.measure.specific import SpecificRule
from restor_interp.pipeline.workbench import Workbench
from restor_interp.prompts import Prompt, with_substitute
from restor_interp.store import CellWriter


def write_data(bench: Workbench, writer: CellWriter) -> None:
    """The facts, claims and documents of the run, as files that people can read."""
    write_jsonl(bench.asked, writer.folder / "facts.jsonl")
    write_claims(bench.claims, writer.folder / "claims.jsonl")
    write_documents_file(bench.documents, writer.folder / "documents.jsonl")
    writer.notes["facts"] = len(bench.asked)
    writer.notes["claims"] = len(bench.claims)
    writer.notes["documents"] = len(bench.documents)


# ---- answers and choices


def evaluate_state(bench: Workbench, state: str, writer: CellWriter) -> None:
    """Answers, judged, and how likely the true, the false and a random object are.

    Draw 0 of an answer is the greedy one; `questions.draws` more are sampled.
    """
    questions = bench.config.questions
    prompts = bench.prompts()
    objects = [scored_objects(bench, prompt.fact_id) for prompt in prompts]
    with bench.model.at(state):
        found = evaluate(
            bench.model,
            prompts,
            [[name for _, name in own] for own in objects],
            max_new_tokens=questions.max_new_tokens,
            sampling=sampling(bench) if questions.draws else None,
        )
    drawn = found.drawn or [[] for _ in prompts]
    said = [[greedy, *own] for greedy, own in zip(found.answers, drawn, strict=True)]
    answers, choices = [], []
    for prompt, own, texts, scores in zip(prompts, objects, said, found.scores, strict=True):
        fixed = {"fact_id": prompt.fact_id, "context_id": prompt.context_id, "state": state}
        answers += [
            fixed | judged_row(bench, prompt, text, draw) for draw, text in enumerate(texts)
        ]
        choices += [
            fixed
            | {
                "category": category,
                "object": score.object,
                "mean_logprob": score.mean_logprob,
                "sum_logprob": score.sum_logprob,
                "n_tokens": score.n_tokens,
                "first_divergence": score.first_divergence,
            }
            for (category, _), score in zip(own, scores, strict=True)
        ]
    writer.rows("answers", answers)
    writer.rows("choices", choices)


def sampling(bench: Workbench) -> Sampling:
    """How the run's answers are drawn."""
    questions = bench.config.questions
    cut = questions.sampling_style
    return Sampling(
        draws=questions.draws,
        temperature=questions.temperature,
        top_k=cut.top_k,
        top_p=questions.top_p,
        min_new_tokens=cut.min_new_tokens,
        max_length=cut.max_length,
        seed=bench.config.seed,
    )


MOST_SPELLINGS = 2
"""Spellings of an object whose probabilities are added; further ones are rarely likelier."""


def spelled_candidates(bench: Workbench, fact: Fact) -> list[tuple[str, ...]]:
    """A fact's typed candidates with their spellings, true and false first."""
    return [bench.facts.spellings(name)[:MOST_SPELLINGS] for name in bench.candidates(fact)]


def scored_objects(bench: Workbench, fact_id: str) -> list[tuple[str, str]]:
    """(category, spelling): the true object first, then the false one, then another of its type."""
    fact = bench.asked_by_id[fact_id]
    true, foil, *others = bench.candidates(fact)
    spelled = [
        ("true", bench.facts.spellings(true)[:MOST_SPELLINGS]),
        ("false", bench.facts.spellings(foil)[:1]),
        ("random", others[:1]),
    ]
    ordered = [(category, names[0]) for category, names in spelled if names]
    return ordered + [(category, name) for category, names in spelled for name in names[1:]]


def judged_row(bench: Workbench, prompt: Prompt, answer: str, draw: int = 0) -> dict[str, Any]:
    fact = bench.asked_by_id[prompt.fact_id]
    judgement = judge(
        answer,
        true=bench.facts.accepted(fact),
        false=bench.facts.spellings(bench.foils[fact.fact_id]),
        rivals=bench.facts.pools[fact.object_type],
    )
    return {
        "template": prompt.template,
        "draw": draw,
        "answer": answer,
        "outcome": judgement.outcome,
        "correct": judgement.outcome == "true",
        "judge": "alias",
        "matched": judgement.matched,
        "reason": None,
    }


# ---- margins


def measure_margins(bench: Workbench, state: str, writer: CellWriter) -> None:
    """Margins of the facts for which one can decide something; the others get a reason.

    In the clean state: facts that it answers often enough to know them. In the others: facts that
    are specific knowledge of the clean one, about corrupted entities, and that the corrupted state
    gets wrong at least once; only of these can one ask whether they were restored or guessed. With
    `margins_of: right`, only where the state answers them.
    """
    reasons = _reasons_not_to_measure(bench, state)
    rows: list[dict[str, Any]] = []
    for context in range(bench.config.questions.margin_contexts):
        asked: list[tuple[Prompt, list[Prompt], list[tuple[str, ...]]]] = []
        for fact, prompt in zip(bench.asked, bench.prompts(context_ids=[context]), strict=True):
            fixed = {"fact_id": fact.fact_id, "context_id": context, "state": state}
            names = bench.substitutes(fact, bench.config.questions.substitutes)
            reason = reasons.get(fact.fact_id)
            if reason is None and not names:
                reason = "no other entity of its kind has a name of as many tokens"
            if reason is not None:
                rows.append(fixed | _NO_MARGIN | {"reason": reason})
                continue
            others = [with_substitute(prompt, name) for name in names]
            asked.append((prompt, others, spelled_candidates(bench, fact)))
        with bench.model.at(state):
            found = margins_of(
                bench.model,
                [prompt for prompt, _, _ in asked],
                [others for _, others, _ in asked],
                [candidates for _, _, candidates in asked],
            )
        for (prompt, _, _), margin in zip(asked, found, strict=True):
            rows.append(
                {
                    "fact_id": prompt.fact_id,
                    "context_id": context,
                    "state": state,
                    "margin": margin.margin,
                    "own_logprob": margin.own_logprob,
                    "substitute_logprob": margin.own_logprob - margin.margin,
                    "n_substitutes": margin.n_substitutes,
                    "n_substitutes_led": margin.n_substitutes_led,
                    "reason": None,
                }
            )
    writer.rows("margins", rows)


_NO_MARGIN = dict.fromkeys(
    ("margin", "own_logprob", "substitute_logprob", "n_substitutes", "n_substitutes_led")
)


def _reasons_not_to_measure(bench: Workbench, state: str) -> dict[str, str]:
    """fact_id -> why its margin would decide nothing."""
    right = bench.times_right("clean")
    needed = SpecificRule().min_right * bench.config.questions.contexts - 1e-9
    reasons = {
        fact.fact_id: "the clean model answers it in too few contexts to know it"
        for fact in bench.asked
        if right[fact.fact_id] < needed
    }
    if state == "clean":
        return reasons
    corrupted_right, own_right = bench.times_right("corrupted"), bench.times_right(state)
    only_right = bench.config.questions.margins_of == "right"
    specific = bench.known_specific
    for fact in bench.asked:
        reason = None
        if not specific[fact.fact_id]:
            reason = "not specific knowledge of the clean model"
        elif bench.roles[fact.fact_id] not in ("direct", "sibling"):
            reason = "not about a corrupted entity"
        elif corrupted_right[fact.fact_id] == bench.config.questions.contexts:
            reason = "corruption did not take it"
        elif only_right and not own_right[fact.fact_id]:
            reason = "never answered in this state (questions.margins_of=right)"
        if reason is not None:
            reasons.setdefault(fact.fact_id, reason)
    return reasons
