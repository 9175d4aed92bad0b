"""What the command line shows: progress, rows as tables, failures."""

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

out_console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as seed=1 data.k=2", show_default=False)
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


class Drawn:
    """Draws a run's progress: bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.live = err_console.is_terminal
        self.began = time.monotonic()
        self.last_line = 0.0
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=err_console,
            transient=True,
        )
        self.task = self.bars.add_task("starting", total=None, detail="")
        self.label = ""

    def __enter__(self) -> "Drawn":
        if self.live:
            self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live:
            self.bars.stop()

    def started(self, cell: str, number: int, total: int) -> None:
        self.label = f"[{number}/{total}] {cell}"
        self.bars.update(
            self.task, description=escape(self.label), total=None, completed=0, detail=""
        )

    def advanced(self, done: int, total: int) -> None:
        self.bars.update(self.task, completed=done, total=total, detail=f"{done}/{total}")
        if not self.live and time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            self._line(f"{self.label}: {done}/{total}")

    def finished(self, cell: str, seconds: float, outcome: str) -> None:
        del cell
        self._line(f"{self.label}: {outcome} in {seconds:.1f} s")

    def note(self, text: str) -> None:
        self._line(text)

    def _line(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        self.bars.console.print(f"{minutes:3d}:{seconds:02d}  {escape(text)}")


def short(value: Any) -> Any:
    """Three digits of a number are what its interval leaves."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def show(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    """A list of equal rows as a table, as blocks where a table would be too narrow, or as JSON."""
    if as_json:
        out_console.print_json(json.dumps(rows))
        return
    columns = list(rows[0]) if rows else ["(nothing)"]
    if len(columns) > MOST_COLUMNS and out_console.width < WIDE:
        _blocks(rows, title)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    out_console.print(table)


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
            if str(value):
                line = Padding(escape(f"{name}: {value}"), (0, 0, 0, 4))
                out_console.print(line)


def show_cells(cells: Sequence[Any], as_json: bool) -> None:
    """Cells of a plan; `needed by` counts the cells that one is computed once for."""
    rows = [
        {
            "cell": cell.cell,
            "state": cell.state,
            "seconds": cell.seconds,
            "needed by": cell.needed_by,
        }
        for cell in cells
    ]
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
