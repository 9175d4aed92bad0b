"""The command line: parse, call, print. No logic lives here.

Exit codes, of every command: `EXIT_CODES`.
"""

import logging
import shlex
import sys
import warnings

import typer

from restor_interp.cli import checking, comparing, data, definitions, runs, tracing
from restor_interp.cli.examples import epilog
from restor_interp.cli.shown import err_console
from restor_interp.errors import RestorError

EXIT_CODES = {
    0: "all done",
    1: "something failed, or is missing (listed)",
    2: "usage, configuration or data",
    3: "a file is damaged",
    4: "refused for safety",
    75: "the folder is busy: try again later",
    130: "interrupted: the same command goes on",
}
"""Exit code -> what it says; `restor-interp --help` shows them."""

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Does unlearning restore what a language model knew, or only silence it?",
    epilog="\n\n".join(
        [
            "Start with: restor-interp run demo --out runs/demo",
            "Exit codes: " + " · ".join(f"{code} {says}" for code, says in EXIT_CODES.items()),
        ]
    ),
)
_COMMANDS = {
    "run": runs.run,
    "plan": runs.plan,
    "status": runs.status,
    "report": runs.report,
    "compare": comparing.compare,
    "verify": checking.verify,
    "sweep": runs.sweep,
    "trace": tracing.trace,
    "probe": definitions.probe,
    "new": definitions.new,
    "list": definitions.list_,
    "doctor": checking.doctor,
}
for name, command in _COMMANDS.items():
    app.command(name, epilog=epilog(name))(command)
app.add_typer(data.data_app, name="data")
app.add_typer(data.model_app, name="model")


def main() -> None:
    """Entry point: library errors become one message and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("restor_interp").setLevel(logging.INFO)
    # Users see our own warnings; those of libraries about each other are not theirs to mend.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app(prog_name="restor-interp")  # also as `python -m restor_interp`
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
