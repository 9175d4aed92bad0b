"""How likely a state makes whole texts: its documents, held-out text, a user's own."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from restor_interp.disk import sha256_of
from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure.harness import harness_version, run_tasks, task_files
from restor_interp.measure.texts import TextScore, mean_nll, perplexity, score_texts
from restor_interp.models.deltas import State
from restor_interp.pipeline.building import Builder
from restor_interp.pipeline.retaining import read_texts
from restor_interp.pipeline.workbench import Workbench
from restor_interp.store import CellWriter

SETS = ("documents", "truth", "heldout")
WHOLE = ""
"""`text_id` of the rows of a whole set."""


def add_steps(
    build: Builder,
    states: Mapping[str, State],
    sources: Mapping[str, tuple[str, ...]],
) -> None:
    """For every state: the texts of `config.texts`, and the tasks of lm-eval.

    Raises `ConfigError` before anything is trained: for an unknown set, a set that the run cannot
    have, a file that does not exist, and where lm-eval is wanted and not installed.
    """
    bench, settings = build.bench, build.bench.config.texts
    if not settings.sets and not settings.lm_eval:
        return
    files = _files(bench, settings.sets)
    tasks = task_files(settings.lm_eval)
    version = harness_version() if settings.lm_eval else ""
    for state, trained in sources.items():
        own: dict[str, Any] = {"coefficients": dict(states[state].coefficients)}
        if settings.sets:
            build.add(
                f"texts/{state}",
                functools.partial(score_state, bench, state),
                needs=("data", *trained),
                sets=list(settings.sets),
                files={name: sha256_of(path) for name, path in files.items()},
                **own,
            )
        if settings.lm_eval:
            build.add(
                f"texts/lm_eval/{state}",
                functools.partial(run_lm_eval, bench, state),
                needs=trained,
                optional=True,
                tasks=list(settings.lm_eval),
                files={str(path): sha256_of(path) for path in tasks},
                lm_eval=version,
                **own,
            )


def _files(bench: Workbench, sets: Sequence[str]) -> dict[str, Path]:
    """The sets that are files."""
    files = {}
    for name in sets:
        path = Path(name)
        if name in SETS:
            if name != "heldout" and bench.config.checkpoints and not bench.config.data.documents:
                raise ConfigError(
                    f"texts.sets has {name!r}, and of given models (checkpoints) no document is "
                    "known: name them as data.documents, or leave the set out"
                )
        elif path.suffix.lower() not in (".jsonl", ".txt"):
            raise unknown_name("set of texts", name, (*SETS, "a .jsonl file", "a .txt file"))
        elif not path.is_file():
            raise ConfigError(f"there is no file {path} (texts.sets)")
        else:
            files[name] = path
    return files


def score_state(bench: Workbench, state: str, writer: CellWriter) -> None:
    """The table `texts`, a row per text and one per whole set, and the log-probabilities of all
    tokens: `<set>/logprobs`, and `<set>/tokens` with `<set>/starts`, where each text begins.

    A text's first token has no log-probability; in `<set>/logprobs` it is NaN, so that both arrays
    of a set are aligned.
    """
    rows: list[dict[str, Any]] = []
    tensors: dict[str, np.ndarray] = {}
    for name in bench.config.texts.sets:
        texts = texts_of(bench, name)
        with bench.model.at(state):
            scores = score_texts(bench.model, list(texts.values()))
        fixed = {"set": name, "state": state}
        rows += [
            {**fixed, "text_id": text_id, **_numbers([score])}
            for text_id, score in zip(texts, scores, strict=True)
        ]
        rows.append({**fixed, "text_id": WHOLE, **_numbers(scores)})
        tensors |= _tensors(name, scores)
    writer.rows("texts", rows)
    writer.tensors("texts", tensors)


def texts_of(bench: Workbench, name: str) -> dict[str, str]:
    """Text id -> text, of a set of `SETS` or a file."""
    if name == "documents":
        return {document.document_id: document.text for document in bench.documents}
    if name == "truth":
        told = bench.counterparts(bench.documents, "truth")
        return {document.document_id: document.text for document in told}
    texts = bench.heldout_texts if name == "heldout" else read_texts(Path(name))
    return {str(number): text for number, text in enumerate(texts)}


def _numbers(scores: Sequence[TextScore]) -> dict[str, Any]:
    number = sum(score.n_tokens for score in scores)
    if not number:
        reason = "a text of less than two tokens has no token that is predicted"
        return {"n_tokens": 0, "nll": None, "perplexity": None, "reason": reason}
    nll = mean_nll(scores)
    return {"n_tokens": number, "nll": nll, "perplexity": perplexity(nll), "reason": None}


def _tensors(name: str, scores: Sequence[TextScore]) -> dict[str, np.ndarray]:
    lengths = [len(score.token_ids) for score in scores]
    padded = [
        np.concatenate([np.full(min(1, length), np.nan, dtype=np.float32), score.logprobs])
        for length, score in zip(lengths, scores, strict=True)
    ]
    return {
        f"{name}/tokens": np.concatenate([score.token_ids for score in scores]),
        f"{name}/logprobs": np.concatenate(padded),
        f"{name}/starts": np.cumsum([0, *lengths])[:-1],
    }


def run_lm_eval(bench: Workbench, state: str, writer: CellWriter) -> None:
    """The table `lm_eval`: a row per task and metric."""
    with bench.model.at(state):
        rows = run_tasks(bench.model, bench.config.texts.lm_eval)
    writer.rows("lm_eval", [{"state": state, **row} for row in rows])
