"""Answers judged again by a language model, and how far judges agree."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from restor_interp.errors import ConfigError
from restor_interp.explain.agreement import ANSWER, agreement_rows
from restor_interp.measure.judges import (
    PROMPT_VERSION,
    Case,
    Endpoint,
    Memory,
    Verdict,
    endpoint_from_environment,
    judge_answers,
)
from restor_interp.pipeline.building import Builder, Step
from restor_interp.pipeline.workbench import Workbench
from restor_interp.presets import JudgeSettings
from restor_interp.store import CellWriter

ALIAS = "alias"
"""The judge of the table `answers`."""
RESERVED = (ALIAS, "agreement")


def add_steps(
    build: Builder,
    states: Sequence[str],
) -> None:
    """For every state and judge of `config.judges`; then how far they agree, alias judge and all.

    Cells of a judge are optional: where it fails, the run goes on. What would change an outcome is
    in their keys: the model, its address and our prompt, but not how patiently it is asked.
    """
    bench, cells = build.bench, []
    for name, settings in bench.config.judges.items():
        _check_name(name)
        own: list[str] = []
        for state in states:
            build.add(
                cell := f"judge/{name}/{state}",
                functools.partial(judge_state, bench, name, state),
                needs=(f"evaluate/{state}",),
                # Side by side, they would ask the same twice, and more at once than is allowed.
                after=tuple(own),
                optional=True,
                judge=_identity(settings),
            )
            own.append(cell)
        cells += own
    if cells:
        keys = {cell: build.keys[cell] for cell in cells}
        build.add(
            "judge/agreement",
            functools.partial(measure_agreement, bench, tuple(states), keys),
            needs=tuple(f"evaluate/{state}" for state in states),
            uses=tuple(cells),
            optional=True,
        )


def check(bench: Workbench, todo: Sequence[Step]) -> None:
    """Ask every judge that has work to do one easy question, before anything long is begun.

    Raises `ConfigError` where a key, an address or the HTTP client is missing, or no answer comes.
    """
    for name, settings in bench.config.judges.items():
        own = [step.cell for step in todo if step.cell.name.startswith(f"judge/{name}/")]
        if any(bench.store.state_of(cell) != "done" for cell in own):
            bench.progress.note(f"asking the judge {name}")
            with _endpoint(settings) as endpoint:
                endpoint.check()


def judge_state(bench: Workbench, name: str, state: str, writer: CellWriter) -> None:
    """One judge's verdict on every answer of a state; a row without an outcome says why."""
    settings = bench.config.judges[name]
    answers = bench.store.part(f"evaluate/{state}", "answers")
    given = answers.loc[answers["answer"].notna()]
    cases = [
        _case(bench, fact_id, answer)
        for fact_id, answer in zip(given["fact_id"], given["answer"], strict=True)
    ]
    with _endpoint(settings) as endpoint:
        verdicts = judge_answers(
            endpoint,
            cases,
            memory=Memory(bench.store.folder / "judgements" / f"{name}.jsonl"),
            judge=_identity(settings),
            on_done=bench.progress.advanced,
        )
    found = dict(zip(given.index, verdicts, strict=True))
    rows = _rows(answers, state, name, lambda row: found.get(row, NO_ANSWER))
    writer.rows("judgements", rows)
    writer.notes["failed"] = sum(row["outcome"] is None for row in rows)


NO_ANSWER = Verdict(outcome=None, reason="there is no answer to judge")


def measure_agreement(
    bench: Workbench, states: Sequence[str], judge_cells: Mapping[str, str], writer: CellWriter
) -> None:
    """Kappa of every two judges in every state.

    `judge_cells`: cell -> its key; one that failed, or that is older, is left out.
    """
    parts = []
    for state in states:
        answers = bench.store.part(f"evaluate/{state}", "answers")
        outcomes = answers["outcome"].astype(object).where(answers["outcome"].notna(), None)
        alias = [Verdict(outcome=outcome, reason="") for outcome in outcomes]
        found = dict(zip(answers.index, alias, strict=True))
        parts.append(pd.DataFrame(_rows(answers, state, ALIAS, found.__getitem__)))
    done = [
        cell
        for cell, key in judge_cells.items()
        if (bench.store.record(cell) or {}).get("key") == key
    ]
    judged = pd.concat([*parts, bench.store.collect("judgements", done)], ignore_index=True)
    entities = {fact.fact_id: fact.entity for fact in bench.asked}
    writer.rows("agreement", agreement_rows(judged, entities))


def _rows(
    answers: pd.DataFrame, state: str, judge: str, verdict: Callable[[Any], Verdict]
) -> list[dict[str, Any]]:
    """Rows of the table `judgements`, one per answer, in their order."""
    rows = []
    for index, answer in zip(answers.index, answers[ANSWER].itertuples(index=False), strict=True):
        found = verdict(index)
        own = {"state": state, "judge": judge, "outcome": found.outcome, "reason": found.reason}
        rows.append(dict(zip(ANSWER, answer, strict=True)) | own)
    return rows


def _case(bench: Workbench, fact_id: str, answer: str) -> Case:
    fact = bench.asked_by_id[fact_id]
    return Case(
        question=fact.question,
        accepted=tuple(bench.facts.accepted(fact)),
        false_object=tuple(bench.facts.spellings(bench.foils[fact_id])),
        answer=answer,
    )


def _identity(settings: JudgeSettings) -> str:
    """What a judge's verdicts depend on. An address of the environment is no part of it: the same
    model may be reached by several."""
    return f"{settings.model} at {settings.base_url or 'OPENAI_BASE_URL'}, prompt {PROMPT_VERSION}"


def _endpoint(settings: JudgeSettings) -> Endpoint:
    return endpoint_from_environment(
        settings.model,
        base_url=settings.base_url,
        timeout=settings.timeout,
        attempts=settings.attempts,
        at_once=settings.at_once,
    )


def _check_name(name: str) -> None:
    """It becomes a folder's and a file's name."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name in RESERVED:
        raise ConfigError(
            f"a judge's name is made of letters, digits and _.-, and is none of "
            f"{', '.join(RESERVED)}; found {name!r} in judges"
        )
