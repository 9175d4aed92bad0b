"""How likely a state makes whole texts: its documents, held-out text, a user's own."""

from collections.abc import Mapping

from restor_interp.pipeline.building import Builder


def add_steps(
    build: Builder,
    sources: Mapping[str, tuple[str, ...]],
) -> None:
    """For every state: the texts of `config.texts`."""
    del build, sources
