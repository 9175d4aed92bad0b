"""Commands about runs: run, sweep, plan, status, report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

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
) -> None:
    """Run a preset, or go on where it stopped.

    With --seeds or --rotations a design: a run for each, in folders of their own, and tables pooled
    over them in OUT/tables.

    Example: restor-interp run demo --out runs/demo
    Example: restor-interp run demo seed=1 data.k=1 --out runs/demo-k1
    Example: restor-interp run demo --fast --out runs/demo-fast
    Example: restor-interp run bios --seeds 3 --rotations 3 --out runs/bios-design
    """
    from restor_interp.pipeline import run as run_pipeline

    if seeds is not None or rotations is not None:
        _run_design(preset, overrides or [], out, _one(seeds), _one(rotations))
        return
    if fast:
        from restor_interp.presets import resolve, skipped

        whole = resolve(preset)
        preset = f"{preset}+fast"
        left_out = ", ".join(skipped(whole, resolve(preset)))
        err_console.print(f"skipped: {left_out or 'nothing'}", markup=False)
    with Drawn() as drawn:
        finished = run_pipeline(preset, out=out, overrides=overrides or [], progress=drawn)
    say(finished.summary_text())
    tell_failures(finished.failures)


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
        show_cells(plan_sweep(config, out=out), as_json)
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
    show_cells(steps, as_json)


def status(out: OutFolder = Path("runs/run"), as_json: AsJson = False) -> None:
    """Show how far a run, a sweep or a design is."""
    from restor_interp.pipeline import status as run_status

    show_cells(run_status(out), as_json)


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
    say(f"report: {index}")
