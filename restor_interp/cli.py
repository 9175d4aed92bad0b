"""The command line: parse, call, print. No logic lives here.

Exit codes: 0 all done · 1 something failed (listed) · 2 usage, configuration or data ·
3 a file is damaged · 4 refused for safety · 75 the folder is busy · 130 interrupted.
"""

import json
import logging
import shlex
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from restor_interp.errors import RestorError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does unlearning restore what a language model knew, or only silence it?",
    epilog="Start with: restor-interp run demo --out runs/demo",
)
data_app = typer.Typer(no_args_is_help=True, help="Fact sets: list, check, show.")
model_app = typer.Typer(no_args_is_help=True, help="Models: list, get.")
app.add_typer(data_app, name="data")
app.add_typer(model_app, name="model")

out_console = Console(highlight=False)
err_console = Console(stderr=True, highlight=False)

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides such as seed=1 data.k=2", show_default=False)
]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder of the run.")]
Seeds = Annotated[
    int | None, typer.Option(help="Repeat everything with so many seeds, from the preset's on.")
]
Rotations = Annotated[
    int | None,
    typer.Option(help="Corrupt the entities of the pool in so many turns, each of them once."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


INTERRUPTED = 130


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


def _short(value: Any) -> Any:
    """Three digits of a number are what its interval leaves."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _show(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    """A list of equal rows as a table, as blocks where a table would be too narrow, or as JSON."""
    if as_json:
        out_console.print_json(json.dumps(rows))
        return
    columns = list(rows[0]) if rows else ["(nothing)"]
    if len(columns) > MOST_COLUMNS and out_console.width < WIDE:
        _show_blocks(rows, title)
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


def _show_blocks(rows: list[dict[str, Any]], title: str) -> None:
    """Each row as its first value, and the others below it."""
    out_console.print(escape(title), style="italic")
    for row in rows:
        (_, head), *rest = row.items()
        out_console.print(escape(str(head)), style="bold")
        for name, value in rest:
            if str(value):
                line = Padding(escape(f"{name}: {value}"), (0, 0, 0, 4))
                out_console.print(line)


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="A preset, or a config.yaml of another run.")],
    overrides: Overrides = None,
    out: OutFolder = Path("runs/run"),
    seeds: Seeds = None,
    rotations: Rotations = None,
) -> None:
    """Run a preset, or go on where it stopped.

    With --seeds or --rotations a design: a run for each, in folders of their own, and tables pooled
    over them in OUT/tables.

    Example: restor-interp run demo --out runs/demo
    Example: restor-interp run demo seed=1 data.k=1 --out runs/demo-k1
    Example: restor-interp run bios --seeds 3 --rotations 3 --out runs/bios-design
    """
    from restor_interp.pipeline import run as run_pipeline

    if seeds is not None or rotations is not None:
        _run_design(preset, overrides or [], out, _one(seeds), _one(rotations))
        return
    with Drawn() as drawn:
        finished = run_pipeline(preset, out=out, overrides=overrides or [], progress=drawn)
    out_console.print(finished.summary_text(), markup=False, highlight=False, soft_wrap=True)
    _tell_failures(finished.failures)


def _one(number: int | None) -> int:
    return 1 if number is None else number


def _run_design(
    preset: str, overrides: Sequence[str], out: Path, seeds: int, rotations: int
) -> None:
    from restor_interp.pipeline.designs import run_design

    with Drawn() as drawn:
        design = run_design(
            preset, out=out, seeds=seeds, rotations=rotations, overrides=overrides, progress=drawn
        )
    _show(design.headline(), as_json=False, title="over all runs")
    out_console.print(f"tables: {out}/tables", markup=False, soft_wrap=True)
    _tell_failures(design.failures)


def _tell_failures(failures: Iterable[str]) -> None:
    """Name what could not be computed; exit code 1 where there is something."""
    for failure in failures:
        err_console.print(f"failed: {failure}", style="red", markup=False)
    if failures:
        raise typer.Exit(1)


@app.command()
def sweep(
    preset: Annotated[str, typer.Argument(help="A preset, or a config.yaml of another run.")],
    overrides: Overrides = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A method to sweep; may be repeated.")
    ] = None,
    try_: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            help="setting=value,value or, with --random, setting=low:high (log-uniform). May be "
            "repeated: all combinations. npo.beta=… is of one method alone.",
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--random", help="Trials to draw per method, instead of a grid.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of that drawing.")] = 0,
    shams: Annotated[bool, typer.Option("--shams", help="Also a sham of every trial.")] = False,
    unequal: Annotated[
        bool, typer.Option("--unequal", help="Methods may have different numbers of trials.")
    ] = False,
    planned: Annotated[
        bool, typer.Option("--plan", help="Show what would be computed; compute nothing.")
    ] = False,
    out: OutFolder = Path("runs/sweep"),
    as_json: AsJson = False,
) -> None:
    """Try settings of unlearning methods; what trials have in common is computed once.

    Every trial is a state of one run. Its report has the page sweep.html: all trials between
    forgetting and restoring, and which of them would be chosen on one half of the entities and
    what it is worth on the other.

    Example: restor-interp sweep bios --method npo --try learning_rate=5e-4,1e-3,2e-3 --out runs/s
    Example: restor-interp sweep bios --method npo --method ga --try learning_rate=1e-4:1e-2
    --random 8
    """
    from restor_interp.pipeline.running import run as run_pipeline
    from restor_interp.pipeline.sweeping import plan_sweep, sweep_config
    from restor_interp.reporting.results import records

    config = sweep_config(
        preset,
        methods=method or [],
        tries=try_ or [],
        overrides=overrides or [],
        number=number,
        seed=seed,
        shams=shams,
        unequal=unequal,
    )
    if planned:
        _show_cells(plan_sweep(config, out=out), as_json)
        return
    with Drawn() as drawn:
        finished = run_pipeline(config, out=out, progress=drawn)
    columns = (
        "method",
        "label",
        "chosen",
        "value_selected",
        "value_scored",
        "low",
        "high",
        "reason",
    )
    rows = [
        {name: _short(row[name]) for name in columns}
        for row in records(finished.table("selection"), half="both")
    ]
    _show(rows, as_json)
    page = finished.report_index.parent / "sweep.html"
    err_console.print(f"report: {page}", markup=False, soft_wrap=True)
    _tell_failures(finished.failures)


@app.command()
def plan(
    preset: Annotated[str, typer.Argument(help="A preset or a config.yaml.")],
    overrides: Overrides = None,
    out: OutFolder = Path("runs/run"),
    seeds: Seeds = None,
    rotations: Rotations = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would compute, and why; computes nothing.

    Example: restor-interp plan bios --seeds 3 --rotations 3 --out runs/bios-design
    """
    from restor_interp.pipeline import plan as plan_pipeline
    from restor_interp.pipeline.designs import plan_design

    if seeds is None and rotations is None:
        steps = plan_pipeline(preset, out=out, overrides=overrides or [])
    else:
        steps = plan_design(
            preset, out=out, seeds=_one(seeds), rotations=_one(rotations), overrides=overrides or []
        )
    _show_cells(steps, as_json)


@app.command()
def status(out: OutFolder = Path("runs/run"), as_json: AsJson = False) -> None:
    """Show how far a run, a sweep or a design is."""
    from restor_interp.pipeline import status as run_status

    _show_cells(run_status(out), as_json)


def _show_cells(cells: Sequence[Any], as_json: bool) -> None:
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
    _show(rows, as_json)
    waiting = sum(row["state"] != "done" for row in rows)
    err_console.print(f"{len(rows) - waiting} of {len(rows)} cells are done")


@app.command()
def report(
    out: OutFolder = Path("runs/run"),
    definition: Annotated[
        list[Path] | None, typer.Option(help="A report file of your own; may be repeated.")
    ] = None,
) -> None:
    """Write the report of a run again."""
    from restor_interp.pipeline import open_run
    from restor_interp.pipeline.running import write_report

    index = write_report(open_run(out), definition or [])
    out_console.print(f"report: {index}", markup=False, soft_wrap=True)


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="definitions, methods, attacks, presets, models, facts, or all")
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Show what there is, each with one line."""
    from restor_interp.pipeline.inventory import KINDS, inventory

    kinds = KINDS if what == "all" else (what,)
    for kind in kinds:
        _show(inventory(kind), as_json, title=kind)


@data_app.command("list")
def data_list(as_json: AsJson = False) -> None:
    """The built-in fact sets."""
    from restor_interp.pipeline.inventory import inventory

    _show(inventory("facts"), as_json)


@data_app.command("check")
def data_check(
    source: Annotated[str, typer.Argument(help="atlas, bios, a .jsonl, or RESTOR's facts.json")],
    entities: Annotated[Path | None, typer.Option(help="RESTOR's entities.json")] = None,
) -> None:
    """Check a fact set; problems are listed as file:line."""
    from restor_interp.facts import load_facts

    facts = load_facts(source, entities=entities)
    out_console.print(f"{source}: {len(facts)} facts, nothing wrong", markup=False)


@data_app.command("show")
def data_show(
    source: Annotated[str, typer.Argument(help="atlas, bios, a .jsonl, or RESTOR's facts.json")],
    entity: Annotated[str | None, typer.Option(help="Only this entity's facts.")] = None,
    entities: Annotated[Path | None, typer.Option(help="RESTOR's entities.json")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the facts of a set, or of one of its entities."""
    from restor_interp.errors import unknown_name
    from restor_interp.facts import load_facts

    facts = load_facts(source, entities=entities)
    if entity is not None and entity not in facts.entities:
        raise unknown_name(f"entity in {source}", entity, facts.entities)
    rows = [
        {
            "fact": fact.fact_id,
            "question": fact.question,
            "true objects": ", ".join(fact.true_objects),
            "type": fact.object_type,
        }
        for fact in facts
        if entity is None or fact.entity == entity
    ]
    _show(rows, as_json)


@model_app.command("list")
def model_list(as_json: AsJson = False) -> None:
    """The built-in models and whether they are on this machine."""
    from restor_interp.pipeline.inventory import inventory

    _show(inventory("models"), as_json)


@model_app.command("get")
def model_get(name: Annotated[str, typer.Argument(help="Name of a built-in model.")]) -> None:
    """Fetch a built-in model into the cache."""
    from restor_interp.models.loading import fetch_model

    out_console.print(f"{name}: {fetch_model(name)}", markup=False, soft_wrap=True)


def main() -> None:
    """Entry point: library errors become one message and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("restor_interp").setLevel(logging.INFO)
    # Users see our own warnings; those of libraries about each other are not theirs to mend.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except RestorError as error:
        err_console.print(
            f"{type(error).__name__}: {error}", markup=False, style="red", soft_wrap=True
        )
        sys.exit(error.exit_code)
    except SystemExit as ending:
        if ending.code == INTERRUPTED:  # typer ends in silence
            command = shlex.join(["restor-interp", *sys.argv[1:]])
            err_console.print(
                f"Interrupted. What was finished is kept; the same command goes on: {command}",
                markup=False,
                soft_wrap=True,
            )
        raise
