"""Asking the same facts again and again while a state is attacked: rows of `robustness`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from restor_interp.facts import Fact
from restor_interp.measure.choices import ChoiceScore, evaluate, log_sum_exp
from restor_interp.measure.judging import judge
from restor_interp.pipeline.measuring import MOST_SPELLINGS, judged_row, scored_objects
from restor_interp.pipeline.workbench import Workbench
from restor_interp.prompts import Prompt, reverse_answers
from restor_interp.store import digest, write_json

AFTER = 1
"""The step of an attack that trains nothing."""


class Asking:
    """Asks the same facts again and again, in whatever weights the model has."""

    def __init__(
        self,
        bench: Workbench,
        attack: str,
        state: str,
        facts: Sequence[Fact],
        contexts: Sequence[int],
    ) -> None:
        self.bench, self.attack, self.state = bench, attack, state
        self.facts, self.contexts = facts, contexts
        self.part: Mapping[str, str] = {}
        """fact_id -> which part of a split it belongs to."""
        self.rows: list[dict[str, Any]] = []

    def _fixed(self, fact_id: str, context_id: int, step: int) -> dict[str, Any]:
        return {
            "fact_id": fact_id,
            "context_id": context_id,
            "state": self.state,
            "attack": self.attack,
            "step": step,
            "template": "question",
            "part": self.part.get(fact_id, ""),
            "level": 0.0,
            "draw": 0,
            "answer": None,
            "outcome": None,
            "correct": None,
            "log_p_true": None,
            "log_p_false": None,
            "reason": None,
        }

    def before(self) -> None:
        """Rows of step 0: the greedy answers of the state's cell `evaluate`."""
        answers, choices = (
            self.bench.store.part(f"evaluate/{self.state}", table)
            for table in ("answers", "choices")
        )
        wanted = {fact.fact_id for fact in self.facts}
        logprobs = _logprobs(choices)
        for row in answers.loc[answers["draw"].eq(0)].to_dict("records"):
            fact_id, context_id = str(row["fact_id"]), int(row["context_id"])
            if fact_id in wanted and context_id in self.contexts:
                self.rows.append(
                    self._fixed(fact_id, context_id, 0)
                    | {name: row[name] for name in ("answer", "outcome", "correct", "reason")}
                    | logprobs.get((fact_id, context_id), {})
                )

    def now(self, step: int, *, level: float = 0.0, draw: int = 0) -> None:
        """Rows of a later step: greedy answers, and log-probabilities of both objects, in nats."""
        self.ask(self._questions(), step, level=level, draw=draw)

    def ask(
        self, prompts: Sequence[Prompt], step: int, *, level: float = 0.0, draw: int = 0
    ) -> None:
        """The same for given questions about the facts."""
        self.rows += self._asked(prompts, step, level=level, draw=draw)

    def keep(self, step: int, folder: Path) -> None:
        """Ask as `now` does, in the middle of something that may be interrupted: the rows are kept
        in a folder, from where `kept` takes them."""
        write_json(_kept(folder, step), self._asked(self._questions(), step))

    def kept(self, step: int, folder: Path) -> None:
        """Rows of a step that `keep` has asked, in this process or an earlier one."""
        self.rows += json.loads(_kept(folder, step).read_text())

    def mark(self) -> str:
        """One text for all that decides the rows of a step, beside the weights."""
        return digest(
            {
                "facts": digest(repr(self.bench.facts)),
                "part": dict(self.part),
                "max_new_tokens": self.bench.config.questions.max_new_tokens,
                "asked": [
                    [prompt.fact_id, prompt.context_id, prompt.text, self._objects(prompt)]
                    for prompt in self._questions()
                ],
            }
        )

    def _questions(self) -> list[Prompt]:
        return self.bench.prompts(self.facts, self.contexts)

    def _asked(
        self, prompts: Sequence[Prompt], step: int, *, level: float = 0.0, draw: int = 0
    ) -> list[dict[str, Any]]:
        objects = [self._objects(prompt) for prompt in prompts]
        found = evaluate(
            self.bench.model,
            prompts,
            [[name for _, name in own] for own in objects],
            max_new_tokens=self.bench.config.questions.max_new_tokens,
        )
        rows: list[dict[str, Any]] = []
        for prompt, own, answer, scores in zip(
            prompts, objects, found.answers, found.scores, strict=True
        ):
            logprobs = {
                f"log_p_{category}": _summed(own, scores, category)
                for category in ("true", "false")
            }
            rows.append(
                self._fixed(prompt.fact_id, prompt.context_id, step)
                | {"template": prompt.template, "level": level, "draw": draw, "answer": answer}
                | self._outcome(prompt, answer)
                | logprobs
            )
        return rows

    def _objects(self, prompt: Prompt) -> list[tuple[str, str]]:
        """(category, spelling) of what is scored; of a reverse question the entity alone."""
        if prompt.template != "reverse":
            return scored_objects(self.bench, prompt.fact_id)
        fact = self.bench.asked_by_id[prompt.fact_id]
        names = reverse_answers(self.bench.facts, fact)
        return [("true", name) for name in names[:MOST_SPELLINGS]]

    def _outcome(self, prompt: Prompt, answer: str) -> dict[str, Any]:
        if prompt.template != "reverse":
            judged = judged_row(self.bench, prompt, answer)
            return {name: judged[name] for name in ("outcome", "correct", "reason")}
        facts, fact = self.bench.facts, self.bench.asked_by_id[prompt.fact_id]
        kind = facts.entities[fact.entity].kind
        outcome = judge(
            answer,
            true=reverse_answers(facts, fact),
            false=(),
            rivals=[other.name for other in facts.entities.values() if other.kind == kind],
        ).outcome
        return {"outcome": outcome, "correct": outcome == "true"}

    def left_out(self, facts: Sequence[Fact], steps: Sequence[int], reason: str) -> None:
        """Rows without a measurement: facts that an attack cannot ask, steps that it did not
        come to."""
        self.rows += [
            self._fixed(fact.fact_id, context, step) | {"reason": reason}
            for step in steps
            for fact in facts
            for context in self.contexts
        ]


def _kept(folder: Path, step: int) -> Path:
    return folder / f"asked-{step:06d}.json"


def _summed(
    objects: Sequence[tuple[str, str]], scores: Sequence[ChoiceScore], category: str
) -> float | None:
    """Log-probability (nats) of any spelling of an object."""
    found = [
        score.sum_logprob
        for (kind, _), score in zip(objects, scores, strict=True)
        if kind == category
    ]
    return log_sum_exp(found) if found else None


def _logprobs(choices: pd.DataFrame) -> dict[tuple[str, int], dict[str, float]]:
    """(fact_id, context_id) -> log_p_true and log_p_false, as in rows of later steps."""
    sums: dict[tuple[str, int, str], list[float]] = {}
    for fact_id, context, category, value in zip(
        choices["fact_id"],
        choices["context_id"],
        choices["category"],
        choices["sum_logprob"],
        strict=True,
    ):
        sums.setdefault((str(fact_id), int(context), str(category)), []).append(float(value))
    found: dict[tuple[str, int], dict[str, float]] = {}
    for (fact_id, context, category), values in sums.items():
        if category in ("true", "false"):
            found.setdefault((fact_id, context), {})[f"log_p_{category}"] = log_sum_exp(values)
    return found
