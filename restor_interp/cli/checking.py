"""Commands that look whether all is well: verify (a run's folder), doctor (this machine)."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from restor_interp.cli.shown import AsJson, Drawn, err_console, out_console, say, show_json
from restor_interp.errors import IntegrityError


def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    deep: Annotated[
        bool, typer.Option("--deep", help="Also ask some stored questions again (minutes).")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Files and tables alone: load no model.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a run's folder: digests, keys, tables, deltas, report, and the model's states.

    Writes nothing. Exit code 0: all holds; 3: something is damaged; 1: something is missing, as
    where the run is not finished.
    """
    from restor_interp.pipeline.verifying import PROMISES
    from restor_interp.pipeline.verifying import verify as verify_run

    with Drawn() as drawn:
        checks = verify_run(run, deep=deep, weights=not quick, progress=drawn)
    findings = [finding for check in checks for finding in check.findings]
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "promise": check.promise,
                "looked at": check.looked_at,
                "skipped": check.skipped,
                "findings": [
                    {
                        "place": finding.place,
                        "problem": finding.problem,
                        "mend": finding.mend,
                        "damaged": finding.damaged,
                    }
                    for finding in check.findings
                ],
            }
            for check in checks
        ]
        show_json(rows)
    else:
        for check in checks:
            told = f"not looked at: {check.skipped}" if check.skipped else f"{check.looked_at}"
            wrong = f", {len(check.findings)} wrong" if check.findings else ""
            sign = "–" if check.skipped else "✗" if check.findings else "✓"
            say(f"{sign} {check.promise:<9} {PROMISES[check.promise]} ({told}{wrong})")
            for finding in check.findings:
                say(f"    {finding.place}: {finding.problem}. To mend it, {finding.mend}")
    if any(finding.damaged for finding in findings):
        err_console.print(f"{run} is damaged: {len(findings)} findings", style="red", markup=False)
        raise typer.Exit(IntegrityError.exit_code)
    if findings or any(check.skipped for check in checks):
        err_console.print(f"{run} is not complete", style="red", markup=False)
        raise typer.Exit(1)
    err_console.print(f"{run}: everything that was checked holds", markup=False)


_STYLES = {"ok": "green", "missing": "red", "note": "yellow"}


def doctor(
    out: Annotated[
        Path | None, typer.Option("--out", help="Where runs shall go; none: this folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what this machine lacks for a run, and what to do about it.

    Exit code 0: the demo can run; 1: it cannot.
    """
    from restor_interp.pipeline.machine import examine

    items = examine(out)
    if as_json:
        show_json(
            [
                {"name": one.name, "state": one.state, "found": one.found, "todo": one.todo}
                for one in items
            ]
        )
    else:
        for one in items:
            out_console.print(
                f"[{_STYLES[one.state]}]{one.state:<8}[/] "
                f"{escape(f'{one.name:<20}')} {escape(one.found)}",
                soft_wrap=True,
            )
            if one.todo:
                say(f"{'':<29} → {one.todo}")
    missing = [one.name for one in items if one.state == "missing"]
    if missing:
        err_console.print(f"missing: {', '.join(missing)}", style="red", markup=False)
        raise typer.Exit(1)
    err_console.print("The demo can run: restor-interp run demo --out runs/demo", markup=False)
