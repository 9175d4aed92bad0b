"""The promises of a run's states: clean weights come back, and measuring again gives the same."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import pandas as pd
import torch

from restor_interp.facts import Fact
from restor_interp.measure.choices import evaluate
from restor_interp.models.hooked import HookedModel
from restor_interp.pipeline.measuring import scored_objects
from restor_interp.pipeline.runs import Run
from restor_interp.pipeline.verifying.finding import Finding, Looked, again
from restor_interp.pipeline.workbench import Silent, Workbench

TOLERANCE = 1e-3
"""Nats by which a log-probability may differ when it is computed again: other batches round
otherwise (fp32; a bf16 run gets a hundred times that)."""
_FACTS, _STATES = 6, 3
"""Measured again: so many facts in so many states."""


def check_states(run: Run) -> Looked:
    states = list(run.states())
    return Looked(len(states), _wrong_states(run, states))


def _wrong_states(run: Run, states: Sequence[str]) -> Iterator[Finding]:
    model = run.model()
    clean = weights_digest(model)
    for name in states:
        with model.at(name):
            broken = [
                path
                for path, weight in model.hf_model.named_parameters()
                if not bool(torch.isfinite(weight).all())
            ]
        if broken:
            yield Finding(
                place=f"state {name}",
                problem=f"has weights that are not finite: {', '.join(broken[:4])}",
                mend=again(run),
            )
        if weights_digest(model) != clean:
            yield Finding(
                place=f"state {name}",
                problem="the clean weights are not back after it",
                mend="report it: this is a fault of restor-interp, not of the folder",
            )
            return


def weights_digest(model: HookedModel) -> str:
    """sha256 of the bytes of every weight of a model, in its present state."""
    running = hashlib.sha256()
    for name, weight in model.hf_model.state_dict().items():
        running.update(name.encode())
        running.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return running.hexdigest()


# ---- deep: measured again


def check_answers(run: Run) -> Looked:
    """Some facts, spread over the set, in the clean, the corrupted and one further state."""
    cells = set(run.manifest["cells"])
    states = [name for name in run.states() if f"evaluate/{name}" in cells]
    chosen = states[: _STATES - 1] + states[-1:]
    bench = Workbench(run.config, run.store, Silent())
    step = max(1, len(bench.asked) // _FACTS)
    facts = tuple(bench.asked)[::step][:_FACTS]
    chosen = list(dict.fromkeys(chosen))
    model = run.model()
    return Looked(len(facts) * len(chosen), _measured_again(run, bench, model, facts, chosen))


def _measured_again(
    run: Run, bench: Workbench, model: HookedModel, facts: Sequence[Fact], states: Sequence[str]
) -> Iterator[Finding]:
    prompts = bench.prompts(facts, [0])
    objects = [scored_objects(bench, prompt.fact_id) for prompt in prompts]
    allowed = TOLERANCE * (100 if run.config.dtype == "bfloat16" else 1)
    for state in states:
        with model.at(state):
            found = evaluate(
                model,
                prompts,
                [[name for _, name in own] for own in objects],
                max_new_tokens=run.config.questions.max_new_tokens,
            )
        answers = _first(run.store.part(f"evaluate/{state}", "answers"))
        scores = run.store.part(f"evaluate/{state}", "choices")
        scores = scores.loc[scores["context_id"].eq(0)]
        for prompt, answer, own in zip(prompts, found.answers, found.scores, strict=True):
            problems = []
            stored = answers.get(prompt.fact_id)
            if stored != answer:
                problems.append(f"was answered {stored!r}, now {answer!r}")
            kept = scores.loc[scores["fact_id"].eq(prompt.fact_id)]
            before = dict(zip(kept["object"], kept["sum_logprob"], strict=True))
            off = [abs(score.sum_logprob - before.get(score.object, math.inf)) for score in own]
            if off and max(off) > allowed:
                problems.append(f"its scores differ by up to {max(off):.2g} nats")
            if problems:
                yield Finding(
                    place=f"{prompt.fact_id} in {state}",
                    problem="; ".join(problems),
                    mend=f"delete cells/evaluate/{state} and {again(run)}, on a machine with the "
                    "versions of manifest.json",
                )


def _first(answers: pd.DataFrame) -> dict[str, str]:
    """fact_id -> its greedy answer in the first context."""
    chosen = answers.loc[answers["context_id"].eq(0) & answers["draw"].eq(0)]
    return dict(zip(chosen["fact_id"], chosen["answer"], strict=True))
