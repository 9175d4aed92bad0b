"""Commands about definitions: list, probe, new."""

from pathlib import Path
from typing import Annotated

import typer

from restor_interp.cli.shown import (
    AsJson,
    Drawn,
    err_console,
    say,
    short,
    show,
    show_json,
    tell_failures,
)


def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="definitions, methods, attacks, presets, switches (restor-k0+packed), models, "
            "facts, or all"
        ),
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """Show what there is, each with one line."""
    from restor_interp.cli.inventory import KINDS, inventory

    if what != "all":
        show(inventory(what), as_json, title=what)
        return
    everything = {kind: inventory(kind) for kind in KINDS}
    if as_json:
        show_json(everything)
        return
    for kind, rows in everything.items():
        show(rows, as_json=False, title=kind)


def probe(
    file: Annotated[Path, typer.Argument(help="A file with one @probe function.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of a finished run.")] = Path(
        "runs/demo"
    ),
    as_json: AsJson = False,
) -> None:
    """Run a probe of your own on what a run has captured, and add it to the run.

    Its rows go into the run's table `probes`, its curves into the run's report; what was measured
    before stays as it is.
    """
    from restor_interp.pipeline.adding import add_probe
    from restor_interp.reporting.results import records

    with Drawn() as drawn:
        added = add_probe(file, run, progress=drawn)
    names = ("state", "fitted_on", "layer", "position", "metric", "value", "control")
    names += ("control_value", "n")
    rows = [{name: short(row[name]) for name in names} for row in records(added.rows)]
    show(rows, as_json, title=added.name)
    for place in (
        f"table: {added.run.folder}/tables/probes.parquet",
        f"report: {added.run.report_index}",
    ):  # beside the rows, which a program reads
        err_console.print(place, markup=False, soft_wrap=True)
    tell_failures([f"{cell}: {why}" for cell, why in added.failures.items()])


def new(
    kind: Annotated[
        str, typer.Argument(help="probe, probe-sklearn, probe-torch, analysis, report or method")
    ],
    name: Annotated[str, typer.Argument(help="Its name, also that of the file.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where to write it; none: probes, analyses, …")
    ] = None,
) -> None:
    """Write a working definition to start from."""
    from restor_interp.pipeline.adding import write_template

    made = write_template(kind, name, folder)
    say(f"{made.path}\n{made.next}")
