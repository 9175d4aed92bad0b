"""Every command explains itself: an example that can be called, one place for exit codes, at once.

Run: python -m pytest tests/cli/test_help.py
"""

import os
import shlex
import subprocess
import sys

import click
import pytest
import typer

import restor_interp.errors
from restor_interp.cli import EXIT_CODES, app
from restor_interp.cli.examples import EXAMPLES

HEAVY = ("torch", "transformers", "numpy", "pandas", "scipy", "sklearn", "plotly", "pydantic")


def commands(group=None, before=""):
    """Name -> click command, those of groups by both words."""
    group = group or typer.main.get_command(app)
    found = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            found |= commands(command, f"{before}{name} ")
        else:
            found[f"{before}{name}"] = command
    return found


def test_every_command_has_an_example_and_no_example_is_of_none():
    assert set(commands()) == set(EXAMPLES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_are_shown_and_can_be_parsed(cli, name):
    code, out, _ = cli(*name.split(), "--help")
    assert code == 0
    told = " ".join(out.replace("│", " ").split())
    for example in EXAMPLES[name]:
        assert f"Example: {example}" in told
        program, *words = shlex.split(example)
        assert program == "restor-interp" and words[: len(name.split())] == name.split()
        rest = words[len(name.split()) :]
        commands()[name].make_context(name, rest)  # raises for what does not exist


def test_an_example_that_cannot_be_parsed_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        commands()["trace"].make_context("trace", ["prompt", "--subjekt", "x"])


def test_what_shows_or_lists_has_json():
    without = {
        name
        for name, command in commands().items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    # They compute or write, and say in words where it is.
    assert without == {"run", "report", "new", "data check", "model get"}


def test_exit_codes_stand_in_the_help_and_are_those_of_the_errors(cli):
    code, out, _ = cli("--help")
    told = " ".join(out.replace("│", " ").split())
    assert code == 0 and all(f"{code} {says}" in told for code, says in EXIT_CODES.items())
    errors = vars(restor_interp.errors).values()
    found = {error.exit_code for error in errors if hasattr(error, "exit_code")}
    assert found <= set(EXIT_CODES)


def test_help_is_fast_and_imports_nothing_heavy():
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "restor_interp", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    after = os.times()
    # Of the processor, which a busy machine does not change much; 0.2 s where it is quiet.
    taken = after.children_user + after.children_system
    assert taken - before.children_user - before.children_system < 0.8
    assert "restor-interp run demo" in done.stdout
    program = (
        "import sys, typer.main; from restor_interp.cli import app; typer.main.get_command(app); "
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_shell_is_told_how_to_complete():
    asked = {
        "_RESTOR_INTERP_COMPLETE": "complete_bash",
        "COMP_WORDS": "restor-interp tr",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "restor_interp"],
        capture_output=True, text=True, check=False, env={**os.environ, **asked},
    )  # fmt: skip
    assert done.stdout.split() == ["trace"]


def test_pages_that_examples_write_have_names_that_pages_may_have():
    written = {"trace": "--out", "compare": "--out", "report": "--page"}
    pages = [
        words[words.index(option) + 1]
        for name, option in written.items()
        for words in map(shlex.split, EXAMPLES[name])
        if option in words
    ]
    assert len(pages) == 3 and all(page.endswith(".html") for page in pages)
