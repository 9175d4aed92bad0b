"""What a check of a run's folder finds, and what helps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from restor_interp.pipeline.runs import Run


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it was promised."""

    place: str
    """File, cell, table or state."""
    problem: str
    mend: str
    """What to do about it."""
    damaged: bool = True
    """False: it is missing and never was there, as in a run that is not finished."""


class Looked(NamedTuple):
    """How far a check has looked, and what it found."""

    number: int
    """Of cells, tables, files, …"""
    findings: Iterable[Finding]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One promise and what is wrong with it."""

    promise: str
    """A key of `PROMISES`."""
    looked_at: int
    findings: tuple[Finding, ...] = ()
    skipped: str = ""
    """Why nothing was looked at."""


def again(run: Run) -> str:
    """What computes anew whatever is missing or damaged in a run."""
    return (
        f"give the run's command again: restor-interp run {run.folder}/config.yaml --out "
        f"{run.folder}"
    )


def assembled_again(run: Run) -> str:
    """What makes tables, deltas and report anew out of the cells."""
    return f"delete {run.report_index} and {again(run)}"
