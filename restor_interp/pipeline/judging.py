"""Answers judged again by a language model, and how far judges agree."""

from collections.abc import Sequence

from restor_interp.pipeline.building import Builder


def add_steps(
    build: Builder,
    states: Sequence[str],
) -> None:
    """For every state and judge of `config.judges`."""
    del build, states
