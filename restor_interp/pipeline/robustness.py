"""Does it last? Answers after more training, quantisation, noise, other wordings."""

from collections.abc import Mapping

from restor_interp.models.deltas import State
from restor_interp.pipeline.building import Builder


def add_steps(
    build: Builder,
    states: Mapping[str, State],
    sources: Mapping[str, tuple[str, ...]],
) -> None:
    """For every attack of `config.robustness` and every state it is made on."""
    del build, states, sources
