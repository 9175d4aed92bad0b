"""What the command line shows: progress, rows as tables, failures."""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

out_console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as seed=1 data.k=2", show_default=False)
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class Left:
    """How long the rest of a run will take: what was expected of it, corrected by how the cells
    that are finished have kept to what was expected of them."""

    MOST = 3.0
    """A correction is at most threefold: early cells say little about later ones."""

    def __init__(self, expected: Mapping[str, float], workers: int = 1) -> None:
        """`expected`: cell -> seconds; so many `workers` compute cells side by side."""
        self.waiting = dict(expected)
        self.workers = workers
        self.spent = 0.0
        self.foreseen = 0.0

    def finished(self, cell: str, seconds: float) -> None:
        """A cell has taken so long."""
        foreseen = self.waiting.pop(cell, None)
        if foreseen is not None:
            self.spent, self.foreseen = self.spent + seconds, self.foreseen + foreseen

    def seconds(self, elapsed: Mapping[str, float] | None = None) -> float | None:
        """Left, where cells at work have been so for `elapsed` seconds; None where nothing is
        expected."""
        if not self.waiting:
            return None
        # As if ten seconds had gone as expected, so that a first cell of one second proves nothing.
        ratio = (self.spent + 10) / (self.foreseen + 10)
        ratio = min(self.MOST, max(1 / self.MOST, ratio))
        gone = elapsed or {}
        rest = [max(0.0, ratio * s - gone.get(name, 0.0)) for name, s in self.waiting.items()]
        return max(sum(rest) / self.workers, *(rest or [0.0]))


@dataclass(frozen=True, kw_only=True)
class _AtWork:
    label: str
    began: float
    task: TaskID


class Drawn:
    """Draws a run's progress: a bar per cell at work on a terminal, plain lines elsewhere.

    `expected`: cell -> seconds, and how many `workers` there are, for the time that is left.
    """

    def __init__(self, expected: Mapping[str, float] | None = None, workers: int = 1) -> None:
        self.live = err_console.is_terminal
        self.began = time.monotonic()
        self.last_line = 0.0
        self.left = Left(expected or {}, workers)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=err_console,
            transient=True,
        )
        self.at_work: dict[str, _AtWork] = {}

    def __enter__(self) -> "Drawn":
        if self.live:
            self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.bars.stop()

    def started(self, cell: str, number: int, total: int) -> None:
        label = f"[{number}/{total}] {cell}"
        task = self.bars.add_task(escape(label), total=None, detail="", left="")
        self.at_work[cell] = _AtWork(label=label, began=time.monotonic(), task=task)
        self.bars.update(task, left=self._left())

    def advanced(self, done: int, total: int, cell: str | None = None) -> None:
        now = self.at_work[cell or list(self.at_work)[-1]]
        self.bars.update(
            now.task, completed=done, total=total, detail=f"{done}/{total}", left=self._left()
        )
        if not self.live and time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            self._line(f"{now.label}: {done}/{total}{self._left(', ')}")

    def finished(self, cell: str, seconds: float, outcome: str) -> None:
        self.left.finished(cell, seconds)
        was = self.at_work.pop(cell)
        self.bars.remove_task(was.task)
        self._line(f"{was.label}: {outcome} in {seconds:.1f} s{self._left(', ')}")

    def note(self, text: str) -> None:
        self._line(text)

    def _left(self, before: str = "") -> str:
        now = time.monotonic()
        seconds = self.left.seconds({cell: now - at.began for cell, at in self.at_work.items()})
        if seconds is None:
            return ""
        minutes = f"{math.ceil(seconds / 60)} min" if seconds > 90 else f"{math.ceil(seconds)} s"
        return f"{before}about {minutes} left"

    def _line(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.bars.console.print(f"{minutes:3d}:{seconds:02d}  {escape(text)}")


def show_json(value: Any) -> None:
    """Any value of lists, mappings, numbers and texts as JSON; what is not finite is null."""
    out_console.print_json(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def short(value: Any) -> Any:
    """Three digits of a number are what its interval leaves."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def show(
    rows: list[dict[str, Any]], as_json: bool, title: str = "", *, narrow: bool = False
) -> None:
    """A list of equal rows as a table, as blocks where a table would be too narrow, or as JSON.

    `narrow`: its cells are short, so that a table fits whatever their number.
    """
    if as_json:
        show_json(rows)
        return
    columns = list(rows[0]) if rows else ["(nothing)"]
    if len(columns) > MOST_COLUMNS and out_console.width < WIDE and not narrow:
        _blocks(rows, title)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row.values()))
    out_console.print(table)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


MOST_COLUMNS = 4
WIDE = 160
"""Characters of a line that a table of more columns needs."""


def _blocks(rows: list[dict[str, Any]], title: str) -> None:
    """Each row as its first value, and the others below it."""
    out_console.print(escape(title), style="italic")
    for row in rows:
        (_, head), *rest = row.items()
        out_console.print(escape(str(head)), style="bold")
        for name, value in rest:
            if _text(value):
                line = Padding(escape(f"{name}: {_text(value)}"), (0, 0, 0, 4))
                out_console.print(line)


def show_cells(
    cells: Sequence[Any], as_json: bool, expected: Mapping[str, float] | None = None
) -> None:
    """Cells of a plan; `needed by` counts the cells that one is computed once for, `expected` are
    seconds of those that are to be computed."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        row = {"cell": cell.cell, "state": cell.state, "seconds": cell.seconds}
        if expected is not None:
            row["expected"] = short(expected.get(cell.cell))
        rows.append({**row, "needed by": cell.needed_by})
    show(rows, as_json)
    waiting = sum(row["state"] != "done" for row in rows)
    err_console.print(f"{len(rows) - waiting} of {len(rows)} cells are done")


def tell_failures(failures: Iterable[str]) -> None:
    """Name what could not be computed; exit code 1 where there is something."""
    for failure in failures:
        err_console.print(f"failed: {failure}", style="red", markup=False)
    if failures:
        raise typer.Exit(1)


def say(text: str) -> None:
    """A line of plain text, on standard output."""
    out_console.print(text, markup=False, highlight=False, soft_wrap=True)
