"""Tasks of the package lm-eval, run on a model in its current state.

The package is not required (`pip install "lm-eval[hf]"`). Its tasks fetch their data sets; a task
of one's own, a `.yaml` file, may read local files and then needs no network.
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from restor_interp.errors import ConfigError
from restor_interp.models.hooked import HookedModel

BOOTSTRAP = 1000
"""Resamples for the standard errors of metrics that have no closed form."""
BATCH = 8


def harness_version() -> str:
    """The installed version of lm-eval. Raises `ConfigError` where it is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise ConfigError(
            "tasks of lm-eval were asked for (texts.lm_eval), and the package is not installed: "
            "pip install 'lm-eval[hf]', or set texts.lm_eval=[]"
        )
    return importlib.metadata.version("lm_eval")


def task_files(tasks: Sequence[str]) -> list[Path]:
    """Those tasks that are files. Raises `ConfigError` for one that does not exist."""
    files = [Path(task) for task in tasks if task.endswith((".yaml", ".yml"))]
    for file in files:
        if not file.is_file():
            raise ConfigError(f"there is no task file {file} (texts.lm_eval)")
    return files


def run_tasks(
    model: HookedModel, tasks: Sequence[str], *, limit: int | None = None
) -> list[dict[str, Any]]:
    """One row per task and metric: `task`, `metric`, `filter`, `value`, `stderr`, `n`.

    Args:
        tasks: names that lm-eval knows, or `.yaml` files that describe one.
        limit: questions per task; all of them where None.

    Raises `ConfigError` where lm-eval is not installed, or a task is unknown to it.
    """
    harness_version()
    from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.models.huggingface import HFLM  # pyright: ignore[reportMissingImports]
    from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingImports]

    files = {str(file): file for file in task_files(tasks)}
    folders = sorted({str(file.resolve().parent) for file in files.values()})
    manager = TaskManager(include_path=folders or None)
    names = [_name(files[task]) if task in files else task for task in tasks]
    unknown = [name for name in names if not manager.match_tasks([name])]
    if unknown:
        raise ConfigError(
            f"lm-eval {harness_version()} knows no task {', '.join(unknown)} (texts.lm_eval): "
            "`lm-eval ls tasks` lists them"
        )
    found = simple_evaluate(
        model=HFLM(pretrained=model.hf_model, tokenizer=model.tokenizer, batch_size=BATCH),
        tasks=names,
        task_manager=manager,
        limit=limit,
        bootstrap_iters=BOOTSTRAP,
        log_samples=False,
    )
    counts = found.get("n-samples", {})
    return [
        row
        for task, results in found["results"].items()
        for row in _rows(task, results, counts.get(task, {}).get("effective"))
    ]


def _rows(task: str, results: Mapping[str, Any], number: int | None) -> list[dict[str, Any]]:
    """lm-eval's `metric,filter` keys as rows, each with its standard error."""
    rows = []
    for key, value in results.items():
        metric, comma, filtered = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        stderr = results.get(f"{metric}_stderr,{filtered}")
        rows.append(
            {
                "task": task,
                "metric": metric,
                "filter": filtered,
                "value": float(value),
                "stderr": float(stderr) if isinstance(stderr, int | float) else None,
                "n": number,
            }
        )
    return rows


def _name(file: Path) -> str:
    """The name that a task file gives its task."""
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), Loader=_AnyTag)
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not YAML: {error}") from error
    if not isinstance(values, dict) or not isinstance(values.get("task"), str):
        raise ConfigError(f"{file} describes no task of lm-eval: it needs the key `task`")
    return values["task"]


class _AnyTag(yaml.SafeLoader):
    """Reads past lm-eval's own tags, such as `!function`, and runs nothing."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)
