"""How much there is to do in a cell: the number that its seconds grow with.

Facts asked, sequences trained on, or 1 where a cell costs the same whatever the settings. Seconds
per unit come from cells of the same kind that were computed before (`rates`).
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from restor_interp.presets import MethodSettings, RunConfig
from restor_interp.stages.train_settings import TrainSettings

_DESIGN = re.compile(r"^seed\d+-rot\d+/")
REPAIR_SEQUENCES = 200.0
"""What a repair trains on, about, where its settings say nothing."""


def bare(cell: str) -> str:
    """A cell's name without the run of a design that it belongs to."""
    return _DESIGN.sub("", cell)


def units(config: RunConfig, cell: str, facts: int) -> float:
    """How much a cell has to do; `facts`: how many are asked in the run."""
    kind, _, what = bare(cell).partition("/")
    explanation, questions = config.explanation, config.questions
    match kind:
        case "train":
            return _sequences(config, what)
        case "evaluate":
            return facts * questions.contexts * (1 + questions.draws) * questions.max_new_tokens
        case "margins":
            return facts * questions.margin_contexts * questions.substitutes
        case "capture" | "wrong_entity" | "random_weights" | "probe" | "drift":
            return facts
        case "statements":
            return min(facts, explanation.statement_facts)
        case "analysis":
            return _analysed(config, what.partition("/")[0])
        case "directions" | "interpolation" | "gradients" | "timeline":
            return explanation.survey_facts
        case "forget_weights":
            return len(config.data.corrupted) * config.data.documents_per_entity
        case _:
            return 1.0


def _analysed(config: RunConfig, name: str) -> float:
    explanation = config.explanation
    own = explanation.per_analysis.get(name)
    usual = explanation.lens_facts if name == "logit_lens" else explanation.traced_facts
    return float(usual if own is None or own.facts is None else own.facts)


def _sequences(config: RunConfig, job: str) -> float:
    """Texts that pass through the model in a training, one by one."""
    method = config.methods.get(job.removeprefix("sham_"))
    values: Mapping[str, Any] = config.unlearning
    if job == "corruption":
        values = config.corruption
    elif job.startswith("repair_"):
        values = config.repair_training
        if not values:
            return REPAIR_SEQUENCES
    elif isinstance(method, MethodSettings):
        values = {**config.unlearning, **method.training}
    known = {name: value for name, value in values.items() if name in TrainSettings.model_fields}
    training = TrainSettings.model_validate(known)
    entities = config.data.sham if job.startswith("sham_") else config.data.corrupted
    documents = max(1, len(entities) * config.data.documents_per_entity)
    steps = training.steps or math.ceil((training.epochs or 1.0) * documents / training.batch_size)
    retained = 0 if job == "corruption" else training.retain_batch_size
    return float(steps * (training.batch_size + retained))


Rates = Mapping[str, float]
"""Kind of cell -> seconds per unit: under `train/npo`, `analysis/grafting`, `evaluate`, …"""


def rate_names(cell: str) -> tuple[str, ...]:
    """Under which names a cell's rate is looked for, the most specific first: the cell itself, its
    kind with what it is about, its kind."""
    parts = bare(cell).replace("train/sham_", "train/").split("/")
    if parts[0] == "margins":  # all facts in the clean state, few in the others
        return ("margins/clean",) if parts[1:] == ["clean"] else ("margins",)
    return tuple("/".join(parts[:number]) for number in range(len(parts), 0, -1))


def rates(done: Iterable[tuple[str, float]], of: Callable[[str], float]) -> dict[str, float]:
    """Rates out of finished cells: (name, seconds) each, `of`: the units of a cell.

    Each name's rate is the median over the cells that have it.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for cell, seconds in done:
        amount = of(cell)
        if amount > 0:
            for name in rate_names(cell):
                found[name].append(seconds / amount)
    return {name: median(values) for name, values in found.items()}


def seconds_of(cell: str, amount: float, known: Rates) -> float | None:
    """What a cell costs by these rates; None where none of its kind is known."""
    for name in rate_names(cell):
        if name in known:
            return known[name] * amount
    return None
