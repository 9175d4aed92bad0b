"""Commands about runs: run, sweep, plan, status, report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from restor_interp.cli.shown import (
    AsJson,
    Drawn,
    OutFolder,
    Overrides,
    err_console,
    say,
    short,
    show,
    show_cells,
    tell_failures,
)
from restor_interp.errors import ConfigError

Seeds = Annotated[
    int | None, typer.Option(help="Repeat everything with so many seeds, from the preset's on.")
]
Rotations = Annotated[
    int | None,
    typer.Option(help="Corrupt the entities of the pool in so many turns, each of them once."),
]


def run(
    preset: Annotated[str, typer.Argument(help="A preset, or a config.yaml of another run.")],
    overrides: Overrides = None,
    out: OutFolder = Path("runs/run"),
    seeds: Seeds = None,
    rotations: Rotations = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Skip what takes long inside the model, and say what.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be computed and its cost, as plan.")
    ] = False,
) -> None:
    """Run a preset, or go on where it stopped.

    With --seeds or --rotations a design: a run for each, in folders of their own, and tables pooled
    over them in OUT/tables.
    """
    from restor_interp.pipeline import run as run_pipeline
    from restor_interp.pipeline.crew import number_of_workers
    from restor_interp.presets import resolve, skipped

    chosen = f"{preset}+fast" if fast else preset
    if fast:
        left_out = ", ".join(skipped(resolve(preset), resolve(chosen)))
        err_console.print(f"skipped: {left_out or 'nothing'}", markup=False)
    if dry_run:
        plan(chosen, overrides, out, seeds, rotations)
        return
    if seeds is not None or rotations is not None:
        _run_design(chosen, overrides or [], out, _one(seeds), _one(rotations))
        return
    config = resolve(chosen, overrides or [])
    expected = _told_cost(config, out)
    with Drawn(expected, number_of_workers(config)) as drawn:
        finished = run_pipeline(config, out=out, progress=drawn)
    say(finished.summary_text())
    say(_what_next(finished.folder))
    tell_failures(finished.failures)


def _told_cost(config: Any, out: Path) -> Mapping[str, float]:
    """Say what a run will cost before it begins; cell -> seconds."""
    from restor_interp.pipeline.estimating import cost, waiting

    cells = waiting(config, out)
    found = cost(config, cells, out=out)
    if cells:
        told = f"{len(cells)} cells to compute: {found.text()}"
        err_console.print(told, markup=False, soft_wrap=True)
    return found.of


def _what_next(folder: Path) -> str:
    return (
        f'next: open the report in a browser; in Python, ri.open_run("{folder}").table("fates"); '
        f"restor-interp compare {folder} ANOTHER-RUN; restor-interp verify {folder}"
    )


def _one(number: int | None) -> int:
    return 1 if number is None else number


def _run_design(
    preset: str, overrides: Sequence[str], out: Path, seeds: int, rotations: int
) -> None:
    from restor_interp.pipeline.designs import plan_design, run_design
    from restor_interp.pipeline.estimating import cost
    from restor_interp.presets import resolve

    planned = plan_design(preset, out=out, seeds=seeds, rotations=rotations, overrides=overrides)
    found = cost(resolve(preset, overrides), planned, out=out)
    told = f"{seeds * rotations} runs: {found.text()}"
    err_console.print(told, markup=False, soft_wrap=True)
    with Drawn() as drawn:
        design = run_design(
            preset, out=out, seeds=seeds, rotations=rotations, overrides=overrides, progress=drawn
        )
    show(design.headline(), as_json=False, title="over all runs")
    say(f"tables: {out}/tables")
    tell_failures(design.failures)


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
    """
    from restor_interp.pipeline.crew import number_of_workers
    from restor_interp.pipeline.estimating import cost
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
        steps = plan_sweep(config, out=out)
        found = cost(config, steps, out=out)
        show_cells(steps, as_json, found.of)
        err_console.print(f"cost: {found.text()}", markup=False, soft_wrap=True)
        return
    expected = _told_cost(config, out)
    with Drawn(expected, number_of_workers(config)) as drawn:
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
        {name: short(row[name]) for name in columns}
        for row in records(finished.table("selection"), half="both")
    ]
    show(rows, as_json)
    page = finished.report_index.parent / "sweep.html"
    err_console.print(f"report: {page}", markup=False, soft_wrap=True)
    tell_failures(finished.failures)


def plan(
    preset: Annotated[str, typer.Argument(help="A preset or a config.yaml.")],
    overrides: Overrides = None,
    out: OutFolder = Path("runs/run"),
    seeds: Seeds = None,
    rotations: Rotations = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would compute, why, and what it costs in minutes and memory.

    Computes nothing. Where nothing like it was computed before, the model's speed is measured once
    (seconds) and kept in the cache folder.
    """
    from restor_interp.pipeline import plan as plan_pipeline
    from restor_interp.pipeline.designs import plan_design
    from restor_interp.pipeline.estimating import cost
    from restor_interp.presets import resolve

    config = resolve(preset, overrides or [])
    if seeds is None and rotations is None:
        steps = plan_pipeline(config, out=out)
    else:
        steps = plan_design(
            preset, out=out, seeds=_one(seeds), rotations=_one(rotations), overrides=overrides or []
        )
    found = cost(config, steps, out=out)
    show_cells(steps, as_json, found.of)
    err_console.print(f"cost: {found.text()}", markup=False, soft_wrap=True)


def status(out: OutFolder = Path("runs/run"), as_json: AsJson = False) -> None:
    """Show how far a run, a sweep or a design is."""
    from restor_interp.pipeline import status as run_status

    cells = run_status(out)
    show_cells(cells, as_json)
    page = out / "report" / "index.html"
    if any(cell.state != "done" for cell in cells):
        next_ = "the command that began it computes the rest"
    else:
        next_ = f"report: {page}" if page.is_file() else f"tables: {out / 'tables'}"
    err_console.print(next_, markup=False, soft_wrap=True)


def report(
    out: OutFolder = Path("runs/run"),
    definition: Annotated[
        list[Path] | None, typer.Option(help="A report file of your own; may be repeated.")
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(help="Write one entity's page alone, as one file that can be passed on."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="That file; none: ENTITY.html in the current folder.")
    ] = None,
) -> None:
    """Write the report of a run again, or one entity's page as a file of its own."""
    from restor_interp.pipeline import open_run
    from restor_interp.reporting.characters import file_stem
    from restor_interp.reporting.single_page import write_single_page

    run = open_run(out)
    if entity is None and page is not None:
        raise ConfigError(
            f"--page {page} is the file of one entity's page: name the entity with --entity, one "
            f"of {', '.join(map(str, run.results().entities))}"
        )
    if entity is None:
        say(f"report: {run.write_report(definition or [])}")
        return
    document = run.document(entity, definitions=definition or [])
    written = write_single_page(document, page or Path(f"{file_stem(entity)}.html"))
    say(f"page: {written}")
