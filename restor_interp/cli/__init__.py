"""The command line: parse, call, print. No logic lives here.

Exit codes: 0 all done · 1 something failed (listed) · 2 usage, configuration or data ·
3 a file is damaged · 4 refused for safety · 75 the folder is busy · 130 interrupted.
"""

import logging
import shlex
import sys
import warnings

import typer

from restor_interp.cli import data, definitions, runs
from restor_interp.cli.shown import err_console
from restor_interp.errors import RestorError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Does unlearning restore what a language model knew, or only silence it?",
    epilog="Start with: restor-interp run demo --out runs/demo",
)
for command in (runs.run, runs.plan, runs.status, runs.report, runs.sweep):
    app.command()(command)
app.command("list")(definitions.list_)
for command in (definitions.probe, definitions.new):
    app.command()(command)
app.add_typer(data.data_app, name="data")
app.add_typer(data.model_app, name="model")

INTERRUPTED = 130


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
