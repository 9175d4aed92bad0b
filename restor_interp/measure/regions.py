"""Interventions in a model's runs, exact, and computed only where they can change anything.

    base = run_base(model, embeddings, start=5, outputs=("mlp",))
    values = base.at("mlp", 3)[:1, 2:4]          # of draw 0, at tokens start + 2 and start + 3
    patch = Patch(site="mlp", layers=range(3, 4), position=7, values=values)
    cut = Cut(layers=range(2, 6), queries=(9,), keys=(5, 6))
    run_patches(base, [patch, cut, (patch, cut)], read, max_bytes=2**28)      # [row draw value]

A base run is made once and kept; every row starts from it where its first intervention stands
(`staircase`). The layers are the model's own (`packed`). Models that this does not reproduce are
run by full forward passes with hooks (`restoring`), through the same functions; this is told once.

Prompts of different length need no padding: each base run has its own length, and rows of all lie
packed in one batch (`run_many`). Strip what a padded batch has put before or after a prompt.
"""

import logging
import weakref
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from restor_interp.errors import ConfigError, unknown_name
from restor_interp.measure.bases import BaseRun, Prefix, climb, run_prefix
from restor_interp.measure.courses import (
    DEFAULT_MAX_BYTES,
    Job,
    Read,
    TokenLayers,
    bytes_per_token,
    token_layers,
)
from restor_interp.measure.interventions import HOOKS, Cut, Intervention, Patch, Row, Site
from restor_interp.measure.packed import Layout
from restor_interp.measure.restoring import full_base, full_rows, regions_problem
from restor_interp.measure.staircase import sweep
from restor_interp.models.hooked import HookedModel

__all__ = [
    "DEFAULT_MAX_BYTES",
    "ENGINES",
    "HOOKS",
    "BaseRun",
    "Cut",
    "Engine",
    "Intervention",
    "Job",
    "Patch",
    "Prefix",
    "Read",
    "Row",
    "Site",
    "TokenLayers",
    "bytes_per_token",
    "choose_engine",
    "run_base",
    "run_many",
    "run_patches",
    "run_prefix",
    "token_layers",
]

logger = logging.getLogger(__name__)

Engine = Literal["auto", "regions", "brute"]
ENGINES: tuple[Engine, ...] = ("auto", "regions", "brute")


def run_base(
    model: HookedModel,
    embeddings: Float[Tensor, "draw token width"],
    *,
    start: int,
    outputs: Sequence[Site] = (),
    branches: Sequence[int] = (),
    prefix: Prefix | None = None,
    engine: Engine = "auto",
) -> BaseRun:
    """Run draws of one prompt whose token embeddings are equal before `start`.

    Args:
        embeddings: as the embedding matrix gives them, before learned positions are added; of the
            prompt and of the branches, one after the other.
        start: first token at which draws differ or which interventions may change; what stands
            before it is run once.
        outputs: keep the outputs of `mlp`, `attn`, `head` of every layer too.
        branches: numbers of tokens of alternative continuations, which stand at the row's end.
            Each sees the prompt and itself, and its positions go on where the prompt ends.
        prefix: keys and values of the first tokens, from `run_prefix` in the same state; at most
            `start` tokens.
        engine: `auto` runs what regions need, where that reproduces this model's forward pass, and
            else full forward passes, which `brute` asks for.

    Raises:
        ConfigError: a start outside the prompt, branches that leave no prompt, a prefix that is
            longer than `start`, an output that cannot be kept.
    """
    layout = Layout(embeddings.shape[1], tuple(branches))
    if not (0 <= start < layout.trunk and all(size > 0 for size in branches)):
        raise ConfigError(
            f"start={start} and branches of {tuple(branches)} tokens in a row of {layout.length}: "
            "the prompt before the branches must hold the start, and no branch may be empty"
        )
    for site in outputs:
        if site == "resid" or site not in HOOKS:
            raise unknown_name("output", site, [name for name in HOOKS if name != "resid"])
    if prefix is not None and prefix[0][0].shape[2] > start:
        raise ConfigError(f"a prefix of {prefix[0][0].shape[2]} tokens, and runs differ at {start}")
    if choose_engine(model, engine) == "brute":
        return full_base(model, embeddings, start=start, outputs=outputs, layout=layout)
    return climb(model, embeddings, start=start, outputs=outputs, layout=layout, prefix=prefix)


def run_patches(
    base: BaseRun,
    rows: Sequence[Row],
    read: Read,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    read_at: Sequence[int] | None = None,
) -> Float[Tensor, "row draw value"]:
    """What `read` makes of each draw of the base run after each row's interventions.

    Args:
        rows: interventions; a tuple of several happens in one run.
        read: from the residual stream after the last layer, at the last token [row, width] or at
            those of `read_at` [row, token, width], to values [row, value].
        max_bytes: of working memory; the rows are run in as many chunks as that takes.

    Raises:
        ConfigError: a row outside the run, one that leaves a token nothing to attend to, or a
            budget that a single row exceeds.
    """
    return run_many([Job(base=base, rows=rows, read=read, read_at=read_at)], max_bytes=max_bytes)[0]


def run_many(
    jobs: Sequence[Job], *, max_bytes: int = DEFAULT_MAX_BYTES
) -> list[Float[Tensor, "row draw value"]]:
    """The same for several base runs of one model in one state, such as those of several prompts,
    whose rows go through the layers together."""
    for job in jobs:
        read = job.tokens_read
        inside = all(job.base.start <= token < job.base.length for token in read)
        if not job.rows or not read or not inside or len(set(read)) < len(read):
            raise ConfigError(
                f"{len(job.rows)} rows, read at tokens {list(read)}: there must be a row, and "
                f"different tokens from {job.base.start} to {job.base.length - 1}"
            )
        if job.base.model is not jobs[0].base.model:
            raise ConfigError("base runs of several models: sweep each on its own")
    if not jobs:
        return []
    if jobs[0].base.engine == "regions":
        return sweep(jobs, max_bytes=max_bytes)
    return [full_rows(job, max_bytes=max_bytes) for job in jobs]


_TOLD: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
"""Models whose slow engine has been told."""


def choose_engine(model: HookedModel, asked: Engine) -> Literal["regions", "brute"]:
    """The engine to use; told once per model if it is the slow one.

    Raises `ConfigError` for an unknown one, and for regions of a model that they do not reproduce.
    """
    if asked not in ENGINES:
        raise unknown_name("engine", asked, ENGINES)
    if asked == "brute":
        return asked
    problem = regions_problem(model)
    if problem is None:
        return "regions"
    if asked == "regions":
        raise ConfigError(f"{model.name} cannot be run by regions: {problem}; use engine='brute'")
    if model.hf_model not in _TOLD:
        _TOLD.add(model.hf_model)
        logger.warning("%s is run by full forward passes, because %s", model.name, problem)
    return "brute"
